//! `HEADERS` of a registration: static headers, and what stands in `Authorization`. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::problem::Problem;
use crate::carrier::auth::{Auth, OAuth2, OAuth2Error};
use crate::carrier::destination::DestinationSecrets;
use crate::clock::Millis;
use crate::secrets::MASK;

const AUTHORIZATION: &str = "Authorization";
const PLACE: &str = "HEADERS.Authorization";

/// What `HEADERS` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    /// Static headers by their names as given, `Authorization` among them where it is a text.
    pub(super) fixed: BTreeMap<String, String>,
    /// How a token is fetched, where `Authorization` is an object.
    pub(super) auth: Option<Auth>,
    /// Whether it came as an array with one object.
    pub(super) listed: bool,
}

/// The object in both documented shapes: itself, or an array with it alone. Says whether it was an array.
pub(super) fn object(value: Value) -> Result<(Map<String, Value>, bool), Problem> {
    let shape = || Problem::invalid("HEADERS", "it takes an object, or an array with one object");
    match value {
        Value::Object(object) => Ok((object, false)),
        Value::Array(mut list) if list.len() == 1 => match list.remove(0) {
            Value::Object(object) => Ok((object, true)),
            _ => Err(shape()),
        },
        _ => Err(shape()),
    }
}

/// Reads `HEADERS`. What a header may be called and hold is checked with the destination.
pub(super) fn read(value: Value) -> Result<Headers, Problem> {
    let (object, listed) = object(value)?;
    let mut headers = Headers { listed, ..Headers::default() };
    let mut authorized = false;
    for (name, value) in object {
        let is_authorization = name.eq_ignore_ascii_case(AUTHORIZATION);
        if is_authorization && std::mem::replace(&mut authorized, true) {
            return Err(Problem::invalid(PLACE, "it is there twice, in different spellings"));
        }
        match value {
            Value::String(text) => {
                headers.fixed.insert(name, text);
            }
            Value::Object(settings) if is_authorization => headers.auth = Some(oauth(settings)?),
            _ => {
                let also = if is_authorization { ", or an object with OAuth 2.0 settings" } else { "" };
                let field = format!("HEADERS.{}", cut(&name));
                return Err(Problem::invalid(field, format!("a header takes a text{also}")));
            }
        }
    }
    Ok(headers)
}

fn oauth(settings: Map<String, Value>) -> Result<Auth, Problem> {
    OAuth2::from_webhook(settings).map(Auth::OAuth2).map_err(|error| unfit(&error))
}

fn unfit(error: &OAuth2Error) -> Problem {
    Problem::invalid(format!("{PLACE}.{}", error.member()), error)
}

/// Lays a change of `Authorization` over what there is: a text takes its place, an object is laid over OAuth settings
/// member by member (`null` removes one), `null` removes it.
pub(super) fn change(secrets: &mut DestinationSecrets, value: Value) -> Result<(), Problem> {
    let earlier = secrets.auth.take();
    secrets.headers.retain(|name, _| !name.eq_ignore_ascii_case(AUTHORIZATION));
    match value {
        Value::Null => {}
        Value::String(text) => {
            secrets.headers.insert(AUTHORIZATION.to_owned(), text);
        }
        Value::Object(change) => {
            let mut settings = match earlier {
                Some(Auth::OAuth2(settings)) => settings.to_webhook(),
                _ => Map::new(),
            };
            lay_over(&mut settings, change);
            secrets.auth = Some(oauth(settings)?);
        }
        _ => {
            return Err(Problem::invalid(
                PLACE,
                "it takes a text, an object with OAuth 2.0 settings, or null",
            ));
        }
    }
    Ok(())
}

fn lay_over(settings: &mut Map<String, Value>, change: Map<String, Value>) {
    for (name, value) in change {
        match (settings.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(change)) => lay_over(inner, change),
            (_, Value::Null) => {
                settings.remove(&name);
            }
            (_, value) => {
                settings.insert(name, value);
            }
        }
    }
}

/// `HEADERS` as it is shown: every value and every secret masked. `expires` is when the token ends that is kept.
pub(super) fn shown(secrets: &DestinationSecrets, listed: bool, expires: Option<Millis>) -> Option<Value> {
    let mask = || Value::from(MASK);
    let mut object: Map<String, Value> = secrets.headers.keys().map(|name| (name.clone(), mask())).collect();
    match &secrets.auth {
        None => {}
        Some(Auth::OAuth2(settings)) => {
            let mut settings = settings.masked().to_webhook();
            if let Some(expires) = expires {
                settings.insert("expires_at".to_owned(), expires.0.into());
                settings.insert("access_token".to_owned(), mask());
            }
            object.insert(AUTHORIZATION.to_owned(), settings.into());
        }
        Some(Auth::Basic { .. } | Auth::Bearer { .. }) => {
            object.insert(AUTHORIZATION.to_owned(), mask());
        }
    }
    if object.is_empty() {
        return None;
    }
    Some(if listed { Value::Array(vec![object.into()]) } else { object.into() })
}

/// A name from outside, short enough for a message.
pub(super) fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn oauth_object() -> Value {
        json!({ "type": "OaUth2", "grant_type": "client_credentials", "client_id": "router", "client_secret": "s3cr3t",
            "scope": "events.write", "token_url": "https://login.example/token", "audience": "https://hooks.example",
            "additional_headers": { "x-gateway-key": "gw-77" } })
    }

    fn secrets(headers: Value) -> DestinationSecrets {
        let Headers { fixed, auth, .. } = read(headers).unwrap();
        DestinationSecrets { headers: fixed, auth, ..DestinationSecrets::default() }
    }

    #[test]
    fn both_shapes_say_the_same() {
        let plain = read(json!({ "key": "value", "Authorization": "token" })).unwrap();
        let listed = read(json!([{ "key": "value", "Authorization": "token" }])).unwrap();
        assert_eq!((plain.listed, listed.listed), (false, true));
        assert_eq!((plain.fixed, plain.auth), (listed.fixed, listed.auth));
        for (wrong, field) in [
            (json!("x"), "HEADERS"),
            (json!([]), "HEADERS"),
            (json!([{}, {}]), "HEADERS"),
            (json!({ "n": 1 }), "HEADERS.n"),
            (json!({ "Authorization": 1 }), "HEADERS.Authorization"),
            (json!({ "Authorization": "a", "authorization": "b" }), "HEADERS.Authorization"),
            (json!({ "Authorization": { "type": "oauth2" } }), "HEADERS.Authorization.grant_type"),
        ] {
            assert_eq!(read(wrong.clone()).unwrap_err().field.as_deref(), Some(field), "{wrong}");
        }
    }

    #[test]
    fn everything_that_could_be_a_secret_is_masked() {
        let all = secrets(json!({ "x-key": "k3y", "Authorization": oauth_object() }));
        let shown = shown(&all, true, Some(Millis(5))).unwrap();
        let expected = json!([{ "x-key": "***", "Authorization": { "type": "oauth2",
            "grant_type": "client_credentials", "client_id": "router", "client_secret": "***", "scope": "events.write",
            "token_url": "https://login.example/token", "audience": "https://hooks.example",
            "additional_headers": { "x-gateway-key": "***" }, "expires_at": 5, "access_token": "***" } }]);
        assert_eq!(shown, expected);
        assert_eq!(super::shown(&DestinationSecrets::default(), false, None), None);
    }

    #[test]
    fn a_change_is_laid_over_member_by_member() {
        let mut all = secrets(json!({ "x-key": "k3y", "Authorization": oauth_object() }));
        let change_to =
            json!({ "client_secret": "new", "scope": null, "additional_headers": { "x-more": "m" } });
        change(&mut all, change_to).unwrap();
        let Some(Auth::OAuth2(now)) = &all.auth else { panic!("it stays OAuth") };
        assert_eq!((now.client_secret.as_deref(), now.scope.as_deref()), (Some("new"), None));
        assert_eq!((now.client_id.as_deref(), now.additional_headers.len()), (Some("router"), 2));
        change(&mut all, json!("static")).unwrap();
        assert_eq!((all.auth.is_none(), all.headers["Authorization"].as_str()), (true, "static"));
        let half = change(&mut all, json!({ "client_secret": "x" })).unwrap_err();
        assert_eq!(
            half.field.as_deref(),
            Some("HEADERS.Authorization.type"),
            "there is nothing to lay it over"
        );
        change(&mut all, Value::Null).unwrap();
        assert_eq!(all.headers.keys().collect::<Vec<_>>(), ["x-key"]);
    }
}
