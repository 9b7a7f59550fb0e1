use std::process::ExitCode;

use batchshare::cli::{self, Cli};
use clap::Parser as _;

fn main() -> ExitCode {
    cli::main(Cli::parse())
}
