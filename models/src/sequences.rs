//! Sequences of different lengths: a task's table of them, and where those of a batch go.
//!
//! Nothing is padded. The source tokens of all examples of a batch stand one after the other, a row for
//! each, and so do the target tokens; an attention is told for each query which rows it sees. With
//! "teacher forcing" the decoder reads BOS and the target without its last token, and each position's label
//! is the target's token.

use crate::recorded::Recorded;
use autograd::{Index, Rows, Stream, Tape, Var};

/// Sequences one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    tokens: Vec<u32>,
    starts: Vec<u32>, // of each sequence, and the end of the last
}

impl Default for Packed {
    fn default() -> Packed {
        Packed { tokens: Vec::new(), starts: vec![0] }
    }
}

impl Packed {
    /// Adds the sequence that `write` appends to the tokens.
    ///
    /// # Panics
    /// If there are 2³² tokens then.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u32>)) {
        write(&mut self.tokens);
        self.starts.push(u32::try_from(self.tokens.len()).expect("fewer than 2³² tokens"));
    }

    /// The number of sequences.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A sequence.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn row(&self, row: u32) -> &[u32] {
        &self.tokens[self.span(row)]
    }

    /// Every sequence, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.starts.windows(2).map(|ends| &self.tokens[ends[0] as usize..ends[1] as usize])
    }

    /// Where the tokens of a sequence stand among those of all: the rows of a table with a row for each
    /// token, such as a frozen encoder's outputs.
    ///
    /// # Panics
    /// If there are not so many sequences.
    pub fn span(&self, row: u32) -> std::ops::Range<usize> {
        self.starts[row as usize] as usize..self.starts[row as usize + 1] as usize
    }

    /// The number of tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The length of the longest sequence; 0 if there is none.
    pub fn longest(&self) -> usize {
        self.iter().map(<[u32]>::len).max().unwrap_or(0)
    }
}

impl<S: AsRef<[u32]>> FromIterator<S> for Packed {
    fn from_iter<I: IntoIterator<Item = S>>(sequences: I) -> Packed {
        let mut packed = Packed::default();
        for sequence in sequences {
            packed.push(|to| to.extend_from_slice(sequence.as_ref()));
        }
        packed
    }
}

/// A task's examples: row i is the i-th source with the i-th target.
#[derive(Clone, Debug)]
pub struct SequencePairs {
    /// What is read, as it is to be read.
    pub source: Packed,
    /// What is to be written, EOS included: the labels.
    pub target: Packed,
    /// The token that the decoder reads first.
    pub bos: u32,
}

impl SequencePairs {
    /// What the decoder reads of a row: BOS and the target without its last token.
    fn shifted(&self, row: u32) -> impl Iterator<Item = u32> {
        let target = self.target.row(row);
        std::iter::once(self.bos).chain(target.iter().copied()).take(target.len())
    }
}

/// How large the sequences of a task are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceShape {
    /// Number of tokens, BOS and EOS included.
    pub d_vocab: usize,
    /// Length of the longest source.
    pub source: usize,
    /// Length of the longest target, EOS included.
    pub target: usize,
}

impl SequenceShape {
    /// The row of a token at a position in the table of unique rows: those of position i follow those of
    /// position i − 1.
    ///
    /// # Panics
    /// If the vocabulary has no such token.
    pub(crate) fn row(self, position: usize, token: u32) -> u32 {
        let d_vocab = self.d_vocab as u32;
        assert!(token < d_vocab, "token {token} at position {position}: a vocabulary of {d_vocab}");
        position as u32 * d_vocab + token
    }
}

/// A stream whose tokens attend to each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub stream: Stream,
    /// Each token's row in the table of unique (token, position) rows.
    pub every: Index,
    /// (first, count) of each query's keys.
    pub seen: Index,
}

impl Span {
    pub fn new(tape: &mut Tape, capacity: usize) -> Span {
        let stream = tape.stream(capacity);
        let [every, seen] = [1, 2].map(|n| tape.input(Rows::Packed(stream, n)));
        Span { stream, every, seen }
    }
}

/// Where the tokens of a batch of sequences go.
#[derive(Clone, Debug)]
pub struct SequenceInputs {
    pub(crate) shape: SequenceShape,
    /// A row for each label.
    pub(crate) target: Stream,
    pub(crate) labels: Index,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    EncoderDecoder {
        source: Stream,
        /// None where the encoder's output is given.
        encoder: Option<Span>,
        memory: Var,
        decoder: Span,
        cross: Index,
    },
    DecoderOnly {
        /// Source, BOS and target.
        joint: Span,
        /// Where the rows stand that the loss reads, and what they see.
        read: Index,
        read_seen: Index,
        /// `read` counts rows of the table of unique rows.
        on_table: bool,
    },
}

/// Writes the row of each token in the table of unique rows.
pub(crate) fn write_every(
    list: &mut [u32],
    shape: SequenceShape,
    sequences: impl Iterator<Item = impl Iterator<Item = u32>>,
) {
    let rows =
        sequences.flat_map(|sequence| sequence.enumerate().map(|(i, token)| shape.row(i, token)));
    list.iter_mut().zip(rows).for_each(|(to, row)| *to = row);
}

/// Writes (first, count) of each query: the sequences are (queries, keys), whose keys stand one after the
/// other. Where `causal`, the queries are the last of as many keys and see none after themselves.
pub(crate) fn write_seen(
    list: &mut [u32],
    causal: bool,
    lengths: impl Iterator<Item = (usize, usize)>,
) {
    let (mut first, mut pairs) = (0, list.as_chunks_mut::<2>().0.iter_mut());
    for (tq, tk) in lengths {
        for j in 0..tq {
            let count = if causal { j + 1 + tk - tq } else { tk };
            *pairs.next().expect("a pair for each query") = [first, count as u32];
        }
        first += tk as u32;
    }
}

/// Writes what an encoder reads.
pub(crate) fn load_source(
    tape: &mut Tape,
    span: Span,
    shape: SequenceShape,
    rows: &[u32],
    source: &Packed,
) {
    let sequences = rows.iter().map(|&row| source.row(row).iter().copied());
    write_every(tape.entries_mut(span.every), shape, sequences);
    let lengths = rows.iter().map(|&row| source.row(row).len());
    write_seen(tape.entries_mut(span.seen), false, lengths.map(|t| (t, t)));
}

/// The number of tokens of these rows.
///
/// # Panics
/// If one is empty or longer than `longest`.
pub(crate) fn count(what: &str, rows: &[u32], sequences: &Packed, longest: usize) -> usize {
    let length = |&row: &u32| {
        let t = sequences.row(row).len();
        assert!(
            (1..=longest).contains(&t),
            "the {what} of row {row} has {t} tokens; the model is recorded for 1 to {longest}"
        );
        t
    };
    rows.iter().map(length).sum()
}

impl Recorded<SequenceInputs> {
    /// Makes `rows` of the table the active examples. Where the encoder's output is given, it is the caller's
    /// to write: [`Recorded::load_memory`].
    ///
    /// # Panics
    /// If there are more rows than the tape's capacity, or a sequence is empty, too long, or has a token
    /// beyond the vocabulary.
    pub fn load(&mut self, rows: &[u32], pairs: &SequencePairs) {
        self.inputs.load(&mut self.tape, rows, pairs);
    }

    /// As [`SequenceInputs::load_memory`].
    ///
    /// # Panics
    /// As [`SequenceInputs::load_memory`].
    pub fn load_memory(&mut self, rows: &[u32], source: &Packed, memory: &[f32]) {
        self.inputs.load_memory(&mut self.tape, rows, source, memory);
    }

    /// The encoder's output: (source tokens, d_model). None where there is no encoder.
    pub fn memory(&self) -> Option<Var> {
        match self.inputs.kind {
            Kind::EncoderDecoder { memory, .. } => Some(memory),
            Kind::DecoderOnly { .. } => None,
        }
    }
}

impl SequenceInputs {
    /// Whether the encoder's output is given, and not computed on the tape.
    pub fn wants_memory(&self) -> bool {
        matches!(self.kind, Kind::EncoderDecoder { encoder: None, .. })
    }

    /// After [`SequenceInputs::load`], where the encoder's output is given: copies the outputs of `rows` from
    /// those of all sources. memory: (source tokens of the table, d_model).
    ///
    /// # Panics
    /// If it is not given, or `memory` does not have a row for each token.
    pub fn load_memory(&self, tape: &mut Tape, rows: &[u32], source: &Packed, memory: &[f32]) {
        let Kind::EncoderDecoder { encoder: None, memory: var, .. } = self.kind else {
            panic!("this recording computes what it reads of the source");
        };
        let d = tape.shape(var).1;
        assert_eq!(memory.len(), source.tokens() * d, "a row of {d} for each source token");
        let mut to = tape.value_mut(var);
        for &row in rows {
            let span = source.span(row);
            let (here, rest) = std::mem::take(&mut to).split_at_mut(span.len() * d);
            here.copy_from_slice(&memory[span.start * d..span.end * d]);
            to = rest;
        }
    }

    /// As [`Recorded::load`], on the tape that these are of.
    ///
    /// # Panics
    /// As [`Recorded::load`].
    pub fn load(&self, tape: &mut Tape, rows: &[u32], pairs: &SequencePairs) {
        let SequenceInputs { shape, target, labels, ref kind } = *self;
        let (s, t) = (
            count("source", rows, &pairs.source, shape.source),
            count("target", rows, &pairs.target, shape.target),
        );
        tape.set_examples(rows.len());
        tape.set_rows(target, t);
        let lengths =
            || rows.iter().map(|&row| (pairs.source.row(row).len(), pairs.target.row(row).len()));
        match *kind {
            Kind::EncoderDecoder { source, encoder, decoder, cross, .. } => {
                tape.set_rows(source, s);
                if let Some(span) = encoder {
                    load_source(tape, span, shape, rows, &pairs.source);
                }
                let sequences = rows.iter().map(|&row| pairs.shifted(row));
                write_every(tape.entries_mut(decoder.every), shape, sequences);
                write_seen(tape.entries_mut(decoder.seen), true, lengths().map(|(_, t)| (t, t)));
                write_seen(tape.entries_mut(cross), false, lengths().map(|(s, t)| (t, s)));
            }
            Kind::DecoderOnly { joint, read, read_seen, on_table } => {
                tape.set_rows(joint.stream, s + t);
                let sequences = rows
                    .iter()
                    .map(|&row| pairs.source.row(row).iter().copied().chain(pairs.shifted(row)));
                write_every(tape.entries_mut(joint.every), shape, sequences);
                let joints = lengths().map(|(s, t)| (s + t, s + t));
                write_seen(tape.entries_mut(joint.seen), true, joints);
                let reads = lengths().map(|(s, t)| (t, s + t));
                write_seen(tape.entries_mut(read_seen), true, reads);
                // The last `t` of each sequence.
                let (mut to, mut end) = (0, 0);
                for (s, t) in lengths() {
                    end += s + t;
                    for row in end - t..end {
                        let row =
                            if on_table { tape.entries(joint.every)[row] } else { row as u32 };
                        tape.entries_mut(read)[to] = row;
                        to += 1;
                    }
                }
            }
        }
        let tokens = rows.iter().flat_map(|&row| pairs.target.row(row));
        tape.entries_mut(labels).iter_mut().zip(tokens).for_each(|(to, &token)| *to = token);
    }
}

impl<I> Recorded<I> {
    /// After a forward: whether every label of each active example was the largest logit, in the order of
    /// loading. With teacher forcing, that is whether greedy decoding writes the target.
    pub fn exact<'a>(
        &'a self,
        rows: &'a [u32],
        pairs: &'a SequencePairs,
    ) -> impl Iterator<Item = bool> + 'a {
        let mut hits = self.tape.hits(self.loss);
        rows.iter().map(move |&row| {
            // No short circuit: every label is taken.
            hits.by_ref().take(pairs.target.row(row).len()).fold(true, |all, hit| all & hit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_packed() {
        let rows = [&[1, 2, 3][..], &[], &[4]];
        let packed: Packed = rows.into_iter().collect();
        assert_eq!((packed.len(), packed.longest()), (3, 3));
        assert!(packed.iter().eq(rows));
        assert!((0..3).all(|i| packed.row(i) == rows[i as usize]));
        assert_eq!((Packed::default().len(), Packed::default().longest()), (0, 0));
    }
}
