//! A figure of a study as SVG: series of points, lines across, over any pair of axes.
//!   u = v or log₁₀ v,   place = (u − lo) / (hi − lo)                               in 0..=1 on each axis
//!
//! A point whose place is not defined (NaN, ∞, the logarithm of 0) is left out, and a line is broken there.
//! Drawn like the charts of a run: axes at percentages, points in a stretched inner viewport, every
//! colour a CSS class. Colours go by the series' names; the ninth name repeats the first's colour in another
//! style.

use super::chart::{
    COLUMNS, ROW, UNITS, draw_marks, escape, log_ticks, percent, round_up, strokes, superscript,
};
use super::page::whole;
use crate::study::grade::{Figure, Line, Mark, Series};
use std::fmt::Write;

/// Colours that stay apart for every kind of colour vision; as many styles for each.
const COLOURS: usize = 8;
const STYLES: usize = 4;
/// Height of the plot area, in pixels.
pub(crate) const HEIGHT: usize = 260;
/// Beyond this size a value is taken for a mistake, and has no place.
const LARGEST: f64 = 1e100;
/// A label of a vertical line, and of a horizontal one, is cut after so many letters on a telephone.
const SHORT: [usize; 2] = [26, 42];
/// Lines are drawn thinner from so many on, and dots smaller.
const MANY: [usize; 2] = [12, 300];

/// An axis. `lo` and `hi` are logarithms on a logarithmic one.
#[derive(Clone, Debug)]
struct Axis {
    log: bool,
    lo: f64,
    hi: f64,
    ticks: Vec<f64>,
}

/// What a value is on an axis; `None` where it has no place on any.
fn along(log: bool, value: f64) -> Option<f64> {
    let u = if log { value.log10() } else { value };
    (u.is_finite() && value.abs() <= LARGEST && (!log || value * LARGEST >= 1.0)).then_some(u)
}

impl Axis {
    /// An axis around these values, with some room beyond the outermost; `rounded`: to the next round
    /// numbers. `None` without a value.
    fn around(
        values: impl Iterator<Item = f64>,
        log: bool,
        room: f64,
        rounded: bool,
    ) -> Option<Axis> {
        let values = values.filter_map(|v| along(log, v));
        let (mut lo, mut hi) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), u| (u.min(lo), u.max(hi)));
        if lo > hi {
            return None;
        }
        // A constant has an axis around it.
        let size = if log { 1.0 } else { lo.abs().max(hi.abs()) };
        if size * LARGEST < 1.0 {
            (lo, hi) = (-0.5, 0.5);
        } else if hi - lo <= 1e-9 * size {
            (lo, hi) = (lo - 0.05 * size, hi + 0.05 * size);
        }
        (lo, hi) = (lo - room * (hi - lo), hi + room * (hi - lo));
        let ticks = match log {
            true if rounded => log_ticks(10f64.powf(lo), 10f64.powf(hi)),
            true => powers(lo, hi),
            // An axis whose ends are no ticks has room for one more.
            false => multiples(lo, hi, if rounded { 5.0 } else { 7.0 }),
        };
        if rounded {
            let end = |tick: Option<&f64>| tick.and_then(|&t| along(log, t));
            lo = end(ticks.first()).unwrap_or(lo).min(lo);
            hi = end(ticks.last()).unwrap_or(hi).max(hi);
        }
        let slack = 1e-9 * (hi - lo);
        let inside =
            |&tick: &f64| along(log, tick).is_some_and(|u| (lo - slack..=hi + slack).contains(&u));
        let mut ticks: Vec<f64> = ticks.into_iter().filter(inside).collect();
        if log && ticks.len() < 2 {
            ticks = multiples(10f64.powf(lo), 10f64.powf(hi), 5.0);
            ticks.retain(inside);
        }
        Some(Axis { log, lo, hi, ticks })
    }

    /// 0 at the lower end, 1 at the upper one.
    fn place(&self, value: f64) -> Option<f64> {
        along(self.log, value).map(|u| ((u - self.lo) / (self.hi - self.lo)).clamp(0.0, 1.0))
    }

    fn labels(&self) -> Vec<String> {
        let most = self.ticks.iter().fold(0.0, |most: f64, t| most.max(t.abs()));
        let apart = self.ticks.windows(2).map(|pair| pair[1] - pair[0]);
        let apart = apart.fold(f64::INFINITY, f64::min);
        // The ticks of a logarithmic axis have one digit, each its own size, unless they are close together.
        let one_digit = |t: &f64| {
            let lead = t / 10f64.powf(t.log10().floor());
            (lead - lead.round()).abs() < 1e-6
        };
        let log = self.log && self.ticks.iter().all(one_digit) && apart > 1e-3 * self.ticks[0];
        let label = |&tick: &f64| match log {
            true if (1e-3..1e7).contains(&tick) => decimal(tick, tick),
            false if most < 1e7 && apart > 1e-6 => decimal(tick, apart),
            _ => scientific(tick, if log { tick } else { apart }),
        };
        self.ticks.iter().map(label).collect()
    }
}

/// Powers of ten from 10^lo to 10^hi, or 1, 2, 5 of each decade where there are less than three.
fn powers(lo: f64, hi: f64) -> Vec<f64> {
    if hi - lo >= 3.0 {
        return log_ticks(10f64.powf(lo), 10f64.powf(hi));
    }
    let decades = lo.floor() as i32..=hi.ceil() as i32;
    decades.flat_map(|e| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(e))).collect()
}

/// Multiples of a round number, the outermost just outside, with at most so many steps from `lo` to `hi`.
fn multiples(lo: f64, hi: f64, steps: f64) -> Vec<f64> {
    let step = round_up((hi - lo) / steps);
    let (first, last) = ((lo / step + 1e-9).floor(), (hi / step - 1e-9).ceil());
    (first as i64..=last as i64).map(|i| i as f64 * step).collect()
}

/// `12,000`, `−0.05`: with the decimals that a difference of `step` needs.
fn decimal(value: f64, step: f64) -> String {
    let decimals = (-(step.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{:.decimals$}", value.abs());
    let (digits, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let sign =
        if value < 0.0 && text.contains(|c: char| ('1'..='9').contains(&c)) { "−" } else { "" };
    format!("{sign}{}{rest}", digits.parse().map_or(digits.to_owned(), whole))
}

/// `2×10⁶`, `−2.5×10⁻⁷`, `0`: with the digits that a difference of `step` needs.
fn scientific(value: f64, step: f64) -> String {
    let size = value.abs().max(step).log10().floor();
    let decimals = (size - (step.log10() + 1e-9).floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$e}").replace('-', "−");
    let (lead, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let lead =
        if lead.contains('.') { lead.trim_end_matches('0').trim_end_matches('.') } else { lead };
    let exponent = exponent.replace('−', "-").parse().unwrap_or(0);
    match lead {
        "0" | "−0" => "0".to_owned(),
        "1" => format!("10{}", superscript(exponent)),
        _ => format!("{lead}×10{}", superscript(exponent)),
    }
}

/// A series that has something to show.
struct Drawn<'a> {
    series: &'a Series,
    name: usize, // place among the figure's names
}

/// A figure with its axes.
pub(crate) struct Drawing<'a> {
    figure: &'a Figure,
    x: Axis,
    y: Axis,
    drawn: Vec<Drawn<'a>>,
    names: Vec<(&'a str, Mark)>,
}

impl<'a> Drawing<'a> {
    /// `None` if no point of the figure has a place.
    pub(crate) fn of(figure: &'a Figure) -> Option<Drawing<'a>> {
        let both = |&[x, y]: &[f64; 2]| {
            along(figure.log[0], x).is_some() && along(figure.log[1], y).is_some()
        };
        let mut names: Vec<(&str, Mark)> = Vec::new();
        let mut drawn = Vec::new();
        for series in figure.series.iter().filter(|s| s.points.iter().any(both)) {
            let known = names.iter().position(|(name, _)| *name == series.name);
            let name = known.unwrap_or_else(|| {
                names.push((&series.name, series.mark));
                names.len() - 1
            });
            drawn.push(Drawn { series, name });
        }
        let across = |horizontal| {
            let lines = figure.lines.iter();
            lines.filter(move |line| line.horizontal == horizontal).map(|line| line.at)
        };
        let points = || drawn.iter().flat_map(|d| &d.series.points).filter(|p| both(p));
        // An interval counts where its point does.
        let intervals = drawn.iter().filter(|d| d.series.mark == Mark::Interval);
        let ends = intervals.flat_map(|d| d.series.points.iter().zip(&d.series.ends));
        let ends = ends.filter(|(point, _)| both(point)).flat_map(|(_, ends)| *ends);
        let room = if drawn.iter().all(|d| d.series.mark == Mark::Line) { 0.0 } else { 0.02 };
        let [log_x, log_y] = figure.log;
        let places = figure.places.iter().map(|place| place.0);
        let xs = points().map(|p| p[0]).chain(across(false)).chain(places.clone());
        let mut x = Axis::around(xs, log_x, room, false)?;
        if !figure.places.is_empty() {
            x.ticks = places.collect();
        }
        let ys = points().map(|p| p[1]).chain(ends).chain(across(true));
        let y = Axis::around(ys, log_y, 0.0, true)?;
        (!drawn.is_empty()).then_some(Drawing { figure, x, y, drawn, names })
    }

    /// Whether the labels of the y axis need more than the usual 48 pixels.
    pub(crate) fn roomy(&self) -> bool {
        self.y.labels().iter().any(|label| label.chars().count() > 5)
    }

    /// The names of its series, each with what stands for it.
    pub(crate) fn names(&self) -> Vec<(&'a str, String)> {
        let key = |(i, &(name, mark)): (usize, &(&'a str, Mark))| {
            let class = class(i);
            let line = format!("<line class=\"curve {class}\" x2=\"22\" y1=\"6\" y2=\"6\"/>");
            let bar = format!("<path class=\"bar {class}\" d=\"M11 0V12\"/>");
            let dot = format!("<path class=\"dots {class}\" d=\"M11 6h0\"/>");
            let drawn = match mark {
                Mark::Line => line,
                Mark::Dots => dot,
                Mark::Interval => bar + &dot,
            };
            (name, drawn)
        };
        self.names.iter().enumerate().map(key).collect()
    }

    /// Lines across whose labels may be cut: their legend has them whole.
    pub(crate) fn long_lines(&self) -> impl Iterator<Item = &'a Line> {
        let lines = self.figure.lines.iter();
        lines.filter(|line| line.label.chars().count() > SHORT[usize::from(line.horizontal)])
    }

    fn upright(&self) -> impl Iterator<Item = (f64, &Line)> {
        let lines = self.figure.lines.iter().filter(|line| !line.horizontal);
        lines.filter_map(|line| Some((self.x.place(line.at)?, line)))
    }

    /// Pixels that the name of the y axis and the labels of upright lines take above the plot.
    pub(crate) fn head(&self) -> usize {
        self.upright().count() * ROW + 24
    }

    /// What the figure shows, for those who hear the page.
    fn description(&self) -> String {
        let [x, y] = self.figure.axes;
        let name = |name: &str| if name.is_empty() { String::new() } else { format!("; {name}") };
        let names: String = self.names.iter().map(|(text, _)| name(text)).collect();
        let lines: String = self.figure.lines.iter().map(|line| name(&line.label)).collect();
        format!("{y} against {x}{names}{lines}")
    }

    /// The inside of an `<svg>` element of [`HEIGHT`] that covers the plot area and lets its labels
    /// overflow: 48 or 72 pixels at the left ([`Drawing::roomy`]), 40 below, [`Drawing::head`] above.
    pub(crate) fn draw(&self, columns: usize) -> String {
        let (title, description) = (escape(&self.figure.title), escape(&self.description()));
        let mut svg = format!("<title>{title}</title><desc>{description}</desc>");
        self.draw_axes(&mut svg);
        let (width, height) = UNITS;
        let lines = self.drawn.iter().filter(|d| d.series.mark == Mark::Line).count();
        let points: usize = self.drawn.iter().map(|d| d.series.points.len()).sum();
        let thin = if lines > MANY[0] { " thin" } else { "" };
        let small = if points > MANY[1] { " small" } else { "" };
        let _ = write!(
            svg,
            "<svg class=\"curves{thin}{small}\" width=\"100%\" height=\"100%\" viewBox=\"0 0 {width} {height}\" \
             preserveAspectRatio=\"none\">"
        );
        for drawn in &self.drawn {
            let _ = write!(svg, "<g>{}</g>", self.series(drawn, columns));
        }
        svg += "</svg>";
        self.draw_lines(&mut svg);
        svg
    }

    fn draw_axes(&self, svg: &mut String) {
        for (&tick, label) in self.y.ticks.iter().zip(self.y.labels()) {
            let at = percent(1.0 - self.y.place(tick).unwrap_or(0.0));
            let _ = write!(
                svg,
                "<line class=\"grid\" x2=\"100%\" y1=\"{at}\" y2=\"{at}\"/>\
                 <text class=\"end\" x=\"-8\" y=\"{at}\" dy=\".32em\">{label}</text>"
            );
        }
        let places = &self.figure.places;
        let named = || places.iter().map(|place| escape(place.1)).collect();
        let labels: Vec<String> = if places.is_empty() { self.x.labels() } else { named() };
        // Letters have some 7 pixels, a telephone's plot 300: there every other label goes.
        let wide =
            labels.iter().map(|l| l.chars().count() as f64 * 6.6 + 12.0).sum::<f64>() > 240.0;
        for (i, (&tick, label)) in self.x.ticks.iter().zip(&labels).enumerate() {
            let at = percent(self.x.place(tick).unwrap_or(0.0));
            let spare = if wide && i % 2 == 1 { " desk" } else { "" };
            let _ = write!(
                svg,
                "<line class=\"tick\" x1=\"{at}\" x2=\"{at}\" y1=\"0\" y2=\"100%\"/>\
                 <text class=\"middle{spare}\" x=\"{at}\" y=\"100%\" dy=\"18\">{label}</text>"
            );
        }
        let (gutter, above) = (if self.roomy() { 72 } else { 48 }, self.head() - 10);
        let [x, y] = self.figure.axes.map(escape);
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"-{gutter}\" y=\"-{above}\">{y}</text>\
             <text class=\"axis end\" x=\"100%\" y=\"100%\" dy=\"35\">{x}</text>"
        );
    }

    fn draw_lines(&self, svg: &mut String) {
        let labels: Vec<(f64, String)> =
            self.upright().map(|(place, line)| (place, shortened(&line.label, SHORT[0]))).collect();
        let labels: Vec<(f64, &str)> = labels.iter().map(|(x, l)| (*x, l.as_str())).collect();
        draw_marks(svg, &labels, true);

        let lines = self.figure.lines.iter().filter(|line| line.horizontal);
        let mut lines: Vec<(f64, &Line)> =
            lines.filter_map(|line| Some((1.0 - self.y.place(line.at)?, line))).collect();
        lines.sort_by(|a, b| a.0.total_cmp(&b.0));
        let places: Vec<f64> = lines.iter().map(|(y, _)| y * HEIGHT as f64).collect();
        for ((y, line), shift) in lines.iter().zip(beside(&places)) {
            let (at, label) = (percent(*y), shortened(&line.label, SHORT[1]));
            let _ = write!(
                svg,
                "<line class=\"mark\" x2=\"100%\" y1=\"{at}\" y2=\"{at}\"/>\
                 <text class=\"mark end\" x=\"100%\" dx=\"-4\" y=\"{at}\" dy=\"{shift}\">{label}</text>"
            );
        }
    }

    /// Where a point stands in the inner viewport.
    fn units(&self, [x, y]: [f64; 2]) -> Option<(i64, i64)> {
        let (x, y) = (self.x.place(x)?, self.y.place(y)?);
        Some(((x * UNITS.0).round() as i64, ((1.0 - y) * UNITS.1).round() as i64))
    }

    fn series(&self, drawn: &Drawn, columns: usize) -> String {
        let (series, class) = (drawn.series, class(drawn.name));
        match series.mark {
            Mark::Line => {
                let mut svg = String::new();
                for part in self.parts(series, columns) {
                    let placed: Vec<(i64, i64)> =
                        part.iter().filter_map(|&p| self.units(p)).collect();
                    svg += &strokes(&placed, &class);
                }
                svg
            }
            Mark::Dots => dots(self.spots(series, columns).iter().map(|&(_, at)| at), &class),
            Mark::Interval => {
                let spots = self.spots(series, usize::MAX);
                let mut bars = String::new();
                for &(i, (x, _)) in &spots {
                    let ends = series.ends.get(i).copied().unwrap_or([f64::NAN; 2]);
                    if let [Some(from), Some(to)] = ends.map(|end| self.end(end)) {
                        let _ = write!(bars, "M{x} {from}V{to}");
                    }
                }
                let bars = if bars.is_empty() {
                    bars
                } else {
                    format!("<path class=\"bar {class}\" d=\"{bars}\"/>")
                };
                bars + &dots(spots.iter().map(|&(_, at)| at), &class)
            }
        }
    }

    /// Where an interval ends: one that goes to infinity, or below all logarithms, at the picture's edge.
    fn end(&self, value: f64) -> Option<i64> {
        let beyond = match value {
            _ if value.is_nan() => return None,
            _ if value > LARGEST => 1.0,
            _ => 0.0,
        };
        let y = self.y.place(value).unwrap_or(beyond);
        Some(((1.0 - y) * UNITS.1).round() as i64)
    }

    /// A line's unbroken parts, each thinned.
    fn parts(&self, series: &Series, columns: usize) -> Vec<Vec<[f64; 2]>> {
        let placed = |p: &[f64; 2]| self.units(*p).is_some();
        let parts = series.points.chunk_by(|a, b| placed(a) == placed(b));
        parts.filter(|part| placed(&part[0])).map(|part| self.thin(part, columns)).collect()
    }

    /// The first point and the last one, and of the others the lowest and the highest of each run of
    /// neighbours in one of so many columns: spikes survive. Never more than 2 · columns + 2.
    fn thin(&self, points: &[[f64; 2]], columns: usize) -> Vec<[f64; 2]> {
        let column = |p: &[f64; 2]| self.x.place(p[0]).map_or(0, |x| (x * columns as f64) as usize);
        let extremes = |runs: &mut dyn Iterator<Item = &[[f64; 2]]>| {
            let mut kept = vec![points[0]];
            for run in runs {
                let order = |a: &usize, b: &usize| run[*a][1].total_cmp(&run[*b][1]);
                let (low, high) = ((0..run.len()).min_by(order), (0..run.len()).max_by(order));
                let (low, high) = (low.unwrap_or(0), high.unwrap_or(0));
                kept.push(run[low.min(high)]);
                if low != high {
                    kept.push(run[low.max(high)]);
                }
            }
            kept.push(points[points.len() - 1]);
            kept.dedup();
            kept
        };
        if points.len() <= 2 * columns {
            return points.to_vec();
        }
        let kept = extremes(&mut points.chunk_by(|a, b| column(a) == column(b)));
        if kept.len() <= 2 * columns + 2 {
            return kept;
        }
        // It runs to and fro across the columns: neighbours in order, whatever their columns.
        extremes(&mut points.chunks(points.len().div_ceil(columns)))
    }

    /// Points with their number, one for each spot that can be told from others: at most 2 · columns.
    fn spots(&self, series: &Series, columns: usize) -> Vec<(usize, (i64, i64))> {
        let points = series.points.iter().enumerate();
        let all: Vec<(usize, (i64, i64))> =
            points.filter_map(|(i, &p)| Some((i, self.units(p)?))).collect();
        let mut size = 1;
        let mut kept = all.clone();
        while kept.len() > columns.saturating_mul(2) {
            size *= 2;
            let cell = |&(_, (x, y)): &(usize, (i64, i64))| (x / size, y / size);
            let mut seen = std::collections::HashSet::new();
            kept = all.iter().filter(|spot| seen.insert(cell(spot))).copied().collect();
        }
        kept
    }

    /// What a reader who points at the figure is told, as JSON: axes, names, and for each series the
    /// place of its name, its label, its points and its intervals' ends in one row each.
    pub(crate) fn data(&self, columns: usize) -> String {
        let text = |text: &str| {
            let json = serde_json::to_string(text).expect("text is JSON");
            json.replace('<', "\\u003c")
        };
        let axis = |axis: &Axis, name: &str| {
            format!("[{},{:?},{:?},{}]", text(name), axis.lo, axis.hi, axis.log)
        };
        let row = |values: &mut dyn Iterator<Item = f64>| {
            let numbers: Vec<String> = values.map(number).collect();
            format!("[{}]", numbers.join(","))
        };
        let series = self.drawn.iter().map(|d| {
            let series = d.series;
            let (points, ends) = match series.mark {
                Mark::Line => (self.parts(series, columns).concat(), Vec::new()),
                mark => {
                    let columns = if mark == Mark::Dots { columns } else { usize::MAX };
                    let spots = self.spots(series, columns);
                    let points = spots.iter().map(|&(i, _)| series.points[i]).collect();
                    let end = |&(i, _): &(usize, _)| series.ends.get(i).copied();
                    let ends = spots.iter().map(|spot| end(spot).unwrap_or([f64::NAN; 2]));
                    (points, if mark == Mark::Interval { ends.collect() } else { Vec::new() })
                }
            };
            let (points, ends) =
                (row(&mut points.into_iter().flatten()), row(&mut ends.into_iter().flatten()));
            format!("[{},{},{points},{ends}]", d.name, text(&series.label))
        });
        let series: Vec<String> = series.collect();
        let names: Vec<String> = self.names.iter().map(|(name, _)| text(name)).collect();
        let [x, y] = self.figure.axes;
        format!(
            "{{\"x\":{},\"y\":{},\"names\":[{}],\"series\":[{}]}}",
            axis(&self.x, x),
            axis(&self.y, y),
            names.join(","),
            series.join(",")
        )
    }
}

/// The CSS classes of a name.
fn class(name: usize) -> String {
    format!("s{} d{}", name % COLOURS, name / COLOURS % STYLES)
}

fn dots(spots: impl Iterator<Item = (i64, i64)>, class: &str) -> String {
    let d: String = spots.map(|(x, y)| format!("M{x} {y}h0")).collect();
    format!("<path class=\"dots {class}\" d=\"{d}\"/>")
}

/// A label, and what is left of it where there is no room.
fn shortened(label: &str, most: usize) -> String {
    if label.chars().count() <= most {
        return escape(label);
    }
    let short: String = label.chars().take(most - 1).collect();
    let (label, short) = (escape(label), escape(short.trim_end()));
    format!("<tspan class=\"desk\">{label}</tspan><tspan class=\"phone\">{short}…</tspan>")
}

/// How far below its line each label stands, in pixels: above the line if nothing is there, else below it,
/// else as near as there is room. Lines from top to bottom.
fn beside(lines: &[f64]) -> Vec<i64> {
    const LINE: f64 = 14.0;
    let mut taken: Vec<f64> = Vec::new();
    let mut shifts = Vec::new();
    for &line in lines {
        let further = (1..=2 * lines.len() as i64).flat_map(|k| [15 + 14 * k, -5 - 14 * k]);
        let shift = [-5, 15].into_iter().chain(further).find(|&shift| {
            let at = line + shift as f64;
            let inside = at >= 10.0 && at <= HEIGHT as f64 - 3.0;
            inside && taken.iter().all(|other| (other - at).abs() >= LINE)
        });
        let shift = shift.unwrap_or(-5);
        taken.push(line + shift as f64);
        shifts.push(shift);
    }
    shifts
}

/// A number for the page: whole ones whole, others to five digits.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "null".to_owned();
    }
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{}", value as i64);
    }
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    format!("{rounded:?}")
}

/// How many columns the lines of several figures may have if their points are to be no more than `budget`.
pub(crate) fn columns(figures: &[&Figure], budget: usize) -> usize {
    let series = || figures.iter().flat_map(|f| &f.series).map(|s| s.points.len());
    let fits = |columns: &usize| series().map(|n| n.min(2 * columns)).sum::<usize>() <= budget;
    [COLUMNS, 500, 350, 250, 180, 120, 80, 50, 30].into_iter().find(fits).unwrap_or(20)
}

/// A figure as one SVG file of 960 pixels' width, light or dark as the reader's system is: for a README.
pub fn figure_svg(figure: &Figure) -> String {
    const WIDTH: usize = 960;
    let mut top = 0;
    let mut inside = String::new();
    for line in wrapped(&figure.title, 104) {
        top += 22;
        let _ = writeln!(
            inside,
            "<text class=\"heading\" x=\"16\" y=\"{top}\">{}</text>",
            escape(&line)
        );
    }
    match Drawing::of(figure) {
        None => {
            top += 30;
            let _ = writeln!(inside, "<text x=\"16\" y=\"{top}\">There is nothing to draw.</text>");
            top += 20;
        }
        Some(drawing) => {
            let left = if drawing.roomy() { 88 } else { 64 };
            let (y, width) = (top + 14 + drawing.head(), WIDTH - left - 28);
            let plot = drawing.draw(COLUMNS);
            let _ = writeln!(
                inside,
                "<svg x=\"{left}\" y=\"{y}\" width=\"{width}\" height=\"{HEIGHT}\">{plot}</svg>"
            );
            top = y + HEIGHT + 46;
            let mut at = 16;
            for (name, key) in drawing.names().iter().filter(|(name, _)| !name.is_empty()) {
                let long = 28 + (name.chars().count() as f64 * 6.6) as usize + 18;
                if at > 16 && at + long > WIDTH {
                    (at, top) = (16, top + 20);
                }
                let (text, name) = (at + 28, escape(name));
                let _ = writeln!(
                    inside,
                    "<g transform=\"translate({at} {top})\">{key}</g><text x=\"{text}\" y=\"{top}\" \
                     dy=\"10\">{name}</text>"
                );
                at += long;
            }
            top += 28;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top}\" \
         viewBox=\"0 0 {WIDTH} {top}\" role=\"img\">\n<title>{}</title>\n\
         <style>\n{}{}svg text.heading {{ font-size: 15px; font-weight: 600; fill: var(--ink); }}\n</style>\n\
         <rect width=\"{WIDTH}\" height=\"{top}\" fill=\"var(--paper)\"/>\n{inside}</svg>\n",
        escape(&figure.title),
        include_str!("chart.css"),
        include_str!("figure.css"),
    )
}

/// Text in lines of at most so many letters, where its words allow.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < most => {
                *line = format!("{line} {word}");
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::seed::Seed;
    use rand::RngExt;

    pub(in crate::report) fn series(name: &str, mark: Mark, points: &[[f64; 2]]) -> Series {
        let ends = points.iter().map(|[_, y]| [y - 0.1, y + 0.1]).collect();
        Series { name: name.into(), mark, points: points.to_vec(), ends, label: name.into() }
    }

    pub(in crate::report) fn figure(
        log: [bool; 2],
        series: Vec<Series>,
        lines: Vec<Line>,
    ) -> Figure {
        Figure { title: "Title".into(), axes: ["step", "H̃"], log, places: vec![], series, lines }
    }

    fn line(label: &str, at: f64, horizontal: bool) -> Line {
        Line { label: label.into(), at, horizontal }
    }

    /// Every place in a drawing: shares of the axes in percent, and points of the inner viewport.
    fn places(svg: &str) -> (Vec<f64>, Vec<(i64, i64)>) {
        let shares = svg.split('"').filter_map(|text| text.strip_suffix('%')?.parse().ok());
        let mut points = Vec::new();
        for d in svg.split(" d=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let (mut at, mut relative) = ((0, 0), false);
            // M x y, l dx dy dx dy …, V y, h0: a letter, then its numbers.
            let mut rest = d;
            while let Some(letter) = rest.chars().next() {
                let end = rest[1..].find(|c: char| c.is_alphabetic()).map_or(rest.len(), |i| i + 1);
                let numbers: Vec<i64> =
                    rest[1..end].split_whitespace().map(|n| n.parse().expect(d)).collect();
                match letter {
                    'M' => (at, relative) = ((numbers[0], numbers[1]), false),
                    'l' => relative = true,
                    'V' => at.1 = numbers[0],
                    'h' => assert_eq!(numbers, [0]),
                    other => panic!("{other} in {d}"),
                }
                if relative {
                    for pair in numbers.chunks(2) {
                        at = (at.0 + pair[0], at.1 + pair[1]);
                        points.push(at);
                    }
                } else {
                    points.push(at);
                }
                rest = &rest[end..];
            }
        }
        (shares.collect(), points)
    }

    fn assert_inside(figure: &Figure, columns: usize, case: u64) {
        let Some(drawing) = Drawing::of(figure) else { return };
        let svg = drawing.draw(columns);
        let (shares, points) = places(&svg);
        assert!(shares.iter().all(|s| (0.0..=100.0).contains(s)), "case {case}");
        assert!(!points.is_empty(), "case {case}");
        let inside = |(x, y): &(i64, i64)| (0..=2000).contains(x) && (0..=1000).contains(y);
        assert!(points.iter().all(inside), "case {case}");
        for (axis, most) in [(&drawing.x, 12), (&drawing.y, 12)] {
            assert!(axis.lo < axis.hi, "case {case}: {axis:?}");
            assert!((2..=most).contains(&axis.ticks.len()), "case {case}: {axis:?}");
            let labels = axis.labels();
            let set: std::collections::HashSet<&String> = labels.iter().collect();
            assert_eq!(set.len(), labels.len(), "case {case}: {axis:?} {labels:?}");
        }
        let data: serde_json::Value = serde_json::from_str(&drawing.data(columns)).unwrap();
        assert_eq!(data["series"].as_array().unwrap().len(), drawing.drawn.len());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "case {case}");
        assert!(figure_svg(figure).ends_with("</svg>\n"));
    }

    #[test]
    fn whatever_the_numbers_all_that_is_drawn_lies_inside_the_picture() {
        let odd = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0,
            -0.0,
            1e308,
            -1e308,
            5e-324,
            1e-100,
            1.0,
        ];
        for case in 0..3_000 {
            let mut rng = Seed(7).stream("figures", case);
            let size = 10f64.powi(rng.random_range(-12..13));
            let centre = [0.0, 1.0, 1e3, -50.0][rng.random_range(0..4)] * size;
            let spread = [0.0, 1e-12, 1e-3, 1.0, 1e6][rng.random_range(0..5)] * size;
            let share = [0.0, 0.02, 0.5, 1.0][rng.random_range(0..4)];
            let mut value = || {
                if rng.random::<f64>() < share {
                    odd[rng.random_range(0..odd.len())]
                } else {
                    centre + spread * (rng.random::<f64>() - 0.5)
                }
            };
            let points = |n: usize, value: &mut dyn FnMut() -> f64| {
                (0..n).map(|_| [value(), value()]).collect::<Vec<[f64; 2]>>()
            };
            let counts = [0, 1, 2, 7, 300];
            let drawn = (0..case % 5).map(|i| {
                let n = counts[((case + 3 * i) % 5) as usize];
                let mark = [Mark::Line, Mark::Dots, Mark::Interval][((case + i) % 3) as usize];
                let mut series = series("a", mark, &points(n, &mut value));
                series.ends = points(n / 2 + 1, &mut value);
                series
            });
            let drawn: Vec<Series> = drawn.collect();
            let lines = (0..case % 4).map(|i| line("x", value(), i % 2 == 0)).collect();
            let log = [case % 2 == 0, case % 3 == 0];
            assert_inside(&figure(log, drawn, lines), [750, 20][(case % 2) as usize], case);
        }
    }

    #[test]
    fn points_without_a_place_are_left_out_and_break_the_line() {
        let points = [[0.0, 1.0], [1.0, 2.0], [2.0, f64::NAN], [3.0, 4.0], [4.0, 0.0]];
        let parts = |log: [bool; 2]| {
            let figure = figure(log, vec![series("a", Mark::Line, &points)], vec![]);
            let drawing = Drawing::of(&figure).unwrap();
            drawing.parts(&figure.series[0], 750)
        };
        assert_eq!(parts([false, false]), [points[..2].to_vec(), points[3..].to_vec()]);
        assert_eq!(parts([true, true]), [points[1..2].to_vec(), points[3..4].to_vec()]);
        let nothing = [[0.0, f64::NAN], [f64::INFINITY, 1.0]];
        assert!(
            Drawing::of(&figure([false; 2], vec![series("a", Mark::Line, &nothing)], vec![]))
                .is_none()
        );
        assert!(Drawing::of(&figure([false; 2], vec![], vec![line("a", 1.0, true)])).is_none());
    }

    #[test]
    fn ticks_are_round_numbers_and_thousands_stand_apart() {
        let labels = |values: &[f64], log, rounded| {
            Axis::around(values.iter().copied(), log, 0.0, rounded).unwrap().labels().join(" ")
        };
        assert_eq!(
            labels(&[0.0, 30_000.0], false, false),
            "0 5,000 10,000 15,000 20,000 25,000 30,000"
        );
        assert_eq!(labels(&[0.0, 50_000.0], false, false), "0 10,000 20,000 30,000 40,000 50,000");
        assert_eq!(labels(&[0.481, 0.847], false, true), "0.4 0.5 0.6 0.7 0.8 0.9");
        assert_eq!(labels(&[-1_200.0, 2_300.0], false, true), "−2,000 −1,000 0 1,000 2,000 3,000");
        assert_eq!(labels(&[-0.05, 0.02], false, true), "−0.06 −0.04 −0.02 0.00 0.02");
        assert_eq!(labels(&[3e7, 1.2e8], false, true), "2×10⁷ 4×10⁷ 6×10⁷ 8×10⁷ 10⁸ 1.2×10⁸");
        assert_eq!(
            labels(&[100.0, 50_000.0], true, false),
            "100 200 500 1,000 2,000 5,000 10,000 20,000 50,000"
        );
        assert_eq!(labels(&[10.0, 50_000.0], true, false), "10 100 1,000 10,000");
        assert_eq!(labels(&[3.1, 4.6], true, false), "3.5 4.0 4.5");
        assert_eq!(labels(&[2e-6, 3.0], true, true), "10⁻⁶ 10⁻⁴ 0.01 1 100");
        assert_eq!(labels(&[7.0], false, true), "6.6 6.8 7.0 7.2 7.4");
        assert_eq!(labels(&[0.0], false, true), "−0.6 −0.4 −0.2 0.0 0.2 0.4 0.6");
    }

    #[test]
    fn series_of_one_name_share_their_colour_and_the_ninth_name_has_another_style() {
        let point = [[0.0, 1.0]];
        let names = ["a", "b", "a", "c", "d", "e", "f", "g", "h", "i"];
        let all = names.map(|name| series(name, Mark::Line, &point)).to_vec();
        let figure = figure([false; 2], all, vec![]);
        let drawing = Drawing::of(&figure).unwrap();
        let classes: Vec<String> = drawing.drawn.iter().map(|d| class(d.name)).collect();
        assert_eq!(classes[..4], ["s0 d0", "s1 d0", "s0 d0", "s2 d0"]);
        assert_eq!(classes[9], "s0 d1");
        assert_eq!(drawing.names().len(), 9);
    }

    #[test]
    fn thinning_keeps_the_ends_and_every_spike_also_where_a_line_runs_to_and_fro() {
        let spiral: Vec<[f64; 2]> = (0..20_000)
            .map(|i| [(f64::from(i) * 0.7).sin(), if i == 7_777 { 9.0 } else { 0.5 }])
            .collect();
        let steps: Vec<[f64; 2]> =
            spiral.iter().zip(0..).map(|(p, i)| [f64::from(i), p[1]]).collect();
        for points in [spiral, steps] {
            let figure = figure([false; 2], vec![series("a", Mark::Line, &points)], vec![]);
            let kept = Drawing::of(&figure).unwrap().parts(&figure.series[0], 100).concat();
            assert!(kept.len() <= 202, "{}", kept.len());
            assert!(kept.contains(&points[7_777]));
            assert_eq!((kept[0], kept[kept.len() - 1]), (points[0], points[19_999]));
        }
    }

    #[test]
    fn an_interval_without_an_end_goes_to_the_edge() {
        let mut of = series("a", Mark::Interval, &[[1.0, 1.0], [2.0, 10.0], [3.0, 5.0]]);
        of.ends = vec![[0.0, 2.0], [5.0, f64::INFINITY], [f64::NAN, 6.0]];
        let svg = Drawing::of(&figure([false, true], vec![of], vec![])).unwrap().draw(750);
        let bars = svg.split("class=\"bar s0 d0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        let ends: Vec<&str> = bars.split('M').skip(1).collect();
        assert_eq!(ends.len(), 2, "{bars}");
        assert!(ends[0].contains(" 1000V") && ends[1].ends_with("V0"), "{bars}");
    }

    #[test]
    fn labels_of_lines_that_lie_close_together_do_not_overlap() {
        for lines in
            [vec![100.0; 4], vec![2.0, 4.0, 6.0], vec![258.0, 259.0, 260.0], vec![50.0, 60.0, 70.0]]
        {
            let mut at: Vec<f64> =
                lines.iter().zip(beside(&lines)).map(|(y, shift)| y + shift as f64).collect();
            at.sort_by(f64::total_cmp);
            assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 14.0), "{lines:?}: {at:?}");
            assert!(at[0] >= 10.0 && at[at.len() - 1] <= 260.0, "{at:?}");
        }
    }

    #[test]
    fn text_in_a_figure_cannot_become_markup() {
        let evil = "</script><script>alert('1')</script>&\"";
        let mut all = figure(
            [false; 2],
            vec![series(evil, Mark::Dots, &[[0.0, 1.0]])],
            vec![line(evil, 1.0, true), line(evil, 0.0, false)],
        );
        all.title = evil.into();
        let svg = figure_svg(&all);
        let data = Drawing::of(&all).unwrap().data(750);
        assert!(!svg.contains("<script") && !data.contains('<'), "{svg} {data}");
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data["names"][0], evil);
    }
}
