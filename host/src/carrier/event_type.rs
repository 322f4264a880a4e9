//! Event types that a carrier describes for its own.

use crate::clock::Millis;
use crate::event::{CarrierId, EventType};

/// What a carrier says of an event type: for people, and for tests. It decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEventType {
    /// Whose description it is.
    pub carrier: CarrierId,
    /// The event type; it may be one of the catalogue.
    pub event_type: EventType,
    /// What it is about; 1 to 2 000 characters.
    pub about: String,
    /// A payload of this type: JSON text, at most 64 KiB.
    pub example: Option<String>,
    /// When it was first described.
    pub created: Millis,
    /// When it was last described.
    pub updated: Millis,
}
