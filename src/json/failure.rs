//! Why something cannot be written, for the user.

pub struct Failure {
    pub kind: Kind,
    pub text: String,
}

pub enum Kind {
    Settings,
    Encode,
    Resource(gst::ResourceError),
}

impl From<gst::ResourceError> for Kind {
    fn from(error: gst::ResourceError) -> Self {
        Self::Resource(error)
    }
}

impl Failure {
    pub fn settings(text: impl Into<String>) -> Self {
        Self { kind: Kind::Settings, text: text.into() }
    }
}
