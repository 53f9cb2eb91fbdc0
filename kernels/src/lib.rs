//! Every arithmetic operation of plateau: slices in, slices out.
//!
//! A kernel here is a plain function over row-major slices. Two contracts hold for all of them:
//!
//! * **Bits.** Each element of a result is one chain of fused multiply-adds in a fixed order:
//!   ascending k for a product; for a reduction along a row, sixteen virtual lanes and one fixed
//!   tree ([`lanes`]). Tiles, SIMD width and the number of threads decide *when* a chain is
//!   computed, never *how*, so they change no bit.
//! * **References.** Every kernel that does more than one operation an element has a `_ref` twin:
//!   the formula as plain loops, generic over
//!   [`Real`]. The `f32` instance is the bit oracle of the kernel, the `f64` instance is the
//!   function that the gradient check differentiates.
//!
//! Gradients are `d` + the forward's name. A backward kernel takes a [`Write`]: it overwrites the
//! gradient when it is the first to write it, and adds to it otherwise.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(all(
    any(target_arch = "x86_64", target_arch = "x86"),
    not(target_feature = "fma"),
    not(doc)
))]
compile_error!(
    "plateau is compiled for the machine that builds it and needs FMA (any Core or Ryzen since \
     2013): without it `mul_add` rounds twice and the bits differ. Keep `target-cpu=native` in \
     .cargo/config.toml and do not set RUSTFLAGS, which would replace it."
);

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod block;
pub mod block_lanczos;
pub mod buffer;
pub mod columns;
pub mod covariance;
pub mod cross_entropy;
pub mod eigenvectors;
pub mod elementary;
mod fold;
pub mod gather;
mod heads;
pub mod lanczos;
pub mod lanes;
pub mod layer_norm;
pub mod matmul;
pub mod mix;
pub mod moment_bounds;
pub mod moments;
pub mod norm;
pub mod parallel;
pub mod real;
mod rows;
mod short_rows;
pub mod softmax;
pub mod spectrum;
pub mod tridiagonal;
pub mod varlen_attention;

pub use buffer::Buffer;
pub use real::Real;

/// What a kernel does with what its output buffer holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Overwrites it: the chain of each element starts at zero.
    Set,
    /// Adds to it: the chain of each element starts at the value that is there.
    Add,
}
