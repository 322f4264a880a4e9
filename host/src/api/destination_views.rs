//! What a destination looks like from outside: the body that describes it and the view that hides its secrets.
//!
//! Pure but for the keys that [`Checks`] holds. It must not know the store.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::destination_auth::{AuthBody, AuthView};
use super::destination_login::{LoginBody, LoginView};
use super::handshakes::HandshakeView;
use super::problem::{Code, Problem};
use super::state::{Checks, TestError, Unfit};
use crate::carrier::auth::{Token, token_context};
use crate::carrier::destination::secrets_context;
use crate::carrier::destination::{DestinationSecrets, HttpMethod, SigningSecret};
use crate::carrier::handshake::HandshakeSpec;
use crate::carrier::{
    Destination, DestinationKind, DestinationSpec, DestinationState, EmailSpec, SftpSpec, Tls,
};
use crate::clock::Millis;
use crate::event::{CarrierId, DestinationName};
use crate::secrets::MASK;
use crate::store::tokens::StoredToken;

/// How many secrets may sign at once, the newest included.
const SIGNING_SECRETS: usize = 4;

/// A destination as its carrier describes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationBody {
    /// How it is reached.
    pub kind: DestinationKind,
    /// For `http` an absolute `https` URL without user name or fragment; at most 2 048 characters.
    #[serde(default)]
    pub url: Option<String>,
    /// The method of requests that name none themselves; `POST` when absent.
    #[serde(default)]
    pub method: HttpMethod,
    /// Requests under way at once: 1 to 100. The policy's number when absent.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Requests started per minute: 1 to 60 000. The policy's number when absent.
    #[serde(default)]
    pub rate_per_minute: Option<u32>,
    /// Static headers, such as `authorization`. Their values are never shown. Absent: as before; `{}`: none.
    #[serde(default)]
    #[schema(write_only)]
    pub headers: Option<BTreeMap<String, String>>,
    /// What to do about the signing secret. Absent: as before.
    #[serde(default)]
    pub signing: Option<Signing>,
    /// What makes `authorization`. Absent: as before; `{"type": "none"}`: nothing.
    #[serde(default)]
    pub auth: Option<AuthBody>,
    /// Sent as `x-auth-token` with every request: printable ASCII without spaces. Never shown. Absent: as before; empty: none.
    #[serde(default)]
    #[schema(write_only)]
    pub shared_secret: Option<String>,
    /// Certificates of its connections. Absent: as before; `{}`: none.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// For `email`, and only there: to whom, from whom, by which relay.
    #[serde(default)]
    pub email: Option<EmailSpec>,
    /// For `sftp`, and only there: the server or the drop folder, and the names of files.
    #[serde(default)]
    pub sftp: Option<SftpSpec>,
    /// For `email` and `sftp`: OpenPGP public keys that files and attachments are encrypted to, each an armoured block in
    /// base64; at most 8.
    #[serde(default)]
    pub pgp_keys: Vec<String>,
    /// What a login to a mail relay or an SFTP server proves itself with. Never shown. Absent: as before; `{}`: none.
    #[serde(default)]
    pub login: Option<LoginBody>,
    /// For `email`: the private key of DKIM signatures, as PEM (RSA or ed25519). Never shown. Absent: as before; empty: none.
    #[serde(default)]
    #[schema(write_only)]
    pub dkim_key: Option<String>,
    /// What to ask the receiver's permission with (CloudEvents, HTTP 1.1 Web Hooks, section 4). Until it is given,
    /// deliveries are held. Absent: the receiver is not asked.
    #[serde(default)]
    pub handshake: Option<HandshakeSpec>,
}

/// What to do about a destination's signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signing {
    /// Make a new HMAC-SHA256 secret (`whsec_…`, scheme `v1`); those before it stop signing at once.
    Generate,
    /// Make a new ed25519 key (`whpk_…` is its public half, scheme `v1a`); those before it stop signing at once.
    GenerateEd25519,
    /// Sign no more.
    None,
}

impl DestinationBody {
    /// The description, the secrets that it leads to, and a secret that was made now.
    pub(super) fn apply(
        self,
        mut secrets: DestinationSecrets,
        checks: &dyn Checks,
    ) -> Result<(DestinationSpec, DestinationSecrets, Option<String>), Problem> {
        if let Some(auth) = self.auth {
            secrets.auth = auth.settings()?;
        }
        if let Some(secret) = self.shared_secret {
            secrets.shared_secret = Some(secret).filter(|secret| !secret.is_empty());
        }
        if let Some(tls) = self.tls {
            secrets.tls = Some(tls).filter(|tls| *tls != Tls::default());
        }
        if let Some(login) = self.login {
            secrets.login = login.login(checks)?;
        }
        if let Some(key) = self.dkim_key {
            secrets.dkim_key = Some(key).filter(|key| !key.is_empty());
        }
        if let Some(headers) = self.headers {
            secrets.headers = headers;
        }
        let mut fresh = None;
        match self.signing {
            None => {}
            Some(Signing::None) => secrets.signing.clear(),
            Some(kind) => {
                let secret = checks.signing_secret(kind == Signing::GenerateEd25519);
                secrets.signing = vec![SigningSecret { secret: secret.clone(), until_ms: None }];
                fresh = Some(secret);
            }
        }
        let spec = DestinationSpec {
            kind: self.kind,
            url: self.url,
            method: self.method,
            concurrency: self.concurrency,
            rate_per_minute: self.rate_per_minute,
            email: self.email,
            sftp: self.sftp,
            pgp_keys: self.pgp_keys,
        };
        Ok((spec, secrets, fresh))
    }
}

/// How to rotate a signing secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    /// How long the secret before the new one goes on signing beside it: 0 to 168 hours, 24 when absent.
    #[serde(default = "a_day")]
    pub overlap_hours: u32,
}

fn a_day() -> u32 {
    24
}

/// Puts a new secret of the same kind first. Gives its text.
pub(super) fn rotate(
    signing: &mut Vec<SigningSecret>,
    how: &RotateSecret,
    now: Millis,
    checks: &dyn Checks,
) -> Result<String, Problem> {
    if how.overlap_hours > 168 {
        return Err(Problem::invalid("overlap_hours", "it takes 0 to 168"));
    }
    let Some(newest) = signing.first() else {
        let detail = "the destination does not sign: put it with `\"signing\": \"generate\"` first";
        return Err(Problem::new(Code::WrongState, detail));
    };
    let fresh = checks.signing_secret(newest.secret.starts_with("whsk_"));
    let until = now.plus(Duration::from_secs(u64::from(how.overlap_hours) * 3_600));
    for earlier in signing.iter_mut() {
        // A secret that was to end sooner still does.
        earlier.until_ms = Some(earlier.until_ms.map_or(until, |own| own.min(until)));
    }
    signing.retain(|earlier| earlier.until_ms.is_none_or(|until| until > now));
    signing.insert(0, SigningSecret { secret: fresh.clone(), until_ms: None });
    signing.truncate(SIGNING_SECRETS);
    Ok(fresh)
}

/// Opens a destination's secrets.
pub(super) fn open(destination: &Destination, checks: &dyn Checks) -> Result<DestinationSecrets, Problem> {
    let context = secrets_context(&destination.carrier, &destination.name);
    let unreadable = |why: &dyn std::fmt::Display| {
        tracing::error!(carrier = %destination.carrier, destination = %destination.name, %why, "secrets cannot be read");
        Problem::new(Code::Internal, "the destination's secrets cannot be read; the operator's log says why")
    };
    let plain = checks.open(&context, &destination.sealed).map_err(|error| unreadable(&error))?;
    serde_json::from_slice(&plain).map_err(|error| unreadable(&error))
}

/// When the token that is kept for a destination ends, if it is one that its settings (by their fingerprint) lead to.
pub(super) fn token_end(
    (carrier, name): (&CarrierId, &DestinationName),
    token: Option<&StoredToken>,
    fingerprint: [u8; 32],
    checks: &dyn Checks,
    now: Millis,
) -> Option<Millis> {
    let token = token.filter(|token| now < token.expires)?;
    // One that does not open is as good as none: it is fetched anew.
    let plain = checks.open(&token_context(carrier, name), &token.sealed).ok()?;
    let kept: Token = serde_json::from_slice(&plain).ok()?;
    (kept.fingerprint == fingerprint).then_some(token.expires)
}

/// A destination, its secrets hidden.
#[derive(Debug, Serialize, ToSchema)]
pub struct DestinationView {
    /// Its name.
    pub name: DestinationName,
    /// What its carrier described.
    #[serde(flatten)]
    pub spec: DestinationSpec,
    /// The names of its static headers.
    pub header_names: Vec<String>,
    /// Its signing secrets, newest first.
    pub signing: Vec<SigningView>,
    /// What makes `authorization`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthView>,
    /// `***` when `x-auth-token` is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_secret: Option<String>,
    /// Certificates of its connections; in the place of the private key stands `***`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What a login proves itself with; in the place of every secret stands `***`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginView>,
    /// `***` when mails are signed with a key of the carrier's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dkim_key: Option<String>,
    /// Whether it is sent to.
    pub state: DestinationState,
    /// Why it is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// Since when every attempt has failed, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub failing_since_ms: Option<Millis>,
    /// How far the handshake with its receiver has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<HandshakeView>,
    /// When it was made, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub created_ms: Millis,
    /// When its carrier last changed it, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub updated_ms: Millis,
    /// A signing secret that was made by this request: shown now and never again. Absent for `v1a`, whose receivers need
    /// `public_key` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
}

/// A signing secret, without itself.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SigningView {
    /// `v1` (HMAC-SHA256) or `v1a` (ed25519).
    pub scheme: String,
    /// For `v1a`: the public key to verify with, as `whpk_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Until when it signs, in Unix milliseconds; absent for the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub until_ms: Option<Millis>,
}

impl DestinationView {
    /// A destination as its carrier may see it.
    pub(super) fn of(destination: &Destination, checks: &dyn Checks) -> Result<Self, Problem> {
        let secrets = open(destination, checks)?;
        let signing = secrets.signing.iter().map(|one| SigningView {
            scheme: if one.secret.starts_with("whsk_") { "v1a" } else { "v1" }.to_owned(),
            public_key: checks.public_key(&one.secret),
            until_ms: one.until_ms,
        });
        Ok(Self {
            name: destination.name.clone(),
            spec: destination.spec.clone(),
            header_names: secrets.headers.keys().cloned().collect(),
            signing: signing.collect(),
            auth: secrets.auth.as_ref().map(AuthView::of),
            shared_secret: secrets.shared_secret.as_ref().map(|_| MASK.to_owned()),
            tls: secrets.tls.as_ref().map(Tls::masked),
            login: secrets.login.as_ref().map(|login| LoginView::of(login, checks)),
            dkim_key: secrets.dkim_key.as_ref().map(|_| MASK.to_owned()),
            state: destination.state,
            disabled_reason: destination.disabled_reason.clone(),
            failing_since_ms: destination.failing_since,
            handshake: None,
            created_ms: destination.created,
            updated_ms: destination.updated,
            signing_secret: None,
        })
    }

    /// With the end of the token that is kept for it.
    pub(super) fn keeping(
        mut self,
        carrier: &CarrierId,
        token: Option<&StoredToken>,
        checks: &dyn Checks,
        now: Millis,
    ) -> Self {
        if let Some(auth) = &mut self.auth
            && let Some(fingerprint) = auth.fingerprint
        {
            auth.expires_at_ms = token_end((carrier, &self.name), token, fingerprint, checks, now);
        }
        self
    }

    /// With a secret that was made now, when its receiver has to know it.
    pub(super) fn showing(mut self, fresh: Option<String>, checks: &dyn Checks) -> Self {
        self.signing_secret = fresh.filter(|secret| checks.public_key(secret).is_none());
        self
    }
}

impl From<TestError> for Problem {
    fn from(error: TestError) -> Self {
        let detail = error.to_string();
        match error {
            TestError::Busy => Self::new(Code::Busy, detail).retry_after(Duration::from_secs(1)),
            TestError::Host(_) => {
                tracing::error!(error = %detail, "a test could not be sent");
                Self::new(Code::Internal, "the test could not be sent; the operator's log says why")
            }
        }
    }
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        let mut problem = Self::invalid(unfit.field, unfit.why);
        (problem.position, problem.limit) = (unfit.position, unfit.limit);
        problem
    }
}
