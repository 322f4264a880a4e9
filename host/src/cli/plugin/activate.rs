//! `hookyard plugin activate`, `rollback` and `list`: which version of a plugin runs.
//!
//! It must not know where versions come from.

use serde_json::{Value, json};

use super::place::Place;
use crate::cli::client::Client;
use crate::event::PluginName;

/// Plugins that one request asks for.
const PAGE: usize = 500;

/// Arguments of `hookyard plugin activate`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ActivateArgs {
    /// The plugin.
    name: PluginName,
    /// The version's number, as `push` printed it.
    version: i64,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `hookyard plugin rollback`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RollbackArgs {
    /// The plugin.
    name: PluginName,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `hookyard plugin list`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    place: Place,
}

/// Makes a version the one that runs.
///
/// # Errors
/// When the host cannot be reached or refuses.
pub(super) async fn activate(args: ActivateArgs) -> anyhow::Result<()> {
    let client = args.place.client()?;
    switch(&client, &args.place, &args.name, args.version).await
}

/// As [`activate`], with a client that is there.
///
/// # Errors
/// As [`activate`].
pub(super) async fn switch(
    client: &Client,
    place: &Place,
    name: &PluginName,
    version: i64,
) -> anyhow::Result<()> {
    let path = format!("{}/activate", place.one(name));
    let answer = client.post(&path, &json!({ "version": version })).await;
    say(&answer.map_err(|error| place.explain(error))?);
    Ok(())
}

/// Goes back to the version that ran before.
///
/// # Errors
/// As [`activate`].
pub(super) async fn roll_back(args: RollbackArgs) -> anyhow::Result<()> {
    let path = format!("{}/rollback", args.place.one(&args.name));
    let answer = args.place.client()?.post(&path, &json!({})).await;
    say(&answer.map_err(|error| args.place.explain(error))?);
    Ok(())
}

/// Prints the plugins, by name.
///
/// # Errors
/// As [`activate`].
pub(super) async fn list(args: ListArgs) -> anyhow::Result<()> {
    let client = args.place.client()?;
    let (mut after, mut plugins) = (String::new(), Vec::new());
    loop {
        let path = format!("{}?limit={PAGE}{after}", args.place.all());
        let mut page = client.get(&path).await.map_err(|error| args.place.explain(error))?;
        if let Value::Array(items) = page["items"].take() {
            plugins.extend(items);
        }
        // What names the next page is a plugin's name: nothing in it needs to be escaped.
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    if plugins.is_empty() {
        println!("there are no plugins yet: `hookyard plugin push NAME` uploads one");
        return Ok(());
    }
    println!("{:<32} {:>7} {:>7} {:>7}", "plugin", "active", "before", "latest");
    for plugin in &plugins {
        let name = plugin["name"].as_str().unwrap_or("?");
        let (active, before, latest) =
            (number(&plugin["active"]), number(&plugin["previous"]), number(&plugin["latest"]));
        println!("{name:<32} {active:>7} {before:>7} {latest:>7}");
    }
    Ok(())
}

fn say(plugin: &Value) {
    let name = plugin["name"].as_str().unwrap_or("it");
    let before = match &plugin["previous"] {
        Value::Null => String::new(),
        version => format!(" (before: {version})"),
    };
    println!("`{name}` runs version {}{before}", number(&plugin["active"]));
    for warning in plugin["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        println!("  warning: {warning}");
    }
}

fn number(version: &Value) -> String {
    version.as_i64().map_or_else(|| "-".to_owned(), |n| n.to_string())
}
