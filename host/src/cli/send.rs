//! `hookyard send`: posts an event to a running host.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

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

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = match (args.payload, args.file) {
        (Some(text), _) => text,
        (None, Some(file)) if file.as_os_str() == "-" => std::io::read_to_string(std::io::stdin())?,
        (None, Some(file)) => {
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?
        }
        (None, None) => "{}".to_owned(),
    };
    let payload: Value = serde_json::from_str(&text).context("the payload is not JSON")?;
    let id = args.id.unwrap_or_else(|| uuid::Uuid::from_bytes(crate::clock::random_bytes()).to_string());
    let event = json!({ "carrier": args.carrier, "id": id, "type": args.event_type, "payload": payload });
    let answer = Client::new(&args.target)?.post("/v1/events", &event).await?;
    println!("{}", serde_json::to_string_pretty(&answer)?);
    Ok(ExitCode::SUCCESS)
}
