//! `PATCH /webhooks/update/{subscription}`: the address and `Authorization`, nothing else.

use axum::extract::State;
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::error::Failures;
use super::headers::{self, cut};
use super::registration::in_words;
use super::{Desk, IdPart, existing, views};
use crate::api::destination_views::open;
use crate::api::destinations::sealed;
use crate::api::extract::{Part, RawBody, json};
use crate::api::problem::{Code, Problem};
use crate::api::proof::Own;
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::{Destination, DestinationKind, DestinationState};
use crate::store::work::Lane;

/// What can be changed, for the document.
#[derive(Debug)]
pub struct Change;

/// Change a webhook's address or authorization
///
/// An object in `HEADERS.Authorization` is laid over the OAuth 2.0 settings member by member, `null` removes a member; a text
/// replaces whatever there was. A token that was fetched with other settings is not used again. Where the host had stopped
/// sending to the address, it starts again. The answer is the registered payload as it is now.
#[utoipa::path(patch, path = "/webhooks/update/{subscription}", tag = "webhooks", request_body = Change,
    responses((status = 200, description = "The registered payload", body = Object), Failures))]
pub(super) async fn update(
    of: Own,
    State(desk): State<Desk>,
    Part(part): Part<IdPart>,
    RawBody(body): RawBody,
) -> Result<axum::Json<Map<String, Value>>, Problem> {
    let change = json::<Map<String, Value>>(&body)?;
    let checks = desk.checks.as_ref();
    // Under the turn, so that of two changes at once none is lost.
    let _turn = desk.turn.mine().await;
    let mut one = existing(&desk.store, &of.carrier, &part.subscription).await?;
    let destination = &mut one.destination;
    if destination.spec.kind != DestinationKind::Http {
        let detail = format!(
            "event {} is not sent to an address: there is nothing to change, register it again",
            one.webhook.event_id
        );
        return Err(Problem::new(Code::WrongState, detail));
    }
    let mut secrets = open(destination, checks)?;
    lay_over(destination, &mut secrets, change)?;
    checks.destination(&destination.spec, &secrets).map_err(|unfit| in_words(unfit.into()))?;
    destination.updated = desk.clock.now();
    destination.sealed = sealed(destination, &secrets, checks)?;
    desk.store.put_destination(destination.clone()).await?;
    if destination.state == DestinationState::Disabled {
        let (name, now) = (&destination.name, desk.clock.now());
        desk.store.set_destination_state(&of.carrier, name, DestinationState::Enabled, None, now).await?;
    }
    let lane = Lane { carrier: of.carrier, destination: destination.name.clone() };
    let token = desk.store.token(&lane).await?;
    let expires = views::kept_until(destination, &secrets, token.as_ref(), checks, desk.clock.now());
    Ok(axum::Json(views::payload(&one.webhook, destination, &secrets, expires)))
}

fn lay_over(
    destination: &mut Destination,
    secrets: &mut DestinationSecrets,
    change: Map<String, Value>,
) -> Result<(), Problem> {
    let fixed = |name: String| {
        Problem::invalid(
            name,
            "only `HTTP_POST_ADDRESS` and `HEADERS.Authorization` can be changed: for everything else register again",
        )
    };
    if change.is_empty() {
        return Err(fixed("HTTP_POST_ADDRESS".to_owned()));
    }
    for (name, value) in change {
        if name.eq_ignore_ascii_case("HTTP_POST_ADDRESS") {
            let Value::String(address) = value else {
                return Err(Problem::invalid("HTTP_POST_ADDRESS", "it takes a text, an absolute URL"));
            };
            destination.spec.url = Some(address);
        } else if name.eq_ignore_ascii_case("HEADERS") {
            let (headers, _) = headers::object(value)?;
            for (header, value) in headers {
                if !header.eq_ignore_ascii_case("Authorization") {
                    return Err(fixed(format!("HEADERS.{}", cut(&header))));
                }
                headers::change(secrets, value)?;
            }
        } else {
            return Err(fixed(cut(&name)));
        }
    }
    Ok(())
}

impl utoipa::PartialSchema for Change {
    fn schema() -> RefOr<Schema> {
        let of = |kind: Type, about: &str| ObjectBuilder::new().schema_type(kind).description(Some(about));
        let authorization = of(Type::Object, "A text is taken as well, and null removes it.");
        ObjectBuilder::new()
            .property("HTTP_POST_ADDRESS", of(Type::String, "The new address."))
            .property(
                "HEADERS",
                of(Type::Object, "`Authorization` alone.").property("Authorization", authorization),
            )
            .into()
    }
}

impl utoipa::ToSchema for Change {
    fn name() -> std::borrow::Cow<'static, str> {
        "WebhookChange".into()
    }
    fn schemas(_: &mut Vec<(String, RefOr<Schema>)>) {}
}
