//! The address of the egress proxy as a setting: whoever prints the configuration does not print its password.

use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::DeliverConfig;
use crate::deliver::{EgressProxy, ProxyError};
use crate::secrets::MASK;

/// `http://user:password@host:port`, or nothing.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct ProxyAddress(pub String);

impl ProxyAddress {
    /// Without the password. What cannot be read is not shown at all.
    fn shown(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        match Url::parse(&self.0) {
            Ok(mut url) if url.has_host() => {
                if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
                    return MASK.to_owned();
                }
                url.into()
            }
            _ => MASK.to_owned(),
        }
    }
}

impl std::fmt::Debug for ProxyAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shown().fmt(f)
    }
}

impl Serialize for ProxyAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl DeliverConfig {
    /// The egress proxy, if one is set.
    ///
    /// # Errors
    /// Its address or one of the exceptions cannot be used. Never holds the password.
    pub fn proxy(&self) -> Result<Option<EgressProxy>, ProxyError> {
        if self.egress_proxy.0.is_empty() {
            return Ok(None);
        }
        EgressProxy::new(&self.egress_proxy.0)?.except(&self.egress_proxy_except).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_password_is_not_printed_and_what_is_wrong_is_named() {
        let with = |address: &str, except: &[&str]| {
            let mut config = Config::default();
            config.deliver.egress_proxy = ProxyAddress(address.to_owned());
            config.deliver.egress_proxy_except = except.iter().map(|e| (*e).to_owned()).collect();
            config
        };
        let config = with("http://user:hush@proxy:3128", &[".corp.example"]);
        assert_eq!(config.problems(), []);
        let shown = format!("{config:?}{}", toml::to_string(&config).unwrap());
        assert!(shown.contains("http://user:***@proxy:3128/") && !shown.contains("hush"), "{shown}");
        for (address, except, key) in [
            ("user:hush@proxy", vec![], "deliver.egress_proxy"),
            ("https://user:hush@proxy", vec![], "deliver.egress_proxy"),
            ("http://user:hush@proxy", vec!["a b"], "deliver.egress_proxy_except"),
        ] {
            let config = with(address, &except);
            let problems = config.problems();
            assert_eq!(problems[0].key, key, "{problems:?}");
            let shown = format!("{problems:?}{config:?}");
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}
