//! What no run can have, said in one sentence each: which key, its value, what was expected.

use super::intervene::{Donor, FreezeConfig, InterveneConfig, MixingConfig, NormConfig, in_part};
use super::probe::{FEWEST_ROWS, ProbeConfig, Target};
use super::sequence::{CollatzConfig, Sampler, TrainSet};
use super::{Batch, Config, ModelConfig, ModularOp, SCHEMA, Schedule, TaskConfig};
use crate::seed::Seed;
use crate::tasks::modular::is_prime;
use crate::tasks::sequences::{MAX_LENGTH, split};
use crate::tasks::{collatz, samplers};
use models::config::Tie;
use std::collections::BTreeMap;

/// A modulus above this would need more than a gigabyte for the table of pairs alone.
const MAX_P: usize = 4096;
/// Tokens are 32-bit indices of rows of an embedding, which is held, too.
const MAX_BASE: u32 = 65_536;
/// So many sequences are a table of some hundred megabytes at most.
const MAX_ROWS: usize = 1 << 20;
/// S7 has 5,040² pairs.
const MAX_N: usize = 6;
/// No width, depth, batch or probe is larger; products of a few of them still fit in 64 bits.
const MAX_SIZE: usize = 1 << 20;
/// Outputs of a frozen encoder, at most.
const MAX_OUTPUTS: f64 = 4e9;
/// Memory of one training step, at most.
const MAX_BYTES: f64 = 64e9;

/// Returns the sentence unless the condition holds.
macro_rules! require {
    ($condition:expr, $($sentence:tt)*) => {
        if $condition {
        } else {
            return Err(format!($($sentence)*)); // also where a comparison with NaN is false
        }
    };
}

/// Whether a name can be a folder's, on every system.
pub(super) fn can_be_a_folder(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

impl Config {
    /// Checks every value against what a run can have.
    ///
    /// # Errors
    /// The first problem, as a sentence.
    pub fn validate(&self) -> Result<(), String> {
        require!(
            self.schema == SCHEMA,
            "schema = {}: this plateau reads schema {SCHEMA}",
            self.schema
        );
        require!(
            can_be_a_folder(&self.name),
            "name = {:?}: it becomes a folder's name, so letters, digits, `-`, `_` and `.` only, \
             and no `.` at the start",
            self.name
        );
        require!(self.seed <= i64::MAX as u64, "seed = {}: must be below 2^63", self.seed);
        require!(self.steps > 0, "steps = 0: a run needs at least one step");
        require!(self.steps <= 1_000_000_000, "steps = {}: at most a thousand million", self.steps);
        self.validate_task()?;
        self.validate_model()?;
        self.validate_optim()?;
        self.validate_observers()?;
        self.validate_probe()?;
        self.validate_interventions()?;
        self.validate_memory()
    }

    fn validate_task(&self) -> Result<(), String> {
        match &self.task {
            TaskConfig::Modular(c) => {
                require!(c.p >= 2, "task.p = {}: a modulus is at least 2", c.p);
                require!(
                    c.p <= MAX_P,
                    "task.p = {}: at most {MAX_P}, for all p² pairs are held",
                    c.p
                );
                require!(
                    c.op != ModularOp::Div || is_prime(c.p),
                    "task.p = {}: division needs a prime modulus",
                    c.p
                );
            }
            TaskConfig::Permutation(c) => require!(
                (2..=MAX_N).contains(&c.n),
                "task.n = {}: permutations of 2 to {MAX_N} things, for all (n!)² pairs are held",
                c.n
            ),
            TaskConfig::Collatz(_) | TaskConfig::Gcd(_) => return self.validate_sequences(),
        }
        let (fraction, pairs) = (self.task.train_fraction(), self.task.examples());
        require!(
            fraction > 0.0 && fraction <= 1.0,
            "task.train_fraction = {fraction}: must be above 0 and at most 1"
        );
        let train = self.train_count();
        require!(train > 0, "task.train_fraction = {fraction}: leaves no training pair of {pairs}");
        require!(train < pairs, "task.train_fraction = {fraction}: leaves no test pair of {pairs}");
        Ok(())
    }

    /// The fields of a sequence task.
    fn validate_sequences(&self) -> Result<(), String> {
        let Some((test, train)) = self.task.sequence_split() else { return Ok(()) };
        let base = match &self.task {
            TaskConfig::Collatz(c) => c.base,
            TaskConfig::Gcd(c) => c.base,
            _ => return Ok(()),
        };
        require!(base >= 2, "task.base = {base}: must be at least 2");
        require!(base <= MAX_BASE, "task.base = {base}: at most {MAX_BASE}");
        match &self.task {
            TaskConfig::Collatz(c) => {
                require!(
                    (1..=MAX_ROWS).contains(&c.max),
                    "task.max = {}: must be 1 to {MAX_ROWS}, for all numbers are held",
                    c.max
                );
                require!(
                    (1..=MAX_LENGTH).contains(&(c.iterations as usize)),
                    "task.iterations = {}: must be 1 to {MAX_LENGTH}",
                    c.iterations
                );
                if let Some(source) = c.source_base {
                    require!(
                        (2..=MAX_BASE).contains(&source) && source != base,
                        "task.source_base = {source}: must be 2 to {MAX_BASE} and another than \
                         task.base; where n and its answer have one base, leave it out"
                    );
                }
                let (iterations, max) = (c.iterations, c.max);
                let Some(largest) = collatz::largest(c) else {
                    return Err(format!(
                        "task.iterations = {iterations}: from some n up to task.max = {max} the map \
                         leaves 64 bits"
                    ));
                };
                let [of_n, numerals] = c.numerals();
                for (numerals, largest) in [(of_n, max as u64), (numerals, largest)] {
                    let (length, base) = (numerals.length(largest) + 1, numerals.base());
                    require!(
                        length <= MAX_LENGTH,
                        "task.max = {max}: digits and the token at their end are {length} tokens in base \
                         {base}, and a sequence has at most {MAX_LENGTH}"
                    );
                }
                require!(
                    c.renew.is_none_or(|every| {
                        every > 0
                            && matches!(c.train, TrainSet::Fixed(_))
                            && c.sampler == Sampler::Uniform
                            && self.optim.replacement
                            && self.optim.batch != Batch::Full
                    }),
                    "task.renew: must be at least 1, and needs a number as task.train and optim.batch, task.sampler = \
                     \"uniform\" and optim.replacement = true"
                );
                require!(
                    c.sampler == Sampler::Uniform
                        || self.optim.replacement && self.optim.batch != Batch::Full,
                    "task.sampler: one that is not uniform draws with replacement, so it needs \
                     optim.replacement = true and a number as optim.batch"
                );
            }
            TaskConfig::Gcd(c) => require!(
                (1..=MAX_ROWS.isqrt()).contains(&c.max),
                "task.max = {}: must be 1 to {}, for all pairs are held",
                c.max,
                MAX_ROWS.isqrt()
            ),
            _ => {}
        }
        let all = self.task.examples();
        require!(
            (1..all).contains(&test),
            "task.test = {test}: must be at least 1 and leave something to train on of {all}"
        );
        let rest = all - test;
        if let TrainSet::Fixed(count) = train {
            require!(count > 0, "task.train = 0: must be \"online\" or at least 1");
            require!(
                count <= rest,
                "task.train = {count}: task.test = {test} leaves only {rest} of {all}"
            );
        }
        if let TaskConfig::Collatz(c @ CollatzConfig { sampler: Sampler::ShortCarry, .. }) =
            &self.task
        {
            let train = split(all, test, train, Seed(self.seed)).train;
            let weights = samplers::weights(c, &train).unwrap_or_default();
            require!(
                weights.iter().any(|&weight| weight > 0.0),
                "task.sampler: short_carry leaves none of the {} training examples of this seed",
                train.len()
            );
        }
        Ok(())
    }

    fn validate_model(&self) -> Result<(), String> {
        let for_sequences = matches!(self.model, ModelConfig::EncoderDecoder(_));
        require!(
            for_sequences || !self.task.has_sequences(),
            "model.kind: the task has sequences, and one_layer and mlp read pairs of symbols; expected \
             encoder_decoder"
        );
        require!(
            !for_sequences || self.task.has_sequences(),
            "model.kind: the task has pairs of symbols, and encoder_decoder reads sequences; expected \
             one_layer or mlp"
        );
        let sizes = match &self.model {
            ModelConfig::OneLayer(c) => vec![
                ("n_layers", c.n_layers),
                ("d_model", c.d_model),
                ("n_heads", c.n_heads),
                ("d_mlp", c.d_mlp),
            ],
            ModelConfig::Mlp(c) => {
                vec![("n_layers", c.n_layers), ("d_model", c.d_model), ("d_mlp", c.d_mlp)]
            }
            ModelConfig::EncoderDecoder(c) => vec![
                ("encoder_layers", c.encoder_layers),
                ("decoder_layers", c.decoder_layers),
                ("d_model", c.d_model),
                ("n_heads", c.n_heads),
                ("d_mlp", c.d_mlp),
            ],
        };
        for (key, size) in sizes {
            // Without encoder layers it is a decoder alone.
            let least = usize::from(key != "encoder_layers");
            require!(size >= least, "model.{key} = 0: must be at least 1");
            let most = if key.ends_with("layers") { 1024 } else { MAX_SIZE };
            require!(size <= most, "model.{key} = {size}: at most {most}");
        }
        let heads = match &self.model {
            ModelConfig::OneLayer(c) => Some((c.d_model, c.n_heads)),
            ModelConfig::EncoderDecoder(c) => Some((c.d_model, c.n_heads)),
            ModelConfig::Mlp(_) => None,
        };
        if let Some((d_model, n_heads)) = heads {
            require!(
                d_model.is_multiple_of(n_heads),
                "model.d_model = {d_model}: must be a multiple of model.n_heads = {n_heads}"
            );
        }
        Ok(())
    }

    fn validate_optim(&self) -> Result<(), String> {
        let o = &self.optim;
        for (key, value) in [("lr", o.lr), ("eps", o.eps), ("weight_decay", o.weight_decay)] {
            require!(
                value.is_finite() && value >= 0.0,
                "optim.{key} = {value}: must be a finite number, 0 or above"
            );
        }
        if let Some(clip) = o.clip {
            require!(
                clip.is_finite() && clip > 0.0,
                "optim.clip = {clip}: must be a finite number above 0; to clip nothing, leave it out"
            );
        }
        for beta in o.betas {
            require!(
                (0.0..1.0).contains(&beta),
                "optim.betas = {:?}: both must be at least 0 and below 1",
                o.betas
            );
        }
        require!(
            o.no_decay.iter().all(|s| !s.is_empty()),
            "optim.no_decay: an empty string would match every parameter; \
             for none at all set weight_decay = 0"
        );
        require!(
            o.schedule == Schedule::Constant || o.warmup < self.steps,
            "optim.warmup = {}: a cosine schedule needs steps after it, and steps = {}",
            o.warmup,
            self.steps
        );
        if let Batch::Size(size) = o.batch {
            require!(size > 0, "optim.batch = 0: must be \"full\" or at least 1");
            require!(size <= MAX_SIZE, "optim.batch = {size}: at most {MAX_SIZE}");
            let train = self.train_count();
            require!(
                o.replacement || size <= train,
                "optim.batch = {size}: there are only {train} training examples; \
                 draw with replacement, or set batch = \"full\""
            );
        }
        Ok(())
    }

    fn validate_observers(&self) -> Result<(), String> {
        for (key, every) in [
            ("eval", self.eval.every),
            ("spectral", self.spectral.every),
            ("checkpoint", self.checkpoint.every),
        ] {
            require!(every > 0, "{key}.every = 0: must be at least 1");
        }
        let s = &self.spectral;
        let (train, test) = self.evaluated();
        let all = self.task.test_count();
        require!(
            (1..=all).contains(&test),
            "eval.test = {test}: must be 1 to {all}, the number of test examples"
        );
        require!(s.probe >= 2, "spectral.probe = {}: a covariance needs at least 2 rows", s.probe);
        require!(
            s.probe <= train.min(test),
            "spectral.probe = {}: there are only {train} training and {test} test examples that are \
             evaluated",
            s.probe
        );
        require!(!s.at.is_empty(), "spectral.at = []: name at least one activation");
        let known = self.model.probes();
        require!(
            !self.freezes_encoder() || !s.at[0].starts_with("encoder."),
            "spectral.at: {:?} comes first, so it is measured in every step, where a frozen encoder is not \
             computed; expected one of the decoder's first",
            s.at[0]
        );
        for (i, name) in s.at.iter().enumerate() {
            require!(
                known.contains(name),
                "spectral.at: this model has no {name:?}; it has {}",
                known.join(", ")
            );
            require!(!s.at[..i].contains(name), "spectral.at: {name:?} stands there twice");
        }
        Ok(())
    }

    fn validate_interventions(&self) -> Result<(), String> {
        if let Some(intervene) = &self.intervene {
            require!(
                *intervene != InterveneConfig::default(),
                "[intervene]: it is empty; to do nothing, leave it out"
            );
            let InterveneConfig { mixing, norm, labels, transplant, redraw, freeze } = intervene;
            // What an intervention does is said of rows that are examples, and of answers that are symbols.
            require!(
                !self.task.has_sequences() || (mixing.is_none() && labels.is_none()),
                "[intervene]: of mixing, norm and labels, a model of sequences knows norm only"
            );
            self.validate_parts(transplant.as_ref(), redraw.as_ref(), freeze.as_ref())?;
            let mixing_time = mixing.iter().map(|m| ("mixing", m.from, m.until));
            let norm_time = norm.iter().map(|n| ("norm", n.from, n.until));
            for (key, from, until) in mixing_time.chain(norm_time) {
                require!(
                    from < until,
                    "intervene.{key}.until = {until}: must be above intervene.{key}.from = {from}"
                );
            }
            if let Some(MixingConfig { site, alpha, .. }) = mixing {
                require!(
                    *alpha > 0.0 && *alpha <= 1.0,
                    "intervene.mixing.alpha = {alpha}: must be above 0 and at most 1"
                );
                let known = self.model.sites();
                require!(
                    known.contains(site),
                    "intervene.mixing.site: this model has no {site:?} at the last position; it has {}",
                    known.join(", ")
                );
                let batch = match self.optim.batch {
                    Batch::Full => self.train_count(),
                    Batch::Size(size) => size,
                };
                require!(
                    batch >= 2,
                    "optim.batch = {batch}: mixing needs at least 2 pairs, for each has another as \
                     its partner"
                );
            }
            if let Some(NormConfig { baseline, .. }) = norm {
                require!(
                    can_be_a_folder(baseline),
                    "intervene.norm.baseline = {baseline:?}: it is a folder's name, so letters, \
                     digits, `-`, `_` and `.` only, and no `.` at the start"
                );
            }
            require!(
                labels.as_ref().is_none_or(|labels| labels.shuffled),
                "intervene.labels.shuffled = false: to shuffle nothing, leave the section out"
            );
        }
        if let Some(stop) = &self.stop {
            require!(stop.past_grok > 0, "stop.past_grok = 0: must be at least 1");
            require!(stop.give_up != Some(0), "stop.give_up = 0: must be at least 1");
        }
        Ok(())
    }

    /// The sections that name parts. Which parts a model has is known when it is recorded.
    fn validate_parts(
        &self,
        transplant: Option<&BTreeMap<String, Donor>>,
        redraw: Option<&BTreeMap<String, u64>>,
        freeze: Option<&FreezeConfig>,
    ) -> Result<(), String> {
        let empty = [
            ("transplant", transplant.is_some_and(BTreeMap::is_empty)),
            ("redraw", redraw.is_some_and(BTreeMap::is_empty)),
            ("freeze", freeze.is_some_and(|freeze| freeze.parts.is_empty())),
        ];
        for (key, empty) in empty {
            require!(!empty, "[intervene.{key}]: it names no part; to do nothing, leave it out");
        }
        // One that holds another's would be given twice.
        let parts = transplant.into_iter().flatten().map(|(part, _)| part);
        let parts: Vec<&String> =
            parts.chain(redraw.into_iter().flatten().map(|(p, _)| p)).collect();
        for (i, part) in parts.iter().enumerate() {
            for other in parts.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other) {
                require!(
                    !in_part(other, part),
                    "[intervene]: {other} is given twice, by transplant or redraw: {part} holds it"
                );
            }
        }
        for (part, seed) in redraw.into_iter().flatten() {
            require!(
                *seed <= i64::MAX as u64,
                "intervene.redraw.{part} = {seed}: must be below 2^63"
            );
        }
        if let (true, ModelConfig::EncoderDecoder(model)) = (self.freezes_encoder(), &self.model) {
            require!(
                model.encoder_layers > 0,
                "intervene.freeze.parts: this model is a decoder alone and has no encoder"
            );
            require!(
                model.tie != Tie::All,
                "intervene.freeze.parts: with model.tie = \"all\" the encoder reads the decoder's table of \
                 tokens, which learns; expected another tie"
            );
            let Some(shape) = self.task.shape() else { return Ok(()) };
            let bytes = 4.0 * self.task.examples() as f64 * (shape.source * model.d_model) as f64;
            require!(
                bytes <= MAX_OUTPUTS,
                "intervene.freeze.parts: the outputs of a frozen encoder for all {} sources would take up to \
                 {:.0} GB, and {:.0} GB is the most that plateau keeps; a smaller task.max may help",
                self.task.examples(),
                bytes / 1e9,
                MAX_OUTPUTS / 1e9
            );
        }
        Ok(())
    }

    fn validate_probe(&self) -> Result<(), String> {
        let Some(ProbeConfig { every, rows, at, pool: _, targets, erase }) = &self.probe else {
            return Ok(());
        };
        let ModelConfig::EncoderDecoder(model) = &self.model else {
            return Err("[probe]: only a model of sequences has an encoder to probe".to_owned());
        };
        require!(
            !matches!(self.task, TaskConfig::Gcd(_)),
            "[probe]: targets are asked of one number, and a source of gcd holds two"
        );
        require!(
            model.encoder_layers > 0,
            "[probe]: this model is a decoder alone and has no encoder"
        );
        require!(
            *every > 0 && every.is_multiple_of(self.eval.every),
            "probe.every = {every}: must be a multiple of eval.every = {}, for a reading comes with an \
             evaluation",
            self.eval.every
        );
        let (_, test) = self.evaluated();
        require!(
            (FEWEST_ROWS..=test).contains(rows),
            "probe.rows = {rows}: must be {FEWEST_ROWS} to {test}, the number of test examples that are \
             evaluated"
        );
        require!(!at.is_empty(), "probe.at = []: name at least one activation");
        let known = model.source_hooks();
        for (i, name) in at.iter().enumerate() {
            require!(
                !self.model.probes().contains(name) || known.contains(name),
                "probe.at: {name:?} is over target tokens, and a probe reads what is known of the source; \
                 expected one of {}",
                known.join(", ")
            );
            require!(
                known.contains(name),
                "probe.at: this model has no {name:?} over source tokens; it has {}",
                known.join(", ")
            );
            require!(!at[..i].contains(name), "probe.at: {name:?} stands there twice");
        }
        require!(!targets.is_empty(), "probe.targets = []: name at least one target");
        for (key, all) in [("targets", targets), ("erase", erase)] {
            for (i, target) in all.iter().enumerate() {
                require!(!all[..i].contains(target), "probe.{key}: {target} stands there twice");
            }
        }
        for target in erase {
            require!(
                !matches!(target, Target::Bit(_)),
                "probe.erase: {target} has a probe for each residue of what is given, and no directions \
                 of its own"
            );
            require!(
                targets.contains(target),
                "probe.erase: {target} is none of probe.targets, so there is no probe of it"
            );
        }
        Ok(())
    }

    /// Refuses what no laptop can hold, before the allocator does.
    fn validate_memory(&self) -> Result<(), String> {
        let rows = match self.optim.batch {
            Batch::Full => self.train_count(),
            Batch::Size(size) => size,
        } as f64;
        // Values that one row keeps for the backward pass, roughly; each has a gradient.
        let symbols = self.task.symbols();
        let per_row = match &self.model {
            ModelConfig::OneLayer(c) => {
                c.n_layers * (c.tokens.n_ctx() * 6 * c.d_model + 2 * c.d_mlp) + symbols
            }
            ModelConfig::Mlp(c) => {
                c.tokens.n_ctx() * c.d_model + c.n_layers * 2 * c.d_mlp + symbols
            }
            ModelConfig::EncoderDecoder(c) => {
                let (source, target) =
                    self.task.shape().map_or((0, 0), |shape| (shape.source, shape.target));
                let block = |keys: usize| 10 * c.d_model + 2 * c.d_mlp + c.n_heads * keys;
                let cross = 6 * c.d_model + c.n_heads * source;
                if c.encoder_layers == 0 {
                    let longest = source + target;
                    longest * c.decoder_layers * block(longest) + target * symbols
                } else {
                    source * (c.encoder_layers * block(source) + 2 * c.decoder_layers * c.d_model)
                        + target * (c.decoder_layers * (block(target) + cross) + symbols)
                }
            }
        } as f64;
        // A parameter has a gradient and two moments.
        let bytes = 16.0 * self.parameters() as f64 + 8.0 * rows * per_row;
        require!(
            bytes <= MAX_BYTES,
            "this model and batch would need about {:.0} GB of memory, and {:.0} GB is the most \
             that plateau tries",
            bytes / 1e9,
            MAX_BYTES / 1e9
        );
        Ok(())
    }

    /// Number of training examples.
    pub fn train_count(&self) -> usize {
        self.task.train_count()
    }
}
