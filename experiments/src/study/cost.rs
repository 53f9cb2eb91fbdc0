//! What measuring costs here: cost.csv beside runs.csv, a line a round.
//!   step_ms      a training step on one thread, from drawing the batch to the weights
//!   forward_ms   its forward pass, loss included: what a probe of the batch's size takes
//!   entropy_ms   H̃ of its batch, on top of the step
//! Both are medians over a round's steps. It is the one file of a study's results that knows a machine.

use crate::config::Config;
use crate::pool;
use crate::presets::preset;
use crate::record::Results;
use crate::record::table::{self, Columns, columns};
use crate::run::meta::Meta;
use crate::run::{RunError, write_whole};
use crate::stats::median;
use crate::train::Trainer;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Instant;

/// Rounds, and steps in each.
const ROUNDS: usize = 5;
const STEPS: u64 = 300;

columns! {
    /// One round.
    pub struct Cost {
        /// Where.
        pub cpu: String,
        /// Of a step.
        pub step_ms: f64,
        /// Of its forward pass.
        pub forward_ms: f64,
        /// Of the entropy of its batch.
        pub entropy_ms: f64,
    }
}

fn path(results: &Results) -> PathBuf {
    results.dir().join("cost.csv")
}

/// The rounds that were measured; none where there is no file.
///
/// # Errors
/// If the file is there but cannot be read.
pub fn read(results: &Results) -> Result<Vec<Cost>, RunError> {
    let path = path(results);
    match fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        text => table::read(&path, &text.map_err(RunError::io("read", &path))?, Cost::NAMES),
    }
}

/// Measures the template's step and its entropy, and writes the file.
///
/// # Errors
/// If a loss is not finite or the file cannot be written.
pub fn measure(results: &Results) -> Result<()> {
    let name = "entropy-paper-add";
    let config = Config::from_toml(preset(name).context("a preset")?, name)?;
    let cpu = Meta::new(1, Vec::new()).cpu.replace(',', ";");
    let rounds: Result<Vec<Cost>> = pool::install(1, || {
        let mut trainer = Trainer::new(&config);
        let mut step = 0;
        let round = |_| {
            let (mut steps, mut forwards, mut entropies) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..STEPS {
                let begun = Instant::now();
                trainer.forward(step)?;
                let forward = begun.elapsed();
                trainer.entropy(step)?;
                let entropy = begun.elapsed() - forward;
                let again = Instant::now();
                trainer.update(step)?;
                steps.push(1e3 * (forward + again.elapsed()).as_secs_f64());
                forwards.push(1e3 * forward.as_secs_f64());
                entropies.push(1e3 * entropy.as_secs_f64());
                step += 1;
            }
            let middle = |x: &[f64]| median(x).unwrap_or(f64::NAN);
            Ok(Cost {
                cpu: cpu.clone(),
                step_ms: middle(&steps),
                forward_ms: middle(&forwards),
                entropy_ms: middle(&entropies),
            })
        };
        (0..ROUNDS).map(round).collect()
    })?;
    Ok(write_whole(&path(results), table::write(&rounds?, Cost::NAMES).as_bytes())?)
}
