//! The validation request: before anything is sent to a receiver that has to allow it, it is asked by `OPTIONS`
//! (CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery" 1.0.2, section 4).
//!
//! It must not know the store, nor what follows from the answer.

use std::time::Duration;

use http::header::{ALLOW, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::fault::{SendError, explain};
use super::mask::Mask;
use super::request::plain_value;
use super::sender::Sender;
use super::target::{Target, Way};
use crate::carrier::handshake::{HandshakeSpec, Reply};

/// How long a receiver has for its answer, look-up of its name included.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How much of what a receiver says is repeated, in characters.
const MAX_REPEATED: usize = 100;

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_CALLBACK: HeaderName = HeaderName::from_static("webhook-request-callback");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
/// The rate that a receiver allows, in its answer or in its callback.
pub const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

impl Target {
    /// The same with `WebHook-Request-Origin` in every request, as a receiver wants it that was asked with that origin.
    #[must_use]
    pub fn asked_as(mut self, origin: &str) -> Self {
        if let (Way::Http(http), Some(origin)) = (&mut self.way, plain_value(origin)) {
            http.headers.insert(REQUEST_ORIGIN, origin);
        }
        self
    }
}

impl Sender {
    /// Asks a destination's receiver for permission, at the destination's exact address. Nothing secret goes along: who
    /// has not allowed anything is shown nothing. `callback` is where permission can be given later.
    ///
    /// No more than the head of the answer is read.
    pub async fn ask(&self, target: &Target, spec: &HandshakeSpec, callback: Option<&str>) -> Reply {
        // Whoever knows the callback's address can give permission: it must not come back as a reason.
        let token = callback.and_then(|callback| callback.rsplit('/').next());
        let mask = Mask::hiding(callback.into_iter().chain(token));
        let withheld = |why: String| Reply::Withheld { why: mask.hide_text(why) };
        let Way::Http(http) = &target.way else {
            return withheld("only destinations of kind `http` can be asked".to_owned());
        };
        let mut request = reqwest::Request::new(http::Method::OPTIONS, http.url.clone());
        let agent = http.headers.get(USER_AGENT).cloned();
        fill(request.headers_mut(), spec, callback, agent);
        match tokio::time::timeout(DEADLINE, self.http.clients.execute(request, http.tls.as_deref())).await {
            Ok(Ok(answer)) => match judge(spec, answer.status().as_u16(), answer.headers()) {
                Reply::Withheld { why } => withheld(why),
                granted => granted,
            },
            Ok(Err(SendError::Blocked(blocked))) => withheld(blocked.to_string()),
            Ok(Err(error)) => withheld(format!("no answer: {}", explain(error).1)),
            Err(_) => withheld(format!("no answer within {} s", DEADLINE.as_secs())),
        }
    }
}

fn fill(headers: &mut HeaderMap, spec: &HandshakeSpec, callback: Option<&str>, agent: Option<HeaderValue>) {
    headers.extend(agent.map(|agent| (USER_AGENT, agent)));
    headers.extend(plain_value(&spec.origin).map(|origin| (REQUEST_ORIGIN, origin)));
    headers.extend(spec.rate_per_minute.map(|rate| (REQUEST_RATE, HeaderValue::from(rate))));
    headers.extend(callback.and_then(plain_value).map(|mut callback| {
        // Whoever knows it can give permission.
        callback.set_sensitive(true);
        (REQUEST_CALLBACK, callback)
    }));
}

/// The grant is in the headers alone: a receiver that knows nothing of this may answer `OPTIONS` with any status.
fn judge(spec: &HandshakeSpec, status: u16, headers: &HeaderMap) -> Reply {
    let origins =
        headers.get_all(ALLOWED_ORIGIN).iter().filter_map(|value| value.to_str().ok()).map(str::trim);
    let origins: Vec<&str> = origins.collect();
    let Some(first) = origins.first() else {
        let allow = headers.get(ALLOW).and_then(|value| value.to_str().ok());
        let allow = allow.map(|a| format!(", `allow: {}`", short(a))).unwrap_or_default();
        return Reply::Withheld { why: format!("answered {status}{allow} without `webhook-allowed-origin`") };
    };
    if !origins.iter().any(|origin| *origin == "*" || origin.eq_ignore_ascii_case(&spec.origin)) {
        let why = format!("answered {status}: it allows `{}`, not `{}`", short(first), spec.origin);
        return Reply::Withheld { why };
    }
    let rate = headers.get(ALLOWED_RATE).map(|value| value.to_str().unwrap_or_default());
    match spec.granted_rate(rate) {
        Ok(rate) => Reply::Granted { rate },
        Err(why) => Reply::Withheld { why: format!("answered {status}: {why}") },
    }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> HandshakeSpec {
        HandshakeSpec { origin: "events.example.com".to_owned(), rate_per_minute: Some(120) }
    }

    fn judged(headers: &[(&'static str, &str)]) -> Reply {
        let pairs = headers.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap()));
        judge(&spec(), 405, &pairs.collect())
    }

    #[test]
    fn permission_is_in_the_headers_and_not_in_the_status() {
        for (origin, rate, granted) in [
            ("events.example.com", None, Some(120)),
            ("EVENTS.example.com", Some("60"), Some(60)),
            (" * ", Some("*"), None),
        ] {
            let mut headers = vec![("webhook-allowed-origin", origin)];
            headers.extend(rate.map(|rate| ("webhook-allowed-rate", rate)));
            assert_eq!(judged(&headers), Reply::Granted { rate: granted }, "{origin} {rate:?}");
        }
        let withheld: [(&[(&'static str, &str)], &str); 5] = [
            (&[], "answered 405 without `webhook-allowed-origin`"),
            (&[("allow", "GET, POST")], "answered 405, `allow: GET, POST` without `webhook-allowed-origin`"),
            (&[("webhook-allowed-rate", "*")], "answered 405 without `webhook-allowed-origin`"),
            (
                &[("webhook-allowed-origin", "example.com")],
                "answered 405: it allows `example.com`, not `events.example.com`",
            ),
            (
                &[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "0")],
                "answered 405: `WebHook-Allowed-Rate` takes a whole number above 0, or `*`",
            ),
        ];
        for (headers, why) in withheld {
            assert_eq!(judged(headers), Reply::Withheld { why: why.to_owned() });
        }
    }

    #[test]
    fn the_callback_is_marked_as_a_secret() {
        let mut headers = HeaderMap::new();
        fill(&mut headers, &spec(), Some("https://host.example/v1/handshake/t0ken"), None);
        assert_eq!(headers[REQUEST_ORIGIN], "events.example.com");
        assert_eq!(headers[REQUEST_RATE], "120");
        assert!(headers[REQUEST_CALLBACK].is_sensitive() && !format!("{headers:?}").contains("t0ken"));
    }
}
