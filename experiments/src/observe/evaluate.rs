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
use crate::tasks::sequences::Sequences;
use autograd::Tape;
use models::{Decoder, Packed, Positions, Purpose, SequencePairs};

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
        copy_params(&mut self.model.tape, trained, data);
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
                if let (Examples::Sequences(_, pairs), "test") = (&data.examples, set) {
                    right.extend(self.model.exact(chunk, pairs));
                }
            }
            log.push((format!("{set}/loss"), loss / labels as f64));
            log.push((format!("{set}/acc"), exact as f64 / rows.len() as f64));
            if let (Some(writer), Examples::Sequences(table, pairs), "test") =
                (&mut self.writer, &data.examples, set)
            {
                writer.decoder.copy_params_from(&self.model.tape);
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

/// Copies the parameters of a trained tape, and those of a frozen encoder, which it does not hold.
///
/// # Panics
/// If `to` has others.
pub(super) fn copy_params(to: &mut Tape, trained: &Tape, data: &Data) {
    let frozen = data.frozen.as_ref().map(|frozen| &frozen.encoder.tape);
    let tapes = std::iter::once(trained).chain(frozen);
    let copied: usize = tapes.map(|tape| to.copy_common_params_from(tape)).sum();
    assert_eq!(copied, to.params().len(), "tapes of different models");
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
                true => table.target.row(row),
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
            log.extend(figure.share.value().map(|share| (key.to_string(), share)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::preset;
    use crate::train::Trainer;

    /// Counted by hand over what the decoder writes for every example, right or wrong, seven at a time.
    #[test]
    fn the_accuracies_are_those_of_decoding_every_example() {
        let changes = [("eval.test".to_owned(), "333".to_owned())];
        let text = preset("collatz-smoke").unwrap();
        let config = Config::from_toml_with(text, "t", &changes).unwrap();
        let mut trainer = Trainer::new(&config);
        for step in 0..250 {
            trainer.forward(step).unwrap();
            trainer.update(step).unwrap();
        }
        let (tape, data) = (&trainer.model().tape, trainer.data());
        let log = Evaluator::new(&config).evaluate(tape, data).unwrap();
        let get = |key: &str| log.iter().find(|(k, _)| k == key).unwrap().1;

        let Examples::Sequences(table, pairs) = &data.examples else { panic!() };
        let ModelConfig::EncoderDecoder(model) = &config.model else { panic!() };
        let mut decoder = Decoder::new(model, config.task.shape().unwrap(), 7);
        decoder.copy_params_from(tape);
        for (set, rows) in [("train", &data.split.train[..600]), ("test", &data.split.test[..333])]
        {
            let eos = table.numerals.eos();
            let written = decoder.greedy(rows, &pairs.source, pairs.bos, eos);
            let (mut exact, mut of, mut digits, mut all_digits) = ([0.0; 2], [0.0; 2], 0.0, 0.0);
            for (i, &row) in rows.iter().enumerate() {
                let parity = (row as usize + 1) % 2; // row 0 is n = 1
                let target = table.target.row(row);
                let end = written.row(i as u32).iter().position(|&token| token == eos);
                let written = &written.row(i as u32)[..end.unwrap_or(written.row(i as u32).len())];
                of[parity] += 1.0;
                exact[parity] += f64::from(u8::from(written == target));
                let same = target.iter().zip(written).filter(|(a, b)| a == b).count();
                digits += same as f64;
                all_digits += target.len() as f64;
            }
            let close = |key: &str, expected: f64| {
                assert!((get(&format!("{set}/{key}")) - expected).abs() < 1e-12, "{set}/{key}");
            };
            close("acc", (exact[0] + exact[1]) / rows.len() as f64);
            if set == "test" {
                close("acc/even", exact[0] / of[0]);
                close("acc/odd", exact[1] / of[1]);
                close("acc/digit", digits / all_digits);
                assert!(
                    exact[0] > 0.0 && exact[0] < of[0],
                    "some are right, some wrong: {exact:?}"
                );
            }
        }
    }
}
