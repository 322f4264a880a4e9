//! `hookyard send`: posts an event to a running host.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use reqwest::Method;
use serde::Serialize;
use serde_json::value::RawValue;

use super::client::{Client, Target};

/// Post an event to a running host.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// The carrier.
    #[arg(long)]
    carrier: String,
    /// The event type, such as `case.closed`.
    #[arg(long = "type")]
    event_type: String,
    /// The event's id. A fresh one when absent.
    #[arg(long)]
    id: Option<String>,
    /// The payload as JSON.
    #[arg(long, conflicts_with = "file")]
    payload: Option<String>,
    /// A file with the payload; `-` is standard input.
    #[arg(long)]
    file: Option<PathBuf>,
}

/// The event as ingest takes it.
#[derive(Serialize)]
struct Event<'a> {
    carrier: &'a str,
    id: &'a str,
    r#type: &'a str,
    payload: &'a RawValue,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = match (args.payload, args.file) {
        (Some(text), _) => text,
        (None, Some(file)) if file.as_os_str() == "-" => std::io::read_to_string(std::io::stdin())?,
        (None, Some(file)) => {
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?
        }
        (None, None) => "{}".to_owned(),
    };
    // Kept as it was written: a payload travels byte for byte.
    let payload: Box<RawValue> = serde_json::from_str(&text).context("the payload is not JSON")?;
    let id = args.id.unwrap_or_else(|| uuid::Uuid::from_bytes(crate::clock::random_bytes()).to_string());
    let event = Event { carrier: &args.carrier, id: &id, r#type: &args.event_type, payload: &payload };
    let body = serde_json::to_vec(&event)?.into();
    let answer =
        Client::new(&args.target)?.call(Method::POST, "/v1/events", "application/json", body).await?;
    println!("{}", serde_json::to_string_pretty(&answer)?);
    Ok(ExitCode::SUCCESS)
}
