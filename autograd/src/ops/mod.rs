//! One file for each op, and the registry of all of them.

mod act;
mod add;
mod attention;
mod cross_entropy;
mod distance;
mod gather;
mod layer_norm;
mod linear;
mod linear_transposed;
mod mix;
mod perturb;
mod put;
mod scale;
mod softmax;
mod varlen_attention;

pub use cross_entropy::CrossEntropy;
pub use kernels::attention::Shape as AttentionShape;
pub use kernels::varlen_attention::Shape as VarlenShape;

use crate::{Index, Tape, Var};
use kernels::Real;

/// What the reference of an op is given: the inputs in order, as matrices, and the index list.
#[derive(Clone, Debug)]
pub struct Args<T> {
    /// The values of the inputs, row major.
    pub inputs: Vec<Vec<T>>,
    /// Their shapes (rows, cols).
    pub shapes: Vec<(usize, usize)>,
    /// The index list or labels, where the op has one.
    pub index: Vec<u32>,
}

/// An op as plain loops. In f32 they have the bits of the op; in f64 they are what the op is measured
/// against and what central differences are taken of.
pub trait Reference<T> {
    /// The outputs, in the order of [`Op::outputs`](crate::Op::outputs).
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>>;
    /// The gradients of the inputs, given that of the result.
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>>;
}

/// One registered form of an op: how to record it, and on what.
pub struct Case {
    /// The op's name and, after a slash, its form.
    pub name: &'static str,
    /// Shapes (rows, cols) of the inputs; each entry of the list is one trial.
    pub shapes: Vec<Vec<(usize, usize)>>,
    /// The index list of each trial; empty where the op has none.
    pub index: Vec<Vec<u32>>,
    /// Records the op on parameters of these shapes.
    pub record: fn(&mut Tape, &[Var], Index) -> Var,
}

/// Every op in every form.
pub fn registry() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(linear::cases());
    cases.extend(linear_transposed::cases());
    cases.extend(act::cases());
    cases.extend(add::cases());
    cases.extend(scale::cases());
    cases.extend(gather::cases());
    cases.extend(put::cases());
    cases.extend(softmax::cases());
    cases.extend(layer_norm::cases());
    cases.extend(attention::cases());
    cases.extend(varlen_attention::cases());
    cases.extend(cross_entropy::cases());
    cases.extend(mix::cases());
    cases.extend(distance::cases());
    cases.extend(perturb::cases());
    cases
}

fn zeros<T: Real>(shape: (usize, usize)) -> Vec<T> {
    vec![T::of(0.0); shape.0 * shape.1]
}

/// Zero gradients for every input.
fn zeros_like<T: Real>(a: &Args<T>) -> Vec<Vec<T>> {
    a.shapes.iter().map(|&shape| zeros(shape)).collect()
}
