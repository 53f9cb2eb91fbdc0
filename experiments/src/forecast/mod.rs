//! When will it grok? Forecasts from the curves of runs that have.
//!
//! The paper's law, arXiv:2604.13123:
//!   ΔT = C₁ (H̃ − H̃*)^γ + C₂,   ΔT = T_grok − t,   H̃* = mean H̃(T_grok)
//! H̃* of a run's own group contains the run; here whatever is said of a seed was learnt from *others*.
//!
//! ```text
//! curve       a run as a table of its evaluations
//! power_law   the fit
//! predictor   the law in H̃ and everyone it has to beat
//! contest     how far off each is, by steps left, leaving one seed out
//! alarm       how early the first stable warning is, at an equal rate of false alarms
//! reference   the forecast of a new run, with an interval
//! library     finds the references of a run among a study's results
//! command     `plateau forecast`, and the forecast in the progress line of a run
//! ```
//! Only `curve`, `library` and `command` read files.

pub mod alarm;
pub mod command;
pub mod contest;
pub mod curve;
pub mod library;
pub mod power_law;
pub mod predictor;
pub mod reference;
