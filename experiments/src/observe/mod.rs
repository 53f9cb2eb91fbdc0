//! What a run shows of itself: accuracy and loss on all pairs, spectra of activations, the norm of
//! the parameters, the milestones found in them, how many sequences are right, and what linear probes
//! read off activations.

pub mod accuracy;
pub mod evaluate;
pub mod fourier;
pub mod milestones;
pub mod norms;
pub mod probe;
pub mod probes;
pub mod spectra;
