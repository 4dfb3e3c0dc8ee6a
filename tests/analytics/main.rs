//! People in GstAnalytics: what is written and read, also through GStreamer's own elements. Only built with `--features
//! v1_26`, `v1_28` or `v1_30` (`tests/gstreamer-versions` runs them with each of these GStreamers).
#![cfg(feature = "v1_26")]

#[path = "../network_rig/mod.rs"]
mod network_rig;

#[cfg(feature = "v1_30")]
mod drawing;
mod elements;
#[cfg(feature = "v1_30")]
mod groups;
mod objects;
mod regions;
mod rig;
