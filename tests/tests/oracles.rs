//! Kernels against arithmetic that is not ours: faer's products, the standard library's functions
//! in f64, published tables, the formula written out in f64, and central differences of it.
//!
//! u = 2⁻²⁴ is the unit roundoff of f32. A chain of k fused multiply-adds rounds k times, so its
//! error is at most γₖ·Σ|a·b|, γₖ = k·u/(1 − k·u) (Higham 2002, section 3.1); that bound is used as
//! it stands, with no factor for comfort.
#![forbid(unsafe_code)]

use faer::{Mat, MatRef};
use kernels::activation::Act;
use kernels::adamw::{Step, adamw};
use kernels::attention::{Shape, attention, attention_backward};
use kernels::columns::column_sums;
use kernels::cross_entropy::{cross_entropy, cross_entropy_backward};
use kernels::gather::{gather, scatter};
use kernels::layer_norm::{layer_norm, layer_norm_backward, layer_norm_backward_w};
use kernels::matmul::{Dims, Start, matmul_nn, matmul_nt, matmul_tn};
use kernels::softmax::{softmax, softmax_backward};
use kernels::{Real, Write};
use rayon::prelude::*;
use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};
use tests::values::{Flavour, Values};

const U: f64 = 1.0 / (1 << 24) as f64;

fn gamma(k: usize) -> f64 {
    k as f64 * U / (1.0 - k as f64 * U)
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// |got − want| <= bound, element by element; NaN fails.
#[track_caller]
fn close(what: &str, got: &[f32], want: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let (error, bound) = ((f64::from(g) - w).abs(), bound(i));
        assert!(error <= bound, "{what}: element {i} is {g:e}, not {w:e}; {error:e} > {bound:e}");
    }
}

// ---- products

/// The shapes of the default model's layers at batch 512 and of the full data, and ragged ones.
const PRODUCTS: [Dims; 8] = [
    Dims { m: 2822, k: 128, n: 512 },
    Dims { m: 2822, k: 512, n: 128 },
    Dims { m: 512, k: 128, n: 97 },
    Dims { m: 1024, k: 128, n: 128 },
    Dims { m: 97, k: 128, n: 384 },
    Dims { m: 61, k: 67, n: 71 },
    Dims { m: 1, k: 1000, n: 1 },
    Dims { m: 131, k: 1, n: 17 },
];

/// A product that a form claims to have computed.
struct Product {
    form: &'static str,
    /// (rows, depth), in f64.
    a: Vec<f64>,
    /// (depth, cols), in f64.
    b: Vec<f64>,
    /// (rows, cols), by the kernel.
    c: Vec<f32>,
    /// [rows, depth, cols]
    shape: [usize; 3],
}

/// The three forms at the shapes of `d`, each written as C = A·B.
fn forms(d: Dims, values: &mut Values) -> [Product; 3] {
    let Dims { m, k, n } = d;
    let (x, w, dy) = (values.vec(m * k), values.vec(k * n), values.vec(m * n));
    let (mut y, mut dx, mut dw) =
        (vec![f32::NAN; m * n], vec![f32::NAN; m * k], vec![f32::NAN; k * n]);
    matmul_nn(&x, &w, &mut y, d, Start::Zero);
    matmul_nt(&dy, &w, &mut dx, d, Start::Zero);
    matmul_tn(&x, &dy, &mut dw, d, Start::Zero);
    let claim = |form, a, b, c, shape| Product { form, a, b, c, shape };
    [
        claim("nn", wide(&x), wide(&w), y, [m, k, n]),
        claim("nt", wide(&dy), transposed(&w, n), dx, [m, n, k]),
        claim("tn", transposed(&x, k), wide(&dy), dw, [k, m, n]),
    ]
}

fn transposed(x: &[f32], cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|j| x.chunks_exact(cols).map(move |row| row[j].into())).collect()
}

/// A·B by faer, row major. a: (rows, depth), b: (depth, cols).
fn product(a: &[f64], b: &[f64], [rows, depth, cols]: [usize; 3]) -> Vec<f64> {
    let c: Mat<f64> =
        MatRef::from_row_major_slice(a, rows, depth) * MatRef::from_row_major_slice(b, depth, cols);
    (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))).map(|(i, j)| c[(i, j)]).collect()
}

/// C·t. c: (rows, cols), t: (cols).
fn times(c: &[f64], t: &[f64]) -> Vec<f64> {
    c.chunks_exact(t.len()).map(|row| row.iter().zip(t).map(|(c, t)| c * t).sum()).collect()
}

fn magnitudes(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x.abs()).collect()
}

#[test]
fn every_element_of_a_product_is_within_its_rounding_bound_of_faer_in_f64() {
    for d in PRODUCTS {
        for Product { form, a, b, c, shape } in forms(d, &mut Values::new(1, Flavour::Tame)) {
            let size = product(&magnitudes(&a), &magnitudes(&b), shape);
            let bound = |i: usize| gamma(shape[1]) * size[i];
            close(&format!("{form} {d:?}"), &c, &product(&a, &b, shape), bound);
        }
    }
}

#[test]
fn a_product_of_whole_numbers_is_exact() {
    // |Σ| <= 9·2822 < 2²⁴: no f32 operation rounds. One random vector t would see one wrong element
    // of C with certainty (t is never 0), and any set of wrong ones with all but a few chances in 10⁴.
    for d in PRODUCTS {
        let mut values = Values::new(2, Flavour::Whole);
        for Product { form, a, b, c, shape: [_, _, cols] } in forms(d, &mut values) {
            let t: Vec<f64> = (0..cols).map(|_| (values.bits() % 10_000 + 1) as f64).collect();
            assert_eq!(times(&wide(&c), &t), times(&a, &times(&b, &t)), "{form} {d:?}");
        }
    }
}

#[test]
fn a_product_at_full_size_agrees_with_a_random_vector_in_f64() {
    // C·t against A·(B·t), t = ±1. Roundings of random sign add up as √(k·n), not k·n (Higham &
    // Mary 2019): 8·√k·u·|A||B| an element, √n of them. One element that is off by 3 % shows.
    for d in &PRODUCTS[..5] {
        let mut values = Values::new(3, Flavour::Tame);
        for Product { form, a, b, c, shape: [_, depth, cols] } in forms(*d, &mut values) {
            let t: Vec<f64> = (0..cols).map(|_| [1.0, -1.0][values.bits() as usize & 1]).collect();
            let want = times(&a, &times(&b, &t));
            // |a·b| is 1 on average, for a and b uniform in [−2, 2)
            let bound = 8.0 * (depth as f64).sqrt() * U * depth as f64 * (cols as f64).sqrt();
            assert!(bound < 0.03 * 4.0 / 3.0 * (depth as f64).sqrt(), "an element is 4/3·√k");
            for (got, want) in times(&wide(&c), &t).into_iter().zip(want) {
                assert!((got - want).abs() <= bound, "{form} {d:?}: {got} is not {want}");
            }
        }
    }
}

#[test]
fn a_product_starts_at_its_bias_or_at_what_is_there() {
    let d = Dims { m: 13, k: 29, n: 37 };
    let mut values = Values::new(4, Flavour::Whole);
    let (x, w) = (values.vec(d.m * d.k), values.vec(d.k * d.n));
    let (bias, old) = (values.vec(d.n), values.vec(d.m * d.n));
    let xw = product(&wide(&x), &wide(&w), [d.m, d.k, d.n]);
    let (mut y, mut z) = (vec![f32::NAN; d.m * d.n], old.clone());
    matmul_nn(&x, &w, &mut y, d, Start::Bias(&bias));
    matmul_nn(&x, &w, &mut z, d, Start::Here);
    for i in 0..y.len() {
        assert_eq!(f64::from(y[i]), xw[i] + f64::from(bias[i % d.n]));
        assert_eq!(f64::from(z[i]), xw[i] + f64::from(old[i]));
    }
}

#[test]
fn gather_scatter_and_column_sums_are_products_with_ones_and_zeros() {
    let (rows, entries, cols) = (301, 23, 37);
    let mut values = Values::new(5, Flavour::Whole);
    let (table, dy) = (values.vec(entries * cols), values.vec(rows * cols));
    let idx = values.indices(rows, entries);
    let mut one_hot = vec![0.0; rows * entries];
    idx.iter().enumerate().for_each(|(i, &e)| one_hot[i * entries + e as usize] = 1.0);

    let mut y = vec![f32::NAN; rows * cols];
    gather(&table, &idx, &mut y, cols);
    assert_eq!(wide(&y), product(&wide(&one_hot), &wide(&table), [rows, entries, cols]));
    let mut dtable = vec![f32::NAN; entries * cols];
    scatter(&dy, &idx, &mut dtable, cols, Write::Set);
    let back = transposed(&one_hot, entries);
    assert_eq!(wide(&dtable), product(&back, &wide(&dy), [entries, rows, cols]));
    let mut db = vec![f32::NAN; cols];
    column_sums(&dy, &mut db, Write::Set);
    assert_eq!(wide(&db), product(&vec![1.0; rows], &wide(&dy), [1, rows, cols]));
}

// ---- cross-entropy

/// (loss, −p of the others) in f64, relative to the label: nothing cancels however small they are.
fn loss_in_f64(z: &[f32], label: usize) -> (f64, f64) {
    let at = f64::from(z[label]);
    let others = z.iter().enumerate().filter(|&(j, _)| j != label);
    let others: f64 = others.map(|(_, &z)| (f64::from(z) - at).exp()).sum();
    (others.ln_1p(), -(others / (1.0 + others)))
}

#[test]
fn cross_entropy_keeps_its_digits_where_p_goes_to_1() {
    let (rows, cols) = (41, 97);
    let mut values = Values::new(6, Flavour::Tame);
    let mut z = values.vec(rows * cols);
    let labels = values.indices(rows, cols);
    for (i, &y) in labels.iter().enumerate() {
        z[i * cols + y as usize] = 20.0 + i as f32; // the others lie in [−2, 2)
    }
    let (mut resid, mut row) = (vec![f32::NAN; rows * cols], vec![f32::NAN; 2 * rows]);
    cross_entropy(&z, &labels, &mut resid, &mut row, cols);
    let mut naive_is_zero = 0;
    for (i, &y) in labels.iter().enumerate() {
        let (z, y) = (&z[i * cols..][..cols], y as usize);
        let (loss, slope) = loss_in_f64(z, y);
        let total: f32 = z.iter().map(|&x| (x - z[y]).exp()).sum();
        naive_is_zero += usize::from(total.ln() == 0.0 && 1.0 / total - 1.0 == 0.0);
        assert!(loss > 0.0 && loss < 1e-5 && row[2 * i + 1] == 1.0);
        close("loss", &row[2 * i..][..1], &[loss], |_| 1e-5 * loss);
        close("gradient at the label", &resid[i * cols + y..][..1], &[slope], |_| 1e-5 * -slope);
    }
    assert!(naive_is_zero > 30, "the naive f32 formula must fail here: {naive_is_zero} rows");
}

#[test]
fn cross_entropy_is_that_of_f64_wherever_the_label_stands() {
    let (rows, cols) = (200, 113);
    for spread in [0.0, 1.0, 10.0, 40.0] {
        let mut values = Values::new(7, Flavour::Tame);
        let z: Vec<f32> = values.vec(rows * cols).iter().map(|z| z * spread).collect();
        let labels = values.indices(rows, cols);
        let (mut resid, mut row) = (vec![f32::NAN; rows * cols], vec![f32::NAN; 2 * rows]);
        cross_entropy(&z, &labels, &mut resid, &mut row, cols);
        for (i, &y) in labels.iter().enumerate() {
            let (z, y) = (&z[i * cols..][..cols], y as usize);
            let (loss, slope) = loss_in_f64(z, y);
            close("loss", &row[2 * i..][..1], &[loss], |_| 1e-5 * loss.max(1e-30));
            let mut want: Vec<f64> = (0..cols).map(|j| (-loss_in_f64(z, j).0).exp()).collect();
            want[y] = slope;
            // Differences of logits up to 160 carry an error of 2⁻¹⁷, and so does a small p; below
            // e^−86.6 p is 0.
            let resid = &resid[i * cols..][..cols];
            close("residual", resid, &want, |j| 1e-5 * want[j].abs() + 1e-37);
            let hit = (0..cols).all(|j| z[j] < z[y] || (j >= y && z[j] == z[y]));
            assert_eq!(row[2 * i + 1], f32::from(u8::from(hit)));
        }
    }
}

#[test]
fn a_uniform_guess_costs_the_logarithm_of_the_classes() {
    for cols in [1, 2, 97, 113, 120] {
        let mut row = [f32::NAN; 2];
        cross_entropy(&vec![0.25; cols], &[0], &mut vec![0.0; cols], &mut row, cols);
        let want = (cols as f64).ln();
        close("loss", &row[..1], &[want], |_| 2.0 * U * want);
    }
}

// ---- softmax and LayerNorm

fn softmax_in_f64(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = x.iter().map(|x| (x - max).exp()).sum();
    x.iter().map(|x| (x - max).exp() / total).collect()
}

#[test]
fn softmax_is_that_of_f64_and_its_rows_sum_to_1() {
    for (cols, spread) in [(1, 1.0), (2, 5.0), (17, 1.0), (97, 10.0), (1000, 20.0)] {
        let x: Vec<f32> =
            Values::new(8, Flavour::Tame).vec(50 * cols).iter().map(|x| x * spread).collect();
        let mut y = vec![f32::NAN; x.len()];
        softmax(&x, &mut y, cols);
        for (x, y) in x.chunks(cols).zip(y.chunks(cols)) {
            let want = softmax_in_f64(&wide(x));
            // One rounding of x − max (at most 80·u), two units each in e^x, the sum and the ratio
            close("softmax", y, &want, |j| (80.0 + 8.0 + cols as f64 / 16.0) * U * want[j]);
            let sum: f64 = wide(y).iter().sum();
            assert!((sum - 1.0).abs() <= (6.0 + cols as f64 / 16.0) * U, "a row sums to {sum}");
        }
    }
}

#[test]
fn softmax_does_not_see_a_shift() {
    // Whole numbers, shifted by whole numbers: x − max is the same to the bit.
    let x = Values::new(9, Flavour::Whole).vec(20 * 97);
    let mut y = vec![f32::NAN; x.len()];
    softmax(&x, &mut y, 97);
    assert!(y.iter().all(|&y| y > 0.0 && y < 1.0));
    for shift in [1.0, -1000.0, 4_194_304.0] {
        let shifted: Vec<f32> = x.iter().map(|x| x + shift).collect();
        let mut again = vec![f32::NAN; x.len()];
        softmax(&shifted, &mut again, 97);
        assert_eq!(y, again);
    }
}

fn layer_norm_in_f64(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    // 1e-5 as f32 has it
    let hat = |x: f64| (x - mean) / (variance + f64::from(1e-5f32)).sqrt();
    x.iter().zip(w.iter().zip(b)).map(|(&x, (w, b))| hat(x) * w + b).collect()
}

#[test]
fn a_layer_norm_has_mean_0_and_variance_1_and_is_that_of_f64() {
    for cols in [2, 16, 33, 128, 1000] {
        for (scale, shift) in [(1.0, 0.0), (1.0, 1000.0), (100.0, -3.0)] {
            let mut values = Values::new(10, Flavour::Tame);
            let x: Vec<f32> = values.vec(30 * cols).iter().map(|x| x * scale + shift).collect();
            let (w, b) = (values.vec(cols), values.vec(cols));
            let (mut y, mut stats) = (vec![f32::NAN; x.len()], vec![f32::NAN; 60]);
            layer_norm(&x, &vec![1.0; cols], &vec![0.0; cols], &mut y, &mut stats);
            // μ carries some units of |μ|, which is this much of a standard deviation:
            let slack = |x: &[f32]| {
                let x = wide(x);
                let mean = x.iter().sum::<f64>() / cols as f64;
                let deviation = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / cols as f64;
                let size = x.iter().map(|x| x.abs()).fold(0.0, f64::max);
                (8.0 + cols as f64 / 16.0) * U * (1.0 + size / deviation.sqrt())
            };
            for (i, (x, y)) in x.chunks(cols).zip(y.chunks(cols)).enumerate() {
                let (y, slack) = (wide(y), slack(x));
                let mean = y.iter().sum::<f64>() / cols as f64;
                let variance = y.iter().map(|y| y * y).sum::<f64>() / cols as f64;
                // ε takes its share: variance·r² = 1 − ε·r²
                let want = 1.0 - 1e-5 * f64::from(stats[2 * i + 1]).powi(2);
                assert!(mean.abs() <= slack, "mean {mean:e} of {cols}, {scale}, {shift}");
                assert!((variance - want).abs() <= 4.0 * slack, "variance {variance} not {want}");
            }
            layer_norm(&x, &w, &b, &mut y, &mut stats);
            for (x, y) in x.chunks(cols).zip(y.chunks(cols)) {
                let want = layer_norm_in_f64(&wide(x), &wide(&w), &wide(&b));
                let size = want.iter().map(|y| y.abs()).fold(2.0, f64::max);
                close("layer_norm", y, &want, |_| 4.0 * slack(x) * size);
            }
        }
    }
}

// ---- attention

/// The textbook, one query at a time, in f64.
fn attention_in_f64(q: &[f64], k: &[f64], v: &[f64], s: Shape) -> Vec<f64> {
    let d = s.h * s.e;
    let mut z = vec![0.0; q.len()];
    for (row, q) in q.chunks_exact(d).enumerate() {
        let (b, j) = (row / s.tq, row % s.tq);
        let keys: Vec<usize> = (0..s.tk)
            .filter(|i| !s.causal || *i + s.tq <= j + s.tk)
            .map(|i| b * s.tk + i)
            .collect();
        for head in (0..d).step_by(s.e) {
            let dot = |&i: &usize| -> f64 {
                (head..head + s.e).map(|x| q[x] * k[i * d + x]).sum::<f64>() / (s.e as f64).sqrt()
            };
            let p = softmax_in_f64(&keys.iter().map(dot).collect::<Vec<_>>());
            for x in head..head + s.e {
                z[row * d + x] = keys.iter().zip(&p).map(|(i, p)| p * v[i * d + x]).sum();
            }
        }
    }
    z
}

#[test]
fn attention_is_that_of_f64() {
    for (tq, tk) in [(1, 2), (3, 3), (2, 5), (1, 9)] {
        for causal in [true, false] {
            let (b, s) = (3, Shape { tq, tk, h: 4, e: 33, causal });
            let mut values = Values::new(11, Flavour::Tame);
            let q = values.vec(b * tq * 132);
            let (k, v) = (values.vec(b * tk * 132), values.vec(b * tk * 132));
            let (mut z, mut p) = (vec![f32::NAN; q.len()], vec![f32::NAN; b * 4 * tq * tk]);
            attention(&q, &k, &v, &mut z, &mut p, s);
            let want = attention_in_f64(&wide(&q), &wide(&k), &wide(&v), s);
            // A score errs by about 3·16·u (33 terms in 16 lanes), which shifts the average of v.
            close("z", &z, &want, |_| 100.0 * U);
            for p in p.chunks(tk) {
                assert!((wide(p).iter().sum::<f64>() - 1.0).abs() <= 4.0 * U * tk as f64);
            }
        }
    }
}

#[test]
fn attention_to_one_key_is_the_identity_on_v_and_to_equal_keys_the_mean() {
    let mut values = Values::new(12, Flavour::Tame);
    let s = Shape { tq: 1, tk: 1, h: 3, e: 11, causal: true };
    let (q, k, v) = (values.vec(5 * 33), values.vec(5 * 33), values.vec(5 * 33));
    let (mut z, mut p) = (vec![f32::NAN; 5 * 33], vec![f32::NAN; 15]);
    attention(&q, &k, &v, &mut z, &mut p, s);
    assert!(z == v && p == vec![1.0; 15]);

    let s = Shape { tk: 4, ..s };
    let (k, v) = (k[..33].repeat(4), Values::new(13, Flavour::Whole).vec(4 * 33));
    attention(&q[..33], &k, &v, &mut z[..33], &mut p[..12], s);
    let mean = |x: usize| (0..4).map(|i| v[i * 33 + x]).sum::<f32>() / 4.0;
    assert_eq!(z[..33], (0..33).map(mean).collect::<Vec<_>>());
}

// ---- gradients: central differences of the formulas above, in f64

/// Checks d(Σ dy·f(x))/dx, as our kernel has it, against central differences of `f` in f64.
#[track_caller]
fn check_gradient(what: &str, x: &[f32], dy: &[f32], dx: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) {
    let x = wide(x);
    let value = |x: &[f64]| f(x).iter().zip(dy).map(|(y, &dy)| y * f64::from(dy)).sum::<f64>();
    let step = 1e-5;
    let want: Vec<f64> = (0..x.len())
        .map(|i| {
            let moved = |by: f64| {
                let mut x = x.clone();
                x[i] += by;
                value(&x)
            };
            (moved(step) - moved(-step)) / (2.0 * step)
        })
        .collect();
    let size = want.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    assert!(size > 1e-2, "{what}: the gradient is too small to tell anything");
    close(what, dx, &want, |_| 5e-6 * size);
}

#[test]
fn gradients_are_the_slopes_of_the_formulas() {
    let (rows, cols) = (3, 19);
    let n = rows * cols;
    let mut values = Values::new(14, Flavour::Tame);
    let (x, dy) = (values.vec(n), values.vec(n));
    let (w, b) = (values.vec(cols), values.vec(cols));
    let by_row = |x: &[f64], f: &dyn Fn(&[f64]) -> Vec<f64>| -> Vec<f64> {
        x.chunks_exact(cols).flat_map(f).collect()
    };

    let (mut y, mut dx) = (vec![f32::NAN; n], vec![f32::NAN; n]);
    softmax(&x, &mut y, cols);
    softmax_backward(&y, &dy, &mut dx, cols, Write::Set);
    check_gradient("softmax", &x, &dy, &dx, |x| by_row(x, &softmax_in_f64));

    let (mut stats, mut dw, mut db) = ([f32::NAN; 6], vec![f32::NAN; cols], vec![f32::NAN; cols]);
    layer_norm(&x, &w, &b, &mut y, &mut stats);
    layer_norm_backward(&x, &w, &stats, &dy, &mut dx, Write::Set);
    layer_norm_backward_w(&x, &stats, &dy, &mut dw, Write::Set);
    column_sums(&dy, &mut db, Write::Set);
    let (x64, w64, b64) = (wide(&x), wide(&w), wide(&b));
    check_gradient("layer_norm, x", &x, &dy, &dx, |x| {
        by_row(x, &|x| layer_norm_in_f64(x, &w64, &b64))
    });
    check_gradient("layer_norm, w", &w, &dy, &dw, |w| {
        by_row(&x64, &|x| layer_norm_in_f64(x, w, &b64))
    });
    check_gradient("layer_norm, b", &b, &dy, &db, |b| {
        by_row(&x64, &|x| layer_norm_in_f64(x, &w64, b))
    });

    let labels = [4, 0, 18];
    let (mut resid, mut row) = (vec![f32::NAN; n], [f32::NAN; 6]);
    cross_entropy(&x, &labels, &mut resid, &mut row, cols);
    cross_entropy_backward(&resid, &mut dx, 1.0 / rows as f32, Write::Set);
    check_gradient("cross_entropy", &x, &[1.0], &dx, |x| {
        let losses = x.chunks_exact(cols).zip(labels);
        let loss = |(x, y): (&[f64], u32)| -softmax_in_f64(x)[y as usize].ln();
        vec![losses.map(loss).sum::<f64>() / rows as f64]
    });

    for act in ACTS {
        act.backward(&x, &dy, &mut dx, Write::Set);
        check_gradient(&format!("{act:?}"), &x, &dy, &dx, |x| {
            x.iter().map(|&x| act_in_f64(act, x)).collect()
        });
    }
}

#[test]
fn gradients_of_attention_are_the_slopes_of_the_formula() {
    for causal in [true, false] {
        let s = Shape { tq: 2, tk: 4, h: 2, e: 5, causal };
        let mut values = Values::new(15, Flavour::Tame);
        let (q, dz) = (values.vec(2 * 2 * 10), values.vec(2 * 2 * 10));
        let (k, v) = (values.vec(2 * 4 * 10), values.vec(2 * 4 * 10));
        let (mut z, mut p) = (vec![f32::NAN; q.len()], vec![f32::NAN; 2 * 2 * 2 * 4]);
        attention(&q, &k, &v, &mut z, &mut p, s);
        let (mut dq, mut dk, mut dv) =
            (vec![f32::NAN; q.len()], vec![f32::NAN; k.len()], vec![f32::NAN; v.len()]);
        let to = (&mut dq[..], &mut dk[..], &mut dv[..]);
        attention_backward((&q, &k, &v), &p, &dz, to, [Write::Set; 3], s);
        let (q64, k64, v64) = (wide(&q), wide(&k), wide(&v));
        check_gradient("q", &q, &dz, &dq, |q| attention_in_f64(q, &k64, &v64, s));
        check_gradient("k", &k, &dz, &dk, |k| attention_in_f64(&q64, k, &v64, s));
        check_gradient("v", &v, &dz, &dv, |v| attention_in_f64(&q64, &k64, v, s));
    }
}

// ---- activations

const ACTS: [Act; 3] = [Act::Relu, Act::Gelu, Act::GeluTanh];

fn act_in_f64(act: Act, x: f64) -> f64 {
    match act {
        Act::Relu => x.max(0.0),
        Act::Gelu => 0.5 * x * (1.0 + erf(x / SQRT_2)),
        Act::GeluTanh => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
    }
}

/// Φ(x), Abramowitz & Stegun 1964, table 26.1.
const NORMAL: [(f64, f64); 6] = [
    (0.5, 0.691_462_461_274),
    (1.0, 0.841_344_746_069),
    (1.5, 0.933_192_798_731),
    (2.0, 0.977_249_868_052),
    (2.5, 0.993_790_334_674),
    (3.0, 0.998_650_101_968),
];

/// erf x, Abramowitz & Stegun 1964, table 7.1.
const ERF: [(f64, f64); 18] = [
    (0.1, 0.112_462_916_0),
    (0.2, 0.222_702_589_2),
    (0.3, 0.328_626_759_5),
    (0.4, 0.428_392_355_0),
    (0.5, 0.520_499_877_8),
    (0.6, 0.603_856_090_8),
    (0.7, 0.677_801_193_8),
    (0.8, 0.742_100_964_7),
    (0.9, 0.796_908_212_4),
    (1.0, 0.842_700_792_9),
    (1.2, 0.910_313_978_2),
    (1.4, 0.952_285_119_8),
    (1.5, 0.966_105_146_5),
    (1.6, 0.976_348_383_3),
    (1.8, 0.989_090_501_6),
    (2.0, 0.995_322_265_0),
    (2.5, 0.999_593_048_0),
    (3.0, 0.999_977_909_5),
];

#[test]
fn gelu_is_x_times_the_tabulated_normal_distribution() {
    for (x, phi) in NORMAL {
        let mut y = [f32::NAN; 2];
        Act::Gelu.forward(&[x as f32, -x as f32], &mut y);
        // Φ is built as (1 + erf)/2: it errs by some u, also where it is small.
        close(&format!("gelu(±{x})"), &y, &[x * phi, -x * (1.0 - phi)], |_| 4.0 * U * x);
    }
}

#[test]
fn activations_are_those_of_f64() {
    let x: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-4).collect();
    let mut y = vec![f32::NAN; x.len()];
    for act in ACTS {
        act.forward(&x, &mut y);
        let want: Vec<f64> = x.iter().map(|&x| act_in_f64(act, x.into())).collect();
        // (1 + tanh u)/2 feels a unit of u where tanh is steep; |x| in front of it
        let units = if act == Act::Relu { 0.0 } else { 4.0 };
        close(&format!("{act:?}"), &y, &want, |i| units * U * f64::from(x[i].abs()));
    }
}

// ---- elementary functions

/// The error function, independent of ours: the alternating series below 2.5 (A&S 7.1.5), the
/// continued fraction of erfc beyond (A&S 7.1.14).
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let y = if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..60 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        FRAC_2_SQRT_PI * sum
    } else {
        let fraction = (1..60).rev().fold(a, |f, n| a + 0.5 * f64::from(n) / f);
        1.0 - (-a * a).exp() / (PI.sqrt() * fraction)
    };
    y.copysign(x)
}

#[test]
fn the_error_function_has_the_values_of_the_tables_in_f32_and_in_f64() {
    for (x, y) in ERF {
        for sign in [1.0, -1.0] {
            let (x, y) = (sign * x, sign * y);
            assert!((erf(x) - y).abs() <= 6e-11, "the oracle at {x}");
            assert!((Real::erf(x) - y).abs() <= 6e-11, "f64 at {x}");
            // x as f32 is off by u·x, which erf sees with a slope of at most 2/√π.
            assert!((f64::from(Real::erf(x as f32)) - y).abs() <= 3.0 * U, "f32 at {x}");
        }
    }
    for i in -6000..6000 {
        let x = f64::from(i) * 1e-3;
        assert!((Real::erf(x) - erf(x)).abs() <= 1e-13, "f64 at {x}");
    }
    assert_eq!([7.0, f64::INFINITY, -7.0].map(Real::erf), [1.0, 1.0, -1.0]);
}

/// The distance between the floats around y, as f32 has them: 2^(e − 23), 2⁻¹⁴⁹ at least.
fn spacing(y: f64) -> f64 {
    let exponent = (y.abs().to_bits() >> 52) as i32 - 1023;
    f64::from(exponent.max(-126) - 23).exp2()
}

/// The worst error, in units in the last place of the exact value, over every `stride`-th float for
/// which `domain` holds; and where it is.
fn worst(
    stride: u64,
    domain: impl Fn(f32) -> bool + Sync,
    ours: impl Fn(f32) -> f32 + Sync,
    exact: impl Fn(f64) -> f64 + Sync,
) -> (f64, f32) {
    (0..(1u64 << 32) / stride)
        .into_par_iter()
        .map(|i| f32::from_bits((i * stride) as u32))
        .filter(|&x| domain(x))
        .map(|x| {
            let y = exact(x.into());
            let error = (f64::from(ours(x)) - y).abs() / spacing(y);
            (if error.is_nan() { f64::INFINITY } else { error }, x)
        })
        .reduce(|| (0.0, 0.0), |a, b| if a.0 >= b.0 { a } else { b })
}

#[test]
fn elementary_functions_are_within_their_units_in_the_last_place() {
    // Bounds: the worst of *every* float of the binades where each function bends, rounded up.
    let stride = 509; // a prime: 8.4 million floats of every sign, exponent and ending
    type Case = (&'static str, f64, fn(f32) -> bool, fn(f32) -> f32, fn(f64) -> f64);
    let cases: [Case; 5] = [
        ("exp", 1.05, |x| (-86.6..=88.722_83).contains(&x), Real::exp, f64::exp),
        ("ln", 2.0, |x| x.is_normal() && x > 0.0, Real::ln, f64::ln),
        ("ln_1p", 2.6, |x| (0.0..f32::MAX).contains(&x), Real::ln_1p, f64::ln_1p),
        ("tanh", 1.4, |x| x.is_finite(), Real::tanh, f64::tanh),
        ("erf", 2.5, |x| x.is_finite() && x.abs() < 10.0, Real::erf, erf),
    ];
    for (name, bound, domain, ours, exact) in cases {
        let (ulp, at) = worst(stride, domain, ours, exact);
        println!("{name}: {ulp:.3} units in the last place, at {at:e}");
        assert!(ulp <= bound, "{name}({at:e}) is off by {ulp:.3} units in the last place");
    }
}

#[test]
fn elementary_functions_are_exact_at_their_ends() {
    let exp: fn(f32) -> f32 = Real::exp;
    assert_eq!([f32::NEG_INFINITY, -1e30, -86.61].map(exp), [0.0; 3]);
    assert_eq!([88.722_85, 1e30, f32::INFINITY].map(exp), [f32::INFINITY; 3]);
    assert_eq!([0.0, -0.0, 1e-40, -1e-40].map(exp), [1.0; 4]);
    let ln: fn(f32) -> f32 = Real::ln;
    assert_eq!([0.0, -0.0].map(ln), [f32::NEG_INFINITY; 2]);
    assert!(ln(-1.0).is_nan() && ln(f32::NAN).is_nan() && exp(f32::NAN).is_nan());
    assert_eq!((ln(1.0), ln(f32::INFINITY)), (0.0, f32::INFINITY));
    for odd in [Real::tanh as fn(f32) -> f32, Real::erf] {
        assert_eq!([20.0, f32::MAX, f32::INFINITY].map(odd), [1.0; 3]);
        for x in [0.0f32, 1e-40, 0.3, 0.7, 1.5, 5.0, f32::INFINITY] {
            assert_eq!(odd(-x).to_bits(), (-odd(x)).to_bits(), "odd at {x}");
        }
        assert!(odd(f32::NAN).is_nan());
    }
}

/// All 2³² floats; 104 s on two cores.
#[test]
#[ignore = "two minutes; run it when exp changes: cargo test --test oracles -- --ignored"]
fn exp_of_every_float_is_within_its_units_in_the_last_place() {
    let domain = |x: f32| (-86.6..=88.722_83).contains(&x);
    let (ulp, at) = worst(1, domain, Real::exp, f64::exp);
    println!("exp: {ulp:.4} units in the last place, at {at:e}");
    assert!(ulp <= 1.05, "exp({at:e}) is off by {ulp} units in the last place");
    let (ends, at) =
        worst(1, |x| !domain(x), |x| f32::from(u8::from(x < 0.0 && Real::exp(x) != 0.0)), |_| 0.0);
    assert_eq!(ends, 0.0, "exp({at:e}) is not 0");
}

// ---- AdamW

#[test]
fn adamw_takes_the_steps_of_pytorch() {
    // torch 2.15, float64: AdamW([1, −0.5, 0.25, 2], lr=1e-2, betas=(0.9, 0.98), weight_decay=0.5)
    let steps = [
        ([0.1, -0.2, 0.3, 0.0], [0.985000001000, -0.487500000500, 0.238750000333, 1.99]),
        ([-0.4, 0.5, 1e-3, 0.0], [0.985646497087, -0.489469366211, 0.230798354239, 1.98005]),
        ([1.5, -2.5, 1e-6, 1.0], [0.975748168317, -0.481546202956, 0.224395107361, 1.963822224432]),
    ];
    let (mut p, mut m, mut v) = ([1.0, -0.5, 0.25, 2.0], [0.0; 4], [0.0; 4]);
    for (t, (g, want)) in (1..).zip(steps) {
        let step = Step { lr: 1e-2, betas: (0.9, 0.98), eps: 1e-8, weight_decay: 0.5, t };
        assert!(adamw(&mut p, &g, &mut m, &mut v, step));
        close(&format!("p at step {t}"), &p, &want, |i| 4.0 * U * want[i].abs());
    }
    let exp_avg = [0.1221, -0.2212, 0.0243901, 0.1];
    let exp_avg_sq = [0.04832808, 0.13066832, 0.00172873960002, 0.02];
    close("m", &m, &exp_avg, |i| 4.0 * U * exp_avg[i].abs());
    close("v", &v, &exp_avg_sq, |i| 4.0 * U * exp_avg_sq[i]);
}

#[test]
fn adamw_stays_with_f64_for_a_thousand_steps() {
    let n = 37;
    let mut values = Values::new(16, Flavour::Tame);
    let start = values.vec(n);
    let (mut p, mut m, mut v) = (start.clone(), vec![0.0; n], vec![0.0; n]);
    let (mut p64, mut m64, mut v64) = (wide(&start), vec![0.0; n], vec![0.0; n]);
    let (lr, b1, b2, eps, decay): (f64, f64, f64, f64, f64) = (1e-3, 0.9, 0.999, 1e-8, 1.0);
    for t in 1..=1000 {
        let g = values.vec(n);
        let step = Step { lr, betas: (b1, b2), eps, weight_decay: decay, t };
        assert!(adamw(&mut p, &g, &mut m, &mut v, step));
        for i in 0..n {
            let g = f64::from(g[i]);
            p64[i] -= lr * decay * p64[i];
            m64[i] = b1 * m64[i] + (1.0 - b1) * g;
            v64[i] = b2 * v64[i] + (1.0 - b2) * g * g;
            let m_hat = m64[i] / (1.0 - b1.powi(t as i32));
            let v_hat = v64[i] / (1.0 - b2.powi(t as i32));
            p64[i] -= lr * m_hat / (v_hat.sqrt() + eps);
        }
    }
    // 1 − lr·λ is rounded once, to f32, and multiplied in a thousand times: 10³·u of p.
    close("p", &p, &p64, |_| 1e3 * U);
    close("m", &m, &m64, |_| 1e-6);
    close("v", &v, &v64, |i| 3e-5 * v64[i]);
}
