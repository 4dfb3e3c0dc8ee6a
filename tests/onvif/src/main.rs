//! What ONVIF's metadata says of people that `rtmposebatch` found: two people in one frame, nobody in the next, one in the last. Also
//! read back by the element that turns ONVIF's metadata into GstAnalytics'.

use std::sync::mpsc;

use gst::prelude::*;
use gst_analytics::AnalyticsMetaRefExt;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;

type Rectangle = (u32, u32, u32, u32);

/// Boxes of people in each frame; the network finds a white square in each.
const FRAMES: [&[Rectangle]; 3] = [&[(100, 80, 150, 200), (400, 200, 120, 240)], &[], &[(10, 20, 100, 300)]];

/// A black RGB frame with a white square in the middle of each box. Upstream marks each box as a person.
fn frame(index: usize) -> gst::Buffer {
    let mut picture = vec![0; WIDTH * HEIGHT * 3];
    for &(x, y, width, height) in FRAMES[index] {
        let (x, y) = ((x + width / 2) as usize, (y + height / 2) as usize);
        for row in y - 10..=y + 10 {
            let start = 3 * (row * WIDTH + x - 10);
            picture[start..start + 63].fill(255);
        }
    }
    let mut buffer = gst::Buffer::from_mut_slice(picture);
    let frame = buffer.get_mut().unwrap();
    frame.set_pts(index as u64 * gst::ClockTime::SECOND);
    for &rectangle in FRAMES[index] {
        gst_video::VideoRegionOfInterestMeta::add(frame, "person", rectangle);
    }
    if FRAMES[index].is_empty() {
        // A detector's empty relation meta: no people.
        gst_analytics::AnalyticsRelationMeta::add(frame);
    }
    buffer
}

/// The texts in ONVIF's metadata of a frame.
fn texts(buffer: &gst::BufferRef) -> Vec<String> {
    let meta = gst::meta::CustomMeta::from_buffer(buffer, "OnvifXMLFrameMeta").expect("no ONVIF metadata");
    let frames = meta.structure().get::<gst::BufferList>("frames").unwrap();
    frames.iter().map(|text| String::from_utf8(text.map_readable().unwrap().to_vec()).unwrap()).collect()
}

/// Box, class and likelihood of each object in the text.
fn objects(text: &str) -> Vec<(Rectangle, String, f64)> {
    let document = roxmltree::Document::parse(text).unwrap();
    document
        .descendants()
        .filter(|node| node.tag_name().name() == "Object")
        .map(|object| {
            let part = |name: &str| object.descendants().find(|node| node.tag_name().name() == name).unwrap();
            let side = |name: &str| part("BoundingBox").attribute(name).unwrap().parse::<u32>().unwrap();
            let (left, top) = (side("left"), side("top"));
            let kind = part("Type");
            let likelihood = kind.attribute("Likelihood").unwrap().parse().unwrap();
            (
                (left, top, side("right") - left, side("bottom") - top),
                kind.text().unwrap().trim().to_string(),
                likelihood,
            )
        })
        .collect()
}

fn boxes_of(buffer: &gst::BufferRef) -> Vec<Rectangle> {
    let Some(meta) = buffer.meta::<gst_analytics::AnalyticsRelationMeta>() else { return Vec::new() };
    meta.iter::<gst_analytics::AnalyticsODMtd>()
        .map(|object| {
            let place = object.location().unwrap();
            (place.x as u32, place.y as u32, place.w as u32, place.h as u32)
        })
        .collect()
}

fn main() {
    gst::init().unwrap();
    gstrsanalytics::plugin_register_static().unwrap();
    gstrtmpose::plugin_register_static().unwrap();
    let network = concat!(env!("CARGO_MANIFEST_DIR"), "/../networks/dots.onnx");
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=in format=time caps=video/x-raw,format=RGB,width={WIDTH},height={HEIGHT},framerate=1/1 \
         ! rtmposebatch execution-provider=cpu model-file={network} ! relationmeta2onvifmeta name=written ! onvifmeta2relationmeta \
         ! appsink name=out sync=false"
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    // The next element removes ONVIF's metadata. It can only have read people from there, because nothing else
    // passes here.
    let (sender, written) = mpsc::channel();
    let pad = pipeline.by_name("written").unwrap().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer_mut().unwrap().make_mut();
        sender.send(texts(buffer)).unwrap();
        while let Some(meta) = buffer.meta_mut::<gst_analytics::AnalyticsRelationMeta>() {
            meta.remove().unwrap();
        }
        gst::PadProbeReturn::Ok
    });
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for index in 0..FRAMES.len() {
        source.push_buffer(frame(index)).unwrap();
    }
    source.end_of_stream().unwrap();

    for (index, expected) in FRAMES.iter().enumerate() {
        let sample = sink.pull_sample().unwrap_or_else(|_| panic!("frame {index} did not arrive"));
        let buffer = sample.buffer().unwrap();
        let texts = written.recv().unwrap();
        assert_eq!(texts.len(), 1, "frame {index}");
        let found = objects(&texts[0]);
        assert_eq!(found.iter().map(|object| object.0).collect::<Vec<_>>(), *expected, "{}", texts[0]);
        for (_, kind, likelihood) in found {
            assert_eq!(kind, "person");
            assert!((0.9..=1.0).contains(&likelihood), "{likelihood}");
        }
        assert_eq!(boxes_of(buffer), *expected, "frame {index}, read back");
    }
    pipeline.set_state(gst::State::Null).unwrap();
    println!(
        "{}: people in {} frames written as ONVIF's metadata and read back",
        gst::version_string(),
        FRAMES.len()
    );
}
