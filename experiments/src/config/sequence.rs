//! Sequence tasks: the `[task]` tables of `kind = "collatz"` and `kind = "gcd"` (arXiv:2604.13082).

use super::{WordOrCount, word_or_count};
use serde::de::{Deserialize, Deserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize, Serializer};

/// One or more steps of a Collatz map, digits in and digits out.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct CollatzConfig {
    /// What an odd n becomes; an even one becomes n/2.
    pub op: CollatzOp,
    /// How often the map is applied: 1 for T, 2 for T².
    pub iterations: u32,
    /// n is 1 to `max`.
    pub max: usize,
    /// The base of source and target.
    pub base: u32,
    /// Which digit comes first, in source and target.
    pub order: DigitOrder,
    /// How many of the numbers are never trained on.
    pub test: usize,
    /// How many of the others are.
    pub train: TrainSet,
    /// How often each of these is drawn.
    pub sampler: Sampler,
}

/// What an odd n becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub enum CollatzOp {
    /// 3n + 1: the Collatz map itself.
    #[serde(rename = "3n+1")]
    ThreePlus,
    /// 5n + 1
    #[serde(rename = "5n+1")]
    FivePlus,
    /// 7n + 1
    #[serde(rename = "7n+1")]
    SevenPlus,
    /// |1 − n|: one reading of the paper's k = −1, for which k n + 1 is below 0 and has no sign token.
    #[serde(rename = "1-n")]
    OneMinus,
    /// 3n − 1: the other.
    #[serde(rename = "3n-1")]
    ThreeMinus,
}

/// The greatest common divisor of a and b, each 1 to `max`.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct GcdConfig {
    /// The largest a and b.
    pub max: usize,
    /// The base of source and target.
    pub base: u32,
    /// Which digit comes first, in source and target.
    pub order: DigitOrder,
    /// How many of the pairs are never trained on.
    pub test: usize,
    /// How many of the others are.
    pub train: TrainSet,
}

/// Which digit of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigitOrder {
    /// The most significant one, as on paper.
    MostSignificant,
    /// The least significant one: carries run the way in which digits are written.
    LeastSignificant,
}

/// What is trained on: `"online"`, every example outside the test set; or a number, a seeded subset of
/// them that stays the same for the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainSet {
    /// Every other example.
    Online,
    /// This many of them.
    Fixed(usize),
}

/// How often a training example is drawn (`tasks/samplers.rs` has the weights).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// All alike.
    Uniform,
    /// n in proportion to 1/n.
    LogUniform,
    /// All residues mod 64 alike, then all n of that residue.
    ResidueStratified,
    /// All numbers of carries alike, then all n with so many.
    CarryStratified,
    /// No odd n with more than two carries; the rest alike.
    ShortCarry,
}

impl Serialize for TrainSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            TrainSet::Online => serializer.serialize_str("online"),
            TrainSet::Fixed(count) => serializer.serialize_u64(*count as u64),
        }
    }
}

impl<'de> Deserialize<'de> for TrainSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TrainSet, D::Error> {
        Ok(match word_or_count(deserializer, "online")? {
            WordOrCount::Word => TrainSet::Online,
            WordOrCount::Count(count) => TrainSet::Fixed(count),
        })
    }
}
