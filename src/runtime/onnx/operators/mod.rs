//! Operators of ours that adapted graphs use on a GPU (`network::graph::operators`), and their kernels.

mod computations;
mod kernels;
#[cfg(test)]
mod tests;

use std::{marker::PhantomData, sync::Arc};

use ort::{
    operator::{
        ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
        ShapeInferenceContext,
    },
    value::{DynTensorValueType, Shape, SymbolicDimensions, TensorElementType, ValueType},
};

use crate::network::graph::operators::DOMAIN;
use computations::{BiasSilu, Computation, Depthwise, Largest, Mean, Peaks, Pointwise, ScaleNorm};
pub use kernels::Kernels;

/// What computes kernels.
pub trait Place: Send + Sync {
    /// ONNX Runtime's name of the provider; none: the CPU's.
    fn provider(&self) -> Option<&str>;

    /// Tensors are in half precision, except for those of [`Peaks`].
    fn half(&self) -> bool;

    /// Starts a kernel with these parameters, in so many threads.
    ///
    /// # Safety
    /// They are what the kernel expects; tensors live until ONNX Runtime's stream has finished.
    unsafe fn launch(
        &self,
        context: &ComputeContext,
        kernel: kernels::Kernel,
        threads: u32,
        parameters: &[Parameter],
    ) -> ort::Result<()>;
}

/// A kernel's parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parameter {
    /// Of a tensor; 0: there is none.
    Address(u64),
    Number(u32),
    Factor(f32),
}

/// The operators, for `Builder::with_operators`.
#[expect(clippy::disallowed_methods, reason = "the builder that asks for them has loaded the library")]
pub fn operators(place: &Arc<impl Place + 'static>) -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?
        .add(Ours::<BiasSilu, _>::at(place))?
        .add(Ours::<Depthwise, _>::at(place))?
        .add(Ours::<Pointwise, _>::at(place))?
        .add(Ours::<Largest, _>::at(place))?
        .add(Ours::<Mean, _>::at(place))?
        .add(Ours::<ScaleNorm, _>::at(place))?
        .add(Ours::<Peaks, _>::at(place))
}

/// A computation as ONNX Runtime's operator.
struct Ours<C, P> {
    place: Arc<P>,
    computation: PhantomData<fn() -> C>,
}

impl<C, P> Ours<C, P> {
    fn at(place: &Arc<P>) -> Self {
        Self { place: place.clone(), computation: PhantomData }
    }
}

impl<C: Computation, P: Place> Ours<C, P> {
    fn element_type(&self) -> TensorElementType {
        let half = self.place.half() && !C::ALWAYS_IN_FLOAT32;
        if half { TensorElementType::Float16 } else { TensorElementType::Float32 }
    }
}

impl<C: Computation, P: Place + 'static> Operator for Ours<C, P> {
    type Kernel<'attr> = AtNode<C, P>;

    const INPLACES: &[(u32, u32)] = C::INPLACES;

    fn name(&self) -> &str {
        C::NAME
    }

    fn execution_provider_type(&self) -> Option<&str> {
        self.place.provider()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let required = (0..C::INPUTS).map(|_| OperatorInput::required(self.element_type()));
        required.chain((0..C::OPTIONAL_INPUTS).map(|_| OperatorInput::optional(self.element_type())))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.element_type())]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<AtNode<C, P>> {
        Ok(AtNode { place: self.place.clone(), computation: C::read(node)? })
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        let inputs = context.inputs();
        let shapes = inputs.iter().map_while(|input| match input {
            ValueType::Tensor { shape, .. } => Some(&shape[..]),
            _ => None,
        });
        let shapes: Vec<_> = shapes.collect();
        let Some(ValueType::Tensor { ty, .. }) = inputs.first().filter(|_| shapes.len() >= C::INPUTS) else {
            return Ok(());
        };
        let shape = C::read(context)?.shape(&shapes);
        let dimension_symbols = SymbolicDimensions::empty(shape.len());
        context.set_output(0, &ValueType::Tensor { ty: *ty, shape: Shape::new(shape), dimension_symbols })
    }
}

/// An operator at its place in a graph.
struct AtNode<C, P> {
    place: Arc<P>,
    computation: C,
}

impl<C: Computation, P: Place> Kernel for AtNode<C, P> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let mut inputs = Vec::with_capacity(C::INPUTS + C::OPTIONAL_INPUTS);
        for number in 0..context.num_inputs()? {
            if let Some(value) = context.input(number)? {
                let tensor = value.downcast::<DynTensorValueType>()?;
                inputs.push((tensor.shape().to_vec(), tensor.data_ptr() as u64));
            }
        }
        let shapes: Vec<_> = inputs.iter().map(|(shape, _)| &shape[..]).collect();
        let plan = self.computation.plan(&shapes, self.place.half()).ok_or_else(|| {
            ort::Error::new(format!("{} cannot be computed on tensors of {shapes:?}", C::NAME))
        })?;
        let output = context.output(0, self.computation.shape(&shapes))?;
        let output = output.ok_or_else(|| ort::Error::new(format!("{} has no output", C::NAME)))?;
        let output = output.downcast::<DynTensorValueType>()?.data_ptr() as u64;
        if plan.threads == 0 {
            return Ok(());
        }
        let missing = (inputs.len()..C::INPUTS + C::OPTIONAL_INPUTS).map(|_| 0);
        let addresses = inputs.iter().map(|(_, address)| *address).chain(missing).chain([output]);
        let parameters: Vec<_> = addresses.map(Parameter::Address).chain(plan.numbers).collect();
        // SAFETY: the plan is for tensors of these shapes.
        unsafe { self.place.launch(context, plan.kernel, plan.threads, &parameters) }
    }
}
