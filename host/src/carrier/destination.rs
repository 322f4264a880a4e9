//! Destinations: named addresses of a carrier.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{Auth, Tls};
use super::{EmailSpec, SftpSpec};
use crate::clock::Millis;
use crate::event::{CarrierId, DestinationName};
use crate::secrets::MASK;

/// How a destination is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    /// An HTTP request.
    Http,
    /// A mail.
    Email,
    /// A file.
    Sftp,
}

impl DestinationKind {
    /// The word in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Email => "email",
            Self::Sftp => "sftp",
        }
    }
}

/// The method of requests that name none themselves (those of `forward`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// GET: the content is not sent.
    Get,
    /// POST, the default.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl HttpMethod {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A destination as its carrier describes it, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationSpec {
    /// How it is reached.
    pub kind: DestinationKind,
    /// The address: for `http` an absolute `https` URL without user name or fragment (`http` only where the operator
    /// allows it); at most 2 048 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The method of requests that name none themselves.
    #[serde(default)]
    pub method: HttpMethod,
    /// Requests under way at once. At most 100; the policy's number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Requests started per minute. At most 60 000; the policy's number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
    /// For `email`, and only there: to whom, from whom, by which relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailSpec>,
    /// For `sftp`, and only there: the server or the drop folder, and the names of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sftp: Option<SftpSpec>,
    /// OpenPGP public keys that files and attachments are encrypted to, each an armoured block in base64; at most 8. For
    /// `email` and `sftp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pgp_keys: Vec<String>,
}

impl DestinationSpec {
    /// A destination of a kind, everything else as it is when nothing is said.
    pub fn of(kind: DestinationKind) -> Self {
        Self {
            kind,
            url: None,
            method: HttpMethod::default(),
            concurrency: None,
            rate_per_minute: None,
            email: None,
            sftp: None,
            pgp_keys: Vec::new(),
        }
    }
}

/// What is kept encrypted of a destination and never comes back out of the API.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DestinationSecrets {
    /// Static headers, sent with every request.
    pub headers: BTreeMap<String, String>,
    /// Signing secrets, newest first: `whsec_…` for `v1`, `whsk_…` for `v1a`.
    pub signing: Vec<SigningSecret>,
    /// What makes `authorization`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Sent as `x-auth-token` with every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_secret: Option<String>,
    /// Certificates of its connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What a login to a mail relay or an SFTP server proves itself with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// The private key of DKIM signatures: PEM, RSA (PKCS#1 or PKCS#8) or ed25519 (PKCS#8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dkim_key: Option<String>,
}

/// What a login proves itself with: a password, or for SFTP a key, or both.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Login {
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The private key, in OpenSSH's form or as PEM: ed25519, ECDSA, or RSA of 2 048 bits or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
    /// What the private key is encrypted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
}

impl Login {
    /// The same with [`MASK`] in the place of every secret.
    pub fn masked(&self) -> Self {
        let mask = |secret: &Option<String>| secret.as_ref().map(|_| MASK.to_owned());
        let (password, private_key) = (mask(&self.password), mask(&self.private_key));
        Self { password, private_key, passphrase: mask(&self.passphrase) }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("password", &self.password.is_some())
            .field("private_key", &self.private_key.is_some())
            .field("passphrase", &self.passphrase.is_some())
            .finish()
    }
}

impl std::fmt::Debug for DestinationSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DestinationSecrets")
            .field("headers", &self.headers.keys())
            .field("signing", &self.signing.len())
            .field("auth", &self.auth)
            .field("shared_secret", &self.shared_secret.is_some())
            .field("tls", &self.tls)
            .field("login", &self.login)
            .field("dkim_key", &self.dkim_key.is_some())
            .finish()
    }
}

/// The context under which a destination's secrets are sealed: they open nowhere else.
pub fn secrets_context(carrier: &CarrierId, name: &DestinationName) -> String {
    format!("destination/{carrier}/{name}")
}

/// One signing secret and until when it signs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecret {
    /// `whsec_` (HMAC-SHA256) or `whsk_` (ed25519) and base64.
    pub secret: String,
    /// The end of the overlap after a rotation; absent for the newest.
    pub until_ms: Option<Millis>,
}

/// Whether a destination is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DestinationState {
    /// Deliveries go out.
    Enabled,
    /// Deliveries wait until it is enabled again.
    Disabled,
}

impl DestinationState {
    /// The word in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// A destination as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Whose it is.
    pub carrier: CarrierId,
    /// Its name.
    pub name: DestinationName,
    /// What the carrier described.
    pub spec: DestinationSpec,
    /// The encrypted form of [`DestinationSecrets`].
    pub sealed: Vec<u8>,
    /// Whether it is sent to.
    pub state: DestinationState,
    /// Why it is disabled, for people.
    pub disabled_reason: Option<String>,
    /// Since when every attempt has failed; absent after a success.
    pub failing_since: Option<Millis>,
    /// When it was made.
    pub created: Millis,
    /// When it was last changed by its carrier.
    pub updated: Millis,
}
