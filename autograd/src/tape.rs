//! The tape: buffers, the ops over them in order, replay forwards and backwards.
//!
//! Every value is a matrix (rows, cols), row major. Outputs come after their inputs, so replaying
//! the ops in order computes everything, and in reverse order every gradient is complete before it
//! is read. The first op to write a gradient overwrites it, later ones add: nothing is zero-filled.

use crate::ops::{Args, Reference};
use kernels::{Buffer, Real, Write};

/// A value on the tape: a matrix and, on a training tape, its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(usize);

/// A list of row numbers or labels on the tape, rewritten before each step or fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(usize);

/// Sequences of different lengths, packed one after the other: a row for each of their tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(usize);

/// How many rows a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Always so many: parameters and what is computed from parameters alone.
    Fixed(usize),
    /// So many for each active example.
    PerExample(usize),
    /// So many for each active row of a stream.
    Packed(Stream, usize),
}

/// What the number of rows of a value depends on: at capacity, or what is active.
#[derive(Clone, Debug)]
struct Sizes {
    examples: usize,
    streams: Vec<usize>, // rows of each
}

impl Sizes {
    fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Fixed(rows) => rows,
            Rows::PerExample(rows) => rows * self.examples,
            Rows::Packed(stream, rows) => rows * self.streams[stream.0],
        }
    }
}

/// One operation: knows its buffers, computes its outputs and its inputs' gradients, and can say all
/// of this in plain loops.
///
/// No method has a default: an op without a backward or without a reference does not compile.
pub trait Op: std::fmt::Debug + Send + Reference<f32> + Reference<f64> {
    /// The name in the registry.
    fn name(&self) -> &'static str;
    /// The formulas of the forward and of the backward.
    fn formula(&self) -> [String; 2];
    /// The source files, from the workspace's root: the op's own, then its kernels'.
    fn files(&self) -> &'static [&'static str];
    /// What it reads and may give a gradient to.
    fn inputs(&self) -> Vec<Var>;
    /// What it writes: the result, which the gradient comes from, then what it keeps for the backward.
    fn outputs(&self) -> Vec<Var>;
    /// The names of what it keeps, as the formula has them.
    fn kept(&self) -> &'static [&'static str];
    /// The index list or labels, where it has one.
    fn index(&self) -> Option<Index>;
    /// Writes the outputs.
    fn forward(&self, s: &mut Store);
    /// Writes or adds to the gradients of the inputs, given that of the result.
    fn backward(&self, s: &mut Store);
    /// Floating-point operations of (forward, backward) at the active number of rows; a fused
    /// multiply-add counts 2, an elementary function 16.
    fn flops(&self, s: &Store) -> (u64, u64);
    /// Bytes that (forward, backward) must at least read and write: each operand once.
    fn bytes(&self, s: &Store) -> (u64, u64);
}

#[derive(Debug)]
struct Value {
    names: Vec<String>, // more than one where a block's output is the next block's input
    rows: Rows,
    cols: usize,
    data: Buffer,  // (rows at capacity, cols)
    grad: Buffer,  // as data; empty where no gradient is wanted
    written: bool, // the gradient, in the current backward
}

/// The buffers that ops work on.
#[derive(Debug)]
pub struct Store {
    values: Vec<Value>,
    indices: Vec<(Rows, Vec<u32>)>,
    active: Sizes,
}

impl Store {
    /// (active rows, cols) of a value.
    pub fn shape(&self, x: Var) -> (usize, usize) {
        let v = &self.values[x.0];
        (self.active.rows(v.rows), v.cols)
    }

    fn len(&self, x: Var) -> usize {
        let (rows, cols) = self.shape(x);
        rows * cols
    }

    /// The active elements of a value.
    pub fn value(&self, x: Var) -> &[f32] {
        &self.values[x.0].data[..self.len(x)]
    }

    /// The active elements of a value's gradient. Empty where it has none.
    pub fn grad(&self, x: Var) -> &[f32] {
        let grad = &self.values[x.0].grad;
        &grad[..self.len(x).min(grad.len())]
    }

    /// Whether a value has a gradient: on a training tape, all but what is kept, given or detached.
    pub fn wants_grad(&self, x: Var) -> bool {
        let v = &self.values[x.0];
        v.grad.len() == v.data.len()
    }

    /// The active entries of an index list.
    pub fn entries(&self, i: Index) -> &[u32] {
        let (rows, list) = &self.indices[i.0];
        &list[..self.active.rows(*rows)]
    }

    /// Bytes of the active elements of these values.
    pub fn bytes(&self, values: &[Var]) -> u64 {
        values.iter().map(|&x| 4 * self.len(x) as u64).sum()
    }

    /// What the reference of `op` is given: its inputs and index list as they are now.
    pub fn args<T: Real>(&self, op: &dyn Op) -> Args<T> {
        let inputs = op.inputs();
        let wide = |&x: &Var| self.value(x).iter().map(|&x| T::of(x.into())).collect();
        Args {
            inputs: inputs.iter().map(wide).collect(),
            shapes: inputs.iter().map(|&x| self.shape(x)).collect(),
            index: op.index().map_or(Vec::new(), |i| self.entries(i).to_vec()),
        }
    }

    /// Lets `f` write the active elements of `y` while it reads the other values.
    pub fn write(&mut self, y: Var, f: impl FnOnce(&mut Store, &mut [f32])) {
        let len = self.len(y);
        let mut data = std::mem::take(&mut self.values[y.0].data);
        f(self, &mut data[..len]);
        self.values[y.0].data = data;
    }

    /// Lets `f` write the gradient of `x`, or add to it where an op has written it already in this
    /// backward. Does nothing for a value without gradient.
    pub fn write_grad(&mut self, x: Var, f: impl FnOnce(&mut Store, &mut [f32], Write)) {
        let len = self.len(x);
        let value = &mut self.values[x.0];
        if value.grad.is_empty() {
            return;
        }
        let write =
            if std::mem::replace(&mut value.written, true) { Write::Add } else { Write::Set };
        let mut grad = std::mem::take(&mut value.grad);
        f(self, &mut grad[..len], write);
        self.values[x.0].grad = grad;
    }
}

/// A recorded computation.
#[derive(Debug)]
pub struct Tape {
    store: Store,
    ops: Vec<(Box<dyn Op>, Vec<Var>)>, // each with its outputs
    params: Vec<Var>,
    capacity: Sizes,
    training: bool,
}

impl Tape {
    /// An empty tape for at most `capacity` examples; with gradients where `training`.
    pub fn new(capacity: usize, training: bool) -> Tape {
        let capacity = Sizes { examples: capacity, streams: Vec::new() };
        let store = Store { values: Vec::new(), indices: Vec::new(), active: capacity.clone() };
        Tape { store, ops: Vec::new(), params: Vec::new(), capacity, training }
    }

    /// A stream of packed sequences with at most so many rows in all; [`Tape::set_rows`] says how many
    /// are active.
    pub fn stream(&mut self, capacity: usize) -> Stream {
        self.capacity.streams.push(capacity);
        self.store.active.streams.push(capacity);
        Stream(self.capacity.streams.len() - 1)
    }

    fn push_value(&mut self, rows: Rows, cols: usize, grad: bool) -> Var {
        let len = self.most_rows(rows) * cols;
        let grad = Buffer::zeros(if grad && self.training { len } else { 0 });
        let data = Buffer::zeros(len);
        let names = Vec::new();
        self.store.values.push(Value { names, rows, cols, data, grad, written: false });
        Var(self.store.values.len() - 1)
    }

    /// A parameter: a fixed matrix with a name, zero until [`Tape::value_mut`] fills it.
    pub fn param(&mut self, name: &str, rows: usize, cols: usize) -> Var {
        let var = self.push_value(Rows::Fixed(rows), cols, true);
        self.params.push(var);
        self.hook(name, var)
    }

    /// An index list that the caller rewrites before each step with [`Tape::entries_mut`].
    pub fn input(&mut self, rows: Rows) -> Index {
        self.store.indices.push((rows, vec![0; self.most_rows(rows)]));
        Index(self.store.indices.len() - 1)
    }

    /// An index list that never changes, with its entries at capacity.
    ///
    /// # Panics
    /// If the list does not have as many entries as `rows` says.
    pub fn constant(&mut self, rows: Rows, list: Vec<u32>) -> Index {
        assert_eq!(self.most_rows(rows), list.len(), "constant: {rows:?}");
        self.store.indices.push((rows, list));
        Index(self.store.indices.len() - 1)
    }

    /// A value that the caller rewrites before each step with [`Tape::value_mut`]; it has no gradient.
    pub fn given(&mut self, name: &str, rows: Rows, cols: usize) -> Var {
        let var = self.push_value(rows, cols, false);
        self.hook(name, var)
    }

    /// Makes a constant of a value: no gradient is passed on to it, nor to what it was computed from. A parameter
    /// is then not updated.
    pub fn detach(&mut self, x: Var) {
        self.store.values[x.0].grad = Buffer::zeros(0);
    }

    /// A new value for an op's result.
    pub(crate) fn result(&mut self, rows: Rows, cols: usize) -> Var {
        self.push_value(rows, cols, true)
    }

    /// A new value that an op keeps for its backward; it has no gradient.
    pub(crate) fn kept(&mut self, rows: Rows, cols: usize) -> Var {
        self.push_value(rows, cols, false)
    }

    /// Records an op.
    pub(crate) fn push(&mut self, op: impl Op + 'static) {
        let outputs = op.outputs();
        self.ops.push((Box::new(op), outputs));
    }

    /// Names a value, as TransformerLens names its hook points; returns it. A value may have several
    /// names: what leaves one block is what enters the next.
    pub fn hook(&mut self, name: impl Into<String>, x: Var) -> Var {
        self.store.values[x.0].names.push(name.into());
        x
    }

    /// The value of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<Var> {
        self.store.values.iter().position(|v| v.names.iter().any(|n| n == name)).map(Var)
    }

    /// The names of all parameters and hooks, in recording order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.store.values.iter().flat_map(|v| &v.names).map(String::as_str)
    }

    /// The first name of a value; empty for an unnamed one.
    pub fn name(&self, x: Var) -> &str {
        self.store.values[x.0].names.first().map_or("", String::as_str)
    }

    /// How many rows a value has, as recorded.
    pub fn rows(&self, x: Var) -> Rows {
        self.store.values[x.0].rows
    }

    /// (active rows, cols) of a value.
    pub fn shape(&self, x: Var) -> (usize, usize) {
        self.store.shape(x)
    }

    /// The active elements of a value.
    pub fn value(&self, x: Var) -> &[f32] {
        self.store.value(x)
    }

    /// The active elements of a value, to be overwritten.
    pub fn value_mut(&mut self, x: Var) -> &mut [f32] {
        let len = self.store.len(x);
        &mut self.store.values[x.0].data[..len]
    }

    /// The active elements of a gradient, after [`Tape::backward`]. Empty on a forward-only tape.
    pub fn grad(&self, x: Var) -> &[f32] {
        self.store.grad(x)
    }

    /// The active elements of a gradient, to be changed between backward and update.
    pub fn grad_mut(&mut self, x: Var) -> &mut [f32] {
        let (len, grad) = (self.store.len(x), &mut self.store.values[x.0].grad);
        let len = len.min(grad.len());
        &mut grad[..len]
    }

    /// The parameters, in recording order.
    pub fn params(&self) -> &[Var] {
        &self.params
    }

    /// A parameter's values to be updated, with its gradient.
    pub fn param_and_grad(&mut self, x: Var) -> (&mut [f32], &[f32]) {
        let value = &mut self.store.values[x.0];
        (&mut value.data, &value.grad)
    }

    /// Copies the parameters of a tape that records the same parameters.
    ///
    /// # Panics
    /// If names or shapes differ.
    pub fn copy_params_from(&mut self, other: &Tape) {
        assert_eq!(self.params.len(), other.params.len(), "tapes of different models");
        for i in 0..self.params.len() {
            let (to, from) = (self.params[i], other.params[i]);
            assert_eq!(self.name(to), other.name(from), "tapes of different models");
            self.value_mut(to).copy_from_slice(other.value(from));
        }
    }

    /// Copies the parameters that both tapes have: of the parts of a model, each on a tape of its own.
    /// Returns how many.
    ///
    /// # Panics
    /// If two of the same name differ in shape.
    pub fn copy_common_params_from(&mut self, other: &Tape) -> usize {
        let mut copied = 0;
        for i in 0..self.params.len() {
            let to = self.params[i];
            let from = other.params.iter().find(|&&from| other.name(from) == self.name(to));
            if let Some(&from) = from {
                let name = self.name(to);
                assert_eq!(self.shape(to), other.shape(from), "{name}: tapes of different models");
                self.value_mut(to).copy_from_slice(other.value(from));
                copied += 1;
            }
        }
        copied
    }

    /// How many entries an index list has, as recorded.
    pub fn index_rows(&self, i: Index) -> Rows {
        self.store.indices[i.0].0
    }

    /// The active entries of an index list.
    pub fn entries(&self, i: Index) -> &[u32] {
        self.store.entries(i)
    }

    /// The active entries of an index list, to be rewritten.
    pub fn entries_mut(&mut self, i: Index) -> &mut [u32] {
        let (rows, list) = &mut self.store.indices[i.0];
        &mut list[..self.store.active.rows(*rows)]
    }

    /// The number of examples that the buffers hold.
    pub fn capacity(&self) -> usize {
        self.capacity.examples
    }

    /// How many rows `rows` are at capacity.
    pub fn most_rows(&self, rows: Rows) -> usize {
        self.capacity.rows(rows)
    }

    /// The active number of examples.
    pub fn examples(&self) -> usize {
        self.store.active.examples
    }

    /// The active number of rows of a stream.
    pub fn active_rows(&self, stream: Stream) -> usize {
        self.store.active.streams[stream.0]
    }

    /// Sets the active number of examples.
    ///
    /// # Panics
    /// If it is above the capacity.
    pub fn set_examples(&mut self, examples: usize) {
        let capacity = self.capacity();
        assert!(examples <= capacity, "{examples} examples on a tape for {capacity}");
        self.store.active.examples = examples;
    }

    /// Sets the active number of rows of a stream.
    ///
    /// # Panics
    /// If it is above the stream's capacity.
    pub fn set_rows(&mut self, stream: Stream, rows: usize) {
        let capacity = self.capacity.streams[stream.0];
        assert!(rows <= capacity, "{rows} rows on a stream for {capacity}");
        self.store.active.streams[stream.0] = rows;
    }

    /// Replays every op.
    pub fn forward(&mut self) {
        self.forward_with(|_| ());
    }

    /// Replays the ops of these numbers alone: a part of the computation that goes on from where the
    /// others have left their values.
    pub fn forward_ops(&mut self, ops: std::ops::Range<usize>) {
        for (op, _) in &self.ops[ops] {
            op.forward(&mut self.store);
        }
    }

    /// Replays every op and calls `after` with the number of each when it is done.
    pub fn forward_with(&mut self, mut after: impl FnMut(usize)) {
        for (i, (op, _)) in self.ops.iter().enumerate() {
            op.forward(&mut self.store);
            after(i);
        }
    }

    /// Computes the gradient of `loss`, a (1, 1) value, with respect to every parameter and value
    /// that it depends on.
    ///
    /// # Panics
    /// On a forward-only tape.
    pub fn backward(&mut self, loss: Var) {
        self.backward_with(loss, &[1.0], |_| ());
    }

    /// As [`Tape::backward`], from any value and a given upstream gradient of its shape.
    pub fn backward_from(&mut self, y: Var, upstream: &[f32]) {
        self.backward_with(y, upstream, |_| ());
    }

    /// As [`Tape::backward_from`]; calls `after` with the number of each op when its gradients are
    /// done.
    pub fn backward_with(&mut self, y: Var, upstream: &[f32], mut after: impl FnMut(usize)) {
        assert!(self.training, "backward on a forward-only tape");
        self.store.values.iter_mut().for_each(|v| v.written = false);
        self.store.write_grad(y, |_, dy, _| dy.copy_from_slice(upstream));
        for (i, (op, outputs)) in self.ops.iter().enumerate().rev() {
            // An op whose results the loss does not read has no gradient to pass on.
            if outputs.iter().any(|y| self.store.values[y.0].written) {
                op.backward(&mut self.store);
                after(i);
            }
        }
    }

    /// Replays the backward of one op alone, after a whole backward: the gradients of its inputs
    /// become what this op passes on.
    ///
    /// # Panics
    /// If there are not so many ops.
    pub fn backward_op(&mut self, op: usize) {
        self.store.values.iter_mut().for_each(|v| v.written = false);
        self.ops[op].0.backward(&mut self.store);
    }

    /// Whether the last backward gave this value a gradient.
    pub fn has_grad(&self, x: Var) -> bool {
        self.store.values[x.0].written
    }

    /// The buffers, for what an op says of itself.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A readable name for any value: its own, or that of the op that writes it, `op07.gather`, with
    /// `op07.layer_norm.stats` for what an op keeps.
    pub fn label(&self, x: Var) -> String {
        let name = self.name(x);
        if !name.is_empty() {
            return name.to_string();
        }
        for (i, (op, outputs)) in self.ops.iter().enumerate() {
            if let Some(place) = outputs.iter().position(|&y| y == x) {
                let kept = place.checked_sub(1).map(|k| op.kept()[k]);
                return format!(
                    "op{i:02}.{}{}",
                    op.name(),
                    kept.map_or(String::new(), |k| format!(".{k}"))
                );
            }
        }
        unreachable!("a value is a parameter or given, and has a name, or some op's output")
    }

    /// Every name of a value; empty for an unnamed one.
    pub fn all_names(&self, x: Var) -> &[String] {
        &self.store.values[x.0].names
    }

    /// The ops, in recording order.
    pub fn ops(&self) -> impl Iterator<Item = &dyn Op> {
        self.ops.iter().map(|(op, _)| op.as_ref())
    }

    /// Floating-point operations of each op's (forward, backward) at the active number of rows.
    pub fn op_flops(&self) -> Vec<(u64, u64)> {
        self.ops().map(|op| op.flops(&self.store)).collect()
    }

    /// Floating-point operations of all ops' (forward, backward).
    pub fn flops(&self) -> (u64, u64) {
        self.op_flops().into_iter().fold((0, 0), |sum, op| (sum.0 + op.0, sum.1 + op.1))
    }

    /// Where the first value or gradient that is not finite appears, in the order of computation.
    pub fn first_non_finite(&self) -> Option<String> {
        let bad = |x: &[f32]| x.iter().any(|x| !x.is_finite());
        let place = |op: &dyn Op, what: &str, x: Var| {
            let name = match self.name(x) {
                "" => "an unnamed value",
                name => name,
            };
            format!("{what} {name}, in op {}", op.name())
        };
        for op in self.ops() {
            if let Some(y) = op.outputs().into_iter().find(|&y| bad(self.value(y))) {
                return Some(place(op, "the value of", y));
            }
        }
        for (op, _) in self.ops.iter().rev() {
            if let Some(x) = op.inputs().into_iter().find(|&x| bad(self.grad(x))) {
                return Some(place(op.as_ref(), "the gradient of", x));
            }
        }
        let p = self.params.iter().find(|&&p| bad(self.value(p)))?;
        Some(format!("the parameter {}", self.name(*p)))
    }
}
