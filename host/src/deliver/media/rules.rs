//! What a carrier's rules and the operator's ceiling come to. Pure.

use url::Url;

use crate::carrier::{MediaCeiling, MediaRules};

/// A carrier's rules within the ceiling, ready to be asked.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    hosts: Vec<String>,
    pub(super) max_bytes: u64,
    pub(super) types: Vec<String>,
}

impl Rules {
    pub(super) fn compile(rules: &MediaRules, ceiling: &MediaCeiling) -> Self {
        // The ceiling may have come down since they were written.
        let allowed = |one: &&String| ceiling.types.contains(*one);
        let types = match &rules.types {
            Some(types) => types.iter().filter(allowed).cloned().collect(),
            None => ceiling.types.clone(),
        };
        let max_bytes = rules.max_bytes.unwrap_or(u64::MAX).min(ceiling.max_bytes);
        Self { hosts: rules.allowed_hosts.clone(), max_bytes, types }
    }

    /// Whether the host of an address is on the list.
    ///
    /// # Errors
    /// It is not; says how to allow it.
    pub(super) fn permit(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let fits = |pattern: &String| match pattern.strip_prefix("*.") {
            // A dot in front, so that `*.example.com` is not `evil-example.com`.
            Some(below) => {
                host.strip_suffix(below).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
            None => *pattern == host,
        };
        if self.hosts.iter().any(fits) {
            return Ok(());
        }
        let listed = match self.hosts.as_slice() {
            [] => "is empty".to_owned(),
            hosts => format!("has {}", hosts.join(", ")),
        };
        Err(format!(
            "the media host `{host}` is not on the carrier's list `allowed_hosts`, which {listed}; \
             `PUT /v1/carriers/{{carrier}}/media` allows it"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str]) -> Rules {
        let allowed_hosts = hosts.iter().map(|one| (*one).to_owned()).collect();
        let ceiling = MediaCeiling { max_bytes: 10, types: vec!["image/png".to_owned()] };
        let rules = MediaRules {
            allowed_hosts,
            max_bytes: Some(99),
            types: Some(vec!["image/png".to_owned(), "text/html".to_owned()]),
        };
        Rules::compile(&rules, &ceiling)
    }

    #[test]
    fn only_listed_hosts_are_permitted() {
        let rules = rules(&["media.example.com", "*.cdn.example.com", "10.0.0.1", "[::1]"]);
        let permit = |url: &str| rules.permit(&url.parse().unwrap()).is_ok();
        for url in [
            "https://media.example.com/a",
            "https://MEDIA.example.com./a",
            "https://media.example.com:8443/a",
            "https://x.cdn.example.com/",
            "https://x.y.cdn.example.com/",
            "https://10.0.0.1/",
            "https://[::1]/",
        ] {
            assert!(permit(url), "{url}");
        }
        for url in [
            "https://example.com/",
            "https://a.media.example.com/",
            "https://cdn.example.com/",
            "https://.cdn.example.com/",
            "https://evilcdn.example.com/",
            "https://x.cdn.example.com.evil.example/",
            "https://10.0.0.10/",
        ] {
            assert!(!permit(url), "{url}");
        }
    }

    #[test]
    fn the_ceiling_holds_and_an_empty_list_permits_nothing() {
        let rules = rules(&[]);
        assert_eq!((rules.max_bytes, rules.types.as_slice()), (10, &["image/png".to_owned()][..]));
        let error = rules.permit(&"https://a.example/x".parse().unwrap()).unwrap_err();
        assert!(error.contains("is empty") && error.contains("PUT /v1/carriers/{carrier}/media"), "{error}");
    }
}
