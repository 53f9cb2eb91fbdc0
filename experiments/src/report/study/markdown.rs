//! The verdicts as a table for a README, and the place where it goes.

use super::support;
use crate::study::grade::{Graded, Verdict};
use anyhow::{Result, bail};
use std::fmt::Write;

/// The verdicts as a table for a README, which needs no picture.
pub fn verdicts_markdown(graded: &[Graded]) -> String {
    let mut text =
        String::from("| | claim | the paper | here | verdict |\n|---|---|---|---|---|\n");
    for claim in graded {
        let support = support(claim);
        let here = match claim.measured.trim() {
            "" => "–".to_owned(),
            measured if support.is_empty() => cell(measured),
            measured => format!("{} ({})", cell(measured), cell(&support)),
        };
        let sign = match claim.verdict {
            Verdict::Reproduced => "🟩",
            Verdict::Partly => "🟨",
            Verdict::NotReproduced => "🟥",
            Verdict::NotTestable => "⬜",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {here} | {sign} **{}** {} |",
            cell(claim.id),
            cell(claim.claim),
            cell(claim.paper),
            claim.verdict.name(),
            cell(&claim.why)
        );
    }
    text
}

/// Text that stays text in a cell of a Markdown table.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' | '~' => safe.extend(['\\', c]),
            c => safe.push(c),
        }
    }
    safe
}

/// A text with the table between `<!-- verdicts NAME -->` and `<!-- end -->` in place of what stood there.
///
/// # Errors
/// If it has no such place.
pub fn with_verdicts(text: &str, study: &str, graded: &[Graded]) -> Result<String> {
    let (begin, end) = (format!("<!-- verdicts {study} -->"), "<!-- end -->");
    let place = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some((before, after))
    });
    let Some((before, after)) = place else {
        bail!("there is no place for the table: expected {begin} and, below it, {end}");
    };
    Ok(format!("{before}{begin}\n{}{end}{after}", verdicts_markdown(graded)))
}
