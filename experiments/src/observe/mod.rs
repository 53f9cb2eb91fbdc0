//! What a run shows while it trains.
pub mod milestones;
