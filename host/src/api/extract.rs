//! What handlers take from a request, with every refusal as problem details.
//!
//! It must not know what the handlers do with it.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::problem::{Code, Problem};
use super::state::ApiState;
use crate::store::page::PageRequest;

/// A body of JSON. The error names the path of what is wrong.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// A body of JSON that may be left out altogether.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

/// A body as it came, within the route's limit and the host's patience.
#[derive(Debug)]
pub struct RawBody(pub Bytes);

/// The limit on a route's bodies, by the name that errors give it.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimit {
    pub(super) name: &'static str,
    pub(super) max: usize,
}

/// Named parts of the path.
#[derive(Debug)]
pub struct Part<T>(pub T);

/// The query.
#[derive(Debug)]
pub struct Search<T>(pub T);

impl FromRequest<ApiState> for RawBody {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let limit = request.extensions().get::<BodyLimit>().copied();
        let patience = state.body_time();
        let Ok(read) = tokio::time::timeout(patience, Bytes::from_request(request, state)).await else {
            let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
            let detail = format!(
                "the body did not arrive within {ms} ms, the limit `server.body_ms`: send less, or ask the operator"
            );
            return Err(Problem::new(Code::BodyTimeout, detail).limit("server.body_ms", ms));
        };
        read.map(Self).map_err(|rejection| match limit {
            Some(limit) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => limit.exceeded(),
            _ => Problem::new(Code::UnreadableBody, rejection.body_text()),
        })
    }
}

impl BodyLimit {
    /// What a body above the limit is told.
    pub(super) fn exceeded(self) -> Problem {
        let Self { name, max } = self;
        let detail = format!("the body is too large: the limit `{name}` of this path is {max} bytes");
        Problem::new(Code::TooLarge, detail).limit(name, max as u64)
    }
}

impl<T: DeserializeOwned> FromRequest<ApiState> for Body<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        must_be_json(request.headers())?;
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        json(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<ApiState> for OptionalBody<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let media_type = must_be_json(request.headers());
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        media_type.and_then(|()| json(&bytes).map(Self))
    }
}

fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if media_type.is_some_and(crate::ingest::is_json) {
        return Ok(());
    }
    let found = media_type.map_or("it has none".to_owned(), |found| format!("it is `{found}`"));
    let detail = format!("the body's `content-type` must be `application/json`; {found}");
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

/// Reads JSON; the error names the path of what is wrong.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut from).map_err(|error| {
        if error.inner().is_data() {
            return Problem::invalid(error.path().to_string(), error.inner());
        }
        Problem::new(Code::InvalidJson, error.inner().to_string())
    })?;
    from.end().map_err(|error| Problem::new(Code::InvalidJson, error.to_string()))?;
    Ok(value)
}

impl<T: DeserializeOwned + Send> FromRequestParts<ApiState> for Part<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::new(Code::InvalidParameter, rejection.body_text())),
        }
    }
}

impl<T: DeserializeOwned> FromRequestParts<ApiState> for Search<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::new(Code::InvalidParameter, rejection.body_text())),
        }
    }
}

/// Checks the two parameters of every list.
pub(super) fn page_request(limit: Option<u32>, after: Option<String>) -> Result<PageRequest, Problem> {
    let limit = limit.unwrap_or(50);
    if !(1..=500).contains(&limit) {
        return Err(Problem::new(Code::InvalidParameter, "`limit` takes 1 to 500").field("limit"));
    }
    if after.as_ref().is_some_and(|cursor| cursor.len() > 1_024) {
        let detail = "`after` takes what an earlier page gave as `next`";
        return Err(Problem::new(Code::InvalidParameter, detail).field("after"));
    }
    Ok(PageRequest { limit, after })
}
