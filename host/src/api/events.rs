//! `/v1/carriers/{carrier}/events`: what came in, and why it went where it went.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::outcome;
use super::extract::{Part, Search, page_request};
use super::list::List;
use super::log_views::{DeliveryDetail, EventDetail, EventView, RoutingView, payload};
use super::problem::{Problem, Problems};
use super::proof::OfCarrier;
use super::state::ApiState;
use crate::clock::{Clock, Millis};
use crate::event::{CarrierId, EventId, EventType, SubscriptionId};
use crate::store::Store;
use crate::store::page::{DeliveryFilter, EventFilter, PageRequest};

/// Deliveries that an event's detail shows, with their attempts.
const SHOWN_DELIVERIES: u32 = 500;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(retry_routing))
}

/// A choice among events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventSearch {
    /// Only of this type.
    r#type: Option<EventType>,
    /// Accepted at or after, in Unix milliseconds.
    #[param(value_type = Option<i64>)]
    from_ms: Option<Millis>,
    /// Accepted before, in Unix milliseconds.
    #[param(value_type = Option<i64>)]
    until_ms: Option<Millis>,
    /// How many at most: 1 to 500, 50 when absent.
    limit: Option<u32>,
    /// What the page before gave as `next`.
    after: Option<String>,
}

#[derive(Debug, Deserialize)]
struct EventPart {
    event: EventId,
}

#[derive(Debug, Deserialize)]
struct RoutingPart {
    event: EventId,
    subscription: SubscriptionId,
}

/// List events
///
/// Newest first, without their payloads.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/events", tag = "events", params(EventSearch),
    responses((status = 200, description = "A page of events", body = List<EventView>), Problems))]
async fn list(
    of: OfCarrier,
    State(store): State<Store>,
    Search(search): Search<EventSearch>,
) -> Result<impl IntoResponse, Problem> {
    let page = page_request(search.limit, search.after)?;
    let filter = EventFilter { event_type: search.r#type, from: search.from_ms, until: search.until_ms };
    let found = store.events(&of.carrier, &filter, &page).await?;
    Ok(axum::Json(List::of(found, |one| EventView::from(&one))))
}

/// Read an event and everything that it came to
///
/// Its payload, its routings (filter, versions, verdict, cost, log), their deliveries and every attempt.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/events/{event}", tag = "events",
    responses((status = 200, description = "The event", body = EventDetail), Problems))]
async fn get(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<EventPart>,
) -> Result<impl IntoResponse, Problem> {
    let event = store.event(&of.carrier, &part.event).await?.ok_or_else(|| Problem::missing("event"))?;
    let routings = store.routings(&of.carrier, &part.event).await?;
    let (mut deliveries, more_deliveries) = deliveries(&store, &of.carrier, &part.event).await?;
    let routings = routings.into_iter().map(|routing| {
        let own = |one: &mut DeliveryDetail| one.delivery.subscription == routing.subscription;
        let own = deliveries.extract_if(.., own).collect();
        RoutingView::of(routing, own)
    });
    let routings = routings.collect();
    let (view, payload) = (EventView::from(&event), payload(&event.payload));
    Ok(axum::Json(EventDetail { event: view, payload, routings, more_deliveries }))
}

/// An event's deliveries with their attempts, in their order, and whether there are more than are shown.
async fn deliveries(
    store: &Store,
    carrier: &CarrierId,
    event: &EventId,
) -> Result<(Vec<DeliveryDetail>, bool), Problem> {
    let filter = DeliveryFilter { event: Some(event.clone()), ..DeliveryFilter::default() };
    let page = PageRequest { limit: SHOWN_DELIVERIES, after: None };
    let found = store.deliveries(carrier, &filter, &page).await?;
    let mut shown = Vec::with_capacity(found.items.len());
    for delivery in found.items {
        let content = store.content(carrier, &delivery.id).await?;
        let attempts = store.attempts(carrier, &delivery.id).await?;
        shown.push(DeliveryDetail::of(delivery, content, attempts));
    }
    shown.sort_by_key(|one| one.delivery.index);
    Ok((shown, found.next.is_some()))
}

/// Run an event's plugins again for a subscription
///
/// For a routing that is parked or held.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/events/{event}/routings/{subscription}/retry", tag = "events",
    responses((status = 202, description = "It will be run now"), Problems))]
async fn retry_routing(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<RoutingPart>,
) -> Result<StatusCode, Problem> {
    let done = store.retry_routing(&of.carrier, &part.event, &part.subscription, clock.now()).await?;
    outcome(done, "routing", "only a parked or held routing can be run again")
}
