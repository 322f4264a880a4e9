//! `hookyard migrate`: brings the database's schema up to date and stops.

use std::process::ExitCode;

use super::ConfigArgs;

pub(super) async fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = args.read()?;
    let store = crate::host::open_store(&config, true, crate::clock::Clock::system().now()).await?;
    println!("the schema of the {} database is up to date", store.kind());
    store.close().await?;
    Ok(ExitCode::SUCCESS)
}
