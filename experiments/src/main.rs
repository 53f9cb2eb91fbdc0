//! The `plateau` command.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
fn main() {}
