//! Parts of a model that begin as another run has left them, are drawn anew, or do not learn.
//!
//! ```text
//! redraw      θ_part drawn with another seed                      before the first step
//! transplant  θ_part ← that of another run after its step s       before the first step; moments 0
//! freeze      θ_part has no gradient, no decay, no moments        in every step
//! ```
//! A part is the beginning of parameters' names (`config/intervene.rs`). To rewind a part is to transplant the
//! others from the end of a run, and this one from an earlier step of the same run.
//!
//! An encoder that does not learn as a whole is not on the tape of a step: its outputs for all sources are
//! computed once, and the decoder is given them ([`FrozenEncoder`]).

use crate::config::intervene::{Donor, in_part};
use crate::config::{Config, ModelConfig};
use crate::data::Model;
use crate::run::checkpoint::{self, Checkpoint};
use crate::run::folder::read_config;
use crate::seed::Seed;
use crate::tasks::sequences::Sequences;
use anyhow::{Context, Result, bail};
use autograd::Tape;
use models::{Encoder, Param};
use std::path::Path;

/// Sources that a frozen encoder reads at once.
const CHUNK: usize = 512;

/// The seed that a parameter is drawn with.
pub fn seed_of(config: &Config, param: &str) -> Seed {
    let redraw = config.intervene.iter().flat_map(|i| &i.redraw).flatten();
    let other = redraw.into_iter().find(|(part, _)| in_part(param, part));
    Seed(other.map_or(config.seed, |(_, seed)| *seed))
}

/// Makes constants of the frozen parts that are on a model's tape.
pub fn freeze(config: &Config, model: &mut Model) {
    let frozen = |param: &&Param| config.frozen().iter().any(|part| in_part(&param.name, part));
    let params: Vec<_> = model.params().iter().filter(frozen).map(|param| param.var).collect();
    params.into_iter().for_each(|param| model.tape.detach(param));
}

/// An encoder that does not learn.
#[derive(Debug)]
pub struct FrozenEncoder {
    /// The encoder.
    pub encoder: Encoder,
    /// Its outputs for all sources, a row for each token: (source tokens, d_model). Empty before
    /// [`FrozenEncoder::run`].
    pub outputs: Vec<f32>,
}

impl FrozenEncoder {
    /// The encoder of a config that freezes it as a whole, at its initial weights; else none.
    pub fn new(config: &Config) -> Option<FrozenEncoder> {
        let ModelConfig::EncoderDecoder(model) = &config.model else { return None };
        let shape = config.task.shape().filter(|_| config.freezes_encoder())?;
        let mut encoder = Encoder::new(model, shape, CHUNK, None);
        encoder.draw(|name| seed_of(config, name).stream(&format!("init/{name}"), 0));
        Some(FrozenEncoder { encoder, outputs: Vec::new() })
    }

    /// Computes the outputs for all sources of the table.
    pub fn run(&mut self, table: &Sequences) {
        self.outputs = self.encoder.run(&table.source);
    }
}

/// The checkpoints that parts are taken from.
#[derive(Debug)]
pub struct Donors(Vec<(String, Donor, Checkpoint)>);

impl Donors {
    /// Reads those of a config, below `runs`.
    ///
    /// # Errors
    /// If a run or its checkpoint is missing or cannot be read.
    pub fn find(config: &Config, runs: &Path) -> Result<Donors> {
        let transplant = config.intervene.iter().flat_map(|i| &i.transplant).flatten();
        let read = |(part, donor): (&String, &Donor)| {
            let checkpoint = find(donor, config, runs)
                .with_context(|| format!("intervene.transplant.{part} = {donor}"))?;
            Ok((part.clone(), donor.clone(), checkpoint))
        };
        Ok(Donors(transplant.into_iter().map(read).collect::<Result<_>>()?))
    }

    /// Gives their values to the parameters of these tapes, which together hold the model.
    ///
    /// # Errors
    /// If the model has no parameter of a part, or the donor lacks one or has one of another shape.
    pub fn give(self, to: &mut [(&mut Tape, &[Param])]) -> Result<()> {
        for (part, donor, mut checkpoint) in self.0 {
            let mut given = 0;
            for (tape, params) in &mut *to {
                for param in params.iter().filter(|param| in_part(&param.name, &part)) {
                    let values = checkpoint.take(&param.name, &param.shape).with_context(|| {
                        format!(
                            "intervene.transplant.{part} = {donor}: the donor's model is another (its \
                             layers, its width, or the base, which makes the vocabulary)"
                        )
                    })?;
                    param.import(&values, tape.value_mut(param.var));
                    given += 1;
                }
            }
            if given == 0 {
                let names =
                    to.iter().flat_map(|(_, params)| params.iter().map(|p| p.name.as_str()));
                bail!("intervene.transplant.{part}: {}", no_part(&part, names));
            }
        }
        Ok(())
    }
}

/// Refuses parts that the model does not have, and a model that learns nothing.
///
/// # Errors
/// A sentence that names the parts there are.
pub fn check<'a>(config: &Config, names: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    let redrawn = config.intervene.iter().flat_map(|i| &i.redraw).flatten();
    let redrawn = redrawn.into_iter().map(|(part, _)| ("redraw", part));
    for (key, part) in redrawn.chain(config.frozen().iter().map(|part| ("freeze.parts", part))) {
        if !names.clone().any(|name| in_part(name, part)) {
            bail!("intervene.{key}: {}", no_part(part, names));
        }
    }
    let frozen = |name: &str| config.frozen().iter().any(|part| in_part(name, part));
    if names.clone().all(frozen) {
        bail!("intervene.freeze.parts: nothing is left to learn");
    }
    Ok(())
}

fn no_part<'a>(part: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut parts: Vec<&str> = names.map(|name| name.split('.').next().unwrap_or(name)).collect();
    parts.sort_unstable();
    parts.dedup();
    format!(
        "no parameter of this model begins with {part:?}; expected {}, or further names after a dot",
        parts.join(", ")
    )
}

/// The checkpoint of a donor, below `runs`.
fn find(donor: &Donor, config: &Config, runs: &Path) -> Result<Checkpoint> {
    let seed = config.seed;
    let folder = donor.folder(runs, seed);
    if !folder.exists() {
        bail!(
            "the donor's run is missing, {}; make it first (the seed is that of this run: another seed's \
             has learnt from examples that are tested here)",
            folder.display()
        );
    }
    let theirs = read_config(&folder)?;
    if let Some((key, [there, here])) = theirs.task.splits_unlike(&config.task) {
        bail!(
            "the donor's run has {key} = {there}, and this one {here}: it has learnt from examples that are \
             tested here"
        );
    }
    let run = format!("{}-s{seed}", donor.hash);
    Ok(checkpoint::at_step(&folder.join("checkpoints"), &run, donor.step)?)
}
