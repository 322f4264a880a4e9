//! `/v1/event-types`: the catalogue; and `/v1/carriers/{carrier}/event-types`: it with what the carrier adds.
//!
//! A description decides nothing: events of types that nobody has described are taken and routed like any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Part, Search};
use super::keys::room;
use super::list::{List, PageQuery};
use super::log_views::{payload, raw};
use super::problem::{Problem, Problems};
use super::proof::{Anyone, OfCarrier};
use super::state::{ApiLimits, ApiState};
use crate::carrier::OwnEventType;
use crate::catalogue::{Action, Catalogue, Entry, Field, Filterable};
use crate::clock::{Clock, Millis};
use crate::event::{CarrierId, EventType};
use crate::store::Store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(list_of_carrier))
        .routes(routes!(get_of_carrier, put, delete))
}

/// Characters of what a carrier says of an event type.
const ABOUT_CHARACTERS: usize = 2_000;
/// Bytes of an example.
const EXAMPLE_BYTES: usize = 64 << 10;

#[derive(Debug, Deserialize)]
struct TypePart {
    event_type: EventType,
}

/// What a carrier says of an event type.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTypeBody {
    /// What it is about; 1 to 2 000 characters.
    about: String,
    /// A payload of this type, for tests; at most 64 KiB.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    example: Option<Box<RawValue>>,
}

/// Who describes an event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DescribedBy {
    /// The catalogue.
    Catalogue,
    /// The carrier.
    Carrier,
}

/// An event type without its example.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventTypeView {
    /// The event type.
    pub r#type: EventType,
    /// Who describes it. What a carrier says of a type goes before what the catalogue says.
    pub described_by: DescribedBy,
    /// What it is about.
    pub about: String,
    /// The webhooks that it sets off, by `event_id`.
    pub webhooks: Vec<WebhookView>,
    /// When the carrier last described it, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub updated_ms: Option<Millis>,
}

/// An event type.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventTypeDetail {
    /// What is in lists.
    #[serde(flatten)]
    pub view: EventTypeView,
    /// A payload of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub example: Option<Box<RawValue>>,
}

/// What a carrier can register for on an event type.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookView {
    /// The `EVENT_ID` of the registration; absent for an event type that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<u16>,
    /// What the webhook calls the event; absent where nothing documents it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_name: Option<String>,
    /// What it does.
    pub action: Action,
    /// Whether the registration may have `FILTER_BY`.
    pub filter: bool,
    /// What stands before the paths of a case in `FILTER_BY`, such as `case.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_prefix: Option<String>,
    /// Members of the registration beyond `HTTP_POST_ADDRESS`, `HEADERS` and `FILTER_BY`.
    pub fields: Vec<Field>,
    /// Event types, or prefixes such as `case.*`, that a registration with a `SCHEDULE` collects in place of this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub collects: Vec<String>,
    /// What it is about.
    pub about: String,
    /// Which parts of this no document states, and why they were chosen so.
    pub assumed: Vec<String>,
}

impl From<&Entry> for WebhookView {
    fn from(one: &Entry) -> Self {
        let (filter, filter_prefix) = match &one.filter {
            Filterable::No => (false, None),
            Filterable::Yes { prefix } => (true, prefix.clone()),
        };
        Self {
            event_id: one.event_id,
            event_name: one.event_name.clone(),
            action: one.action,
            filter,
            filter_prefix,
            fields: one.fields.clone(),
            collects: one.collects.clone(),
            about: one.about.clone(),
            assumed: one.assumed.clone(),
        }
    }
}

fn of_catalogue(catalogue: &Catalogue, lead: &Entry) -> EventTypeView {
    let webhooks = catalogue.by_type(lead.event_type.as_str()).map(WebhookView::from).collect();
    EventTypeView {
        r#type: lead.event_type.clone(),
        described_by: DescribedBy::Catalogue,
        about: lead.about.clone(),
        webhooks,
        updated_ms: None,
    }
}

fn of_carrier(catalogue: &Catalogue, own: OwnEventType) -> EventTypeView {
    let webhooks = catalogue.by_type(own.event_type.as_str()).map(WebhookView::from).collect();
    EventTypeView {
        r#type: own.event_type,
        described_by: DescribedBy::Carrier,
        about: own.about,
        webhooks,
        updated_ms: Some(own.updated),
    }
}

/// Every event type of the catalogue, by type.
fn all(catalogue: &Catalogue) -> BTreeMap<EventType, EventTypeView> {
    let each = catalogue.entries().chunk_by(|a, b| a.event_type == b.event_type);
    each.filter_map(|of_type| catalogue.lead(of_type.first()?.event_type.as_str()))
        .map(|lead| (lead.event_type.clone(), of_catalogue(catalogue, lead)))
        .collect()
}

/// What there is to know of an event type; what the carrier says goes first.
pub(super) async fn described(
    store: &Store,
    catalogue: &Catalogue,
    carrier: Option<&CarrierId>,
    event_type: &EventType,
) -> Result<Option<EventTypeDetail>, Problem> {
    if let Some(carrier) = carrier
        && let Some(own) = store.event_type(carrier, event_type).await?
    {
        let example = own.example.as_deref().map(raw);
        return Ok(Some(EventTypeDetail { view: of_carrier(catalogue, own), example }));
    }
    Ok(catalogue.lead(event_type.as_str()).map(|lead| EventTypeDetail {
        view: of_catalogue(catalogue, lead),
        example: lead.example.as_ref().map(payload),
    }))
}

fn page(
    types: BTreeMap<EventType, EventTypeView>,
    page: PageQuery,
) -> Result<axum::Json<List<EventTypeView>>, Problem> {
    let types = types.into_values().collect();
    Ok(axum::Json(List::cut(types, &page.try_into()?, |one| one.r#type.as_str(), |one| one)))
}

/// List the catalogue
///
/// The event types that the host knows, by type, without their examples. Events of other types are taken all the same.
#[utoipa::path(get, path = "/v1/event-types", tag = "event types", params(PageQuery),
    responses((status = 200, description = "A page of event types", body = List<EventTypeView>), Problems))]
async fn list(
    _: Anyone,
    State(catalogue): State<Arc<Catalogue>>,
    Search(query): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    page(all(&catalogue), query)
}

/// Read an event type of the catalogue
#[utoipa::path(get, path = "/v1/event-types/{event_type}", tag = "event types",
    responses((status = 200, description = "The event type", body = EventTypeDetail), Problems))]
async fn get(
    _: Anyone,
    State(store): State<Store>,
    State(catalogue): State<Arc<Catalogue>>,
    Part(part): Part<TypePart>,
) -> Result<impl IntoResponse, Problem> {
    let found = described(&store, &catalogue, None, &part.event_type).await?;
    found.map(axum::Json).ok_or_else(|| Problem::missing("event type"))
}

/// List event types
///
/// Those of the catalogue and those that the carrier describes, by type, without their examples.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/event-types", tag = "event types", params(PageQuery),
    responses((status = 200, description = "A page of event types", body = List<EventTypeView>), Problems))]
async fn list_of_carrier(
    of: OfCarrier,
    State(store): State<Store>,
    State(catalogue): State<Arc<Catalogue>>,
    Search(query): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let mut types = all(&catalogue);
    for own in store.event_types(&of.carrier).await? {
        types.insert(own.event_type.clone(), of_carrier(&catalogue, own));
    }
    page(types, query)
}

/// Read an event type
///
/// As the carrier describes it, or else as the catalogue does.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/event-types/{event_type}", tag = "event types",
    responses((status = 200, description = "The event type", body = EventTypeDetail), Problems))]
async fn get_of_carrier(
    of: OfCarrier,
    State(store): State<Store>,
    State(catalogue): State<Arc<Catalogue>>,
    Part(part): Part<TypePart>,
) -> Result<impl IntoResponse, Problem> {
    let found = described(&store, &catalogue, Some(&of.carrier), &part.event_type).await?;
    found.map(axum::Json).ok_or_else(|| Problem::missing("event type"))
}

/// Describe an event type
///
/// One of the carrier's own, or one of the catalogue in the carrier's words.
#[utoipa::path(put, path = "/v1/carriers/{carrier}/event-types/{event_type}", tag = "event types",
    request_body = EventTypeBody, responses(
    (status = 200, description = "It was described anew", body = EventTypeDetail),
    (status = 201, description = "It is described", body = EventTypeDetail), Problems))]
async fn put(
    of: OfCarrier,
    State(store): State<Store>,
    State(catalogue): State<Arc<Catalogue>>,
    State(limits): State<Arc<ApiLimits>>,
    State(clock): State<Clock>,
    Part(part): Part<TypePart>,
    Body(body): Body<EventTypeBody>,
) -> Result<impl IntoResponse, Problem> {
    check(&body)?;
    let there = store.event_types(&of.carrier).await?;
    let earlier = there.iter().find(|one| one.event_type == part.event_type);
    let (status, created) = match earlier {
        Some(one) => (StatusCode::OK, one.created),
        None => {
            room("event_types", there.len(), limits.event_types)?;
            (StatusCode::CREATED, clock.now())
        }
    };
    let own = OwnEventType {
        carrier: of.carrier,
        event_type: part.event_type,
        about: body.about,
        example: body.example.as_ref().map(|example| example.get().to_owned()),
        created,
        updated: clock.now(),
    };
    store.put_event_type(own.clone()).await?;
    Ok((status, axum::Json(EventTypeDetail { view: of_carrier(&catalogue, own), example: body.example })))
}

fn check(body: &EventTypeBody) -> Result<(), Problem> {
    let characters = body.about.chars().count();
    if body.about.chars().any(|c| c.is_control() && c != '\n') || characters == 0 {
        return Err(Problem::invalid("about", "it takes 1 to 2000 printable characters and line ends"));
    }
    let example = body.example.as_ref().map_or(0, |example| example.get().len());
    for (field, limit, unit, size, max) in [
        ("about", "about_characters", "characters", characters, ABOUT_CHARACTERS),
        ("example", "example_bytes", "bytes", example, EXAMPLE_BYTES),
    ] {
        if size > max {
            let why = format!("it has {size} {unit}: the limit `{limit}` is {max}");
            return Err(Problem::invalid(field, why).limit(limit, max as u64));
        }
    }
    Ok(())
}

/// Take back what the carrier says of an event type
///
/// Events of the type are taken as before.
#[utoipa::path(delete, path = "/v1/carriers/{carrier}/event-types/{event_type}", tag = "event types",
    responses((status = 204, description = "It is gone"), Problems))]
async fn delete(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<TypePart>,
) -> Result<StatusCode, Problem> {
    let gone = store.delete_event_type(&of.carrier, &part.event_type).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::missing("event type of the carrier's own")) }
}
