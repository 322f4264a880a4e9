//! `/v1/carriers`: the tenants. For admins; a carrier reads its own.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Search};
use super::list::{List, PageQuery};
use super::problem::{Problem, Problems};
use super::proof::{Admin, OfCarrier};
use super::state::ApiState;
use crate::carrier::Carrier;
use crate::clock::Clock;
use crate::event::CarrierId;
use crate::store::Store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get))
}

/// A carrier to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCarrier {
    /// Its id, which never changes. `me` is reserved.
    id: CarrierId,
    /// Its name for people, 1 to 200 characters.
    name: String,
}

/// List carriers
///
/// By id.
#[utoipa::path(get, path = "/v1/carriers", tag = "carriers", params(PageQuery),
    responses((status = 200, description = "A page of carriers", body = List<Carrier>), Problems))]
async fn list(
    _: Admin,
    State(store): State<Store>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let page = page.try_into()?;
    let all = store.carriers().await?;
    Ok(axum::Json(List::cut(all, &page, |carrier| carrier.id.as_str(), |carrier| carrier)))
}

/// Make a carrier
#[utoipa::path(post, path = "/v1/carriers", tag = "carriers", request_body = NewCarrier,
    responses((status = 201, description = "The carrier", body = Carrier), Problems))]
async fn create(
    _: Admin,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Body(body): Body<NewCarrier>,
) -> Result<impl IntoResponse, Problem> {
    if body.id.as_str() == "me" {
        return Err(Problem::invalid("id", "`me` is reserved: in paths it stands for the key's own carrier"));
    }
    let name = label("name", &body.name)?;
    let carrier = Carrier { id: body.id, name, created_ms: clock.now() };
    store.create_carrier(carrier.clone()).await?;
    Ok((StatusCode::CREATED, axum::Json(carrier)))
}

/// Read a carrier
#[utoipa::path(get, path = "/v1/carriers/{carrier}", tag = "carriers",
    responses((status = 200, description = "The carrier", body = Carrier), Problems))]
async fn get(of: OfCarrier, State(store): State<Store>) -> Result<impl IntoResponse, Problem> {
    let found = store.carriers().await?.into_iter().find(|carrier| carrier.id == of.carrier);
    found.map(axum::Json).ok_or_else(|| Problem::missing("carrier"))
}

/// A name for people: 1 to 200 characters, none of them a control character.
pub(super) fn label(field: &str, text: &str) -> Result<String, Problem> {
    let fits = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Problem::invalid(field, "it takes 1 to 200 printable characters"))
    }
}
