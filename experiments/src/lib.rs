//! plateau's `experiments` (see ARCHITECTURE.md).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod observe;
pub mod report;
pub mod batches;
pub mod config;
pub mod presets;
pub mod run;
pub mod seed;
pub mod tasks;
