//! `hookyard plugin push`: uploads a component as a new version, and activates it on request.
//!
//! It must not check the component itself: the host does, and says what is wrong.

use anyhow::Context as _;
use reqwest::Method;
use serde_json::Value;

use super::activate;
use super::place::Place;
use super::source::{self, LimitArgs, Source};
use crate::carrier::LimitsSpec;
use crate::event::PluginName;

/// Arguments of `hookyard plugin push`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// The plugin's name on the host. The first push of a name makes the plugin.
    name: PluginName,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    limits: LimitArgs,
    /// Make it the version that runs.
    #[arg(long)]
    activate: bool,
    #[command(flatten)]
    place: Place,
}

/// Builds when a folder is given, uploads, and prints what the host found.
///
/// # Errors
/// When the build fails, the host cannot be reached, or it refuses the component: the text says why.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { name, source, limits, activate, place } = args;
    // Before the build, which takes longer.
    let client = place.client()?;
    let component = source.component()?;
    let size = component.bytes.len();
    println!("pushing {} ({size} bytes) as `{name}`", component.name);

    let path = format!("{}/versions{}", place.one(&name), query(limits.into()));
    let answer = client.call(Method::POST, &path, "application/wasm", component.bytes).await;
    let answer = answer.map_err(|error| place.explain(error))?;
    let version = answer["version"].as_i64().context("the host's answer does not name the version")?;
    println!("version {version}, sha256 {}", answer["sha256"].as_str().unwrap_or("unknown"));
    let report = &answer["report"];
    if let Some(cost) = report["smoke_us"].as_u64() {
        println!("  a sample event took {cost} µs");
    }
    for line in source::imports(&texts(&report["imports"])) {
        println!("  {line}");
    }
    for warning in texts(&report["warnings"]) {
        println!("  warning: {warning}");
    }
    if activate {
        return activate::switch(&client, &place, &name, version).await;
    }
    println!(
        "it is not active: `hookyard plugin activate {name} {version}{}` makes it run",
        place.arguments()
    );
    Ok(())
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The limits as the upload takes them.
fn query(limits: LimitsSpec) -> String {
    let LimitsSpec { wall_ms, memory_bytes, output_bytes, deliveries } = limits;
    let given = [
        ("wall_ms", wall_ms),
        ("memory_bytes", memory_bytes),
        ("output_bytes", output_bytes),
        ("deliveries", deliveries.map(u64::from)),
    ];
    let pairs: Vec<String> =
        given.iter().filter_map(|(key, value)| Some(format!("{key}={}", (*value)?))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_limits_that_were_given_are_asked_for() {
        assert_eq!(query(LimitsSpec::default()), "");
        let limits = LimitsSpec { wall_ms: Some(20), deliveries: Some(3), ..LimitsSpec::default() };
        assert_eq!(query(limits), "?wall_ms=20&deliveries=3");
    }
}
