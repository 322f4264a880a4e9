//! `POST /webhooks/retry/{request}`, and many at once.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::error::Failures;
use super::failed;
use crate::api::extract::{Part, RawBody, json};
use crate::api::problem::{Code, Problem};
use crate::api::proof::Own;
use crate::clock::Clock;
use crate::event::DeliveryId;
use crate::store::{FAILED_PAGE_MAX, Store};

/// What a retry that was started is answered with.
const STARTED: &str = "started retry";

/// A retry has started.
#[derive(Debug, Serialize, ToSchema)]
pub struct Started {
    /// `started retry`.
    #[schema(value_type = String)]
    status: &'static str,
    /// How many, where many were asked for. When it is 10 000, there may be more: send the request again.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// Which failures to retry: as `GET /webhooks/failed` takes them, numbers as numbers or as texts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RetryMany {
    /// First attempted at or after, in Unix milliseconds.
    #[schema(value_type = i64, required = true)]
    start_time: Option<Value>,
    /// First attempted at or before, in Unix milliseconds; now when absent.
    #[schema(value_type = Option<i64>)]
    end_time: Option<Value>,
    /// Only of registrations for this `EVENT_ID`.
    #[schema(value_type = Option<i64>)]
    event_id: Option<Value>,
    /// Only of this registration.
    #[schema(value_type = Option<String>)]
    subscription_id: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RequestPart {
    request: String,
}

/// Retry a failed webhook
///
/// It is sent again with the same `requestid` and body, to the address and with the authorization that its registration has
/// now. The answer does not wait for that: when it has arrived, it is gone from the failed ones. Where the host had stopped
/// sending to the address, it starts again.
#[utoipa::path(post, path = "/webhooks/retry/{request}", tag = "webhooks",
    responses((status = 200, description = "The retry has started", body = Started), Failures))]
pub(super) async fn retry(
    of: Own,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<RequestPart>,
) -> Result<axum::Json<Started>, Problem> {
    let missing = || Problem::missing("webhook request");
    let id: DeliveryId = part.request.to_ascii_lowercase().parse().map_err(|_| missing())?;
    match store.retry_webhook(&of.carrier, &id, clock.now()).await? {
        Some(true) => Ok(axum::Json(Started { status: STARTED, count: None })),
        Some(false) => {
            let detail = "it is under way or has arrived: there is nothing to retry";
            Err(Problem::new(Code::WrongState, detail))
        }
        None => Err(missing()),
    }
}

/// Retry many failed webhooks
///
/// Those that `GET /webhooks/failed` finds with the same members, oldest first.
#[utoipa::path(post, path = "/webhooks/retry", tag = "webhooks", request_body = RetryMany,
    responses((status = 200, description = "The retries have started", body = Started), Failures))]
pub(super) async fn retry_many(
    of: Own,
    State(store): State<Store>,
    State(clock): State<Clock>,
    RawBody(body): RawBody,
) -> Result<axum::Json<Started>, Problem> {
    let RetryMany { start_time, end_time, event_id, subscription_id } = json(&body)?;
    let now = clock.now();
    let filter = failed::filter([start_time, end_time, event_id, subscription_id], now)?;
    let count = store.retry_webhooks(&of.carrier, &filter, now, FAILED_PAGE_MAX).await?;
    Ok(axum::Json(Started { status: STARTED, count: Some(count) }))
}
