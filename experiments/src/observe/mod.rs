//! What a run shows of itself: accuracy and loss on all pairs, spectra of activations, the norm of
//! the parameters, and the milestones found in them.

pub mod evaluate;
pub mod fourier;
pub mod milestones;
pub mod norms;
pub mod spectra;
