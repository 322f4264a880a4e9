//! The carrier-webhook API under `/webhooks`: registrations, what of them failed, and retries, in the documented shapes.
//!
//! A thin face over subscriptions, destinations and deliveries: a registration is one subscription with a destination of its
//! own, and from there on the engine is that of `/v1`. One file for each noun of the API; `registration`, `headers`, `site` and
//! `fields` read what a registration says, `sending` and `redaction` make of it what `/v1` knows, with the stock plugins of
//! `plugins`; `views` shows it again with its secrets masked, `error` and `throttle` are
//! what every answer here has. The README's part for carriers lists what the documents leave open and what was chosen.
//!
//! It must not know SQL, plugins' code or how deliveries are sent.

pub mod error;
pub mod failed;
mod fields;
mod headers;
mod plugins;
mod redaction;
pub mod register;
pub mod registration;
pub mod retry;
mod schema;
mod sending;
mod site;
pub mod subscribed;
mod throttle;
pub mod unregister;
pub mod update;
pub mod views;

use std::sync::Arc;

use axum::extract::{FromRef, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use error::WebhookError;
pub(super) use throttle::Throttle;

use super::auth::KeyRing;
use super::problem::Problem;
use super::state::{ApiLimits, ApiState, Checks, PluginAdmin, Turn};
use crate::carrier::{Destination, Subscription, Webhook};
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::event::{CarrierId, SubscriptionId};
use crate::store::Store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(subscribed::subscribed))
        .routes(routes!(update::update))
        .routes(routes!(unregister::unregister))
        .routes(routes!(failed::failed))
        .routes(routes!(retry::retry_many))
        .routes(routes!(retry::retry))
}

/// What every request under `/webhooks` meets: its key's share of requests, and refusals in the shape of this API.
pub(super) async fn face(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let throttle = <Arc<Throttle>>::from_ref(&state);
    let Ok(principal) = KeyRing::from_ref(&state).authenticate(request.headers()) else {
        // Nobody's share is touched, and the handler does no more than to say so.
        let mut response = error::in_shape(next.run(request).await);
        throttle.announce(response.headers_mut());
        return response;
    };
    let share = throttle.take(&principal.key, Clock::from_ref(&state).now());
    let answer =
        if share.allowed { next.run(request).await } else { throttle.refusal(&share).into_response() };
    let mut response = error::in_shape(answer);
    throttle.announce(response.headers_mut());
    share.tell(response.headers_mut());
    response
}

/// What changing a registration takes.
#[derive(Clone)]
pub(super) struct Desk {
    store: Store,
    checks: Arc<dyn Checks>,
    plugins: Arc<dyn PluginAdmin>,
    catalogue: Arc<Catalogue>,
    limits: Arc<ApiLimits>,
    clock: Clock,
    turn: Turn,
}

impl FromRef<ApiState> for Desk {
    fn from_ref(state: &ApiState) -> Self {
        Self {
            store: FromRef::from_ref(state),
            checks: FromRef::from_ref(state),
            plugins: FromRef::from_ref(state),
            catalogue: FromRef::from_ref(state),
            limits: FromRef::from_ref(state),
            clock: FromRef::from_ref(state),
            turn: FromRef::from_ref(state),
        }
    }
}

/// The id of a registration, in a path.
#[derive(Debug, serde::Deserialize)]
struct IdPart {
    subscription: String,
}

/// A registration: the subscription, what makes it one, and its destination.
pub(super) struct Registered {
    subscription: Subscription,
    webhook: Webhook,
    destination: Destination,
}

/// All registrations of a carrier, oldest first: their ids begin with the time.
async fn all(store: &Store, carrier: &CarrierId) -> Result<Vec<Registered>, Problem> {
    let mut destinations: std::collections::HashMap<_, _> =
        store.destinations(carrier).await?.into_iter().map(|one| (one.name.clone(), one)).collect();
    let subscriptions = store.subscriptions(carrier).await?;
    Ok(subscriptions
        .into_iter()
        .filter_map(|subscription| {
            let webhook = subscription.spec.webhook.clone()?;
            // They are written and removed together.
            let destination = destinations.remove(&webhook.destination)?;
            Some(Registered { subscription, webhook, destination })
        })
        .collect())
}

/// The registration with this id; another carrier's is as good as none, and so is what is no id at all.
async fn existing(store: &Store, carrier: &CarrierId, id: &str) -> Result<Registered, Problem> {
    let missing = || Problem::missing("subscription");
    let id: SubscriptionId = id.to_ascii_lowercase().parse().map_err(|_| missing())?;
    let all = all(store, carrier).await?;
    all.into_iter().find(|one| one.subscription.id == id).ok_or_else(missing)
}
