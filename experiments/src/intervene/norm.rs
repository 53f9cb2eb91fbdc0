//! The norm of all parameters, held to that of another run.
//!
//! ```text
//! after the update of step s:   θ ← c·θ,  c = target(s + 1) / ‖θ‖
//! target(t) = the baseline's ‖θ‖ after t updates: as logged at its evaluations, linear between them,
//!             its last value beyond
//! ```
//! The moments of AdamW stay as they are. Metrics and checkpoints of step s describe what s updates and
//! their rescaling have left.

use crate::config::Config;
use crate::config::intervene::NormConfig;
use crate::observe::norms::norm;
use crate::report::history::History;
use crate::run::meta::Meta;
use anyhow::{Context, Result, bail};
use autograd::Tape;
use std::fs;
use std::path::{Path, PathBuf};

/// The rescaling of one run.
#[derive(Debug)]
pub struct NormRescaling {
    config: NormConfig,
    target: Option<Trajectory>,
}

impl NormRescaling {
    /// As the config has it; what it follows is still to be found.
    pub fn new(config: &NormConfig) -> NormRescaling {
        NormRescaling { config: config.clone(), target: None }
    }

    /// What it follows.
    pub fn follow(&mut self, target: Trajectory) {
        self.target = Some(target);
    }

    /// Gives the parameters their norm after the update of `step`; that norm, if it acts on the step.
    ///
    /// # Errors
    /// If it does not know what to follow.
    pub fn rescale(&self, tape: &mut Tape, step: u64) -> Result<Option<f64>> {
        if !(self.config.from..self.config.until).contains(&step) {
            return Ok(None);
        }
        let target = self.target.as_ref().context("intervene.norm: no baseline was read")?;
        let target = target.at(step + 1);
        let c = target / norm(tape);
        for i in 0..tape.params().len() {
            let param = tape.params()[i];
            kernels::norm::scale(tape.value_mut(param), c as f32);
        }
        Ok(Some(target))
    }
}

/// A run's ‖θ‖ over its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory(Vec<(u64, f64)>);

impl Trajectory {
    /// Of readings (step, ‖θ‖), ascending.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(readings: &[(u64, f64)]) -> Result<Trajectory> {
        if readings.is_empty() {
            bail!("it logs no norm");
        }
        Ok(Trajectory(readings.to_vec()))
    }

    /// The norm after `step` updates.
    pub fn at(&self, step: u64) -> f64 {
        let after = self.0.partition_point(|&(s, _)| s < step);
        match (after.checked_sub(1).map(|i| self.0[i]), self.0.get(after)) {
            (None, Some(&(_, first))) => first,
            (Some((_, last)), None) => last,
            (Some((s0, x0)), Some(&(s1, x1))) => {
                x0 + (x1 - x0) * ((step - s0) as f64 / (s1 - s0) as f64)
            }
            (None, None) => unreachable!("there is a reading"),
        }
    }
}

/// The norms of a baseline's run: of its folder below `runs`, or else of a recorded curve,
/// `<results>/*/curves/<run id>.csv`.
///
/// # Errors
/// If there is neither, or one that cannot be read, or the run is not finished.
pub fn find(baseline: &Config, runs: &Path, results: &Path) -> Result<Trajectory> {
    let id = baseline.run_id();
    let folder = runs.join(&baseline.name).join(&id);
    let metrics = folder.join("metrics.jsonl");
    let finished = metrics.exists() && Meta::read(&folder)?.is_some_and(|meta| meta.finished);
    if finished {
        let history = History::read(&metrics)?;
        let trajectory = Trajectory::new(history.column("norm"));
        return trajectory.with_context(|| metrics.display().to_string());
    }
    if let Some(curve) = recorded_curve(results, &id) {
        let text = fs::read_to_string(&curve)
            .with_context(|| format!("cannot read {}", curve.display()))?;
        return from_curve(&text).with_context(|| curve.display().to_string());
    }
    if metrics.exists() {
        bail!("the baseline is not finished; go on with: plateau resume {}", folder.display());
    }
    bail!(
        "the baseline's run is missing, {}, and so is {}/*/curves/{id}.csv; make it first: this experiment \
         without [intervene], under the name {:?}",
        folder.display(),
        results.display(),
        baseline.name
    )
}

/// `<results>/*/curves/<id>.csv`, the first in alphabetical order.
fn recorded_curve(results: &Path, id: &str) -> Option<PathBuf> {
    let studies = fs::read_dir(results).ok()?.flatten();
    studies
        .map(|study| study.path().join("curves").join(format!("{id}.csv")))
        .filter(|p| p.exists())
        .min()
}

/// The columns `step` and `norm` of a curve.
fn from_curve(text: &str) -> Result<Trajectory> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| {
        header.iter().position(|h| *h == name).with_context(|| format!("no column {name}"))
    };
    let (step, norm) = (column("step")?, column("norm")?);
    let reading = |(i, line): (usize, &str)| {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        let reading = field(step).parse().ok().zip(field(norm).parse().ok());
        reading.with_context(|| format!("line {}: expected a step and a norm", i + 2))
    };
    Trajectory::new(&lines.enumerate().map(reading).collect::<Result<Vec<_>>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trajectory_is_linear_between_readings_and_constant_beyond() {
        let t = Trajectory::new(&[(10, 4.0), (20, 2.0), (30, 5.0)]).unwrap();
        let at = [0, 10, 13, 20, 25, 30, 31, 1000].map(|step| t.at(step));
        assert_eq!(at, [4.0, 4.0, 3.4, 2.0, 3.5, 5.0, 5.0, 5.0]);
        assert!(Trajectory::new(&[]).is_err());
    }

    #[test]
    fn a_curve_gives_every_digit_of_its_norms() {
        let text = "step,train_loss,norm,entropy\n0,1.5,117.28459018475237,0.8\n100,,71.5,\n";
        let t = from_curve(text).unwrap();
        assert_eq!(t, Trajectory(vec![(0, 117.284_590_184_752_37), (100, 71.5)]));
        for (text, sentence) in [
            ("step,loss\n0,1\n", "no column norm"),
            ("step,norm\n0,1\n7,\n", "line 3: expected a step and a norm"),
            ("step,norm\n", "logs no norm"),
        ] {
            assert!(from_curve(text).unwrap_err().to_string().contains(sentence));
        }
    }
}
