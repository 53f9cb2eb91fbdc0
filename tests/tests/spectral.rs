//! The spectral measure against faer's f64 eigensolver on a covariance computed here, in two passes
//! with compensated sums, and against spectra known in closed form.

use faer::{Mat, Side};
use kernels::covariance::Covariance;
use kernels::lanczos::Lanczos;
use kernels::spectrum::{Centring, SpectrumMeter};
use kernels::tridiagonal::Tridiagonal;
use tests::values::Noise;
use wide::f64x8;

const BOTH: [Centring; 2] = [Centring::Centred, Centring::Uncentred];

/// A sum in twice the precision (Ogita, Rump & Oishi's Sum2 and Dot2).
#[derive(Default)]
struct Exact(f64, f64);

impl Exact {
    fn add(&mut self, x: f64) {
        let sum = self.0 + x;
        let part = sum - self.0;
        self.1 += (self.0 - (sum - part)) + (x - part);
        self.0 = sum;
    }

    fn add_product(&mut self, x: f64, y: f64) {
        let product = x * y;
        self.1 += x.mul_add(y, -product);
        self.add(product);
    }

    fn value(&self) -> f64 {
        self.0 + self.1
    }
}

/// Σ or E[x xᵀ], two passes; the lower triangle.
fn oracle_matrix(x: &[f64], dim: usize, centring: Centring) -> Mat<f64> {
    let rows = x.len() / dim;
    let mut columns = vec![vec![0.0; rows]; dim];
    for (j, column) in columns.iter_mut().enumerate() {
        (0..rows).for_each(|k| column[k] = x[k * dim + j]);
        if centring == Centring::Centred {
            let mut sum = Exact::default();
            (0..rows).for_each(|k| sum.add(x[k * dim + j] - x[j]));
            let mean = sum.value() / rows as f64;
            (0..rows).for_each(|k| column[k] = (x[k * dim + j] - x[j]) - mean);
        }
    }
    let mut matrix = Mat::zeros(dim, dim);
    for i in 0..dim {
        for j in 0..=i {
            let mut sum = Exact::default();
            columns[i].iter().zip(&columns[j]).for_each(|(&x, &y)| sum.add_product(x, y));
            matrix[(i, j)] = sum.value() / rows as f64;
        }
    }
    matrix
}

/// H of faer's eigenvalues, and the eigenvalues, descending.
fn oracle(x: &[f64], dim: usize, centring: Centring) -> (f64, Vec<f64>) {
    let matrix = oracle_matrix(x, dim, centring);
    let mut values = matrix.self_adjoint_eigenvalues(Side::Lower).expect("faer converges");
    values.reverse();
    let total: f64 = values.iter().map(|x| x.max(0.0)).sum();
    let p = values.iter().map(|x| x / total).filter(|&p| p > 0.0);
    (p.map(|p| -p * p.ln()).sum(), values)
}

/// The meter within `bound` of the oracle, both centrings.
fn compare(name: &str, meter: &mut SpectrumMeter, x: &[f64], dim: usize, bound: f64) {
    for centring in BOTH {
        let ours = meter.spectrum(centring).expect("a spectrum");
        let (entropy, values) = oracle(x, dim, centring);
        let apart = (ours.entropy - entropy).abs();
        assert!(apart <= bound, "{name} {centring:?}: {} and faer's {entropy}", ours.entropy);
        assert!(dim == 1 || (ours.normalised_entropy * (dim as f64).ln() - entropy).abs() <= bound);
        assert!((ours.effective_rank / entropy.exp() - 1.0).abs() <= 2.0 * bound);
        for (k, (ours, theirs)) in ours.eigenvalues.iter().zip(&values).enumerate() {
            let apart = (ours - theirs).abs();
            let bound = 1e-14 * values[0] * (dim as f64).sqrt();
            assert!(apart <= bound, "{name} {centring:?}, λ{k}: {ours:e} and {theirs:e}");
        }
    }
}

fn agrees(name: &str, x: &[f64], dim: usize) {
    let mut meter = SpectrumMeter::new(dim);
    meter.push(x).expect("finite rows");
    compare(name, &mut meter, x, dim, 1e-9);
}

#[test]
fn random_rows_of_every_width_agree_with_faer() {
    let shapes = [(3, 1), (9, 2), (50, 3), (20, 5), (64, 8), (65, 13), (200, 31), (128, 32)];
    let wider = [(129, 33), (300, 64), (512, 97), (512, 128), (300, 200), (300, 257), (40, 512)];
    for (rows, dim) in shapes.into_iter().chain(wider).chain([(33, 1024)]) {
        agrees(&format!("{rows} × {dim}"), &Noise(dim as u64).many(rows * dim), dim);
    }
}

#[test]
#[ignore = "the compensated sums take a while"]
fn large_full_rank_rows_agree_with_faer() {
    for dim in [512, 777, 1024] {
        agrees(&format!("d = {dim}"), &Noise(5).many(2 * dim * dim), dim);
    }
}

#[test]
fn f32_rows_are_taken_as_exact() {
    for (rows, dim) in [(512, 128), (100, 40), (30, 70)] {
        for mean in [0.0, 1e8] {
            let noise = Noise(3).many(rows * dim);
            let data: Vec<f32> = noise.iter().map(|x| (x * 100.0 + mean) as f32).collect();
            let exact: Vec<f64> = data.iter().map(|&x| x.into()).collect();
            let mut meter = SpectrumMeter::new(dim);
            meter.push(&data).unwrap();
            compare(&format!("f32, mean {mean:e}"), &mut meter, &exact, dim, 1e-9);
        }
    }
}

#[test]
fn fewer_rows_than_columns_leave_rank_rows_less_one() {
    for (rows, dim) in [(2, 5), (10, 128), (17, 128), (100, 128), (50, 400)] {
        let data = Noise(7).many(rows * dim);
        agrees(&format!("{rows} × {dim}"), &data, dim);
        let mut meter = SpectrumMeter::new(dim);
        meter.push(&data).unwrap();
        assert_eq!(meter.spectrum(Centring::Centred).unwrap().rank, rows - 1);
        assert_eq!(meter.spectrum(Centring::Uncentred).unwrap().rank, rows);
    }
}

#[test]
fn few_rows_of_many_columns_agree_with_faer_whatever_their_size_and_mean() {
    // At most half as many rows as columns, from 256 columns on: X Xᵀ.
    let (rows, dim) = (90, 260);
    for (factor, mean) in [(1.0, 1e8), (1e-3, 1e3), (1e-20, 0.0), (1e20, 1e20), (1e120, 1e125)] {
        let data: Vec<f64> = Noise(13).many(rows * dim).iter().map(|x| factor * x + mean).collect();
        let mut meter = SpectrumMeter::new(dim);
        meter.push(&data).unwrap();
        for centring in BOTH {
            let ours = meter.spectrum(centring).unwrap();
            // Back to a size that the oracle can square.
            let scale = if factor >= 1e20 { 1.0 / factor } else { 1.0 };
            let scaled: Vec<f64> = data.iter().map(|x| x * scale).collect();
            let (entropy, values) = oracle(&scaled, dim, centring);
            assert!((ours.entropy - entropy).abs() < 1e-9, "{factor:e}, {mean:e} {centring:?}");
            assert_eq!(ours.eigenvalues.len(), dim);
            if factor < 1e100 {
                let top = ours.eigenvalues[0] * scale * scale;
                assert!((top / values[0] - 1.0).abs() < 1e-12, "{top:e}, {:e}", values[0]);
            }
            let fast = meter.entropy_within(centring, 0.002).unwrap();
            assert!((fast.entropy - entropy).abs() <= fast.bound * (dim as f64).ln() + 1e-9);
        }
    }
    // Differences of the largest values are too large for that road, not for the other.
    let signs: Vec<f64> = Noise(2).many(20 * 300).iter().map(|x| 1e301 * x.signum()).collect();
    let mut meter = SpectrumMeter::new(300);
    meter.push(&signs).unwrap();
    let ones: Vec<f64> = signs.iter().map(|x| x.signum()).collect();
    for centring in BOTH {
        let (entropy, _) = oracle(&ones, 300, centring);
        assert!((meter.spectrum(centring).unwrap().entropy - entropy).abs() < 1e-9);
    }
}

#[test]
fn rows_that_were_kept_count_when_more_follow() {
    let data = Noise(17).many(400 * 256);
    let mut whole = SpectrumMeter::new(256);
    whole.push(&data).unwrap();
    let mut pieces = SpectrumMeter::new(256);
    for piece in data.chunks(50 * 256) {
        pieces.push(piece).unwrap();
        pieces.spectrum(Centring::Centred).unwrap();
        pieces.entropy_within(Centring::Uncentred, 0.01).unwrap();
    }
    assert_eq!(pieces.rows(), 400);
    // A result in between ends a block of the covariance, so bits may differ; digits do not.
    for centring in BOTH {
        let (a, b) = (whole.spectrum(centring).unwrap(), pieces.spectrum(centring).unwrap());
        assert!((a.entropy - b.entropy).abs() < 1e-12);
    }
    // Where nothing was asked in between, how the rows were cut changes no bit.
    let mut cut = SpectrumMeter::new(256);
    data.chunks(3 * 256).for_each(|piece| cut.push(piece).unwrap());
    assert_eq!(cut.spectrum(Centring::Centred), whole.spectrum(Centring::Centred));
    let error = |x| kernels::spectrum::SpectrumError::Value { row: 402, column: 1, value: x };
    let mut bad = vec![0.0; 3 * 256];
    bad[2 * 256 + 1] = f64::INFINITY;
    assert_eq!(cut.push(&bad), Err(error(f64::INFINITY)));
}

#[test]
fn a_product_of_thin_factors_has_their_rank() {
    for (rows, dim, rank) in [(512, 128, 1), (512, 128, 5), (300, 65, 40), (1000, 2, 1)] {
        // Small integers: the product is exact, and so is its rank.
        let small: Vec<f64> =
            Noise(11).many((rows + dim) * rank).iter().map(|x| (x * 50.0).round()).collect();
        let (left, right) = small.split_at(rows * rank);
        let value = |k: usize, j: usize| -> f64 {
            (0..rank).map(|r| left[k * rank + r] * right[j * rank + r]).sum()
        };
        let data: Vec<f64> = (0..rows * dim).map(|at| value(at / dim, at % dim)).collect();
        agrees(&format!("rank {rank}"), &data, dim);
        let mut meter = SpectrumMeter::new(dim);
        meter.push(&data).unwrap();
        assert_eq!(meter.spectrum(Centring::Centred).unwrap().rank, rank);
    }
}

#[test]
fn a_mean_of_1e8_costs_no_digits() {
    let (rows, dim) = (512, 96);
    // Multiples of 2⁻²⁰: adding 1e8 is exact, so the covariance is the same matrix.
    let noise = Noise(13).many(rows * dim);
    let data: Vec<f64> = noise.iter().map(|x| (x * 1048576.0).round() / 1048576.0).collect();
    let shifted: Vec<f64> = data.iter().map(|x| x + 1e8).collect();
    agrees("mean of 1e8", &shifted, dim);
    let entropy = |data: &[f64]| {
        let mut meter = SpectrumMeter::new(dim);
        meter.push(data).unwrap();
        meter.spectrum(Centring::Centred).unwrap().entropy
    };
    assert!((entropy(&data) - entropy(&shifted)).abs() < 1e-12);
}

#[test]
fn an_outlier_in_the_first_row_costs_no_digits() {
    let (rows, dim) = (400, 24);
    let mut data = Noise(17).many(rows * dim);
    data[..dim].fill(1e4);
    agrees("outlier first", &data, dim);
}

#[test]
fn columns_from_1e_20_to_1e20_agree_with_faer() {
    let (rows, dim) = (500, 41);
    let mut data = Noise(19).many(rows * dim);
    for (at, x) in data.iter_mut().enumerate() {
        *x *= 10_f64.powi((at % dim) as i32 - 20);
    }
    agrees("badly scaled", &data, dim);
}

#[test]
fn the_size_of_the_data_does_not_matter() {
    let (rows, dim) = (300, 40);
    let data: Vec<f64> = Noise(23).many(rows * dim).iter().map(|x| x + 0.5).collect();
    let numbers = |factor: f64, centring| {
        let mut meter = SpectrumMeter::new(dim);
        meter.push(&data.iter().map(|x| x * factor).collect::<Vec<_>>()).unwrap();
        let spectrum = meter.spectrum(centring).unwrap();
        assert!(spectrum.eigenvalues.iter().all(|x| x.is_finite()));
        (spectrum.entropy, spectrum.rank, spectrum.participation_ratio)
    };
    for centring in BOTH {
        let (entropy, rank, ratio) = numbers(1.0, centring);
        for factor in [1e-290, 1e-200, 1e-100, 1e-20, 1e20, 1e100, 1e200, 1e300] {
            let scaled = numbers(factor, centring);
            assert!((scaled.0 - entropy).abs() < 1e-11, "{factor:e} {centring:?}: {}", scaled.0);
            assert_eq!(scaled.1, rank);
            assert!((scaled.2 / ratio - 1.0).abs() < 1e-11);
        }
    }
}

#[test]
fn sizes_that_change_on_the_way_are_rescaled() {
    let dim = 6;
    let mut noise = Noise(29);
    let mut data: Vec<f64> = noise.many(100 * dim).iter().map(|x| x * 1e-250).collect();
    data.extend(noise.many(200 * dim).iter().map(|x| x * 1e250));
    data.extend(noise.many(50 * dim).iter().map(|x| x * 1e-250));
    let scaled: Vec<f64> = data.iter().map(|x| x * 1e-250).collect();
    let mut meter = SpectrumMeter::new(dim);
    meter.push(&data).unwrap();
    for centring in BOTH {
        let (entropy, _) = oracle(&scaled, dim, centring);
        assert!((meter.spectrum(centring).unwrap().entropy - entropy).abs() < 1e-12);
    }
}

#[test]
fn a_faint_column_is_seen_beside_a_large_constant_one() {
    // Centred: only the column of 1e-200 varies. Uncentred: only the constant counts.
    let data: Vec<f64> = Noise(43).many(100).iter().flat_map(|x| [1.0, x * 1e-200]).collect();
    let mut meter = SpectrumMeter::new(2);
    meter.push(&data).unwrap();
    for centring in BOTH {
        let spectrum = meter.spectrum(centring).unwrap();
        assert_eq!((spectrum.rank, spectrum.effective_rank), (1, 1.0));
    }
}

#[test]
fn k_equal_eigenvalues_give_ln_k() {
    for (dim, k) in
        [(1, 1), (2, 2), (16, 16), (128, 128), (128, 40), (128, 3), (200, 10), (400, 400)]
    {
        // Rows ±3 e_i for i < k: mean 0, and both second moments are 9/k on the first k axes.
        let mut data = vec![0.0_f32; 2 * k * dim];
        for i in 0..k {
            data[2 * i * dim + i] = 3.0;
            data[(2 * i + 1) * dim + i] = -3.0;
        }
        let mut meter = SpectrumMeter::new(dim);
        meter.push(&data).unwrap();
        for centring in BOTH {
            let spectrum = meter.spectrum(centring).unwrap();
            assert_eq!(spectrum.rank, k);
            assert!((spectrum.entropy - (k as f64).ln()).abs() < 1e-12, "{k} of {dim}");
            assert!((spectrum.participation_ratio / k as f64 - 1.0).abs() < 1e-12);
            let (equal, rest) = spectrum.eigenvalues.split_at(k);
            assert!(equal.iter().all(|x| (x * k as f64 / 9.0 - 1.0).abs() < 1e-13), "{k} of {dim}");
            assert!(rest.iter().all(|&x| x.abs() < 1e-14), "{k} of {dim}");
        }
    }
}

/// A random orthogonal basis (a product of reflections) dressed with `values`, padded for the
/// kernels.
fn dressed(values: &[f64]) -> Vec<f64x8> {
    let n = values.len();
    let mut a = Mat::from_fn(n, n, |i, j| if i == j { values[i] } else { 0.0 });
    for seed in 0..3 {
        let v = Noise(100 + seed).many(n);
        let tau = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
        let reflect = Mat::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) - tau * v[i] * v[j]);
        a = &reflect * &a * &reflect;
    }
    let stride = n.div_ceil(8);
    let mut out = vec![f64x8::ZERO; stride * n.next_multiple_of(8)];
    for i in 0..n {
        for j in 0..(i / 8 * 8 + 8).min(n) {
            out[i * stride + j / 8].as_mut_array()[j % 8] = a[(i.max(j), i.min(j))];
        }
    }
    out
}

#[test]
fn householder_and_lanczos_find_every_eigenvalue_with_its_multiplicity() {
    let geometric = |n: i32, q: f64| (0..n).map(|k| q.powi(k)).collect::<Vec<_>>();
    let linear = |n: usize, each: usize| (0..n).map(|k| (1 + k / each) as f64).collect::<Vec<_>>();
    let cases = [
        ("one", vec![2.5]),
        ("identity", vec![1.0; 100]),
        ("each five times", linear(100, 5)),
        ("two values", [vec![1.0; 60], vec![1e-3; 60]].concat()),
        ("half zero", [vec![1.0; 33], vec![0.0; 40]].concat()),
        ("rank one", [vec![7.0], vec![0.0; 150]].concat()),
        ("zero", vec![0.0; 20]),
        ("geometric", geometric(90, 0.5)),
        ("slow geometric", geometric(130, 0.95)),
        ("linear", linear(257, 1)),
    ];
    for (name, mut values) in cases {
        let a = dressed(&values);
        values.sort_by(|x, y| y.total_cmp(x));
        let mut lanczos = Lanczos::new(values.len());
        let mut householder = Tridiagonal::new(values.len());
        let mut destroyed = a.clone();
        let roads = [
            ("Lanczos", lanczos.eigenvalues(&a).expect(name)),
            ("Householder", householder.eigenvalues(&mut destroyed).expect(name)),
        ];
        for (road, found) in roads {
            for (k, (found, value)) in found.iter().zip(&values).enumerate() {
                let apart = (found - value).abs();
                assert!(apart <= 1e-13 * values[0], "{road}, {name}, λ{k}: {found}, {value}");
            }
        }
    }
}

#[test]
fn no_variance_is_zero_and_never_nan() {
    for (rows, dim) in [(1, 1), (1, 7), (5, 1), (200, 64)] {
        let mut meter = SpectrumMeter::new(dim);
        meter.push(&vec![0.1_f64; rows * dim]).unwrap();
        let spectrum = meter.spectrum(Centring::Centred).unwrap();
        assert_eq!((spectrum.rank, spectrum.entropy, spectrum.normalised_entropy), (0, 0.0, 0.0));
        assert_eq!((spectrum.effective_rank, spectrum.participation_ratio), (0.0, 0.0));
        assert!(spectrum.eigenvalues.iter().all(|&x| x == 0.0));
        let spectrum = meter.spectrum(Centring::Uncentred).unwrap();
        assert_eq!(spectrum.rank, 1);
        assert!(spectrum.entropy < 1e-12 && spectrum.normalised_entropy < 1e-12);
    }
    let mut meter = SpectrumMeter::new(1);
    meter.push(&[1.0, 2.0, 4.0]).unwrap();
    let spectrum = meter.spectrum(Centring::Centred).unwrap();
    assert_eq!(
        (spectrum.rank, spectrum.normalised_entropy, spectrum.effective_rank),
        (1, 0.0, 1.0)
    );
}

#[test]
fn exactly_low_rank_rows_agree_with_faer() {
    // Entries that are exact multiples of each other leave nothing but ever smaller round-off for the
    // later reflections: 1e-16 of the rest before, down to where squares underflow.
    let rows = 48;
    let (u, v): (Vec<f64>, Vec<f64>) = (0..256)
        .map(|i| (((7919 * i) % 101) as f64 / 50.0 - 1.0, [1.0, -1.0, 0.5, 4.0, 0.0][i * 31 % 5]))
        .unzip();
    for dim in [2, 3, 7, 16, 17, 64, 128, 255] {
        for scale in [1.0, 0.1, 3.7, 1e8, 1e-20, 1e20] {
            let outer = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| -> Vec<f64> {
                (0..rows * dim).map(|ij| scale * a(ij / dim) * b(ij % dim)).collect()
            };
            agrees(&format!("u·1ᵀ, {dim}, {scale}"), &outer(&|i| u[i], &|_| 1.0), dim);
            agrees(&format!("u·vᵀ, {dim}, {scale}"), &outer(&|i| u[i], &|j| v[j]), dim);
            // equal rows: no variance, and one direction where the mean counts
            for rows in [outer(&|_| 1.0, &|_| 1.0), outer(&|_| 1.0, &|j| v[j])] {
                let mut meter = SpectrumMeter::new(dim);
                meter.push(&rows).expect("finite rows");
                assert_eq!(meter.spectrum(Centring::Centred).expect("a spectrum").rank, 0);
                let spectrum = meter.spectrum(Centring::Uncentred).expect("a spectrum");
                assert!(
                    spectrum.rank == 1 && spectrum.entropy < 1e-9,
                    "{dim}, {scale}: {spectrum:?}"
                );
            }
        }
    }
}

#[test]
fn bad_input_is_an_error_value() {
    let mut meter = SpectrumMeter::new(4);
    assert!(meter.spectrum(Centring::Centred).unwrap_err().to_string().contains("no rows"));
    assert!(meter.push(&[1.0; 6]).unwrap_err().to_string().contains("whole rows of 4"));
    let infinite = meter.push(&[0.0, 1.0, f32::INFINITY, 0.0]).unwrap_err().to_string();
    assert!(infinite.contains("row 0, column 2 is inf"), "{infinite}");
    assert_eq!(meter.rows(), 0);
    assert!(SpectrumMeter::new(0).push::<f64>(&[]).is_err());
}

#[test]
fn a_used_meter_gives_the_bits_of_a_new_one() {
    let (first, second) = (Noise(31).many(100 * 33), Noise(37).many(70 * 33));
    let mut used = SpectrumMeter::new(33);
    used.push(&first.iter().map(|x| x * 1e200).collect::<Vec<_>>()).unwrap();
    used.spectrum(Centring::Uncentred).unwrap();
    used.clear();
    used.push(&second).unwrap();
    let mut new = SpectrumMeter::new(33);
    new.push(&second).unwrap();
    for centring in BOTH {
        assert_eq!(used.spectrum(centring).unwrap(), new.spectrum(centring).unwrap());
    }
}

#[test]
fn threads_do_not_change_bits() {
    let data = Noise(41).many(512 * 100);
    let measure = || {
        let (mut covariance, mut meter) = (Covariance::new(100), SpectrumMeter::new(100));
        covariance.push(&data).unwrap();
        meter.push(&data).unwrap();
        let entropy = meter.spectrum(Centring::Centred).unwrap().entropy.to_bits();
        let matrix = covariance.matrix(Centring::Centred).unwrap();
        (entropy, matrix.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
    };
    let alone = measure();
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.broadcast(|_| measure()).iter().all(|bits| *bits == alone));
    }
}
