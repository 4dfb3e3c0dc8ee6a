//! People in GstAnalytics: what is written and read, through GStreamer's own elements too. Built with `--features v1_26`,
//! `v1_28` or `v1_30` only (`tests/gstreamer-versions` runs them in each of these GStreamers).
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
