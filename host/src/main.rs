//! Arguments to subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(command) if command == hookyard::plugin::COMPILE_COMMAND => {
            hookyard::plugin::compile_main(arguments)
        }
        _ => ExitCode::FAILURE,
    }
}
