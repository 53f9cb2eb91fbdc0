//! plateau's `kernels` (see ARCHITECTURE.md).
#![forbid(unsafe_code)]
#![warn(missing_docs)]
