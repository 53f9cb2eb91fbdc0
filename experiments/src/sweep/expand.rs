//! From an experiment file with a `[sweep]` table to the lines of a plan.
//!
//! ```toml
//! [sweep]                              # every combination, the last list varying fastest
//! "optim.lr" = [1e-3, 3e-4]            # a path as in --set, and its values
//! seed = [0, 1, 2]
//! ```

use super::line::Line;
use crate::config::Config;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::collections::HashMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Runs of a plan, at most.
const MAX_LINES: usize = 100_000;

/// A swept field: its path, and its values as they stand in the file.
struct Swept<'a> {
    path: String,
    values: Vec<&'a str>,
}

/// The lines of the plan that an experiment file asks for.
///
/// # Errors
/// If it is not an experiment file with a `[sweep]` table of lists, or a combination is no run.
pub fn expand(text: &str, origin: &str) -> Result<Vec<Line>> {
    let mut base: toml::Table = text.parse().with_context(|| origin.to_owned())?;
    if !base.remove("sweep").is_some_and(|sweep| sweep.is_table()) {
        bail!("{origin}: has no [sweep] table, such as\n[sweep]\nseed = [0, 1, 2]");
    }
    let swept = swept(text).with_context(|| format!("{origin}, [sweep]"))?;
    let base = base.to_string();
    // What is wrong without any change is said without one.
    Config::from_toml(&base, origin)?;

    let count = swept.iter().try_fold(1usize, |n, field| n.checked_mul(field.values.len()));
    let Some(count) = count.filter(|&count| count <= MAX_LINES) else {
        bail!("{origin}, [sweep]: more than {MAX_LINES} combinations");
    };
    let mut lines = Vec::new();
    let mut seen = HashMap::new();
    for index in 0..count {
        let (mut changes, mut rest) = (Vec::new(), index);
        for field in swept.iter().rev() {
            let value = field.values[rest % field.values.len()];
            rest /= field.values.len();
            changes.push((field.path.clone(), value.to_owned()));
        }
        changes.reverse();
        let config = Config::from_toml_with(&base, origin, &changes)
            .with_context(|| format!("{origin}, [sweep]"))?;
        if let Some(first) = seen.insert((config.name.clone(), config.run_id()), index) {
            bail!("{origin}, [sweep]: lines {first} and {index} are the same run");
        }
        let label = |(path, text): (String, String)| {
            let value: toml::Value = text.parse().expect("it stood in a TOML file");
            (path, serde_json::to_value(value).unwrap_or(Value::String(text)))
        };
        lines.push(Line::new(
            index,
            &config,
            changes.into_iter().map(label).collect::<Map<_, _>>(),
        ));
    }
    Ok(lines)
}

/// The fields of the `[sweep]` table, in the order of the file.
fn swept(text: &str) -> Result<Vec<Swept<'_>>> {
    let root = DeTable::parse(text)?;
    let Some(DeValue::Table(table)) = root.get_ref().get("sweep").map(Spanned::get_ref) else {
        bail!("expected a table");
    };
    let mut found = Vec::new();
    walk(table, "", text, &mut found)?;
    if found.is_empty() {
        bail!("names no field; expected lists, such as seed = [0, 1, 2]");
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, swept)| swept).collect())
}

/// Every list below a table, with the place of its key. A path may be one quoted key or several keys.
fn walk<'a>(
    table: &DeTable,
    prefix: &str,
    text: &'a str,
    found: &mut Vec<(usize, Swept<'a>)>,
) -> Result<()> {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => walk(inner, &format!("{path}."), text, found)?,
            DeValue::Array(items) if !items.is_empty() => {
                let values = items.iter().map(|item| &text[item.span()]).collect();
                found.push((key.span().start, Swept { path, values }));
            }
            DeValue::Array(_) => bail!("`{path}` is an empty list: there would be no run"),
            _ => bail!("`{path}` is not a list; write {path} = [{}]", &text[value.span()]),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::preset;

    fn lines(sweep: &str) -> Result<Vec<Line>> {
        expand(&format!("{}\n{sweep}", preset("smoke").unwrap()), "x.toml")
    }

    fn error(sweep: &str) -> String {
        format!("{:#}", lines(sweep).unwrap_err())
    }

    #[test]
    fn every_combination_comes_once_in_the_order_of_the_file() {
        let sweep = "[sweep]\nseed = [3, 1]\n\"optim.lr\" = [1e-3, 3e-4]\noptim.batch = [\n  32, # a comment\n  \"full\"\n]\n";
        let lines = lines(sweep).unwrap();
        let shown: Vec<String> =
            lines.iter().map(|line| serde_json::to_string(&line.labels).unwrap()).collect();
        assert_eq!(
            shown,
            [
                r#"{"seed":3,"optim.lr":0.001,"optim.batch":32}"#,
                r#"{"seed":3,"optim.lr":0.001,"optim.batch":"full"}"#,
                r#"{"seed":3,"optim.lr":0.0003,"optim.batch":32}"#,
                r#"{"seed":3,"optim.lr":0.0003,"optim.batch":"full"}"#,
                r#"{"seed":1,"optim.lr":0.001,"optim.batch":32}"#,
                r#"{"seed":1,"optim.lr":0.001,"optim.batch":"full"}"#,
                r#"{"seed":1,"optim.lr":0.0003,"optim.batch":32}"#,
                r#"{"seed":1,"optim.lr":0.0003,"optim.batch":"full"}"#,
            ]
        );
        let indices: Vec<usize> = lines.iter().map(|line| line.index).collect();
        assert_eq!(indices, (0..8).collect::<Vec<_>>());
        // A line is the experiment with these changes.
        let config = Config::from_toml(&lines[5].config, "line").unwrap();
        let own = |path: &str, value: &str| (path.to_owned(), value.to_owned());
        let changes = [own("seed", "1"), own("optim.batch", "full")];
        let smoke = Config::from_toml_with(preset("smoke").unwrap(), "smoke", &changes).unwrap();
        assert_eq!(config, smoke);
        assert_eq!((lines[5].seed, &lines[5].hash), (1, &smoke.hash()));
    }

    #[test]
    fn what_is_no_sweep_gets_a_sentence() {
        assert!(error("").starts_with("x.toml: has no [sweep] table"), "{}", error(""));
        assert_eq!(
            error("[sweep]\n\"optim.lrr\" = [1]"),
            "x.toml, [sweep]: no key `optim.lrr`: [optim] has batch, betas, eps, lr, no_decay, \
             replacement, schedule, warmup, weight_decay; did you mean `optim.lr`?"
        );
        assert_eq!(
            error("[sweep]\nseed = 3"),
            "x.toml, [sweep]: `seed` is not a list; write seed = [3]"
        );
        assert_eq!(
            error("[sweep]\nseed = []"),
            "x.toml, [sweep]: `seed` is an empty list: there would be no run"
        );
        assert_eq!(
            error("[sweep]\n"),
            "x.toml, [sweep]: names no field; expected lists, such as seed = [0, 1, 2]"
        );
        assert_eq!(
            error("[sweep]\nseed = [0, 1, 0]"),
            "x.toml, [sweep]: lines 0 and 2 are the same run"
        );
        let many = format!("[sweep]\nseed = {:?}\nsteps = {0:?}", (1..400).collect::<Vec<_>>());
        assert_eq!(error(&many), "x.toml, [sweep]: more than 100000 combinations");
        let value = error("[sweep]\n\"task.p\" = [13, 0]");
        assert!(value.contains("task.p = 0: a modulus is at least 2"), "{value}");
    }
}
