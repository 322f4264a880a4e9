//! `/v1/carriers/{carrier}/deliveries`: search, attempts, retry, resend and cancel.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::delivery_choice::{DeliverySearch, Many};
use super::extract::{Body, Part, Search};
use super::list::List;
use super::log_views::{DeliveryDetail, DeliveryView};
use super::problem::{Code, Problem, Problems};
use super::proof::OfCarrier;
use super::state::ApiState;
use crate::clock::Clock;
use crate::event::DeliveryId;
use crate::store::Store;
use crate::store::page::Changed;
use crate::store::work::DeliveryState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(retry_many))
        .routes(routes!(cancel_many))
        .routes(routes!(get))
        .routes(routes!(retry))
        .routes(routes!(resend))
        .routes(routes!(cancel))
}

/// How many deliveries will be tried again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Retried {
    /// How many.
    pub retried: u64,
    /// There may be more: send the request again with this as `after`. Absent when everything was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How many deliveries will not be sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cancelled {
    /// How many.
    pub cancelled: u64,
    /// There may be more: send the request again with this as `after`. Absent when everything was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DeliveryPart {
    delivery: DeliveryId,
}

/// Search deliveries
///
/// Newest first, or oldest first. One request looks at no more than 50 000 deliveries (`search_rows`): a page may hold
/// fewer than `limit`, even none, and still have a `next`. Only a page without `next` is the last.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/deliveries", tag = "deliveries", params(DeliverySearch),
    responses((status = 200, description = "A page of deliveries", body = List<DeliveryView>), Problems))]
async fn list(
    of: OfCarrier,
    State(store): State<Store>,
    Search(search): Search<DeliverySearch>,
) -> Result<impl IntoResponse, Problem> {
    let (filter, page) = search.read()?;
    let found = store.deliveries(&of.carrier, &filter, &page).await?;
    Ok(axum::Json(List::of(found, |one| DeliveryView::from(&one))))
}

/// Read a delivery with its attempts
#[utoipa::path(get, path = "/v1/carriers/{carrier}/deliveries/{delivery}", tag = "deliveries",
    responses((status = 200, description = "The delivery", body = DeliveryDetail), Problems))]
async fn get(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<DeliveryPart>,
) -> Result<impl IntoResponse, Problem> {
    let found = store.delivery(&of.carrier, &part.delivery).await?;
    let delivery = found.ok_or_else(|| Problem::missing("delivery"))?;
    let content = store.content(&of.carrier, &part.delivery).await?;
    let attempts = store.attempts(&of.carrier, &part.delivery).await?;
    Ok(axum::Json(DeliveryDetail::of(delivery, content, attempts)))
}

/// Retry a delivery
///
/// Now, whatever its policy says. For one that is dead, failed, cancelled or waiting.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/deliveries/{delivery}/retry", tag = "deliveries",
    responses((status = 202, description = "It will be tried now"), Problems))]
async fn retry(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<DeliveryPart>,
) -> Result<StatusCode, Problem> {
    let done = store.retry_delivery(&of.carrier, &part.delivery, clock.now()).await?;
    outcome(done, "delivery", "it is under way or delivered already")
}

/// Send a delivery again
///
/// Now, under the same id (`requestid`), whatever has become of it: one that was delivered is sent once more. Not while it
/// is under way.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/deliveries/{delivery}/resend", tag = "deliveries",
    responses((status = 202, description = "It will be sent now"), Problems))]
async fn resend(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<DeliveryPart>,
) -> Result<StatusCode, Problem> {
    let done = store.resend_delivery(&of.carrier, &part.delivery, clock.now()).await?;
    outcome(done, "delivery", "it is under way")
}

/// Cancel a delivery
///
/// For one that is not under way and not delivered.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/deliveries/{delivery}/cancel", tag = "deliveries",
    responses((status = 202, description = "It is cancelled"), Problems))]
async fn cancel(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<DeliveryPart>,
) -> Result<StatusCode, Problem> {
    let done = store.cancel_delivery(&of.carrier, &part.delivery, clock.now()).await?;
    outcome(done, "delivery", "it is under way or delivered already")
}

/// Retry many deliveries
///
/// Those that are dead or failed and match, oldest first.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/deliveries/retry", tag = "deliveries", request_body = Many,
    responses((status = 202, description = "They will be tried now", body = Retried), Problems))]
async fn retry_many(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Body(many): Body<Many>,
) -> Result<impl IntoResponse, Problem> {
    let (filter, page) = many.read(&[DeliveryState::Dead, DeliveryState::Failed], "retried")?;
    let Changed { count: retried, next } =
        store.retry_deliveries(&of.carrier, &filter, &page, clock.now()).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(Retried { retried, next })))
}

/// Cancel many deliveries
///
/// Those that are pending or held and match, oldest first. What a node has in hand, under way or waiting in its memory for
/// a turn, is not cancelled; disable the destination first, and what waits is put aside and can be.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/deliveries/cancel", tag = "deliveries", request_body = Many,
    responses((status = 202, description = "They are cancelled", body = Cancelled), Problems))]
async fn cancel_many(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Body(many): Body<Many>,
) -> Result<impl IntoResponse, Problem> {
    let (filter, page) = many.read(&[DeliveryState::Pending, DeliveryState::Held], "cancelled")?;
    let Changed { count: cancelled, next } =
        store.cancel_deliveries(&of.carrier, &filter, &page, clock.now()).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(Cancelled { cancelled, next })))
}

/// What the store said to a change of state: done, not in this state, or no such thing.
pub(super) fn outcome(done: Option<bool>, what: &str, why: &str) -> Result<StatusCode, Problem> {
    match done {
        Some(true) => Ok(StatusCode::ACCEPTED),
        Some(false) => Err(Problem::new(Code::WrongState, why)),
        None => Err(Problem::missing(what)),
    }
}
