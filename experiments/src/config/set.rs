//! Changing one field of a config by its path: `set(&mut table, "optim.lr", "3e-4")`.
//!
//! A path names a field that is there, or an optional one, whose section it may begin; any other is a
//! mistake.

use super::ConfigError;
use super::intervene::{BY_PART, OPTIONAL};
use toml::{Table, Value};

/// Sets the field at a dotted path.
///
/// The value is read as TOML (`3e-4`, `true`, `[0.9, 0.98]`, `"full"`); a bare word (`full`) is a string.
///
/// # Errors
/// The path is not in the table (the sentence lists the keys that are, and the closest one), or the
/// value is neither TOML nor a bare word.
pub fn set(table: &mut Table, path: &str, value: &str) -> Result<(), ConfigError> {
    let value = read_value(path, value)?;
    let message = unknown(table, path);
    let of_part = BY_PART.iter().find_map(|table| {
        let part = path.strip_prefix(table)?.strip_prefix('.')?;
        (!part.is_empty()).then_some((*table, part))
    });
    let (parents, key) = of_part.or_else(|| path.rsplit_once('.')).unwrap_or(("", path));
    let optional = of_part.is_some() || OPTIONAL.contains(&path);
    let mut parent = parents.split('.').filter(|p| !p.is_empty()).try_fold(&mut *table, |t, p| {
        if optional && !t.contains_key(p) {
            t.insert(p.to_owned(), Value::Table(Table::new()));
        }
        t.get_mut(p).and_then(Value::as_table_mut)
    });
    if let Some(parent) = parent.as_mut().filter(|parent| optional && !parent.contains_key(key)) {
        parent.insert(key.to_owned(), value);
        return Ok(());
    }
    match parent.and_then(|t| t.get_mut(key)) {
        Some(Value::Table(inner)) => Err(ConfigError::Set(format!(
            "`{path}` is a table: set one of its keys, {}",
            keys(inner)
        ))),
        Some(field) => {
            *field = value;
            Ok(())
        }
        None => Err(ConfigError::Set(message)),
    }
}

/// Splits `--set`'s argument, `path=value`.
///
/// # Errors
/// There is no `=`, or nothing before it.
pub fn split_assignment(text: &str) -> Result<(String, String), ConfigError> {
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => {
            Ok((path.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(ConfigError::Set(format!("`{text}` is not an assignment such as optim.lr=3e-4"))),
    }
}

fn read_value(path: &str, text: &str) -> Result<Value, ConfigError> {
    if let Ok(value) = text.parse::<Value>() {
        return Ok(value);
    }
    let bare = |c: char| c.is_alphanumeric() || "_-+=./@ ".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        return Ok(Value::String(text.to_owned()));
    }
    Err(ConfigError::Set(format!("`{path}`: cannot read the value `{text}`")))
}

/// The sentence for a path that is not in the table.
fn unknown(table: &Table, path: &str) -> String {
    // The deepest table that the path reaches, and its own path.
    let (mut at, mut reached) = (table, Vec::new());
    for part in path.split('.') {
        match at.get(part) {
            Some(Value::Table(inner)) => (at, _) = (inner, reached.push(part)),
            _ => break,
        }
    }
    let place = if reached.is_empty() {
        "the config".to_owned()
    } else {
        format!("[{}]", reached.join("."))
    };
    let closest = match closest(table, path) {
        Some(closest) => format!("; did you mean `{closest}`?"),
        None => String::new(),
    };
    format!("no key `{path}`: {place} has {}{closest}", keys(at))
}

fn keys(table: &Table) -> String {
    table.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The existing path that is closest: one that ends in the same key, or one within a few typos.
fn closest(table: &Table, path: &str) -> Option<String> {
    let mut paths = Vec::new();
    collect(table, "", &mut paths);
    paths.extend(OPTIONAL.iter().map(|path| path.to_string()));
    let last = |p: &str| p.rsplit('.').next().unwrap_or(p).to_owned();
    if let Some(same) = paths.iter().find(|p| last(p) == last(path)) {
        return Some(same.clone());
    }
    let (distance, best) =
        paths.into_iter().map(|p| (edits(&p, path).min(edits(&last(&p), path)), p)).min()?;
    (distance <= 1 + last(path).len() / 4).then_some(best)
}

/// Every path to a field, in order.
fn collect(table: &Table, prefix: &str, paths: &mut Vec<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => collect(inner, &path, paths),
            _ => paths.push(path),
        }
    }
}

/// Levenshtein's distance: the fewest insertions, deletions and replacements from a to b.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        "seed = 0\nname = \"x\"\n[optim]\nlr = 1e-3\nbatch = 512\nweight_decay = 1.0\n"
            .parse()
            .unwrap()
    }

    fn error(path: &str, value: &str) -> String {
        set(&mut table(), path, value).unwrap_err().to_string()
    }

    #[test]
    fn a_value_is_toml_and_a_bare_word_is_a_string() {
        let mut t = table();
        for (path, value) in
            [("optim.lr", "3e-4"), ("optim.batch", "full"), ("seed", "7"), ("name", "\"a b\"")]
        {
            set(&mut t, path, value).unwrap();
        }
        assert_eq!(t["optim"]["lr"].as_float(), Some(3e-4));
        assert_eq!(t["optim"]["batch"].as_str(), Some("full"));
        assert_eq!(t["seed"].as_integer(), Some(7));
        assert_eq!(t["name"].as_str(), Some("a b"));
    }

    #[test]
    fn an_unknown_path_names_the_keys_and_the_closest() {
        assert_eq!(
            error("optim.weigth_decay", "0"),
            "no key `optim.weigth_decay`: [optim] has batch, lr, weight_decay; \
             did you mean `optim.weight_decay`?"
        );
        assert_eq!(
            error("lr", "0"),
            "no key `lr`: the config has name, optim, seed; did you mean `optim.lr`?"
        );
        assert_eq!(
            error("optim.momentum", "0"),
            "no key `optim.momentum`: [optim] has batch, lr, weight_decay"
        );
        assert_eq!(error("", "0"), "no key ``: the config has name, optim, seed");
        assert_eq!(error("seed.x", "0"), "no key `seed.x`: the config has name, optim, seed");
    }

    #[test]
    fn a_table_cannot_be_replaced() {
        assert_eq!(
            error("optim", "3"),
            "`optim` is a table: set one of its keys, batch, lr, weight_decay"
        );
    }

    #[test]
    fn a_value_that_cannot_be_read_is_refused() {
        assert_eq!(error("optim.lr", "[1, "), "`optim.lr`: cannot read the value `[1, `");
        assert_eq!(error("optim.lr", ""), "`optim.lr`: cannot read the value ``");
    }

    #[test]
    fn an_assignment_needs_an_equals_sign() {
        assert_eq!(
            split_assignment("model.tokens=ab=").unwrap(),
            ("model.tokens".to_owned(), "ab=".to_owned())
        );
        assert!(split_assignment("lr").is_err());
        assert!(split_assignment("=3").is_err());
    }

    #[test]
    fn edits_are_levenshteins() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("lr", "lr"), 0);
    }
}
