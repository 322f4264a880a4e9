//! Signatures of mails: DKIM (RFC 6376) with RSA and, by RFC 8463, ed25519; relaxed in headers and body.
//!
//! lettre's own signs by the system's clock, and goes through headers recursively, byte by byte. It must not know how mails
//! are built or sent.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use sha2::{Digest, Sha256};

use super::address::host_name;
use crate::carrier::DkimSpec;
use crate::clock::Millis;
use crate::secrets::MASK;

/// The longest private key, in bytes of PEM.
const MAX_KEY: usize = 16 * 1024;

/// Headers that are signed where they are there.
const SIGNED: [&str; 10] = [
    "from",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "auto-submitted",
];

/// Why mails cannot be signed. Never holds any part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DkimError {
    /// The domain is none.
    #[error("the domain takes a name such as `example.com`")]
    Domain,
    /// The selector is none.
    #[error("the selector takes letters, digits, `-` and `.`, such as `mail2026`, at most 63")]
    Selector,
    /// The key is what stands for one where it is shown.
    #[error(
        "`{MASK}` only stands for the key that was given before; give the key itself, or leave it out to keep it"
    )]
    Mask,
    /// The key cannot be used.
    #[error(
        "it takes a private key in PEM that is not locked with a passphrase: RSA of 2048 to 8192 bits (PKCS#1 or PKCS#8), or \
         ed25519 (PKCS#8)"
    )]
    Key,
    /// The signature could not be made.
    #[error("the signature could not be made")]
    Sign,
}

/// Signs mails for one domain.
#[derive(Clone)]
pub(super) struct Dkim {
    domain: String,
    selector: String,
    scheme: SignatureScheme,
    key: Arc<dyn SigningKey>,
}

impl std::fmt::Debug for Dkim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dkim").field("domain", &self.domain).field("selector", &self.selector).finish()
    }
}

impl Dkim {
    /// Reads and checks the key.
    pub(super) fn compile(spec: &DkimSpec, pem: &str) -> Result<Self, DkimError> {
        let domain = host_name(&spec.domain).filter(|name| name.contains('.')).ok_or(DkimError::Domain)?;
        let selector = spec.selector.as_str();
        if selector.len() > 63 || host_name(selector).as_deref() != Some(&selector.to_ascii_lowercase()) {
            return Err(DkimError::Selector);
        }
        if pem == MASK {
            return Err(DkimError::Mask);
        }
        if pem.len() > MAX_KEY {
            return Err(DkimError::Key);
        }
        // The reader's own error could repeat a line of the key.
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| DkimError::Key)?;
        let key = rustls::crypto::ring::sign::any_supported_type(&der).map_err(|_| DkimError::Key)?;
        let schemes = [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::ED25519];
        let signer = key.choose_scheme(&schemes).ok_or(DkimError::Key)?;
        Ok(Self { domain, selector: selector.to_owned(), scheme: signer.scheme(), key })
    }

    /// Whether it signs for a domain: its own, or one below it.
    pub(super) fn is_for(&self, domain: &str) -> bool {
        let above = domain.strip_suffix(self.domain.as_str());
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }

    /// The header that signs a complete mail, with the end of its line.
    pub(super) fn sign(&self, mail: &[u8], now: Millis) -> Result<String, DkimError> {
        let (head, body) = split(mail);
        let fields = fields(head);
        // `From` is named once more than it is there, so that nobody can add another.
        let mut names = String::from("from");
        let mut data = String::with_capacity(head.len());
        for name in SIGNED {
            if let Some((_, value)) = fields.iter().find(|(field, _)| field == name) {
                names.push(':');
                names.push_str(name);
                push_field(&mut data, name, value);
            }
        }
        let algorithm = if self.scheme == SignatureScheme::ED25519 { "ed25519" } else { "rsa" };
        let own = format!(
            "v=1; a={algorithm}-sha256; c=relaxed/relaxed; d={};\r\n s={}; t={};\r\n h={names};\r\n bh={};\r\n b=",
            self.domain,
            self.selector,
            now.0.max(0).div_euclid(1_000),
            STANDARD.encode(body_hash(body)),
        );
        push_field(&mut data, "dkim-signature", &own);
        // Without the end of its line.
        data.truncate(data.len() - 2);
        let signer = self.key.choose_scheme(&[self.scheme]).ok_or(DkimError::Sign)?;
        let signature = match self.scheme {
            // RFC 8463, 3: what is signed is the hash.
            SignatureScheme::ED25519 => signer.sign(&Sha256::digest(data.as_bytes())),
            _ => signer.sign(data.as_bytes()),
        };
        let signature = STANDARD.encode(signature.map_err(|_| DkimError::Sign)?);
        let mut header = format!("DKIM-Signature: {own}");
        for (n, line) in signature.as_bytes().chunks(72).enumerate() {
            header.push_str(if n == 0 { "" } else { "\r\n  " });
            // It is base64.
            header.extend(line.iter().map(|b| char::from(*b)));
        }
        header.push_str("\r\n");
        Ok(header)
    }
}

/// A mail's head, with the end of its last line, and its body.
fn split(mail: &[u8]) -> (&[u8], &[u8]) {
    match mail.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(at) => (&mail[..at + 2], &mail[at + 4..]),
        None => (mail, &[]),
    }
}

/// The fields of a head: names in lower case, values as they stand, folded.
fn fields(head: &[u8]) -> Vec<(String, String)> {
    let head = String::from_utf8_lossy(head);
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in head.split_terminator("\r\n") {
        match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                fields.push((name.trim_end().to_ascii_lowercase(), value.to_owned()));
            }
            _ => {
                if let Some((_, value)) = fields.last_mut() {
                    value.push_str("\r\n");
                    value.push_str(line);
                }
            }
        }
    }
    fields
}

/// RFC 6376, 3.4.2: unfolded, white space reduced to one space and none at the ends.
fn push_field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut words = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    out.push_str(words.next().unwrap_or_default());
    for word in words {
        out.push(' ');
        out.push_str(word);
    }
    out.push_str("\r\n");
}

/// RFC 6376, 3.4.4: white space reduced to one space, none at a line's end, no empty lines at the end.
fn body_hash(body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut empty = 0_usize;
    let mut line = Vec::with_capacity(1_024);
    let body = body.strip_suffix(b"\r\n").unwrap_or(body);
    for raw in body.split(|b| *b == b'\n') {
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        line.clear();
        let mut space = false;
        for &b in raw {
            if matches!(b, b' ' | b'\t') {
                space = true;
                continue;
            }
            if std::mem::take(&mut space) {
                line.push(b' ');
            }
            line.push(b);
        }
        if line.is_empty() {
            empty += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty) {
            hash.update(b"\r\n");
        }
        hash.update(&line);
        hash.update(b"\r\n");
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8463, A.2: the seed of the ed25519 key in PKCS#8.
    fn ed25519() -> String {
        let seed = STANDARD.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
        let der =
            [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &seed].concat();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    fn spec(domain: &str, selector: &str) -> DkimSpec {
        DkimSpec { domain: domain.to_owned(), selector: selector.to_owned() }
    }

    #[test]
    fn the_body_of_the_rfcs_example_has_the_hash_that_it_says() {
        // RFC 8463, A.3.
        let body = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
        assert_eq!(STANDARD.encode(body_hash(body)), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
        // RFC 6376, 3.4.5 with the hash of what it comes to; and what is empty hashes as nothing.
        let canonical: [u8; 32] = Sha256::digest(b" C\r\nD E\r\n").into();
        assert_eq!(body_hash(b" C \r\nD \t E\r\n\r\n\r\n"), canonical);
        let nothing: [u8; 32] = Sha256::digest(b"").into();
        for body in [&b""[..], b"\r\n", b"\r\n\r\n", b" \t\r\n"] {
            assert_eq!(body_hash(body), nothing);
        }
    }

    #[test]
    fn what_is_signed_is_the_relaxed_form_of_the_headers() {
        let mut out = String::new();
        push_field(&mut out, "b", " Y\t\r\n\tZ  ");
        assert_eq!(out, "b:Y Z\r\n");
        let read = fields(b"A: X\r\nB : Y\t\r\n\tZ  \r\n");
        assert_eq!(read, [("a".to_owned(), " X".to_owned()), ("b".to_owned(), " Y\t\r\n\tZ  ".to_owned())]);
        let dkim = Dkim::compile(&spec("Example.com", "mail2026"), &ed25519()).unwrap();
        let mail = b"From: a@example.com\r\nSubject: x\r\nX-Other: y\r\n\r\nbody\r\n";
        let header = dkim.sign(mail, Millis(1_761_300_000_999)).unwrap();
        assert!(
            header.starts_with("DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com;")
        );
        assert!(header.contains(" t=1761300000;\r\n h=from:from:subject;\r\n bh="), "{header}");
        assert!(header.ends_with("\r\n") && header.lines().all(|line| line.len() <= 78), "{header}");
        // One that nobody can make without the key, and that changes with what is signed.
        assert_eq!(header, dkim.sign(mail, Millis(1_761_300_000_999)).unwrap());
        let other = b"From: b@example.com\r\nSubject: x\r\n\r\nbody\r\n";
        assert_ne!(header, dkim.sign(other, Millis(1_761_300_000_999)).unwrap());
    }

    #[test]
    fn only_names_and_keys_that_can_sign_are_taken() {
        let key = ed25519();
        assert_eq!(Dkim::compile(&spec("example", "s"), &key).unwrap_err(), DkimError::Domain);
        assert_eq!(Dkim::compile(&spec("a.example;x=", "s"), &key).unwrap_err(), DkimError::Domain);
        for selector in ["", "a b", "a;b", "a\r\nb", &"x".repeat(64)] {
            assert_eq!(Dkim::compile(&spec("a.example", selector), &key).unwrap_err(), DkimError::Selector);
        }
        assert_eq!(Dkim::compile(&spec("a.example", "s"), MASK).unwrap_err(), DkimError::Mask);
        assert_eq!(Dkim::compile(&spec("a.example", "s"), "never-repeat").unwrap_err(), DkimError::Key);
        let dkim = Dkim::compile(&spec("a.example", "s"), &key).unwrap();
        assert!(dkim.is_for("a.example") && dkim.is_for("b.a.example") && !dkim.is_for("ba.example"));
    }
}
