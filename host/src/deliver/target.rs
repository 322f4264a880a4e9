//! A destination compiled for sending: everything that can be checked or prepared once is, when it is written and again
//! when it is loaded.
//!
//! It must not know deliveries; `request` puts the two together.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use url::{Host, Url};

use super::address::{AddressPolicy, BlockedAddress};
use super::mask::Mask;
use super::request::{header_value, is_reserved, plain_value};
use super::sign::{SecretError, Signer};
use crate::carrier::destination::{DestinationSecrets, HttpMethod};
use crate::carrier::{DestinationKind, DestinationSpec, Webhook};
use crate::event::{CarrierId, DestinationName};

/// The longest address, in characters.
pub const MAX_URL: usize = 2_048;
/// How many static headers a destination may have.
pub const MAX_HEADERS: usize = 64;
/// Names and values of a destination's static headers, in bytes together.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// A destination ready to be sent to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Whose it is.
    pub carrier: CarrierId,
    /// Its name.
    pub name: DestinationName,
    pub(super) way: Way,
}

#[derive(Debug, Clone)]
pub(super) enum Way {
    Http(Box<HttpTarget>),
    /// A kind that this version of the host does not send to.
    Unavailable(DestinationKind),
}

#[derive(Debug, Clone)]
pub(super) struct HttpTarget {
    pub(super) url: Url,
    /// The address where the host is one and no name: no resolver sees it, so the sender checks it itself.
    pub(super) literal: Option<IpAddr>,
    pub(super) method: HttpMethod,
    /// `accept`, `content-type`, `user-agent` and the static headers, which are marked as sensitive.
    pub(super) headers: HeaderMap,
    pub(super) signer: Signer,
    /// What must not be kept when a receiver repeats it.
    pub(super) mask: Mask,
    /// `eventid` and `eventname`, where the subscription says them and not the event.
    pub(super) event: Option<(HeaderValue, HeaderValue)>,
}

/// Why a destination was refused. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A destination of kind `http` needs an address.
    #[error("url: a destination of kind `http` needs one")]
    NoUrl,
    /// The address cannot be read.
    #[error("url: {cause}")]
    Url {
        /// What is wrong with it.
        cause: url::ParseError,
    },
    /// The address is too long.
    #[error("url: {length} characters, the limit is {MAX_URL}")]
    UrlLength {
        /// Its length.
        length: usize,
    },
    /// The scheme is not allowed.
    #[error("url: the scheme `{scheme}` is refused; it takes `https`{}", if *.http_allowed { " or `http`" } else { " (the operator can allow `http` with `allow_http`)" })]
    Scheme {
        /// The scheme that was given.
        scheme: String,
        /// Whether the operator allows plain HTTP.
        http_allowed: bool,
    },
    /// The address carries something that does not belong there.
    #[error("url: it has {what}, which is refused{hint}")]
    UrlPart {
        /// The part.
        what: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// The address guard refuses it.
    #[error("url: {0}")]
    Address(#[from] BlockedAddress),
    /// There are too many headers, or they are too long.
    #[error("headers: {count} headers of {bytes} bytes, the limits are {MAX_HEADERS} and {MAX_HEADER_BYTES}")]
    HeadersSize {
        /// How many there are.
        count: usize,
        /// Their names and values together.
        bytes: usize,
    },
    /// A header is malformed or the host's own.
    #[error("headers: {name:?} {why}")]
    Header {
        /// The header's name, cut to 80 characters.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A number is out of its range.
    #[error("{field}: {value} is out of range, it takes 1 to {max}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What was given.
        value: u32,
        /// The most that is allowed.
        max: u32,
    },
    /// A signing secret is malformed.
    #[error("signing: {0}")]
    Signing(#[from] SecretError),
}

impl Target {
    /// Checks a destination and prepares what every request to it has in common.
    ///
    /// # Errors
    /// The first thing that is wrong with its address, headers or signing secrets.
    pub fn compile(
        carrier: CarrierId,
        name: DestinationName,
        spec: &DestinationSpec,
        secrets: &DestinationSecrets,
        policy: &AddressPolicy,
    ) -> Result<Self, TargetError> {
        for (field, value, max) in
            [("concurrency", spec.concurrency, 100), ("rate_per_minute", spec.rate_per_minute, 60_000)]
        {
            if let Some(value) = value.filter(|n| !(1..=max).contains(n)) {
                return Err(TargetError::OutOfRange { field, value, max });
            }
        }
        let way = match spec.kind {
            DestinationKind::Http => Way::Http(Box::new(HttpTarget::compile(spec, secrets, policy)?)),
            kind @ (DestinationKind::Email | DestinationKind::Sftp) => Way::Unavailable(kind),
        };
        Ok(Self { carrier, name, way })
    }

    /// The same, as the destination of a registered webhook: its receiver sees the registration's number and name.
    #[must_use]
    pub fn of_webhook(mut self, webhook: &Webhook) -> Self {
        if let Way::Http(http) = &mut self.way {
            http.event = Some((HeaderValue::from(webhook.event_id), header_value(&webhook.event_name)));
        }
        self
    }

    /// The address that requests go to, without a message's own path; nothing for the other kinds.
    pub(crate) fn address(&self) -> Option<&str> {
        match &self.way {
            Way::Http(http) => Some(http.url.as_str()),
            Way::Unavailable(_) => None,
        }
    }

    /// The address that it is sent to where its host is one and no name.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        match &self.way {
            Way::Http(http) => http.literal,
            Way::Unavailable(_) => None,
        }
    }
}

impl Target {
    /// Checks a destination without keeping what was prepared: for its registration.
    ///
    /// # Errors
    /// As [`Target::compile`].
    pub fn check(
        spec: &DestinationSpec,
        secrets: &DestinationSecrets,
        policy: &AddressPolicy,
    ) -> Result<(), TargetError> {
        match spec.kind {
            DestinationKind::Http => HttpTarget::compile(spec, secrets, policy).map(drop),
            DestinationKind::Email | DestinationKind::Sftp => Ok(()),
        }
    }
}

impl TargetError {
    /// The member of the description that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NoUrl
            | Self::Url { .. }
            | Self::UrlLength { .. }
            | Self::Scheme { .. }
            | Self::UrlPart { .. }
            | Self::Address(_) => "url",
            Self::HeadersSize { .. } | Self::Header { .. } => "headers",
            Self::Signing(_) => "signing",
            Self::OutOfRange { field, .. } => field,
        }
    }
}

impl HttpTarget {
    fn compile(
        spec: &DestinationSpec,
        secrets: &DestinationSecrets,
        policy: &AddressPolicy,
    ) -> Result<Self, TargetError> {
        let url = check_url(spec.url.as_deref().ok_or(TargetError::NoUrl)?, policy)?;
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(ip.into()),
            Some(Host::Ipv6(ip)) => Some(ip.into()),
            Some(Host::Domain(_)) | None => None,
        };
        let mut headers = HeaderMap::with_capacity(16);
        let agent = concat!("Hookyard/", env!("CARGO_PKG_VERSION"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        add_static(&mut headers, secrets)?;
        let signer = Signer::compile(&secrets.signing)?;
        let mask = Mask::of(secrets);
        Ok(Self { url, literal, method: spec.method, headers, signer, mask, event: None })
    }
}

fn check_url(text: &str, policy: &AddressPolicy) -> Result<Url, TargetError> {
    if text.len() > MAX_URL {
        return Err(TargetError::UrlLength { length: text.len() });
    }
    let url = Url::parse(text).map_err(|cause| TargetError::Url { cause })?;
    if url.scheme() != "https" && !(url.scheme() == "http" && policy.allow_http) {
        let scheme = url.scheme().chars().take(80).collect();
        return Err(TargetError::Scheme { scheme, http_allowed: policy.allow_http });
    }
    let refuse = |what, hint| Err(TargetError::UrlPart { what, hint });
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("a user name or password", "; put credentials into `headers`");
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

fn add_static(headers: &mut HeaderMap, secrets: &DestinationSecrets) -> Result<(), TargetError> {
    let count = secrets.headers.len();
    let bytes = secrets.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if count > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(TargetError::HeadersSize { count, bytes });
    }
    let mut seen = HeaderMap::with_capacity(count);
    for (text, value) in &secrets.headers {
        let wrong = |why| TargetError::Header { name: text.chars().take(80).collect(), why };
        let name: HeaderName = text.parse().map_err(|_| wrong("is not a header's name"))?;
        if is_reserved(&name) {
            return Err(wrong("is set by the host itself"));
        }
        let mut value =
            plain_value(value).ok_or_else(|| wrong("has a value that is not printable ASCII on one line"))?;
        value.set_sensitive(true);
        if seen.insert(name.clone(), ()).is_some() {
            return Err(wrong("is there twice, in different spellings"));
        }
        headers.insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carrier::destination::SigningSecret;

    fn compile_with(
        url: &str,
        headers: &[(&str, &str)],
        policy: &AddressPolicy,
    ) -> Result<Target, TargetError> {
        let spec = DestinationSpec {
            kind: DestinationKind::Http,
            url: Some(url.to_owned()),
            method: HttpMethod::Post,
            concurrency: None,
            rate_per_minute: None,
        };
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let secrets = DestinationSecrets { headers, ..DestinationSecrets::default() };
        Target::compile("acme".parse().unwrap(), "main".parse().unwrap(), &spec, &secrets, policy)
    }

    fn compile(url: &str) -> Result<Target, TargetError> {
        compile_with(url, &[], &AddressPolicy::default())
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
            let result = compile(&format!("https://{host}/hook"));
            assert!(matches!(result, Err(TargetError::Address(_))), "{host}: {result:?}");
        }
        for host in ["192.168.1.evil.example", "example.com", "8.8.8.8", "[2606:4700::1111]"] {
            assert!(compile(&format!("https://{host}/hook")).is_ok(), "{host}");
        }
        let allowed =
            AddressPolicy { allow_http: true, allowed_networks: vec!["127.0.0.0/8".parse().unwrap()] };
        assert!(compile_with("http://127.1:8080/hook", &[], &allowed).is_ok());
    }

    #[test]
    fn an_address_is_an_absolute_https_url() {
        let cases = [
            (
                "http://example.com",
                "url: the scheme `http` is refused; it takes `https` (the operator can allow",
            ),
            ("ftp://example.com", "url: the scheme `ftp` is refused"),
            ("file:///etc/passwd", "url: the scheme `file` is refused"),
            ("/hook", "url: relative URL without a base"),
            ("https://u:p@example.com", "url: it has a user name or password"),
            ("https://u@example.com", "url: it has a user name or password"),
            ("https://example.com/#x", "url: it has a fragment"),
            ("https://example.com:0/", "url: it has port 0"),
            ("https://", "url: empty host"),
            ("https://exa mple.com", "url: invalid international domain name"),
        ];
        for (url, expected) in cases {
            let error = compile(url).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{url}: {error}");
        }
        let long = format!("https://example.com/{}", "x".repeat(MAX_URL));
        assert!(matches!(compile(&long), Err(TargetError::UrlLength { .. })));
    }

    #[test]
    fn headers_are_checked_and_never_shown() {
        let with = |headers: &[(&str, &str)]| {
            compile_with("https://example.com", headers, &AddressPolicy::default())
        };
        for name in
            ["Host", "content-length", "Transfer-Encoding", "webhook-signature", "requestid", "a b", ""]
        {
            assert!(matches!(with(&[(name, "x")]), Err(TargetError::Header { .. })), "{name}");
        }
        for value in ["a\r\nhost: evil", "a\nb", "\u{0}", "é"] {
            let error = with(&[("x-key", value)]).unwrap_err().to_string();
            assert!(!error.contains(value), "{error}");
        }
        assert!(with(&[("X-Key", "a"), ("x-key", "b")]).is_err());
        assert!(matches!(
            with(&[("x", &"y".repeat(MAX_HEADER_BYTES))]),
            Err(TargetError::HeadersSize { .. })
        ));
        let target = with(&[("Authorization", "Bearer s3cret"), ("user-agent", "Mine")]).unwrap();
        let shown = format!("{target:?}");
        assert!(shown.contains("authorization") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn secrets_and_numbers_are_checked_and_other_kinds_compile() {
        let spec = |kind| DestinationSpec {
            kind,
            url: Some("https://example.com".to_owned()),
            method: HttpMethod::Post,
            concurrency: None,
            rate_per_minute: None,
        };
        let signing = vec![SigningSecret { secret: "whsec_AAAA".to_owned(), until_ms: None }];
        let secrets = DestinationSecrets { signing, ..DestinationSecrets::default() };
        let compile = |kind| {
            let (carrier, name) = ("acme".parse().unwrap(), "main".parse().unwrap());
            Target::compile(carrier, name, &spec(kind), &secrets, &AddressPolicy::default())
        };
        assert!(matches!(compile(DestinationKind::Http), Err(TargetError::Signing(_))));
        let compile_numbers = |concurrency, rate_per_minute| {
            let spec = DestinationSpec { concurrency, rate_per_minute, ..spec(DestinationKind::Email) };
            let (carrier, name) = ("acme".parse().unwrap(), "main".parse().unwrap());
            Target::compile(carrier, name, &spec, &secrets, &AddressPolicy::default())
                .map(drop)
                .map_err(|e| e.to_string())
        };
        assert_eq!(compile_numbers(Some(100), Some(60_000)), Ok(()));
        for (concurrency, rate, expected) in [
            (Some(0), None, "concurrency: 0 is out of range, it takes 1 to 100"),
            (Some(101), None, "concurrency: 101 is out of range, it takes 1 to 100"),
            (None, Some(60_001), "rate_per_minute: 60001 is out of range, it takes 1 to 60000"),
        ] {
            assert_eq!(compile_numbers(concurrency, rate), Err(expected.to_owned()));
        }
        assert!(compile(DestinationKind::Email).is_ok() && compile(DestinationKind::Sftp).is_ok());
    }
}
