//! Refusals in the shape that the carrier-webhook API documents: a category, a code, a message.
//!
//! Handlers give the problems of the rest of the API; here they are put into the other shape, on their way out.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::problem::{Problem, Refusals, documented};

/// What went wrong with a request under `/webhooks`.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookError {
    /// `ValidationError`, `AuthenticationError`, `AuthorizationError`, `NotFoundError`, `ConflictError`, `ThrottleError` or
    /// `ServerError`.
    #[schema(value_type = String)]
    category: &'static str,
    /// One stable word, such as `THROTTLED` or `INVALID_BODY`.
    code: String,
    /// What happened this time, and what to change.
    message: String,
    /// The member or parameter that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// The status that this API answers with: what does not hold is 400 here, whatever the kind.
fn status(of: u16) -> StatusCode {
    match of {
        415 | 422 => StatusCode::BAD_REQUEST,
        other => StatusCode::from_u16(other).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn category(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "AuthenticationError",
        403 => "AuthorizationError",
        404 => "NotFoundError",
        409 => "ConflictError",
        429 => "ThrottleError",
        400..=499 => "ValidationError",
        _ => "ServerError",
    }
}

/// The same answer, a problem in the shape of this API.
pub(super) fn in_shape(mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let status = status(problem.status);
    let error = WebhookError {
        category: category(status),
        code: problem.code.to_ascii_uppercase(),
        message: problem.detail.clone(),
        field: problem.field.clone(),
    };
    // Texts only: this cannot fail.
    let body = serde_json::to_vec(&error).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    parts.status = status;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(body))
}

/// The error responses of every operation here, for the OpenAPI document.
#[derive(Debug)]
pub struct Failures;

impl utoipa::IntoResponses for Failures {
    fn responses() -> Refusals {
        documented(
            "WebhookError",
            "application/json",
            &[
                ("400", "The request does not say what it must; `field` names the member"),
                ("401", "No key, or one that is not known"),
                ("403", "The key is not a carrier's"),
                ("404", "There is no such thing, or it is not the caller's"),
                ("408", "The body did not arrive in time"),
                ("409", "The present state does not allow this"),
                ("413", "Larger than a limit, which is named"),
                ("429", "More requests than the key's share; `Retry-After` says when"),
                ("500", "The host made a mistake"),
                ("503", "Not at the moment; `Retry-After` says when"),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::response::IntoResponse;
    use serde_json::json;

    use super::*;
    use crate::api::problem::Code;

    async fn shown(problem: Problem) -> (u16, axum::http::HeaderMap, serde_json::Value) {
        let (parts, body) = in_shape(problem.into_response()).into_parts();
        let body = axum::body::to_bytes(body, 10_000).await.unwrap();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_becomes_category_code_and_message() {
        let (status, headers, body) = shown(Problem::invalid("EVENT_ID", "there is no event 99")).await;
        let expected = json!({ "category": "ValidationError", "code": "INVALID_BODY",
            "message": "`EVENT_ID`: there is no event 99", "field": "EVENT_ID" });
        assert_eq!(
            (status, &headers["content-type"].to_str().unwrap(), body),
            (400, &"application/json", expected)
        );
        let throttled = Problem::new(Code::Throttled, "slower").retry_after(Duration::from_secs(2));
        let (status, headers, body) = shown(throttled).await;
        assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "2"));
        assert_eq!(body, json!({ "category": "ThrottleError", "code": "THROTTLED", "message": "slower" }));
    }

    #[tokio::test]
    async fn every_code_has_its_category() {
        for code in Code::ALL {
            let (status, _, body) = shown(Problem::new(*code, "x")).await;
            let expected = match status {
                400 | 405 | 408 | 413 => "ValidationError",
                401 => "AuthenticationError",
                403 => "AuthorizationError",
                404 => "NotFoundError",
                409 => "ConflictError",
                429 => "ThrottleError",
                500 | 503 => "ServerError",
                other => panic!("{code:?} is answered with {other}"),
            };
            assert_eq!(body["category"], expected, "{code:?}");
        }
    }

    #[test]
    fn what_went_well_is_left_alone() {
        let response = in_shape((StatusCode::OK, "as it was").into_response());
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (StatusCode::OK, &HeaderValue::from_static("text/plain; charset=utf-8"))
        );
    }
}
