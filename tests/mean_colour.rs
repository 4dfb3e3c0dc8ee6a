//! A second inference element beside `rtmposebatch`, a page long: the mean colour of each frame. It shows that the stage
//! knows frames, crops and rows of numbers, but nothing about people.

use std::sync::{Arc, LazyLock};

use gst::{glib, prelude::*, subclass::prelude::*};
use gst_check::Harness;
use gstrtmpose::{
    engine::{
        Backend, EngineSettings, Error, ErrorKind, Executor, Loading, Network, PendingAnswer, Shape, Slot,
    },
    stage::{self, Arrival, CropCutter, Inference, Opened, Opening, Running, Stage, Staged},
    video::{FrameShape, Region},
};

// The element.

/// Has the whole frame inferred, and writes the answer into the buffer's offset end, as 0xRRGGBB.
#[derive(Default)]
pub struct MeanColour;

impl Inference for MeanColour {
    const NAME: &'static str = "meancolour";
    type Network = Mean;
    type Ready = ();
    type Work = PendingAnswer;
    type Input = ();
    type Output = ();

    fn category() -> gst::DebugCategory {
        static CAT: LazyLock<gst::DebugCategory> =
            LazyLock::new(|| gst::DebugCategory::new("meancolour", gst::DebugColorFlags::empty(), None));
        *CAT
    }

    fn settings(&self) -> stage::Settings {
        stage::Settings::default()
    }

    fn open(_: &Stage<Self>, opening: &Opening) -> Result<Opened<Self>, Error> {
        let settings = EngineSettings { batch_size: 4, ..EngineSettings::default() };
        let loaded = Arc::new(opening.engine(Arc::new(Mean), settings)?);
        let (description, summary) = ("a mean".to_string(), "mean colours".to_string());
        Ok(Opened { loaded, ready: (), gpus: Vec::new(), cards: Default::default(), description, summary })
    }

    fn look(
        _: &Stage<Self>,
        arrival: &Arrival<'_, Self>,
        _: &mut (),
        cutter: &mut CropCutter<'_>,
    ) -> Result<PendingAnswer, gst::FlowError> {
        let (width, height) = arrival.shape.square_size();
        // A region of four fifths, padded by a quarter, is the whole frame.
        let [width, height] = [width, height].map(|side| side as f32);
        let region = Region::new(0.1 * width, 0.1 * height, 0.8 * width, 0.8 * height);
        let cut = cutter.cut(&region)?;
        cut.map(|(_, pending)| pending).ok_or(gst::FlowError::NotNegotiated)
    }

    fn attach(
        _: &Stage<Self>,
        _: &Running<Self>,
        frame: &mut gst::Buffer,
        _: FrameShape,
        pending: PendingAnswer,
        _: &mut (),
    ) -> Result<(), String> {
        let row =
            pending.outcome().expect("the frame is done").as_ref().map_err(|error| error.message.clone())?;
        let colour = row.iter().fold(0, |colour, channel| colour << 8 | channel.round() as u64);
        frame.make_mut().set_offset_end(colour);
        Ok(())
    }
}

mod imp {
    use super::*;

    pub struct Element(Stage<MeanColour>);

    impl Staged for Element {
        type Inference = MeanColour;

        fn stage(&self) -> &Stage<MeanColour> {
            &self.0
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Element {
        const NAME: &'static str = "MeanColour";
        type Type = super::Element;
        type ParentType = gst::Element;

        fn with_class(class: &Self::Class) -> Self {
            let pads = ["sink", "src"].map(|name| class.pad_template(name).unwrap());
            Self(Stage::new(MeanColour, stage::pads::<Self>(pads)))
        }
    }

    impl ObjectImpl for Element {
        fn constructed(&self) {
            self.parent_constructed();
            self.0.constructed(self.obj().upcast_ref());
        }
    }

    impl GstObjectImpl for Element {}

    impl ElementImpl for Element {
        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<[gst::PadTemplate; 2]> =
                LazyLock::new(|| stage::pad_templates(&gst::Caps::new_empty_simple("video/x-raw")));
            &*TEMPLATES
        }

        fn change_state(
            &self,
            transition: gst::StateChange,
        ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            self.0.before_change(transition)?;
            let success = self.parent_change_state(transition)?;
            self.0.after_change(transition);
            Ok(success)
        }
    }
}

glib::wrapper! {
    pub struct Element(ObjectSubclass<imp::Element>) @extends gst::Element, gst::Object;
}

// Its network, and the tests.

/// A network that returns only the mean of all pixels: R = 3. It fails at white.
#[derive(Clone, PartialEq)]
pub struct Mean;

impl Network for Mean {
    fn shape(&self) -> Shape {
        Shape { width: 8, height: 8, row: 3 }
    }

    fn provider(&self) -> &str {
        "arithmetic"
    }

    fn answers_like(&self, _: &Self) -> bool {
        true
    }
}

impl Backend for Mean {
    type Network = Self;

    fn open(&self, _: &Loading) -> Result<(Self, Box<dyn Executor>), Error> {
        Ok((Self, Box::new(Means(Vec::new()))))
    }
}

struct Means(Vec<[f32; 3]>);

impl Executor for Means {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        let (pixels, _) = crop.bytes().as_chunks::<3>();
        let sum = |channel: usize| pixels.iter().map(|pixel| f32::from(pixel[channel])).sum::<f32>();
        self.0.truncate(row);
        self.0.push(std::array::from_fn(|channel| sum(channel) / pixels.len() as f32));
    }

    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error> {
        if self.0[..rows].contains(&[255.0; 3]) {
            return Err(Error::new(ErrorKind::Run, "it is too bright"));
        }
        answers[..3 * rows].copy_from_slice(self.0[..rows].as_flattened());
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        vec![4]
    }
}

fn harness() -> (Harness, Element) {
    gst::init().unwrap();
    let element: Element = glib::Object::new();
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_live(false);
    harness.set_src_caps_str("video/x-raw,format=RGB,width=16,height=16,framerate=30/1");
    harness.play();
    (harness, element)
}

fn frame(colour: [u8; 3]) -> gst::Buffer {
    gst::Buffer::from_mut_slice(colour.repeat(16 * 16))
}

#[test]
fn frames_come_in_order_with_their_colours() {
    let (mut harness, _element) = harness();
    let colours: Vec<_> = (0..50u8).map(|number| [number, 2 * number, 255 - number]).collect();
    let pushed = colours.clone();
    for chunk in pushed.chunks(10) {
        chunk.iter().for_each(|colour| _ = harness.push(frame(*colour)).unwrap());
    }
    harness.push_event(gst::event::Eos::new());
    for [r, g, b] in colours {
        let expected = u64::from(r) << 16 | u64::from(g) << 8 | u64::from(b);
        assert_eq!(harness.pull().unwrap().offset_end(), expected);
    }
}

#[test]
fn a_failing_run_stops_the_stream_with_one_error() {
    let (mut harness, element) = harness();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let refused = (0..100).find_map(|_| harness.push(frame([255; 3])).err());
    assert_eq!(refused, Some(gst::FlowError::Error));
    let errors = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error]));
    let texts: Vec<_> = errors
        .map(|message| match message.view() {
            gst::MessageView::Error(error) => error.error().message().to_string(),
            _ => unreachable!("only errors are popped"),
        })
        .collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("it is too bright"), "{texts:?}");
}

#[test]
fn a_flush_lets_new_frames_in() {
    let (mut harness, _element) = harness();
    harness.push(frame([1, 2, 3])).unwrap();
    harness.push_event(gst::event::FlushStart::new());
    harness.push_event(gst::event::FlushStop::new(true));
    while harness.try_pull().is_some() {}
    harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    harness.push(frame([9, 8, 7])).unwrap();
    harness.push_event(gst::event::Eos::new());
    assert_eq!(harness.pull().unwrap().offset_end(), 0x09_08_07);
}

#[test]
fn figures_have_the_elements_name() {
    let (mut harness, element) = harness();
    harness.push(frame([1, 2, 3])).unwrap();
    harness.push_event(gst::event::Eos::new());
    harness.pull().unwrap();
    let figures = element.imp().stage().statistics();
    assert_eq!(figures.name(), "meancolour-stats");
    assert_eq!(figures.get::<u64>("frames-in"), Ok(1));
    assert_eq!(figures.get::<u64>("crops"), Ok(1));
}
