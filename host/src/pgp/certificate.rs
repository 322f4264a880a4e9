//! One public key with its parts and signatures: whether it can be encrypted to, with what part, and until when.
//!
//! Only what the key's own signatures say counts, and only those that hold. It must not ask the time.

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{
    EcdhPublicParams, EncryptionKey, EskType, Fingerprint, KeyDetails, KeyId, KeyVersion, PkeskBytes,
    PublicParams, Tag, Timestamp,
};

use super::fault::{KeyFault, short};
use crate::clock::{Millis, os_rng};

/// The fewest bits of a modulus.
const MIN_BITS: u16 = 2_048;

/// A key that files are encrypted to.
#[derive(Debug, Clone)]
pub(super) struct Recipient {
    fingerprint: String,
    /// Those for encryption, the newest first; at least one.
    parts: Vec<Part>,
    version_2: bool,
}

#[derive(Debug, Clone)]
struct Part {
    key: PartKey,
    /// When it or the whole key expires, whichever is first.
    expires: Option<Millis>,
}

/// A primary key or a subkey: the library keeps them apart, encrypting does not.
#[derive(Debug, Clone)]
pub(super) enum PartKey {
    Primary(PublicKey),
    Sub(PublicSubkey),
}

impl Recipient {
    /// Checks a key, but for its time.
    pub(super) fn of(certificate: &SignedPublicKey) -> Result<Self, KeyFault> {
        let primary = &certificate.primary_key;
        let fingerprint = format!("{:X}", primary.fingerprint());
        let details = &certificate.details;
        if details.revocation_signatures.iter().any(|one| one.verify_key(primary).is_ok()) {
            return Err(KeyFault::Revoked { fingerprint });
        }
        let by_key = details.direct_signatures.iter().filter(|one| one.verify_key(primary).is_ok());
        let by_user = details.users.iter().flat_map(|user| {
            let holds = |one: &&Signature| one.verify_certification(primary, Tag::UserId, &user.id).is_ok();
            // What revokes a name is a signature of this group, too.
            user.signatures
                .iter()
                .filter(|one| one.typ() != Some(SignatureType::CertRevocation))
                .filter(holds)
        });
        let Some(latest) = by_key.chain(by_user).max_by_key(|one| one.created()) else {
            return Err(KeyFault::Unbound { fingerprint });
        };
        if let Some(what) = weakness(primary.public_params()) {
            return Err(KeyFault::Weak { fingerprint, what });
        }
        let expires = expiry(primary.created_at(), latest);
        let mut parts: Vec<(Timestamp, Part)> = Vec::new();
        let mut weak = None;
        for subkey in &certificate.public_subkeys {
            let Some(binding) = binding(subkey, primary).filter(|one| is_for_encryption(one, &subkey.key))
            else {
                continue;
            };
            if let Some(what) = weakness(subkey.key.public_params()) {
                weak = Some(what);
                continue;
            }
            let created = subkey.key.created_at();
            let ends = [expires, expiry(created, binding)].into_iter().flatten().min();
            parts.push((created, Part { key: PartKey::Sub(subkey.key.clone()), expires: ends }));
        }
        if parts.is_empty() && is_for_encryption(latest, primary) {
            let part = Part { key: PartKey::Primary(primary.clone()), expires };
            parts.push((primary.created_at(), part));
        }
        parts.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
        let parts: Vec<Part> = parts.into_iter().map(|(_, part)| part).collect();
        if parts.is_empty() {
            return Err(match weak {
                Some(what) => KeyFault::Weak { fingerprint, what },
                None => KeyFault::NotForEncryption { fingerprint },
            });
        }
        // A point that is none, a curve that is not spoken: found here and not with the first file.
        for part in &parts {
            if let Err(error) = part.key.encrypt(os_rng(), &[0; 32], esk(primary.version())) {
                return Err(KeyFault::Unusable { fingerprint, why: short(&error) });
            }
        }
        let version_2 = latest.features().is_some_and(pgp::packet::Features::seipd_v2);
        Ok(Self { fingerprint, parts, version_2 })
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether its owner's software reads packets of version 2.
    pub(super) fn takes_version_2(&self) -> bool {
        self.version_2
    }

    /// The part to encrypt to at a moment: the newest that has not expired.
    pub(super) fn key_at(&self, now: Millis) -> Result<&PartKey, KeyFault> {
        let lives = |part: &&Part| part.expires.is_none_or(|at| at > now);
        match self.parts.iter().find(lives) {
            Some(part) => Ok(&part.key),
            None => {
                let at = self.parts.iter().filter_map(|part| part.expires).max().unwrap_or(now);
                Err(KeyFault::Expired { fingerprint: self.fingerprint.clone(), at })
            }
        }
    }
}

fn esk(version: KeyVersion) -> EskType {
    if version == KeyVersion::V6 { EskType::V6 } else { EskType::V3_4 }
}

/// The newest signature that binds a subkey, unless one revokes it.
fn binding<'a>(subkey: &'a SignedPublicSubKey, primary: &PublicKey) -> Option<&'a Signature> {
    let valid =
        || subkey.signatures.iter().filter(|one| one.verify_subkey_binding(primary, &subkey.key).is_ok());
    if valid().any(|one| one.typ() == Some(SignatureType::SubkeyRevocation)) {
        return None;
    }
    valid().max_by_key(|one| one.created())
}

/// When a part expires by what its signature says; zero seconds mean never.
fn expiry(created: Timestamp, signature: &Signature) -> Option<Millis> {
    let seconds = signature.key_expiration_time().map_or(0, pgp::types::Duration::as_secs);
    (seconds > 0).then(|| Millis((i64::from(created.as_secs()) + i64::from(seconds)) * 1_000))
}

/// Whether a signature makes a key one for encryption, and its algorithm can do it. Keys from before there were flags have none.
fn is_for_encryption(signature: &Signature, key: &impl KeyDetails) -> bool {
    let flagged = signature.config().is_some_and(|config| {
        let mut flags = config.hashed_subpackets().filter_map(|one| match &one.data {
            SubpacketData::KeyFlags(flags) => Some(flags.encrypt_comms() || flags.encrypt_storage()),
            _ => None,
        });
        flags.next().unwrap_or(true)
    });
    flagged
        && match key.public_params() {
            PublicParams::RSA(_) => key.algorithm() != PublicKeyAlgorithm::RSASign,
            PublicParams::ECDH(_)
            | PublicParams::X25519(_)
            | PublicParams::X448(_)
            | PublicParams::Elgamal(_) => true,
            _ => false,
        }
}

/// What can be broken of a key; nothing when it is sound.
fn weakness(params: &PublicParams) -> Option<String> {
    let (name, bits) = match params {
        PublicParams::RSA(rsa) => ("RSA", first_bits(rsa)),
        PublicParams::DSA(dsa) => ("DSA", first_bits(dsa)),
        PublicParams::Elgamal(_) => return Some("ElGamal is no longer taken".to_owned()),
        PublicParams::ECDH(EcdhPublicParams::Unsupported { curve, .. }) => {
            return Some(format!("its curve {curve} is not taken"));
        }
        _ => return None,
    };
    (bits < MIN_BITS).then(|| format!("{name} of {bits} bits is weak, it takes {MIN_BITS} or more"))
}

/// The bits of the first number of a key's parameters, which for RSA and DSA is the modulus: a multiprecision integer begins
/// with them (RFC 9580, 3.2).
fn first_bits(params: &impl Serialize) -> u16 {
    let mut bytes = Vec::new();
    match (params.to_writer(&mut bytes), bytes.first_chunk()) {
        (Ok(()), Some(bits)) => u16::from_be_bytes(*bits),
        _ => 0,
    }
}

macro_rules! of_either {
    ($either:expr, $key:ident => $call:expr) => {
        match $either {
            PartKey::Primary($key) => $call,
            PartKey::Sub($key) => $call,
        }
    };
}

impl EncryptionKey for PartKey {
    fn encrypt<R: rand_core_06::CryptoRng + rand_core_06::RngCore>(
        &self,
        rng: R,
        plain: &[u8],
        typ: EskType,
    ) -> pgp::errors::Result<PkeskBytes> {
        of_either!(self, key => key.encrypt(rng, plain, typ))
    }
}

impl KeyDetails for PartKey {
    fn version(&self) -> KeyVersion {
        of_either!(self, key => key.version())
    }

    fn legacy_key_id(&self) -> KeyId {
        of_either!(self, key => key.legacy_key_id())
    }

    fn fingerprint(&self) -> Fingerprint {
        of_either!(self, key => key.fingerprint())
    }

    fn algorithm(&self) -> PublicKeyAlgorithm {
        of_either!(self, key => key.algorithm())
    }

    fn created_at(&self) -> Timestamp {
        of_either!(self, key => key.created_at())
    }

    fn legacy_v3_expiration_days(&self) -> Option<u16> {
        of_either!(self, key => key.legacy_v3_expiration_days())
    }

    fn public_params(&self) -> &PublicParams {
        of_either!(self, key => key.public_params())
    }
}
