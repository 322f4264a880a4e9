//! How mail goes to a destination of kind `email`: to whom, from whom, and by which relay.
//!
//! Plain data. It must not know how mail is built or sent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A destination of kind `email`, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmailSpec {
    /// Who always gets the mail: plain addresses, at most 50. A plugin that names recipients itself takes their place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Who always gets a copy; at most 50.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<String>,
    /// Which recipients a plugin may name beside those of `to` and `cc`: addresses (`claims@example.com`), whole domains
    /// (`*@example.com`), or `*` for all; at most 50. Empty: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_recipients: Vec<String>,
    /// The sender, as an address with or without a name. Needed with a relay of one's own; absent: the operator's sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where answers go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The template of the subject of mails that no plugin made, such as `Case ${caseData.claimNumber} was closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The template of the name of the attachment that such a mail carries the content in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// The carrier's own relay. Absent: the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelaySpec>,
    /// How mails are signed (RFC 6376); the key is among the secrets. Absent: not at all, or as the operator does for the operator's sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dkim: Option<DkimSpec>,
}

/// A mail server that takes mail for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RelaySpec {
    /// Its name, which its certificate must be for, or its address.
    pub host: String,
    /// Its port. Absent: 587, for `tls` 465, for `none` 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is kept private.
    #[serde(default)]
    pub security: RelaySecurity,
    /// Whom to log in as; the password is among the secrets. Absent: no login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// How the connection to a relay is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelaySecurity {
    /// STARTTLS (RFC 3207); without it nothing is sent.
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// None: only where the operator allows it.
    None,
}

/// What a DKIM signature says of its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DkimSpec {
    /// The signing domain, `d=`.
    pub domain: String,
    /// The selector, `s=`.
    pub selector: String,
}
