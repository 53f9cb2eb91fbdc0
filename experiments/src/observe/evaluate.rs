//! Evaluation on every training and every test pair.
//!
//! Pairs go through a forward-only recording in chunks of the probe's size, in the split's order; so
//! the first chunk of either set *is* its fixed probe, and its spectra cost no extra forward pass.

use super::norms::{GROUPS, norm, norms};
use super::spectra::Spectra;
use crate::config::{Config, TaskConfig};
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
    modulus: Option<usize>, // of a task whose answers are a circle
}

impl Evaluator {
    /// An evaluator of this config's model.
    pub fn new(config: &Config) -> Evaluator {
        let chunk = config.spectral.probe;
        let purpose = Purpose { capacity: chunk, training: false, positions: Positions::Last };
        let model = record(config, purpose);
        let spectra = Spectra::new(&model, &config.spectral.at);
        let modulus = match &config.task {
            TaskConfig::Modular(task) => Some(task.p),
            _ => None,
        };
        Evaluator { model, spectra, chunk, modulus }
    }

    /// Loss and accuracy on both sets, every spectral reading of both probes, and the L2 norm of all
    /// parameters and of each group, as (key, value).
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
                    let sentence = |e| format!("the {set} probe: {e}");
                    self.spectra.all(&self.model, set, &mut spectra).map_err(sentence)?;
                    if let Some(p) = self.modulus.filter(|_| set == "train") {
                        let answers: Vec<u32> =
                            chunk.iter().map(|&row| task.labels[row as usize]).collect();
                        self.spectra
                            .fourier(&self.model, set, &answers, p, &mut spectra)
                            .map_err(sentence)?;
                    }
                }
            }
            let pairs = rows.len() as f64;
            log.push((format!("{set}/loss"), loss / pairs));
            log.push((format!("{set}/acc"), hits as f64 / pairs));
            log.append(&mut spectra);
        }
        log.push(("norm".to_string(), norm(trained)));
        for (group, norm) in GROUPS.iter().zip(norms(trained)) {
            log.extend(norm.map(|norm| (format!("norm/{group}"), norm)));
        }
        Ok(log)
    }
}
