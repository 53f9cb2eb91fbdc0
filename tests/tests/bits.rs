//! Every kernel has the bits of its reference: for ragged shapes, for hostile values, and for any
//! number of threads.
//!
//! Outputs that a kernel must overwrite start out full of NaN, so that a forgotten element shows.
//! What the references themselves compute is held against other people's arithmetic in `oracles.rs`.
#![forbid(unsafe_code)]

use kernels::activation::Act;
use kernels::adamw::{Step, adamw, adamw_ref};
use kernels::attention::{
    Shape, attention, attention_backward, attention_backward_ref, attention_ref,
};
use kernels::columns::{column_sums, column_sums_ref};
use kernels::cross_entropy::{self, cross_entropy, cross_entropy_backward, cross_entropy_ref};
use kernels::gather::{
    add, gather, gather_ref, pass, put, put_backward, put_backward_ref, put_ref, scale, scatter,
    scatter_ref,
};
use kernels::layer_norm::{
    layer_norm, layer_norm_backward, layer_norm_backward_ref, layer_norm_backward_w, layer_norm_ref,
};
use kernels::matmul::{
    Dims, Start, matmul_nn, matmul_nn_act, matmul_nn_ref, matmul_nt, matmul_nt_ref, matmul_tn,
    matmul_tn_ref,
};
use kernels::mix::{
    distance, distance_backward, distance_backward_ref, distance_ref, mix, mix_backward,
    mix_backward_ref, mix_ref, perturb, perturb_backward_r, perturb_backward_ref,
    perturb_backward_u, perturb_ref,
};
use kernels::softmax::{softmax, softmax_backward, softmax_backward_ref, softmax_ref};
use kernels::{Real, Write, lanes, parallel};
use proptest::prelude::*;
use rayon::ThreadPool;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::values::{FLAVOURS, Flavour, Values};

const ACTS: [Act; 3] = [Act::Relu, Act::Gelu, Act::GeluTanh];
const WRITES: [Write; 2] = [Write::Set, Write::Add];

/// Pools of 1, 2, 3 and 7 threads.
static POOLS: LazyLock<[ThreadPool; 4]> = LazyLock::new(|| {
    [1, 2, 3, 7].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool"))
});

/// Calls `check` inside each pool. `work` is what the kernel counts: above the floor, or no split.
fn on_all_threads(work: usize, check: impl Fn() + Sync) {
    assert!(work >= parallel::FLOOR, "work of {work} is not split: the test would show nothing");
    POOLS.iter().for_each(|pool| pool.install(&check));
}

fn is_same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[track_caller]
fn same(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!(
            is_same(g, w),
            "{what}, {} threads: element {i} of {} is {g:e} ({:#010x}), its reference {w:e} ({:#010x})",
            rayon::current_num_threads(),
            got.len(),
            g.to_bits(),
            w.to_bits()
        );
    }
}

/// What a gradient buffer holds before: anything, if it will be overwritten.
fn before(write: Write, old: &[f32]) -> Vec<f32> {
    if write == Write::Add { old.to_vec() } else { vec![f32::NAN; old.len()] }
}

/// What the reference, which adds, starts from.
fn before_ref(write: Write, old: &[f32]) -> Vec<f32> {
    if write == Write::Add { old.to_vec() } else { vec![0.0; old.len()] }
}

// ---- the checks: one for each kernel, at one shape, with one stream of values

#[derive(Clone, Copy, Debug)]
enum Form {
    Nn,
    Nt,
    Tn,
}

const FORMS: [Form; 3] = [Form::Nn, Form::Nt, Form::Tn];

impl Form {
    /// The forward's dims of a product whose result is (rows, cols), reducing over `depth`.
    fn dims(self, (rows, depth, cols): (usize, usize, usize)) -> Dims {
        match self {
            Form::Nn => Dims { m: rows, k: depth, n: cols },
            Form::Nt => Dims { m: rows, k: cols, n: depth },
            Form::Tn => Dims { m: depth, k: rows, n: cols },
        }
    }

    fn product(self, a: &[f32], b: &[f32], c: &mut [f32], dims: Dims, start: Start) {
        match self {
            Form::Nn => matmul_nn(a, b, c, dims, start),
            Form::Nt => matmul_nt(a, b, c, dims, start),
            Form::Tn => matmul_tn(a, b, c, dims, start),
        }
    }
}

fn check_matmul(form: Form, shape: (usize, usize, usize), values: &mut Values) {
    let (rows, depth, cols) = shape;
    let dims = form.dims(shape);
    let (a, b) = (values.vec(rows * depth), values.vec(depth * cols));
    let (bias, old) = (values.vec(cols), values.vec(rows * cols));
    for start in [Start::Zero, Start::Bias(&bias), Start::Here] {
        let mut got = match start {
            Start::Here => old.clone(),
            _ => vec![f32::NAN; old.len()],
        };
        let mut want = match start {
            Start::Zero => vec![0.0; old.len()],
            Start::Bias(bias) => bias.repeat(rows),
            Start::Here => old.clone(),
        };
        form.product(&a, &b, &mut got, dims, start);
        match (form, start) {
            (Form::Nn, Start::Here) => matmul_nn_ref(&a, &b, &mut want, dims, None, true),
            (Form::Nn, Start::Bias(bias)) => {
                matmul_nn_ref(&a, &b, &mut want, dims, Some(bias), false);
            }
            (Form::Nn, Start::Zero) => matmul_nn_ref(&a, &b, &mut want, dims, None, false),
            (Form::Nt, _) => matmul_nt_ref(&a, &b, &mut want, dims),
            (Form::Tn, _) => matmul_tn_ref(&a, &b, &mut want, dims),
        }
        same(&format!("{form:?} {dims:?} {start:?}"), &got, &want);
    }
}

fn check_matmul_act(shape: (usize, usize, usize), values: &mut Values) {
    let dims = Form::Nn.dims(shape);
    let (x, w) = (values.vec(dims.m * dims.k), values.vec(dims.k * dims.n));
    let (bias, old) = (values.vec(dims.n), values.vec(dims.m * dims.n));
    for (start, b, here) in [
        (Start::Zero, None, false),
        (Start::Bias(&bias), Some(&bias[..]), false),
        (Start::Here, None, true),
    ] {
        let mut want = old.clone();
        matmul_nn_ref(&x, &w, &mut want, dims, b, here);
        for act in ACTS {
            let mut pre = if here { old.clone() } else { vec![f32::NAN; old.len()] };
            let mut post = vec![f32::NAN; old.len()];
            matmul_nn_act(&x, &w, &mut pre, &mut post, dims, start, act);
            let want_post: Vec<f32> = want.iter().map(|&x| act.value_ref(x)).collect();
            same(&format!("pre of {act:?} {dims:?} {start:?}"), &pre, &want);
            same(&format!("post of {act:?} {dims:?} {start:?}"), &post, &want_post);
        }
    }
}

fn check_activation(n: usize, values: &mut Values) {
    let (x, dy, old) = (values.vec(n), values.vec(n), values.vec(n));
    for act in ACTS {
        let mut y = vec![f32::NAN; n];
        act.forward(&x, &mut y);
        let want: Vec<f32> = x.iter().map(|&x| act.value_ref(x)).collect();
        same(&format!("{act:?} of {n}"), &y, &want);
        for write in WRITES {
            let mut dx = before(write, &old);
            act.backward(&x, &dy, &mut dx, write);
            let mut want = before_ref(write, &old);
            for i in 0..n {
                want[i] = dy[i].mul_add(act.slope_ref(x[i]), want[i]);
            }
            same(&format!("d{act:?} of {n} {write:?}"), &dx, &want);
        }
    }
}

fn check_softmax(rows: usize, cols: usize, values: &mut Values) {
    let n = rows * cols;
    let (x, dy, old) = (values.vec(n), values.vec(n), values.vec(n));
    let (mut y, mut want) = (vec![f32::NAN; n], vec![f32::NAN; n]);
    softmax(&x, &mut y, cols);
    softmax_ref(&x, &mut want, cols);
    same(&format!("softmax ({rows}, {cols})"), &y, &want);
    for write in WRITES {
        let (mut dx, mut want) = (before(write, &old), before_ref(write, &old));
        softmax_backward(&y, &dy, &mut dx, cols, write);
        softmax_backward_ref(&y, &dy, &mut want, cols);
        same(&format!("dsoftmax ({rows}, {cols}) {write:?}"), &dx, &want);
    }
}

fn check_layer_norm(rows: usize, cols: usize, values: &mut Values) {
    let n = rows * cols;
    let (x, dy, old) = (values.vec(n), values.vec(n), values.vec(n));
    let (w, b, old_w) = (values.vec(cols), values.vec(cols), values.vec(cols));
    let shape = format!("({rows}, {cols})");
    let (mut y, mut stats) = (vec![f32::NAN; n], vec![f32::NAN; 2 * rows]);
    let (mut want, mut want_stats) = (y.clone(), stats.clone());
    layer_norm(&x, &w, &b, &mut y, &mut stats);
    layer_norm_ref(&x, &w, &b, &mut want, &mut want_stats);
    same(&format!("layer_norm {shape}, stats"), &stats, &want_stats);
    same(&format!("layer_norm {shape}"), &y, &want);
    for write in WRITES {
        let (mut dx, mut dw) = (before(write, &old), before(write, &old_w));
        let (mut want, mut want_w) = (before_ref(write, &old), before_ref(write, &old_w));
        layer_norm_backward(&x, &w, &stats, &dy, &mut dx, write);
        layer_norm_backward_w(&x, &stats, &dy, &mut dw, write);
        layer_norm_backward_ref(&x, &w, &stats, &dy, &mut want, &mut want_w);
        same(&format!("dx of layer_norm {shape} {write:?}"), &dx, &want);
        same(&format!("dw of layer_norm {shape} {write:?}"), &dw, &want_w);
    }
}

fn check_cross_entropy(rows: usize, cols: usize, values: &mut Values) {
    let n = rows * cols;
    let (z, old) = (values.vec(n), values.vec(n));
    let labels = values.indices(rows, cols);
    let shape = format!("({rows}, {cols})");
    let (mut resid, mut row) = (vec![f32::NAN; n], vec![f32::NAN; 2 * rows]);
    let (mut want, mut want_row) = (resid.clone(), row.clone());
    cross_entropy(&z, &labels, &mut resid, &mut row, cols);
    cross_entropy_ref(&z, &labels, &mut want, &mut want_row, cols);
    same(&format!("loss and hit {shape}"), &row, &want_row);
    same(&format!("residual {shape}"), &resid, &want);
    for which in 0..2 {
        let sum = (0..rows).fold(0.0, |sum, i| sum + f64::from(row[2 * i + which]));
        let got = cross_entropy::total(&row, which);
        assert!(got == sum || (got.is_nan() && sum.is_nan()), "total {which} of {shape}");
    }
    let scale = 1.0 / rows.max(1) as f32;
    for write in WRITES {
        let (mut dz, mut want) = (before(write, &old), before_ref(write, &old));
        cross_entropy_backward(&resid, &mut dz, scale, write);
        for (want, r) in want.iter_mut().zip(&resid) {
            *want = r.mul_add(scale, *want);
        }
        same(&format!("dz {shape} {write:?}"), &dz, &want);
    }
}

fn check_attention(b: usize, s: Shape, values: &mut Values) {
    let (queries, keys) = (b * s.tq * s.h * s.e, b * s.tk * s.h * s.e);
    let (q, dz) = (values.vec(queries), values.vec(queries));
    let (k, v) = (values.vec(keys), values.vec(keys));
    let (old_q, old_k, old_v) = (values.vec(queries), values.vec(keys), values.vec(keys));
    let (mut z, mut p) = (vec![f32::NAN; queries], vec![f32::NAN; b * s.h * s.tq * s.tk]);
    let (mut want_z, mut want_p) = (z.clone(), p.clone());
    attention(&q, &k, &v, &mut z, &mut p, s);
    attention_ref(&q, &k, &v, &mut want_z, &mut want_p, s);
    same(&format!("pattern of {b} {s:?}"), &p, &want_p);
    same(&format!("z of {b} {s:?}"), &z, &want_z);
    for bits in 0..8 {
        let write = [0, 1, 2].map(|i| WRITES[bits >> i & 1]);
        let mut got =
            (before(write[0], &old_q), before(write[1], &old_k), before(write[2], &old_v));
        let mut want = (
            before_ref(write[0], &old_q),
            before_ref(write[1], &old_k),
            before_ref(write[2], &old_v),
        );
        let (dq, dk, dv) = (&mut got.0[..], &mut got.1[..], &mut got.2[..]);
        attention_backward((&q, &k, &v), &p, &dz, (dq, dk, dv), write, s);
        let (dq, dk, dv) = (&mut want.0[..], &mut want.1[..], &mut want.2[..]);
        attention_backward_ref((&q, &k, &v), &p, &dz, (dq, dk, dv), s);
        same(&format!("dq of {b} {s:?} {write:?}"), &got.0, &want.0);
        same(&format!("dk of {b} {s:?} {write:?}"), &got.1, &want.1);
        same(&format!("dv of {b} {s:?} {write:?}"), &got.2, &want.2);
    }
}

fn check_gather(rows: usize, entries: usize, cols: usize, values: &mut Values) {
    let (table, dy) = (values.vec(entries * cols), values.vec(rows * cols));
    let (idx, old) = (values.indices(rows, entries), values.vec(entries * cols));
    let shape = format!("{rows} of ({entries}, {cols})");
    let (mut y, mut want) = (vec![f32::NAN; rows * cols], vec![f32::NAN; rows * cols]);
    gather(&table, &idx, &mut y, cols);
    gather_ref(&table, &idx, &mut want, cols);
    same(&format!("gather {shape}"), &y, &want);
    for write in WRITES {
        let (mut dtable, mut want) = (before(write, &old), before_ref(write, &old));
        scatter(&dy, &idx, &mut dtable, cols, write);
        scatter_ref(&dy, &idx, &mut want, cols);
        same(&format!("scatter {shape} {write:?}"), &dtable, &want);
    }
    let (mut to, mut want) = (old.clone(), old.clone());
    put(&dy, &idx, &mut to, cols);
    put_ref(&dy, &idx, &mut want, cols);
    same(&format!("put {shape}"), &to, &want);
    for write in WRITES {
        let (mut dx, mut want) = (before(write, &dy), before_ref(write, &dy));
        put_backward(&table, &idx, &mut dx, cols, write);
        put_backward_ref(&table, &idx, &mut want, cols);
        same(&format!("dx of put {shape} {write:?}"), &dx, &want);
    }
}

fn check_mix(rows: usize, cols: usize, values: &mut Values) {
    let (x, u, dy) = (values.vec(rows * cols), values.vec(rows * cols), values.vec(rows * cols));
    let (r, dr) = (values.vec(rows), values.vec(rows));
    let (pi, old, old_r) = (values.indices(rows, rows), values.vec(rows * cols), values.vec(rows));
    let (shape, alpha) = (format!("({rows}, {cols})"), 0.3);
    let (mut y, mut want) = (vec![f32::NAN; rows * cols], vec![f32::NAN; rows * cols]);
    mix(&x, &pi, alpha, &mut y, cols);
    mix_ref(&x, &pi, alpha, &mut want, cols);
    same(&format!("mix {shape}"), &y, &want);
    perturb(&x, &r, &u, &mut y, cols);
    perturb_ref(&x, &r, &u, &mut want, cols);
    same(&format!("perturb {shape}"), &y, &want);
    let (mut far, mut want) = (vec![f32::NAN; rows], vec![f32::NAN; rows]);
    distance(&x, &pi, alpha, &mut far, cols);
    distance_ref(&x, &pi, alpha, &mut want, cols);
    same(&format!("distance {shape}"), &far, &want);
    for write in WRITES {
        let what = format!("{shape} {write:?}");
        let (mut dx, mut want) = (before(write, &old), before_ref(write, &old));
        mix_backward(&dy, &pi, alpha, &mut dx, cols, write);
        mix_backward_ref(&dy, &pi, alpha, &mut want, cols);
        same(&format!("dx of mix {what}"), &dx, &want);
        let (mut dx, mut want) = (before(write, &old), before_ref(write, &old));
        distance_backward(&x, &pi, alpha, &far, &dr, &mut dx, cols, write);
        distance_backward_ref(&x, &pi, alpha, &far, &dr, &mut want, cols);
        same(&format!("dx of distance {what}"), &dx, &want);
        let (mut to_r, mut to_u) = (before(write, &old_r), before(write, &old));
        let (mut want_r, mut want_u) = (before_ref(write, &old_r), before_ref(write, &old));
        perturb_backward_r(&u, &dy, &mut to_r, cols, write);
        perturb_backward_u(&r, &dy, &mut to_u, cols, write);
        perturb_backward_ref(&r, &u, &dy, &mut want_r, &mut want_u, cols);
        same(&format!("dr of perturb {what}"), &to_r, &want_r);
        same(&format!("du of perturb {what}"), &to_u, &want_u);
    }
}

fn check_add_and_pass(n: usize, values: &mut Values) {
    let (a, b) = (values.vec(n), values.vec(n));
    let mut y = vec![f32::NAN; n];
    add(&a, &b, &mut y);
    let sums: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    same(&format!("add of {n}"), &y, &sums);
    for write in WRITES {
        let (mut y, old) = (before(write, &b), before_ref(write, &b));
        scale(&a, 0.37, &mut y, write);
        let want: Vec<f32> = a.iter().zip(old).map(|(a, old)| a.mul_add(0.37, old)).collect();
        same(&format!("scale of {n} {write:?}"), &y, &want);
    }
    for (write, want) in [(Write::Set, &a), (Write::Add, &sums)] {
        let mut dx = before(write, &b);
        pass(&a, &mut dx, write);
        same(&format!("pass of {n} {write:?}"), &dx, want);
    }
}

fn check_column_sums(rows: usize, cols: usize, values: &mut Values) {
    let (dy, old) = (values.vec(rows * cols), values.vec(cols));
    for write in WRITES {
        let (mut db, mut want) = (before(write, &old), before_ref(write, &old));
        column_sums(&dy, &mut db, write);
        column_sums_ref(&dy, &mut want);
        same(&format!("column_sums ({rows}, {cols}) {write:?}"), &db, &want);
    }
}

fn check_lanes(n: usize, values: &mut Values) {
    let (x, y) = (values.vec(n), values.vec(n));
    let got = [lanes::sum(&x), lanes::dot(&x, &y), lanes::max(&x)];
    let want = [lanes::sum_ref(&x), lanes::dot_ref(&x, &y), lanes::max_ref(&x)];
    same(&format!("sum, dot, max of {n}"), &got, &want);
}

const STEP: Step = Step { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 1.0, t: 1 };

fn check_adamw(n: usize, values: &mut Values) {
    let (mut p, mut m) = (values.vec(n), values.vec(n));
    let mut v: Vec<f32> = values.vec(n).into_iter().map(f32::abs).collect();
    let (mut want_p, mut want_m, mut want_v) = (p.clone(), m.clone(), v.clone());
    for (t, weight_decay, betas) in [
        (1, 1.0, (0.9, 0.999)),
        (2, 0.0, (0.9, 0.98)),
        (15_000, 0.1, (0.0, 0.0)),
        (u64::MAX, 1.0, (0.9, 0.999)),
    ] {
        let g = values.vec(n);
        let step = Step { t, weight_decay, betas, ..STEP };
        let finite = adamw(&mut p, &g, &mut m, &mut v, step);
        assert_eq!(finite, g.iter().all(|g| g.is_finite()), "adamw tells of a spoilt gradient");
        adamw_ref(&mut want_p, &g, &mut want_m, &mut want_v, step);
        same(&format!("m of {n} at step {t}"), &m, &want_m);
        same(&format!("v of {n} at step {t}"), &v, &want_v);
        same(&format!("p of {n} at step {t}"), &p, &want_p);
    }
}

// ---- fixed grids: every edge of tiles, vectors and panels

/// Around 16 lanes and 64 columns of a panel; and primes.
const EDGES: [usize; 22] =
    [1, 2, 3, 7, 13, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97, 127, 128, 129, 257];

#[test]
fn matmul_has_the_bits_of_its_reference_at_every_edge_of_a_tile() {
    for form in FORMS {
        for rows in [0, 1, 2, 3, 5, 6, 7, 11, 12, 13] {
            // a panel is 512 deep, or 256
            for depth in [0, 1, 2, 15, 16, 17, 129, 255, 256, 257, 511, 512, 513, 1025] {
                for cols in [0, 1, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 129] {
                    let seed = (rows * 1000 + depth) * 1000 + cols;
                    let flavour = FLAVOURS[(rows + depth + cols) % 4];
                    let mut values = Values::new(seed as u64, flavour);
                    check_matmul(form, (rows, depth, cols), &mut values);
                }
            }
        }
    }
}

#[test]
fn matmul_has_the_bits_of_its_reference_at_every_edge_of_a_strip() {
    // Without AVX-512, 96 rows meet 256 columns of B.
    for form in FORMS {
        for rows in [95, 96, 97, 101, 102, 103, 193] {
            for depth in [16, 257, 513] {
                for cols in [240, 255, 256, 257, 273, 513] {
                    let flavour = FLAVOURS[(rows + depth + cols) % 4];
                    let mut values = Values::new((rows * 1000 + cols) as u64, flavour);
                    check_matmul(form, (rows, depth, cols), &mut values);
                }
            }
        }
    }
}

#[test]
fn matmul_with_a_fused_activation_has_the_bits_of_its_reference_at_every_edge_of_a_tile() {
    for rows in [0, 1, 2, 5, 6, 7, 13] {
        for depth in [0, 1, 16, 127, 128, 129, 257] {
            for cols in [0, 1, 15, 16, 17, 33, 63, 64, 65, 129] {
                let flavour = FLAVOURS[(rows + depth + cols) % 4];
                let mut values = Values::new((rows * depth + cols) as u64, flavour);
                check_matmul_act((rows, depth, cols), &mut values);
            }
        }
    }
}

#[test]
fn row_kernels_have_the_bits_of_their_references_at_every_edge_of_a_vector() {
    for flavour in FLAVOURS {
        let mut values = Values::new(5, flavour);
        for n in std::iter::once(0).chain(EDGES) {
            check_lanes(n, &mut values);
            check_activation(n, &mut values);
            check_add_and_pass(n, &mut values);
            check_adamw(n, &mut values);
        }
        for cols in EDGES {
            for rows in [0, 1, 2, 5, 37] {
                check_softmax(rows, cols, &mut values);
                check_layer_norm(rows, cols, &mut values);
                check_cross_entropy(rows, cols, &mut values);
                check_column_sums(rows, cols, &mut values);
                check_gather(rows, 1 + rows / 2, cols, &mut values);
                check_mix(rows, cols, &mut values);
            }
        }
    }
}

#[test]
fn attention_has_the_bits_of_its_reference_for_short_queries_and_odd_heads() {
    for flavour in FLAVOURS {
        let mut values = Values::new(6, flavour);
        for (tq, tk) in [(1, 1), (1, 2), (2, 2), (1, 3), (2, 3), (3, 3), (1, 17), (5, 16), (7, 33)]
        {
            for (h, e) in
                [(1, 1), (1, 16), (3, 5), (2, 17), (4, 32), (2, 64), (1, 65), (17, 3), (33, 2)]
            {
                for (b, causal) in [(0, true), (1, false), (2, true), (3, false)] {
                    check_attention(b, Shape { tq, tk, h, e, causal }, &mut values);
                }
            }
        }
    }
}

// ---- any number of threads

#[test]
fn rows_above_the_floor_run_on_all_threads_of_the_pool_at_once_and_below_it_on_one() {
    for pool in &*POOLS {
        let threads = pool.current_num_threads();
        for (work, blocks) in [(parallel::FLOOR - 1, 1), (parallel::FLOOR, threads)] {
            // Each block waits for the others: they only meet if all of them run at the same time.
            let arrived = AtomicUsize::new(0);
            let meet = || {
                arrived.fetch_add(1, Ordering::SeqCst);
                let start = Instant::now();
                while arrived.load(Ordering::SeqCst) < blocks {
                    assert!(start.elapsed() < Duration::from_secs(20), "a block ran alone");
                    std::thread::yield_now();
                }
            };
            let (mut a, mut b) = (vec![0.0; 83 * 3], vec![0.0; 83 * 2]);
            pool.install(|| {
                parallel::rows2((&mut a, 3), (&mut b, 2), work, 6, |first, a, b| {
                    meet();
                    assert!(first % 6 == 0 && (a.len() / 3 % 6 == 0 || first + a.len() / 3 == 83));
                    for (i, (a, b)) in a.chunks_mut(3).zip(b.chunks_mut(2)).enumerate() {
                        a.fill((first + i) as f32);
                        b.fill((first + i) as f32);
                    }
                });
            });
            assert_eq!(arrived.load(Ordering::SeqCst), blocks);
            assert!((0..83 * 3).all(|i| a[i] == (i / 3) as f32));
            assert!((0..83 * 2).all(|i| b[i] == (i / 2) as f32));
            arrived.store(0, Ordering::SeqCst);
            pool.install(|| parallel::rows(&mut a, 3, work, 6, |_, _| meet()));
            assert_eq!(arrived.load(Ordering::SeqCst), blocks);
        }
    }
}

#[test]
fn threads_do_not_change_the_bits_of_a_matmul() {
    // Few rows, fewer than threads, one; a deep, a wide and a square one.
    for shape in [(97, 113, 127), (5, 677, 311), (1, 1031, 1021), (1031, 33, 65), (13, 2111, 61)] {
        let work = shape.0 * shape.1 * shape.2;
        for flavour in [Flavour::Tame, Flavour::Wild] {
            for form in FORMS {
                on_all_threads(work, || check_matmul(form, shape, &mut Values::new(7, flavour)));
            }
            on_all_threads(work, || check_matmul_act(shape, &mut Values::new(8, flavour)));
        }
    }
}

#[test]
fn threads_do_not_change_the_bits_of_a_row_kernel() {
    let values = || Values::new(9, Flavour::Wild);
    // The last block is short in rows, and the smallest factor in front of n is 1.
    for (rows, cols) in [(10_007, 105), (1009, 1041), (5, 210_001)] {
        let n = rows * cols;
        on_all_threads(n, || {
            check_column_sums(rows, cols, &mut values());
            check_gather(rows, 61, cols, &mut values());
            check_mix(rows, cols, &mut values());
            check_add_and_pass(n, &mut values());
        });
    }
    for (rows, cols) in [(2621, 101), (3, 90_001), (24_007, 11)] {
        let n = rows * cols;
        on_all_threads(4 * n, || {
            check_softmax(rows, cols, &mut values());
            check_layer_norm(rows, cols, &mut values());
        });
    }
    on_all_threads(8 * 140_009, || {
        check_activation(140_009, &mut values());
        check_adamw(140_009, &mut values());
    });
    // dz is split by its elements alone, the loss at a sixteenth of that.
    on_all_threads(10_007 * 105, || check_cross_entropy(10_007, 105, &mut values()));
    on_all_threads(100_003 * 11, || check_cross_entropy(100_003, 11, &mut values()));
    on_all_threads(16 * 5 * 14_001, || check_cross_entropy(5, 14_001, &mut values()));
}

#[test]
fn threads_do_not_change_the_bits_of_an_attention() {
    for (b, s) in [
        (101, Shape { tq: 2, tk: 3, h: 4, e: 33, causal: true }),
        (211, Shape { tq: 1, tk: 3, h: 4, e: 32, causal: false }),
        (5, Shape { tq: 17, tk: 17, h: 3, e: 19, causal: true }),
    ] {
        let work = 16 * b * s.tq * s.h * s.e * s.tk;
        on_all_threads(work, || check_attention(b, s, &mut Values::new(10, Flavour::Wild)));
    }
}

// ---- shapes and values drawn by proptest

fn values() -> impl Strategy<Value = Values> {
    (any::<u64>(), proptest::sample::select(&FLAVOURS[..]))
        .prop_map(|(seed, flavour)| Values::new(seed, flavour))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn matmul_has_the_bits_of_its_reference(
        shape in (0..40usize, 0..300usize, 0..150usize),
        pool in 0..4usize,
        mut values in values(),
    ) {
        POOLS[pool].install(|| {
            for form in FORMS {
                check_matmul(form, shape, &mut values);
            }
            check_matmul_act(shape, &mut values);
        });
    }

    #[test]
    fn row_kernels_have_the_bits_of_their_references(
        (rows, cols, entries) in (0..40usize, 1..300usize, 1..20usize),
        pool in 0..4usize,
        mut values in values(),
    ) {
        POOLS[pool].install(|| {
            check_lanes(cols, &mut values);
            check_activation(cols, &mut values);
            check_softmax(rows, cols, &mut values);
            check_layer_norm(rows, cols, &mut values);
            check_cross_entropy(rows, cols, &mut values);
            check_column_sums(rows, cols, &mut values);
            check_gather(rows, entries, cols, &mut values);
            check_mix(rows, cols, &mut values);
            check_add_and_pass(rows * cols, &mut values);
            check_adamw(rows * cols, &mut values);
        });
    }

    #[test]
    fn attention_has_the_bits_of_its_reference(
        (b, tq, extra) in (0..5usize, 1..12usize, 0..12usize),
        (h, e, causal) in (1..5usize, 1..40usize, any::<bool>()),
        pool in 0..4usize,
        mut values in values(),
    ) {
        let s = Shape { tq, tk: tq + extra, h, e, causal };
        POOLS[pool].install(|| check_attention(b, s, &mut values));
    }
}

// ---- the order itself, written once more: kernel and reference could be wrong together

#[test]
fn a_product_is_one_ascending_chain_of_fused_multiply_adds() {
    let (rows, depth, cols) = (7, 301, 65);
    let mut values = Values::new(11, Flavour::Tame);
    let (a, b) = (values.vec(rows * depth), values.vec(depth * cols));
    let bias = values.vec(cols);
    let mut y = vec![f32::NAN; rows * cols];
    let dims = Form::Nn.dims((rows, depth, cols));
    matmul_nn(&a, &b, &mut y, dims, Start::Bias(&bias));
    let chain = |order: &dyn Fn(usize) -> usize, fused: bool, bias_first: bool| -> Vec<f32> {
        let element = |(i, j): (usize, usize)| {
            let start = if bias_first { bias[j] } else { 0.0 };
            let sum = (0..depth).map(order).fold(start, |sum, l| {
                let (a, b) = (a[i * depth + l], b[l * cols + j]);
                if fused { a.mul_add(b, sum) } else { a * b + sum }
            });
            if bias_first { sum } else { sum + bias[j] }
        };
        (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))).map(element).collect()
    };
    let ascending: &dyn Fn(usize) -> usize = &|l| l;
    same("ascending, fused, from the bias", &y, &chain(ascending, true, true));
    // The data tell these apart; otherwise the line above would say nothing.
    assert_ne!(y, chain(ascending, false, true), "unfused");
    assert_ne!(y, chain(ascending, true, false), "bias added last");
    assert_ne!(y, chain(&|l| depth - 1 - l, true, true), "descending");
    for form in [Form::Nt, Form::Tn] {
        let mut c = bias.repeat(rows);
        let (a, b) = match form {
            Form::Tn => (transposed(&a, depth), b.clone()),
            _ => (a.clone(), transposed(&b, cols)),
        };
        form.product(&a, &b, &mut c, form.dims((rows, depth, cols)), Start::Here);
        same(&format!("{form:?} of the same factors"), &c, &y);
    }
}

fn transposed(x: &[f32], cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|j| x.chunks_exact(cols).map(move |row| row[j])).collect()
}

#[test]
fn a_reduction_is_sixteen_lanes_and_one_tree() {
    let mut values = Values::new(12, Flavour::Tame);
    let (x, y) = (values.vec(77), values.vec(77));
    let lane = |j: usize| (j..77).step_by(16);
    let tree = |l: [f32; 16]| {
        let quarter = |j: usize| (l[j] + l[j + 8]) + (l[j + 4] + l[j + 12]);
        (quarter(0) + quarter(2)) + (quarter(1) + quarter(3))
    };
    let sums = std::array::from_fn(|j| lane(j).fold(0.0, |sum, i| sum + x[i]));
    let dots = std::array::from_fn(|j| lane(j).fold(0.0, |sum, i| x[i].mul_add(y[i], sum)));
    same("sum, dot", &[lanes::sum(&x), lanes::dot(&x, &y)], &[tree(sums), tree(dots)]);
    assert_ne!(lanes::sum(&x), x.iter().sum::<f32>(), "these data cannot tell the orders apart");
}

// ---- what the comparison with a reference cannot show

#[test]
fn small_moments_become_zero_and_never_denormal() {
    let n = 1001;
    let mut values = Values::new(13, Flavour::Tame);
    let (mut p, start) = (values.vec(n), values.vec(n));
    let mut m = start.clone();
    let mut v: Vec<f32> = start.iter().map(|x| x * x).collect();
    let g = vec![0.0; n];
    let betas = (0.5, 0.25);
    let mut passed = 0;
    for t in 1..=120 {
        let finite = adamw(&mut p, &g, &mut m, &mut v, Step { betas, t, ..STEP });
        assert_eq!(finite, g.iter().all(|g| g.is_finite()), "adamw tells of a spoilt gradient");
        for i in 0..n {
            // Powers of two: without the floors the moments would be exactly these.
            let (want_m, want_v) = (
                f64::from(start[i]) * 0.5f64.powi(t as i32),
                f64::from(start[i] * start[i]) * 0.25f64.powi(t as i32),
            );
            let above = |x: f64, floor: f32| x.abs() >= f64::from(floor);
            let want_m = if above(want_m, 1e-30) { want_m as f32 } else { 0.0 };
            let want_v = if above(want_v, 1e-36) { want_v as f32 } else { 0.0 };
            assert_eq!((m[i].to_bits(), v[i].to_bits()), (want_m.to_bits(), want_v.to_bits()));
            passed += usize::from(m[i] != 0.0 && v[i] == 0.0);
        }
        assert!(p.iter().chain(&m).chain(&v).all(|x| !x.is_subnormal()));
    }
    assert!(passed > n, "v is gone some steps before m is");
    assert!(m.iter().chain(&v).all(|x| x.to_bits() == 0));
    // Denormal gradients do not bring them back, and ordinary ones do.
    assert!(adamw(&mut p, &vec![1e-41; n], &mut m, &mut v, STEP));
    assert!(m.iter().chain(&v).all(|x| x.to_bits() == 0));
    assert!(adamw(&mut p, &vec![1e-3; n], &mut m, &mut v, STEP));
    assert!(m.iter().chain(&v).all(|x| x.is_normal()));
}

/// For a kernel with outputs `run(inputs)`: a NaN in input `i` must make NaN of exactly the outputs
/// for which `touched(i, o)` holds, and leave the bits of all others alone.
#[track_caller]
fn check_nan(
    what: &str,
    input: &[f32],
    run: impl Fn(&[f32]) -> Vec<f32>,
    touched: impl Fn(usize, usize) -> bool,
) {
    let clean = run(input);
    assert!(clean.iter().all(|y| y.is_finite()), "{what}: the clean run is finite");
    for i in 0..input.len() {
        let mut spoilt = input.to_vec();
        spoilt[i] = f32::NAN;
        for (o, (&y, &clean)) in run(&spoilt).iter().zip(&clean).enumerate() {
            if touched(i, o) {
                assert!(y.is_nan(), "{what}: NaN at {i} is lost, output {o} is {y}");
            } else {
                assert!(is_same(y, clean), "{what}: NaN at {i} changes output {o} to {y}");
            }
        }
    }
}

/// `len` values of NaN, filled by `f`.
fn filled(len: usize, f: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = vec![f32::NAN; len];
    f(&mut out);
    out
}

#[test]
fn a_nan_reaches_every_output_of_a_product_that_depends_on_it_and_no_other() {
    let (rows, depth, cols) = (7, 19, 17);
    let mut values = Values::new(14, Flavour::Tame);
    for form in FORMS {
        let dims = form.dims((rows, depth, cols));
        let (a, b) = (values.vec(rows * depth), values.vec(depth * cols));
        let row_of = |i: usize| if let Form::Tn = form { i % rows } else { i / depth };
        let col_of = |i: usize| if let Form::Nt = form { i / depth } else { i % cols };
        let of_a = |a: &[f32]| filled(rows * cols, |c| form.product(a, &b, c, dims, Start::Zero));
        check_nan(&format!("left of {form:?}"), &a, of_a, |i, o| o / cols == row_of(i));
        let of_b = |b: &[f32]| filled(rows * cols, |c| form.product(&a, b, c, dims, Start::Zero));
        check_nan(&format!("right of {form:?}"), &b, of_b, |i, o| o % cols == col_of(i));
    }
}

#[test]
fn a_nan_reaches_every_output_of_a_row_kernel_that_depends_on_it_and_no_other() {
    let (rows, cols) = (3, 37);
    let n = rows * cols;
    let mut values = Values::new(15, Flavour::Tame);
    let (x, dy) = (values.vec(n), values.vec(n));
    let (w, b) = (values.vec(cols), values.vec(cols));
    let same_row = |i: usize, o: usize| i / cols == o / cols;
    let same_column = |i: usize, o: usize| i % cols == o % cols;
    for act in ACTS {
        check_nan("activation", &x, |x| filled(n, |y| act.forward(x, y)), |i, o| i == o);
        let backward = |dy: &[f32]| filled(n, |dx| act.backward(&x, dy, dx, Write::Set));
        check_nan("activation's gradient", &dy, backward, |i, o| i == o);
    }
    check_nan("softmax", &x, |x| filled(n, |y| softmax(x, y, cols)), same_row);
    let y = filled(n, |y| softmax(&x, y, cols));
    let backward = |dy: &[f32]| filled(n, |dx| softmax_backward(&y, dy, dx, cols, Write::Set));
    check_nan("softmax's gradient", &dy, backward, same_row);

    let stats = &mut vec![0.0; 2 * rows];
    let forward = |x: &[f32]| filled(n, |y| layer_norm(x, &w, &b, y, &mut stats.clone()));
    check_nan("layer_norm", &x, forward, same_row);
    layer_norm(&x, &w, &b, &mut y.clone(), stats);
    let dx = |dy: &[f32]| filled(n, |dx| layer_norm_backward(&x, &w, stats, dy, dx, Write::Set));
    check_nan("layer_norm's dx", &dy, dx, same_row);
    let dw = |dy: &[f32]| filled(cols, |dw| layer_norm_backward_w(&x, stats, dy, dw, Write::Set));
    check_nan("layer_norm's dw", &dy, dw, same_column);
    let sums = |dy: &[f32]| filled(cols, |db| column_sums(dy, db, Write::Set));
    check_nan("column_sums", &dy, sums, same_column);

    let labels = [0, 17, 36];
    let resid = |z: &[f32]| {
        filled(n, |resid| cross_entropy(z, &labels, resid, &mut vec![0.0; 2 * rows], cols))
    };
    check_nan("residual", &x, resid, same_row);
    let loss = |z: &[f32]| {
        let row = filled(2 * rows, |row| cross_entropy(z, &labels, &mut vec![0.0; n], row, cols));
        row.into_iter().step_by(2).collect()
    };
    check_nan("loss", &x, loss, |i, o| i / cols == o);

    let idx = [2, 0, 2];
    let table = |x: &[f32]| filled(n, |y| gather(x, &idx, y, cols));
    let entry = |i: usize, o: usize| same_column(i, o) && i / cols == idx[o / cols] as usize;
    check_nan("gather", &x, table, entry);
    let back = |dy: &[f32]| filled(n, |dtable| scatter(dy, &idx, dtable, cols, Write::Set));
    check_nan("scatter", &dy, back, |i, o| entry(o, i));

    let both = |i: usize, o: usize| same_row(i, o) || i / cols == idx[o / cols] as usize;
    let mixed = |x: &[f32]| filled(n, |y| mix(x, &idx, 0.3, y, cols));
    check_nan("mix", &x, mixed, |i, o| same_column(i, o) && both(i, o));
    let back = |dy: &[f32]| filled(n, |dx| mix_backward(dy, &idx, 0.3, dx, cols, Write::Set));
    check_nan("mix's gradient", &dy, back, |i, o| same_column(i, o) && both(o, i));
    let far = |x: &[f32]| filled(rows, |r| distance(x, &idx, 0.3, r, cols));
    check_nan("distance", &x, far, |i, o| both(i, o * cols));

    let updated = |g: &[f32]| {
        let (mut p, mut m, mut v) = (x.clone(), vec![0.0; n], vec![0.0; n]);
        let finite = adamw(&mut p, g, &mut m, &mut v, STEP);
        assert_eq!(finite, g.iter().all(|g| g.is_finite()), "adamw tells of a spoilt gradient");
        [p, m, v].concat()
    };
    check_nan("adamw", &dy, updated, |i, o| i == o % n);
}

#[test]
fn a_nan_reaches_every_query_that_sees_it_and_is_hidden_from_the_others_by_the_mask() {
    let s = Shape { tq: 3, tk: 5, h: 2, e: 7, causal: true };
    let (b, d) = (2, s.h * s.e);
    let mut values = Values::new(16, Flavour::Tame);
    let (q, k) = (values.vec(b * s.tq * d), values.vec(b * s.tk * d));
    let v = values.vec(b * s.tk * d);
    let pattern = || vec![f32::NAN; b * s.h * s.tq * s.tk];
    // (example, position, head, dimension) of an element of a buffer with t positions
    let at = |i: usize, t: usize| (i / (t * d), i / d % t, i % d / s.e, i % s.e);
    let sees = |key: (usize, usize, usize, usize), query: (usize, usize, usize, usize)| {
        key.0 == query.0 && key.2 == query.2 && key.1 <= query.1 + s.tk - s.tq
    };
    let of_q = |q: &[f32]| filled(q.len(), |z| attention(q, &k, &v, z, &mut pattern(), s));
    let same_query = |i, o| {
        let (i, o) = (at(i, s.tq), at(o, s.tq));
        (i.0, i.1, i.2) == (o.0, o.1, o.2)
    };
    check_nan("q", &q, of_q, same_query);
    let of_k = |k: &[f32]| filled(q.len(), |z| attention(&q, k, &v, z, &mut pattern(), s));
    check_nan("k", &k, of_k, |i, o| sees(at(i, s.tk), at(o, s.tq)));
    let of_v = |v: &[f32]| filled(q.len(), |z| attention(&q, &k, v, z, &mut pattern(), s));
    check_nan("v", &v, of_v, |i, o| {
        sees(at(i, s.tk), at(o, s.tq)) && at(i, s.tk).3 == at(o, s.tq).3
    });
    // The pattern itself is 0, not NaN, behind the mask.
    let mut p = pattern();
    attention(&q, &k, &v, &mut vec![0.0; q.len()], &mut p, s);
    for (i, p) in p.iter().enumerate() {
        let hidden = i % s.tk > i / s.tk % s.tq + s.tk - s.tq;
        assert_eq!(hidden, p.to_bits() == 0, "weight {i} is {p}");
    }
}

#[test]
fn the_first_of_equal_largest_logits_is_the_answer() {
    let z = [1.0, 3.0, 3.0, -2.0];
    for (label, hit) in [(0, 0.0), (1, 1.0), (2, 0.0), (3, 0.0)] {
        let mut row = [f32::NAN; 2];
        cross_entropy(&z, &[label], &mut [0.0; 4], &mut row, 4);
        assert_eq!(row[1], hit, "label {label}");
    }
}

#[test]
fn a_layer_norm_of_huge_equal_values_is_its_bias_and_has_a_finite_gradient() {
    // x − μ is exactly 0, while μ·r overflows: padding with anything but μ would make NaN.
    let x = vec![121.0f32.exp2(); 17];
    let dy = Values::new(17, Flavour::Tame).vec(17);
    let (w, b) = (vec![1.0; 17], vec![0.5; 17]);
    let (mut y, mut stats, mut dx) = (vec![f32::NAN; 17], vec![f32::NAN; 2], vec![f32::NAN; 17]);
    layer_norm(&x, &w, &b, &mut y, &mut stats);
    assert!(stats[0] == x[0] && (stats[0] * stats[1]).is_infinite());
    same("y", &y, &b);
    layer_norm_backward(&x, &w, &stats, &dy, &mut dx, Write::Set);
    assert!(dx.iter().all(|dx| dx.is_finite()), "{dx:?}");
}

#[test]
fn every_public_kernel_is_called_in_this_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernels/src");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).expect("the kernels' sources") {
        let path = file.expect("an entry").path();
        let source = std::fs::read_to_string(&path).expect("a source file");
        let calls = include_str!("bits.rs");
        // exp, ln, … are called through `Real` by the references and measured in oracles.rs; the
        // spectral kernels and the norm have their references' bits checked beside them, and
        // eigenvectors.rs holds the eigenvectors against faer's; varlen_attention.rs is a file of
        // its own here, too.
        let elsewhere = [
            "varlen_attention.rs",
            "norm.rs",
            "eigenvectors.rs",
            "elementary.rs",
            "covariance.rs",
            "tridiagonal.rs",
            "lanczos.rs",
            "block_lanczos.rs",
            "moments.rs",
            "moment_bounds.rs",
            "spectrum.rs",
        ];
        if elsewhere.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        for name in source.lines().filter_map(|line| line.trim_start().strip_prefix("pub fn ")) {
            let name = name.split(['(', '<']).next().expect("a name");
            let called = [format!("{name}("), format!("{name}::<")];
            // These are not kernels.
            if !["reduce_ref", "flops", "fma_burst", "zeros"].contains(&name) {
                assert!(
                    called.iter().any(|c| calls.contains(c)),
                    "{name} of {path:?} is not tested"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 35, "only {seen} kernels found: has the folder moved?");
}

#[test]
fn the_sign_of_zero_and_the_lanes_of_the_elementary_functions_are_those_of_the_scalar_form() {
    // Through the kernels that use them: exp by softmax of (x, 0), erf and tanh by both GELUs.
    let mut x: Vec<f32> = (0..65_536u32).map(|high| f32::from_bits(high << 16 | 0x5a5a)).collect();
    x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY]);
    for act in ACTS {
        let y = filled(x.len(), |y| act.forward(&x, y));
        let want: Vec<f32> = x.iter().map(|&x| act.value_ref(x)).collect();
        same(&format!("{act:?} of every exponent"), &y, &want);
    }
    let pairs: Vec<f32> = x.iter().flat_map(|&x| [x, 0.0]).collect();
    let y = filled(pairs.len(), |y| softmax(&pairs, y, 2));
    let want = filled(pairs.len(), |y| softmax_ref(&pairs, y, 2));
    same("softmax of every exponent", &y, &want);
    assert!(y.iter().any(|&y| y == Real::exp(-1.0f32) / (1.0 + Real::exp(-1.0f32)) || y == 1.0));
}
