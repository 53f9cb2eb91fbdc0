//! The models, each recorded on a tape: a transformer read at its last position, an MLP, and an
//! encoder-decoder transformer for sequences.
//!
//! A model file reads from top to bottom as the computation. It computes only what the loss reads:
//! whatever depends on one token and its position alone runs once on the table of unique rows
//! (197 of them for p = 97 and "ab=", however large the batch) and is gathered afterwards; after
//! the last attention only the last position goes on.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod config;
mod decode;
mod encoder_decoder;
mod mlp;
mod one_layer;
mod recorded;
mod sequences;

pub use decode::Decoder;
pub use encoder_decoder::{Encoder, decoder_of_memory, encoder_decoder};
pub use mlp::mlp;
pub use one_layer::one_layer;
pub use recorded::{Edit, PairInputs, Param, Positions, Purpose, Recorded};
pub use sequences::{Packed, SequenceInputs, SequencePairs, SequenceShape};
