//! Compares the element with rtmlib, on the CPU: same model, same RGB frames of real pictures, same boxes, stage by stage.
//! `reference.py` beside this file runs rtmlib and writes the results of its stages.
//!
//! A short form runs with all tests. `make parity` (`PARITY=whole`) uses 1,000 random boxes and more pictures. If rtmlib is
//! not in the project's Python (`make test` installs it, `make setup` does not), it is skipped; with `CI=true` that is a
//! failure.

#[path = "../network_rig/mod.rs"]
mod network_rig;

mod detectors;
mod reference;

use std::collections::HashSet;

use gst_video::VideoFormat;
use gstrtmpose::pose::{KeyPoint, Region, Side, Skeleton};
use gstrtmpose::video::{ChromaSite, Colour, Component, Crop, Picture, Sampler};

use network_rig::picture;
use reference::{Answer, Frame, Kind, Size};

/// Largest difference of numbers computed from the same crop.
const ROUNDING: f32 = 1e-4;
/// Largest difference between our matrix and rtmlib's, as a position in the frame, in pixels.
const MATRIX_PIXELS: f64 = 1e-4;
/// Largest distance of the same point, in pixels of the crop: one bin. The rest is rounding.
const NETWORK_PIXELS: f32 = 0.5 + 1e-3;
/// Points with at least this score count as seen, only in the printed figures.
const SEEN: f32 = 0.3;

/// Skips the test if rtmlib is not installed.
macro_rules! reference_or_skip {
    () => {
        match reference::get() {
            Some(reference) => reference,
            None => return,
        }
    };
}

/// Names, mirror images and links of the skeletons are rtmlib's. (rtmlib has no face of 106 points, and has the
/// same points of animals under other names.)
#[test]
fn skeletons_equal_rtmlibs() {
    let reference = reference_or_skip!();
    for skeleton in Skeleton::all().iter().filter(|skeleton| skeleton.name != "face-106") {
        let lines = |kind: &'static str| {
            let of =
                reference.skeletons.iter().filter(move |line| line[0] == kind && line[1] == skeleton.name);
            of.map(|line| (line[2].as_str(), line[3].as_str()))
        };
        let names: Vec<_> = lines("point").map(|(name, _)| name).collect();
        assert_eq!(names.len(), skeleton.points, "{}", skeleton.name);
        if skeleton.name != "ap10k-17" {
            assert_eq!(skeleton.point_names(), names);
        }
        let undirected = |a: usize, b: usize| (a.min(b), a.max(b));
        let index = |name: &str| names.iter().position(|known| *known == name);
        for (point, (name, mirror)) in lines("point").enumerate() {
            let expected = match index(mirror)
                .filter(|mirror| *mirror != point)
                .map(|mirror| skeleton.side(mirror))
            {
                None => Side::Centre,
                Some(Side::Left) => Side::Right,
                Some(Side::Right) => Side::Left,
                Some(Side::Centre) => panic!("{}: {mirror} has no side, but mirrors {name}", skeleton.name),
            };
            assert_eq!(skeleton.side(point), expected, "{}: {name}", skeleton.name);
        }
        let ours = skeleton.links.iter().map(|&(a, b)| undirected(usize::from(a), usize::from(b)));
        let theirs = lines("link").map(|(a, b)| undirected(index(a).unwrap(), index(b).unwrap()));
        assert_eq!(ours.collect::<HashSet<_>>(), theirs.collect::<HashSet<_>>(), "{}", skeleton.name);
    }
}

/// Our matrix maps the corners of each crop to the same places in the frame as rtmlib's.
#[test]
fn matrices_equal_rtmlibs() {
    for size in &reference_or_skip!().sizes {
        let mut largest = 0.0f64;
        for case in &size.cases {
            let crop = size.crop(case);
            let (width, height) = (f64::from(size.width), f64::from(size.height));
            let [[a, b, c], [d, e, f]] = case.matrix;
            let determinant = a * e - b * d;
            for (x, y) in [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)] {
                // rtmlib's matrix, inverted.
                let theirs =
                    ((e * (x - c) - b * (y - f)) / determinant, (a * (y - f) - d * (x - c)) / determinant);
                let ((cx, cy), (sw, sh)) = (crop.centre(), crop.size());
                let (cx, cy, sw, sh) = (f64::from(cx), f64::from(cy), f64::from(sw), f64::from(sh));
                let ours = ((x - width / 2.0) * sw / width + cx, (y - height / 2.0) * sh / height + cy);
                let difference = (ours.0 - theirs.0).abs().max((ours.1 - theirs.1).abs());
                assert!(
                    difference <= MATRIX_PIXELS,
                    "{}: {:?} at {x}, {y}: {ours:?}, not {theirs:?}",
                    size.name,
                    case.region
                );
                largest = largest.max(difference);
            }
        }
        println!("matrices {}: {} boxes, largest difference {largest:.1e} px", size.name, size.cases.len());
    }
}

/// Our pixels equal rtmlib's within 1 grey level where OpenCV interpolates exactly. Elsewhere they may differ
/// by what its rounding of positions to 1/32 pixel causes: half of that, times the step from pixel to pixel, in
/// both directions.
#[test]
fn crops_equal_rtmlibs() {
    let reference = reference_or_skip!();
    for size in &reference.sizes {
        let mut sampler = Sampler::new(size.width, size.height, 1.0);
        let mut ours = vec![0; size.crop_bytes()];
        for (kind, most, most_mean) in
            [(Kind::Mark, 9, 0.5), (Kind::Random, 9, 0.5), (Kind::Aligned, 1, 0.25)]
        {
            let (mut largest, mut largest_mean, mut count) = (0, 0.0f64, 0);
            for case in size.cases.iter().filter(|case| case.kind == kind) {
                sampler.sample(&picture_of(&reference.frames[case.frame]), &size.crop(case), &mut ours);
                let differences = || ours.iter().zip(&case.crop).map(|(a, b)| a.abs_diff(*b));
                let max = differences().max().unwrap();
                let mean = differences().map(f64::from).sum::<f64>() / ours.len() as f64;
                assert!(
                    max <= most && mean <= most_mean,
                    "{} {kind:?} {:?}: mean {mean:.3}, max {max}",
                    size.name,
                    case.region
                );
                (largest, largest_mean) = (largest.max(max), largest_mean.max(mean));
                count += 1;
            }
            println!(
                "crops {} {kind:?}: {count}, largest difference {largest}, largest mean {largest_mean:.3}",
                size.name
            );
        }
    }
}

/// The network's answer to rtmlib's own crops: the same bins, or ties, and the same scores in both modes. Both
/// modes together are the maxima of both axes.
#[test]
fn answers_to_the_same_crops_equal_rtmlibs() {
    let reference = reference_or_skip!();
    network_rig::init();
    let size = &reference.sizes[0];
    // Spreads each crop over a frame so that the element samples exactly its pixels: see `spread`.
    let cases: Vec<_> = size.cases.iter().step_by(size.cases.len().div_ceil(reference.exact_crops)).collect();
    let info = picture::video(VideoFormat::Rgb, 5 * size.width, 5 * size.height);
    for mode in ["min", "mean"] {
        let mut rig = reference.start(mode);
        rig.set_video(&info);
        let (mut ties, mut largest) = (0, 0.0f32);
        for case in &cases {
            let mut frame = spread(&case.crop, size);
            let (width, height) = (size.width as i32, size.height as i32);
            picture::add_person(&mut frame, [width / 2, height / 2, 4 * width, 4 * height]);
            let people = rig.find(frame);
            for (point, ours) in people.people[0].key_points.iter().enumerate() {
                let answer = case.answer.as_ref().unwrap();
                let what = format!("{:?}, point {point}, {mode}", case.region);
                for (axis, at) in [ours.x / 5.0, ours.y / 5.0].into_iter().enumerate() {
                    let row = answer.simcc(axis, point);
                    let bin = (2.0 * at).round() as usize;
                    let tie = answer.maximum(axis, point) - row[bin];
                    assert!(tie <= ROUNDING, "{what}: bin {bin} is {tie} below the maximum");
                    ties += usize::from(tie > 0.0);
                }
                let theirs = answer.score(mode, point);
                assert!((ours.score - theirs).abs() <= ROUNDING, "{what}: {} is not {theirs}", ours.score);
                largest = largest.max((ours.score - theirs).abs());
            }
        }
        println!("answers, {mode}: {} crops, {ties} ties, scores differ by {largest:.1e}", cases.len());
    }
}

/// Whole frames: points and scores of the element and of rtmlib, for the same box. A point lies where rtmlib
/// finds it, or its bins are as good as the best in rtmlib's own answer: a tie, up to what OpenCV's rounding of
/// positions changes (almost nothing in the aligned boxes).
#[test]
fn points_equal_rtmlibs() {
    let reference = reference_or_skip!();
    let size = &reference.sizes[0];
    let mut tallies = [(Kind::Mark, 0.02), (Kind::Random, 0.02), (Kind::Aligned, 0.01)]
        .map(|(kind, most)| (kind, most, Tally::default()));
    for mode in ["min", "mean"] {
        let mut rig = reference.start(mode);
        for (index, frame) in reference.frames.iter().enumerate() {
            let cases: Vec<_> = size.cases.iter().filter(|case| case.frame == index).collect();
            let mut buffer = gst::Buffer::from_mut_slice(padded_rows(&frame.rgb, frame.width));
            cases.iter().for_each(|case| picture::add_person(&mut buffer, case.region));
            rig.set_video(&picture::video(VideoFormat::Rgb, frame.width as u32, frame.height as u32));
            let people = rig.find(buffer);
            assert_eq!(people.people.len(), cases.len());
            for (case, person) in cases.iter().zip(&people.people) {
                let answer = case.answer.as_ref().unwrap();
                let crop = size.crop(case);
                let (_, _, tally) = tallies.iter_mut().find(|(kind, ..)| *kind == case.kind).unwrap();
                for (point, ours) in person.key_points.iter().enumerate() {
                    tally.compare(answer, &crop, size, (mode, point), ours);
                }
            }
        }
    }
    for (kind, most, tally) in &tallies {
        println!("points {kind:?}: {tally:?}");
        assert!(tally.compared > 0 && tally.score <= *most && tally.tie <= *most, "{kind:?}: {tally:?}");
    }
}

/// Heat maps of generated networks and pictures, read as by rtmlib's ViTPose: points within a quarter of a
/// map's pixel, scores within a thousandth.
#[test]
fn heat_maps_are_read_as_rtmlib_reads_them() {
    let reference = reference_or_skip!();
    network_rig::init();
    let (crop_size, map_pixel) = ([192.0f32, 256.0], 4.0);
    let (mut apart, mut score) = (0.0f32, 0.0f32);
    for exact in [true, false] {
        let mut rig = reference::start(&network_rig::network("vitpose"), "min");
        let size = if exact { [5 * 192, 5 * 256] } else { [640, 480] };
        rig.set_video(&picture::video(VideoFormat::Rgb, size[0], size[1]));
        let cases: Vec<_> =
            reference.heat_maps.iter().filter(|case| case.region.is_none() == exact).collect();
        assert!(cases.len() >= 20);
        for case in cases {
            let (mut frame, region) = match case.region {
                Some(region) => (gst::Buffer::from_mut_slice(case.rgb.clone()), region),
                None => (spread(&case.rgb, &reference.sizes[0]), [96, 128, 4 * 192, 4 * 256]),
            };
            picture::add_person(&mut frame, region);
            let people = rig.find(frame);
            // Pixels of the frame per pixel of the map.
            let scale = if exact {
                5.0 * map_pixel
            } else {
                let [x, y, width, height] = region.map(|number| number as f32);
                let crop = Crop::new(&Region::new(x, y, width, height), 192, 256).unwrap();
                crop.size().0 / crop_size[0] * map_pixel
            };
            for (point, ours) in people.people[0].key_points.iter().enumerate() {
                let (x, y) = case.points[point];
                let theirs = if exact { [5.0 * x, 5.0 * y] } else { [x, y] };
                let distance = (ours.x - theirs[0]).abs().max((ours.y - theirs[1]).abs()) / scale;
                let difference = (ours.score - case.scores[point]).abs();
                let what = format!("{:?}, point {point}: {ours:?}, not {theirs:?}", case.region);
                assert!(distance <= 0.25, "{what}: {distance} pixels of the map");
                // OpenCV's rounding of positions changes a crop's pixels.
                assert!(difference <= 1e-3, "{what}: {} is not {}", ours.score, case.scores[point]);
                (apart, score) = (apart.max(distance), score.max(difference));
            }
        }
    }
    println!("heat maps: {apart:.1e} pixels of the map, scores {score:.1e} apart at most");
}

#[derive(Debug, Default)]
struct Tally {
    compared: usize,
    /// Points among them that count as seen.
    seen: usize,
    /// Points more than half a pixel of the crop apart: all, and seen ones.
    apart: usize,
    apart_and_seen: usize,
    /// Largest difference of a score.
    score: f32,
    /// For points that are apart: by how much, at most, rtmlib's maximum exceeds its value in our bin.
    tie: f32,
}

impl Tally {
    fn compare(
        &mut self,
        answer: &Answer,
        crop: &Crop,
        size: &Size,
        (mode, point): (&str, usize),
        ours: &KeyPoint,
    ) {
        let theirs = answer.score(mode, point);
        self.compared += 1;
        self.score = self.score.max((ours.score - theirs).abs());
        let seen = usize::from(theirs >= SEEN);
        self.seen += seen;
        // rtmlib moves a point with a mean of 0 or less to -1; the element does not.
        if answer.score("mean", point) <= 0.0 {
            return;
        }
        let ((cx, cy), (sw, sh)) = (crop.centre(), crop.size());
        let (width, height) = (size.width as f32, size.height as f32);
        let in_crop =
            |(x, y): (f32, f32)| [(x - cx) * width / sw + width / 2.0, (y - cy) * height / sh + height / 2.0];
        let (ours, theirs) = (in_crop((ours.x, ours.y)), in_crop(answer.point(point)));
        if (0..2).all(|axis| (ours[axis] - theirs[axis]).abs() <= NETWORK_PIXELS) {
            return;
        }
        self.apart += 1;
        self.apart_and_seen += seen;
        for (axis, at) in ours.into_iter().enumerate() {
            let bin = (2.0 * at).round() as usize;
            self.tie = self.tie.max(answer.maximum(axis, point) - answer.simcc(axis, point)[bin]);
        }
    }
}

fn picture_of(frame: &Frame) -> Picture<'_> {
    let components = [0, 1, 2].map(|i| Component {
        data: &frame.rgb[i..],
        row_stride: frame.width * 3,
        pixel_stride: 3,
        width: frame.width,
        height: frame.height,
    });
    Picture {
        width: frame.width,
        height: frame.height,
        components,
        colour: Colour::Rgb,
        chroma_site: ChromaSite::default(),
    }
}

/// Rows of RGB with GStreamer's padding: a multiple of 4 bytes each.
fn padded_rows(rgb: &[u8], width: usize) -> Vec<u8> {
    let stride = (width * 3).next_multiple_of(4);
    let mut padded = Vec::with_capacity(rgb.len() / (width * 3) * stride);
    for row in rgb.chunks_exact(width * 3) {
        padded.extend_from_slice(row);
        padded.resize(padded.len().next_multiple_of(stride), 0);
    }
    padded
}

/// A frame five times as large, with the crop's pixels five apart. The region is four fifths of the frame, in
/// its middle; padded by 1.25, it is the whole frame. So pixel (i, j) of the crop is sampled exactly at (5i,
/// 5j), without interpolation.
fn spread(crop: &[u8], size: &Size) -> gst::Buffer {
    let (width, height) = (size.width as usize, size.height as usize);
    let stride = 5 * width * 3;
    let mut data = vec![0; stride * 5 * height];
    for (j, row) in crop.chunks_exact(width * 3).enumerate() {
        for (i, pixel) in row.chunks_exact(3).enumerate() {
            data[5 * j * stride + 5 * i * 3..][..3].copy_from_slice(pixel);
        }
    }
    gst::Buffer::from_mut_slice(data)
}
