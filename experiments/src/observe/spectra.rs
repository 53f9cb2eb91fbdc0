//! Normalised spectral entropy of activations, H̃ = −Σ p ln p / ln d with p the normalised
//! eigenvalues of their covariance (arXiv:2604.13123, equation of H̃).
//!
//! A reading is named `spectral/<set>/<hook>/<centred|uncentred>/normalised_entropy`, where the set is
//! `batch` (the training step's own activations), `train` or `test` (the fixed probes). The fixed probes
//! have an `effective_rank`, exp H, and a `participation_ratio`, (Σλ)²/Σλ², too, and the train probe a
//! `fourier` (`fourier.rs`).

use super::fourier::{LEADING, alignment};
use autograd::{Rows, Tape, Var};
use kernels::spectrum::{Centring, SpectrumError, SpectrumMeter};

/// The hooks of one recording that are measured.
#[derive(Debug)]
pub struct Spectra {
    hooks: Vec<Hook>,
}

#[derive(Debug)]
struct Hook {
    name: String,
    var: Var,
    meter: SpectrumMeter,
}

/// How many rows stand before the next one that a probe reads: of pairs the last position of each example
/// is read, of sequences every token.
fn stride(tape: &Tape, x: Var) -> usize {
    match tape.rows(x) {
        Rows::Packed(..) => 1,
        // In a deeper model the earlier blocks are computed at every position.
        _ => (tape.shape(x).0 / tape.examples()).max(1),
    }
}

/// The rows of an activation that a probe reads.
pub fn rows(tape: &Tape, x: Var) -> impl Iterator<Item = &[f32]> {
    let (stride, cols) = (stride(tape, x), tape.shape(x).1);
    tape.value(x).chunks_exact(stride * cols).map(move |rows| &rows[(stride - 1) * cols..])
}

impl Hook {
    /// Takes in the active rows.
    fn read(&mut self, tape: &Tape) -> Result<(), SpectrumError> {
        self.meter.clear();
        if stride(tape, self.var) == 1 {
            return self.meter.push(tape.value(self.var));
        }
        rows(tape, self.var).try_for_each(|row| self.meter.push(row))
    }
}

/// The name of a reading of H̃ in the metrics.
pub fn key(set: &str, hook: &str, centring: Centring) -> String {
    reading(set, hook, centring, "normalised_entropy")
}

/// The name of any reading.
fn reading(set: &str, hook: &str, centring: Centring, what: &str) -> String {
    let centring = match centring {
        Centring::Centred => "centred",
        Centring::Uncentred => "uncentred",
    };
    format!("spectral/{set}/{hook}/{centring}/{what}")
}

impl Spectra {
    /// Meters for the hooks `at` of a model's tape.
    ///
    /// # Panics
    /// If the model has no such hook; the config's check knows them.
    pub fn new(tape: &Tape, at: &[String]) -> Spectra {
        let hook = |name: &String| {
            let var = tape.find(name).unwrap_or_else(|| panic!("no hook {name}"));
            let meter = SpectrumMeter::new(tape.shape(var).1);
            Hook { name: name.clone(), var, meter }
        };
        Spectra { hooks: at.iter().map(hook).collect() }
    }

    /// H̃ of the first hook, centred, over the active rows. Allocates nothing.
    ///
    /// # Errors
    /// If an activation is not finite.
    pub fn first(&mut self, tape: &Tape) -> Result<f64, SpectrumError> {
        let hook = &mut self.hooks[0];
        hook.read(tape)?;
        Ok(hook.meter.spectrum(Centring::Centred)?.normalised_entropy)
    }

    /// Every reading over the active rows, added to `log`.
    ///
    /// # Errors
    /// If an activation is not finite.
    pub fn all(
        &mut self,
        tape: &Tape,
        set: &str,
        log: &mut Vec<(String, f64)>,
    ) -> Result<(), SpectrumError> {
        for hook in &mut self.hooks {
            hook.read(tape)?;
            for centring in [Centring::Centred, Centring::Uncentred] {
                let spectrum = hook.meter.spectrum(centring)?;
                log.push((key(set, &hook.name, centring), spectrum.normalised_entropy));
                for (what, value) in [
                    ("effective_rank", spectrum.effective_rank),
                    ("participation_ratio", spectrum.participation_ratio),
                ] {
                    log.push((reading(set, &hook.name, centring, what), value));
                }
            }
        }
        Ok(())
    }

    /// The Fourier alignment of the first hook, centred, over the active rows, which have these answers
    /// modulo p; added to `log`. Comes after [`Spectra::all`] of the same rows.
    ///
    /// # Errors
    /// If an inverse iteration does not converge (not seen so far).
    pub fn fourier(
        &mut self,
        tape: &Tape,
        set: &str,
        answers: &[u32],
        p: usize,
        log: &mut Vec<(String, f64)>,
    ) -> Result<(), SpectrumError> {
        let hook = &mut self.hooks[0];
        let (values, vectors) = hook.meter.leading(Centring::Centred, LEADING)?;
        let dim = vectors.len() / values.len().max(1);
        let mut y = Vec::with_capacity(answers.len() * values.len());
        for row in rows(tape, hook.var) {
            let project =
                |v: &[f64]| v.iter().zip(row).map(|(v, &z)| v * f64::from(z)).sum::<f64>();
            y.extend(vectors.chunks_exact(dim.max(1)).map(project));
        }
        let alignment = alignment(&y, answers, p);
        log.push((reading(set, &hook.name, Centring::Centred, "fourier"), alignment));
        Ok(())
    }
}
