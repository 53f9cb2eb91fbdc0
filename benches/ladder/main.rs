//! The optimisation ladder: one product, six times, each faster than the one before.
//!
//! `cargo bench -p plateau-benches --bench ladder`; `README.md` in this folder is the page to read.
//! Every rung computes C = A·B for two forms of the product at one shape of the MLP, on one thread:
//!
//! ```text
//! nn   Y (1536, 512) = X (1536, 128) · W (128, 512)         A = X     reduces over 128
//! tn  dW (128, 512)  = Xᵀ (128, 1536) · dY (1536, 512)      A = Xᵀ    reduces over 1536
//! ```
//! B lies row major in both; `a(i, l)` reads A wherever it lies. Each element is the same chain of
//! fused multiply-adds, ascending in l, so all rungs have the bits of the first, and of plateau's
//! reference: compared before anything is timed.

#[path = "3_blocked.rs"]
mod blocked;
#[path = "2_loop_order.rs"]
mod loop_order;
#[path = "1_naive.rs"]
mod naive;
#[path = "5_packed.rs"]
mod packed;
#[path = "4_tile.rs"]
mod tile;

use benches::{noise, on, same_bits, yardstick};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kernels::matmul::{self, Dims, Start};
use std::time::Duration;

const DIMS: Dims = Dims { m: 1536, k: 128, n: 512 };

/// Times a rung in both forms: `$product(a, b, c, (rows, depth, cols))`.
macro_rules! rung {
    ($group:expr, $form:expr, $id:expr, $product:path, $factors:expr, $expected:expr) => {{
        let (a, b) = $factors;
        let Dims { m, k, n } = DIMS;
        let mut c = vec![0.0; $expected.len()];
        let mut once = || match $form {
            "nn" => $product(|i, l| a[i * k + l], b, &mut c, (m, k, n)),
            _ => $product(|i, l| a[l * k + i], b, &mut c, (k, m, n)),
        };
        once();
        $group.bench_function($id, |bencher| bencher.iter(&mut once));
        same_bits($id, &c, $expected);
    }};
}

fn ladder(c: &mut Criterion) {
    let Dims { m, k, n } = DIMS;
    let (x, w, dy) = (noise(m * k, 1), noise(k * n, 2), noise(m * n, 3));
    let (mut y, mut dw) = (vec![0.0; m * n], vec![0.0; k * n]);
    matmul::matmul_nn_ref(&x, &w, &mut y, DIMS, None, false);
    matmul::matmul_tn_ref(&x, &dy, &mut dw, DIMS);
    for (form, b, expected) in [("nn", &w, &y), ("tn", &dy, &dw)] {
        let mut group = c.benchmark_group(format!("ladder/{form}/{m}x{k}x{n}"));
        group.throughput(Throughput::Elements(DIMS.flops()));
        rung!(group, form, "1 naive", naive::product, (&x, b), expected);
        rung!(group, form, "2 loop order", loop_order::product, (&x, b), expected);
        rung!(group, form, "3 blocked", blocked::product, (&x, b), expected);
        rung!(group, form, "4 tile", tile::product, (&x, b), expected);
        rung!(group, form, "5 packed", packed::product, (&x, b), expected);
        let mut c = vec![0.0; expected.len()];
        let mut once = || match form {
            "nn" => matmul::matmul_nn(&x, b, &mut c, DIMS, Start::Zero),
            _ => matmul::matmul_tn(&x, b, &mut c, DIMS, Start::Zero),
        };
        group.bench_function("6 plateau", |bencher| on(1, || bencher.iter(&mut once)));
        same_bits("6 plateau", &c, expected);
        group.bench_function("peak", |bencher| {
            on(1, || bencher.iter(|| yardstick::arithmetic(DIMS.flops() / 2)));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300));
    targets = ladder
}
criterion_main!(benches);
