//! What the operator set up for mails: the relay for all carriers, in whose name it sends, and what carriers may do.
//!
//! It must not know where the settings come from.

use std::sync::Arc;

use lettre::message::Mailbox;

use super::address::{BadAddress, Pattern, host_name, mailbox};
use super::dkim::{Dkim, DkimError};
use super::relay::Relay;
use super::target::EmailError;
use crate::carrier::{DestinationKind, DestinationSpec, DkimSpec, RelaySecurity, RelaySpec, Tls};
use crate::deliver::mask::Mask;
use crate::deliver::target::TargetError;

/// The largest mail when nothing is said, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 25 << 20;
/// Connections to the operator's relay when nothing is said.
pub const CONNECTIONS: usize = 10;

/// What the operator says, as the settings have it.
#[derive(Clone)]
pub struct MailSettings {
    /// The relay for carriers without one; absent: none.
    pub relay: Option<RelaySpec>,
    /// What its login proves itself with.
    pub password: Option<String>,
    /// Certificates that the relay's is vouched for by, beside the system's; PEM.
    pub ca: Option<String>,
    /// In whose name it sends; needed with a relay.
    pub from: String,
    /// As whom carriers may send by it beside that.
    pub allowed_from: Vec<String>,
    /// What it signs for, and the key in PEM.
    pub dkim: Option<(DkimSpec, String)>,
    /// The host's name for EHLO; absent: the domain of `from`, or else its address.
    pub hello_name: Option<String>,
    /// Whether carriers' relays may be spoken to without TLS, and any relay be logged in to without it.
    pub allow_plain: bool,
    /// The largest mail, in bytes as it is sent.
    pub max_message_bytes: usize,
    /// Connections to the operator's relay at once, and such as rest of each other relay.
    pub connections: usize,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self {
            relay: None,
            password: None,
            ca: None,
            from: String::new(),
            allowed_from: Vec::new(),
            dkim: None,
            hello_name: None,
            allow_plain: false,
            max_message_bytes: MAX_MESSAGE_BYTES,
            connections: CONNECTIONS,
        }
    }
}

impl std::fmt::Debug for MailSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailSettings")
            .field("relay", &self.relay)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Why the operator's settings cannot be used. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailRulesError {
    /// The sender.
    #[error("mail.from: {0}")]
    From(BadAddress),
    /// An entry of the list.
    #[error("mail.allowed_from: {0}")]
    AllowedFrom(BadAddress),
    /// The name for EHLO.
    #[error("mail.hello_name: it takes a name such as `hooks.example.com`")]
    HelloName,
    /// The login would be readable by anybody.
    #[error("mail.security: a login without TLS is refused unless `mail.allow_plain` is set")]
    PlainLogin,
    /// The relay, its login or its certificates.
    #[error("mail.relay: {0}")]
    Relay(String),
    /// What signs.
    #[error("mail.dkim_{0}")]
    Dkim(String),
}

impl MailRulesError {
    /// The key that is at fault.
    pub fn key(&self) -> &'static str {
        match self {
            Self::From(_) => "mail.from",
            Self::AllowedFrom(_) => "mail.allowed_from",
            Self::HelloName => "mail.hello_name",
            Self::PlainLogin => "mail.security",
            Self::Relay(_) => "mail.relay",
            Self::Dkim(_) => "mail.dkim_key_file",
        }
    }
}

/// The operator's settings, checked.
#[derive(Debug, Clone)]
pub struct MailRules {
    pub(super) operator: Option<Operator>,
    pub(super) hello_name: Option<String>,
    pub(super) max_message_bytes: usize,
    pub(super) connections: usize,
    allow_plain: bool,
}

/// The operator's relay.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    pub(super) relay: Arc<Relay>,
    pub(super) from: Mailbox,
    pub(super) dkim: Option<Arc<Dkim>>,
    pub(super) mask: Mask,
    allowed_from: Vec<Pattern>,
}

impl Default for MailRules {
    fn default() -> Self {
        Self {
            operator: None,
            hello_name: None,
            max_message_bytes: MAX_MESSAGE_BYTES,
            connections: CONNECTIONS,
            allow_plain: false,
        }
    }
}

impl MailRules {
    /// Checks what the operator says.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(settings: &MailSettings) -> Result<Self, MailRulesError> {
        let hello = |name: &String| {
            host_name(name).filter(|name| name.contains('.')).ok_or(MailRulesError::HelloName)
        };
        let mut hello_name = settings.hello_name.as_ref().map(hello).transpose()?;
        let operator = settings.relay.as_ref().map(|relay| operator(relay, settings)).transpose()?;
        if let Some(operator) = &operator {
            hello_name = hello_name.or_else(|| Some(operator.from.email.domain().to_owned()));
        }
        Ok(Self {
            operator,
            hello_name,
            max_message_bytes: settings.max_message_bytes,
            connections: settings.connections.max(1),
            allow_plain: settings.allow_plain,
        })
    }

    /// Whether the operator lets a carrier have such a destination; always for other kinds. It must be one that compiles.
    ///
    /// # Errors
    /// There is no relay for it, its connection would not be private, or the operator's relay does not send in its name.
    pub fn admits(&self, spec: &DestinationSpec) -> Result<(), TargetError> {
        let Some(email) = spec.email.as_ref().filter(|_| spec.kind == DestinationKind::Email) else {
            return Ok(());
        };
        match (&email.relay, &self.operator) {
            (Some(relay), _) => self.admits_security(relay.security)?,
            (None, None) => return Err(EmailError::NoRelay.into()),
            (None, Some(operator)) => {
                let from = email.from.as_deref().map(mailbox).transpose();
                let from = from.map_err(|why| EmailError::Address { field: "email.from", why })?;
                operator.admits(from.as_ref())?;
            }
        }
        Ok(())
    }

    /// Whether a carrier's relay may be spoken to like this.
    pub(super) fn admits_security(&self, security: RelaySecurity) -> Result<(), EmailError> {
        if security == RelaySecurity::None && !self.allow_plain { Err(EmailError::Plain) } else { Ok(()) }
    }
}

impl Operator {
    /// Whether the operator's relay sends in this name.
    pub(super) fn admits(&self, from: Option<&Mailbox>) -> Result<(), EmailError> {
        let own = Pattern::One(self.from.email.to_string());
        let admitted = |from: &Mailbox| {
            own.admits(&from.email) || self.allowed_from.iter().any(|pattern| pattern.admits(&from.email))
        };
        if from.is_none_or(admitted) {
            return Ok(());
        }
        Err(EmailError::Sender { operator: self.from.email.to_string() })
    }
}

fn operator(spec: &RelaySpec, settings: &MailSettings) -> Result<Operator, MailRulesError> {
    let from = mailbox(&settings.from).map_err(MailRulesError::From)?;
    let allowed_from = settings.allowed_from.iter().map(|text| Pattern::parse(text));
    let allowed_from = allowed_from.collect::<Result<_, _>>().map_err(MailRulesError::AllowedFrom)?;
    if spec.security == RelaySecurity::None && spec.username.is_some() && !settings.allow_plain {
        return Err(MailRulesError::PlainLogin);
    }
    let password = settings.password.as_deref();
    let tls = settings.ca.as_ref().map(|ca| Tls { ca: Some(ca.clone()), ..Tls::default() });
    // The operator's own words: the address guard does not hold for it.
    let relay = Relay::compile(spec, password, tls.as_ref(), None);
    let relay = relay.map_err(|why| MailRulesError::Relay(why.to_string()))?;
    let dkim = settings.dkim.as_ref().map(|(spec, key)| Dkim::compile(spec, key).map(Arc::new)).transpose();
    let dkim = dkim.map_err(|why| {
        MailRulesError::Dkim(match why {
            DkimError::Domain => format!("domain: {why}"),
            DkimError::Selector => format!("selector: {why}"),
            _ => format!("key_file: {why}"),
        })
    })?;
    Ok(Operator { relay: Arc::new(relay), from, dkim, mask: Mask::hiding(password), allowed_from })
}
