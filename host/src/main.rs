//! The `hookyard` binary: arguments → subcommand.

use std::process::ExitCode;

/// Small allocations come and go between threads at every stage of an event's way.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hookyard::cli::main()
}
