//! Digests: one event that holds others, and how many fit into one.

use std::sync::Arc;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::DIGEST;
use crate::clock::Millis;
use crate::event::{CarrierId, Event, SubscriptionId, time_ordered};
use crate::name::NameError;

/// What the `source` of digests says.
const SOURCE: &str = "/hookyard/schedules";

/// Events of one digest: the limit `digest_events`.
const DIGEST_EVENTS: usize = 1_000;
/// Bytes of the events of one digest: the limit `digest_bytes`. An event that is larger has a digest to itself.
const DIGEST_BYTES: u64 = 512 << 10;

/// An event as it stands in a digest.
pub type Member = Arc<Event>;

/// One of the digests of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Which one, from 1.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
}

/// What a digest says beside its events.
#[derive(Debug, Clone)]
pub struct Digest<'a> {
    /// Whose it is.
    pub carrier: &'a CarrierId,
    /// The subscription.
    pub subscription: &'a SubscriptionId,
    /// The tick before.
    pub from: Millis,
    /// The tick: no event is later.
    pub to: Millis,
    /// What the events have in common, as JSON.
    pub group: &'a str,
    /// Which of the group's digests it is.
    pub parts: Parts,
}

/// Counts how many digests a group takes: events one after the other, each digest as full as the limits `digest_events`
/// and `digest_bytes` let it be.
#[derive(Debug, Clone, Copy)]
pub struct Packer {
    events: usize,
    bytes: u64,
    parts: u32,
}

impl Default for Packer {
    fn default() -> Self {
        Self { events: 0, bytes: 0, parts: 1 }
    }
}

impl Packer {
    /// Adds an event of so many bytes; true when it begins another digest.
    pub fn add(&mut self, bytes: u64) -> bool {
        let fits = self.events < DIGEST_EVENTS && self.bytes.saturating_add(bytes) <= DIGEST_BYTES;
        if fits || self.events == 0 {
            self.events += 1;
            self.bytes = self.bytes.saturating_add(bytes);
            return false;
        }
        (self.events, self.bytes) = (1, bytes);
        self.parts = self.parts.saturating_add(1);
        true
    }

    /// How many digests there are so far.
    pub fn parts(&self) -> u32 {
        self.parts
    }

    /// How many events from the first on stand in one digest.
    pub fn first(bytes: impl IntoIterator<Item = u64>) -> usize {
        let mut packer = Self::default();
        bytes.into_iter().take_while(|bytes| !packer.add(*bytes)).count()
    }
}

/// An event in a digest. The payload is the bytes that came.
struct Entry<'a>(&'a Event);

/// Attributes as an object.
struct Attributes<'a>(&'a [(String, String)]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut entry = to.serialize_map(Some(5))?;
        entry.serialize_entry("id", &event.id)?;
        entry.serialize_entry("type", &event.event_type)?;
        entry.serialize_entry("received_ms", &event.received)?;
        entry.serialize_entry("attributes", &Attributes(&event.attributes))?;
        // It was checked when it came in; one that is no JSON all the same has nothing to say.
        let payload: Option<&RawValue> = serde_json::from_slice(&event.payload).ok();
        entry.serialize_entry("payload", &payload)?;
        entry.end()
    }
}

/// The bytes that an event takes in a digest, or a few more.
pub fn entry_bytes(event: &Event) -> u64 {
    // `{"id":"","type":"","received_ms":,"attributes":{},"payload":},` and thirteen digits.
    let frame = 76;
    let names = event.id.as_str().len() + event.event_type.as_str().len();
    // Quotes, colons, commas and escapes of texts: JSON writes them out to know.
    let attributes = serde_json::to_vec(&Attributes(&event.attributes)).map_or(0, |json| json.len());
    (frame + names + attributes + event.payload.len()) as u64
}

/// The digest as the event that the chain of plugins gets. Its id is derived from the first of its events, which is in no
/// other digest of this subscription.
///
/// # Errors
/// When one of the host's own names is none: a mistake of the host.
pub fn digest_event(digest: &Digest<'_>, members: &[Member], now: Millis) -> Result<Event, NameError> {
    let payload = payload(digest, members);
    let first = members.first().map_or((0, ""), |first| (first.received.0, first.id.as_str()));
    let mut hash = Sha256::new();
    for part in [
        digest.carrier.as_str(),
        digest.subscription.as_str(),
        &digest.to.0.to_string(),
        &first.0.to_string(),
        first.1,
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    Ok(Event {
        carrier: digest.carrier.clone(),
        id: format!("digest-{}", time_ordered(digest.to, random)).parse()?,
        event_type: DIGEST.parse()?,
        received: now,
        attributes: [
            ("source".to_owned(), SOURCE.to_owned()),
            ("subject".to_owned(), digest.subscription.as_str().to_owned()),
        ]
        .into(),
        payload: Bytes::from(payload),
    })
}

fn payload(digest: &Digest<'_>, members: &[Member]) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Payload<'a> {
        subscription: &'a SubscriptionId,
        from_ms: Millis,
        to_ms: Millis,
        group: Option<&'a RawValue>,
        part: u32,
        parts: u32,
        events: Vec<Entry<'a>>,
    }
    let group: Option<&RawValue> = serde_json::from_str(digest.group).ok();
    let payload = Payload {
        subscription: digest.subscription,
        from_ms: digest.from,
        to_ms: digest.to,
        group,
        part: digest.parts.part,
        parts: digest.parts.parts,
        events: members.iter().map(|member| Entry(member)).collect(),
    };
    // Texts, numbers and checked JSON only: this cannot fail.
    serde_json::to_vec(&payload).unwrap_or_default()
}
