//! `/v1/keys` and `/v1/carriers/{carrier}/keys`: API keys. A key's text is shown once, when it is made.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{KeyRing, Principal, mint};
use super::carriers::label;
use super::extract::{Body, Part, Search};
use super::list::{List, PageQuery};
use super::problem::{Code, Problem, Problems};
use super::proof::{Admin, OfCarrier};
use super::state::{ApiLimits, ApiState};
use crate::carrier::{ApiKey, KeyId, Role};
use crate::clock::{Clock, Millis, random_bytes};
use crate::event::CarrierId;
use crate::store::Store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(delete))
        .routes(routes!(list_of_carrier, create_of_carrier))
        .routes(routes!(delete_of_carrier))
}

/// A key of a publisher or an admin to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// `publisher` or `admin`. A carrier's keys are made under the carrier.
    role: Role,
    /// A name for people, 1 to 200 characters.
    name: String,
}

/// A key of a carrier to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCarrierKey {
    /// A name for people, 1 to 200 characters.
    name: String,
}

/// A key, without its text.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    /// Its id: the middle part of its text.
    pub id: KeyId,
    /// What it may do.
    pub role: Role,
    /// The carrier that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier: Option<CarrierId>,
    /// Its name for people.
    pub name: String,
    /// When it was made, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub created_ms: Millis,
    /// The key itself: in the answer that made it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            role: key.role,
            carrier: key.carrier,
            name: key.name,
            created_ms: key.created,
            key: None,
        }
    }
}

#[derive(Debug, Deserialize)]
struct KeyPart {
    key: KeyId,
}

/// What makes and deletes keys; the same for both families.
struct Keys {
    store: Store,
    ring: KeyRing,
}

impl Keys {
    async fn of(&self, carrier: Option<&CarrierId>) -> Result<Vec<ApiKey>, Problem> {
        let mut keys = self.store.keys().await?;
        keys.retain(|key| key.carrier.as_ref() == carrier);
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(keys)
    }

    async fn make(
        &self,
        role: Role,
        carrier: Option<CarrierId>,
        name: &str,
        limits: &ApiLimits,
        now: Millis,
    ) -> Result<KeyView, Problem> {
        let name = label("name", name)?;
        room("keys", self.of(carrier.as_ref()).await?.len(), limits.keys)?;
        let (key, text) = mint(role, carrier, name, random_bytes(), now);
        self.store.create_key(key.clone()).await?;
        self.ring.reload(&self.store).await?;
        Ok(KeyView { key: Some(text), ..key.into() })
    }

    async fn delete(
        &self,
        carrier: Option<&CarrierId>,
        id: &KeyId,
        by: &Principal,
    ) -> Result<StatusCode, Problem> {
        if by.key == *id {
            let detail = "a key cannot delete itself: use another one, so that you are not locked out";
            return Err(Problem::new(Code::WrongState, detail));
        }
        if !self.store.delete_key(carrier, id).await? {
            return Err(Problem::missing("key"));
        }
        self.ring.reload(&self.store).await?;
        Ok(StatusCode::NO_CONTENT)
    }
}

/// Whether there is room for one more.
pub(super) fn room(limit: &'static str, there: usize, max: usize) -> Result<(), Problem> {
    if there < max {
        return Ok(());
    }
    let detail = format!(
        "there are {there} {limit} already: the limit `{limit}` is {max}; delete some, or ask the operator"
    );
    Err(Problem::new(Code::TooMany, detail).limit(limit, max as u64))
}

/// List keys
///
/// Those of publishers and admins, by id.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", params(PageQuery),
    responses((status = 200, description = "A page of keys", body = List<KeyView>), Problems))]
async fn list(
    _: Admin,
    State(store): State<Store>,
    State(ring): State<KeyRing>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let keys = Keys { store, ring }.of(None).await?;
    Ok(axum::Json(List::cut(keys, &page.try_into()?, |key| key.id.as_str(), KeyView::from)))
}

/// Make a key of a publisher or an admin
///
/// The answer holds the key, which is shown only now.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", request_body = NewKey,
    responses((status = 201, description = "The key", body = KeyView), Problems))]
async fn create(
    _: Admin,
    State(store): State<Store>,
    State(ring): State<KeyRing>,
    State(limits): State<Arc<ApiLimits>>,
    State(clock): State<Clock>,
    Body(body): Body<NewKey>,
) -> Result<impl IntoResponse, Problem> {
    if body.role == Role::Carrier {
        return Err(Problem::invalid(
            "role",
            "a carrier's keys are made under `/v1/carriers/{carrier}/keys`",
        ));
    }
    let view = Keys { store, ring }.make(body.role, None, &body.name, &limits, clock.now()).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// Delete any key
///
/// It is refused from then on.
#[utoipa::path(delete, path = "/v1/keys/{key}", tag = "keys",
    responses((status = 204, description = "It is gone"), Problems))]
async fn delete(
    Admin(by): Admin,
    State(store): State<Store>,
    State(ring): State<KeyRing>,
    Part(part): Part<KeyPart>,
) -> Result<StatusCode, Problem> {
    Keys { store, ring }.delete(None, &part.key, &by).await
}

/// List a carrier's keys
///
/// By id.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/keys", tag = "keys", params(PageQuery),
    responses((status = 200, description = "A page of keys", body = List<KeyView>), Problems))]
async fn list_of_carrier(
    of: OfCarrier,
    State(store): State<Store>,
    State(ring): State<KeyRing>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let keys = Keys { store, ring }.of(Some(&of.carrier)).await?;
    Ok(axum::Json(List::cut(keys, &page.try_into()?, |key| key.id.as_str(), KeyView::from)))
}

/// Make a key of a carrier
///
/// The answer holds the key, which is shown only now.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/keys", tag = "keys", request_body = NewCarrierKey,
    responses((status = 201, description = "The key", body = KeyView), Problems))]
async fn create_of_carrier(
    of: OfCarrier,
    State(store): State<Store>,
    State(ring): State<KeyRing>,
    State(limits): State<Arc<ApiLimits>>,
    State(clock): State<Clock>,
    Body(body): Body<NewCarrierKey>,
) -> Result<impl IntoResponse, Problem> {
    let keys = Keys { store, ring };
    let view = keys.make(Role::Carrier, Some(of.carrier), &body.name, &limits, clock.now()).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// Delete a key of a carrier
///
/// It is refused from then on.
#[utoipa::path(delete, path = "/v1/carriers/{carrier}/keys/{key}", tag = "keys",
    responses((status = 204, description = "It is gone"), Problems))]
async fn delete_of_carrier(
    of: OfCarrier,
    State(store): State<Store>,
    State(ring): State<KeyRing>,
    Part(part): Part<KeyPart>,
) -> Result<StatusCode, Problem> {
    Keys { store, ring }.delete(Some(&of.carrier), &part.key, &of.principal).await
}
