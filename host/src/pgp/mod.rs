//! OpenPGP (RFC 9580): the keys that files and attachments are encrypted to, and the encrypting.
//!
//! Carriers give public keys only, and nothing is signed. A message is encrypted to every key that is usable at that moment,
//! with AES-256 in an integrity-protected packet: of version 1, which every implementation reads, or of version 2 where all
//! keys say that they take it. The output is binary; `.pgp` is for whoever names the file. It must not know where it goes.

mod certificate;
mod fault;
mod stream;

use std::io::{Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgp::composed::{Deserializable, MessageBuilder, SignedPublicKey};
use pgp::crypto::aead::{AeadAlgorithm, ChunkSize};
use pgp::crypto::sym::SymmetricKeyAlgorithm;

use self::certificate::Recipient;
pub use self::fault::{EncryptError, KeyFault, PgpError};
pub use self::stream::Encrypted;
use crate::clock::{Millis, os_rng};

/// The most keys of one destination (the limit `pgp_keys`).
pub const MAX_KEYS: usize = 8;
/// The longest text of one of them, in bytes of base64 (the limit `pgp_key_bytes`).
pub const KEY_BYTES: usize = 64 << 10;
/// What is appended to the name of an encrypted file.
pub const EXTENSION: &str = ".pgp";

/// The data of one partial packet, in bytes: what encrypting holds in memory, a few times over.
const CHUNK: u32 = 1 << 16;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The keys of a destination, read and found usable but for their time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PgpKeys(Arc<[Recipient]>);

impl PgpKeys {
    /// Reads keys: each text is the base64 of an armoured block, which may hold several of them.
    ///
    /// That they have not expired is not looked at, since a key expires while its destination stands: see [`PgpKeys::check_at`]
    /// and [`PgpKeys::at`].
    ///
    /// # Errors
    /// The first text that does not hold: it is no armoured public key, or one of its keys is revoked, weak or not for encryption.
    pub fn read(texts: &[String]) -> Result<Self, PgpError> {
        let mut recipients: Vec<Recipient> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let error = |why| PgpError { index, why };
            for recipient in read_one(text).map_err(error)? {
                // The same key twice would only make the message longer.
                if recipients.iter().all(|known| known.fingerprint() != recipient.fingerprint()) {
                    recipients.push(recipient);
                }
            }
            if recipients.len() > MAX_KEYS {
                return Err(error(KeyFault::Count));
            }
        }
        Ok(Self(recipients.into()))
    }

    /// Whether there are none: then nothing is encrypted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every key can be used at this moment: for the registration, where a carrier can still mend it.
    ///
    /// # Errors
    /// The first key that has expired.
    pub fn check_at(&self, now: Millis) -> Result<(), KeyFault> {
        self.0.iter().try_for_each(|recipient| recipient.key_at(now).map(drop))
    }

    /// What encrypts to the keys that can be used at this moment: a key that has expired is left out as long as another
    /// has not, so that an old and a new one can stand side by side.
    ///
    /// # Errors
    /// The last key that has expired, when there is no other.
    pub fn at(&self, now: Millis) -> Result<Encryption, KeyFault> {
        let (mut keys, mut expired) = (Vec::new(), None);
        for recipient in self.0.iter() {
            match recipient.key_at(now) {
                Ok(_) => keys.push(recipient.clone()),
                Err(why) => expired = Some(why),
            }
        }
        match expired {
            Some(why) if keys.is_empty() => Err(why),
            _ => Ok(Encryption { keys, now }),
        }
    }
}

/// Reads one text: base64 with any white space in it.
fn read_one(text: &str) -> Result<Vec<Recipient>, KeyFault> {
    if text.len() > KEY_BYTES {
        return Err(KeyFault::Size { size: text.len() });
    }
    // Tools that make base64 break its lines.
    let text: String = text.split_ascii_whitespace().collect();
    let armoured = STANDARD.decode(text).map_err(|_| KeyFault::Base64)?;
    let armoured = std::str::from_utf8(&armoured)
        .map_err(|_| KeyFault::Form("is not text: armour the key first"))?
        .trim();
    if armoured.contains("PRIVATE KEY BLOCK") {
        return Err(KeyFault::Form("is a private key: keep it to yourself, and send the public one"));
    }
    if !armoured.starts_with(BEGIN) {
        return Err(KeyFault::Form("does not begin with `-----BEGIN PGP PUBLIC KEY BLOCK-----`"));
    }
    if !armoured.ends_with(END) {
        return Err(KeyFault::Form("does not end with `-----END PGP PUBLIC KEY BLOCK-----`"));
    }
    let unreadable = |error: pgp::errors::Error| KeyFault::Unreadable(fault::short(&error));
    let (certificates, _) = SignedPublicKey::from_armor_many(armoured.as_bytes()).map_err(unreadable)?;
    let mut recipients = Vec::new();
    for certificate in certificates {
        if recipients.len() == MAX_KEYS {
            return Err(KeyFault::Count);
        }
        recipients.push(Recipient::of(&certificate.map_err(unreadable)?)?);
    }
    if recipients.is_empty() {
        Err(KeyFault::Form("does not begin with a public key"))
    } else {
        Ok(recipients)
    }
}

/// Keys that can be used now, to encrypt one message to.
#[derive(Debug, Clone)]
pub struct Encryption {
    keys: Vec<Recipient>,
    now: Millis,
}

impl Encryption {
    /// The fingerprints of the keys that can read the message, in hexadecimal digits; for the record of an attempt.
    pub fn fingerprints(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(Recipient::fingerprint)
    }

    /// Encrypts what is read into what is written, in bounded memory: for a thread that may block.
    ///
    /// # Errors
    /// What reading or writing failed with, or why a key cannot be encrypted to.
    pub fn encrypt(&self, from: impl Read, to: impl Write) -> Result<(), EncryptError> {
        let mut rng = os_rng();
        let mut builder = MessageBuilder::from_reader("", from);
        builder.partial_chunk_size(CHUNK)?;
        if self.keys.iter().all(Recipient::takes_version_2) {
            let (cipher, mode) = (SymmetricKeyAlgorithm::AES256, AeadAlgorithm::Ocb);
            let mut builder = builder.seipd_v2(&mut rng, cipher, mode, ChunkSize::default());
            for key in &self.keys {
                builder.encrypt_to_key(&mut rng, key.key_at(self.now)?)?;
            }
            Ok(builder.to_writer(rng, to)?)
        } else {
            let mut builder = builder.seipd_v1(&mut rng, SymmetricKeyAlgorithm::AES256);
            for key in &self.keys {
                builder.encrypt_to_key(&mut rng, key.key_at(self.now)?)?;
            }
            Ok(builder.to_writer(rng, to)?)
        }
    }

    /// Encrypts on a thread of its own; the chunks are there one by one, and no more than a few at once.
    pub fn stream(self, from: impl Read + Send + 'static) -> Encrypted {
        Encrypted::begin(self, from)
    }
}

#[cfg(test)]
pub(crate) mod tests;
