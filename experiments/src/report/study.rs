//! A study's page: what became of each claim, first at a glance, then in a table, then a section each with
//! its pictures; below them the runs.
//!   runs.csv, curves/  →  report.html, verdicts.json
//! Like a run's report it is one file that asks no network for anything. Its links lead into itself, to
//! the curves beside it, and to run folders where those are still there.

use super::chart::escape;
use super::figure::{Drawing, HEIGHT, columns};
use super::page::{figures, start, whole};
use crate::run::write_whole;
use crate::stats::Estimate;
use crate::study::grade::{Evidence, Figure, Graded, Verdict, grade, show, write_verdicts};
use crate::study::plan::Scale;
use crate::study::record::{Results, Row};
use crate::study::{Study, entropy};
use anyhow::{Context, Result, bail};
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
    let grokked = page.rows.iter().filter(|row| row.t_grok.is_some()).count();
    format!(
        "{}, graded by {} in {}, at {} scale. {} of the runs grokked.",
        plural(page.graded.len(), "claim"),
        plural(page.rows.len(), "run"),
        plural(by_group(page.rows).len(), "group"),
        page.scale,
        whole(grokked as u64),
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
        ("the rule, decided beforehand", claim.rule, words(claim.rule)),
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
    text.push_str("<p class=\"up\"><a href=\"#verdicts\">all verdicts</a></p>\n</section>\n");
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
            "<tr><th scope=\"row\">{}</th><td>{} {}, {} % of the pairs</td><td>{}{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{grokked}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td></tr>",
            escape(name),
            escape(&first.task),
            escape(&first.op),
            escape(&figures(100.0 * first.train_fraction).replace(".0", "")),
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

/// A study's name, its page's heading, and what was studied.
const HEADINGS: [(&str, &str, &str); 1] = [(
    "entropy",
    "Study E: does spectral entropy collapse foretell grokking?",
    "“Spectral Entropy Collapse as an Empirical Signature of Delayed Generalisation in Grokking”, \
     arXiv:2604.13123, claim by claim.",
)];

/// The study and the scale whose results stand in a folder of this name.
fn of_folder(dir: &Path) -> Result<(Study, Scale)> {
    let at = dir.display();
    let whole = dir.canonicalize().with_context(|| format!("{at}: is not there"))?;
    let mut scales = Scale::ALL.into_iter().map(|scale| (entropy::ENTROPY, scale));
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
    let (study, _) = of_folder(dir)?;
    Ok(grade(study.claims, &Evidence::read(&Results::new(dir))?))
}

/// Writes `verdicts.json` and `report.html` beside a study's records, and returns the page's path.
///
/// # Errors
/// If the folder is not named as a study's, the records cannot be read, or a file cannot be written.
pub fn write(dir: &Path, graded: &[Graded]) -> Result<PathBuf> {
    let (study, scale) = of_folder(dir)?;
    let results = Results::new(dir);
    let mut rows = results.rows()?;
    let order: Vec<&str> = (study.groups)(scale).iter().map(|group| group.name).collect();
    rows.sort_by_key(|row| order.iter().position(|name| *name == row.group).unwrap_or(order.len()));
    let heading = HEADINGS.iter().find(|(name, _, _)| *name == study.name);
    let &(_, title, about) = heading.unwrap_or(&(study.name, study.name, ""));
    let dirty = if env!("PLATEAU_DIRTY") == "true" { ", changed since" } else { "" };
    let made = [
        ("runs", format!("plateau study {} --scale {}", study.name, scale.name())),
        ("page", format!("plateau report {}", dir.display())),
        ("commit", format!("{}{dirty}", env!("PLATEAU_COMMIT"))),
    ];
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
mod tests {
    use super::*;
    use crate::report::figure_svg;
    use crate::seed::Seed;
    use crate::study::grade::{Line, Mark, Series};
    use crate::study::record::Record;
    use rand::{Rng, RngExt};

    const EVIL: &str = "</script><script>alert('1')</script> & \"q\" | *b* <!-- -->";

    fn normal(rng: &mut impl Rng) -> f64 {
        (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
    }

    /// Accuracy and entropy of a made-up run that groks at `t_grok`, 300 evaluations each.
    fn curves(seed: u64, t_grok: f64) -> [Vec<[f64; 2]>; 3] {
        let mut rng = Seed(seed).stream("made up", t_grok as u64);
        let mut noise = move |size: f64| size * normal(&mut rng);
        let steps: Vec<f64> = (0..300).map(|i| 100.0 * f64::from(i)).collect();
        let jump = |step: f64, at: f64, width: f64| 1.0 / (1.0 + (-(step - at) / width).exp());
        let of = |value: &mut dyn FnMut(f64) -> f64| steps.iter().map(|&s| [s, value(s)]).collect();
        [
            of(&mut |s| (jump(s, t_grok - 900.0, 320.0) + noise(0.008)).clamp(0.0, 1.0)),
            of(&mut |s| {
                0.81 - 0.1 * s / 3e4 - 0.24 * jump(s, t_grok - 1_200.0, 700.0) + noise(0.006)
            }),
            of(&mut |s| 18.0 + 100.0 * (-s / 1_800.0).exp() + noise(0.3)),
        ]
    }

    fn series(name: &str, seed: u64, mark: Mark, points: Vec<[f64; 2]>) -> Series {
        let ends = points.iter().map(|[_, y]| [0.8 * y, 1.25 * y]).collect();
        Series { name: name.into(), mark, points, ends, label: format!("{name}, seed {seed}") }
    }

    fn figure(
        title: &str,
        axes: [&'static str; 2],
        series: Vec<Series>,
        lines: &[(&str, f64, bool)],
    ) -> Figure {
        let line = |&(label, at, horizontal): &(&str, f64, bool)| Line {
            label: label.into(),
            at,
            horizontal,
        };
        let lines = lines.iter().map(line).collect();
        Figure { title: title.into(), axes, log: [false; 2], series, lines }
    }

    const GROUPS: [(&str, &str, u64, f64); 22] = [
        ("add", "none", 10, 7_200.0),
        ("no-decay", "weight_decay_0", 3, f64::INFINITY),
        ("little-data", "little_data", 3, f64::INFINITY),
        ("shuffled", "shuffled_labels", 3, f64::INFINITY),
        ("mixing-0.3", "mixing", 10, 12_800.0),
        ("sham-0.3", "sham", 10, 11_900.0),
        ("add-more", "none", 20, 7_300.0),
        ("norm-matched", "mixing+norm", 30, 15_000.0),
        ("mixing-0.1", "mixing", 10, 8_300.0),
        ("sham-0.1", "sham", 10, 8_200.0),
        ("mixing-0.5", "mixing", 10, 20_800.0),
        ("sham-0.5", "sham", 10, 19_000.0),
        ("twin", "none", 10, 9_000.0),
        ("twin-mixing", "mixing", 10, 14_000.0),
        ("twin-matched", "mixing+norm", 10, 15_500.0),
        ("sub", "none", 5, 11_000.0),
        ("mul", "none", 5, 10_400.0),
        ("s5-10", "none", 10, 4_400.0),
        ("s5-40", "none", 3, 1_400.0),
        ("init-nanda", "none", 3, 5_200.0),
        ("mlp-p41", "none", 3, f64::INFINITY),
        ("mlp", "none", 3, 3_000.0),
    ];

    fn t_grok(group: usize, seed: u64) -> f64 {
        let mut rng = Seed(seed).stream("t_grok", group as u64);
        (GROUPS[group].3 * (1.0 + 0.12 * normal(&mut rng)) / 100.0).round() * 100.0
    }

    fn rows() -> Vec<Row> {
        let row = |(group, &(name, intervention, seeds, _)): (usize, &(&str, &str, u64, f64))| {
            let of = move |seed: u64| {
                let t = t_grok(group, seed);
                let grok = t.is_finite().then_some(t as u64);
                Row {
                    hash: format!("{:012x}", 0x5eed_1234_0000_u64 + 7_919 * group as u64),
                    group: name.into(),
                    task: "modular".into(),
                    op: "add".into(),
                    seed,
                    train_fraction: 0.2,
                    intervention: intervention.into(),
                    alpha: name.split_once("-0.").map(|(_, a)| format!("0.{a}").parse().unwrap()),
                    steps: grok.map_or(30_000, |t| t + 10_000),
                    t_memorise: Some(300 + 100 * (seed % 3)),
                    t_collapse: grok.map(|t| t - 1_100),
                    t_test_10: grok,
                    t_test_50: grok,
                    t_test_90: grok,
                    t_grok: grok,
                    entropy_init: Some(0.853),
                    entropy_at_grok: grok.map(|_| 0.547),
                    entropy_final: Some(0.481),
                    norm_init: Some(117.2),
                    norm_final: Some(18.4),
                }
            };
            (0..seeds).map(of).collect::<Vec<Row>>()
        };
        GROUPS.iter().enumerate().flat_map(row).collect()
    }

    /// The curve `which` of every run of some groups.
    fn drawn(groups: &[usize], which: usize) -> Vec<Series> {
        let of = |&group: &usize| {
            let (name, _, seeds, _) = GROUPS[group];
            (0..seeds).map(move |seed| {
                let points = curves(seed, t_grok(group, seed).min(9e9))[which].clone();
                series(name, seed, Mark::Line, points)
            })
        };
        groups.iter().flat_map(of).collect()
    }

    /// Sixteen claims with pictures of every kind.
    fn claims() -> Vec<Graded> {
        let text: [(&str, &str, &str, &str, &str, &str, Verdict); 16] = [
            (
                "E1",
                "Training has two phases: the norm expands, then the entropy collapses.",
                "norm rises in phase I, then plateaus while H̃ falls (no numbers)",
                "‖θ‖ falls from 117 to 71 in phase I in 10 of 10 [0.69, 1.00]; from the small initialisation it rises in 3 of 3 [0.29, 1.00]",
                "the same without weight decay",
                "The order depends on the initialisation: the norm expands only from the small one.",
                Verdict::Partly,
            ),
            (
                "E2",
                "Grokking happens at a stable threshold of H̃.",
                "0.609, CI [0.595, 0.624], n = 10; add 0.605, mul 0.589, sub 0.589",
                "0.547 [0.531, 0.563]; with the threshold of the other seeds H̃ crosses it 210 [150, 280] steps before T_grok",
                "shuffled labels: crosses in 3 of 3",
                "The threshold is stable over seeds and another one than the paper's, and a control crosses it, too.",
                Verdict::Partly,
            ),
            (
                "E3",
                "The collapse of entropy comes before grokking.",
                "10 of 10, mean lead 1,020 [890, 1,140]",
                "10 of 10 [0.69, 1.00], mean lead 1,110 [980, 1,230]; against test accuracy 0.5: −240 [−310, −170]",
                "false alarms in 2 of 3 runs with shuffled labels",
                "It leads T_grok as printed, and lags the moment at which half of the test pairs are right.",
                Verdict::Reproduced,
            ),
            (
                "E4",
                "T_grok is about 14,000 steps.",
                "14,360 [12,140, 17,100]; add 14,040, mul 21,560, sub 21,560",
                "add 7,210 [6,730, 7,660], mul 10,400, sub 11,000",
                "",
                "Half of the paper's time; the ratio between operations agrees.",
                Verdict::NotReproduced,
            ),
            (
                "E5",
                "Preventing the collapse delays grokking.",
                "+5,020 steps, Mann–Whitney p 0.044, d 0.70, 10 of 10 still grok",
                "+5,600 steps [4,900, 6,300], p 0.0002, d 2.9",
                "sham of the same size: +4,700 [4,000, 5,400]",
                "Noise of the same size delays just as long.",
                Verdict::Partly,
            ),
            (
                "E6",
                "It is not the norm: with the norm held to the baseline's, mixing still delays grokking.",
                "+8,304 steps, p 5e-5, d 1.55, 28 of 30 grok by 50,000",
                "+7,800 steps [7,100, 8,500], p < 0.0001; 30 of 30 [0.88, 1.00]",
                "twin without LayerNorm: +6,500 [5,600, 7,300]",
                "It holds here and on the twin whose norm LayerNorm does not undo.",
                Verdict::Reproduced,
            ),
            (
                "E7",
                "A power law forecasts the time that remains.",
                "C₁ 2.45e5, γ 1.65, R² 0.543; leave-one-out error 3.2 %",
                "R² 0.31 [0.22, 0.40]; error 41 % at half of the time",
                "always the mean of other seeds: 12 %",
                "Nobody needs it: the mean of the other seeds forecasts better at every distance.",
                Verdict::NotReproduced,
            ),
            (
                "E8",
                "The gap of H̃ is the best predictor of the time that remains.",
                "R² 0.507; no other above 0.38",
                "R² 0.29; test loss 0.71",
                "",
                "Test loss predicts better.",
                Verdict::NotReproduced,
            ),
            (
                "E9",
                "S5 behaves alike.",
                "10 of 10 grok at 10 % of the data, T_grok 4,380 [3,820, 5,040], H̃* 0.655; collapse first in 5 of 10",
                "10 of 10 [0.69, 1.00], 4,420 [4,100, 4,730]",
                "40 %: T_grok 1,400",
                "Every figure agrees.",
                Verdict::Reproduced,
            ),
            (
                "E10",
                "MLPs collapse without grokking.",
                "p = 41: H̃ 0.76 → 0.15, test ≈ 0 for 80,000 steps",
                "H̃ 0.78 → 0.22, test accuracy 0.03",
                "an MLP known to grok collapses and groks in 3 of 3",
                "Collapse without grokking is seen; it is not a property of MLPs.",
                Verdict::Partly,
            ),
            (
                "E11",
                "The collapse is coupled to Fourier alignment.",
                "per-seed correlation −0.82 (−0.86 … −0.76), 5 seeds",
                "−0.88 [−0.91, −0.84]",
                "",
                "As printed, and a little stronger.",
                Verdict::Reproduced,
            ),
            (
                "E12",
                "Entropy does not rebound after grokking.",
                "slope −3.6e-5 per step over ~1,000 steps",
                "−1.2e-7 [−3.1e-7, 0.4e-7] per step over 10,000 steps",
                "",
                "It stays where it is.",
                Verdict::Reproduced,
            ),
            (
                "E13",
                "The norm alone does not explain H̃.",
                "Pearson −0.248 pooled",
                "",
                "",
                "The runs at fixed norm are missing.",
                Verdict::NotTestable,
            ),
            (
                "E14",
                "The probe does not matter.",
                "train v test probe r 0.998, H̃* differs by 0.0076",
                "r 0.9991",
                "",
                "Both probes tell the same.",
                Verdict::Reproduced,
            ),
            (
                "E15",
                "Measuring is cheap.",
                "< 1 % of training time",
                "9.4 % at every step; 0.1 % at every hundredth",
                "",
                "At the paper's spacing it is.",
                Verdict::Reproduced,
            ),
            (
                "E16",
                "Stopping early saves compute.",
                "“86 %” in one place, ≈ 7 % in another",
                "",
                "",
                "No rule of the paper says when to stop.",
                Verdict::NotTestable,
            ),
        ];
        let lead = |group: usize| {
            let points =
                (0..10).map(|seed| [seed as f64, 900.0 + 60.0 * t_grok(group, seed) / 1e3]);
            points.collect::<Vec<_>>()
        };
        let pictures = |id: &str| match id {
            "E1" => vec![
                figure(
                    "Weight norm from two initialisations",
                    ["step", "‖θ‖"],
                    drawn(&[0, 19], 2),
                    &[("end of phase I", 600.0, false)],
                ),
                figure(
                    "Norm against entropy",
                    ["‖θ‖", "H̃"],
                    drawn(&[0], 2)
                        .into_iter()
                        .zip(drawn(&[0], 1))
                        .map(|(mut a, b)| {
                            for (p, q) in a.points.iter_mut().zip(&b.points) {
                                *p = [p[1], q[1]];
                            }
                            a
                        })
                        .collect(),
                    &[],
                ),
            ],
            "E2" => vec![figure(
                "H̃ of ten seeds, addition, centred, train probe",
                ["step", "H̃"],
                drawn(&[0], 1),
                &[
                    ("the paper's 0.609", 0.609, true),
                    ("ours 0.547", 0.547, true),
                    ("leave one out 0.549", 0.549, true),
                ],
            )],
            "E3" => vec![
                figure(
                    "Accuracy and entropy",
                    ["step", "test accuracy, H̃"],
                    [
                        drawn(&[0], 0),
                        drawn(&[0], 1)
                            .into_iter()
                            .map(|s| Series { name: "H̃".into(), ..s })
                            .collect(),
                    ]
                    .concat(),
                    &[
                        ("mean T_collapse 6,100", 6_100.0, false),
                        ("mean T_grok 7,200", 7_200.0, false),
                        ("test accuracy 0.5, mean over ten seeds", 6_300.0, false),
                    ],
                ),
                figure(
                    "Lead of the collapse, seed by seed",
                    ["seed", "steps"],
                    vec![
                        series("against test 0.99", 0, Mark::Interval, lead(0)),
                        series(
                            "against test 0.50",
                            0,
                            Mark::Dots,
                            lead(16).into_iter().map(|[x, y]| [x, y - 1_700.0]).collect(),
                        ),
                    ],
                    &[("the paper's mean lead, 1,020", 1_020.0, true), ("none", 0.0, true)],
                ),
            ],
            "E5" => {
                let alphas = [0.0, 0.1, 0.3, 0.5];
                let of = |name: &str, groups: [usize; 4]| {
                    let points = alphas
                        .iter()
                        .zip(groups)
                        .map(|(&a, g)| [a + if name == "sham" { 0.008 } else { 0.0 }, GROUPS[g].3]);
                    let mut s = series(name, 0, Mark::Interval, points.collect());
                    s.ends = s.points.iter().map(|p| [p[1] - 700.0, p[1] + 800.0]).collect();
                    s
                };
                vec![
                    figure(
                        "T_grok against the strength of the mixing",
                        ["α", "T_grok (steps)"],
                        vec![of("mixing", [0, 8, 4, 10]), of("sham", [0, 9, 5, 11])],
                        &[],
                    ),
                    figure("H̃ under each", ["step", "H̃"], drawn(&[0, 4, 5, 8, 9, 10], 1), &[]),
                ]
            }
            "E6" => vec![figure(
                "H̃ with the norm held",
                ["step", "H̃"],
                drawn(&[0, 4, 7], 1),
                &[("T_grok of the baseline", 7_200.0, false)],
            )],
            "E7" => {
                let error = |name: &str, a: f64| {
                    series(
                        name,
                        0,
                        Mark::Line,
                        (1..60)
                            .map(|i| {
                                let x = 200.0 * f64::from(i);
                                [x, a * (0.02 + x / 2e4)]
                            })
                            .collect(),
                    )
                };
                let mut f = figure(
                    "Error against the steps that remain",
                    ["steps remaining", "median relative error"],
                    vec![
                        error("power law", 1.0),
                        error("always now", 0.8),
                        error("mean of other seeds", 0.3),
                        error("test loss", 0.4),
                        error("train loss", 0.9),
                        error("norm", 0.7),
                    ],
                    &[("the paper's 3.2 %", 0.032, true)],
                );
                f.log = [true, true];
                vec![f]
            }
            "E8" => {
                let mut rng = Seed(3).stream("scatter", 0);
                let mut cloud = |name: &str, k: f64| {
                    series(
                        name,
                        0,
                        Mark::Dots,
                        (0..400)
                            .map(|_| {
                                let x = rng.random::<f64>() * 0.25;
                                [x, 14_000.0 * (x / 0.25).powf(k) + 900.0 * normal(&mut rng)]
                            })
                            .collect(),
                    )
                };
                vec![figure(
                    "Steps remaining against the gap",
                    ["H̃ − H̃*", "steps remaining"],
                    vec![cloud("H̃ gap", 1.65), cloud("test loss", 0.8)],
                    &[("0", 0.0, true)],
                )]
            }
            "E9" => vec![figure("H̃ of S5", ["step", "H̃"], drawn(&[17, 18], 1), &[])],
            "E10" => vec![figure("H̃ of two MLPs", ["step", "H̃"], drawn(&[20, 21], 1), &[])],
            "E12" => vec![figure(
                "All groups",
                ["step", "H̃"],
                drawn(&[0, 1, 2, 3, 12, 15, 16, 17, 18, 19, 20, 21], 1),
                &[],
            )],
            "E13" => vec![figure(
                "Nothing yet",
                ["x", "y"],
                vec![series("a", 0, Mark::Line, vec![])],
                &[],
            )],
            "E14" => vec![figure(
                "One value",
                ["step", "r"],
                vec![series("add", 0, Mark::Dots, vec![[5.0, 0.9991]])],
                &[],
            )],
            _ => vec![],
        };
        text.map(|(id, claim, paper, measured, controls, why, verdict)| Graded {
            id,
            claim,
            paper,
            measured: measured.into(),
            value: (id == "E14").then_some(0.9991),
            interval: (id == "E14").then_some([0.9987, 0.9994]),
            seeds: if measured.is_empty() { 0 } else { 10 },
            controls: controls.into(),
            verdict,
            why: why.into(),
            rule: "Reproduced if the interval of the mean meets the paper's and the controls show nothing of the kind; partly if one of the two fails; not reproduced otherwise.",
            figures: pictures(id),
        }).into()
    }

    fn page(graded: &[Graded], rows: &[Row]) -> String {
        html(&Page {
            title: "Study E: does spectral entropy collapse foretell grokking?",
            about: HEADINGS[0].2,
            scale: "laptop",
            made: &[
                ("runs", "plateau study entropy --scale laptop".into()),
                ("page", "plateau report results/entropy".into()),
                ("commit", "c6e2e3f0a1b2c3d4e5f60718293a4b5c6d7e8f90".into()),
            ],
            graded,
            rows,
            folder: &|row| (row.seed == 0).then(|| format!("../../runs/{}/", row.group)),
        })
    }

    #[test]
    fn every_claim_is_in_the_strip_the_table_and_a_section_of_its_own() {
        let (graded, rows) = (claims(), rows());
        let page = page(&graded, &rows);
        for claim in &graded {
            let id = claim.id;
            assert_eq!(page.matches(&format!("href=\"#{id}\"")).count(), 2, "{id}");
            assert_eq!(
                page.matches(&format!("<section class=\"claim\" id=\"{id}\">")).count(),
                1,
                "{id}"
            );
            assert!(page.matches(claim.verdict.name()).count() >= 3, "in words, too");
            for text in [claim.paper, &claim.measured, &claim.why, claim.rule] {
                assert!(page.contains(&escape(text)), "{id}: {text}");
            }
        }
        for sentence in [
            "16 claims, graded by 191 runs in 22 groups, at laptop scale. 179 of the runs grokked.",
            "✓ 7 reproduced",
            "✗ 3 not reproduced",
            "All runs (191)",
            "(0.99910 [0.99870, 0.99940], 10\u{a0}seeds)",
        ] {
            assert!(page.contains(sentence), "missing: {sentence}");
        }
        let figures: usize = graded.iter().map(|claim| claim.figures.len()).sum();
        assert_eq!(page.matches("<figure>").count(), figures);
        assert_eq!(page.matches("class=\"plot").count(), figures - 1, "one has nothing to draw");
    }

    #[test]
    fn links_lead_into_the_page_and_to_what_stands_beside_it() {
        let page = page(&claims(), &rows());
        let targets: Vec<&str> =
            page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        for target in &targets {
            match target.strip_prefix('#') {
                Some(id) => assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}"),
                None => assert!(
                    ["curves/", "../../runs/", "runs.csv", "verdicts.json"]
                        .iter()
                        .any(|p| target.starts_with(p)),
                    "{target}"
                ),
            }
        }
        assert_eq!(targets.iter().filter(|t| t.starts_with("curves/")).count(), 191);
        assert_eq!(targets.iter().filter(|t| t.starts_with("../../runs/")).count(), 22);
    }

    #[test]
    fn the_page_asks_no_network_for_anything_and_carries_no_inline_style() {
        let page = page(&claims(), &rows());
        for outside in
            ["http:", "https:", "src=", "url(", "@import", "fetch(", "style=\"", " onclick"]
        {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("content=\"default-src 'none';"), "and tells the browser so");
    }

    #[test]
    fn what_the_script_reads_is_json_with_the_series_that_are_drawn() {
        let page = page(&claims(), &rows());
        let mut read = 0;
        for figure in page.split("<figure>").skip(1) {
            let Some((_, json)) = figure.split_once("<script type=\"application/json\">") else {
                continue;
            };
            let json: serde_json::Value =
                serde_json::from_str(json.split("</script>").next().unwrap()).unwrap();
            let (series, names) =
                (json["series"].as_array().unwrap(), json["names"].as_array().unwrap());
            assert_eq!(
                figure.split("</svg>\n<ul").next().unwrap().matches("<g>").count(),
                series.len()
            );
            assert_eq!(
                figure.matches("<li>").count() + figure.matches("<li hidden>").count(),
                names.len()
            );
            for of in series {
                assert!((of[0].as_u64().unwrap() as usize) < names.len());
                assert_eq!(of[2].as_array().unwrap().len() % 2, 0);
            }
            read += 1;
        }
        assert!(read > 10);
    }

    #[test]
    fn text_from_records_and_rules_cannot_become_markup() {
        let (mut graded, mut rows) = (claims(), rows());
        graded.truncate(3);
        for claim in &mut graded {
            (claim.claim, claim.paper, claim.rule) = (EVIL, EVIL, EVIL);
            (claim.measured, claim.controls, claim.why) = (EVIL.into(), EVIL.into(), EVIL.into());
            for figure in &mut claim.figures {
                figure.title = EVIL.into();
                figure.series[0].name = EVIL.into();
                figure.series[0].label = EVIL.into();
                figure.lines.push(Line { label: EVIL.into(), at: 0.5, horizontal: true });
            }
        }
        rows[0] = Row {
            hash: EVIL.into(),
            group: EVIL.into(),
            op: EVIL.into(),
            intervention: EVIL.into(),
            ..rows[0].clone()
        };
        let made = [(EVIL, EVIL.to_owned())];
        let page = html(&Page {
            title: EVIL,
            about: EVIL,
            scale: EVIL,
            made: &made,
            graded: &graded,
            rows: &rows,
            folder: &|_| Some(EVIL.into()),
        });
        assert!(!page.contains("<script>alert") && !page.contains("<!-- -->"));
        let scripts = page.matches("<script").count();
        assert_eq!(scripts, page.matches("</script>").count());
        assert_eq!(scripts, page.matches("<script type=\"application/json\">").count() + 1);
        let table = verdicts_markdown(&graded);
        assert!(!table.contains('<') && table.contains(r"\| \*b\* &lt;!--"), "{table}");
        assert_eq!(table.lines().count(), 2 + graded.len());
    }

    #[test]
    fn a_page_of_sixty_long_series_in_every_figure_stays_below_three_megabytes() {
        let mut graded = claims();
        let long = |seed: u64| {
            let mut rng = Seed(seed).stream("long", 0);
            let points =
                (0..501).map(|i| [100.0 * f64::from(i), 0.5 + 0.1 * normal(&mut rng)]).collect();
            series("add", seed, Mark::Line, points)
        };
        let all: Vec<Series> = (0..60).map(long).collect();
        for claim in &mut graded {
            claim.figures = vec![figure("H̃", ["step", "H̃"], all.clone(), &[]); 2];
        }
        let page = page(&graded, &rows());
        assert!(page.len() < 3_000_000, "{} bytes", page.len());
        graded.truncate(1);
        graded[0].figures.truncate(1);
        assert!(self::page(&graded, &[]).len() > 500_000, "and where there is room all is shown");
    }

    #[test]
    fn a_study_without_claims_or_runs_has_a_page() {
        let page = page(&[], &[]);
        assert!(page.contains("0 claims, graded by 0 runs in 0 groups"));
    }

    #[test]
    fn the_table_takes_the_place_between_its_marks() {
        let graded = claims();
        let text = "a\n<!-- verdicts entropy -->\nold\n<!-- end -->\nb\n";
        let new = with_verdicts(text, "entropy", &graded).unwrap();
        assert!(new.starts_with("a\n<!-- verdicts entropy -->\n| | claim |"));
        assert!(new.ends_with(" |\n<!-- end -->\nb\n") && !new.contains("\nold\n"));
        assert_eq!(with_verdicts(&new, "entropy", &graded).unwrap(), new);
        let sentence =
            with_verdicts("a\n<!-- end -->", "entropy", &graded).unwrap_err().to_string();
        assert!(sentence.contains("expected <!-- verdicts entropy -->"), "{sentence}");
    }

    #[test]
    fn a_picture_is_found_by_its_claim_and_number() {
        let graded = claims();
        assert_eq!(find(&graded, "e3").unwrap().title, "Accuracy and entropy");
        assert_eq!(find(&graded, "E3.2").unwrap().title, "Lead of the collapse, seed by seed");
        let sentence = |name| find(&graded, name).unwrap_err().to_string();
        assert!(sentence("E99").starts_with("there is no claim E99; the claims are E1, E2"));
        for name in ["E3.3", "E3.0", "E3.x", "E4"] {
            assert!(sentence(name).ends_with(&format!("there is no {name}")), "{name}");
        }
    }

    #[test]
    fn a_folder_of_results_is_rebuilt_with_nothing_but_its_records() {
        let root = std::env::temp_dir().join(format!("plateau-study-page-{}", std::process::id()));
        let dir = root.join("results/entropy");
        let row = Row { group: "add".into(), ..rows()[0].clone() };
        let results = Results::new(&dir);
        results.add(&Record { row: row.clone(), curves: Vec::new() }).unwrap();
        fs::create_dir_all(root.join(format!("runs/entropy-paper-add/{}-s{}", row.hash, row.seed)))
            .unwrap();
        assert!(is_results(&dir) && !is_results(&root));
        let graded = graded(&dir).unwrap();
        let path = write(&dir, &graded).unwrap();
        let page = fs::read_to_string(&path).unwrap();
        let link = format!("href=\"../../runs/entropy-paper-add/{}-s{}/\"", row.hash, row.seed);
        assert!(page.contains(&link) && page.contains("at laptop scale"));
        assert!(dir.join("verdicts.json").is_file());
        write(&dir, &graded).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), page, "nothing of the hour is in it");
        let elsewhere = root.join("results/other");
        fs::rename(&dir, &elsewhere).unwrap();
        let sentence = write(&elsewhere, &graded).unwrap_err().to_string();
        assert!(
            sentence.ends_with("which are entropy-smoke, entropy, entropy-paper"),
            "{sentence}"
        );
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    #[ignore = "writes a page and pictures to look at, into target/look"]
    fn something_to_look_at() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/look");
        fs::create_dir_all(&dir).unwrap();
        let graded = claims();
        fs::write(dir.join("study.html"), page(&graded, &rows())).unwrap();
        fs::write(dir.join("verdicts.md"), verdicts_markdown(&graded)).unwrap();
        for name in ["E3", "E3.2", "E5", "E7", "E12"] {
            fs::write(dir.join(format!("{name}.svg")), figure_svg(find(&graded, name).unwrap()))
                .unwrap();
        }
    }
}
