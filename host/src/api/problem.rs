//! What goes wrong, as RFC 9457 problem details with stable codes.
//!
//! A handler names the code and says what to change; the status and the title follow from the code. It must not know
//! how the errors come about.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::error::StoreError;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:ident $code:literal $title:literal;)*) => {
        /// What went wrong, in one stable word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word in `code`, which never changes.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The status of the answer.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The URI in `type`.
            pub fn uri(self) -> &'static str {
                match self { $(Self::$name => concat!("urn:hookyard:problem:", $code),)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    InvalidJson = BAD_REQUEST "invalid_json" "The body is not valid JSON";
    /// A part of the path or the query is not what it must be.
    InvalidParameter = BAD_REQUEST "invalid_parameter" "A parameter of the request is not valid";
    /// The body broke off or could not be read.
    UnreadableBody = BAD_REQUEST "unreadable_body" "The body could not be read";
    /// No key, or one that is not known.
    Unauthorized = UNAUTHORIZED "unauthorized" "A valid API key is needed";
    /// The key's role does not allow this.
    Forbidden = FORBIDDEN "forbidden" "The key's role does not allow this";
    /// No such thing, or not the caller's.
    NotFound = NOT_FOUND "not_found" "There is no such resource";
    /// The path exists, but not with this method.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method_not_allowed" "The method is not allowed here";
    /// The body did not arrive in time.
    BodyTimeout = REQUEST_TIMEOUT "body_timeout" "The body took too long to arrive";
    /// The name is taken.
    Exists = CONFLICT "exists" "The name is taken";
    /// The id of an earlier event with another body.
    EventConflict = CONFLICT "event_conflict" "The event's id was used for another event";
    /// The thing is in a state that does not allow this.
    WrongState = CONFLICT "wrong_state" "The resource's state does not allow this";
    /// A request with the same `Idempotency-Key` is still under way.
    InProgress = CONFLICT "in_progress" "The same request is still under way";
    /// Larger than a limit.
    TooLarge = PAYLOAD_TOO_LARGE "too_large" "The request is larger than a limit";
    /// A body of a kind that is not taken.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body's type is not taken";
    /// JSON that is not what it must be.
    InvalidBody = UNPROCESSABLE_ENTITY "invalid_body" "The body does not say what it must";
    /// JSON that is not an event.
    InvalidEvent = UNPROCESSABLE_ENTITY "invalid_event" "The event is not valid";
    /// An event for a carrier that does not exist.
    UnknownCarrier = UNPROCESSABLE_ENTITY "unknown_carrier" "The carrier does not exist";
    /// Something that the body refers to does not exist.
    UnknownReference = UNPROCESSABLE_ENTITY "unknown_reference" "Something that the body names does not exist";
    /// There may not be more of these.
    TooMany = UNPROCESSABLE_ENTITY "too_many" "There may not be more of these";
    /// An upload that is not a plugin that the host runs.
    PluginRefused = UNPROCESSABLE_ENTITY "plugin_refused" "The component was refused";
    /// The `Idempotency-Key` was used for another request.
    IdempotencyMismatch = UNPROCESSABLE_ENTITY "idempotency_mismatch" "The `Idempotency-Key` was used for another request";
    /// More requests than the key's share.
    Throttled = TOO_MANY_REQUESTS "throttled" "Too many requests with this key";
    /// The carrier has too much waiting.
    BacklogFull = SERVICE_UNAVAILABLE "backlog_full" "The carrier has too many events waiting";
    /// The host's own fault.
    Internal = INTERNAL_SERVER_ERROR "internal" "The host made a mistake";
    /// The host has too much to do.
    Busy = SERVICE_UNAVAILABLE "busy" "The host is busy";
    /// The database or the host is not there at the moment.
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "The host cannot answer at the moment";
}

/// What went wrong with a request: [`Details`] behind a pointer, so that answers that go well stay small.
#[derive(Debug, Clone)]
pub struct Problem(Box<Details>);

impl std::ops::Deref for Problem {
    type Target = Details;
    fn deref(&self) -> &Details {
        &self.0
    }
}

impl std::ops::DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

/// Problem details (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Details {
    /// A URI that stands for the code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub uri: &'static str,
    /// The same for every occurrence.
    #[schema(value_type = String)]
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// One stable word.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// What happened this time, and what to change.
    pub detail: String,
    /// The offending event's place in the request, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The path of the offending member, or the parameter's or header's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where in the member's text it goes wrong, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// The name of the limit that was hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The limit itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    #[serde(skip)]
    #[schema(ignore)]
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of this kind; `detail` says what happened and what to change.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Details {
            uri: code.uri(),
            title: code.title(),
            status: code.status().as_u16(),
            code: code.as_str(),
            detail: detail.into(),
            index: None,
            field: None,
            position: None,
            limit: None,
            max: None,
            retry_after: None,
        }))
    }

    /// There is no such thing, or it is not the caller's: nobody can tell which.
    pub fn missing(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// A member of the body that is wrong.
    pub fn invalid(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        let field = field.into();
        Self::new(Code::InvalidBody, format!("`{field}`: {why}")).field(field)
    }

    /// With the offending event's index.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// With the offending member.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// With the limit that was hit.
    #[must_use]
    pub fn limit(mut self, name: impl Into<String>, max: u64) -> Self {
        self.limit = Some(name.into());
        self.max = Some(max);
        self
    }

    /// With the time after which it may go better; rounded up to whole seconds.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Texts and numbers only: this cannot fail.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1_000).max(1);
            headers
                .insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the body may still come: the connection cannot be used for another request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"hookyard\""));
        }
        // For those who put it into another shape on its way out.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Exists { .. } => Self::new(Code::Exists, error.to_string()),
            StoreError::Missing { what } => Self::missing(what),
            StoreError::Inconsistent { .. } => {
                tracing::error!(%error, "a row in the store cannot be read");
                Self::new(Code::Internal, "a row in the store cannot be read; the operator's log says which")
            }
            StoreError::Cursor => {
                let detail = "`after` takes what an earlier page gave as `next`";
                Self::new(Code::InvalidParameter, detail).field("after")
            }
            StoreError::NodeLost | StoreError::Closed => {
                Self::new(Code::Unavailable, "this node is stopping: send the request again")
                    .retry_after(Duration::from_secs(1))
            }
            StoreError::Database(_)
            | StoreError::Sqlite(_)
            | StoreError::Turn { .. }
            | StoreError::Locked { .. }
            | StoreError::Schema { .. }
            | StoreError::Folder { .. }
            | StoreError::Thread { .. } => {
                tracing::error!(%error, "the store failed a request");
                Self::new(Code::Unavailable, "the database does not answer: send the request again")
                    .retry_after(Duration::from_secs(1))
            }
        }
    }
}

/// Responses by their status, as the OpenAPI document has them.
pub(super) type Refusals =
    std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::response::Response>>;

/// The error responses that every operation can give, for the OpenAPI document.
#[derive(Debug)]
pub struct Problems;

impl utoipa::IntoResponses for Problems {
    fn responses() -> Refusals {
        documented(
            "Problem",
            "application/problem+json",
            &[
                ("400", "The request cannot be read"),
                ("401", "No key, or one that is not known"),
                ("403", "The key's role does not allow this"),
                ("404", "There is no such thing, or it is not the caller's"),
                ("408", "The body did not arrive in time"),
                ("409", "The present state does not allow this"),
                ("413", "Larger than a limit, which is named"),
                ("415", "The body's type is not taken"),
                ("422", "The body does not say what it must"),
                ("429", "Too much at once; `Retry-After` says when"),
                ("500", "The host made a mistake"),
                ("503", "Not at the moment; `Retry-After` says when"),
            ],
        )
    }
}

/// Refusals for the OpenAPI document: statuses with what they mean, all of one schema and media type.
pub(super) fn documented(schema: &str, media: &str, list: &[(&str, &str)]) -> Refusals {
    use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
    let of = |about: &str| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        ResponseBuilder::new().description(about).content(media, content).build().into()
    };
    list.iter().map(|(status, about)| ((*status).to_owned(), of(about))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct() {
        let words: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
    }

    #[tokio::test]
    async fn a_problem_says_its_code_its_limit_and_when_to_come_back() {
        let problem = Problem::new(Code::Busy, "the limit `queued_events` is reached")
            .limit("queued_events", 5)
            .index(3)
            .retry_after(Duration::from_millis(1_200));
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "2");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "type": "urn:hookyard:problem:busy", "title": "The host is busy", "status": 503, "code": "busy",
            "detail": "the limit `queued_events` is reached", "limit": "queued_events", "max": 5, "index": 3,
        });
        assert_eq!(body, expected);
    }
}
