//! Greedy decoding, position by position, with cached keys and values.
//!
//! ```text
//! once for a batch:   memory = encoder(source);   K, V = memory·W_K, memory·W_V for each block's cross-attention
//! at position i:      k, v of the token at i go to their place in the cache; it sees the places 0 .. i
//!                     token at i + 1 = the first largest logit
//! ```
//! An example that has written EOS drops out, so the later positions are computed for fewer. Every number has
//! the bits that a forward pass over the whole sequence gives it.
//!
//! A decoder alone reads the source in the same way, one token after the other, before it writes.

use crate::config::EncoderDecoderConfig;
use crate::encoder_decoder::{
    Reads, cross_attention, embed, encoder, ln_final, memory_keys, mlp, self_attention,
    token_table, unembed,
};
use crate::recorded::Recorder;
use crate::sequences::{Packed, SequenceShape, Span, count, load_source};
use autograd::{Index, Rows, Tape, Var};

/// A forward-only recording that writes targets.
#[derive(Debug)]
pub struct Decoder {
    tape: Tape,
    shape: SequenceShape,
    /// The ops of the encoder and of the keys and values of its output; those of one position follow.
    once: std::ops::Range<usize>,
    every: std::ops::Range<usize>,
    source: Option<(Span, Index)>, // and (first, count) of the source rows that each example sees
    token: Index,
    place: Index,
    seen: Index,
    /// Places of an example in the cache.
    places: usize,
    logits: Var,
}

impl Decoder {
    /// Records the model for at most `capacity` examples at once.
    pub fn new(c: &EncoderDecoderConfig, shape: SequenceShape, capacity: usize) -> Decoder {
        let mut r = Recorder::new(capacity, false, None);
        let alone = c.encoder_layers == 0;
        let (stack, ln, places) = if alone {
            ("", "ln2", shape.source + shape.target)
        } else {
            ("decoder.", "ln3", shape.target)
        };
        let block = |l| format!("{stack}blocks.{l}.");

        let mut source = None;
        let mut memory = Vec::new();
        if !alone {
            let span = Span::new(&mut r.tape, capacity * shape.source);
            let out = encoder(&mut r, c, shape, span); //                   (s, d)
            memory =
                (0..c.decoder_layers).map(|l| memory_keys(&mut r, c, &block(l), out)).collect();
            source = Some((span, r.tape.input(Rows::PerExample(2))));
        }
        let w_e = token_table(&mut r, c, stack, shape.d_vocab);
        let mut x = embed(&mut r, c, stack, w_e, shape.d_vocab, places); // (u, d), later (b, d)
        let once = 0..r.tape.ops().count();

        let [token, place, seen] = [1, 1, 2].map(|n| r.tape.input(Rows::PerExample(n)));
        let cache = Some((place, capacity * places));
        let reads = Reads { every: token, queries: None, seen, max_keys: places, cache };
        for l in 0..c.decoder_layers {
            x = self_attention(&mut r, c, &block(l), x, &reads, l == 0);
            if let Some((_, cross)) = source {
                x = cross_attention(&mut r, c, &block(l), x, memory[l], cross, shape.source);
            }
            x = mlp(&mut r, c, &block(l), ln, x);
        }
        x = ln_final(&mut r, c, stack, x);
        let logits = unembed(&mut r, c, w_e, x, shape.d_vocab); //          (b, d_vocab)
        let (tape, _) = r.into_parts();
        let every = once.end..tape.ops().count();
        Decoder { tape, shape, once, every, source, token, place, seen, places, logits }
    }

    /// Copies the parameters that a tape of this model has, or of a part of it: the encoder's, the decoder's.
    pub fn copy_params_from(&mut self, tape: &Tape) {
        self.tape.copy_common_params_from(tape);
    }

    /// What the model writes for each of these sources, in their order: up to and including EOS, or as many
    /// tokens as the longest target has.
    ///
    /// # Panics
    /// If a source is empty, too long, or has a token beyond the vocabulary.
    pub fn greedy(&mut self, rows: &[u32], source: &Packed, bos: u32, eos: u32) -> Packed {
        let chunks = rows.chunks(self.tape.capacity().max(1));
        let written =
            chunks.flat_map(|rows| self.chunk(rows, source, bos, eos)).collect::<Vec<_>>();
        written.into_iter().collect()
    }

    fn chunk(&mut self, rows: &[u32], source: &Packed, bos: u32, eos: u32) -> Vec<Vec<u32>> {
        let (shape, tape) = (self.shape, &mut self.tape);
        let tokens = count("source", rows, source, shape.source);
        // Of each example: what it reads and has written, and where its source rows begin.
        let mut read: Vec<Vec<u32>> = Vec::new();
        let mut starts = vec![0];
        for &row in rows {
            read.push(if self.source.is_some() {
                vec![bos]
            } else {
                [source.row(row), &[bos]].concat()
            });
            starts.push(starts[starts.len() - 1] + source.row(row).len() as u32);
        }
        let given: Vec<usize> = read.iter().map(Vec::len).collect();
        tape.set_examples(rows.len());
        if let Some((span, _)) = self.source {
            tape.set_rows(span.stream, tokens);
            load_source(tape, span, shape, rows, source);
        }
        tape.forward_ops(self.once.clone());

        let mut active: Vec<usize> = (0..rows.len()).collect();
        for i in 0..self.places {
            tape.set_examples(active.len());
            let at = |example: usize| (example * self.places) as u32;
            write(tape, self.token, active.iter().map(|&a| shape.row(i, read[a][i])));
            write(tape, self.place, active.iter().map(|&a| at(a) + i as u32));
            write(tape, self.seen, active.iter().flat_map(|&a| [at(a), i as u32 + 1]));
            if let Some((_, cross)) = self.source {
                let rows = active.iter().flat_map(|&a| [starts[a], starts[a + 1] - starts[a]]);
                write(tape, cross, rows);
            }
            tape.forward_ops(self.every.clone());
            let logits = tape.value(self.logits).chunks_exact(shape.d_vocab);
            for (&a, logits) in active.iter().zip(logits) {
                if read[a].len() == i + 1 {
                    read[a].push(first_largest(logits));
                }
            }
            active.retain(|&a| {
                let written = read[a].len() - given[a];
                written < shape.target && (written == 0 || read[a].last() != Some(&eos))
            });
            if active.is_empty() {
                break;
            }
        }
        read.into_iter().zip(given).map(|(read, given)| read[given..].to_vec()).collect()
    }
}

fn write(tape: &mut Tape, list: Index, entries: impl Iterator<Item = u32>) {
    tape.entries_mut(list).iter_mut().zip(entries).for_each(|(to, entry)| *to = entry);
}

/// Where the first largest element stands.
fn first_largest(x: &[f32]) -> u32 {
    let larger = |best: usize, i: usize| if x[i] > x[best] { i } else { best };
    (1..x.len()).fold(0, larger) as u32
}
