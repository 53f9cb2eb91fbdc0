//! The optional `[probe]` table: what linear probes ask of an encoder, and when.

use crate::observe::probe::Target;
use serde::{Deserialize, Serialize};

/// The `[probe]` table, for a Collatz task and a model with an encoder (`observe/probes.rs`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    /// Steps between probes, a multiple of those between evaluations.
    pub every: u64,
    /// How many of the test examples are probed, the first in the split's order: four in five are fitted, the others
    /// are held out.
    pub rows: usize,
    /// The activations, by name: a row for each token of a source.
    pub at: Vec<String>,
    /// What becomes of an example's rows.
    pub pool: Pool,
    /// What is asked of n.
    pub targets: Vec<Target>,
    /// Those of them whose directions are erased from the encoder's output, one target at a time.
    pub erase: Vec<Target>,
}

/// What becomes of the rows of an example's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Their mean.
    Mean,
    /// The first alone.
    First,
    /// The last alone.
    Last,
}
