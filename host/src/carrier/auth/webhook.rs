//! OAuth 2.0 settings as the documented registration of a webhook has them: an object in `HEADERS.Authorization`.

use std::collections::BTreeMap;

use super::{Grant, OAuth2};

/// What is wrong with the `Authorization` object of a webhook's registration. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OAuth2Error {
    /// A member is needed.
    #[error("`{member}` is missing; {hint}")]
    Missing {
        /// The member.
        member: &'static str,
        /// When it may be absent, or what it takes.
        hint: &'static str,
    },
    /// A member has another type or value than it takes.
    #[error("`{member}` takes {expected}")]
    Value {
        /// The member.
        member: String,
        /// What it takes.
        expected: &'static str,
    },
}

impl OAuth2Error {
    /// The member of the object that is at fault.
    pub fn member(&self) -> &str {
        match self {
            Self::Missing { member, .. } => member,
            Self::Value { member, .. } => member,
        }
    }
}

/// Members of the documented object that are not sent to the token server.
pub(crate) const CONTROL: [&str; 6] =
    ["type", "token_url", "optional_params", "additional_headers", "expires_at", "access_token"];

type Object = serde_json::Map<String, serde_json::Value>;

impl OAuth2 {
    /// Reads the object that the documented registration has in `HEADERS.Authorization`.
    ///
    /// `type` must be `oauth2` and `grant_type` one of the two, both in any case. `token_url` is needed, `client_id` and
    /// `client_secret` are unless `optional_params` names them, and `username` and `password` are for the grant `password`.
    /// A member that is empty or null is absent. `expires_at` and `access_token`, which a listing adds, are passed over. Every
    /// other member is a text that goes into the form as it is.
    ///
    /// # Errors
    /// The first member that is missing or is not what it takes.
    pub fn from_webhook(mut object: Object) -> Result<Self, OAuth2Error> {
        let kind = text(&mut object, "type")?
            .ok_or(OAuth2Error::Missing { member: "type", hint: "it takes `oauth2`" })?;
        if !kind.eq_ignore_ascii_case("oauth2") {
            return Err(value("type", "`oauth2`"));
        }
        let optional_params = match object.remove("optional_params") {
            None | Some(serde_json::Value::Null) => Vec::new(),
            Some(list) => serde_json::from_value::<Vec<String>>(list)
                .map_err(|_| value("optional_params", "an array of texts"))?,
        };
        let additional_headers = match object.remove("additional_headers") {
            None | Some(serde_json::Value::Null) => BTreeMap::new(),
            Some(map) => serde_json::from_value::<BTreeMap<String, String>>(map)
                .map_err(|_| value("additional_headers", "an object whose values are texts"))?,
        };
        let grants = "it takes `client_credentials` or `password`";
        let grant = text(&mut object, "grant_type")?
            .ok_or(OAuth2Error::Missing { member: "grant_type", hint: grants })?;
        let grant = match grant.to_ascii_lowercase().as_str() {
            "client_credentials" => Grant::ClientCredentials,
            "password" => {
                let hint = "the grant `password` needs it";
                let mut needed =
                    |member| text(&mut object, member)?.ok_or(OAuth2Error::Missing { member, hint });
                Grant::Password { username: needed("username")?, password: needed("password")? }
            }
            _ => return Err(value("grant_type", "`client_credentials` or `password`")),
        };
        let hint = "it is the address of the token server";
        let token_url =
            text(&mut object, "token_url")?.ok_or(OAuth2Error::Missing { member: "token_url", hint })?;
        let mut settings = Self {
            grant,
            token_url,
            client_id: text(&mut object, "client_id")?,
            client_secret: text(&mut object, "client_secret")?,
            scope: text(&mut object, "scope")?,
            audience: text(&mut object, "audience")?,
            parameters: BTreeMap::new(),
            optional_params,
            additional_headers,
        };
        if let Some(member) = settings.lacks() {
            let hint = "name it in `optional_params` when the token server does not need it";
            return Err(OAuth2Error::Missing { member, hint });
        }
        for name in CONTROL {
            object.remove(name);
        }
        let names: Vec<String> = object.keys().cloned().collect();
        for name in names {
            if let Some(text) = text(&mut object, &name)? {
                settings.parameters.insert(name, text);
            }
        }
        Ok(settings)
    }

    /// The object of [`OAuth2::from_webhook`] again, secrets in clear: for changing some of its members. Before it is shown,
    /// it goes through [`OAuth2::masked`].
    pub fn to_webhook(&self) -> Object {
        let mut object = Object::new();
        let mut put = |name: &str, text: &str| object.insert(name.to_owned(), text.into());
        put("type", "oauth2");
        put("token_url", &self.token_url);
        for (name, text) in self.form() {
            put(name, text);
        }
        if !self.optional_params.is_empty() {
            object.insert("optional_params".to_owned(), self.optional_params.clone().into());
        }
        if !self.additional_headers.is_empty() {
            let headers = self.additional_headers.iter().map(|(n, v)| (n.clone(), v.clone().into()));
            object.insert("additional_headers".to_owned(), headers.collect::<Object>().into());
        }
        object
    }
}

/// Takes a member that is a text; an empty one is absent.
fn text(object: &mut Object, member: &str) -> Result<Option<String>, OAuth2Error> {
    match object.remove(member) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) => Err(value(member, "a text")),
    }
}

fn value(member: &str, expected: &'static str) -> OAuth2Error {
    OAuth2Error::Value { member: member.chars().take(80).collect(), expected }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn read(object: serde_json::Value) -> Result<OAuth2, String> {
        let serde_json::Value::Object(object) = object else { panic!("an object") };
        OAuth2::from_webhook(object).map_err(|error| format!("{}: {error}", error.member()))
    }

    pub(in super::super) fn documented() -> serde_json::Value {
        json!({"type": "OaUth2", "grant_type": "client_credentials", "client_id": "hm-router",
            "client_secret": "s3cr3t", "scope": "events.write", "token_url": "https://login.example/token",
            "audience": "https://hooks.example", "resource": "r", "optional_params": ["scope"],
            "additional_headers": {"x-gateway-key": "gw-77"}, "expires_at": 7, "access_token": "old"})
    }

    #[test]
    fn the_documented_object_is_read_and_its_form_has_every_parameter() {
        let settings = read(documented()).unwrap();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "hm-router"),
            ("client_secret", "s3cr3t"),
            ("scope", "events.write"),
            ("audience", "https://hooks.example"),
            ("resource", "r"),
        ];
        assert_eq!(settings.form(), form);
        assert_eq!(settings.additional_headers["x-gateway-key"], "gw-77");
        assert_eq!(OAuth2::from_webhook(settings.to_webhook()).unwrap(), settings);

        let password = json!({"type": "oauth2", "grant_type": "Password", "username": "u", "password": "p",
            "token_url": "https://a.example", "client_secret": "", "optional_params": ["client_id", "client_secret"]});
        let settings = read(password).unwrap();
        assert_eq!(settings.form(), [("grant_type", "password"), ("username", "u"), ("password", "p")]);
        assert_eq!(OAuth2::from_webhook(settings.to_webhook()).unwrap(), settings);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let cases = [
            ("type", json!(null), "type: `type` is missing; it takes `oauth2`"),
            ("type", json!("basic"), "type: `type` takes `oauth2`"),
            (
                "grant_type",
                json!(null),
                "grant_type: `grant_type` is missing; it takes `client_credentials` or",
            ),
            ("grant_type", json!("implicit"), "grant_type: `grant_type` takes `client_credentials` or"),
            (
                "grant_type",
                json!("password"),
                "username: `username` is missing; the grant `password` needs it",
            ),
            ("token_url", json!(""), "token_url: `token_url` is missing; it is the address"),
            ("client_id", json!(null), "client_id: `client_id` is missing; name it in `optional_params`"),
            ("client_secret", json!(7), "client_secret: `client_secret` takes a text"),
            ("optional_params", json!("scope"), "optional_params: `optional_params` takes an array of texts"),
            (
                "additional_headers",
                json!({"x": 1}),
                "additional_headers: `additional_headers` takes an object",
            ),
            ("resource", json!(["r"]), "resource: `resource` takes a text"),
        ];
        for (member, value, expected) in cases {
            let mut object = documented();
            object[member] = value;
            let error = read(object).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_fingerprint_changes_with_every_setting_that_matters() {
        let settings = read(documented()).unwrap();
        let mut seen = vec![settings.fingerprint()];
        for member in ["token_url", "client_id", "client_secret", "scope", "audience", "resource", "more"] {
            let mut object = documented();
            object[member] = json!("other");
            seen.push(read(object).unwrap().fingerprint());
        }
        let mut object = documented();
        object["additional_headers"] = json!({"x-gateway-key": "gw-78"});
        seen.push(read(object).unwrap().fingerprint());
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
        // What only relaxes the check of the settings changes nothing about the token.
        let mut object = documented();
        object["optional_params"] = json!([]);
        assert_eq!(read(object).unwrap().fingerprint(), settings.fingerprint());
    }
}
