//! The element's properties.

use gst::{glib, prelude::*};

use crate::stage::properties::{enumerations, settings};

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmPoseJsonFormat")]
pub enum Format {
    #[default]
    #[enum_value(name = "A line of JSON for each frame", nick = "lines")]
    Lines,
    #[enum_value(
        name = "OpenPose's JSON, one text for each frame: BODY_25 of halpe-26 and coco-wholebody-133, COCO of coco-17",
        nick = "openpose"
    )]
    OpenPose,
    #[enum_value(name = "One list of all people, as COCO's evaluation of key points reads it", nick = "coco")]
    Coco,
}

enumerations!(Format);

settings! {
    /// Values of all writable properties.
    #[derive(Clone, Debug)]
    pub struct Settings {
        location: Option<String> = None,
            "Location",
            "File that is also written to, and that only its owner may read; with format=openpose one for each frame, named by a \
             pattern such as out/%012d_keypoints.json (null = none)",
            .mutable_ready();
        format: Format = Format::Lines,
            "Format",
            "What is written for each frame, to the source pad and to location",
            .mutable_ready();
        overwrite: bool = false,
            "Overwrite",
            "Empty and use the file of location if it exists, which is an error otherwise",
            .mutable_ready();
        append: bool = false,
            "Append",
            "Write behind what the file of location holds, if it exists (format=lines only)",
            .mutable_ready();
        skeleton: Option<String> = None,
            "Skeleton",
            "Whose names the key points of people have who have as many as this set, whatever their metadata \
             says: the set's name, or the path of a TOML file as in rtmposebatch; not set: as the metadata says",
            .mutable_ready();
    }
}
