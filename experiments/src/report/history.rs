//! Reads `metrics.jsonl`: one JSON object a line, steps ascending, into one column per key.
//!   {"step":100,"train/acc":0.31,…}  →  columns["train/acc"] ∋ (100, 0.31)
//! The file is streamed, one line in memory at a time: a column costs 16 bytes a reading.

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The numbers that a run has logged, by key.
#[derive(Debug, Default)]
pub struct History {
    columns: BTreeMap<String, Vec<(u64, f64)>>,
    last_step: Option<u64>,
}

impl History {
    /// Reads the file. A last line that does not parse is what a killed run leaves behind and is
    /// ignored; `null` and everything else that is no number is skipped.
    ///
    /// # Errors
    /// If the file cannot be read, if a line other than the last is not a JSON object with an integer
    /// `step`, if steps do not ascend, or if there is no complete line.
    pub fn read(path: &Path) -> anyhow::Result<History> {
        let at = path.display();
        let file = File::open(path).with_context(|| format!("{at}: cannot be opened"))?;
        let mut lines = BufReader::new(file);
        let mut history = History::default();
        let mut torn = None;
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            let read = lines.read_until(b'\n', &mut bytes);
            if read.with_context(|| format!("{at}: cannot be read"))? == 0 {
                break;
            }
            if let Some(torn) = torn {
                bail!(
                    "{at}, line {torn}: expected a JSON object, and only the last line may be torn"
                );
            }
            let Ok(line) = serde_json::from_slice::<Map<String, Value>>(&bytes) else {
                torn = Some(number);
                continue;
            };
            history.push(line).with_context(|| format!("{at}, line {number}"))?;
        }
        if history.last_step.is_none() {
            bail!("{at}: holds no complete line; the run has not logged a step yet");
        }
        Ok(history)
    }

    fn push(&mut self, line: Map<String, Value>) -> anyhow::Result<()> {
        let Some(step) = line.get("step").and_then(Value::as_u64) else {
            bail!("expected a whole number under \"step\"");
        };
        if let Some(last) = self.last_step.filter(|&last| last >= step) {
            bail!("step {step} comes after step {last}; expected ascending steps");
        }
        self.last_step = Some(step);
        for (key, value) in line {
            let Some(value) = value.as_f64().filter(|_| key != "step") else { continue };
            self.columns.entry(key).or_default().push((step, value));
        }
        Ok(())
    }

    /// The readings under `key` as (step, value), ascending; empty if it was never logged.
    pub fn column(&self, key: &str) -> &[(u64, f64)] {
        self.columns.get(key).map_or(&[], Vec::as_slice)
    }

    /// Every key that holds a number, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }

    /// The last complete line's step.
    pub fn last_step(&self) -> u64 {
        self.last_step.unwrap_or(0)
    }

    /// The value logged under `key` at exactly `step`.
    pub fn at(&self, key: &str, step: u64) -> Option<f64> {
        let column = self.column(key);
        column.binary_search_by_key(&step, |&(s, _)| s).ok().map(|i| column[i].1)
    }

    /// The last value logged under `key`.
    pub fn last(&self, key: &str) -> Option<f64> {
        self.column(key).last().map(|&(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, name: &str) -> anyhow::Result<History> {
        let path =
            std::env::temp_dir().join(format!("plateau-history-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let history = History::read(&path);
        std::fs::remove_file(&path).unwrap();
        history
    }

    #[test]
    fn every_number_lands_in_the_column_of_its_key() {
        let text =
            "{\"step\":0,\"a\":1,\"b\":null,\"c\":[1],\"d\":\"x\"}\n{\"b\":2.5,\"step\":7}\n";
        let history = read(text, "columns").unwrap();
        assert_eq!(history.column("a"), [(0, 1.0)]);
        assert_eq!(history.column("b"), [(7, 2.5)]);
        assert_eq!(history.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (history.last_step(), history.at("b", 7), history.at("b", 0)),
            (7, Some(2.5), None)
        );
        assert!(history.column("never").is_empty());
    }

    #[test]
    fn a_torn_last_line_is_ignored_wherever_it_is_cut() {
        let whole = "{\"step\":0,\"a\":1}\n";
        let next = "{\"step\":1,\"a\":2}";
        for cut in 0..next.len() {
            let history = read(&format!("{whole}{}", &next[..cut]), "torn").unwrap();
            assert_eq!(history.column("a"), [(0, 1.0)], "cut after {cut} bytes");
        }
        assert_eq!(read(&format!("{whole}{next}"), "torn").unwrap().last_step(), 1);
    }

    #[test]
    fn anything_else_that_is_wrong_is_named_with_its_line() {
        for (text, sentence) in [
            ("{\"step\":0}\n{\"st\n{\"step\":2}\n", "line 2: expected a JSON object"),
            ("{\"step\":3}\n{\"step\":3}\n", "line 2: step 3 comes after step 3"),
            ("{\"step\":0}\n{\"a\":1}\n", "line 2: expected a whole number under \"step\""),
            ("{\"step\":0", "no complete line"),
            ("", "no complete line"),
        ] {
            let error = format!("{:#}", read(text, "wrong").unwrap_err());
            assert!(error.contains(sentence), "{error}");
        }
    }
}
