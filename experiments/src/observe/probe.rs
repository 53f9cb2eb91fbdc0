//! Linear probes: what can be read off activations by logistic regression.
//!
//! ```text
//! x        a row of activations, (x − mean) / deviation by the rows that are fitted
//! W, c     minimise  Σᵢ loss(W xᵢ + c, yᵢ) + ‖W‖² / (2 C),   C = 1 as scikit-learn's default
//! loss     two classes    ln(1 + eᶻ) − y z               one row of W, z the logit of the second class
//!          more           ln Σ eᶻ − z_y                  a row of W for each class
//! ```
//!
//! Four in five rows are fitted and the others held out, by a seeded shuffle. The fit is exact: it ends
//! when no element of the gradient is above [`TOLERANCE`], and since the penalty makes the minimum
//! unique, the outcome is that of any other exact solver. It is L-BFGS from W = 0 and c by the classes'
//! shares π alone. There the Hessian is known: with M = π (1 − π) for two classes, or diag(π) − π πᵀ, it is
//!
//! ```text
//! M ⊗ XᵀX + I/C,   and close to its inverse   (π (1 − π) XᵀX + I/C)⁻¹   or   P diag_k (π_k XᵀX + I/C)⁻¹ P
//! ```
//!
//! where P takes the mean over the classes off: M's pseudo-inverse is P diag(1/π) P, and W sums to 0
//! over the classes at the minimum. L-BFGS starts from that matrix, so neither features which are nearly
//! one, as those of a collapsed encoder, nor rare classes slow it down much. Where classes can be told apart
//! well, p (1 − p) falls to nothing for most rows and that matrix is far too small: every twenty steps
//! L-BFGS starts anew from the Hessian's own blocks, Xᵀ diag(p (1 − p)) X + I/C (log₂ n of a trained encoder
//! took 761 steps without, and takes 64). The objective is convex, so a line search needs slopes only.
//!
//! **Controls.** That a probe reads something off a trained encoder says little alone. Beside it belong:
//! [`majority`], the same labels without features; and the same probe on an untrained encoder and on the
//! input's embedding alone, which a caller hands in as other features. (With shuffled labels it hits no more than
//! chance does: a test.) In base 8, n mod 2, 4 and 8 stand in the last digit.

use crate::seed::{Seed, shuffle};
use crate::stats::Share;
use std::collections::{BTreeMap, VecDeque};

/// C, the inverse strength of the penalty: scikit-learn's default.
pub const C: f64 = 1.0;
/// The fit ends when no element of the gradient of the sum above is larger.
pub const TOLERANCE: f64 = 1e-6;
/// Steps after which a fit is given up; it takes some dozens.
const MAX_STEPS: usize = 1000;
/// Steps after which L-BFGS starts anew, from the Hessian's blocks where it has come to.
const RENEWAL: usize = 20;
/// Curvature, p (1 − p), of rows that are left out of these blocks: all of 2000 add 0.02 to the penalty's 1.
const FLAT: f64 = 1e-5;
/// Pairs that L-BFGS remembers.
const MEMORY: usize = 20;

/// Rows of features as the probes of all targets read them that have the same given values (see
/// [`Target::given`](crate::config::probe::Target::given)): split into fitted and held-out ones, and standardised.
#[derive(Debug)]
pub struct Split<'a> {
    features: &'a [f32],
    dim: usize,
    strata: Vec<Stratum>,
}

/// The rows of one given value: places of those that are fitted and held out, and the fitted ones themselves.
#[derive(Debug)]
struct Stratum {
    train: Vec<usize>,
    test: Vec<usize>,
    design: Design,
}

impl<'a> Split<'a> {
    /// Of rows of `dim` features.
    ///
    /// # Errors
    /// If a feature is not finite.
    ///
    /// # Panics
    /// If there are not as many given values and rows.
    pub fn new(
        features: &'a [f32],
        dim: usize,
        given: &[u32],
        seed: Seed,
    ) -> Result<Split<'a>, String> {
        assert_eq!(features.len(), given.len() * dim, "a given value a row");
        let mut split = Split { features, dim, strata: Vec::new() };
        for (train, test) in strata(given, given.len(), seed) {
            let x: Vec<f32> = train.iter().flat_map(|&i| split.row(i)).copied().collect();
            let design = Design::new(&x, dim)?;
            split.strata.push(Stratum { train, test, design });
        }
        Ok(split)
    }

    fn row(&self, i: usize) -> &'a [f32] {
        &self.features[i * self.dim..(i + 1) * self.dim]
    }

    /// How many of the held-out labels probes hit, one of its own for each given value; and the probes.
    ///
    /// # Errors
    /// If a fit does not end.
    pub fn probe(&self, labels: &[u32]) -> Result<(Share, Vec<Probe>), String> {
        assert_eq!(self.features.len(), labels.len() * self.dim, "a label a row");
        let (mut share, mut probes) = (Share::default(), Vec::new());
        for Stratum { train, test, design } in &self.strata {
            let y: Vec<u32> = train.iter().map(|&i| labels[i]).collect();
            let probe = design.fit(&y)?;
            let hit = |&i: &usize| probe.predict(self.row(i)) == Some(labels[i]);
            test.iter().for_each(|i| share.count(hit(i)));
            probes.push(probe);
        }
        Ok((share, probes))
    }
}

/// How many of the held-out labels a probe hits: of rows of `dim` features, with these labels. There is a
/// probe of its own for each value of `given`, and hits are added up.
///
/// # Errors
/// If a feature is not finite, or a fit does not end.
///
/// # Panics
/// If there are not as many labels, given values and rows.
pub fn probe(
    features: &[f32],
    dim: usize,
    labels: &[u32],
    given: &[u32],
    seed: Seed,
) -> Result<Share, String> {
    Ok(Split::new(features, dim, given, seed)?.probe(labels)?.0)
}

/// The same without features: the label that most fitted rows have (the lowest of several), for each
/// value of `given`.
pub fn majority(labels: &[u32], given: &[u32], seed: Seed) -> Share {
    let mut share = Share::default();
    for (train, test) in strata(given, labels.len(), seed) {
        let mut counts = BTreeMap::new();
        train.iter().for_each(|&i| *counts.entry(labels[i]).or_insert(0) += 1);
        let most = counts.iter().rev().max_by_key(|(_, count)| **count).map(|(label, _)| *label);
        test.iter().for_each(|&i| share.count(most == Some(labels[i])));
    }
    share
}

/// Row numbers that are fitted and held out, for each value of `given`: one seeded shuffle (stream
/// "probe") of all rows, of which the first fifth, rounded up, is held out.
fn strata(given: &[u32], rows: usize, seed: Seed) -> Vec<(Vec<usize>, Vec<usize>)> {
    assert_eq!(given.len(), rows, "a given value a row");
    let mut order: Vec<usize> = (0..rows).collect();
    shuffle(&mut seed.stream("probe", 0), &mut order);
    let mut strata = BTreeMap::<u32, (Vec<usize>, Vec<usize>)>::new();
    for (place, i) in order.into_iter().enumerate() {
        let (train, test) = strata.entry(given[i]).or_default();
        if place < rows.div_ceil(5) { test.push(i) } else { train.push(i) }
    }
    strata.into_values().collect()
}

/// A fitted probe.
#[derive(Debug, Clone)]
pub struct Probe {
    classes: Vec<u32>, // labels that were fitted, ascending
    mean: Vec<f64>,    // (dim)
    scale: Vec<f64>,   // (dim)
    weights: Vec<f64>, // (dim + 1, logits): the last row is the intercepts
    steps: usize,
}

/// Rows that are fitted, standardised, and what a fit to any labels takes from them.
#[derive(Debug)]
struct Design {
    mean: Vec<f64>,     // (dim)
    scale: Vec<f64>,    // (dim)
    x: Vec<f64>,        // (rows, dim + 1): standardised features and a 1
    products: Vec<f64>, // (dim + 1, dim + 1): XᵀX, lower triangle
}

impl Design {
    /// Of rows of `dim` features.
    fn new(features: &[f32], dim: usize) -> Result<Design, String> {
        if let Some(at) = features.iter().position(|x| !x.is_finite()) {
            let (row, feature) = (at / dim, at % dim);
            return Err(format!(
                "a probe's feature {feature} is {} in row {row}: expected a finite number",
                features[at]
            ));
        }
        let (mean, scale) = standard(features, dim);
        let mut x = Vec::with_capacity(features.len() / dim * (dim + 1));
        features.chunks_exact(dim).for_each(|row| standardise(row, &mean, &scale, &mut x));
        let products = products(&x, dim + 1);
        Ok(Design { mean, scale, x, products })
    }

    /// The probe of these labels.
    fn fit(&self, labels: &[u32]) -> Result<Probe, String> {
        let columns = self.mean.len() + 1;
        assert_eq!(self.x.len(), labels.len() * columns, "a label a row");
        let mut classes = labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let (mean, scale) = (self.mean.clone(), self.scale.clone());
        let mut probe = Probe { classes, mean, scale, weights: Vec::new(), steps: 0 };
        if probe.classes.len() < 2 {
            return Ok(probe);
        }
        let class = |label| probe.classes.binary_search(label).expect("one of them");
        let y = labels.iter().map(class).collect();
        let problem = Problem { design: self, y, columns, logits: probe.logits() };
        (probe.weights, probe.steps) = problem.minimise()?;
        Ok(probe)
    }
}

impl Probe {
    /// Fits rows of `dim` features to their labels. Of one label alone, or of no rows, there is nothing
    /// to fit.
    ///
    /// # Errors
    /// If a feature is not finite, or the fit does not end.
    pub fn fit(features: &[f32], dim: usize, labels: &[u32]) -> Result<Probe, String> {
        assert_eq!(features.len(), labels.len() * dim, "a label a row");
        Design::new(features, dim)?.fit(labels)
    }

    /// The label of a row of features; the only one if there was no other, none if there were no rows.
    pub fn predict(&self, row: &[f32]) -> Option<u32> {
        if self.weights.is_empty() {
            return self.classes.first().copied();
        }
        let mut x = Vec::with_capacity(row.len() + 1);
        standardise(row, &self.mean, &self.scale, &mut x);
        let mut z = vec![0.0; self.logits()];
        logits(&x, &self.weights, &mut z);
        let best = match *z {
            [z] => usize::from(z > 0.0),
            _ => (1..z.len()).fold(0, |best, i| if z[i] > z[best] { i } else { best }),
        };
        Some(self.classes[best])
    }

    /// The labels that were fitted, ascending.
    pub fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// W of the standardised features, a row a logit; and c. Empty of fewer than two classes.
    pub fn coefficients(&self) -> (Vec<f64>, Vec<f64>) {
        let (dim, logits) = (self.mean.len(), self.logits());
        if self.weights.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let transposed = (0..logits).flat_map(|l| (0..dim).map(move |j| j * logits + l));
        let weights = transposed.map(|at| self.weights[at]).collect();
        (weights, self.weights[dim * logits..].to_vec())
    }

    /// Steps that the fit took.
    pub fn steps(&self) -> usize {
        self.steps
    }

    fn logits(&self) -> usize {
        if self.classes.len() == 2 { 1 } else { self.classes.len() }
    }

    /// The mean of the rows that were fitted: (dim).
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// W of the features as they are, W/deviation, a row a logit. Empty of fewer than two classes.
    pub fn directions(&self) -> Vec<f64> {
        let (weights, _) = self.coefficients();
        let rows = weights.chunks_exact(self.mean.len());
        rows.flat_map(|row| row.iter().zip(&self.scale).map(|(w, scale)| w / scale)).collect()
    }
}

/// Appends a row, standardised, and the 1 of the intercept.
fn standardise(row: &[f32], mean: &[f64], scale: &[f64], to: &mut Vec<f64>) {
    let each = row.iter().zip(mean).zip(scale);
    to.extend(each.map(|((&x, mean), scale)| (f64::from(x) - mean) / scale));
    to.push(1.0);
}

/// Mean and standard deviation (over n) of every feature; 1 in place of the deviation where that is
/// nothing but the rounding of the mean.
fn standard(features: &[f32], dim: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = features.len() as f64 / dim as f64;
    let mut mean = vec![0.0; dim];
    for row in features.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    mean.iter_mut().for_each(|sum| *sum /= rows);
    let mut scale = vec![0.0; dim];
    for row in features.chunks_exact(dim) {
        for ((sum, &x), mean) in scale.iter_mut().zip(row).zip(&mean) {
            *sum += (f64::from(x) - mean).powi(2);
        }
    }
    for (sum, mean) in scale.iter_mut().zip(&mean) {
        let deviation = (*sum / rows).sqrt();
        let rounding = rows * mean.abs() * f64::EPSILON;
        *sum = if deviation > rounding { deviation } else { 1.0 };
    }
    (mean, scale)
}

/// z = W x + c, with `weights` (columns, logits).
fn logits(x: &[f64], weights: &[f64], z: &mut [f64]) {
    z.fill(0.0);
    for (&x, w) in x.iter().zip(weights.chunks_exact(z.len())) {
        z.iter_mut().zip(w).for_each(|(z, &w)| *z = x.mul_add(w, *z));
    }
}

/// In place of the logits, the loss's gradient: the classes' probabilities, less 1 at the right one.
fn residual(z: &mut [f64], class: usize) {
    probabilities(z);
    match z {
        [z] => *z -= class as f64,
        _ => z[class] -= 1.0,
    }
}

/// In place of the logits, the probabilities of their classes.
fn probabilities(z: &mut [f64]) {
    if let [z] = z {
        *z = 1.0 / (1.0 + (-*z).exp());
        return;
    }
    let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    z.iter_mut().for_each(|z| *z = (*z - largest).exp());
    let sum: f64 = z.iter().sum();
    z.iter_mut().for_each(|z| *z /= sum);
}

/// What is minimised.
struct Problem<'a> {
    design: &'a Design,
    y: Vec<usize>, // (rows): 0, 1, …
    columns: usize,
    logits: usize,
}

impl Problem<'_> {
    /// The gradient at `w`, (columns, logits).
    fn gradient(&self, w: &[f64], g: &mut [f64]) {
        g.iter_mut().zip(w).for_each(|(g, w)| *g = w / C);
        g[w.len() - self.logits..].fill(0.0); // intercepts bear no penalty
        let mut z = vec![0.0; self.logits];
        for (x, &y) in self.design.x.chunks_exact(self.columns).zip(&self.y) {
            logits(x, w, &mut z);
            residual(&mut z, y);
            for (&x, g) in x.iter().zip(g.chunks_exact_mut(self.logits)) {
                g.iter_mut().zip(&z).for_each(|(g, &z)| *g = x.mul_add(z, *g));
            }
        }
    }

    /// The minimum, and the steps to it.
    fn minimise(&self) -> Result<(Vec<f64>, usize), String> {
        let size = self.columns * self.logits;
        let (mut w, mut g) = (vec![0.0; size], vec![0.0; size]);
        let shares = self.shares();
        let c = &mut w[size - self.logits..];
        match (&mut *c, &*shares) {
            ([c], [share]) => *c = (share / (1.0 - share)).ln(),
            _ => c.iter_mut().zip(&shares).for_each(|(c, share)| *c = share.ln()),
        }
        centre(c);
        let block = |&share: &f64| self.block(share);
        let mut blocks: Vec<Cholesky> = shares.iter().map(block).collect();
        let (mut next, mut next_g) = (w.clone(), g.clone());
        let mut memory: VecDeque<Pair> = VecDeque::new();
        self.gradient(&w, &mut g);
        for step in 0..MAX_STEPS {
            if g.iter().all(|g| g.abs() <= TOLERANCE) {
                return Ok((w, step));
            }
            if step > 0 && step.is_multiple_of(RENEWAL) {
                blocks = self.blocks_at(&w);
                memory.clear();
            }
            let direction = direction(&g, &memory, &blocks);
            let slope = dot(&g, &direction);
            // The first of t = 1, 2, 4, … and then of halved intervals at which the slope is less than
            // half as steep; it grows with t, because the objective is convex.
            let (mut low, mut high, mut t) = (0.0, f64::INFINITY, 1.0);
            loop {
                for ((next, w), d) in next.iter_mut().zip(&w).zip(&direction) {
                    *next = w + t * d;
                }
                self.gradient(&next, &mut next_g);
                let here = dot(&next_g, &direction);
                if here.abs() <= 0.5 * slope.abs() || t < 1e-9 {
                    break;
                }
                if here < 0.0 {
                    low = t
                } else {
                    high = t
                }
                t = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * t };
            }
            let s: Vec<f64> = next.iter().zip(&w).map(|(next, w)| next - w).collect();
            let y: Vec<f64> = next_g.iter().zip(&g).map(|(next, g)| next - g).collect();
            let sy = dot(&s, &y);
            if sy > 0.0 {
                memory.push_back(Pair { s, y, sy });
            }
            if memory.len() > MEMORY {
                memory.pop_front();
            }
            std::mem::swap(&mut w, &mut next);
            std::mem::swap(&mut g, &mut next_g);
        }
        let largest = g.iter().fold(0.0f64, |largest, g| largest.max(g.abs()));
        Err(format!(
            "a probe was not fitted within {MAX_STEPS} steps: its gradient is {largest:e}, and {TOLERANCE:e} \
             was expected"
        ))
    }

    /// The share of the rows that is of each logit's class.
    fn shares(&self) -> Vec<f64> {
        let mut counts = vec![0.0; self.logits];
        let first = usize::from(self.logits == 1); // the single logit is that of class 1
        self.y.iter().filter(|&&y| y >= first).for_each(|&y| counts[y - first] += 1.0);
        counts.iter().map(|count| count / self.y.len() as f64).collect()
    }

    /// The factor of a class's block, at its share of the rows.
    fn block(&self, share: f64) -> Cholesky {
        let curvature = if self.logits == 1 { share * (1.0 - share) } else { share };
        self.penalised(self.design.products.iter().map(|p| curvature * p).collect())
    }

    /// The factors of the Hessian's own blocks at `w`, (columns, logits): Xᵀ diag(p (1 − p)) X + I/C.
    fn blocks_at(&self, w: &[f64]) -> Vec<Cholesky> {
        let size = self.columns * self.columns;
        let mut blocks = vec![vec![0.0; size]; self.logits];
        let mut p = vec![0.0; self.logits];
        for x in self.design.x.chunks_exact(self.columns) {
            logits(x, w, &mut p);
            probabilities(&mut p);
            for (p, block) in p.iter().zip(&mut blocks) {
                let curvature = p * (1.0 - p);
                if curvature > FLAT {
                    add_product(block, curvature, x);
                }
            }
        }
        blocks.into_iter().map(|block| self.penalised(block)).collect()
    }

    /// The factor of a block, with the penalty's part.
    fn penalised(&self, mut block: Vec<f64>) -> Cholesky {
        (0..self.columns - 1).for_each(|i| block[i * self.columns + i] += 1.0 / C);
        // The intercept bears no penalty, and may have next to no curvature.
        block[self.columns * self.columns - 1] += FLAT;
        Cholesky::new(block, self.columns)
    }
}

/// XᵀX, lower triangle, (columns, columns).
fn products(x: &[f64], columns: usize) -> Vec<f64> {
    let mut products = vec![0.0; columns * columns];
    x.chunks_exact(columns).for_each(|x| add_product(&mut products, 1.0, x));
    products
}

/// Adds t x xᵀ to a lower triangle.
fn add_product(products: &mut [f64], t: f64, x: &[f64]) {
    for (i, row) in products.chunks_exact_mut(x.len()).enumerate() {
        add(&mut row[..=i], t * x[i], &x[..=i]);
    }
}

/// A step of L-BFGS, s, and what it did to the gradient, y.
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    sy: f64,
}

/// −H g, H the L-BFGS inverse Hessian of the pairs over that of the blocks (Nocedal & Wright, algorithm
/// 7.4).
fn direction(g: &[f64], memory: &VecDeque<Pair>, blocks: &[Cholesky]) -> Vec<f64> {
    let mut r = g.to_vec();
    let mut alphas = Vec::with_capacity(memory.len());
    for Pair { s, y, sy } in memory.iter().rev() {
        let alpha = dot(s, &r) / sy;
        add(&mut r, -alpha, y);
        alphas.push(alpha);
    }
    for (class, block) in blocks.iter().enumerate() {
        let mut column: Vec<f64> = r[class..].iter().step_by(blocks.len()).copied().collect();
        block.solve(&mut column);
        r[class..].iter_mut().step_by(blocks.len()).zip(column).for_each(|(r, x)| *r = x);
    }
    r.chunks_exact_mut(blocks.len()).for_each(centre);
    for (Pair { s, y, sy }, alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = dot(y, &r) / sy;
        add(&mut r, alpha - beta, s);
    }
    r.iter_mut().for_each(|r| *r = -*r);
    r
}

/// Takes the mean over the classes off, where there is a logit for each.
fn centre(z: &mut [f64]) {
    if z.len() > 1 {
        let mean = z.iter().sum::<f64>() / z.len() as f64;
        z.iter_mut().for_each(|z| *z -= mean);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// a += t b
fn add(a: &mut [f64], t: f64, b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, &b)| *a = t.mul_add(b, *a));
}

/// L with L Lᵀ = B.
struct Cholesky {
    l: Vec<f64>, // (n, n), lower triangle
    n: usize,
}

impl Cholesky {
    /// The factor of a positive definite matrix, of which the lower triangle is read.
    fn new(mut l: Vec<f64>, n: usize) -> Cholesky {
        for i in 0..n {
            let (above, rest) = l.split_at_mut(i * n);
            let row = &mut rest[..n];
            for j in 0..i {
                let other = &above[j * n..j * n + n];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            row[i] = (row[i] - dot(&row[..i], &row[..i])).sqrt();
        }
        Cholesky { l, n }
    }

    /// B⁻¹ r in place of r, (n).
    fn solve(&self, r: &mut [f64]) {
        let row = |i: usize| &self.l[i * self.n..i * self.n + i + 1];
        for i in 0..self.n {
            let l = row(i);
            r[i] = (r[i] - dot(&l[..i], &r[..i])) / l[i];
        }
        for i in (0..self.n).rev() {
            let l = row(i);
            r[i] /= l[i];
            let (above, rest) = r.split_at_mut(i);
            add(above, -rest[0], &l[..i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::probe::Target;
    use rand::Rng;
    use rand_distr::{Distribution, StandardNormal};

    /// The labels in a random order (stream "probe/labels"), within each value of `given`.
    fn shuffled(labels: &[u32], given: &[u32], seed: Seed) -> Vec<u32> {
        assert_eq!(given.len(), labels.len(), "a given value a label");
        let mut out = labels.to_vec();
        for value in given.iter().copied().collect::<std::collections::BTreeSet<_>>() {
            let places: Vec<usize> = (0..given.len()).filter(|&i| given[i] == value).collect();
            let mut within: Vec<u32> = places.iter().map(|&i| labels[i]).collect();
            shuffle(&mut seed.stream("probe/labels", value.into()), &mut within);
            places.iter().zip(within).for_each(|(&i, label)| out[i] = label);
        }
        out
    }

    fn normal(rng: &mut impl Rng, count: usize) -> Vec<f32> {
        (0..count).map(|_| Distribution::<f64>::sample(&StandardNormal, rng) as f32).collect()
    }

    #[test]
    fn what_stands_in_the_features_is_read_and_chance_is_not() {
        let (rows, dim) = (2000, 12);
        let mut rng = Seed(5).stream("test", 0);
        let labels: Vec<u32> =
            (0..rows as u64).map(|n| Target::Residue(4).label(n * 7, 8)).collect();
        let mut features = normal(&mut rng, rows * dim);
        for (row, &label) in features.chunks_exact_mut(dim).zip(&labels) {
            row[label as usize] += 6.0;
        }
        let given = vec![0; rows];
        let read = probe(&features, dim, &labels, &given, Seed(0)).unwrap();
        assert_eq!(read.of, 400);
        assert!(read.value().unwrap() > 0.99, "{read:?}");
        let permuted = shuffled(&labels, &given, Seed(0));
        assert_ne!(permuted, labels);
        let [lo, hi] =
            probe(&features, dim, &permuted, &given, Seed(0)).unwrap().interval().unwrap();
        assert!(lo < 0.25 && 0.25 < hi, "{lo} {hi}");
        let blind = majority(&labels, &given, Seed(0));
        assert!(blind.of == 400 && blind.value().unwrap() < 0.3, "{blind:?}");
    }

    #[test]
    fn a_conditional_bit_has_a_probe_for_each_residue() {
        // Feature 0 is ±1 by bit 2, but the other way round where n is odd: no single line reads it.
        let (rows, dim) = (1000, 3);
        let numbers: Vec<u64> = (0..rows as u64).collect();
        let mut features = normal(&mut Seed(6).stream("test", 0), rows * dim);
        for (row, n) in features.chunks_exact_mut(dim).zip(&numbers) {
            row[0] = if (n >> 1 & 1) ^ (n & 1) == 1 { 1.0 } else { -1.0 };
        }
        let target = Target::Bit(2);
        let labels: Vec<u32> = numbers.iter().map(|&n| target.label(n, 8)).collect();
        let given: Vec<u32> = numbers.iter().map(|&n| target.given(n)).collect();
        let conditional = probe(&features, dim, &labels, &given, Seed(0)).unwrap();
        assert_eq!(conditional, Share { hits: 200, of: 200 });
        let plain = probe(&features, dim, &labels, &vec![0; rows], Seed(0)).unwrap();
        assert!(plain.hits < 130, "{plain:?}");
        // A shuffle keeps what is given: even numbers keep the labels of even numbers.
        let half: Vec<u32> = numbers.iter().map(|n| u32::from(n % 2 == 0)).collect();
        assert_eq!(shuffled(&half, &given, Seed(1)), half);
    }

    #[test]
    fn classes_that_can_be_told_apart_do_not_slow_a_fit_down() {
        // ⌊log₂ n⌋ stands along one of 48 directions of unequal length, as in a trained encoder: classes in a row,
        // some of a few rows only.
        let (rows, dim) = (1200, 48);
        let mut rng = Seed(8).stream("test", 0);
        let along = normal(&mut rng, dim);
        let mut features = normal(&mut rng, rows * dim);
        let numbers: Vec<u64> = (0..rows as u64).map(|i| 1 + i * 8).collect();
        for (row, &n) in features.chunks_exact_mut(dim).zip(&numbers) {
            for (j, (x, a)) in row.iter_mut().zip(&along).enumerate() {
                *x = *x * 0.3 / (1.0 + j as f32) + a * (n as f32).log2();
            }
        }
        let labels: Vec<u32> = numbers.iter().map(|&n| Target::Log2.label(n, 8)).collect();
        let fit = Probe::fit(&features, dim, &labels).unwrap();
        assert!(fit.steps() < 200, "{} steps", fit.steps());
    }

    #[test]
    fn one_class_or_no_row_is_no_reason_to_fail() {
        let one = Probe::fit(&[1.0, 2.0], 1, &[7, 7]).unwrap();
        assert_eq!((one.predict(&[5.0]), one.steps()), (Some(7), 0));
        let none = Probe::fit(&[], 1, &[]).unwrap();
        assert_eq!(none.predict(&[5.0]), None);
        let said = Probe::fit(&[1.0, 2.0, f32::NAN, 3.0], 2, &[0, 1]).unwrap_err();
        assert_eq!(said, "a probe's feature 0 is NaN in row 1: expected a finite number");
        let given = [0, 0, 0, 0, 9];
        let share = probe(&[0.0; 5], 1, &[1, 1, 1, 1, 1], &given, Seed(0)).unwrap();
        assert_eq!(share.of, 1);
    }

    #[test]
    fn the_factor_gives_the_matrix_back() {
        let b = [4.0, 0.0, 0.0, 2.0, 5.0, 0.0, -1.0, 3.0, 9.0];
        let mut r = [1.0, -2.0, 0.5];
        Cholesky::new(b.to_vec(), 3).solve(&mut r);
        let full = |i: usize, j: usize| b[i.max(j) * 3 + i.min(j)];
        for (i, expected) in [1.0, -2.0, 0.5].into_iter().enumerate() {
            let product: f64 = (0..3).map(|j| full(i, j) * r[j]).sum();
            assert!((product - expected).abs() < 1e-12);
        }
    }

    #[test]
    #[ignore = "a measurement: cargo test --release -p plateau --lib -- --ignored --nocapture how_long"]
    fn how_long_a_probe_of_an_encoder_takes() {
        let (rows, dim, classes) = (5000, 256, 16);
        let mut rng = Seed(0).stream("test", 0);
        let numbers: Vec<u64> = (1..=rows as u64).collect();
        for (name, rank, noise) in [("all directions", 256, 0.0), ("collapsed to 6", 6, 1e-3)] {
            // Activations as of an encoder that knows residues: a mean for each class, and noise.
            let centres = normal(&mut rng, classes * dim);
            let mixing = normal(&mut rng, rank * dim);
            let mut features = normal(&mut rng, rows * dim);
            for (row, n) in features.chunks_exact_mut(dim).zip(&numbers) {
                row.iter_mut().for_each(|x| *x *= noise);
                for (r, m) in normal(&mut rng, rank).iter().zip(mixing.chunks_exact(dim)) {
                    row.iter_mut().zip(m).for_each(|(x, m)| *x += r * m);
                }
                let centre = &centres[*n as usize % classes * dim..][..dim];
                row.iter_mut().zip(centre).for_each(|(x, c)| *x += 0.5 * c);
            }
            for target in [Target::Residue(2), Target::Residue(16), Target::Log2] {
                let labels: Vec<u32> = numbers.iter().map(|&n| target.label(n, 8)).collect();
                let begun = std::time::Instant::now();
                let fit = Probe::fit(&features[..4000 * dim], dim, &labels[..4000]).unwrap();
                let (steps, seconds) = (fit.steps(), begun.elapsed().as_secs_f64());
                println!("{name}, {target:?}: {steps} steps, {seconds:.3} s");
            }
        }
    }
}
