//! The work that the store keeps: what goes in at accept, plan and record, and what comes back out at a claim.
//!
//! Plain data that travels between the stages, so every stage may know it. It must not know SQL.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::carrier::PluginRef;
use crate::clock::Millis;
use crate::event::{CarrierId, DeliveryId, DestinationName, Event, EventId, SubscriptionId};

/// An event on its way in.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The event, with the moment at which this host received it.
    pub event: Arc<Event>,
    /// [`Event::digest`], computed off the writer's turn.
    pub digest: [u8; 32],
    /// Whether this node holds it from birth; without room in memory it is written unheld and claimed later.
    pub hold: bool,
}

/// What became of an event that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is new.
    First,
    /// The same event was accepted before, at this moment; nothing changed.
    Repeat {
        /// When it was first accepted.
        received: Millis,
    },
}

/// Where a routing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoutingState {
    /// The filter did not match: nothing more happens.
    Filtered,
    /// A verdict was reached and its deliveries are written.
    Routed,
    /// The plugin will be run again at `due`: it said `temporary`, or ran into its wall deadline once.
    Later,
    /// Waiting for a good version of a faulty plugin.
    Held,
    /// Given up with a reason; an admin or its carrier may run it again.
    Parked,
}

impl RoutingState {
    /// The word in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Routed => "routed",
            Self::Later => "later",
            Self::Held => "held",
            Self::Parked => "parked",
        }
    }
}

/// What the chain decided, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Nothing is sent.
    Drop,
    /// The content goes to all of the subscription's destinations.
    Forward,
    /// What the plugin listed is sent.
    Deliver,
}

impl VerdictKind {
    /// The word in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Forward => "forward",
            Self::Deliver => "deliver",
        }
    }
}

/// A plugin version that took part in a routing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsedVersion {
    /// The plugin as the subscription names it.
    pub plugin: PluginRef,
    /// Its version.
    pub version: i64,
}

/// What one event meeting one subscription came to.
#[derive(Debug, Clone)]
pub struct NewRouting {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Where it stands.
    pub state: RoutingState,
    /// The verdict, when there is one.
    pub verdict: Option<VerdictKind>,
    /// Why it was dropped, parked, held or put off; names the limit where one was hit.
    pub reason: Option<String>,
    /// The versions that ran, in order.
    pub versions: Vec<UsedVersion>,
    /// How often the chain has been run.
    pub tries: u32,
    /// When to run it again; there for [`RoutingState::Later`].
    pub due: Option<Millis>,
    /// Microseconds that the chain took on its thread.
    pub cost_us: u64,
    /// The log's lines (on failure its tail), as JSON; absent when nothing was logged.
    pub log: Option<String>,
    /// What is to be sent.
    pub deliveries: Vec<NewDelivery>,
}

/// One thing to send, planned.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Derived by [`crate::event::delivery_id`].
    pub id: DeliveryId,
    /// Where to.
    pub destination: DestinationName,
    /// What to send there.
    pub message: Message,
    /// The body.
    pub body: Body,
    /// One at a time per key and destination; kept from the start, obeyed later.
    pub order_key: Option<String>,
    /// Not before this moment.
    pub due: Millis,
    /// Whether this node holds it from birth.
    pub hold: bool,
    /// [`DeliveryState::Pending`], or [`DeliveryState::Dead`] with `error` where it can never be sent.
    pub state: DeliveryState,
    /// Why it can never be sent.
    pub error: Option<String>,
}

/// The part of a delivery that is not its body. Kept as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// A request to a destination of kind `http`.
    Http {
        /// Absent: the destination's own method.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<crate::carrier::destination::HttpMethod>,
        /// Relative path appended to the destination's address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Headers beside the destination's own.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
        /// `application/json` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
    },
    /// The content by the destination's own settings, whatever its kind: what `forward` means.
    Forward,
    /// A mail to a destination of kind `email`. The bytes of its attachments stand one after the other in the body.
    Email {
        /// Recipients; empty: the destination's own.
        to: Vec<String>,
        /// Copies; the destination's own when `to` is empty, too.
        cc: Vec<String>,
        /// The subject.
        subject: String,
        /// The body as plain text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The body as HTML.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        html: Option<String>,
        /// What goes with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
    },
    /// A file for a destination of kind `sftp`.
    Sftp {
        /// The path below the destination's folder.
        path: String,
    },
}

impl Message {
    /// What `forward` makes: everything by the destination's own settings.
    pub fn forwarded() -> Self {
        Self::Forward
    }
}

/// A file that goes with a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attachment {
    /// The file's name.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// What it holds.
    pub content: AttachmentContent,
}

/// What an attachment holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentContent {
    /// The event's payload.
    Original,
    /// So many bytes of the delivery's body, after those of the attachments before it.
    Bytes(u64),
    /// What the host fetches from this address when it delivers.
    Fetch(String),
}

/// The body of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The event's payload; nothing is stored twice.
    Original,
    /// Bytes of a plugin's making.
    Bytes(Bytes),
    /// An address that the host fetches when it delivers.
    Fetch(String),
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent, now or when it is due.
    Pending,
    /// Waiting for its destination to be enabled.
    Held,
    /// Sent and acknowledged.
    Delivered,
    /// All attempts failed under a policy that ends dead.
    Dead,
    /// The only attempt failed under a policy without retries: waits for a manual retry.
    Failed,
    /// Cancelled by its carrier.
    Cancelled,
}

impl DeliveryState {
    /// The word in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An event that waits for the next tick of a scheduled subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// What it is grouped by, as JSON.
    pub group: String,
    /// The bytes that it takes in a digest.
    pub bytes: u64,
}

/// Everything that one event came to: written with the event's own new state in one transaction.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The event. This node holds it (or, for a single routing that is run again, the routing).
    pub event: Arc<Event>,
    /// One for each subscription whose types match and that is not scheduled.
    pub routings: Vec<NewRouting>,
    /// One for each scheduled subscription that wants the event.
    pub collected: Vec<Collected>,
    /// Whether this is the event's first planning, or one of its routings being run again.
    pub whole_event: bool,
}

/// An event that this node has claimed and must route.
#[derive(Debug, Clone)]
pub struct HeldEvent {
    /// The event.
    pub event: Arc<Event>,
}

/// A routing that this node has claimed and must run again.
#[derive(Debug, Clone)]
pub struct HeldRouting {
    /// The event.
    pub event: Arc<Event>,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// How often the chain has been run so far.
    pub tries: u32,
}

/// A delivery that this node holds and must send.
#[derive(Debug, Clone)]
pub struct HeldDelivery {
    /// The event that it comes from.
    pub event: Arc<Event>,
    /// The subscription that it comes from.
    pub subscription: SubscriptionId,
    /// Its id.
    pub id: DeliveryId,
    /// Where to.
    pub destination: DestinationName,
    /// What to send.
    pub message: Message,
    /// The body.
    pub body: Body,
    /// Attempts made so far.
    pub attempts: u32,
    /// When it is due.
    pub due: Millis,
}

/// One attempt as it is recorded, and what it means for the delivery.
#[derive(Debug, Clone)]
pub struct NewAttempt {
    /// Whose delivery.
    pub carrier: CarrierId,
    /// Which delivery.
    pub delivery: DeliveryId,
    /// 1 for the first attempt.
    pub number: u32,
    /// When it began.
    pub started: Millis,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// `delivered` or the kind of failure: `status`, `timeout`, `connect`, `blocked_address`, ...
    pub outcome: &'static str,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// What went wrong, for people; secrets masked.
    pub error: Option<String>,
    /// Request line and headers as sent, as JSON; secrets masked.
    pub request: String,
    /// The answer's headers, as JSON.
    pub response_headers: Option<String>,
    /// At most 16 KiB of the answer's body.
    pub response_body: Option<Bytes>,
    /// The delivery's new state.
    pub next: Next,
    /// What it means for the destination, if anything changes there.
    pub destination: Option<(DestinationName, DestinationEffect)>,
}

impl NewAttempt {
    /// When it ended.
    pub fn ended(&self) -> Millis {
        self.started.plus(Duration::from_micros(self.duration_us))
    }
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Acknowledged.
    Delivered,
    /// Due again at this moment; unheld until then.
    RetryAt(Millis),
    /// Waits until its destination is enabled.
    Held,
    /// Given up; kept.
    Dead,
    /// Waits for a manual retry.
    Failed,
}

/// A change to a destination that is written with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationEffect {
    /// The first failure after a success, or ever.
    FailingSince(Millis),
    /// The first success after failures.
    Recovered,
}

/// A carrier and one of its destinations: what has room, order and rate of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The carrier.
    pub carrier: CarrierId,
    /// The destination.
    pub destination: DestinationName,
}

/// Where an event stands, by its key. For look-ups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey {
    /// The carrier.
    pub carrier: CarrierId,
    /// The event.
    pub event: EventId,
}
