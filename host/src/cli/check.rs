//! `hookyard check`: every problem of a configuration and of the catalogue that it names, or the configuration as it will be used.

use std::process::ExitCode;

use super::ConfigArgs;
use crate::catalogue::{Catalogue, CatalogueError};
use crate::config::ConfigError;

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match args.read() {
        Ok(mut config) => {
            let wrong = catalogue_problems(config.catalogue.load());
            if !wrong.is_empty() {
                return Ok(told(&wrong));
            }
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
            Ok(told(&wrong))
        }
        Err(ConfigError::Problems(problems)) => Ok(told(&problems)),
        Err(error) => Err(error.into()),
    }
}

/// Prints the problems, and gives what the process ends with.
fn told(problems: &[impl std::fmt::Display]) -> ExitCode {
    if problems.is_empty() {
        eprintln!("ok: no problems");
        return ExitCode::SUCCESS;
    }
    for problem in problems {
        println!("{problem}");
    }
    eprintln!("{} problem(s)", problems.len());
    ExitCode::FAILURE
}

/// What is wrong with the catalogue's file, each with the file's name.
fn catalogue_problems(loaded: Result<Catalogue, CatalogueError>) -> Vec<String> {
    match loaded {
        Ok(_) => Vec::new(),
        Err(CatalogueError::Problems { file, problems }) => {
            problems.iter().map(|problem| format!("{}: {problem}", file.display())).collect()
        }
        Err(other) => vec![format!("catalogue.file: {other}")],
    }
}
