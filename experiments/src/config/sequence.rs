//! Sequence tasks: the `[task]` tables of `kind = "collatz"` and `kind = "gcd"` (arXiv:2604.13082).

use super::{WordOrCount, word_or_count};
use crate::tasks::sequences::Numerals;
use serde::de::{Deserialize, Deserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize, Serializer};

/// An evaluation looks at so many training examples at most, always the same.
pub const MOST_TRAIN: usize = 1000;

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
    /// The base of the source, if it is another. The vocabulary has the digits of the larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_base: Option<u32>,
    /// Which digit comes first, in source and target.
    pub order: DigitOrder,
    /// How many of the numbers are never trained on.
    pub test: usize,
    /// How many of the others are.
    pub train: TrainSet,
    /// How often each of these is drawn.
    pub sampler: Sampler,
    /// Steps after which a fixed set makes way for another: the next so many of the others, and after the last of them
    /// the first again. Absent, it stays. Train accuracy is that on the first set throughout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew: Option<u64>,
}

impl CollatzConfig {
    /// How n is written, and how its answer is.
    pub fn numerals(&self) -> [Numerals; 2] {
        let source = self.source_base.unwrap_or(self.base);
        [
            Numerals::new(source, self.order).beside(self.base),
            Numerals::new(self.base, self.order).beside(source),
        ]
    }
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

#[cfg(test)]
mod tests {
    use super::super::{Config, TaskConfig};

    const TEXT: &str = include_str!("../../presets/smoke.toml");
    const COLLATZ: &str = r#"[task]
kind = "collatz"
op = "3n+1"
iterations = 1
max = 10_000
base = 8
order = "most_significant"
test = 5000
train = "online"
sampler = "uniform"

"#;
    const GCD: &str = r#"[task]
kind = "gcd"
max = 1000
base = 8
order = "most_significant"
test = 5000
train = 1000

"#;

    /// The smoke preset with another task, changed at one place.
    fn text(task: &str, from: &str, to: &str) -> String {
        assert!(task.contains(from), "{from:?} stands in the task");
        let (before, rest) = TEXT.split_once("[task]").unwrap();
        let (_, after) = rest.split_once("[model]").unwrap();
        format!("{before}{}[model]{after}", task.replacen(from, to, 1))
    }

    fn error(task: &str, from: &str, to: &str) -> String {
        Config::from_toml(&text(task, from, to), "t.toml").unwrap_err().to_string()
    }

    /// What the config says when nothing is wrong with the task.
    const VALID: &str =
        "t.toml: model.kind: the task has sequences, and one_layer and mlp read pairs";

    #[test]
    fn a_task_of_sequences_is_read_and_no_model_of_pairs_takes_it() {
        for (task, from, to) in [
            (COLLATZ, "8", "8"),
            (COLLATZ, "3n+1", "5n+1"),
            (COLLATZ, "3n+1", "7n+1"),
            (COLLATZ, "3n+1", "1-n"),
            (COLLATZ, "3n+1", "3n-1"),
            (COLLATZ, "iterations = 1", "iterations = 2"),
            (COLLATZ, "base = 8", "base = 2"),
            (COLLATZ, "base = 8", "base = 2\nsource_base = 24"),
            (COLLATZ, "most", "least"),
            (COLLATZ, "\"online\"", "5000"),
            (COLLATZ, "uniform", "log_uniform"),
            (COLLATZ, "uniform", "residue_stratified"),
            (COLLATZ, "uniform", "carry_stratified"),
            (COLLATZ, "uniform", "short_carry"),
            (GCD, "8", "24"),
            (GCD, "1000", "999"),
        ] {
            let sentence = error(task, from, to);
            assert!(sentence.starts_with(VALID), "{from} to {to}: {sentence}");
        }
    }

    #[test]
    fn values_that_no_task_can_have_are_refused_in_a_sentence() {
        for (task, from, to, sentence) in [
            (COLLATZ, "base = 8", "base = 1", "task.base = 1: must be at least 2"),
            (COLLATZ, "base = 8", "base = 65537", "task.base = 65537: at most 65536"),
            (GCD, "base = 8", "base = 0", "task.base = 0: must be at least 2"),
            (
                COLLATZ,
                "base = 8",
                "base = 8\nsource_base = 8",
                "task.source_base = 8: must be 2 to 65536 and another than task.base",
            ),
            (
                COLLATZ,
                "base = 8",
                "base = 8\nsource_base = 1",
                "task.source_base = 1: must be 2 to",
            ),
            (COLLATZ, "10_000", "0", "task.max = 0: must be 1 to 1048576"),
            (COLLATZ, "10_000", "2_000_000", "task.max = 2000000: must be 1 to 1048576"),
            (GCD, "1000", "5000", "task.max = 5000: must be 1 to 1024, for all pairs are held"),
            (COLLATZ, "iterations = 1", "iterations = 0", "task.iterations = 0: must be 1 to 64"),
            (COLLATZ, "iterations = 1", "iterations = 65", "task.iterations = 65: must be 1 to 64"),
            (
                COLLATZ,
                "5000",
                "0",
                "task.test = 0: must be at least 1 and leave something to train on of 10000",
            ),
            (
                COLLATZ,
                "5000",
                "10_000",
                "task.test = 10000: must be at least 1 and leave something",
            ),
            (
                COLLATZ,
                "\"online\"",
                "5001",
                "task.train = 5001: task.test = 5000 leaves only 5000 of 10000",
            ),
        ] {
            let found = error(task, from, to);
            assert!(found.starts_with(&format!("t.toml: {sentence}")), "{from} to {to}: {found}");
        }
    }

    #[test]
    fn a_mistake_is_shown_with_its_line() {
        for (from, to, sentence) in [
            ("base = 8\n", "", "missing field `base`"),
            ("base", "bsae", "unknown field `bsae`, expected one of"),
            ("3n+1", "4n+1", "unknown variant `4n+1`, expected one of `3n+1`, `5n+1`"),
            ("uniform", "unifrom", "unknown variant `unifrom`"),
            ("\"online\"", "\"offline\"", "expected \"online\" or a whole number above 0"),
            ("\"online\"", "0", "expected \"online\" or a whole number above 0"),
        ] {
            let found = error(COLLATZ, from, to);
            assert!(
                found.contains("TOML parse error at line ") && found.contains(sentence),
                "{found}"
            );
        }
    }

    #[test]
    fn what_grows_past_a_sequence_or_past_64_bits_is_refused() {
        // By Python's whole numbers: of 7n + 1 from n up to 2²⁰, the largest after 51 steps has 63 bits or
        // fewer, after 52 it has 64, and on the way to 64 steps one has more.
        let with = |iterations: u32, base: u32| {
            let task = COLLATZ
                .replace("iterations = 1", &format!("iterations = {iterations}"))
                .replace("3n+1", "7n+1")
                .replace("10_000", "1_048_576")
                .replace("base = 8", &format!("base = {base}"));
            error(&task, "max", "max")
        };
        assert!(with(51, 2).starts_with(VALID));
        assert!(with(52, 3).starts_with(VALID));
        assert_eq!(
            with(52, 2),
            "t.toml: task.max = 1048576: digits and the token at their end are 65 tokens in base 2, \
             and a sequence has at most 64"
        );
        assert_eq!(
            with(64, 48),
            "t.toml: task.iterations = 64: from some n up to task.max = 1048576 the map leaves 64 bits"
        );
    }

    #[test]
    fn a_sampler_needs_draws_with_replacement() {
        let task = COLLATZ.replace("uniform", "short_carry");
        for change in ["replacement = false", "batch = \"full\""] {
            let key = change.split(' ').next().unwrap();
            let text = text(&task, "max", "max");
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            let said = Config::from_toml(&text.replace(line, change), "t.toml").unwrap_err();
            assert!(said.to_string().contains("task.sampler: one that is not uniform"), "{said}");
        }
    }

    #[test]
    fn only_a_fixed_set_is_renewed() {
        let of = |task: &str| {
            let text = text(&task.replace("[task]", "[task]\nrenew = 500"), "max", "max");
            Config::from_toml(&text, "t.toml").map(|_| ()).map_err(|e| e.to_string())
        };
        let fixed = COLLATZ.replace("\"online\"", "1000");
        let refused = "t.toml: task.renew: must be at least 1, and needs a number as task.train";
        for task in [COLLATZ.to_owned(), fixed.replace("uniform", "log_uniform")] {
            let said = of(&task).unwrap_err();
            assert!(said.starts_with(refused), "{said}");
        }
        let said = of(&fixed).err().unwrap_or_default();
        assert!(said.is_empty() || said.starts_with(VALID), "{said}");
    }

    #[test]
    fn a_sampler_that_leaves_nothing_is_refused_seed_by_seed() {
        // One training number: three odd ones in five have more than two carries.
        let task = COLLATZ.replace("uniform", "short_carry").replace("\"online\"", "1");
        let of_seed = |seed: u32| {
            let text = text(&task, "max", "max").replace("seed = 0", &format!("seed = {seed}"));
            Config::from_toml(&text, "t.toml").unwrap_err().to_string()
        };
        let said: Vec<String> = (0..40).map(of_seed).collect();
        let nothing = "t.toml: task.sampler: short_carry leaves none of the 1 training examples";
        let refused = said.iter().filter(|said| said.starts_with(nothing)).count();
        assert!((4..24).contains(&refused), "{refused} of 40");
        assert!(said.iter().all(|said| said.starts_with(nothing) || said.starts_with(VALID)));
    }

    #[test]
    fn a_task_of_sequences_survives_being_written_and_counts_its_examples() {
        let task = |text: &str| -> TaskConfig {
            let table: toml::Table = text.parse().unwrap();
            let mut task = table["task"].as_table().unwrap().clone();
            match task.remove("kind").unwrap().as_str() {
                Some("gcd") => TaskConfig::Gcd(task.try_into().unwrap()),
                _ => TaskConfig::Collatz(task.try_into().unwrap()),
            }
        };
        let collatz = task(COLLATZ);
        assert_eq!((collatz.symbols(), collatz.examples()), (11, 10_000));
        assert_eq!((collatz.train_count(), collatz.test_count()), (5000, 5000));
        assert_eq!(collatz.train_fraction(), 0.5);
        let gcd = task(GCD);
        assert_eq!((gcd.train_count(), gcd.test_count(), gcd.examples()), (1000, 5000, 1_000_000));
        for config in [collatz, gcd] {
            let written = toml::to_string(&config).unwrap();
            assert_eq!(task(&written.replace("kind", "[task]\nkind")), config, "{written}");
        }
    }
}
