//! A region's crop of a picture in any layout: the portable code and the code for this CPU give the same bytes.

use gstrtmpose::pose::Region;
use gstrtmpose::video::{ChromaSite, Colour, Component, Crop, Picture, Sampler, YuvMatrix};

use super::input::Input;

/// Of a picture.
const MOST_BYTES: usize = 8 << 20;

pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let network = [1 + u32::from(input.below(48)), 1 + u32::from(input.below(48))];
    let scale = if input.chance(2) { input.f64() } else { 1.0 };
    let region = Region::new(input.f32(), input.f32(), input.f32(), input.f32());
    let Some(crop) = Crop::new(&region, network[0], network[1]) else { return };
    let (width, height) = (side(&mut input), side(&mut input));
    let colour = match input.below(4) {
        0 => Colour::Gray,
        1 => Colour::Rgb,
        3 => Colour::LimitedRgb,
        _ => Colour::Yuv(YuvMatrix::new(input.f64(), input.f64(), input.chance(2))),
    };
    let chroma_site =
        ChromaSite { horizontally_cosited: input.chance(2), vertically_cosited: input.chance(2) };
    let layouts: [_; 3] = std::array::from_fn(|_| {
        let (across, down) = (1 + usize::from(input.below(2)), 1 + usize::from(input.below(2)));
        let whole = (width.div_ceil(across), height.div_ceil(down));
        let (width, height) = if input.chance(4) { (side(&mut input), side(&mut input)) } else { whole };
        let pixel_stride = usize::from(input.below(5));
        let row_stride = match input.below(4) {
            0 => input.u32() as usize,
            1 => usize::MAX - usize::from(input.byte()),
            _ => width.saturating_mul(pixel_stride).saturating_add(usize::from(input.byte())),
        };
        (width, height, row_stride, pixel_stride, usize::from(input.byte()))
    });
    // As they are, or over and over to some MiB.
    let repeated;
    let pixels = if input.chance(4) && !input.0.is_empty() {
        let most = (width.saturating_mul(height).saturating_mul(4)).min(MOST_BYTES);
        repeated = input.0.iter().copied().cycle().take(most).collect::<Vec<_>>();
        &repeated[..]
    } else {
        input.0
    };
    let components = layouts.map(|(width, height, row_stride, pixel_stride, start)| Component {
        data: pixels.get(start..).unwrap_or_default(),
        row_stride,
        pixel_stride,
        width,
        height,
    });
    let picture = Picture { width, height, components, colour, chroma_site };
    let sample = |mut sampler: Sampler| {
        let mut out = vec![77; (network[0] * network[1] * 3) as usize];
        sampler.sample(&picture, &crop, &mut out);
        out
    };
    let sampler = || Sampler::new(network[0], network[1], scale);
    assert!(sample(sampler()) == sample(sampler().portable()), "not the same crop");
}

/// A picture's side, seldom an absurd one.
fn side(input: &mut Input) -> usize {
    match input.byte() {
        0 => 0,
        1 => input.u32() as usize,
        2 => usize::MAX - usize::from(input.byte()),
        3 => usize::from(input.u16()),
        small => usize::from(small % 40),
    }
}
