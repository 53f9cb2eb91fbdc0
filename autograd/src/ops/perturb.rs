//! y[i] = x[i] + r[i]·u[i]                   x, u, y: (rows, cols), r: (rows, 1)
//! dx = dy, dr[i] = dy[i]·u[i], du[i] = r[i]·dy[i]     keeps nothing
//!
//! Noise u of the amplitude r: both are constants where the tape holds no gradient for them
//! ([`Tape::given`], [`Tape::detach`]).

use super::{Args, Case, Reference, zeros};
use crate::{Index, Op, Store, Tape, Var};
use kernels::{Real, gather, mix};

#[derive(Debug)]
struct Perturb {
    x: Var,
    r: Var,
    u: Var,
    y: Var,
}

impl Tape {
    /// Each row of `x`, moved by `r` times the same row of `u`.
    ///
    /// # Panics
    /// If `u` does not have the shape of `x`, or `r` as many rows and one column.
    pub fn perturb(&mut self, x: Var, r: Var, u: Var) -> Var {
        let shape = |x| (self.rows(x), self.shape(x).1);
        assert_eq!(shape(u), shape(x), "perturb: x and u differ in shape");
        assert_eq!(shape(r), (self.rows(x), 1), "perturb: a distance for each row");
        let y = self.result(self.rows(x), self.shape(x).1);
        self.push(Perturb { x, r, u, y });
        y
    }
}

impl Op for Perturb {
    fn name(&self) -> &'static str {
        "perturb"
    }
    fn formula(&self) -> [String; 2] {
        ["y[i] = x[i] + r[i]·u[i]", "dx = dy, dr[i] = Σ dy[i]·u[i], du[i] = r[i]·dy[i]"]
            .map(String::from)
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/mix.rs", "kernels/src/gather.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.x, self.r, self.u]
    }
    fn outputs(&self) -> Vec<Var> {
        vec![self.y]
    }
    fn kept(&self) -> &'static [&'static str] {
        &[]
    }
    fn index(&self) -> Option<Index> {
        None
    }
    fn forward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.y);
        s.write(self.y, |s, y| {
            mix::perturb(s.value(self.x), s.value(self.r), s.value(self.u), y, cols);
        });
    }
    fn backward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.y);
        s.write_grad(self.x, |s, dx, write| gather::pass(s.grad(self.y), dx, write));
        s.write_grad(self.r, |s, dr, write| {
            mix::perturb_backward_r(s.value(self.u), s.grad(self.y), dr, cols, write);
        });
        s.write_grad(self.u, |s, du, write| {
            mix::perturb_backward_u(s.value(self.r), s.grad(self.y), du, cols, write);
        });
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let n = s.value(self.y).len() as u64;
        let of = |x, flops| if s.wants_grad(x) { flops } else { 0 };
        (2 * n, of(self.r, 2 * n) + of(self.u, n))
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let of = |x, with| if s.wants_grad(x) { s.bytes(&[x, with]) } else { 0 };
        let forward = s.bytes(&[self.x, self.r, self.u, self.y]);
        (forward, s.bytes(&[self.y, self.x]) + of(self.r, self.u) + of(self.u, self.r))
    }
}

impl<T: Real> Reference<T> for Perturb {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let mut y = zeros(a.shapes[0]);
        mix::perturb_ref(&a.inputs[0], &a.inputs[1], &a.inputs[2], &mut y, a.shapes[0].1);
        vec![y]
    }
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let [mut dr, mut du]: [Vec<T>; 2] = [zeros(a.shapes[1]), zeros(a.shapes[2])];
        mix::perturb_backward_ref(&a.inputs[1], &a.inputs[2], dy, &mut dr, &mut du, a.shapes[0].1);
        vec![dy.to_vec(), dr, du]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let shapes = |rows, cols| vec![(rows, cols), (rows, 1), (rows, cols)];
    vec![Case {
        name: "perturb",
        shapes: vec![shapes(3, 7), shapes(1, 1), shapes(20, 33)],
        index: vec![],
        record: |t, x, _| t.perturb(x[0], x[1], x[2]),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rows;

    #[test]
    fn a_detached_amplitude_passes_no_gradient_on() {
        for detached in [false, true] {
            let mut tape = Tape::new(4, true);
            let x = tape.param("x", 4, 3);
            let pi = tape.constant(Rows::Fixed(4), vec![1, 2, 3, 0]);
            let r = tape.distance(x, pi, 0.3);
            let u = tape.given("u", Rows::Fixed(4), 3);
            if detached {
                tape.detach(r);
            }
            let y = tape.perturb(x, r, u);
            for var in [x, u] {
                let values = tape.value_mut(var).iter_mut().enumerate();
                values.for_each(|(i, x)| *x = ((i * i) as f32).sin());
            }
            tape.forward();
            let upstream = [0.5, -1.0, 2.0, 0.25, 1.0, -3.0, 0.1, 0.2, 0.3, 4.0, 5.0, 6.0];
            tape.backward_from(y, &upstream);
            assert_eq!(tape.grad(x) == upstream, detached);
            assert!(tape.grad(u).is_empty() && tape.has_grad(r) != detached);
        }
    }
}
