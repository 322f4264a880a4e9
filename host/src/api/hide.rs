//! Bodies that hold secrets: a refusal says where and what is wrong, and never repeats what stood there.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::extract::Body;
use super::problem::Problem;
use super::state::ApiState;

/// A body of JSON with secrets in it. As [`Body`], but the error quotes no value.
#[derive(Debug)]
pub(super) struct SecretBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<ApiState> for SecretBody<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let body = Body::from_request(request, state).await;
        body.map(|Body(value)| Self(value)).map_err(|mut problem| {
            problem.detail = hide(&problem.detail);
            problem
        })
    }
}

/// How serde quotes what it found: the words before it, the sign after it, and what takes the place of all three.
const QUOTED: [(&str, &str, &str); 6] = [
    ("string \"", "\", expected", "a string, expected"),
    ("integer `", "`, expected", "an integer, expected"),
    ("floating point `", "`, expected", "a number, expected"),
    ("boolean `", "`, expected", "a boolean, expected"),
    ("character `", "`, expected", "a character, expected"),
    ("unknown variant `", "`, expected", "unknown variant, expected"),
];

/// An error's text without the value that it quotes.
pub(super) fn hide(text: &str) -> String {
    for (before, after, instead) in QUOTED {
        // The value may hold anything, so it ends where the last sign of its end stands.
        if let Some(start) = text.find(before)
            && let Some(end) = text[start + before.len()..].rfind(after)
        {
            let end = start + before.len() + end + after.len();
            return format!("{}{instead}{}", &text[..start], &text[end..]);
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::extract::json;
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Http,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is read, not used")]
    struct Thing {
        headers: Option<BTreeMap<String, String>>,
        kind: Option<Kind>,
        rate: Option<u32>,
    }

    #[test]
    fn a_refusal_never_quotes_a_value() {
        let cases = [
            (r#"{"headers": "S3CRET"}"#, "`headers`: invalid type: a string, expected a map"),
            (
                r#"{"headers": "S3CRET\", expected S3CRET"}"#,
                "`headers`: invalid type: a string, expected a map",
            ),
            (r#"{"headers": {"a": 53537}}"#, "`headers.a`: invalid type: an integer, expected a string"),
            (r#"{"headers": {"a": 5.3537}}"#, "`headers.a`: invalid type: a number, expected a string"),
            (r#"{"headers": {"a": true}}"#, "`headers.a`: invalid type: a boolean, expected a string"),
            (r#"{"headers": {"a": ["S3CRET"]}}"#, "`headers.a`: invalid type: sequence, expected a string"),
            (r#"{"kind": "S3CRET"}"#, "`kind`: unknown variant, expected `http`"),
            (r#"{"rate": "S3CRET"}"#, "`rate`: invalid type: a string, expected u32"),
            (r#"{"rate": -53537}"#, "`rate`: invalid value: an integer, expected u32"),
            (r#"{"head": 1}"#, "`head`: unknown field `head`, expected one of `headers`, `kind`, `rate`"),
            (r#"{"headers": {"a": "S3CRET"#, "EOF while parsing a string"),
        ];
        for (body, expected) in cases {
            let problem = json::<Thing>(body.as_bytes()).unwrap_err();
            let hidden = hide(&problem.detail);
            assert!(hidden.starts_with(expected), "{body}: {hidden}");
            for secret in ["S3CRET", "53537", "5.3537"] {
                assert!(!hidden.contains(secret), "{body}: {hidden}");
            }
        }
    }
}
