//! `hookyard openapi`

use std::process::ExitCode;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    println!("{}", crate::api::openapi().to_pretty_json()?);
    Ok(ExitCode::SUCCESS)
}
