//! Registrations as their carriers see them: the documented record, with every value that could be a secret masked.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Registered, headers, site};
use crate::api::destination_views::{open, token_end};
use crate::api::problem::Problem;
use crate::api::state::Checks;
use crate::carrier::auth::Auth;
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::{Destination, Webhook};
use crate::clock::Millis;
use crate::event::{CarrierId, SubscriptionId};
use crate::secrets::MASK;
use crate::store::tokens::StoredToken;

/// A registration.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct Record {
    /// Its id: a UUID.
    pub subscription_id: SubscriptionId,
    /// What the event is called, such as `CLOSE_CASE`.
    pub event: String,
    /// What was registered. Values of headers and secrets are shown as `***`.
    #[schema(value_type = Object)]
    pub registered_payload: Map<String, Value>,
    /// Whose it was: in the answer that removed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<CarrierId>,
    /// The secret that its requests are signed with, `whsec_…`: in the answer that registered it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
}

/// All registrations.
#[derive(Debug, Serialize, ToSchema)]
pub struct Subscribed {
    /// Oldest first.
    pub subscriptions: Vec<Record>,
}

impl Record {
    /// A registration as its carrier may see it.
    pub(super) fn of(
        one: &Registered,
        token: Option<&StoredToken>,
        checks: &dyn Checks,
        now: Millis,
    ) -> Result<Self, Problem> {
        let secrets = open(&one.destination, checks)?;
        let expires = kept_until(&one.destination, &secrets, token, checks, now);
        Ok(Self {
            subscription_id: one.subscription.id.clone(),
            event: one.webhook.event_name.clone(),
            registered_payload: payload(&one.webhook, &one.destination, &secrets, expires),
            organization_id: None,
            signing_secret: None,
        })
    }
}

/// What was registered, with the address and the headers that it has now. `expires` is when the token ends that is kept.
pub(super) fn payload(
    webhook: &Webhook,
    destination: &Destination,
    secrets: &DestinationSecrets,
    expires: Option<Millis>,
) -> Map<String, Value> {
    let mut payload = webhook.registered.clone();
    if let Some(url) = &destination.spec.url {
        payload.insert("HTTP_POST_ADDRESS".to_owned(), url.as_str().into());
    }
    if let Some(headers) = headers::shown(secrets, webhook.headers_listed, expires) {
        payload.insert("HEADERS".to_owned(), headers);
    }
    if let Some(site) = site::shown(&destination.spec, secrets) {
        payload.insert("SFTP".to_owned(), site);
    }
    if secrets.shared_secret.is_some() {
        payload.insert("AUTH_TOKEN".to_owned(), MASK.into());
    }
    payload
}

/// When the token ends that is kept for a registration, while it is one that its settings lead to.
pub(super) fn kept_until(
    destination: &Destination,
    secrets: &DestinationSecrets,
    token: Option<&StoredToken>,
    checks: &dyn Checks,
    now: Millis,
) -> Option<Millis> {
    let Some(Auth::OAuth2(settings)) = &secrets.auth else { return None };
    token_end((&destination.carrier, &destination.name), token, settings.fingerprint(), checks, now)
}
