//! plateau's `experiments` (see ARCHITECTURE.md).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod batches;
pub mod config;
pub mod observe;
pub mod presets;
pub mod report;
pub mod run;
pub mod seed;
pub mod tasks;
