//! The products in their three forms at the shapes of the models, on one thread and two.
//!
//! `cargo bench -p plateau-benches --bench matmul`. Answers are compared before anything is timed;
//! criterion's "elements" are floating-point operations, so "Gelem/s" reads GFLOP/s.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kernels::matmul::{Dims, Start, matmul_nn, matmul_nt, matmul_tn};

fn noise(len: usize, mut state: u32) -> Vec<f32> {
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| draw()).collect()
}

/// Both answers agree to a few units in the last place of the largest sums.
fn compare(form: &str, ours: &[f32], theirs: &[f64]) {
    let size = theirs.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    for (a, b) in ours.iter().zip(theirs) {
        assert!((f64::from(*a) - b).abs() < 1e-5 * size, "{form}: {a} against {b}");
    }
}

/// A·B in f64 by plain loops; a(i, l), b(l, j).
fn product(
    (rows, depth, cols): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f64> {
    let element = |i: usize, j: usize| {
        (0..depth).map(|l| f64::from(a(i, l)) * f64::from(b(l, j))).sum::<f64>()
    };
    (0..rows * cols).map(|ij| element(ij / cols, ij % cols)).collect()
}

fn matmul(c: &mut Criterion) {
    // attention's projections, the MLP's two layers, the unembedding, on a batch of 512
    for (m, k, n) in [(512, 128, 128), (512, 128, 512), (512, 512, 128), (512, 128, 97)] {
        let dims = Dims { m, k, n };
        let (x, w, dy) = (noise(m * k, 1), noise(k * n, 2), noise(m * n, 3));
        let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; k * n]);

        matmul_nn(&x, &w, &mut y, dims, Start::Zero);
        compare("nn", &y, &product((m, k, n), |i, l| x[i * k + l], |l, j| w[l * n + j]));
        matmul_nt(&dy, &w, &mut dx, dims, Start::Zero);
        compare("nt", &dx, &product((m, n, k), |i, l| dy[i * n + l], |l, j| w[j * n + l]));
        matmul_tn(&x, &dy, &mut dw, dims, Start::Zero);
        compare("tn", &dw, &product((k, m, n), |i, l| x[l * k + i], |l, j| dy[l * n + j]));

        let mut group = c.benchmark_group(format!("matmul/{m}x{k}x{n}"));
        group.throughput(Throughput::Elements(dims.flops()));
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let id = |form: &str| BenchmarkId::new(form, threads);
            group.bench_function(id("nn"), |b| {
                pool.install(|| b.iter(|| matmul_nn(&x, &w, &mut y, dims, Start::Zero)));
            });
            group.bench_function(id("nt"), |b| {
                pool.install(|| b.iter(|| matmul_nt(&dy, &w, &mut dx, dims, Start::Zero)));
            });
            group.bench_function(id("tn"), |b| {
                pool.install(|| b.iter(|| matmul_tn(&x, &dy, &mut dw, dims, Start::Zero)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, matmul);
criterion_main!(benches);
