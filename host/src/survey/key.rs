//! The key that signs links: made once, by one node for all, and kept sealed in the store. So it stays the same when the
//! master key is rotated, and with it the links that are in people's mail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::link::LinkKey;
use crate::clock::{Millis, random_bytes};
use crate::secrets::MasterKeys;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::host_keys::host_key_context;

const PURPOSE: &str = "survey";
const NAME: &str = "links";

/// Reads the key; makes it first where there is none and `make` is set. The inner error is for people: what is damaged is the
/// trouble of surveys alone.
///
/// # Errors
/// What the database says.
pub async fn link_key(
    store: &Store,
    master: &MasterKeys,
    make: bool,
    now: Millis,
) -> Result<Result<LinkKey, String>, StoreError> {
    let context = host_key_context(PURPOSE, NAME);
    let mut sealed = store.host_key(PURPOSE, NAME).await?;
    if make && sealed.is_none() {
        let key = STANDARD.encode(random_bytes::<32>());
        let plain = serde_json::Value::String(key).to_string();
        store.put_host_key(PURPOSE, NAME, master.seal(&context, plain.as_bytes()), now).await?;
        // Another node may have been first.
        sealed = store.host_key(PURPOSE, NAME).await?;
    }
    let Some(sealed) = sealed else { return Ok(Err("there is no key that signs links".to_owned())) };
    let open = || {
        let plain = master.open(&context, &sealed).ok()?;
        let text: String = serde_json::from_slice(&plain).ok()?;
        STANDARD.decode(text).ok()?.try_into().ok()
    };
    let Some(key) = open() else {
        tracing::error!(
            "the key that signs links to surveys does not open: links are neither made nor known"
        );
        let why = "the key that signs links does not open; the operator's log says more";
        return Ok(Err(why.to_owned()));
    };
    Ok(Ok(LinkKey::from_bytes(&key)))
}
