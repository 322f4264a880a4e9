//! An SFTP destination compiled for sending: everything that can be checked before anything is sent.
//!
//! It must not know sessions or deliveries.

use std::net::{IpAddr, Ipv4Addr};

use hookyard_sdk::template::{LEVELS, PATH_BYTES, TemplateError};
use sha2::{Digest, Sha256};
use url::Host;

use super::keys::{KeyError, LoginKey, Pin};
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::path::{PathError, check_path};
use crate::carrier::{Existing, Login, SftpSpec};
use crate::deliver::address::{AddressPolicy, BlockedAddress};
use crate::deliver::file_name::Naming;
use crate::deliver::mask::Mask;

/// The most keys that a server may have.
const HOST_KEYS: usize = 8;
/// The longest user name, in bytes.
const USERNAME_BYTES: usize = 255;
/// The longest password, in bytes.
const PASSWORD_BYTES: usize = 1_024;

/// Why an SFTP destination was refused. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SftpError {
    /// Nothing says where.
    #[error("sftp: a destination of kind `sftp` needs it: at least `host`, `username` and `host_keys`")]
    Nowhere,
    /// A member is needed.
    #[error("sftp.{member}: it is needed{hint}")]
    Needed {
        /// The member.
        member: &'static str,
        /// What it is for.
        hint: &'static str,
    },
    /// A member is not as it must be.
    #[error("sftp.{member}: {why}")]
    Member {
        /// The member.
        member: &'static str,
        /// What it takes.
        why: String,
    },
    /// The guard refuses the host's address.
    #[error("sftp.host: {0}")]
    Address(#[from] BlockedAddress),
    /// A host key.
    #[error("sftp.host_keys: {0}")]
    HostKey(KeyError),
    /// The folder.
    #[error("sftp.folder: {0}")]
    Folder(PathError),
    /// The template of names.
    #[error("sftp.file_name: {0}")]
    FileName(#[from] TemplateError),
    /// Nothing proves whose the login is.
    #[error(
        "login: it needs a `password`, a `private_key` or both; `{{\"generate\": \"ed25519\"}}` has the host make a key"
    )]
    NoLogin,
    /// The password.
    #[error("login.password: it has {bytes} bytes, the limit is {PASSWORD_BYTES}")]
    Password {
        /// Its length.
        bytes: usize,
    },
    /// The private key.
    #[error("login.private_key: {0}")]
    PrivateKey(KeyError),
    /// The passphrase.
    #[error("login.passphrase: {0}")]
    Passphrase(KeyError),
}

impl SftpError {
    /// The member of the description that is at fault.
    pub(in crate::deliver) fn field(&self) -> &'static str {
        match self {
            Self::NoLogin | Self::Password { .. } | Self::PrivateKey(_) | Self::Passphrase(_) => "login",
            _ => "sftp",
        }
    }
}

/// An SFTP destination ready to be sent to.
#[derive(Debug, Clone)]
pub(in crate::deliver) struct SftpTarget {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: String,
    pub(super) pins: Vec<Pin>,
    pub(super) login: Proof,
    /// The folder without a `/` at its end; empty for the login's own.
    pub(super) folder: String,
    pub(super) naming: Naming,
    pub(super) existing: Existing,
    pub(super) mode: Option<u32>,
    /// What must not be kept when a server repeats it.
    pub(super) mask: Mask,
    /// Of everything that makes a session: with another one there is another session.
    pub(super) digest: [u8; 32],
}

/// What a login proves itself with: at least one of the two.
#[derive(Clone)]
pub(super) struct Proof {
    pub(super) password: Option<String>,
    pub(super) key: Option<LoginKey>,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("password", &self.password.is_some()).field("key", &self.key).finish()
    }
}

impl Proof {
    fn of(login: Option<&Login>) -> Result<Self, SftpError> {
        let login = login.ok_or(SftpError::NoLogin)?;
        let key = LoginKey::of(login).map_err(|why| match why {
            KeyError::Needless => SftpError::Passphrase(why),
            why => SftpError::PrivateKey(why),
        })?;
        let password = login.password.clone();
        match &password {
            Some(text) if text.len() > PASSWORD_BYTES => {
                return Err(SftpError::Password { bytes: text.len() });
            }
            None if key.is_none() => return Err(SftpError::NoLogin),
            _ => {}
        }
        Ok(Self { password, key })
    }
}

impl SftpTarget {
    /// Checks a destination and prepares what all files to it have in common.
    pub(in crate::deliver) fn compile(
        spec: Option<&SftpSpec>,
        secrets: &DestinationSecrets,
        policy: &AddressPolicy,
    ) -> Result<Self, SftpError> {
        let spec = spec.ok_or(SftpError::Nowhere)?;
        let needed = |member, hint| SftpError::Needed { member, hint };
        let host =
            host(spec.host.as_deref().ok_or(needed("host", ": the server's name or address"))?, policy)?;
        let port = spec.port.unwrap_or(22);
        if port == 0 {
            return Err(SftpError::Member { member: "port", why: "it takes 1 to 65535".to_owned() });
        }
        let username = spec.username.as_deref().ok_or(needed("username", ": whom to log in as"))?;
        if username.is_empty() || username.len() > USERNAME_BYTES || username.contains(char::is_control) {
            let why = format!("it takes 1 to {USERNAME_BYTES} bytes without control characters");
            return Err(SftpError::Member { member: "username", why });
        }
        if spec.host_keys.is_empty() {
            return Err(needed(
                "host_keys",
                ": the keys that the server may have, which `ssh-keyscan HOST | ssh-keygen -lf -` shows; confirm them with its operator",
            ));
        }
        if spec.host_keys.len() > HOST_KEYS {
            let why = format!("{} keys, the limit is {HOST_KEYS}", spec.host_keys.len());
            return Err(SftpError::Member { member: "host_keys", why });
        }
        let pins = spec.host_keys.iter().map(|text| Pin::parse(text)).collect::<Result<_, _>>();
        let folder = folder(spec.folder.as_deref().unwrap_or_default())?;
        let naming = Naming::of(spec.file_name.as_deref())?;
        let mode = spec.mode.as_deref().map(mode).transpose()?;
        Ok(Self {
            digest: digest(&host, port, username, spec, secrets.login.as_ref()),
            host,
            port,
            username: username.to_owned(),
            pins: pins.map_err(SftpError::HostKey)?,
            login: Proof::of(secrets.login.as_ref())?,
            folder,
            naming,
            existing: spec.existing,
            mode,
            mask: Mask::of(secrets),
        })
    }

    /// The same, and whether a passphrase opens its key, which takes a moment of computing: for its registration.
    pub(in crate::deliver) fn check(
        spec: Option<&SftpSpec>,
        secrets: &DestinationSecrets,
        policy: &AddressPolicy,
    ) -> Result<(), SftpError> {
        match Self::compile(spec, secrets, policy)?.login.key {
            Some(key) => key.open().map(drop).map_err(SftpError::Passphrase),
            None => Ok(()),
        }
    }
}

/// The host's name or address in its plain form, and whether it may be connected to as far as that is known without asking
/// for the name.
fn host(text: &str, policy: &AddressPolicy) -> Result<String, SftpError> {
    let wrong = |why: &str| SftpError::Member { member: "host", why: why.to_owned() };
    if text.len() > 255 {
        return Err(wrong("it takes at most 255 bytes"));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        policy.check(ip)?;
        return Ok(ip.to_string());
    }
    let parsed = Host::parse(text);
    match parsed.map_err(|_| {
        wrong("it takes a name or an address, such as `sftp.example.com`, without scheme and port")
    })? {
        Host::Ipv4(ip) => {
            policy.check(ip.into())?;
            Ok(ip.to_string())
        }
        Host::Ipv6(ip) => {
            policy.check(ip.into())?;
            Ok(ip.to_string())
        }
        Host::Domain(name) => {
            let bare = name.trim_end_matches('.');
            // Known without asking: such names are always this machine (RFC 6761).
            if bare == "localhost" || bare.ends_with(".localhost") {
                policy.check(Ipv4Addr::LOCALHOST.into())?;
            }
            Ok(name)
        }
    }
}

/// A folder without `/` at its end; `/` itself stays.
fn folder(text: &str) -> Result<String, SftpError> {
    if text.is_empty() || text == "." {
        return Ok(String::new());
    }
    let below = text.strip_prefix('/').unwrap_or(text);
    let below = below.strip_suffix('/').unwrap_or(below);
    if below.is_empty() {
        return Ok("/".to_owned());
    }
    check_path(below, PATH_BYTES, LEVELS).map_err(SftpError::Folder)?;
    Ok(if text.starts_with('/') { format!("/{below}") } else { below.to_owned() })
}

fn mode(text: &str) -> Result<u32, SftpError> {
    let wrong = || SftpError::Member {
        member: "mode",
        why: format!(
            "it takes three or four octal digits such as `0640`, with reading and writing for the owner and nothing beyond 0777; this is {:?}",
            text.chars().take(20).collect::<String>()
        ),
    };
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777).ok_or_else(wrong)?;
    // A half-done upload could not be gone on with.
    if mode & 0o600 == 0o600 { Ok(mode) } else { Err(wrong()) }
}

fn digest(host: &str, port: u16, username: &str, spec: &SftpSpec, login: Option<&Login>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    [host, &port.to_string(), username].into_iter().for_each(&mut add);
    spec.host_keys.iter().for_each(|key| add(key));
    if let Some(login) = login {
        for secret in [&login.password, &login.private_key, &login.passphrase] {
            add(if secret.is_some() { "1" } else { "0" });
            add(secret.as_deref().unwrap_or_default());
        }
    }
    hash.finalize().into()
}
