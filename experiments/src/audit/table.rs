//! The ledger as text: one row for each thing that a step does, then the formulas.

use super::Ledger;
use super::rows::{Matrix, Pass, Row};
use std::fmt::Write;

/// The heading above the rows of a pass.
pub fn heading(pass: Pass) -> &'static str {
    match pass {
        Pass::Batch => "the batch",
        Pass::Forward => "forward",
        Pass::Loss => "the loss",
        Pass::Backward => "backward",
        Pass::Optimiser => "the optimiser",
        Pass::Observer => "on top",
    }
}

/// 4.9e-8, or nothing.
pub fn error(x: Option<f64>) -> String {
    x.map_or(String::new(), |x| if x == 0.0 { "0".into() } else { format!("{x:.1e}") })
}

/// 512×128 · 128×512 → 512×512
pub fn shapes(row: &Row) -> String {
    let list = |all: &[Matrix]| {
        let shapes: Vec<String> =
            all.iter().map(|m| format!("{}×{}", m.shape[0], m.shape[1])).collect();
        shapes.join(", ")
    };
    format!("{} → {}", list(&row.inputs), list(&row.outputs))
}

/// The whole ledger.
pub fn text(l: &Ledger) -> String {
    let mut text = format!(
        "{}, seed {}, the update after {} steps: batch {}, {} parameters, {} thread{}\n\
         {} ({}), {}\n\n",
        l.preset,
        l.seed,
        l.step,
        l.batch,
        l.parameters,
        l.threads,
        if l.threads == 1 { "" } else { "s" },
        l.machine.cpu,
        l.machine.simd,
        l.machine.date,
    );
    // Names are longer where a model has two stacks.
    let longest =
        |of: fn(&Row) -> usize, least: usize| l.rows.iter().map(of).fold(least, usize::max);
    let widths = (longest(|r| r.kind.chars().count(), 14), longest(|r| r.name.chars().count(), 30));
    let _ = writeln!(
        text,
        " op  {:<kind$} {:<name$} {:>8} {:>10} {:>9} {:>9} {:>8} {:>6} {:>9} {:>8} {:>8}",
        "does",
        "result",
        "shape",
        "Mflop",
        "KiB",
        "µs",
        "GFLOP/s",
        "roof",
        "kept KiB",
        "error",
        "check",
        kind = widths.0,
        name = widths.1,
    );
    let mut pass = None;
    for row in l.rows.iter().chain([&l.on_top]) {
        if row.pass == Pass::Observer {
            totals(&mut text, l, widths);
        }
        if pass.replace(row.pass) != Some(row.pass) {
            let _ = writeln!(text, "{}", heading(row.pass));
        }
        line(&mut text, row, widths);
    }
    verdict(&mut text, l);
    text += "\nShapes, formulas and sources, forward (→) and backward (←)\n";
    for row in l.rows.iter().filter(|row| row.pass != Pass::Backward).chain([&l.on_top]) {
        let number = row.op.map_or(String::new(), |i| i.to_string());
        let list = |all: &[Matrix]| {
            let named = all.iter().map(|m| format!("{} ({}×{})", m.name, m.shape[0], m.shape[1]));
            named.collect::<Vec<String>>().join(", ")
        };
        let _ = writeln!(text, "{number:>3}  {} {}", row.kind, row.files.join(" "));
        if row.op.is_some() {
            let _ = writeln!(text, "       {} → {}", list(&row.inputs), list(&row.outputs));
        }
        let _ = writeln!(text, "     → {}", row.formula);
        let backward = l.rows.iter().find(|r| r.pass == Pass::Backward && r.op == row.op);
        if let Some(backward) = backward.filter(|_| row.op.is_some()) {
            let _ = writeln!(text, "     ← {}", backward.formula);
        }
    }
    text
}

fn line(text: &mut String, row: &Row, (kind, name): (usize, usize)) {
    let number = row.op.map_or(String::new(), |i| i.to_string());
    let shape = match (row.op, row.outputs.first()) {
        (Some(_), Some(y)) => format!("{}×{}", y.shape[0], y.shape[1]),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "{number:>3}  {:<kind$} {:<name$} {shape:>8} {:>10.3} {:>9.1} {:>9.1} {:>8.1} {:>5.0}% {:>9.1} {:>8} {:>8}",
        row.kind,
        row.name,
        row.flops as f64 / 1e6,
        row.bytes as f64 / 1024.0,
        1e3 * row.ms,
        row.gflops,
        100.0 * row.roof_share,
        row.kept_bytes as f64 / 1024.0,
        error(row.error),
        error(row.gradient_check),
    );
}

fn totals(text: &mut String, l: &Ledger, (kind, name): (usize, usize)) {
    let t = &l.totals;
    let _ = writeln!(
        text,
        "     {:<width$} {:>10.3} {:>9.1} {:>9.1} {:>8.1} {:>5.0}% {:>9.1} {:>8} {:>8}",
        "total",
        t.flops as f64 / 1e6,
        t.bytes as f64 / 1024.0,
        1e3 * t.ms,
        t.flops as f64 / t.ms / 1e6,
        100.0 * t.floor_ms / t.ms,
        t.kept_bytes as f64 / 1024.0,
        error(Some(l.worst.value_error.max(l.worst.gradient_error))),
        error(Some(l.worst.gradient_check)),
        width = kind + name + 10,
    );
}

fn verdict(text: &mut String, l: &Ledger) {
    let t = &l.totals;
    let _ = write!(
        text,
        "\nThe rows' times sum to {:.1} % of a step measured without hooks: {:.3} of {:.3} ms.\n\
         (Means of the quietest quarter of {}; all the steps: min {:.3}, median {:.3}, max {:.3} ms.)\n\
         The floor, each row's flops at {:.0} GFLOP/s or its bytes at the bandwidth of their size, is \
         {:.3} ms:\nthe step takes {:.2} times that. Bandwidth (triad), GB/s:",
        100.0 * t.reconciled,
        t.ms,
        t.step_ms,
        t.repeats,
        t.steps_ms.min,
        t.steps_ms.median,
        t.steps_ms.max,
        l.peak_gflops,
        t.floor_ms,
        t.over_floor,
    );
    for (i, b) in l.bandwidth.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(text, "{comma} {} {:.0}", size(b.bytes), b.gb_per_s);
    }
    let (w, t) = (&l.worst, &l.tolerance);
    let _ = writeln!(
        text,
        ".\n\
         Largest errors against f64: values {:.1e} (at most {:.0e}), gradients {:.1e} ({:.0e}), AdamW \
         {:.1e} ({:.0e}).\n\
         Gradient check: the f64 gradients are those of central differences to {:.1e} ({:.0e}).",
        w.value_error,
        t.value_error,
        w.gradient_error,
        t.gradient_error,
        w.optimiser_error,
        t.optimiser_error,
        w.gradient_check,
        t.gradient_check,
    );
}

/// A power of two of bytes.
pub fn size(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}
