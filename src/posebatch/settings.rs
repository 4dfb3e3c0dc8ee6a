//! The element's properties: one list for their specifications, one place for their values.

use std::{path::PathBuf, sync::LazyLock, time::Duration};

use gst::{glib, prelude::*};

use super::enums::*;
use crate::{
    engine::{Agreement, Patience},
    track::{self, Budget},
};

/// Values of all writable properties.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub model_file: Option<String>,
    pub skeleton: Option<String>,
    pub batch_size: u32,
    pub batch_timeout: u64,
    pub input_queue_size: u32,
    pub output_queue_size: u32,
    pub model_instance_id: Option<String>,
    pub inference_streams: u32,
    pub inference_threads: u32,
    pub adaptive_timeout: bool,
    pub execution_provider: ExecutionProvider,
    pub device_id: i32,
    pub precision: Precision,
    pub cudnn_conv_algo_search: CudnnConvAlgoSearch,
    pub gpu_memory_limit: u64,
    pub inference_scale: f64,
    pub inference_region: InferenceRegion,
    pub max_people: u32,
    pub region_label: String,
    pub track_lookahead: u32,
    pub track_lifetime: u64,
    pub search_interval: u64,
    pub search_crops: u32,
    pub score_mode: ScoreMode,
    pub smoothing: Smoothing,
    pub overload: Overload,
    pub max_lateness: i64,
    pub inference_interval: u32,
    pub on_error: OnError,
    pub fallback: Fallback,
    pub ort_library: Option<String>,
    pub stats_interval: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model_file: None,
            skeleton: None,
            batch_size: 8,
            batch_timeout: 15_000_000,
            input_queue_size: 20,
            output_queue_size: 8,
            model_instance_id: None,
            inference_streams: 0,
            inference_threads: 0,
            adaptive_timeout: true,
            execution_provider: ExecutionProvider::default(),
            device_id: 0,
            precision: Precision::default(),
            cudnn_conv_algo_search: CudnnConvAlgoSearch::default(),
            gpu_memory_limit: 0,
            inference_scale: 1.0,
            inference_region: InferenceRegion::default(),
            max_people: 16,
            region_label: "person".to_string(),
            track_lookahead: 0,
            track_lifetime: 1_000_000_000,
            search_interval: 1_000_000_000,
            search_crops: 6,
            score_mode: ScoreMode::default(),
            smoothing: Smoothing::default(),
            overload: Overload::default(),
            max_lateness: -1,
            inference_interval: 0,
            on_error: OnError::default(),
            fallback: Fallback::default(),
            ort_library: None,
            stats_interval: 0,
        }
    }
}

/// A batch-timeout below this was most likely meant in milliseconds.
const SMALLEST_SENSIBLE_TIMEOUT: u64 = 100_000;

impl Settings {
    pub fn timeout(&self) -> Duration {
        Duration::from_nanos(self.batch_timeout)
    }

    pub fn patience(&self) -> Patience {
        Patience { timeout: self.timeout(), adaptive: self.adaptive_timeout }
    }

    /// The types of regions that are people.
    pub fn region_labels(&self) -> Vec<&str> {
        self.region_label.split(',').map(str::trim).filter(|label| !label.is_empty()).collect()
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
        let nick = |value: glib::Value| {
            glib::EnumValue::from_value(&value)
                .map_or_else(String::new, |(_, value)| value.nick().to_string())
        };
        vec![
            ("model-file", self.model_file.clone().unwrap_or("(embedded)".to_string())),
            ("execution-provider", nick(self.execution_provider.to_value())),
            ("device-id", self.device_id.to_string()),
            ("precision", nick(self.precision.to_value())),
            ("cudnn-conv-algo-search", nick(self.cudnn_conv_algo_search.to_value())),
            ("batch-size", self.batch_size.to_string()),
            ("fallback", nick(self.fallback.to_value())),
            ("inference-streams", self.inference_streams.to_string()),
            ("inference-threads", self.inference_threads.to_string()),
            ("gpu-memory-limit", self.gpu_memory_limit.to_string()),
        ]
    }

    pub fn model_path(&self) -> Option<PathBuf> {
        self.model_file.as_ref().map(PathBuf::from)
    }

    /// Whether the batch-timeout looks like a number of milliseconds.
    pub fn timeout_looks_wrong(&self) -> bool {
        (1..SMALLEST_SENSIBLE_TIMEOUT).contains(&self.batch_timeout)
    }

    pub fn set(&mut self, property: &str, value: &glib::Value) {
        match property {
            "model-file" => self.model_file = text(value),
            "skeleton" => self.skeleton = text(value),
            "batch-size" => self.batch_size = get(value),
            "batch-timeout" => self.batch_timeout = get(value),
            "input-queue-size" => self.input_queue_size = get(value),
            "output-queue-size" => self.output_queue_size = get(value),
            "model-instance-id" => self.model_instance_id = text(value),
            "inference-streams" => self.inference_streams = get(value),
            "inference-threads" => self.inference_threads = get(value),
            "adaptive-timeout" => self.adaptive_timeout = get(value),
            "execution-provider" => self.execution_provider = get(value),
            "device-id" => self.device_id = get(value),
            "precision" => self.precision = get(value),
            "cudnn-conv-algo-search" => self.cudnn_conv_algo_search = get(value),
            "gpu-memory-limit" => self.gpu_memory_limit = get(value),
            "inference-scale" => self.inference_scale = get(value),
            "inference-region" => self.inference_region = get(value),
            "max-people" => self.max_people = get(value),
            "region-label" => self.region_label = text(value).unwrap_or_default(),
            "track-lookahead" => self.track_lookahead = get(value),
            "track-lifetime" => self.track_lifetime = get(value),
            "search-interval" => self.search_interval = get(value),
            "search-crops" => self.search_crops = get(value),
            "score-mode" => self.score_mode = get(value),
            "smoothing" => self.smoothing = get(value),
            "overload" => self.overload = get(value),
            "max-lateness" => self.max_lateness = get(value),
            "inference-interval" => self.inference_interval = get(value),
            "on-error" => self.on_error = get(value),
            "fallback" => self.fallback = get(value),
            "ort-library" => self.ort_library = text(value),
            "stats-interval" => self.stats_interval = get(value),
            other => unreachable!("no writable property {other}"),
        }
    }

    /// The value of a writable property; none for the read-only ones.
    pub fn get(&self, property: &str) -> Option<glib::Value> {
        Some(match property {
            "model-file" => self.model_file.to_value(),
            "skeleton" => self.skeleton.to_value(),
            "batch-size" => self.batch_size.to_value(),
            "batch-timeout" => self.batch_timeout.to_value(),
            "input-queue-size" => self.input_queue_size.to_value(),
            "output-queue-size" => self.output_queue_size.to_value(),
            "model-instance-id" => self.model_instance_id.to_value(),
            "inference-streams" => self.inference_streams.to_value(),
            "inference-threads" => self.inference_threads.to_value(),
            "adaptive-timeout" => self.adaptive_timeout.to_value(),
            "execution-provider" => self.execution_provider.to_value(),
            "device-id" => self.device_id.to_value(),
            "precision" => self.precision.to_value(),
            "cudnn-conv-algo-search" => self.cudnn_conv_algo_search.to_value(),
            "gpu-memory-limit" => self.gpu_memory_limit.to_value(),
            "inference-scale" => self.inference_scale.to_value(),
            "inference-region" => self.inference_region.to_value(),
            "max-people" => self.max_people.to_value(),
            "region-label" => self.region_label.to_value(),
            "track-lookahead" => self.track_lookahead.to_value(),
            "track-lifetime" => self.track_lifetime.to_value(),
            "search-interval" => self.search_interval.to_value(),
            "search-crops" => self.search_crops.to_value(),
            "score-mode" => self.score_mode.to_value(),
            "smoothing" => self.smoothing.to_value(),
            "overload" => self.overload.to_value(),
            "max-lateness" => self.max_lateness.to_value(),
            "inference-interval" => self.inference_interval.to_value(),
            "on-error" => self.on_error.to_value(),
            "fallback" => self.fallback.to_value(),
            "ort-library" => self.ort_library.to_value(),
            "stats-interval" => self.stats_interval.to_value(),
            _ => return None,
        })
    }
}

fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value.get().expect("GObject checks a property's type")
}

/// An empty string stands for none, as in a launch line's `skeleton=""`.
fn text(value: &glib::Value) -> Option<String> {
    get::<Option<String>>(value).filter(|text| !text.is_empty())
}

pub(super) fn specifications() -> &'static [glib::ParamSpec] {
    static SPECIFICATIONS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let default = Settings::default();
        vec![
            glib::ParamSpecString::builder("model-file")
                .nick("Model file")
                .blurb("RTMPose network as ONNX file, as mmdeploy exports it; not set: the RTMPose-t embedded in the plugin, for research and evaluation")
                .build(),
            glib::ParamSpecString::builder("model-sha256")
                .nick("Model SHA-256")
                .blurb("SHA-256 of the model that is loaded, in hexadecimal; not set in NULL")
                .read_only()
                .build(),
            glib::ParamSpecString::builder("skeleton")
                .nick("Skeleton")
                .blurb(
                    "The key points' set where their number does not tell it: coco-17, halpe-26, coco-wholebody-133, \
                     hand-21, face-106, ap10k-17, or the path of a TOML file (with a / in it, or ending in .toml)",
                )
                .build(),
            glib::ParamSpecUInt::builder("batch-size")
                .nick("Batch size")
                .blurb(
                    "Crops in one run of the network; 0 = 8, but on a GPU 6 with less than 6 GiB of memory and 16 with \
                     16 GiB free (`stats` tells)",
                )
                .maximum(64)
                .default_value(default.batch_size)
                .build(),
            glib::ParamSpecUInt64::builder("batch-timeout")
                .nick("Batch timeout")
                .blurb(
                    "Nanoseconds (15000000 = 15 ms) that the oldest crop waits at most for a fuller batch; 0 = it \
                     never waits",
                )
                .default_value(default.batch_timeout)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("adaptive-timeout")
                .nick("Adaptive timeout")
                .blurb(
                    "Do not wait for a fuller batch when, by the rhythm of the streams, no further crop will come \
                     before batch-timeout",
                )
                .default_value(default.adaptive_timeout)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("input-queue-size")
                .nick("Input queue size")
                .blurb("Frames with a crop that waits for its batch; upstream waits while there are so many")
                .minimum(1)
                .default_value(default.input_queue_size)
                .build(),
            glib::ParamSpecUInt::builder("output-queue-size")
                .nick("Output queue size")
                .blurb("Finished frames that wait for downstream; upstream waits while there are so many")
                .minimum(1)
                .default_value(default.output_queue_size)
                .build(),
            glib::ParamSpecString::builder("model-instance-id")
                .nick("Model instance")
                .blurb(
                    "Elements of one process with the same name share one network, and their crops its batches; not \
                     set: a network of its own",
                )
                .build(),
            glib::ParamSpecUInt::builder("inference-streams")
                .nick("Inference streams")
                .blurb("Batches in flight at once, each with a network of its own; 0 = as many as suit the provider")
                .maximum(16)
                .default_value(default.inference_streams)
                .build(),
            glib::ParamSpecUInt::builder("inference-threads")
                .nick("Inference threads")
                .blurb(
                    "Threads that compute one batch (providers cpu and openvino); 0 = this process's cores, divided by \
                     the batches in flight",
                )
                .maximum(256)
                .default_value(default.inference_threads)
                .build(),
            glib::ParamSpecEnum::builder_with_default("execution-provider", default.execution_provider)
                .nick("Execution provider")
                .blurb("What runs the network")
                .build(),
            glib::ParamSpecInt::builder("device-id")
                .nick("Device")
                .blurb("Number of the GPU")
                .minimum(0)
                .default_value(default.device_id)
                .build(),
            glib::ParamSpecString::builder("active-provider")
                .nick("Active provider")
                .blurb("The execution provider in use: cuda, tensorrt, openvino or cpu; not set in NULL")
                .read_only()
                .build(),
            glib::ParamSpecEnum::builder_with_default("precision", default.precision)
                .nick("Precision")
                .blurb("Number formats of the run")
                .build(),
            glib::ParamSpecEnum::builder_with_default("cudnn-conv-algo-search", default.cudnn_conv_algo_search)
                .nick("cuDNN convolution search")
                .blurb("How cuDNN chooses the algorithm of a convolution (CUDA only)")
                .build(),
            glib::ParamSpecUInt64::builder("gpu-memory-limit")
                .nick("GPU memory limit")
                .blurb("Bytes that ONNX Runtime may take on the GPU for each prepared batch size of each batch in flight (CUDA only); 0 = no limit")
                .default_value(default.gpu_memory_limit)
                .build(),
            glib::ParamSpecDouble::builder("inference-scale")
                .nick("Inference scale")
                .blurb(
                    "Resolution at which crops are sampled, as a share of the frame's. The network's input has a fixed \
                     size: below 1 nothing gets faster and small people lose detail",
                )
                .minimum(0.1)
                .maximum(1.0)
                .default_value(default.inference_scale)
                .build(),
            glib::ParamSpecEnum::builder_with_default("inference-region", default.inference_region)
                .nick("Inference region")
                .blurb("Where people are looked for")
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("max-people")
                .nick("Most people")
                .blurb(
                    "People of a frame that are looked at. Of more regions from upstream those of the highest confidence \
                     are, or the first ones",
                )
                .minimum(1)
                .default_value(default.max_people)
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("region-label")
                .nick("Region label")
                .blurb(
                    "Types of the regions (GstVideoRegionOfInterestMeta) that are people, in any case, separated by \
                     commas: person, or a detector's number of the class",
                )
                .default_value(Some(default.region_label.as_str()))
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("track-lookahead")
                .nick("Tracking lookahead")
                .blurb(
                    "Frames that are with the network at once when people are tracked in a stream that is not live: the \
                     boxes of a frame come from exactly so many frames before it. More fills batches, fewer follows fast \
                     people better; 0 = as many as fill the batches: batch-size for each inference stream with one \
                     person, fewer with more",
                )
                .maximum(1024)
                .default_value(default.track_lookahead)
                .build(),
            glib::ParamSpecUInt64::builder("track-lifetime")
                .nick("Tracking life time")
                .blurb("Nanoseconds (1000000000 = 1 s) for which somebody who is not found any more is looked for, and keeps the id")
                .default_value(default.track_lifetime)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("search-interval")
                .nick("Search interval")
                .blurb(
                    "Nanoseconds in which search-crops more boxes are looked at for people who are not tracked yet; 0 = \
                     search-crops in every frame",
                )
                .default_value(default.search_interval)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("search-crops")
                .nick("Search crops")
                .blurb(
                    "Boxes that a search looks at in each search-interval on average, and in one frame at most; 0 = nobody \
                     is searched",
                )
                .maximum(1024)
                .default_value(default.search_crops)
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("smoothing", default.smoothing)
                .nick("Smoothing")
                .blurb("How key points of a person are smoothed in time")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("score-mode", default.score_mode)
                .nick("Score mode")
                .blurb("How a key point's score is made of the maxima of its x and y axis")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("overload", default.overload)
                .nick("Overload")
                .blurb("What happens to frames that come faster than the network runs")
                .mutable_playing()
                .build(),
            glib::ParamSpecInt64::builder("max-lateness")
                .nick("Greatest lateness")
                .blurb(
                    "Nanoseconds that a frame may be late at the sink, by its QoS events; later ones go on without \
                     inference; -1 = any",
                )
                .minimum(-1)
                .default_value(default.max_lateness)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("inference-interval")
                .nick("Inference interval")
                .blurb(
                    "Infer only every n-th frame; the frames between carry its people on, marked as carried; 0 and 1 = \
                     every frame",
                )
                .default_value(default.inference_interval)
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("on-error", default.on_error)
                .nick("On error")
                .blurb("What an inference error does to the stream")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("fallback", default.fallback)
                .nick("Fallback")
                .blurb("What happens when the execution provider is lost in mid-stream")
                .build(),
            glib::ParamSpecString::builder("ort-library")
                .nick("ONNX Runtime library")
                .blurb(
                    "Path of libonnxruntime.so, 1.20 or newer, one for the process; not set: ORT_DYLIB_PATH, beside \
                     the plugin, then the loader's folders",
                )
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb(
                    "Figures of frames and queues, and from `streams` on of the network, with all that share it; the \
                     same as in the message rtmposebatch-stats",
                )
                .read_only()
                .build(),
            glib::ParamSpecUInt64::builder("stats-interval")
                .nick("Statistics interval")
                .blurb("Nanoseconds between two element messages rtmposebatch-stats; 0 = none")
                .default_value(default.stats_interval)
                .mutable_playing()
                .build(),
        ]
    });
    &SPECIFICATIONS
}
