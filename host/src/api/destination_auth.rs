//! What a destination's authentication looks like from outside: secrets go in, and [`MASK`] comes out.
//!
//! Pure. It must not know the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use crate::carrier::{Auth, Grant, OAuth2};
use crate::clock::Millis;
use crate::secrets::MASK;

/// What makes `authorization`. A static header of that name excludes it.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum AuthBody {
    /// Nothing does.
    None {},
    /// HTTP basic (RFC 7617).
    Basic {
        /// Without `:`.
        username: String,
        /// Never shown.
        #[schema(write_only)]
        password: String,
    },
    /// A bearer token that does not change (RFC 6750).
    Bearer {
        /// Without the word `Bearer`. Never shown.
        #[schema(write_only)]
        token: String,
    },
    /// A bearer token that is fetched (RFC 6749): `POST token_url` with a form of all parameters.
    OAuth2(Box<OAuth2Body>),
}

/// How a token is fetched. The form of the call holds `grant_type`, `username`, `password`, `client_id`, `client_secret`,
/// `scope` and `audience`, as far as they are given, and all `parameters`; at most 16 KiB.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2Body {
    /// By which grant.
    pub grant_type: GrantType,
    /// Where: the same rules as for `url`.
    pub token_url: String,
    /// For the grant `password`.
    #[serde(default)]
    pub username: Option<String>,
    /// For the grant `password`. Never shown.
    #[serde(default)]
    #[schema(write_only)]
    pub password: Option<String>,
    /// Needed unless `optional_params` names it.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Needed unless `optional_params` names it. Never shown.
    #[serde(default)]
    #[schema(write_only)]
    pub client_secret: Option<String>,
    /// What is asked for, separated by spaces.
    #[serde(default)]
    pub scope: Option<String>,
    /// Whom the token is for.
    #[serde(default)]
    pub audience: Option<String>,
    /// Further parameters of the form: at most 32. Their values are never shown.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Parameters that the token server does not need.
    #[serde(default)]
    pub optional_params: Vec<String>,
    /// Headers of each token call, and of nothing else. Their values are never shown.
    #[serde(default)]
    pub additional_headers: BTreeMap<String, String>,
}

/// By which grant a token is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// The client's own credentials.
    ClientCredentials,
    /// A user's name and password.
    Password,
}

impl AuthBody {
    /// The settings; nothing for `none`.
    pub(super) fn settings(self) -> Result<Option<Auth>, Problem> {
        Ok(match self {
            Self::None {} => None,
            Self::Basic { username, password } => Some(Auth::Basic { username, password }),
            Self::Bearer { token } => Some(Auth::Bearer { token }),
            Self::OAuth2(body) => Some(Auth::OAuth2(body.settings()?)),
        })
    }
}

impl OAuth2Body {
    fn settings(self) -> Result<OAuth2, Problem> {
        let grant = match self.grant_type {
            GrantType::Password => Grant::Password {
                username: self.username.unwrap_or_default(),
                password: self.password.unwrap_or_default(),
            },
            GrantType::ClientCredentials => {
                for (field, member) in [("auth.username", &self.username), ("auth.password", &self.password)]
                {
                    if member.is_some() {
                        return Err(Problem::invalid(field, "only the grant `password` takes it"));
                    }
                }
                Grant::ClientCredentials
            }
        };
        // A parameter without a value is one that is left out (RFC 6749, section 3.2).
        let given = |member: Option<String>| member.filter(|text| !text.is_empty());
        Ok(OAuth2 {
            grant,
            token_url: self.token_url,
            client_id: given(self.client_id),
            client_secret: given(self.client_secret),
            scope: given(self.scope),
            audience: given(self.audience),
            parameters: self.parameters,
            optional_params: self.optional_params,
            additional_headers: self.additional_headers,
        })
    }
}

impl std::fmt::Debug for AuthBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

/// What makes `authorization`; in the place of each secret stands `***`.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuthView {
    /// `basic`, `bearer` or `oauth2`, and its members.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub settings: Auth,
    /// Until when the token that is kept serves, in Unix milliseconds; absent while none is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub expires_at_ms: Option<Millis>,
    /// What tells the tokens of these settings from others.
    #[serde(skip)]
    pub(super) fingerprint: Option<[u8; 32]>,
}

impl AuthView {
    pub(super) fn of(auth: &Auth) -> Self {
        let mut fingerprint = None;
        let settings = match auth {
            Auth::Basic { username, .. } => {
                Auth::Basic { username: username.clone(), password: MASK.to_owned() }
            }
            Auth::Bearer { .. } => Auth::Bearer { token: MASK.to_owned() },
            Auth::OAuth2(settings) => {
                fingerprint = Some(settings.fingerprint());
                Auth::OAuth2(settings.masked())
            }
        };
        Self { settings, expires_at_ms: None, fingerprint }
    }
}
