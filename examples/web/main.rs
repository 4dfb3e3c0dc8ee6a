//! Key points in the browser: cameras and files as a wall of tiles, with skeletons drawn by the page, and the engine's
//! statistics.
//!
//!     cargo run --release --example web -- video.mp4 rtsp://camera.example/stream
//!
//! `--help` lists the options; docs/browser.md describes the page. The files:
//!
//! - `support/inputs.rs` opens the inputs, and opens them again when they fail, as in examples/cameras.rs.
//! - `pictures.rs` makes WebM from the frames, each with its people.
//! - `stream.rs` keeps the latest part of it for viewers, and lets a slow viewer continue with the newest frame.
//! - `server.rs` serves the page and the streams, `access.rs` decides to whom.
//! - `page/` is the page, as it is sent.

mod access;
#[path = "../support/inputs.rs"]
mod inputs;
mod news;
#[path = "../support/passwords.rs"]
mod passwords;
mod pictures;
#[path = "../support/pipeline.rs"]
mod pipeline;
mod server;
mod stream;

use std::{
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use gst::prelude::*;
use gstrtmpose::pose::Skeleton;
use inputs::{Inputs, Step};
use news::News;
use passwords::{run_masked, say};
use pipeline::Result;

/// Finds people's key points in many videos at once, with one model, and shows them in the browser.
///
/// The tile of an input that fails says so; the input is opened again, as in the example `cameras`. A video file plays at
/// its own speed. Frames are encoded only while a browser shows them.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    inputs: inputs::Watched,
    /// Play files again when they have ended
    #[arg(long)]
    repeat: bool,
    /// Address and port to listen on. An address that is not a loopback address needs --token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Token that a browser must send: 16 characters or more, for example from `openssl rand -hex 16`. @FILE reads it from
    /// a file, so that it is not in the list of processes
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    #[command(flatten)]
    size: pictures::Size,
}

fn main() -> ExitCode {
    run_masked(run)
}

fn run(options: Options) -> Result<()> {
    gst::init()?;
    // A program that is not linked with the plugin omits this, and needs the plugin in GStreamer's plugin path.
    gstrtmpose::plugin_register_static()?;
    let token = token(&options)?;
    let listener = TcpListener::bind(options.listen).map_err(|error| {
        format!("cannot serve at {}: {error}; choose another with --listen", options.listen)
    })?;
    let address = listener.local_addr()?;
    let mut inputs = Inputs::new(options.inputs)?;
    inputs.repeat = options.repeat;
    let streams: Vec<_> = inputs.inputs.iter().map(|_| Default::default()).collect();
    let (mut news, watched) = News::new();
    let shared = server::Shared {
        access: access::Access::new(token.as_deref(), address.port()),
        streams: streams.clone(),
        news: watched,
        skeleton: skeleton(&inputs),
    };
    server::serve(listener, shared)?;
    match address.ip().is_unspecified() {
        true => say(format!("Watch at http://127.0.0.1:{0}/, elsewhere at http://HOST:{0}/", address.port())),
        false => say(format!("Watch at http://{address}/")),
    }
    let pictures = pictures::Pictures { size: options.size, streams };
    let end = inputs.options.seconds.map(|seconds| Instant::now() + seconds);
    while end.is_none_or(|end| Instant::now() < end) {
        let until = end.into_iter().fold(news.next(), Instant::min);
        if let Step::End = inputs.step(until, &pictures)? {
            break;
        }
        news.tell(&inputs)?;
    }
    inputs.finish(None)
}

/// The skeleton in the model's settings, if there is one.
fn skeleton(inputs: &Inputs) -> Option<&'static Skeleton> {
    let pose = inputs.network.0.by_name("pose")?;
    Skeleton::find(&pose.property::<Option<String>>("skeleton")?).ok()
}

/// The token, if there is one. It is required if other machines can reach the page.
fn token(options: &Options) -> Result<Option<String>> {
    let token = match options.token.as_deref().map(|token| (token, token.strip_prefix('@'))) {
        Some((_, Some(file))) => Some(
            std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?.trim().to_string(),
        ),
        Some((token, None)) => Some(token.to_string()),
        None if options.listen.ip().is_loopback() => None,
        None => {
            return Err(format!(
                "other machines reach {}: only with --token, so that not everybody there can watch",
                options.listen
            )
            .into());
        }
    };
    match token {
        Some(token) if token.chars().count() < access::TOKEN_LENGTH => Err(format!(
            "the token can be guessed: --token takes {} characters or more, such as `openssl rand -hex 16` prints",
            access::TOKEN_LENGTH
        )
        .into()),
        token => Ok(token),
    }
}
