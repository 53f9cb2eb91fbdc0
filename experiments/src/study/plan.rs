//! What a study wants: groups of runs, each run a preset, a few changes and a seed.
//!
//! ```text
//! Group (a line of the study's table)  →  Wanted, one a seed  →  Planned: its config, its place in line
//! ```

use crate::config::Config;
use crate::presets::preset;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How much of a study is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    /// A miniature of every group, to see that every part runs: a minute or two.
    Smoke,
    /// Enough seeds to grade every claim, each run carried on until its end is clear: some hours.
    Laptop,
    /// The paper's counts of seeds and steps.
    Paper,
}

impl Scale {
    /// All of them.
    pub const ALL: [Scale; 3] = [Scale::Smoke, Scale::Laptop, Scale::Paper];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Smoke => "smoke",
            Scale::Laptop => "laptop",
            Scale::Paper => "paper",
        }
    }
}

/// Runs that differ in nothing but their seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name, in runs.csv too.
    pub name: &'static str,
    /// The claims that are graded with it.
    pub claims: Vec<&'static str>,
    /// What is done to these runs, in a word for runs.csv; "none" if nothing is.
    pub intervention: &'static str,
    /// The preset that is changed.
    pub preset: &'static str,
    /// Paths and values, as for `--set`.
    pub changes: Vec<(String, String)>,
    /// One run each.
    pub seeds: Range<u64>,
    /// Groups whose run of the same seed must come first: these runs read its trajectory or its checkpoints.
    /// In a change `{donor}` stands for that run's `<experiment>/<config hash>`, and `{redraw}` for a seed that
    /// is no run's, 101 and the run's own.
    pub needs: Vec<&'static str>,
}

/// One run that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The group it belongs to.
    pub group: &'static str,
    /// The preset that is changed.
    pub preset: &'static str,
    /// Paths and values, as for `--set`.
    pub changes: Vec<(String, String)>,
    /// The seed.
    pub seed: u64,
}

impl Group {
    /// Its runs, seeds ascending.
    pub fn wanted(&self) -> impl Iterator<Item = Wanted> + '_ {
        self.seeds.clone().map(|seed| Wanted {
            group: self.name,
            preset: self.preset,
            changes: self.changes.clone(),
            seed,
        })
    }
}

impl Wanted {
    /// The experiment: the preset with its changes, in order, and the seed.
    ///
    /// # Errors
    /// If there is no such preset, or a change names no field or gives it a value that no run can have.
    pub fn config(&self) -> Result<Config> {
        let of = || format!("group {}", self.group);
        let text = preset(self.preset)
            .with_context(|| format!("there is no preset {}", self.preset))
            .with_context(of)?;
        let mut changes = self.changes.clone();
        changes.push(("seed".to_owned(), self.seed.to_string()));
        let origin = format!("preset {}", self.preset);
        Config::from_toml_with(text, &origin, &changes).with_context(of)
    }
}

/// A run in its place in line.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The group it belongs to.
    pub group: &'static str,
    /// What is done to it, in a word.
    pub intervention: &'static str,
    /// The whole experiment.
    pub config: Config,
    /// Its hash, computed once.
    pub hash: String,
    /// The place in the plan of the run that must come first, if any.
    pub needs: Option<usize>,
}

impl Planned {
    /// Its name in sentences.
    pub fn label(&self) -> String {
        format!("{} seed {}", self.group, self.config.seed)
    }

    /// Its run folder under `out`.
    pub fn folder(&self, out: &Path) -> PathBuf {
        out.join(&self.config.name).join(self.config.run_id())
    }

    /// The checkpoints of other runs, below `out`, that it takes parts from.
    pub fn donors(&self, out: &Path) -> Vec<PathBuf> {
        let transplant = self.config.intervene.iter().flat_map(|i| &i.transplant).flatten();
        transplant.map(|(_, donor)| donor.checkpoint(out, self.config.seed)).collect()
    }

    /// What makes it the same run as another: hash and seed.
    pub fn key(&self) -> (String, u64) {
        (self.hash.clone(), self.config.seed)
    }
}

/// The changes of a line of a study's table, `path=value` with blanks between.
///
/// # Panics
/// If one has no `=`.
pub fn assignments(text: &str) -> Vec<(String, String)> {
    let assignment = |text: &str| {
        let (path, value) = text.split_once('=').expect("an assignment");
        (path.to_owned(), value.to_owned())
    };
    text.split_whitespace().map(assignment).collect()
}

/// Every run of these groups in turn. One that an earlier group has wanted already is not repeated.
///
/// # Errors
/// If a run's config cannot be made, or one that it needs comes after it.
pub fn plan(groups: &[Group]) -> Result<Vec<Planned>> {
    let mut plan: Vec<Planned> = Vec::new();
    let mut seen = HashSet::new();
    for group in groups {
        for mut wanted in group.wanted() {
            let at = plan
                .iter()
                .position(|run| run.config.seed == wanted.seed && group.needs.contains(&run.group));
            if at.is_none() && !group.needs.is_empty() {
                let (needs, seed) = (group.needs.join(" or "), wanted.seed);
                bail!("group {}: no run of {needs} with seed {seed} comes first", group.name);
            }
            let redraw = (101 + wanted.seed).to_string();
            for (_, value) in &mut wanted.changes {
                *value = value.replace("{redraw}", &redraw);
            }
            if let Some(donor) = at.map(|at: usize| &plan[at]) {
                let donor = format!("{}/{}", donor.config.name, donor.hash);
                for (_, value) in &mut wanted.changes {
                    *value = value.replace("{donor}", &donor);
                }
            }
            let config = wanted.config()?;
            let (group, intervention) = (group.name, group.intervention);
            let planned = Planned { group, intervention, hash: config.hash(), config, needs: at };
            if seen.insert(planned.key()) {
                plan.push(planned);
            }
        }
    }
    Ok(plan)
}

/// The groups of these names or that serve these claims (no name and no claim: all), in the table's order, with
/// every group that one of them needs.
///
/// # Errors
/// If there is no such claim or group; the sentence lists those that there are.
pub fn select(
    groups: Vec<Group>,
    all_claims: &[&str],
    claims: &[String],
    names: &[String],
) -> Result<Vec<Group>> {
    for claim in claims {
        if !all_claims.iter().any(|known| known.eq_ignore_ascii_case(claim)) {
            bail!("there is no claim {claim}; the claims are {}", all_claims.join(", "));
        }
    }
    for name in names {
        if !groups.iter().any(|group| group.name == name) {
            let known: Vec<&str> = groups.iter().map(|group| group.name).collect();
            bail!("there is no group {name}; the groups are {}", known.join(", "));
        }
    }
    if claims.is_empty() && names.is_empty() {
        return Ok(groups);
    }
    let serves = |group: &Group| {
        let asked = |known: &&str| claims.iter().any(|claim| known.eq_ignore_ascii_case(claim));
        names.iter().any(|name| name == group.name) || group.claims.iter().any(asked)
    };
    let mut chosen: HashSet<&str> = groups.iter().filter(|g| serves(g)).map(|g| g.name).collect();
    // What is needed stands before what needs it.
    for group in groups.iter().rev() {
        if chosen.contains(group.name) {
            chosen.extend(&group.needs);
        }
    }
    let chosen: HashSet<String> = chosen.into_iter().map(str::to_owned).collect();
    Ok(groups.into_iter().filter(|group| chosen.contains(group.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &'static str, claims: &[&'static str], seeds: Range<u64>) -> Group {
        Group {
            name,
            claims: claims.to_vec(),
            intervention: "none",
            preset: "smoke",
            changes: vec![("steps".to_owned(), "20".to_owned())],
            seeds,
            needs: Vec::new(),
        }
    }

    fn table() -> Vec<Group> {
        let changed = Group {
            needs: vec!["a", "b"],
            changes: vec![("optim.lr".to_owned(), "2e-3".to_owned())],
            ..group("c", &["X2"], 1..4)
        };
        vec![group("a", &["X1"], 0..2), group("b", &["X3"], 2..5), changed]
    }

    fn names(claims: &[&str], names: &[&str]) -> Result<Vec<&'static str>> {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let chosen = select(table(), &["X1", "X2", "X3"], &own(claims), &own(names))?;
        Ok(chosen.iter().map(|group| group.name).collect())
    }

    #[test]
    fn a_wanted_run_is_its_preset_with_the_changes_and_the_seed() {
        let wanted: Vec<Wanted> = group("a", &[], 3..5).wanted().collect();
        let config = wanted[1].config().unwrap();
        let smoke = Config::from_toml(preset("smoke").unwrap(), "smoke").unwrap();
        assert_eq!(config, Config { seed: 4, steps: 20, ..smoke });
    }

    #[test]
    fn a_run_that_cannot_be_made_names_its_group() {
        let mut wrong = group("a", &[], 0..1);
        wrong.changes = vec![("optim.lrr".to_owned(), "1".to_owned())];
        let sentence = format!("{:#}", plan(&[wrong]).unwrap_err());
        assert!(sentence.starts_with("group a: no key `optim.lrr`: "), "{sentence}");
    }

    #[test]
    fn each_run_stands_behind_the_one_of_its_seed_that_it_needs() {
        let plan = plan(&table()).unwrap();
        let order: Vec<String> = plan.iter().map(Planned::label).collect();
        let expected = ["a seed 0", "a seed 1", "b seed 2", "b seed 3", "b seed 4"];
        assert_eq!(order[..5], expected);
        assert_eq!(order[5..], ["c seed 1", "c seed 2", "c seed 3"]);
        let needs: Vec<Option<usize>> = plan.iter().map(|run| run.needs).collect();
        assert_eq!(needs[5..], [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn what_comes_too_late_to_be_needed_is_refused() {
        let mut table = table();
        table.remove(1);
        let sentence = plan(&table).unwrap_err().to_string();
        assert_eq!(sentence, "group c: no run of a or b with seed 2 comes first");
    }

    #[test]
    fn a_run_wanted_twice_is_planned_once() {
        let plan = plan(&[group("a", &[], 0..2), group("again", &[], 1..3)]).unwrap();
        let order: Vec<String> = plan.iter().map(Planned::label).collect();
        assert_eq!(order, ["a seed 0", "a seed 1", "again seed 2"]);
    }

    #[test]
    fn claims_and_names_pick_groups_with_those_they_need() {
        assert_eq!(names(&[], &[]).unwrap(), ["a", "b", "c"]);
        assert_eq!(names(&["x1"], &[]).unwrap(), ["a"]);
        assert_eq!(names(&["X2"], &[]).unwrap(), ["a", "b", "c"]);
        assert_eq!(names(&[], &["b"]).unwrap(), ["b"]);
    }

    #[test]
    fn what_there_is_not_is_named_beside_what_there_is() {
        let sentence =
            |claims: &[&str], groups: &[&str]| names(claims, groups).unwrap_err().to_string();
        assert_eq!(sentence(&["X9"], &[]), "there is no claim X9; the claims are X1, X2, X3");
        assert_eq!(sentence(&[], &["d"]), "there is no group d; the groups are a, b, c");
    }
}
