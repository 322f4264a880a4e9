//! `hookyard plugin`: the tools of a plugin's author, one file each.

mod activate;
mod answer;
pub mod build;
mod diff;
pub mod new;
mod place;
mod push;
mod source;
mod test;
mod trial;
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
    /// Run a plugin's component over its examples, in the host's own engine under its limits.
    Test(test::Args),
    /// Upload a plugin to a host as a new version.
    Push(push::Args),
    /// Make a version of a plugin the one that runs.
    Activate(activate::ActivateArgs),
    /// Go back to the version of a plugin that ran before.
    Rollback(activate::RollbackArgs),
    /// List the plugins on a host and their versions.
    List(activate::ListArgs),
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::New(args) => new::run(&args)?,
        Command::Build(args) => build::run(&args)?,
        Command::Test(args) => return test::run(args).await,
        Command::Push(args) => push::run(args).await?,
        Command::Activate(args) => activate::activate(args).await?,
        Command::Rollback(args) => activate::roll_back(args).await?,
        Command::List(args) => activate::list(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}
