//! `POST /v1/events`: the handler around the pure readers, and what refusals are on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::{IngestError, IngestLimits, Intake, Refusal, events};
use crate::api::extract::RawBody;
use crate::api::problem::{Code, Problem, Problems};
use crate::api::proof::Publisher;
use crate::clock::{Clock, Millis};
use crate::event::{CarrierId, EventId};
use crate::store::error::AcceptError;
use crate::store::work::Acceptance;

/// What became of a request's events: all of them are on disk.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    /// One for each event, in the request's order.
    pub accepted: Vec<AcceptedEvent>,
}

/// One event that is on disk.
#[derive(Debug, Serialize, ToSchema)]
pub struct AcceptedEvent {
    /// Whose event it is.
    pub carrier: CarrierId,
    /// Its id.
    pub id: EventId,
    /// When it was first accepted, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub received_ms: Millis,
    /// Whether the same event had been accepted before; nothing was changed then.
    pub repeat: bool,
}

/// A plain event as the API describes it. Reading is done by hand, so that the payload stays as it came.
#[derive(Debug, ToSchema)]
#[schema(as = Event)]
#[expect(dead_code, reason = "it only describes the request in the OpenAPI document")]
pub struct EventBody {
    /// Whose event it is.
    carrier: CarrierId,
    /// The publisher's id: unique among the carrier's events. The same event again changes nothing.
    id: EventId,
    /// The type, from the catalogue.
    r#type: crate::event::EventType,
    /// When it happened, as in RFC 3339. Kept as the attribute `time`.
    time: Option<String>,
    /// Where it happened. Kept as the attribute `source`.
    source: Option<String>,
    /// What it happened to. Kept as the attribute `subject`.
    subject: Option<String>,
    /// More attributes: strings, booleans and whole numbers.
    attributes: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    /// The data: any JSON, kept byte for byte.
    payload: serde_json::Value,
}

/// Post events
///
/// One event, an array of them, or CloudEvents 1.0 (binary, structured or batch) with the extension attribute
/// `carrier`. Answered after they are committed. A request is accepted or refused as a whole; a refusal names the
/// `index` of the event.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "events",
    request_body(content(
        (EventBody = "application/json"),
        (serde_json::Value = "application/cloudevents+json"),
        (serde_json::Value = "application/cloudevents-batch+json"),
    )),
    responses((status = 202, description = "All events are on disk", body = Accepted), Problems)
)]
pub async fn post_events(
    _: Publisher,
    State(intake): State<Arc<dyn Intake>>,
    State(limits): State<Arc<IngestLimits>>,
    State(clock): State<Clock>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<impl IntoResponse, Problem> {
    let list = events(&headers, &body, &limits, clock.now())?;
    let named: Vec<_> = list.iter().map(|e| (e.carrier.clone(), e.id.clone(), e.received)).collect();
    let outcomes = if list.is_empty() { Vec::new() } else { intake.accept(list).await? };
    let accepted = named.into_iter().zip(outcomes).map(accepted).collect();
    Ok((StatusCode::ACCEPTED, axum::Json(Accepted { accepted })))
}

fn accepted(((carrier, id, now), outcome): ((CarrierId, EventId, Millis), Acceptance)) -> AcceptedEvent {
    match outcome {
        Acceptance::First => AcceptedEvent { carrier, id, received_ms: now, repeat: false },
        Acceptance::Repeat { received } => AcceptedEvent { carrier, id, received_ms: received, repeat: true },
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let detail = match error.index {
            Some(index) => format!("event {index}: {}", error.why),
            None => error.why.to_string(),
        };
        let mut problem = match error.why {
            Refusal::Media { .. } => Self::new(Code::UnsupportedMediaType, detail),
            Refusal::Syntax { .. } => Self::new(Code::InvalidJson, detail),
            Refusal::Field { field, .. } => Self::new(Code::InvalidEvent, detail).field(field),
            Refusal::Name { field, .. } => Self::new(Code::InvalidEvent, detail).field(field),
            Refusal::Limit { limit, max, .. } => {
                let code = match limit {
                    "event_bytes" | "batch_events" => Code::TooLarge,
                    _ => Code::InvalidEvent,
                };
                Self::new(code, detail).limit(limit, max as u64)
            }
        };
        problem.index = error.index;
        problem
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        let detail = error.to_string();
        match error {
            AcceptError::Conflict { index } => Self::new(Code::EventConflict, detail).index(index),
            AcceptError::UnknownCarrier { index } => Self::new(Code::UnknownCarrier, detail).index(index),
            AcceptError::Busy { retry_after } => Self::new(Code::Busy, detail).retry_after(retry_after),
            AcceptError::Backlog { retry_after } => {
                Self::new(Code::BacklogFull, detail).retry_after(retry_after)
            }
            AcceptError::Store(error) => error.into(),
        }
    }
}
