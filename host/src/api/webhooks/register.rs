//! `POST /webhooks/register`.

use axum::extract::State;
use serde_json::{Map, Value};

use super::error::Failures;
use super::registration::{Registration, in_words};
use super::views::Record;
use super::{Desk, Registered, plugins, sending};
use crate::api::destinations::sealed;
use crate::api::extract::{RawBody, json};
use crate::api::keys::room;
use crate::api::problem::{Code, Problem};
use crate::api::proof::Own;
use crate::carrier::destination::{DestinationSecrets, SigningSecret};
use crate::carrier::{
    Destination, DestinationState, OnFault, PolicySpec, Subscription, SubscriptionSpec, SubscriptionState,
    Webhook,
};
use crate::clock::{Millis, random_bytes};
use crate::event::{CarrierId, time_ordered};

/// Register a webhook
///
/// Any number of times for the same event. The answer is the record with the id that the other operations take.
#[utoipa::path(post, path = "/webhooks/register", tag = "webhooks", request_body = Registration,
    responses((status = 200, description = "The registration", body = Record), Failures))]
pub(super) async fn register(
    of: Own,
    State(desk): State<Desk>,
    RawBody(body): RawBody,
) -> Result<axum::Json<Record>, Problem> {
    let registration = Registration::read(json::<Map<String, Value>>(&body)?, &desk.catalogue)?;
    let checks = desk.checks.as_ref();
    let fresh = registration.signing.then(|| checks.signing_secret(false));
    let (mut made, mut secrets) = make(registration, of.carrier, desk.clock.now())?;
    secrets.signing = fresh.iter().map(|one| SigningSecret { secret: one.clone(), until_ms: None }).collect();
    checks.destination(&made.destination.spec, &secrets).map_err(|unfit| in_words(unfit.into()))?;
    checks.subscription(&made.subscription.spec).map_err(|unfit| in_words(unfit.into()))?;
    for plugin in &made.subscription.spec.plugins {
        plugins::install(&desk.store, &desk.plugins, &plugin.name).await?;
    }
    made.destination.sealed = sealed(&made.destination, &secrets, checks)?;
    let _turn = desk.turn.mine().await;
    let carrier = &made.subscription.carrier;
    room("subscriptions", desk.store.subscriptions(carrier).await?.len(), desk.limits.subscriptions)?;
    room("destinations", desk.store.destinations(carrier).await?.len(), desk.limits.destinations)?;
    desk.store.put_webhook(made.subscription.clone(), made.destination.clone()).await?;
    let record = Record::of(&made, None, checks, desk.clock.now())?;
    Ok(axum::Json(Record { signing_secret: fresh, ..record }))
}

/// What a registration becomes: a subscription, and a destination of its own with these secrets.
fn make(
    registration: Registration,
    carrier: CarrierId,
    now: Millis,
) -> Result<(Registered, DestinationSecrets), Problem> {
    let internal = |error: crate::name::NameError| Problem::new(Code::Internal, error.to_string());
    let id = time_ordered(now, random_bytes()).to_string().parse().map_err(internal)?;
    let name = Webhook::destination_of(&id).map_err(internal)?;
    let sending = sending::of(&registration, &name).map_err(internal)?;
    let webhook = Webhook {
        event_id: registration.event_id,
        event_name: registration.entry.shown_name(),
        destination: name.clone(),
        registered: registration.registered,
        headers_listed: registration.headers.listed,
    };
    let spec = SubscriptionSpec {
        event_types: sending.event_types,
        filter: sending.filter,
        plugins: sending.plugins,
        destinations: vec![name.clone()],
        settings: sending.settings,
        policy: PolicySpec { profile: Some(registration.policy), ..PolicySpec::default() },
        on_fault: OnFault::Hold,
        schedule: sending.schedule,
        webhook: Some(webhook.clone()),
    };
    let subscription = Subscription {
        carrier: carrier.clone(),
        id,
        spec,
        state: SubscriptionState::Active,
        created: now,
        updated: now,
    };
    let destination = Destination {
        carrier,
        name,
        spec: sending.spec,
        sealed: Vec::new(),
        state: DestinationState::Enabled,
        disabled_reason: None,
        failing_since: None,
        created: now,
        updated: now,
    };
    Ok((Registered { subscription, webhook, destination }, sending.secrets))
}
