//! `…/destinations/{destination}/validate` and `/v1/handshake/{token}`: the receiver's permission, asked for again and
//! given later.

use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::http::{HeaderMap, Method};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::destination_views::DestinationView;
use super::destinations::{NamePart, existing};
use super::extract::Part;
use super::problem::{Code, Problem, Problems};
use super::proof::OfCarrier;
use super::state::{ApiState, Checks, Handshaker, Turn};
use crate::carrier::handshake::{Handshake, HandshakeSpec, Permission, Reply};
use crate::carrier::{Destination, Role};
use crate::clock::{Clock, Millis, random_bytes};
use crate::event::{CarrierId, DestinationName};
use crate::store::Store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(validate)).routes(routes!(granted, granted_by_post))
}

/// What asking a receiver takes.
#[derive(Clone)]
pub(super) struct Asking {
    store: Store,
    asker: Arc<dyn Handshaker>,
    clock: Clock,
}

impl FromRef<ApiState> for Asking {
    fn from_ref(state: &ApiState) -> Self {
        Self {
            store: FromRef::from_ref(state),
            asker: FromRef::from_ref(state),
            clock: FromRef::from_ref(state),
        }
    }
}

/// A handshake that was begun: the receiver is to be asked with this token.
pub(super) struct Begun {
    spec: HandshakeSpec,
    token: String,
}

impl Asking {
    /// What a change of a destination means for its handshake: begun anew where the receiver has not allowed just this,
    /// dropped where none is wanted. To be called before the change is written, so that nothing goes to an address whose
    /// receiver was not asked.
    pub(super) async fn begin(
        &self,
        (carrier, name): (&CarrierId, &DestinationName),
        url: Option<&str>,
        wanted: Option<HandshakeSpec>,
        anew: bool,
    ) -> Result<Option<Begun>, Problem> {
        let now = self.clock.now();
        let before = find(&self.store, carrier, name).await?;
        let Some(spec) = wanted else {
            if before.is_some() {
                self.store.drop_handshake(carrier, name, now).await?;
            }
            return Ok(None);
        };
        spec.check().map_err(|why| Problem::invalid(why.field(), why))?;
        let Some(url) = url else {
            return Err(Problem::invalid(
                "handshake",
                "only a destination of kind `http` has a receiver to ask",
            ));
        };
        let holds = |h: &Handshake| h.permission != Permission::Waiting && h.url == url && h.spec == spec;
        if !anew && before.as_ref().is_some_and(holds) {
            return Ok(None);
        }
        let token = URL_SAFE_NO_PAD.encode(random_bytes::<32>());
        let handshake = Handshake {
            carrier: carrier.clone(),
            destination: name.clone(),
            url: url.to_owned(),
            spec: spec.clone(),
            permission: Permission::Waiting,
            granted_rate: None,
            note: None,
            asked: now,
            answered: None,
        };
        self.store.put_handshake(handshake, digest(&token)).await?;
        Ok(Some(Begun { spec, token }))
    }

    /// Asks the receiver, and keeps what it says.
    pub(super) async fn ask(&self, destination: &Destination, begun: Begun) -> Result<(), Problem> {
        let Begun { spec, token } = begun;
        let digest = digest(&token);
        match self.asker.ask(destination.clone(), spec, token).await {
            Reply::Granted { rate } => {
                let (carrier, name) = (&destination.carrier, &destination.name);
                self.store.grant_handshake(carrier, name, digest, rate, self.clock.now()).await?;
            }
            Reply::Withheld { why } => self.store.withhold_handshake(digest, why).await?,
        }
        Ok(())
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

async fn find(
    store: &Store,
    carrier: &CarrierId,
    name: &DestinationName,
) -> Result<Option<Handshake>, Problem> {
    Ok(store.handshakes(carrier).await?.into_iter().find(|handshake| handshake.destination == *name))
}

/// Refuses what must not be sent, or done, while the receiver has not answered.
pub(super) async fn must_not_wait(
    store: &Store,
    carrier: &CarrierId,
    name: &DestinationName,
) -> Result<(), Problem> {
    match find(store, carrier, name).await? {
        Some(handshake) if handshake.permission == Permission::Waiting => {
            let detail = "the receiver has not given its permission: `…/validate` asks again, and an admin's key can \
                          enable the destination in its place";
            Err(Problem::new(Code::WrongState, detail))
        }
        _ => Ok(()),
    }
}

/// Before a destination is enabled: an admin's key does it in the receiver's place, a carrier's cannot.
pub(super) async fn allow(
    store: &Store,
    of: &OfCarrier,
    name: &DestinationName,
    now: Millis,
) -> Result<(), Problem> {
    if of.principal.role == Role::Admin {
        return Ok(store.override_handshake(&of.carrier, name, now).await?);
    }
    must_not_wait(store, &of.carrier, name).await
}

/// How far the handshake with a destination's receiver has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct HandshakeView {
    /// What was asked for.
    #[serde(flatten)]
    pub spec: HandshakeSpec,
    /// How far it has come.
    pub permission: Permission,
    /// Deliveries per minute that the receiver allows; absent: no limit, or no permission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted_rate_per_minute: Option<u32>,
    /// What the last request came to when it brought no permission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the receiver was last asked, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub asked_ms: Millis,
    /// When permission was given, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub answered_ms: Option<Millis>,
}

impl From<Handshake> for HandshakeView {
    fn from(handshake: Handshake) -> Self {
        Self {
            spec: handshake.spec,
            permission: handshake.permission,
            granted_rate_per_minute: handshake.granted_rate,
            note: handshake.note,
            asked_ms: handshake.asked,
            answered_ms: handshake.answered,
        }
    }
}

/// A destination as it is now, with its handshake.
pub(super) async fn view(
    store: &Store,
    carrier: &CarrierId,
    name: &DestinationName,
    checks: &dyn Checks,
) -> Result<DestinationView, Problem> {
    let mut view = DestinationView::of(&existing(store, carrier, name).await?, checks)?;
    view.handshake = find(store, carrier, name).await?.map(HandshakeView::from);
    Ok(view)
}

/// Ask a destination's receiver for its permission again
///
/// Nothing is sent until it is given, whatever was given before. The answer says what came of it.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/destinations/{destination}/validate", tag = "destinations",
    responses((status = 200, description = "The destination", body = DestinationView), Problems))]
async fn validate(
    of: OfCarrier,
    State(asking): State<Asking>,
    State(checks): State<Arc<dyn Checks>>,
    State(turn): State<Turn>,
    Part(part): Part<NamePart>,
) -> Result<impl IntoResponse, Problem> {
    let (store, whose) = (&asking.store, (&of.carrier, &part.destination));
    let mine = turn.mine().await;
    let destination = existing(store, whose.0, whose.1).await?;
    let Some(before) = find(store, whose.0, whose.1).await? else {
        let detail = "the destination asks for no permission: put it with a `handshake` first";
        return Err(Problem::new(Code::WrongState, detail));
    };
    let begun = asking.begin(whose, destination.spec.url.as_deref(), Some(before.spec), true).await?;
    // The receiver takes its time, and others must not wait for it.
    drop(mine);
    if let Some(begun) = begun {
        asking.ask(&destination, begun).await?;
    }
    Ok(axum::Json(view(store, whose.0, whose.1, checks.as_ref()).await?))
}

#[derive(Debug, Deserialize)]
struct TokenPart {
    token: String,
}

/// A permission that was given.
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantedView {
    /// `granted`.
    pub permission: Permission,
    /// Deliveries per minute that it allows; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
}

/// Give permission (by a receiver)
///
/// For who was told this address as `WebHook-Request-Callback`; it needs no key. `WebHook-Allowed-Rate` bounds the
/// deliveries per minute.
#[utoipa::path(get, path = "/v1/handshake/{token}", tag = "receivers", security(()),
    responses((status = 200, description = "The permission is taken", body = GrantedView), Problems))]
async fn granted(
    method: Method,
    asking: State<Asking>,
    part: Part<TokenPart>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    if method == Method::HEAD {
        // A look at an address gives no permission.
        let detail = "permission is given by GET or POST";
        return Err(Problem::new(Code::MethodNotAllowed, detail));
    }
    grant(asking, part, &headers).await
}

/// Give permission (by a receiver, with POST)
///
/// As with GET; the body does not matter.
#[utoipa::path(post, path = "/v1/handshake/{token}", tag = "receivers", security(()),
    responses((status = 200, description = "The permission is taken", body = GrantedView), Problems))]
async fn granted_by_post(
    asking: State<Asking>,
    part: Part<TokenPart>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    grant(asking, part, &headers).await
}

async fn grant(
    State(asking): State<Asking>,
    Part(part): Part<TokenPart>,
    headers: &HeaderMap,
) -> Result<axum::Json<GrantedView>, Problem> {
    let digest = digest(&part.token);
    let missing = || Problem::missing("request for permission; the destination may have been asked for anew");
    let asked = asking.store.asked(digest).await?.ok_or_else(missing)?;
    let rate = headers.get("webhook-allowed-rate").map(|value| value.to_str().unwrap_or_default());
    let rate_per_minute = asked
        .spec
        .granted_rate(rate)
        .map_err(|why| Problem::new(Code::InvalidParameter, why.to_string()).field("webhook-allowed-rate"))?;
    let (store, now) = (&asking.store, asking.clock.now());
    if !store.grant_handshake(&asked.carrier, &asked.destination, digest, rate_per_minute, now).await? {
        return Err(missing());
    }
    Ok(axum::Json(GrantedView { permission: Permission::Granted, rate_per_minute }))
}
