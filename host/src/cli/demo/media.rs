//! The demo's media store: files behind links that are signed and expire, as a platform's object store gives them out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::clock::{Clock, random_bytes};

/// How long a link lives, in seconds: as long as those of the platform.
pub(super) const LIFE_S: i64 = 3_600;

/// A running store. It ends with the process.
#[derive(Clone)]
pub(super) struct MediaStore {
    /// Where it listens.
    pub(super) address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    key: [u8; 32],
    files: Mutex<HashMap<String, File>>,
}

/// A file and how often it was given out.
struct File {
    bytes: Bytes,
    given: u32,
}

/// What a link says beside the name.
#[derive(Deserialize)]
struct Signed {
    /// When it ends, in Unix seconds.
    exp: i64,
    sig: String,
}

impl std::fmt::Debug for MediaStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaStore").field("address", &self.address).finish_non_exhaustive()
    }
}

impl MediaStore {
    /// Listens on a free port of this machine.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner { key: random_bytes(), files: Mutex::default() });
        let app = app(inner.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, inner })
    }

    /// Keeps a PNG picture; gives the link to it, which ends `life_s` seconds from now.
    pub(super) fn keep(&self, name: &str, picture: Vec<u8>, life_s: i64) -> String {
        self.inner.files().insert(name.to_owned(), File { bytes: picture.into(), given: 0 });
        let exp = now_s() + life_s;
        let sig = URL_SAFE_NO_PAD.encode(self.inner.mac(name, exp).finalize().into_bytes());
        format!("http://{}/obj/{name}?exp={exp}&sig={sig}", self.address)
    }

    /// How often a file was given out.
    pub(super) fn given(&self, name: &str) -> u32 {
        self.inner.files().get(name).map_or(0, |file| file.given)
    }
}

impl Inner {
    fn files(&self) -> std::sync::MutexGuard<'_, HashMap<String, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mac(&self, name: &str, exp: i64) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.key).expect("a key of any length will do");
        mac.update(format!("{name}\n{exp}").as_bytes());
        mac
    }
}

fn app(inner: Arc<Inner>) -> axum::Router {
    axum::Router::new().route("/obj/{name}", axum::routing::get(give)).with_state(inner)
}

fn now_s() -> i64 {
    Clock::system().now().0 / 1_000
}

async fn give(
    State(inner): State<Arc<Inner>>,
    Path(name): Path<String>,
    Query(signed): Query<Signed>,
) -> Response {
    let sig = URL_SAFE_NO_PAD.decode(&signed.sig).unwrap_or_default();
    if inner.mac(&name, signed.exp).verify_slice(&sig).is_err() {
        return (StatusCode::FORBIDDEN, "the signature does not match").into_response();
    }
    if signed.exp < now_s() {
        return (StatusCode::FORBIDDEN, "the link has expired").into_response();
    }
    match inner.files().get_mut(&name) {
        Some(file) => {
            file.given += 1;
            ([(header::CONTENT_TYPE, "image/png")], file.bytes.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_link_gives_its_file_while_it_lives() {
        let store = MediaStore::start().await.unwrap();
        let link = store.keep("m-1", b"picture".to_vec(), LIFE_S);
        let expired = store.keep("m-2", b"picture".to_vec(), -1);
        let other = link.replace("m-1", "m-2");
        for (link, status) in [(&link, 200), (&expired, 403), (&other, 403)] {
            let request = Request::get(link).body(Body::empty()).unwrap();
            let answer = app(store.inner.clone()).oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{link}");
        }
        assert_eq!((store.given("m-1"), store.given("m-2"), store.given("m-3")), (1, 0, 0));
    }
}
