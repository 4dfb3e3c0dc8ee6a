//! The properties that both elements have, and those of an element as a whole.

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
            "Batches in flight at once, each with a network of its own; 0 = as many as suit the provider. With \
             device-ids: on each GPU. With inference-server: on each server; 0 = 2",
            .maximum(16);
        #[shared]
        inference_threads: u32 = 0,
            "Inference threads",
            "Threads that compute one batch (providers cpu and openvino); 0 = this process's cores, divided by \
             the batches in flight",
            .maximum(256);
        #[shared]
        #[here]
        execution_provider: ExecutionProvider = ExecutionProvider::default(),
            "Execution provider",
            "What runs the network";
        #[shared]
        #[here]
        device_id: i32 = 0,
            "Device",
            "Number of the GPU",
            .minimum(0);
        #[shared]
        #[here]
        device_ids: DeviceIds = DeviceIds::default(),
            "Devices",
            "Numbers of several GPUs with commas in between, such as 0,1, or all: the network runs on each of them, and \
             batch-size and inference-streams hold for each; not set: on the one of device-id";
        #[shared]
        #[here]
        precision: Precision = Precision::default(),
            "Precision",
            "Number formats of the run";
        #[shared]
        #[here]
        cudnn_conv_algo_search: CudnnConvAlgoSearch = CudnnConvAlgoSearch::default(),
            "cuDNN convolution search",
            "How cuDNN chooses the algorithm of a convolution (CUDA only)";
        #[shared]
        #[here]
        cudnn_fuse_conv_bias: CudnnFuseConvBias = CudnnFuseConvBias::default(),
            "cuDNN fused convolutions",
            "Whether cuDNN computes a convolution together with its bias and activation (CUDA only)";
        #[shared]
        #[here]
        gpu_memory_limit: u64 = 0,
            "GPU memory limit",
            "Bytes that ONNX Runtime may take on the GPU for each prepared batch size of each batch in flight (CUDA only); 0 = no limit";
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
        on_error: OnError = OnError::default(),
            "On error",
            "What an inference error does to the stream",
            .mutable_playing();
        #[shared]
        fallback: Fallback = Fallback::default(),
            "Fallback",
            "What happens when the execution provider is lost in mid-stream, or no inference server is left";
        ort_library: Option<String> = None,
            "ONNX Runtime library",
            "Path of libonnxruntime.so, 1.20 or newer, one for the process; not set: ORT_DYLIB_PATH, beside \
             the plugin, then the loader's folders";
        #[shared]
        inference_server: Option<String> = None,
            "Inference servers",
            "Servers that run the network in the place of this process, over KServe's v2 protocol (Triton, KServe, MLServer, \
             OpenVINO Model Server): grpc://host:port, or grpcs:// for TLS, several with commas in between. Then \
             model-file is only what fallback=cpu goes on with";
        #[shared]
        #[servers]
        model_name: Option<String> = None,
            "Model name",
            "The model's name on the servers; needed with inference-server";
        #[shared]
        #[servers]
        model_version: Option<String> = None,
            "Model version",
            "The model's version on the servers; not set: the server's choice";
        #[shared]
        #[servers]
        server_timeout: u64 = 1_000_000_000,
            "Server timeout",
            "Nanoseconds (1000000000 = 1 s) that a server may take for a batch; then the batch goes to another one, once. A \
             model that is not ready yet is waited for ten times as long",
            .minimum(1_000_000),
            .maximum(3_600_000_000_000);
        #[shared]
        #[servers]
        server_metadata: Secret = Secret::default(),
            "Server metadata",
            "What goes with each request, such as 'authorization=Bearer ...'; several with commas in between, a comma in a \
             value as \\,. Never shown, nor to be read",
            .write_only();
        #[shared]
        #[servers]
        server_ca_file: Option<String> = None,
            "Server CA file",
            "Certificates (PEM) of the authorities whose servers are trusted; not set: those of the system";
        #[shared]
        #[servers]
        server_cert_file: Option<String> = None,
            "Client certificate file",
            "The client's own certificate (PEM), for servers that ask for one";
        #[shared]
        #[servers]
        server_key_file: Option<String> = None,
            "Client key file",
            "The key (PEM) of server-cert-file";
    }
}

/// A batch-timeout below this was most likely meant in milliseconds.
const SMALLEST_SENSIBLE_TIMEOUT: u64 = 100_000;

impl Common {
    pub fn policy(&self) -> TimeoutPolicy {
        TimeoutPolicy { timeout: Duration::from_nanos(self.batch_timeout), adaptive: self.adaptive_timeout }
    }

    /// What the stage must know of them; `other` is what the element's own properties say.
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

/// Values of all writable properties of an element: those that it shares with the other one, and its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Properties<S> {
    pub common: Common,
    pub own: S,
}

impl<S: Table> Properties<S> {
    /// What all who share an engine must give alike.
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

    /// The value of a property that can be set; none for the others.
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

    /// All properties of an element whose statistics come in a message of that name.
    pub fn specifications(message: &str) -> Vec<glib::ParamSpec> {
        let figures = format!(
            "Statistics. The fields from `streams` on describe the network and all elements that share it. The message \
             {message} has the same fields"
        );
        let read_only = [
            glib::ParamSpecString::builder("model-sha256")
                .nick("Model SHA-256")
                .blurb("SHA-256 of the model that is loaded, in hexadecimal; not set in NULL")
                .read_only()
                .build(),
            glib::ParamSpecString::builder("active-provider")
                .nick("Active provider")
                .blurb(
                    "The execution provider in use: cuda, tensorrt, openvino, cpu or server; not set in NULL",
                )
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

/// To be called before an element goes from NULL to READY: one warning where a number of milliseconds was given.
pub(super) fn warn_of_milliseconds(element: &gst::Element, common: &Common) {
    let nanoseconds = common.batch_timeout;
    if (1..SMALLEST_SENSIBLE_TIMEOUT).contains(&nanoseconds) {
        gst::element_warning!(
            element,
            gst::LibraryError::Settings,
            (
                "batch-timeout={nanoseconds} means {} µs: the property counts nanoseconds, 15 ms are 15000000",
                nanoseconds as f64 / 1000.0
            )
        );
    }
}

/// Warns that a property was set which the element reads only when it loads its network. Not to be called with a lock held.
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
