//! The ledger as one self-contained page, in the style of the reports: a roofline, where the time goes,
//! the table, the formulas, config and machine.
//!
//! ```text
//! roofline    x = flops / bytes, y = flops / time, both logarithmic;  roofs y = peak and y = bandwidth·x
//! ```

use super::Ledger;
use super::rows::{Pass, Row};
use super::table::{error, heading, shapes, size};
use crate::report::chart::{escape, superscript};
use crate::report::page::start;
use std::fmt::Write;

/// The whole page.
pub fn html(l: &Ledger) -> String {
    let title = escape(&format!("Audit of {}, seed {}", l.preset, l.seed));
    let mut page = start(&title, include_str!("page.css"));
    let _ = writeln!(
        page,
        "<header>\n<h1>{title}</h1>\n<p class=\"story\">{}</p>\n</header>",
        escape(&story(l))
    );
    tiles(&mut page, l);
    let _ = write!(
        page,
        "<section>\n<h2>Roofline</h2>\n<p class=\"muted\">Each dot is an op: how much it computes for a \
         byte, and how fast. Filled: forward; ring: backward. The level line is the machine's peak of \
         fused multiply-adds, the slopes are its bandwidths, by size of the working set. Copies, which \
         compute nothing, and what takes less than a thousandth of the step have no dot.</p>\n<div class=\"wide\">{}</div>\n</section>\n\
         <section>\n<h2>Where the time goes</h2>\n<p class=\"muted\">Forward above, backward below, in \
         microseconds; the line across each bar is its floor: flops at the peak or bytes at the \
         bandwidth, whichever takes longer.</p>\n<div class=\"wide\">{}</div>\n</section>\n",
        roofline(l),
        bars(l),
    );
    table(&mut page, l);
    formulas(&mut page, l);
    let _ = write!(
        page,
        "<section>\n<h2>Config</h2>\n<pre>{}</pre>\n</section>\n",
        escape(l.config.trim_end())
    );
    environment(&mut page, l);
    page += "</html>\n";
    page
}

fn story(l: &Ledger) -> String {
    let t = &l.totals;
    format!(
        "The update after {} steps, {} examples, {} thread{}: {:.3} ms, {:.2} times its floor of {:.3} ms. \
         The ops and the rest, measured one by one, sum to {:.1} % of a step measured whole.",
        l.step,
        l.batch,
        l.threads,
        if l.threads == 1 { "" } else { "s" },
        t.step_ms,
        t.over_floor,
        t.floor_ms,
        100.0 * t.reconciled,
    )
}

fn tiles(page: &mut String, l: &Ledger) {
    let (t, w, most) = (&l.totals, &l.worst, &l.tolerance);
    let gflops = t.flops as f64 / t.step_ms / 1e6;
    let rows = [
        ("Step", format!("{:.3} ms", t.step_ms), format!("quietest quarter of {}", t.repeats)),
        (
            "Floor",
            format!("{:.3} ms", t.floor_ms),
            format!("the step takes {:.2} times", t.over_floor),
        ),
        (
            "Speed",
            format!("{gflops:.0} GFLOP/s"),
            format!("{:.0} % of {:.0}", 100.0 * gflops / l.peak_gflops, l.peak_gflops),
        ),
        ("H̃ on top", format!("{:.3} ms", l.on_top.ms), format!("of {}", l.on_top.name)),
        (
            "Values against f64",
            format!("{:.1e}", w.value_error),
            format!("at most {:.0e}", most.value_error),
        ),
        (
            "Gradients against f64",
            format!("{:.1e}", w.gradient_error),
            format!("at most {:.0e}", most.gradient_error),
        ),
        (
            "Gradient check",
            format!("{:.1e}", w.gradient_check),
            format!("f64 against differences, at most {:.0e}", most.gradient_check),
        ),
        (
            "AdamW against f64",
            format!("{:.1e}", w.optimiser_error),
            format!("at most {:.0e}", most.optimiser_error),
        ),
    ];
    page.push_str("<dl class=\"tiles\">\n");
    for (name, value, note) in rows {
        let _ = writeln!(
            page,
            "<div><dt>{name}</dt><dd class=\"value\">{value}</dd><dd class=\"note\">{}</dd></div>",
            escape(&note)
        );
    }
    page.push_str("</dl>\n");
}

fn class(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::Backward => "backward",
        _ => "other",
    }
}

/// Where a value stands between two others on a logarithmic axis: 0 to 1.
fn between(value: f64, (low, high): (f64, f64)) -> f64 {
    (value / low).log10() / (high / low).log10()
}

/// A logarithmic axis around all values, with some room at both ends.
fn around(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    (values.clone().fold(f64::INFINITY, f64::min) / 1.6, 1.6 * values.fold(0.0, f64::max))
}

/// The powers of ten on an axis.
fn decades((low, high): (f64, f64)) -> impl Iterator<Item = i32> {
    low.log10().ceil() as i32..=high.log10().floor() as i32
}

/// A row that takes a smaller share of the step has no dot.
const SHOWN: f64 = 1e-3;
/// The roofs that are drawn: every other working set.
const ROOFS: usize = 2;

fn roofline(l: &Ledger) -> String {
    const PLOT: (f64, f64, f64, f64) = (64.0, 12.0, 980.0, 420.0); // left, top, width, height
    let (left, top, width, height) = PLOT;
    let shown = |r: &&Row| r.flops > 0 && r.ms >= SHOWN * l.totals.ms;
    let computing: Vec<&Row> = l.rows.iter().filter(shown).collect();
    let intensity = |r: &Row| r.flops as f64 / r.bytes as f64;
    let ridge =
        l.peak_gflops / l.bandwidth.iter().map(|b| b.gb_per_s).fold(f64::INFINITY, f64::min);
    let xs = around(computing.iter().map(|r| intensity(r)).chain([ridge]));
    let ys = around(computing.iter().map(|r| r.gflops).chain([l.peak_gflops]));
    let x = |v: f64| left + width * between(v, xs);
    let y = |v: f64| top + height * (1.0 - between(v, ys));
    let mut svg = format!(
        "<svg viewBox=\"0 0 1060 480\" role=\"img\"><title>Roofline</title><desc>{} ops; peak {:.0} \
         GFLOP/s</desc>",
        computing.len(),
        l.peak_gflops
    );
    for e in decades(ys) {
        let at = y(10f64.powi(e));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"end\" x=\"{}\" y=\"{at:.1}\" dy=\".32em\">{}</text>",
            left + width,
            left - 8.0,
            power(e),
        );
    }
    for e in decades(xs) {
        let at = x(10f64.powi(e));
        let _ = write!(
            svg,
            "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{}\"/>\
             <text class=\"middle\" x=\"{at:.1}\" y=\"{}\">{}</text>",
            top + height,
            top + height + 18.0,
            power(e),
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{left}\" y=\"{top}\" dx=\"6\" dy=\"12\">GFLOP/s</text>\
         <text class=\"end\" x=\"{}\" y=\"{}\">flops per byte</text>",
        left + width,
        top + height + 38.0
    );

    // Roofs, and boxes that labels must keep clear of: (left, top, right, bottom).
    let peak = l.peak_gflops;
    let ridge = x((peak / l.bandwidth[0].gb_per_s).max(xs.0));
    let _ = write!(
        svg,
        "<line class=\"roof peak\" x1=\"{ridge:.1}\" x2=\"{0}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>\
         <text class=\"end\" x=\"{0}\" y=\"{1:.1}\" dy=\"-6\">{peak:.0} GFLOP/s</text>",
        left + width,
        y(peak)
    );
    let mut taken = vec![
        [ridge, y(peak) - 3.0, left + width, y(peak) + 3.0],
        [left + width - 90.0, y(peak) - 20.0, left + width, y(peak)],
    ];
    // All slopes are parallel, y = bandwidth·x on logarithmic axes; the text runs along.
    let rise = (height / (ys.1 / ys.0).log10()) / (width / (xs.1 / xs.0).log10());
    let angle = -rise.atan().to_degrees();
    for b in l.bandwidth.iter().step_by(ROOFS) {
        let from = xs.0.max(ys.0 / b.gb_per_s);
        let (x2, y2) = (x(peak / b.gb_per_s), y(peak));
        let _ = write!(
            svg,
            "<line class=\"roof\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\
             <text class=\"end slope\" transform=\"translate({x2:.1} {y2:.1}) rotate({angle:.1})\" dx=\"-16\" \
             dy=\"-4\">{}, {:.0} GB/s</text>",
            x(from),
            y(b.gb_per_s * from),
            size(b.bytes),
            b.gb_per_s
        );
    }

    let mut dots: Vec<(&Row, f64, f64)> =
        computing.iter().map(|r| (*r, x(intensity(r)), y(r.gflops))).collect();
    taken.extend(dots.iter().map(|(_, x, y)| [x - 5.0, y - 5.0, x + 5.0, y + 5.0]));
    for (row, x, y) in &dots {
        let _ = write!(
            svg,
            "<circle class=\"dot {}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
            class(row.pass),
            escape(&format!(
                "{} {}, {}: {:.1} µs, {:.0} GFLOP/s, {:.0} % of the roof",
                row.kind,
                row.name,
                heading(row.pass),
                1e3 * row.ms,
                row.gflops,
                100.0 * row.roof_share
            )),
        );
    }
    // Long rows choose the place of their label first.
    dots.sort_by(|a, b| b.0.ms.total_cmp(&a.0.ms));
    for (row, x, y) in dots {
        let number = row.op.map_or(String::new(), |i| format!("{i} "));
        let long = format!("{number}{}", row.kind);
        let short = row.op.map_or(row.kind.clone(), |i| i.to_string());
        let texts = if row.ms > 0.02 * l.totals.ms { [&long, &short] } else { [&short, &short] };
        let places = texts.into_iter().flat_map(|text| {
            let width = 6.2 * text.chars().count() as f64;
            let sides = [8.0, -8.0 - width, -width / 2.0];
            (0..6).flat_map(move |ring| {
                let far = 11.0 * f64::from(ring);
                let heights = [0.0, -far, far];
                sides.into_iter().flat_map(move |dx| heights.map(move |dy| (text, width, dx, dy)))
            })
        });
        let clear = |&(_, width, dx, dy): &(&String, f64, f64, f64)| {
            let [l1, t1, r1, b1] = [x + dx, y + dy - 5.5, x + dx + width, y + dy + 5.5];
            l1 > left
                && r1 < left + 980.0
                && b1 < top + height
                && t1 > top
                && taken.iter().all(|&[l2, t2, r2, b2]| l1 > r2 || r1 < l2 || t1 > b2 || b1 < t2)
        };
        let Some((text, width, dx, dy)) = places.into_iter().find(clear) else { continue };
        taken.push([x + dx, y + dy - 5.5, x + dx + width, y + dy + 5.5]);
        if dy.abs() > 12.0 {
            let _ = write!(
                svg,
                "<line class=\"lead\" x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
                if dx > 0.0 {
                    x + dx
                } else if dx < -width {
                    x + dx + width
                } else {
                    x
                },
                y + dy - 4.0 * dy.signum()
            );
        }
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" dy=\".32em\">{text}</text>",
            x + dx,
            y + dy
        );
    }
    svg + "</svg>"
}

fn power(e: i32) -> String {
    match e {
        -2..=3 => format!("{}", 10f64.powi(e)),
        _ => format!("10{}", superscript(e)),
    }
}

fn bars(l: &Ledger) -> String {
    const ROW: f64 = 27.0;
    const LEFT: f64 = 330.0;
    const WIDTH: f64 = 660.0;
    let most = l.rows.iter().map(|r| r.ms).fold(l.on_top.ms, f64::max);
    let rows: Vec<[Option<&Row>; 2]> = l
        .rows
        .iter()
        .chain([&l.on_top])
        .filter(|r| r.pass != Pass::Backward)
        .map(|row| {
            let back = l.rows.iter().find(|r| r.pass == Pass::Backward && r.op == row.op);
            [Some(row), back.filter(|_| row.op.is_some())]
        })
        .collect();
    let height = ROW * rows.len() as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 1060 {height}\" role=\"img\"><title>Where the time goes</title>\
         <desc>{} rows, {:.3} ms in all</desc>",
        rows.len(),
        l.totals.ms
    );
    for (i, pair) in rows.iter().enumerate() {
        let top = ROW * i as f64;
        let Some(first) = pair[0] else { continue };
        let number = first.op.map_or(String::new(), |i| i.to_string());
        let name = if first.pass == Pass::Observer {
            format!("{} (on top)", first.name)
        } else {
            first.name.clone()
        };
        let _ = write!(
            svg,
            "<text class=\"end\" x=\"18\" y=\"{0}\">{number}</text>\
             <text class=\"name\" x=\"28\" y=\"{0}\">{1}</text><text x=\"118\" y=\"{0}\">{2}</text>",
            top + 15.0,
            escape(&first.kind),
            escape(&name),
        );
        let count = pair.iter().flatten().count() as f64;
        let thick = 20.0 / count.max(1.5);
        for (j, row) in pair.iter().flatten().enumerate() {
            let y = top + 1.0 + (thick + 1.0) * j as f64 + if count < 2.0 { 3.5 } else { 0.0 };
            let (long, floor) = (WIDTH * row.ms / most, LEFT + WIDTH * row.floor_ms / most);
            let _ = write!(
                svg,
                "<rect class=\"{}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{long:.2}\" height=\"{thick:.1}\"/>\
                 <line class=\"floor\" x1=\"{floor:.1}\" x2=\"{floor:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"time\" x=\"{:.1}\" y=\"{:.1}\" dy=\".35em\">{:.1}</text>",
                class(row.pass),
                y - 0.5,
                y + thick + 0.5,
                (LEFT + long).max(floor) + 5.0,
                y + thick / 2.0,
                1e3 * row.ms,
            );
        }
    }
    svg + "</svg>"
}

fn table(page: &mut String, l: &Ledger) {
    page.push_str(
        "<section>\n<h2>Ledger</h2>\n<div class=\"wide\"><table class=\"ledger\">\n<thead><tr><th>op</th>\
         <th>does</th><th>result</th>",
    );
    for name in ["Mflop", "KiB", "µs", "GFLOP/s", "roof", "kept KiB", "error", "check"] {
        let _ = write!(page, "<th class=\"number\">{name}</th>");
    }
    page.push_str("</tr></thead>\n");
    let mut pass = None;
    for row in l.rows.iter().chain([&l.on_top]) {
        if pass.replace(row.pass) != Some(row.pass) {
            let _ = writeln!(
                page,
                "<tr><th class=\"group\" colspan=\"11\">{}</th></tr>",
                heading(row.pass)
            );
        }
        let number = row.op.map_or(String::new(), |i| i.to_string());
        let _ = write!(
            page,
            "<tr><td>{number}</td><td>{}</td><td><code>{}</code></td>",
            escape(&row.kind),
            escape(&row.name)
        );
        for value in [
            format!("{:.3}", row.flops as f64 / 1e6),
            format!("{:.1}", row.bytes as f64 / 1024.0),
            format!("{:.1}", 1e3 * row.ms),
            format!("{:.1}", row.gflops),
            format!("{:.0} %", 100.0 * row.roof_share),
            format!("{:.1}", row.kept_bytes as f64 / 1024.0),
            error(row.error),
            error(row.gradient_check),
        ] {
            let _ = write!(page, "<td class=\"number\">{value}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n</section>\n");
}

fn formulas(page: &mut String, l: &Ledger) {
    page.push_str(
        "<section>\n<h2>Formulas and sources</h2>\n<div class=\"wide\"><table class=\"formulas\">\n<thead>\
         <tr><th>op</th><th>forward</th><th>backward</th><th>shapes</th><th>source</th></tr></thead>\n",
    );
    for row in l.rows.iter().filter(|r| r.pass != Pass::Backward).chain([&l.on_top]) {
        let back = l.rows.iter().find(|r| r.pass == Pass::Backward && r.op == row.op);
        let back = back.filter(|_| row.op.is_some()).map_or("", |r| &r.formula);
        let shapes = if row.op.is_some() { shapes(row) } else { String::new() };
        let number = row.op.map_or(String::new(), |i| format!("{i} "));
        let _ = writeln!(
            page,
            "<tr><td>{number}{}</td><td>{}</td><td>{}</td><td>{shapes}</td><td><code>{}</code></td></tr>",
            escape(&row.kind),
            escape(&row.formula),
            escape(back),
            escape(&row.files.join(" ")),
        );
    }
    page.push_str("</table></div>\n</section>\n");
}

fn environment(page: &mut String, l: &Ledger) {
    page.push_str("<section>\n<h2>Environment</h2>\n<table class=\"keys\">\n");
    let m = &l.machine;
    let bandwidth: Vec<String> =
        l.bandwidth.iter().map(|b| format!("{} {:.0}", size(b.bytes), b.gb_per_s)).collect();
    for (key, value) in [
        ("version", m.version.clone()),
        ("commit", m.commit.clone()),
        ("rustc", m.rustc.clone()),
        ("cpu", m.cpu.clone()),
        ("simd", m.simd.clone()),
        ("threads", l.threads.to_string()),
        ("date", m.date.clone()),
        ("peak, GFLOP/s", format!("{:.0}", l.peak_gflops)),
        ("bandwidth, GB/s", bandwidth.join(", ")),
    ] {
        let _ = writeln!(page, "<tr><th>{key}</th><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n</section>\n");
}
