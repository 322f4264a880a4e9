//! What a login proves itself with, as it goes in and as it is shown.
//!
//! It must not know the store.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::state::Checks;
use crate::carrier::Login;

/// What a login proves itself with: a password, or for SFTP a key, or both. `{}`: nothing.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoginBody {
    /// The password.
    #[schema(write_only)]
    password: Option<String>,
    /// The private key, in OpenSSH's form or as PEM: ed25519, ECDSA, or RSA of 2 048 bits or more.
    #[schema(write_only)]
    private_key: Option<String>,
    /// What the private key is encrypted with.
    #[schema(write_only)]
    passphrase: Option<String>,
    /// Makes a new private key, which nobody ever sees; its public half is shown. A key before it is replaced.
    generate: Option<KeyKind>,
}

/// The kinds of keys that the host makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyKind {
    /// ed25519.
    Ed25519,
}

impl std::fmt::Debug for LoginBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginBody").field("generate", &self.generate).finish_non_exhaustive()
    }
}

impl LoginBody {
    /// What is kept of it; nothing when it says nothing.
    pub(super) fn login(self, checks: &dyn Checks) -> Result<Option<Login>, Problem> {
        let Self { password, private_key, passphrase, generate } = self;
        let private_key = match (generate, private_key) {
            (None, private_key) => private_key,
            (Some(KeyKind::Ed25519), None) if passphrase.is_none() => Some(checks.login_key()),
            (Some(_), _) => {
                let why = "`generate` makes a key: leave `private_key` and `passphrase` out";
                return Err(Problem::invalid("login", why));
            }
        };
        let login = Login { password, private_key, passphrase };
        Ok(Some(login).filter(|login| *login != Login::default()))
    }
}

/// What a login proves itself with; in the place of every secret stands `***`.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginView {
    /// Which secrets there are.
    #[serde(flatten)]
    secrets: Login,
    /// The public half of the private key, as a line of `authorized_keys`: what the server has to let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// The fingerprint of that key: `SHA256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

impl LoginView {
    pub(super) fn of(login: &Login, checks: &dyn Checks) -> Self {
        let (public_key, fingerprint) = checks.public_half(login).unzip();
        Self { secrets: login.masked(), public_key, fingerprint }
    }
}
