//! A destination of kind `email` compiled for sending: every address, template and key is checked when it is written and
//! again when it is loaded.
//!
//! It must not know deliveries; `compose` puts the two together.

use std::sync::Arc;

use hookyard_sdk::template::{Template, TemplateError};
use lettre::Address;
use lettre::message::Mailbox;

use super::address::{BadAddress, Pattern, address, mailbox};
use super::dkim::{Dkim, DkimError};
use super::relay::Relay;
use crate::carrier::DestinationSpec;
use crate::carrier::destination::DestinationSecrets;
use crate::deliver::mask::Mask;
use crate::deliver::target::TargetError;
use crate::deliver::{AddressPolicy, BlockedAddress};

/// The most addresses in each of `to`, `cc` and `allowed_recipients`.
pub(super) const MAX_LIST: usize = 50;

/// A destination ready to be mailed to.
#[derive(Debug, Clone)]
pub(in crate::deliver) struct EmailTarget {
    pub(super) to: Vec<Address>,
    pub(super) cc: Vec<Address>,
    /// Whom a plugin may name beside those.
    pub(super) allowed: Vec<Pattern>,
    /// Absent: the operator's sender.
    pub(super) from: Option<Mailbox>,
    pub(super) reply_to: Option<Mailbox>,
    pub(super) subject: Option<Template>,
    pub(super) file_name: Option<Template>,
    /// Absent: the operator's.
    pub(super) relay: Option<Arc<Relay>>,
    pub(super) dkim: Option<Arc<Dkim>>,
    /// What must not be kept when a relay repeats it.
    pub(super) mask: Mask,
}

/// Why a destination of kind `email` was refused. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// It does not say whom to write to.
    #[error("email: a destination of kind `email` needs it, with `to`, `allowed_recipients` or both")]
    Missing,
    /// An address was refused.
    #[error("{field}: {why}")]
    Address {
        /// The member.
        field: &'static str,
        /// What is wrong.
        why: BadAddress,
    },
    /// There are too many.
    #[error("{field}: {count} entries, the limit is {MAX_LIST}")]
    Count {
        /// The member.
        field: &'static str,
        /// How many there are.
        count: usize,
    },
    /// Nobody could ever get a mail.
    #[error(
        "email.to: it takes at least one address, unless `allowed_recipients` says whom plugins may write to"
    )]
    Nobody,
    /// A relay of one's own does not send in the operator's name.
    #[error("email.from: it is needed with a `relay` of one's own")]
    NoSender,
    /// A template was refused.
    #[error("{field}: {why}")]
    Template {
        /// The member.
        field: &'static str,
        /// What is wrong, and where.
        why: TemplateError,
    },
    /// An attachment's name has folders.
    #[error("email.file_name: an attachment lies in no folder, so the name takes no `/`")]
    Folder,
    /// The relay's name is none.
    #[error("email.relay.host: it takes a name such as `smtp.example.com`, or an address")]
    Host,
    /// The relay's address is not allowed.
    #[error("email.relay.host: {0}")]
    Blocked(#[from] BlockedAddress),
    /// The relay's port is none.
    #[error("email.relay.port: it takes 1 to 65535")]
    Port,
    /// A user name without a password.
    #[error("login.password: it is needed with `email.relay.username`")]
    NoPassword,
    /// A password without a user name.
    #[error("login.password: it says nothing without `email.relay.username`")]
    NoUsername,
    /// The password is what stands for one where it is shown.
    #[error(
        "login.password: `***` only stands for what was given before; give the password itself, or leave out `login` to keep it"
    )]
    Mask,
    /// A user name or password that cannot be sent.
    #[error("{field}: it takes 1 to 1024 bytes without control characters")]
    Login {
        /// The member.
        field: &'static str,
    },
    /// A relay is logged in to with a password.
    #[error("login.{field}: a mail relay takes a `password` alone")]
    Key {
        /// The member.
        field: &'static str,
    },
    /// Something that belongs to a relay of one's own.
    #[error("{field}: it belongs to a `relay` of one's own, which is missing")]
    NoRelayFor {
        /// The member.
        field: &'static str,
    },
    /// TLS could not be set up.
    #[error("email.relay: TLS could not be set up: {0}")]
    NoTls(String),
    /// What signs the mails was refused.
    #[error("{field}: {why}")]
    Dkim {
        /// The member.
        field: &'static str,
        /// What is wrong.
        why: DkimError,
    },
    /// A key without what it signs for, or the reverse.
    #[error("{field}: `email.dkim` and `dkim_key` go together")]
    HalfDkim {
        /// The one that is missing.
        field: &'static str,
    },
    /// There is no relay at all.
    #[error("email.relay: the operator has none (`mail.relay`), so it takes one of the carrier's own")]
    NoRelay,
    /// The connection would not be private.
    #[error(
        "email.relay.security: `none` is refused; it takes `starttls` or `tls` (the operator can allow it with `mail.allow_plain`)"
    )]
    Plain,
    /// The operator's relay does not send in this name.
    #[error(
        "email.from: the operator's relay sends as {operator}, and as what `mail.allowed_from` admits; use a `relay` of one's own, or leave it out"
    )]
    Sender {
        /// The operator's sender.
        operator: String,
    },
}

impl EmailError {
    /// The member of the description that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Missing => "email",
            Self::Address { field, .. }
            | Self::Count { field, .. }
            | Self::Template { field, .. }
            | Self::Login { field }
            | Self::NoRelayFor { field }
            | Self::Dkim { field, .. }
            | Self::HalfDkim { field } => field,
            Self::Nobody => "email.to",
            Self::NoSender | Self::Sender { .. } => "email.from",
            Self::Folder => "email.file_name",
            Self::Host | Self::Blocked(_) => "email.relay.host",
            Self::Port => "email.relay.port",
            Self::NoPassword | Self::NoUsername | Self::Mask => "login.password",
            Self::Key { .. } => "login",
            Self::NoTls(_) | Self::NoRelay => "email.relay",
            Self::Plain => "email.relay.security",
        }
    }
}

impl EmailTarget {
    /// Checks a destination and prepares what every mail to it has in common. What the operator allows is looked at by
    /// [`MailRules::admits`](super::MailRules::admits).
    pub(in crate::deliver) fn compile(
        spec: &DestinationSpec,
        secrets: &DestinationSecrets,
        policy: &AddressPolicy,
    ) -> Result<Self, TargetError> {
        let email = spec.email.as_ref().ok_or(EmailError::Missing)?;
        let to = addresses("email.to", &email.to)?;
        let cc = addresses("email.cc", &email.cc)?;
        let allowed = list("email.allowed_recipients", &email.allowed_recipients, Pattern::parse)?;
        if to.is_empty() && allowed.is_empty() {
            return Err(EmailError::Nobody.into());
        }
        let from = named("email.from", email.from.as_deref())?;
        let reply_to = named("email.reply_to", email.reply_to.as_deref())?;
        let template = |field, text: Option<&String>, read: fn(&str) -> Result<Template, TemplateError>| {
            text.map(|text| read(text).map_err(|why| EmailError::Template { field, why })).transpose()
        };
        let subject = template("email.subject", email.subject.as_ref(), Template::parse_line)?;
        if email.file_name.as_ref().is_some_and(|name| name.contains('/')) {
            return Err(EmailError::Folder.into());
        }
        let file_name = template("email.file_name", email.file_name.as_ref(), Template::parse)?;

        let login = secrets.login.as_ref();
        for (field, there) in [
            ("private_key", login.is_some_and(|login| login.private_key.is_some())),
            ("passphrase", login.is_some_and(|login| login.passphrase.is_some())),
        ] {
            if there {
                return Err(EmailError::Key { field }.into());
            }
        }
        let password = login.and_then(|login| login.password.as_deref());
        let relay = match &email.relay {
            Some(relay) => {
                if from.is_none() {
                    return Err(EmailError::NoSender.into());
                }
                Some(Arc::new(Relay::compile(relay, password, secrets.tls.as_ref(), Some(policy))?))
            }
            None => {
                for (field, there) in [("login", password.is_some()), ("tls", secrets.tls.is_some())] {
                    if there {
                        return Err(EmailError::NoRelayFor { field }.into());
                    }
                }
                None
            }
        };
        let dkim = match (&email.dkim, secrets.dkim_key.as_deref()) {
            (None, None) => None,
            (Some(_), None) => return Err(EmailError::HalfDkim { field: "dkim_key" }.into()),
            (None, Some(_)) => return Err(EmailError::HalfDkim { field: "email.dkim" }.into()),
            (Some(dkim), Some(key)) => {
                let field = |why| match why {
                    DkimError::Domain => EmailError::Dkim { field: "email.dkim.domain", why },
                    DkimError::Selector => EmailError::Dkim { field: "email.dkim.selector", why },
                    _ => EmailError::Dkim { field: "dkim_key", why },
                };
                Some(Arc::new(Dkim::compile(dkim, key).map_err(field)?))
            }
        };
        let mask = Mask::of(secrets);
        Ok(Self { to, cc, allowed, from, reply_to, subject, file_name, relay, dkim, mask })
    }
}

fn list<T>(
    field: &'static str,
    texts: &[String],
    read: fn(&str) -> Result<T, BadAddress>,
) -> Result<Vec<T>, EmailError> {
    if texts.len() > MAX_LIST {
        return Err(EmailError::Count { field, count: texts.len() });
    }
    texts.iter().map(|text| read(text).map_err(|why| EmailError::Address { field, why })).collect()
}

fn addresses(field: &'static str, texts: &[String]) -> Result<Vec<Address>, EmailError> {
    list(field, texts, address)
}

fn named(field: &'static str, text: Option<&str>) -> Result<Option<Mailbox>, EmailError> {
    text.map(|text| mailbox(text).map_err(|why| EmailError::Address { field, why })).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carrier::{DestinationKind, DkimSpec, EmailSpec, Login, RelaySecurity, RelaySpec, Tls};

    fn relay(host: &str) -> RelaySpec {
        RelaySpec { host: host.to_owned(), port: None, security: RelaySecurity::Starttls, username: None }
    }

    fn email() -> EmailSpec {
        EmailSpec { to: vec!["claims@example.com".to_owned()], ..EmailSpec::default() }
    }

    fn refusal(email: EmailSpec, secrets: &DestinationSecrets) -> String {
        let spec = DestinationSpec { email: Some(email), ..DestinationSpec::of(DestinationKind::Email) };
        let error = EmailTarget::compile(&spec, secrets, &AddressPolicy::default()).unwrap_err();
        assert!(error.to_string().starts_with(error.field()), "{}: {error}", error.field());
        error.to_string()
    }

    #[test]
    fn every_member_is_checked_and_the_refusal_names_it() {
        let none = DestinationSecrets::default();
        let spec = DestinationSpec::of(DestinationKind::Email);
        let missing = EmailTarget::compile(&spec, &none, &AddressPolicy::default()).unwrap_err();
        assert_eq!((missing.field(), missing), ("email", EmailError::Missing.into()));
        let own = |relay| EmailSpec { from: Some("a@example.com".to_owned()), relay: Some(relay), ..email() };
        let text = |text: &str| Some(text.to_owned());
        for (spec, expected) in [
            (EmailSpec::default(), "email.to: it takes at least one address"),
            (EmailSpec { to: vec!["x".to_owned()], ..email() }, "email.to: \"x\" is not an address"),
            (
                EmailSpec { to: vec!["a@b.example".to_owned(); 51], ..email() },
                "email.to: 51 entries, the limit is 50",
            ),
            (
                EmailSpec { cc: vec!["a@b.example\r\nX: y".to_owned()], ..email() },
                "email.cc: \"a@b.example\\r\\nX",
            ),
            (
                EmailSpec { allowed_recipients: vec!["*@*".to_owned()], ..email() },
                "email.allowed_recipients: \"*@*\"",
            ),
            (EmailSpec { from: text("A <a>"), ..email() }, "email.from: \"a\" is not an address"),
            (EmailSpec { reply_to: text("a\r\nb@c.example"), ..email() }, "email.reply_to: "),
            (
                EmailSpec { subject: text("a\r\nBcc: x"), ..email() },
                "email.subject: it has a control character",
            ),
            (EmailSpec { subject: text("${x"), ..email() }, "email.subject: "),
            (
                EmailSpec { file_name: text("a/${x}.json"), ..email() },
                "email.file_name: an attachment lies in no folder",
            ),
            (
                EmailSpec { file_name: text(".."), ..email() },
                "email.file_name: a part of the path begins with a dot",
            ),
            (EmailSpec { relay: Some(relay("smtp.example.com")), ..email() }, "email.from: it is needed"),
            (own(relay("smtp example")), "email.relay.host: it takes a name"),
            (own(relay("smtp.example.com:25")), "email.relay.host: it takes a name"),
            (own(relay("10.0.0.1")), "email.relay.host: the address 10.0.0.1 is refused: private network"),
            (own(relay("[::1]")), "email.relay.host: the address ::1 is refused: loopback"),
            (own(relay("localhost")), "email.relay.host: the address 127.0.0.1 is refused: loopback"),
            (own(relay("2130706433")), "email.relay.host: it takes a name"),
            (own(RelaySpec { port: Some(0), ..relay("smtp.example.com") }), "email.relay.port: it takes 1"),
            (
                own(RelaySpec { username: text("u"), ..relay("smtp.example.com") }),
                "login.password: it is needed with `email.relay.username`",
            ),
            (
                EmailSpec {
                    dkim: Some(DkimSpec { domain: String::new(), selector: String::new() }),
                    ..email()
                },
                "dkim_key: `email.dkim` and `dkim_key` go together",
            ),
        ] {
            let error = refusal(spec, &none);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn what_is_secret_is_checked_and_not_repeated() {
        let login = |password: &str| Login { password: Some(password.to_owned()), ..Login::default() };
        let with = |login| DestinationSecrets { login: Some(login), ..DestinationSecrets::default() };
        let own = EmailSpec {
            from: Some("a@example.com".to_owned()),
            relay: Some(RelaySpec { username: Some("u".to_owned()), ..relay("smtp.example.com") }),
            ..email()
        };
        let key = Login { private_key: Some("hush".to_owned()), ..Login::default() };
        let tls = DestinationSecrets { tls: Some(Tls::default()), ..DestinationSecrets::default() };
        let dkim = DestinationSecrets { dkim_key: Some("hush".to_owned()), ..DestinationSecrets::default() };
        let spec = DkimSpec { domain: "example.com".to_owned(), selector: "s".to_owned() };
        for (spec, secrets, expected) in [
            (email(), with(login("hush")), "login: it belongs to a `relay` of one's own"),
            (email(), tls, "tls: it belongs to a `relay` of one's own"),
            (own.clone(), with(login("hu\nsh")), "login.password: it takes 1 to 1024 bytes"),
            (own.clone(), with(login("***")), "login.password: `***` only stands for"),
            (own, with(key), "login.private_key: a mail relay takes a `password` alone"),
            (email(), dkim.clone(), "email.dkim: `email.dkim` and `dkim_key` go together"),
            (EmailSpec { dkim: Some(spec), ..email() }, dkim, "dkim_key: it takes a private key in PEM"),
        ] {
            let error = refusal(spec, &secrets);
            assert!(error.starts_with(expected) && !error.contains("hush"), "{error}");
        }
    }
}
