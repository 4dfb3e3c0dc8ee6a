//! The pixel formats of both elements: what is sampled and drawn on without a conversion, the most usual first.

use gst_video::VideoFormat::{self, *};

pub(crate) const FORMATS: [VideoFormat; 17] =
    [Nv12, I420, Rgb, Bgr, Rgbx, Bgrx, Xrgb, Xbgr, Rgba, Bgra, Argb, Abgr, Nv21, Yv12, Yuy2, Uyvy, Gray8];
