//! The hash that names a run's folder: twelve hexadecimal digits over everything that its result
//! depends on, the seed apart.
//!
//! ```text
//! text = one line `path=value` per field, sorted; numbers in their shortest exact form
//! hash = the upper 48 bits of mix(fnv1a(text))
//! ```
//!
//! Left out: `seed` (it stands beside the hash in the folder's name), `name` and `figure` (words), and
//! `checkpoint` (when a run is saved does not change it). `steps` counts: a cosine schedule depends on
//! it, and a folder's metrics end where it says; so a longer run is another folder.

use super::Config;
use crate::seed::{fnv1a, mix};
use toml::Value;

impl Config {
    /// Twelve hexadecimal digits that two configs share if they give the same results, seed by seed.
    pub fn hash(&self) -> String {
        format!("{:012x}", mix(fnv1a(self.canonical().as_bytes())) >> 16)
    }

    /// The text that is hashed.
    fn canonical(&self) -> String {
        let mut root = toml::Table::try_from(self).expect("a config holds only what TOML can say");
        for key in ["seed", "name", "figure", "checkpoint"] {
            root.remove(key);
        }
        let mut lines = Vec::new();
        write("", &Value::Table(root), &mut lines);
        lines.sort();
        lines.concat()
    }
}

fn write(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                write(&format!("{path}.{key}"), value, lines);
            }
        }
        Value::Array(items) => {
            lines.push(format!("{path}.len={}\n", items.len()));
            for (i, value) in items.iter().enumerate() {
                write(&format!("{path}.{i}"), value, lines);
            }
        }
        Value::String(s) => lines.push(format!("{path}={s:?}\n")),
        Value::Integer(i) => lines.push(format!("{path}={i}\n")),
        Value::Float(x) => lines.push(format!("{path}={x:?}\n")),
        Value::Boolean(b) => lines.push(format!("{path}={b}\n")),
        Value::Datetime(t) => lines.push(format!("{path}={t}\n")),
    }
}
