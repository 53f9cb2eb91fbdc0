//! The report: one HTML file that opens offline, made from nothing but a run folder.
//!   config.toml, meta.json, metrics.jsonl  →  report.html
//! The page carries its own style, pictures and script and asks no network for anything. It can be rebuilt
//! at any time, while the run is going on too.

pub mod chart;
mod figure;
pub mod history;
pub(crate) mod page;
pub mod study;

pub use figure::figure_svg;

use crate::observe::milestones::Milestones;
use anyhow::Context;
use chart::{Chart, Curve, Mark, Scale, Steps, Values};
use history::History;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A run folder, read.
#[derive(Debug)]
pub struct Run {
    /// `config.toml` as it stands in the file.
    pub config_text: String,
    /// The same, parsed.
    pub config: toml::Table,
    /// `meta.json`.
    pub meta: Value,
    /// `metrics.jsonl`, by column.
    pub history: History,
    /// The milestones that its evaluations reached.
    pub milestones: Milestones,
    /// The name of the folder.
    pub folder: String,
}

impl Run {
    /// Reads `config.toml`, `meta.json` and `metrics.jsonl` of a run folder.
    ///
    /// # Errors
    /// If one of them is missing or malformed; the message names the file.
    pub fn read(dir: &Path) -> anyhow::Result<Run> {
        let read = |name: &str| {
            let path = dir.join(name);
            let at = path.display().to_string();
            let text = fs::read_to_string(path)
                .with_context(|| format!("{at}: cannot be read; expected a run folder"))?;
            anyhow::Ok((text, at))
        };
        let (config_text, at) = read("config.toml")?;
        let config = config_text.parse().with_context(|| format!("{at}: is not TOML"))?;
        let (meta, at) = read("meta.json")?;
        let meta = serde_json::from_str(&meta).with_context(|| format!("{at}: is not JSON"))?;
        let history = History::read(&dir.join("metrics.jsonl"))?;
        let folder = dir.canonicalize()?.file_name().unwrap_or_default().to_string_lossy().into();
        let milestones = Milestones::default();
        let mut run = Run { config_text, config, meta, history, milestones, folder };
        let entropy = run.entropy_key("train");
        for &(step, train_acc) in run.history.column("train/acc") {
            // NaN reaches no threshold: without test pairs a run can memorise and not grok.
            let test_acc = run.history.at("test/acc", step).unwrap_or(f64::NAN);
            run.milestones.observe(step, train_acc, test_acc, run.history.at(&entropy, step));
        }
        Ok(run)
    }

    /// A field of the config, `None` where it is absent.
    fn field(&self, table: &str, key: &str) -> Option<&toml::Value> {
        self.config.get(table)?.get(key)
    }

    /// The hook that the run is summarised by: the first of `spectral.at`, empty without one.
    fn hook(&self) -> &str {
        let first = self.field("spectral", "at").and_then(|at| at.as_array()?.first()?.as_str());
        first.unwrap_or_default()
    }

    /// The key of H̃ at that hook, centred, for the probe `batch`, `train` or `test`.
    fn entropy_key(&self, probe: &str) -> String {
        format!("spectral/{probe}/{}/centred/normalised_entropy", self.hook())
    }

    /// The milestones that were reached, as lines for the charts.
    fn marks(&self) -> Vec<Mark> {
        let Milestones { t_memorise, t_collapse, t_grok, .. } = self.milestones;
        [("memorised", t_memorise), ("H̃ collapsed", t_collapse), ("grokked", t_grok)]
            .into_iter()
            .filter_map(|(name, step)| {
                let step = step?;
                Some(Mark { label: format!("{name} {}", page::whole(step)), step })
            })
            .collect()
    }

    /// The x axis of every chart of this run.
    fn steps(&self, scale: Scale) -> Steps {
        Steps { scale, last: self.history.last_step().max(1) }
    }

    /// A logged column as a curve, empty if it was never logged.
    fn curve(&self, name: &'static str, class: &'static str, key: &str) -> Curve<'_> {
        Curve { name, class, points: self.history.column(key) }
    }

    fn accuracy_chart(&self) -> Option<Chart<'_>> {
        let curves = [
            self.curve("batch", "batch", "batch/acc"),
            self.curve("train", "train", "train/acc"),
            self.curve("test", "test", "test/acc"),
        ];
        chart("Accuracy", Axis::Share, &curves)
    }

    fn loss_chart(&self) -> Option<Chart<'_>> {
        let curves = [
            self.curve("batch", "batch", "batch/loss"),
            self.curve("train", "train", "train/loss"),
            self.curve("test", "test", "test/loss"),
        ];
        chart("Loss", Axis::Log, &curves)
    }

    fn entropy_chart(&self) -> Option<Chart<'_>> {
        let curves = [
            self.curve("batch", "batch", &self.entropy_key("batch")),
            self.curve("train probe", "train", &self.entropy_key("train")),
            self.curve("test probe", "test", &self.entropy_key("test")),
        ];
        chart("Normalised spectral entropy H̃", Axis::Linear, &curves)
    }

    fn norm_chart(&self) -> Option<Chart<'_>> {
        chart("Weight norm", Axis::Linear, &[self.curve("", "plain", "norm")])
    }
}

/// The y axes that the charts use.
enum Axis {
    Share,
    Linear,
    Log,
}

/// A chart of the curves that have readings; `None` if none has.
fn chart<'a>(title: &str, y: Axis, curves: &[Curve<'a>]) -> Option<Chart<'a>> {
    let curves: Vec<Curve> = curves.iter().copied().filter(|c| !c.points.is_empty()).collect();
    let y = match y {
        Axis::Share if curves.is_empty() => return None,
        Axis::Share => Values::fixed(&[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        Axis::Linear => Values::around(&curves, false)?,
        Axis::Log => Values::around(&curves, true)?,
    };
    let ends = curves.iter().filter_map(|curve| {
        let (&(first, old), &(last, new)) = (curve.points.first()?, curve.points.last()?);
        let (old, new) = (page::figures(old), page::figures(new));
        Some(format!("{} {old} at step {first}, {new} at step {last}", curve.name))
    });
    let description = ends.collect::<Vec<String>>().join("; ");
    Some(Chart { title: title.into(), description: description.trim().into(), y, curves })
}

/// Writes `report.html` into the run folder, beside it first and then renamed, and returns its path.
///
/// # Errors
/// If the folder cannot be read as a run ([`Run::read`]) or the page cannot be written.
pub fn write_report(run_dir: &Path) -> anyhow::Result<PathBuf> {
    let page = page::html(&Run::read(run_dir)?);
    let path = run_dir.join("report.html");
    let beside = run_dir.join("report.html.tmp");
    let failed = || format!("{}: cannot be written", path.display());
    fs::write(&beside, page).with_context(failed)?;
    fs::rename(&beside, &path).with_context(failed)?;
    Ok(path)
}

/// Accuracy and H̃ against the step as one SVG file of 960 pixels' width, light or dark as the reader's
/// system is: the picture for a README.
pub fn curves_svg(run: &Run, scale: Scale) -> String {
    const PLOT: (usize, usize) = (880, 190); // width, height
    let marks = run.marks();
    let mut panels = String::new();
    let mut top = 34;
    for (i, chart) in [run.accuracy_chart(), run.entropy_chart()].into_iter().flatten().enumerate()
    {
        let (named, title) = (i == 0, chart::escape(&chart.title));
        let y = top + chart.head(&marks, named);
        let (width, height) = PLOT;
        let plot = chart.draw(run.steps(scale), &marks, named);
        panels += &format!(
            "<text class=\"heading\" x=\"56\" y=\"{}\">{title}</text>\n\
             <svg x=\"56\" y=\"{y}\" width=\"{width}\" height=\"{height}\">{plot}</svg>\n",
            top - 8,
        );
        top = y + height + 68;
    }
    let (height, style, title) =
        (top - 34, include_str!("chart.css"), chart::escape(&page::title(run)));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"{height}\" \
         viewBox=\"0 0 960 {height}\" role=\"img\">\n<title>{title}</title>\n\
         <style>\n{style}svg text.heading {{ font-size: 15px; font-weight: 600; fill: var(--ink); }}\n</style>\n\
         <rect width=\"960\" height=\"{height}\" fill=\"var(--paper)\"/>\n{panels}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    const CONFIG: &str = r#"
name = "synthetic <b>"
figure = "no figure & no paper"
seed = 3
steps = 2000
[spectral]
at = ["ln_final.hook_out", "blocks.0.hook_resid_post"]
"#;
    const META: &str =
        r#"{"commit":"0123abc","cpu":{"name":"<script>alert(1)</script>","threads":2}}"#;

    /// A run folder that goes away with the value.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, metrics: &str) -> Folder {
            let dir =
                std::env::temp_dir().join(format!("plateau-report-{}-{name}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("config.toml"), CONFIG).unwrap();
            fs::write(dir.join("meta.json"), META).unwrap();
            fs::write(dir.join("metrics.jsonl"), metrics).unwrap();
            Folder(dir)
        }

        fn page(&self) -> String {
            fs::read_to_string(write_report(&self.0).unwrap()).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Up to step `last`: memorises at 200, collapses at 1,300 (H̃ falls by .02 an evaluation from 1,100
    /// on), groks at 1,500.
    fn metrics(last: u64) -> String {
        let mut text = String::new();
        for step in 0..=last {
            let entropy = 0.8 - 0.0002 * step.saturating_sub(1_000).min(500) as f64;
            let _ = write!(text, "{{\"step\":{step},\"batch/loss\":{}", 1.0 / (1.0 + step as f64));
            let key =
                |probe, hook| format!(",\"spectral/{probe}/{hook}/centred/normalised_entropy\":");
            let _ = write!(text, "{}{entropy}", key("batch", "ln_final.hook_out"));
            if step % 100 == 0 {
                let train_acc = if step >= 200 { 1.0 } else { 0.25 };
                let test_acc = if step >= 1_500 { 0.99986 } else { 0.125 };
                let _ = write!(text, ",\"train/acc\":{train_acc},\"test/acc\":{test_acc}");
                let _ = write!(
                    text,
                    ",\"train/loss\":0.5,\"test/loss\":null,\"norm\":{}",
                    60.0 - 1e-3 * step as f64
                );
                let _ = write!(text, "{}{entropy}", key("train", "ln_final.hook_out"));
                let _ = write!(text, "{}0.4321", key("test", "blocks.0.hook_resid_post"));
            }
            text.push_str("}\n");
        }
        text
    }

    #[test]
    fn the_page_says_what_happened_with_the_numbers() {
        let page = Folder::new("whole", &metrics(2_000)).page();
        for sentence in [
            "The training examples were memorised at step 200.",
            "The spectral entropy H̃ collapsed at step 1,300.",
            "It grokked at step 1,500, 1,300 steps after memorising and 200 steps after the collapse.",
            "At its last evaluation, step 2,000, train accuracy is 1.0000, test accuracy is 0.9998 \
             and H̃ is 0.700.",
            ">memorised 200</text>",
            ">H̃ collapsed 1,300</text>",
            ">grokked 1,500</text>",
            "<td class=\"number\">0.432</td>",
            "<th>cpu.threads</th><td>2</td>",
            "plateau run config.toml --seed 3",
        ] {
            assert!(page.contains(sentence), "missing: {sentence}");
        }
        assert!(!page.contains("not complete"));
    }

    #[test]
    fn what_was_not_reached_is_said_in_words() {
        let page = Folder::new("half", &metrics(1_000)).page();
        for sentence in [
            "The spectral entropy H̃ did not collapse",
            "It did not grok: test accuracy stayed below 0.99, at best 0.1250",
            "The run is not complete: 1,000 of 2,000 steps are done.",
        ] {
            assert!(page.contains(sentence), "missing: {sentence}");
        }
    }

    #[test]
    fn a_run_that_has_only_its_first_line_or_a_torn_one_still_has_a_page() {
        let first = Folder::new("first", &metrics(0)).page();
        assert!(first.contains("The training examples were not memorised"));
        assert!(first.contains("class=\"dots train\""), "a single reading is a dot");

        let bare = Folder::new("bare", "{\"step\":0}\n").page();
        assert!(bare.contains("The run has not been evaluated yet."));
        assert!(!bare.contains("<figure>"));

        let torn = metrics(1_000) + "{\"step\":1001,\"train/a";
        let [torn, whole] = [("torn", torn), ("untorn", metrics(1_000))].map(|(name, text)| {
            Folder::new(name, &text).page().replace(name, "").replace("un", "")
        });
        assert_eq!(torn, whole);
    }

    #[test]
    fn the_page_asks_no_network_for_anything() {
        let page = Folder::new("offline", &metrics(300)).page();
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "fetch("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("content=\"default-src 'none';"), "and tells the browser so");
    }

    #[test]
    fn text_from_files_cannot_become_markup() {
        let folder = Folder::new("escape", &metrics(0));
        let page = folder.page();
        assert!(page.contains("synthetic &lt;b&gt;") && !page.contains("synthetic <b>"));
        assert!(page.contains("no figure &amp; no paper"));
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt;")
                && !page.contains("<script>alert")
        );
        let svg = curves_svg(&Run::read(&folder.0).unwrap(), Scale::Log);
        assert!(svg.contains("synthetic &lt;b&gt;") && !svg.contains("synthetic <b>"));
    }

    #[test]
    fn a_long_run_makes_a_page_of_less_than_a_megabyte() {
        let page = Folder::new("long", &metrics(100_000)).page();
        assert!(page.len() < 1_000_000, "{} bytes", page.len());
    }

    #[test]
    fn a_missing_or_malformed_file_is_named_in_one_sentence() {
        for (name, text, sentence) in [
            ("config.toml", "name = ", "is not TOML"),
            ("meta.json", "{", "is not JSON"),
            ("metrics.jsonl", "", "no complete line"),
        ] {
            let folder = Folder::new(&format!("broken-{name}"), &metrics(0));
            fs::write(folder.0.join(name), text).unwrap();
            let error = format!("{:#}", write_report(&folder.0).unwrap_err());
            assert!(error.contains(name) && error.contains(sentence), "{error}");
            fs::remove_file(folder.0.join(name)).unwrap();
            let error = format!("{:#}", write_report(&folder.0).unwrap_err());
            assert!(error.contains(name) && error.contains("cannot be"), "{error}");
            assert!(!folder.0.join("report.html").exists());
        }
    }
}
