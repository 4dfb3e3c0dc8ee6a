//! The element's properties.

use std::{path::PathBuf, sync::LazyLock, time::Duration};

use gst::{glib, prelude::*};

use super::enums::*;
use crate::{
    engine::{Agreement, TimeoutPolicy},
    pose::OneEuro,
    stage::properties::{Row, settings},
    track::{self, Budget},
};

settings! {
    /// Values of all writable properties.
    #[derive(Debug, Clone)]
    pub(super) struct Settings {
        #[shared]
        model_file: Option<String> = None,
            "Model file",
            "RTMPose network as ONNX file, as mmdeploy exports it; not set: the RTMPose-t embedded in the plugin, for research and evaluation";
        skeleton: Option<String> = None,
            "Skeleton",
            "The key points' set where their number does not tell it: coco-17, halpe-26, coco-wholebody-133, \
             hand-21, face-106, ap10k-17, or the path of a TOML file (with a / in it, or ending in .toml)";
        #[shared]
        batch_size: u32 = 8,
            "Batch size",
            "Crops in one run of the network; 0 = 8, but on a GPU 6 with less than 6 GiB of memory and 16 with \
             16 GiB free (`stats` tells)",
            .maximum(64);
        batch_timeout: u64 = 15_000_000,
            "Batch timeout",
            "Nanoseconds (15000000 = 15 ms) that the oldest crop waits at most for a fuller batch; 0 = it \
             never waits",
            .mutable_playing();
        adaptive_timeout: bool = true,
            "Adaptive timeout",
            "Do not wait for a fuller batch when, by the rhythm of the streams, no further crop will come \
             before batch-timeout",
            .mutable_playing();
        input_queue_size: u32 = 20,
            "Input queue size",
            "Frames with a crop that waits for its batch; upstream waits while there are so many",
            .minimum(1);
        output_queue_size: u32 = 8,
            "Output queue size",
            "Finished frames that wait for downstream; upstream waits while there are so many",
            .minimum(1);
        model_instance_id: Option<String> = None,
            "Model instance",
            "Elements of one process with the same name share one network, and their crops its batches; not \
             set: a network of its own";
        #[shared]
        inference_streams: u32 = 0,
            "Inference streams",
            "Batches in flight at once, each with a network of its own; 0 = as many as suit the provider",
            .maximum(16);
        #[shared]
        inference_threads: u32 = 0,
            "Inference threads",
            "Threads that compute one batch (providers cpu and openvino); 0 = this process's cores, divided by \
             the batches in flight",
            .maximum(256);
        #[shared]
        execution_provider: ExecutionProvider = ExecutionProvider::default(),
            "Execution provider",
            "What runs the network";
        #[shared]
        device_id: i32 = 0,
            "Device",
            "Number of the GPU",
            .minimum(0);
        #[shared]
        precision: Precision = Precision::default(),
            "Precision",
            "Number formats of the run";
        #[shared]
        cudnn_conv_algo_search: CudnnConvAlgoSearch = CudnnConvAlgoSearch::default(),
            "cuDNN convolution search",
            "How cuDNN chooses the algorithm of a convolution (CUDA only)";
        #[shared]
        gpu_memory_limit: u64 = 0,
            "GPU memory limit",
            "Bytes that ONNX Runtime may take on the GPU for each prepared batch size of each batch in flight (CUDA only); 0 = no limit";
        inference_scale: f64 = 1.0,
            "Inference scale",
            "Resolution at which crops are sampled, as a share of the frame's. The network's input has a fixed \
             size: below 1 nothing gets faster and small people lose detail",
            .minimum(0.1),
            .maximum(1.0);
        inference_region: InferenceRegion = InferenceRegion::default(),
            "Inference region",
            "Where people are looked for",
            .mutable_playing();
        max_people: u32 = track().max_people as u32,
            "Most people",
            "People of a frame that are looked at. Of more regions from upstream those of the highest confidence \
             are, or the first ones",
            .minimum(1),
            .mutable_playing();
        region_label: String = "person".to_string(),
            "Region label",
            "Types of the regions (GstVideoRegionOfInterestMeta) that are people, in any case, separated by \
             commas: person, or a detector's number of the class",
            .mutable_playing();
        track_lookahead: u32 = 0,
            "Tracking lookahead",
            "Frames that are with the network at once when people are tracked in a stream that is not live: the \
             boxes of a frame come from exactly so many frames before it. More fills batches, fewer follows fast \
             people better; 0 = as many as fill the batches: batch-size for each inference stream with one \
             person, fewer with more",
            .maximum(1024);
        track_lifetime: u64 = 1_000_000_000,
            "Tracking life time",
            "Nanoseconds (1000000000 = 1 s) for which somebody who is not found any more is looked for, and keeps the id",
            .mutable_playing();
        search_interval: u64 = track().search.interval.as_nanos() as u64,
            "Search interval",
            "Nanoseconds in which search-crops more boxes are looked at for people who are not tracked yet; 0 = \
             search-crops in every frame",
            .mutable_playing();
        search_crops: u32 = track().search.crops as u32,
            "Search crops",
            "Boxes that a search looks at in each search-interval on average, and in one frame at most; a file's first \
             frame, its new scenes and pictures are looked at all over at once; 0 = nobody is searched",
            .maximum(1024),
            .mutable_playing();
        smoothing: Smoothing = Smoothing::default(),
            "Smoothing",
            "How key points of a person are smoothed in time",
            .mutable_playing();
        smoothing_min_cutoff: f64 = OneEuro::default().min_cutoff,
            "Smoothing's least cutoff",
            "Cutoff frequency in hertz of a key point that rests, with smoothing=one-euro: lower trembles less",
            .minimum(0.001),
            .maximum(1000.0),
            .mutable_playing();
        smoothing_beta: f64 = OneEuro::default().beta,
            "Smoothing's beta",
            "By how much the cutoff frequency rises with a key point's speed, with smoothing=one-euro: hertz for each \
             pixel a second. Higher lags behind less",
            .minimum(0.0),
            .maximum(1000.0),
            .mutable_playing();
        score_mode: ScoreMode = ScoreMode::default(),
            "Score mode",
            "How a key point's score is made of the maxima of its x and y axis",
            .mutable_playing();
        overload: Overload = Overload::default(),
            "Overload",
            "What happens to frames that come faster than the network runs",
            .mutable_playing();
        max_lateness: i64 = -1,
            "Greatest lateness",
            "Nanoseconds that a frame may be late at the sink, by its QoS events; later ones go on without \
             inference; -1 = any",
            .minimum(-1),
            .mutable_playing();
        inference_interval: u32 = 0,
            "Inference interval",
            "Infer only every n-th frame; the frames between carry its people on, marked as carried; 0 and 1 = \
             every frame",
            .mutable_playing();
        on_error: OnError = OnError::default(),
            "On error",
            "What an inference error does to the stream",
            .mutable_playing();
        #[shared]
        fallback: Fallback = Fallback::default(),
            "Fallback",
            "What happens when the execution provider is lost in mid-stream";
        ort_library: Option<String> = None,
            "ONNX Runtime library",
            "Path of libonnxruntime.so, 1.20 or newer, one for the process; not set: ORT_DYLIB_PATH, beside \
             the plugin, then the loader's folders";
        stats_interval: u64 = 0,
            "Statistics interval",
            "Nanoseconds between two element messages rtmposebatch-stats; 0 = none",
            .mutable_playing();
    }
}

/// A batch-timeout below this was most likely meant in milliseconds.
const SMALLEST_SENSIBLE_TIMEOUT: u64 = 100_000;

impl Settings {
    pub fn timeout(&self) -> Duration {
        Duration::from_nanos(self.batch_timeout)
    }

    pub fn policy(&self) -> TimeoutPolicy {
        TimeoutPolicy { timeout: self.timeout(), adaptive: self.adaptive_timeout }
    }

    /// The types of regions that are people.
    pub fn region_labels(&self) -> Vec<&str> {
        self.region_label.split(',').map(str::trim).filter(|label| !label.is_empty()).collect()
    }

    pub fn one_euro(&self) -> OneEuro {
        OneEuro { min_cutoff: self.smoothing_min_cutoff, beta: self.smoothing_beta }
    }

    pub fn tracking(&self) -> track::Settings {
        let search = Budget {
            crops: self.search_crops as usize,
            interval: Duration::from_nanos(self.search_interval),
        };
        track::Settings { max_people: self.max_people as usize, search }
    }

    /// What all who share an engine must give alike.
    pub fn agreement(&self) -> Agreement {
        let shared = Self::rows().iter().filter(|row| row.shared);
        shared
            .map(|row| {
                let text = (row.text)(self);
                // Of those that are shared only model-file can be unset.
                (row.specification.name(), if text.is_empty() { "(embedded)".to_string() } else { text })
            })
            .collect()
    }

    pub fn model_path(&self) -> Option<PathBuf> {
        self.model_file.as_ref().map(PathBuf::from)
    }

    /// Whether the batch-timeout looks like a number of milliseconds.
    pub fn timeout_looks_wrong(&self) -> bool {
        (1..SMALLEST_SENSIBLE_TIMEOUT).contains(&self.batch_timeout)
    }

    /// The value of a property that can be set; none for the others.
    pub fn get(&self, property: &str) -> Option<glib::Value> {
        Row::find(Self::rows(), property).map(|row| (row.get)(self))
    }

    pub fn set(&mut self, property: &str, value: &glib::Value) {
        let row = Row::find(Self::rows(), property).expect("only the table's properties can be set");
        (row.set)(self, value);
    }
}

/// The tracker's own defaults.
fn track() -> track::Settings {
    track::Settings::default()
}

pub(super) fn specifications() -> &'static [glib::ParamSpec] {
    static SPECIFICATIONS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let read_only = [
            glib::ParamSpecString::builder("model-sha256")
                .nick("Model SHA-256")
                .blurb("SHA-256 of the model that is loaded, in hexadecimal; not set in NULL")
                .read_only()
                .build(),
            glib::ParamSpecString::builder("active-provider")
                .nick("Active provider")
                .blurb("The execution provider in use: cuda, tensorrt, openvino or cpu; not set in NULL")
                .read_only()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb(
                    "Figures of frames and queues, and from `streams` on of the network, with all that share it; the \
                     same as in the message rtmposebatch-stats",
                )
                .read_only()
                .build(),
        ];
        Settings::rows().iter().map(|row| row.specification.clone()).chain(read_only).collect()
    });
    &SPECIFICATIONS
}
