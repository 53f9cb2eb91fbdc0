//! The spectral measure on one thread: covariance, eigenvalues by either road, the whole, and the
//! fast entropy between two bounds. The peers, on the same rows, are `benches/peers/spectrum.py`.
//!
//! `cargo bench -p plateau-benches --bench spectrum`. The `eigenvalues` group is the measurement
//! behind `kernels::spectrum`'s choice between Householder and Lanczos. Every answer is compared with
//! faer's, of a product in f64 and its eigenvalues, before anything is timed.

use benches::shapes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use experiments::observe::fourier::LEADING;
use faer::{Mat, Side};
use kernels::covariance::Covariance;
use kernels::eigenvectors::leading;
use kernels::lanczos::Lanczos;
use kernels::spectrum::{Centring, SpectrumMeter};
use kernels::tridiagonal::Tridiagonal;
use std::hint::black_box;
use wide::f64x8;

/// Rows without structure: (rows, dim).
fn noise(rows: usize, dim: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut draw = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..rows * dim).map(|_| draw()).collect()
}

/// Row i: Σ_k z_ik r_k / (k + 1) with z and r of [`noise`]: a covariance of eigenvalues near k⁻², by the
/// formula of the peers.
fn decaying(rows: usize, dim: usize) -> Vec<f32> {
    let directions = noise(dim, dim);
    let weights = noise(rows, dim);
    let mut out = vec![0.0; rows * dim];
    for (out, weights) in out.chunks_exact_mut(dim).zip(weights.chunks_exact(dim)) {
        for (k, (weight, direction)) in weights.iter().zip(directions.chunks_exact(dim)).enumerate()
        {
            let weight = weight / (k + 1) as f32;
            out.iter_mut().zip(direction).for_each(|(out, x)| *out += weight * x);
        }
    }
    out
}

fn matrix(rows: usize, dim: usize) -> Vec<f64x8> {
    let mut covariance = Covariance::new(dim);
    let mut out = vec![f64x8::ZERO; dim.next_multiple_of(8) * dim.div_ceil(8)];
    covariance.push(&noise(rows, dim)).expect("whole rows of finite values");
    covariance.scatter(Centring::Uncentred, &mut out).expect("there are rows");
    out
}

/// What rounding in f64 may do, as a share of the largest.
const ROUNDING: f64 = 1e-12;

/// # Panics
/// If two lists differ by more than rounding.
fn close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{what}: lengths");
    let largest = theirs.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= ROUNDING * largest, "{what}: {i} is {a:e}, faer's {b:e}");
    }
}

/// The matrix of a lower triangle.
fn whole(lower: &[f64x8], dim: usize) -> Mat<f64> {
    let at = |i: usize, j: usize| lower[i * dim.div_ceil(8) + j / 8].as_array()[j % 8];
    Mat::from_fn(dim, dim, |i, j| at(i.max(j), i.min(j)))
}

/// Σ (x − μ)(x − μ)ᵀ over the rows, or Σ x xᵀ, by faer.
fn faers_scatter(data: &[f32], dim: usize, centring: Centring) -> Mat<f64> {
    let rows = data.len() / dim;
    let mut mean = vec![0.0; dim];
    if centring == Centring::Centred {
        for row in data.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x) / rows as f64);
        }
    }
    let x = Mat::from_fn(rows, dim, |i, j| f64::from(data[i * dim + j]) - mean[j]);
    x.transpose() * &x
}

/// By faer, descending.
fn faers_eigenvalues(a: &Mat<f64>) -> Vec<f64> {
    let mut values = a.self_adjoint_eigenvalues(Side::Lower).expect("faer converges");
    values.reverse();
    values
}

/// H̃ by faer.
fn faers_entropy(data: &[f32], dim: usize, centring: Centring) -> f64 {
    let values = faers_eigenvalues(&faers_scatter(data, dim, centring));
    let total: f64 = values.iter().map(|x| x.max(0.0)).sum();
    let shares = values.iter().map(|x| x / total).filter(|&p| p > 0.0);
    shares.map(|p| -p * p.ln()).sum::<f64>() / (dim as f64).ln()
}

/// # Panics
/// If the distance of H̃ from faer's is above `bound`.
fn near(what: &str, ours: f64, faers: f64, bound: f64) {
    assert!((ours - faers).abs() <= bound + 1e-9, "{what}: {ours}, faer's {faers}, bound {bound}");
}

fn covariance(c: &mut Criterion) {
    let mut group = c.benchmark_group("covariance");
    for (rows, dim) in [(512, 32), (512, 128), (512, 512)] {
        let (data, mut covariance) = (noise(rows, dim), Covariance::new(dim));
        let mut out = matrix(1, dim);
        covariance.push(&data).expect("whole rows of finite values");
        let exponent = covariance.scatter(Centring::Centred, &mut out).expect("there are rows");
        let (ours, up) = (whole(&out, dim), 4.0_f64.powi(exponent));
        let theirs = faers_scatter(&data, dim, Centring::Centred);
        for j in 0..dim {
            let ours: Vec<f64> = ours.col(j).iter().map(|x| x * up).collect();
            let theirs: Vec<f64> = theirs.col(j).iter().copied().collect();
            close(&format!("covariance, column {j}"), &ours, &theirs);
        }
        group.bench_function(BenchmarkId::from_parameter(format!("{rows}x{dim}/1")), |b| {
            b.iter(|| {
                covariance.clear();
                covariance.push(black_box(&data)).expect("whole rows of finite values");
                covariance.scatter(Centring::Centred, &mut out)
            });
        });
    }
}

fn eigenvalues(c: &mut Criterion) {
    let mut group = c.benchmark_group("eigenvalues");
    group.sample_size(20);
    for dim in [32, 128, 256, 512, 1024] {
        let full = matrix(2 * dim, dim);
        let (mut work, mut tridiagonal) = (full.clone(), Tridiagonal::new(dim));
        let found = tridiagonal.eigenvalues(&mut work).expect("QL converges");
        close("householder", found, &faers_eigenvalues(&whole(&full, dim)));
        group.bench_function(BenchmarkId::new("householder", format!("{dim}/1")), |b| {
            b.iter(|| {
                work.copy_from_slice(&full);
                tridiagonal.eigenvalues(&mut work).map(|x| x[0])
            });
        });
        for part in [2, 3, 4, 6, 8] {
            let (low, mut lanczos) = (matrix(dim / part, dim), Lanczos::new(dim));
            let found = lanczos.eigenvalues(&low).expect("QL converges");
            close("lanczos", found, &faers_eigenvalues(&whole(&low, dim)));
            group.bench_function(
                BenchmarkId::new("lanczos", format!("{dim}-rank-{}/1", dim / part)),
                |b| {
                    b.iter(|| lanczos.eigenvalues(black_box(&low)).map(|x| x[0]));
                },
            );
        }
    }
}

/// Those that the Fourier alignment asks for, of the probes' covariances.
fn eigenvectors(c: &mut Criterion) {
    let mut group = c.benchmark_group("eigenvectors");
    for (rows, dim) in shapes::probes() {
        let full = matrix(rows, dim);
        let (mut work, mut tridiagonal) = (full.clone(), Tridiagonal::new(dim));
        let (values, vectors) = leading(&mut tridiagonal, &mut work, LEADING).expect("converges");
        let a = whole(&full, dim);
        close("leading", &values, &faers_eigenvalues(&a)[..LEADING]);
        let v = Mat::from_fn(dim, LEADING, |i, k| vectors[k * dim + i]);
        let residual = &a * &v - Mat::from_fn(dim, LEADING, |i, k| values[k] * v[(i, k)]);
        let apart = v.transpose() * &v - Mat::<f64>::identity(LEADING, LEADING);
        assert!(residual.norm_max() <= ROUNDING * values[0], "A v is not λ v");
        assert!(apart.norm_max() <= ROUNDING, "the vectors are not orthonormal");
        let id = BenchmarkId::new(format!("leading-{LEADING}"), format!("{dim}/1"));
        group.bench_function(id, |b| {
            b.iter(|| {
                work.copy_from_slice(&full);
                leading(&mut tridiagonal, &mut work, LEADING).map(|x| x.0[0])
            });
        });
    }
}

fn meter(c: &mut Criterion) {
    let mut group = c.benchmark_group("spectrum");
    let (data, mut meter) = (noise(512, 128), SpectrumMeter::new(128));
    meter.push(&data).expect("whole rows of finite values");
    for centring in [Centring::Centred, Centring::Uncentred] {
        let ours = meter.spectrum(centring).expect("rows").normalised_entropy;
        near("spectrum", ours, faers_entropy(&data, 128, centring), 0.0);
    }
    group.bench_function("512x128/1", |b| {
        b.iter(|| {
            meter.clear();
            meter.push(black_box(&data)).expect("whole rows of finite values");
            meter.spectrum(Centring::Centred).map(|s| s.normalised_entropy)
        });
    });
    group.bench_function("512x128-both-centrings/1", |b| {
        b.iter(|| {
            meter.clear();
            meter.push(black_box(&data)).expect("whole rows of finite values");
            let centred = meter.spectrum(Centring::Centred).map(|s| s.normalised_entropy);
            (centred, meter.spectrum(Centring::Uncentred).map(|s| s.normalised_entropy))
        });
    });
}

/// From rows that the meter has taken in already: the scaled covariance (for 512 × 1024 the product X Xᵀ,
/// too, which is computed when asked for), and H.
fn entropy(c: &mut Criterion) {
    let mut group = c.benchmark_group("entropy");
    group.sample_size(20);
    for (rows, dim) in [(512, 512), (2822, 512), (512, 1024), (2822, 1024)] {
        for (kind, data) in [("decaying", decaying(rows, dim)), ("flat", noise(rows, dim))] {
            let mut meter = SpectrumMeter::new(dim);
            meter.push(&data).expect("whole rows of finite values");
            let exact = meter.spectrum(Centring::Centred).expect("rows").normalised_entropy;
            let faers = faers_entropy(&data, dim, Centring::Centred);
            let name = format!("{kind}-{rows}x{dim}");
            near(&name, exact, faers, 0.0);
            group.bench_function(BenchmarkId::new("every-eigenvalue", format!("{name}/1")), |b| {
                b.iter(|| meter.spectrum(Centring::Centred).map(|s| s.normalised_entropy));
            });
            for tolerance in [0.002, 0.005] {
                let found = meter.entropy_within(Centring::Centred, tolerance).expect("rows");
                near(&name, found.normalised_entropy, faers, found.bound);
                assert!(found.bound <= tolerance, "{name}: ± {}", found.bound);
                println!(
                    "{name}, ± {tolerance}: {:.5} ± {:.5}, exactly {exact:.5}, steps {:?}",
                    found.normalised_entropy, found.bound, found.steps
                );
                group.bench_function(
                    BenchmarkId::new(format!("within-{tolerance}"), format!("{name}/1")),
                    |b| b.iter(|| meter.entropy_within(Centring::Centred, tolerance)),
                );
            }
        }
    }
}

criterion_group!(benches, covariance, eigenvalues, eigenvectors, meter, entropy);
criterion_main!(benches);
