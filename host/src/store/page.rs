//! What the store gives to read: records, filters and pages.

use bytes::Bytes;

use super::work::{Body, DeliveryState, Message, RoutingState, UsedVersion, VerdictKind};
use crate::carrier::Owner;
use crate::clock::Millis;
use crate::event::{DeliveryId, DestinationName, EventId, EventType, PluginName, SubscriptionId};

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// 1 to 500.
    pub limit: u32,
    /// What the page before gave as `next`; opaque. Absent for the first page.
    pub after: Option<String>,
}

/// One page. Stays exact while new rows arrive, since the cursor is a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The records.
    pub items: Vec<T>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// A choice among events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Only of this type.
    pub event_type: Option<EventType>,
    /// Received at or after.
    pub from: Option<Millis>,
    /// Received before.
    pub until: Option<Millis>,
}

/// A choice among deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// Only of this event.
    pub event: Option<EventId>,
    /// Only of this subscription.
    pub subscription: Option<SubscriptionId>,
    /// Only to this destination.
    pub destination: Option<DestinationName>,
    /// Only of events of this type.
    pub event_type: Option<EventType>,
    /// Only in one of these states; empty means any.
    pub states: Vec<DeliveryState>,
    /// Only where the last answer's status was from the first to the second.
    pub statuses: Option<(u16, u16)>,
    /// Only where the last attempt came to this kind of outcome.
    pub outcome: Option<&'static str>,
    /// Planned (its event received) at or after.
    pub from: Option<Millis>,
    /// Planned before.
    pub until: Option<Millis>,
    /// Last changed (as a rule: the last attempt at it ended) at or after.
    pub updated_from: Option<Millis>,
    /// Last changed before.
    pub updated_until: Option<Millis>,
    /// Which come first.
    pub order: Order,
}

/// Which deliveries come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Those of the newest events.
    #[default]
    Newest,
    /// Those of the oldest events.
    Oldest,
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it was received.
    pub received: Millis,
    /// Whether it has been routed.
    pub routed: bool,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// Its payload.
    pub payload: Bytes,
}

/// A routing as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingRecord {
    /// The event.
    pub event: EventId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Where it stands.
    pub state: RoutingState,
    /// The verdict.
    pub verdict: Option<VerdictKind>,
    /// Why.
    pub reason: Option<String>,
    /// The versions that ran.
    pub versions: Vec<UsedVersion>,
    /// How often the chain was run.
    pub tries: u32,
    /// When it is run again.
    pub due: Option<Millis>,
    /// What it cost.
    pub cost_us: u64,
    /// The log, as JSON.
    pub log: Option<String>,
}

/// A delivery as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its id, the receiver's `requestid`.
    pub id: DeliveryId,
    /// The event.
    pub event: EventId,
    /// The event's type.
    pub event_type: EventType,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The destination.
    pub destination: DestinationName,
    /// Its place among what the subscription made of the event.
    pub index: u32,
    /// Where it stands.
    pub state: DeliveryState,
    /// The key of its order.
    pub order_key: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// When it is due, while it is pending.
    pub due: Millis,
    /// When its event was received.
    pub created: Millis,
    /// When it last changed.
    pub updated: Millis,
    /// The last answer's status.
    pub last_status: Option<u16>,
    /// The last failure, for people.
    pub last_error: Option<String>,
}

/// What a delivery sends. Apart from its record, since it may be large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What is sent, besides the body.
    pub message: Message,
    /// The body.
    pub body: Body,
}

/// What a change to many deliveries came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// How many were changed.
    pub count: u64,
    /// Where to go on, if something was not looked at.
    pub next: Option<String>,
}

/// An attempt as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// 1 for the first.
    pub number: u32,
    /// When it began.
    pub started: Millis,
    /// How long it took.
    pub duration_us: u64,
    /// `delivered` or the kind of failure.
    pub outcome: String,
    /// The answer's status.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// Request line and headers, as JSON.
    pub request: String,
    /// The answer's headers, as JSON.
    pub response_headers: Option<String>,
    /// The start of the answer's body.
    pub response_body: Option<Bytes>,
}

/// A choice among webhooks that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedFilter {
    /// First attempted at or after.
    pub from: Millis,
    /// First attempted before.
    pub until: Millis,
    /// Only of registrations for this number.
    pub event_id: Option<u16>,
    /// Only of this registration.
    pub subscription: Option<SubscriptionId>,
}

/// A webhook that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedWebhook {
    /// Its id, the receiver's `requestid`.
    pub id: DeliveryId,
    /// The registration.
    pub subscription: SubscriptionId,
    /// The registration's number.
    pub event_id: u16,
    /// When it was first attempted; when its event was received, where it was not.
    pub first_attempt: Millis,
}

/// A plugin with the versions that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRecord {
    /// Whose it is.
    pub owner: Owner,
    /// Its name.
    pub name: PluginName,
    /// The newest upload.
    pub latest: i64,
    /// The active version, if one was activated.
    pub active: Option<i64>,
    /// The version that was active before: what a rollback activates.
    pub previous: Option<i64>,
    /// When the active version was activated.
    pub activated: Option<Millis>,
}
