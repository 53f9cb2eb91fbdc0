//! Our float32 models against PyTorch in float64: forward, gradients, ten steps of AdamW.
//!
//! Each tensor must agree to `‖ours − golden‖ / ‖golden‖ ≤ 1e-5`, on the tape that computes only the
//! last position and on the one that computes all. `cargo test --test torch -- --nocapture` prints
//! the worst figure of each case; PyTorch's own float32 stands in `golden/README.md`.

mod golden;

use autograd::Var;
use autograd::optim::{AdamW, AdamWConfig, Schedule};
use golden::{Case, FULL, SMALL};
use models::{Param, Positions, Purpose, Recorded};
use std::collections::{BTreeMap, BTreeSet};

/// Above PyTorch's own float32 error (7e-7 at most), far below that of any wrong term.
const BOUND: f64 = 1e-5;
/// The bound for b_K's gradient, zero in exact arithmetic: its greatest entry over the norm of b_Q's.
const ZERO: f64 = 1e-6;
/// Golden hooks that our tapes do not compute: the table of unique rows adds token and position
/// before it is gathered, so the token's part alone never exists for a batch.
const NOT_COMPUTED: [&str; 1] = ["hook_embed"];

const EVERY: [Positions; 2] = [Positions::Last, Positions::All];

fn cases() -> impl Iterator<Item = Case> {
    SMALL.iter().chain(&FULL).map(|name| Case::read(name))
}

/// What a tensor belongs to; `Zero` are the gradients that are zero in exact arithmetic.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Group {
    Forward,
    Gradients,
    Zero,
    TenSteps,
}

/// The greatest error of a group of tensors.
struct Figure {
    case: String,
    group: Group,
    tensor: String,
    measured: f64,
}

/// What was compared: the worst figure of each case, and a sentence for each that is too large.
#[derive(Default)]
struct Report {
    worst: Vec<Figure>,
    failures: Vec<String>,
}

impl Report {
    fn check(&mut self, case: &Case, group: Group, tensor: &str, measured: f64) {
        let (case, bound) = (&case.name, if group == Group::Zero { ZERO } else { BOUND });
        if measured.is_nan() || measured > bound {
            let failure = format!("{case}: {tensor} measured {measured:.2e}, bound {bound:e}");
            self.failures.push(failure);
        }
        let figure = Figure { case: case.clone(), group, tensor: tensor.to_owned(), measured };
        match self.worst.iter_mut().find(|worst| worst.case == *case && worst.group == group) {
            None => self.worst.push(figure),
            Some(worst) if measured <= worst.measured => {}
            Some(worst) => *worst = figure,
        }
    }

    /// Prints the worst figures; fails if any comparison did.
    fn finish(self) {
        let line = |Figure { case, group, tensor, measured }: &Figure| {
            format!("{case:<12} {:<10} {measured:.1e}  {tensor}\n", format!("{group:?}"))
        };
        println!("{}", self.worst.iter().map(line).collect::<String>());
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }
}

/// A parameter of the golden file: one of ours, or the blocks by position of an MLP's first layer
/// under each other.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    parts: Vec<Param>,
}

/// A case's model, on a training tape.
struct Net<'a> {
    case: &'a Case,
    positions: Positions,
    recorded: Recorded,
    tensors: Vec<Tensor>,
}

impl Net<'_> {
    /// Records the case's model with its starting values.
    fn new(case: &Case, positions: Positions) -> Net<'_> {
        let mut recorded = case.record(Purpose { capacity: case.batch, training: true, positions });
        let mut tensors: Vec<Tensor> = Vec::new();
        for param in recorded.params().to_vec() {
            let block = param.name.starts_with("layers.0.W_");
            let name = if block { "layers.0.W".to_owned() } else { param.name.clone() };
            match tensors.iter_mut().find(|tensor| tensor.name == name) {
                None => {
                    tensors.push(Tensor { name, shape: param.shape.clone(), parts: vec![param] })
                }
                Some(tensor) => {
                    tensor.shape[0] += param.shape[0];
                    tensor.parts.push(param);
                }
            }
        }
        for tensor in &tensors {
            let start = case.start(&tensor.name, &tensor.shape);
            let mut rest = &start[..];
            for part in &tensor.parts {
                let values = recorded.tape.value_mut(part.var);
                let (here, after) = rest.split_at(values.len());
                part.import(here, values);
                rest = after;
            }
            assert!(rest.is_empty(), "{}: {} is longer in the file", case.name, tensor.name);
        }
        Net { case, positions, recorded, tensors }
    }

    /// Forward and backward on batch `step`; returns the loss.
    fn run(&mut self, step: usize) -> f32 {
        let (pairs, answers) = self.case.batch(step);
        let rows: Vec<u32> = (0..pairs.len() as u32).collect();
        self.recorded.load(&rows, &pairs, &answers);
        self.recorded.tape.forward();
        self.recorded.tape.backward(self.recorded.loss.loss);
        self.recorded.tape.value(self.recorded.loss.loss)[0]
    }

    /// A buffer of every parameter, in the golden file's names and order of elements.
    fn export<'a>(&'a self, buffer: impl Fn(Var) -> &'a [f32]) -> BTreeMap<String, Vec<f32>> {
        let whole = |t: &Tensor| t.parts.iter().flat_map(|p| p.export(buffer(p.var))).collect();
        self.tensors.iter().map(|t| (t.name.clone(), whole(t))).collect()
    }

    fn gradients(&self) -> BTreeMap<String, Vec<f32>> {
        self.export(|var| self.recorded.tape.grad(var))
    }
}

/// Every hook, the logits and the loss, after a run on batch 0.
fn compare_forward(net: &Net, report: &mut Report) {
    let (case, tape) = (net.case, &net.recorded.tape);
    let loss = tape.value(net.recorded.loss.loss);
    for (name, ours) in [("logits", tape.value(net.recorded.logits)), ("loss", loss)] {
        let tensor = format!("{name} ({:?})", net.positions);
        report.check(case, Group::Forward, &tensor, case.error(name, ours));
    }
    for (key, gold) in &case.gold {
        let Some(name) = key.strip_prefix("hook/").filter(|name| !NOT_COMPUTED.contains(name))
        else {
            continue;
        };
        let tensor = format!("{name} ({:?})", net.positions);
        let Some(var) = tape.find(name) else {
            report.failures.push(format!("{}: {tensor} is not on the tape", case.name));
            continue;
        };
        let ours = tape.value(var);
        let pruned = net.positions == Positions::Last && ours.len() < gold.values.len();
        let error = if pruned { gold.at_last_position(name).error(ours) } else { gold.error(ours) };
        report.check(case, Group::Forward, &tensor, error);
    }
}

/// The gradient of every parameter.
fn compare_gradients(net: &Net, gradients: &BTreeMap<String, Vec<f32>>, report: &mut Report) {
    let case = net.case;
    for name in case.names() {
        let (ours, key) = (&gradients[name], format!("grad/{name}"));
        let tensor = format!("{key} ({:?})", net.positions);
        // Softmax does not see a constant added to every key: the true gradient of b_K is zero.
        if let Some(attn) = name.strip_suffix("b_K") {
            let most = ours.iter().map(|x| x.abs()).max_by(f32::total_cmp).expect("an entry");
            let measured = f64::from(most) / case.norm(&format!("grad/{attn}b_Q"));
            report.check(case, Group::Zero, &tensor, measured);
        } else {
            report.check(case, Group::Gradients, &tensor, case.error(&key, ours));
        }
    }
}

/// The losses of ten steps and every parameter after them.
fn compare_ten_steps(case: &Case, optim: AdamWConfig, report: &mut Report) {
    let mut net = Net::new(case, Positions::Last);
    let mut adamw = AdamW::new(optim, &net.recorded.tape);
    let b_k = net.recorded.params().iter().filter(|param| param.name.ends_with("b_K"));
    let frozen: Vec<Var> = b_k.map(|param| param.var).collect();
    let mut losses = Vec::new();
    for step in 0..case.steps {
        losses.push(net.run(step));
        let tape = &mut net.recorded.tape;
        // As the generator does: Adam would scale the rounding noise of a zero gradient to full steps.
        let held: Vec<Vec<f32>> = frozen.iter().map(|&var| tape.value(var).to_vec()).collect();
        let _ = adamw.step(tape, step as u64); // what is not finite fails the comparison below
        for (&var, held) in frozen.iter().zip(&held) {
            tape.value_mut(var).copy_from_slice(held);
        }
    }
    report.check(case, Group::TenSteps, "losses", case.error("losses", &losses));
    let after = net.export(|var| net.recorded.tape.value(var));
    for name in case.names().into_iter().filter(|name| !name.ends_with("b_K")) {
        let key = format!("after10/{name}");
        report.check(case, Group::TenSteps, &key, case.error(&key, &after[name]));
    }
}

/// Runs batch 0 of every case on both tapes and compares.
fn compare_every(compare: impl Fn(&Net, &mut Report)) {
    let mut report = Report::default();
    for case in cases() {
        for positions in EVERY {
            let mut net = Net::new(&case, positions);
            net.run(0);
            compare(&net, &mut report);
        }
    }
    report.finish();
}

#[test]
fn forward_agrees_with_pytorch() {
    compare_every(compare_forward);
}

#[test]
fn gradients_agree_with_pytorch() {
    compare_every(|net, report| compare_gradients(net, &net.gradients(), report));
}

#[test]
fn ten_steps_of_adamw_agree_with_pytorch() {
    let mut report = Report::default();
    for case in cases() {
        compare_ten_steps(&case, case.optim.clone(), &mut report);
    }
    report.finish();
}

#[test]
fn names_and_shapes_are_those_of_the_golden_files() {
    for case in cases() {
        for positions in EVERY {
            let net = Net::new(&case, positions);
            let ours: BTreeSet<&str> = net.tensors.iter().map(|t| t.name.as_str()).collect();
            assert_eq!(ours, case.names(), "{}: parameters", case.name);
            if FULL.contains(&case.name.as_str()) {
                continue; // shapes and hooks are in the small files only
            }
            for tensor in &net.tensors {
                let gold = &case.gold[&format!("param/{}", tensor.name)];
                assert_eq!(tensor.shape, gold.shape, "{}: {}", case.name, tensor.name);
            }
            let params: Vec<&str> = net.recorded.params().iter().map(|p| p.name.as_str()).collect();
            let hooks = net.recorded.tape.names().filter(|name| !params.contains(name));
            let ours: BTreeSet<&str> = hooks.filter(|n| !["logits", "loss"].contains(n)).collect();
            let gold = case.gold.keys().filter_map(|key| key.strip_prefix("hook/"));
            let gold: BTreeSet<&str> = gold.filter(|name| !NOT_COMPUTED.contains(name)).collect();
            assert_eq!(ours, gold, "{}: hooks", case.name);
        }
    }
}

#[test]
fn the_template_has_223713_parameters() {
    let case = Case::read("template97");
    assert_eq!(Net::new(&case, Positions::Last).recorded.parameter_count(), 223_713);
}

#[test]
fn import_then_export_gives_the_same_bits() {
    for case in SMALL.map(Case::read) {
        let net = Net::new(&case, Positions::Last);
        for (name, values) in net.export(|var| net.recorded.tape.value(var)) {
            let start = case.start(&name, &[]);
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&values), bits(&start), "{}: {name}", case.name);
        }
    }
}

#[test]
fn one_parameter_off_by_a_thousandth_is_reported() {
    for case in SMALL.map(Case::read) {
        for positions in EVERY {
            let mut net = Net::new(&case, positions);
            for param in net.recorded.params().to_vec() {
                let right = net.recorded.tape.value(param.var).to_vec();
                net.recorded.tape.value_mut(param.var).iter_mut().for_each(|x| *x *= 1.001);
                net.run(0);
                net.recorded.tape.value_mut(param.var).copy_from_slice(&right);
                let mut report = Report::default();
                compare_forward(&net, &mut report);
                assert!(!report.failures.is_empty(), "{}: {} unseen", case.name, param.name);
            }
        }
    }
}

#[test]
fn a_gradient_of_the_wrong_sign_is_reported() {
    for case in cases() {
        let mut net = Net::new(&case, Positions::Last);
        net.run(0);
        for name in case.names().into_iter().filter(|name| !name.ends_with("b_K")) {
            let mut gradients = net.gradients();
            let wrong = gradients.get_mut(name).expect("a gradient of every parameter");
            // One entry; a sample of 64 sees only what happens to many.
            let full = FULL.contains(&case.name.as_str());
            let at = (0..wrong.len()).max_by(|&i, &j| wrong[i].abs().total_cmp(&wrong[j].abs()));
            let at = at.expect("an entry");
            let some = if full { 0..wrong.len() } else { at..at + 1 };
            wrong[some].iter_mut().for_each(|x| *x = -*x);
            let mut report = Report::default();
            compare_gradients(&net, &gradients, &mut report);
            let only = format!("{}: grad/{name} (Last) measured", case.name);
            assert!(report.failures.len() == 1 && report.failures[0].starts_with(&only), "{only}");
        }
    }
}

#[test]
fn a_wrong_setting_of_the_optimiser_is_reported() {
    type Change = fn(&mut AdamWConfig);
    let wrong: [(&str, Change); 6] = [
        ("template", |c| c.weight_decay = 0.99),
        ("template", |c| c.betas.1 = 0.998),
        ("nanda", |c| c.warmup = 9),
        ("nanda", |c| c.betas.0 = 0.89),
        ("preln", |c| c.no_decay.clear()),
        ("preln", |c| c.schedule = Schedule::Constant),
    ];
    for (i, (name, change)) in wrong.into_iter().enumerate() {
        let case = Case::read(name);
        let mut optim = case.optim.clone();
        change(&mut optim);
        let mut report = Report::default();
        compare_ten_steps(&case, optim, &mut report);
        assert!(!report.failures.is_empty(), "{name}: change {i} unseen");
    }
}
