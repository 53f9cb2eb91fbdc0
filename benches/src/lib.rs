//! plateau's `benches` (see ARCHITECTURE.md).
#![forbid(unsafe_code)]
#![warn(missing_docs)]
