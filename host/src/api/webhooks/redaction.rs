//! What a registration leaves out of the payload: `redacted` and `includeMessageClassifications`, both by the stock plugin
//! `redact`, which is shared by all carriers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::problem::{Code, Problem};
use crate::api::state::PluginAdmin;
use crate::carrier::{LimitsSpec, Owner, PluginRef};
use crate::store::Store;
use crate::{event, stock};

/// The stock plugin.
const PLUGIN: &str = "redact";

/// The wall time that it asks for, in milliseconds. It takes a thousandth of that; a busy machine must not make it fail,
/// since what is not redacted is not sent.
const WALL_MS: u64 = 1_000;

/// Personal data, wherever it stands in the documented payloads: people's names, mail addresses and numbers, a customer's
/// business, and what people wrote.
const PERSONAL: [&str; 9] = [
    "**.first",
    "**.last",
    "**.email",
    "**.mobile",
    "**.businessName",
    "**.message.data",
    "**.messages.data",
    "**.event.body",
    "text",
];

/// What documents call the classifications of a message is not known: the two names that suggest themselves, anywhere.
const CLASSIFICATIONS: [&str; 2] = ["**.classifications", "**.messageClassifications"];

/// The plugins and settings of a registration: none where nothing is left out.
pub(super) fn chain(
    redacted: bool,
    classifications: bool,
) -> Result<(Vec<PluginRef>, BTreeMap<String, String>), crate::name::NameError> {
    let mut paths = Vec::new();
    if redacted {
        paths.extend(PERSONAL);
    }
    if !classifications {
        paths.extend(CLASSIFICATIONS);
    }
    if paths.is_empty() {
        return Ok(Default::default());
    }
    let settings = [("paths".to_owned(), paths.join(", ")), ("mode".to_owned(), "remove".to_owned())];
    Ok((vec![PluginRef { shared: true, name: PLUGIN.parse()? }], settings.into()))
}

/// Makes sure that the shared plugin is there and active: the operator's, or the one that comes with the host.
pub(super) async fn install(store: &Store, plugins: &Arc<dyn PluginAdmin>) -> Result<(), Problem> {
    let broken = |why: &dyn std::fmt::Display| {
        tracing::error!(%why, "the stock plugin `{PLUGIN}` is not as it should be");
        Problem::new(Code::Internal, "the plugin that redacts is not there; the operator's log says why")
    };
    let name: event::PluginName = PLUGIN.parse().map_err(|why| broken(&why))?;
    let there = store.plugins(&Owner::Shared).await?;
    if there.iter().any(|one| one.name == name && one.active.is_some()) {
        return Ok(());
    }
    let stock = stock::find(PLUGIN).ok_or_else(|| broken(&"it is not in this build"))?;
    let limits = LimitsSpec { wall_ms: Some(WALL_MS), ..LimitsSpec::default() };
    let bytes = Bytes::from_static(stock.bytes);
    // The same bytes again are the same version: two requests at once do no harm.
    let made = plugins.upload(Owner::Shared, name.clone(), bytes, limits).await?;
    plugins.activate(Owner::Shared, name, made.version.version).await?;
    tracing::info!(version = made.version.version, "the stock plugin `{PLUGIN}` is a shared plugin now");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_something_out_takes_a_plugin() {
        assert_eq!(chain(false, true).unwrap(), Default::default());
        let (plugins, settings) = chain(true, true).unwrap();
        assert_eq!(plugins[0].to_string(), "shared/redact");
        assert!(settings["paths"].contains("**.email") && !settings["paths"].contains("lassifications"));
        let (_, settings) = chain(false, false).unwrap();
        assert_eq!(settings["paths"], "**.classifications, **.messageClassifications");
        let (_, both) = chain(true, false).unwrap();
        assert!(both["paths"].contains("**.email") && both["paths"].contains("**.classifications"));
    }
}
