//! How a request to a destination proves whose it is: the settings, as they are kept sealed.
//!
//! Plain data. It must not know how a token is fetched or a header is made. Nothing here shows a secret when it is printed.

mod webhook;

pub(crate) use webhook::CONTROL;
pub use webhook::OAuth2Error;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::clock::Millis;
use crate::event::{CarrierId, DestinationName};
use crate::secrets::{MASK, Masked};

/// What stands in `authorization`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Auth {
    /// HTTP basic (RFC 7617).
    Basic {
        /// Without `:`.
        username: String,
        /// Its password.
        password: String,
    },
    /// A bearer token that does not change (RFC 6750).
    Bearer {
        /// The token, without the word `Bearer`.
        token: String,
    },
    /// A bearer token that is fetched (RFC 6749).
    OAuth2(OAuth2),
}

/// How a token is fetched: `POST token_url` with a form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuth2 {
    /// By which grant.
    #[serde(flatten)]
    pub grant: Grant,
    /// Where. The same rules as for a destination's address.
    pub token_url: String,
    /// The client's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// What is asked for, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whom the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Further members of the form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Members that the token server does not need: `client_id` and `client_secret` may be absent when they are named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional_params: Vec<String>,
    /// Headers of each token call, and of nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub additional_headers: BTreeMap<String, String>,
}

/// By which grant a token is fetched.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "grant_type", rename_all = "snake_case")]
pub enum Grant {
    /// The client's own credentials (RFC 6749, 4.4).
    ClientCredentials,
    /// A user's name and password (RFC 6749, 4.3).
    Password {
        /// The user.
        username: String,
        /// The user's password.
        password: String,
    },
}

impl Grant {
    /// The word on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password { .. } => "password",
        }
    }
}

/// A token as it is kept, sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// [`OAuth2::fingerprint`] of the settings that it was fetched with.
    pub fingerprint: [u8; 32],
    /// The token.
    pub access_token: String,
    /// When its call began.
    pub made: Millis,
    /// When it ends; absent when the token server did not say: then it serves once.
    pub expires: Option<Millis>,
}

/// The context under which a destination's token is sealed: it opens nowhere else.
pub fn token_context(carrier: &CarrierId, name: &DestinationName) -> String {
    format!("token/{carrier}/{name}")
}

/// Certificates of a destination's connections, all PEM, 64 KiB each. Its token calls use them as well.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate that is shown to the receiver, with those between it and its root, in this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// Its private key: PKCS#8, PKCS#1 or SEC1, without a passphrase. Never shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// Roots that are trusted besides those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl Tls {
    /// The same for showing: in the place of the private key stands [`MASK`].
    pub fn masked(&self) -> Self {
        Self { client_key: self.client_key.as_ref().map(|_| MASK.to_owned()), ..self.clone() }
    }
}

impl OAuth2 {
    /// The same settings for showing: in the place of each secret stands [`MASK`]. What a further parameter or header
    /// holds is not known, so all of them count.
    pub fn masked(&self) -> Self {
        let mask = || MASK.to_owned();
        let masked = |map: &BTreeMap<String, String>| map.keys().map(|name| (name.clone(), mask())).collect();
        Self {
            grant: match &self.grant {
                Grant::ClientCredentials => Grant::ClientCredentials,
                Grant::Password { username, .. } => {
                    Grant::Password { username: username.clone(), password: mask() }
                }
            },
            client_secret: self.client_secret.as_ref().map(|_| mask()),
            parameters: masked(&self.parameters),
            additional_headers: masked(&self.additional_headers),
            ..self.clone()
        }
    }

    /// The member that the token server needs and that is absent, if one is.
    pub fn lacks(&self) -> Option<&'static str> {
        let needed = [("client_id", &self.client_id), ("client_secret", &self.client_secret)];
        let optional = |name: &str| self.optional_params.iter().any(|param| param == name);
        needed.into_iter().find(|(name, value)| value.is_none() && !optional(name)).map(|(name, _)| name)
    }

    /// The form of a token call: every parameter, without what only controls the call.
    pub fn form(&self) -> Vec<(&str, &str)> {
        let mut form = vec![("grant_type", self.grant.as_str())];
        if let Grant::Password { username, password } = &self.grant {
            form.extend([("username", username.as_str()), ("password", password)]);
        }
        let named = [
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
            ("scope", &self.scope),
            ("audience", &self.audience),
        ];
        form.extend(named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
        form.extend(self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        form
    }

    /// What tells settings apart: a token serves those alone that it was fetched with. To be kept sealed like the
    /// settings themselves, since a short password could be found by trying.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        part(&self.token_url);
        for list in [self.form(), self.additional_headers.iter().map(|(n, v)| (&**n, &**v)).collect()] {
            part(&list.len().to_string());
            list.into_iter().for_each(|(name, value)| {
                part(name);
                part(value);
            });
        }
        hash.finalize().into()
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic { username, password } => f
                .debug_struct("Basic")
                .field("username", username)
                .field("password", &Masked(password))
                .finish(),
            Self::Bearer { token } => f.debug_struct("Bearer").field("token", &Masked(token)).finish(),
            Self::OAuth2(settings) => settings.fmt(f),
        }
    }
}

impl std::fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuth2")
            .field("grant", &self.grant)
            .field("token_url", &self.token_url)
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret.as_ref().map(Masked))
            .field("scope", &self.scope)
            .field("audience", &self.audience)
            .field("parameters", &self.parameters.keys())
            .field("optional_params", &self.optional_params)
            .field("additional_headers", &self.additional_headers.keys())
            .finish()
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClientCredentials => f.write_str("ClientCredentials"),
            Self::Password { username, password } => f
                .debug_struct("Password")
                .field("username", username)
                .field("password", &Masked(password))
                .finish(),
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("access_token", &Masked(&self.access_token))
            .field("made", &self.made)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("client_certificate", &self.client_certificate.is_some())
            .field("client_key", &self.client_key.as_ref().map(Masked))
            .field("ca", &self.ca.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::webhook::tests::{documented, read};
    use super::*;

    #[test]
    fn no_secret_is_ever_printed() {
        let settings = OAuth2 {
            grant: Grant::Password { username: "u".to_owned(), password: "hush-1".to_owned() },
            client_secret: Some("hush-2".to_owned()),
            parameters: [("assertion".to_owned(), "hush-3".to_owned())].into(),
            additional_headers: [("x-key".to_owned(), "hush-4".to_owned())].into(),
            ..read(documented()).unwrap()
        };
        let tls = Tls { client_key: Some("hush-5".to_owned()), ..Tls::default() };
        let all = [
            format!("{:?}", Auth::OAuth2(settings.clone())),
            format!("{:?}", settings.masked().to_webhook()),
            format!("{:?}", Auth::Basic { username: "u".to_owned(), password: "hush-6".to_owned() }),
            format!("{:?}", Auth::Bearer { token: "hush-7".to_owned() }),
            format!("{tls:?}"),
        ];
        for shown in all {
            assert!(!shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn settings_are_kept_as_they_are() {
        for auth in [
            Auth::OAuth2(read(documented()).unwrap()),
            Auth::Basic { username: "u".to_owned(), password: "p".to_owned() },
            Auth::Bearer { token: "t".to_owned() },
        ] {
            let kept = serde_json::to_string(&auth).unwrap();
            assert_eq!(serde_json::from_str::<Auth>(&kept).unwrap(), auth, "{kept}");
        }
    }
}
