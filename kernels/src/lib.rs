//! plateau's `kernels` (see ARCHITECTURE.md).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod covariance;
pub mod lanczos;
pub mod spectrum;
pub mod tridiagonal;
