//! `hookyard check`: every problem of a configuration, or the configuration as it will be used.

use std::process::ExitCode;

use super::ConfigArgs;
use crate::config::ConfigError;

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match args.read() {
        Ok(mut config) => {
            // The password of the database is not for a terminal.
            if let Some((scheme, rest)) = config.store.database.clone().split_once("://") {
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                config.store.database = format!("{scheme}://***@{host}");
            }
            print!("{}", toml::to_string_pretty(&config)?);
            if config.is_public() {
                eprintln!(
                    "note: `server.listen` offers the API to the network as plain HTTP; put TLS in front of it"
                );
            }
            eprintln!("ok: no problems");
            Ok(ExitCode::SUCCESS)
        }
        Err(ConfigError::Problems(problems)) => {
            for problem in &problems {
                println!("{problem}");
            }
            eprintln!("{} problem(s)", problems.len());
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}
