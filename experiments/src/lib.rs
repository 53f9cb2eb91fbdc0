//! plateau's `experiments` (see ARCHITECTURE.md).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod audit;
pub mod batches;
pub mod bench;
pub mod cli;
pub mod config;
pub mod data;
pub mod forecast;
pub mod intervene;
pub mod observe;
pub mod pool;
pub mod predict;
pub mod presets;
pub mod profile;
pub mod record;
pub mod report;
pub mod run;
pub mod seed;
pub mod spectrum_file;
pub mod stats;
pub mod study;
pub mod sweep;
pub mod tasks;
pub mod train;
