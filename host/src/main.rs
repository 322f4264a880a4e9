//! The `hookyard` binary: arguments → subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    hookyard::cli::main()
}
