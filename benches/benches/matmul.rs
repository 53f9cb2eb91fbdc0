//! The products at every shape that the models meet, beside matrixmultiply (through ndarray, whose
//! call of it is safe) and the three-loop references.
//!
//! `cargo bench -p plateau-benches --bench matmul [-- FILTER]`. Criterion's "elements" are
//! floating-point operations, so "Gelem/s" reads GFLOP/s; `peak` is nothing but fused multiply-adds.
//! Every answer has the bits of its reference, and agrees with matrixmultiply's, before anything
//! is timed. matrixmultiply runs on one thread; the references where they take below 0.1 s.

use benches::{noise, on, same_bits, shapes, yardstick};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kernels::Buffer;
use kernels::activation::Act;
use kernels::matmul::{self, Dims, Start};
use ndarray::ArrayView2;
use ndarray::linalg::general_mat_mul;
use std::time::Duration;

/// A product in one of its forms: shapes of the factors and of the result, both calls.
struct Form {
    name: &'static str,
    ours: fn(&[f32], &[f32], &mut [f32], Dims),
    reference: fn(&[f32], &[f32], &mut [f32], Dims),
    /// The factors and the result as (rows, cols), and which factor is transposed.
    shapes: fn(Dims) -> [(usize, usize); 3],
    transposed: [bool; 2],
}

const FORMS: [Form; 4] = [
    Form {
        name: "nn",
        ours: |x, w, y, dims| matmul::matmul_nn(x, w, y, dims, Start::Zero),
        reference: |x, w, y, dims| matmul::matmul_nn_ref(x, w, y, dims, None, false),
        shapes: |d| [(d.m, d.k), (d.k, d.n), (d.m, d.n)],
        transposed: [false, false],
    },
    Form {
        name: "nt",
        ours: |dy, w, dx, dims| matmul::matmul_nt(dy, w, dx, dims, Start::Zero),
        reference: |dy, w, dx, dims| {
            dx.fill(0.0);
            matmul::matmul_nt_ref(dy, w, dx, dims);
        },
        shapes: |d| [(d.m, d.n), (d.k, d.n), (d.m, d.k)],
        transposed: [false, true],
    },
    Form {
        name: "tn",
        ours: |x, dy, dw, dims| matmul::matmul_tn(x, dy, dw, dims, Start::Zero),
        reference: |x, dy, dw, dims| {
            dw.fill(0.0);
            matmul::matmul_tn_ref(x, dy, dw, dims);
        },
        shapes: |d| [(d.m, d.k), (d.m, d.n), (d.k, d.n)],
        transposed: [true, false],
    },
    // The forward of the MLP: ReLU is applied while the tile is in cache. post is what is compared.
    Form {
        name: "nn_relu",
        ours: |x, w, post, dims| {
            PRE.with_borrow_mut(|pre| {
                pre.resize(post.len(), 0.0);
                matmul::matmul_nn_act(x, w, pre, post, dims, Start::Zero, Act::Relu);
            });
        },
        reference: |x, w, post, dims| {
            matmul::matmul_nn_ref(x, w, post, dims, None, false);
            post.iter_mut().for_each(|y| *y = Act::Relu.value_ref(*y));
        },
        shapes: |d| [(d.m, d.k), (d.k, d.n), (d.m, d.n)],
        transposed: [false, false],
    },
];

thread_local! {
    static PRE: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn products(c: &mut Criterion) {
    for dims in shapes::products() {
        let Dims { m, k, n } = dims;
        for form in &FORMS {
            let [a_shape, b_shape, c_shape] = (form.shapes)(dims);
            let len = |(rows, cols)| rows * cols;
            let (a, b) = (noise(len(a_shape), 1), noise(len(b_shape), 2));
            let (mut ours, mut reference) =
                (Buffer::zeros(len(c_shape)), Buffer::zeros(len(c_shape)));
            let name = format!("matmul/{}/{m}x{k}x{n}", form.name);
            (form.ours)(&a, &b, &mut ours, dims);
            (form.reference)(&a, &b, &mut reference, dims);
            same_bits(&name, &ours, &reference);

            let view = |x, shape, transposed| {
                let view = ArrayView2::from_shape(shape, x).expect("a matrix");
                if transposed { view.reversed_axes() } else { view }
            };
            let a_view = view(&a, a_shape, form.transposed[0]);
            let b_view = view(&b, b_shape, form.transposed[1]);
            let mut theirs = ndarray::Array2::zeros(c_shape);

            let mut group = c.benchmark_group(name);
            group.throughput(Throughput::Elements(dims.flops()));
            for threads in [1, 2] {
                group.bench_function(format!("plateau/{threads}"), |bencher| {
                    on(threads, || bencher.iter(|| (form.ours)(&a, &b, &mut ours, dims)));
                });
                group.bench_function(format!("peak/{threads}"), |bencher| {
                    on(threads, || bencher.iter(|| yardstick::arithmetic(dims.flops() / 2)));
                });
            }
            if form.name != "nn_relu" {
                general_mat_mul(1.0, &a_view, &b_view, 0.0, &mut theirs);
                for (x, y) in reference.iter().zip(&theirs) {
                    assert!((x - y).abs() < 1e-3, "matrixmultiply: {y} where we have {x}");
                }
                group.bench_function("matrixmultiply/1", |bencher| {
                    bencher.iter(|| general_mat_mul(1.0, &a_view, &b_view, 0.0, &mut theirs));
                });
            }
            if dims.flops() < 100_000_000 {
                group.bench_function("reference/1", |bencher| {
                    bencher.iter(|| (form.reference)(&a, &b, &mut reference, dims));
                });
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(100));
    targets = products
}
criterion_main!(benches);
