//! API keys: making them, and finding whose a presented key is.
//!
//! Requests look keys up in a snapshot, without a lock and without the database. It must not know the routes.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};
use crate::carrier::{ApiKey, KeyId, Role};
use crate::clock::Millis;
use crate::event::CarrierId;
use crate::store::Store;
use crate::store::error::StoreError;

/// Whose request it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key that was presented.
    pub key: KeyId,
    /// What it may do.
    pub role: Role,
    /// The carrier that it is bound to; there for [`Role::Carrier`].
    pub carrier: Option<CarrierId>,
}

/// Makes a key: the row for the store, and the text that is shown once. `random` is fresh from the system.
pub fn mint(
    role: Role,
    carrier: Option<CarrierId>,
    name: String,
    random: [u8; 40],
    now: Millis,
) -> (ApiKey, String) {
    let id: String = random[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("hky_{id}_{}", URL_SAFE_NO_PAD.encode(&random[8..]));
    let id = id.parse().expect("16 hexadecimal digits are a key id");
    let key = ApiKey { id, role, carrier, name, digest: digest(&text), created: now };
    (key, text)
}

/// What the store keeps of a key's text.
fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// All keys, by digest. Cheap to clone; every clone sees a reload.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    keys: Arc<ArcSwap<HashMap<[u8; 32], Arc<Principal>>>>,
    // Reloads take turns, so that an older reading never replaces a newer one.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl KeyRing {
    /// The keys as the store has them now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: &Store) -> Result<Self, StoreError> {
        let ring = Self::default();
        ring.reload(store).await?;
        Ok(ring)
    }

    /// Reads all keys again: after this node changed one, and when another node says that it did.
    ///
    /// # Errors
    /// When the store cannot be read; the keys stay as they were.
    pub async fn reload(&self, store: &Store) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        self.replace(store.keys().await?);
        Ok(())
    }

    /// Takes these keys and no others.
    pub fn replace(&self, keys: Vec<ApiKey>) {
        let principal =
            |key: ApiKey| Arc::new(Principal { key: key.id, role: key.role, carrier: key.carrier });
        self.keys.store(Arc::new(keys.into_iter().map(|key| (key.digest, principal(key))).collect()));
    }

    /// Whose key this is.
    pub fn find(&self, text: &str) -> Option<Arc<Principal>> {
        // The look-up is by digest: how long it takes says nothing about the key.
        self.keys.load().get(&digest(text)).cloned()
    }

    /// Whose request this is, by `x-api-key` or `Authorization: Bearer`.
    ///
    /// # Errors
    /// 401 without a key or with one that is not known.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Problem> {
        let Some(text) = presented(headers) else {
            let how = "send the API key as `x-api-key` or as `Authorization: Bearer`";
            return Err(Problem::new(Code::Unauthorized, how));
        };
        self.find(text).ok_or_else(|| {
            Problem::new(Code::Unauthorized, "the API key is not known; it may have been deleted")
        })
    }
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok();
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_text_alone() {
        let (key, text) = mint(Role::Carrier, Some("acme".parse().unwrap()), "ci".into(), [7; 40], Millis(1));
        assert!(text.starts_with("hky_0707070707070707_"), "{text}");
        assert_eq!(text.len(), 4 + 16 + 1 + 43);
        let ring = KeyRing::default();
        let other_hand = ring.clone();
        assert_eq!(ring.find(&text), None);
        other_hand.replace(vec![key]);
        let found = ring.find(&text).unwrap();
        assert_eq!((found.role, found.carrier.as_ref().unwrap().as_str()), (Role::Carrier, "acme"));
        assert_eq!(ring.find(&text.to_uppercase()), None);
        ring.replace(Vec::new());
        assert_eq!(ring.find(&text), None);
    }

    #[test]
    fn a_key_comes_in_either_header() {
        let (key, text) = mint(Role::Admin, None, "ops".into(), [1; 40], Millis(1));
        let ring = KeyRing::default();
        ring.replace(vec![key]);
        for (name, value, good) in [
            ("x-api-key", text.clone(), true),
            ("authorization", format!("Bearer {text}"), true),
            ("authorization", format!("bearer  {text}"), true),
            ("authorization", format!("Basic {text}"), false),
            ("x-api-key", "hky_x".to_owned(), false),
            ("authorization", text, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let found = ring.authenticate(&headers);
            assert_eq!(found.is_ok(), good, "{name}: {value}");
            if let Err(problem) = found {
                assert_eq!((problem.status, problem.code), (401, "unauthorized"));
            }
        }
    }
}
