//! `hookyard key`: makes an API key straight in the database, for the first admin or a lost one.
//!
//! With SQLite the host must be stopped, since it locks its data folder; a running host makes keys over its API.

use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;

use super::ConfigArgs;
use crate::carrier::Role;
use crate::clock::Clock;
use crate::event::CarrierId;

/// Make an API key and print it: it is shown this once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What the key may do.
    #[arg(long, value_enum)]
    role: RoleArg,
    /// The carrier that a carrier's key is bound to.
    #[arg(long)]
    carrier: Option<CarrierId>,
    /// A name for people.
    #[arg(long, default_value = "made by `hookyard key`")]
    name: String,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    Admin,
    Publisher,
    Carrier,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
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
