//! A receiver of webhooks for `listen`, `demo` and `bench`: verifies signatures, remembers by `requestid`, and fails on
//! demand.
//!
//! It must not know the host: it sees what any receiver sees.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::net::TcpListener;

/// What came under one `requestid`.
#[derive(Debug, Clone, Default)]
pub(super) struct Received {
    /// The path's last part, which says to which of the receiver's places it was sent.
    pub(super) place: String,
    /// The `eventname` header.
    pub(super) event_name: String,
    /// The body of the last request.
    pub(super) body: Bytes,
    /// How many requests were answered with 200.
    pub(super) taken: u32,
    /// How many were refused on purpose.
    pub(super) refused: u32,
}

/// What the receiver saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By `requestid`.
    pub(super) requests: HashMap<String, Received>,
    /// Requests whose signature did not verify, or that lacked a header; the reason.
    pub(super) bad: Vec<String>,
}

/// Decides whether a request is refused: the place, the `requestid`, how often it was refused before.
pub(super) type Refuse = dyn Fn(&str, &str, u32) -> Option<StatusCode> + Send + Sync;

/// A running receiver. It ends with the process.
#[derive(Clone)]
pub(super) struct Receiver {
    /// Where it listens.
    pub(super) address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    seen: Mutex<Seen>,
    secrets: Mutex<HashMap<String, String>>,
    refuse: Box<Refuse>,
    changed: tokio::sync::watch::Sender<u64>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Listens on `address` and takes POSTs to `/{place}`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(super) async fn start(address: SocketAddr, refuse: Box<Refuse>) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let (changed, _) = tokio::sync::watch::channel(0);
        let inner = Arc::new(Inner { seen: Mutex::default(), secrets: Mutex::default(), refuse, changed });
        let app = axum::Router::new().route("/{place}", axum::routing::any(take)).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, inner })
    }

    /// Signatures at this place are verified with this secret from now on.
    pub(super) fn expect(&self, place: &str, secret: &str) {
        lock(&self.inner.secrets).insert(place.to_owned(), secret.to_owned());
    }

    /// Looks at what was seen.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&lock(&self.inner.seen))
    }

    /// Waits until what was seen satisfies `enough`.
    pub(super) async fn wait(&self, enough: impl Fn(&Seen) -> bool) {
        let mut changed = self.inner.changed.subscribe();
        while !self.look(&enough) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(
    State(inner): State<Arc<Inner>>,
    Path(place): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let id = text("requestid");
    let secret = lock(&inner.secrets).get(&place).cloned();
    let verified = secret.map_or(Ok(()), |secret| verify(&secret, &headers, &body));
    let status = {
        let mut seen = lock(&inner.seen);
        if id.is_empty() {
            seen.bad.push(format!("{place}: no `requestid`"));
        }
        if let Err(why) = verified {
            seen.bad.push(format!("{place}: {why}"));
        }
        let received = seen.requests.entry(id.clone()).or_default();
        received.event_name = text("eventname");
        received.body = body;
        let refused = (inner.refuse)(&place, &id, received.refused);
        received.place = place;
        match refused {
            Some(status) => {
                received.refused += 1;
                status
            }
            None => {
                received.taken += 1;
                StatusCode::OK
            }
        }
    };
    inner.changed.send_modify(|n| *n += 1);
    status
}

/// Verifies a `v1` signature as a receiver does, from the specification and not with the host's own signer.
///
/// # Errors
/// What is wrong, for people.
pub(super) fn verify(secret: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let header = |name: &str| {
        headers.get(name).and_then(|v| v.to_str().ok()).ok_or_else(|| format!("there is no `{name}`"))
    };
    let (id, timestamp, signatures) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let sent: i64 = timestamp.parse().map_err(|_| "`webhook-timestamp` is not a number".to_owned())?;
    let now = crate::clock::Clock::system().now().0 / 1_000;
    if (now - sent).abs() > 300 {
        return Err(format!("`webhook-timestamp` is {} s away from now", (now - sent).abs()));
    }
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
        .map_err(|_| "the secret is not base64".to_owned())?;
    for signature in signatures.split(' ').filter_map(|s| s.strip_prefix("v1,")) {
        let Ok(signature) = STANDARD.decode(signature) else { continue };
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|e| e.to_string())?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        if mac.verify_slice(&signature).is_ok() {
            return Ok(());
        }
    }
    Err("no `v1` signature matches".to_owned())
}
