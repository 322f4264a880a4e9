//! A mail server that takes mails for others, ready to be connected to: a carrier's own or the operator's.
//!
//! It must not know mails.

use std::sync::Arc;

use rustls::ClientConfig;
use sha2::{Digest, Sha256};

use super::address::host_name;
use super::target::EmailError;
use crate::carrier::{RelaySecurity, RelaySpec, Tls};
use crate::deliver::AddressPolicy;
use crate::deliver::target::TargetError;
use crate::deliver::tls::{self, ClientTls};
use crate::secrets::MASK;

/// The longest user name or password, in bytes.
const MAX_LOGIN: usize = 1_024;

/// A relay and how it is spoken to.
pub(super) struct Relay {
    /// Its name in lower case and in ASCII, or its address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: RelaySecurity,
    pub(super) login: Option<Credentials>,
    pub(super) tls: Arc<ClientConfig>,
    /// Tells relays apart that may not share connections.
    pub(super) key: [u8; 32],
    /// Whether the address guard holds for it: not for the operator's.
    pub(super) is_guarded: bool,
}

/// Whom to log in as.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Relay {
    /// Checks a relay and prepares what every connection to it has in common. Without a policy the guard does not hold.
    pub(super) fn compile(
        spec: &RelaySpec,
        password: Option<&str>,
        own_tls: Option<&Tls>,
        policy: Option<&AddressPolicy>,
    ) -> Result<Self, TargetError> {
        let host = host(&spec.host, policy)?;
        if spec.port == Some(0) {
            return Err(EmailError::Port.into());
        }
        let port = spec.port.unwrap_or(match spec.security {
            RelaySecurity::Starttls => 587,
            RelaySecurity::Tls => 465,
            RelaySecurity::None => 25,
        });
        let login = credentials(spec.username.as_deref(), password)?;
        let compiled = own_tls.map(ClientTls::compile).transpose()?;
        let mut digest = Sha256::new();
        let (username, password) =
            login.as_ref().map_or(("", ""), |login| (login.username.as_str(), login.password.as_str()));
        let guarded: &[u8] = if policy.is_some() { b"guarded" } else { b"free" };
        let security = [spec.security as u8];
        let tls_digest = compiled.as_ref().map_or([0; 32], |tls| tls.digest);
        for part in [
            host.as_bytes(),
            &port.to_be_bytes(),
            &security,
            username.as_bytes(),
            password.as_bytes(),
            &tls_digest,
            guarded,
        ] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut config = match compiled {
            Some(own) => own.config,
            None => tls::tls().map_err(|why| EmailError::NoTls(why.to_string()))?,
        };
        // Those are HTTP's.
        config.alpn_protocols.clear();
        Ok(Self {
            host,
            port,
            security: spec.security,
            login,
            tls: Arc::new(config),
            key: digest.finalize().into(),
            is_guarded: policy.is_some(),
        })
    }
}

/// The relay's name or address, checked as far as it can be without asking for the name.
fn host(text: &str, policy: Option<&AddressPolicy>) -> Result<String, EmailError> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let host = match bare.parse::<std::net::IpAddr>() {
        Ok(ip) => {
            policy.map_or(Ok(()), |policy| policy.check(ip))?;
            return Ok(ip.to_string());
        }
        Err(_) => host_name(text).ok_or(EmailError::Host)?,
    };
    // Known without asking: such names are always this machine (RFC 6761).
    if host == "localhost" || host.ends_with(".localhost") {
        policy.map_or(Ok(()), |policy| policy.check(std::net::Ipv4Addr::LOCALHOST.into()))?;
    }
    Ok(host)
}

fn credentials(username: Option<&str>, password: Option<&str>) -> Result<Option<Credentials>, EmailError> {
    let (username, password) = match (username, password) {
        (None, None) => return Ok(None),
        (Some(username), Some(password)) => (username, password),
        (Some(_), None) => return Err(EmailError::NoPassword),
        (None, Some(_)) => return Err(EmailError::NoUsername),
    };
    if password == MASK {
        return Err(EmailError::Mask);
    }
    let fits = |text: &str| (1..=MAX_LOGIN).contains(&text.len()) && !text.chars().any(char::is_control);
    if !fits(username) {
        return Err(EmailError::Login { field: "email.relay.username" });
    }
    if !fits(password) {
        return Err(EmailError::Login { field: "login.password" });
    }
    Ok(Some(Credentials { username: username.to_owned(), password: password.to_owned() }))
}
