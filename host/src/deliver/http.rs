//! Sends one request and reads a bounded answer, all under one deadline. Every call is one attempt, nothing is repeated.
//!
//! It must not know what follows: it reports an [`Outcome`], `crate::retry` decides.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, RETRY_AFTER};

use super::address::{AddressPolicy, BlockedAddress, GuardedResolver, Unresolved};
use super::mask::Mask;
use super::request::{self, Built, show};
use super::target::{Target, Way};
use crate::clock::{Millis, Stopwatch};
use crate::retry::{NetworkFault, Outcome};
use crate::store::work::HeldDelivery;

/// How much of an answer's body is read; then the connection is dropped.
pub const MAX_ANSWER: usize = 16 * 1024;
/// How much of an answer's headers is kept, as JSON.
pub const MAX_ANSWER_HEADERS: usize = 16 * 1024;
/// How much of an error's text is kept, in characters.
const MAX_ERROR: usize = 500;

/// Sends HTTP requests. Cheap to clone; connections are shared.
#[derive(Debug, Clone)]
pub struct Sender {
    pub(super) client: reqwest::Client,
    pub(super) policy: Arc<AddressPolicy>,
}

/// Why there is no sender.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// TLS could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The client could not be built.
    #[error("the HTTP client could not be built: {0}")]
    Client(#[from] reqwest::Error),
}

/// What one attempt came to, for the record and for [`crate::retry::decide`].
#[derive(Debug, Clone)]
pub struct Report {
    /// When it began.
    pub started: Millis,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// What it came to.
    pub outcome: Outcome,
    /// [`Outcome::kind`]: the word for it.
    pub kind: &'static str,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// What went wrong, for people; secrets masked.
    pub error: Option<String>,
    /// JSON of the method, address and headers as sent, secrets masked; `{}` when nothing could be built.
    pub request: String,
    /// JSON of the answer's headers, at most [`MAX_ANSWER_HEADERS`] bytes of them.
    pub response_headers: Option<String>,
    /// At most [`MAX_ANSWER`] bytes of the answer's body; absent when it is empty.
    pub response_body: Option<Bytes>,
}

/// What has come back so far; kept when the deadline strikes.
#[derive(Default)]
struct Answer {
    status: Option<u16>,
    headers: Option<String>,
    retry_after: Option<Duration>,
    body: BytesMut,
    /// What is not kept of it.
    mask: Mask,
}

impl Sender {
    /// A sender that connects to what the policy allows.
    ///
    /// # Errors
    /// TLS or the client could not be set up.
    pub fn new(policy: &AddressPolicy) -> Result<Self, SenderError> {
        let policy = Arc::new(policy.clone());
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            .dns_resolver(GuardedResolver(policy.clone()))
            // A redirect would lead past the address guard, and a variable of the environment past everything.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            // Every send is an attempt that is recorded. What remains is that a request which met a pooled connection's
            // end before any of it was written goes out on another connection.
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(128)
            .pool_idle_timeout(Duration::from_secs(30))
            .http2_max_header_list_size(64 * 1024)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self { client, policy })
    }

    /// Makes one attempt at a delivery that begins at `now`, and is given up after `timeout`.
    ///
    /// A 2xx counts when its answer has come in full, or [`MAX_ANSWER`] bytes of it: a receiver that breaks off in the
    /// middle, or drips past the deadline, has not acknowledged anything.
    pub async fn attempt(&self, target: &Target, d: &HeldDelivery, timeout: Duration, now: Millis) -> Report {
        let watch = Stopwatch::start();
        let built = match &target.way {
            Way::Http(http) => request::build(http, d, now),
            Way::Unavailable(kind) => {
                Err(Cow::Owned(format!("destination kind not available: {}", kind.as_str())))
            }
        };
        let blocked = target.literal().and_then(|ip| self.policy.check(ip).err());
        let mut answer = Answer::default();
        let (request, outcome, error) = match (built, blocked) {
            (Err(why), _) => ("{}".to_owned(), Outcome::Unavailable(why.clone()), Some(why.into_owned())),
            (Ok(built), Some(blocked)) => (built.shown, Outcome::Blocked, Some(blocked.to_string())),
            (Ok(Built { request, shown }), None) => {
                if let Way::Http(http) = &target.way {
                    answer.mask = http.mask.with(request.headers());
                }
                let done = tokio::time::timeout(timeout, self.exchange(request, &mut answer, now)).await;
                let (outcome, error) = match done {
                    Ok(Ok(())) => judge(&answer),
                    Ok(Err(error)) => fault(error),
                    Err(_) => {
                        let waited = if answer.status.is_some() { "its answer's end" } else { "an answer" };
                        (Outcome::Timeout, Some(format!("waited {timeout:?} for {waited}")))
                    }
                };
                (shown, outcome, error)
            }
        };
        let Answer { status, headers, body, mask, .. } = answer;
        Report {
            started: now,
            duration_us: u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX),
            kind: outcome.kind(),
            outcome,
            status,
            error: error.map(|text| mask.hide_text(text)),
            request,
            response_headers: headers.map(|text| mask.hide_text(text)),
            response_body: (!body.is_empty()).then(|| mask.hide(&body).into_owned().into()),
        }
    }

    /// Sends, and fills `answer` as it comes in. Whatever is left unread goes away with the response.
    async fn exchange(
        &self,
        request: reqwest::Request,
        answer: &mut Answer,
        now: Millis,
    ) -> Result<(), reqwest::Error> {
        let mut response = self.client.execute(request).await?;
        answer.status = Some(response.status().as_u16());
        answer.headers = Some(shown(response.headers()));
        answer.retry_after =
            response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|t| wait(t, now));
        while answer.body.len() < MAX_ANSWER
            && let Some(chunk) = response.chunk().await?
        {
            let room = MAX_ANSWER - answer.body.len();
            answer.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(())
    }
}

/// TLS by ring, trusting what the system trusts, or Mozilla's list where the system has none.
/// What TLS connections are made with: the system's certificates and no other.
///
/// # Errors
/// When the provider has no usable protocol version.
pub fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
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

/// What an error of the client means, by the types of its causes and never by their text.
pub(super) fn fault(error: reqwest::Error) -> (Outcome, Option<String>) {
    let error = error.without_url();
    let text = causes(&error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let text = text.chars().take(MAX_ERROR).collect();
    let outcome = if has::<BlockedAddress>(&error) {
        Outcome::Blocked
    } else if has::<Unresolved>(&error) {
        Outcome::Network(NetworkFault::Dns)
    } else if has::<rustls::Error>(&error) {
        Outcome::Network(NetworkFault::Tls)
    } else if error.is_builder() {
        Outcome::Unavailable(Cow::Borrowed("the request cannot be built"))
    } else if error.is_connect() {
        Outcome::Network(NetworkFault::Connect)
    } else {
        Outcome::Network(NetworkFault::Broken)
    };
    (outcome, Some(text))
}

/// An error and what caused it. What an I/O error wraps is not its source, so it is looked into.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), cause)
}

fn cause<'a>(error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let error: &'a (dyn Error + 'static) = *error;
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn has<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<E>())
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

/// How long a `Retry-After` asks to wait from `now`: seconds, or a date.
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
