//! The fields of `RtmPoseMeta`: people to bytes and back.

use gst::glib;

use super::{FramePeople, MetaError};
use crate::pose::{KeyPoint, Person, Region};

/// Bytes of one key point: x, y, score as float32.
const KEY_POINT_SIZE: usize = 12;
/// Bytes of one box: x, y, width, height as float32.
const BOX_SIZE: usize = 16;
const SCORE_SIZE: usize = 4;
const DEPTH_SIZE: usize = 4;
/// The field of the depths.
const DEPTHS: &str = "keypoints-z";
const ID_SIZE: usize = 8;
/// Id of a person who is not tracked.
const NO_ID: i64 = -1;

/// Computed before the meta is added, so that an error adds nothing.
pub(super) struct Fields {
    people: u32,
    points: u32,
    key_points: Vec<u8>,
    boxes: Vec<u8>,
    scores: Vec<u8>,
    ids: Vec<u8>,
    /// Empty if no point has a depth.
    depths: Vec<u8>,
}

impl Fields {
    pub(super) fn new(frame: &FramePeople) -> Result<Self, MetaError> {
        let FramePeople { width, height, points, .. } = *frame;
        if width == 0 || height == 0 {
            return Err(MetaError::FrameSize { width, height });
        }
        let count = frame.people.len();
        let mut fields = Self {
            people: u32::try_from(count).map_err(|_| MetaError::TooMany)?,
            points: u32::try_from(points).map_err(|_| MetaError::TooMany)?,
            key_points: Vec::new(),
            boxes: Vec::with_capacity(count * BOX_SIZE),
            scores: Vec::with_capacity(count * SCORE_SIZE),
            ids: Vec::with_capacity(count * ID_SIZE),
            depths: Vec::new(),
        };
        let (width, height) = (width as f32, height as f32);
        let has_depths =
            frame.people.iter().flat_map(|person| &person.key_points).any(|point| point.z.is_some());
        for (index, person) in frame.people.iter().enumerate() {
            let found = person.key_points.len();
            if found != points {
                return Err(MetaError::KeyPoints { person: index, expected: points, found });
            }
            let Region { x, y, width: box_width, height: box_height } = person.region;
            push(&mut fields.boxes, [x / width, y / height, box_width / width, box_height / height]);
            for point in &person.key_points {
                push(&mut fields.key_points, [point.x / width, point.y / height, point.score]);
            }
            if has_depths {
                person
                    .key_points
                    .iter()
                    .for_each(|point| push(&mut fields.depths, [point.z.unwrap_or(f32::NAN)]));
            }
            push(&mut fields.scores, [person.score()]);
            fields.ids.extend(person.id.unwrap_or(NO_ID).to_le_bytes());
        }
        Ok(fields)
    }

    pub(super) fn store(self, frame: &FramePeople, structure: &mut gst::StructureRef) {
        structure.set("version", 1u32);
        structure.set("source", &frame.source);
        structure.set("width", frame.width);
        structure.set("height", frame.height);
        structure.set("skeleton", &frame.skeleton);
        structure.set("people", self.people);
        structure.set("points", self.points);
        structure.set("keypoints", glib::Bytes::from_owned(self.key_points));
        structure.set("boxes", glib::Bytes::from_owned(self.boxes));
        structure.set("scores", glib::Bytes::from_owned(self.scores));
        structure.set("ids", glib::Bytes::from_owned(self.ids));
        if !self.depths.is_empty() {
            structure.set(DEPTHS, glib::Bytes::from_owned(self.depths));
        }
        if frame.carried {
            structure.set("carried", true);
        }
    }
}

pub(super) fn read(structure: &gst::StructureRef) -> Result<FramePeople, MetaError> {
    let version = uint(structure, "version")?;
    if version == 0 {
        return Err(MetaError::Version(version));
    }
    let (width, height) = (uint(structure, "width")?, uint(structure, "height")?);
    if width == 0 || height == 0 {
        return Err(MetaError::FrameSize { width, height });
    }
    let (people, points) = (uint(structure, "people")?, uint(structure, "points")?);
    let points_of_all = u128::from(people) * u128::from(points);
    // Memory for the people is allocated only after all lengths are checked.
    let key_points = bytes(structure, "keypoints", points_of_all * KEY_POINT_SIZE as u128)?;
    let boxes = bytes(structure, "boxes", u128::from(people) * BOX_SIZE as u128)?;
    bytes(structure, "scores", u128::from(people) * SCORE_SIZE as u128)?;
    let ids = bytes(structure, "ids", u128::from(people) * ID_SIZE as u128)?;
    let depths = match structure.has_field(DEPTHS) {
        true => Some(bytes(structure, DEPTHS, points_of_all * DEPTH_SIZE as u128)?),
        false => None,
    };
    let carried = match structure.has_field("carried") {
        true => get(structure, "carried", "boolean")?,
        false => false,
    };
    // The bytes of one person's key points; none if there are no points.
    let stride = (points as usize).saturating_mul(KEY_POINT_SIZE);
    let (frame_width, frame_height) = (width as f32, height as f32);
    let people = boxes
        .chunks_exact(BOX_SIZE)
        .zip(ids.chunks_exact(ID_SIZE))
        .enumerate()
        .map(|(index, (region, id))| {
            let [x, y, w, h] = floats(region);
            let id = i64::from_le_bytes(id.try_into().unwrap_or_default());
            let depth = |point: usize| {
                let at = (index * points as usize + point) * DEPTH_SIZE;
                let [z] = floats(depths.as_ref()?.get(at..at + DEPTH_SIZE)?);
                Some(z).filter(|z| z.is_finite())
            };
            let key_points = key_points[index * stride..(index + 1) * stride]
                .chunks_exact(KEY_POINT_SIZE)
                .map(floats)
                .enumerate()
                .map(|(point, [x, y, score])| KeyPoint {
                    x: x * frame_width,
                    y: y * frame_height,
                    score,
                    z: depth(point),
                })
                .collect();
            Person {
                region: Region::new(x * frame_width, y * frame_height, w * frame_width, h * frame_height),
                key_points,
                id: (id != NO_ID).then_some(id),
            }
        })
        .collect();
    Ok(FramePeople {
        source: get(structure, "source", "string")?,
        width,
        height,
        skeleton: get(structure, "skeleton", "string")?,
        points: points as usize,
        people,
        carried,
    })
}

fn get<'a, T: glib::value::FromValue<'a>>(
    structure: &'a gst::StructureRef,
    name: &'static str,
    expected: &'static str,
) -> Result<T, MetaError> {
    structure.get(name).map_err(|_| MetaError::Field { name, expected })
}

fn uint(structure: &gst::StructureRef, name: &'static str) -> Result<u32, MetaError> {
    get(structure, name, "uint")
}

fn bytes(
    structure: &gst::StructureRef,
    name: &'static str,
    expected: u128,
) -> Result<glib::Bytes, MetaError> {
    let bytes: glib::Bytes = get(structure, name, "GBytes")?;
    match bytes.len() {
        found if found as u128 == expected => Ok(bytes),
        found => Err(MetaError::Length { name, expected, found }),
    }
}

fn push<const N: usize>(bytes: &mut Vec<u8>, values: [f32; N]) {
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
}

/// `N` float32 from `4 N` bytes; what is missing reads as 0.
fn floats<const N: usize>(bytes: &[u8]) -> [f32; N] {
    let mut values = [0.0; N];
    for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    values
}
