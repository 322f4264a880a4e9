//! Standard Webhooks signatures: `v1` (HMAC-SHA256) and `v1a` (ed25519), several keys at once while one is rotated.
//!
//! Secrets are read once into keys that are ready to sign. It must not know HTTP or where secrets are kept.

use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign_byupdate};
use ed25519_dalek::{SignatureError, Signer as _, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

use crate::carrier::destination::SigningSecret;
use crate::clock::Millis;

/// How many secrets may sign at once.
pub const MAX_SECRETS: usize = 8;

/// Standard base64 with or without padding: both are found in the wild.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a signing secret was refused. Never holds any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It starts with neither prefix.
    #[error("a signing secret starts with `whsec_` or `whsk_`")]
    Prefix,
    /// It is not base64.
    #[error("after its prefix a signing secret is base64")]
    Base64,
    /// It has the wrong length.
    #[error("a signing secret is {expected}; this one has {length}")]
    Length {
        /// What it should have.
        expected: &'static str,
        /// How many bytes it has.
        length: usize,
    },
    /// The public half of an ed25519 key is not that of its secret half.
    #[error("the public half of the `whsk_` secret does not belong to its secret half")]
    Mismatch,
    /// There are too many.
    #[error("{count} signing secrets, the limit is {MAX_SECRETS}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

#[derive(Clone)]
enum Key {
    /// The hash with the key already taken in: signing clones it.
    V1(Hmac<Sha256>),
    V1a(Box<SigningKey>),
}

/// The keys of a destination, ready to sign.
#[derive(Clone, Default)]
pub struct Signer {
    keys: Vec<(Key, Option<Millis>)>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({} keys)", self.keys.len())
    }
}

impl Signer {
    /// Reads the secrets, newest first.
    ///
    /// # Errors
    /// One of them is malformed, or there are more than [`MAX_SECRETS`].
    pub fn compile(secrets: &[SigningSecret]) -> Result<Self, SecretError> {
        if secrets.len() > MAX_SECRETS {
            return Err(SecretError::TooMany { count: secrets.len() });
        }
        let keys = secrets.iter().map(|s| Ok((read(&s.secret)?, s.until_ms))).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// The value of `webhook-signature` at `now` for what is sent with this id, Unix second and body: an entry for each
    /// secret whose overlap has not ended. `None` when no secret signs.
    pub fn sign(&self, id: &str, second: i64, body: &[u8], now: Millis) -> Option<String> {
        let head = format!("{id}.{second}.");
        let mut header = String::new();
        for key in self.valid(now) {
            match key {
                Key::V1(mac) => {
                    let mac = mac.clone().chain_update(&head).chain_update(body);
                    enter(&mut header, "v1,", &mac.finalize().into_bytes());
                }
                Key::V1a(key) => {
                    let signature = key.sign(&[head.as_bytes(), body].concat());
                    enter(&mut header, "v1a,", &signature.to_bytes());
                }
            }
        }
        (!header.is_empty()).then_some(header)
    }

    /// The same for a body that is read from its start, once for each `v1` and twice for each `v1a`, instead of being taken
    /// into memory. It blocks.
    ///
    /// # Errors
    /// The body cannot be read.
    pub fn sign_read<R: Read>(
        &self,
        id: &str,
        second: i64,
        open: impl Fn() -> io::Result<R>,
        now: Millis,
    ) -> io::Result<Option<String>> {
        let head = format!("{id}.{second}.");
        let mut header = String::new();
        for key in self.valid(now) {
            match key {
                Key::V1(mac) => {
                    let mut mac = mac.clone().chain_update(&head);
                    pour(open()?, |piece| mac.update(piece))?;
                    enter(&mut header, "v1,", &mac.finalize().into_bytes());
                }
                Key::V1a(key) => {
                    // Expanded from the very key whose public half it is given: what the function warns of cannot be.
                    let expanded = ExpandedSecretKey::from(key.as_bytes());
                    let message = |hash: &mut Sha512| {
                        hash.update(head.as_bytes());
                        let poured = open().and_then(|body| pour(body, |piece| hash.update(piece)));
                        poured.map_err(SignatureError::from_source)
                    };
                    let signature = raw_sign_byupdate(&expanded, message, &key.verifying_key());
                    enter(&mut header, "v1a,", &signature.map_err(io::Error::other)?.to_bytes());
                }
            }
        }
        Ok((!header.is_empty()).then_some(header))
    }

    /// Whether anything is signed at `now`.
    pub fn signs(&self, now: Millis) -> bool {
        self.valid(now).next().is_some()
    }

    fn valid(&self, now: Millis) -> impl Iterator<Item = &Key> {
        let valid = move |until: &Option<Millis>| until.is_none_or(|until| now < until);
        self.keys.iter().filter(move |(_, until)| valid(until)).map(|(key, _)| key)
    }
}

/// Adds a signature to the header's value.
fn enter(header: &mut String, version: &str, signature: &[u8]) {
    if !header.is_empty() {
        header.push(' ');
    }
    header.push_str(version);
    STANDARD.encode_string(signature, header);
}

/// Reads a body to its end, piece by piece.
fn pour(mut body: impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match body.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&piece[..n]),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}

fn read(secret: &str) -> Result<Key, SecretError> {
    if let Some(text) = secret.strip_prefix("whsec_") {
        let bytes = LENIENT.decode(text).map_err(|_| SecretError::Base64)?;
        let wrong = SecretError::Length { expected: "24 to 64 bytes after `whsec_`", length: bytes.len() };
        if !(24..=64).contains(&bytes.len()) {
            return Err(wrong);
        }
        return Ok(Key::V1(Hmac::new_from_slice(&bytes).map_err(|_| wrong)?));
    }
    let text = secret.strip_prefix("whsk_").ok_or(SecretError::Prefix)?;
    Ok(Key::V1a(Box::new(ed25519(text)?)))
}

/// An ed25519 key as 32 bytes of seed, or as seed and public half.
fn ed25519(text: &str) -> Result<SigningKey, SecretError> {
    let bytes = LENIENT.decode(text).map_err(|_| SecretError::Base64)?;
    if let Ok(seed) = <[u8; 32]>::try_from(&*bytes) {
        return Ok(SigningKey::from_bytes(&seed));
    }
    let both = <[u8; 64]>::try_from(&*bytes)
        .map_err(|_| SecretError::Length { expected: "32 or 64 bytes after `whsk_`", length: bytes.len() })?;
    SigningKey::from_keypair_bytes(&both).map_err(|_| SecretError::Mismatch)
}

/// A new `whsec_` secret of these random bytes.
pub fn new_hmac_secret(random: [u8; 32]) -> String {
    format!("whsec_{}", STANDARD.encode(random))
}

/// A new `whsk_` secret (seed and public half) of these random bytes.
pub fn new_ed25519_secret(random: [u8; 32]) -> String {
    format!("whsk_{}", STANDARD.encode(SigningKey::from_bytes(&random).to_keypair_bytes()))
}

/// What receivers verify with: the `whpk_` public key of a `whsk_` secret.
///
/// # Errors
/// The secret is not a well-formed `whsk_` secret.
pub fn public_key(secret: &str) -> Result<String, SecretError> {
    let key = ed25519(secret.strip_prefix("whsk_").ok_or(SecretError::Prefix)?)?;
    Ok(format!("whpk_{}", STANDARD.encode(key.verifying_key().to_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HMAC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ED25519: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECOND: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const V1: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const V1A: &str =
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

    fn signer(secrets: &[(&str, Option<i64>)]) -> Result<Signer, SecretError> {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|(s, until)| SigningSecret { secret: (*s).to_owned(), until_ms: until.map(Millis) })
            .collect();
        Signer::compile(&secrets)
    }

    #[test]
    fn the_published_vectors_come_out() {
        let sign = |secret| signer(&[(secret, None)]).unwrap().sign(ID, SECOND, BODY, Millis(0)).unwrap();
        assert_eq!(sign(HMAC), V1);
        assert_eq!(sign(ED25519), V1A);
        // The seed alone is the same key, and padding does not matter.
        let seed = format!("whsk_{}", STANDARD.encode(&STANDARD.decode(&ED25519[5..]).unwrap()[..32]));
        assert_eq!(sign(&seed), V1A);
        assert_eq!(sign(seed.trim_end_matches('=')), V1A);
        assert_eq!(public_key(ED25519).unwrap(), "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=");
    }

    #[test]
    fn an_old_secret_signs_until_its_overlap_ends() {
        let signer = signer(&[(ED25519, None), (HMAC, Some(1_000))]).unwrap();
        let sign = |now| signer.sign(ID, SECOND, BODY, Millis(now)).unwrap();
        assert_eq!(sign(999), format!("{V1A} {V1}"));
        assert_eq!(sign(1_000), V1A);
        assert_eq!(Signer::default().sign(ID, SECOND, BODY, Millis(0)), None);
    }

    #[test]
    fn a_body_that_is_read_is_signed_like_one_in_memory() {
        let long = vec![b'x'; 200_000];
        for (body, now) in [(BODY, 0), (BODY, 1_000), (long.as_slice(), 0), (b"", 0)] {
            let signer = signer(&[(ED25519, None), (HMAC, Some(1_000))]).unwrap();
            let read = signer.sign_read(ID, SECOND, || Ok(body), Millis(now)).unwrap();
            assert_eq!(read, signer.sign(ID, SECOND, body, Millis(now)));
            assert!(signer.signs(Millis(now)));
        }
        let none = Signer::default();
        assert_eq!(
            (none.sign_read(ID, SECOND, || Ok(BODY), Millis(0)).unwrap(), none.signs(Millis(0))),
            (None, false)
        );
        let broken = || Err::<&[u8], _>(io::Error::other("gone"));
        for secret in [ED25519, HMAC] {
            assert!(signer(&[(secret, None)]).unwrap().sign_read(ID, SECOND, broken, Millis(0)).is_err());
        }
    }

    #[test]
    fn malformed_secrets_are_refused_without_being_shown() {
        let of = |prefix: &str, n: usize| format!("{prefix}{}", STANDARD.encode(vec![7; n]));
        for bad in ["", "whsec_", "whsec_%%", "whpk_AAAA", "secret", &of("whsec_", 23), &of("whsec_", 65)] {
            assert!(signer(&[(bad, None)]).is_err(), "{bad}");
        }
        for bad in [of("whsk_", 31), of("whsk_", 33), of("whsk_", 64)] {
            let error = signer(&[(&bad, None)]).unwrap_err().to_string();
            assert!(!error.contains(&bad[5..15]), "{error}");
        }
        assert!(signer(&[(&of("whsec_", 24), None), (&of("whsec_", 64), None)]).is_ok());
        assert_eq!(signer(&[(HMAC, None); 9]).unwrap_err(), SecretError::TooMany { count: 9 });
        assert!(!format!("{:?}", signer(&[(HMAC, None)]).unwrap()).contains("MfKQ"));
    }

    #[test]
    fn new_secrets_are_well_formed() {
        for secret in [new_hmac_secret([9; 32]), new_ed25519_secret([9; 32])] {
            assert!(signer(&[(&secret, None)]).is_ok(), "{secret}");
        }
    }
}
