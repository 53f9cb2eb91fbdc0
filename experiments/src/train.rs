//! The training loop.
//!
//! Line s of the metrics describes the parameters after s updates: the batch that update s + 1
//! learns from (loss, accuracy, H̃ of its own activations) and, where it is due, the evaluation. A
//! checkpoint of step s holds the parameters after s updates and comes after line s − 1, so a resumed
//! run writes line s again, with the same bits. Pairs and sequences differ in `data.rs`, not here.

use crate::batches::Batches;
use crate::config::{Config, Schedule};
use crate::data::{Data, Examples, Model};
use crate::intervene::parts::{self, Donors, FrozenEncoder};
use crate::intervene::{Interventions, labels};
use crate::observe::evaluate::Evaluator;
use crate::observe::milestones::Milestones;
use crate::observe::probes::Probes;
use crate::observe::spectra::{Spectra, key};
use crate::pool;
use crate::profile::{Profile, Span};
use crate::report::history::History;
use crate::run::checkpoint::{self, Checkpoint};
use crate::run::folder::{RunFolder, State};
use crate::run::meta::Meta;
use crate::run::metrics::MetricsWriter;
use crate::seed::Seed;
use anyhow::{Context, Result, bail};
use autograd::optim::{self, AdamW, AdamWConfig};
use kernels::spectrum::Centring;
use models::{Param, Positions, Purpose, Recorded};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Everything that one training step touches. A step allocates nothing, except where an intervention
/// starts or ends.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    data: Data,
    batches: Batches,
    rows: Vec<u32>, // (batch): the examples of the current step
    model: Model,
    optimiser: AdamW,
    interventions: Interventions,
    spectra: Spectra, // of the first hook
    profile: Profile,
}

impl Trainer {
    /// A model at its initial weights, with its data.
    pub fn new(config: &Config) -> Trainer {
        let seed = Seed(config.seed);
        let mut data = Data::new(config);
        let shuffled = config.intervene.as_ref().is_some_and(|i| i.labels.is_some());
        if let (Examples::Pairs(task), true) = (&mut data.examples, shuffled) {
            labels::permute(task, seed);
        }
        let o = &config.optim;
        let batches = data.batches(config);
        let rows = vec![0; batches.size()];
        let mut interventions = Interventions::new(config);
        let mut model = interventions.record(config, purpose(rows.len()), 0);
        model.draw(|name| parts::seed_of(config, name).stream(&format!("init/{name}"), 0));
        let optim = AdamWConfig {
            lr: o.lr,
            betas: o.betas.into(),
            eps: o.eps,
            weight_decay: o.weight_decay,
            no_decay: o.no_decay.clone(),
            clip: o.clip,
            warmup: o.warmup,
            schedule: match o.schedule {
                Schedule::Constant => optim::Schedule::Constant,
                Schedule::Cosine => optim::Schedule::Cosine,
            },
            steps: config.steps,
        };
        let optimiser = AdamW::new(optim, &model.tape);
        let spectra = Spectra::new(&model.tape, &config.spectral.at[..1]);
        let (config, profile) = (config.clone(), Profile::default());
        Trainer { config, data, batches, rows, model, optimiser, interventions, spectra, profile }
    }

    /// Reads what the interventions need of earlier runs, below `runs` or recorded below `results`, and computes
    /// what a frozen encoder says of every source.
    ///
    /// # Errors
    /// If it is not there, or does not fit this model.
    pub fn prepare(&mut self, runs: &Path, results: &Path) -> Result<()> {
        let Trainer { config, data, model, interventions, .. } = self;
        interventions.find_baseline(config, runs, results)?;
        let of_encoder = data.frozen.iter().flat_map(|frozen| frozen.encoder.params());
        let names = of_encoder.chain(model.params()).map(|param| param.name.as_str());
        parts::check(config, names)?;
        let params = model.params().to_vec();
        let mut tapes = vec![(&mut model.tape, &*params)];
        let of_encoder = data.frozen.as_ref().map(|frozen| frozen.encoder.params().to_vec());
        if let (Some(frozen), Some(params)) = (&mut data.frozen, &of_encoder) {
            tapes.push((&mut frozen.encoder.tape, params));
        }
        Donors::find(config, runs)?.give(&mut tapes)?;
        if let (Some(frozen), Examples::Sequences(table, _)) = (&mut data.frozen, &data.examples) {
            frozen.run(table);
        }
        Ok(())
    }

    /// Records the tape again where an intervention starts or ends; parameters and moments stay.
    fn turn_to(&mut self, step: u64) {
        if !self.interventions.changes(step) {
            return;
        }
        let model = self.interventions.record(&self.config, purpose(self.rows.len()), step);
        let before = std::mem::replace(&mut self.model, model);
        self.model.tape.copy_params_from(&before.tape);
        self.optimiser.move_to(&self.model.tape);
        self.spectra = Spectra::new(&self.model.tape, &self.config.spectral.at[..1]);
    }

    /// The step after this one; or this one again, if the tape would change between them.
    pub fn after(&self, step: u64) -> u64 {
        let changes = self.interventions.boundaries().contains(&(step + 1));
        if changes { step } else { step + 1 }
    }

    /// Draws the rows of a step's batch.
    pub fn draw(&mut self, step: u64) {
        self.batches.fill(step, &mut self.rows);
    }

    /// Draws what interventions need beside the batch, after it was loaded. False if that is nothing.
    pub fn disturb(&mut self, step: u64) -> bool {
        self.interventions.draw(&mut self.model.tape, step)
    }

    /// Gives the updated parameters the norm that an intervention wants; that norm, if one does.
    ///
    /// # Errors
    /// If its baseline was not read.
    pub fn rescale(&mut self, step: u64) -> Result<Option<f64>> {
        self.interventions.rescale(&mut self.model.tape, step)
    }

    /// Writes the drawn rows to the tape's index lists.
    pub fn load(&mut self) {
        self.data.load(&mut self.model, &self.rows);
    }

    /// Draws the batch of a step and computes its loss and, on the way, its activations. Returns
    /// the mean loss over its labels and the share of its examples that are exactly right.
    ///
    /// # Errors
    /// If the loss is not finite.
    pub fn forward(&mut self, step: u64) -> Result<(f64, f64)> {
        self.turn_to(step);
        self.draw(step);
        self.profile.lap(Span::Part("batch", "draw the batch"));
        self.load();
        self.profile.lap(Span::Part("batch", "load the batch"));
        if self.disturb(step) {
            self.profile.lap(Span::Part("batch", "draw the intervention"));
        }
        self.model.tape.forward_with(|op| self.profile.lap(Span::Forward(op)));
        let score = self.data.score(&self.model, &self.rows);
        self.profile.lap(Span::Part("forward", "loss and accuracy"));
        if !score.loss.is_finite() {
            bail!(self.not_finite(step, "the loss"));
        }
        Ok((score.loss / score.labels as f64, score.exact as f64 / self.rows.len() as f64))
    }

    /// H̃ of the current batch's own activations.
    ///
    /// # Errors
    /// If an activation is not finite.
    pub fn entropy(&mut self, step: u64) -> Result<f64> {
        let entropy = self.spectra.first(&self.model.tape);
        self.profile.lap(Span::Part("observe", "H̃ of the batch"));
        entropy.with_context(|| format!("step {step}: the batch probe"))
    }

    /// Computes the gradients of the current batch and updates the parameters.
    ///
    /// # Errors
    /// If a gradient is not finite, or an intervention's baseline was not read.
    pub fn update(&mut self, step: u64) -> Result<()> {
        let Recorded { tape, loss, .. } = &mut self.model;
        tape.backward_with(loss.loss, &[1.0], |op| self.profile.lap(Span::Backward(op)));
        let finite = self.optimiser.step(tape, step);
        self.profile.lap(Span::Part("update", "AdamW"));
        if !finite {
            bail!(self.not_finite(step, "a gradient"));
        }
        if self.rescale(step)?.is_some() {
            self.profile.lap(Span::Part("update", "norm"));
        }
        Ok(())
    }

    /// Writes the profile, if one is being taken.
    fn write_profile(&mut self, config: &Config, meta: &Meta, conduct: &Conduct) -> Result<()> {
        if let Some(sentence) = self.profile.write(&self.model.tape, config, meta)? {
            (conduct.note)(&sentence);
        }
        Ok(())
    }

    pub(crate) fn not_finite(&self, step: u64, what: &str) -> String {
        let place = self.model.tape.first_non_finite();
        let place = place.map_or(String::new(), |place| format!(": {place}"));
        format!("step {step}: {what} is not finite{place}; a smaller optim.lr may help")
    }

    /// The model and its optimiser, for an audit, which replays a step op by op.
    pub fn parts(&mut self) -> (&mut Model, &mut AdamW) {
        (&mut self.model, &mut self.optimiser)
    }

    /// What is learnt from, and what is tested on.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The drawn batch: rows of the table.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// What is done to the steps.
    pub fn interventions(&self) -> &Interventions {
        &self.interventions
    }

    /// The model at its current weights.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Floating-point operations of a step on the batch that was loaded last: forward, backward and AdamW
    /// (16 a parameter, and 2 for the norm that is clipped by).
    pub fn flops(&self) -> u64 {
        let (forward, backward) = self.model.tape.flops();
        let of_parameter = if self.config.optim.clip.is_some() { 18 } else { 16 };
        forward + backward + of_parameter * self.model.parameter_count() as u64
    }

    /// Examples in a batch.
    pub fn batch(&self) -> usize {
        self.rows.len()
    }

    /// Saves parameters and moments as the checkpoint of `step`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, folder: &RunFolder, config: &Config, step: u64) -> Result<()> {
        let mut tensors = Vec::new();
        for (param, slot) in self.model.params().iter().zip(self.optimiser.slots()) {
            let value = self.model.tape.value(param.var);
            for (name, values) in names(param).into_iter().zip([value, &slot.m, &slot.v]) {
                tensors.push((name, &param.shape, param.export(values)));
            }
        }
        // A frozen encoder is not on the tape, but whoever takes up the run's parts wants it.
        if let Some(FrozenEncoder { encoder, .. }) = &self.data.frozen {
            for param in encoder.params() {
                let values = param.export(encoder.tape.value(param.var));
                tensors.push((param.name.clone(), &param.shape, values));
            }
        }
        let tensors: Vec<(&str, &[usize], &[f32])> = tensors
            .iter()
            .map(|(name, shape, values)| (name.as_str(), shape.as_slice(), values.as_slice()))
            .collect();
        let keep = config.checkpoint.keep;
        checkpoint::save(&folder.checkpoints(), step, &config.run_id(), &tensors, keep)?;
        Ok(())
    }

    /// Takes up parameters and moments from a checkpoint.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn restore(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        let Trainer { model, optimiser, .. } = self;
        for (i, slot) in optimiser.slots_mut().iter_mut().enumerate() {
            let param = model.params()[i].clone();
            let value = model.tape.value_mut(param.var);
            for (name, to) in names(&param).iter().zip([value, &mut slot.m, &mut slot.v]) {
                param.import(&checkpoint.take(name, &param.shape)?, to);
            }
        }
        Ok(())
    }
}

/// What a step's tape is for.
fn purpose(batch: usize) -> Purpose {
    Purpose { capacity: batch, training: true, positions: Positions::Last }
}

/// The names of a parameter and its moments in a checkpoint.
fn names(param: &Param) -> [String; 3] {
    ["", "adam_m/", "adam_v/"].map(|prefix| format!("{prefix}{}", param.name))
}

/// The last evaluation of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Final {
    /// Accuracy on the training examples.
    #[serde(rename = "train/acc")]
    pub train_acc: f64,
    /// Accuracy on the test examples.
    #[serde(rename = "test/acc")]
    pub test_acc: f64,
    /// H̃ of the train probe: first hook, centred.
    pub normalised_entropy: f64,
}

/// What a run came to: the JSON of `plateau run`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run folder.
    pub run: String,
    /// Updates done: fewer than the config's where the run ended past grokking.
    pub steps: u64,
    /// First evaluation with train accuracy ≥ .99.
    pub t_memorise: Option<u64>,
    /// First evaluation with test accuracy ≥ .99.
    pub t_grok: Option<u64>,
    /// First evaluation at which H̃ has fallen by more than .05 within five evaluations.
    pub t_collapse: Option<u64>,
    /// The last evaluation.
    pub r#final: Final,
    /// Wall time of a step, evaluation and files included, in the last process.
    pub ms_per_step: f64,
    /// The checkpoint's step where the last process took up the run; null if it began it.
    pub resumed_from: Option<u64>,
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was complete before; nothing was done.
    AlreadyComplete(Summary),
    /// Every step is done.
    Complete(Summary),
    /// It was asked to stop; a checkpoint of this step was saved.
    Stopped(u64),
}

/// What a progress display is told.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Updates done.
    pub step: u64,
    /// Updates in all, as far as is known.
    pub steps: u64,
    /// The latest evaluation: train and test accuracy.
    pub accuracy: (f64, f64),
    /// The latest H̃ of a batch.
    pub entropy: f64,
    /// So far.
    pub milestones: &'a Milestones,
    /// What was logged before this update, where an evaluation was due: (key, value).
    pub evaluation: &'a [(String, f64)],
}

/// How a run is carried out, none of which changes its result.
pub struct Conduct<'a> {
    /// Threads of the kernels.
    pub threads: usize,
    /// The command line, for meta.json.
    pub command: Vec<String>,
    /// Where the time goes, if that was asked for.
    pub profile: Profile,
    /// The folder of all studies' results, where a baseline is found whose run folder is gone.
    pub results: &'a Path,
    /// Set to stop at the next step with a checkpoint.
    pub stop: &'a AtomicBool,
    /// Told where the run was taken up, and of a checkpoint that could not be read.
    pub note: &'a (dyn Fn(&str) + Sync),
    /// Told of every step.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// Carries a run through in its folder: begins it, or takes it up from its newest checkpoint.
///
/// # Errors
/// If a file cannot be read or written, or a loss or gradient is not finite.
pub fn run(config: &Config, folder: &RunFolder, conduct: &Conduct) -> Result<Outcome> {
    let outcome = pool::install(conduct.threads, || run_here(config, folder, conduct))?;
    if let Err(e) = &outcome {
        // For those who look at the folder later. A meta.json that cannot be written is not the reason.
        let _ = note_failure(folder, conduct, format!("{e:#}"));
    }
    outcome
}

/// Writes why a run could not go on into its meta.json.
fn note_failure(folder: &RunFolder, conduct: &Conduct, sentence: String) -> Result<()> {
    let earlier = Meta::read(folder.path())?;
    let mut meta = earlier.unwrap_or_else(|| Meta::new(conduct.threads, conduct.command.clone()));
    if !meta.finished {
        meta.failed = Some(sentence);
        meta.write(folder.path())?;
    }
    Ok(())
}

fn run_here(config: &Config, folder: &RunFolder, conduct: &Conduct) -> Result<Outcome> {
    let mut profile = conduct.profile.clone();
    profile.lap(Span::Part("start", "run folder, threads"));
    let earlier = Meta::read(folder.path())?;
    if folder.state()? == State::Complete {
        if profile.is_on() {
            bail!("{}: a complete run has no step to profile", folder.path().display());
        }
        let summary = earlier.and_then(|meta| meta.summary);
        let summary = summary.context("meta.json says finished, but holds no summary")?;
        return Ok(Outcome::AlreadyComplete(serde_json::from_value(summary)?));
    }

    let mut trainer = Trainer::new(config);
    trainer.prepare(&runs_above(folder.path()), conduct.results)?;
    profile.lap(Span::Part("start", "task, model, weights"));
    let found = checkpoint::newest(&folder.checkpoints(), &config.run_id())?;
    for sentence in &found.skipped {
        (conduct.note)(sentence);
    }
    if found.checkpoint.is_none() && !found.skipped.is_empty() {
        bail!(
            "{}: no checkpoint can be used; to begin again, remove the folder",
            folder.checkpoints().display()
        );
    }
    let resumed_from = found.checkpoint.as_ref().map(|found| found.step);
    let first = resumed_from.unwrap_or(0);
    profile.plan(first, config.steps, trainer.model.tape.ops().count())?;
    profile.refuse_changes(&trainer.interventions.boundaries())?;
    let mut milestones = Milestones::default();
    let hook = &config.spectral.at[0];
    let [batch_key, train_key] = ["batch", "train"].map(|set| key(set, hook, Centring::Centred));
    let mut metrics = match found.checkpoint {
        None => MetricsWriter::create(&folder.metrics())?,
        Some(found) => {
            let step = found.step;
            (conduct.note)(&format!("goes on from the checkpoint of step {step}"));
            let metrics = MetricsWriter::truncate_after(&folder.metrics(), step - 1)?;
            milestones = replay(&folder.metrics(), &train_key)?;
            trainer.restore(found)?;
            metrics
        }
    };
    let mut meta = Meta::new(conduct.threads, conduct.command.clone());
    meta.resumed_from = resumed_from;
    let seconds_before = earlier.map_or(0.0, |meta| meta.seconds);
    meta.seconds = seconds_before;
    meta.write(folder.path())?;
    profile.lap(Span::Part("start", "checkpoint, metrics, meta"));
    let mut evaluator = Evaluator::new(config);
    let mut probes = Probes::new(config);
    profile.lap(Span::Part("start", "evaluator"));
    trainer.profile = profile;

    let begun = Instant::now();
    let mut latest = Final { train_acc: 0.0, test_acc: 0.0, normalised_entropy: 0.0 };
    let mut entropy = f64::NAN;
    let mut steps = config.steps;
    for step in first..=config.steps {
        trainer.profile.begin_step(step);
        let end = config.last_step(milestones.t_grok);
        let evaluation = if step == end || step % config.eval.every == 0 {
            let tape = &trainer.model.tape;
            let said = |sentence| anyhow::anyhow!("step {step}: {sentence}");
            let mut log = evaluator.evaluate(tape, &trainer.data).map_err(said)?;
            if let Some(probes) =
                probes.as_mut().filter(|probes| step == end || probes.is_due(step))
            {
                log.extend(probes.read(tape, &trainer.data).map_err(said)?);
            }
            let get = |key: &str| log.iter().find(|(k, _)| k == key).map_or(f64::NAN, |x| x.1);
            latest = Final {
                train_acc: get("train/acc"),
                test_acc: get("test/acc"),
                normalised_entropy: get(&train_key),
            };
            let Final { train_acc, test_acc, normalised_entropy } = latest;
            milestones.observe(step, train_acc, test_acc, Some(normalised_entropy));
            trainer.profile.lap(Span::Part("observe", "evaluation"));
            log
        } else {
            Vec::new()
        };
        let end = config.last_step(milestones.t_grok); // as the evaluation has it
        if step == end {
            steps = end;
            append(&mut metrics, step, &[], &evaluation)?;
            trainer.profile.lap(Span::Part("files", "metrics"));
            trainer.profile.end_step();
            break;
        }

        let (loss, acc) = trainer.forward(step)?;
        let mut batch = [("batch/loss", loss), ("batch/acc", acc), (&batch_key, 0.0)];
        let mut logged = 2;
        if step % config.spectral.every == 0 {
            entropy = trainer.entropy(step)?;
            batch[2].1 = entropy;
            logged = 3;
        }
        append(&mut metrics, step, &batch[..logged], &evaluation)?;
        trainer.profile.lap(Span::Part("files", "metrics"));
        trainer.update(step)?;

        let done = step + 1;
        let accuracy = (latest.train_acc, latest.test_acc);
        (conduct.progress)(Progress {
            step: done,
            steps: end,
            accuracy,
            entropy,
            milestones: &milestones,
            evaluation: &evaluation,
        });
        trainer.profile.lap(Span::Part("display", "progress"));
        let stop = conduct.stop.load(Ordering::Relaxed) && done < end;
        if stop || done % config.checkpoint.every == 0 || done == end {
            metrics.flush_sync()?;
            trainer.save(folder, config, done)?;
            trainer.profile.lap(Span::Part("files", "checkpoint"));
        }
        if trainer.profile.end_step() || stop {
            trainer.write_profile(config, &meta, conduct)?;
        }
        if stop {
            meta.seconds = seconds_before + begun.elapsed().as_secs_f64();
            meta.write(folder.path())?;
            return Ok(Outcome::Stopped(done));
        }
    }
    metrics.flush_sync()?;
    trainer.write_profile(config, &meta, conduct)?;

    let seconds = begun.elapsed().as_secs_f64();
    let summary = Summary {
        run: folder.path().display().to_string(),
        steps,
        t_memorise: milestones.t_memorise,
        t_grok: milestones.t_grok,
        t_collapse: milestones.t_collapse,
        r#final: latest,
        ms_per_step: 1e3 * seconds / (steps - first).max(1) as f64,
        resumed_from,
    };
    meta.finish(seconds_before + seconds, serde_json::to_value(&summary)?);
    meta.write(folder.path())?;
    Ok(Outcome::Complete(summary))
}

/// The folder of all runs, two above a run's own.
fn runs_above(run: &Path) -> PathBuf {
    let whole = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    whole.ancestors().nth(2).unwrap_or(Path::new("runs")).to_owned()
}

fn append(
    metrics: &mut MetricsWriter,
    step: u64,
    batch: &[(&str, f64)],
    evaluation: &[(String, f64)],
) -> Result<()> {
    if evaluation.is_empty() {
        return Ok(metrics.append(step, batch)?);
    }
    let mut all = batch.to_vec();
    all.extend(evaluation.iter().map(|(key, value)| (key.as_str(), *value)));
    Ok(metrics.append(step, &all)?)
}

/// The milestones of the evaluations that a run has logged already.
fn replay(metrics: &Path, entropy_key: &str) -> Result<Milestones> {
    let history = History::read(metrics)?;
    let mut milestones = Milestones::default();
    for &(step, train_acc) in history.column("train/acc") {
        let test_acc = history.at("test/acc", step).unwrap_or(f64::NAN);
        milestones.observe(step, train_acc, test_acc, history.at(entropy_key, step));
    }
    Ok(milestones)
}
