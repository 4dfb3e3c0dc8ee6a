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
             pattern such as out/%012d_keypoints.json; mqtt://host:port or mqtts://host:port sends messages to a broker (null = none)",
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
            "Skeleton that names the key points of people with that many points: its name, or the path of a TOML \
             file as in rtmposebatch. Not set: the skeleton that the metadata names",
            .mutable_ready();
        topic: Option<String> = None,
            "Topic",
            "Topic of the messages to a broker (null = rtmpose/ and the element's name)",
            .mutable_ready();
        qos: u32 = 0,
            "Quality of service",
            "Of the messages to a broker: 0 = at most once, 1 = at least once, 2 = exactly once as long as the connection holds",
            .maximum(2),
            .mutable_ready();
        retain: bool = false,
            "Retain",
            "The broker keeps the last message, and gives it to whoever comes later",
            .mutable_ready();
        will_topic: Option<String> = None,
            "Last will's topic",
            "Topic on which 'online' stands while there is a connection to the broker, and 'offline' afterwards, also when it was \
             lost; both retained (null = none)",
            .mutable_ready();
        credentials_file: Option<String> = None,
            "Credentials file",
            "File of two lines, the user and the password for the broker (null = the variables RTMPOSE_MQTT_USER and \
             RTMPOSE_MQTT_PASSWORD, where they are set)",
            .mutable_ready();
        ca_file: Option<String> = None,
            "Authorities' file",
            "Certificates in PEM of the authorities that are trusted to know a broker at mqtts:// (null = the system's)",
            .mutable_ready();
    }
}
