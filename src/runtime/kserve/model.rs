//! What a server says about its model, checked like a file's graph; and the requests and answers for it.

use std::time::Duration;

use prost::{
    Message,
    bytes::{Bytes, BytesMut},
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use super::{
    call::{self, PREFIX},
    messages::{
        InferParameter, InferRequestedOutput, InferTensor, ModelInferRequest, ModelInferResponse,
        ModelMetadataResponse, ParameterChoice, TensorMetadata,
    },
};
use crate::{
    network::{
        self, Kind, Network, Peak, Provider, Refusal, check,
        contract::{self, Contract, Form, IMAGE, INPUT, OUTPUTS},
        file::Wanted,
        graph::{
            MEAN, STD,
            messages::{Dimension, Graph, ValueInfo, element_type},
        },
    },
    platform::files::bounded,
};

/// The number of `raw_input_contents` in `ModelInferRequest`.
const RAW_INPUT_CONTENTS: u32 = 7;
/// Most bytes of an answer beside its numbers.
const AROUND_AN_ANSWER: usize = 64 << 10;

/// A model of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub contract: Contract,
    /// What the rows mean. If the model does not declare its number of key points, a run must show it.
    pub kind: Kind,
    input: String,
    outputs: Vec<String>,
    /// Most crops in a request; none if the server does not say.
    pub most_crops: Option<usize>,
    /// All requests have this many crops, padded; none if any number works.
    pub padded_to: Option<usize>,
}

/// The remedy in messages about a server's model.
pub const MODEL_REMEDY: &str =
    "set model-name to another model, or install the file that models/server-repository makes on the server";

impl Model {
    /// From the server's metadata; `name` is the model's name in messages. The error is a sentence.
    pub fn of(metadata: &ModelMetadataResponse, name: &str, wanted: Wanted) -> Result<Self, String> {
        let values = |tensors: &[TensorMetadata]| tensors.iter().map(value_of).collect();
        let graph =
            Graph { input: values(&metadata.inputs), output: values(&metadata.outputs), ..Graph::default() };
        let refused = |refusal: Refusal| format!("{}; {MODEL_REMEDY}", refusal.text());
        let contract = check::check(&graph, name, wanted.task, wanted.classes).map_err(refused)?;
        if !contract.is_adapted()
            && matches!(
                contract.form,
                Form::Boxes { .. } | Form::People { .. } | Form::Official { depth: true, .. }
            )
        {
            return Err(format!(
                "The model {name} is in the form in which its authors export it, which does not work on a server; \
                 {MODEL_REMEDY}"
            ));
        }
        let strings = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let (input, outputs) = match contract.form {
            Form::Official { .. } => (INPUT.to_string(), strings(&OUTPUTS)),
            Form::HeatMaps { adapted: false, .. } => {
                let (input, output) = contract::heat_maps(&graph).ok_or("its outputs changed")?;
                (input.name().to_string(), strings(&[output.name()]))
            }
            _ => (IMAGE.to_string(), strings(&[contract.output()])),
        };
        let kind = contract.kind(contract.points.unwrap_or(1));
        Ok(Self { contract, kind, input, outputs, most_crops: None, padded_to: None })
    }

    /// The description for the engine.
    pub fn network(&self) -> Network {
        let Contract { width, height, .. } = self.contract;
        Network { width, height, kind: self.kind, provider: Provider::Server, score_unit: 1.0, sha256: None }
    }

    /// Whether crops are normalised here and sent as floats.
    pub fn takes_floats(&self) -> bool {
        !self.contract.is_adapted()
    }

    pub fn crop_bytes(&self) -> usize {
        self.contract.width as usize * self.contract.height as usize * 3
    }

    /// Bytes of a crop in a request.
    pub fn wire_bytes(&self) -> usize {
        self.crop_bytes() * if self.takes_floats() { size_of::<f32>() } else { 1 }
    }

    /// Crops in a request for this many.
    pub fn rows_sent(&self, rows: usize) -> usize {
        self.contract.fixed_batch.or(self.padded_to).unwrap_or(rows)
    }

    /// Largest message of an answer to this many crops.
    pub fn answer_limit(&self, rows: usize) -> usize {
        let points = self.kind.points();
        let (width, height) = (self.contract.width as usize, self.contract.height as usize);
        let numbers = match self.contract.form {
            Form::Official { .. } => points * 2 * (width + height),
            _ => self.kind.row(),
        };
        rows * numbers * size_of::<f32>() + AROUND_AN_ANSWER
    }

    /// Largest message of any answer to this many crops, before the number of key points is known.
    pub fn any_answer_limit(&self, rows: usize) -> usize {
        const MANY_POINTS: usize = 512;
        let known = self.contract.points.is_some();
        if known { self.answer_limit(rows) } else { MANY_POINTS * (self.answer_limit(rows)) }
    }

    /// The head of a request: everything except the images, which follow it.
    fn head(&self, name: &str, version: &str, rows: usize, timeout_micros: i64) -> Vec<u8> {
        let (height, width) = (self.contract.height.into(), self.contract.width.into());
        let (datatype, shape) = if self.takes_floats() {
            ("FP32", vec![rows as i64, 3, height, width])
        } else {
            ("UINT8", vec![rows as i64, height, width, 3])
        };
        let timeout = InferParameter { choice: Some(ParameterChoice::Int64(timeout_micros)) };
        let requested = self.outputs.iter().map(|name| InferRequestedOutput { name: name.clone() });
        let request = ModelInferRequest {
            model_name: name.to_string(),
            model_version: version.to_string(),
            parameters: [("timeout".to_string(), timeout)].into(),
            inputs: vec![InferTensor {
                name: self.input.clone(),
                datatype: datatype.to_string(),
                shape,
                contents: None,
            }],
            outputs: requested.collect(),
            raw_input_contents: Vec::new(),
        };
        let length = rows * self.wire_bytes();
        let mut head = request.encode_to_vec();
        head.reserve(key_len(RAW_INPUT_CONTENTS) + encoded_len_varint(length as u64));
        encode_key(RAW_INPUT_CONTENTS, WireType::LengthDelimited, &mut head);
        encode_varint(length as u64, &mut head);
        head
    }

    /// Reads the answer to this many crops into `answers`, row by row. The error completes a sentence that begins with
    /// 'grpc://gpu1:8001: '.
    pub fn read(&self, message: Bytes, rows: usize, answers: &mut [f32]) -> Result<(), String> {
        let (kind, tensors) = self.tensors(message, self.rows_sent(rows))?;
        if kind != self.kind {
            return Err(format!(
                "its answer has {} key points, but had {} before",
                kind.points(),
                self.kind.points()
            ));
        }
        let wanted = rows * kind.row();
        let answers = answers.get_mut(..wanted).ok_or("its answer is too long")?;
        match (&tensors[..], self.contract.form) {
            ([simcc_x, simcc_y], Form::Official { .. }) => {
                let mut peaks = vec![Peak::default(); rows * kind.points()];
                let of = |numbers: &[f32], bins: u32| numbers[..peaks.len() * 2 * bins as usize].to_vec();
                let (x, y) = (of(simcc_x, self.contract.width), of(simcc_y, self.contract.height));
                network::decode(&x, &y, &mut peaks);
                for (answer, peak) in answers.as_chunks_mut::<4>().0.iter_mut().zip(&peaks) {
                    *answer = [peak.x, peak.y, peak.max_x, peak.max_y];
                }
            }
            ([numbers], _) => answers.copy_from_slice(&numbers[..wanted]),
            _ => return Err("its answer has other outputs than its metadata".to_string()),
        }
        Ok(())
    }

    /// What the rows of a first answer mean.
    pub fn kind_of(&self, message: Bytes, rows: usize) -> Result<Kind, String> {
        self.tensors(message, rows).map(|(kind, _)| kind)
    }

    /// The outputs' numbers, in the order of `outputs`, and what their shapes mean.
    fn tensors(&self, message: Bytes, rows: usize) -> Result<(Kind, Vec<Vec<f32>>), String> {
        let response =
            ModelInferResponse::decode(message).map_err(|_| "its answer is not a message of the protocol")?;
        let mut shapes = Vec::new();
        let mut tensors = Vec::new();
        for name in &self.outputs {
            let found = response.outputs.iter().position(|output| output.name == *name);
            let index = found.ok_or_else(|| format!("its answer has no output `{name}`"))?;
            let output = &response.outputs[index];
            if output.datatype != "FP32" {
                return Err(format!("`{name}` of its answer is {}, not FP32", bounded(&output.datatype)));
            }
            let count = output
                .shape
                .iter()
                .try_fold(1usize, |count, side| count.checked_mul(usize::try_from(*side).ok()?));
            let numbers = numbers_of(output, response.raw_output_contents.get(index));
            if count.is_none_or(|count| count != numbers.len()) {
                return Err(format!(
                    "`{name}` of its answer has {} numbers, which do not fit its shape {}",
                    numbers.len(),
                    bounded(&format!("{:?}", output.shape))
                ));
            }
            shapes.push(output.shape.clone());
            tensors.push(numbers);
        }
        let refused =
            |refusal: Refusal| format!("its answer differs from its metadata: {}", refusal.difference());
        let kind = match (&shapes[..], self.contract.form) {
            ([x, y], Form::Official { .. }) => {
                let points = |output: usize, shape: &[i64]| {
                    contract::check_answer(&self.contract, rows, output, shape, "").map_err(refused)
                };
                match (points(0, x)?, points(1, y)?) {
                    (one, other) if one == other => self.contract.kind(one),
                    (one, other) => {
                        return Err(format!(
                            "its answer has {one} key points in simcc_x and {other} in simcc_y"
                        ));
                    }
                }
            }
            ([shape], _) => contract::check_rows(&self.contract, rows, shape, "").map_err(refused)?,
            _ => return Err("its answer has other outputs than its metadata".to_string()),
        };
        Ok((kind, tensors))
    }
}

/// Numbers are sent raw, little-endian, or one by one.
fn numbers_of(output: &InferTensor, raw: Option<&Bytes>) -> Vec<f32> {
    match (raw, &output.contents) {
        (Some(raw), _) if raw.len() % 4 == 0 => {
            raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        (None, Some(contents)) => contents.fp32_contents.clone(),
        _ => Vec::new(),
    }
}

fn value_of(tensor: &TensorMetadata) -> ValueInfo {
    let element_type = match tensor.datatype.as_str() {
        "FP32" => element_type::FLOAT,
        "UINT8" => element_type::UINT8,
        "INT64" => element_type::INT64,
        "FP16" => element_type::FLOAT16,
        _ => 0,
    };
    let side = |side: &i64| if *side < 0 { Dimension::default() } else { Dimension::of(*side) };
    ValueInfo::of(&tensor.name, element_type, tensor.shape.iter().map(side).collect())
}

/// The buffer of a request: room for its head, then the crops, so that a batch is sent from where it was written.
pub struct Request {
    name: String,
    version: String,
    timeout_micros: i64,
    /// Bytes before the crops.
    room: usize,
    buffer: BytesMut,
    /// The buffer, while it is on its way.
    sent: Option<Bytes>,
}

impl Request {
    /// For batches of up to this many crops.
    pub fn new(model: &Model, name: &str, version: &str, rows: usize, timeout: Duration) -> Self {
        let timeout_micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX);
        let largest = model.rows_sent(rows);
        // With fewer crops, the head is at most a few bytes shorter.
        let room = PREFIX + model.head(name, version, largest, timeout_micros).len();
        let buffer = BytesMut::zeroed(room + largest * model.wire_bytes());
        Self {
            name: name.to_string(),
            version: version.to_string(),
            timeout_micros,
            room,
            buffer,
            sent: None,
        }
    }

    /// The place of a crop.
    pub fn crop_mut(&mut self, model: &Model, row: usize) -> &mut [u8] {
        let length = model.wire_bytes();
        &mut self.buffer[self.room + row * length..][..length]
    }

    /// The message with the first crops, after its prefix. Nothing can be written until `take_back`.
    pub fn send(&mut self, model: &Model, rows: usize) -> (Bytes, Bytes) {
        let rows = model.rows_sent(rows);
        let head = model.head(&self.name, &self.version, rows, self.timeout_micros);
        let pictures = rows * model.wire_bytes();
        let start = self.room - head.len() - PREFIX;
        call::put_prefix(&mut &mut self.buffer[start..], head.len() + pictures);
        self.buffer[start + PREFIX..self.room].copy_from_slice(&head);
        let whole = std::mem::take(&mut self.buffer).freeze();
        let end = self.room + pictures;
        let parts = (whole.slice(start..end), whole.slice(self.room..end));
        self.sent = Some(whole);
        parts
    }

    /// The message was answered or abandoned. An abandoned connection may still hold its bytes; then new ones are allocated.
    pub fn take_back(&mut self) {
        let Some(sent) = self.sent.take() else { return };
        self.buffer = sent.try_into_mut().unwrap_or_else(|kept| BytesMut::zeroed(kept.len()));
    }
}

/// Converts crops from bytes, `[rows, height, width, 3]`, to normalised planes, `[rows, 3, height, width]`.
pub fn normalise(crop: &[u8], out: &mut [u8]) {
    let pixels = crop.len() / 3;
    for (channel, plane) in out.chunks_exact_mut(pixels * 4).enumerate() {
        for (value, pixel) in plane.as_chunks_mut::<4>().0.iter_mut().zip(crop.as_chunks::<3>().0) {
            *value = ((f32::from(pixel[channel]) - MEAN[channel]) / STD[channel]).to_le_bytes();
        }
    }
}
