//! The leading eigenvectors: A v = λ v, orthonormal, with faer's eigenvalues and, where eigenvalues are
//! apart, faer's eigenvectors.

use faer::{Mat, Side};
use kernels::eigenvectors::leading;
use kernels::spectrum::{Centring, SpectrumMeter};
use kernels::tridiagonal::Tridiagonal;
use tests::values::Noise;
use wide::f64x8;

/// A random orthogonal basis (a product of reflections) dressed with `values`.
fn dressed(values: &[f64]) -> Mat<f64> {
    let n = values.len();
    let mut a = Mat::from_fn(n, n, |i, j| if i == j { values[i] } else { 0.0 });
    for seed in 0..3 {
        let v = Noise(100 + seed).many(n);
        let tau = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
        let reflect = Mat::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) - tau * v[i] * v[j]);
        a = &reflect * &a * &reflect;
    }
    Mat::from_fn(n, n, |i, j| a[(i.max(j), i.min(j))])
}

/// As the kernels have it: rows padded to vectors of eight, complete up to the diagonal's block.
fn padded(a: &Mat<f64>) -> Vec<f64x8> {
    let (n, stride) = (a.nrows(), a.nrows().div_ceil(8));
    let mut out = vec![f64x8::ZERO; stride * n.next_multiple_of(8)];
    for i in 0..n {
        for j in 0..(i / 8 * 8 + 8).min(n) {
            out[i * stride + j / 8].as_mut_array()[j % 8] = a[(i, j)];
        }
    }
    out
}

/// Checks the `count` leading pairs of `a`; returns the vectors.
fn check(name: &str, a: &Mat<f64>, count: usize) -> Mat<f64> {
    let n = a.nrows();
    let count = count.min(n);
    let (values, vectors) = leading(&mut Tridiagonal::new(n), &mut padded(a), count).unwrap();
    assert_eq!((values.len(), vectors.len()), (count, count * n), "{name}");
    let v = Mat::from_fn(n, count, |i, k| vectors[k * n + i]);
    let size = a.norm_l2().max(f64::MIN_POSITIVE);
    let oracle = a.self_adjoint_eigenvalues(Side::Lower).expect("faer converges");
    for k in 0..count {
        let off = (values[k] - oracle[n - 1 - k]).abs();
        assert!(off <= 1e-14 * size, "{name}: λ{k} is off by {off:e}");
    }
    let residual = a * &v - Mat::from_fn(n, count, |i, k| v[(i, k)] * values[k]);
    let worst = (0..count).map(|k| residual.col(k).norm_l2()).fold(0.0, f64::max) / size;
    let gram = v.transpose() * &v - Mat::<f64>::identity(count, count);
    println!("{name:<16} |Av - λv|/|A| {worst:.1e}, |VᵀV - 1| {:.1e}", gram.norm_max());
    assert!(worst < 2e-14, "{name}: |Av - λv| = {worst:e} |A|");
    assert!(gram.norm_max() < 2e-14, "{name}: |VᵀV - 1| = {:e}", gram.norm_max());
    v
}

#[test]
fn residuals_and_inner_products_are_rounding() {
    let geometric = |n: i32, q: f64| (0..n).map(|k| q.powi(k)).collect::<Vec<_>>();
    let linear = |n: usize, each: usize| (0..n).map(|k| (1 + k / each) as f64).collect::<Vec<_>>();
    for (name, values) in [
        ("one", vec![2.5]),
        ("two", vec![2.5, -1.0]),
        ("identity", vec![1.0; 100]),
        ("each five times", linear(100, 5)),
        ("two values", [vec![1.0; 60], vec![1e-3; 60]].concat()),
        ("half zero", [vec![1.0; 33], vec![0.0; 40]].concat()),
        ("rank one", [vec![7.0], vec![0.0; 150]].concat()),
        ("rank three", [vec![7.0, 6.0, 1e-9], vec![0.0; 125]].concat()),
        ("zero", vec![0.0; 20]),
        ("geometric", geometric(90, 0.5)),
        ("slow geometric", geometric(130, 0.95)),
        ("close", (0..128).map(|k| 1.0 + 1e-13 * k as f64).collect()),
        ("linear", linear(257, 1)),
    ] {
        for count in [1, 16, values.len()] {
            check(name, &dressed(&values), count);
        }
    }
    let random = |n: usize| {
        let x = Noise(7).many(n * n);
        Mat::from_fn(n, n, |i, j| x[i.max(j) * n + i.min(j)])
    };
    for n in [1, 2, 3, 8, 9, 40, 128, 200] {
        check("random", &random(n), 16);
    }
    // Tridiagonal already, and split: Wilkinson's W21+, whose pairs agree to fifteen digits, twice.
    let w = Mat::from_fn(42, 42, |i: usize, j: usize| match i.abs_diff(j) {
        0 => (i as f64 % 21.0 - 10.0).abs(),
        1 if i.max(j) != 21 => 1.0,
        _ => 0.0,
    });
    check("wilkinson", &w, 42);
    check("diagonal", &Mat::from_fn(30, 30, |i, j| if i == j { (i % 4) as f64 } else { 0.0 }), 30);
}

#[test]
fn vectors_of_separate_eigenvalues_are_faers() {
    let a = dressed(&(0..128).map(|k| 0.9_f64.powi(k)).collect::<Vec<_>>());
    let ours = check("slow geometric", &a, 16);
    let oracle = a.self_adjoint_eigen(Side::Lower).expect("faer converges");
    for k in 0..16 {
        let along = oracle.U().col(127 - k).transpose() * ours.col(k);
        assert!((along.abs() - 1.0).abs() < 1e-12, "vector {k}: |cos| = {}", along.abs());
    }
}

#[test]
fn a_meter_gives_the_directions_of_largest_variance() {
    // Rows whose columns vary independently, the later the less.
    let (rows, dim) = (500, 40);
    let noise = Noise(3).many(rows * dim);
    let x: Vec<f32> = noise
        .iter()
        .enumerate()
        .map(|(i, x)| (x * 0.8_f64.powi((i % dim) as i32) + 5.0) as f32)
        .collect();
    let mut meter = SpectrumMeter::new(dim);
    meter.push(&x).unwrap();
    let all = meter.spectrum(Centring::Centred).unwrap().eigenvalues.to_vec();
    let (values, vectors) = meter.leading(Centring::Centred, 5).unwrap();
    for (k, v) in vectors.chunks_exact(dim).enumerate() {
        assert!((values[k] / all[k] - 1.0).abs() < 1e-12);
        let along: Vec<f64> = x
            .chunks_exact(dim)
            .map(|x| x.iter().zip(v).map(|(&x, v)| f64::from(x) * v).sum())
            .collect();
        let mean = along.iter().sum::<f64>() / rows as f64;
        let variance = along.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64;
        assert!((variance / values[k] - 1.0).abs() < 1e-10, "{k}: {variance} {}", values[k]);
    } // No more of them than the rank.
    meter.clear();
    meter.push(&x[..3 * dim]).unwrap();
    let (values, vectors) = meter.leading(Centring::Centred, 5).unwrap();
    assert_eq!((values.len(), vectors.len()), (2, 2 * dim));
    meter.clear();
    meter.push(&[4.0_f32; 40]).unwrap();
    assert_eq!(meter.leading(Centring::Centred, 5).unwrap(), (vec![], vec![]));
}

#[test]
fn a_meter_that_keeps_few_long_rows_has_their_leading_vectors_too() {
    let (rows, dim) = (40, 300);
    let data = Noise(7).many(rows * dim);
    let mut meter = SpectrumMeter::new(dim);
    meter.push(&data).unwrap();
    let largest: Vec<f64> = meter.spectrum(Centring::Centred).unwrap().eigenvalues[..3].to_vec();
    let (values, vectors) = meter.leading(Centring::Centred, 3).unwrap();
    assert_eq!((values.len(), vectors.len()), (3, 3 * dim));
    for (found, expected) in values.iter().zip(&largest) {
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} and {expected}");
    }
    // And its spectrum stays what it was.
    let after = meter.spectrum(Centring::Centred).unwrap().eigenvalues[0];
    assert!((after / largest[0] - 1.0).abs() < 1e-12);
}
