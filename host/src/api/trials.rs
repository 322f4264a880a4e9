//! `…/subscriptions/{subscription}/test`, and what destinations are tested with: events that are tried out and never kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::event_types::described;
use super::extract::{OptionalBody, Part};
use super::problem::{Code, Problem, Problems};
use super::proof::OfCarrier;
use super::state::{ApiState, Tester};
use super::subscriptions::{IdPart, existing};
use super::trial_views::TrialView;
use crate::catalogue::Catalogue;
use crate::clock::{Clock, random_bytes};
use crate::event::{CarrierId, Event, EventType, time_ordered};
use crate::ingest::{IngestError, IngestLimits, made};
use crate::matching::TypePattern;
use crate::store::Store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(test))
}

/// What a destination is tested with.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DestinationTest {
    /// The event's type; `hookyard.test` when absent.
    pub(super) event_type: Option<EventType>,
    /// The event's payload. Absent: the example of the event type, or, without `event_type`, a short text.
    #[schema(value_type = Option<serde_json::Value>)]
    pub(super) payload: Option<Box<RawValue>>,
}

/// What a subscription is tested with.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SubscriptionTest {
    /// The event's type. Absent: the first that the subscription names, or the first described one that it asks for.
    event_type: Option<EventType>,
    /// The event's payload. Absent: the example of the event type.
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
    /// The event's attributes. `source` is `/hookyard/test` when it is absent.
    attributes: BTreeMap<String, String>,
    /// Whether one attempt is made at each delivery; `false` when absent.
    send: bool,
}

/// What making an event for a test takes.
#[derive(Clone)]
pub(super) struct Workbench {
    store: Store,
    catalogue: Arc<Catalogue>,
    limits: Arc<IngestLimits>,
    clock: Clock,
}

impl FromRef<ApiState> for Workbench {
    fn from_ref(state: &ApiState) -> Self {
        Self {
            store: FromRef::from_ref(state),
            catalogue: FromRef::from_ref(state),
            limits: FromRef::from_ref(state),
            clock: FromRef::from_ref(state),
        }
    }
}

impl Workbench {
    /// The event for a test of a destination.
    pub(super) async fn for_destination(
        &self,
        carrier: &CarrierId,
        body: DestinationTest,
    ) -> Result<Event, Problem> {
        let payload = match (body.payload, &body.event_type) {
            (Some(payload), _) => bytes(&payload),
            (None, Some(event_type)) => self.example(carrier, event_type).await?,
            (None, None) => Bytes::from_static(br#"{"message":"This is a test delivery of Hookyard."}"#),
        };
        let event_type = match body.event_type {
            Some(event_type) => event_type,
            None => name("hookyard.test")?,
        };
        self.event(carrier, &event_type, BTreeMap::new(), payload)
    }

    async fn for_subscription(
        &self,
        carrier: &CarrierId,
        asked: &[String],
        body: SubscriptionTest,
    ) -> Result<Event, Problem> {
        let event_type = match body.event_type {
            Some(event_type) => event_type,
            None => self.first(carrier, asked).await?,
        };
        let payload = match body.payload {
            Some(payload) => bytes(&payload),
            None => self.example(carrier, &event_type).await?,
        };
        self.event(carrier, &event_type, body.attributes, payload)
    }

    /// The first event type that the patterns name, or the first described one that they ask for.
    async fn first(&self, carrier: &CarrierId, asked: &[String]) -> Result<EventType, Problem> {
        let own = self.store.event_types(carrier).await?;
        let described = || {
            let of_catalogue = self.catalogue.entries().iter().map(|entry| &entry.event_type);
            own.iter().map(|one| &one.event_type).chain(of_catalogue)
        };
        let found = asked.iter().filter_map(|text| text.parse().ok()).find_map(|pattern| match pattern {
            TypePattern::Exact(event_type) => Some(event_type),
            pattern => described().find(|event_type| pattern.matches(event_type)).cloned(),
        });
        found.ok_or_else(|| {
            let why = "no described event type is one that the subscription asks for: name one here";
            Problem::invalid("event_type", why)
        })
    }

    async fn example(&self, carrier: &CarrierId, event_type: &EventType) -> Result<Bytes, Problem> {
        let described = described(&self.store, &self.catalogue, Some(carrier), event_type).await?;
        let example = described.and_then(|detail| detail.example);
        example.map(|example| bytes(&example)).ok_or_else(|| {
            let why = format!(
                "there is no example of `{event_type}`: give a payload here, or describe the event type with one"
            );
            Problem::invalid("payload", why)
        })
    }

    fn event(
        &self,
        carrier: &CarrierId,
        event_type: &EventType,
        mut attributes: BTreeMap<String, String>,
        payload: Bytes,
    ) -> Result<Event, Problem> {
        attributes.entry("source".to_owned()).or_insert_with(|| "/hookyard/test".to_owned());
        let now = self.clock.now();
        let id = name(&format!("test-{}", time_ordered(now, random_bytes())))?;
        let event = made(carrier, &id, event_type, &attributes, payload, &self.limits, now);
        event.map_err(|refusal| IngestError::from(refusal).into())
    }
}

/// A name of the host's own making.
fn name<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|why| Problem::new(Code::Internal, format!("{why}")))
}

fn bytes(json: &RawValue) -> Bytes {
    Bytes::copy_from_slice(json.get().as_bytes())
}

/// Try a subscription out
///
/// Makes an event, says whether it matches and why not, runs the plugins, and, with `send`, makes one attempt at each
/// delivery. Nothing is recorded, and plugins' breakers and destinations' limits are left alone. A paused subscription can
/// be tried out, too. At most 16 tests run at once; one sends for at most 60 seconds.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/subscriptions/{subscription}/test", tag = "subscriptions",
    request_body = Option<SubscriptionTest>,
    responses((status = 200, description = "What it came to", body = TrialView), Problems))]
async fn test(
    of: OfCarrier,
    State(bench): State<Workbench>,
    State(tester): State<Arc<dyn Tester>>,
    Part(part): Part<IdPart>,
    OptionalBody(body): OptionalBody<SubscriptionTest>,
) -> Result<impl IntoResponse, Problem> {
    let subscription = existing(&bench.store, &of.carrier, &part.subscription).await?;
    let send = body.send;
    let event = bench.for_subscription(&of.carrier, &subscription.spec.event_types, body).await?;
    let rehearsal = tester.rehearse(subscription.clone(), event.clone(), send).await?;
    Ok(axum::Json(TrialView::of(&event, &subscription, rehearsal)))
}
