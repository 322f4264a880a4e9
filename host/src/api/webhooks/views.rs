//! Registrations as their carriers see them: the documented record, with every value that could be a secret masked.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Registered, headers};
use crate::api::destination_views::{open, token_end};
use crate::api::problem::Problem;
use crate::api::state::Checks;
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::{Auth, Destination, Webhook};
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
    pub(super) fn of(one: &Registered, checks: &dyn Checks) -> Result<Self, Problem> {
        Self::keeping(one, None, checks, one.destination.updated)
    }

    /// The same at `now`, with the end of the token that is kept for it.
    pub(super) fn keeping(
        one: &Registered,
        token: Option<&StoredToken>,
        checks: &dyn Checks,
        now: Millis,
    ) -> Result<Self, Problem> {
        let destination = &one.destination;
        let secrets = open(destination, checks)?;
        let whose = (&destination.carrier, &destination.name);
        let expires = match &secrets.auth {
            Some(Auth::OAuth2(settings)) => token_end(whose, token, settings.fingerprint(), checks, now),
            _ => None,
        };
        Ok(Self {
            subscription_id: one.subscription.id.clone(),
            event: one.webhook.event_name.clone(),
            registered_payload: payload(&one.webhook, destination, &secrets, expires),
            organization_id: None,
            signing_secret: None,
        })
    }
}

/// What was registered, with the address and the headers that it has now.
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
    if let Some(headers) = headers::shown(secrets, webhook.headers_listed, expires.map(|at| at.0)) {
        payload.insert("HEADERS".to_owned(), headers);
    }
    if secrets.shared_secret.is_some() {
        payload.insert("AUTH_TOKEN".to_owned(), MASK.into());
    }
    payload
}
