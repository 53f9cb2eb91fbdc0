//! What an experiment is: one TOML file, read strictly.
//!
//! Every field is required and unknown ones are refused, so a file says everything that its result
//! depends on; what is done to a run stands in optional sections (`intervene.rs`, `probe.rs`), and an
//! absent one does nothing. [`Config::from_toml`] reads and checks a file, [`set::set`] changes a field by its path,
//! [`Config::hash`] names the folder of its runs.

mod hash;
pub mod intervene;
pub mod probe;
pub mod sequence;
pub mod set;
mod validate;

use crate::tasks::sequences::Numerals;
use crate::tasks::{collatz, train_count};
use intervene::{InterveneConfig, StopConfig};
use models::SequenceShape;
use models::config::{EncoderDecoderConfig, MlpConfig, OneLayerConfig};
use probe::ProbeConfig;
use sequence::{CollatzConfig, GcdConfig, MOST_TRAIN, TrainSet};
use serde::de::{self, Deserialize, Deserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize, Serializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use validate::can_be_a_folder;

/// The schema that this version reads.
pub const SCHEMA: u32 = 1;

/// One experiment: a task, a model, how it is trained and what is observed.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the schema: 1.
    pub schema: u32,
    /// Folder name under `runs/`.
    pub name: String,
    /// Which published figure this is, and what number to expect.
    pub figure: String,
    /// Every random number of the run follows from it.
    pub seed: u64,
    /// Number of optimiser steps.
    pub steps: u64,
    /// What is learnt.
    #[serde(deserialize_with = "TaskByKind::deserialize")]
    pub task: TaskConfig,
    /// What learns.
    #[serde(deserialize_with = "ModelByKind::deserialize")]
    pub model: ModelConfig,
    /// How it learns.
    pub optim: OptimConfig,
    /// When it is evaluated.
    pub eval: EvalConfig,
    /// Which activations are measured, and when.
    pub spectral: SpectralConfig,
    /// When it is saved.
    pub checkpoint: CheckpointConfig,
    /// What is done to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervene: Option<InterveneConfig>,
    /// When it ends before its last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopConfig>,
    /// What linear probes read off its encoder, and what is taken out of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeConfig>,
}

/// The `[task]` table; its `kind` picks the variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskConfig {
    /// Arithmetic modulo p.
    Modular(ModularConfig),
    /// Composition of permutations.
    Permutation(PermutationConfig),
    /// Steps of a Collatz map, digits in and digits out.
    Collatz(CollatzConfig),
    /// The greatest common divisor, digits in and digits out.
    Gcd(GcdConfig),
}

/// Arithmetic modulo p.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct ModularConfig {
    /// The operation.
    pub op: ModularOp,
    /// The modulus.
    pub p: usize,
    /// Share of all pairs that is trained on.
    pub train_fraction: f64,
}

/// An operation modulo p.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModularOp {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a b
    Mul,
    /// a b⁻¹, b ≠ 0
    Div,
    /// a² + b²
    SquareSum,
}

/// Composition of permutations of n things.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct PermutationConfig {
    /// The operation.
    pub op: PermutationOp,
    /// How many things are permuted: the symbols are the n! permutations.
    pub n: usize,
    /// Share of all pairs that is trained on.
    pub train_fraction: f64,
}

/// An operation on permutations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermutationOp {
    /// `(a ∘ b)(i) = a[b[i]]`
    Compose,
}

impl TaskConfig {
    /// Share of all examples that is trained on.
    pub fn train_fraction(&self) -> f64 {
        match self {
            TaskConfig::Modular(c) => c.train_fraction,
            TaskConfig::Permutation(c) => c.train_fraction,
            _ => self.train_count() as f64 / self.examples() as f64,
        }
    }

    /// Number of input symbols; as many classes.
    pub fn symbols(&self) -> usize {
        match self {
            TaskConfig::Modular(c) => c.p,
            TaskConfig::Permutation(c) => (1..=c.n).product(),
            TaskConfig::Collatz(c) => c.numerals()[1].symbols(),
            TaskConfig::Gcd(c) => Numerals::new(c.base, c.order).symbols(),
        }
    }

    /// Number of examples, trained on or not: pairs that have an answer, or numbers.
    pub fn examples(&self) -> usize {
        let symbols = self.symbols();
        match self {
            TaskConfig::Modular(c) if c.op == ModularOp::Div => symbols * (symbols - 1),
            TaskConfig::Modular(_) | TaskConfig::Permutation(_) => symbols * symbols,
            TaskConfig::Collatz(c) => c.max,
            TaskConfig::Gcd(c) => c.max * c.max,
        }
    }

    /// Where two tasks of one kind divide their examples unlike by the same seed: the first such key, with both
    /// values. Tasks of different kinds share no examples.
    pub fn splits_unlike(&self, other: &TaskConfig) -> Option<(&'static str, [String; 2])> {
        let split = |task: &TaskConfig| match task {
            TaskConfig::Modular(ModularConfig { p: size, train_fraction, .. }) => {
                [("task.p", size.to_string()), ("task.train_fraction", train_fraction.to_string())]
            }
            TaskConfig::Permutation(PermutationConfig { n: size, train_fraction, .. }) => {
                [("task.n", size.to_string()), ("task.train_fraction", train_fraction.to_string())]
            }
            TaskConfig::Collatz(CollatzConfig { max, test, .. })
            | TaskConfig::Gcd(GcdConfig { max, test, .. }) => {
                [("task.max", max.to_string()), ("task.test", test.to_string())]
            }
        };
        if std::mem::discriminant(self) != std::mem::discriminant(other) {
            return None;
        }
        let pairs = split(self).into_iter().zip(split(other));
        pairs.map(|((key, a), (_, b))| (key, [a, b])).find(|(_, [a, b])| a != b)
    }

    /// Of a task of sequences: how many are tested, and what is trained on. None if it has pairs.
    pub fn sequence_split(&self) -> Option<(usize, TrainSet)> {
        match self {
            TaskConfig::Modular(_) | TaskConfig::Permutation(_) => None,
            TaskConfig::Collatz(c) => Some((c.test, c.train)),
            TaskConfig::Gcd(c) => Some((c.test, c.train)),
        }
    }

    /// Whether its examples are sequences, and not pairs.
    pub fn has_sequences(&self) -> bool {
        self.sequence_split().is_some()
    }

    /// Number of examples to learn from.
    pub fn train_count(&self) -> usize {
        match self.sequence_split() {
            None => train_count(self.examples(), self.train_fraction()),
            Some((test, TrainSet::Online)) => self.examples() - test,
            Some((_, TrainSet::Fixed(count))) => count,
        }
    }

    /// Number of examples that are never trained on, and tested.
    pub fn test_count(&self) -> usize {
        match self.sequence_split() {
            None => self.examples() - self.train_count(),
            Some((test, _)) => test,
        }
    }

    /// How large its sequences are, EOS behind the target included; None if it has pairs.
    pub fn shape(&self) -> Option<SequenceShape> {
        let (numerals, source, largest) = match self {
            TaskConfig::Modular(_) | TaskConfig::Permutation(_) => return None,
            TaskConfig::Collatz(c) => {
                let [of_n, numerals] = c.numerals();
                let largest = collatz::largest(c).expect("64 bits were checked");
                (numerals, of_n.length(c.max as u64), largest)
            }
            TaskConfig::Gcd(c) => {
                let numerals = Numerals::new(c.base, c.order);
                (numerals, 2 * numerals.length(c.max as u64) + 1, c.max as u64)
            }
        };
        let target = numerals.length(largest) + 1;
        Some(SequenceShape { d_vocab: numerals.symbols(), source, target })
    }
}

/// The `[model]` table; its `kind` picks the variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelConfig {
    /// A transformer, read at its last position.
    OneLayer(OneLayerConfig),
    /// A multi-layer perceptron on concatenated embeddings.
    Mlp(MlpConfig),
    /// An encoder-decoder transformer for sequences, or a decoder alone.
    EncoderDecoder(EncoderDecoderConfig),
}

impl ModelConfig {
    /// The activations that a spectral probe can read.
    pub fn probes(&self) -> Vec<String> {
        match self {
            ModelConfig::OneLayer(c) => c.probes(),
            ModelConfig::Mlp(c) => c.probes(),
            ModelConfig::EncoderDecoder(c) => c.probes(),
        }
    }

    /// Those of them that hold the last position alone, where an intervention can act; none of sequences.
    pub fn sites(&self) -> Vec<String> {
        match self {
            ModelConfig::OneLayer(c) => c.sites(),
            ModelConfig::Mlp(c) => c.sites(),
            ModelConfig::EncoderDecoder(_) => Vec::new(),
        }
    }
}

// Reading an internally tagged enum would lose the line and column of a mistake inside it, because
// serde copies the table before it knows the variant. So `kind` is moved first (see `by_kind`):
// `{ kind = "mlp", d_mlp = 512 }` becomes `{ mlp = { d_mlp = 512 } }`, which serde reads in place.
#[derive(DeriveDeserialize)]
#[serde(remote = "TaskConfig", rename_all = "snake_case")]
enum TaskByKind {
    Modular(ModularConfig),
    Permutation(PermutationConfig),
    Collatz(CollatzConfig),
    Gcd(GcdConfig),
}

#[derive(DeriveDeserialize)]
#[serde(remote = "ModelConfig", rename_all = "snake_case")]
enum ModelByKind {
    OneLayer(OneLayerConfig),
    Mlp(MlpConfig),
    EncoderDecoder(EncoderDecoderConfig),
}

/// The `[optim]` table: AdamW as in PyTorch, and its batches.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Parameters whose name contains one of these are not decayed.
    pub no_decay: Vec<String>,
    /// The largest norm of all gradients together; absent, they are left as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Steps of linear warm-up: lr is multiplied by min(step / warmup, 1), so step 0 learns nothing.
    pub warmup: u64,
    /// The learning rate after the warm-up.
    pub schedule: Schedule,
    /// Examples per step.
    pub batch: Batch,
    /// Whether each step draws its examples independently; if not, an epoch is a permutation of the
    /// training examples. Says nothing for a full batch.
    pub replacement: bool,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// As it is.
    Constant,
    /// Falling to 0 at the last step, along half a cosine.
    Cosine,
}

/// Examples per step: a number, or `"full"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// Every training example.
    Full,
    /// This many.
    Size(usize),
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Batch::Full => serializer.serialize_str("full"),
            Batch::Size(size) => serializer.serialize_u64(*size as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Batch, D::Error> {
        Ok(match word_or_count(deserializer, "full")? {
            WordOrCount::Word => Batch::Full,
            WordOrCount::Count(size) => Batch::Size(size),
        })
    }
}

/// What a field like `optim.batch` holds.
enum WordOrCount {
    Word,
    Count(usize),
}

/// Reads one certain word, or a whole number above 0.
fn word_or_count<'de, D: Deserializer<'de>>(
    deserializer: D,
    word: &'static str,
) -> Result<WordOrCount, D::Error> {
    struct Visitor(&'static str);
    impl de::Visitor<'_> for Visitor {
        type Value = WordOrCount;
        fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
            write!(f, "{:?} or a whole number above 0", self.0)
        }
        fn visit_str<E: de::Error>(self, s: &str) -> Result<WordOrCount, E> {
            match s == self.0 {
                true => Ok(WordOrCount::Word),
                false => Err(E::invalid_value(de::Unexpected::Str(s), &self)),
            }
        }
        fn visit_i64<E: de::Error>(self, count: i64) -> Result<WordOrCount, E> {
            match usize::try_from(count) {
                Ok(count) if count > 0 => Ok(WordOrCount::Count(count)),
                _ => Err(E::invalid_value(de::Unexpected::Signed(count), &self)),
            }
        }
        fn visit_u64<E: de::Error>(self, count: u64) -> Result<WordOrCount, E> {
            self.visit_i64(i64::try_from(count).unwrap_or(i64::MAX))
        }
    }
    deserializer.deserialize_any(Visitor(word))
}

/// The `[eval]` table.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Steps between evaluations on all training and all test pairs; of sequences, on the first
    /// [`MOST_TRAIN`] of the training examples.
    pub every: u64,
    /// How many of the test examples are evaluated, the first in the split's order; absent, all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<usize>,
}

/// The `[spectral]` table.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectralConfig {
    /// Steps between measurements of the training step's own activations.
    pub every: u64,
    /// Examples of the fixed train probe, and of the fixed test probe. Of a pair a row is measured, that
    /// of the last position; of a sequence a row for each token.
    pub probe: usize,
    /// Activations, by name. The first is the one that summaries use.
    pub at: Vec<String>,
}

/// The `[checkpoint]` table.
#[derive(Debug, Clone, PartialEq, Serialize, DeriveDeserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between checkpoints.
    pub every: u64,
    /// How many of the newest are kept; 0 keeps all.
    pub keep: usize,
}

/// Why a config could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, or not this schema: an unknown key, a missing one, a wrong type.
    #[error("{origin}: {message}")]
    Read {
        /// Where the text came from.
        origin: String,
        /// What is wrong, with the line where it is.
        message: String,
    },
    /// A path given to `set` that does not exist, or a value that cannot be read.
    #[error("{0}")]
    Set(String),
    /// A value that no run can have.
    #[error("{origin}: {sentence}")]
    Invalid {
        /// Where the text came from.
        origin: String,
        /// Which key is wrong, and what was expected.
        sentence: String,
    },
}

impl Config {
    /// Reads and checks a config. `origin` (a path, a preset's name) begins each error.
    pub fn from_toml(text: &str, origin: &str) -> Result<Config, ConfigError> {
        let read = |message: String| ConfigError::Read { origin: origin.to_owned(), message };
        let parsed = |mut e: toml::de::Error| {
            e.set_input(Some(text));
            read(e.to_string().trim_end().to_owned())
        };
        let mut root = DeTable::parse(text).map_err(parsed)?;
        for (key, kinds) in [
            ("task", "\"modular\", \"permutation\", \"collatz\" or \"gcd\""),
            ("model", "\"one_layer\", \"mlp\" or \"encoder_decoder\""),
        ] {
            if let Some(DeValue::Table(table)) = root.get_mut().get_mut(key).map(Spanned::get_mut) {
                by_kind(table).ok_or_else(|| read(format!("[{key}] needs kind = {kinds}")))?;
            }
        }
        let config = Config::deserialize(toml::de::Deserializer::from(root)).map_err(parsed)?;
        config
            .validate()
            .map_err(|sentence| ConfigError::Invalid { origin: origin.to_owned(), sentence })?;
        Ok(config)
    }

    /// Reads a config, makes changes such as `("optim.lr", "3e-4")` in turn, and checks the outcome.
    pub fn from_toml_with(
        text: &str,
        origin: &str,
        changes: &[(String, String)],
    ) -> Result<Config, ConfigError> {
        if changes.is_empty() {
            return Config::from_toml(text, origin);
        }
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| ConfigError::Read {
                origin: origin.to_owned(),
                message: e.to_string().trim_end().to_owned(),
            })?;
        for (path, value) in changes {
            set::set(&mut table, path, value)?;
        }
        let origin = format!("{origin} with its changes");
        Config::from_toml(&table.to_string(), &origin)
    }

    /// The whole config as a file that `from_toml` reads back.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a config holds only what TOML can say")
    }

    /// The name of this config's run under `runs/<name>/`: `<hash>-s<seed>`.
    pub fn run_id(&self) -> String {
        format!("{}-s{}", self.hash(), self.seed)
    }

    /// Number of trained values.
    pub fn parameters(&self) -> usize {
        let symbols = self.task.symbols();
        match &self.model {
            ModelConfig::OneLayer(c) => c.parameters(symbols, symbols),
            ModelConfig::Mlp(c) => c.parameters(symbols, symbols),
            ModelConfig::EncoderDecoder(c) => {
                let longest =
                    self.task.shape().map_or((0, 0), |shape| (shape.source, shape.target));
                c.parameters(symbols, longest.0, longest.1)
            }
        }
    }

    /// How many training and how many test examples an evaluation looks at.
    pub fn evaluated(&self) -> (usize, usize) {
        let all = self.task.train_count();
        let train = if self.task.has_sequences() { all.min(MOST_TRAIN) } else { all };
        (train, self.eval.test.unwrap_or(self.task.test_count()))
    }
}

/// `{ kind = "x", … }` becomes `{ x = { … } }`, every value keeping its place in the text. None if there
/// is no `kind`, or it is not a string.
fn by_kind(table: &mut DeTable) -> Option<()> {
    let kind = table.remove("kind")?;
    let span = kind.span();
    let DeValue::String(kind) = kind.into_inner() else { return None };
    let rest = std::mem::take(table);
    table.insert(Spanned::new(span.clone(), kind), Spanned::new(span, DeValue::Table(rest)));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../presets/entropy-paper-add.toml");

    fn read(from: &str, to: &str) -> Result<Config, ConfigError> {
        assert!(TEXT.contains(from), "{from:?} stands in the preset");
        Config::from_toml(&TEXT.replacen(from, to, 1), "test.toml")
    }

    fn error(from: &str, to: &str) -> String {
        read(from, to).unwrap_err().to_string()
    }

    fn with(path: &str, value: &str) -> Result<Config, ConfigError> {
        Config::from_toml_with(TEXT, "test.toml", &[(path.to_owned(), value.to_owned())])
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_in_every_table() {
        for (line, name) in [
            ("seed = 0", "seeed"),
            ("p = 97", "q"),
            ("d_model = 128", "d_modle"),
            ("weight_decay = 1.0", "weigth_decay"),
            ("probe = 512", "prob"),
            ("keep = 2", "keeep"),
        ] {
            let sentence = error(line, &format!("{name} = 1"));
            let number = TEXT.lines().position(|l| l.starts_with(line)).unwrap() + 1;
            assert!(
                sentence.starts_with(&format!(
                    "test.toml: TOML parse error at line {number}, column 1"
                ))
            );
            assert!(sentence.contains(&format!("unknown field `{name}`, expected ")), "{sentence}");
        }
    }

    #[test]
    fn a_missing_key_is_named() {
        for line in ["seed = 0", "p = 97", "d_model = 128", "lr = 1e-3", "keep = 2"] {
            let key = line.split(' ').next().unwrap();
            assert!(
                error(line, "").contains(&format!("missing field `{key}`")),
                "{}",
                error(line, "")
            );
        }
    }

    #[test]
    fn the_kind_is_required_and_known() {
        assert_eq!(
            error("kind = \"one_layer\"", ""),
            "test.toml: [model] needs kind = \"one_layer\", \"mlp\" or \"encoder_decoder\""
        );
        assert_eq!(
            error("kind = \"modular\"", "kind = 3"),
            "test.toml: [task] needs kind = \"modular\", \"permutation\", \"collatz\" or \"gcd\""
        );
        let sentence = error("kind = \"one_layer\"", "kind = \"two_layer\"");
        assert!(sentence.contains("^^^^^^^^^^^"), "{sentence}");
        assert!(sentence.contains(
            "unknown variant `two_layer`, expected one of `one_layer`, `mlp`, `encoder_decoder`"
        ));
    }

    #[test]
    fn a_wrong_type_is_shown_where_it_stands() {
        let sentence = error("d_model = 128", "d_model = \"wide\"");
        assert!(sentence.contains("d_model = \"wide\"\n"), "{sentence}");
        assert!(sentence.contains("invalid type: string \"wide\", expected usize"), "{sentence}");
        for value in ["0", "-3", "\"half\"", "1.5"] {
            let sentence = error("batch = 512", &format!("batch = {value}"));
            assert!(sentence.contains("expected \"full\" or a whole number above 0"), "{sentence}");
        }
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        let sentence = Config::from_toml("schema = \n", "x.toml").unwrap_err().to_string();
        assert!(
            sentence.starts_with("x.toml: TOML parse error at line 1, column 10"),
            "{sentence}"
        );
    }

    #[test]
    fn values_that_no_run_can_have_are_refused_in_a_sentence() {
        let cases = [
            ("schema", "2", "schema = 2: this plateau reads schema 1"),
            ("name", "a/b", "name = \"a/b\": it becomes a folder's name"),
            ("steps", "0", "steps = 0: a run needs at least one step"),
            ("task.p", "1", "task.p = 1: a modulus is at least 2"),
            ("task.p", "100000", "task.p = 100000: at most 4096"),
            ("task.train_fraction", "0", "task.train_fraction = 0: must be above 0"),
            (
                "task.train_fraction",
                "1e-9",
                "task.train_fraction = 0.000000001: leaves no training pair of 9409",
            ),
            ("task.train_fraction", "1.0", "task.train_fraction = 1: leaves no test pair of 9409"),
            ("task.train_fraction", "nan", "task.train_fraction = NaN: must be above 0"),
            ("model.n_heads", "3", "model.d_model = 128: must be a multiple of model.n_heads = 3"),
            ("model.n_heads", "0", "model.n_heads = 0: must be at least 1"),
            ("model.d_mlp", "9000000000000000000", "model.d_mlp = 9000000000000000000: at most"),
            ("model.n_layers", "1024", ""),
            ("model.d_model", "1048576", "this model and batch would need about"),
            ("optim.lr", "inf", "optim.lr = inf: must be a finite number"),
            ("optim.lr", "-1.0", "optim.lr = -1: must be a finite number, 0 or above"),
            (
                "optim.betas",
                "[0.9, 1.0]",
                "optim.betas = [0.9, 1.0]: both must be at least 0 and below 1",
            ),
            ("optim.no_decay", "[\"\"]", "optim.no_decay: an empty string would match"),
            ("optim.clip", "0", "optim.clip = 0: must be a finite number above 0"),
            ("optim.clip", "inf", "optim.clip = inf: must be a finite number above 0"),
            ("optim.clip", "nan", "optim.clip = NaN: must be a finite number above 0"),
            ("optim.clip", "5", ""),
            ("eval.test", "0", "eval.test = 0: must be 1 to 7527, the number of test examples"),
            ("eval.test", "7528", "eval.test = 7528: must be 1 to 7527"),
            (
                "eval.test",
                "511",
                "spectral.probe = 512: there are only 1882 training and 511 test examples",
            ),
            ("eval.test", "512", ""),
            ("eval.every", "0", "eval.every = 0: must be at least 1"),
            (
                "spectral.probe",
                "2000",
                "spectral.probe = 2000: there are only 1882 training and 7527 test examples",
            ),
            ("spectral.at", "[]", "spectral.at = []: name at least one activation"),
            (
                "spectral.at",
                "[\"blocks.1.hook_resid_mid\"]",
                "spectral.at: this model has no \"blocks.1.hook_resid_mid\"; it has blocks.0.hook_resid_mid, ",
            ),
        ];
        for (path, value, sentence) in cases {
            match with(path, value) {
                Ok(_) => assert_eq!(sentence, "", "{path} = {value}"),
                Err(e) => assert!(
                    e.to_string().starts_with(&format!("test.toml with its changes: {sentence}")),
                    "{path} = {value}: {e}"
                ),
            }
        }
    }

    #[test]
    fn division_needs_a_prime() {
        let changes =
            [("task.op", "div"), ("task.p", "96")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let sentence = Config::from_toml_with(TEXT, "t", &changes).unwrap_err().to_string();
        assert_eq!(sentence, "t with its changes: task.p = 96: division needs a prime modulus");
        assert!(with("task.op", "div").is_ok());
    }

    #[test]
    fn without_replacement_a_batch_has_at_most_the_training_pairs() {
        let change = |size: &str| {
            let changes = [("optim.replacement", "false"), ("optim.batch", size)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()));
            Config::from_toml_with(TEXT, "t", &changes)
        };
        assert!(change("1882").is_ok());
        assert!(
            change("1883")
                .unwrap_err()
                .to_string()
                .contains("there are only 1882 training examples")
        );
    }

    #[test]
    fn the_hash_follows_results_and_nothing_else() {
        let base = Config::from_toml(TEXT, "t").unwrap();
        assert_eq!(base.hash().len(), 12);
        for (path, value) in [
            ("seed", "5"),
            ("name", "other"),
            ("figure", "another sentence"),
            ("checkpoint.every", "7"),
            ("checkpoint.keep", "0"),
            ("optim.lr", "0.001"),
            ("optim.weight_decay", "1"),
        ] {
            assert_eq!(with(path, value).unwrap().hash(), base.hash(), "{path}");
        }
        for (path, value) in [
            ("steps", "5"),
            ("task.op", "sub"),
            ("task.p", "98"),
            ("model.act", "relu"),
            ("optim.lr", "0.0010000000000000002"),
            ("optim.batch", "full"),
            ("optim.no_decay", "[\"b\"]"),
            ("optim.clip", "5"),
            ("eval.every", "50"),
            ("eval.test", "1000"),
            ("spectral.at", "[\"ln_final.hook_out\"]"),
        ] {
            assert_ne!(with(path, value).unwrap().hash(), base.hash(), "{path}");
        }
    }

    #[test]
    fn the_hash_is_that_of_the_first_release() {
        assert_eq!(Config::from_toml(TEXT, "t").unwrap().run_id(), "0fdf83a014e8-s0");
    }

    #[test]
    fn a_written_config_keeps_the_order_of_the_schema() {
        let text = Config::from_toml(TEXT, "t").unwrap().to_toml();
        assert!(text.starts_with("schema = 1\nname = \"entropy-paper-add\"\n"), "{text}");
        assert!(text.contains("[task]\nkind = \"modular\"\nop = \"add\"\np = 97\n"), "{text}");
        assert!(text.contains("[model]\nkind = \"one_layer\"\ntokens = \"ab\"\n"), "{text}");
    }
}
