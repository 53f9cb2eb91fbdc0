//! The interval of the fast entropy holds the entropy of every eigenvalue: of faer's, of spectra known
//! in closed form, and of matrices made so that the start of the iteration cannot see them.

use faer::{Mat, Side};
use kernels::block_lanczos::{Between, BlockLanczos};
use kernels::covariance::Covariance;
use kernels::moment_bounds::{Moment, MomentBounds};
use kernels::moments::Moments;
use kernels::spectrum::{Centring, SpectrumMeter};
use proptest::prelude::*;
use proptest::sample;
use tests::values::Noise;
use wide::f64x8;

const BOTH: [Centring; 2] = [Centring::Centred, Centring::Uncentred];

/// Rounding of the oracle.
const SLACK: f64 = 1e-12;

/// H of eigenvalues.
fn entropy(values: &[f64]) -> f64 {
    let total: f64 = values.iter().map(|x| x.max(0.0)).sum();
    values.iter().map(|x| x / total).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

/// (I − 2vvᵀ/vᵀv)… of `reflections` random v, times diag(values), times the transpose.
fn dressed(values: &[f64], reflections: u64) -> Mat<f64> {
    let n = values.len();
    let mut a = Mat::from_fn(n, n, |i, j| if i == j { values[i] } else { 0.0 });
    for seed in 0..reflections {
        let v = Noise(100 + seed).many(n);
        let tau = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
        // H A H = A − v wᵀ − w vᵀ,  w = τ A v − (τ²/2)(vᵀAv) v
        let av: Vec<f64> = (0..n).map(|i| (0..n).map(|j| a[(i, j)] * v[j]).sum()).collect();
        let vav: f64 = av.iter().zip(&v).map(|(x, y)| x * y).sum();
        let w: Vec<f64> = (0..n).map(|i| tau * av[i] - 0.5 * tau * tau * vav * v[i]).collect();
        a = Mat::from_fn(n, n, |i, j| a[(i, j)] - v[i] * w[j] - w[i] * v[j]);
    }
    a
}

/// The lower triangle, laid out for the kernel.
fn padded(a: &Mat<f64>) -> Vec<f64x8> {
    let (n, stride) = (a.nrows(), a.nrows().div_ceil(8));
    let mut out = vec![f64x8::ZERO; stride * n.next_multiple_of(8)];
    for i in 0..n {
        for j in 0..(i / 8 * 8 + 8).min(n) {
            out[i * stride + j / 8].as_mut_array()[j % 8] = a[(i.max(j), i.min(j))];
        }
    }
    out
}

fn between(a: &Mat<f64>, tolerance: f64) -> Option<Between> {
    BlockLanczos::new(a.nrows())
        .entropy(&mut padded(a), a.nrows(), tolerance)
        .expect("QL converges")
}

/// Spectra of every kind: (name, values).
fn spectra(n: usize) -> Vec<(String, Vec<f64>)> {
    let mut noise = Noise(n as u64);
    let mut all = vec![];
    for q in [0.3, 0.7, 0.9, 0.97, 0.995] {
        all.push((format!("geometric {q}"), (0..n).map(|k| f64::powi(q, k as i32)).collect()));
    }
    for power in [0.3, 0.7, 1.0, 1.5, 2.0, 4.0] {
        let value = |k: usize| (k as f64 + 1.0).powf(-power);
        all.push((format!("power {power}"), (0..n).map(value).collect()));
    }
    for rank in [1, 2, 31, 32, 33, 50, n.div_ceil(3), n / 2] {
        let flat = |k: usize| f64::from(u8::from(k < rank));
        all.push((format!("projector of rank {rank}"), (0..n).map(flat).collect()));
        all.push((
            format!("random of rank {rank}"),
            (0..n).map(|k| flat(k) * (1.0 + noise.draw())).collect(),
        ));
        all.push((format!("flat {rank} above a floor"), (0..n).map(|k| flat(k) + 1e-3).collect()));
        all.push((
            format!("each {rank} times"),
            (0..n).map(|k| f64::powi(0.5, (k / rank) as i32)).collect(),
        ));
    }
    all.push(("identity".into(), vec![1.0; n]));
    all.push(("linear".into(), (1..=n).map(|k| k as f64).collect()));
    all.push(("one above".into(), (0..n).map(|k| if k == 0 { n as f64 } else { 1.0 }).collect()));
    all.push(("stairs".into(), (0..n).map(|k| 10_f64.powi(-((k / 10) as i32))).collect()));
    all
}

#[test]
fn the_interval_holds_spectra_known_in_closed_form() {
    let (mut intervals, mut after_steps) = (0, 0);
    for (n, reflections) in [(129, 2), (200, 1), (256, 3), (300, 0), (384, 2)] {
        for (name, values) in spectra(n) {
            let (a, truth) = (dressed(&values, reflections), entropy(&values));
            for tolerance in [1e-7, 1e-3, 0.01, 0.05, 0.2, 1.0] {
                let Some(found) = between(&a, tolerance) else { continue };
                let inside = found.lower <= truth + SLACK && truth <= found.upper + SLACK;
                assert!(inside, "n {n}, {name}, {tolerance}: {truth} is not in {found:?}");
                assert!(found.upper - found.lower <= 2.0 * tolerance, "{name}: {found:?}");
                intervals += 1;
                after_steps += usize::from(found.steps > 0);
            }
        }
    }
    // They were intervals indeed, most of them from some steps.
    assert!(intervals > 600 && after_steps > 350, "{intervals}, {after_steps}");
}

/// The signs of the start, by the formula of the kernel; see the next test.
fn sign(row: usize) -> f64 {
    let x = (row as u64 / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    if (x ^ (x >> 31)) >> (row % 8) & 1 == 1 { 1.0 } else { -1.0 }
}

#[test]
fn eigenvectors_that_the_start_cannot_see_are_not_missed() {
    // Row i goes to column i mod 32 of the start with its sign: the vector with that sign at i and the
    // opposite one at i + 32 is orthogonal to all of it, and so to every block that follows.
    let (n, mut met) = (512, 0);
    for (hidden, share) in [(1, 0.5), (2, 0.3), (5, 0.9), (20, 0.2), (16, 0.01), (32, 0.6)] {
        // The seen part lives on the other rows, from 64 on; the hidden one on pairs of the first 64.
        let seen: Vec<f64> = (0..n - 64).map(|k| f64::powi(0.8, k as i32)).collect();
        let total: f64 = seen.iter().sum();
        let part = dressed(&seen, 1);
        let mut a = Mat::zeros(n, n);
        for i in 64..n {
            for j in 64..n {
                a[(i, j)] = (1.0 - share) / total * part[(i - 64, j - 64)];
            }
        }
        for h in 0..hidden {
            let value = share / hidden as f64;
            a[(h, h)] = 0.5 * value;
            a[(h + 32, h + 32)] = 0.5 * value;
            let (i, j) = (h + 32, h);
            a[(i, j)] = -0.5 * value * sign(i) * sign(j);
            a[(j, i)] = a[(i, j)];
        }
        let mut values: Vec<f64> = seen.iter().map(|x| x * (1.0 - share) / total).collect();
        values.extend(vec![share / hidden as f64; hidden]);
        let truth = entropy(&values);
        // Seen: nearly everything after 64 columns; what is left must be the hidden part.
        let mut steps = 0;
        for tolerance in [0.001, 0.01, 0.1, 0.3, 0.6, 1.0, 2.0] {
            let Some(found) = between(&a, tolerance) else { continue };
            assert!(found.lower <= truth && truth <= found.upper, "{hidden}: {truth}, {found:?}");
            steps = steps.max(found.steps);
        }
        met += usize::from(steps > 0);
    }
    assert!(met >= 5, "intervals from steps for {met} of six");
}

#[test]
fn permuted_blocks_do_not_stop_the_iteration_early() {
    // Identity blocks of different sizes, scattered: three eigenvalues, so a Krylov space of one vector
    // has three dimensions; blocks of ones: one eigenvalue each, the rest zero.
    for n in [256, 512] {
        let place = |i: usize| (i * 77) % n; // 77 is odd: a permutation
        let level = |k: usize| [1.0, 0.1, 0.01][usize::from(k >= n / 16) + usize::from(k >= n / 4)];
        let mut a = Mat::zeros(n, n);
        (0..n).for_each(|k| a[(place(k), place(k))] = level(k));
        let values: Vec<f64> = (0..n).map(level).collect();
        let mut ones = Mat::zeros(n, n);
        let mut each = vec![0.0; n];
        for k in 0..n {
            for l in k / 8 * 8..k / 8 * 8 + 8 {
                ones[(place(k), place(l))] = 1.0 / (1.0 + (k / 8) as f64);
            }
            each[k / 8] = 8.0 / (1.0 + (k / 8) as f64);
        }
        for (a, truth) in [(a, entropy(&values)), (ones, entropy(&each))] {
            for tolerance in [1e-4, 0.01, 0.1, 0.5] {
                let Some(found) = between(&a, tolerance) else { continue };
                assert!(found.lower <= truth && truth <= found.upper, "{n}: {truth}, {found:?}");
            }
        }
    }
}

#[test]
fn both_ends_of_the_interval_are_reached() {
    // So neither end can be moved inwards, and half the bound would be wrong.
    let n = 128;
    for rank in [2, 10, 64] {
        let projector: Vec<f64> = (0..n).map(|k| f64::from(u8::from(k < rank))).collect();
        let found = between(&dressed(&projector, 2), 10.0).expect("any interval would do");
        assert_eq!(found.steps, 0);
        assert!((found.lower - (rank as f64).ln()).abs() < 1e-6, "{found:?}");
        assert!(found.upper - found.lower > 0.1, "{found:?}");
    }
    for above in [3.0, 30.0, 300.0] {
        let values: Vec<f64> = (0..n).map(|k| if k == 0 { above } else { 1.0 }).collect();
        let found = between(&dressed(&values, 2), 10.0).expect("any interval would do");
        assert_eq!(found.steps, 0);
        assert!((found.upper - entropy(&values)).abs() < 1e-6, "{found:?}");
        assert!(found.upper - found.lower > 0.001, "{found:?}");
    }
    // And after some steps: a geometric head, and a tail that is flat on a few of the directions left.
    let values: Vec<f64> = (0..512)
        .map(|k| if k < 40 { f64::powi(0.8, k) } else { f64::from(u8::from(k < 100)) * 1e-3 })
        .collect();
    let found = between(&dressed(&values, 2), 0.05).expect("steep enough");
    let (middle, half) = (0.5 * (found.lower + found.upper), 0.5 * (found.upper - found.lower));
    assert!(found.steps > 0 && (entropy(&values) - middle).abs() > 0.5 * half, "{found:?}");
}

/// X = Z · diag(s) · H with a random reflection H; (rows, dim).
fn rows_with(s: &[f64], rows: usize, seed: u64) -> Vec<f64> {
    let dim = s.len();
    let mut noise = Noise(seed);
    let v = noise.many(dim);
    let tau = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
    let mut x = noise.many(rows * dim);
    for row in x.chunks_exact_mut(dim) {
        row.iter_mut().zip(s).for_each(|(x, s)| *x *= s);
        let along = tau * row.iter().zip(&v).map(|(x, v)| x * v).sum::<f64>();
        row.iter_mut().zip(&v).for_each(|(x, v)| *x -= along * v);
    }
    x
}

#[test]
fn the_interval_holds_faers_entropy_of_rows() {
    let decay = |dim: usize, power: f64| -> Vec<f64> {
        (1..=dim).map(|k| (k as f64).powf(-power)).collect()
    };
    let relu = |mut x: Vec<f64>| {
        x.iter_mut().for_each(|x| *x = x.max(0.0));
        x
    };
    let mut cases = vec![
        ("1/k", 600, 512, rows_with(&decay(512, 1.0), 600, 1)),
        ("1/k, few rows", 200, 600, rows_with(&decay(600, 1.0), 200, 2)),
        ("ReLU of 1/k", 500, 512, relu(rows_with(&decay(512, 1.0), 500, 3))),
        ("ReLU of k^-0.7", 300, 256, relu(rows_with(&decay(256, 0.7), 300, 4))),
        ("flat", 700, 512, rows_with(&[1.0; 512], 700, 5)),
        ("flat, 1e-20", 517, 301, rows_with(&[1e-20; 301], 517, 8)),
        ("flat, 1e20", 301, 517, rows_with(&[1e20; 517], 301, 9)),
        ("ReLU of flat", 400, 400, relu(rows_with(&[1.0; 400], 400, 10))),
        ("k^-0.3", 900, 384, rows_with(&decay(384, 0.3), 900, 11)),
        ("flat, few rows", 60, 512, rows_with(&[1.0; 512], 60, 6)),
        ("1/k, wide", 300, 1024, rows_with(&decay(1024, 1.0), 300, 7)),
    ];
    for seed in 0..12 {
        let s: Vec<f64> =
            (0..160).map(|k| (-f64::from(k) / (2.0 + 3.0 * seed as f64)).exp()).collect();
        cases.push(("exponential", 200, 160, rows_with(&s, 200, 20 + seed)));
    }
    for (name, rows, dim, x) in cases {
        let mut covariance = Covariance::new(dim);
        covariance.push(&x).expect("finite rows");
        let mut meter = SpectrumMeter::new(dim);
        meter.push(&x).expect("finite rows");
        for centring in BOTH {
            let matrix = covariance.matrix(centring).expect("rows");
            let matrix = Mat::from_fn(dim, dim, |i, j| matrix[i * dim + j]);
            let values = matrix.self_adjoint_eigenvalues(Side::Lower).expect("faer converges");
            let truth = entropy(&values) / (dim as f64).ln();
            let squares: f64 = values.iter().map(|x| x * x).sum();
            let ratio = values.iter().sum::<f64>().powi(2) / squares;
            for tolerance in [5e-4, 0.002, 0.01, 0.05] {
                let found = meter.entropy_within(centring, tolerance).expect("rows");
                let apart = (found.normalised_entropy - truth).abs();
                assert!(
                    apart <= found.bound + 1e-9,
                    "{name} × {rows} {centring:?}: {truth}, {found:?}"
                );
                assert!(found.bound <= tolerance, "{name} {centring:?}: {found:?}");
                let entropy = found.normalised_entropy * (dim as f64).ln();
                assert!((entropy - found.entropy).abs() < 1e-12);
                assert!((found.participation_ratio / ratio - 1.0).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn decaying_spectra_take_a_quarter_of_the_columns_or_fewer() {
    for power in [1.5, 2.0, 3.0] {
        for n in [512, 600, 1024] {
            let values: Vec<f64> = (1..=n).map(|k| f64::from(k).powf(-power)).collect();
            let whole = f64::from(n).ln();
            let found = between(&dressed(&values, 1), 0.002 * whole).expect("steep enough");
            assert!(
                found.steps > 0 && found.steps <= (n as usize / 4).next_multiple_of(32),
                "{power}, {n}: {found:?}"
            );
        }
    }
}

#[test]
fn a_flat_spectrum_takes_products_and_no_eigenvalues() {
    // Rows × dimensions, and the products for ± 0.002.
    for (rows, dim, products) in [(512, 512, 2), (1500, 500, 1), (300, 600, 2), (2000, 333, 1)] {
        let mut meter = SpectrumMeter::new(dim);
        meter.push(&Noise(3).many(rows * dim)).unwrap();
        for centring in BOTH {
            let exact = meter.spectrum(centring).unwrap().normalised_entropy;
            for tolerance in [0.05, 0.01, 0.005, 0.002, 0.001] {
                let found = meter.entropy_within(centring, tolerance).unwrap();
                assert!((found.normalised_entropy - exact).abs() <= found.bound, "{found:?}");
                assert!(found.bound <= tolerance);
                if tolerance == 0.002 {
                    assert_eq!(found.steps, Some(products * dim), "{rows} × {dim}: {found:?}");
                }
            }
        }
    }
    // What no product reaches is left to every eigenvalue.
    let mut meter = SpectrumMeter::new(512);
    meter.push(&Noise(3).many(512 * 512)).unwrap();
    let found = meter.entropy_within(Centring::Centred, 1e-6).unwrap();
    let exact = meter.spectrum(Centring::Centred).unwrap();
    assert_eq!((found.steps, found.bound), (None, 0.0));
    assert_eq!(found.entropy.to_bits(), exact.entropy.to_bits());
}

#[test]
fn flat_spectra_keep_their_bits_on_any_number_of_threads_and_in_a_used_meter() {
    let (one, other) = (Noise(8).many(400 * 300), Noise(9).many(400 * 300));
    let measure = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut meter = SpectrumMeter::new(300);
            meter.push(&other).unwrap();
            meter.entropy_within(Centring::Uncentred, 0.001).unwrap();
            meter.clear();
            meter.push(&one).unwrap();
            let found = meter.entropy_within(Centring::Centred, 0.002).unwrap();
            (found.entropy.to_bits(), found.bound.to_bits(), found.steps)
        })
    };
    let mut fresh = SpectrumMeter::new(300);
    fresh.push(&one).unwrap();
    let found = fresh.entropy_within(Centring::Centred, 0.002).unwrap();
    let want = (found.entropy.to_bits(), found.bound.to_bits(), found.steps);
    assert!(want.2.is_some_and(|steps| steps >= 300));
    for threads in [1, 2, 3] {
        assert_eq!(measure(threads), want);
    }
}

/// The interval from moments, of the matrix divided by its trace.
fn from_moments(a: &Mat<f64>, rank: usize, tolerance: f64) -> Option<Between> {
    let n = a.nrows();
    let trace = (0..n).map(|i| a[(i, i)]).sum();
    let squares = (0..n * n).map(|ij| a[(ij / n, ij % n)].powi(2)).sum();
    Moments::new(n).entropy(&padded(a), (trace, squares), rank, tolerance)
}

#[test]
fn moments_hold_spectra_known_in_closed_form() {
    let (mut intervals, mut after_products) = (0, 0);
    for (n, reflections) in
        [(2, 1), (3, 2), (17, 1), (64, 1), (100, 0), (129, 2), (256, 1), (301, 2)]
    {
        let mut all = spectra(n);
        for outlier in [3.0, 10.0, 1e3, 1e8] {
            let value = |k: usize| if k == 0 { outlier } else { 0.5 + k as f64 / n as f64 };
            all.push((format!("one of {outlier}"), (0..n).map(value).collect()));
        }
        for (name, values) in all {
            let size = values.iter().fold(0.0, |top: f64, &x| top.max(x));
            let rank = values.iter().filter(|&&x| x > 0.0).count();
            for scale in [1.0 / size, 1e-20, 1e20] {
                let values: Vec<f64> = values.iter().map(|x| x * scale).collect();
                let (a, truth) = (dressed(&values, reflections), entropy(&values));
                for tolerance in [1e-6, 1e-3, 0.01, 0.05, 0.2, 1.0] {
                    for rank in [n, rank] {
                        let Some(found) = from_moments(&a, rank, tolerance) else { continue };
                        let inside = found.lower <= truth + SLACK && truth <= found.upper + SLACK;
                        assert!(inside, "n {n}, {name}, {tolerance}: {truth} is not in {found:?}");
                        assert!(found.upper - found.lower <= 2.0 * tolerance, "{name}: {found:?}");
                        intervals += 1;
                        after_products += usize::from(found.steps > 0);
                    }
                }
            }
        }
    }
    assert!(intervals > 3000 && after_products > 1500, "{intervals}, {after_products}");
}

/// Up to six clusters of eigenvalues over `decades`, each of some width.
fn clusters() -> impl Strategy<Value = (Vec<f64>, u64)> {
    let one = (1_usize..40, -1.0..1.0_f64, 0.0..1.0_f64);
    (proptest::collection::vec(one, 1..6), 0.0..8.0_f64, any::<u64>(), 0..4_usize).prop_map(
        |(clusters, decades, seed, zeros)| {
            let mut noise = Noise(seed);
            let mut values = vec![0.0; zeros * zeros * zeros];
            for (count, place, width) in clusters {
                let centre = 10_f64.powf(decades * place.abs() * place);
                values.extend((0..count).map(|_| centre * (1.0 + width * noise.draw())));
            }
            (values, seed)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn moments_hold_random_spectra(
        (values, seed) in clusters(),
        reflections in 0..3_u64,
        tolerance in sample::select(&[1e-4, 1e-3, 0.01, 0.03, 0.1, 0.5][..]),
    ) {
        let n = values.len();
        let (a, truth) = (dressed(&values, reflections), entropy(&values));
        let rank = values.iter().filter(|&&x| x > 0.0).count();
        for rank in [rank, n] {
            if let Some(found) = from_moments(&a, rank, tolerance) {
                prop_assert!(
                    found.lower <= truth + SLACK && truth <= found.upper + SLACK,
                    "seed {}: {} is not in {:?}", seed, truth, found
                );
                prop_assert!(found.upper - found.lower <= 2.0 * tolerance);
            }
        }
    }

    /// Any measure, on either side of the guessed end, and moments that are off by their errors.
    #[test]
    fn the_mean_lies_between_the_bounds_from_its_moments(
        atoms in proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64, 0..4_u8), 1..40),
        beyond in 0.0..1.5_f64,
        level in 0..4_usize,
        wrong in 0.0..1e-3_f64,
        seed in any::<u64>(),
    ) {
        let top = (0.5 * beyond).cosh().powi(2);
        // Many near both ends.
        let place = |x: f64, kind: u8| match kind {
            0 => x * top,
            1 => x.powi(8),
            2 => 1.0 - x.powi(8),
            _ => [0.0, 1.0, top][(3.0 * x) as usize % 3],
        };
        let total: f64 = atoms.iter().map(|a| a.1).sum::<f64>() + 1e-3;
        let mut measure: Vec<(f64, f64)> =
            atoms.iter().map(|&(x, w, kind)| (place(x, kind), w / total)).collect();
        measure.push((0.5, 1e-3 / total));
        let mean = |g: &dyn Fn(f64) -> f64| measure.iter().map(|&(u, w)| w * g(u)).sum::<f64>();
        let mut noise = Noise(seed);
        let degrees = &[0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16][..[3, 5, 8, 12][level]];
        let moments: Vec<Moment> = degrees.iter().map(|&k| {
            let low = if k == 9 { 7 } else { k };
            let both = |u: f64| {
                chebyshev(low, 2.0 * u - 1.0) + if k == 9 { chebyshev(9, 2.0 * u - 1.0) } else { 0.0 }
            };
            let error = if k == 0 { 0.0 } else { wrong };
            Moment { low, high: k, mean: mean(&both) + error * noise.draw(), error }
        }).collect();
        let (lower, upper) = MomentBounds::default().bounds(&moments, beyond);
        let truth = mean(&|u| if u > 0.0 { -u * u.ln() } else { 0.0 });
        prop_assert!(lower <= truth + SLACK && truth <= upper + SLACK, "{lower} {truth} {upper}");
    }
}

/// T_k(t).
fn chebyshev(k: usize, t: f64) -> f64 {
    let (mut before, mut here) = (1.0, t);
    for _ in 0..k {
        (before, here) = (here, 2.0 * t * here - before);
    }
    before
}

#[test]
fn rounding_of_the_products_does_not_break_the_interval() {
    // 1 + s·H/√n with Sylvester's Hadamard matrix H: two eigenvalues, so exact moments up to degree 4 leave
    // nothing open. All products in an element of X² on the diagonal are equal, so their sum rounds the
    // same way at every step; without its allowance the interval misses the entropy by 1e-7.
    let n = 128;
    let hadamard = |i: usize, j: usize| [1.0, -1.0][(i & j).count_ones() as usize % 2];
    let mut after_products = 0;
    for t in 0..400 {
        let s = 0.06 + 2.5e-5 * f64::from(t);
        let identity = |i: usize, j: usize| f64::from(u8::from(i == j));
        let a = Mat::from_fn(n, n, |i, j| identity(i, j) + s / (n as f64).sqrt() * hadamard(i, j));
        let truth = entropy(&[vec![1.0 + s; n / 2], vec![1.0 - s; n / 2]].concat());
        let Some(found) = from_moments(&a, n, 1e-4) else { continue };
        assert!(found.lower <= truth && truth <= found.upper, "s = {s}: {truth}, {found:?}");
        after_products += usize::from(found.steps > 0);
    }
    assert_eq!(after_products, 400);
}

#[test]
fn both_ends_from_moments_are_reached() {
    // The measures at the two ends: a node at zero and pairs inside; pairs inside and a node at the top.
    // They have the moments of a whole family, of which they are the extremes: so neither end can be
    // moved inwards, and half the width would be wrong.
    let bounds = |measure: &[(f64, f64)]| {
        let moments: Vec<Moment> = (0..5)
            .map(|k| {
                let mean = measure.iter().map(|(u, w)| w * chebyshev(k, 2.0 * u - 1.0)).sum();
                Moment { low: k, high: k, mean, error: 0.0 }
            })
            .collect();
        let truth: f64 =
            measure.iter().map(|(u, w)| if *u > 0.0 { -w * u * u.ln() } else { 0.0 }).sum();
        (MomentBounds::default().bounds(&moments, 0.0), truth)
    };
    for (a, b) in [(0.2, 0.8), (0.3, 0.9), (0.1, 0.6)] {
        for share in [0.2, 0.5] {
            let rest = 0.5 * (1.0 - share);
            let ((lower, upper), truth) = bounds(&[(0.0, share), (a, rest), (b, rest)]);
            assert!(lower <= truth && truth - lower < 0.1 * (upper - lower), "{lower}, {truth}");
            let ((lower, upper), truth) = bounds(&[(a, rest), (b, rest), (1.0, share)]);
            assert!(truth <= upper && upper - truth < 0.1 * (upper - lower), "{upper}, {truth}");
        }
    }
}

#[test]
fn moments_hold_matrices_of_one_and_of_no_dimension_to_speak_of() {
    for n in [1, 2, 3] {
        let zero = Mat::zeros(n, n);
        assert_eq!(from_moments(&zero, n, 1.0), None);
        for tolerance in [1e-9, 0.1, 2.0] {
            let mut one = Mat::zeros(n, n);
            one[(n - 1, n - 1)] = 3.0;
            for (a, truth) in [(one, 0.0), (Mat::identity(n, n), (n as f64).ln())] {
                if let Some(found) = from_moments(&a, n, tolerance) {
                    assert!(found.lower <= truth + SLACK && truth <= found.upper + SLACK);
                }
            }
        }
    }
}

#[test]
fn the_size_of_the_data_does_not_matter() {
    let s: Vec<f64> = (1..=256).map(|k| 1.0 / f64::from(k)).collect();
    let x = rows_with(&s, 300, 9);
    let measure = |factor: f64, centring| {
        let mut meter = SpectrumMeter::new(256);
        meter.push(&x.iter().map(|x| x * factor).collect::<Vec<_>>()).unwrap();
        meter.entropy_within(centring, 0.002).unwrap()
    };
    for centring in BOTH {
        let one = measure(1.0, centring);
        assert!(one.steps.is_some());
        for factor in [1e-290, 1e-150, 1e-20, 1e20, 1e150, 1e290] {
            let scaled = measure(factor, centring);
            assert!((scaled.entropy - one.entropy).abs() < 1e-6, "{factor:e}: {scaled:?}");
            assert_eq!(scaled.steps, one.steps);
        }
    }
}

#[test]
fn no_variance_one_direction_and_one_column_are_not_special() {
    for (rows, dim) in [(1, 1), (5, 1), (1, 300), (200, 300)] {
        let mut meter = SpectrumMeter::new(dim);
        meter.push(&vec![0.1_f64; rows * dim]).unwrap();
        let found = meter.entropy_within(Centring::Centred, 0.002).unwrap();
        assert_eq!((found.entropy, found.normalised_entropy, found.bound), (0.0, 0.0, 0.0));
        let found = meter.entropy_within(Centring::Uncentred, 0.002).unwrap();
        assert!(found.normalised_entropy <= found.bound + 1e-12 && found.bound <= 0.002);
    }
    assert!(SpectrumMeter::new(3).entropy_within(Centring::Centred, 0.1).is_err());
}

#[test]
fn neither_mode_changes_a_bit_of_the_other() {
    let s: Vec<f64> = (1..=300).map(|k| 1.0 / f64::from(k)).collect();
    let x = rows_with(&s, 400, 11);
    let mut fresh = SpectrumMeter::new(300);
    fresh.push(&x).unwrap();
    for centring in BOTH {
        let exact = fresh.spectrum(centring).unwrap().entropy.to_bits();
        let mut used = SpectrumMeter::new(300);
        used.push(&Noise(1).many(300 * 40)).unwrap();
        used.entropy_within(centring, 1e-4).unwrap();
        used.clear();
        used.push(&x).unwrap();
        let first = used.entropy_within(centring, 0.002).unwrap();
        assert!(first.steps.is_some());
        assert_eq!(used.spectrum(centring).unwrap().entropy.to_bits(), exact);
        assert_eq!(used.entropy_within(centring, 0.002).unwrap(), first);
        assert_eq!(fresh.entropy_within(centring, 0.002).unwrap(), first);
    }
}

/// A matrix of four coupled directions, of which two look like rounding to the start, and 30 alone: the
/// second block drops a column that is coupled to what it keeps. Returns it with its eigenvalues.
fn nearly_invisible(seed: u64) -> (Mat<f64>, Vec<f64>) {
    const N: usize = 512;
    let mut noise = Noise(seed);
    let mut uniform = |low: f64, high: f64| low + (high - low) * 0.5 * (noise.draw() + 1.0);
    let small = 10_f64.powf(uniform(-11.5, -10.0));
    let (alpha, gamma) = (uniform(0.1, 0.4), uniform(0.1, 0.4));
    let beta = uniform(0.2, 0.9) * (alpha * gamma).sqrt();
    let (kappa, part, slant, rest) =
        (uniform(0.01, 0.11), uniform(0.5, 0.95), uniform(-2.0, 2.0), uniform(0.05, 0.35));
    let coupled = |d: f64| {
        [
            [alpha, 0.0, beta, d],
            [0.0, small, small, 0.0],
            [beta, small, gamma, slant * d],
            [d, 0.0, slant * d, kappa],
        ]
    };
    // d so that the residue of the second direction is `part` of the 1e-5 that are still dropped.
    let dot = |a: &[f64; 4], b: &[f64; 4]| (0..4).map(|i| a[i] * b[i]).sum::<f64>();
    let unit = |v: [f64; 4]| v.map(|x| x / dot(&v, &v).sqrt());
    let away = |v: [f64; 4], from: &[f64; 4]| {
        let c = dot(&v, from);
        std::array::from_fn(|i| v[i] - c * from[i])
    };
    let residue = |m: &[[f64; 4]; 4]| {
        let times = |v: &[f64; 4]| std::array::from_fn(|i| dot(&m[i], v));
        let q1 = unit(times(&[1.0, 0.0, 0.0, 0.0]));
        let q2 = unit(away([0.0, 1.0, 1.0, 0.0], &q1));
        let [v1, v2] = [q1, q2].map(|q| away(away(times(&q), &q1), &q2));
        let left = away(v2, &unit(v1));
        (dot(&left, &left) / dot(&v2, &v2)).sqrt()
    };
    let mut d = 1e-3;
    for _ in 0..4 {
        d *= part * 1e-5 / residue(&coupled(d));
    }
    let m = coupled(d);

    // The start adds rows of the same number modulo 32, each with its sign.
    let sign = |row: usize| {
        let x = (row as u64 / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (x ^ (x >> 31)) >> (row % 8) & 1 == 1 { 1.0 } else { -1.0 }
    };
    let mut basis: Vec<Vec<f64>> = (0..32)
        .map(|c| (0..N).map(|i| if i % 32 == c { sign(i) * 0.25 } else { 0.0 }).collect())
        .collect();
    for i in 0..2 {
        let mut hidden = vec![0.0; N];
        (hidden[i], hidden[i + 32]) = (sign(i) * 0.5_f64.sqrt(), -sign(i + 32) * 0.5_f64.sqrt());
        basis.push(hidden);
    }
    let mut a = Mat::<f64>::zeros(N, N);
    let mut add = |c: f64, x: &[f64], y: &[f64]| {
        for i in (0..N).filter(|&i| x[i] != 0.0) {
            (0..N).for_each(|j| a[(i, j)] += c * x[i] * y[j]);
        }
    };
    let four = [0, 1, 32, 33];
    for i in 0..4 {
        for j in 0..4 {
            add(m[i][j], &basis[four[i]], &basis[four[j]]);
        }
    }
    let mut values = Mat::from_fn(4, 4, |i, j| m[i][j])
        .self_adjoint_eigenvalues(Side::Lower)
        .expect("eigenvalues");
    for c in 2..32 {
        let value = rest / 30.0 * (0.5 + (c as f64 * 0.37).fract());
        add(value, &basis[c], &basis[c]);
        values.push(value);
    }
    (a, values)
}

#[test]
fn a_direction_left_out_does_not_break_the_interval() {
    let mut shown = 0;
    for seed in 0..60 {
        let (a, values) = nearly_invisible(seed);
        if values.iter().any(|&x| x < -1e-14) {
            continue;
        }
        let (want, full) = (entropy(&values), padded(&a));
        for tolerance in [0.012, 0.003] {
            let found =
                BlockLanczos::new(a.nrows()).entropy(&mut full.clone(), a.nrows(), tolerance);
            if let Some(Between { lower, upper, .. }) = found.expect("finite") {
                shown += 1;
                assert!(
                    lower - 1e-9 <= want && want <= upper + 1e-9,
                    "seed {seed}: {want} is not between {lower} and {upper}"
                );
            }
        }
    }
    assert!(shown > 60, "only {shown} intervals: the test shows nothing");
}
