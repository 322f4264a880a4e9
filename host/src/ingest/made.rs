//! Events that the host makes for a test, under the limits that publishers' events obey.
//!
//! Pure.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::error::Refusal;
use super::limits::{Attributes, IngestLimits, Parts};
use crate::clock::Millis;
use crate::event::{CarrierId, Event, EventId, EventType};

/// An event of these parts. `payload` is valid JSON.
///
/// # Errors
/// What a publisher would be told of such an event.
pub fn made(
    carrier: &CarrierId,
    id: &EventId,
    event_type: &EventType,
    attributes: &BTreeMap<String, String>,
    payload: Bytes,
    limits: &IngestLimits,
    received: Millis,
) -> Result<Event, Refusal> {
    limits.check_event(payload.len())?;
    let mut list = Attributes::new(limits);
    for (name, value) in attributes {
        list.add(&format!("attributes.{name}"), name, value)?;
    }
    let (carrier, id, event_type) = (carrier.as_str(), id.as_str(), event_type.as_str());
    Parts { carrier, id, event_type, attributes: list, payload }.into_event(received)
}
