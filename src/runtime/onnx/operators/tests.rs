//! Compares graphs with our operators with those that have only ONNX's, run by ONNX Runtime's CPU provider with our kernels,
//! compiled for the CPU. `tests/cuda.rs` and `tests/cuda_kinds.rs` compare a GPU's answers.

use std::{
    ffi::c_void,
    sync::{Arc, LazyLock},
};

use libloading::{Library, Symbol};
use prost::{Message, bytes::Bytes};

use super::{
    super::{
        adapted::{crop, model, runtime, session},
        session::{LoadError, Session},
    },
    computations::Plan,
    kernels::{BLOCK, Kernel, WARP},
    *,
};
use crate::{
    network::{
        contract::IMAGE,
        graph::{
            Adaptation, Layout, Operators, adapt,
            messages::{Model, Node},
            read,
        },
    },
    platform::nvrtc::tests::compiled,
};

/// The kernels on the CPU, in float32.
struct Cpu;

impl Cpu {
    /// Computes a kernel, whose parameters are addresses, then numbers.
    ///
    /// # Safety
    /// They are what the kernel expects.
    unsafe fn compute(kernel: Kernel, parameters: &[Parameter]) {
        static LIBRARY: LazyLock<Library> =
            LazyLock::new(|| compiled("src/runtime/onnx/operators/kernels.cu"));
        let at = |index: usize| match parameters[index] {
            Parameter::Address(address) => address as *mut c_void,
            other => panic!("{kernel:?}: {other:?} is no address"),
        };
        let number = |index: usize| match parameters[index] {
            Parameter::Number(number) => number,
            other => panic!("{kernel:?}: {other:?} is no number"),
        };
        let factor = |index: usize| match parameters[index] {
            Parameter::Factor(factor) => factor,
            other => panic!("{kernel:?}: {other:?} is no factor"),
        };
        type At = *mut c_void;
        let name = Kernel::NAMES[kernel as usize];
        // SAFETY: the file declares the kernels so.
        unsafe {
            match kernel {
                Kernel::BiasSilu | Kernel::BiasSiluOfRows | Kernel::BiasSiluOfChannels => {
                    let kernel: Symbol<unsafe extern "C" fn(At, At, At, At, u32, u32, u32)> =
                        LIBRARY.get(name).unwrap();
                    kernel(at(0), at(1), at(2), at(3), number(4), number(5), number(6));
                }
                Kernel::Depthwise3 | Kernel::Depthwise5 | Kernel::Depthwise3By2 | Kernel::Depthwise5By2 => {
                    let kernel: Symbol<unsafe extern "C" fn(At, At, At, At, u32, u32, u32, u32)> =
                        LIBRARY.get(name).unwrap();
                    kernel(at(0), at(1), at(2), at(3), number(4), number(5), number(6), number(7));
                }
                Kernel::Pointwise1 | Kernel::Pointwise2 | Kernel::Pointwise4 => {
                    let kernel: Symbol<unsafe extern "C" fn(At, At, At, At, At, u32, u32, u32, u32)> =
                        LIBRARY.get(name).unwrap();
                    kernel(at(0), at(1), at(2), at(3), at(4), number(5), number(6), number(7), number(8));
                }
                Kernel::Largest => {
                    let kernel: Symbol<unsafe extern "C" fn(At, At, u32, u32, u32, u32, u32)> =
                        LIBRARY.get(name).unwrap();
                    kernel(at(0), at(1), number(2), number(3), number(4), number(5), number(6));
                }
                Kernel::Mean => {
                    let kernel: Symbol<unsafe extern "C" fn(At, At, u32, u32, u32)> =
                        LIBRARY.get(name).unwrap();
                    kernel(at(0), at(1), number(2), number(3), number(4));
                }
                Kernel::ScaleNorm => {
                    let kernel: Symbol<unsafe extern "C" fn(At, At, At, u32, u32, f32, f32)> =
                        LIBRARY.get(name).unwrap();
                    kernel(at(0), at(1), at(2), number(3), number(4), factor(5), factor(6));
                }
                Kernel::Peaks => {
                    let kernel: Symbol<unsafe extern "C" fn(At, At, At, u32, u32, u32)> =
                        LIBRARY.get(name).unwrap();
                    kernel(at(0), at(1), at(2), number(3), number(4), number(5));
                }
            }
        }
    }
}

impl Place for Cpu {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn half(&self) -> bool {
        false
    }

    unsafe fn launch(
        &self,
        _: &ComputeContext,
        kernel: Kernel,
        _: u32,
        parameters: &[Parameter],
    ) -> ort::Result<()> {
        unsafe { Self::compute(kernel, parameters) };
        Ok(())
    }
}

fn session_with_operators(file: &[u8]) -> Session {
    let builder = runtime().builder().unwrap().with_operators(|| operators(&Arc::new(Cpu))).unwrap();
    match builder.load(file) {
        Ok(session) => session,
        Err(LoadError::File(why)) => panic!("{why}"),
        Err(LoadError::Other(why)) => panic!("{why}"),
    }
}

/// Writes each NhwcConv, which ONNX Runtime has on GPUs only, as a Conv between two Transposes.
fn without_nhwc_conv(model: &mut Model) {
    let graph = model.graph.as_mut().unwrap();
    for mut node in std::mem::take(&mut graph.node) {
        if node.op_type() == "NhwcConv" {
            let name = |value: &str| format!("plain/{}/{value}", node.output[0]);
            let (values, weights, answer) = (name("values"), name("weights"), name("answer"));
            let to_first = [0, 3, 1, 2];
            graph.node.push(Node::new("Transpose", &[&node.input[0]], &values).with_ints("perm", &to_first));
            graph.node.push(Node::new("Transpose", &[&node.input[1]], &weights).with_ints("perm", &to_first));
            let back = Node::new("Transpose", &[&answer], &node.output[0]).with_ints("perm", &[0, 2, 3, 1]);
            (node.input[0], node.input[1], node.output[0]) = (values, weights, answer);
            (node.op_type, node.domain) = (Some("Conv".to_string()), None);
            graph.node.push(node);
            graph.node.push(back);
        } else {
            graph.node.push(node);
        }
    }
}

/// With channels first and last, and in a batch.
#[test]
fn graphs_with_our_operators_answer_as_those_with_onnxs() {
    // Positions are multiples of half a pixel, so that none of RTMPose's moves; a detector's boxes have fractions.
    for (name, [height, width], bound) in
        [("models/rtmpose-t.onnx", [256, 192], 1e-4), ("tests/networks/yolox-body.onnx", [64, 96], 1e-3)]
    {
        let model = model(name);
        let crops = [crop(width, height, 5), crop(width, height, 6)].concat();
        let plain = adapt(&model, &Adaptation::default()).unwrap();
        let output = read(Bytes::from(plain.clone())).unwrap().graph.unwrap().output[0].name().to_string();
        let run = |mut session: Session| {
            let outputs = session.run((IMAGE, [2, height, width, 3], &crops[..]), None).unwrap();
            outputs.get(&output).unwrap().1.to_vec()
        };
        let expected = run(session(&plain));
        for (layout, pointwise) in
            [(Layout::ChannelsFirst, false), (Layout::ChannelsLast, false), (Layout::ChannelsLast, true)]
        {
            let operators = Some(Operators { layout, pointwise });
            let adaptation = Adaptation { operators, ..Adaptation::default() };
            let mut ours = read(Bytes::from(adapt(&model, &adaptation).unwrap())).unwrap();
            without_nhwc_conv(&mut ours);
            let found = run(session_with_operators(&ours.encode_to_vec()));
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < bound, "{name}, {operators:?}: {found}, {expected}");
            }
        }
    }
}

/// What an operator makes of tensors, and its kernel.
fn computed<C: Computation>(computation: &C, inputs: &[(&[i64], &[f32])]) -> (Vec<f32>, Kernel) {
    let shapes: Vec<_> = inputs.iter().map(|(shape, _)| *shape).collect();
    let Plan { kernel, threads, numbers } = computation.plan(&shapes, false).expect("they belong together");
    let mut answers = vec![0f32; computation.shape(&shapes).iter().product::<i64>() as usize];
    let missing = C::INPUTS + C::OPTIONAL_INPUTS - inputs.len();
    let tensors = inputs.iter().map(|(_, values)| values.as_ptr().addr() as u64);
    let addresses = tensors.chain((0..missing).map(|_| 0)).chain([answers.as_mut_ptr().addr() as u64]);
    let parameters: Vec<_> = addresses.map(Parameter::Address).chain(numbers).collect();
    assert!(threads > 0);
    // SAFETY: the plan is for these tensors.
    unsafe { Cpu::compute(kernel, &parameters) };
    (answers, kernel)
}

/// Numbers from -2 to 2 that look random.
fn numbers(count: i64, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..count).map(next).collect()
}

fn silu(value: f32) -> f32 {
    value / (1.0 + (-value).exp())
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-5, "{index}: {found}, not {expected}");
    }
}

/// Vectors or single values, with channels before the rows and behind the columns, and with and without something to add.
#[test]
fn each_channel_gets_its_own_bias() {
    for (shape, axis, expected) in [
        ([2, 3, 2, 4], 1, Kernel::BiasSiluOfRows),
        ([2, 3, 3, 3], 1, Kernel::BiasSilu),
        ([2, 3, 1, 1], 1, Kernel::BiasSilu),
        ([2, 8, 1, 1], 1, Kernel::BiasSiluOfChannels),
        ([1, 3, 5, 8], 3, Kernel::BiasSiluOfChannels),
        ([2, 2, 3, 5], 3, Kernel::BiasSilu),
    ] {
        let (channels, count) = (shape[axis], shape.iter().product::<i64>());
        let (values, bias, added) = (numbers(count, 1), numbers(channels, 2), numbers(count, 3));
        let inner: i64 = shape[axis + 1..].iter().product();
        let of = |index: usize| silu(values[index] + bias[(index as i64 / inner % channels) as usize]);
        let operator = BiasSilu { axis };
        let inputs = [(&shape[..], &values[..]), (&[channels][..], &bias), (&shape, &added)];
        let (alone, kernel) = computed(&operator, &inputs[..2]);
        assert_eq!(kernel, expected, "{shape:?}");
        assert_close(&alone, &(0..values.len()).map(of).collect::<Vec<_>>());
        let (sums, _) = computed(&operator, &inputs);
        assert_close(&sums, &(0..values.len()).map(|index| of(index) + added[index]).collect::<Vec<_>>());
    }
}

/// The value at a place of pictures `[N,height,width,channels]`; none outside.
fn at(values: &[f32], shape: [i64; 4], [picture, y, x, channel]: [i64; 4]) -> Option<f32> {
    let [_, height, width, channels] = shape;
    let is_inside = (0..height).contains(&y) && (0..width).contains(&x);
    is_inside.then(|| values[(((picture * height + y) * width + x) * channels + channel) as usize])
}

/// The places of pictures, in their order.
fn places([pictures, height, width, channels]: [i64; 4]) -> impl Iterator<Item = [i64; 4]> {
    (0..pictures * height * width * channels).map(move |index| {
        let (channel, pixel) = (index % channels, index / channels);
        [pixel / width / height, pixel / width % height, pixel % width, channel]
    })
}

/// The distances to the pixels of a square from its middle.
fn square(side: i64) -> impl Iterator<Item = (i64, i64)> {
    let all = move || -side / 2..=side / 2;
    all().flat_map(move |row| all().map(move |column| (row, column)))
}

/// Pictures whose sides are odd and even.
#[test]
fn channels_are_convolved_by_themselves() {
    for (side, stride, [height, width]) in
        [(3, 1, [4, 3]), (5, 1, [4, 3]), (3, 2, [4, 3]), (5, 2, [7, 6]), (5, 2, [1, 9]), (3, 2, [5, 8])]
    {
        let (shape, channels) = ([2, height, width, 8], 8);
        let values = numbers(shape.iter().product(), 1);
        let (weights, bias) = (numbers(side * side * channels, 2), numbers(channels, 3));
        let answers = [2, (height + stride - 1) / stride, (width + stride - 1) / stride, channels];
        let of = |[picture, y, x, channel]: [i64; 4]| {
            let mut sum = bias[channel as usize];
            for (number, (down, right)) in square(side).enumerate() {
                let place = [picture, y * stride + down, x * stride + right, channel];
                let weight = weights[number * channels as usize + channel as usize];
                sum += weight * at(&values, shape, place).unwrap_or_default();
            }
            silu(sum)
        };
        let depthwise = Depthwise { stride };
        assert_eq!(depthwise.shape(&[&shape]), answers);
        let inputs =
            [(&shape[..], &values[..]), (&[side, side, channels, 1], &weights), (&[channels], &bias)];
        assert_close(&computed(&depthwise, &inputs).0, &places(answers).map(of).collect::<Vec<_>>());
    }
}

/// With tiles that do not end where the tensors do, and with and without something to add.
#[test]
fn pixels_are_convolved_by_themselves() {
    for (rows, from, to, expected) in
        [(35, 16, 24, Kernel::Pointwise1), (1, 20, 40, Kernel::Pointwise2), (17, 36, 8, Kernel::Pointwise4)]
    {
        let (shape, answer) = ([1, rows, 1, from], [1, rows, 1, to]);
        let (values, weights, bias) = (numbers(rows * from, 1), numbers(to * from, 2), numbers(to, 3));
        let added = numbers(rows * to, 4);
        let of = |index: usize| {
            let (row, channel) = (index / to as usize, index % to as usize);
            let from = from as usize;
            let products = values[row * from..][..from].iter().zip(&weights[channel * from..][..from]);
            silu(products.map(|(value, weight)| value * weight).sum::<f32>() + bias[channel])
        };
        let inputs =
            [(&shape[..], &values[..]), (&[to, from, 1, 1], &weights), (&[to], &bias), (&answer, &added)];
        let (alone, kernel) = computed(&Pointwise, &inputs[..3]);
        assert_eq!(kernel, expected, "{rows} rows");
        assert_close(&alone, &(0..added.len()).map(of).collect::<Vec<_>>());
        let (sums, _) = computed(&Pointwise, &inputs);
        assert_close(&sums, &(0..added.len()).map(|index| of(index) + added[index]).collect::<Vec<_>>());
    }
}

/// Also with squares that are larger than the picture.
#[test]
fn the_largest_values_around_pixels_are_found() {
    let shape = [2, 4, 3, 8];
    let values: Vec<_> = numbers(shape.iter().product(), 1).iter().map(|value| value - 3.0).collect();
    for side in [1, 3, 5, 13] {
        let of = |[picture, y, x, channel]: [i64; 4]| {
            let near = square(side)
                .filter_map(|(down, right)| at(&values, shape, [picture, y + down, x + right, channel]));
            near.fold(f32::NEG_INFINITY, f32::max)
        };
        let (found, _) = computed(&Largest { side }, &[(&shape, &values)]);
        assert_eq!(found, places(shape).map(of).collect::<Vec<_>>(), "{side}");
    }
}

#[test]
fn means_are_of_each_picture_and_channel() {
    let values = numbers(2 * 3 * 2 * 8, 1);
    let mean = |picture: usize, channel: usize| {
        (0..6).map(|pixel| values[(picture * 6 + pixel) * 8 + channel]).sum::<f32>() / 6.0
    };
    let expected: Vec<_> = (0..16).map(|index| mean(index / 8, index % 8)).collect();
    assert_close(&computed(&Mean, &[(&[2, 3, 2, 8], &values)]).0, &expected);
}

/// The second row's norm is less than the floor.
#[test]
fn rows_are_divided_by_their_norms() {
    let norm = ScaleNorm { scale: 0.5, floor: 1.0 };
    let (rows, _) = computed(&norm, &[(&[1, 2, 2], &[3.0, 4.0, 0.6, 0.8]), (&[1], &[10.0])]);
    assert_close(&rows, &[12.0, 16.0, 6.0, 8.0]);
}

#[test]
fn the_first_of_equal_maxima_wins() {
    let across = [0.0, 2.0, 2.0, 1.0, -3.0, -1.0, -2.0, -1.0];
    let down = [7.0, 7.0, 7.0, f32::NEG_INFINITY, f32::NEG_INFINITY, 1e-9];
    let (points, _) = computed(&Peaks, &[(&[2, 1, 4], &across), (&[2, 1, 3], &down)]);
    assert_eq!(points, [0.5, 0.0, 2.0, 7.0, 0.5, 1.0, -1.0, 1e-9]);
}

/// Half precision has twice the values in a vector.
#[test]
fn tensors_that_do_not_belong_together_are_refused() {
    let silu = |inputs: &[&[i64]], half| BiasSilu { axis: 1 }.plan(inputs, half);
    let kernel = |half| silu(&[&[1, 4, 1, 4], &[4]], half).unwrap().kernel;
    assert_eq!((kernel(false), kernel(true)), (Kernel::BiasSiluOfRows, Kernel::BiasSilu));
    assert_eq!(silu(&[&[0, 4, 2, 2], &[4]], false).unwrap().threads, 0);
    for inputs in [
        &[&[1, 4, 2, 2][..], &[3]][..],
        &[&[4], &[4]],
        &[&[1, 4, 2, 2], &[4], &[1, 4, 1, 1]],
        &[&[64, 64, 1 << 10, 1 << 10], &[64]],
        &[&[1 << 40, 64, 1 << 40, 2], &[64]],
    ] {
        assert_eq!(silu(inputs, false), None, "{inputs:?}");
    }
    for (weights, bias, channels) in
        [([3, 3, 8], 8, 4), ([3, 5, 4], 4, 4), ([7, 7, 4], 4, 4), ([3, 3, 4], 3, 4), ([3, 3, 6], 6, 6)]
    {
        let [side, other, of] = weights;
        let inputs = [&[1, 5, 5, channels][..], &[side, other, of, 1], &[bias]];
        assert_eq!(Depthwise { stride: 1 }.plan(&inputs, false), None, "{weights:?}");
    }
    let inputs = [&[1, 5, 5, 4][..], &[3, 3, 4, 1], &[4]];
    assert_eq!(Depthwise { stride: 3 }.plan(&inputs, false), None);
    assert_eq!(Largest { side: 5 }.plan(&[&[1, 2, 2, 6]], false), None);
    assert_eq!(Mean.plan(&[&[1, 2, 2, 6]], false), None);
    assert_eq!(Mean.plan(&[&[1, 0, 2, 8]], false), None);
    assert_eq!(Mean.plan(&[&[2, 3, 3, 8]], true).unwrap().threads, 2 * BLOCK);
    assert_eq!(ScaleNorm { scale: 1.0, floor: 0.0 }.plan(&[&[1, 2, 2], &[2]], false), None);
    let peaks = |across: &[i64], down: &[i64]| Peaks.plan(&[across, down], false);
    assert_eq!(peaks(&[2, 17, 384], &[2, 17, 512]).unwrap().threads, 34 * WARP);
    for (across, down) in [
        (&[2, 17, 384][..], &[1, 17, 512][..]),
        (&[2, 17, 384], &[2, 16, 512]),
        (&[2, 17, 0], &[2, 17, 512]),
        (&[34, 384], &[34, 512]),
        (&[1 << 30, 17, 384], &[1 << 30, 17, 512]),
        (&[1 << 40, 1 << 40, 384], &[1 << 40, 1 << 40, 512]),
    ] {
        assert_eq!(peaks(across, down), None, "{across:?}, {down:?}");
    }
}
