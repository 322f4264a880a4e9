//! What TLS connections are made with: the system's roots, and a destination's own certificates.
//!
//! It must not know what is sent over them.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};

use crate::carrier::Tls;
use crate::secrets::MASK;

/// How large each of the PEM texts may be, in bytes.
pub(super) const MAX_PEM: usize = 64 * 1024;

/// The system's roots, or Mozilla's list where the system has none. Read once: an operator who changes them restarts.
static ROOTS: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
});

/// Why a destination's certificates were refused. Never holds any part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A text is too long.
    #[error("{field}: {bytes} bytes, the limit is {MAX_PEM}")]
    Length {
        /// The member.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A text is not PEM, or holds nothing of what it takes.
    #[error("{field}: it takes {expected}")]
    Pem {
        /// The member.
        field: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// A certificate or key cannot be used.
    #[error("{field}: {why}")]
    Unusable {
        /// The member.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// One of the two is there without the other.
    #[error("{field}: it is missing; `client_certificate` and `client_key` go together")]
    Half {
        /// The one that is missing.
        field: &'static str,
    },
    /// The key is another certificate's.
    #[error("tls.client_key: it does not belong to the first certificate of `client_certificate`")]
    Mismatch,
    /// The key is what stands for one where it is shown.
    #[error(
        "tls.client_key: `{MASK}` only stands for what was given before; give the key itself, or leave out `tls` to keep it"
    )]
    Mask,
}

impl TlsError {
    /// The member of the description that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Length { field, .. }
            | Self::Pem { field, .. }
            | Self::Unusable { field, .. }
            | Self::Half { field } => field,
            Self::Mismatch | Self::Mask => "tls.client_key",
        }
    }
}

const CERTIFICATE: &str = "tls.client_certificate";
const KEY: &str = "tls.client_key";
const CA: &str = "tls.ca";

/// A destination's certificates, read and checked.
pub(super) struct ClientTls {
    /// Tells settings apart.
    pub(super) digest: [u8; 32],
    pub(super) config: ClientConfig,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientTls")
    }
}

impl ClientTls {
    /// Reads certificates and key.
    pub(super) fn compile(tls: &Tls) -> Result<Self, TlsError> {
        let mut digest = Sha256::new();
        for (field, text) in [(CERTIFICATE, &tls.client_certificate), (KEY, &tls.client_key), (CA, &tls.ca)] {
            let text = text.as_deref().unwrap_or_default();
            if text.len() > MAX_PEM {
                return Err(TlsError::Length { field, bytes: text.len() });
            }
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        let mut roots = ROOTS.clone();
        for certificate in
            tls.ca.as_deref().map(|text| certificates(CA, text)).transpose()?.into_iter().flatten()
        {
            let added = roots.add(certificate);
            added.map_err(|why| TlsError::Unusable { field: CA, why: why.to_string() })?;
        }
        let builder = builder().map_err(|why| TlsError::Unusable { field: "tls", why: why.to_string() })?;
        let builder = builder.with_root_certificates(roots);
        let config = match (&tls.client_certificate, &tls.client_key) {
            (None, None) => builder.with_no_client_auth(),
            (None, Some(_)) => return Err(TlsError::Half { field: CERTIFICATE }),
            (Some(_), None) => return Err(TlsError::Half { field: KEY }),
            (Some(chain), Some(key)) => {
                let (chain, key) = (certificates(CERTIFICATE, chain)?, private_key(key)?);
                builder.with_client_auth_cert(chain, key).map_err(refused)?
            }
        };
        Ok(Self { digest: digest.finalize().into(), config: with_protocols(config) })
    }
}

/// What is wrong with a certificate and its key, told without either.
fn refused(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
        rustls::Error::InvalidCertificate(why) => {
            TlsError::Unusable { field: CERTIFICATE, why: format!("its first certificate cannot be read: {why}") }
        }
        _ => TlsError::Unusable {
            field: KEY,
            why: "the key is of a kind that cannot be used; it takes RSA (2048 to 8192 bits), ECDSA P-256 or P-384, \
                  or Ed25519"
                .to_owned(),
        },
    }
}

fn certificates(field: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let expected = "certificates in PEM, which begin with `-----BEGIN CERTIFICATE-----`";
    let wrong = TlsError::Pem { field, expected };
    let read = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    read.ok().filter(|all| !all.is_empty()).ok_or(wrong)
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    if text == MASK {
        return Err(TlsError::Mask);
    }
    // The reader's own error could repeat a line of the key.
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| TlsError::Pem {
        field: KEY,
        expected: "a private key in PEM (PKCS#8, PKCS#1 or SEC1) that is not locked with a passphrase",
    })
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
}

fn with_protocols(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// What TLS connections are made with: the system's certificates and no other.
///
/// # Errors
/// When the provider has no usable protocol version.
pub fn tls() -> Result<ClientConfig, rustls::Error> {
    Ok(with_protocols(builder()?.with_root_certificates(ROOTS.clone()).with_no_client_auth()))
}
