//! The report: one HTML file that opens offline, made from nothing but a run folder.
//!   config.toml, meta.json, metrics.jsonl  →  report.html
//! The page carries its own style, pictures and script and asks no network for anything. It can be rebuilt
//! at any time, while the run is going on too.

pub mod chart;
pub mod history;
mod page;

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
            if let Some(test_acc) = run.history.at("test/acc", step) {
                let entropy = run.history.at(&entropy, step);
                run.milestones.observe(step, train_acc, test_acc, entropy);
            }
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

    fn steps(&self, scale: Scale) -> Steps {
        Steps { scale, last: self.history.last_step().max(1) }
    }

    /// A chart of the columns that were logged; `None` if none was.
    fn chart(
        &self,
        title: &str,
        y: Axis,
        lines: &[(&'static str, &'static str, &str)],
    ) -> Option<Chart<'_>> {
        let logged = |&(name, class, key): &(&'static str, &'static str, &str)| {
            let points = self.history.column(key);
            (!points.is_empty()).then_some(Curve { name, class, points })
        };
        let curves: Vec<Curve> = lines.iter().filter_map(logged).collect();
        let y = match y {
            Axis::Share => Values::fixed(&[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            Axis::Linear => Values::around(&curves, false)?,
            Axis::Log => Values::around(&curves, true)?,
        };
        let said = curves.iter().map(|curve| {
            let (from, to) = (curve.points[0], curve.points[curve.points.len() - 1]);
            let (old, new) = (page::figures(from.1), page::figures(to.1));
            format!("{} {old} at step {}, {new} at step {}", curve.name, from.0, to.0).trim().into()
        });
        let description = said.collect::<Vec<String>>().join("; ");
        (!curves.is_empty()).then(|| Chart { title: title.into(), description, y, curves })
    }

    fn accuracy_chart(&self) -> Option<Chart<'_>> {
        let lines = [
            ("batch", "batch", "batch/acc"),
            ("train", "train", "train/acc"),
            ("test", "test", "test/acc"),
        ];
        self.chart("Accuracy", Axis::Share, &lines)
    }

    fn loss_chart(&self) -> Option<Chart<'_>> {
        let lines = [
            ("batch", "batch", "batch/loss"),
            ("train", "train", "train/loss"),
            ("test", "test", "test/loss"),
        ];
        self.chart("Loss", Axis::Log, &lines)
    }

    fn entropy_chart(&self) -> Option<Chart<'_>> {
        let [batch, train, test] = ["batch", "train", "test"].map(|probe| self.entropy_key(probe));
        let lines = [
            ("batch", "batch", &*batch),
            ("train probe", "train", &*train),
            ("test probe", "test", &*test),
        ];
        self.chart("Normalised spectral entropy H̃", Axis::Linear, &lines)
    }

    fn norm_chart(&self) -> Option<Chart<'_>> {
        self.chart("Weight norm", Axis::Linear, &[("", "plain", "norm")])
    }
}

/// The y axes that the charts use.
enum Axis {
    Share,
    Linear,
    Log,
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
