//! A plan: one JSON object a line, one line a run, so that any engine with an array index can carry it out.
//!   {"index":3,"name":"x","hash":"5f0c…","seed":0,"labels":{"optim.lr":0.0003},"config":"schema = 1\n…"}
//! A line holds the whole experiment, so it needs no other file, and two machines make the same run of it.

use crate::config::Config;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// One run of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its place in the plan, from 0.
    pub index: usize,
    /// The experiment's name.
    pub name: String,
    /// The hash of its config.
    pub hash: String,
    /// Its seed.
    pub seed: u64,
    /// What tells it from the other lines: the swept fields, or a study's group.
    pub labels: Map<String, Value>,
    /// The whole config, as TOML.
    pub config: String,
}

impl Line {
    /// The line of a run.
    pub fn new(index: usize, config: &Config, labels: Map<String, Value>) -> Line {
        let (name, hash, seed) = (config.name.clone(), config.hash(), config.seed);
        Line { index, name, hash, seed, labels, config: config.to_toml() }
    }

    /// Its run folder under `out`.
    pub fn folder(&self, out: &Path) -> PathBuf {
        out.join(&self.name).join(format!("{}-s{}", self.hash, self.seed))
    }
}

/// The whole plan as text.
pub fn write(lines: &[Line]) -> String {
    let json = |line| serde_json::to_string(line).expect("strings and numbers are JSON") + "\n";
    lines.iter().map(json).collect()
}

/// Reads a plan.
///
/// # Errors
/// If the file cannot be read, or a line is not one of a plan or not in its place.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let at = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {at}"))?;
    let lines: Vec<Line> =
        text.lines().enumerate().map(|(i, line)| parse(line, i, path)).collect::<Result<_>>()?;
    if lines.is_empty() {
        bail!("{at}: holds no line");
    }
    Ok(lines)
}

/// The experiment of one line of a plan. Other lines are not looked at.
///
/// # Errors
/// If there is no such line, it is not one of a plan, or it describes another run than it says.
pub fn config(path: &Path, index: usize) -> Result<Config> {
    let at = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {at}"))?;
    let mut count = 0;
    for text in BufReader::new(file).lines() {
        let text = text.with_context(|| format!("cannot read {at}"))?;
        if count == index {
            let line = parse(&text, index, path)?;
            let origin = format!("{at}, line {}", index + 1);
            let config = Config::from_toml(&line.config, &origin)?;
            if (&config.name, config.hash(), config.seed) != (&line.name, line.hash, line.seed) {
                bail!(
                    "{origin}: its config is that of {}/{}: the line was edited, or made by another \
                     version of plateau",
                    config.name,
                    config.run_id()
                );
            }
            return Ok(config);
        }
        count += 1;
    }
    match count {
        0 => bail!("{at}: holds no line"),
        _ => bail!("{at}: there is no index {index}; it has 0 to {}", count - 1),
    }
}

fn parse(text: &str, index: usize, path: &Path) -> Result<Line> {
    let at = || format!("{}, line {}", path.display(), index + 1);
    let line: Line =
        serde_json::from_str(text).with_context(|| format!("{}: not a line of a plan", at()))?;
    if line.index != index {
        bail!("{}: has the index {}, expected {index}", at(), line.index);
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::preset;
    use crate::run::tests::scratch;

    fn lines() -> Vec<Line> {
        let smoke = Config::from_toml(preset("smoke").unwrap(), "smoke").unwrap();
        let line = |i: usize| {
            let config = Config { seed: 5 + i as u64, ..smoke.clone() };
            Line::new(i, &config, Map::from_iter([("seed".to_owned(), Value::from(5 + i))]))
        };
        (0..3).map(line).collect()
    }

    #[test]
    fn a_plan_reads_back_line_by_line() {
        let dir = scratch("plan-read");
        let path = dir.join("plan.jsonl");
        fs::write(&path, write(&lines())).unwrap();
        assert_eq!(read(&path).unwrap(), lines());
        let second = config(&path, 1).unwrap();
        assert_eq!(second.seed, 6);
        let folder = dir.join("smoke").join(second.run_id());
        assert_eq!(lines()[1].folder(&dir), folder);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let dir = scratch("plan-wrong");
        let path = dir.join("plan.jsonl");
        let text = write(&lines());
        let sentence = |text: &str, index: usize| {
            fs::write(&path, text).unwrap();
            let sentence = format!("{:#}", config(&path, index).unwrap_err());
            sentence.replace(&path.display().to_string(), "plan.jsonl")
        };
        assert_eq!(sentence(&text, 3), "plan.jsonl: there is no index 3; it has 0 to 2");
        assert_eq!(sentence("", 0), "plan.jsonl: holds no line");
        let torn = sentence(&text[..text.len() - 20], 2);
        assert!(torn.starts_with("plan.jsonl, line 3: not a line of a plan: EOF "), "{torn}");
        let moved = sentence(text.split_once('\n').unwrap().1, 0);
        assert_eq!(moved, "plan.jsonl, line 1: has the index 1, expected 0");
        let edited = sentence(&text.replace("lr = 0.001", "lr = 0.002"), 0);
        assert!(edited.starts_with("plan.jsonl, line 1: its config is that of smoke/"), "{edited}");
        fs::remove_dir_all(dir).unwrap();
    }
}
