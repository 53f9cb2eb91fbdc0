//! Normalised spectral entropy of activations, H̃ = −Σ p ln p / ln d with p the normalised
//! eigenvalues of their covariance (arXiv:2604.13123, equation of H̃).
//!
//! A reading is named `spectral/<set>/<hook>/<centred|uncentred>/normalised_entropy`, where the set is
//! `batch` (the training step's own activations), `train` or `test` (the fixed probes).

use autograd::Var;
use kernels::spectrum::{Centring, SpectrumError, SpectrumMeter};
use models::Recorded;

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

impl Hook {
    /// Takes in the activations of the active examples at the last position.
    fn read(&mut self, model: &Recorded) -> Result<(), SpectrumError> {
        let (rows, cols) = model.tape.shape(self.var);
        let per_example = (rows / model.tape.examples()).max(1);
        self.meter.clear();
        if per_example == 1 {
            return self.meter.push(model.tape.value(self.var));
        }
        // In a deeper model the earlier blocks are computed at every position.
        for example in model.tape.value(self.var).chunks_exact(per_example * cols) {
            self.meter.push(&example[(per_example - 1) * cols..])?;
        }
        Ok(())
    }
}

/// The name of a reading in the metrics.
pub fn key(set: &str, hook: &str, centring: Centring) -> String {
    let centring = match centring {
        Centring::Centred => "centred",
        Centring::Uncentred => "uncentred",
    };
    format!("spectral/{set}/{hook}/{centring}/normalised_entropy")
}

impl Spectra {
    /// Meters for the hooks `at` of `model`.
    ///
    /// # Panics
    /// If the model has no such hook; the config's check knows them.
    pub fn new(model: &Recorded, at: &[String]) -> Spectra {
        let hook = |name: &String| {
            let var = model.tape.find(name).unwrap_or_else(|| panic!("no hook {name}"));
            let meter = SpectrumMeter::new(model.tape.shape(var).1);
            Hook { name: name.clone(), var, meter }
        };
        Spectra { hooks: at.iter().map(hook).collect() }
    }

    /// H̃ of the first hook, centred, over the active rows. Allocates nothing.
    ///
    /// # Errors
    /// If an activation is not finite.
    pub fn first(&mut self, model: &Recorded) -> Result<f64, SpectrumError> {
        let hook = &mut self.hooks[0];
        hook.read(model)?;
        Ok(hook.meter.spectrum(Centring::Centred)?.normalised_entropy)
    }

    /// Every reading over the active rows, added to `log`.
    ///
    /// # Errors
    /// If an activation is not finite.
    pub fn all(
        &mut self,
        model: &Recorded,
        set: &str,
        log: &mut Vec<(String, f64)>,
    ) -> Result<(), SpectrumError> {
        for hook in &mut self.hooks {
            hook.read(model)?;
            for centring in [Centring::Centred, Centring::Uncentred] {
                let entropy = hook.meter.spectrum(centring)?.normalised_entropy;
                log.push((key(set, &hook.name, centring), entropy));
            }
        }
        Ok(())
    }
}
