//! What is done to a run, as its config's `[intervene]` says.
//!
//! ```text
//! mixing   zᵢ ← (1 − α)·zᵢ + α·z_π(i), or noise as large, in the forward of a step     mixing.rs
//! norm     θ ← θ·(target / ‖θ‖) after an update                                        norm.rs
//! labels   the answers of all pairs permuted, before the first step                    labels.rs
//! transplant, redraw, freeze   parts that begin otherwise, or do not learn             parts.rs
//! ```
//! The first two act on the steps from ≤ step < until. Mixing changes what the step's tape holds, so the tape
//! is recorded again where it starts or ends: where it does not act, there is nothing of it. Evaluation
//! has its own tape, which never has any.

pub mod derangement;
pub mod labels;
pub mod mixing;
pub mod norm;
pub mod parts;

use crate::config::Config;
use crate::data::{self, Model};
use crate::seed::Seed;
use anyhow::{Context, Result};
use autograd::Tape;
use mixing::Mixing;
use models::{Edit, Purpose};
use norm::NormRescaling;
use std::path::Path;

/// What is done to the steps of one run.
#[derive(Debug, Default)]
pub struct Interventions {
    mixing: Option<Mixing>,
    norm: Option<NormRescaling>,
}

impl Interventions {
    /// Those of a config.
    pub fn new(config: &Config) -> Interventions {
        let Some(intervene) = &config.intervene else { return Interventions::default() };
        let mixing = |c: &_| Mixing::new(c, Seed(config.seed));
        Interventions {
            mixing: intervene.mixing.as_ref().map(mixing),
            norm: intervene.norm.as_ref().map(NormRescaling::new),
        }
    }

    /// Reads what they need of earlier runs: the norms of the baseline, below `runs` or in what studies have
    /// recorded below `results`.
    ///
    /// # Errors
    /// If there is no such run.
    pub fn find_baseline(&mut self, config: &Config, runs: &Path, results: &Path) -> Result<()> {
        if let (Some(norm), Some(baseline)) = (&mut self.norm, config.baseline()) {
            norm.follow(norm::find(&baseline, runs, results).context("intervene.norm")?);
        }
        Ok(())
    }

    /// Records the model as the step has it.
    pub fn record(&mut self, config: &Config, purpose: Purpose, step: u64) -> Model {
        let mut model = match &mut self.mixing {
            Some(mixing) if mixing.acts(step) => {
                let site = mixing.site().to_owned();
                let mut apply = |tape: &mut Tape, z| mixing.record(tape, z);
                data::record(config, purpose, Some(Edit { site: &site, apply: &mut apply }))
            }
            mixing => {
                mixing.iter_mut().for_each(Mixing::forget);
                data::record(config, purpose, None)
            }
        };
        parts::freeze(config, &mut model);
        model
    }

    /// Whether the step needs another tape than that recorded last.
    pub fn changes(&self, step: u64) -> bool {
        self.mixing.as_ref().is_some_and(|m| m.acts(step) != m.is_recorded())
    }

    /// The steps at which the tape changes.
    pub fn boundaries(&self) -> Vec<u64> {
        self.mixing.as_ref().map_or(Vec::new(), Mixing::boundaries)
    }

    /// Draws what the step's tape needs beside its batch. False if that is nothing. Allocates nothing.
    pub fn draw(&self, tape: &mut Tape, step: u64) -> bool {
        self.mixing.as_ref().is_some_and(|mixing| mixing.draw(tape, step))
    }

    /// Gives the updated parameters the norm that they are to have after the update of `step`; that
    /// norm, if the step is one to do so. Allocates nothing.
    ///
    /// # Errors
    /// If the baseline was not read before.
    pub fn rescale(&self, tape: &mut Tape, step: u64) -> Result<Option<f64>> {
        self.norm.as_ref().map_or(Ok(None), |norm| norm.rescale(tape, step))
    }

    /// The mixing, if there is one.
    pub fn mixing(&self) -> Option<&Mixing> {
        self.mixing.as_ref()
    }
}
