//! The `plateau` command: see `plateau help`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::process::ExitCode;

fn main() -> ExitCode {
    experiments::cli::main()
}
