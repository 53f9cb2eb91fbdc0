//! What a run shows of itself: accuracy and loss on all pairs, spectra of activations, the norm of
//! the parameters, the milestones found in them, how many sequences are right, what linear probes
//! read off activations, and what a model does without what they read.

pub mod accuracy;
pub mod erasure;
pub mod evaluate;
pub mod fourier;
pub mod milestones;
pub mod norms;
pub mod probe;
pub mod probes;
pub mod spectra;
