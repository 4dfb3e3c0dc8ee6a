//! The properties that both elements have, and the properties of an element as a whole.

use std::time::Duration;

use gst::{glib, prelude::*};

use super::{device_ids::DeviceIds, enums::*};
use crate::{
    engine::{Agreement, TimeoutPolicy},
    stage::{
        self,
        properties::{Row, Secret, Table, settings},
    },
};

settings! {
    /// Values of the properties that both elements have.
    #[derive(Debug, Clone)]
    pub(crate) struct Common {
        batch_timeout: u64 = 15_000_000,
            "Batch timeout",
            "Nanoseconds (15000000 = 15 ms) that the oldest crop waits for a fuller batch, at most; 0 = no waiting",
            .mutable_playing();
        adaptive_timeout: bool = true,
            "Adaptive timeout",
            "Do not wait for a fuller batch if, judging by recent frame intervals, no further crop will come within \
             batch-timeout",
            .mutable_playing();
        input_queue_size: u32 = 20,
            "Input queue size",
            "Most frames that wait for their batch; upstream waits while there are that many",
            .minimum(1);
        output_queue_size: u32 = 8,
            "Output queue size",
            "Most finished frames that wait for downstream; upstream waits while there are that many",
            .minimum(1);
        model_instance_id: Option<String> = None,
            "Model instance",
            "Elements in one process with the same name share one model, and their crops share its batches; not set = a \
             model of the element's own";
        #[shared]
        inference_streams: u32 = 0,
            "Inference streams",
            "Batches in flight at once, each with its own copy of the model. 0 = 2 on a GPU and on 8 CPU cores or more, else \
             1. With device-ids: on each GPU. With inference-server: in flight on each server, and 0 = 2",
            .maximum(16);
        #[shared]
        inference_threads: u32 = 0,
            "Inference threads",
            "Threads that compute one batch (providers cpu and openvino); 0 = the process's cores, divided by the batches in \
             flight",
            .maximum(256);
        #[shared]
        #[here]
        execution_provider: ExecutionProvider = ExecutionProvider::default(),
            "Execution provider",
            "What runs the model";
        #[shared]
        #[here]
        device_id: i32 = 0,
            "Device",
            "Number of the GPU that runs the model",
            .minimum(0);
        /// Since: 0.2.0
        #[shared]
        #[here]
        device_ids: DeviceIds = DeviceIds::default(),
            "Devices",
            "Numbers of several GPUs, separated by commas, such as 0,1, or all. The model runs on each of them; batch-size \
             and inference-streams hold for each. Not set = the GPU in device-id";
        #[shared]
        #[here]
        precision: Precision = Precision::default(),
            "Precision",
            "Number format in which the model computes";
        #[shared]
        #[here]
        cudnn_conv_algo_search: CudnnConvAlgoSearch = CudnnConvAlgoSearch::default(),
            "cuDNN convolution search",
            "How cuDNN chooses the algorithm of a convolution (CUDA only)";
        /// Since: 0.2.0
        #[shared]
        #[here]
        cudnn_fuse_conv_bias: CudnnFuseConvBias = CudnnFuseConvBias::default(),
            "cuDNN fused convolutions",
            "Whether cuDNN computes a convolution together with its bias and activation (CUDA only)";
        #[shared]
        #[here]
        gpu_memory_limit: u64 = 0,
            "GPU memory limit",
            "Bytes that ONNX Runtime may use on the GPU for each prepared batch size, for each batch in flight (CUDA only); \
             0 = no limit";
        overload: Overload = Overload::default(),
            "Overload",
            "What to do if frames come faster than the model runs",
            .mutable_playing();
        max_lateness: i64 = -1,
            "Maximum lateness",
            "Nanoseconds that a frame may be late at the sink, as QoS events report; later frames pass without inference; -1 \
             = no limit",
            .minimum(-1),
            .mutable_playing();
        on_error: OnError = OnError::default(),
            "On error",
            "What to do after an inference error",
            .mutable_playing();
        #[shared]
        fallback: Fallback = Fallback::default(),
            "Fallback",
            "What to do if the execution provider is lost in mid-stream, or while no inference server is left";
        ort_library: Option<String> = None,
            "ONNX Runtime library",
            "Path of libonnxruntime.so, 1.20 or newer; one for the whole process. Not set = the path in ORT_DYLIB_PATH, else \
             searched beside the plugin, then in the loader's folders";
        /// Since: 0.2.0
        #[shared]
        inference_server: Option<String> = None,
            "Inference servers",
            "Servers that run the model instead of this process, over KServe's v2 protocol (Triton, KServe, MLServer, \
             OpenVINO Model Server): grpc://host:port, or grpcs://host:port for TLS, separated by commas. model-file is then \
             used only while no server is left (fallback=cpu)";
        /// Since: 0.2.0
        #[shared]
        #[servers]
        model_name: Option<String> = None,
            "Model name",
            "Name of the model on the servers; required with inference-server";
        /// Since: 0.2.0
        #[shared]
        #[servers]
        model_version: Option<String> = None,
            "Model version",
            "Version of the model on the servers; not set = the server's choice";
        /// Since: 0.2.0
        #[shared]
        #[servers]
        server_timeout: u64 = 1_000_000_000,
            "Server timeout",
            "Nanoseconds (1000000000 = 1 s) that a server may take for a batch. A batch that takes longer is sent to another \
             server, once. A server may take ten times as long to get the model ready",
            .minimum(1_000_000),
            .maximum(3_600_000_000_000);
        /// Since: 0.2.0
        #[shared]
        #[servers]
        server_metadata: Secret = Secret::default(),
            "Server metadata",
            "Metadata sent with each request, such as 'authorization=Bearer ...'; entries are separated by commas, and a \
             comma in a value is written \\,. Never logged, and not readable",
            .write_only();
        /// Since: 0.2.0
        #[shared]
        #[servers]
        server_ca_file: Option<String> = None,
            "Server CA file",
            "PEM file with the authorities whose server certificates are trusted; not set = the system's authorities";
        /// Since: 0.2.0
        #[shared]
        #[servers]
        server_cert_file: Option<String> = None,
            "Client certificate file",
            "PEM file with the client's certificate, for servers that ask for one";
        /// Since: 0.2.0
        #[shared]
        #[servers]
        server_key_file: Option<String> = None,
            "Client key file",
            "PEM file with the key of server-cert-file";
    }
}

/// A batch-timeout below this was most likely meant in milliseconds.
const SMALLEST_SENSIBLE_TIMEOUT: u64 = 100_000;

impl Common {
    pub fn policy(&self) -> TimeoutPolicy {
        TimeoutPolicy { timeout: Duration::from_nanos(self.batch_timeout), adaptive: self.adaptive_timeout }
    }

    /// The settings for the stage; `other` has those from the element's own properties.
    pub fn for_stage(&self, other: stage::Settings) -> stage::Settings {
        stage::Settings {
            policy: self.policy(),
            input_queue_size: self.input_queue_size,
            output_queue_size: self.output_queue_size,
            overload: self.overload.into(),
            max_lateness: self.max_lateness,
            on_error: self.on_error.into(),
            ..other
        }
    }
}

/// Values of all writable properties of an element: the common ones, and its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Properties<S> {
    pub common: Common,
    pub own: S,
}

impl<S: Table> Properties<S> {
    /// What must be equal for all elements that share an engine.
    pub fn agreement(&self) -> Agreement {
        fn shared<S>(rows: &'static [Row<S>], of: &S) -> impl Iterator<Item = (&'static str, String)> {
            rows.iter().filter(|row| row.shared).map(|row| {
                let text = (row.text)(of);
                let unset = if row.specification.name() == "model-file" { "(embedded)" } else { "(not set)" };
                (row.specification.name(), if text.is_empty() { unset.to_string() } else { text })
            })
        }
        shared(S::rows(), &self.own).chain(shared(Common::rows(), &self.common)).collect()
    }

    /// The value of a writable property; none for others.
    pub fn get(&self, property: &str) -> Option<glib::Value> {
        let own = Row::find(S::rows(), property).map(|row| (row.get)(&self.own));
        own.or_else(|| Row::find(Common::rows(), property).map(|row| (row.get)(&self.common)))
    }

    pub fn set(&mut self, property: &str, value: &glib::Value) {
        if let Some(row) = Row::find(S::rows(), property) {
            return (row.set)(&mut self.own, value);
        }
        let row = Row::find(Common::rows(), property).expect("only the tables' properties can be set");
        (row.set)(&mut self.common, value);
    }

    /// All properties of an element whose statistics are posted in messages of that name.
    pub fn specifications(message: &str) -> Vec<glib::ParamSpec> {
        let figures = format!(
            "Statistics. The fields from `streams` on describe the engine, with all elements that share it. Messages named \
             {message} have the same fields"
        );
        let read_only = [
            glib::ParamSpecString::builder("model-sha256")
                .nick("Model SHA-256")
                .blurb("SHA-256 of the loaded model file, in hexadecimal; not set in NULL")
                .read_only()
                .build(),
            glib::ParamSpecString::builder("active-provider")
                .nick("Active provider")
                .blurb("Execution provider in use: cuda, tensorrt, openvino, cpu, or server; not set in NULL")
                .read_only()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb(&figures)
                .read_only()
                .build(),
        ];
        let own = S::rows().iter().map(|row| (row.specify)());
        let common = Common::rows().iter().map(|row| (row.specify)());
        own.chain(common).chain(read_only).collect()
    }
}

/// Call this before an element goes from NULL to READY: warns if a number of milliseconds was set.
pub(super) fn warn_of_milliseconds(element: &gst::Element, common: &Common) {
    let nanoseconds = common.batch_timeout;
    if (1..SMALLEST_SENSIBLE_TIMEOUT).contains(&nanoseconds) {
        gst::element_warning!(
            element,
            gst::LibraryError::Settings,
            (
                "batch-timeout={nanoseconds} means {} µs: the unit is nanoseconds, so 15 ms are 15000000",
                nanoseconds as f64 / 1000.0
            )
        );
    }
}

/// Warns that a property was set which the element reads only when it loads its network. Do not call it with a lock held.
pub(super) fn warn_of_late_property(element: &gst::Element, property: &glib::ParamSpec) {
    if !property.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
        let name = property.name();
        gst::element_warning!(
            element,
            gst::LibraryError::Settings,
            ("The property {name} was set while a model is loaded: it takes effect at the next change from NULL to READY")
        );
    }
}
