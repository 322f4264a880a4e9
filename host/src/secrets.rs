//! Secrets at rest: the operator's master key seals what the store keeps of a destination's credentials.
//!
//! XChaCha20-Poly1305 with a random nonce. `ring` has several keys at once, so that one can follow another; `file` keeps
//! them in the data folder. It must not know what the secrets are for.

mod file;
mod ring;

pub use file::{KeyFile, KeyFileError, KeyFileLock, Stamp};
pub use ring::{KeyList, KeyListError, MAX_KEYS, MasterKeys};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::clock::random_bytes;

/// The first byte of what is sealed in this form.
const VERSION: u8 = 1;
const KEY_ID: usize = 4;
const NONCE: usize = 24;

/// The operator's key: 32 bytes, written as base64.
#[derive(Clone)]
pub struct MasterKey {
    bytes: [u8; 32],
    id: [u8; KEY_ID],
    cipher: XChaCha20Poly1305,
}

/// Why a secret could not be sealed, or a key or a sealed secret was refused. Never holds any part of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// The text is not 32 bytes of base64.
    #[error("the master key must be 32 bytes in base64 (44 characters)")]
    NotAKey,
    /// What should be opened is too short, or of a later form.
    #[error("a sealed secret of {context} is damaged or of an unknown form")]
    Form {
        /// Whose secret.
        context: String,
    },
    /// It was sealed with another key.
    #[error(
        "a sealed secret of {context} was sealed with master key {sealed_with}, this host has {ours}; put the missing \
         key into its `master.key`"
    )]
    OtherKey {
        /// Whose secret.
        context: String,
        /// The id of the key that it was sealed with.
        sealed_with: String,
        /// The id of this key, or those of all that were tried.
        ours: String,
    },
    /// It was changed, or belongs to something else.
    #[error("a sealed secret of {context} does not open: it was changed, or belongs to something else")]
    Forged {
        /// Whose secret.
        context: String,
    },
}

impl MasterKey {
    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let digest: [u8; 32] =
            Sha256::new_with_prefix(b"hookyard master key id\0").chain_update(bytes).finalize().into();
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&digest[..KEY_ID]);
        Self { bytes, id, cipher: XChaCha20Poly1305::new(&bytes.into()) }
    }

    /// The key in a file's or a variable's text; space around it does not matter.
    ///
    /// # Errors
    /// The text is not 32 bytes of base64.
    pub fn from_base64(text: &str) -> Result<Self, SecretsError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SecretsError::NotAKey)?;
        Ok(Self::from_bytes(bytes.try_into().map_err(|_| SecretsError::NotAKey)?))
    }

    /// The text to keep in a file. The only way in which the key leaves this type.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.bytes)
    }

    /// A name for the key that says nothing about it: 8 hexadecimal digits.
    pub fn id(&self) -> String {
        hex(self.id)
    }

    /// Whether this key sealed it, by what it says of itself.
    pub fn has_sealed(&self, sealed: &[u8]) -> bool {
        sealed.first() == Some(&VERSION) && sealed.get(1..1 + KEY_ID) == Some(&self.id)
    }

    /// Encrypts `plaintext`. It opens only under the same `context` (`carrier/name`), so that a row's secrets cannot be
    /// moved to another row.
    ///
    /// # Panics
    /// Only for more than 256 GiB of plaintext.
    pub fn seal(&self, context: &str, plaintext: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE>();
        let payload = Payload { msg: plaintext, aad: context.as_bytes() };
        let text =
            self.cipher.encrypt(&XNonce::from(nonce), payload).expect("the plaintext is under 256 GiB");
        [&[VERSION][..], &self.id, &nonce, &text].concat()
    }

    /// Decrypts what [`MasterKey::seal`] made under the same context.
    ///
    /// # Errors
    /// Another form, another key, or not what was sealed under this context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SecretsError> {
        let form = || SecretsError::Form { context: context.to_owned() };
        let (&version, rest) = sealed.split_first().ok_or_else(form)?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID>().ok_or_else(form)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or_else(form)?;
        if version != VERSION {
            return Err(form());
        }
        if *id != self.id {
            let (sealed_with, ours) = (hex(*id), self.id());
            return Err(SecretsError::OtherKey { context: context.to_owned(), sealed_with, ours });
        }
        let payload = Payload { msg: text, aad: context.as_bytes() };
        self.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| SecretsError::Forged { context: context.to_owned() })
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

fn hex(bytes: [u8; KEY_ID]) -> String {
    format!("{:08x}", u32::from_be_bytes(bytes))
}

/// Stands for a secret wherever something is shown: logs, errors, the recorded form of a request.
pub const MASK: &str = "***";

/// A value that shows as [`MASK`] in every form of printing.
#[derive(Clone, PartialEq, Eq)]
pub struct Masked<T>(pub T);

impl<T> std::fmt::Debug for Masked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> std::fmt::Display for Masked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_in_its_place_and_with_its_key() {
        let key = MasterKey::from_bytes([7; 32]);
        let sealed = key.seal("acme/claims", b"s3cret");
        assert_eq!(key.open("acme/claims", &sealed).unwrap(), b"s3cret");
        assert!(matches!(key.open("acme/other", &sealed), Err(SecretsError::Forged { .. })));
        let other = MasterKey::from_bytes([8; 32]);
        assert!(matches!(other.open("acme/claims", &sealed), Err(SecretsError::OtherKey { .. })));
        assert_ne!(sealed, key.seal("acme/claims", b"s3cret"), "a nonce is used once");
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_seen() {
        let key = MasterKey::from_bytes([7; 32]);
        let sealed = key.seal("c", b"s3cret");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("c", &changed).is_err(), "byte {at}");
            assert!(key.open("c", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_key_travels_as_base64_and_is_never_shown() {
        let key = MasterKey::from_bytes([7; 32]);
        let again = MasterKey::from_base64(&format!(" {}\n", key.to_base64())).unwrap();
        assert_eq!(again.open("c", &key.seal("c", b"x")).unwrap(), b"x");
        let shown = format!("{key:?}");
        assert!(!shown.contains(&key.to_base64()) && shown.len() == "MasterKey()".len() + 8, "{shown}");
        for bad in ["", "short", &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33])] {
            assert_eq!(MasterKey::from_base64(bad).unwrap_err(), SecretsError::NotAKey, "{bad:?}");
        }
        assert_eq!(format!("{} {:?}", Masked("pw"), Masked("pw")), "*** ***");
    }
}
