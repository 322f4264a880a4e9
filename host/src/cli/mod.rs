//! The binary's subcommands, one file each. Each reads what it needs and calls the library; none decides anything that
//! the library should.

mod bench;
mod check;
mod client;
mod demo;
mod key;
mod listen;
mod mailbox;
mod migrate;
mod openapi;
pub mod plugin;
mod receiver;
mod send;
mod serve;
mod sftp_site;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, ConfigError};

/// Routes a platform's events through carrier-supplied WebAssembly plugins to their receivers.
#[derive(Debug, Parser)]
#[command(name = "hookyard", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host. Without any configuration it uses SQLite in `./data`.
    Serve(ConfigArgs),
    /// Show the whole way of an event on this machine, and check it against what the receiver got.
    Demo(demo::Args),
    /// Print every problem of the configuration, or the configuration as it will be used.
    Check(ConfigArgs),
    /// Bring the database's schema up to date.
    Migrate(ConfigArgs),
    /// Make an API key, or rotate the master key.
    Key(key::Args),
    /// Post an event to a running host.
    Send(send::Args),
    /// Receive webhooks, mails and files on this machine and print them.
    Listen(listen::Args),
    /// Write, build, test, push and activate plugins.
    Plugin(plugin::Args),
    /// Measure the whole way of an event on this machine.
    Bench(bench::Args),
    /// Print the OpenAPI document of the API.
    Openapi,
}

/// Where the configuration is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConfigArgs {
    /// A TOML file. `HOOKYARD_<SECTION>_<KEY>` variables win over it.
    #[arg(long, env = "HOOKYARD_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn read(&self) -> Result<Config, ConfigError> {
        read_config(self.config.as_deref())
    }
}

fn read_config(file: Option<&Path>) -> Result<Config, ConfigError> {
    // Variables that are not UTF-8 cannot be ours.
    let variables =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    config::read(file, variables)
}

/// Runs the subcommand that the arguments name. 0: done; 1: it failed, or found what it looks for; 2: bad arguments.
pub fn main() -> ExitCode {
    // The host's own child that compiles a plugin: nothing else must be alive in its process.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|command| command == crate::plugin::COMPILE_COMMAND) {
        return crate::plugin::compile_main(arguments);
    }
    let done = match Cli::parse().command {
        Command::Openapi => openapi::run(),
        Command::Check(args) => check::run(&args),
        command => on_runtime(command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn on_runtime(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(&args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Migrate(args) => migrate::run(&args).await,
            Command::Key(args) => key::run(args).await,
            Command::Send(args) => send::run(args).await,
            Command::Listen(args) => listen::run(args).await,
            Command::Plugin(args) => plugin::run(args).await,
            Command::Bench(args) => bench::run(args).await,
            Command::Openapi | Command::Check(_) => Ok(ExitCode::SUCCESS),
        }
    });
    // A blocked name look-up must not hold up the end of the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        super::Cli::command().debug_assert();
    }
}
