//! What the host may fetch for a carrier's deliveries: from which hosts, how large, of which types.

use serde::{Deserialize, Serialize};
use url::Host;
use utoipa::ToSchema;

use crate::clock::Millis;

/// How many hosts a carrier may list.
pub const MAX_HOSTS: usize = 64;

/// What a carrier allows to be fetched. The operator's `[media]` settings are the ceiling of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MediaRules {
    /// Hosts, such as `media.example.com`, or `*.example.com` for every host below that one; at most 64. Without any, nothing is
    /// fetched.
    pub allowed_hosts: Vec<String>,
    /// Bytes of one file, from 1; absent: the operator's `media.max_bytes`, which is also the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Media types, such as `image/png`, of those that the operator allows; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
}

/// The rules of a carrier as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRules {
    /// What is allowed.
    pub rules: MediaRules,
    /// When they were written.
    pub updated: Millis,
}

/// What no carrier can go beyond: the operator's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MediaCeiling {
    /// `media.max_bytes`: bytes of one file.
    pub max_bytes: u64,
    /// `media.types`: media types.
    pub types: Vec<String>,
}

/// Why rules were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaRulesError {
    /// There are too many hosts.
    #[error("{count} hosts, the limit `allowed_hosts` is {MAX_HOSTS}")]
    Hosts {
        /// How many there are.
        count: usize,
    },
    /// This is no host.
    #[error(
        "{text:?} is not a host: it takes a name such as `media.example.com`, without scheme, port or path, or `*.example.com` \
         for every host below that one"
    )]
    Host {
        /// What was given, cut to 80 characters.
        text: String,
    },
    /// The size is out of its range.
    #[error("{given} is out of range, it takes 1 to {most}, the operator's `media.max_bytes`")]
    Bytes {
        /// What was given.
        given: u64,
        /// The most.
        most: u64,
    },
    /// The operator does not allow this type.
    #[error("{text:?} is not one of the operator's `media.types`: {allowed}")]
    Type {
        /// What was given, cut to 80 characters.
        text: String,
        /// What the operator allows.
        allowed: String,
    },
}

impl MediaRulesError {
    /// The member that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Hosts { .. } | Self::Host { .. } => "allowed_hosts",
            Self::Bytes { .. } => "max_bytes",
            Self::Type { .. } => "types",
        }
    }
}

impl MediaRules {
    /// The same with every host and type in the one form that is compared.
    ///
    /// # Errors
    /// The first thing that is wrong or beyond the ceiling.
    pub fn checked(self, ceiling: &MediaCeiling) -> Result<Self, MediaRulesError> {
        let Self { allowed_hosts, max_bytes, types } = self;
        if allowed_hosts.len() > MAX_HOSTS {
            return Err(MediaRulesError::Hosts { count: allowed_hosts.len() });
        }
        let mut hosts: Vec<String> = Vec::with_capacity(allowed_hosts.len());
        for text in allowed_hosts {
            let host =
                host(&text).ok_or_else(|| MediaRulesError::Host { text: text.chars().take(80).collect() })?;
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        if let Some(given) = max_bytes.filter(|n| !(1..=ceiling.max_bytes).contains(n)) {
            return Err(MediaRulesError::Bytes { given, most: ceiling.max_bytes });
        }
        let types = types.map(|types| {
            let lower = types.into_iter().map(|one| one.trim().to_ascii_lowercase());
            let known = |one: String| {
                if ceiling.types.contains(&one) {
                    return Ok(one);
                }
                let (text, allowed) = (one.chars().take(80).collect(), ceiling.types.join(", "));
                Err(MediaRulesError::Type { text, allowed })
            };
            lower.map(known).collect::<Result<Vec<_>, _>>()
        });
        Ok(Self { allowed_hosts: hosts, max_bytes, types: types.transpose()? })
    }
}

/// A host or a pattern in lower case, a name of other scripts in its ASCII form. `None` when it is neither.
fn host(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('.');
    if let Some(below) = text.strip_prefix("*.") {
        // A pattern over a whole top-level domain is everybody.
        let name = name(below).filter(|name| name.contains('.'))?;
        return Some(format!("*.{name}"));
    }
    if let Ok(ip) = text.parse::<std::net::Ipv6Addr>() {
        return Some(format!("[{ip}]"));
    }
    match Host::parse(text).ok()? {
        Host::Domain(_) => name(text),
        ip @ (Host::Ipv4(_) | Host::Ipv6(_)) => Some(ip.to_string()),
    }
}

fn name(text: &str) -> Option<String> {
    let Ok(Host::Domain(name)) = Host::parse(text) else { return None };
    let good = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    (name.len() <= 253 && name.split('.').all(good)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling() -> MediaCeiling {
        MediaCeiling { max_bytes: 1_000, types: vec!["image/png".to_owned(), "application/pdf".to_owned()] }
    }

    fn hosts(list: &[&str]) -> Result<Vec<String>, MediaRulesError> {
        let allowed_hosts = list.iter().map(|one| (*one).to_owned()).collect();
        let rules = MediaRules { allowed_hosts, ..MediaRules::default() };
        Ok(rules.checked(&ceiling())?.allowed_hosts)
    }

    #[test]
    fn hosts_have_one_form() {
        let given = [
            "Media.Example.COM.",
            "*.CDN.example.com",
            "10.0.0.1",
            "::1",
            "bücher.example",
            "media.example.com",
        ];
        let expected =
            ["media.example.com", "*.cdn.example.com", "10.0.0.1", "[::1]", "xn--bcher-kva.example"];
        assert_eq!(hosts(&given).unwrap(), expected);
        for bad in [
            "",
            "*",
            "*.",
            "*.com",
            "a.*.com",
            "https://a.example",
            "a.example/x",
            "a.example:443",
            "a b",
            "*.10.0.0.1",
            "a..b",
        ] {
            assert!(matches!(hosts(&[bad]), Err(MediaRulesError::Host { .. })), "{bad}");
        }
        assert!(matches!(hosts(&["a.example"; MAX_HOSTS + 1]), Err(MediaRulesError::Hosts { count: 65 })));
    }

    #[test]
    fn nothing_goes_beyond_the_ceiling() {
        let with = |max_bytes, types: Option<&str>| {
            let types = types.map(|one| vec![one.to_owned()]);
            MediaRules { allowed_hosts: vec![], max_bytes, types }.checked(&ceiling())
        };
        assert_eq!(with(Some(1_000), Some("Image/PNG ")).unwrap().types.unwrap(), ["image/png"]);
        for bytes in [0, 1_001] {
            assert_eq!(with(Some(bytes), None).unwrap_err().field(), "max_bytes");
        }
        let error = with(None, Some("text/html")).unwrap_err();
        assert_eq!(
            (error.field(), error.to_string().contains("image/png, application/pdf")),
            ("types", true)
        );
    }
}
