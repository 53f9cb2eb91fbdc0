//! A line chart against the training step, as SVG text.
//!   x = step / last   or   (log₁₀ step + ½) / (log₁₀ last + ½), with step 0 half a decade left of step 1
//!   y = (v − lo) / (hi − lo)   or the same of log₁₀ v                              both in 0..=1
//!
//! Written by hand and not with plotters, whose SVG rounds every point to a whole pixel, fixes the size of
//! the text at one width and writes its colours into each element. Here axes stand at percentages and
//! curves live in a stretched inner viewport, so one drawing fits a telephone and a wide screen with
//! letters of the same size, and every colour is a CSS class, so light and dark are one style sheet.

use std::fmt::Write;

/// Units of a curve's inner viewport. Finer than a pixel on any screen, and integers stay short.
pub(super) const UNITS: (f64, f64) = (2000.0, 1000.0);
/// A curve is thinned to its lowest and highest reading in each of so many columns of the picture.
pub(super) const COLUMNS: usize = 750;
/// Readings further apart than this share of the width get a dot, so that nobody takes the straight line
/// between them for data.
const SPARSE: f64 = 0.015;
/// Height of one row of text, in pixels.
pub(super) const ROW: usize = 16;

/// How steps are spaced along the x axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; step 0, which has none, stands at the left edge.
    Log,
}

/// The x axis of a run.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// How steps are spaced.
    pub scale: Scale,
    /// The step at the right edge, at least 1.
    pub last: u64,
}

impl Steps {
    /// Where a step stands: 0 at the left edge, 1 at the right one.
    pub fn position(self, step: u64) -> f64 {
        match self.scale {
            Scale::Linear => step as f64 / self.last as f64,
            Scale::Log if step == 0 => 0.0,
            Scale::Log => ((step as f64).log10() + 0.5) / ((self.last as f64).log10() + 0.5),
        }
    }

    fn ticks(self) -> Vec<u64> {
        match self.scale {
            Scale::Linear => {
                let step = (round_up(self.last as f64 / 6.0) as u64).max(1);
                (0..=self.last / step).map(|i| i * step).collect()
            }
            Scale::Log => {
                let decades = (0..).map_while(|e| 10u64.checked_pow(e));
                [0].into_iter().chain(decades.take_while(|&s| s <= self.last)).collect()
            }
        }
    }
}

/// The y axis of a chart.
#[derive(Clone, Debug)]
pub struct Values {
    log: bool,
    ticks: Vec<f64>,
}

impl Values {
    /// An axis with these ticks, from the first to the last.
    pub fn fixed(ticks: &[f64]) -> Values {
        Values { log: false, ticks: ticks.to_vec() }
    }

    /// An axis around all readings that ends at round numbers. `None` without a reading to draw.
    pub fn around(curves: &[Curve], log: bool) -> Option<Values> {
        let values = curves.iter().flat_map(|c| c.points).map(|&(_, v)| v);
        // A loss can underflow to 0, which a logarithmic axis shows at its lower edge.
        let values = values.filter(|&v| v.is_finite() && (!log || v > 0.0));
        let (lo, hi) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (v.min(lo), v.max(hi)));
        let ticks = match () {
            () if lo > hi => return None,
            () if log => log_ticks(lo, hi),
            () => linear_ticks(lo, hi),
        };
        Some(Values { log, ticks })
    }

    /// Where a value stands: 0 at the bottom, 1 at the top; beyond either end, at that end.
    fn position(&self, value: f64) -> f64 {
        let along = |v: f64| if self.log { v.log10() } else { v };
        let (lo, hi) = (along(self.ticks[0]), along(self.ticks[self.ticks.len() - 1]));
        // ln 0 = −∞ is clamped to the bottom.
        ((along(value) - lo) / (hi - lo)).clamp(0.0, 1.0)
    }

    fn label(&self, i: usize) -> String {
        let tick = self.ticks[i];
        // Whole decades read 10⁻² 10⁻¹ 1 10; the 1, 2, 5 of less than that read 0.05 0.1 0.2.
        let plain = if self.ticks[1] > 9.0 * self.ticks[0] { 1.0 } else { 1e-3 };
        if self.log && (plain..1e4).contains(&tick) {
            return format!("{tick}");
        }
        if self.log {
            let exponent = tick.log10().floor();
            let lead = (tick / 10f64.powf(exponent)).round();
            let lead = if lead == 1.0 { String::new() } else { format!("{lead}×") };
            return format!("{lead}10{}", superscript(exponent as i32));
        }
        let decimals = (-(self.ticks[1] - self.ticks[0]).log10().floor()).max(0.0) as usize;
        format!("{tick:.decimals$}")
    }
}

/// One line of a chart.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'a> {
    /// What the legend says.
    pub name: &'a str,
    /// The CSS class: `train`, `test`, `batch` or `plain`.
    pub class: &'a str,
    /// (step, value), steps ascending.
    pub points: &'a [(u64, f64)],
}

/// A named step, drawn as a vertical line.
#[derive(Clone, Debug)]
pub struct Mark {
    /// What the line says, its step included.
    pub label: String,
    /// Where it stands.
    pub step: u64,
}

/// A chart: curves over one pair of axes.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// What is drawn, for those who hear the page.
    pub title: String,
    /// The same in a sentence with numbers.
    pub description: String,
    /// The y axis.
    pub y: Values,
    /// The lines, the last one on top.
    pub curves: Vec<Curve<'a>>,
}

impl Chart<'_> {
    /// Pixels that the legend and the labels of the marks take above the plot.
    pub fn head(&self, marks: &[Mark], named: bool) -> usize {
        let rows = usize::from(self.curves.len() > 1) + if named { marks.len() } else { 0 };
        rows * ROW + 14
    }

    /// The inside of an `<svg>` element that covers the plot area and lets its labels overflow: 48 pixels
    /// at the left, 24 below, [`Chart::head`] above. `named`: write beside each mark what it is.
    pub fn draw(&self, x: Steps, marks: &[Mark], named: bool) -> String {
        let (title, description) = (escape(&self.title), escape(&self.description));
        let mut svg = format!("<title>{title}</title><desc>{description}</desc>");
        self.axes(&mut svg, x);
        let places: Vec<(f64, &str)> =
            marks.iter().map(|m| (x.position(m.step), m.label.as_str())).collect();
        draw_marks(&mut svg, &places, named);
        let (width, height) = UNITS;
        let _ = write!(
            svg,
            "<svg class=\"curves\" width=\"100%\" height=\"100%\" viewBox=\"0 0 {width} {height}\" \
             preserveAspectRatio=\"none\">"
        );
        for curve in &self.curves {
            svg += &path(curve, x, &self.y, COLUMNS);
        }
        svg += "</svg>";
        if self.curves.len() > 1 {
            self.legend(&mut svg, self.head(marks, named) - ROW);
        }
        svg
    }

    fn axes(&self, svg: &mut String, x: Steps) {
        for i in 0..self.y.ticks.len() {
            let (at, label) = (percent(1.0 - self.y.position(self.y.ticks[i])), self.y.label(i));
            let _ = write!(
                svg,
                "<line class=\"grid\" x2=\"100%\" y1=\"{at}\" y2=\"{at}\"/>\
                 <text class=\"end\" x=\"-8\" y=\"{at}\" dy=\".32em\">{label}</text>"
            );
        }
        svg.push_str("<text class=\"end\" x=\"-8\" y=\"100%\" dy=\"18\">step</text>");
        for step in x.ticks() {
            let (at, label) = (percent(x.position(step)), short(step));
            let _ = write!(
                svg,
                "<line class=\"tick\" x1=\"{at}\" x2=\"{at}\" y1=\"0\" y2=\"100%\"/>\
                 <text class=\"middle\" x=\"{at}\" y=\"100%\" dy=\"18\">{label}</text>"
            );
        }
    }

    fn legend(&self, svg: &mut String, above: usize) {
        let mut left = 0;
        for Curve { name, class, .. } in &self.curves {
            let (end, text) = (left + 22, left + 28);
            let _ = write!(
                svg,
                "<line class=\"curve {class}\" x1=\"{left}\" x2=\"{end}\" y1=\"-{above}\" y2=\"-{above}\"/>\
                 <text x=\"{text}\" y=\"-{above}\" dy=\".32em\">{name}</text>"
            );
            // Text has no width before it is drawn: 6.6 px a letter holds for any 12 px sans serif.
            left = text + (name.chars().count() as f64 * 6.6) as usize + 14;
        }
    }
}

/// Vertical lines, each with its label on a row of its own, so that labels never collide however near
/// the steps are. A label right of its line sits higher the earlier it is, one left of its line the later
/// it is: then no line runs through the label of a neighbour on the same side.
/// A mark is its place, 0 to 1, and its label, which is markup.
pub(super) fn draw_marks(svg: &mut String, marks: &[(f64, &str)], named: bool) {
    let (mut before, mut after): (Vec<(f64, &str)>, Vec<_>) =
        marks.iter().partition(|mark| mark.0 > 0.4);
    before.sort_by(|a, b| b.0.total_cmp(&a.0));
    after.sort_by(|a, b| a.0.total_cmp(&b.0));
    let sides = before.iter().map(|m| (m, "end", -5)).chain(after.iter().map(|m| (m, "start", 5)));
    let mut labels = String::new();
    for (row, ((place, label), class, dx)) in sides.enumerate() {
        let at = percent(*place);
        let top = if named { (marks.len() - row) * ROW } else { 0 };
        let _ =
            write!(svg, "<line class=\"mark\" x1=\"{at}\" x2=\"{at}\" y1=\"-{top}\" y2=\"100%\"/>");
        if named {
            let _ = write!(
                labels,
                "<text class=\"mark {class}\" x=\"{at}\" dx=\"{dx}\" y=\"-{top}\" dy=\".8em\">{label}</text>"
            );
        }
    }
    *svg += &labels;
}

/// A curve as `<path>` elements in a viewport of 2000 by 1000 units, thinned to two readings in each of
/// `columns` columns.
pub fn path(curve: &Curve, x: Steps, y: &Values, columns: usize) -> String {
    let points = thin(curve.points, x, columns);
    let place = |&(step, value): &(u64, f64)| {
        let (left, up) = (x.position(step), y.position(value));
        ((left * UNITS.0).round() as i64, ((1.0 - up) * UNITS.1).round() as i64)
    };
    strokes(&points.iter().map(place).collect::<Vec<_>>(), curve.class)
}

/// Points of the inner viewport, joined, and a dot for each that is far from its neighbours.
pub(super) fn strokes(placed: &[(i64, i64)], class: &str) -> String {
    let Some(&first) = placed.first() else { return String::new() };

    let mut line = format!("M{} {}l", first.0, first.1);
    for pair in placed.windows(2) {
        let (dx, dy) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
        let _ = write!(line, "{dx} {dy} ");
    }
    let mut dots = String::new();
    let sparse = (SPARSE * UNITS.0) as i64;
    for (i, (left, up)) in placed.iter().enumerate() {
        let far = |j: usize| placed.get(j).is_none_or(|other| (other.0 - left).abs() > sparse);
        if far(i + 1) && far(i.wrapping_sub(1)) {
            let _ = write!(dots, "M{left} {up}h0");
        }
    }
    let mut svg = String::new();
    if placed.len() > 1 {
        let _ = write!(svg, "<path class=\"curve {class}\" d=\"{}\"/>", line.trim_end());
    }
    if !dots.is_empty() {
        let _ = write!(svg, "<path class=\"dots {class}\" d=\"{dots}\"/>");
    }
    svg
}

/// The lowest and the highest reading in each column of the picture, and the last reading of all: spikes
/// survive, and no more than 2 · columns + 1 readings are left. Values that are not finite are left out.
pub fn thin(points: &[(u64, f64)], x: Steps, columns: usize) -> Vec<(u64, f64)> {
    let column = |step| (x.position(step) * columns as f64) as usize;
    let finite: Vec<(u64, f64)> = points.iter().copied().filter(|(_, v)| v.is_finite()).collect();
    let mut kept = Vec::new();
    for bucket in finite.chunk_by(|a, b| column(a.0) == column(b.0)) {
        let lowest = bucket.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let highest = bucket.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        kept.extend(lowest.into_iter().chain(highest).copied());
    }
    kept.extend(finite.last());
    kept.sort_by_key(|&(step, _)| step);
    kept.dedup_by_key(|&mut (step, _)| step);
    kept
}

/// The smallest of 1, 2, 5, 10, 20, … (and .5, .2, .1, …) that is not below `width` > 0.
pub(super) fn round_up(width: f64) -> f64 {
    let decade = 10f64.powf(width.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|m| m * decade);
    // The slack absorbs the rounding of powf: 1000 must stay 1000.
    steps.into_iter().find(|&s| s >= width * (1.0 - 1e-9)).unwrap_or(10.0 * decade)
}

fn linear_ticks(lo: f64, hi: f64) -> Vec<f64> {
    let span = if hi > lo { hi - lo } else { lo.abs().max(1.0) * 0.1 };
    let step = round_up(span / 5.0);
    let (first, last) = ((lo / step + 1e-9).floor(), (hi / step - 1e-9).ceil());
    let last = last.max(first + 1.0);
    (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect()
}

/// Powers of ten, at most seven of them; 1, 2, 5 of each decade where there is less than a factor of 100.
pub(super) fn log_ticks(lo: f64, hi: f64) -> Vec<f64> {
    let exact = |mantissa: f64, e: i32| mantissa * 10f64.powi(e);
    let (first, last) = (lo.log10().floor() as i32, hi.log10().ceil() as i32);
    if last - first > 2 {
        let stride = ((last - first) as usize).div_ceil(6);
        let decades = (first..last + stride as i32).step_by(stride);
        return decades.map(|e| exact(1.0, e)).collect();
    }
    let fine =
        (first..=last).flat_map(|e| [1.0, 2.0, 5.0].map(|m| exact(m, e))).collect::<Vec<_>>();
    let from = fine.iter().rposition(|&t| t <= lo).unwrap_or(0);
    let to = fine.iter().position(|&t| t >= hi).unwrap_or(fine.len() - 1).max(from + 1);
    fine[from..=to].to_vec()
}

/// 0, 500, 10k, 2.5k, 3M.
fn short(step: u64) -> String {
    match step {
        0..1_000 => format!("{step}"),
        1_000..1_000_000 => format!("{}k", step as f64 / 1e3),
        _ => format!("{}M", step as f64 / 1e6),
    }
}

/// 10⁻³: the exponent.
pub(crate) fn superscript(exponent: i32) -> String {
    let digit = |c| match c {
        '-' => '⁻',
        c => "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(c as usize - '0' as usize).unwrap_or(c),
    };
    exponent.to_string().chars().map(digit).collect()
}

/// A share of the whole as CSS wants it, `0.375` → `37.5%`.
pub(super) fn percent(share: f64) -> String {
    format!("{}%", (share * 1e4).round() / 1e2)
}

/// Text made safe inside HTML and SVG, between tags as well as in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            // XML knows no other control characters, not even escaped.
            c if c.is_control() && !matches!(c, '\n' | '\r' | '\t') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Steps = Steps { scale: Scale::Log, last: 15_000 };
    const LINEAR: Steps = Steps { scale: Scale::Linear, last: 15_000 };

    #[test]
    fn both_axes_run_from_step_zero_at_the_left_to_the_last_step_at_the_right() {
        for axis in [LOG, LINEAR] {
            assert_eq!((axis.position(0), axis.position(15_000)), (0.0, 1.0));
        }
        assert!(LOG.position(1) > 0.05);
        let decade = LOG.position(10) - LOG.position(1);
        assert!((LOG.position(1000) - LOG.position(100) - decade).abs() < 1e-12);
    }

    #[test]
    fn steps_are_labelled_with_round_numbers() {
        let labels =
            |axis: Steps| axis.ticks().into_iter().map(short).collect::<Vec<_>>().join(" ");
        assert_eq!(labels(LOG), "0 1 10 100 1k 10k");
        assert_eq!(labels(LINEAR), "0 5k 10k 15k");
        assert_eq!(labels(Steps { scale: Scale::Linear, last: 1 }), "0 1");
        assert_eq!(labels(Steps { scale: Scale::Linear, last: 12_000 }), "0 2k 4k 6k 8k 10k 12k");
    }

    #[test]
    fn value_axes_enclose_the_data_and_end_at_round_numbers() {
        let labels = |points: &[(u64, f64)], log| {
            let axis = Values::around(&[Curve { name: "", class: "", points }], log).unwrap();
            (0..axis.ticks.len()).map(|i| axis.label(i)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels(&[(0, 0.847), (1, 0.481)], false), "0.4 0.5 0.6 0.7 0.8 0.9");
        assert_eq!(labels(&[(0, 117.2), (1, 18.1)], false), "0 20 40 60 80 100 120");
        assert_eq!(labels(&[(0, 5.0)], false), "5.0 5.1");
        assert_eq!(labels(&[(0, 4.6), (1, 0.0), (2, 3e-6)], true), "10⁻⁶ 10⁻⁴ 10⁻² 1 100");
        assert_eq!(labels(&[(0, 4.6), (1, 3.1)], true), "2 5");
        assert_eq!(labels(&[(0, 1.0)], true), "1 2");
        assert_eq!(labels(&[(0, 0.3), (1, 0.02)], true), "0.02 0.05 0.1 0.2 0.5");
        assert_eq!(labels(&[(0, 3e-6), (1, 1e-6)], true), "10⁻⁶ 2×10⁻⁶ 5×10⁻⁶");
        assert!(
            Values::around(&[Curve { name: "", class: "", points: &[(0, 0.0)] }], true).is_none()
        );
    }

    #[test]
    fn thinning_keeps_every_spike_and_the_last_reading() {
        let mut points: Vec<(u64, f64)> = (0..=15_000).map(|s| (s, 0.5)).collect();
        points[7_777].1 = 9.0;
        points[12_345].1 = -9.0;
        for axis in [LOG, LINEAR] {
            let kept = thin(&points, axis, COLUMNS);
            assert!(kept.len() <= 2 * COLUMNS + 3, "{} readings kept", kept.len());
            assert!(kept.contains(&(7_777, 9.0)) && kept.contains(&(12_345, -9.0)));
            assert_eq!(kept.last(), points.last());
            assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
        }
        assert_eq!(thin(&points[..3], LINEAR, COLUMNS).len(), 2, "one column: lowest and last");
    }

    #[test]
    fn labels_of_marks_at_the_same_step_stand_on_different_rows() {
        let mut svg = String::new();
        draw_marks(&mut svg, &[(0.6, ""), (0.6, ""), (0.01, "")], true);
        for y in [16, 32, 48] {
            assert_eq!(svg.matches(&format!("y=\"-{y}\" dy=\".8em\"")).count(), 1, "{svg}");
        }
    }
}
