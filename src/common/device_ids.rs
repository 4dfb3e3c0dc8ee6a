//! The property `device-ids`: several GPUs.

use gst::{glib, prelude::*};

use super::enums::ExecutionProvider;
use crate::{
    engine::{Error, ErrorKind},
    runtime::onnx::Cards,
    stage::properties::{Setting, get},
};

/// As the user wrote it: an empty text is not the same as none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DeviceIds(Option<String>);

impl Setting for DeviceIds {
    type Builder<'a> = glib::ParamSpecStringBuilder<'a>;

    fn specify<'a>(name: &'a str, default: &'a Self) -> Self::Builder<'a> {
        glib::ParamSpecString::builder(name).default_value(default.0.as_deref())
    }

    fn read(value: &glib::Value) -> Self {
        Self(get(value))
    }

    fn write(&self) -> glib::Value {
        self.0.to_value()
    }

    fn text(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |text| format!("\"{text}\""))
    }
}

impl DeviceIds {
    /// The GPUs asked for, if they are several, given these other properties.
    pub fn cards(&self, device_id: i32, provider: ExecutionProvider) -> Result<Option<Cards>, Error> {
        let refused = |text| Error::new(ErrorKind::Settings, text);
        let Some(text) = &self.0 else { return Ok(None) };
        let cards = Cards::parse(text).map_err(|why| refused(format!("device-ids cannot be used: {why}")))?;
        if device_id != 0 {
            return Err(refused(
                "device-id and device-ids are set, but device-ids names all GPUs: set only one of them"
                    .to_string(),
            ));
        }
        let elsewhere = match provider {
            ExecutionProvider::Auto | ExecutionProvider::Cuda | ExecutionProvider::Tensorrt => {
                return Ok(Some(cards));
            }
            ExecutionProvider::Cpu => "cpu",
            ExecutionProvider::Openvino => "openvino",
        };
        Err(refused(format!(
            "device-ids is set, but execution-provider={elsewhere} does not use a GPU: leave device-ids out, or set \
             execution-provider to auto, cuda or tensorrt"
        )))
    }
}
