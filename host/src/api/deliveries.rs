//! `/v1/carriers/{carrier}/deliveries`: search, attempts, retry and cancel.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Part, Search, page_request};
use super::list::List;
use super::log_views::{DeliveryDetail, DeliveryView};
use super::problem::{Code, Problem, Problems};
use super::proof::OfCarrier;
use super::state::ApiState;
use crate::clock::{Clock, Millis};
use crate::event::{DeliveryId, DestinationName, EventId, EventType, SubscriptionId};
use crate::store::Store;
use crate::store::page::DeliveryFilter;
use crate::store::work::DeliveryState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(retry_many))
        .routes(routes!(get))
        .routes(routes!(retry))
        .routes(routes!(cancel))
}

/// A choice among deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliverySearch {
    /// Only of this event.
    event: Option<EventId>,
    /// Only of this subscription.
    subscription: Option<SubscriptionId>,
    /// Only to this destination.
    destination: Option<DestinationName>,
    /// Only of events of this type.
    event_type: Option<EventType>,
    /// Only in these states: one, or several separated by commas (`dead,failed`).
    state: Option<String>,
    /// Only where the last answer had this status.
    status: Option<u16>,
    /// Whose event was accepted at or after, in Unix milliseconds.
    #[param(value_type = Option<i64>)]
    from_ms: Option<Millis>,
    /// Whose event was accepted before, in Unix milliseconds.
    #[param(value_type = Option<i64>)]
    until_ms: Option<Millis>,
    /// How many at most: 1 to 500, 50 when absent.
    limit: Option<u32>,
    /// What the page before gave as `next`.
    after: Option<String>,
}

impl DeliverySearch {
    fn filter(self) -> Result<DeliveryFilter, Problem> {
        let states = self.state.as_deref().map(states).transpose()?.unwrap_or_default();
        Ok(DeliveryFilter {
            event: self.event,
            subscription: self.subscription,
            destination: self.destination,
            event_type: self.event_type,
            states,
            status: self.status,
            from: self.from_ms,
            until: self.until_ms,
        })
    }
}

fn states(list: &str) -> Result<Vec<DeliveryState>, Problem> {
    let state = |word: &str| {
        let word = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(word);
        DeliveryState::deserialize(word)
            .map_err(|error| Problem::new(Code::InvalidParameter, format!("`state`: {error}")).field("state"))
    };
    list.split(',').map(|word| state(word.trim())).collect()
}

/// Which deliveries to retry. What is absent does not narrow the choice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryMany {
    /// Only of this event.
    event: Option<EventId>,
    /// Only of this subscription.
    subscription: Option<SubscriptionId>,
    /// Only to this destination.
    destination: Option<DestinationName>,
    /// Only of events of this type.
    event_type: Option<EventType>,
    /// `dead`, `failed` or both; both when absent.
    #[serde(default)]
    states: Vec<DeliveryState>,
    /// Only where the last answer had this status.
    status: Option<u16>,
    /// Whose event was accepted at or after, in Unix milliseconds.
    #[schema(value_type = Option<i64>)]
    from_ms: Option<Millis>,
    /// Whose event was accepted before, in Unix milliseconds.
    #[schema(value_type = Option<i64>)]
    until_ms: Option<Millis>,
    /// How many at most, oldest first: 1 to 10 000, 1 000 when absent.
    limit: Option<u32>,
}

impl RetryMany {
    fn filter(self) -> Result<(DeliveryFilter, u32), Problem> {
        let limit = self.limit.unwrap_or(1_000);
        if !(1..=10_000).contains(&limit) {
            return Err(Problem::invalid("limit", "it takes 1 to 10 000"));
        }
        let mut states = self.states;
        if states.is_empty() {
            states = vec![DeliveryState::Dead, DeliveryState::Failed];
        }
        if let Some(at) =
            states.iter().position(|s| !matches!(s, DeliveryState::Dead | DeliveryState::Failed))
        {
            return Err(Problem::invalid(
                format!("states[{at}]"),
                "only `dead` and `failed` are retried in bulk",
            ));
        }
        let filter = DeliveryFilter {
            event: self.event,
            subscription: self.subscription,
            destination: self.destination,
            event_type: self.event_type,
            states,
            status: self.status,
            from: self.from_ms,
            until: self.until_ms,
        };
        Ok((filter, limit))
    }
}

/// How many deliveries will be tried again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Retried {
    /// How many. When it is the limit, there may be more: send the request again.
    pub retried: u64,
}

#[derive(Debug, Deserialize)]
struct DeliveryPart {
    delivery: DeliveryId,
}

/// Search deliveries
///
/// Newest first.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/deliveries", tag = "deliveries", params(DeliverySearch),
    responses((status = 200, description = "A page of deliveries", body = List<DeliveryView>), Problems))]
async fn list(
    of: OfCarrier,
    State(store): State<Store>,
    Search(mut search): Search<DeliverySearch>,
) -> Result<impl IntoResponse, Problem> {
    let page = page_request(search.limit, search.after.take())?;
    let found = store.deliveries(&of.carrier, &search.filter()?, &page).await?;
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
    let attempts = store.attempts(&of.carrier, &part.delivery).await?;
    Ok(axum::Json(DeliveryDetail::of(delivery, attempts)))
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
#[utoipa::path(post, path = "/v1/carriers/{carrier}/deliveries/retry", tag = "deliveries", request_body = RetryMany,
    responses((status = 202, description = "They will be tried now", body = Retried), Problems))]
async fn retry_many(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Body(body): Body<RetryMany>,
) -> Result<impl IntoResponse, Problem> {
    let (filter, limit) = body.filter()?;
    let retried = store.retry_deliveries(&of.carrier, &filter, clock.now(), limit).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(Retried { retried })))
}

/// What the store said to a change of state: done, not in this state, or no such thing.
pub(super) fn outcome(done: Option<bool>, what: &str, why: &str) -> Result<StatusCode, Problem> {
    match done {
        Some(true) => Ok(StatusCode::ACCEPTED),
        Some(false) => Err(Problem::new(Code::WrongState, why)),
        None => Err(Problem::missing(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_from_a_list() {
        assert_eq!(states("dead, failed").unwrap(), [DeliveryState::Dead, DeliveryState::Failed]);
        let problem = states("dead,gone").unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), ("invalid_parameter", Some("state")));
        assert!(problem.detail.contains("unknown variant `gone`"), "{}", problem.detail);
    }

    #[test]
    fn bulk_retries_touch_only_what_has_ended() {
        let read = |text: &str| serde_json::from_str::<RetryMany>(text).unwrap().filter();
        let (filter, limit) = read("{}").unwrap();
        assert_eq!((filter.states, limit), (vec![DeliveryState::Dead, DeliveryState::Failed], 1_000));
        assert_eq!(
            read(r#"{"states":["dead","delivered"]}"#).unwrap_err().field.as_deref(),
            Some("states[1]")
        );
        assert_eq!(read(r#"{"limit":0}"#).unwrap_err().code, "invalid_body");
    }
}
