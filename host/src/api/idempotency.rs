//! `Idempotency-Key`: the same POST again gets the answer that it got, and changes nothing.
//!
//! Only answers of success are remembered, for 24 hours: what was refused changed nothing and may be sent again, mended.
//! Answers may hold a key or a secret that is shown once, so they are kept encrypted. It must not know the routes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, FromRef, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

use super::auth::KeyRing;
use super::extract::{BodyLimit, RawBody};
use super::problem::{Code, Problem};
use super::state::{ApiLimits, ApiState, Checks};
use crate::carrier::KeyId;
use crate::clock::Clock;
use crate::ingest::IngestLimits;
use crate::store::sealed::answer_context;
use crate::store::{Remembered, Store};

/// Bytes of an answer that is remembered; the largest is that of a full batch of events.
const ANSWER_BYTES: usize = 1 << 20;

type Flight = (KeyId, String);

/// The requests with an `Idempotency-Key` that are under way on this node.
#[derive(Debug, Clone, Default)]
pub struct Flights(Arc<Mutex<HashSet<Flight>>>);

impl Flights {
    fn begin(&self, flight: Flight) -> Option<InFlight> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(flight.clone());
        begun.then(|| InFlight { all: self.clone(), flight })
    }
}

/// One of them; over when it is dropped, however that comes about.
#[derive(Debug)]
struct InFlight {
    all: Flights,
    flight: Flight,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.flight);
    }
}

/// The middleware. It costs requests without the header nothing but a look.
pub async fn idempotent(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key("idempotency-key") {
        return next.run(request).await;
    }
    // Who presents no good key is told so by the handler.
    let Ok(principal) = KeyRing::from_ref(&state).authenticate(request.headers()) else {
        return next.run(request).await;
    };
    once(state, principal.key.clone(), request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn once(state: ApiState, key: KeyId, request: Request, next: Next) -> Result<Response, Problem> {
    let name = name(request.headers())?;
    let begun = Flights::from_ref(&state).begin((key.clone(), name.clone()));
    let Some(flight) = begun else {
        let detail = "a request with the same `Idempotency-Key` is still under way: send it again later";
        return Err(Problem::new(Code::InProgress, detail));
    };
    let (request, digest) = read(&state, request).await?;
    let store = Store::from_ref(&state);
    if let Some(earlier) = store.recall(&key, &name).await? {
        return replay(&state, &key, &name, digest, &earlier);
    }
    // On a task of its own: when the caller hangs up half way, the answer is remembered all the same.
    let task = tokio::spawn(async move {
        let response = next.run(request).await;
        let response = remember(&state, &key, &name, digest, response).await;
        drop(flight);
        response
    });
    task.await.map_err(|_| Problem::new(Code::Internal, "the request's task failed; the log says why"))?
}

fn name(headers: &HeaderMap) -> Result<String, Problem> {
    let name = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if (1..=255).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    let detail = "`Idempotency-Key` takes 1 to 255 printable ASCII characters";
    Err(Problem::new(Code::InvalidParameter, detail).field("idempotency-key"))
}

/// The request with its body read, and the digest of what it asks for.
async fn read(state: &ApiState, request: Request) -> Result<(Request, [u8; 32]), Problem> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    // This runs before the route is known. The routes' own limits, which may be lower, are checked after it.
    let limit = if path.ends_with("/versions") {
        BodyLimit { name: "component_bytes", max: <Arc<ApiLimits>>::from_ref(state).component_bytes }
    } else {
        BodyLimit { name: "request_bytes", max: <Arc<IngestLimits>>::from_ref(state).request_bytes }
    };
    let mut whole = Request::new(body);
    DefaultBodyLimit::max(limit.max).apply(&mut whole);
    whole.extensions_mut().insert(limit);
    let RawBody(body) = RawBody::from_request(whole, state).await?;
    let mut hash = Sha256::new();
    for part in [parts.method.as_str(), path, parts.uri.query().unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    // CloudEvents in binary form have half of what they say in headers.
    for (name, value) in parts.headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-")) {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.update(&body);
    Ok((Request::from_parts(parts, Body::from(body)), hash.finalize().into()))
}

fn replay(
    state: &ApiState,
    key: &KeyId,
    name: &str,
    digest: [u8; 32],
    earlier: &Remembered,
) -> Result<Response, Problem> {
    if earlier.request != digest {
        let detail = "the `Idempotency-Key` was used for another request within 24 hours: choose a new one";
        return Err(Problem::new(Code::IdempotencyMismatch, detail));
    }
    let unreadable = || Problem::new(Code::Internal, "the remembered answer cannot be read");
    let sealed = STANDARD_NO_PAD.decode(&earlier.body).map_err(|_| unreadable())?;
    let body = <Arc<dyn Checks>>::from_ref(state)
        .open(&answer_context(key, name), &sealed)
        .map_err(|_| unreadable())?;
    let status = StatusCode::from_u16(earlier.status).map_err(|_| unreadable())?;
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    Ok(response)
}

async fn remember(
    state: &ApiState,
    key: &KeyId,
    name: &str,
    digest: [u8; 32],
    response: Response,
) -> Result<Response, Problem> {
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_BYTES)
        .await
        .map_err(|_| Problem::new(Code::Internal, "the answer is too large to be remembered"))?;
    let sealed = <Arc<dyn Checks>>::from_ref(state).seal(&answer_context(key, name), &body);
    let answer =
        Remembered { request: digest, status: parts.status.as_u16(), body: STANDARD_NO_PAD.encode(sealed) };
    Store::from_ref(state).remember(key, name, answer, Clock::from_ref(state).now()).await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_is_over_when_its_guard_goes() {
        let flights = Flights::default();
        let flight = || ("k".parse::<KeyId>().unwrap(), "a".to_owned());
        let guard = flights.begin(flight()).unwrap();
        assert!(flights.begin(flight()).is_none());
        assert!(flights.begin(("k2".parse().unwrap(), "a".to_owned())).is_some());
        drop(guard);
        assert!(flights.begin(flight()).is_some());
    }

    #[test]
    fn the_name_is_checked() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", text.parse().unwrap());
            name(&headers)
        };
        assert_eq!(of("abc").unwrap(), "abc");
        assert!(of("").is_err());
        assert!(of(&"x".repeat(256)).is_err());
    }
}
