//! Proofs that a request may do what it asks for: values that a handler can only get when it may.
//!
//! A carrier's key on another carrier's path gets the answer that an id gets that never was. It must not know what the
//! handlers do.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::auth::{KeyRing, Principal};
use super::problem::{Code, Problem};
use super::state::ApiState;
use crate::carrier::Role;
use crate::event::CarrierId;
use crate::store::Store;

/// The caller is an admin.
#[derive(Debug)]
pub struct Admin(pub Arc<Principal>);

/// The caller may post events: a publisher or an admin.
#[derive(Debug)]
pub struct Publisher(pub Arc<Principal>);

/// The caller has a key, of whatever role.
#[derive(Debug)]
pub struct Anyone(pub Arc<Principal>);

/// The caller may read and change what belongs to this carrier: its own key, or an admin's when the carrier exists.
#[derive(Debug)]
pub struct OfCarrier {
    /// The carrier in the path.
    pub carrier: CarrierId,
    /// Who asks.
    pub principal: Arc<Principal>,
}

/// The caller is a carrier, and speaks of what is its own.
#[derive(Debug)]
pub struct Own {
    /// The key's carrier.
    pub carrier: CarrierId,
}

fn role(parts: &Parts, state: &ApiState, allowed: &[Role]) -> Result<Arc<Principal>, Problem> {
    let principal = KeyRing::from_ref(state).authenticate(&parts.headers)?;
    if allowed.contains(&principal.role) {
        return Ok(principal);
    }
    let needed: Vec<_> = allowed.iter().map(|role| role.as_str()).collect();
    let detail =
        format!("the key's role is `{}`; this needs `{}`", principal.role.as_str(), needed.join("` or `"));
    Err(Problem::new(Code::Forbidden, detail))
}

impl FromRequestParts<ApiState> for Admin {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        role(parts, state, &[Role::Admin]).map(Self)
    }
}

impl FromRequestParts<ApiState> for Publisher {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        role(parts, state, &[Role::Publisher, Role::Admin]).map(Self)
    }
}

impl FromRequestParts<ApiState> for Own {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let principal = role(parts, state, &[Role::Carrier])?;
        let carrier = principal.carrier.clone();
        carrier.map(|carrier| Self { carrier }).ok_or_else(|| Problem::missing("carrier"))
    }
}

impl FromRequestParts<ApiState> for Anyone {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        KeyRing::from_ref(state).authenticate(&parts.headers).map(Self)
    }
}

impl FromRequestParts<ApiState> for OfCarrier {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let principal = role(parts, state, &[Role::Carrier, Role::Admin])?;
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::missing("carrier"))?;
        let named = params.iter().find(|(name, _)| *name == "carrier").map_or("", |(_, value)| value);
        if let Some(own) = &principal.carrier {
            let carrier = own.clone();
            let mine = named == "me" || named == carrier.as_str();
            return if mine { Ok(Self { carrier, principal }) } else { Err(Problem::missing("carrier")) };
        }
        let carrier: CarrierId = named.parse().map_err(|_| Problem::missing("carrier"))?;
        let known = Store::from_ref(state).carriers().await?;
        if known.iter().any(|c| c.id == carrier) {
            return Ok(Self { carrier, principal });
        }
        Err(Problem::missing("carrier"))
    }
}
