//! Destinations: named addresses of a carrier.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{Auth, Tls};
use crate::clock::Millis;
use crate::event::{CarrierId, DestinationName};

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
}

impl std::fmt::Debug for DestinationSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DestinationSecrets")
            .field("headers", &self.headers.keys())
            .field("signing", &self.signing.len())
            .field("auth", &self.auth)
            .field("shared_secret", &self.shared_secret.is_some())
            .field("tls", &self.tls)
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
