//! Which addresses a carrier may name: absolute `https`, public, without credentials in them.
//!
//! The same rules for a destination and for the token server that it needs. It must not know what is sent there.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use super::address::{AddressPolicy, BlockedAddress};

/// The longest address, in characters.
pub(super) const MAX_URL: usize = 2_048;

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read.
    #[error("{cause}")]
    Form {
        /// What is wrong with it.
        cause: url::ParseError,
    },
    /// It is too long.
    #[error("{length} characters, the limit is {MAX_URL}")]
    Length {
        /// Its length.
        length: usize,
    },
    /// The scheme is not allowed.
    #[error("the scheme `{scheme}` is refused; it takes `https`{}", if *.http_allowed { " or `http`" } else { " (the operator can allow `http` with `allow_http`)" })]
    Scheme {
        /// The scheme that was given.
        scheme: String,
        /// Whether the operator allows plain HTTP.
        http_allowed: bool,
    },
    /// It carries something that does not belong there.
    #[error("it has {what}, which is refused{hint}")]
    Part {
        /// The part.
        what: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// The address guard refuses it.
    #[error(transparent)]
    Address(#[from] BlockedAddress),
}

/// The address where the host of a URL is one and no name.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host() {
        Some(Host::Ipv4(ip)) => Some(ip.into()),
        Some(Host::Ipv6(ip)) => Some(ip.into()),
        Some(Host::Domain(_)) | None => None,
    }
}

/// Reads an address and checks everything that can be checked without asking for its name.
pub(super) fn check(text: &str, policy: &AddressPolicy) -> Result<Url, UrlError> {
    if text.len() > MAX_URL {
        return Err(UrlError::Length { length: text.len() });
    }
    let url = Url::parse(text).map_err(|cause| UrlError::Form { cause })?;
    if url.scheme() != "https" && !(url.scheme() == "http" && policy.allow_http) {
        let scheme = url.scheme().chars().take(80).collect();
        return Err(UrlError::Scheme { scheme, http_allowed: policy.allow_http });
    }
    let refuse = |what, hint| Err(UrlError::Part { what, hint });
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("a user name or password", "; put credentials into `auth`");
    }
    if url.fragment().is_some() {
        return refuse("a fragment", "");
    }
    if url.port() == Some(0) {
        return refuse("port 0", "");
    }
    match url.host() {
        // The url crate has brought every form of a number (hexadecimal, octal, one integer) into an address.
        Some(Host::Ipv4(ip)) => policy.check(ip.into())?,
        Some(Host::Ipv6(ip)) => policy.check(ip.into())?,
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            // Known without asking: such names are always this machine (RFC 6761).
            if name == "localhost" || name.ends_with(".localhost") {
                policy.check(Ipv4Addr::LOCALHOST.into())?;
            }
        }
        None => return refuse("no host", ""),
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(url: &str) -> Result<Url, UrlError> {
        check(url, &AddressPolicy::default())
    }

    #[test]
    fn every_spelling_of_a_private_address_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:a9fe:a9fe]",
            "169.254.169.254",
            "0",
            "10.1",
            "192.168.257",
            "[fe80::1]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "[64:ff9b::7f00:1]",
        ] {
            let result = strict(&format!("https://{host}/hook"));
            assert!(matches!(result, Err(UrlError::Address(_))), "{host}: {result:?}");
        }
        for host in ["192.168.1.evil.example", "example.com", "8.8.8.8", "[2606:4700::1111]"] {
            assert!(strict(&format!("https://{host}/hook")).is_ok(), "{host}");
        }
        let allowed =
            AddressPolicy { allow_http: true, allowed_networks: vec!["127.0.0.0/8".parse().unwrap()] };
        assert!(check("http://127.1:8080/hook", &allowed).is_ok());
    }

    #[test]
    fn an_address_is_an_absolute_https_url() {
        let cases = [
            ("http://example.com", "the scheme `http` is refused; it takes `https` (the operator can allow"),
            ("ftp://example.com", "the scheme `ftp` is refused"),
            ("file:///etc/passwd", "the scheme `file` is refused"),
            ("/hook", "relative URL without a base"),
            ("https://u:p@example.com", "it has a user name or password"),
            ("https://u@example.com", "it has a user name or password"),
            ("https://example.com/#x", "it has a fragment"),
            ("https://example.com:0/", "it has port 0"),
            ("https://", "empty host"),
            ("https://exa mple.com", "invalid international domain name"),
        ];
        for (url, expected) in cases {
            let error = strict(url).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{url}: {error}");
        }
        let long = format!("https://example.com/{}", "x".repeat(MAX_URL));
        assert!(matches!(strict(&long), Err(UrlError::Length { .. })));
    }
}
