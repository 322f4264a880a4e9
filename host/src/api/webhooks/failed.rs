//! `GET /webhooks/failed`: what did not arrive and is not tried again by itself.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::error::Failures;
use crate::api::extract::Search;
use crate::api::problem::{Code, Problem};
use crate::api::proof::Own;
use crate::clock::{Clock, Millis};
use crate::event::{DeliveryId, SubscriptionId};
use crate::store::page::{FailedFilter, FailedWebhook, PageRequest};
use crate::store::{FAILED_PAGE_MAX, Store};

/// How long failures can be queried and retried after the first attempt.
const WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// Entries of one answer when `limit` is absent.
const LIMIT: u32 = 1_000;

/// Which failures.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub struct FailedQuery {
    /// First attempted at or after, in Unix milliseconds. What is older than 30 days is not found.
    #[param(required = true, value_type = i64)]
    start_time: Option<String>,
    /// First attempted at or before, in Unix milliseconds; now when absent.
    #[param(value_type = Option<i64>)]
    end_time: Option<String>,
    /// Only of registrations for this `EVENT_ID`.
    #[param(value_type = Option<i64>)]
    event_id: Option<String>,
    /// Only of this registration.
    subscription_id: Option<String>,
    /// How many at most: 1 to 10 000, 1 000 when absent.
    #[param(value_type = Option<i64>)]
    limit: Option<String>,
    /// What the answer before gave in `x-next-cursor`.
    after: Option<String>,
}

/// A webhook that did not arrive.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// The `requestid` that its receiver saw, which a retry takes.
    pub request_id: DeliveryId,
    /// The registration.
    pub subscription_id: SubscriptionId,
    /// The registration's `EVENT_ID`.
    pub event_id: u16,
    /// When it was first attempted, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub original_attempt_time: Millis,
}

impl From<FailedWebhook> for Failed {
    fn from(one: FailedWebhook) -> Self {
        let FailedWebhook { id, subscription, event_id, first_attempt } = one;
        Self { request_id: id, subscription_id: subscription, event_id, original_attempt_time: first_attempt }
    }
}

/// A filter over failures, from texts or from JSON.
pub(super) fn filter(
    [start, end, event_id, subscription]: [Option<Value>; 4],
    now: Millis,
) -> Result<FailedFilter, Problem> {
    let start = start.ok_or_else(|| {
        invalid(
            "startTime",
            "it is missing: the time of the first attempt from which on, in Unix milliseconds",
        )
    })?;
    let from = whole("startTime", &start)?;
    let until = end.map(|end| whole("endTime", &end)).transpose()?.unwrap_or(now.0);
    if until < from {
        return Err(invalid("endTime", "it is before `startTime`"));
    }
    let oldest = now.0.saturating_sub(i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX));
    Ok(FailedFilter {
        from: Millis(from.max(oldest)),
        until: Millis(until.saturating_add(1)),
        event_id: event_id.map(|id| event(&id)).transpose()?,
        subscription: subscription.map(|id| uuid(&id)).transpose()?,
    })
}

fn invalid(field: &'static str, why: &str) -> Problem {
    Problem::new(Code::InvalidParameter, format!("`{field}`: {why}")).field(field)
}

fn whole(field: &'static str, value: &Value) -> Result<i64, Problem> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    };
    number.filter(|n| *n >= 0).ok_or_else(|| invalid(field, "it takes a whole number of Unix milliseconds"))
}

fn event(value: &Value) -> Result<u16, Problem> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64().and_then(|n| u16::try_from(n).ok()),
    };
    number.ok_or_else(|| invalid("eventId", "it takes the number of an event, such as 14"))
}

fn uuid(value: &Value) -> Result<SubscriptionId, Problem> {
    let id = value.as_str().and_then(|text| uuid::Uuid::try_parse(text).ok());
    let id = id.and_then(|id| id.hyphenated().to_string().parse().ok());
    id.ok_or_else(|| invalid("subscriptionId", "it takes the UUID of a registration"))
}

/// Query failed webhooks
///
/// Oldest first. An entry is here from the moment at which the host gives up trying by itself until a retry succeeds or the
/// webhook is unregistered; what a filter kept back never is. When there is more than one answer holds, `x-next-cursor` and
/// `Link` lead to the rest.
#[utoipa::path(get, path = "/webhooks/failed", tag = "webhooks", params(FailedQuery),
    responses((status = 200, description = "What did not arrive", body = Vec<Failed>, headers(
        ("x-next-cursor" = String, description = "Send it as `after` for the rest; absent when there is none"))), Failures))]
pub(super) async fn failed(
    of: Own,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Search(query): Search<FailedQuery>,
) -> Result<(HeaderMap, axum::Json<Vec<Failed>>), Problem> {
    let FailedQuery { start_time, end_time, event_id, subscription_id, limit, after } = query;
    let limit = limit.map(|text| text.parse::<u32>().unwrap_or(0)).unwrap_or(LIMIT);
    if !(1..=FAILED_PAGE_MAX).contains(&limit) {
        return Err(invalid("limit", "it takes 1 to 10 000"));
    }
    let given = [start_time, end_time, event_id, subscription_id];
    let filter = filter(given.clone().map(|text| text.map(Value::from)), clock.now())?;
    let page = store.failed_webhooks(&of.carrier, &filter, &PageRequest { limit, after }).await?;
    let mut headers = HeaderMap::new();
    if let Some(next) = &page.next {
        let names = ["startTime", "endTime", "eventId", "subscriptionId"];
        let limit = limit.to_string();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(
            names.into_iter().zip(&given).filter_map(|(name, text)| Some((name, text.as_deref()?))),
        );
        query.append_pair("limit", &limit).append_pair("after", next);
        let link = format!("</webhooks/failed?{}>; rel=\"next\"", query.finish());
        let values = [(header::LINK, link), (header::HeaderName::from_static("x-next-cursor"), next.clone())];
        for (name, text) in values {
            headers
                .insert(name, HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("")));
        }
    }
    Ok((headers, axum::Json(page.items.into_iter().map(Failed::from).collect())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Millis = Millis(1_761_300_000_000);

    fn read(values: [Option<Value>; 4]) -> Result<FailedFilter, Option<String>> {
        filter(values, NOW).map_err(|problem| problem.field.clone())
    }

    #[test]
    fn times_are_inclusive_and_end_thirty_days_back() {
        let all = read([Some(json!("0")), None, None, None]).unwrap();
        assert_eq!((all.from, all.until), (Millis(NOW.0 - 30 * 86_400_000), Millis(NOW.0 + 1)));
        let some = read([Some(json!(NOW.0 - 5)), Some(json!(NOW.0 - 5)), Some(json!(14)), None]).unwrap();
        assert_eq!((some.until.0 - some.from.0, some.event_id), (1, Some(14)));
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let start = || Some(json!("5"));
        for (values, field) in [
            ([None, None, None, None], "startTime"),
            ([Some(json!("yesterday")), None, None, None], "startTime"),
            ([Some(json!(-1)), None, None, None], "startTime"),
            ([start(), Some(json!(4)), None, None], "endTime"),
            ([start(), Some(json!({})), None, None], "endTime"),
            ([start(), None, Some(json!("fourteen")), None], "eventId"),
            ([start(), None, None, Some(json!("main"))], "subscriptionId"),
        ] {
            assert_eq!(read(values.clone()).unwrap_err().as_deref(), Some(field), "{values:?}");
        }
    }
}
