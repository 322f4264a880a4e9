//! What carriers and the operator have set up: carriers, keys, destinations, subscriptions, plugin versions, tables.
//!
//! Plain data with its checks; what the API takes and the store keeps. It must not know how either works.

pub mod auth;
pub mod destination;
pub mod drop;
pub mod email;
pub mod event_type;
pub mod handshake;
pub mod key;
pub mod media;
pub mod path;
pub mod plugin;
pub mod schedule;
pub mod sftp;
pub mod subscription;
pub mod webhook;

pub use auth::{Auth, Grant, OAuth2, Tls};
pub use destination::{Destination, DestinationKind, DestinationSpec, DestinationState, Login};
pub use drop::{DropFile, DropKey, DropKeyName};
pub use email::{DkimSpec, EmailSpec, RelaySecurity, RelaySpec};
pub use event_type::OwnEventType;
pub use key::{ApiKey, KeyId, Role};
pub use media::{MediaCeiling, MediaRules, MediaRulesError};
pub use plugin::{Limits, LimitsSpec, Owner, PluginRef, PluginVersion, Sha256Hex};
pub use schedule::ScheduleSpec;
pub use sftp::{Existing, SftpSpec};
pub use subscription::{OnFault, PolicySpec, Subscription, SubscriptionSpec, SubscriptionState};
pub use webhook::Webhook;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Millis;
use crate::event::{CarrierId, TableName};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Carrier {
    /// Its id, chosen by the admin.
    pub id: CarrierId,
    /// Its name for people; at most 200 characters.
    pub name: String,
    /// When it was made, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub created_ms: Millis,
}

/// A look-up table of a carrier, as its plugins read it. Replaced as a whole; each replacement is a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Whose table it is.
    pub carrier: CarrierId,
    /// Its name.
    pub name: TableName,
    /// 1 for the first upload, one more for each replacement.
    pub version: i64,
    /// Keys and values.
    pub entries: std::collections::BTreeMap<String, String>,
    /// When this version was written.
    pub updated: Millis,
}
