//! `hookyard plugin test`: a component over its examples, in the host's own engine under its limits.
//!
//! It must not know how an example is run and judged.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;

use super::source::{self, Component, LimitArgs, Source};
use super::trial::{File, Grant, Trial};
use crate::carrier::{DestinationKind, Limits, LimitsSpec};
use crate::clock::Clock;
use crate::config::Config;
use crate::plugin::{BreakerConfig, Checked, Runtime, RuntimeConfig};
use crate::stock;

/// Arguments of `hookyard plugin test`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// Test a plugin that comes with the host.
    #[arg(long, value_name = "NAME")]
    stock: Option<String>,
    /// Folder of the example files; `examples` in the plugin's folder or beside the component when it is not given.
    #[arg(long, value_name = "DIR")]
    examples: Option<PathBuf>,
    /// A destination that the plugin may name, besides those that the examples expect; KIND is `http`, `email` or
    /// `sftp`.
    #[arg(long = "destination", value_name = "NAME=KIND", value_parser = destination)]
    destinations: Vec<Grant>,
    #[command(flatten)]
    limits: LimitArgs,
}

fn destination(text: &str) -> Result<Grant, String> {
    let (name, kind) = text.split_once('=').unwrap_or((text, "http"));
    let kind = match kind {
        "http" => DestinationKind::Http,
        "email" => DestinationKind::Email,
        "sftp" => DestinationKind::Sftp,
        _ => return Err(format!("{kind:?} is no kind of destination: it is `http`, `email` or `sftp`")),
    };
    Ok((name.parse().map_err(|error: crate::name::NameError| error.to_string())?, kind))
}

/// Tests the plugin and prints what came out; fails when an example does.
///
/// # Errors
/// When there is no component or no example, or when a host would refuse the component.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (component, files) = material(&args)?;
    let spec: LimitsSpec = args.limits.into();
    let limits = limits(spec);

    let folder = tempfile::Builder::new().prefix("hookyard-test-").tempdir()?;
    let runtime = runtime(folder.path(), limits)?;
    let checked = runtime
        .check(component.bytes.clone(), limits)
        .await
        .map_err(|error| anyhow!("a host would refuse {}: {error}", component.name))?;
    head(&component, &checked, &above_ceiling(&limits));

    let trial = Trial { runtime: runtime.clone(), program: checked.program, granted: args.destinations };
    let passed = trial.run(&files).await?;
    // It waits for its threads, so not on one of the asynchronous runtime's.
    tokio::task::spawn_blocking(move || runtime.stop()).await?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The component and its examples.
fn material(args: &Args) -> anyhow::Result<(Component, Vec<File>)> {
    let Some(name) = &args.stock else {
        args.source.check()?;
        // Before the build, which takes longer.
        let files = read(&args.examples.clone().unwrap_or_else(|| args.source.examples()))?;
        return Ok((args.source.component()?, files));
    };
    let stock = stock::find(name).with_context(|| {
        let names: Vec<&str> = stock::all().iter().map(|stock| stock.name).collect();
        format!("there is no stock plugin {name:?}: there are {}", names.join(", "))
    })?;
    let files = match &args.examples {
        Some(folder) => read(folder)?,
        None => stock.examples.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect(),
    };
    let component =
        Component { name: format!("stock plugin {name}"), bytes: Bytes::from_static(stock.bytes) };
    Ok((component, files))
}

/// The example files of a folder, by name.
fn read(folder: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    if folder.is_dir() {
        let entries = std::fs::read_dir(folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "json") {
                let text = std::fs::read_to_string(&path);
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                files.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text));
            }
        }
    }
    ensure!(
        !files.is_empty(),
        "there are no examples in {}: an example is a file `*.json` with an event and what the plugin must answer; \
         --examples says where they are",
        folder.display()
    );
    files.sort();
    Ok(files)
}

/// What was asked for, since an operator may allow more than the usual ceiling; the host's defaults for the rest.
fn limits(spec: LimitsSpec) -> Limits {
    let no_ceiling = Limits {
        wall: Duration::MAX,
        memory_bytes: u64::MAX,
        output_bytes: u64::MAX,
        deliveries: u32::MAX,
        ..Limits::default()
    };
    Limits::default().with(spec, &no_ceiling)
}

/// What is above the ceiling of a host whose operator has set none.
fn above_ceiling(limits: &Limits) -> Vec<String> {
    let most = Config::default().plugins.ceiling();
    let ms = |wall: Duration| u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    let asked = [
        ("wall_ms", ms(limits.wall), ms(most.wall)),
        ("memory_bytes", limits.memory_bytes, most.memory_bytes),
        ("output_bytes", limits.output_bytes, most.output_bytes),
        ("deliveries", limits.deliveries.into(), most.deliveries.into()),
    ];
    let above = asked.into_iter().filter(|(_, asked, allowed)| asked > allowed);
    above
        .map(|(limit, asked, allowed)| {
            format!(
                "{limit} is {asked} here, and a host gives {allowed} at most unless its operator allows more"
            )
        })
        .collect()
}

/// The host's own engine, with one thread and its artifacts in `folder`.
fn runtime(folder: &Path, limits: Limits) -> anyhow::Result<Runtime> {
    let mut config = RuntimeConfig::new(1, folder.join("plugins"), std::env::current_exe()?);
    config.ceiling = limits;
    // Each example is judged for itself, however many fail before it.
    config.breaker =
        BreakerConfig { faults: u32::MAX, window: Duration::from_secs(1), rest: Duration::from_secs(1) };
    Ok(Runtime::start(config, Clock::system())?)
}

fn head(component: &Component, checked: &Checked, more: &[String]) {
    println!("{}: {} bytes, sha256 {}", component.name, checked.size, checked.sha256);
    for line in source::imports(&checked.imports) {
        println!("  {line}");
    }
    for warning in checked.warnings.iter().chain(more) {
        println!("  warning: {warning}");
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_name_and_a_kind() {
        let grant = destination("claims=sftp").unwrap();
        assert_eq!((grant.0.as_str(), grant.1), ("claims", DestinationKind::Sftp));
        assert_eq!(destination("claims").unwrap().1, DestinationKind::Http);
        assert!(destination("claims=fax").unwrap_err().contains("`http`, `email` or `sftp`"));
        assert!(destination("Claims=http").is_err());
    }

    #[test]
    fn what_was_asked_for_is_used_and_what_a_host_would_not_give_is_said() {
        let given = limits(LimitsSpec { wall_ms: Some(5_000), ..LimitsSpec::default() });
        assert_eq!(given.wall, Duration::from_secs(5));
        assert_eq!(given.memory_bytes, Limits::default().memory_bytes);
        let above = above_ceiling(&given);
        assert!(
            above.len() == 1 && above[0].starts_with("wall_ms is 5000 here, and a host gives 1000"),
            "{above:?}"
        );
        assert!(above_ceiling(&limits(LimitsSpec::default())).is_empty());
    }
}
