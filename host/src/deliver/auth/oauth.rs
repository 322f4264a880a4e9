//! A token call (RFC 6749, sections 4.3 and 4.4): a form is posted, and a bounded answer is read into a token.
//!
//! It must not know who else waits for the token, nor how long it is kept.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use serde_json::Value;
use url::Url;

use super::super::address::AddressPolicy;
use super::super::clients::Clients;
use super::super::fault::explain;
use super::super::target::USER_AGENT_VALUE;
use super::super::tls::ClientTls;
use super::super::{headers, http as wire, url_rules};
use super::{AuthError, bearer, within};
use crate::carrier::auth::Token;
use crate::carrier::{Grant, OAuth2};
use crate::clock::Millis;
use crate::secrets::MASK;

/// `token_answer_bytes`: how large a token server's answer may be.
pub const MAX_TOKEN_ANSWER: usize = 64 * 1024;
/// `token_timeout`: how long a token call may take unless the sender is told otherwise, from connecting to the end of the
/// answer.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How large the form of a token call may be, in bytes.
pub const MAX_FORM_BYTES: usize = 16 * 1024;
/// How many further parameters a token call may have.
pub const MAX_PARAMETERS: usize = 32;
/// The longest lifetime that is believed, in seconds: a year.
const MAX_LIFETIME_S: u64 = 366 * 24 * 3_600;

/// A token server and how it is asked, checked and prepared.
pub(in super::super) struct TokenSource {
    url: Url,
    headers: HeaderMap,
    form: Bytes,
    /// What must not be repeated when the server's error is told.
    secrets: Vec<String>,
    fingerprint: [u8; 32],
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// Why there is no token. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The server refused.
    #[error("the token server answered {status}{}", .code.as_ref().map(|code| format!(" with the error `{code}`")).unwrap_or_default())]
    Refused {
        /// The status.
        status: u16,
        /// The code of RFC 6749, section 5.2, or of the server's own.
        code: Option<String>,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// The server sent elsewhere.
    #[error("the token server answered {status}: redirects are not followed")]
    Redirect {
        /// The status.
        status: u16,
    },
    /// The answer is too large.
    #[error(
        "the token server's answer has more than {MAX_TOKEN_ANSWER} bytes, the limit `token_answer_bytes`"
    )]
    TooLarge,
    /// The answer is no token.
    #[error("the token server's answer cannot be used: {why}")]
    Answer {
        /// What is wrong with it.
        why: &'static str,
    },
    /// There was no answer in time.
    #[error("the token server did not answer in full within {limit:?}, the limit `token_timeout`")]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// There was no answer.
    #[error("the token server cannot be reached: {why}")]
    Network {
        /// What went wrong.
        why: String,
    },
}

impl TokenError {
    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { status: 429 | 503, retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl TokenSource {
    /// Checks the settings and prepares the call.
    pub(super) fn compile(settings: &OAuth2, policy: &AddressPolicy) -> Result<Self, AuthError> {
        let url = url_rules::check(&settings.token_url, policy)?;
        check_members(settings)?;
        let count = settings.parameters.len();
        if count > MAX_PARAMETERS {
            return Err(AuthError::Parameters { count });
        }
        if let Some(name) = settings.parameters.keys().find(|name| is_reserved(name)) {
            return Err(AuthError::Reserved { name: name.chars().take(80).collect() });
        }
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(settings.form());
        let form = form.finish();
        if form.len() > MAX_FORM_BYTES {
            return Err(AuthError::FormSize { bytes: form.len() });
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, USER_AGENT_VALUE);
        headers.extend(headers::check(&settings.additional_headers)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let mut secrets: Vec<String> = settings.parameters.values().cloned().collect();
        secrets.extend(settings.client_secret.clone());
        if let Grant::Password { password, .. } = &settings.grant {
            secrets.push(password.clone());
        }
        Ok(Self { url, headers, form: form.into(), secrets, fingerprint: settings.fingerprint() })
    }

    /// Tells settings apart.
    pub(in super::super) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Makes the call; `now` is when it begins, from which the token's life is counted.
    pub(super) async fn fetch(
        &self,
        clients: &Clients,
        tls: Option<&ClientTls>,
        limit: Duration,
        now: Millis,
    ) -> Result<Token, TokenError> {
        let call = self.call(clients, tls, now);
        tokio::time::timeout(limit, call).await.unwrap_or(Err(TokenError::Timeout { limit }))
    }

    async fn call(
        &self,
        clients: &Clients,
        tls: Option<&ClientTls>,
        now: Millis,
    ) -> Result<Token, TokenError> {
        let network = |why| TokenError::Network { why };
        let mut request = reqwest::Request::new(http::Method::POST, self.url.clone());
        request.headers_mut().clone_from(&self.headers);
        *request.body_mut() = Some(self.form.clone().into());
        let mut answer = clients.execute(request, tls).await.map_err(|error| network(explain(error).1))?;
        let status = answer.status().as_u16();
        if (300..400).contains(&status) {
            return Err(TokenError::Redirect { status });
        }
        let asked = wire::retry_after(answer.headers().get(RETRY_AFTER), now);
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| network(explain(error.into()).1))? {
            if body.len() + chunk.len() > MAX_TOKEN_ANSWER {
                return Err(TokenError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        let code = json.as_ref().and_then(|json| self.code(json.get("error")?.as_str()?));
        if !(200..300).contains(&status) || code.is_some() {
            return Err(TokenError::Refused { status, code, retry_after: asked });
        }
        let token = read(json.as_ref(), now).map_err(|why| TokenError::Answer { why })?;
        Ok(Token { fingerprint: self.fingerprint, ..token })
    }

    /// The server's error code, as far as it may be told.
    fn code(&self, code: &str) -> Option<String> {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if code.is_empty() {
            return None;
        }
        let fit = code.len() <= 64 && code.bytes().all(word);
        let secret = self.secrets.iter().any(|secret| !secret.is_empty() && code.contains(secret.as_str()));
        Some(if fit && !secret { code.to_owned() } else { MASK.to_owned() })
    }
}

/// Whether every member that is needed is there, and no secret is what stands for one.
fn check_members(settings: &OAuth2) -> Result<(), AuthError> {
    let hint = "; the grant `password` needs it";
    if let Grant::Password { username, password } = &settings.grant {
        for (field, text) in [("auth.username", username), ("auth.password", password)] {
            if text.is_empty() {
                return Err(AuthError::Missing { field, hint });
            }
            within(field, text)?;
        }
    }
    if let Some(member) = settings.lacks() {
        let field = if member == "client_id" { "auth.client_id" } else { "auth.client_secret" };
        let hint = "; name it in `optional_params` when the token server does not need it";
        return Err(AuthError::Missing { field, hint });
    }
    if let Some(secret) = &settings.client_secret {
        within("auth.client_secret", secret)?;
    }
    for (field, map) in
        [("auth.parameters", &settings.parameters), ("auth.additional_headers", &settings.additional_headers)]
    {
        if map.values().any(|value| value == MASK) {
            return Err(AuthError::Mask { field });
        }
    }
    Ok(())
}

/// Whether a parameter's name means something already.
fn is_reserved(name: &str) -> bool {
    let own = ["grant_type", "username", "password", "client_id", "client_secret", "scope", "audience"];
    own.contains(&name) || crate::carrier::auth::CONTROL.contains(&name) || name.is_empty()
}

/// The token of an answer (RFC 6749, section 5.1).
fn read(json: Option<&Value>, now: Millis) -> Result<Token, &'static str> {
    let json = json.ok_or("it is not JSON")?;
    let text = json.get("access_token").and_then(Value::as_str).ok_or("it has no `access_token`")?;
    if let Some(kind) = json.get("token_type").and_then(Value::as_str)
        && !kind.eq_ignore_ascii_case("bearer")
    {
        return Err("its `token_type` is not `Bearer`");
    }
    if bearer(text).is_none() {
        return Err("its `access_token` cannot stand in a header");
    }
    // Some servers write the number as a text.
    let seconds = match json.get("expires_in") {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(number) => number.as_u64(),
        None => None,
    };
    let lifetime = seconds.map(|seconds: u64| Duration::from_secs(seconds.min(MAX_LIFETIME_S)));
    Ok(Token {
        fingerprint: [0; 32],
        access_token: text.to_owned(),
        made: now,
        expires: lifetime.map(|d| now.plus(d)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Millis = Millis(1_761_300_000_000);

    #[test]
    fn the_documented_answer_is_a_token_with_its_end() {
        // RFC 6749, section 4.4.3.
        let answer =
            json!({"access_token": "2YotnFZFEjr1zCsicMWpAA", "token_type": "example", "expires_in": 3600});
        assert_eq!(read(Some(&answer), NOW).unwrap_err(), "its `token_type` is not `Bearer`");
        for (kind, seconds, expected) in [
            (json!("bearer"), json!(3600), Some(3_600_000)),
            (json!("Bearer"), json!("3600"), Some(3_600_000)),
            (json!(null), json!(1), Some(1_000)),
            (json!("BEARER"), json!(u64::MAX), Some(366 * 24 * 3_600_000)),
            (json!("Bearer"), json!(null), None),
            (json!("Bearer"), json!(-1), None),
            (json!("Bearer"), json!("soon"), None),
        ] {
            let answer = json!({"access_token": "t", "token_type": kind, "expires_in": seconds});
            let token = read(Some(&answer), NOW).unwrap();
            assert_eq!(token.expires.map(|at| at.0 - NOW.0), expected, "{answer}");
        }
        for (answer, why) in [
            (json!([]), "it has no `access_token`"),
            (json!({"access_token": 7}), "it has no `access_token`"),
            (json!({"access_token": ""}), "its `access_token` cannot stand in a header"),
            (json!({"access_token": "a\r\nb: c"}), "its `access_token` cannot stand in a header"),
        ] {
            assert_eq!(read(Some(&answer), NOW).unwrap_err(), why, "{answer}");
        }
        assert_eq!(read(None, NOW).unwrap_err(), "it is not JSON");
    }

    #[test]
    fn an_error_code_is_told_unless_it_could_be_a_secret() {
        let settings = OAuth2 {
            grant: Grant::Password { username: "u".to_owned(), password: "hush".to_owned() },
            token_url: "https://login.example/".to_owned(),
            client_id: Some("id".to_owned()),
            client_secret: Some("s3cr3t".to_owned()),
            scope: None,
            audience: None,
            parameters: std::collections::BTreeMap::new(),
            optional_params: Vec::new(),
            additional_headers: std::collections::BTreeMap::new(),
        };
        let source = TokenSource::compile(&settings, &AddressPolicy::default()).unwrap();
        let long = "x".repeat(65);
        for (code, expected) in [
            ("invalid_client", Some("invalid_client")),
            ("bad_s3cr3t", Some(MASK)),
            ("hush", Some(MASK)),
            ("no spaces", Some(MASK)),
            (&long, Some(MASK)),
            ("", None),
        ] {
            assert_eq!(source.code(code).as_deref(), expected, "{code}");
        }
        assert!(!format!("{source:?}").contains("s3cr3t"));
    }
}
