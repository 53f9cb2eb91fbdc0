//! A study's page: what became of each claim, first at a glance, then in a table, then a section each with
//! its pictures; below them the runs.
//!   runs.csv, curves/  →  report.html, verdicts.json
//! Like a run's report it is one file that asks no network for anything. Its links lead into itself, to
//! the curves beside it, and to run folders where those are still there.

mod markdown;

pub use markdown::{verdicts_markdown, with_verdicts};

use super::chart::escape;
use super::figure::{Drawing, HEIGHT, columns};
use super::page::{figures, start, whole};
use crate::record::provenance::{self, Provenance};
use crate::record::{Results, Row};
use crate::run::write_whole;
use crate::stats::Estimate;
use crate::study::grade::{Evidence, Figure, Graded, Verdict, grade, show, write_verdicts};
use crate::study::plan::{Scale, plan};
use crate::study::{self, Study};
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// All points of all lines of a page: at some 20 bytes each it stays below 3 MB.
const POINTS: usize = 110_000;

/// Every verdict, best first.
const VERDICTS: [Verdict; 4] =
    [Verdict::Reproduced, Verdict::Partly, Verdict::NotReproduced, Verdict::NotTestable];

/// What a study's page shows.
pub struct Page<'a> {
    /// The heading.
    pub title: &'a str,
    /// What was studied, in a sentence.
    pub about: &'a str,
    /// How much of it was carried out: "laptop".
    pub scale: &'a str,
    /// With what the page was made: a name and a value each.
    pub made: &'a [(&'a str, String)],
    /// The claims.
    pub graded: &'a [Graded],
    /// The runs; groups are shown in the order of their first.
    pub rows: &'a [Row],
    /// Where the page finds a run's folder, if it is still there: a relative path.
    pub folder: &'a dyn Fn(&Row) -> Option<String>,
}

/// A verdict's class in the style sheet, and the sign that stands beside its colour.
fn class(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Reproduced => ("yes", "✓"),
        Verdict::Partly => ("partly", "◐"),
        Verdict::NotReproduced => ("no", "✗"),
        Verdict::NotTestable => ("open", "–"),
    }
}

/// The whole page.
pub fn html(page: &Page) -> String {
    let style = concat!(include_str!("figure.css"), include_str!("study.css"));
    let mut text = start(&escape(page.title), style);
    head(&mut text, page);
    verdicts(&mut text, page.graded);
    let all: Vec<&Figure> = page.graded.iter().flat_map(|claim| &claim.figures).collect();
    let columns = columns(&all, POINTS);
    for claim in page.graded {
        section(&mut text, claim, columns);
    }
    groups(&mut text, page);
    runs(&mut text, page);
    let _ = write!(
        text,
        "<script nonce=\"plateau\">\n{}</script>\n</html>\n",
        include_str!("study.js")
    );
    text
}

fn head(text: &mut String, page: &Page) {
    let _ = write!(
        text,
        "<header>\n<h1>{}</h1>\n<p class=\"muted\">{}</p>\n<p class=\"story\">{}</p>\n",
        escape(page.title),
        escape(page.about),
        escape(&story(page))
    );
    text.push_str("<ol class=\"strip\">\n");
    for claim in page.graded {
        let ((class, sign), name) = (class(claim.verdict), claim.verdict.name());
        let (id, claim) = (escape(claim.id), escape(claim.claim));
        let _ = writeln!(
            text,
            "<li><a class=\"{class}\" href=\"#{id}\" title=\"{claim}: {name}\">{id} \
             <span>{sign}</span></a></li>"
        );
    }
    text.push_str("</ol>\n<p class=\"counts\">");
    for verdict in VERDICTS {
        let ((class, sign), name) = (class(verdict), verdict.name());
        let count = page.graded.iter().filter(|claim| claim.verdict == verdict).count();
        let _ = write!(text, "<span class=\"verdict {class}\">{sign} {count} {name}</span> ");
    }
    text.push_str("</p>\n");
    if !page.made.is_empty() {
        text.push_str("<dl class=\"made\">\n");
        for (name, value) in page.made {
            let _ = writeln!(
                text,
                "<div><dt>{}</dt><dd><code>{}</code></dd></div>",
                escape(name),
                escape(value)
            );
        }
        text.push_str("</dl>\n");
    }
    text.push_str("</header>\n");
}

/// How many claims, runs, groups.
fn story(page: &Page) -> String {
    let plural = |n: usize, what: &str| {
        format!("{} {what}{}", whole(n as u64), if n == 1 { "" } else { "s" })
    };
    let undecided =
        match page.graded.iter().filter(|claim| claim.verdict == Verdict::NotTestable).count() {
            0 => String::new(),
            n => format!(", {n} of them without the runs that would decide"),
        };
    let grokked = page.rows.iter().filter(|row| row.t_grok.is_some()).count();
    format!(
        "{}{undecided}, graded by {} in {}, at {} scale. {} of the runs grokked.{}",
        plural(page.graded.len(), "claim"),
        plural(page.rows.len(), "run"),
        plural(by_group(page.rows).len(), "group"),
        page.scale,
        whole(grokked as u64),
        match page.scale {
            "smoke" =>
                " Miniatures that show that every part runs: they say nothing about the paper.",
            _ => "",
        }
    )
}

fn verdict(claim: &Graded) -> String {
    let (class, sign) = class(claim.verdict);
    format!("<span class=\"verdict {class}\">{sign} {}</span>", claim.verdict.name())
}

/// Words, or a dash where there are none.
fn words(text: &str) -> String {
    if text.trim().is_empty() {
        "<span class=\"muted\">–</span>".to_owned()
    } else {
        escape(text)
    }
}

/// The interval and the seeds behind our figures, as far as the words do not say them.
fn support(claim: &Graded) -> String {
    let mut said = Vec::new();
    if let (Some(value), Some([lo, hi]), false) =
        (claim.value, claim.interval, claim.measured.contains('['))
    {
        // Two digits of its width tell its ends apart.
        let decimals = (1.0 - (hi - lo).abs().max(1e-12).log10().floor()).clamp(0.0, 8.0) as usize;
        said.push(show(Some(Estimate { value, interval: Some([lo, hi]) }), decimals));
    }
    match claim.seeds {
        0 => {}
        1 => said.push("1\u{a0}seed".to_owned()),
        n => said.push(format!("{n}\u{a0}seeds")),
    }
    said.join(", ")
}

fn ours(claim: &Graded) -> String {
    let support = support(claim);
    if support.is_empty() {
        return words(&claim.measured);
    }
    format!("{} <span class=\"support\">({support})</span>", words(&claim.measured))
}

fn verdicts(text: &mut String, graded: &[Graded]) {
    text.push_str(
        "<section>\n<h2 id=\"verdicts\">Verdicts</h2>\n<table class=\"verdicts\">\n<thead><tr><th>claim</th>\
         <th>the paper</th><th>here</th><th>controls</th><th>verdict</th></tr></thead>\n<tbody>\n",
    );
    for claim in graded {
        let (id, words) = (escape(claim.id), escape(claim.claim));
        let _ = write!(text, "<tr><th scope=\"row\"><a href=\"#{id}\">{id}</a> {words}</th>");
        for (name, words, value) in [
            ("the paper", claim.paper, self::words(claim.paper)),
            ("here", &claim.measured, ours(claim)),
            ("controls", &claim.controls, self::words(&claim.controls)),
        ] {
            let none = if words.is_empty() { " class=\"none\"" } else { "" };
            let _ = write!(text, "<td{none} data-name=\"{name}\">{value}</td>");
        }
        let (verdict, why) = (verdict(claim), escape(&claim.why));
        let _ = writeln!(text, "<td data-name=\"verdict\">{verdict} {why}</td></tr>");
    }
    text.push_str("</tbody>\n</table>\n</section>\n");
}

fn section(text: &mut String, claim: &Graded, columns: usize) {
    let id = escape(claim.id);
    let facts = [
        ("the paper", claim.paper, words(claim.paper)),
        ("the rule", claim.rule, words(claim.rule)),
        ("here", &claim.measured, ours(claim)),
        ("controls", &claim.controls, words(&claim.controls)),
    ];
    let _ = write!(
        text,
        "<section class=\"claim\" id=\"{id}\">\n<h2><span class=\"muted\">{id}</span> {}</h2>\n\
         <p>{} {}</p>\n<dl class=\"facts\">\n",
        escape(claim.claim),
        verdict(claim),
        escape(&claim.why),
    );
    for (name, _, value) in facts.iter().filter(|(_, words, _)| !words.is_empty()) {
        let _ = writeln!(text, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    text.push_str("</dl>\n");
    for figure in &claim.figures {
        picture(text, figure, columns);
    }
    note(text, &claim.note);
    text.push_str("<p class=\"up\"><a href=\"#verdicts\">all verdicts</a></p>\n</section>\n");
}

/// A note: its lines, of which those that begin with a bar are rows of a table, the first of them its head.
fn note(text: &mut String, note: &str) {
    let (rows, lines): (Vec<&str>, Vec<&str>) =
        note.lines().partition(|line| line.starts_with('|'));
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let _ = writeln!(text, "<p>{}</p>", words(line));
    }
    let mut rows = rows.iter().filter(|row| !row.starts_with("|-")).map(|row| {
        let cells = row.trim_matches('|').split('|').map(|cell| escape(cell.trim()));
        cells.collect::<Vec<_>>()
    });
    if let Some(head) = rows.next() {
        let head: Vec<(&str, bool)> =
            head.iter().enumerate().map(|(i, name)| (name.as_str(), i > 1)).collect();
        table(text, &head);
        for row in rows {
            let cells = row.iter().enumerate().map(|(i, cell)| {
                let class = if i > 1 { " class=\"number\"" } else { "" };
                format!("<td{class}>{cell}</td>")
            });
            let _ = writeln!(text, "<tr>{}</tr>", cells.collect::<String>());
        }
        text.push_str("</tbody>\n</table></div>\n");
    }
}

fn picture(text: &mut String, figure: &Figure, columns: usize) {
    let title = escape(&figure.title);
    let Some(drawing) = Drawing::of(figure) else {
        let _ = writeln!(
            text,
            "<figure>\n<figcaption><span>{title} <span class=\"muted\">nothing to draw</span></span>\
             </figcaption>\n</figure>"
        );
        return;
    };
    let (head, roomy) = (drawing.head(), if drawing.roomy() { " roomy" } else { "" });
    let _ = write!(
        text,
        "<figure>\n<figcaption><span>{title}</span> <output aria-live=\"off\"></output></figcaption>\n\
         <svg class=\"head\" height=\"{head}\"></svg>\n\
         <svg class=\"plot{roomy}\" role=\"img\" height=\"{HEIGHT}\">{}</svg>\n<ul class=\"legend\">\n",
        drawing.draw(columns)
    );
    for (name, key) in drawing.names() {
        // Every name has an entry, in order: that is how the script finds its series.
        let hidden = if name.is_empty() { " hidden" } else { "" };
        let _ = writeln!(
            text,
            "<li{hidden}><svg width=\"22\" height=\"12\">{key}</svg> {}</li>",
            escape(name)
        );
    }
    for line in drawing.long_lines() {
        let _ = writeln!(
            text,
            "<li class=\"line\"><svg width=\"22\" height=\"12\"><line class=\"mark\" x2=\"22\" y1=\"6\" \
             y2=\"6\"/></svg> {}</li>",
            escape(&line.label)
        );
    }
    let _ = writeln!(
        text,
        "</ul>\n<script type=\"application/json\">{}</script>\n</figure>",
        drawing.data(columns)
    );
}

/// Rows by group, groups in the order of their first row.
fn by_group(rows: &[Row]) -> Vec<(&str, Vec<&Row>)> {
    let mut groups: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|(name, _)| *name == row.group) {
            Some((_, runs)) => runs.push(row),
            None => groups.push((&row.group, vec![row])),
        }
    }
    groups
}

fn table(text: &mut String, columns: &[(&str, bool)]) {
    text.push_str("<div class=\"wide\"><table>\n<thead><tr>");
    for (name, is_number) in columns {
        let class = if *is_number { " class=\"number\"" } else { "" };
        let _ = write!(text, "<th{class}>{name}</th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
}

fn groups(text: &mut String, page: &Page) {
    text.push_str("<section>\n<h2 id=\"groups\">Groups of runs</h2>\n");
    let columns = [
        ("group", false),
        ("task", false),
        ("intervention", false),
        ("seeds", true),
        ("grokked", true),
        ("T_memorise", true),
        ("T_grok", true),
    ];
    table(text, &columns);
    for (name, runs) in by_group(page.rows) {
        let first = runs[0];
        let grokked = runs.iter().filter(|row| row.t_grok.is_some()).count();
        let alpha = first.alpha.map_or(String::new(), |alpha| format!(", α = {alpha}"));
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\">{}</th><td>{} {}, {}</td><td>{}{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{grokked}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td></tr>",
            escape(name),
            escape(&first.task),
            escape(&first.op),
            escape(&data(first)),
            escape(&first.intervention),
            escape(&alpha),
            runs.len(),
            mean_and_range(runs.iter().filter_map(|row| row.t_memorise)),
            mean_and_range(runs.iter().filter_map(|row| row.t_grok)),
        );
    }
    text.push_str(
        "</tbody>\n</table></div>\n<p class=\"muted\">Steps: the mean of the runs that came so far, and \
         their range.</p>\n</section>\n",
    );
}

/// What a run was trained on, in words.
fn data(row: &Row) -> String {
    match (row.train, row.base) {
        (Some(train), Some(base)) => {
            format!("base {base}, {} examples, {}", whole(train), row.reading)
        }
        _ => {
            let share = figures(100.0 * row.train_fraction).replace(".0", "");
            format!("{share} % of the pairs")
        }
    }
}

/// `14,360 [12,100, 17,000]`.
fn mean_and_range(steps: impl Iterator<Item = u64>) -> String {
    let steps: Vec<u64> = steps.collect();
    let (Some(&least), Some(&most)) = (steps.iter().min(), steps.iter().max()) else {
        return "<span class=\"muted\">never</span>".to_owned();
    };
    let mean = steps.iter().sum::<u64>() as f64 / steps.len() as f64;
    format!("{} [{}, {}]", whole(mean.round() as u64), whole(least), whole(most))
}

fn runs(text: &mut String, page: &Page) {
    let _ = write!(
        text,
        "<section>\n<h2 id=\"runs\">Runs</h2>\n<p>The numbers: <a href=\"runs.csv\">runs.csv</a>, \
         <a href=\"verdicts.json\">verdicts.json</a>. A run's name leads to its curves.</p>\n\
         <details>\n<summary>All runs ({})</summary>\n",
        whole(page.rows.len() as u64)
    );
    let columns = [
        ("group", false),
        ("seed", true),
        ("run", false),
        ("steps", true),
        ("T_memorise", true),
        ("T_collapse", true),
        ("T_grok", true),
        ("H̃ at the start", true),
        ("at T_grok", true),
        ("at the end", true),
    ];
    table(text, &columns);
    for row in by_group(page.rows).iter().flat_map(|(_, runs)| runs) {
        let name = format!("{}-s{}", row.hash, row.seed);
        let folder = (page.folder)(row)
            .map_or(String::new(), |path| format!(" <a href=\"{}\">folder</a>", escape(&path)));
        let _ = write!(
            text,
            "<tr><td>{}</td><td class=\"number\">{}</td>\
             <td><a href=\"curves/{}.csv\"><code>{}</code></a>{folder}</td><td class=\"number\">{}</td>",
            escape(&row.group),
            row.seed,
            in_path(&name),
            escape(&name),
            whole(row.steps)
        );
        for step in [row.t_memorise, row.t_collapse, row.t_grok] {
            let step = step.map_or("–".to_owned(), whole);
            let _ = write!(text, "<td class=\"number\">{step}</td>");
        }
        for entropy in [row.entropy_init, row.entropy_at_grok, row.entropy_final] {
            let entropy = entropy.map_or("–".to_owned(), |h| format!("{h:.3}"));
            let _ = write!(text, "<td class=\"number\">{entropy}</td>");
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody>\n</table></div>\n</details>\n</section>\n");
}

/// A name as one part of a link's path: whatever is not a letter, a digit, `-`, `_` or `.` is escaped.
fn in_path(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    name.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// A study's name, its page's heading, and what was studied.
const HEADINGS: [(&str, &str, &str); 2] = [
    (
        "entropy",
        "Study E: does spectral entropy collapse foretell grokking?",
        "“Spectral Entropy Collapse as an Empirical Signature of Delayed Generalisation in Grokking”, \
     arXiv:2604.13123, claim by claim. Rules were written down before any run, and amended once, after a \
     review, when ten runs of addition and the controls had been seen: claims.rs of the study says what changed.",
    ),
    (
        "collatz",
        "Study C: does the encoder know the answer before the decoder can say it?",
        "“The long delay to arithmetic generalization”, \
         arXiv:2604.13082, claim by claim, by models of 1+1 layers. Claims about the plateau are graded in two \
         regimes, one with a plateau and one without. Rules were written down before the runs that they grade.",
    ),
];

/// The study and the scale whose results stand in a folder of this name.
fn of_folder(dir: &Path) -> Result<(Study, Scale)> {
    let at = dir.display();
    let whole = dir.canonicalize().with_context(|| format!("{at}: is not there"))?;
    let mut scales = study::ALL
        .into_iter()
        .flat_map(|study| Scale::ALL.into_iter().map(move |scale| (study, scale)));
    let known = scales.clone().map(|(study, scale)| study.folder(scale)).collect::<Vec<_>>();
    let named = scales.find(|(study, scale)| whole.ends_with(study.folder(*scale)));
    named.with_context(|| {
        format!("{at}: is not named as a study's results, which are {}", known.join(", "))
    })
}

/// The name of the study whose results stand in a folder.
///
/// # Errors
/// If the folder is not named as a study's results.
pub fn name(dir: &Path) -> Result<&'static str> {
    Ok(of_folder(dir)?.0.name)
}

/// Whether a folder holds the results of a study.
pub fn is_results(dir: &Path) -> bool {
    dir.join("runs.csv").is_file()
}

/// Grades a study's claims by the records in its folder.
///
/// # Errors
/// If the records cannot be read.
pub fn graded(dir: &Path) -> Result<Vec<Graded>> {
    let (study, scale) = of_folder(dir)?;
    // Rows of a config that the study no longer has would count a seed twice.
    let planned: HashSet<(String, u64)> =
        plan(&(study.groups)(scale))?.iter().map(|run| run.key()).collect();
    let wanted = |row: &Row| planned.contains(&(row.hash.clone(), row.seed));
    Ok(grade(study.claims, &Evidence::read(&Results::new(dir, study.files), wanted)?))
}

/// Writes `verdicts.json` and `report.html` beside a study's records, and returns the page's path.
///
/// # Errors
/// If the folder is not named as a study's, the records cannot be read, or a file cannot be written.
pub fn write(dir: &Path, graded: &[Graded]) -> Result<PathBuf> {
    let (study, scale) = of_folder(dir)?;
    let results = Results::new(dir, study.files);
    let mut rows = results.rows()?;
    let order: Vec<&str> = (study.groups)(scale).iter().map(|group| group.name).collect();
    rows.sort_by_key(|row| order.iter().position(|name| *name == row.group).unwrap_or(order.len()));
    let heading = HEADINGS.iter().find(|(name, _, _)| *name == study.name);
    let &(_, title, about) = heading.unwrap_or(&(study.name, study.name, ""));
    let dirty = if env!("PLATEAU_DIRTY") == "true" { ", changed since" } else { "" };
    let origins = provenance::read(dir)?;
    let mut made = vec![
        ("runs", format!("plateau study {} --scale {}", study.name, scale.name())),
        ("page", format!("plateau report results/{}", study.folder(scale))),
        ("page made at commit", format!("{}{dirty}", env!("PLATEAU_COMMIT"))),
    ];
    if !origins.is_empty() {
        made.push((
            "runs made at commit",
            counts(origins.iter().map(Provenance::build), rows.len()),
        ));
        made.push(("on", counts(origins.iter().map(|made| made.cpu.clone()), rows.len())));
    }
    let folders = run_folders(dir);
    let page = html(&Page {
        title,
        about,
        scale: scale.name(),
        made: &made,
        graded,
        rows: &rows,
        folder: &|row| {
            let name = format!("{}-s{}", row.hash, row.seed);
            folders.iter().find(|(run, _)| *run == name).map(|(_, path)| path.clone())
        },
    });
    write_verdicts(&results, graded)?;
    let path = dir.join("report.html");
    write_whole(&path, page.as_bytes())?;
    Ok(path)
}

/// How many of so many runs each value stands for, most first: `a (7 runs), b (1 run), not noted (2 runs)`.
fn counts(values: impl Iterator<Item = String>, runs: usize) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    counts.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    let noted: usize = counts.iter().map(|(_, count)| count).sum();
    if noted < runs {
        counts.push(("not noted".to_owned(), runs - noted));
    }
    let words = |(value, count): &(String, usize)| {
        format!("{value} ({count} run{})", if *count == 1 { "" } else { "s" })
    };
    counts.iter().map(words).collect::<Vec<_>>().join(", ")
}

/// The run folders in `runs` beside `results`: the name of each, and its path from a study's results.
fn run_folders(dir: &Path) -> Vec<(String, String)> {
    let list = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for experiment in list(dir.join("../../runs")) {
        for run in list(experiment.path()) {
            let [name, of] =
                [&run, &experiment].map(|f| f.file_name().to_string_lossy().into_owned());
            let path = format!("../../runs/{}/{}/", in_path(&of), in_path(&name));
            found.push((name, path));
        }
    }
    found
}

/// One picture of a study: `E3` is a claim's first, `E3.2` its second.
///
/// # Errors
/// If there is no such picture.
pub fn find<'a>(graded: &'a [Graded], name: &str) -> Result<&'a Figure> {
    let (id, number) = match name.split_once('.') {
        Some((id, number)) => (id, number.parse().ok()),
        None => (name, Some(1)),
    };
    let claim = graded.iter().find(|claim| claim.id.eq_ignore_ascii_case(id));
    let claim = claim.with_context(|| {
        let known: Vec<&str> = graded.iter().map(|claim| claim.id).collect();
        format!("there is no claim {id}; the claims are {}", known.join(", "))
    })?;
    let figure = number.and_then(|n: usize| claim.figures.get(n.checked_sub(1)?));
    figure.with_context(|| {
        format!("{} has {} figures; there is no {name}", claim.id, claim.figures.len())
    })
}

#[cfg(test)]
mod tests;
