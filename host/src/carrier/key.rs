//! API keys and what they may do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Millis;
use crate::event::CarrierId;
use crate::name::name;

name! {
    /// The id of an API key: the part of the key that is not secret.
    KeyId, "key id", 32, slug
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The operator: everything.
    Admin,
    /// The platform: posts events for any carrier.
    Publisher,
    /// One carrier: reads and changes what is its own, and cannot learn that others exist.
    Carrier,
}

impl Role {
    /// The word in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Publisher => "publisher",
            Self::Carrier => "carrier",
        }
    }
}

/// A key as the store keeps it: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its public id, which is the middle part of the key.
    pub id: KeyId,
    /// What it may do.
    pub role: Role,
    /// The carrier it is bound to: there for [`Role::Carrier`], and only then.
    pub carrier: Option<CarrierId>,
    /// A name for people.
    pub name: String,
    /// SHA-256 of the whole key. The key holds 256 random bits, so a plain hash is enough.
    pub digest: [u8; 32],
    /// When it was made.
    pub created: Millis,
}
