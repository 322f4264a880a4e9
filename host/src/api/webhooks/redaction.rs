//! What a registration leaves out of the payload that is posted: `redacted` and `includeMessageClassifications`, both by the
//! stock plugin `redact`. Pure.

use std::collections::BTreeMap;

use crate::carrier::PluginRef;

/// The stock plugin.
const PLUGIN: &str = "redact";

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
