//! `plateau predict RUN`: what a model of sequences writes for every test example that is evaluated, and how
//! much of it is right.
//!
//! The predictions go to a CSV file (`observe/accuracy.rs: dump`), one example a line, from which anyone can
//! count again; `tests/audit/accuracy.py` does.

use crate::cli::say;
use crate::config::{Config, ModelConfig};
use crate::data::{Data, Examples, record};
use crate::observe::accuracy::{Figure, accuracy, dump, until_end};
use crate::run::checkpoint::{self, Checkpoint};
use crate::run::folder;
use crate::run::write_whole;
use anyhow::{Context, Result, bail};
use clap::Args;
use models::{Decoder, Packed, Positions, Purpose};
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Examples at once.
const CHUNK: usize = 512;

/// The arguments of `plateau predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// A run folder of a task of sequences. The run may be going on.
    run: PathBuf,
    /// The step of a checkpoint, in place of the newest.
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// Where the predictions go, in place of predictions.csv in the run folder.
    #[arg(long, value_name = "FILE.csv")]
    out: Option<PathBuf>,
    /// Prints the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Decodes the test examples of a run, writes the predictions and prints the figures.
///
/// # Errors
/// If it is no run folder of sequences, has no such checkpoint, or a file cannot be read or written.
pub fn run(args: &PredictArgs) -> Result<()> {
    let dir = &args.run;
    if !dir.join("config.toml").exists() {
        bail!("{}: no run folder, for it has no config.toml", dir.display());
    }
    let config = folder::read_config(dir)?;
    let ModelConfig::EncoderDecoder(model_config) = &config.model else {
        bail!(
            "{}: a run of pairs; expected one of a task whose answers are sequences",
            dir.display()
        );
    };
    let mut checkpoint = find(dir, &config, args.step)?;
    let step = checkpoint.step;
    let purpose = Purpose { capacity: 1, training: false, positions: Positions::Last };
    let mut model = record(&config, purpose, None);
    for param in model.params().to_vec() {
        let values = checkpoint.take(&param.name, &param.shape)?;
        param.import(&values, model.tape.value_mut(param.var));
    }
    let data = Data::new(&config);
    let (Examples::Sequences(table, pairs), Some(shape)) = (&data.examples, config.task.shape())
    else {
        unreachable!("the config's check has a model of sequences for such a task only");
    };
    let rows = &data.split.test[..config.evaluated().1];
    let mut decoder = Decoder::new(model_config, shape, CHUNK.min(rows.len()));
    decoder.copy_params_from(&model.tape);
    let eos = table.numerals.eos();
    let written = decoder.greedy(rows, &pairs.source, pairs.bos, eos);
    let predictions: Packed = written.iter().map(|tokens| until_end(tokens, eos)).collect();

    let out = args.out.clone().unwrap_or_else(|| dir.join("predictions.csv"));
    write_whole(&out, dump(&config.task, table, rows, &predictions).as_bytes())?;
    let figures = accuracy(&config.task, table, rows, &predictions);
    if args.json {
        let rows = figures.iter().map(|Figure { name, share }| {
            let ([lo, hi], share_of) = (interval(share), share.value());
            json!({ "name": name, "hits": share.hits, "of": share.of, "share": share_of, "lo": lo, "hi": hi })
        });
        let result = json!({
            "run": dir.display().to_string(),
            "step": step,
            "predictions": out.display().to_string(),
            "figures": rows.collect::<Vec<_>>(),
        });
        return say(&(serde_json::to_string_pretty(&result)? + "\n"));
    }
    say(&table_of(&config, step, &figures, &out)?)
}

/// The checkpoint of a step, or the newest.
fn find(dir: &Path, config: &Config, step: Option<u64>) -> Result<Checkpoint> {
    let dir = dir.join("checkpoints");
    let Some(step) = step else {
        let found = checkpoint::newest(&dir, &config.run_id())?;
        let none = match found.skipped.first() {
            Some(sentence) => format!("no checkpoint can be used: {sentence}"),
            None => format!("{}: there is no checkpoint yet", dir.display()),
        };
        return found.checkpoint.context(none);
    };
    checkpoint::at_step(&dir, &config.run_id(), step).context("--step")
}

fn interval(share: &crate::stats::Share) -> [f64; 2] {
    share.interval().expect("a figure has members")
}

/// The figures as a table.
fn table_of(config: &Config, step: u64, figures: &[Figure], out: &Path) -> Result<String> {
    let mut text = format!(
        "{}, seed {}, step {step}: what greedy decoding writes for {} test examples\n\n",
        config.name,
        config.seed,
        config.evaluated().1
    );
    writeln!(text, "{:<20} {:>7} {:>7}  share   95 % interval", "figure", "right", "of")?;
    for Figure { name, share } in figures {
        let ([lo, hi], value) = (interval(share), share.value().unwrap_or(f64::NAN));
        writeln!(
            text,
            "{name:<20} {:>7} {:>7}  {value:.4}  {lo:.4} to {hi:.4}",
            share.hits, share.of
        )?;
    }
    writeln!(
        text,
        "\nIntervals are Clopper and Pearson's. That of `digit` takes digits of one number as independent.\n\
         predictions {}",
        out.display()
    )?;
    Ok(text)
}
