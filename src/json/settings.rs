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
        name = "OpenPose's JSON, a text for each frame: BODY_25 from halpe-26 and coco-wholebody-133, COCO from coco-17",
        nick = "openpose"
    )]
    OpenPose,
    #[enum_value(name = "One list of all people, for COCO's evaluation of key points", nick = "coco")]
    Coco,
}

enumerations!(Format);

settings! {
    /// Values of all writable properties.
    #[derive(Clone, Debug)]
    pub struct Settings {
        location: Option<String> = None,
            "Location",
            "File that also receives the output, created with mode 0600. With format=openpose a pattern for one file per \
             frame, such as out/%012d_keypoints.json. mqtt://host:port or mqtts://host:port sends messages to a broker \
             instead. Not set = source pad only",
            .mutable_ready();
        /// Since: 0.2.0
        format: Format = Format::Lines,
            "Format",
            "Format of the output, on the source pad and at location",
            .mutable_ready();
        overwrite: bool = false,
            "Overwrite",
            "Empty and use an existing file at location; otherwise an existing file is an error",
            .mutable_ready();
        /// Since: 0.2.0
        append: bool = false,
            "Append",
            "Continue an existing file at location (format=lines only)",
            .mutable_ready();
        skeleton: Option<String> = None,
            "Skeleton",
            "Skeleton that names the key points of people with that many points: its name, or the path of a TOML file, as \
             for rtmposebatch; not set = the skeleton in the metadata",
            .mutable_ready();
        /// Since: 0.2.0
        topic: Option<String> = None,
            "Topic",
            "Topic of the messages to a broker; not set = rtmpose/NAME, where NAME is the element's name",
            .mutable_ready();
        /// Since: 0.2.0
        qos: u32 = 0,
            "Quality of service",
            "Quality of service of the messages to a broker: 0 = at most once, 1 = at least once, 2 = exactly once while the \
             connection holds",
            .maximum(2),
            .mutable_ready();
        /// Since: 0.2.0
        retain: bool = false,
            "Retain",
            "The broker keeps the last message for later subscribers",
            .mutable_ready();
        /// Since: 0.2.0
        will_topic: Option<String> = None,
            "Last will topic",
            "Topic that holds 'online' while the element is connected to the broker, and 'offline' afterwards, also after a \
             lost connection; both retained. Not set = no such messages",
            .mutable_ready();
        /// Since: 0.2.0
        credentials_file: Option<String> = None,
            "Credentials file",
            "File with two lines, user and password for the broker; not set = the variables RTMPOSE_MQTT_USER and \
             RTMPOSE_MQTT_PASSWORD, if they are set",
            .mutable_ready();
        /// Since: 0.2.0
        ca_file: Option<String> = None,
            "CA file",
            "PEM file with the authorities that are trusted for mqtts://; not set = the system's authorities",
            .mutable_ready();
    }
}
