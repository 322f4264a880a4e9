//! `/v1/carriers/{carrier}/subscriptions`: standing orders, checked when they are registered.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Part, Search};
use super::keys::room;
use super::list::{List, PageQuery};
use super::problem::{Code, Problem, Problems};
use super::proof::OfCarrier;
use super::state::{ApiLimits, ApiState, Checks, Unfit};
use crate::carrier::{Owner, Subscription, SubscriptionSpec, SubscriptionState};
use crate::clock::{Clock, Millis, random_bytes};
use crate::event::{CarrierId, DestinationName, SubscriptionId, time_ordered};
use crate::store::Store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, put, delete))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// A subscription.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionView {
    /// Its id.
    pub id: SubscriptionId,
    /// What its carrier described.
    #[serde(flatten)]
    pub spec: SubscriptionSpec,
    /// Whether it takes part.
    pub state: SubscriptionState,
    /// When it was made, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub created_ms: Millis,
    /// When it was last changed, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub updated_ms: Millis,
}

impl From<Subscription> for SubscriptionView {
    fn from(one: Subscription) -> Self {
        let Subscription { id, spec, state, created, updated, .. } = one;
        Self { id, spec, state, created_ms: created, updated_ms: updated }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct IdPart {
    pub(super) subscription: SubscriptionId,
}

pub(super) async fn existing(
    store: &Store,
    carrier: &CarrierId,
    id: &SubscriptionId,
) -> Result<Subscription, Problem> {
    let found = store.subscriptions(carrier).await?.into_iter().find(|one| one.id == *id);
    found.ok_or_else(|| Problem::missing("subscription"))
}

/// Whether everything that a subscription says holds: sizes, then words, then what it refers to.
async fn check(
    store: &Store,
    checks: &dyn Checks,
    carrier: &CarrierId,
    spec: &SubscriptionSpec,
    all: &[Subscription],
) -> Result<(), Problem> {
    if spec.webhook.is_some() {
        let why = "only `POST /webhooks/register` makes subscriptions with it: leave it out";
        return Err(Problem::invalid("webhook", why));
    }
    if let Some(excess) = spec.excess() {
        return Err(Problem::invalid(excess.field, excess).limit(excess.limit, excess.max as u64));
    }
    checks.subscription(spec)?;
    let there = store.destinations(carrier).await?;
    for (at, name) in spec.destinations.iter().enumerate() {
        if let Some(owner) = all.iter().find(|one| owns(one, name)) {
            let why =
                format!("`{name}` belongs to the webhook {} alone; make a destination of its own", owner.id);
            return Err(Problem::invalid(format!("destinations[{at}]"), why));
        }
        let Some(destination) = there.iter().find(|one| one.name == *name) else {
            return Err(unknown(format!("destinations[{at}]"), "destination", name));
        };
        let field = || format!("destinations[{at}]");
        checks.together(spec, &destination.spec).map_err(|why| Unfit { field: field(), ..why })?;
    }
    let own = store.plugins(&Owner::Carrier(carrier.clone())).await?;
    let shared = store.plugins(&Owner::Shared).await?;
    for (at, plugin) in spec.plugins.iter().enumerate() {
        let among = if plugin.shared { &shared } else { &own };
        if !among.iter().any(|one| one.name == plugin.name) {
            return Err(unknown(format!("plugins[{at}]"), "plugin", plugin));
        }
    }
    Ok(())
}

/// Whether a destination belongs to this subscription alone, as that of a registered webhook does.
pub(super) fn owns(subscription: &Subscription, destination: &DestinationName) -> bool {
    subscription.spec.webhook.as_ref().is_some_and(|webhook| webhook.destination == *destination)
}

fn unknown(field: String, what: &str, name: &dyn std::fmt::Display) -> Problem {
    let detail = format!("`{field}`: there is no {what} `{name}`; make it first");
    Problem::new(Code::UnknownReference, detail).field(field)
}

/// List subscriptions
///
/// By id.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/subscriptions", tag = "subscriptions", params(PageQuery),
    responses((status = 200, description = "A page of subscriptions", body = List<SubscriptionView>), Problems))]
async fn list(
    of: OfCarrier,
    State(store): State<Store>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let page = page.try_into()?;
    let all = store.subscriptions(&of.carrier).await?;
    Ok(axum::Json(List::cut(all, &page, |one| one.id.as_str(), SubscriptionView::from)))
}

/// Make a subscription
///
/// The host makes its id; to choose it, `PUT` it instead.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/subscriptions", tag = "subscriptions",
    request_body = SubscriptionSpec,
    responses((status = 201, description = "The subscription", body = SubscriptionView), Problems))]
async fn create(
    of: OfCarrier,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
    State(limits): State<Arc<ApiLimits>>,
    State(clock): State<Clock>,
    Body(spec): Body<SubscriptionSpec>,
) -> Result<impl IntoResponse, Problem> {
    let id = time_ordered(clock.now(), random_bytes()).to_string();
    let id = id.parse().map_err(|error| Problem::new(Code::Internal, format!("{error}")))?;
    write(&store, checks.as_ref(), &limits, clock.now(), of.carrier, id, spec).await
}

/// Read a subscription
#[utoipa::path(get, path = "/v1/carriers/{carrier}/subscriptions/{subscription}", tag = "subscriptions",
    responses((status = 200, description = "The subscription", body = SubscriptionView), Problems))]
async fn get(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<IdPart>,
) -> Result<impl IntoResponse, Problem> {
    Ok(axum::Json(SubscriptionView::from(existing(&store, &of.carrier, &part.subscription).await?)))
}

/// Make or replace a subscription under an id of the carrier's choice
///
/// Whether it is paused stays as it was.
#[utoipa::path(put, path = "/v1/carriers/{carrier}/subscriptions/{subscription}", tag = "subscriptions",
    request_body = SubscriptionSpec, responses(
    (status = 200, description = "It was replaced", body = SubscriptionView),
    (status = 201, description = "It was made", body = SubscriptionView), Problems))]
async fn put(
    of: OfCarrier,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
    State(limits): State<Arc<ApiLimits>>,
    State(clock): State<Clock>,
    Part(part): Part<IdPart>,
    Body(spec): Body<SubscriptionSpec>,
) -> Result<impl IntoResponse, Problem> {
    write(&store, checks.as_ref(), &limits, clock.now(), of.carrier, part.subscription, spec).await
}

async fn write(
    store: &Store,
    checks: &dyn Checks,
    limits: &ApiLimits,
    now: Millis,
    carrier: CarrierId,
    id: SubscriptionId,
    spec: SubscriptionSpec,
) -> Result<(StatusCode, axum::Json<SubscriptionView>), Problem> {
    let all = store.subscriptions(&carrier).await?;
    if all.iter().any(|one| one.id == id && one.spec.webhook.is_some()) {
        let detail = "it was registered at `/webhooks/register`: its address and authorization are changed with \
                      `PATCH /webhooks/update`, everything else by registering again; here it can be paused, resumed and \
                      deleted";
        return Err(Problem::new(Code::WrongState, detail));
    }
    check(store, checks, &carrier, &spec, &all).await?;
    let there = all.len();
    let earlier = all.into_iter().find(|one| one.id == id);
    let (status, state, created) = match earlier {
        Some(one) => (StatusCode::OK, one.state, one.created),
        None => {
            room("subscriptions", there, limits.subscriptions)?;
            (StatusCode::CREATED, SubscriptionState::Active, now)
        }
    };
    let subscription = Subscription { carrier, id, spec, state, created, updated: now };
    store.put_subscription(subscription.clone()).await?;
    Ok((status, axum::Json(subscription.into())))
}

/// Delete a subscription
///
/// What was planned for it is still sent; that of a registered webhook is cancelled, since its destination goes with it.
#[utoipa::path(delete, path = "/v1/carriers/{carrier}/subscriptions/{subscription}", tag = "subscriptions",
    responses((status = 204, description = "It is gone"), Problems))]
async fn delete(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<IdPart>,
) -> Result<StatusCode, Problem> {
    let webhook = existing(&store, &of.carrier, &part.subscription).await?.spec.webhook;
    let gone = match webhook {
        Some(webhook) => store.delete_webhook(&of.carrier, &part.subscription, &webhook.destination).await?,
        None => store.delete_subscription(&of.carrier, &part.subscription).await?,
    };
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::missing("subscription")) }
}

/// Pause a subscription
///
/// Events that come in meanwhile are not matched against it, nor later. One with a schedule has no ticks meanwhile; what it
/// had collected before waits.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/subscriptions/{subscription}/pause", tag = "subscriptions",
    responses((status = 200, description = "The subscription", body = SubscriptionView), Problems))]
async fn pause(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<IdPart>,
) -> Result<impl IntoResponse, Problem> {
    set(&store, &of.carrier, &part.subscription, SubscriptionState::Paused, clock.now()).await
}

/// Resume a subscription
///
/// One with a schedule that missed ticks meanwhile has one now, with what it had collected before it was paused.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/subscriptions/{subscription}/resume", tag = "subscriptions",
    responses((status = 200, description = "The subscription", body = SubscriptionView), Problems))]
async fn resume(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<IdPart>,
) -> Result<impl IntoResponse, Problem> {
    set(&store, &of.carrier, &part.subscription, SubscriptionState::Active, clock.now()).await
}

async fn set(
    store: &Store,
    carrier: &CarrierId,
    id: &SubscriptionId,
    state: SubscriptionState,
    now: Millis,
) -> Result<axum::Json<SubscriptionView>, Problem> {
    store.set_subscription_state(carrier, id, state, now).await?;
    Ok(axum::Json(existing(store, carrier, id).await?.into()))
}
