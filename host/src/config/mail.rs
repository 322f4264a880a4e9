//! `[mail]`: the operator's relay for carriers without one of their own, and what carriers' mails may do.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::Problem;
use crate::carrier::{DkimSpec, RelaySecurity, RelaySpec};
use crate::deliver::email::{CONNECTIONS, MAX_MESSAGE_BYTES, MailRules, MailRulesError, MailSettings};
use crate::secrets::MASK;

/// `[mail]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// The mail server that takes mails of carriers without a relay of their own, such as `smtp.example.com`. It may be anywhere: the
    /// rules about addresses do not hold for it. Empty: there is none, and every `email` destination needs its own.
    pub relay: String,
    /// Its port; 0 takes 587, for `tls` 465, for `none` 25.
    pub port: u16,
    /// `starttls`, `tls`, or `none`.
    pub security: RelaySecurity,
    /// Whom to log in as; empty: no login.
    pub username: String,
    /// The password. Better in a file.
    pub password: Hidden,
    /// A file with the password, whose end of line does not count; in the place of `password`.
    pub password_file: PathBuf,
    /// A file with certificates (PEM) that the relay's may be vouched for by, beside the system's.
    pub ca_file: PathBuf,
    /// In whose name it sends, such as `Claims events <events@example.com>`. Needed with `relay`.
    pub from: String,
    /// As whom carriers may send by it beside that: addresses, whole domains (`*@example.com`), `*` for all. Empty: nobody.
    pub allowed_from: Vec<String>,
    /// The name that the host gives to mail servers, such as `hooks.example.com`; empty: the domain of `from`, or else its address.
    pub hello_name: String,
    /// The largest mail in bytes, encoded as it is sent: 64 KiB to 100 MiB. A mail is in memory while it is sent, about three times.
    pub max_message_bytes: usize,
    /// Connections to `relay` at once, and such as rest for each carrier's relay: 1 to 100. More than the server allows are refused
    /// by it and retried.
    pub connections: usize,
    /// Whether carriers' relays may be used without TLS, and any relay be logged in to without it. Everybody on the way can then read
    /// the mails and passwords.
    pub allow_plain: bool,
    /// What mails in the operator's name are signed for (DKIM), such as `example.com`; empty: they are not signed.
    pub dkim_domain: String,
    /// The selector of that signature: its public key is at `selector._domainkey.domain`.
    pub dkim_selector: String,
    /// A file with its private key: PEM, RSA of 2048 bits and more or ed25519.
    pub dkim_key_file: PathBuf,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            relay: String::new(),
            port: 0,
            security: RelaySecurity::Starttls,
            username: String::new(),
            password: Hidden::default(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            from: String::new(),
            allowed_from: Vec::new(),
            hello_name: String::new(),
            max_message_bytes: MAX_MESSAGE_BYTES,
            connections: CONNECTIONS,
            allow_plain: false,
            dkim_domain: String::new(),
            dkim_selector: String::new(),
            dkim_key_file: PathBuf::new(),
        }
    }
}

/// A text that whoever prints the configuration does not print.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl Hidden {
    fn shown(&self) -> &str {
        if self.0.is_empty() { "" } else { MASK }
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shown().fmt(f)
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// Why `[mail]` cannot be used. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum MailConfigError {
    /// A file is not there or cannot be read.
    #[error("{key}: {path} cannot be read: {why}")]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// What is set cannot be used.
    #[error(transparent)]
    Rules(#[from] MailRulesError),
}

impl MailConfig {
    /// What is wrong with it as far as it can be seen without its files.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut wrong =
            |key: &str, why: &str| found.push(Problem { key: format!("mail.{key}"), why: why.to_owned() });
        if self.relay.is_empty() {
            for (key, there) in [
                ("username", !self.username.is_empty()),
                ("password", !self.password.0.is_empty()),
                ("from", !self.from.is_empty()),
                ("dkim_domain", !self.dkim_domain.is_empty()),
            ] {
                if there {
                    wrong(key, "it says nothing without `mail.relay`");
                }
            }
        }
        let has_file = !self.password_file.as_os_str().is_empty();
        if !self.password.0.is_empty() && has_file {
            wrong("password_file", "it takes the place of `mail.password`; give one of them");
        }
        let dkim = [
            ("dkim_domain", self.dkim_domain.is_empty()),
            ("dkim_selector", self.dkim_selector.is_empty()),
            ("dkim_key_file", self.dkim_key_file.as_os_str().is_empty()),
        ];
        if dkim.iter().any(|(_, missing)| !missing) {
            for (key, _) in dkim.iter().filter(|(_, missing)| *missing) {
                wrong(key, "it is missing; `dkim_domain`, `dkim_selector` and `dkim_key_file` go together");
            }
        }
        if !found.is_empty() || self.relay.is_empty() {
            return found;
        }
        // What needs no file: the key's form and the password's are seen when it starts.
        let seen = MailSettings {
            dkim: None,
            password: self.is_login().then(|| "seen later".to_owned()),
            ..self.settings()
        };
        if let Err(why) = MailRules::new(&seen) {
            let text = why.to_string();
            let why_alone = text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest).to_owned();
            found.push(Problem { key: why.key().to_owned(), why: why_alone });
        }
        found
    }

    fn is_login(&self) -> bool {
        !self.username.is_empty()
    }

    /// What is set, without what stands in files.
    fn settings(&self) -> MailSettings {
        let relay = RelaySpec {
            host: self.relay.clone(),
            port: Some(self.port).filter(|port| *port != 0),
            security: self.security,
            username: Some(self.username.clone()).filter(|name| !name.is_empty()),
        };
        MailSettings {
            relay: (!self.relay.is_empty()).then_some(relay),
            password: Some(self.password.0.clone()).filter(|password| !password.is_empty()),
            ca: None,
            from: self.from.clone(),
            allowed_from: self.allowed_from.clone(),
            dkim: None,
            hello_name: Some(self.hello_name.clone()).filter(|name| !name.is_empty()),
            allow_plain: self.allow_plain,
            max_message_bytes: self.max_message_bytes,
            connections: self.connections,
        }
    }

    /// Reads its files, and checks what is meant.
    ///
    /// # Errors
    /// A file cannot be read, or something in it cannot be used.
    pub fn load(&self) -> Result<MailRules, MailConfigError> {
        let mut settings = self.settings();
        if let Some(password) = read("mail.password_file", &self.password_file)? {
            settings.password = Some(password.trim_end_matches(['\r', '\n']).to_owned());
        }
        settings.ca = read("mail.ca_file", &self.ca_file)?;
        if let Some(key) = read("mail.dkim_key_file", &self.dkim_key_file)? {
            let (domain, selector) = (self.dkim_domain.clone(), self.dkim_selector.clone());
            settings.dkim = Some((DkimSpec { domain, selector }, key));
        }
        Ok(MailRules::new(&settings)?)
    }
}

fn read(key: &'static str, path: &Path) -> Result<Option<String>, MailConfigError> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path);
    text.map(Some).map_err(|why| MailConfigError::File { key, path: path.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn mail() -> MailConfig {
        MailConfig {
            relay: "smtp.example.com".to_owned(),
            from: "Events <events@example.com>".to_owned(),
            username: "events".to_owned(),
            password: Hidden("hush-hush".to_owned()),
            ..MailConfig::default()
        }
    }

    #[test]
    fn the_password_is_not_printed_and_what_is_wrong_is_named() {
        let shown = |mail: MailConfig| {
            let config = Config { mail, ..Config::default() };
            let problems: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
            let shown = format!("{config:?}{}{}", toml::to_string(&config).unwrap(), problems.join("\n"));
            assert!(!shown.contains("hush"), "{shown}");
            problems.join("\n")
        };
        assert_eq!(shown(mail()), "");
        assert!(mail().load().is_ok());
        for (mail, expected) in [
            (
                MailConfig { relay: String::new(), ..mail() },
                "mail.username: it says nothing without `mail.relay`",
            ),
            (MailConfig { from: String::new(), ..mail() }, "mail.from: \"\" is not an address"),
            (
                MailConfig { relay: "a b".to_owned(), ..mail() },
                "mail.relay: email.relay.host: it takes a name",
            ),
            (MailConfig { password_file: "x".into(), ..mail() }, "mail.password_file: it takes the place of"),
            (
                MailConfig { security: RelaySecurity::None, ..mail() },
                "mail.security: a login without TLS is refused",
            ),
            (MailConfig { hello_name: "a b".to_owned(), ..mail() }, "mail.hello_name: it takes a name"),
            (
                MailConfig { allowed_from: vec!["*@*".to_owned()], ..mail() },
                "mail.allowed_from: \"*@*\" is not",
            ),
            (
                MailConfig { dkim_domain: "example.com".to_owned(), ..mail() },
                "mail.dkim_selector: it is missing",
            ),
            (
                MailConfig { connections: 0, ..mail() },
                "mail.connections: 0 is out of range; it takes 1 to 100",
            ),
            (MailConfig { max_message_bytes: 1, ..mail() }, "mail.max_message_bytes: 1 is out of range"),
        ] {
            let problems = shown(mail);
            assert!(problems.starts_with(expected), "{problems}");
        }
        // Nearby: a relay on this machine takes mails from it without TLS and login.
        let local = MailConfig {
            relay: "127.0.0.1".to_owned(),
            security: RelaySecurity::None,
            username: String::new(),
            password: Hidden::default(),
            ..mail()
        };
        assert_eq!(shown(local), "");
    }

    #[test]
    fn what_stands_in_files_is_read_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let with =
            MailConfig { password: Hidden::default(), password_file: file("password", "hush\n"), ..mail() };
        assert!(with.load().is_ok());
        let missing = MailConfig { password_file: folder.path().join("none"), ..with.clone() };
        let error = missing.load().unwrap_err().to_string();
        assert!(error.starts_with("mail.password_file: ") && error.contains("cannot be read"), "{error}");
        let key = file("key", "hush");
        let signed = MailConfig {
            dkim_domain: "example.com".to_owned(),
            dkim_selector: "s".to_owned(),
            dkim_key_file: key,
            ..with
        };
        let error = signed.load().unwrap_err().to_string();
        assert!(
            error.starts_with("mail.dkim_key_file: it takes a private key") && !error.contains("hush"),
            "{error}"
        );
    }
}
