//! The program: parses the command line, hands over to the commands, returns their exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    narthex::cli::run(narthex::cli::Arguments::parse())
}
