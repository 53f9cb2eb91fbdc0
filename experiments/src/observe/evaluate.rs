//! Evaluation on every training and every test pair.
//!
//! Pairs go through a forward-only recording in chunks of the probe's size, in the split's order; so
//! the first chunk of either set *is* its fixed probe, and its spectra cost no extra forward pass.

use super::spectra::Spectra;
use crate::config::Config;
use crate::tasks::{Split, Task};
use crate::train::record;
use autograd::Tape;
use models::{Positions, Purpose, Recorded};

/// A forward-only copy of the model, and what it measures.
#[derive(Debug)]
pub struct Evaluator {
    model: Recorded,
    spectra: Spectra,
    chunk: usize,
}

impl Evaluator {
    /// An evaluator of this config's model.
    pub fn new(config: &Config) -> Evaluator {
        let chunk = config.spectral.probe;
        let purpose = Purpose { capacity: chunk, training: false, positions: Positions::Last };
        let model = record(config, purpose);
        let spectra = Spectra::new(&model, &config.spectral.at);
        Evaluator { model, spectra, chunk }
    }

    /// Loss and accuracy on both sets, every spectral reading of both probes, and the L2 norm of all
    /// parameters, as (key, value).
    ///
    /// # Errors
    /// A sentence, if an activation is not finite.
    pub fn evaluate(
        &mut self,
        trained: &Tape,
        task: &Task,
        split: &Split,
    ) -> Result<Vec<(String, f64)>, String> {
        self.model.tape.copy_params_from(trained);
        let mut log = Vec::new();
        for (set, rows) in [("train", &split.train), ("test", &split.test)] {
            let (mut loss, mut hits) = (0.0, 0);
            let mut spectra = Vec::new();
            for (i, chunk) in rows.chunks(self.chunk).enumerate() {
                self.model.load(chunk, &task.pairs, &task.labels);
                self.model.tape.forward();
                let (chunk_loss, chunk_hits) = self.model.tape.loss_and_hits(self.model.loss);
                loss += chunk_loss;
                hits += chunk_hits;
                if i == 0 {
                    self.spectra
                        .all(&self.model, set, &mut spectra)
                        .map_err(|e| format!("the {set} probe: {e}"))?;
                }
            }
            let pairs = rows.len() as f64;
            log.push((format!("{set}/loss"), loss / pairs));
            log.push((format!("{set}/acc"), hits as f64 / pairs));
            log.append(&mut spectra);
        }
        log.push(("norm".to_string(), norm(trained)));
        Ok(log)
    }
}

/// The L2 norm of all parameters.
pub fn norm(tape: &Tape) -> f64 {
    let squares = |x: &f32| f64::from(*x) * f64::from(*x);
    tape.params().iter().flat_map(|&p| tape.value(p)).map(squares).sum::<f64>().sqrt()
}
