//! `/v1/carriers/{carrier}/destinations`: addresses and their credentials, which go in and never come back out.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::destination_views::{DestinationBody, DestinationView, RotateSecret, TestView, open, rotate};
use super::extract::{Body, Part, Search};
use super::keys::room;
use super::list::{List, PageQuery};
use super::problem::{Problem, Problems};
use super::proof::OfCarrier;
use super::state::{ApiLimits, ApiState, Checks, Tester, Turn};
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::destination::secrets_context;
use crate::carrier::{Destination, DestinationState};
use crate::clock::Clock;
use crate::event::{CarrierId, DestinationName};
use crate::store::Store;
use crate::store::work::Lane;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(rotate_secret))
        .routes(routes!(enable))
        .routes(routes!(disable))
        .routes(routes!(test))
}

#[derive(Debug, Deserialize)]
struct NamePart {
    destination: DestinationName,
}

/// What changing a destination takes.
#[derive(Clone)]
struct Desk {
    store: Store,
    checks: Arc<dyn Checks>,
    limits: Arc<ApiLimits>,
    clock: Clock,
    turn: Turn,
}

impl FromRef<ApiState> for Desk {
    fn from_ref(state: &ApiState) -> Self {
        Self {
            store: FromRef::from_ref(state),
            checks: FromRef::from_ref(state),
            limits: FromRef::from_ref(state),
            clock: FromRef::from_ref(state),
            turn: FromRef::from_ref(state),
        }
    }
}

async fn find(
    store: &Store,
    carrier: &CarrierId,
    name: &DestinationName,
) -> Result<Option<Destination>, Problem> {
    Ok(store.destinations(carrier).await?.into_iter().find(|destination| destination.name == *name))
}

async fn existing(
    store: &Store,
    carrier: &CarrierId,
    name: &DestinationName,
) -> Result<Destination, Problem> {
    find(store, carrier, name).await?.ok_or_else(|| Problem::missing("destination"))
}

fn sealed(
    destination: &Destination,
    secrets: &DestinationSecrets,
    checks: &dyn Checks,
) -> Result<Vec<u8>, Problem> {
    let plain = serde_json::to_vec(secrets).map_err(|error| Problem::invalid("headers", error))?;
    Ok(checks.seal(&secrets_context(&destination.carrier, &destination.name), &plain))
}

/// List destinations
///
/// By name. Of secrets, only names and kinds are shown.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/destinations", tag = "destinations", params(PageQuery),
    responses((status = 200, description = "A page of destinations", body = List<DestinationView>), Problems))]
async fn list(
    of: OfCarrier,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
    State(clock): State<Clock>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let page = page.try_into()?;
    let all = store.destinations(&of.carrier).await?;
    let cut =
        List::cut(all, &page, |one| one.name.as_str(), |one| DestinationView::of(&one, checks.as_ref()));
    let tokens: HashMap<_, _> = store.tokens(&of.carrier).await?.into_iter().collect();
    let now = clock.now();
    let kept = |view: DestinationView| {
        let token = tokens.get(&view.name);
        view.keeping(&of.carrier, token, checks.as_ref(), now)
    };
    let items = cut.items.into_iter().map(|view| view.map(kept)).collect::<Result<_, _>>()?;
    Ok(axum::Json(List::<DestinationView> { items, next: cut.next }))
}

/// Read a destination
#[utoipa::path(get, path = "/v1/carriers/{carrier}/destinations/{destination}", tag = "destinations",
    responses((status = 200, description = "The destination", body = DestinationView), Problems))]
async fn get(
    of: OfCarrier,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
    State(clock): State<Clock>,
    Part(part): Part<NamePart>,
) -> Result<impl IntoResponse, Problem> {
    let destination = existing(&store, &of.carrier, &part.destination).await?;
    let lane = Lane { carrier: of.carrier, destination: part.destination };
    let (view, token) = (DestinationView::of(&destination, checks.as_ref())?, store.token(&lane).await?);
    Ok(axum::Json(view.keeping(&lane.carrier, token.as_ref(), checks.as_ref(), clock.now())))
}

/// Make or replace a destination
///
/// Members that are absent take their defaults, except `headers`, `signing`, `auth`, `shared_secret` and `tls`, which stay as
/// they were. A generated signing secret is in this answer and never again.
#[utoipa::path(put, path = "/v1/carriers/{carrier}/destinations/{destination}", tag = "destinations",
    request_body = DestinationBody, responses(
    (status = 200, description = "It was replaced", body = DestinationView),
    (status = 201, description = "It was made", body = DestinationView), Problems))]
async fn put(
    of: OfCarrier,
    State(Desk { store, checks, limits, clock, turn }): State<Desk>,
    Part(part): Part<NamePart>,
    Body(body): Body<DestinationBody>,
) -> Result<impl IntoResponse, Problem> {
    let _turn = turn.mine().await;
    let checks = checks.as_ref();
    let earlier = find(&store, &of.carrier, &part.destination).await?;
    let before = earlier.as_ref().map(|one| open(one, checks)).transpose()?.unwrap_or_default();
    let (spec, secrets, fresh) = body.apply(before, checks)?;
    checks.destination(&spec, &secrets)?;
    for one in store.subscriptions(&of.carrier).await? {
        // It may have been there before, or a subscription outlived it.
        if one.spec.destinations.contains(&part.destination) {
            checks.together(&one.spec, &spec)?;
        }
    }
    let status = if earlier.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    if earlier.is_none() {
        room("destinations", store.destinations(&of.carrier).await?.len(), limits.destinations)?;
    }
    let now = clock.now();
    let mut destination = earlier.unwrap_or(Destination {
        carrier: of.carrier,
        name: part.destination,
        spec: spec.clone(),
        sealed: Vec::new(),
        state: DestinationState::Enabled,
        disabled_reason: None,
        failing_since: None,
        created: now,
        updated: now,
    });
    (destination.spec, destination.updated) = (spec, now);
    destination.sealed = sealed(&destination, &secrets, checks)?;
    store.put_destination(destination.clone()).await?;
    Ok((status, axum::Json(DestinationView::of(&destination, checks)?.showing(fresh, checks))))
}

/// Delete a destination
///
/// Its open deliveries are cancelled.
#[utoipa::path(delete, path = "/v1/carriers/{carrier}/destinations/{destination}", tag = "destinations",
    responses((status = 204, description = "It is gone"), Problems))]
async fn delete(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<NamePart>,
) -> Result<StatusCode, Problem> {
    let gone = store.delete_destination(&of.carrier, &part.destination).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::missing("destination")) }
}

/// Rotate a destination's signing secret
///
/// The new secret is in this answer and never again. Until the overlap is over, requests are signed with both.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/destinations/{destination}/rotate-secret", tag = "destinations",
    request_body = RotateSecret,
    responses((status = 200, description = "The destination with its new secret", body = DestinationView), Problems))]
async fn rotate_secret(
    of: OfCarrier,
    State(Desk { store, checks, clock, turn, .. }): State<Desk>,
    Part(part): Part<NamePart>,
    Body(body): Body<RotateSecret>,
) -> Result<impl IntoResponse, Problem> {
    let _turn = turn.mine().await;
    let checks = checks.as_ref();
    let mut destination = existing(&store, &of.carrier, &part.destination).await?;
    let mut secrets = open(&destination, checks)?;
    let fresh = rotate(&mut secrets.signing, &body, clock.now(), checks)?;
    destination.sealed = sealed(&destination, &secrets, checks)?;
    destination.updated = clock.now();
    store.put_destination(destination.clone()).await?;
    Ok(axum::Json(DestinationView::of(&destination, checks)?.showing(Some(fresh), checks)))
}

/// Enable a destination
///
/// What was held for it is sent now.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/destinations/{destination}/enable", tag = "destinations",
    responses((status = 200, description = "The destination", body = DestinationView), Problems))]
async fn enable(
    of: OfCarrier,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
    State(clock): State<Clock>,
    Part(part): Part<NamePart>,
) -> Result<impl IntoResponse, Problem> {
    let (carrier, name) = (&of.carrier, &part.destination);
    store.set_destination_state(carrier, name, DestinationState::Enabled, None, clock.now()).await?;
    Ok(axum::Json(DestinationView::of(&existing(&store, carrier, name).await?, checks.as_ref())?))
}

/// Disable a destination
///
/// Its deliveries are held until it is enabled again.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/destinations/{destination}/disable", tag = "destinations",
    responses((status = 200, description = "The destination", body = DestinationView), Problems))]
async fn disable(
    of: OfCarrier,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
    State(clock): State<Clock>,
    Part(part): Part<NamePart>,
) -> Result<impl IntoResponse, Problem> {
    let (carrier, name) = (&of.carrier, &part.destination);
    let reason = Some(format!("disabled with the key {}", of.principal.key));
    store.set_destination_state(carrier, name, DestinationState::Disabled, reason, clock.now()).await?;
    Ok(axum::Json(DestinationView::of(&existing(&store, carrier, name).await?, checks.as_ref())?))
}

/// Send an example to a destination
///
/// Once, now, with its headers and signature. The answer says what came back; no delivery is recorded.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/destinations/{destination}/test", tag = "destinations",
    responses((status = 200, description = "What it came to", body = TestView), Problems))]
async fn test(
    of: OfCarrier,
    State(store): State<Store>,
    State(tester): State<Arc<dyn Tester>>,
    Part(part): Part<NamePart>,
) -> Result<impl IntoResponse, Problem> {
    let destination = existing(&store, &of.carrier, &part.destination).await?;
    Ok(axum::Json(TestView::from(tester.test(destination).await?)))
}
