//! `hookyard plugin`: the tools of a plugin's author, one file each.

pub mod build;
pub mod new;
mod vendor;

use std::process::ExitCode;

use clap::Subcommand;

/// Write, build, test, push and activate plugins.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a crate for a new plugin, which builds as it is.
    New(new::Args),
    /// Build a plugin's crate to a component that is small and fast.
    Build(build::Args),
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::New(args) => new::run(&args)?,
        Command::Build(args) => build::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
