//! `hookyard key`: keys straight in the data: an API key for the first admin or a lost one, and a new master key.
//!
//! With SQLite the host must be stopped, since it locks its data folder; a running host makes API keys over its API.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};

use super::ConfigArgs;
use crate::carrier::Role;
use crate::clock::Clock;
use crate::config::Config;
use crate::event::CarrierId;
use crate::rotate::{self, Stage};
use crate::secrets::KeyFile;

/// Make an API key, or rotate the master key.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an API key and print it: it is shown this once.
    New(New),
    /// Seal every secret with a new master key. Goes on where an earlier run was broken off.
    Rotate(Rotate),
}

#[derive(Debug, clap::Args)]
struct New {
    /// What the key may do.
    #[arg(long, value_enum)]
    role: RoleArg,
    /// The carrier that a carrier's key is bound to.
    #[arg(long)]
    carrier: Option<CarrierId>,
    /// A name for people.
    #[arg(long, default_value = "made by `hookyard key new`")]
    name: String,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
struct Rotate {
    /// One step at a time, for nodes that run on one PostgreSQL database: copy `master.key` to each of them after each
    /// step. Without it: all steps at once, while no node runs.
    #[arg(long, value_enum)]
    stage: Option<StageArg>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    Admin,
    Publisher,
    Carrier,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StageArg {
    /// Make the new key: it opens, and does not seal yet.
    Prepare,
    /// Seal with the new key, everything that is there included.
    Seal,
    /// Drop the old key.
    Finish,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::New(new) => make(new).await,
        Command::Rotate(args) => rotate(args).await,
    }
}

async fn make(args: New) -> anyhow::Result<ExitCode> {
    let role = match (args.role, &args.carrier) {
        (RoleArg::Carrier, None) => bail!("a carrier's key needs --carrier"),
        (RoleArg::Admin | RoleArg::Publisher, Some(_)) => bail!("--carrier is for --role carrier only"),
        (RoleArg::Admin, None) => Role::Admin,
        (RoleArg::Publisher, None) => Role::Publisher,
        (RoleArg::Carrier, Some(_)) => Role::Carrier,
    };
    let config = args.config.read()?;
    let now = Clock::system().now();
    let store = crate::host::open_store(&config, config.store.migrate, now).await?;
    if let Some(carrier) = &args.carrier
        && !store.carriers().await?.iter().any(|c| c.id == *carrier)
    {
        bail!("there is no carrier `{carrier}`");
    }
    let (key, text) =
        crate::api::auth::mint(role, args.carrier, args.name, crate::clock::random_bytes(), now);
    store.create_key(key).await?;
    store.close().await?;
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

async fn rotate(args: Rotate) -> anyhow::Result<ExitCode> {
    let config = args.config.read()?;
    let clock = Clock::system();
    let stage = match args.stage {
        None => Stage::All,
        Some(StageArg::Prepare) => Stage::Prepare,
        Some(StageArg::Seal) => Stage::Seal,
        Some(StageArg::Finish) => Stage::Finish,
    };
    let file = KeyFile::in_folder(&config.store.data);
    let store = crate::host::open_store(&config, config.store.migrate, clock.now()).await?;
    let told = |n| println!("{n} secrets are sealed anew");
    let done = rotate::rotate(&store, &file, stage, &clock, config.lease(), told).await;
    // Also after a refusal: the row among the nodes and the folder's lock are to be given back.
    store.close().await?;
    let done = done?;
    println!("{}", summary(stage, &done, &file, &config));
    Ok(ExitCode::SUCCESS)
}

fn summary(stage: Stage, done: &rotate::Rotated, file: &KeyFile, config: &Config) -> String {
    let (key, path) = (&done.key, file.path().display());
    let copy = |then: &str| format!("Copy {path} over the `master.key` of every node, then {then}.");
    match stage {
        Stage::Prepare => {
            format!(
                "The new master key {key} is in {path} and does not seal yet.\n{}",
                copy("run `--stage seal`")
            )
        }
        Stage::Seal => {
            let resealed = done.resealed;
            let copy = copy("run `--stage finish`");
            format!("The master key {key} seals from now on, and sealed {resealed} secrets anew.\n{copy}")
        }
        Stage::All | Stage::Finish => {
            let mut text = format!(
                "Every secret is sealed with the master key {key}, which {path} holds alone ({} were sealed anew).\n\
                 Keep the old key with the backups of the database from before: they open with no other.",
                done.resealed
            );
            if config.store.database != "sqlite" {
                text.push('\n');
                text.push_str(&copy("delete the old copies"));
            }
            text
        }
    }
}
