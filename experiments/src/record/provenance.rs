//! Who made a row, where and how: provenance.jsonl beside runs.csv, one object a line.
//!
//! Rows and curves are the same bytes whoever makes them; this file is what may differ, and what a sceptic
//! asks for first. It follows from a run folder's meta.json. A row that is older than the file has no line.

use super::Row;
use crate::run::meta::Meta;
use crate::run::{RunError, write_whole};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The file's name.
const FILE: &str = "provenance.jsonl";

/// How one row came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Of the config, seed apart.
    pub hash: String,
    /// The seed.
    pub seed: u64,
    /// The commit that plateau was built from, or "unknown".
    pub commit: String,
    /// Whether its sources differed from that commit.
    pub dirty: bool,
    /// The compiler.
    pub rustc: String,
    /// The CPU.
    pub cpu: String,
    /// The widest SIMD that was compiled in.
    pub simd: String,
    /// The command line.
    pub command: Vec<String>,
    /// When the last process to write the run began: UTC, RFC 3339.
    pub started: String,
}

impl Provenance {
    /// That of a run folder, whose row this is.
    ///
    /// # Errors
    /// If the folder has no meta.json that can be read.
    pub fn read(dir: &Path, row: &Row) -> Result<Provenance> {
        let meta = Meta::read(dir)?.with_context(|| format!("{}: no meta.json", dir.display()))?;
        let Meta { commit, dirty, rustc, cpu, simd, command, started, .. } = meta;
        let (hash, seed) = (row.hash.clone(), row.seed);
        Ok(Provenance { hash, seed, commit, dirty, rustc, cpu, simd, command, started })
    }

    /// The commit, with what its sources were changed by, if they were.
    pub fn build(&self) -> String {
        format!("{}{}", self.commit, if self.dirty { ", changed" } else { "" })
    }
}

/// Every line of a study's folder; none where there is no file.
///
/// # Errors
/// If the file is there but cannot be read.
pub fn read(results: &Path) -> Result<Vec<Provenance>, RunError> {
    let path = results.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(RunError::io("read", &path))?,
    };
    let line = |(i, line)| {
        serde_json::from_str(line)
            .map_err(|e| RunError::content(&path, format!("line {}: {e}", i + 1)))
    };
    text.lines().enumerate().map(line).collect()
}

/// Adds a line, in place of an earlier one of the same hash and seed; lines are in their order.
///
/// # Errors
/// If the file cannot be read or written.
pub(super) fn add(results: &Path, made: &Provenance) -> Result<(), RunError> {
    let mut all = read(results)?;
    all.retain(|other| (&other.hash, other.seed) != (&made.hash, made.seed));
    all.push(made.clone());
    all.sort_by(|a, b| (&a.hash, a.seed).cmp(&(&b.hash, b.seed)));
    let line = |made| serde_json::to_string(made).expect("strings and numbers are JSON") + "\n";
    write_whole(&results.join(FILE), all.iter().map(line).collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::scratch;

    #[test]
    fn the_last_to_make_a_run_is_named_and_lines_are_in_order() {
        let dir = scratch("provenance");
        let made = |hash: &str, seed, commit: &str| Provenance {
            hash: hash.to_owned(),
            seed,
            commit: commit.to_owned(),
            dirty: false,
            rustc: "rustc 1".to_owned(),
            cpu: "a CPU, with commas \"and quotes\"".to_owned(),
            simd: "avx2".to_owned(),
            command: vec!["plateau".to_owned(), "study".to_owned()],
            started: "2026-01-01T00:00:00Z".to_owned(),
        };
        assert_eq!(read(&dir).unwrap(), []);
        for (hash, seed, commit) in [("b", 1, "x"), ("b", 0, "x"), ("a", 7, "x"), ("b", 1, "y")] {
            add(&dir, &made(hash, seed, commit)).unwrap();
        }
        assert_eq!(read(&dir).unwrap(), [made("a", 7, "x"), made("b", 0, "x"), made("b", 1, "y")]);
        fs::write(dir.join(FILE), "{}\n").unwrap();
        let said = read(&dir).unwrap_err().to_string();
        assert!(said.contains("provenance.jsonl") && said.contains("line 1: missing"), "{said}");
        fs::remove_dir_all(dir).unwrap();
    }
}
