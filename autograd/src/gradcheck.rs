//! The gradient check: every op's backward against central differences.
//!
//! For an op y = f(x) and an upstream gradient u, let L = Σ u·y. Two links are checked: the f64
//! reference's gradient against (L(x + h) − L(x − h))/2h of the f64 forward, and the tape's gradient in
//! f32 against the f64 reference's. [`check`] does so for the registry, element by element, with a
//! *random* upstream (with one of ones the gradient of a softmax is zero and any backward would pass);
//! [`check_op`] for an op of any tape, where it stands, along random directions.

use crate::ops::{Args, Case, Reference};
use crate::{Op, Rows, Tape, Var};

/// What one trial of one op showed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The op and form.
    pub name: &'static str,
    /// Shapes of the inputs.
    pub shapes: Vec<(usize, usize)>,
    /// ‖f64 reference − differences‖ / ‖differences‖ of the gradients of all inputs.
    pub difference_error: f64,
    /// The op where it stands.
    pub op: OpCheck,
    /// All outputs and gradients have the bits of the f32 reference.
    pub bits_agree: bool,
}

/// How far an op of a tape is from its f64 reference on the same inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpCheck {
    /// ‖tape − f64 reference‖ / ‖f64 reference‖ of the output where it is largest.
    pub value_error: f64,
    /// ‖tape − f64 reference‖ / ‖f64 reference‖ of the gradients of all inputs, given the same upstream
    /// gradient. `None` where the loss does not read the op.
    pub gradient_error: Option<f64>,
    /// The f64 reference's slope along a random direction against a central difference, for the input
    /// where they are furthest apart, as a share of the size of the whole gradient.
    pub difference_error: Option<f64>,
}

/// Steps of the central differences along a direction, as shares of the input's root mean square: the
/// smallest of their errors counts. A large step may cross a kink of ReLU, a small one drowns in
/// rounding; no step makes a wrong gradient right.
const STEPS: [f64; 3] = [1e-5, 1e-7, 1e-9];
/// The check is made so far beside the actual inputs, again as a share: an f32 that lies exactly on a
/// kink, as a sum of two may, has no slope.
const NUDGE: f64 = 1e-6;
/// An error below this ends the search for a better step.
const CLOSE: f64 = 1e-6;

/// A small deterministic stream of values in ±[0.1, 1.1], away from every kink at 0.
fn draws(mut state: u64) -> impl FnMut() -> f32 {
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (state >> 40) as f32 / (1 << 24) as f32;
        if (state >> 39) & 1 == 0 { 0.1 + x } else { -0.1 - x }
    }
}

/// ‖ours − theirs‖ / ‖theirs‖ of (ours, theirs); 0 where they are equal.
pub fn relative(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut off, mut size) = (0.0, 0.0);
    for (ours, theirs) in pairs {
        off += (ours - theirs) * (ours - theirs);
        size += theirs * theirs;
    }
    if off == 0.0 { 0.0 } else { (off / size).sqrt() }
}

fn pairs<'a>(ours: &'a [f32], theirs: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    assert_eq!(ours.len(), theirs.len(), "the reference has the op's shape");
    ours.iter().map(|&x| f64::from(x)).zip(theirs.iter().copied())
}

/// The gradient of each different input: an input that is read twice has the sum of both.
fn by_input<T: std::ops::AddAssign + Copy>(
    inputs: &[Var],
    gradients: Vec<Vec<T>>,
) -> Vec<(Var, Vec<T>)> {
    let mut sums: Vec<(Var, Vec<T>)> = Vec::new();
    for (&x, d) in inputs.iter().zip(gradients) {
        match sums.iter_mut().find(|(y, _)| *y == x) {
            Some((_, sum)) => sum.iter_mut().zip(d).for_each(|(sum, d)| *sum += d),
            None => sums.push((x, d)),
        }
    }
    sums
}

/// Compares op number `i` of a tape with its f64 reference, after a forward and, if there are to be
/// gradients, a backward of the whole tape.
///
/// The op's backward is replayed alone, so the gradients of its inputs are overwritten; those of its
/// result must still be whole. Checking the ops in recording order keeps them so.
///
/// # Panics
/// If there is no such op.
pub fn check_op(tape: &mut Tape, i: usize, reached: bool) -> OpCheck {
    if reached {
        tape.backward_op(i);
    }
    let op = tape.ops().nth(i).expect("an op of this number");
    let reference: &dyn Reference<f64> = op;
    let (args, outputs, inputs) = (tape.store().args::<f64>(op), op.outputs(), op.inputs());
    let y64 = reference.forward_ref(&args);
    let errors = outputs.iter().zip(&y64).map(|(&y, y64)| relative(pairs(tape.value(y), y64)));
    // f64::max passes over a NaN, which is to be seen.
    let value_error = errors.fold(0.0, |most, x| if x <= most { most } else { x });
    if !reached {
        return OpCheck { value_error, gradient_error: None, difference_error: None };
    }
    let upstream: Vec<f64> = tape.grad(outputs[0]).iter().map(|&u| u.into()).collect();
    let d64 = by_input(&inputs, reference.backward_ref(&args, &upstream));
    let difference_error = slopes_error(op, args, &upstream);
    // A constant has no gradient here, whatever the op could say of it.
    let d64 = d64.iter().filter(|(x, _)| tape.store().wants_grad(*x));
    let gradient_error = relative(d64.flat_map(|(x, d)| pairs(tape.grad(*x), d)));
    OpCheck {
        value_error,
        gradient_error: Some(gradient_error),
        difference_error: Some(difference_error),
    }
}

/// The largest error of a slope along a random direction of ±rms(x), over the inputs x; errors are
/// shares of √Σ (rms(x)·‖dx‖)², the slope that a random direction through all inputs can be expected to have.
fn slopes_error(op: &dyn Op, mut args: Args<f64>, upstream: &[f64]) -> f64 {
    let squares = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
    let scale = |x: &Vec<f64>| match (squares(x) / x.len() as f64).sqrt() {
        rms if rms > 0.0 => rms,
        _ => 1.0,
    };
    let scales: Vec<f64> = args.inputs.iter().map(scale).collect();
    let mut draw = draws(0);
    for (x, scale) in args.inputs.iter_mut().zip(&scales) {
        x.iter_mut().for_each(|x| *x += NUDGE * scale * f64::from(draw()));
    }
    let d64 = Reference::<f64>::backward_ref(op, &args, upstream);
    let size = scales.iter().zip(&d64).map(|(s, d)| s * s * squares(d)).sum::<f64>().sqrt();
    if size == 0.0 {
        return 0.0; // no element of any input matters
    }
    let mut worst: f64 = 0.0;
    for (i, d) in d64.iter().enumerate() {
        let x = args.inputs[i].clone();
        let mut draw = draws(i as u64 + 1);
        let direction: Vec<f64> = x.iter().map(|_| scales[i].copysign(draw().into())).collect();
        let slope: f64 = d.iter().zip(&direction).map(|(d, v)| d * v).sum();
        let mut least = f64::INFINITY;
        for h in STEPS {
            let mut at = |h: f64| {
                let moved = args.inputs[i].iter_mut().zip(&x).zip(&direction);
                moved.for_each(|((to, x), v)| *to = x + h * v);
                Reference::<f64>::forward_ref(op, &args).swap_remove(0)
            };
            let (above, below) = (at(h), at(-h));
            let rise = above.iter().zip(&below).zip(upstream).map(|((a, b), u)| u * (a - b));
            least = least.min((rise.sum::<f64>() / (2.0 * h) - slope).abs() / size);
            if least < CLOSE {
                break;
            }
        }
        args.inputs[i] = x;
        worst = worst.max(least);
    }
    worst
}

/// Runs every trial of a case.
pub fn check(case: &Case) -> Vec<Trial> {
    (0..case.shapes.len()).map(|trial| check_trial(case, trial)).collect()
}

fn check_trial(case: &Case, trial: usize) -> Trial {
    let shapes = &case.shapes[trial];
    let index = case.index.get(trial).cloned().unwrap_or_default();
    let mut draw = draws(trial as u64 + 1);

    let mut tape = Tape::new(1, true);
    let vars: Vec<Var> =
        shapes.iter().enumerate().map(|(i, s)| tape.param(&format!("x{i}"), s.0, s.1)).collect();
    let list = tape.constant(Rows::Fixed(index.len()), index);
    let y = (case.record)(&mut tape, &vars, list);
    for &var in &vars {
        tape.value_mut(var).fill_with(&mut draw);
    }
    tape.forward();
    let upstream: Vec<f32> = tape.value(y).iter().map(|_| draw()).collect();
    tape.backward_from(y, &upstream);

    let same = |a: &[f32], b: &[f32]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
    };
    let op = tape.ops().next().expect("one op");
    let (inputs, outputs) = (op.inputs(), op.outputs());
    assert_eq!(outputs[0], y, "{}: the result is the first output", case.name);
    assert_eq!(outputs.len(), 1 + op.kept().len(), "{}: what is kept has names", case.name);
    let args = tape.store().args::<f32>(op);
    let d32 = by_input(&inputs, Reference::<f32>::backward_ref(op, &args, &upstream));
    let y32 = Reference::<f32>::forward_ref(op, &args);
    let bits_agree = outputs.iter().zip(&y32).all(|(&y, y32)| same(tape.value(y), y32))
        && d32.iter().all(|(x, d)| same(tape.grad(*x), d));

    let upstream: Vec<f64> = upstream.iter().map(|&u| u.into()).collect();
    let mut args = tape.store().args::<f64>(op);
    let d64 = Reference::<f64>::backward_ref(op, &args, &upstream);
    let h = 1e-5;
    let mut slopes = Vec::new();
    for i in 0..inputs.len() {
        // every element of a small input, an even sample of a large one
        let len = args.inputs[i].len();
        for j in (0..len).step_by(len.div_ceil(256).max(1)) {
            let x = args.inputs[i][j];
            let mut loss_at = |x: f64| -> f64 {
                args.inputs[i][j] = x;
                let y = &Reference::<f64>::forward_ref(op, &args)[0];
                y.iter().zip(&upstream).map(|(y, u)| y * u).sum()
            };
            let slope = (loss_at(x + h) - loss_at(x - h)) / (2.0 * h);
            args.inputs[i][j] = x;
            slopes.push((d64[i][j], slope));
        }
    }
    Trial {
        name: case.name,
        shapes: shapes.clone(),
        difference_error: relative(slopes.into_iter()),
        op: check_op(&mut tape, 0, true),
        bits_agree,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_has_the_gradient_of_its_f64_reference() {
        for case in crate::ops::registry() {
            for trial in check(&case) {
                println!("{trial:?}");
                assert!(trial.difference_error < 1e-7, "{trial:?}");
                assert!(trial.op.gradient_error.unwrap() < 1e-6, "{trial:?}");
                assert!(trial.op.difference_error.unwrap() < 1e-6, "{trial:?}");
                assert!(trial.op.value_error < 1e-6, "{trial:?}");
            }
        }
    }

    #[test]
    fn every_op_has_the_bits_of_its_f32_reference() {
        for case in crate::ops::registry() {
            for trial in check(&case) {
                assert!(trial.bits_agree, "{trial:?}");
            }
        }
    }

    #[test]
    fn every_op_names_files_that_exist() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for case in crate::ops::registry() {
            let mut tape = Tape::new(1, false);
            let vars: Vec<Var> = case.shapes[0].iter().map(|s| tape.param("x", s.0, s.1)).collect();
            let index = case.index.first().cloned().unwrap_or_default();
            let list = tape.constant(Rows::Fixed(index.len()), index);
            (case.record)(&mut tape, &vars, list);
            let op = tape.ops().next().unwrap();
            assert!(op.files()[0].starts_with("autograd/src/ops/"), "{:?}", op.files());
            assert!(op.files().len() > 1, "{}: a kernel", case.name);
            assert!(op.files().iter().all(|file| root.join(file).exists()), "{:?}", op.files());
        }
    }

    #[test]
    fn a_wrong_gradient_or_value_is_seen_where_the_op_stands() {
        let mut tape = Tape::new(1, true);
        let (x, w) = (tape.param("x", 40, 30), tape.param("w", 30, 20));
        let (pre, y) = tape.linear_act(x, w, None, crate::Act::Relu);
        let mut draw = draws(3);
        for var in [x, w] {
            tape.value_mut(var).fill_with(&mut draw);
        }
        tape.forward();
        let upstream: Vec<f32> = tape.value(y).iter().map(|_| draw()).collect();
        tape.backward_from(y, &upstream);
        let right = check_op(&mut tape, 0, true);
        assert!(right.value_error < 1e-6 && right.gradient_error.unwrap() < 1e-6, "{right:?}");
        assert!(right.difference_error.unwrap() < 1e-6, "{right:?}");
        // The backward reads pre: where it is wrong, value and gradient are.
        tape.value_mut(pre).iter_mut().for_each(|pre| *pre = -*pre);
        let wrong = check_op(&mut tape, 0, true);
        assert!(wrong.value_error > 0.1 && wrong.gradient_error.unwrap() > 0.1, "{wrong:?}");
    }

    #[test]
    fn inputs_on_a_kink_are_no_error() {
        let mut tape = Tape::new(1, true);
        let x = tape.param("x", 40, 30);
        let y = tape.act(x, crate::Act::Relu);
        tape.value_mut(x).fill_with(draws(3));
        tape.value_mut(x).iter_mut().step_by(3).for_each(|x| *x = 0.0);
        tape.forward();
        tape.backward_from(y, &[0.5; 1200]);
        let check = check_op(&mut tape, 0, true);
        assert!(check.difference_error.unwrap() < 1e-6, "{check:?}");
    }

    /// y = x², whose f64 reference claims dx = x·dy: only the differences can tell.
    #[derive(Debug)]
    struct Square(Var, Var);

    impl<T: kernels::Real> Reference<T> for Square {
        fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
            vec![a.inputs[0].iter().map(|&x| x * x).collect()]
        }
        fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
            vec![a.inputs[0].iter().zip(dy).map(|(&x, &dy)| x * dy).collect()]
        }
    }

    impl Op for Square {
        fn name(&self) -> &'static str {
            "square"
        }
        fn formula(&self) -> [String; 2] {
            ["y = x²", "dx = x·dy"].map(String::from)
        }
        fn files(&self) -> &'static [&'static str] {
            &[file!()]
        }
        fn inputs(&self) -> Vec<Var> {
            vec![self.0]
        }
        fn outputs(&self) -> Vec<Var> {
            vec![self.1]
        }
        fn kept(&self) -> &'static [&'static str] {
            &[]
        }
        fn index(&self) -> Option<crate::Index> {
            None
        }
        fn forward(&self, s: &mut crate::Store) {
            s.write(self.1, |s, y| y.iter_mut().zip(s.value(self.0)).for_each(|(y, x)| *y = x * x));
        }
        fn backward(&self, s: &mut crate::Store) {
            s.write_grad(self.0, |s, dx, _| {
                let terms = s.value(self.0).iter().zip(s.grad(self.1));
                dx.iter_mut().zip(terms).for_each(|(dx, (x, dy))| *dx = x * dy);
            });
        }
        fn flops(&self, _: &crate::Store) -> (u64, u64) {
            (0, 0)
        }
        fn bytes(&self, _: &crate::Store) -> (u64, u64) {
            (0, 0)
        }
    }

    #[test]
    fn a_wrong_reference_is_seen_by_the_differences() {
        let mut tape = Tape::new(1, true);
        let x = tape.param("x", 7, 5);
        let y = tape.result(Rows::Fixed(7), 5);
        tape.push(Square(x, y));
        tape.value_mut(x).fill_with(draws(1));
        tape.forward();
        let upstream: Vec<f32> = (0..35).map(|i| i as f32 - 10.0).collect();
        tape.backward_from(y, &upstream);
        let check = check_op(&mut tape, 0, true);
        assert!(check.value_error < 1e-6 && check.gradient_error.unwrap() < 1e-6, "{check:?}");
        assert!(check.difference_error.unwrap() > 0.1, "{check:?}");
    }
}
