//! The program: parses the command line, hands over to the commands, returns their exit code.

use std::process::ExitCode;

use clap::Parser;

/// A request makes some hundred small allocations; measured in `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    narthex::cli::run(narthex::cli::Arguments::parse())
}
