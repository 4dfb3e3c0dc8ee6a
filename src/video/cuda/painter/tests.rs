//! How long drawing takes on an NVIDIA GPU: ignored by default.

use std::time::Instant;

use cudarc::driver::CudaContext;
use gst::prelude::*;

use super::*;

/// Prints how long ten people take on a 1080p NV12 frame: at most 1 ms is wanted on an H100.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn how_long_ten_people_take_on_a_card() {
    const RUNS: u32 = 200;
    gst::init().unwrap();
    let context = CudaContext::new(0).unwrap();
    context.bind_to_thread().unwrap();
    let owner: gst::Object = gst::Pipeline::new().upcast();
    let mut painter = Painter::open(context.cu_ctx().cast(), owner).unwrap();
    let (width, height) = (1920usize, 1080usize);
    // SAFETY: it is freed below, when nothing is drawn any more.
    let frame = unsafe { result::malloc_sync(width * height * 3 / 2) }.unwrap();
    let chroma = frame + (width * height) as u64;
    let layer = Layer {
        data: [frame, 0, 0, 0],
        row_stride: width as i32,
        pixel_stride: 1,
        width: width as i32,
        height: height as i32,
        step: [1.0, 1.0],
        origin: [0.0, 0.0],
        components: 1,
        part: [0, 0, 0, 0],
    };
    let layers = [
        layer,
        Layer {
            data: [chroma, chroma + 1, 0, 0],
            pixel_stride: 2,
            width: width as i32 / 2,
            height: height as i32 / 2,
            step: [2.0, 2.0],
            origin: [0.0, 0.5],
            components: 2,
            part: [1, 2, 0, 0],
            ..layer
        },
    ];
    // 16 bones and 17 points of each, of a person 170 pixels wide and 800 high.
    let strokes: Vec<_> = (0..10)
        .flat_map(|person| {
            let place = move |point: usize| {
                let (x, y) = ((point * 7 % 17) as f32 * 10.0, (point * 11 % 17) as f32 * 47.0);
                (20.0 + 185.0 * person as f32 + x, 140.0 + y)
            };
            let bones = (0..16).map(move |bone| (place(bone), place(bone + 1), 2.5));
            bones.chain((0..17).map(move |point| (place(point), place(point), 5.0)))
        })
        .map(|(from, to, radius)| Stroke::new(from, to, radius, [200, 90, 150, 255]))
        .collect();
    let mut draw = || layers.iter().for_each(|layer| painter.draw_layer(layer, &strokes).unwrap());
    (0..50).for_each(|_| draw());
    let started = Instant::now();
    (0..RUNS).for_each(|_| draw());
    let all = started.elapsed() / RUNS;
    // The kernels alone: neither the upload of their data nor the wait for the end.
    let kernels: f32 = layers.iter().map(|layer| painter.kernel_time(layer, &strokes)).sum();
    eprintln!("ten people drawn on 1080p NV12: {all:?} a frame, of which the kernels take {kernels:.3} ms");
    // SAFETY: it was allocated above.
    unsafe { result::free_sync(frame) }.unwrap();
}

impl Painter {
    /// Milliseconds that the GPU takes for a layer, by its own events: the mean of some runs.
    fn kernel_time(&mut self, layer: &Layer, strokes: &[Stroke]) -> f32 {
        const RUNS: u32 = 100;
        let create = || result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).unwrap();
        let (start, end) = (create(), create());
        // Its data is still there from the last drawing.
        let Tiles { tiles, list } = Tiles::of(layer, strokes);
        self.draw_layer(layer, strokes).unwrap();
        let places = self.places(strokes, &tiles);
        assert!(!list.is_empty());
        // SAFETY: everything that the kernel reads lives, and the kernel has finished when this returns.
        unsafe {
            result::event::record(start, self.stream).unwrap();
            (0..RUNS).for_each(|_| self.launch(layer, places, tiles.len()).unwrap());
            result::event::record(end, self.stream).unwrap();
            result::stream::synchronize(self.stream).unwrap();
            let took = result::event::elapsed(start, end).unwrap();
            result::event::destroy(start).unwrap();
            result::event::destroy(end).unwrap();
            took / RUNS as f32
        }
    }
}
