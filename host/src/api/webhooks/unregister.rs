//! `DELETE /webhooks/unregister/{subscription}`.

use std::sync::Arc;

use axum::extract::State;

use super::error::Failures;
use super::views::Record;
use super::{IdPart, existing};
use crate::api::extract::Part;
use crate::api::problem::Problem;
use crate::api::proof::Own;
use crate::api::state::Checks;
use crate::clock::Clock;
use crate::store::Store;

/// Remove a webhook
///
/// What waits to be sent for it is cancelled, and what had failed can no longer be queried or retried. The answer is what
/// was removed.
#[utoipa::path(delete, path = "/webhooks/unregister/{subscription}", tag = "webhooks",
    responses((status = 200, description = "What was removed", body = Record), Failures))]
pub(super) async fn unregister(
    of: Own,
    State(store): State<Store>,
    State(checks): State<Arc<dyn Checks>>,
    State(clock): State<Clock>,
    Part(part): Part<IdPart>,
) -> Result<axum::Json<Record>, Problem> {
    let one = existing(&store, &of.carrier, &part.subscription).await?;
    // Its token goes with it.
    let record = Record::of(&one, None, checks.as_ref(), clock.now())?;
    if !store.delete_webhook(&of.carrier, &one.subscription.id, &one.webhook.destination).await? {
        return Err(Problem::missing("subscription"));
    }
    Ok(axum::Json(Record { organization_id: Some(of.carrier), ..record }))
}
