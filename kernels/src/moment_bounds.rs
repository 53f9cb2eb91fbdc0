//! The mean of f(u) = −u ln u over a measure of which only some moments are known, between two bounds.
//!
//! ```text
//! m_k = mean T_k(2u − 1)        P = Σ c_k T_k(2u − 1) ≥ ± f on [0, U]    ⇒    mean ± f ≤ Σ c_k m_k
//! ```
//! The best such P is the solution of a linear program; its dual is the measure with these moments and the
//! largest (smallest) mean of f, a Gauss or Radau rule where the moments are consecutive (Golub & Meurant,
//! Matrices, Moments and Quadrature, 2010). The simplex method finds it on a grid; where it stops does not
//! matter, for what is used of it is P alone:
//!
//! *The proof.* With u = sin²(θ/2), and cosh²(s/2) above 1, T_k is ±cos kθ or cosh ks, so derivatives
//! along θ and s are known: g = P ∓ f has
//!
//! ```text
//! g'' = κ (−Σ k² c_k T_k ∓ ζ(u)),   ζ(u) = u − 1 − ½(1 − 2u)(1 + ln u),   κ = 1 along θ, −1 along s
//! ```
//! Over a cell of length h between grid points, g ≥ min(g at the ends) − (h²/8) max(0, sup g''). For the
//! sup: P's part exceeds its ends by at most (h²/8) Σ k⁴ |c_k| T_k, and ζ is convex, so it lies below the
//! larger end and above the tangent. In the first cell f, which has no second derivative at 0, lies between
//! 0 and its value at the end. P is raised by the largest violation found. Errors of the moments cost
//! |c_k| times their bound, and |c_k| ≤ 8/k³.

/// The largest degree.
pub const DEGREE: usize = 16;
/// Most moments.
pub const MOST: usize = 12;
/// Cells along θ, cells that halve towards θ = 0, and cells beyond u = 1.
const CELLS: usize = 256;
const NEAR: usize = 6;
const BEYOND: usize = 33;
const POINTS: usize = 1 + NEAR + CELLS + BEYOND;
/// No coefficient of degree k is larger than this over k³ (those of f are 1/(k³ − k)).
const BOX: f64 = 8.0;

/// The mean of T_low, or of T_low + T_high where they differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// A degree.
    pub low: usize,
    /// The other.
    pub high: usize,
    /// The mean is within `error` of this.
    pub mean: f64,
    /// A bound.
    pub error: f64,
}

/// The grid, and the simplex method's tableau.
#[derive(Debug, Clone)]
pub struct MomentBounds {
    cosines: Vec<[f64; POINTS]>, // T_k at the points, k = 0 … DEGREE
    columns: Vec<[f64; POINTS]>, // of the moments
    step: [f64; POINTS],         // to the next point, in θ or s
    u: [f64; POINTS],
    f: [f64; POINTS],
    zeta: [f64; POINTS],
    limit: [f64; MOST],   // of |c_k|
    basis: [usize; MOST], // points, then 2k for +e_k and 2k + 1 for −e_k
    weights: [f64; MOST],
    inverse: [[f64; MOST]; MOST],
}

impl Default for MomentBounds {
    fn default() -> Self {
        let row = [0.0; POINTS];
        Self {
            cosines: vec![row; DEGREE + 1],
            columns: vec![row; MOST],
            step: row,
            u: row,
            f: row,
            zeta: row,
            limit: [0.0; MOST],
            basis: [0; MOST],
            weights: [0.0; MOST],
            inverse: [[0.0; MOST]; MOST],
        }
    }
}

impl MomentBounds {
    /// (lower, upper) for the mean of f over any probability measure on [0, cosh²(reach/2)] with these
    /// moments, the first of which is that of T_0.
    ///
    /// # Panics
    /// If there are more than [`MOST`] moments, or degrees above [`DEGREE`].
    pub fn bounds(&mut self, moments: &[Moment], reach: f64) -> (f64, f64) {
        self.grid(reach);
        for (column, m) in self.columns.iter_mut().zip(moments) {
            *column = self.cosines[m.low];
            if m.high != m.low {
                column.iter_mut().zip(&self.cosines[m.high]).for_each(|(x, y)| *x += y);
            }
        }
        for (k, m) in moments.iter().enumerate() {
            self.limit[k] = BOX / m.low.max(1).pow(3) as f64;
            self.basis[k] = POINTS + 2 * k + usize::from(m.mean < 0.0);
            self.weights[k] = m.mean.abs();
            self.inverse[k] = [0.0; MOST];
            self.inverse[k][k] = if m.mean < 0.0 { -1.0 } else { 1.0 };
        }
        let upper = self.simplex(moments.len(), 1.0);
        let upper = self.proven(moments, &upper, 1.0);
        // The same constraints: the measure found is a start for the other end.
        let lower = self.simplex(moments.len(), -1.0);
        (-self.proven(moments, &lower, -1.0), upper)
    }

    /// Points, and everything that is known at them.
    fn grid(&mut self, reach: f64) {
        let h = std::f64::consts::PI / CELLS as f64;
        let theta = |i: usize| match i {
            0 => 0.0,
            1..=NEAR => h * 0.5_f64.powi((NEAR + 1 - i) as i32),
            _ => h * (i - NEAR) as f64,
        };
        let last = NEAR + CELLS; // u = 1
        let along = reach / BEYOND as f64;
        for i in 0..POINTS {
            let (u, t) = if i < last {
                ((0.5 * theta(i)).sin().powi(2), -theta(i).cos())
            } else {
                let s = along * (i - last) as f64;
                ((0.5 * s).cosh().powi(2), s.cosh())
            };
            self.u[i] = u;
            self.step[i] = if i < last { theta(i + 1) - theta(i) } else { along };
            let ln = u.ln();
            self.f[i] = if i > 0 { -u * ln } else { 0.0 };
            self.zeta[i] = u - 1.0 - 0.5 * (1.0 - 2.0 * u) * (1.0 + ln);
            self.cosines[0][i] = 1.0;
            self.cosines[1][i] = t;
        }
        for k in 2..=DEGREE {
            let (before, here) = self.cosines.split_at_mut(k);
            let (t, one, two) = (&before[1], &before[k - 1], &before[k - 2]);
            for (i, x) in here[0].iter_mut().enumerate() {
                *x = (2.0 * t[i]).mul_add(one[i], -two[i]);
            }
        }
    }

    /// Coefficients of P ≥ `sign` f on the grid, with the least Σ c_k m_k.
    fn simplex(&mut self, k: usize, sign: f64) -> [f64; MOST] {
        let mut c = [0.0; MOST];
        let mut rest = [0.0; POINTS];
        for _ in 0..40 * k {
            let cost = |j: usize| match j.checked_sub(POINTS) {
                None => sign * self.f[j],
                Some(e) => -self.limit[e / 2],
            };
            c = [0.0; MOST];
            for i in 0..k {
                let cost = cost(self.basis[i]);
                for l in 0..k {
                    c[l] = cost.mul_add(self.inverse[i][l], c[l]);
                }
            }
            // The point at which P is the furthest below; a coefficient out of its box counts, too.
            for (rest, f) in rest.iter_mut().zip(&self.f) {
                *rest = sign * f;
            }
            for (c, column) in c.iter().zip(&self.columns[..k]) {
                for (rest, x) in rest.iter_mut().zip(column) {
                    *rest = (-c).mul_add(*x, *rest);
                }
            }
            let (mut enter, mut most) = (usize::MAX, 1e-10);
            for (j, &rest) in rest.iter().enumerate() {
                if rest > most {
                    (enter, most) = (j, rest);
                }
            }
            for (l, c) in c[..k].iter().enumerate() {
                let over = c.abs() - self.limit[l];
                if over > most {
                    (enter, most) = (POINTS + 2 * l + usize::from(*c > 0.0), over);
                }
            }
            if enter == usize::MAX {
                break;
            }
            let entry = |l: usize| match enter.checked_sub(POINTS) {
                None => self.columns[l][enter],
                Some(e) if e / 2 == l => [1.0, -1.0][e % 2],
                Some(_) => 0.0,
            };
            let entries: [f64; MOST] = std::array::from_fn(|l| if l < k { entry(l) } else { 0.0 });
            let direction: [f64; MOST] = std::array::from_fn(|i| {
                self.inverse[i].iter().zip(&entries).map(|(x, y)| x * y).sum()
            });
            let (mut leave, mut least) = (usize::MAX, f64::INFINITY);
            for i in 0..k {
                if direction[i] > 1e-11 && self.weights[i] / direction[i] < least {
                    (leave, least) = (i, self.weights[i] / direction[i]);
                }
            }
            if leave == usize::MAX {
                break;
            }
            let pivot = self.inverse[leave].map(|x| x / direction[leave]);
            for i in 0..k {
                if i != leave {
                    let d = direction[i];
                    self.weights[i] = (self.weights[i] - least * d).max(0.0);
                    for l in 0..k {
                        self.inverse[i][l] = (-d).mul_add(pivot[l], self.inverse[i][l]);
                    }
                }
            }
            (self.inverse[leave], self.weights[leave]) = (pivot, least);
            self.basis[leave] = enter;
        }
        c
    }

    /// An upper bound for the mean of `sign` f from the coefficients of any P.
    fn proven(&self, moments: &[Moment], c: &[f64; MOST], sign: f64) -> f64 {
        let mut by_degree = [0.0; DEGREE + 1];
        let mut mean = 0.0;
        for ((c, m), limit) in c.iter().zip(moments).zip(self.limit) {
            let c = c.clamp(-limit, limit);
            mean += c.mul_add(m.mean, c.abs() * m.error);
            by_degree[m.low] += c;
            if m.high != m.low {
                by_degree[m.high] += c;
            }
        }
        // P, −Σ k² c_k T_k, Σ k⁴ |c_k T_k| at the end (|T_k| ≤ 1 up to u = 1, and grows from there).
        let [mut p, mut second, mut fourth] = [[0.0; POINTS]; 3];
        for (k, c) in by_degree.iter().enumerate().filter(|(_, c)| **c != 0.0) {
            let k2 = (k * k) as f64;
            for i in 0..POINTS {
                let t = self.cosines[k][i];
                p[i] = c.mul_add(t, p[i]);
                second[i] = (-k2 * c).mul_add(t, second[i]);
                fourth[i] += k2 * k2 * c.abs() * t.abs().max(1.0);
            }
        }
        let g = |i: usize| (-sign).mul_add(self.f[i], p[i]);
        // The first cell: f is 0 … f(u₁), P's second derivative at most the fourth's bound.
        let (h, end) = (self.step[0], self.f[1].max(0.0) * sign.max(0.0));
        let mut below = (end - p[0].min(p[1]) + h * h / 8.0 * fourth[1]).max(0.0);
        for a in 1..POINTS - 1 {
            let (b, h8) = (a + 1, self.step[a] * self.step[a] / 8.0);
            let along = if self.u[a] < 1.0 { 1.0 } else { -1.0 };
            let curved = (along * second[a]).max(along * second[b]) + h8 * fourth[b];
            let (za, zb) = (self.zeta[a], self.zeta[b]);
            let flat = -sign * along; // g'' holds `flat` ζ
            let zeta = if flat > 0.0 {
                za.max(zb)
            } else {
                // ζ' = 3 + ln u − 1/(2u)
                let slope = 3.0 + self.u[a].ln() - 0.5 / self.u[a];
                -(za + (slope * (self.u[b] - self.u[a])).min(0.0))
            };
            below = below.max(h8 * (curved + zeta).max(0.0) - g(a).min(g(b)));
        }
        // Rounding of all this.
        let size = fourth[POINTS - 1] + 1.0;
        mean + below + 1e-14 * size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between the points of the grid, too: P, raised as it is, is nowhere below ± f.
    #[test]
    fn the_raised_polynomial_stays_above() {
        let degrees = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16];
        let (mut bounds, mut tight) = (MomentBounds::default(), 0);
        for case in 0..24 {
            let reach = [0.0, 0.3, 1.2][case % 3];
            let k = [3, 5, 8, 12][case % 4];
            let chebyshev = |k: usize, u: f64| {
                let t = 2.0 * u - 1.0;
                match t.abs() <= 1.0 {
                    true => (k as f64 * t.acos()).cos(),
                    false => (k as f64 * t.acosh()).cosh(),
                }
            };
            let value = |d: usize, u: f64| {
                if d == 9 { chebyshev(7, u) + chebyshev(9, u) } else { chebyshev(d, u) }
            };
            // Atoms in the interior: the best P touch f there, between points.
            let atoms: Vec<f64> =
                (0..20).map(|i| (1.0 + ((case * 20 + i) as f64 * 1.7).sin()) / 2.0).collect();
            let moments: Vec<Moment> = degrees[..k]
                .iter()
                .map(|&d| Moment {
                    low: if d == 9 { 7 } else { d },
                    high: d,
                    mean: atoms.iter().map(|&u| value(d, u)).sum::<f64>() / 20.0,
                    error: 0.0,
                })
                .collect();
            bounds.bounds(&moments, reach);
            for sign in [1.0, -1.0] {
                let c = bounds.simplex(k, sign);
                let zero: Vec<Moment> =
                    moments.iter().map(|m| Moment { mean: 0.0, ..*m }).collect();
                let raised = bounds.proven(&zero, &c, sign);
                let top = (0.5 * reach).cosh().powi(2);
                let lowest = (0..60_000).fold(f64::INFINITY, |least, i| {
                    let u = top * (0.5 * std::f64::consts::PI * f64::from(i) / 6e4).sin().powi(2);
                    let f = if u > 0.0 { -u * u.ln() } else { 0.0 };
                    let p: f64 = degrees.iter().zip(&c).map(|(&d, c)| c * value(d, u)).sum();
                    least.min(p - sign * f)
                });
                assert!(lowest + raised >= -1e-13, "{case}: {lowest:e} + {raised:e}");
                tight += usize::from(raised < 1e-12 - 1.5 * lowest);
            }
        }
        // And it is not raised much more than it must be.
        assert!(tight > 24, "{tight}");
    }
}
