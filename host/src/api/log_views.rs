//! What events, routings, deliveries and attempts look like from outside: why an event went where it went.
//!
//! Pure. It must not know the store's queries.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::clock::Millis;
use crate::event::{DeliveryId, DestinationName, EventId, EventType, SubscriptionId};
use crate::store::page::{AttemptRecord, Content, DeliveryRecord, EventRecord, RoutingRecord};
use crate::store::work::{Body, DeliveryState, Message, RoutingState, UsedVersion, VerdictKind};

/// An event without its payload.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub r#type: EventType,
    /// When it was accepted, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub received_ms: Millis,
    /// Whether it has met its subscriptions.
    pub routed: bool,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

impl From<&EventRecord> for EventView {
    fn from(one: &EventRecord) -> Self {
        Self {
            id: one.id.clone(),
            r#type: one.event_type.clone(),
            received_ms: one.received,
            routed: one.routed,
            attributes: one.attributes.iter().cloned().collect(),
        }
    }
}

/// An event and everything that it came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventDetail {
    /// The event.
    #[serde(flatten)]
    pub event: EventView,
    /// Its payload, as it came.
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
    /// One for each subscription that it met, with what was sent.
    pub routings: Vec<RoutingView>,
    /// Whether the event has more deliveries than are shown here; then search them by `event`.
    pub more_deliveries: bool,
}

/// One event meeting one subscription.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoutingView {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Where it stands.
    pub state: RoutingState,
    /// What the chain decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictKind>,
    /// Why it was dropped, filtered, parked, held or put off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The versions that ran, in order.
    pub versions: Vec<UsedVersion>,
    /// How often the chain was run.
    pub tries: u32,
    /// When it is run again, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub due_ms: Option<Millis>,
    /// Microseconds that the chain took.
    pub cost_us: u64,
    /// What the plugins logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub log: Option<Box<RawValue>>,
    /// What was sent, or is to be.
    pub deliveries: Vec<DeliveryDetail>,
}

impl RoutingView {
    pub(super) fn of(one: RoutingRecord, deliveries: Vec<DeliveryDetail>) -> Self {
        Self {
            subscription: one.subscription,
            state: one.state,
            verdict: one.verdict,
            reason: one.reason,
            versions: one.versions,
            tries: one.tries,
            due_ms: one.due,
            cost_us: one.cost_us,
            log: one.log.as_deref().map(raw),
            deliveries,
        }
    }
}

/// One thing that is sent to one destination.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// Its id: the `requestid` that the receiver sees.
    pub id: DeliveryId,
    /// The event that it comes from.
    pub event: EventId,
    /// The event's type.
    pub event_type: EventType,
    /// The subscription that it comes from.
    pub subscription: SubscriptionId,
    /// Where to.
    pub destination: DestinationName,
    /// Its place among what the subscription made of the event, from 0.
    pub index: u32,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts_made: u32,
    /// When it is due, in Unix milliseconds, while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub due_ms: Option<Millis>,
    /// When its event was accepted, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub created_ms: Millis,
    /// When it last changed, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub updated_ms: Millis,
    /// The last answer's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// The last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl From<&DeliveryRecord> for DeliveryView {
    fn from(one: &DeliveryRecord) -> Self {
        Self {
            id: one.id.clone(),
            event: one.event.clone(),
            event_type: one.event_type.clone(),
            subscription: one.subscription.clone(),
            destination: one.destination.clone(),
            index: one.index,
            state: one.state,
            attempts_made: one.attempts,
            due_ms: (one.state == DeliveryState::Pending).then_some(one.due),
            created_ms: one.created,
            updated_ms: one.updated,
            last_status: one.last_status,
            last_error: one.last_error.clone(),
        }
    }
}

/// A delivery with what is sent and every attempt at it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: DeliveryView,
    /// What is sent, besides the body.
    pub message: Message,
    /// The body.
    pub body: BodyView,
    /// The key within which deliveries keep their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_key: Option<String>,
    /// First to last.
    pub attempts: Vec<AttemptView>,
}

impl DeliveryDetail {
    pub(super) fn of(one: DeliveryRecord, content: Content, mut attempts: Vec<AttemptRecord>) -> Self {
        // They are read after the delivery: one that was recorded in between would not go with its state.
        attempts.retain(|attempt| attempt.number <= one.attempts);
        Self {
            delivery: DeliveryView::from(&one),
            message: content.message,
            body: content.body.into(),
            order_key: one.order_key,
            attempts: attempts.into_iter().map(AttemptView::from).collect(),
        }
    }
}

/// The body of a delivery.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BodyView {
    /// The event's payload as it came.
    Original,
    /// Text of a plugin's making.
    Text {
        /// The text.
        text: String,
    },
    /// Bytes of a plugin's making that are not UTF-8.
    Base64 {
        /// The bytes in base64.
        base64: String,
    },
    /// An address that the host fetches when it delivers.
    Fetch {
        /// The address.
        url: String,
    },
}

impl From<Body> for BodyView {
    fn from(body: Body) -> Self {
        match body {
            Body::Original => Self::Original,
            Body::Fetch(url) => Self::Fetch { url },
            Body::Bytes(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => Self::Text { text: text.to_owned() },
                Err(_) => Self::Base64 { base64: STANDARD.encode(&bytes) },
            },
        }
    }
}

/// One try at a delivery: what was sent and what came back.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptView {
    /// 1 for the first.
    pub number: u32,
    /// When it began, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub started_ms: Millis,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// `delivered` or the kind of failure.
    pub outcome: String,
    /// The answer's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Request line and headers as sent, secrets masked.
    #[schema(value_type = serde_json::Value)]
    pub request: Box<RawValue>,
    /// The answer's headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub response_headers: Option<Box<RawValue>>,
    /// The start of the answer's body; what is not UTF-8 is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<String>,
}

impl From<AttemptRecord> for AttemptView {
    fn from(one: AttemptRecord) -> Self {
        Self {
            number: one.number,
            started_ms: one.started,
            duration_us: one.duration_us,
            outcome: one.outcome,
            status: one.status,
            error: one.error,
            request: raw(&one.request),
            response_headers: one.response_headers.as_deref().map(raw),
            response_body: one.response_body.map(|body| String::from_utf8_lossy(&body).into_owned()),
        }
    }
}

/// A text of the store that is JSON, shown as it is; were it not JSON, as a string.
pub(super) fn raw(text: &str) -> Box<RawValue> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) => json.to_owned(),
        Err(_) => string(text),
    }
}

/// A payload, shown as it came.
pub(super) fn payload(bytes: &Bytes) -> Box<RawValue> {
    raw(&String::from_utf8_lossy(bytes))
}

fn string(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shown_as_json_and_never_break_the_answer() {
        assert_eq!(raw("{\"a\": 1.50}").get(), "{\"a\": 1.50}");
        assert_eq!(raw("{oops").get(), "\"{oops\"");
        assert_eq!(payload(&Bytes::from_static(b"[1,  2]")).get(), "[1,  2]");
    }

    #[test]
    fn bodies_that_are_not_text_are_shown_in_base64() {
        let of = |bytes: &'static [u8]| BodyView::from(Body::Bytes(Bytes::from_static(bytes)));
        assert_eq!(of(b"<a/>"), BodyView::Text { text: "<a/>".to_owned() });
        assert_eq!(of(b"\xff\x00"), BodyView::Base64 { base64: "/wA=".to_owned() });
    }
}
