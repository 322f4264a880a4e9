//! The drop folder from a carrier's side: the public keys that its login may use, and its files.
//!
//! Plain data with its checks. It must not know where either is kept.

use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::clock::Millis;
use crate::event::CarrierId;
use crate::name::name;

/// The most keys of one carrier (the limit `drop_keys`).
pub const MAX_DROP_KEYS: usize = 8;
/// The longest text of a public key, in bytes: one of RSA with 16 384 bits has 2.8 KiB.
const KEY_BYTES: usize = 8 << 10;
/// RSA keys are of so many bits: fewer can be broken, and more OpenSSH does not take.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2_048..=16_384;

name! {
    /// The name of a public key among those of its carrier.
    DropKeyName, "key name", 63, slug
}

/// A public key with which a carrier fetches its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropKey {
    /// Whose it is.
    pub carrier: CarrierId,
    /// Its name.
    pub name: DropKeyName,
    /// The key as OpenSSH writes it, without options and comment: `ssh-ed25519 AAAA…`.
    pub public_key: String,
    /// Its fingerprint as OpenSSH shows it: `SHA256:…`.
    pub fingerprint: String,
    /// When it was first registered under this name.
    pub created: Millis,
    /// When it was last registered.
    pub updated: Millis,
}

/// Why a public key is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DropKeyError {
    /// It is too long.
    #[error("it has {bytes} bytes, the limit is {KEY_BYTES}")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// It is a private key.
    #[error(
        "it is a private key: keep it to yourself, and give the public one (the file that ends with `.pub`)"
    )]
    Private,
    /// It is no public key, or something stands before it.
    #[error(
        "it takes one public key in OpenSSH's form such as `ssh-ed25519 AAAA… name`, in one line and without options before it"
    )]
    Form,
    /// Its kind is not taken.
    #[error(
        "keys of the kind {kind} are not taken: it takes ssh-ed25519, ecdsa-sha2-nistp256, -nistp384, -nistp521 and ssh-rsa"
    )]
    Kind {
        /// What it is.
        kind: String,
    },
    /// It has too few bits, or too many.
    #[error("an RSA key of {bits} bits is refused: it takes {} to {}", RSA_BITS.start(), RSA_BITS.end())]
    Bits {
        /// How many it has.
        bits: u32,
    },
}

impl DropKey {
    /// Reads a public key in OpenSSH's form; its comment is dropped.
    ///
    /// # Errors
    /// When it is not one that carriers may log in with.
    pub fn read(
        carrier: CarrierId,
        name: DropKeyName,
        text: &str,
        now: Millis,
    ) -> Result<Self, DropKeyError> {
        let text = text.trim();
        if text.len() > KEY_BYTES {
            return Err(DropKeyError::Length { bytes: text.len() });
        }
        if text.contains("PRIVATE KEY") {
            return Err(DropKeyError::Private);
        }
        if text.contains(char::is_control) {
            return Err(DropKeyError::Form);
        }
        let mut key = PublicKey::from_openssh(text).map_err(|_| DropKeyError::Form)?;
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => {}
            Algorithm::Rsa { .. } => {
                let bits = key.key_data().rsa().map_or(0, |rsa| rsa.key_size());
                if !RSA_BITS.contains(&bits) {
                    return Err(DropKeyError::Bits { bits });
                }
            }
            other => return Err(DropKeyError::Kind { kind: other.to_string() }),
        }
        key.set_comment("");
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let public_key = key.to_openssh().map_err(|_| DropKeyError::Form)?.trim().to_owned();
        Ok(Self { carrier, name, public_key, fingerprint, created: now, updated: now })
    }
}

/// A file in a carrier's drop folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DropFile {
    /// Its path, with `/` between the parts.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was put there.
    pub modified: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqi user@example.com";

    fn read(text: &str) -> Result<DropKey, DropKeyError> {
        DropKey::read("acme".parse().unwrap(), "main".parse().unwrap(), text, Millis(1))
    }

    #[test]
    fn a_key_loses_its_comment_and_shows_its_fingerprint() {
        let key = read(&format!("  {ED25519}\n")).unwrap();
        assert_eq!(key.public_key, ED25519.rsplit_once(' ').unwrap().0);
        assert_eq!(key.fingerprint, "SHA256:uplw+Vv2LxpH6qgGIO72jfrBsNBs6T1ThVgRq6Deods");
    }

    #[test]
    fn what_is_no_plain_public_key_is_refused() {
        for form in [
            "",
            "x",
            "ssh-ed25519 AAAA",
            &format!("command=\"sh\" {ED25519}"),
            &format!("no-pty,restrict {ED25519}"),
            &format!("{ED25519}\n{ED25519}"),
            &format!("# {ED25519}"),
        ] {
            assert_eq!(read(form), Err(DropKeyError::Form), "{form}");
        }
        assert_eq!(read("-----BEGIN OPENSSH PRIVATE KEY-----"), Err(DropKeyError::Private));
        assert_eq!(read(&"a".repeat(8_193)), Err(DropKeyError::Length { bytes: 8_193 }));
        let security_key = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAICFo/k5LU8863u66YC9eUO2170QduohPURkQnbLa/dczAAAABHNzaDo=";
        assert!(matches!(read(security_key), Err(DropKeyError::Kind { .. })), "{:?}", read(security_key));
    }
}
