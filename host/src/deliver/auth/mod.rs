#![doc = include_str!("README.md")]
//!
//! `oauth` makes token calls, `tokens` keeps what they give. It must not know deliveries, nor where tokens outlive the
//! process.

mod oauth;
mod tokens;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::address::AddressPolicy;
use super::headers::HeadersError;
use super::request::plain_value;
use super::url_rules::UrlError;
use crate::carrier::Auth;
use crate::carrier::destination::DestinationSecrets;
use crate::secrets::MASK;

pub(super) use oauth::TokenSource;
pub use oauth::{MAX_FORM_BYTES, MAX_PARAMETERS, MAX_TOKEN_ANSWER, TOKEN_TIMEOUT, TokenError};
pub(super) use tokens::Tokens;
pub use tokens::{REFRESH_EARLY, REST, TokenShelf};

/// The longest user name, password, token or shared secret, in bytes.
pub const MAX_CREDENTIAL: usize = 8 * 1024;

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// Why settings of authentication were refused. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// A member is needed.
    #[error("{field}: it is missing or empty{hint}")]
    Missing {
        /// The member.
        field: &'static str,
        /// When it may be absent.
        hint: &'static str,
    },
    /// A member is too long.
    #[error("{field}: {bytes} bytes, the limit is {MAX_CREDENTIAL}")]
    Length {
        /// The member.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A member holds what it cannot hold.
    #[error("{field}: {why}")]
    Form {
        /// The member.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A member holds what stands for a secret where one is shown.
    #[error(
        "{field}: `{MASK}` only stands for what was given before; give the secret itself, or leave out the whole member to keep it"
    )]
    Mask {
        /// The member.
        field: &'static str,
    },
    /// The same header comes from two places.
    #[error("{field}: there is a static header `{header}` as well; keep one of the two")]
    Twice {
        /// The member.
        field: &'static str,
        /// The header.
        header: HeaderName,
    },
    /// The form of a token call is too large.
    #[error("auth: the form of a token call has {bytes} bytes, the limit is {MAX_FORM_BYTES}")]
    FormSize {
        /// Its size.
        bytes: usize,
    },
    /// There are too many further parameters.
    #[error("auth.parameters: {count} parameters, the limit is {MAX_PARAMETERS}")]
    Parameters {
        /// How many there are.
        count: usize,
    },
    /// A further parameter has a name that means something already.
    #[error("auth.parameters: {name:?} has a member of its own or is set by the host")]
    Reserved {
        /// The name, cut to 80 characters.
        name: String,
    },
    /// The address of the token server was refused.
    #[error("auth.token_url: {0}")]
    TokenUrl(#[from] UrlError),
    /// The headers of token calls were refused.
    #[error("auth.additional_headers: {0}")]
    Headers(#[from] HeadersError),
}

impl AuthError {
    /// The member of the description that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Missing { field, .. }
            | Self::Length { field, .. }
            | Self::Form { field, .. }
            | Self::Mask { field }
            | Self::Twice { field, .. } => field,
            Self::FormSize { .. } => "auth",
            Self::Parameters { .. } | Self::Reserved { .. } => "auth.parameters",
            Self::TokenUrl(_) => "auth.token_url",
            Self::Headers(_) => "auth.additional_headers",
        }
    }
}

/// Adds what does not change to the headers, and gives what the rest is fetched from.
pub(super) fn compile(
    headers: &mut HeaderMap,
    secrets: &DestinationSecrets,
    policy: &AddressPolicy,
) -> Result<Option<Arc<TokenSource>>, AuthError> {
    if let Some(secret) = &secrets.shared_secret {
        add(headers, "shared_secret", X_AUTH_TOKEN, visible("shared_secret", secret)?)?;
    }
    let (value, source) = match &secrets.auth {
        None => return Ok(None),
        Some(Auth::Basic { username, password }) => (basic(username, password)?, None),
        Some(Auth::Bearer { token }) => {
            visible("auth.token", token)?;
            (bearer(token).ok_or(NOT_VISIBLE.of("auth.token"))?, None)
        }
        Some(Auth::OAuth2(settings)) => {
            let source = TokenSource::compile(settings, policy)?;
            // It keeps the header's place until there is a token, and is what the record of an attempt shows.
            (HeaderValue::from_static("Bearer"), Some(Arc::new(source)))
        }
    };
    add(headers, "auth", AUTHORIZATION, value)?;
    Ok(source)
}

fn add(
    headers: &mut HeaderMap,
    field: &'static str,
    header: HeaderName,
    mut value: HeaderValue,
) -> Result<(), AuthError> {
    value.set_sensitive(true);
    match headers.insert(header.clone(), value) {
        Some(_) => Err(AuthError::Twice { field, header }),
        None => Ok(()),
    }
}

/// `Basic …` (RFC 7617), in UTF-8.
fn basic(username: &str, password: &str) -> Result<HeaderValue, AuthError> {
    present("auth.username", username)?;
    for (field, text) in [("auth.username", username), ("auth.password", password)] {
        within(field, text)?;
        if text.chars().any(char::is_control) {
            return Err(AuthError::Form { field, why: "it has a control character in it" });
        }
    }
    if username.contains(':') {
        return Err(AuthError::Form {
            field: "auth.username",
            why: "it has a `:` in it, where the password would begin",
        });
    }
    let text = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
    plain_value(&text).ok_or(NOT_VISIBLE.of("auth.password"))
}

/// `Bearer …` (RFC 6750); nothing when the token cannot stand in a header.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = plain_value(&format!("Bearer {token}")).filter(|_| is_visible(token))?;
    value.set_sensitive(true);
    Some(value)
}

/// A text without its member: what is wrong with it is the same everywhere.
struct Why(&'static str);

impl Why {
    fn of(self, field: &'static str) -> AuthError {
        AuthError::Form { field, why: self.0 }
    }
}

const NOT_VISIBLE: Why = Why("it takes printable ASCII without spaces");

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

fn visible(field: &'static str, text: &str) -> Result<HeaderValue, AuthError> {
    present(field, text)?;
    within(field, text)?;
    plain_value(text).filter(|_| is_visible(text)).ok_or(NOT_VISIBLE.of(field))
}

fn present(field: &'static str, text: &str) -> Result<(), AuthError> {
    if text.is_empty() { Err(AuthError::Missing { field, hint: "" }) } else { Ok(()) }
}

fn within(field: &'static str, text: &str) -> Result<(), AuthError> {
    if text == MASK {
        return Err(AuthError::Mask { field });
    }
    let bytes = text.len();
    if bytes > MAX_CREDENTIAL { Err(AuthError::Length { field, bytes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::carrier::{Grant, OAuth2};

    fn with(secrets: &DestinationSecrets) -> Result<HeaderMap, String> {
        let mut headers = super::super::headers::check(&secrets.headers).unwrap();
        compile(&mut headers, secrets, &AddressPolicy::default()).map_err(|why| {
            let text = why.to_string();
            assert!(text.starts_with(&format!("{}: ", why.field())), "{text}");
            text
        })?;
        assert!(headers.values().all(HeaderValue::is_sensitive));
        Ok(headers)
    }

    fn auth(auth: Auth) -> DestinationSecrets {
        DestinationSecrets { auth: Some(auth), ..DestinationSecrets::default() }
    }

    fn basic_auth(username: &str, password: &str) -> DestinationSecrets {
        auth(Auth::Basic { username: username.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn what_does_not_change_is_a_header() {
        // The example of RFC 7617, section 2.
        let headers = with(&basic_auth("Aladdin", "open sesame")).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        // And that of 2.1, with a character beyond ASCII.
        let headers = with(&basic_auth("test", "123\u{a3}")).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Basic dGVzdDoxMjPCow==");
        let headers = with(&auth(Auth::Bearer { token: "mF_9.B5f-4.1JqM".to_owned() })).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer mF_9.B5f-4.1JqM");
        let secret = Some("sh4red".to_owned());
        let headers = with(&DestinationSecrets { shared_secret: secret, ..DestinationSecrets::default() });
        assert_eq!(headers.unwrap()["x-auth-token"], "sh4red");
        assert_eq!(with(&DestinationSecrets::default()), Ok(HeaderMap::new()));
    }

    fn settings() -> OAuth2 {
        OAuth2 {
            grant: Grant::ClientCredentials,
            token_url: "https://login.example/token".to_owned(),
            client_id: Some("hush-id".to_owned()),
            client_secret: Some("hush".to_owned()),
            scope: None,
            audience: None,
            parameters: BTreeMap::new(),
            optional_params: Vec::new(),
            additional_headers: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_never_shown() {
        let long = "hush".repeat(MAX_CREDENTIAL);
        let oauth = |change: fn(&mut OAuth2)| {
            let mut settings = settings();
            change(&mut settings);
            auth(Auth::OAuth2(settings))
        };
        let shared = |secret: &str| DestinationSecrets {
            shared_secret: Some(secret.to_owned()),
            ..DestinationSecrets::default()
        };
        let bearer = |token: &str| auth(Auth::Bearer { token: token.to_owned() });
        let static_header = |name: &str, secrets: DestinationSecrets| DestinationSecrets {
            headers: [(name.to_owned(), "hush".to_owned())].into(),
            ..secrets
        };
        let grant = |username: &str, password: &str| {
            let (username, password) = (username.to_owned(), password.to_owned());
            auth(Auth::OAuth2(OAuth2 { grant: Grant::Password { username, password }, ..settings() }))
        };
        let cases = [
            (basic_auth("", "hush"), "auth.username: it is missing or empty"),
            (basic_auth("hu:sh", "hush"), "auth.username: it has a `:` in it"),
            (basic_auth("u", "hush\n"), "auth.password: it has a control character"),
            (basic_auth("u", &long), "auth.password: 32768 bytes, the limit is 8192"),
            (basic_auth("u", "***"), "auth.password: `***` only stands for what was given"),
            (bearer(""), "auth.token: it is missing or empty"),
            (bearer("hush hush"), "auth.token: it takes printable ASCII without spaces"),
            (bearer("hush\r\nx: y"), "auth.token: it takes printable ASCII without spaces"),
            (bearer("***"), "auth.token: `***` only stands"),
            (shared("hüsh"), "shared_secret: it takes printable ASCII without spaces"),
            (shared(&long), "shared_secret: 32768 bytes, the limit is 8192"),
            (
                static_header("Authorization", bearer("t")),
                "auth: there is a static header `authorization` as well",
            ),
            (
                static_header("X-Auth-Token", shared("t")),
                "shared_secret: there is a static header `x-auth-token`",
            ),
            (
                oauth(|o| o.token_url = "http://login.example".to_owned()),
                "auth.token_url: the scheme `http` is",
            ),
            (
                oauth(|o| o.token_url = "https://10.0.0.1/t".to_owned()),
                "auth.token_url: the address 10.0.0.1 is",
            ),
            (
                oauth(|o| o.client_id = None),
                "auth.client_id: it is missing or empty; name it in `optional_params`",
            ),
            (oauth(|o| o.client_secret = Some("***".to_owned())), "auth.client_secret: `***` only stands"),
            (grant("", "hush"), "auth.username: it is missing or empty; the grant `password` needs it"),
            (grant("u", ""), "auth.password: it is missing or empty; the grant `password` needs it"),
            (
                oauth(|o| o.parameters = [("grant_type".to_owned(), "hush".to_owned())].into()),
                "auth.parameters: \"grant_type\" has a member of its own",
            ),
            (
                oauth(|o| o.parameters = (0..33).map(|n| (n.to_string(), "hush".to_owned())).collect()),
                "auth.parameters: 33 parameters, the limit is 32",
            ),
            (
                oauth(|o| o.scope = Some("hush".repeat(MAX_FORM_BYTES))),
                "auth: the form of a token call has 65607 bytes, the limit is 16384",
            ),
            (
                oauth(|o| o.additional_headers = [("host".to_owned(), "hush".to_owned())].into()),
                "auth.additional_headers: \"host\" is set by the host itself",
            ),
        ];
        for (secrets, expected) in cases {
            let error = with(&secrets).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
        let optional = ["client_id".to_owned(), "client_secret".to_owned()].to_vec();
        let bare = OAuth2 { client_id: None, client_secret: None, optional_params: optional, ..settings() };
        assert_eq!(with(&auth(Auth::OAuth2(bare))).unwrap()[AUTHORIZATION], "Bearer");
    }
}
