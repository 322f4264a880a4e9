//! The keys on both sides: those that a server may have, and the one that a login proves itself with.
//!
//! Public keys and fingerprints are written as OpenSSH writes them (`ssh-keygen -l`: `SHA256:` and base64). It must not know sessions.

use std::sync::{Arc, OnceLock};

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::{Fingerprint, Kdf, LineEnding};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey, decode_secret_key};

use crate::carrier::Login;

/// The longest private key, in bytes: one of RSA with 8 192 bits has 7 KiB.
const MAX_KEY_BYTES: usize = 16 * 1024;
/// RSA keys are of so many bits.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2_048..=8_192;
/// The most rounds of `bcrypt` that a key may be encrypted with: `ssh-keygen` takes 24, and each costs some milliseconds.
const MAX_ROUNDS: u32 = 128;

/// Why a key was refused. Never holds any of a private one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A pinned host key is neither.
    #[error(
        "{text:?} is neither a fingerprint such as `SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU` nor a public key such as \
         `ssh-ed25519 AAAA…`; `ssh-keyscan HOST | ssh-keygen -lf -` shows a server's fingerprints"
    )]
    Pin {
        /// The beginning of what was given.
        text: String,
    },
    /// The key's kind is not supported.
    #[error(
        "keys of the kind {kind} are not supported: it takes ed25519, ECDSA (256, 384 or 521 bits) or RSA"
    )]
    Kind {
        /// What it is.
        kind: String,
    },
    /// An RSA key that is too short to be safe, or too long to be handled.
    #[error("an RSA key of {bits} bits is refused: it takes {} to {}", RSA_BITS.start(), RSA_BITS.end())]
    Bits {
        /// Its length.
        bits: u32,
    },
    /// A private key is too long.
    #[error("it has {bytes} bytes, the limit is {MAX_KEY_BYTES}")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// A private key cannot be read.
    #[error(
        "it is not a private key in OpenSSH's form or PEM (`-----BEGIN OPENSSH PRIVATE KEY-----`, `-----BEGIN PRIVATE KEY-----`)"
    )]
    Unreadable,
    /// A private key is encrypted in a form that is not taken.
    #[error(
        "it is encrypted in another form than OpenSSH's own: `ssh-keygen -p -f KEY` rewrites it (`puttygen KEY.ppk -O private-openssh` \
         for PuTTY's)"
    )]
    Form,
    /// A private key takes too long to decrypt.
    #[error(
        "it is encrypted with {rounds} rounds, the limit is {MAX_ROUNDS}: `ssh-keygen -p -a 24 -f KEY` rewrites it"
    )]
    Rounds {
        /// How many.
        rounds: u32,
    },
    /// A private key is encrypted.
    #[error("it is encrypted: give its `passphrase`")]
    NoPassphrase,
    /// A passphrase does not fit.
    #[error("it does not open the private key")]
    Passphrase,
    /// A passphrase is for nothing.
    #[error("there is no encrypted private key that it would open: leave it out")]
    Needless,
}

/// A key that a server may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    fingerprint: Fingerprint,
    /// Its kind, where it is known.
    algorithm: Option<Algorithm>,
}

impl Pin {
    /// Reads a fingerprint or a public key.
    pub(super) fn parse(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::Pin { text: text.chars().take(80).collect() };
        let text = text.trim();
        if text.starts_with("SHA256:") {
            let fingerprint = text.trim_end_matches('=').parse().map_err(|_| wrong())?;
            return Ok(Self { fingerprint, algorithm: None });
        }
        let key = PublicKey::from_openssh(text).map_err(|_| wrong())?;
        check(&key)?;
        Ok(Self { fingerprint: key.fingerprint(HashAlg::Sha256), algorithm: Some(key.algorithm()) })
    }

    /// Whether it is this key.
    pub(super) fn is(&self, key: &PublicKey) -> bool {
        key.fingerprint(HashAlg::Sha256) == self.fingerprint
    }

    /// The fingerprint.
    pub(super) fn shown(&self) -> String {
        self.fingerprint.to_string()
    }
}

/// The kinds of host keys to ask for, those of the pinned keys first: a server that has several shows the first that is asked for.
/// Those of the same family as one of `without` are left out. RSA signs with SHA-2 alone.
pub(super) fn kinds(pins: &[Pin], without: &[Algorithm]) -> Vec<Algorithm> {
    let mut kinds: Vec<Algorithm> = russh::Preferred::DEFAULT
        .key
        .iter()
        .filter(|kind| !matches!(kind, Algorithm::Rsa { hash: None }))
        .filter(|kind| !without.iter().any(|other| family(other) == family(kind)))
        .cloned()
        .collect();
    let pinned = |kind: &Algorithm| {
        pins.iter().any(|pin| pin.algorithm.as_ref().is_some_and(|pin| family(pin) == family(kind)))
    };
    kinds.sort_by_key(|kind| !pinned(kind));
    kinds
}

/// Whether another kind of key of the same server might still be a pinned one.
pub(super) fn may_have_another(pins: &[Pin]) -> bool {
    pins.iter().any(|pin| pin.algorithm.is_none())
}

/// What a server shows as one key, whatever it signs with.
fn family(kind: &Algorithm) -> String {
    match kind {
        Algorithm::Rsa { .. } => "rsa".to_owned(),
        other => other.to_string(),
    }
}

fn check(key: &PublicKey) -> Result<(), KeyError> {
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(()),
        Algorithm::Rsa { .. } => {
            let bits = key.key_data().rsa().map_or(0, russh::keys::ssh_key::public::RsaPublicKey::key_size);
            if RSA_BITS.contains(&bits) { Ok(()) } else { Err(KeyError::Bits { bits }) }
        }
        other => Err(KeyError::Kind { kind: other.to_string() }),
    }
}

/// The private key of a login. Cheap to clone; an encrypted one is decrypted when it is first used.
#[derive(Clone)]
pub(super) struct LoginKey(Arc<Inner>);

struct Inner {
    /// As it was given; encrypted or not.
    key: PrivateKey,
    passphrase: Option<String>,
    open: OnceLock<Arc<PrivateKey>>,
}

impl std::fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LoginKey").field(&self.public().fingerprint(HashAlg::Sha256)).finish()
    }
}

impl LoginKey {
    /// Reads the key of a login, if it has one, without decrypting it.
    pub(super) fn of(login: &Login) -> Result<Option<Self>, KeyError> {
        let Some(text) = login.private_key.as_deref() else {
            return if login.passphrase.is_some() { Err(KeyError::Needless) } else { Ok(None) };
        };
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyError::Length { bytes: text.len() });
        }
        let key = read(text)?;
        check(key.public_key())?;
        match key.kdf() {
            Kdf::Bcrypt { rounds, .. } if *rounds > MAX_ROUNDS => {
                return Err(KeyError::Rounds { rounds: *rounds });
            }
            _ if key.is_encrypted() && login.passphrase.is_none() => return Err(KeyError::NoPassphrase),
            _ if !key.is_encrypted() && login.passphrase.is_some() => return Err(KeyError::Needless),
            _ => {}
        }
        let open = OnceLock::new();
        Ok(Some(Self(Arc::new(Inner { key, passphrase: login.passphrase.clone(), open }))))
    }

    /// Its public half.
    pub(super) fn public(&self) -> &PublicKey {
        self.0.key.public_key()
    }

    /// The key itself. Of an encrypted one this takes a moment of computing, the first time.
    pub(super) fn open(&self) -> Result<Arc<PrivateKey>, KeyError> {
        if let Some(open) = self.0.open.get() {
            return Ok(open.clone());
        }
        let open = match &self.0.passphrase {
            Some(passphrase) if self.0.key.is_encrypted() => {
                self.0.key.decrypt(passphrase).map_err(|_| KeyError::Passphrase)?
            }
            _ => self.0.key.clone(),
        };
        Ok(self.0.open.get_or_init(|| Arc::new(open)).clone())
    }
}

fn read(text: &str) -> Result<PrivateKey, KeyError> {
    let text = text.trim();
    if text.starts_with("PuTTY-User-Key-File-")
        || text.contains("BEGIN ENCRYPTED PRIVATE KEY")
        || text.contains("Proc-Type: 4,ENCRYPTED")
    {
        return Err(KeyError::Form);
    }
    if text.contains("BEGIN OPENSSH PRIVATE KEY") {
        return PrivateKey::from_openssh(text).map_err(|_| KeyError::Unreadable);
    }
    decode_secret_key(text, None).map_err(|_| KeyError::Unreadable)
}

/// The public half of a login's key, for whoever lets it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicHalf {
    /// As a line of `authorized_keys`.
    pub key: String,
    /// `SHA256:…`
    pub fingerprint: String,
}

/// The public half of a login's key, if it has one that can be read.
pub fn public_half(login: &Login) -> Option<PublicHalf> {
    let key = LoginKey::of(login).ok()??;
    let mut public = key.public().clone();
    // The comment of a key is nobody's business but its owner's.
    public.set_comment("hookyard");
    Some(PublicHalf {
        key: public.to_openssh().ok()?,
        fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
    })
}

/// A fresh ed25519 key in OpenSSH's form, made of these random bytes.
///
/// # Panics
/// Never: writing fails where memory does.
pub fn generate(random: [u8; 32]) -> String {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&random));
    key.to_openssh(LineEnding::LF).expect("a key in memory can be written").to_string()
}
