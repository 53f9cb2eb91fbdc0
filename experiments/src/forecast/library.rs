//! The reference curves of a study: `runs.csv` (a row a run) and `curves/<hash>-s<seed>.csv`, as
//! `plateau study entropy` leaves them in `results/entropy`.
//!
//! References of a run are runs that have grokked, without intervention, with another seed, the same
//! operation and train fraction, and the same ‖θ‖ before the first step, to 3 %: another model has
//! another. They share one config, seed apart: this very config if it is there; else the one whose run
//! of this seed began with exactly this ‖θ‖, that is, with the same weights; else the one with most seeds.
//! Controls are the runs of the same operation and model that had no rule to find, no decay or too little
//! data, and never grokked.

use super::curve::Curve;
use super::reference::{FEWEST, Reference};
use crate::config::{Config, TaskConfig};
use crate::record::{ENTROPY, Results, Row};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Interventions under which a run is not meant to grok.
pub const CONTROLS: [&str; 3] = ["weight_decay_0", "little_data", "shuffled_labels"];
/// ‖θ‖ of one model at its first step differs by less than this from seed to seed.
const SAME_MODEL: f64 = 0.03;

/// The run that a forecast is wanted for.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The config's hash.
    pub hash: String,
    /// The operation, as in the config: `add`, `compose`, ….
    pub op: String,
    /// Share of all pairs that is trained on.
    pub train_fraction: f64,
    /// The seed, which no reference may have.
    pub seed: u64,
    /// ‖θ‖ at step 0, if it is known.
    pub norm: Option<f64>,
}

impl Subject {
    /// The run of this config, which `curve` has seen.
    pub fn new(config: &Config, curve: &Curve) -> Subject {
        let op = match &config.task {
            TaskConfig::Modular(task) => toml::Value::try_from(task.op),
            TaskConfig::Permutation(task) => toml::Value::try_from(task.op),
            TaskConfig::Collatz(task) => toml::Value::try_from(task.op),
            TaskConfig::Gcd(_) => Ok("gcd".into()),
        };
        let op = op.ok().and_then(|op| Some(op.as_str()?.to_owned()));
        Subject {
            hash: config.hash(),
            op: op.expect("an operation is a word"),
            train_fraction: config.task.train_fraction(),
            seed: config.seed,
            norm: curve.norm.first().copied().filter(|_| curve.step.first() == Some(&0)),
        }
    }

    /// Whether a run of the same seed had the same ‖θ‖ before its first step, and so the same weights.
    fn began_like(&self, row: &Row) -> bool {
        let same = |(a, b): (f64, f64)| (a / b - 1.0).abs() < 1e-9;
        row.seed == self.seed && self.norm.zip(row.norm_init).is_some_and(same)
    }

    fn is_of_this_model(&self, row: &Row) -> bool {
        let same = |norm: f64, other: f64| (norm / other - 1.0).abs() < SAME_MODEL;
        row.op == self.op && self.norm.zip(row.norm_init).is_none_or(|(a, b)| same(a, b))
    }

    fn is_reference(&self, row: &Row) -> bool {
        self.is_of_this_model(row)
            && row.intervention == "none"
            && row.t_grok.is_some()
            && row.seed != self.seed
            && (row.train_fraction - self.train_fraction).abs() < 1e-9
    }

    fn is_control(&self, row: &Row) -> bool {
        self.is_of_this_model(row)
            && CONTROLS.contains(&row.intervention.as_str())
            && row.t_grok.is_none()
    }
}

/// The references of a run, and where they are from.
#[derive(Clone, Debug)]
pub struct Found {
    /// What they teach.
    pub reference: Reference,
    /// The study's groups that they belong to.
    pub groups: Vec<String>,
}

/// Finds the references of a run in the folder `from`, in one group of the study if it is named, and
/// learns from them. `None` if there are fewer than [`FEWEST`].
///
/// # Errors
/// If there is no row, a file cannot be read, or the curves determine no law.
pub fn find(from: &Path, run: &Subject, group: Option<&str>) -> Result<Option<Found>> {
    let results = Results::new(from, ENTROPY);
    let rows = results.rows()?;
    if rows.is_empty() {
        bail!(
            "{}: no reference curves; they are made by `plateau study entropy`",
            from.join("runs.csv").display()
        );
    }
    let wanted = |row: &&Row| run.is_reference(row) && group.is_none_or(|name| name == row.group);
    let candidates: Vec<&Row> = rows.iter().filter(wanted).collect();
    let seeds = |hash: &str| candidates.iter().filter(|row| row.hash == hash).count();
    let same_start = |hash: &str| rows.iter().any(|row| row.hash == hash && run.began_like(row));
    let nearness = |hash: &&str| (*hash == run.hash, same_start(hash), seeds(hash));
    // `rev`: of equals the first
    let hash = candidates.iter().map(|row| row.hash.as_str()).rev().max_by_key(nearness);
    let Some(hash) = hash.filter(|hash| seeds(hash) >= FEWEST) else { return Ok(None) };
    let mut references: Vec<&Row> = candidates.into_iter().filter(|row| row.hash == hash).collect();
    references.sort_by_key(|row| row.seed);
    let controls: Vec<&Row> = rows.iter().filter(|row| run.is_control(row)).collect();
    let read = |rows: &[&Row]| -> Result<Vec<Curve>> {
        let curve = |row: &&Row| {
            Ok(Curve::from_evaluations(row.seed, &results.curves(&row.hash, row.seed)?))
        };
        rows.iter().map(curve).collect()
    };
    let reference = Reference::fit(&read(&references)?, &read(&controls)?);
    let mut groups: Vec<String> = references.iter().map(|row| row.group.clone()).collect();
    groups.sort_unstable();
    groups.dedup();
    let reference = reference.with_context(|| {
        format!("{}: the curves of {} determine no law", from.display(), groups.join(", "))
    })?;
    Ok(Some(Found { reference, groups }))
}

#[cfg(test)]
mod tests {
    use super::super::curve::tests::{control, lawful, until, write_csv};
    use super::super::reference::Forecast;
    use super::*;
    use crate::run::tests::scratch;
    use std::fs;

    const HEADER: &str = "hash,group,task,op,seed,train_fraction,intervention,alpha,steps,\
        t_memorise,t_collapse,t_test_10,t_test_50,t_test_90,t_grok,entropy_init,entropy_at_grok,\
        entropy_final,norm_init,norm_final";

    fn row(
        hash: &str,
        group: &str,
        op: &str,
        seed: u64,
        kind: &str,
        t_grok: &str,
        norm: f64,
    ) -> String {
        format!("{hash},{group},modular,{op},{seed},0.2,{kind},,9000,300,,,,,{t_grok},,,,{norm},\n")
    }

    fn subject(hash: &str, norm: Option<f64>) -> Subject {
        Subject { hash: hash.into(), op: "add".into(), train_fraction: 0.2, seed: 2, norm }
    }

    /// Groups: `add` (seeds 0 to 4) and `add-more` (5) of one config, `twin` (0 to 6, nearly the same
    /// ‖θ‖), `mlp` (another), `mul`, a control, a mixed run.
    fn study(name: &str) -> std::path::PathBuf {
        let dir = scratch(name);
        fs::create_dir(dir.join("curves")).unwrap();
        let mut text = format!("{HEADER}\n");
        let mut add = |hash: &str, group: &str, op: &str, kind: &str, norm: f64, curve: &Curve| {
            let t_grok = curve.milestones().t_grok.map_or(String::new(), |t| t.to_string());
            text += &row(hash, group, op, curve.seed, kind, &t_grok, norm);
            write_csv(&dir.join(format!("curves/{hash}-s{}.csv", curve.seed)), curve);
        };
        for seed in 0..7 {
            let group = if seed < 5 { "add" } else { "add-more" };
            let norm = 117.0 + 0.1 * seed as f64;
            if seed < 6 {
                add("aa", group, "add", "none", norm, &lawful(seed, 5000 + 400 * seed));
            }
            add("tt", "twin", "add", "none", norm - 1.0, &lawful(seed, 2000 + 400 * seed));
            add("mm", "mul", "mul", "none", norm, &lawful(seed, 9000 + 400 * seed));
            add("pp", "mlp", "add", "none", 60.0, &lawful(seed, 3000 + 400 * seed));
        }
        add("cc", "shuffled", "add", "shuffled_labels", 117.0, &control(0, 0.77));
        add("xx", "mixing", "add", "mixing", 117.0, &lawful(0, 9900));
        fs::write(dir.join("runs.csv"), text).unwrap();
        dir
    }

    #[test]
    fn references_share_task_and_model_and_not_the_seed() {
        let dir = study("library");
        let of = |subject: &Subject, group| {
            let found = find(&dir, subject, group).unwrap().unwrap();
            (found.groups.join(" "), found.reference.seeds().to_vec())
        };
        let add = ("add add-more".to_string(), vec![0, 1, 3, 4, 5]);
        let twin = ("twin".to_string(), vec![0, 1, 3, 4, 5, 6]);
        assert_eq!(of(&subject("aa", None), None), add, "this very config");
        assert_eq!(of(&subject("zz", Some(117.2)), None), add, "the same weights at the start");
        assert_eq!(of(&subject("zz", Some(116.2)), None), twin, "the same, of the twin");
        assert_eq!(of(&subject("zz", Some(117.0)), None), twin, "the most seeds");
        assert_eq!(of(&subject("zz", Some(60.0)), None).0, "mlp", "another ‖θ‖, another model");
        assert_eq!(of(&subject("zz", None), Some("add")).1, [0, 1, 3, 4], "the named group");
        let mul = Subject { op: "mul".into(), ..subject("zz", Some(117.0)) };
        assert_eq!(of(&mul, None).0, "mul");
    }

    #[test]
    fn a_control_of_the_study_takes_part() {
        let dir = study("library-control");
        let run = until(&lawful(2, 5000), 4000); // H̃ .645
        let low = {
            let mut low = control(0, 0.7);
            low.entropy.fill(0.64);
            low
        };
        let say =
            || find(&dir, &subject("aa", None), None).unwrap().unwrap().reference.forecast(&run);
        assert!(matches!(say(), Forecast::Expected { .. }), "{:?}", say());
        write_csv(&dir.join("curves/cc-s0.csv"), &low);
        assert_eq!(say(), Forecast::NoSign);
    }

    #[test]
    fn what_is_missing_is_said() {
        let dir = study("library-errors");
        let add = subject("aa", None);
        let none = |subject: &Subject, group| {
            assert!(find(&dir, subject, group).unwrap().is_none(), "{subject:?} {group:?}");
        };
        none(&Subject { op: "div".into(), ..add.clone() }, None);
        none(&Subject { train_fraction: 0.5, ..add.clone() }, None);
        none(&Subject { norm: Some(80.0), ..add.clone() }, None);
        none(&add, Some("nine"));
        none(&add, Some("add-more")); // one run
        none(&add, Some("shuffled")); // controls
        let fails = |from: &Path, words: &[&str]| {
            let sentence = format!("{:#}", find(from, &add, None).unwrap_err());
            for word in words {
                assert!(sentence.contains(word), "expected {word:?} in: {sentence}");
            }
        };
        fails(&dir.join("none"), &["none/runs.csv", "plateau study entropy"]);
        fs::remove_file(dir.join("curves/aa-s0.csv")).unwrap();
        fails(&dir, &["curves/aa-s0.csv"]);
        fs::write(dir.join("runs.csv"), format!("{HEADER}\na,b\n")).unwrap();
        fails(&dir, &["runs.csv: line 2: 2 cells"]);
    }
}
