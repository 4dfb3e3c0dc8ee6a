//! Live streams by number: how many crops a second are run and how long a frame takes from in to out, with one engine
//! for all streams against an engine for each. `cargo bench --features testing --bench streams -- [--seconds S]`
//!
//! The network is a fake one that takes 2 ms and 0.2 ms per crop on a device that runs one batch at a time, whichever
//! engine it comes from, as one GPU would. Streams are live, 30 frames a second with a random phase and up to 3 ms of
//! jitter; a camera whose frame is not taken in time loses the next ones. Prints tables, draws benches/streams.svg, and
//! says whether two promises on latency hold.

#[path = "../examples/support/output.rs"]
mod output;

use std::{
    error::Error,
    fmt::Write,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;
use gstrtmpose::{
    engine::{self, Backend, Executor, Loading, MonotonicClock, Slot},
    meta,
    network::Network,
    posebatch::{RtmPoseBatch, testing},
};

const STREAMS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 30);
const JITTER: Duration = Duration::from_millis(3);
const CAPS: &str = "video/x-raw,format=RGB,width=64,height=64,framerate=30/1";

fn run_time(crops: usize) -> Duration {
    Duration::from_millis(2) + Duration::from_micros(200) * crops as u32
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut seconds = 5.0;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            // `cargo bench` adds this argument.
            "--bench" => (),
            "--seconds" => seconds = arguments.next().ok_or("--seconds needs a value")?.parse()?,
            other => return Err(format!("no option {other}: see the top of benches/streams.rs").into()),
        }
    }
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/streams.svg"));
    output::make_folder_of(file)?;
    gst::init()?;
    gstrtmpose::plugin_register_static()?;
    println!("| streams | engine | crops/s | p50, ms | p99, ms | mean fill | not inferred | lost |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut figures = [Vec::new(), Vec::new()];
    for streams in STREAMS {
        for (shared, figures) in [true, false].into_iter().zip(&mut figures) {
            let result = measure(streams, shared, false, Duration::from_secs_f64(seconds))?;
            let engine = if shared { "shared" } else { "private" };
            println!("| {streams} | {engine} | {result} |");
            figures.push(result);
        }
    }
    let beside_a_file = measure(7, true, true, Duration::from_secs_f64(seconds))?;
    println!("| 7, beside a 4K file | shared | {beside_a_file} |");
    let shared = |streams| &figures[0][STREAMS.iter().position(|number| *number == streams).unwrap_or(0)];
    let ms = |milliseconds| Duration::from_millis(milliseconds);
    // Sampling a crop of these small frames takes almost no time.
    let (eight, one) = (ms(15) + 2 * run_time(8) + ms(2), run_time(1) + ms(3));
    promise("8 cameras: p99", shared(8).p99, "15 ms + 2 runs + 2 ms", eight);
    promise(
        "7 cameras beside a 4K file: p99",
        beside_a_file.p99,
        "15 ms + 2 runs + its own run",
        ms(15) + 3 * run_time(8),
    );
    promise("1 camera: p50", shared(1).p50, "1 run + 3 ms", one);
    std::fs::write(file, draw(&figures)?)?;
    Ok(())
}

fn promise(what: &str, measured: Duration, bound: &str, most: Duration) {
    let verdict = if measured <= most { "holds" } else { "DOES NOT HOLD" };
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    println!("{what} {:.1} ms <= {bound} = {:.1} ms: {verdict}", ms(measured), ms(most));
}

/// A device that runs one batch at a time, of any engine.
#[derive(Clone, Default)]
struct Device(Arc<Mutex<()>>);

impl Backend for Device {
    type Network = Network;

    fn open(&self, _: &Loading) -> Result<(Network, Box<dyn Executor>), engine::Error> {
        Ok((Network::simcc(8, 8, 1, "none"), Box::new(self.clone())))
    }
}

impl Executor for Device {
    fn load(&mut self, _: usize, _: &dyn Slot) {}

    fn run(&mut self, rows: usize, _: &mut [f32]) -> Result<usize, engine::Error> {
        let _turn =
            self.0.lock().map_err(|_| engine::Error::new(engine::ErrorKind::Run, "the device broke"))?;
        thread::sleep(run_time(rows));
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        vec![8]
    }
}

struct Figures {
    rate: f64,
    p50: Duration,
    p99: Duration,
    fill: f64,
    not_inferred: f64,
    lost: f64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        write!(f, "{:.0} | {:.1} | {:.1} | {:.2} | ", self.rate, ms(self.p50), ms(self.p99), self.fill)?;
        write!(f, "{:.0} % | {:.0} %", self.not_inferred * 100.0, self.lost * 100.0)
    }
}

/// Cameras, and on request one more stream that is not live: 4K frames, as fast as the element takes them.
fn measure(
    streams: usize,
    shared: bool,
    with_file: bool,
    length: Duration,
) -> Result<Figures, Box<dyn Error>> {
    let device = Device::default();
    let mut elements: Vec<_> = (0..streams + usize::from(with_file))
        .map(|_| {
            let element = gst::ElementFactory::make("rtmposebatch")
                .property_from_str("inference-region", "full-frame")
                .build()?;
            let element = element.downcast::<RtmPoseBatch>().map_err(|_| "no rtmposebatch")?;
            if shared {
                element.set_property("model-instance-id", format!("streams-{streams}"));
            }
            testing::inject(&element, Arc::new(device.clone()), Arc::new(MonotonicClock::default()));
            element.set_state(gst::State::Playing)?;
            Ok(element)
        })
        .collect::<Result<_, Box<dyn Error>>>()?;
    let file_element = elements.split_off(streams).pop();
    // Frames of the first second do not count: the element learns the frame intervals.
    let start = Instant::now() + Duration::from_millis(100);
    let counted = start + Duration::from_secs(1);
    let (sender, frames) = mpsc::channel();
    let lost: u32 = thread::scope(|scope| {
        let cameras: Vec<_> = elements
            .iter()
            .enumerate()
            .map(|(index, element)| {
                let sender = sender.clone();
                scope.spawn(move || camera(element, index as u64, start, counted, counted + length, sender))
            })
            .collect();
        if let Some(element) = &file_element {
            scope.spawn(move || file(element, counted + length));
        }
        cameras.into_iter().map(|camera| camera.join().expect("a camera does not panic")).sum()
    });
    drop(sender);
    let stats: Vec<_> = elements.iter().map(|element| element.property::<gst::Structure>("stats")).collect();
    let fill: f64 = stats.iter().filter_map(|stats| stats.get::<f64>("mean-fill").ok()).sum();
    elements
        .iter()
        .chain(&file_element)
        .try_for_each(|element| element.set_state(gst::State::Null).map(drop))?;
    let (mut took, mut not_inferred) = (Vec::new(), 0);
    for (arrived, left, inferred) in frames.iter().filter(|(arrived, ..)| *arrived >= counted) {
        if inferred { took.push(left - arrived) } else { not_inferred += 1 }
    }
    took.sort_unstable();
    let percentile = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let frames = (took.len() + not_inferred) as f64;
    Ok(Figures {
        rate: took.len() as f64 / length.as_secs_f64(),
        p50: percentile(0.5),
        p99: percentile(0.99),
        fill: fill / streams as f64,
        not_inferred: not_inferred as f64 / frames,
        lost: f64::from(lost) / (frames + f64::from(lost)),
    })
}

/// A file that is decoded faster than the element takes frames.
fn file(element: &RtmPoseBatch, end: Instant) {
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(|_, _, _| Ok(gst::FlowSuccess::Ok))
        .event_function(|_, _, _| true)
        .build();
    let source = gst::Pad::builder(gst::PadDirection::Src).build();
    connect(&source, element, &sink, "video/x-raw,format=NV12,width=3840,height=2160,framerate=60/1");
    let frame = gst::Buffer::with_size(3840 * 2160 * 3 / 2).expect("there is memory");
    while Instant::now() < end {
        source.push(frame.copy()).expect("the frame is taken");
    }
}

/// Puts the element between two pads and begins a stream.
fn connect(source: &gst::Pad, element: &RtmPoseBatch, sink: &gst::Pad, caps: &str) {
    let pad = |name| element.static_pad(name).expect("the element has both pads");
    source.link(&pad("sink")).expect("pads link");
    pad("src").link(sink).expect("pads link");
    sink.set_active(true).expect("the pad starts");
    source.set_active(true).expect("the pad starts");
    source.push_event(gst::event::StreamStart::new("bench"));
    source.push_event(gst::event::Caps::new(&caps.parse().expect("caps are right")));
    source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
}

/// When a frame came in, when it went out, and whether it carries people.
type Passage = (Instant, Instant, bool);

/// A live camera upstream of one element. Returns the number of frames that were lost because the element had
/// not taken the frame before.
fn camera(
    element: &RtmPoseBatch,
    number: u64,
    start: Instant,
    counted: Instant,
    end: Instant,
    sender: mpsc::Sender<Passage>,
) -> u32 {
    let (ended, end_of_stream) = mpsc::channel();
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, buffer| {
            let arrived = start + Duration::from(buffer.pts().unwrap_or_default());
            let _ = sender.send((arrived, Instant::now(), meta::read(&buffer).next().is_some()));
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(move |_, _, event| {
            if event.type_() == gst::EventType::Eos {
                let _ = ended.send(());
            }
            true
        })
        .build();
    let source = gst::Pad::builder(gst::PadDirection::Src)
        .query_function(|_, _, query| match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                true
            }
            _ => false,
        })
        .build();
    connect(&source, element, &sink, CAPS);

    let mut random = number * 7919 + 1;
    let mut below = |limit: Duration| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        limit.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
    };
    let mut due = start + below(FRAME);
    let mut lost = 0;
    while due < end {
        let moment = due + below(2 * JITTER);
        due += FRAME;
        let now = Instant::now();
        if now > moment + FRAME {
            lost += u32::from(moment >= counted);
            continue;
        }
        thread::sleep(moment.saturating_duration_since(now));
        let mut buffer = gst::Buffer::with_size(64 * 64 * 3).expect("there is memory");
        let arrived = gst::ClockTime::try_from(start.elapsed()).unwrap_or_default();
        buffer.make_mut().set_pts(arrived);
        source.push(buffer).expect("the frame is taken");
    }
    source.push_event(gst::event::Eos::new());
    // Waits until all frames have come out.
    end_of_stream.recv().expect("the stream ends");
    lost
}

/// A drawing of crops a second and of latency, side by side, by number of streams.
fn draw(figures: &[Vec<Figures>; 2]) -> Result<String, std::fmt::Error> {
    // The first line is wide, so that it shows under the second.
    const LINES: [(&str, u32); 2] = [("#1668c7", 5), ("#c75416", 2)];
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 330\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"330\" fill=\"white\"/>\n",
    );
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    type Curve = (fn(&Figures) -> f64, &'static str);
    let rate: &[Curve] = &[(|figures| figures.rate, "")];
    let latency: &[Curve] = &[
        (|figures| figures.p50.as_secs_f64() * 1000.0, ""),
        (|figures| figures.p99.as_secs_f64() * 1000.0, " stroke-dasharray=\"6 4\""),
    ];
    let most_ms = figures.iter().flatten().map(|figures| ms(figures.p99)).fold(1.0, f64::max);
    let panels = [
        (60.0, "crops a second", rate, 1000.0, 200.0),
        (430.0, "ms from in to out (p99 dashed)", latency, (most_ms / 20.0).ceil() * 20.0, 20.0),
    ];
    for (left, title, curves, top, step) in panels {
        let x = |index: usize| left + 56.0 * index as f64;
        let y = |value: f64| 280.0 - 230.0 * value / top;
        writeln!(svg, "<text x=\"{left}\" y=\"30\" font-size=\"14\">{title}</text>")?;
        let step = step * (top / step / 6.0f64).ceil();
        for line in (0..).map(|line| f64::from(line) * step).take_while(|value| *value <= top) {
            let (y, end, label) = (y(line), left + 290.0, left - 8.0);
            writeln!(svg, "<path d=\"M{left} {y:.1}H{end}\" stroke=\"#ddd\"/>")?;
            writeln!(svg, "<text x=\"{label}\" y=\"{:.1}\" text-anchor=\"end\">{line}</text>", y + 4.0)?;
        }
        for (index, streams) in STREAMS.iter().enumerate() {
            writeln!(svg, "<text x=\"{}\" y=\"298\" text-anchor=\"middle\">{streams}</text>", x(index))?;
        }
        writeln!(
            svg,
            "<text x=\"{}\" y=\"318\" text-anchor=\"middle\">streams of 30 fps</text>",
            left + 140.0
        )?;
        for ((value, dashes), (figures, (colour, width))) in
            curves.iter().flat_map(|curve| figures.iter().zip(LINES).map(move |line| (curve, line)))
        {
            let points: Vec<_> = figures
                .iter()
                .enumerate()
                .map(|(index, figures)| format!("{:.1},{:.1}", x(index), y(value(figures))))
                .collect();
            let points = points.join(" ");
            writeln!(
                svg,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}/>"
            )?;
        }
    }
    for (index, name) in ["one engine for all", "an engine for each"].iter().enumerate() {
        let (y, (colour, _)) = (50 + 18 * index, LINES[index]);
        writeln!(svg, "<text x=\"76\" y=\"{y}\" fill=\"{colour}\">{name}</text>")?;
    }
    svg += "</svg>\n";
    Ok(svg)
}
