//! Why a key is not taken, and why something could not be encrypted.

use std::io;

use crate::clock::Millis;

/// Why the keys of a destination are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pgp_keys[{index}]: {why}")]
pub struct PgpError {
    /// Which of the texts, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub why: KeyFault,
}

/// Why a key is refused. Public keys are no secrets, so that it may name them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// There are too many.
    #[error("too many keys, the limit `pgp_keys` is {}", super::MAX_KEYS)]
    Count,
    /// The text is too long.
    #[error("{size} bytes long, the limit `pgp_key_bytes` is {}", super::KEY_BYTES)]
    Size {
        /// Its length in bytes.
        size: usize,
    },
    /// It is not base64.
    #[error("it is not base64 (standard alphabet, padded)")]
    Base64,
    /// What the base64 holds is not an armoured public key.
    #[error("what the base64 holds {0}")]
    Form(&'static str),
    /// The packets of the block cannot be read.
    #[error("what the base64 holds cannot be read as public keys: {0}")]
    Unreadable(String),
    /// None of the key's own signatures holds.
    #[error(
        "key {fingerprint}: it has no valid signature of its own; export it anew with `gpg --export --armor`"
    )]
    Unbound {
        /// The key.
        fingerprint: String,
    },
    /// Its owner has revoked it.
    #[error("key {fingerprint}: it is revoked; give the key that took its place")]
    Revoked {
        /// The key.
        fingerprint: String,
    },
    /// It has expired.
    #[error("key {fingerprint}: it expired at {}; extend it and give it again, or give another", moment(*at))]
    Expired {
        /// The key.
        fingerprint: String,
        /// When.
        at: Millis,
    },
    /// It can be broken.
    #[error(
        "key {fingerprint}: {what}; make a key with `gpg --quick-gen-key NAME future-default`, or RSA of 3072 bits"
    )]
    Weak {
        /// The key.
        fingerprint: String,
        /// What is weak.
        what: String,
    },
    /// There is no part of it that is for encryption.
    #[error(
        "key {fingerprint}: it has no part for encryption; add one with `gpg --quick-add-key {fingerprint} default encr`"
    )]
    NotForEncryption {
        /// The key.
        fingerprint: String,
    },
    /// Encrypting to it failed.
    #[error("key {fingerprint}: it cannot be encrypted to: {why}")]
    Unusable {
        /// The key.
        fingerprint: String,
        /// What the attempt ended with.
        why: String,
    },
}

/// Why something could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// What was to be encrypted could not be read, or the result not written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// One of the keys cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The encryption itself failed.
    #[error("cannot be encrypted: {0}")]
    Pgp(String),
}

impl From<pgp::errors::Error> for EncryptError {
    fn from(error: pgp::errors::Error) -> Self {
        match error {
            pgp::errors::Error::IO { source, .. } => Self::Io(source),
            error => Self::Pgp(short(&error)),
        }
    }
}

/// An error of the library in one bounded line: it may repeat what the key says.
pub(super) fn short(error: &pgp::errors::Error) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// A moment as people read it.
fn moment(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.to_string(), |at| at.to_string())
}
