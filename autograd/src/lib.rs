//! A tape that records once and replays, its ops, the gradient check, and AdamW.
//!
//! A model records its computation once, as a list of ops over buffers that the tape owns. Shapes
//! are capacities: [`Tape::set_examples`] says how many examples are active, [`Tape::set_rows`] how many
//! rows their packed sequences have. Each training step rewrites the inputs (index lists), then replays [`Tape::forward`] and [`Tape::backward`]; after
//! recording nothing is allocated.
//!
//! | op | formula |
//! |---|---|
//! | [`linear`](Tape::linear) | y = x·W + b |
//! | [`linear_act`](Tape::linear_act) | y = act(x·W + b) |
//! | [`linear_transposed`](Tape::linear_transposed) | y = x·Wᵀ + b |
//! | [`act`](Tape::act) | y = act(x) |
//! | [`add`](Tape::add) | y = a + b |
//! | [`scale`](Tape::scale) | y = c·x |
//! | [`gather`](Tape::gather) | yᵢ = table\[idxᵢ\] |
//! | [`put`](Tape::put) | y\[idxᵢ\] = xᵢ |
//! | [`softmax`](Tape::softmax) | yⱼ = e^xⱼ / Σ e^x |
//! | [`layer_norm`](Tape::layer_norm) | y = (x − μ)/σ·w + b |
//! | [`attention`](Tape::attention) | z = softmax(q·kᵀ/√e)·v |
//! | [`varlen_attention`](Tape::varlen_attention) | the same, over packed sequences |
//! | [`cross_entropy`](Tape::cross_entropy) | loss = mean −ln softmax(z)\[label\] |
//! | [`mix`](Tape::mix) | yᵢ = (1 − α)·xᵢ + α·x_π(i) |
//! | [`distance`](Tape::distance) | rᵢ = α·‖x_π(i) − xᵢ‖ |
//! | [`perturb`](Tape::perturb) | yᵢ = xᵢ + rᵢ·uᵢ |
//!
//! Adding an op: one file in `ops/`, one entry in [`ops::registry`], which brings it under the
//! gradient check and the bit test.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod gradcheck;
pub mod ops;
pub mod optim;
mod tape;

pub use kernels::activation::Act;
pub use tape::{Index, Op, Rows, Store, Stream, Tape, Var};
