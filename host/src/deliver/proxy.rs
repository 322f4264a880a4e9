//! The operator's egress proxy, and which destinations are reached without it.
//!
//! It must not know what is sent through it.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

/// Why an egress proxy cannot be used. Never holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The address is not one of a proxy.
    #[error("it takes an address such as `http://user:password@proxy.example:3128`; {why}")]
    Address {
        /// What is wrong with it.
        why: &'static str,
    },
    /// An exception is neither a name nor a network.
    #[error(
        "{entry:?} is neither a host (`a.example`), a domain (`.example`), an address nor a network (`10.0.0.0/8`)"
    )]
    Except {
        /// The entry, cut to 80 characters.
        entry: String,
    },
}

/// An HTTP proxy that connects in the host's place.
#[derive(Clone)]
pub struct EgressProxy {
    /// Without the credentials.
    url: Url,
    credentials: Option<(String, String)>,
    except: Vec<Except>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Except {
    Host(String),
    /// With the leading dot.
    Domain(String),
    Network(IpNet),
}

impl std::fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EgressProxy").field("url", &self.url.as_str()).field("except", &self.except).finish()
    }
}

impl EgressProxy {
    /// The proxy at this address.
    ///
    /// # Errors
    /// The address is not one of an HTTP proxy.
    pub fn new(address: &str) -> Result<Self, ProxyError> {
        let wrong = |why| ProxyError::Address { why };
        let mut url = Url::parse(address).map_err(|_| wrong("this one cannot be read"))?;
        if url.scheme() != "http" {
            return Err(wrong("the scheme must be `http`"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("nothing may follow the port"));
        }
        let text = |encoded: &str| {
            percent_encoding::percent_decode_str(encoded).decode_utf8().map(|text| text.into_owned())
        };
        let unreadable = |_| wrong("its user or password is not UTF-8");
        let username = text(url.username()).map_err(unreadable)?;
        let password = text(url.password().unwrap_or_default()).map_err(unreadable)?;
        let credentials = (!username.is_empty() || url.password().is_some()).then_some((username, password));
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        cleared.map_err(|()| wrong("it has no host"))?;
        Ok(Self { url, credentials, except: Vec::new() })
    }

    /// The same, but not for these hosts, domains, addresses and networks.
    ///
    /// # Errors
    /// The first entry that is none of them.
    pub fn except(mut self, entries: &[String]) -> Result<Self, ProxyError> {
        self.except = entries.iter().map(|entry| exception(entry)).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The proxy's host as a resolver is asked for it.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// What the client takes.
    pub(super) fn for_client(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        let proxy = reqwest::Proxy::all(self.url.as_str())?;
        Ok(match &self.credentials {
            Some((username, password)) => proxy.basic_auth(username, password),
            None => proxy,
        })
    }

    /// Whether a destination is reached without it, by its name or by all of its addresses.
    pub(super) fn is_passed_by(&self, url: &Url, addresses: &[IpAddr]) -> bool {
        let name = match url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.'),
            _ => "",
        };
        let by_name = |except: &Except| match except {
            Except::Host(host) => name == host,
            Except::Domain(domain) => name.ends_with(domain.as_str()),
            Except::Network(_) => false,
        };
        let inside = |ip: &IpAddr| {
            self.except.iter().any(|except| matches!(except, Except::Network(net) if net.contains(ip)))
        };
        self.except.iter().any(by_name) || (!addresses.is_empty() && addresses.iter().all(inside))
    }
}

fn exception(entry: &str) -> Result<Except, ProxyError> {
    let entry = entry.trim();
    if let Ok(net) = entry.parse::<IpNet>() {
        return Ok(Except::Network(net));
    }
    if let Ok(ip) = entry.parse::<IpAddr>() {
        return Ok(Except::Network(ip.into()));
    }
    let wrong = || ProxyError::Except { entry: entry.chars().take(80).collect() };
    let (domain, name) = match entry.strip_prefix('.') {
        Some(name) => (true, name),
        None => (false, entry),
    };
    // As an address has it: in lower case, and in ASCII.
    match Host::parse(name).map_err(|_| wrong())? {
        Host::Domain(name) if domain => Ok(Except::Domain(format!(".{name}"))),
        Host::Domain(name) => Ok(Except::Host(name)),
        Host::Ipv4(_) | Host::Ipv6(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_its_password_is_never_shown() {
        let proxy = EgressProxy::new("http://us%40er:hu%3Ash@proxy.internal:3128").unwrap();
        assert_eq!(proxy.credentials, Some(("us@er".to_owned(), "hu:sh".to_owned())));
        assert_eq!((proxy.host(), proxy.url.as_str()), ("proxy.internal", "http://proxy.internal:3128/"));
        let shown = format!("{proxy:?}");
        assert!(!shown.contains("hu:sh") && !shown.contains("hu%3Ash"), "{shown}");
        assert_eq!(EgressProxy::new("http://10.0.0.1:3128/").unwrap().credentials, None);
        for wrong in [
            "proxy:3128",
            "https://p:hush@proxy",
            "socks5://p:hush@proxy",
            "http://p:hush@",
            "http://p:hush@x/y",
        ] {
            let error = EgressProxy::new(wrong).unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn exceptions_are_names_domains_and_networks() {
        let entries = ["a.example", ".Corp.example", "10.0.0.0/8", "192.0.2.7"].map(str::to_owned);
        let proxy = EgressProxy::new("http://proxy:3128").unwrap().except(&entries).unwrap();
        let passed = |url: &str, addresses: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            proxy.is_passed_by(&url.parse().unwrap(), &addresses)
        };
        assert!(passed("https://A.example/x", &[]));
        assert!(!passed("https://b.a.example/x", &["8.8.8.8"]));
        assert!(passed("https://x.y.corp.example.", &["8.8.8.8"]));
        assert!(!passed("https://corp.example", &["8.8.8.8"]));
        assert!(passed("https://other.example", &["10.1.2.3", "192.0.2.7"]));
        assert!(!passed("https://other.example", &["10.1.2.3", "8.8.8.8"]));
        let refused = EgressProxy::new("http://proxy:3128").unwrap().except(&["a b".to_owned()]);
        assert!(matches!(refused, Err(ProxyError::Except { .. })));
    }
}
