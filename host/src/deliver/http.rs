//! Sends one request and reads a bounded answer, all under one deadline. Every call is one attempt, nothing is repeated but
//! for a request that is refused with 401, once, with a fresh token.
//!
//! It must not know what follows: it reports an [`Outcome`], `crate::retry` decides.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};

use super::auth::{TokenError, TokenShelf, Tokens, bearer};
use super::clients::Clients;
use super::content::{Contents, File};
use super::fault::{SendError, explain};
use super::mask::Mask;
use super::request::{self, Built, show};
use super::sender::Tried;
use super::target::{HttpTarget, Target};
use super::tls::ClientTls;
use super::upload;
use crate::clock::Millis;
use crate::retry::{MediaFault, Outcome};
use crate::store::work::{HeldDelivery, Lane};

pub use super::tls::tls;

/// How much of an answer's body is read; then the connection is dropped.
pub const MAX_ANSWER: usize = 16 * 1024;
/// How much of an answer's headers is kept, as JSON.
pub const MAX_ANSWER_HEADERS: usize = 16 * 1024;

/// Sends HTTP requests. Cheap to clone; connections and tokens are shared.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) clients: Clients,
    tokens: Tokens,
}

/// What has come back so far; kept when the deadline strikes.
#[derive(Default)]
struct Answer {
    status: Option<u16>,
    headers: Option<String>,
    retry_after: Option<Duration>,
    body: BytesMut,
    /// What is waited for.
    awaited: &'static str,
    /// What is not kept of it.
    mask: Mask,
}

/// Why there is no answer, or not all of it.
enum Failed {
    Send(SendError),
    Token(TokenError),
    Spool(std::io::Error),
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Spool(error)
    }
}

impl Http {
    pub(super) fn new(clients: Clients, shelf: Option<Arc<dyn TokenShelf>>, token_timeout: Duration) -> Self {
        Self { clients, tokens: Tokens::new(shelf, token_timeout) }
    }

    /// Makes one attempt at a delivery that begins at `now`, and is given up after `timeout`.
    ///
    /// A 2xx counts when its answer has come in full, or [`MAX_ANSWER`] bytes of it: a receiver that breaks off in the
    /// middle, or drips past the deadline, has not acknowledged anything.
    pub(super) async fn attempt(
        &self,
        target: &Target,
        http: &HttpTarget,
        d: &HeldDelivery,
        contents: &Contents,
        timeout: Duration,
        now: Millis,
    ) -> Tried {
        let built = match contents.body(d).await {
            Ok(content) => request::build(http, d, content, now).await,
            Err(missing) => Err(missing),
        };
        let Built { request, content, shown } = match built {
            Ok(built) => built,
            Err(missing) => return missing.tried("{}".to_owned()),
        };
        let timeout = timeout + content.as_ref().map_or(Duration::ZERO, File::time);
        let mut answer = Answer { mask: http.mask.with(request.headers()), ..Answer::default() };
        let exchange = self.exchange(target, http, request, content.as_ref(), &mut answer, now);
        let (outcome, error) = match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok(())) => judge(&answer),
            Ok(Err(Failed::Send(error))) => {
                let (outcome, error) = explain(error);
                (outcome, Some(error))
            }
            Ok(Err(Failed::Token(error))) => no_token(&error, &answer),
            Ok(Err(Failed::Spool(why))) => {
                (Outcome::Media(MediaFault::Failed), Some(format!("the spool cannot be read: {why}")))
            }
            Err(_) => (Outcome::Timeout, Some(format!("waited {timeout:?} for {}", answer.awaited))),
        };
        let Answer { status, headers, body, mask, .. } = answer;
        Tried {
            outcome,
            status,
            error: error.map(|text| mask.hide_text(text)),
            request: shown,
            response_headers: headers.map(|text| mask.hide_text(text)),
            response_body: (!body.is_empty()).then(|| mask.hide(&body).into_owned().into()),
        }
    }

    /// Sends with what proves whose the request is. A token that is refused is replaced once.
    async fn exchange(
        &self,
        target: &Target,
        http: &HttpTarget,
        mut request: reqwest::Request,
        content: Option<&File>,
        answer: &mut Answer,
        now: Millis,
    ) -> Result<(), Failed> {
        let tls = http.tls.as_ref();
        let Some(source) = &http.tokens else {
            upload::attach(&mut request, content).await?;
            return Ok(self.send(request, tls.map(|tls| &**tls), answer, now).await?);
        };
        let lane = Lane { carrier: target.carrier.clone(), destination: target.name.clone() };
        let mut refused = None;
        loop {
            answer.awaited = "a token";
            let token = self.tokens.get(&lane, source, &self.clients, tls, now, refused.as_ref()).await;
            let token = token.map_err(Failed::Token)?;
            // Only what can stand in a header has become a token.
            let value = bearer(&token.access_token).unwrap_or(HeaderValue::from_static("Bearer"));
            request.headers_mut().insert(AUTHORIZATION, value);
            let mask = answer.mask.with(request.headers());
            // Its body is not in it yet, so there is always a second one.
            let again = request.try_clone().filter(|_| refused.is_none());
            upload::attach(&mut request, content).await?;
            *answer = Answer { mask, ..Answer::default() };
            self.send(request, tls.map(|tls| &**tls), answer, now).await?;
            match again {
                Some(again) if answer.status == Some(401) => (request, refused) = (again, Some(token)),
                _ => return Ok(()),
            }
        }
    }

    /// Sends, and fills `answer` as it comes in. Whatever is left unread goes away with the response.
    async fn send(
        &self,
        request: reqwest::Request,
        tls: Option<&ClientTls>,
        answer: &mut Answer,
        now: Millis,
    ) -> Result<(), SendError> {
        answer.awaited = "an answer";
        let mut response = self.clients.execute(request, tls).await?;
        answer.awaited = "its answer's end";
        answer.status = Some(response.status().as_u16());
        answer.headers = Some(shown(response.headers()));
        answer.retry_after = retry_after(response.headers().get(RETRY_AFTER), now);
        while answer.body.len() < MAX_ANSWER
            && let Some(chunk) = response.chunk().await?
        {
            let room = MAX_ANSWER - answer.body.len();
            answer.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(())
    }
}

/// What it means that there was no token; `answer` is that of a receiver which refused the one before.
fn no_token(error: &TokenError, answer: &Answer) -> (Outcome, Option<String>) {
    let outcome = Outcome::Token { retry_after: error.retry_after() };
    let before =
        if answer.status.is_some() { "answered 401, and there is no fresh token" } else { "no token" };
    (outcome, Some(format!("{before}: {error}")))
}

/// What a complete answer means.
fn judge(answer: &Answer) -> (Outcome, Option<String>) {
    let status = answer.status.unwrap_or(0);
    match status {
        200..=299 => (Outcome::Delivered, None),
        410 => (Outcome::Gone, Some("answered 410 Gone: it wants no more".to_owned())),
        300..=399 => {
            let error = format!("answered {status}: redirects are not followed");
            (Outcome::Refused { status, retry_after: answer.retry_after }, Some(error))
        }
        _ => {
            let error = format!("answered {status}");
            (Outcome::Refused { status, retry_after: answer.retry_after }, Some(error))
        }
    }
}

/// The answer's headers as a JSON object; those of the same name are joined.
fn shown(headers: &HeaderMap) -> String {
    let mut json = String::with_capacity(256);
    json.push('{');
    for name in headers.keys() {
        let mut values = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()));
        let first = values.next().unwrap_or_default();
        let value = values.fold(first, |all, more| Cow::Owned(format!("{all}, {more}")));
        if json.len() + name.as_str().len() + value.len() > MAX_ANSWER_HEADERS {
            break;
        }
        show(&mut json, name.as_str(), &value);
    }
    json.push('}');
    json
}

/// How long a `Retry-After` asks to wait from `now`.
pub(super) fn retry_after(value: Option<&HeaderValue>, now: Millis) -> Option<Duration> {
    wait(value?.to_str().ok()?, now)
}

/// Seconds, or a date.
fn wait(text: &str, now: Millis) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number has are a very long wait all the same; it is bounded where it is obeyed.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Millis(i64::try_from(date.as_millis()).ok()?).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        let cases = [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(wait(text, now), expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn answer_headers_are_kept_within_bounds() {
        let mut headers = HeaderMap::new();
        headers.append("a", "1".parse().unwrap());
        headers.append("a", "\"2".parse().unwrap());
        assert_eq!(shown(&headers), r#"{"a":"1, \"2"}"#);
        headers.insert("b", "x".repeat(MAX_ANSWER_HEADERS).parse().unwrap());
        assert!(shown(&headers).len() <= MAX_ANSWER_HEADERS);
    }
}
