//! Evaluation on training and test examples.
//!
//! ```text
//! train/loss, test/loss     the mean over all labels; of sequences with teacher forcing
//! train/acc, test/acc       share of examples whose answer is right; of sequences, that greedy decoding
//!                           writes exactly
//! test/acc/even, odd        of even and of odd n
//! test/acc/digit            of the targets' digits, as accuracy.rs counts them
//! ```
//! Pairs are evaluated on all training examples, sequences on the first thousand; on as many test examples as
//! the config says.
//!
//! Examples go through a forward-only recording in chunks of the probe's size, in the split's order; so
//! the first chunk of either set *is* its fixed probe, and its spectra cost no extra forward pass. Whether
//! decoding writes a target the same pass tells (`Recorded::exact`), so only what is written instead has to
//! be decoded, for its digits.

use super::accuracy::{accuracy, until_end};
use super::norms::{GROUPS, norm, norms};
use super::spectra::Spectra;
use crate::config::{Config, ModelConfig, TaskConfig};
use crate::data::{Data, Examples, Model, record};
use crate::tasks::sequences::{Packed, Sequences};
use autograd::Tape;
use models::{Decoder, Positions, Purpose, SequencePairs};

/// A forward-only copy of the model, and what it measures.
#[derive(Debug)]
pub struct Evaluator {
    model: Model,
    spectra: Spectra,
    chunk: usize,
    evaluated: (usize, usize), // most examples of the training set, of the test set
    modulus: Option<usize>,    // of a task whose answers are a circle
    writer: Option<Writer>,    // of sequences
}

impl Evaluator {
    /// An evaluator of this config's model.
    pub fn new(config: &Config) -> Evaluator {
        let chunk = config.spectral.probe;
        let purpose = Purpose { capacity: chunk, training: false, positions: Positions::Last };
        let model = record(config, purpose, None);
        let spectra = Spectra::new(&model.tape, &config.spectral.at);
        let modulus = match &config.task {
            TaskConfig::Modular(task) => Some(task.p),
            _ => None,
        };
        let writer = Writer::new(config);
        Evaluator { model, spectra, chunk, evaluated: config.evaluated(), modulus, writer }
    }

    /// Losses and accuracies on both sets, every spectral reading of both probes, and the L2 norm of all
    /// parameters and of each group, as (key, value).
    ///
    /// # Errors
    /// A sentence, if an activation is not finite.
    pub fn evaluate(&mut self, trained: &Tape, data: &Data) -> Result<Vec<(String, f64)>, String> {
        self.model.tape.copy_params_from(trained);
        let (train, test) = (&data.split.train, &data.split.test);
        let train = &train[..train.len().min(self.evaluated.0)];
        let test = &test[..test.len().min(self.evaluated.1)];
        let mut log = Vec::new();
        for (set, rows) in [("train", train), ("test", test)] {
            let (mut loss, mut labels, mut exact) = (0.0, 0, 0);
            let (mut spectra, mut right) = (Vec::new(), Vec::new());
            for (i, chunk) in rows.chunks(self.chunk).enumerate() {
                data.load(&mut self.model, chunk);
                self.model.tape.forward();
                let score = data.score(&self.model, chunk);
                loss += score.loss;
                labels += score.labels;
                exact += score.exact;
                if i == 0 {
                    self.probe(set, chunk, data, &mut spectra)
                        .map_err(|e| format!("the {set} probe: {e}"))?;
                }
                if let Examples::Sequences(_, pairs) = &data.examples {
                    right.extend(self.model.exact(chunk, pairs));
                }
            }
            log.push((format!("{set}/loss"), loss / labels as f64));
            log.push((format!("{set}/acc"), exact as f64 / rows.len() as f64));
            if let (Some(writer), Examples::Sequences(table, pairs), "test") =
                (&mut self.writer, &data.examples, set)
            {
                writer.copy_params_from(trained);
                writer.figures(table, pairs, rows, &right, &mut log);
            }
            log.append(&mut spectra);
        }
        log.push(("norm".to_string(), norm(trained)));
        for (group, norm) in GROUPS.iter().zip(norms(trained)) {
            log.extend(norm.map(|norm| (format!("norm/{group}"), norm)));
        }
        Ok(log)
    }

    /// Every spectral reading of the active rows.
    fn probe(
        &mut self,
        set: &str,
        rows: &[u32],
        data: &Data,
        log: &mut Vec<(String, f64)>,
    ) -> Result<(), kernels::spectrum::SpectrumError> {
        let tape = &self.model.tape;
        self.spectra.all(tape, set, log)?;
        if let (Some(p), Examples::Pairs(task), "train") = (self.modulus, &data.examples, set) {
            let answers: Vec<u32> = rows.iter().map(|&row| task.labels[row as usize]).collect();
            self.spectra.fourier(tape, set, &answers, p, log)?;
        }
        Ok(())
    }
}

/// Says what a model of sequences writes.
#[derive(Debug)]
struct Writer {
    decoder: Decoder,
    task: TaskConfig,
}

impl Writer {
    /// None for a model of pairs.
    fn new(config: &Config) -> Option<Writer> {
        let (ModelConfig::EncoderDecoder(model), Some(shape)) =
            (&config.model, config.task.shape())
        else {
            return None;
        };
        let decoder = Decoder::new(model, shape, config.spectral.probe);
        Some(Writer { decoder, task: config.task.clone() })
    }

    fn copy_params_from(&mut self, trained: &Tape) {
        self.decoder.copy_params_from(trained);
    }

    /// Adds the accuracies of what is written for `rows`; `right` says which are written exactly.
    fn figures(
        &mut self,
        table: &Sequences,
        pairs: &SequencePairs,
        rows: &[u32],
        right: &[bool],
        log: &mut Vec<(String, f64)>,
    ) {
        let eos = table.numerals.eos();
        let wrong = rows.iter().zip(right).filter(|(_, right)| !**right).map(|(&row, _)| row);
        let wrong: Vec<u32> = wrong.collect();
        let instead = self.decoder.greedy(&wrong, &pairs.source, pairs.bos, eos);
        let mut next = 0..;
        let written: Packed = rows
            .iter()
            .zip(right)
            .map(|(&row, right)| match right {
                true => table.target.row(row as usize),
                false => until_end(instead.row(next.next().expect("a row")), eos),
            })
            .collect();
        for figure in accuracy(&self.task, table, rows, &written) {
            let key = match figure.name.as_str() {
                "exact/even" => "test/acc/even",
                "exact/odd" => "test/acc/odd",
                "digit" => "test/acc/digit",
                _ => continue,
            };
            log.push((key.to_string(), figure.share.hits as f64 / figure.share.of as f64));
        }
    }
}
