//! `GET /webhooks/subscribed`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;

use super::Registered;
use super::error::Failures;
use super::views::{Record, Subscribed};
use crate::api::problem::Problem;
use crate::api::proof::Own;
use crate::api::state::Checks;
use crate::clock::Clock;
use crate::store::Store;

/// List webhooks
///
/// All registrations of the key's carrier, oldest first.
#[utoipa::path(get, path = "/webhooks/subscribed", tag = "webhooks",
    responses((status = 200, description = "The registrations", body = Subscribed), Failures))]
pub(super) async fn subscribed(
    of: Own,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
    State(clock): State<Clock>,
) -> Result<axum::Json<Subscribed>, Problem> {
    let all = super::all(&store, &of.carrier).await?;
    let tokens: HashMap<_, _> = store.tokens(&of.carrier).await?.into_iter().collect();
    let now = clock.now();
    let record = |one: &Registered| Record::of(one, tokens.get(&one.destination.name), checks.as_ref(), now);
    Ok(axum::Json(Subscribed { subscriptions: all.iter().map(record).collect::<Result<_, _>>()? }))
}
