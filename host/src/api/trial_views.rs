//! What tests look like from outside.
//!
//! Pure. It must not know how anything is tried.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::log_views::{BodyView, payload, raw};
use super::state::{Rehearsal, TestOutcome};
use crate::carrier::{Subscription, SubscriptionState};
use crate::clock::Millis;
use crate::event::{DeliveryId, DestinationName, Event, EventId, EventType};
use crate::matching::Match;
use crate::store::work::{
    DeliveryState, Message, NewDelivery, NewRouting, RoutingState, UsedVersion, VerdictKind,
};

/// What a test of a destination came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestView {
    /// `delivered` or the kind of failure.
    pub outcome: String,
    /// The answer's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
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
    /// The start of the answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<String>,
}

impl From<TestOutcome> for TestView {
    fn from(test: TestOutcome) -> Self {
        Self {
            outcome: test.outcome,
            status: test.status,
            duration_us: test.duration_us,
            error: test.error,
            request: raw(&test.request),
            response_headers: test.response_headers.as_deref().map(raw),
            response_body: test.response_body,
        }
    }
}

/// What a test of a subscription came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialView {
    /// The event that was made for it.
    pub event: TrialEvent,
    /// How the event and the subscription meet.
    pub r#match: MatchView,
    /// Why they do not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether the subscription takes part: a paused one meets no real events.
    pub state: SubscriptionState,
    /// What the event's routing would be; absent when they do not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<TrialRouting>,
}

/// The event of a test.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialEvent {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub r#type: EventType,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its payload.
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
}

/// How an event and a subscription meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatchView {
    /// The subscription wants the event.
    Matched,
    /// It asks for other event types.
    TypeDiffers,
    /// Its filter does not match.
    Filtered,
}

/// What the routing of a test's event would be.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialRouting {
    /// Where it would stand.
    pub state: RoutingState,
    /// What the chain decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictKind>,
    /// Why it was dropped, parked, held or put off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The versions that ran, in order.
    pub versions: Vec<UsedVersion>,
    /// Microseconds that the chain took.
    pub cost_us: u64,
    /// What the plugins logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub log: Option<Box<RawValue>>,
    /// What would be sent, or was.
    pub deliveries: Vec<TrialDelivery>,
}

/// One thing that a test's event would send to one destination.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialDelivery {
    /// The `requestid` that the receiver sees.
    pub id: DeliveryId,
    /// Where to.
    pub destination: DestinationName,
    /// `pending` when it could be sent, `held` when its destination is disabled, `dead` when it can never be sent.
    pub state: DeliveryState,
    /// Not before this moment, in Unix milliseconds; the test does not wait for it.
    #[schema(value_type = i64)]
    pub due_ms: Millis,
    /// What is sent, besides the body.
    pub message: Message,
    /// The body.
    pub body: BodyView,
    /// Why it was not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was sent and what came back; absent when nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<TestView>,
}

impl TrialView {
    pub(super) fn of(event: &Event, subscription: &Subscription, rehearsal: Rehearsal) -> Self {
        let types = subscription.spec.event_types.join("`, `");
        let (r#match, why) = match rehearsal.meets {
            Match::Matched => (MatchView::Matched, None),
            Match::TypeDiffers => {
                let why = format!("the subscription asks for `{types}`, the event is `{}`", event.event_type);
                (MatchView::TypeDiffers, Some(why))
            }
            Match::Filtered => {
                let why = format!("the filter asks for what does not hold: {}", rehearsal.unmet.join("; "));
                (MatchView::Filtered, Some(why))
            }
        };
        let attempts = rehearsal.attempts;
        Self {
            event: TrialEvent {
                id: event.id.clone(),
                r#type: event.event_type.clone(),
                attributes: event.attributes.iter().cloned().collect(),
                payload: payload(&event.payload),
            },
            r#match,
            why,
            state: subscription.state,
            routing: rehearsal.routing.map(|routing| TrialRouting::of(routing, attempts)),
        }
    }
}

impl TrialRouting {
    fn of(routing: NewRouting, attempts: Vec<Option<TestOutcome>>) -> Self {
        let deliveries = routing.deliveries.into_iter().zip(attempts);
        Self {
            state: routing.state,
            verdict: routing.verdict,
            reason: routing.reason,
            versions: routing.versions,
            cost_us: routing.cost_us,
            log: routing.log.as_deref().map(raw),
            deliveries: deliveries.map(|(one, attempt)| TrialDelivery::of(one, attempt)).collect(),
        }
    }
}

impl TrialDelivery {
    fn of(one: NewDelivery, attempt: Option<TestOutcome>) -> Self {
        Self {
            id: one.id,
            destination: one.destination,
            state: one.state,
            due_ms: one.due,
            message: one.message,
            body: one.body.into(),
            error: one.error,
            attempt: attempt.map(TestView::from),
        }
    }
}
