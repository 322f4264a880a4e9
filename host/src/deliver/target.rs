//! A destination compiled for sending: everything that can be checked or prepared once is, when it is written and again
//! when it is loaded.
//!
//! It must not know deliveries; `request` puts the two together.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use url::Url;

use super::address::AddressPolicy;
use super::auth::{self, AuthError, TokenSource};
use super::drop::target::{DropTarget, DropTargetError};
use super::email::{EmailError, EmailTarget};
use super::headers::{self, HeadersError};
use super::mask::Mask;
use super::request::header_value;
use super::sftp::SftpError;
use super::sftp::target::SftpTarget;
use super::sign::{SecretError, Signer};
use super::tls::{ClientTls, TlsError};
use super::url_rules::{self, UrlError};
use crate::carrier::destination::{DestinationSecrets, HttpMethod};
use crate::carrier::{DestinationKind, DestinationSpec, SftpSpec, Webhook};
use crate::event::{CarrierId, DestinationName};
use crate::pgp::{PgpError, PgpKeys};

/// What requests say they come from.
pub(super) const USER_AGENT_VALUE: HeaderValue =
    HeaderValue::from_static(concat!("Hookyard/", env!("CARGO_PKG_VERSION")));

/// A destination ready to be sent to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Whose it is.
    pub carrier: CarrierId,
    /// Its name.
    pub name: DestinationName,
    /// What files and attachments are encrypted to; none, and they are not.
    pub(super) pgp: PgpKeys,
    pub(super) way: Way,
}

#[derive(Debug, Clone)]
pub(super) enum Way {
    Http(Box<HttpTarget>),
    Email(Box<EmailTarget>),
    Sftp(Box<SftpTarget>),
    /// A folder of this host, from where the carrier fetches.
    Drop(Box<DropTarget>),
}

#[derive(Debug, Clone)]
pub(super) struct HttpTarget {
    pub(super) url: Url,
    pub(super) method: HttpMethod,
    /// `accept`, `content-type`, `user-agent`, the static headers and what proves whose the request is; the latter two are
    /// marked as sensitive.
    pub(super) headers: HeaderMap,
    pub(super) signer: Signer,
    /// Where `authorization` comes from when it has to be fetched; until then a stand-in is among the headers.
    pub(super) tokens: Option<Arc<TokenSource>>,
    /// Certificates of its own.
    pub(super) tls: Option<Arc<ClientTls>>,
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
    /// The address was refused.
    #[error("url: {0}")]
    Url(#[from] UrlError),
    /// The static headers were refused.
    #[error("headers: {0}")]
    Headers(#[from] HeadersError),
    /// What proves whose the requests are was refused.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The certificates were refused.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The SFTP server or the login was refused.
    #[error(transparent)]
    Sftp(#[from] SftpError),
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
    /// Something that belongs to another kind.
    #[error("{field}: a destination of kind `{}` does not take it", kind.as_str())]
    Foreign {
        /// The member.
        field: &'static str,
        /// The kind.
        kind: DestinationKind,
    },
    /// What a mail needs was refused.
    #[error(transparent)]
    Email(#[from] EmailError),
    /// The drop folder does not take it.
    #[error(transparent)]
    Drop(#[from] DropTargetError),
    /// A key that files are to be encrypted to is not taken.
    #[error(transparent)]
    Pgp(#[from] PgpError),
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
        let way = match (spec.kind, hosted(spec)) {
            (DestinationKind::Http, _) => Way::Http(Box::new(HttpTarget::compile(spec, secrets, policy)?)),
            (DestinationKind::Email, _) => Way::Email(Box::new(EmailTarget::compile(spec, secrets, policy)?)),
            (DestinationKind::Sftp, Some(hosted)) => {
                Way::Drop(Box::new(DropTarget::compile(hosted, secrets)?))
            }
            (DestinationKind::Sftp, None) => {
                Way::Sftp(Box::new(SftpTarget::compile(spec.sftp.as_ref(), secrets, policy)?))
            }
        };
        Ok(Self { carrier, name, pgp: PgpKeys::read(&spec.pgp_keys)?, way })
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
            Way::Email(_) | Way::Sftp(_) | Way::Drop(_) => None,
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
        only_its_own(spec, secrets)?;
        PgpKeys::read(&spec.pgp_keys)?;
        match (spec.kind, hosted(spec)) {
            (DestinationKind::Http, _) => HttpTarget::compile(spec, secrets, policy).map(drop),
            (DestinationKind::Email, _) => EmailTarget::compile(spec, secrets, policy).map(drop),
            (DestinationKind::Sftp, Some(hosted)) => Ok(DropTarget::compile(hosted, secrets).map(drop)?),
            (DestinationKind::Sftp, None) => Ok(SftpTarget::check(spec.sftp.as_ref(), secrets, policy)?),
        }
    }
}

/// What says of a drop folder, when the destination is one.
fn hosted(spec: &DestinationSpec) -> Option<&SftpSpec> {
    spec.sftp.as_ref().filter(|sftp| spec.kind == DestinationKind::Sftp && sftp.hosted)
}

/// Refuses what another kind of destination takes: it would be passed over in silence.
fn only_its_own(spec: &DestinationSpec, secrets: &DestinationSecrets) -> Result<(), TargetError> {
    let kind = spec.kind;
    let [http, email, sftp] =
        [DestinationKind::Http, DestinationKind::Email, DestinationKind::Sftp].map(|one| one == kind);
    let foreign = [
        ("url", !http && spec.url.is_some()),
        ("method", !http && spec.method != HttpMethod::default()),
        ("headers", !http && !secrets.headers.is_empty()),
        ("signing", !http && !secrets.signing.is_empty()),
        ("auth", !http && secrets.auth.is_some()),
        ("shared_secret", !http && secrets.shared_secret.is_some()),
        ("tls", sftp && secrets.tls.is_some()),
        ("email", !email && spec.email.is_some()),
        ("dkim_key", !email && secrets.dkim_key.is_some()),
        ("sftp", !sftp && spec.sftp.is_some()),
        ("pgp_keys", http && !spec.pgp_keys.is_empty()),
        ("login", http && secrets.login.is_some()),
    ];
    match foreign.into_iter().find(|(_, there)| *there) {
        Some((field, _)) => Err(TargetError::Foreign { field, kind }),
        None => Ok(()),
    }
}

impl TargetError {
    /// The member of the description that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NoUrl | Self::Url(_) => "url",
            Self::Headers(_) => "headers",
            Self::Auth(why) => why.field(),
            Self::Tls(why) => why.field(),
            Self::Email(why) => why.field(),
            Self::Sftp(why) => why.field(),
            Self::Signing(_) => "signing",
            Self::Drop(why) => why.field(),
            Self::Pgp(_) => "pgp_keys",
            Self::OutOfRange { field, .. } | Self::Foreign { field, .. } => field,
        }
    }
}

impl HttpTarget {
    fn compile(
        spec: &DestinationSpec,
        secrets: &DestinationSecrets,
        policy: &AddressPolicy,
    ) -> Result<Self, TargetError> {
        let url = url_rules::check(spec.url.as_deref().ok_or(TargetError::NoUrl)?, policy)?;
        let mut headers = HeaderMap::with_capacity(16);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, USER_AGENT_VALUE);
        // It takes the place of those before it.
        headers.extend(headers::check(&secrets.headers)?);
        let tokens = auth::compile(&mut headers, secrets, policy)?;
        let tls = secrets.tls.as_ref().map(ClientTls::compile).transpose()?.map(Arc::new);
        let signer = Signer::compile(&secrets.signing)?;
        let mask = Mask::of(secrets).with(&headers);
        Ok(Self { url, method: spec.method, headers, signer, tokens, tls, mask, event: None })
    }
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
        let spec =
            DestinationSpec { url: Some(url.to_owned()), ..DestinationSpec::of(DestinationKind::Http) };
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let secrets = DestinationSecrets { headers, ..DestinationSecrets::default() };
        Target::compile("acme".parse().unwrap(), "main".parse().unwrap(), &spec, &secrets, policy)
    }

    #[test]
    fn headers_are_checked_and_never_shown() {
        let with = |headers: &[(&str, &str)]| {
            compile_with("https://example.com", headers, &AddressPolicy::default())
        };
        for name in
            ["Host", "content-length", "Transfer-Encoding", "webhook-signature", "requestid", "a b", ""]
        {
            assert!(
                matches!(with(&[(name, "x")]), Err(TargetError::Headers(HeadersError::Header { .. }))),
                "{name}"
            );
        }
        for value in ["a\r\nhost: evil", "a\nb", "\u{0}", "é"] {
            let error = with(&[("x-key", value)]).unwrap_err().to_string();
            assert!(!error.contains(value), "{error}");
        }
        assert!(with(&[("X-Key", "a"), ("x-key", "b")]).is_err());
        assert!(matches!(
            with(&[("x", &"y".repeat(headers::MAX_HEADER_BYTES))]),
            Err(TargetError::Headers(HeadersError::Size { .. }))
        ));
        let target = with(&[("Authorization", "Bearer s3cret"), ("user-agent", "Mine")]).unwrap();
        let shown = format!("{target:?}");
        assert!(shown.contains("authorization") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn secrets_and_numbers_are_checked() {
        let spec = |kind| DestinationSpec {
            url: Some("https://example.com".to_owned()),
            ..DestinationSpec::of(kind)
        };
        let signing = vec![SigningSecret { secret: "whsec_AAAA".to_owned(), until_ms: None }];
        let secrets = DestinationSecrets { signing, ..DestinationSecrets::default() };
        let compile = |kind| {
            let (carrier, name) = ("acme".parse().unwrap(), "main".parse().unwrap());
            Target::compile(carrier, name, &spec(kind), &secrets, &AddressPolicy::default())
        };
        assert!(matches!(compile(DestinationKind::Http), Err(TargetError::Signing(_))));
        let compile_numbers = |concurrency, rate_per_minute| {
            let spec = DestinationSpec { concurrency, rate_per_minute, ..spec(DestinationKind::Http) };
            let (carrier, name) = ("acme".parse().unwrap(), "main".parse().unwrap());
            Target::compile(carrier, name, &spec, &DestinationSecrets::default(), &AddressPolicy::default())
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
    }
}
