//! What a run learns from and is tested on, and how it reaches a tape: pairs of symbols or sequences.
//!
//! A batch is row numbers of a table, whichever it is. A pair is a row of the tape; of a sequence each token
//! is one, and sequences stand one after the other without padding (`models/src/sequences.rs`). The training
//! loop and the observers ask [`Data`] and need not know which.

use crate::batches::Batches;
use crate::config::sequence::TrainSet;
use crate::config::{Batch, Config, ModelConfig, TaskConfig};
use crate::intervene::parts::FrozenEncoder;
use crate::seed::Seed;
use crate::tasks::sequences::{self, Sequences};
use crate::tasks::{Split, Task, samplers, split};
use models::{Edit, PairInputs, Purpose, Recorded, SequenceInputs, SequencePairs};

/// A model on its tape, whichever of the two it reads.
pub type Model = Recorded<Inputs>;

/// Where a batch goes on the tape.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// Of pairs.
    Pairs(PairInputs),
    /// Of sequences.
    Sequences(SequenceInputs),
}

/// Records the model that a config asks for (for training without its encoder, where that is frozen: then the
/// encoder's outputs are given, see [`Data::frozen`]), with an activation edited on its way where there is an edit.
pub fn record(config: &Config, purpose: Purpose, edit: Option<Edit>) -> Model {
    let symbols = config.task.symbols();
    let Purpose { capacity, training, .. } = purpose;
    match &config.model {
        ModelConfig::OneLayer(model) => {
            models::one_layer(model, symbols, symbols, purpose, edit).map_inputs(Inputs::Pairs)
        }
        ModelConfig::Mlp(model) => {
            models::mlp(model, symbols, symbols, purpose, edit).map_inputs(Inputs::Pairs)
        }
        ModelConfig::EncoderDecoder(model) => {
            let shape = config.task.shape().expect("a task of sequences, as the check knows");
            let alone = training && config.freezes_encoder();
            let record = if alone { models::decoder_of_memory } else { models::encoder_decoder };
            record(model, shape, capacity, training, edit).map_inputs(Inputs::Sequences)
        }
    }
}

/// Every example of a task.
#[derive(Clone, Debug)]
pub enum Examples {
    /// (a, b) and its answer.
    Pairs(Task),
    /// A source and a target: as the task has them, and as a model reads them, EOS behind the target.
    Sequences(Sequences, SequencePairs),
}

/// The examples, and which of them are for what.
#[derive(Debug)]
pub struct Data {
    /// All.
    pub examples: Examples,
    /// Which are trained on, as far as they are ever drawn, and which tested.
    pub split: Split,
    /// An encoder that does not learn: what a decoder alone is given.
    pub frozen: Option<FrozenEncoder>,
}

/// What a forward pass says of the active examples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// The sum of the losses of all labels.
    pub loss: f64,
    /// One an example for pairs, one a target token for sequences.
    pub labels: usize,
    /// Examples all of whose labels were the first largest logit.
    pub exact: usize,
}

impl Data {
    /// The data of a config, which must have passed `Config::validate`.
    pub fn new(config: &Config) -> Data {
        let seed = Seed(config.seed);
        let Some((test, train)) = config.task.sequence_split() else {
            let task = Task::new(&config.task);
            let split = split(&task, config.task.train_fraction(), seed);
            return Data { examples: Examples::Pairs(task), split, frozen: None };
        };
        let (examples, split) = Data::of_sequences(&config.task, test, train, seed);
        Data { examples, split, frozen: FrozenEncoder::new(config) }
    }

    fn of_sequences(
        task: &TaskConfig,
        test: usize,
        train: TrainSet,
        seed: Seed,
    ) -> (Examples, Split) {
        let table = Sequences::new(task);
        let mut split = sequences::split(table.rows(), test, train, seed);
        if let TaskConfig::Collatz(task) = task
            && let Some(weights) = samplers::weights(task, &split.train)
        {
            // What is never drawn is not trained on.
            let mut weights = weights.into_iter();
            split.train.retain(|_| weights.next().is_some_and(|weight| weight > 0.0));
        }
        let ended = |digits: &[u32]| [digits, &[table.numerals.eos()]].concat();
        let pairs = SequencePairs {
            source: table.source.clone(),
            target: table.target.iter().map(ended).collect(),
            bos: table.numerals.bos(),
        };
        (Examples::Sequences(table, pairs), split)
    }

    /// The batches that the config draws from them.
    pub fn batches(&self, config: &Config) -> Batches {
        let (o, train, seed) = (&config.optim, self.split.train.clone(), Seed(config.seed));
        let weights = match &config.task {
            TaskConfig::Collatz(task) => samplers::weights(task, &train),
            _ => None,
        };
        let renew = match (&config.task, config.task.sequence_split()) {
            (TaskConfig::Collatz(task), Some((test, TrainSet::Fixed(count)))) => {
                task.renew.map(|every| (test, count, every))
            }
            _ => None,
        };
        match (weights, o.batch) {
            (None, Batch::Size(size)) if let Some((test, count, every)) = renew => {
                let rows = config.task.examples();
                let others = sequences::split(rows, test, TrainSet::Online, seed).train;
                Batches::renewed(others, count, every, size, seed)
            }
            (Some(weights), Batch::Size(size)) => {
                Batches::weighted(train, &weights, size, seed).expect("finite weights above 0")
            }
            _ => Batches::new(train, o.batch, o.replacement, seed),
        }
    }

    /// Makes these rows of the table the active examples.
    ///
    /// # Panics
    /// If the model is not of this task.
    pub fn load(&self, model: &mut Model, rows: &[u32]) {
        match (&self.examples, &model.inputs) {
            (Examples::Pairs(task), Inputs::Pairs(inputs)) => {
                inputs.load(&mut model.tape, rows, &task.pairs, &task.labels);
            }
            (Examples::Sequences(_, pairs), Inputs::Sequences(inputs)) => {
                inputs.load(&mut model.tape, rows, pairs);
                if let (true, Some(frozen)) = (inputs.wants_memory(), &self.frozen) {
                    inputs.load_memory(&mut model.tape, rows, &pairs.source, &frozen.outputs);
                }
            }
            _ => panic!("a model of pairs and a task of sequences, or the other way round"),
        }
    }

    /// After a forward: what it says of the rows that were loaded. Allocates nothing.
    pub fn score(&self, model: &Model, rows: &[u32]) -> Score {
        let (loss, hits) = model.tape.loss_and_hits(model.loss);
        let labels = model.tape.shape(model.logits).0;
        let exact = match &self.examples {
            Examples::Pairs(_) => hits as usize,
            Examples::Sequences(_, pairs) => {
                model.exact(rows, pairs).filter(|&exact| exact).count()
            }
        };
        Score { loss, labels, exact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::preset;
    use std::collections::HashSet;

    fn config(changes: &[(&str, &str)]) -> Config {
        let changes: Vec<_> = changes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Config::from_toml_with(preset("collatz-1x1").unwrap(), "t", &changes).unwrap()
    }

    #[test]
    fn the_shape_of_a_task_is_that_of_its_table() {
        for changes in [
            &[][..],
            &[("task.base", "2")],
            &[("task.base", "48"), ("task.max", "99"), ("task.test", "40")],
            &[("task.iterations", "3"), ("task.op", "7n+1")],
            &[("task.op", "1-n"), ("task.max", "64"), ("task.test", "32")],
        ] {
            let changes = [changes, &[("spectral.probe", "8"), ("eval.test", "32")]].concat();
            let config = config(&changes);
            let Examples::Sequences(table, pairs) = Data::new(&config).examples else { panic!() };
            let shape = config.task.shape().unwrap();
            assert_eq!(shape.source, pairs.source.longest(), "{changes:?}");
            assert_eq!(shape.target, pairs.target.longest(), "{changes:?}");
            assert_eq!(shape.d_vocab, table.numerals.symbols());
            let counted = record(&config, PURPOSE, None).parameter_count();
            assert_eq!(config.parameters(), counted, "{changes:?}");
        }
    }

    const PURPOSE: Purpose =
        Purpose { capacity: 1, training: false, positions: models::Positions::Last };

    #[test]
    fn a_target_ends_in_eos_and_a_source_does_not() {
        let Examples::Sequences(_, pairs) = Data::new(&config(&[])).examples else { panic!() };
        assert_eq!(pairs.source.row(26), [3, 3]); // 27
        assert_eq!(pairs.target.row(26), [1, 2, 2, 10]); // 82, EOS
        assert_eq!(pairs.bos, 9);
    }

    #[test]
    fn what_a_sampler_never_draws_is_not_trained_on() {
        let data = |sampler| Data::new(&config(&[("task.sampler", sampler)])).split;
        let (all, short) = (data("uniform"), data("short_carry"));
        assert_eq!(all.test, short.test);
        assert_eq!(all.train.len(), 5000);
        // Of the odd half four in ten are left.
        let share = short.train.len() as f64 / 5000.0;
        assert!((share - 0.7).abs() < 0.02, "{share}");
        let config = config(&[("task.sampler", "short_carry")]);
        let data = Data::new(&config);
        let mut rows = vec![0; 512];
        data.batches(&config).fill(3, &mut rows);
        assert!(rows.iter().all(|row| data.split.train.contains(row)));
    }

    #[test]
    fn what_others_make_way_for_is_never_tested() {
        let changes = [("task.train", "300"), ("task.renew", "5"), ("spectral.probe", "256")];
        let config = config(&changes);
        let data = Data::new(&config);
        let mut batches = data.batches(&config);
        let (mut rows, mut drawn) = (vec![0; 512], HashSet::new());
        for step in 0..100 {
            batches.fill(step, &mut rows);
            assert!(step >= 5 || rows.iter().all(|row| data.split.train.contains(row)));
            drawn.extend(rows.iter().copied());
        }
        // Nearly all of the 5,000 others, and none of the 5,000 that are tested.
        assert!(drawn.len() > 4_900, "{}", drawn.len());
        assert!(data.split.test.iter().all(|row| !drawn.contains(row)));
    }
}
