//! People <-> buffer metadata: the only place that writes and reads `RtmPoseMeta` and GstAnalytics (`analytics`, a build
//! feature), and that reads the regions of people which upstream elements found.
//!
//! `RtmPoseMeta` is a GstCustomMeta without tags, so it stays on the buffer through conversion and scaling.
//!
#![doc = include_str!("../../docs/metadata.md")]

#[cfg(feature = "v1_26")]
pub mod analytics;
mod detections;
mod people;
mod person;
mod regions;

use std::fmt;
use std::sync::Once;

use gst::meta::CustomMeta;

use crate::pose::{Person, Skeleton};

pub use detections::{FrameDetections, was_looked_at, write_detections};
pub use person::PersonRegion;
pub use regions::person_regions;

/// Name of the custom meta.
pub const NAME: &str = "RtmPoseMeta";

/// The people of one frame, as one element found them.
#[derive(Clone, Debug, PartialEq)]
pub struct FramePeople {
    /// Name of the element that found them.
    pub source: String,
    /// Width of the frame in pixels; above 0.
    pub width: u32,
    /// Height of the frame in pixels; above 0.
    pub height: u32,
    /// A name of [`crate::pose::Skeleton`], or `custom-K`.
    pub skeleton: String,
    /// Key points of each person, K.
    pub points: usize,
    /// The people, in the frame's own pixels: those of `width` x `height`, square or not.
    pub people: Vec<Person>,
    /// The people are those of an earlier frame; this one was not inferred.
    pub carried: bool,
}

impl FramePeople {
    /// The skeleton of the people: `asked` if it has as many points, else the one with that name. A skeleton with another
    /// number of points than `points` does not fit.
    pub fn skeleton_or(&self, asked: Option<&'static Skeleton>) -> Option<&'static Skeleton> {
        let fits = |skeleton: &&Skeleton| skeleton.points == self.points;
        asked.filter(fits).or_else(|| Skeleton::by_name(&self.skeleton).filter(fits))
    }

    /// Converts the people to pixels of a frame of another size, if the frame was scaled.
    pub fn scale_to(&mut self, width: u32, height: u32) {
        if (self.width, self.height) == (width, height) {
            return;
        }
        let by = [width as f32 / self.width as f32, height as f32 / self.height as f32];
        self.people.iter_mut().for_each(|person| person.scale(by));
        (self.width, self.height) = (width, height);
    }
}

/// Why an `RtmPoseMeta` cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaError {
    /// A field is missing, or has another type than this.
    Field { name: &'static str, expected: &'static str },
    /// A version below 1.
    Version(u32),
    /// Width or height of the frame is 0.
    FrameSize { width: u32, height: u32 },
    /// The bytes of a field do not fit `people` and `points`.
    Length { name: &'static str, expected: u128, found: usize },
    /// A person to be written has another number of key points than `points`.
    KeyPoints { person: usize, expected: usize, found: usize },
    /// More people or points than a uint can hold.
    TooMany,
    /// GStreamer refused the meta: another library registered the name for something else.
    Refused,
}

impl fmt::Display for MetaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { name, expected } => {
                write!(f, "field '{name}' is missing or not of type {expected}")
            }
            Self::Version(version) => write!(f, "version {version} is unknown, expected 1 or above"),
            Self::FrameSize { width, height } => write!(f, "a frame of {width}x{height} cannot hold people"),
            Self::Length { name, expected, found } => {
                write!(f, "field '{name}' has {found} bytes, expected {expected}")
            }
            Self::KeyPoints { person, expected, found } => {
                write!(f, "person {person} has {found} key points, expected {expected}")
            }
            Self::TooMany => write!(f, "too many people or points"),
            Self::Refused => write!(f, "GStreamer refused to add {NAME}"),
        }
    }
}

impl std::error::Error for MetaError {}

/// Registers `RtmPoseMeta` with GStreamer, unless it is registered. It may be called repeatedly, from any thread; GStreamer
/// must be initialised.
pub fn init() {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        for name in [NAME, detections::NAME] {
            if !CustomMeta::is_registered(name) {
                CustomMeta::register(name, &[]);
            }
        }
    });
}

/// Adds the people to the buffer, beside those of other elements. Adds nothing on an error.
pub fn write(buffer: &mut gst::BufferRef, people: &FramePeople) -> Result<(), MetaError> {
    init();
    let fields = people::Fields::new(people)?;
    let mut meta = CustomMeta::add(buffer, NAME).map_err(|_| MetaError::Refused)?;
    fields.store(people, meta.mut_structure());
    Ok(())
}

/// Every `RtmPoseMeta` of the buffer, in the order in which they were added. What other code wrote is not trusted: a meta
/// that breaks the contract is an error by itself, and no more memory is used than its bytes need.
pub fn read(buffer: &gst::BufferRef) -> impl Iterator<Item = Result<FramePeople, MetaError>> {
    buffer.iter_meta::<gst::Meta>().filter_map(|meta| {
        let meta = meta.try_as_custom_meta()?;
        meta.has_name(NAME).then(|| people::read(meta.structure()))
    })
}
