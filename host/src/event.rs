//! What travels: events and the names by which everything else refers to them.
//!
//! Plain data. It must not know the database, HTTP or Wasm, and does no I/O.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Millis;
use crate::name::name;

name! {
    /// A carrier's id: lower-case letters, digits and `-`, 1 to 63 characters, starting with a letter or digit.
    CarrierId, "carrier id", 63, slug
}
name! {
    /// A publisher's id of an event, unique within its carrier: 1 to 128 printable ASCII characters without spaces.
    EventId, "event id", 128, token
}
name! {
    /// A dotted event type such as `case.closed`: 1 to 128 of `a-z A-Z 0-9 _ - .`, no empty part.
    EventType, "event type", 128, dotted
}
name! {
    /// The id of a subscription: a UUID that the host makes, or a name that the carrier chose.
    SubscriptionId, "subscription id", 63, slug
}
name! {
    /// A destination's name within its carrier.
    DestinationName, "destination name", 63, slug
}
name! {
    /// A plugin's name within its carrier, or among the shared plugins.
    PluginName, "plugin name", 63, slug
}
name! {
    /// A look-up table's name within its carrier.
    TableName, "table name", 63, slug
}
name! {
    /// The id of a delivery, which receivers see as `requestid`: a UUID that [`delivery_id`] derives.
    DeliveryId, "delivery id", 36, uuid
}
name! {
    /// The id of one run of the host's process: a fresh UUID at each start.
    NodeId, "node id", 36, uuid
}

/// One thing that happened. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose event it is.
    pub carrier: CarrierId,
    /// The publisher's id.
    pub id: EventId,
    /// What kind of thing happened.
    pub event_type: EventType,
    /// When the host first accepted it.
    pub received: Millis,
    /// CloudEvents attributes and extensions, sorted by name, each name once.
    pub attributes: Arc<[(String, String)]>,
    /// The data: UTF-8 JSON, checked when it came in.
    pub payload: Bytes,
}

impl Event {
    /// What makes two events with the same id the same event: SHA-256 over type, attributes and payload.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            // Lengths keep `ab` + `c` apart from `a` + `bc`.
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(self.event_type.as_str().as_bytes());
        for (name, value) in self.attributes.iter() {
            field(name.as_bytes());
            field(value.as_bytes());
        }
        field(&self.payload);
        hash.finalize().into()
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let at = self.attributes.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(&self.attributes[at].1)
    }
}

/// The id of the delivery at `index` of what `subscription` makes of an event.
///
/// Derived, so that planning the same event twice names the same deliveries. It is a UUID of version 7 whose time is
/// the event's, which keeps a carrier's deliveries in the order of time in every key.
pub fn delivery_id(event: &Event, subscription: &SubscriptionId, index: u32) -> DeliveryId {
    let mut hash = Sha256::new();
    for part in [event.carrier.as_str(), event.id.as_str(), subscription.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(index.to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    DeliveryId::from(time_ordered(event.received, random))
}

/// A UUID of version 7 for `at` with the given random part.
pub fn time_ordered(at: Millis, random: [u8; 10]) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(at.0).unwrap_or(0), &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, payload: &str) -> Event {
        Event {
            carrier: "acme".parse().unwrap(),
            id: id.parse().unwrap(),
            event_type: "case.closed".parse().unwrap(),
            received: Millis(1_761_300_000_123),
            attributes: [("source".to_owned(), "/x".to_owned())].into(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    #[test]
    fn the_same_plan_names_the_same_deliveries() {
        let s: SubscriptionId = "main".parse().unwrap();
        let a = delivery_id(&event("1", "{}"), &s, 0);
        assert_eq!(a, delivery_id(&event("1", "{}"), &s, 0));
        assert_ne!(a, delivery_id(&event("1", "{}"), &s, 1));
        assert_ne!(a, delivery_id(&event("2", "{}"), &s, 0));
        let uuid: Uuid = a.as_str().parse().unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(&a.as_str()[..8], "019a15a9");
    }

    #[test]
    fn the_digest_tells_bodies_apart() {
        assert_eq!(event("1", "{}").digest(), event("1", "{}").digest());
        assert_ne!(event("1", "{}").digest(), event("1", "{ }").digest());
    }

    #[test]
    fn attributes_are_found_by_name() {
        let e = event("1", "{}");
        assert_eq!(e.attribute("source"), Some("/x"));
        assert_eq!(e.attribute("subject"), None);
    }
}
