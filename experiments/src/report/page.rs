//! The page itself, top to bottom: what happened in words, the numbers, the curves, every reading of H̃,
//! the config, the environment, how to do it again.

use super::Run;
use super::chart::{Chart, Curve, Mark, Scale, Values, escape, path, thin};
use crate::observe::milestones::Milestones;
use serde_json::Value;
use std::fmt::Write;

/// Height of a chart's plot area, in pixels.
const HEIGHT: usize = 220;
/// Columns that a picture inside a table row is thinned to.
const SPARK: usize = 140;

/// How a page begins: nothing may come from a network, and of what stands in it only the style and
/// the script of this name count.
pub(crate) fn start(title: &str, style: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'nonce-plateau'; script-src 'nonce-plateau'\">\n\
         <title>{title}</title>\n<style nonce=\"plateau\">\n{}{}{style}</style>\n",
        include_str!("chart.css"),
        include_str!("page.css"),
    )
}

/// The whole report.
pub fn html(run: &Run) -> String {
    let mut page = start(&escape(&title(run)), "");
    head(&mut page, run);
    tiles(&mut page, run);
    page += "<section class=\"curves-of-run\">\n<h2>Curves</h2>\n\
             <input class=\"scale\" type=\"radio\" name=\"scale\" id=\"log\" checked><label for=\"log\">log steps</label>\n\
             <input class=\"scale\" type=\"radio\" name=\"scale\" id=\"linear\"><label for=\"linear\">linear steps</label>\n";
    curves(&mut page, run);
    readings(&mut page, run);
    page += "</section>\n";
    let _ = write!(
        page,
        "<section>\n<h2>Config</h2>\n<pre>{}</pre>\n</section>\n",
        escape(run.config_text.trim_end())
    );
    environment(&mut page, run);
    again(&mut page, run);
    let _ =
        write!(page, "<script nonce=\"plateau\">\n{}</script>\n</html>\n", include_str!("page.js"));
    page
}

/// The run's name and seed.
pub fn title(run: &Run) -> String {
    let name = run.config.get("name").and_then(|name| name.as_str()).unwrap_or(&run.folder);
    match seed(run) {
        Some(seed) => format!("{name}, seed {seed}"),
        None => name.into(),
    }
}

fn seed(run: &Run) -> Option<i64> {
    run.config.get("seed")?.as_integer()
}

fn head(page: &mut String, run: &Run) {
    let _ = writeln!(page, "<header>\n<h1>{}</h1>", escape(&title(run)));
    if let Some(figure) = run.config.get("figure").and_then(|figure| figure.as_str()) {
        let _ = writeln!(page, "<p class=\"muted\">{}</p>", escape(figure));
    }
    let _ = writeln!(page, "<p class=\"story\">{}</p>", escape(&story(run).join(" ")));
    page.push_str("</header>\n");
}

/// What happened, a sentence each: the milestones, the end, and whether there is more to come.
fn story(run: &Run) -> Vec<String> {
    let Milestones { t_memorise, t_collapse, t_grok, .. } = run.milestones;
    let mut said = Vec::new();
    let best = |key: &str| {
        let best = run.history.column(key).iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some((accuracy(best.1), whole(best.0)))
    };
    match (t_memorise, best("train/acc")) {
        (Some(step), _) => said.push(format!("The training examples were memorised at step {}.", whole(step))),
        (None, Some((best, step))) => said.push(format!(
            "The training examples were not memorised: train accuracy stayed below 0.99, at best {best} (step {step})."
        )),
        (None, None) => said.push("The run has not been evaluated yet.".into()),
    }
    let entropy = run.history.last(&run.entropy_key("train"));
    match t_collapse {
        Some(step) => said.push(format!("The spectral entropy H̃ collapsed at step {}.", whole(step))),
        None if entropy.is_some() => said.push(
            "The spectral entropy H̃ did not collapse: it never fell by more than 0.05 within five evaluations.".into(),
        ),
        None => said.push("The spectral entropy H̃ of the train probe was not measured.".into()),
    }
    match (t_grok, best("test/acc")) {
        (Some(step), _) => {
            let delay = run.milestones.delay().map(|delay| match delay {
                0 => "at the evaluation that saw it memorise".into(),
                1.. => format!("{} steps after memorising", whole(delay.unsigned_abs())),
                _ => format!("{} steps before memorising", whole(delay.unsigned_abs())),
            });
            let lead = run.milestones.lead().map(|lead| match lead {
                0 => "at the same evaluation as the collapse".into(),
                1.. => format!("{} steps after the collapse", whole(lead.unsigned_abs())),
                _ => format!("{} steps before the collapse", whole(lead.unsigned_abs())),
            });
            let after = [delay, lead].into_iter().flatten().collect::<Vec<String>>().join(" and ");
            let after = if after.is_empty() { after } else { format!(", {after}") };
            said.push(format!("It grokked at step {}{after}.", whole(step)));
        }
        (None, Some((best, step))) => said.push(format!(
            "It did not grok: test accuracy stayed below 0.99, at best {best} (step {step})."
        )),
        (None, None) => {}
    }
    let last = |key: &str| run.history.last(key);
    if let (Some(train), Some(test)) = (last("train/acc"), last("test/acc")) {
        let at = run.history.column("test/acc").last().map_or(0, |&(step, _)| step);
        let entropy = entropy.map_or(String::new(), |h| format!(" and H̃ is {h:.3}"));
        let comma = if entropy.is_empty() { " and" } else { "," };
        said.push(format!(
            "At its last evaluation, step {}, train accuracy is {}{comma} test accuracy is {}{entropy}.",
            whole(at),
            accuracy(train),
            accuracy(test),
        ));
    }
    let planned = run.config.get("steps").and_then(|steps| steps.as_integer()).unwrap_or(0);
    let (done, planned) = (run.history.last_step(), planned.max(0) as u64);
    if done < planned {
        said.push(format!(
            "The run is not complete: {} of {} steps are done.",
            whole(done),
            whole(planned)
        ));
    }
    said
}

fn tiles(page: &mut String, run: &Run) {
    let Milestones { t_memorise, t_collapse, t_grok, .. } = run.milestones;
    let reached = |step: Option<u64>| step.map(whole);
    let between = |steps: Option<i64>| {
        steps.map(|n| {
            if n < 0 { format!("−{}", whole(n.unsigned_abs())) } else { whole(n.unsigned_abs()) }
        })
    };
    let first = |key: &str| run.history.column(key).first().map(|&(_, value)| value);
    let last = |key: &str| run.history.last(key);
    let entropy = run.entropy_key("train");
    let from =
        |value: Option<String>| value.map_or(String::new(), |v| format!("from {v} at the start"));
    let three = |value: f64| format!("{value:.3}");
    let rows = [
        ("Memorised at step", reached(t_memorise), "train accuracy ≥ 0.99".into()),
        ("H̃ collapsed at step", reached(t_collapse), "fell > 0.05 within 5 evaluations".into()),
        ("Grokked at step", reached(t_grok), "test accuracy ≥ 0.99".into()),
        ("Delay", between(run.milestones.delay()), "steps, memorised to grokked".into()),
        (
            "Lead of the collapse",
            between(run.milestones.lead()),
            "steps, collapsed to grokked".into(),
        ),
        (
            "Final test accuracy",
            last("test/acc").map(accuracy),
            match last("train/acc") {
                Some(train) => format!("train {}", accuracy(train)),
                None => String::new(),
            },
        ),
        ("Final H̃", last(&entropy).map(three), from(first(&entropy).map(three))),
        ("Final weight norm", last("norm").map(figures), from(first("norm").map(figures))),
    ];
    page.push_str("<dl class=\"tiles\">\n");
    for (name, value, note) in rows {
        let (class, value) = match value {
            Some(value) => ("value", value),
            None if name.starts_with("Final") => ("value none", "not measured".into()),
            None => ("value none", "not reached".into()),
        };
        let _ = writeln!(
            page,
            "<div><dt>{name}</dt><dd class=\"{class}\">{value}</dd><dd class=\"note\">{note}</dd></div>"
        );
    }
    page.push_str("</dl>\n");
}

fn curves(page: &mut String, run: &Run) {
    let hook = format!("at <code>{}</code>, centred", escape(run.hook()));
    let charts = [
        ("Accuracy", String::new(), run.accuracy_chart()),
        ("Loss", "cross entropy".into(), run.loss_chart()),
        ("Spectral entropy H̃", hook, run.entropy_chart()),
        ("Weight norm", "L2, all parameters".into(), run.norm_chart()),
    ];
    let marks = run.marks();
    let drawn = charts.into_iter().filter_map(|(name, note, chart)| Some((name, note, chart?)));
    for (i, (name, note, chart)) in drawn.enumerate() {
        figure(page, run, name, &note, &chart, &marks, i == 0);
    }
}

fn figure(
    page: &mut String,
    run: &Run,
    name: &str,
    note: &str,
    chart: &Chart,
    marks: &[Mark],
    named: bool,
) {
    let _ = writeln!(
        page,
        "<figure>\n<figcaption><span>{name} <span class=\"muted\">{note}</span></span> <output aria-live=\"off\"></output></figcaption>"
    );
    // Room for the marks' names, which stand above the plot.
    let head = chart.head(marks, named);
    let _ = writeln!(page, "<svg class=\"head\" height=\"{head}\"></svg>");
    for (class, scale) in [("log", Scale::Log), ("linear", Scale::Linear)] {
        let steps = run.steps(scale);
        let (last, plot) = (steps.last, chart.draw(steps, marks, named));
        let _ = writeln!(
            page,
            "<svg class=\"plot {class}\" role=\"img\" height=\"{HEIGHT}\" data-last=\"{last}\">{plot}</svg>"
        );
    }
    let data: Vec<(&str, Vec<(u64, f64)>)> =
        chart.curves.iter().map(|curve| (curve.name, drawn_readings(run, curve))).collect();
    let json = serde_json::to_string(&data).unwrap_or_else(|_| "[]".into()).replace('<', "\\u003c");
    let _ = writeln!(page, "<script type=\"application/json\">{json}</script>\n</figure>");
}

/// The readings that either picture of a curve shows, to five digits: what the cursor reads out.
fn drawn_readings(run: &Run, curve: &Curve) -> Vec<(u64, f64)> {
    let mut points = thin(curve.points, run.steps(Scale::Log), 750);
    points.extend(thin(curve.points, run.steps(Scale::Linear), 750));
    points.sort_by_key(|&(step, _)| step);
    points.dedup_by_key(|&mut (step, _)| step);
    for (_, value) in &mut points {
        *value = format!("{value:.4e}").parse().unwrap_or(*value);
    }
    points
}

/// One H̃ that the run has logged.
#[derive(Clone, Copy)]
struct Reading<'a> {
    hook: &'a str,
    centring: &'a str,
    probe: &'a str,
    points: &'a [(u64, f64)],
}

/// All keys of the form `spectral/<probe>/<hook>/<centring>/normalised_entropy`, hooks in the config's order.
fn logged_entropies(run: &Run) -> Vec<Reading<'_>> {
    let reading = |key| match str::split(key, '/').collect::<Vec<_>>()[..] {
        ["spectral", probe, hook, centring, "normalised_entropy"] => {
            Some(Reading { hook, centring, probe, points: run.history.column(key) })
        }
        _ => None,
    };
    let hooks = run.field("spectral", "at").and_then(|at| at.as_array());
    let rank = |hook: &str| hooks.and_then(|at| at.iter().position(|h| h.as_str() == Some(hook)));
    let mut readings: Vec<Reading> = run.history.keys().filter_map(reading).collect();
    // Stable: the keys' alphabetical order puts batch, test, train; the page wants train before test.
    let order = |probe| ["batch", "train", "test"].iter().position(|p| *p == probe);
    readings
        .sort_by_key(|r| (rank(r.hook).unwrap_or(usize::MAX), r.hook, r.centring, order(r.probe)));
    readings
}

/// Every H̃ that was logged, a row each: its curve, all on one scale, and its values at the milestones.
fn readings(page: &mut String, run: &Run) {
    let readings = logged_entropies(run);
    let curves = readings.iter().map(|r| {
        let class = ["train", "test"].into_iter().find(|&class| class == r.probe);
        Curve { name: "", class: class.unwrap_or("batch"), points: r.points }
    });
    let curves: Vec<Curve> = curves.collect();
    let Some(y) = Values::around(&curves, false) else { return };

    let Milestones { t_memorise, t_collapse, t_grok, .. } = run.milestones;
    let end = Some(run.history.last_step());
    let columns = [
        ("start", Some(0)),
        ("memorised", t_memorise),
        ("collapsed", t_collapse),
        ("grokked", t_grok),
        ("end", end),
    ];
    let columns = columns.into_iter().filter_map(|(name, step)| Some((name, step?)));
    let columns: Vec<(&str, u64)> = columns.collect();

    page.push_str(
        "<h2>Every reading of H̃</h2>\n<div class=\"wide\"><table>\n<thead><tr>\
         <th>probe</th><th class=\"spark\">curve</th>",
    );
    for (name, _) in &columns {
        let _ = write!(page, "<th class=\"number\">{name}</th>");
    }
    page.push_str("</tr></thead>\n");
    let mut above = ("", "");
    for (reading, curve) in readings.iter().zip(&curves) {
        let group = (reading.hook, reading.centring);
        if group != above {
            let (hook, centring, width) = (escape(group.0), escape(group.1), columns.len() + 2);
            let _ = writeln!(
                page,
                "<tr><th class=\"group\" colspan=\"{width}\"><code>{hook}</code>, {centring}</th></tr>"
            );
            above = group;
        }
        let _ = write!(page, "<tr><td>{}</td><td class=\"spark\">", escape(reading.probe));
        for (class, scale) in [("log", Scale::Log), ("linear", Scale::Linear)] {
            let line = path(curve, run.steps(scale), &y, SPARK);
            let _ = write!(
                page,
                "<svg class=\"spark {class}\" aria-hidden=\"true\" viewBox=\"0 0 2000 1000\" \
                 preserveAspectRatio=\"none\">{line}</svg>"
            );
        }
        page.push_str("</td>");
        for &(_, step) in &columns {
            let until = reading.points.partition_point(|&(s, _)| s <= step);
            let value = until.checked_sub(1).map(|i| format!("{:.3}", reading.points[i].1));
            let value = value.unwrap_or("–".into());
            let _ = write!(page, "<td class=\"number\">{value}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

fn environment(page: &mut String, run: &Run) {
    page.push_str("<section>\n<h2>Environment</h2>\n<table class=\"keys\">\n");
    let mut rows = Vec::new();
    flatten("", &run.meta, &mut rows);
    for (key, value) in rows {
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(&key), escape(&value));
    }
    page.push_str("</table>\n</section>\n");
}

/// Nested objects become dotted keys; an array stays in one row.
fn flatten(prefix: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, rows);
            }
        }
        Value::String(text) => rows.push((prefix.into(), text.clone())),
        Value::Null => rows.push((prefix.into(), "–".into())),
        other => rows.push((prefix.into(), other.to_string())),
    }
}

fn again(page: &mut String, run: &Run) {
    let seed = seed(run).map_or(String::new(), |seed| format!(" --seed {seed}"));
    let _ = write!(
        page,
        "<section>\n<h2>Do it again</h2>\n<p>In this folder, <code>{}</code>:</p>\n\
         <pre>plateau run config.toml{seed}    # the same run from step 0; equal numbers, bit for bit\n\
         plateau resume .                  # go on where it stopped\n\
         plateau report .                  # rebuild this page</pre>\n</section>\n",
        escape(&run.folder),
    );
}

/// A step, thousands apart: `14,360`.
pub fn whole(step: u64) -> String {
    let digits = step.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An accuracy, cut to four decimals and never rounded up: only a perfect score reads 1.0000.
pub fn accuracy(share: f64) -> String {
    // The slack absorbs the last bit of a share such as 0.57 = 56.99999….
    format!("{:.4}", (share * 1e4 + 1e-6).floor() / 1e4)
}

/// A number to three figures.
pub fn figures(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".into(),
        1e-3..1e5 => {
            let decimals = (2.0 - size.log10().floor()).max(0.0) as usize;
            format!("{value:.decimals$}")
        }
        _ => format!("{value:.2e}"),
    }
}
