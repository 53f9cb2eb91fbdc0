//! `plateau forecast RUN`, and the same forecast while a run goes on.

use super::curve::{Curve, entropy_key};
use super::library::{Found, Subject, find};
use super::reference::{ENOUGH, FEWEST, Forecast};
use crate::cli::say;
use crate::config::Config;
use crate::report::history::History;
use crate::report::page::whole;
use crate::run::folder::read_config;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where `plateau study entropy` leaves its curves.
pub const LIBRARY: &str = "results/entropy";

/// Arguments of `plateau forecast`.
#[derive(Debug, Args)]
pub struct ForecastArgs {
    /// A run folder; the run may be going on.
    pub run: PathBuf,
    /// The folder of the reference curves, which `plateau study entropy` makes
    #[arg(long, value_name = "DIR", default_value = LIBRARY)]
    pub from: PathBuf,
    /// The study's group to take as reference, in place of the one that fits best
    #[arg(long)]
    pub group: Option<String>,
    /// Prints the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `plateau forecast --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    /// The run folder.
    pub run: String,
    /// Its last evaluation.
    pub step: u64,
    /// `no sign`, `forecast` or `grokked`.
    pub state: &'static str,
    /// The step at which it will grok, or has grokked; null without a sign.
    pub t_grok: Option<u64>,
    /// The interval of `t_grok`; null unless it is a forecast.
    pub interval: Option<[u64; 2]>,
    /// H̃ of the train probe there; null where it was not measured.
    pub entropy: Option<f64>,
    /// The groups of the study that the references are from.
    pub reference_groups: Vec<String>,
    /// The seeds of the references; none where none was needed.
    pub reference_seeds: Vec<u64>,
}

/// Reads a run and its references and prints when it will grok.
///
/// # Errors
/// A sentence, if the run has no evaluation yet or cannot be read, or there are too few references.
pub fn forecast_command(args: &ForecastArgs) -> Result<()> {
    let said = forecast_run(&args.run, &args.from, args.group.as_deref())?;
    match args.json {
        true => say(&(serde_json::to_string_pretty(&said)? + "\n")),
        false => say(&said.words()),
    }
}

fn forecast_run(run: &Path, from: &Path, group: Option<&str>) -> Result<Said> {
    let config = read_config(run)?;
    let metrics = run.join("metrics.jsonl");
    let curve = Curve::from_history(&History::read(&metrics)?, &config);
    let Some(last) = curve.len().checked_sub(1) else {
        bail!("{}: holds no evaluation, expected train/acc", metrics.display());
    };
    // A run that has grokked needs no reference.
    let found = match curve.milestones().t_grok {
        Some(_) => None,
        None => {
            let subject = Subject::new(&config, &curve);
            let found = find(from, &subject, group)?;
            Some(found.with_context(|| too_few(from, &subject, group))?)
        }
    };
    let forecast = match (&found, curve.milestones().t_grok) {
        (_, Some(step)) => Forecast::Grokked(step),
        (Some(found), None) => found.reference.forecast(&curve),
        (None, None) => Forecast::NoSign,
    };
    let (state, t_grok, interval) = match forecast {
        Forecast::NoSign => ("no sign", None, None),
        Forecast::Expected { t_grok, interval } => ("forecast", Some(t_grok), Some(interval)),
        Forecast::Grokked(step) => ("grokked", Some(step), None),
    };
    Ok(Said {
        run: run.display().to_string(),
        step: curve.step[last],
        state,
        t_grok,
        interval,
        entropy: Some(curve.entropy[last]).filter(|h| h.is_finite()),
        reference_seeds: found.as_ref().map_or(Vec::new(), |f| f.reference.seeds().to_vec()),
        reference_groups: found.map_or(Vec::new(), |found| found.groups),
    })
}

fn too_few(from: &Path, run: &Subject, group: Option<&str>) -> String {
    let group = group.map_or(String::new(), |name| format!(" in group {name}"));
    format!(
        "{}: fewer than {FEWEST} reference runs{group} of '{}' at train fraction {} with this model: \
         expected runs that have grokked, without intervention, with another seed than {}; they are \
         made by `plateau study entropy`",
        from.display(),
        run.op,
        run.train_fraction,
        run.seed
    )
}

impl Said {
    fn words(&self) -> String {
        let entropy = self.entropy.map_or(String::new(), |h| format!(", H̃ {h:.3}"));
        let mut text = format!("{}, step {}{entropy}\n", self.run, whole(self.step));
        text += &match (self.t_grok, self.interval) {
            (Some(t_grok), Some([lo, hi])) => {
                let forecast = Forecast::Expected { t_grok, interval: [lo, hi] };
                let holds = match self.reference_seeds.len() {
                    ..ENOUGH => "an interval from few runs",
                    ENOUGH.. => "an interval for 8 of 10 runs",
                };
                format!("{}, {holds}\n", words(&forecast))
            }
            (Some(step), None) => format!("{} at step {}\n", self.state, whole(step)),
            (None, _) => format!("{}: H̃ is as high as on a plateau\n", words(&Forecast::NoSign)),
        };
        if !self.reference_seeds.is_empty() {
            let groups = self.reference_groups.join(", ");
            text += &format!(
                "from {} runs of {groups} that have grokked\n",
                self.reference_seeds.len()
            );
        }
        text
    }
}

/// A forecast in a few words, for a progress line; empty once it has grokked.
fn words(forecast: &Forecast) -> String {
    match forecast {
        Forecast::NoSign => "no sign yet".to_string(),
        Forecast::Expected { t_grok, interval: [lo, hi] } => {
            format!("grok ≈ {} [{}, {}]", whole(*t_grok), whole(*lo), whole(*hi))
        }
        Forecast::Grokked(_) => String::new(),
    }
}

/// The forecast of a run that is going on, made anew at each evaluation. It reads and never tells
/// the training anything.
#[derive(Debug)]
pub struct Online {
    config: Config,
    entropy_key: String,
    from: PathBuf,
    curve: Curve,
    asked: bool,
    found: Option<Found>,
    words: String,
}

impl Online {
    /// Begins where the run stands: `metrics` is its file of metrics, which may not be there yet; `from`
    /// is where reference curves would be.
    pub fn new(config: &Config, metrics: &Path, from: &Path) -> Online {
        let references = from.join("runs.csv").exists();
        let history = references.then(|| History::read(metrics).ok()).flatten();
        let curve = history.map(|history| Curve::from_history(&history, config));
        Online {
            config: config.clone(),
            entropy_key: entropy_key(config),
            from: from.to_owned(),
            curve: curve.unwrap_or_else(|| Curve::new(config.seed)),
            asked: false,
            found: None,
            words: String::new(),
        }
    }

    /// Takes in an evaluation as it is logged. The first one, which knows ‖θ‖, looks for references:
    /// then, if there are any, it returns a sentence on which, or on why they cannot be used.
    pub fn observe(&mut self, step: u64, log: &[(String, f64)]) -> Option<String> {
        let reading = |key: &str| log.iter().find(|(k, _)| k == key).map_or(f64::NAN, |x| x.1);
        self.curve.push(step, &self.entropy_key, reading);
        let note = if self.asked { None } else { self.ask() };
        self.asked = true;
        if let Some(found) = &self.found {
            self.words = words(&found.reference.forecast(&self.curve));
        }
        note
    }

    fn ask(&mut self) -> Option<String> {
        if !self.from.join("runs.csv").exists() {
            return None;
        }
        match find(&self.from, &Subject::new(&self.config, &self.curve), None) {
            Ok(found) => self.found = found,
            Err(e) => return Some(format!("no forecast: {e:#}")),
        }
        let Found { reference, groups } = self.found.as_ref()?;
        let (runs, groups) = (reference.seeds().len(), groups.join(", "));
        Some(format!("forecast from {runs} runs of {groups} in {}", self.from.display()))
    }

    /// The forecast in a few words; empty without references, and once the run has grokked.
    pub fn words(&self) -> &str {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_short_to_read() {
        let forecast = Forecast::Expected { t_grok: 9400, interval: [8100, 11_900] };
        assert_eq!(words(&forecast), "grok ≈ 9,400 [8,100, 11,900]");
        assert_eq!(words(&Forecast::NoSign), "no sign yet");
        assert_eq!(words(&Forecast::Grokked(9400)), "");
    }
}
