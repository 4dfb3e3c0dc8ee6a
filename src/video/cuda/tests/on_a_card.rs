//! The kernels on an NVIDIA GPU: ignored by default, `cargo test --release --lib on_a_card -- --ignored` runs them.

use cudarc::driver::{CudaContext, result, sys};

use super::{
    super::{
        super::{ChromaSite, Colour, Crop, Picture, Region, YuvMatrix},
        Device,
        task::{Layout, Task},
    },
    component, for_each_crop, layout, noise,
};

/// A copy on the GPU of bytes of the host.
struct Upload {
    host: std::ops::Range<u64>,
    card: u64,
}

impl Upload {
    fn new(bytes: &[u8]) -> Self {
        let first = bytes.as_ptr().addr() as u64;
        // SAFETY: the memory is as large; it is freed with the process.
        let card = unsafe {
            let card = result::malloc_sync(bytes.len()).unwrap();
            result::memcpy_htod_sync(card, bytes).unwrap();
            card
        };
        Self { host: first..first + bytes.len() as u64, card }
    }

    fn free(self) {
        // SAFETY: `new` has allocated it.
        unsafe { result::free_sync(self.card) }.unwrap();
    }
}

/// The same picture, in the uploaded bytes.
fn moved(mut layout: Layout, uploads: &[Upload]) -> Layout {
    for component in &mut layout.components {
        let upload = uploads.iter().find(|upload| upload.host.contains(&component.data)).unwrap();
        component.data = component.data - upload.host.start + upload.card;
    }
    layout
}

/// GPU 0, whose primary context becomes current.
fn open() -> (Device, std::sync::Arc<CudaContext>) {
    gst::init().unwrap();
    let device = Device::open(0).unwrap();
    let context = CudaContext::new(0).unwrap();
    context.bind_to_thread().unwrap();
    (device, context)
}

/// Crops, letterboxes and stretched frames of all colours and scales: RGB is equal, and nothing differs by more than a grey
/// level.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn the_kernel_samples_on_a_card_as_on_the_processor() {
    let (device, _context) = open();
    let (mut compared, mut equal) = (0, 0);
    for_each_crop(|picture, planes, expected, task_of| {
        let uploads: Vec<_> = planes.iter().map(|plane| Upload::new(plane)).collect();
        let task: Task = task_of(&moved(layout(picture), &uploads));
        let mut found = vec![2; expected.len()];
        // SAFETY: the picture stays on the GPU until the sampling has ended.
        unsafe { device.fetch_crop(&task, task.network(), &mut found) }.unwrap();
        uploads.into_iter().for_each(Upload::free);
        let apart = expected.iter().zip(&found).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        let most = u8::from(!picture.colour.is_rgb());
        assert!(apart <= most, "{:?}: {apart} grey levels apart", picture.colour);
        compared += 1;
        equal += usize::from(apart == 0);
    });
    eprintln!("{equal} of {compared} are equal to the last bit");
}

/// Microseconds on the GPU, by its own events: the mean of some runs after warm-up.
fn timed(stream: sys::CUstream, mut run: impl FnMut()) -> f32 {
    const RUNS: u32 = 200;
    (0..50).for_each(|_| run());
    // SAFETY: the events live until they are read.
    unsafe {
        let [start, end] =
            [(); 2].map(|()| result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).unwrap());
        result::event::record(start, stream).unwrap();
        (0..RUNS).for_each(|_| run());
        result::event::record(end, stream).unwrap();
        result::stream::synchronize(stream).unwrap();
        let took = result::event::elapsed(start, end).unwrap();
        result::event::destroy(start).unwrap();
        result::event::destroy(end).unwrap();
        took * 1000.0 / RUNS as f32
    }
}

/// Prints how long a batch's crops take: 5 % of a run of RTMPose-m in half precision (1.2 ms on an H100) is allowed.
#[test]
#[ignore = "needs an NVIDIA GPU and GStreamer's nvcodec"]
fn how_long_the_crops_of_a_batch_take() {
    let (device, context) = open();
    let (width, height) = (1920, 1080);
    let (luma, chroma) = (noise(width * height, 1), noise(width * height / 2, 2));
    let half = [width / 2, height / 2];
    let picture = Picture {
        width,
        height,
        components: [
            component(&luma, width, 1, [width, height]),
            component(&chroma, width, 2, half),
            component(&chroma[1..], width, 2, half),
        ],
        colour: Colour::Yuv(YuvMatrix::bt709(false)),
        chroma_site: ChromaSite::MPEG2,
    };
    let uploads = [Upload::new(&luma), Upload::new(&chroma)];
    let layout = moved(layout(&picture), &uploads);
    let network = [192, 256];
    let stream = context.new_stream().unwrap();
    for (what, region) in [
        ("the whole of a 1080p frame", Region::new(0.0, 0.0, width as f32, height as f32)),
        ("a person of 300x800 pixels", Region::new(700.0, 100.0, 300.0, 800.0)),
    ] {
        for count in [1u32, 8, 64] {
            let crop = Crop::new(&region, network[0], network[1]).unwrap();
            let task = Task::new(&layout, &crop, network.map(|side| side as i32), 1.0);
            let tasks: Vec<_> = (0..count).map(|row| task.for_row(row as usize)).collect();
            let told = device.tasks(count as usize).unwrap();
            let bytes = count as usize * (network[0] * network[1] * 3) as usize;
            // SAFETY: all of it lives until the stream has finished, for which `timed` waits.
            unsafe {
                result::memcpy_htod_sync(told.address, &tasks).unwrap();
                let batch = result::malloc_sync(bytes).unwrap();
                let handle = stream.cu_stream();
                let took = timed(handle, || {
                    device.sample(handle.cast(), told.address, count, network, batch).unwrap();
                });
                eprintln!("crops of {what}, {count} in a batch: {took:.1} µs");
                result::free_sync(batch).unwrap();
            }
        }
    }
    uploads.into_iter().for_each(Upload::free);
}
