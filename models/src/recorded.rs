//! A model on its tape: its parameters, where its inputs go, where its results are.

use crate::config::Tokens;
use autograd::ops::CrossEntropy;
use autograd::{Index, Rows, Tape, Var};
use rand::Rng;
use rand_distr::{Distribution, Normal, Uniform};

/// Which positions the activations are computed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// After the last attention, only the last one: all that the loss reads.
    Last,
    /// Every one, for probes that ask for them.
    All,
}

/// What a recording is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// Most examples at once.
    pub capacity: usize,
    /// With gradients.
    pub training: bool,
    /// Which positions are computed.
    pub positions: Positions,
}

/// Something done to an activation on its way: what `apply` records at the hook `site` goes on in its
/// place. The hook keeps its name and the activation as it came.
pub struct Edit<'a> {
    /// An activation that a probe can read; see `sites` of the model's config.
    pub site: &'a str,
    /// Records what is done; returns what goes on.
    pub apply: &'a mut dyn FnMut(&mut Tape, Var) -> Var,
}

/// The distribution that a parameter is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Draw {
    Constant(f32),
    /// Mean 0, this standard deviation.
    Normal(f64),
    /// From −bound to bound.
    Uniform(f64),
}

/// A parameter as files see it.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its value on the tape.
    pub var: Var,
    /// Its TransformerLens name.
    pub name: String,
    /// Its shape in TransformerLens's order of axes.
    pub shape: Vec<usize>,
    draw: Draw,
    /// The tape holds W_Q, W_K, W_V as (d_model, n_heads·d_head), one product for all heads; files
    /// hold \[n_heads, d_model, d_head\].
    head_first: bool,
}

impl Param {
    /// The values of a buffer of this parameter's shape (itself, its gradient or a moment), in the
    /// order of [`Param::shape`].
    pub fn export(&self, tape_order: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; tape_order.len()];
        self.for_each_pair(|file, tape| out[file] = tape_order[tape]);
        out
    }

    /// Writes values in the order of [`Param::shape`] to a buffer in the tape's order.
    pub fn import(&self, file_order: &[f32], tape_order: &mut [f32]) {
        self.for_each_pair(|file, tape| tape_order[tape] = file_order[file]);
    }

    /// Calls `f(position in a file, position on the tape)` for every element.
    fn for_each_pair(&self, mut f: impl FnMut(usize, usize)) {
        let len = self.shape.iter().product();
        match self.shape[..] {
            [h, d, e] if self.head_first => {
                for i in 0..len {
                    let (head, row, x) = (i / (d * e), i / e % d, i % e);
                    f(i, row * h * e + head * e + x);
                }
            }
            _ => (0..len).for_each(|i| f(i, i)),
        }
    }
}

/// Where the tokens of a batch of pairs (a, b) go.
#[derive(Clone, Debug)]
pub struct PairInputs {
    pub(crate) tokens: Tokens,
    pub(crate) symbols: usize,
    /// Each position's row in the table of unique rows: (b·n_ctx).
    pub(crate) every: Index,
    /// Each position's row among the unique rows of that position: n_ctx lists of (b).
    pub(crate) at: Vec<Index>,
    /// The answers: (b).
    pub(crate) labels: Index,
}

/// A model recorded on a tape, with inputs of a kind.
#[derive(Debug)]
pub struct Recorded<I = PairInputs> {
    /// The computation.
    pub tape: Tape,
    /// A row for each label: (b, d_vocab_out), at the last position, for pairs; (target tokens, d_vocab)
    /// for sequences.
    pub logits: Var,
    /// The mean loss over the labels of the batch.
    pub loss: CrossEntropy,
    params: Vec<Param>,
    /// Where a batch goes on the tape.
    pub inputs: I,
}

impl<I> Recorded<I> {
    /// The same recording, its inputs seen as another type: what holds models of several kinds needs one.
    pub fn map_inputs<J>(self, f: impl FnOnce(I) -> J) -> Recorded<J> {
        let Recorded { tape, logits, loss, params, inputs } = self;
        Recorded { tape, logits, loss, params, inputs: f(inputs) }
    }

    /// Every parameter, in recording order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.params.iter().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// Draws every parameter. `stream` gives a generator for each name, so that no parameter's
    /// values depend on which others exist.
    pub fn draw<R: Rng>(&mut self, stream: impl FnMut(&str) -> R) {
        draw_all(&mut self.tape, &self.params, stream);
    }
}

pub(crate) fn draw_all<R: Rng>(
    tape: &mut Tape,
    params: &[Param],
    mut stream: impl FnMut(&str) -> R,
) {
    for p in params {
        let mut rng = stream(&p.name);
        let mut next: Box<dyn FnMut() -> f64> = match p.draw {
            Draw::Constant(x) => Box::new(move || x.into()),
            Draw::Normal(std) => {
                let normal = Normal::new(0.0, std).expect("a finite deviation");
                Box::new(move || normal.sample(&mut rng))
            }
            Draw::Uniform(bound) => {
                let uniform = Uniform::new_inclusive(-bound, bound).expect("a finite bound");
                Box::new(move || uniform.sample(&mut rng))
            }
        };
        tape.value_mut(p.var).fill_with(|| next() as f32);
    }
}

impl Recorded<PairInputs> {
    /// Makes `rows` of the table (pairs, answers) the active examples.
    ///
    /// # Panics
    /// If there are more rows than the tape's capacity.
    pub fn load(&mut self, rows: &[u32], pairs: &[[u32; 2]], answers: &[u32]) {
        self.inputs.load(&mut self.tape, rows, pairs, answers);
    }
}

impl PairInputs {
    /// As [`Recorded::load`], on the tape that these are of.
    ///
    /// # Panics
    /// If there are more rows than the tape's capacity.
    pub fn load(&self, tape: &mut Tape, rows: &[u32], pairs: &[[u32; 2]], answers: &[u32]) {
        let PairInputs { tokens, symbols, every, ref at, labels } = *self;
        tape.set_examples(rows.len());
        for (i, &at) in at.iter().enumerate() {
            let entry = |row: u32| if i < 2 { pairs[row as usize][i] } else { 0 };
            for (to, &row) in tape.entries_mut(at).iter_mut().zip(rows) {
                *to = entry(row);
            }
            let every = tape.entries_mut(every).iter_mut().skip(i).step_by(tokens.n_ctx());
            for (to, &row) in every.zip(rows) {
                *to = (i * symbols) as u32 + entry(row);
            }
        }
        for (to, &row) in tape.entries_mut(labels).iter_mut().zip(rows) {
            *to = answers[row as usize];
        }
    }
}

/// The tokens that can stand at each position, as (token, position), position by position: both
/// operands range over the symbols, "=" is alone at its position.
pub(crate) fn unique(tokens: Tokens, symbols: usize) -> Vec<(u32, u32)> {
    let p = symbols as u32;
    let mut rows: Vec<(u32, u32)> = (0..2 * p).map(|row| (row % p, row / p)).collect();
    if tokens == Tokens::AbEquals {
        rows.push((p, 2));
    }
    rows
}

/// A recording in progress: the tape and the parameters so far.
pub(crate) struct Recorder<'a> {
    pub tape: Tape,
    params: Vec<Param>,
    edit: Option<Edit<'a>>,
}

impl<'a> Recorder<'a> {
    pub fn new(capacity: usize, training: bool, edit: Option<Edit<'a>>) -> Recorder<'a> {
        let tape = Tape::new(capacity, training);
        Recorder { tape, params: Vec::new(), edit }
    }

    /// Names an activation that a probe can read; returns what goes on from there.
    pub fn probe(&mut self, name: impl Into<String>, x: Var) -> Var {
        let name = name.into();
        let edit = self.edit.take_if(|edit| edit.site == name);
        self.tape.hook(name, x);
        edit.map_or(x, |edit| (edit.apply)(&mut self.tape, x))
    }

    /// A parameter whose file shape is the tape's (rows, cols), or a vector where rows = 1.
    pub fn param(&mut self, name: &str, rows: usize, cols: usize, draw: Draw) -> Var {
        let shape = if rows == 1 { vec![cols] } else { vec![rows, cols] };
        self.push(name, (rows, cols), shape, draw, false)
    }

    /// A parameter with another shape in files, in the same order of elements unless `head_first`.
    pub fn push(
        &mut self,
        name: &str,
        (rows, cols): (usize, usize),
        shape: Vec<usize>,
        draw: Draw,
        head_first: bool,
    ) -> Var {
        let var = self.tape.param(name, rows, cols);
        self.params.push(Param { var, name: name.to_string(), shape, draw, head_first });
        var
    }

    pub fn inputs(&mut self, tokens: Tokens, symbols: usize) -> PairInputs {
        PairInputs {
            tokens,
            symbols,
            every: self.tape.input(Rows::PerExample(tokens.n_ctx())),
            at: (0..tokens.n_ctx()).map(|_| self.tape.input(Rows::PerExample(1))).collect(),
            labels: self.tape.input(Rows::PerExample(1)),
        }
    }

    /// The tape and the parameters, of a recording without logits.
    ///
    /// # Panics
    /// If there was no such hook as the edit's site.
    pub fn into_parts(self) -> (Tape, Vec<Param>) {
        if let Some(edit) = self.edit {
            panic!("no hook {} to edit at", edit.site);
        }
        (self.tape, self.params)
    }

    /// The last line of every model.
    ///
    /// # Panics
    /// If there was no such hook as the edit's site.
    pub fn finish<I>(self, logits: Var, labels: Index, inputs: I) -> Recorded<I> {
        let (mut tape, params) = self.into_parts();
        tape.hook("logits", logits);
        let loss = tape.cross_entropy(logits, labels);
        Recorded { tape, logits, loss, params, inputs }
    }
}
