//! Every kernel that is not a product, at the shapes that the models meet.
//!
//! `cargo bench -p plateau-benches --bench rows [-- FILTER]`. Each group holds, in the same unit
//! (bytes moved a second):
//!
//! ```text
//! plateau/1, plateau/2   the kernel, on one thread and two
//! reference/1            its plain-loop twin, whose bits it has: compared before anything is timed
//! bandwidth/1            loops that read, write and update as many values in a working set as large, and
//!                        do nothing else: what has to be moved, once, however often the kernel does it
//! arithmetic/1           as many fused multiply-adds, on registers, as the kernel does operations
//! ```
//! The slower of the last two is the bound of the kernel, and its share of the bound the figure to
//! look at.
//!
//! Operations are counted as the slots that they take, from what the core of this machine (Zen 5) was
//! measured to do with sixteen lanes: two multiplications or multiply-adds a cycle, and beside them two
//! additions, maxima or shifts; integer additions and selections go anywhere; a division keeps one of the
//! two multipliers for 2.6 cycles, a square root for 4.7 (8 products beside a division take 5.3 cycles,
//! which is half of 8 + 2.6). What counts is the fuller kind, or half of all where that is more. Rows are
//! counted in whole vectors, because the lanes of a sum are fixed.

use benches::shapes::{self, Met, distinct, distinct_of};
use benches::yardstick::{Memory, arithmetic};
use benches::{noise, on, same_bits};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use experiments::config::ModelConfig;
use experiments::intervene::derangement::derange;
use experiments::seed::Seed;
use experiments::train::Trainer;
use kernels::activation::Act;
use kernels::adamw::{Step, adamw, adamw_ref};
use kernels::attention::{attention, attention_backward, attention_backward_ref, attention_ref};
use kernels::block::{self, Block};
use kernels::columns::{column_sums, column_sums_ref};
use kernels::cross_entropy::{cross_entropy, cross_entropy_backward, cross_entropy_ref};
use kernels::elementary;
use kernels::gather::{add, gather, gather_ref, pass, scatter, scatter_ref};
use kernels::lanes::{self, LANES};
use kernels::layer_norm::{
    layer_norm, layer_norm_backward, layer_norm_backward_ref, layer_norm_backward_w, layer_norm_ref,
};
use kernels::mix::{
    distance, distance_backward, distance_backward_ref, distance_ref, mix, mix_backward,
    mix_backward_ref, mix_ref, perturb, perturb_backward_r, perturb_backward_ref,
    perturb_backward_u, perturb_ref,
};
use kernels::norm::{scale, squares};
use kernels::softmax::{softmax, softmax_backward, softmax_backward_ref, softmax_ref};
use kernels::varlen_attention::{
    self, varlen_attention, varlen_attention_backward, varlen_attention_backward_ref,
    varlen_attention_ref,
};
use kernels::{Buffer, Write};
use std::collections::HashSet;
use std::time::Duration;

/// What a kernel must move and do, in values and in operations.
#[derive(Clone, Copy, Default)]
struct Work {
    /// Values that are only read, only written, and both.
    read: usize,
    written: usize,
    updated: usize,
    ops: usize,
}

/// What a division and a square root take, in slots.
const DIV: f64 = 2.6;
const ROOT: f64 = 4.7;
/// Of 19 operations 11 are products.
const EXP: f64 = 11.0;
/// Of a nonpositive number: one product less.
const EXP_NONPOSITIVE: f64 = 10.0;
const ERF: f64 = 14.0 + EXP;
const TANH: f64 = 7.0 + EXP + DIV;
/// Here the products (8 and a division) are fewer than half of all: shifts, comparisons and selections.
const LN: f64 = 14.0;
const LN_1P: f64 = 20.5;

/// So many slots for each of n elements.
fn slots(each: f64, n: usize) -> usize {
    (each * n as f64) as usize
}

/// Compares and times one kernel: `ours` and `reference` write the same buffers.
fn bench(
    c: &mut Criterion,
    name: &str,
    work: Work,
    mut out: Vec<Buffer>,
    mut ours: impl FnMut(&mut [Buffer]) + Send,
    mut reference: impl FnMut(&mut [Buffer]),
) {
    let mut expected = out.clone();
    ours(&mut out);
    reference(&mut expected);
    for (ours, reference) in out.iter().zip(&expected) {
        same_bits(name, ours, reference);
    }

    let Work { read, written, updated, ops } = work;
    let bytes = 4 * (read + written + 2 * updated);
    let mut memory = Memory::new(4 * (read + written + updated));
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    for threads in [1, 2] {
        group.bench_function(format!("plateau/{threads}"), |b| {
            on(threads, || b.iter(|| ours(&mut out)));
        });
    }
    group.bench_function("bandwidth/1", |b| {
        on(1, || b.iter(|| memory.move_values(read, written, updated)));
    });
    group.bench_function("arithmetic/1", |b| on(1, || b.iter(|| arithmetic(ops as u64))));
    group.bench_function("reference/1", |b| b.iter(|| reference(&mut expected)));
    group.finish();
}

fn zeros(len: usize) -> Buffer {
    Buffer::zeros(len)
}

/// The shapes of the first input of an op of that name, those of the models of sequences last. The norms of
/// their first blocks, of some sixty pairs of token and position, are left out: they take 3 µs of a step.
fn rows_of(op: &'static str) -> Vec<(usize, usize)> {
    let workloads = shapes::workloads().into_iter().chain(shapes::sequences()).collect();
    distinct_of(workloads, |_, met| (met.op == op && met.inputs[0].0 > 100).then(|| met.inputs[0]))
}

/// Labels or row numbers below `entries`.
fn indices(len: usize, entries: usize) -> Vec<u32> {
    noise(len, 9).iter().map(|x| ((x + 0.5) * entries as f32) as u32).collect()
}

fn activations(c: &mut Criterion) {
    let met = distinct(|config, met| match met.op {
        "linear_act" => Some((shapes::act(config), met.outputs[0].0 * met.outputs[0].1)),
        _ => None,
    });
    let tanh = met.iter().filter(|x| x.0 == Act::Gelu).map(|&(_, n)| (Act::GeluTanh, n));
    for (act, n) in met.iter().copied().chain(tanh) {
        let (x, dy) = (noise(n, 1).iter().map(|x| 8.0 * x).collect::<Vec<_>>(), noise(n, 2));
        let (name, forward, backward) = match act {
            Act::Relu => ("relu", 1.0, 2.0),
            Act::Gelu => ("gelu", 3.0 + ERF, 7.0 + EXP + ERF),
            Act::GeluTanh => ("gelu_tanh", 6.0 + TANH, 12.0 + TANH),
        };
        bench(
            c,
            &format!("rows/{name}/{n}"),
            Work { read: n, written: n, ops: slots(forward, n), ..Work::default() },
            vec![zeros(n)],
            |out| act.forward(&x, &mut out[0]),
            |out| out[0].iter_mut().zip(&x).for_each(|(y, x)| *y = act.value_ref(*x)),
        );
        bench(
            c,
            &format!("rows/{name}_backward/{n}"),
            Work { read: 2 * n, written: n, ops: slots(backward, n), ..Work::default() },
            vec![zeros(n)],
            |out| act.backward(&x, &dy, &mut out[0], Write::Set),
            |out| {
                for (dx, (x, dy)) in out[0].iter_mut().zip(x.iter().zip(dy.iter())) {
                    *dx = dy.mul_add(act.slope_ref(*x), 0.0);
                }
            },
        );
    }
}

fn softmaxes(c: &mut Criterion) {
    for (rows, cols) in rows_of("cross_entropy") {
        let (n, padded) = (rows * cols, rows * cols.next_multiple_of(LANES));
        let (x, dy, labels) = (noise(n, 1), noise(n, 2), indices(rows, cols));
        let mut y = zeros(n);
        softmax(&x, &mut y, cols);
        bench(
            c,
            &format!("rows/softmax/{rows}x{cols}"),
            Work {
                read: n,
                written: n,
                ops: slots(EXP_NONPOSITIVE + DIV, padded),
                ..Work::default()
            },
            vec![zeros(n)],
            |out| softmax(&x, &mut out[0], cols),
            |out| softmax_ref(&x, &mut out[0], cols),
        );
        bench(
            c,
            &format!("rows/softmax_backward/{rows}x{cols}"),
            Work { read: 2 * n, written: n, ops: 2 * padded, ..Work::default() },
            vec![zeros(n)],
            |out| softmax_backward(&y, &dy, &mut out[0], cols, Write::Set),
            |out| {
                out[0].fill(0.0);
                softmax_backward_ref(&y, &dy, &mut out[0], cols);
            },
        );
        bench(
            c,
            &format!("rows/cross_entropy/{rows}x{cols}"),
            Work {
                read: n + rows,
                written: n + 2 * rows,
                ops: slots(EXP_NONPOSITIVE + DIV, padded),
                ..Work::default()
            },
            vec![zeros(n), zeros(2 * rows)],
            |out| {
                let [resid, row] = out else { unreachable!("two results") };
                cross_entropy(&x, &labels, resid, row, cols);
            },
            |out| {
                let [resid, row] = out else { unreachable!("two results") };
                cross_entropy_ref(&x, &labels, resid, row, cols);
            },
        );
        let scale = 1.0 / rows as f32;
        bench(
            c,
            &format!("rows/cross_entropy_backward/{rows}x{cols}"),
            Work { read: n, written: n, ops: n, ..Work::default() },
            vec![zeros(n)],
            |out| cross_entropy_backward(&dy, &mut out[0], scale, Write::Set),
            |out| out[0].iter_mut().zip(dy.iter()).for_each(|(dz, r)| *dz = r.mul_add(scale, 0.0)),
        );
    }
}

fn layer_norms(c: &mut Criterion) {
    for (rows, cols) in rows_of("layer_norm") {
        let (n, padded) = (rows * cols, rows * cols.next_multiple_of(LANES));
        let (x, dy, w, b) = (noise(n, 1), noise(n, 2), noise(cols, 3), noise(cols, 4));
        let (mut y, mut stats) = (zeros(n), zeros(2 * rows));
        layer_norm(&x, &w, &b, &mut y, &mut stats);
        bench(
            c,
            &format!("rows/layer_norm/{rows}x{cols}"),
            Work { read: n, written: n, ops: 3 * padded, ..Work::default() },
            vec![zeros(n), zeros(2 * rows)],
            |out| {
                let [y, stats] = out else { unreachable!("two results") };
                layer_norm(&x, &w, &b, y, stats);
            },
            |out| {
                let [y, stats] = out else { unreachable!("two results") };
                layer_norm_ref(&x, &w, &b, y, stats);
            },
        );
        bench(
            c,
            &format!("rows/layer_norm_backward/{rows}x{cols}"),
            Work { read: 2 * n, written: n, ops: 7 * padded, ..Work::default() },
            vec![zeros(n)],
            |out| layer_norm_backward(&x, &w, &stats, &dy, &mut out[0], Write::Set),
            |out| {
                out[0].fill(0.0);
                layer_norm_backward_ref(&x, &w, &stats, &dy, &mut out[0], &mut zeros(cols));
            },
        );
        bench(
            c,
            &format!("rows/layer_norm_backward_w/{rows}x{cols}"),
            Work { read: 2 * n, written: cols, ops: 2 * padded, ..Work::default() },
            vec![zeros(cols)],
            |out| layer_norm_backward_w(&x, &stats, &dy, &mut out[0], Write::Set),
            |out| {
                out[0].fill(0.0);
                layer_norm_backward_ref(&x, &w, &stats, &dy, &mut zeros(n), &mut out[0]);
            },
        );
    }
}

fn attentions(c: &mut Criterion) {
    for (b, s) in shapes::attentions() {
        let d = s.h * s.e;
        let (queries, keys, weights) = (b * s.tq * d, b * s.tk * d, b * s.h * s.tq * s.tk);
        let (q, k, v, dz) = (noise(queries, 1), noise(keys, 2), noise(keys, 3), noise(queries, 4));
        let (mut z, mut p) = (zeros(queries), zeros(weights));
        attention(&q, &k, &v, &mut z, &mut p, s);
        let name = format!("{b}x{}x{}x{}x{}", s.tq, s.tk, s.h, s.e);
        let ops = b * s.flops().0 as usize / 2;
        bench(
            c,
            &format!("rows/attention/{name}"),
            Work { read: queries + 2 * keys, written: queries + weights, ops, ..Work::default() },
            vec![zeros(queries), zeros(weights)],
            |out| {
                let [z, p] = out else { unreachable!("two results") };
                attention(&q, &k, &v, z, p, s);
            },
            |out| {
                let [z, p] = out else { unreachable!("two results") };
                attention_ref(&q, &k, &v, z, p, s);
            },
        );
        bench(
            c,
            &format!("rows/attention_backward/{name}"),
            Work {
                read: 2 * queries + 2 * keys + weights,
                written: queries + 2 * keys,
                ops: b * s.flops().1 as usize / 2,
                ..Work::default()
            },
            vec![zeros(queries), zeros(keys), zeros(keys)],
            |out| {
                let [dq, dk, dv] = out else { unreachable!("three results") };
                let write = [Write::Set; 3];
                attention_backward((&q, &k, &v), &p, &dz, (dq, dk, dv), write, s);
            },
            |out| {
                out.iter_mut().for_each(|x| x.fill(0.0));
                let [dq, dk, dv] = out else { unreachable!("three results") };
                attention_backward_ref((&q, &k, &v), &p, &dz, (dq, dk, dv), s);
            },
        );
    }
}

fn varlen_attentions(c: &mut Criterion) {
    for (case, config) in shapes::sequences() {
        let ModelConfig::EncoderDecoder(model) = &config.model else { unreachable!("{case}") };
        let mut trainer = Trainer::new(&config);
        trainer.draw(0);
        trainer.load();
        let tape = &trainer.model().tape;
        for (i, op) in tape.ops().filter(|op| op.name() == "varlen_attention").take(3).enumerate() {
            let [(queries, d), (keys, _), _] = op.inputs()[..].try_into().map_or_else(
                |_| unreachable!("q, k and v"),
                |inputs: [autograd::Var; 3]| inputs.map(|x| tape.shape(x)),
            );
            let h = model.n_heads;
            let weights = tape.shape(op.outputs()[1]).1;
            let s = varlen_attention::Shape { h, e: d / h, max_keys: weights / h };
            let seen = tape.entries(op.index().expect("what each query sees"));
            let (queries, keys, weights) = (queries * d, keys * d, queries * weights);
            let (q, k, v, dz) =
                (noise(queries, 1), noise(keys, 2), noise(keys, 3), noise(queries, 4));
            let (mut z, mut p) = (zeros(queries), zeros(weights));
            varlen_attention(&q, &k, &v, seen, &mut z, &mut p, s);
            let name = format!("{}-{case}", ["encoder", "decoder", "cross"][i]);
            let (forward, backward) = op.flops(tape.store());
            bench(
                c,
                &format!("rows/varlen_attention/{name}"),
                Work {
                    read: queries + 2 * keys,
                    written: queries + weights,
                    ops: forward as usize / 2,
                    ..Work::default()
                },
                vec![zeros(queries), zeros(weights)],
                |out| {
                    let [z, p] = out else { unreachable!("two results") };
                    varlen_attention(&q, &k, &v, seen, z, p, s);
                },
                |out| {
                    let [z, p] = out else { unreachable!("two results") };
                    varlen_attention_ref(&q, &k, &v, seen, z, p, s);
                },
            );
            bench(
                c,
                &format!("rows/varlen_attention_backward/{name}"),
                Work {
                    read: 2 * queries + 2 * keys + weights,
                    written: queries + 2 * keys,
                    ops: backward as usize / 2,
                    ..Work::default()
                },
                vec![zeros(queries), zeros(keys), zeros(keys)],
                |out| {
                    let [dq, dk, dv] = out else { unreachable!("three results") };
                    let write = [Write::Set; 3];
                    varlen_attention_backward((&q, &k, &v), seen, &p, &dz, (dq, dk, dv), write, s);
                },
                |out| {
                    out.iter_mut().for_each(|x| x.fill(0.0));
                    let [dq, dk, dv] = out else { unreachable!("three results") };
                    varlen_attention_backward_ref((&q, &k, &v), seen, &p, &dz, (dq, dk, dv), s);
                },
            );
        }
    }
}

fn gathers(c: &mut Criterion) {
    let met = |_: &_, met: &Met| {
        let (table, rows) = (met.inputs[0], met.outputs[0].0);
        (met.op == "gather" && rows > 1).then_some((table, rows))
    };
    for ((entries, cols), rows) in distinct(met) {
        let (n, table) = (rows * cols, entries * cols);
        let (x, dy, index) = (noise(table, 1), noise(n, 2), indices(rows, entries));
        let met = cols * index.iter().collect::<HashSet<_>>().len();
        bench(
            c,
            &format!("rows/gather/{entries}to{rows}x{cols}"),
            Work { read: met + rows, written: n, ..Work::default() },
            vec![zeros(n)],
            |out| gather(&x, &index, &mut out[0], cols),
            |out| gather_ref(&x, &index, &mut out[0], cols),
        );
        bench(
            c,
            &format!("rows/scatter/{rows}to{entries}x{cols}"),
            Work { read: n + rows, written: table, ops: n, ..Work::default() },
            vec![zeros(table)],
            |out| scatter(&dy, &index, &mut out[0], cols, Write::Set),
            |out| {
                out[0].fill(0.0);
                scatter_ref(&dy, &index, &mut out[0], cols);
            },
        );
    }
}

/// What an intervention does to a batch of representations.
fn mixings(c: &mut Criterion) {
    const ALPHA: f64 = 0.3;
    for (rows, cols) in rows_of("mix") {
        let n = rows * cols;
        let (x, dy, mut pi) = (noise(n, 1), noise(n, 2), vec![0; rows]);
        derange(&mut Seed(0).stream("derangement", 0), &mut pi);
        let name = |kind: &str| format!("rows/{kind}/{rows}x{cols}");
        let work = Work { read: n + rows, written: n, ops: 2 * n, ..Work::default() };
        bench(
            c,
            &name("mix"),
            work,
            vec![zeros(n)],
            |out| mix(&x, &pi, ALPHA, &mut out[0], cols),
            |out| mix_ref(&x, &pi, ALPHA, &mut out[0], cols),
        );
        bench(
            c,
            &name("mix_backward"),
            work,
            vec![zeros(n)],
            |out| mix_backward(&dy, &pi, ALPHA, &mut out[0], cols, Write::Set),
            |out| {
                out[0].fill(0.0);
                mix_backward_ref(&dy, &pi, ALPHA, &mut out[0], cols);
            },
        );
    }
    for (rows, cols) in rows_of("distance") {
        let n = rows * cols;
        let (x, u, dy, mut pi) = (noise(n, 1), noise(n, 2), noise(n, 3), vec![0; rows]);
        derange(&mut Seed(0).stream("derangement", 0), &mut pi);
        let (mut r, dr) = (zeros(rows), noise(rows, 4));
        distance(&x, &pi, ALPHA, &mut r, cols);
        let name = |kind: &str| format!("rows/{kind}/{rows}x{cols}");
        bench(
            c,
            &name("distance"),
            Work { read: n + rows, written: rows, ops: n, ..Work::default() },
            vec![zeros(rows)],
            |out| distance(&x, &pi, ALPHA, &mut out[0], cols),
            |out| distance_ref(&x, &pi, ALPHA, &mut out[0], cols),
        );
        bench(
            c,
            &name("distance_backward"),
            Work { read: n + 3 * rows, written: n, ops: 2 * n, ..Work::default() },
            vec![zeros(n)],
            |out| distance_backward(&x, &pi, ALPHA, &r, &dr, &mut out[0], cols, Write::Set),
            |out| {
                out[0].fill(0.0);
                distance_backward_ref(&x, &pi, ALPHA, &r, &dr, &mut out[0], cols);
            },
        );
        bench(
            c,
            &name("perturb"),
            Work { read: 2 * n + rows, written: n, ops: n, ..Work::default() },
            vec![zeros(n)],
            |out| perturb(&x, &r, &u, &mut out[0], cols),
            |out| perturb_ref(&x, &r, &u, &mut out[0], cols),
        );
        bench(
            c,
            &name("perturb_backward_r"),
            Work { read: 2 * n, written: rows, ops: n, ..Work::default() },
            vec![zeros(rows)],
            |out| perturb_backward_r(&u, &dy, &mut out[0], cols, Write::Set),
            |out| {
                out[0].fill(0.0);
                perturb_backward_ref(&r, &u, &dy, &mut out[0], &mut zeros(n), cols);
            },
        );
        bench(
            c,
            &name("perturb_backward_u"),
            Work { read: n + rows, written: n, ops: n, ..Work::default() },
            vec![zeros(n)],
            |out| perturb_backward_u(&r, &dy, &mut out[0], cols, Write::Set),
            |out| {
                out[0].fill(0.0);
                perturb_backward_ref(&r, &u, &dy, &mut zeros(rows), &mut out[0], cols);
            },
        );
    }
}

fn sums(c: &mut Criterion) {
    for (rows, cols) in rows_of("add") {
        let n = rows * cols;
        let (a, b) = (noise(n, 1), noise(n, 2));
        bench(
            c,
            &format!("rows/add/{n}"),
            Work { read: 2 * n, written: n, ops: n, ..Work::default() },
            vec![zeros(n)],
            |out| add(&a, &b, &mut out[0]),
            |out| (0..n).for_each(|i| out[0][i] = a[i] + b[i]),
        );
        bench(
            c,
            &format!("rows/pass/{n}"),
            Work { read: n, updated: n, ops: n, ..Work::default() },
            vec![zeros(n)],
            |out| pass(&a, &mut out[0], Write::Add),
            |out| (0..n).for_each(|i| out[0][i] += a[i]),
        );
    }
    let biased = |_: &_, met: &Met| {
        (met.op.starts_with("linear") && met.inputs.len() == 3).then(|| met.outputs[0])
    };
    for (rows, cols) in distinct(biased) {
        let dy = noise(rows * cols, 1);
        bench(
            c,
            &format!("rows/column_sums/{rows}x{cols}"),
            Work { read: rows * cols, written: cols, ops: rows * cols, ..Work::default() },
            vec![zeros(cols)],
            |out| column_sums(&dy, &mut out[0], Write::Set),
            |out| {
                out[0].fill(0.0);
                column_sums_ref(&dy, &mut out[0]);
            },
        );
    }
    // 512 rows of a residual stream, of a hidden layer
    let cols = |_: &_, met: &Met| met.op.starts_with("linear").then(|| met.inputs[0].1);
    const ROWS: usize = 512;
    for n in distinct(cols) {
        let (x, y) = (noise(ROWS * n, 1), noise(ROWS * n, 2));
        let one = Work { read: ROWS * n, written: ROWS, ops: ROWS * n, ..Work::default() };
        let two = Work { read: 2 * ROWS * n, ..one };
        let name = |kind: &str| format!("rows/{kind}/{ROWS}x{n}");
        let each = |out: &mut [Buffer], f: &dyn Fn(&[f32], &[f32]) -> f32| {
            let rows = x.chunks_exact(n).zip(y.chunks_exact(n));
            out[0].iter_mut().zip(rows).for_each(|(out, (x, y))| *out = f(x, y));
        };
        bench(
            c,
            &name("sum"),
            one,
            vec![zeros(ROWS)],
            |out| each(out, &|x, _| lanes::sum(x)),
            |out| each(out, &|x, _| lanes::sum_ref(x)),
        );
        bench(
            c,
            &name("max"),
            one,
            vec![zeros(ROWS)],
            |out| each(out, &|x, _| lanes::max(x)),
            |out| each(out, &|x, _| lanes::max_ref(x)),
        );
        bench(
            c,
            &name("dot"),
            two,
            vec![zeros(ROWS)],
            |out| each(out, &|x, y| lanes::dot(x, y)),
            |out| each(out, &|x, y| lanes::dot_ref(x, y)),
        );
    }
}

/// The elements of each matrix of weights.
fn weights() -> Vec<usize> {
    let weights =
        |_: &_, met: &Met| met.op.starts_with("linear").then(|| met.inputs[1].0 * met.inputs[1].1);
    distinct(weights)
}

/// The length of the parameters, and their rescaling.
fn norms(c: &mut Criterion) {
    for n in weights() {
        let x = noise(n, 1);
        let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        // All 64 bits of the sum, half of them in each.
        let halves = |sum: f64| {
            let bits = sum.to_bits();
            [bits >> 32, bits & 0xffff_ffff].map(|half| f32::from_bits(half as u32))
        };
        bench(
            c,
            &format!("rows/squares/{n}"),
            // Sixteen elements take two vectors of f64.
            Work { read: n, written: 2, ops: 2 * n, ..Work::default() },
            vec![zeros(2)],
            |out| out[0].copy_from_slice(&halves(squares(&x))),
            |out| out[0].copy_from_slice(&halves(lanes::dot_ref(&wide, &wide))),
        );
        // There and back, or the numbers would leave the range of f32.
        let (mut ours, mut reference) = (1.5, 1.5);
        bench(
            c,
            &format!("rows/scale/{n}"),
            Work { updated: n, ops: n, ..Work::default() },
            vec![x.clone()],
            |out| {
                scale(&mut out[0], ours);
                ours = 1.0 / ours;
            },
            |out| {
                (0..n).for_each(|i| out[0][i] *= reference);
                reference = 1.0 / reference;
            },
        );
    }
}

fn optimisers(c: &mut Criterion) {
    let step = |t| Step { lr: 1e-3, betas: (0.9, 0.98), eps: 1e-8, weight_decay: 1.0, t };
    for n in weights() {
        let g = noise(n, 1);
        bench(
            c,
            &format!("rows/adamw/{n}"),
            Work { read: n, updated: 3 * n, ops: slots(9.0 + DIV + ROOT, n), ..Work::default() },
            vec![noise(n, 2), zeros(n), zeros(n)],
            |out| {
                let [p, m, v] = out else { unreachable!("three results") };
                assert!(adamw(p, &g, m, v, step(1)));
            },
            |out| {
                let [p, m, v] = out else { unreachable!("three results") };
                adamw_ref(p, &g, m, v, step(1));
            },
        );
    }
}

/// exp, ln, tanh and erf: several vectors side by side, as kernels call them, against one number.
fn elementaries(c: &mut Criterion) {
    /// Vectors side by side: with fewer they wait for themselves, more do not fit the registers.
    type Several = Block<6>;
    type Both = (&'static str, f64, fn(&[f32], &mut [f32]), fn(f32) -> f32);
    macro_rules! both {
        ($name:ident, $slots:expr) => {
            (
                stringify!($name),
                $slots,
                |x, y| block::map([x], y, Write::Set, |[x]: [Several; 1], _| elementary::$name(x)),
                elementary::$name,
            )
        };
    }
    const FUNCTIONS: [Both; 5] =
        [both!(exp, EXP), both!(ln, LN), both!(ln_1p, LN_1P), both!(tanh, TANH), both!(erf, ERF)];
    const N: usize = 4096; // stays in L1
    let x: Vec<f32> = noise(N, 1).iter().map(|x| 0.501 + x).collect();
    for (name, ops, several, one) in FUNCTIONS {
        bench(
            c,
            &format!("rows/{name}/{N}"),
            Work { read: N, written: N, ops: slots(ops, N), ..Work::default() },
            vec![zeros(N)],
            |out| several(&x, &mut out[0]),
            |out| out[0].iter_mut().zip(&x).for_each(|(y, x)| *y = one(*x)),
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .nresamples(1000)
        .warm_up_time(Duration::from_millis(20))
        .measurement_time(Duration::from_millis(50));
    targets = activations, softmaxes, layer_norms, attentions, varlen_attentions, gathers, mixings,
        sums, norms, optimisers, elementaries
}
criterion_main!(benches);
