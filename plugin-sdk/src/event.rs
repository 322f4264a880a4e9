//! The event, as a plugin sees it. Plain data: it must not know where events come from.

use serde::Deserialize;

use crate::JsonError;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The publisher's id, unique among the carrier's events. 1 to 128 characters.
    pub id: String,
    /// A dotted name from the catalogue, such as `case.closed`.
    pub event_type: String,
    /// When the host accepted the event, in Unix milliseconds. The plugin's clock stands at this moment too.
    pub received_ms: u64,
    /// CloudEvents attributes and extensions (`source`, `subject`, `time`, ...), sorted by name, each name once.
    pub attributes: Vec<(String, String)>,
    /// The event's data: UTF-8 JSON, already checked by the host. In a chain, what the plugin before made of it.
    pub payload: Vec<u8>,
}

impl Event {
    pub(crate) fn from_parts(
        id: String,
        event_type: String,
        received_ms: u64,
        attributes: Vec<(String, String)>,
        payload: Vec<u8>,
    ) -> Self {
        Self { id, event_type, received_ms, attributes, payload }
    }

    /// The payload as a type of yours. It may borrow texts from the payload (`&'a str` with `#[serde(borrow)]`).
    ///
    /// Name only the fields that you need: others are skipped without being built, which is also the fastest way.
    ///
    /// # Errors
    /// When the payload does not have the shape of `T`. The error says where, as in
    /// `payload.claim.amount: invalid type: string "12", expected u64`; by `?` it becomes
    /// [`Failure::Rejected`](crate::Failure::Rejected).
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, JsonError> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| JsonError::new(&error, &self.payload, "payload"))
    }

    /// An attribute by its name, such as `source` or `subject`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
