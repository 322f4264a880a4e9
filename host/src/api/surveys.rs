//! `/v1/carriers/{carrier}/surveys`: what customers answered.
//!
//! A survey is there from its first rating on; a link that nobody has answered is a delivery and no more.

use axum::extract::State;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Search, page_request};
use super::list::List;
use super::problem::{Problem, Problems};
use super::proof::OfCarrier;
use super::state::ApiState;
use crate::clock::Millis;
use crate::event::{EventId, SubscriptionId};
use crate::store::Store;
use crate::survey::{Survey, SurveyId, SurveyState};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A survey that a customer has begun.
#[derive(Debug, Serialize, ToSchema)]
pub struct SurveyView {
    /// Its id; `event.surveyId` in the events that tell of it.
    pub id: SurveyId,
    /// The event that it is about.
    pub event: EventId,
    /// The subscription that sent the link.
    pub subscription: SubscriptionId,
    /// How far it has come.
    pub state: SurveyState,
    /// 1 to 5.
    pub rating: u8,
    /// What the customer wrote: up to 2 000 characters, as they were typed; absent when nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<String>,
    /// When the first rating was given, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub initiated_ms: Millis,
    /// When it was left, in Unix milliseconds; it may have been completed afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub left_ms: Option<Millis>,
    /// When it was completed, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub completed_ms: Option<Millis>,
    /// When its link ends, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub expires_ms: Millis,
}

impl From<Survey> for SurveyView {
    fn from(one: Survey) -> Self {
        Self {
            id: one.id,
            event: one.event,
            subscription: one.subscription,
            state: one.state,
            rating: one.rating,
            feedback: one.feedback,
            initiated_ms: one.initiated,
            left_ms: one.left,
            completed_ms: one.completed,
            expires_ms: one.expires,
        }
    }
}

/// A choice among surveys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SurveySearch {
    /// Only in this state.
    #[param(inline)]
    state: Option<SurveyState>,
    /// Only of this subscription.
    subscription: Option<SubscriptionId>,
    /// How many at most: 1 to 500, 50 when absent.
    limit: Option<u32>,
    /// What the page before gave as `next`.
    after: Option<String>,
}

/// List surveys
///
/// Those that customers have begun, of the newest events first. They are kept as long as events are, from their last change on.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/surveys", tag = "surveys", params(SurveySearch),
    responses((status = 200, description = "A page of surveys", body = List<SurveyView>), Problems))]
async fn list(
    of: OfCarrier,
    State(store): State<Store>,
    Search(search): Search<SurveySearch>,
) -> Result<impl IntoResponse, Problem> {
    let page = page_request(search.limit, search.after)?;
    let found = store.surveys(&of.carrier, search.state, search.subscription.as_ref(), &page).await?;
    Ok(axum::Json(List::of(found, SurveyView::from)))
}
