//! What a study keeps of a run: a row of runs.csv and the curves of its evaluations.
//!
//! ```text
//! results/<study>/runs.csv                     one row a run
//! results/<study>/curves/<hash>-s<seed>.csv    one line an evaluation
//! results/<study>/provenance.jsonl             who made each row
//! ```
//!
//! A study says which columns its files have ([`Files`]). The first two follow from the run folder alone (and the group's name, which is given). A row and the norm have
//! all digits, other curves six. Entropies are those of the first hook of `spectral.at`, centred, train
//! probe. A run whose row is there is complete and is
//! never run again, even where its folder is gone.

pub mod provenance;
pub mod table;

use crate::config::sequence::TrainSet;
use crate::config::{Config, TaskConfig};
use crate::observe::milestones::ACCURACY;
use crate::observe::milestones::Milestones;
use crate::report::history::History;
use crate::run::folder::read_config;
use crate::run::meta::Meta;
use crate::run::{RunError, write_whole};
use anyhow::{Context, Result, bail};
use provenance::Provenance;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use table::columns;

/// The folder of all studies' results, where no other is given.
pub const RESULTS: &str = "results";

/// The columns of a study's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// Those of runs.csv.
    pub runs: &'static [&'static str],
    /// Those of a curves file.
    pub curves: &'static [&'static str],
}

/// Study E's.
pub const ENTROPY: Files = Files {
    runs: &[
        "hash",
        "group",
        "task",
        "op",
        "seed",
        "train_fraction",
        "intervention",
        "alpha",
        "steps",
        "t_memorise",
        "t_collapse",
        "t_test_10",
        "t_test_50",
        "t_test_90",
        "t_grok",
        "entropy_init",
        "entropy_at_grok",
        "entropy_final",
        "norm_init",
        "norm_final",
    ],
    curves: &[
        "step",
        "train_loss",
        "train_acc",
        "test_loss",
        "test_acc",
        "norm",
        "entropy",
        "entropy_test",
        "participation_ratio",
        "fourier",
        "norm_embed",
        "norm_attn",
        "norm_mlp",
        "norm_unembed",
        "norm_ln",
    ],
};

/// Study C's.
pub const COLLATZ: Files = Files {
    runs: &[
        "hash",
        "group",
        "task",
        "op",
        "base",
        "order",
        "sampler",
        "train_fraction",
        "train",
        "reading",
        "encoder_layers",
        "decoder_layers",
        "d_model",
        "norm",
        "init",
        "lr",
        "warmup",
        "weight_decay",
        "seed",
        "intervention",
        "donors",
        "frozen",
        "steps",
        "t_memorise",
        "t_collapse",
        "t_test_10",
        "t_test_50",
        "t_test_90",
        "t_grok",
        "train_acc_final",
        "acc_final",
        "acc_best",
        "acc_even",
        "acc_odd",
        "acc_digit",
        "entropy_init",
        "entropy_at_grok",
        "entropy_final",
        "norm_init",
        "norm_final",
    ],
    curves: &[
        "step",
        "train_loss",
        "train_acc",
        "test_loss",
        "test_acc",
        "acc_even",
        "acc_odd",
        "acc_digit",
        "norm",
        "entropy",
        "entropy_test",
        "participation_ratio",
        "entropy_encoder",
        "ratio_encoder",
        "probe_mod2",
        "embed_mod2",
        "major_mod2",
        "probe_mod4",
        "embed_mod4",
        "major_mod4",
        "probe_mod8",
        "embed_mod8",
        "major_mod8",
        "probe_mod16",
        "embed_mod16",
        "major_mod16",
        "probe_bit2",
        "embed_bit2",
        "major_bit2",
        "probe_bit3",
        "embed_bit3",
        "major_bit3",
        "probe_bit4",
        "embed_bit4",
        "major_bit4",
        "probe_log2",
        "embed_log2",
        "major_log2",
        "erase_none",
        "erase_mod2",
        "random_mod2",
        "erase_log2",
        "random_log2",
        "attention_last",
    ],
};

columns! {
    /// A row of runs.csv, with the columns of every study.
    pub struct Row {
        /// Of the config, seed apart.
        pub hash: String,
        /// The group in the study.
        pub group: String,
        /// The task's kind.
        pub task: String,
        /// Its operation.
        pub op: String,
        /// The seed.
        pub seed: u64,
        /// Share of all pairs that is trained on.
        pub train_fraction: f64,
        /// What was done to the run, in a word; "none" if nothing was.
        pub intervention: String,
        /// The strength of the mixing or of its sham.
        pub alpha: Option<f64>,
        /// Steps made.
        pub steps: u64,
        /// First evaluation with train accuracy ≥ .99.
        pub t_memorise: Option<u64>,
        /// First evaluation at which H̃ has fallen by more than .05 within five evaluations.
        pub t_collapse: Option<u64>,
        /// First evaluation with test accuracy ≥ .10.
        pub t_test_10: Option<u64>,
        /// First evaluation with test accuracy ≥ .50.
        pub t_test_50: Option<u64>,
        /// First evaluation with test accuracy ≥ .90.
        pub t_test_90: Option<u64>,
        /// First evaluation with test accuracy ≥ .99.
        pub t_grok: Option<u64>,
        /// H̃ before the first step.
        pub entropy_init: Option<f64>,
        /// H̃ at `t_grok`.
        pub entropy_at_grok: Option<f64>,
        /// H̃ at the last evaluation.
        pub entropy_final: Option<f64>,
        /// L2 norm of all parameters before the first step.
        pub norm_init: Option<f64>,
        /// The same at the last evaluation.
        pub norm_final: Option<f64>,
        /// The base of the digits.
        pub base: Option<u64>,
        /// Which digit comes first.
        pub order: String,
        /// How often each training example is drawn.
        pub sampler: String,
        /// Number of examples that are trained on.
        pub train: Option<u64>,
        /// Whether those are a fixed set ("fixed"), one that makes way for another now and then ("renewed"), or all
        /// that are not tested ("online").
        pub reading: String,
        /// Layers of the encoder.
        pub encoder_layers: Option<u64>,
        /// Layers of the decoder.
        pub decoder_layers: Option<u64>,
        /// Width of the model.
        pub d_model: Option<u64>,
        /// Where LayerNorms stand.
        pub norm: String,
        /// What parameters are drawn from.
        pub init: String,
        /// Learning rate.
        pub lr: Option<f64>,
        /// Steps of warm-up.
        pub warmup: Option<u64>,
        /// Weight decay.
        pub weight_decay: Option<f64>,
        /// What was transplanted, `part=checkpoint`, with `;` between.
        pub donors: String,
        /// Which parts did not learn, with `;` between.
        pub frozen: String,
        /// Train accuracy at the last evaluation; on what, see [`Evaluation::train_acc`].
        pub train_acc_final: Option<f64>,
        /// Test accuracy at the last evaluation.
        pub acc_final: Option<f64>,
        /// Of even n alone.
        pub acc_even: Option<f64>,
        /// Of odd n alone.
        pub acc_odd: Option<f64>,
        /// Share of the test targets' digits that are right.
        pub acc_digit: Option<f64>,
        /// The highest test accuracy of all evaluations.
        pub acc_best: Option<f64>,
    }
}

columns! {
    /// A line of a curves file: one evaluation.
    pub struct Evaluation {
        /// Steps made.
        pub step: u64,
        /// Mean loss on all training pairs.
        pub train_loss: Option<f64>,
        /// Accuracy on all training pairs; of sequences, on a thousand of them at most, and on the first set where it is
        /// renewed.
        pub train_acc: Option<f64>,
        /// Mean loss on all test pairs.
        pub test_loss: Option<f64>,
        /// Accuracy on all test pairs.
        pub test_acc: Option<f64>,
        /// L2 norm of all parameters.
        pub norm: Option<f64>,
        /// H̃ of the train probe.
        pub entropy: Option<f64>,
        /// H̃ of the test probe.
        pub entropy_test: Option<f64>,
        /// (Σλ)² / Σλ² of the train probe.
        pub participation_ratio: Option<f64>,
        /// Alignment of the train probe with a Fourier mode of the answer.
        pub fourier: Option<f64>,
        /// L2 norm of the embeddings.
        pub norm_embed: Option<f64>,
        /// L2 norm of the attention.
        pub norm_attn: Option<f64>,
        /// L2 norm of the MLP.
        pub norm_mlp: Option<f64>,
        /// L2 norm of the unembedding.
        pub norm_unembed: Option<f64>,
        /// L2 norm of the LayerNorms.
        pub norm_ln: Option<f64>,
        /// Test accuracy of even n.
        pub acc_even: Option<f64>,
        /// Test accuracy of odd n.
        pub acc_odd: Option<f64>,
        /// Share of the test targets' digits that are right.
        pub acc_digit: Option<f64>,
        /// H̃ of the encoder's output, train probe.
        pub entropy_encoder: Option<f64>,
        /// (Σλ)² / Σλ² of the encoder's output, train probe.
        pub ratio_encoder: Option<f64>,
        /// Held-out accuracy of a linear probe for n mod 2 on the encoder's output, averaged over tokens.
        pub probe_mod2: Option<f64>,
        /// The same on the input's embedding.
        pub embed_mod2: Option<f64>,
        /// The same without features: the label that most have.
        pub major_mod2: Option<f64>,
        /// Held-out accuracy of a linear probe for n mod 4 on the encoder's output, averaged over tokens.
        pub probe_mod4: Option<f64>,
        /// The same on the input's embedding.
        pub embed_mod4: Option<f64>,
        /// The same without features: the label that most have.
        pub major_mod4: Option<f64>,
        /// Held-out accuracy of a linear probe for n mod 8 on the encoder's output, averaged over tokens.
        pub probe_mod8: Option<f64>,
        /// The same on the input's embedding.
        pub embed_mod8: Option<f64>,
        /// The same without features: the label that most have.
        pub major_mod8: Option<f64>,
        /// Held-out accuracy of a linear probe for n mod 16 on the encoder's output, averaged over tokens.
        pub probe_mod16: Option<f64>,
        /// The same on the input's embedding.
        pub embed_mod16: Option<f64>,
        /// The same without features: the label that most have.
        pub major_mod16: Option<f64>,
        /// Held-out accuracy of a linear probe for the second bit of n, given the first on the encoder's output, averaged over tokens.
        pub probe_bit2: Option<f64>,
        /// The same on the input's embedding.
        pub embed_bit2: Option<f64>,
        /// The same without features: the label that most have.
        pub major_bit2: Option<f64>,
        /// Held-out accuracy of a linear probe for the third bit, given those below on the encoder's output, averaged over tokens.
        pub probe_bit3: Option<f64>,
        /// The same on the input's embedding.
        pub embed_bit3: Option<f64>,
        /// The same without features: the label that most have.
        pub major_bit3: Option<f64>,
        /// Held-out accuracy of a linear probe for the fourth bit, given those below on the encoder's output, averaged over tokens.
        pub probe_bit4: Option<f64>,
        /// The same on the input's embedding.
        pub embed_bit4: Option<f64>,
        /// The same without features: the label that most have.
        pub major_bit4: Option<f64>,
        /// Held-out accuracy of a linear probe for ⌊log₂ n⌋ on the encoder's output, averaged over tokens.
        pub probe_log2: Option<f64>,
        /// The same on the input's embedding.
        pub embed_log2: Option<f64>,
        /// The same without features: the label that most have.
        pub major_log2: Option<f64>,
        /// Share of the probed examples that are written exactly.
        pub erase_none: Option<f64>,
        /// The same with the probe's direction for n mod 2 taken out of the encoder's output.
        pub erase_mod2: Option<f64>,
        /// The same with as many random directions taken out.
        pub random_mod2: Option<f64>,
        /// The same with the probe's directions for ⌊log₂ n⌋ taken out.
        pub erase_log2: Option<f64>,
        /// The same with as many random directions taken out.
        pub random_log2: Option<f64>,
        /// The largest share, over the heads of the decoder's cross-attention, of what BOS sees that is the last
        /// source token.
        pub attention_last: Option<f64>,
    }
}

/// The first hook of the encoder's output, and of the input's embedding: where probes stand.
const ENCODER: &str = "encoder.ln_final.hook_out";
const EMBEDDING: &str = "encoder.blocks.0.hook_resid_pre";

/// What a study keeps of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its row.
    pub row: Row,
    /// Its evaluations, steps ascending.
    pub curves: Vec<Evaluation>,
}

impl Record {
    /// Reads a complete run's folder; `group` and `intervention` are what the row says.
    ///
    /// # Errors
    /// If the run is not complete, or a file cannot be read.
    pub fn read(dir: &Path, group: &str, intervention: &str) -> Result<Record> {
        let config = read_config(dir)?;
        if !Meta::read(dir)?.is_some_and(|meta| meta.finished) {
            bail!("{}: the run is not complete", dir.display());
        }
        let history = History::read(&dir.join("metrics.jsonl"))?;
        let fields = toml::Table::try_from(&config).context("a config is a table")?;
        let field = |path: &str| {
            let mut parts = path.split('.');
            let root = fields.get(parts.next()?)?;
            parts.try_fold(root, |table, part| table.get(part))
        };
        let word = |path| field(path).and_then(|v| v.as_str()).unwrap_or_default().to_owned();

        let reading = |set: &str, what: &str| {
            format!("spectral/{set}/{}/centred/{what}", config.spectral.at[0])
        };
        let entropy = reading("train", "normalised_entropy");
        let entropy_test = reading("test", "normalised_entropy");
        let (ratio, fourier) =
            (reading("train", "participation_ratio"), reading("train", "fourier"));
        let of_encoder = |what: &str| format!("spectral/train/{ENCODER}/centred/{what}");
        let probe =
            |hook: &str, target: &str, step| history.at(&format!("probe/{hook}/{target}"), step);
        let is_head = |key: &&str| key.starts_with("attention/") && key.ends_with("/last");
        let heads: Vec<&str> = history.keys().filter(is_head).collect();
        let evaluation = |step: u64, digits: fn(f64) -> f64| {
            let at = |key: &str| history.at(key, step).map(digits);
            Evaluation {
                step,
                train_loss: at("train/loss"),
                train_acc: at("train/acc"),
                test_loss: at("test/loss"),
                test_acc: at("test/acc"),
                norm: history.at("norm", step), // whole: other runs are scaled to it
                entropy: at(&entropy),
                entropy_test: at(&entropy_test),
                participation_ratio: at(&ratio),
                fourier: at(&fourier),
                norm_embed: at("norm/embed"),
                norm_attn: at("norm/attn"),
                norm_mlp: at("norm/mlp"),
                norm_unembed: at("norm/unembed"),
                norm_ln: at("norm/ln"),
                acc_even: at("test/acc/even"),
                acc_odd: at("test/acc/odd"),
                acc_digit: at("test/acc/digit"),
                entropy_encoder: at(&of_encoder("normalised_entropy")),
                ratio_encoder: at(&of_encoder("participation_ratio")),
                probe_mod2: probe(ENCODER, "mod2", step).map(digits),
                embed_mod2: probe(EMBEDDING, "mod2", step).map(digits),
                major_mod2: at("probe/majority/mod2"),
                probe_mod4: probe(ENCODER, "mod4", step).map(digits),
                embed_mod4: probe(EMBEDDING, "mod4", step).map(digits),
                major_mod4: at("probe/majority/mod4"),
                probe_mod8: probe(ENCODER, "mod8", step).map(digits),
                embed_mod8: probe(EMBEDDING, "mod8", step).map(digits),
                major_mod8: at("probe/majority/mod8"),
                probe_mod16: probe(ENCODER, "mod16", step).map(digits),
                embed_mod16: probe(EMBEDDING, "mod16", step).map(digits),
                major_mod16: at("probe/majority/mod16"),
                probe_bit2: probe(ENCODER, "bit2", step).map(digits),
                embed_bit2: probe(EMBEDDING, "bit2", step).map(digits),
                major_bit2: at("probe/majority/bit2"),
                probe_bit3: probe(ENCODER, "bit3", step).map(digits),
                embed_bit3: probe(EMBEDDING, "bit3", step).map(digits),
                major_bit3: at("probe/majority/bit3"),
                probe_bit4: probe(ENCODER, "bit4", step).map(digits),
                embed_bit4: probe(EMBEDDING, "bit4", step).map(digits),
                major_bit4: at("probe/majority/bit4"),
                probe_log2: probe(ENCODER, "log2", step).map(digits),
                embed_log2: probe(EMBEDDING, "log2", step).map(digits),
                major_log2: at("probe/majority/log2"),
                erase_none: at("erase/none"),
                erase_mod2: at("erase/mod2"),
                random_mod2: at("erase/random/mod2"),
                erase_log2: at("erase/log2"),
                random_log2: at("erase/random/log2"),
                attention_last: heads
                    .iter()
                    .filter_map(|head| history.at(head, step))
                    .reduce(f64::max)
                    .map(digits),
            }
        };
        let evaluations = |digits: fn(f64) -> f64| -> Vec<Evaluation> {
            history.column("train/acc").iter().map(|&(step, _)| evaluation(step, digits)).collect()
        };
        let curves = evaluations(|x| x);

        let mut milestones = Milestones::default();
        for e in &curves {
            let accuracy = |value: Option<f64>| value.unwrap_or(f64::NAN);
            milestones.observe(e.step, accuracy(e.train_acc), accuracy(e.test_acc), e.entropy);
        }
        let first_above = |accuracy: f64| {
            let above = |e: &&Evaluation| e.test_acc.is_some_and(|value| value >= accuracy);
            curves.iter().find(above).map(|e| e.step)
        };
        let (init, last) = (curves.first(), curves.last());
        let count = |path| field(path).and_then(|v| v.as_integer()).map(|n| n as u64);
        let transplant = config.intervene.iter().flat_map(|i| &i.transplant).flatten();
        let donors = transplant.map(|(part, donor)| format!("{part}={donor}"));
        let row = Row {
            hash: config.hash(),
            group: group.to_owned(),
            task: word("task.kind"),
            op: word("task.op"),
            seed: config.seed,
            train_fraction: config.task.train_fraction(),
            intervention: intervention.to_owned(),
            alpha: field("intervene.mixing.alpha").and_then(|v| v.as_float()),
            steps: history.last_step(),
            t_memorise: milestones.t_memorise,
            t_collapse: milestones.t_collapse,
            t_test_10: first_above(0.10),
            t_test_50: first_above(0.50),
            t_test_90: first_above(0.90),
            t_grok: first_above(ACCURACY),
            entropy_init: init.and_then(|e| e.entropy),
            entropy_at_grok: milestones.t_grok.and_then(|step| history.at(&entropy, step)),
            entropy_final: last.and_then(|e| e.entropy),
            norm_init: init.and_then(|e| e.norm),
            norm_final: last.and_then(|e| e.norm),
            base: count("task.base"),
            order: word("task.order"),
            sampler: word("task.sampler"),
            train: Some(config.train_count() as u64),
            reading: reading_of(&config).to_owned(),
            encoder_layers: count("model.encoder_layers"),
            decoder_layers: count("model.decoder_layers"),
            d_model: count("model.d_model"),
            norm: word("model.norm"),
            init: word("model.init"),
            lr: Some(config.optim.lr),
            warmup: Some(config.optim.warmup),
            weight_decay: Some(config.optim.weight_decay),
            donors: donors.collect::<Vec<_>>().join(";"),
            frozen: config.frozen().join(";"),
            train_acc_final: last.and_then(|e| e.train_acc),
            acc_final: last.and_then(|e| e.test_acc),
            acc_even: last.and_then(|e| e.acc_even),
            acc_odd: last.and_then(|e| e.acc_odd),
            acc_digit: last.and_then(|e| e.acc_digit),
            acc_best: curves.iter().filter_map(|e| e.test_acc).reduce(f64::max),
        };
        Ok(Record { row, curves: evaluations(six_digits) })
    }
}

/// How what is trained on is chosen, in a word.
fn reading_of(config: &Config) -> &'static str {
    match (&config.task, config.task.sequence_split()) {
        (_, Some((_, TrainSet::Online))) => "online",
        (TaskConfig::Collatz(task), _) if task.renew.is_some() => "renewed",
        _ => "fixed",
    }
}

/// To six digits, so that two hundred runs take a few megabytes.
fn six_digits(x: f64) -> f64 {
    format!("{x:.5e}").parse().expect("a number")
}

/// The folder of a study's results.
#[derive(Clone, Debug)]
pub struct Results {
    dir: PathBuf,
    files: Files,
}

impl Results {
    /// Results in this folder, which need not be there yet, in files of these columns.
    pub fn new(dir: impl Into<PathBuf>, files: Files) -> Results {
        Results { dir: dir.into(), files }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a run's curves.
    pub fn curves_path(&self, hash: &str, seed: u64) -> PathBuf {
        self.dir.join("curves").join(format!("{hash}-s{seed}.csv"))
    }

    /// Every row, ordered by group, seed and hash; none where there is no file yet.
    ///
    /// # Errors
    /// If runs.csv is there but cannot be read.
    pub fn rows(&self) -> Result<Vec<Row>, RunError> {
        let path = self.dir.join("runs.csv");
        match fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            text => {
                table::read(&path, &text.map_err(RunError::io("read", &path))?, self.files.runs)
            }
        }
    }

    /// A run's evaluations, steps ascending.
    ///
    /// # Errors
    /// If its curves file cannot be read, or its steps do not ascend.
    pub fn curves(&self, hash: &str, seed: u64) -> Result<Vec<Evaluation>, RunError> {
        let path = self.curves_path(hash, seed);
        let text = fs::read_to_string(&path).map_err(RunError::io("read", &path))?;
        let all: Vec<Evaluation> = table::read(&path, &text, self.files.curves)?;
        if !all.is_sorted_by(|a, b| a.step < b.step) {
            return Err(RunError::content(&path, "expected ascending steps".to_owned()));
        }
        Ok(all)
    }

    /// Makes the folder and sees that it can be written, before the work that it is for is done.
    ///
    /// # Errors
    /// If it cannot be made or written, or holds a runs.csv that cannot be read.
    pub fn prepare(&self) -> Result<(), RunError> {
        self.lock()?;
        self.rows().map(drop)
    }

    /// Adds a run, in place of an earlier record of the same hash and seed: its curves and who made it first,
    /// then its row, so that a row always has both. Several processes may add at once.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn add(&self, record: &Record, made: &Provenance) -> Result<(), RunError> {
        let _lock = self.lock()?;
        let Row { hash, seed, .. } = &record.row;
        let curves = table::write(&record.curves, self.files.curves);
        write_whole(&self.curves_path(hash, *seed), curves.as_bytes())?;
        provenance::add(&self.dir, made)?;
        let mut rows = self.rows()?;
        rows.retain(|row| (&row.hash, &row.seed) != (hash, seed));
        rows.push(record.row.clone());
        // The order must not depend on which run was done first.
        rows.sort_by(|a, b| (&a.group, a.seed, &a.hash).cmp(&(&b.group, b.seed, &b.hash)));
        write_whole(&self.dir.join("runs.csv"), table::write(&rows, self.files.runs).as_bytes())
    }

    /// Waits until no other process adds a run. The system frees the lock even of a killed process.
    fn lock(&self) -> Result<File, RunError> {
        let curves = self.dir.join("curves");
        fs::create_dir_all(&curves).map_err(RunError::io("create", &curves))?;
        let path = self.dir.join(".lock");
        let file = File::create(&path).map_err(RunError::io("write", &path))?;
        match file.lock() {
            // Some network file systems know no locks.
            Err(e) if e.kind() != ErrorKind::Unsupported => Err(RunError::io("lock", &path)(e)),
            _ => Ok(file),
        }
    }
}

/// The columns of a row that say how a run of any task went, without those that say which run it is.
pub const SUMMARY: [&str; 12] = [
    "steps",
    "t_memorise",
    "t_collapse",
    "t_test_10",
    "t_test_50",
    "t_test_90",
    "t_grok",
    "entropy_init",
    "entropy_at_grok",
    "entropy_final",
    "norm_init",
    "norm_final",
];

#[cfg(test)]
mod tests {
    use super::table::Columns;
    use super::*;
    use crate::run::tests::scratch;

    /// A complete run folder with these metrics.
    fn run_folder(name: &str, metrics: &str) -> PathBuf {
        let dir = scratch(name);
        let config = crate::presets::preset("smoke").unwrap();
        fs::write(dir.join("config.toml"), config).unwrap();
        fs::write(dir.join("metrics.jsonl"), metrics).unwrap();
        let mut meta = Meta::new(1, vec![]);
        meta.finish(1.0, serde_json::json!({}));
        meta.write(&dir).unwrap();
        dir
    }

    /// Evaluations every 20 steps, other lines between, and a hook that is not the first.
    fn metrics() -> String {
        let hook = "ln_final.hook_out/centred";
        let readings = [
            (0.0, 0.0, 0.80),
            (0.99, 0.05, 0.80),
            (1.0, 0.1, 0.78),
            (1.0, 0.49, 0.76),
            (1.0, 0.9, 0.70),
            (1.0, 0.985, 0.65),
            (1.0, 0.99, 0.61),
            (1.0, 0.95, 0.25),
        ];
        let line = |(i, (train, test, h)): (usize, (f64, f64, f64))| {
            let step = 20 * i;
            format!(
                "{{\"step\":{step},\"batch/loss\":1.0,\"train/loss\":0.5,\"train/acc\":{train:?},\
                 \"spectral/train/{hook}/normalised_entropy\":{h:?},\
                 \"spectral/train/{hook}/participation_ratio\":3.5,\
                 \"spectral/train/blocks.0.ln2.hook_out/centred/normalised_entropy\":0.1,\
                 \"test/loss\":2.0,\"test/acc\":{test:?},\
                 \"spectral/test/{hook}/normalised_entropy\":0.125,\"norm\":{}.5}}\n\
                 {{\"step\":{},\"batch/loss\":0.5}}\n",
                100 - i,
                step + 1,
            )
        };
        readings.into_iter().enumerate().map(line).collect()
    }

    #[test]
    fn a_record_is_what_the_metrics_say() {
        let dir = run_folder("record-read", &metrics());
        let record = Record::read(&dir, "add", "none").unwrap();
        let row = &record.row;
        assert_eq!((row.group.as_str(), row.intervention.as_str()), ("add", "none"));
        assert_eq!((row.task.as_str(), row.op.as_str(), row.seed), ("modular", "add", 0));
        assert_eq!((row.train_fraction, row.alpha, row.steps), (0.5, None, 141));
        assert_eq!((row.t_memorise, row.t_collapse), (Some(20), Some(80)));
        assert_eq!((row.t_test_10, row.t_test_50), (Some(40), Some(80)));
        assert_eq!((row.t_test_90, row.t_grok), (Some(80), Some(120)));
        assert_eq!((row.entropy_init, row.entropy_at_grok), (Some(0.8), Some(0.61)));
        assert_eq!(row.entropy_final, Some(0.25));
        assert_eq!((row.norm_init, row.norm_final), (Some(100.5), Some(93.5)));
        assert_eq!(record.curves.len(), 8);
        let text = table::write(&record.curves, ENTROPY.curves);
        let line = "60,0.5,1.0,2.0,0.49,97.5,0.76,0.125,3.5,,,,,,";
        assert_eq!(text.lines().nth(4), Some(line));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_columns_are_the_documented_ones() {
        let runs = "hash,group,task,op,seed,train_fraction,intervention,alpha,steps,t_memorise,\
                    t_collapse,t_test_10,t_test_50,t_test_90,t_grok,entropy_init,entropy_at_grok,\
                    entropy_final,norm_init,norm_final";
        assert_eq!(ENTROPY.runs.join(","), runs);
        let curves = "step,train_loss,train_acc,test_loss,test_acc,norm,entropy,entropy_test,\
                      participation_ratio,fourier,norm_embed,norm_attn,norm_mlp,norm_unembed,norm_ln";
        assert_eq!(ENTROPY.curves.join(","), curves);
        for files in [ENTROPY, COLLATZ] {
            assert!(files.runs.iter().all(|name| Row::NAMES.contains(name)));
            assert!(files.curves.iter().all(|name| Evaluation::NAMES.contains(name)));
        }
        assert!(SUMMARY.iter().all(|name| ENTROPY.runs.contains(name)));
    }

    #[test]
    fn a_row_says_how_what_is_trained_on_is_chosen() {
        let of = |name: &str, changes: &[(&str, &str)]| {
            let changes: Vec<(String, String)> =
                changes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            let text = crate::presets::preset(name).unwrap();
            reading_of(&Config::from_toml_with(text, name, &changes).unwrap())
        };
        assert_eq!(of("collatz-1x1", &[]), "online");
        assert_eq!(of("collatz-1x1", &[("task.train", "1000")]), "fixed");
        let renewed = [("task.train", "1000"), ("task.renew", "500")];
        assert_eq!(of("collatz-1x1", &renewed), "renewed");
        assert_eq!(of("gcd-1x1", &[]), "online");
        assert_eq!(of("smoke", &[]), "fixed");
    }

    #[test]
    fn records_depend_on_nothing_but_the_folder() {
        let (a, b) =
            (run_folder("record-pure-a", &metrics()), run_folder("record-pure-b", &metrics()));
        let mut meta = Meta::read(&b).unwrap().unwrap();
        meta.finish(77.0, serde_json::json!({"steps": 3}));
        meta.write(&b).unwrap();
        let read = |dir: &Path| Record::read(dir, "add", "none").unwrap();
        assert_eq!(read(&a), read(&b));
        fs::remove_dir_all(a).unwrap();
        fs::remove_dir_all(b).unwrap();
    }

    #[test]
    fn an_incomplete_run_is_not_recorded() {
        let dir = run_folder("record-incomplete", &metrics());
        Meta::new(1, vec![]).write(&dir).unwrap();
        let sentence = Record::read(&dir, "add", "none").unwrap_err().to_string();
        assert_eq!(sentence, format!("{}: the run is not complete", dir.display()));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_order_of_arrival_leaves_no_trace_and_a_record_is_replaced() {
        let dir = run_folder("record-order", &metrics());
        let record = Record::read(&dir, "add", "none").unwrap();
        let with = |group: &str, seed: u64| {
            let row = Row { group: group.into(), seed, ..record.row.clone() };
            Record { row, curves: record.curves.clone() }
        };
        let records = [with("add", 0), with("add", 2), with("add", 10), with("sub", 0)];
        let text = |order: &[usize]| {
            let results = Results::new(dir.join(format!("results-{order:?}")), ENTROPY);
            for &i in order {
                let made = Provenance::read(&dir, &records[i].row).unwrap();
                results.add(&records[i], &made).unwrap();
            }
            fs::read_to_string(results.dir().join("runs.csv")).unwrap()
        };
        let expected = text(&[0, 1, 2, 3]);
        // sub's seed 0 has the hash and seed of add's: it takes its place
        assert_eq!(expected.lines().count(), 4);
        assert_eq!(text(&[2, 1, 0, 1, 3, 2]), expected);
        let results = Results::new(dir.join("results-[0, 1, 2, 3]"), ENTROPY);
        let rows = results.rows().unwrap();
        assert_eq!(
            table::write(&rows, ENTROPY.runs),
            expected,
            "reading and rewriting is the identity"
        );
        assert_eq!(results.curves(&rows[0].hash, 0).unwrap(), record.curves);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn several_may_add_at_once() {
        let dir = run_folder("record-together", &metrics());
        let record = Record::read(&dir, "add", "none").unwrap();
        let results = Results::new(dir.join("results"), ENTROPY);
        std::thread::scope(|scope| {
            for seed in 0..12 {
                let row = Row { seed, ..record.row.clone() };
                let record = Record { row, curves: record.curves.clone() };
                let made = Provenance::read(&dir, &record.row).unwrap();
                let results = &results;
                scope.spawn(move || results.add(&record, &made).unwrap());
            }
        });
        let made = provenance::read(results.dir()).unwrap();
        assert_eq!(made.iter().map(|m| m.seed).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
        assert!(made.iter().all(|m| m.commit == env!("PLATEAU_COMMIT")));
        let seeds: Vec<u64> = results.rows().unwrap().iter().map(|row| row.seed).collect();
        assert_eq!(seeds, (0..12).collect::<Vec<_>>());
        fs::remove_dir_all(dir).unwrap();
    }
}
