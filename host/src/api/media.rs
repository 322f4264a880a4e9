//! `/v1/carriers/{carrier}/media`: what the host may fetch for a carrier's deliveries.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Body;
use super::problem::{Problem, Problems};
use super::proof::OfCarrier;
use super::state::{ApiState, Checks};
use crate::carrier::media::KeptRules;
use crate::carrier::{MediaCeiling, MediaRules};
use crate::clock::{Clock, Millis};
use crate::store::Store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(get, put))
}

/// What may be fetched.
#[derive(Debug, Serialize, ToSchema)]
pub struct MediaView {
    /// What the carrier allows.
    #[serde(flatten)]
    pub rules: MediaRules,
    /// What the operator allows at most.
    pub ceiling: MediaCeiling,
    /// When the rules were written, in Unix milliseconds; absent when they never were.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub updated_ms: Option<Millis>,
}

/// Read what may be fetched
///
/// Until a list of hosts is put, nothing is.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/media", tag = "media",
    responses((status = 200, description = "The rules", body = MediaView), Problems))]
async fn get(
    of: OfCarrier,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
) -> Result<impl IntoResponse, Problem> {
    let (rules, updated_ms) = match store.media_rules(&of.carrier).await? {
        Some(kept) => (kept.rules, Some(kept.updated)),
        None => (MediaRules::default(), None),
    };
    Ok(axum::Json(MediaView { rules, ceiling: checks.media_ceiling(), updated_ms }))
}

/// Set what may be fetched
///
/// Replaces the rules as a whole. What has been fetched already is sent all the same.
#[utoipa::path(put, path = "/v1/carriers/{carrier}/media", tag = "media", request_body = MediaRules,
    responses((status = 200, description = "The rules", body = MediaView), Problems))]
async fn put(
    of: OfCarrier,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
    State(clock): State<Clock>,
    Body(rules): Body<MediaRules>,
) -> Result<impl IntoResponse, Problem> {
    let rules = checks.media(rules)?;
    let updated = clock.now();
    store.put_media_rules(&of.carrier, KeptRules { rules: rules.clone(), updated }).await?;
    Ok(axum::Json(MediaView { rules, ceiling: checks.media_ceiling(), updated_ms: Some(updated) }))
}
