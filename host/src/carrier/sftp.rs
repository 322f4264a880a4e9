//! Where files go at a destination of kind `sftp`, and under which names.
//!
//! Plain data. It must not know how files are sent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A destination of kind `sftp`, without its secrets: a server of the carrier's, or the carrier's drop folder on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SftpSpec {
    /// Whether the files are put into the carrier's drop folder on this host, from where the carrier fetches them. Then
    /// `host`, `port`, `username` and `host_keys` are left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hosted: bool,
    /// The server's name or address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its port; 22 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whom to log in as; the password or the key is among the secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The keys that the server may have: fingerprints (`SHA256:…`) or public keys (`ssh-ed25519 AAAA…`); 1 to 8. A server
    /// with another key is not sent to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
    /// The folder below which everything is written; the login's own when absent. Made when it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The template of the names of files that no plugin named; `/` makes folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// What happens when there is a file of that name.
    pub existing: Existing,
    /// The permissions of files, in octal digits such as `0640`; the server's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// What happens when there is already a file of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// The new one gets a number: `name-2.pdf`, `name-3.pdf`, …
    #[default]
    Number,
    /// The delivery fails.
    Error,
}
