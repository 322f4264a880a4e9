//! Members of a registration that only some webhooks take: what the catalogue lists, checked for their form. Pure.
//!
//! What makes a file or a mail of them comes later in the way of an event; here a carrier learns at once that a key or a
//! template cannot be meant.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookyard_sdk::template::{Template, TemplateError};
use serde_json::Value;

use crate::catalogue::{Field, FieldKind};
use crate::pgp::{KEY_BYTES, KeyFault, PgpKeys};

/// The longest plain text, in bytes.
const TEXT_BYTES: usize = 1_024;
/// How many mail addresses one registration may have.
const ADDRESSES: usize = 50;
/// The longest mail address, in bytes (RFC 5321, 4.5.3.1.3).
const ADDRESS_BYTES: usize = 254;

/// Why a member does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldError {
    /// It is of another type.
    #[error("it takes {0}")]
    Type(&'static str),
    /// It is too long.
    #[error("{size} bytes long, the limit `{limit}` is {max}")]
    Length { size: usize, limit: &'static str, max: usize },
    /// Too many, or none.
    #[error("{count} addresses, it takes 1 to {ADDRESSES} (the limit `recipients`)")]
    Count { count: usize },
    /// One of the addresses is none.
    #[error("{address:?} is not a mail address")]
    Address { address: String },
    /// It is not base64.
    #[error("it is not base64 (standard alphabet, padded)")]
    Base64,
    /// It is not a public key that files can be encrypted to.
    #[error(transparent)]
    Pgp(KeyFault),
    /// The template does not hold.
    #[error(
        "{0}; it takes text with `${{path}}` for values of the case, such as `${{caseData.brand}}/${{partialId}}`"
    )]
    Template(TemplateError),
    /// The template of a line does not hold.
    #[error("{0}; it takes a line of text with `${{path}}` for values of the case")]
    Line(TemplateError),
    /// The schedule is none.
    #[error("it takes `daily HH:MM` or `weekly DAY HH:MM` with `mon` to `sun`, such as `weekly mon 02:30`")]
    Schedule,
    /// The time zone is none.
    #[error("it takes a name of the time zone database such as `America/New_York`, or `UTC`")]
    Zone,
}

/// Checks a member by what the catalogue says of it.
pub(super) fn check(field: &Field, value: &Value) -> Result<(), FieldError> {
    let text = || value.as_str().ok_or(FieldError::Type("a text"));
    match (field.name.as_str(), field.kind) {
        (_, FieldKind::Bool) => value.as_bool().map(drop).ok_or(FieldError::Type("true or false")),
        ("PGP_KEY", _) => pgp_key(text()?),
        ("SUBJECT", _) => line(text()?),
        ("SCHEDULE", _) => schedule(text()?),
        ("TIME_ZONE", _) => zone(text()?),
        (_, FieldKind::Text) => sized(text()?, "text_bytes", TEXT_BYTES),
        (_, FieldKind::Base64) => {
            sized(text()?, "base64_bytes", KEY_BYTES)?;
            STANDARD.decode(text()?).map(drop).map_err(|_| FieldError::Base64)
        }
        (_, FieldKind::Template) => template(text()?),
        (_, FieldKind::Addresses) => addresses(value),
        (_, FieldKind::Site) => value.as_object().map(drop).ok_or(FieldError::Type("an object")),
    }
}

fn sized(text: &str, limit: &'static str, max: usize) -> Result<(), FieldError> {
    if text.len() > max { Err(FieldError::Length { size: text.len(), limit, max }) } else { Ok(()) }
}

/// A key that files can be encrypted to; whether it has expired is asked when it becomes part of a destination.
fn pgp_key(text: &str) -> Result<(), FieldError> {
    PgpKeys::read(&[text.to_owned()]).map(drop).map_err(|error| FieldError::Pgp(error.why))
}

/// The name of a file: what the template engine takes.
fn template(text: &str) -> Result<(), FieldError> {
    Template::parse(text).map(drop).map_err(FieldError::Template)
}

/// A line such as a subject.
fn line(text: &str) -> Result<(), FieldError> {
    Template::parse_line(text).map(drop).map_err(FieldError::Line)
}

/// One address, or an array of them.
fn addresses(value: &Value) -> Result<(), FieldError> {
    let kind = || FieldError::Type("a mail address, or an array of them");
    let list: Vec<&str> = match value {
        Value::String(one) => vec![one],
        Value::Array(list) => {
            list.iter().map(|one| one.as_str().ok_or_else(kind)).collect::<Result<_, _>>()?
        }
        _ => return Err(kind()),
    };
    if !(1..=ADDRESSES).contains(&list.len()) {
        return Err(FieldError::Count { count: list.len() });
    }
    match list.into_iter().find(|one| !is_address(one)) {
        Some(address) => Err(FieldError::Address { address: address.chars().take(80).collect() }),
        None => Ok(()),
    }
}

/// Local part, `@`, a domain with a dot in it; no display name, nothing quoted.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[]\\,;:\"@".contains(c);
    text.len() <= ADDRESS_BYTES
        && (1..=64).contains(&local.len())
        && local.chars().all(plain)
        && domain.contains('.')
        && domain.split('.').all(label)
}

fn schedule(text: &str) -> Result<(), FieldError> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let day = |day: &str| {
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter().any(|d| d.eq_ignore_ascii_case(day))
    };
    let holds = match words[..] {
        [every, at] => every.eq_ignore_ascii_case("daily") && is_time(at),
        [every, on, at] => every.eq_ignore_ascii_case("weekly") && day(on) && is_time(at),
        _ => false,
    };
    if holds { Ok(()) } else { Err(FieldError::Schedule) }
}

fn is_time(text: &str) -> bool {
    let below = |part: &str, most: u8| {
        part.len() == 2
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse::<u8>().is_ok_and(|n| n < most)
    };
    text.split_once(':').is_some_and(|(hours, minutes)| below(hours, 24) && below(minutes, 60))
}

fn zone(text: &str) -> Result<(), FieldError> {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
    };
    let named = text.contains('/') && text.split('/').all(part);
    if text.len() <= 64 && (text == "UTC" || named) { Ok(()) } else { Err(FieldError::Zone) }
}

#[cfg(test)]
mod tests {
    use pgp::types::KeyVersion;
    use serde_json::json;

    use super::*;
    use crate::pgp::tests::{public_text, secret_key};

    fn checked(name: &str, kind: FieldKind, value: &Value) -> Result<(), String> {
        let field = Field { name: name.to_owned(), kind, required: false, about: String::new() };
        check(&field, value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_one_that_files_can_be_encrypted_to() {
        let key = |text: &str| checked("PGP_KEY", FieldKind::Base64, &json!(text));
        assert_eq!(key(&public_text(&secret_key(KeyVersion::V4, true))), Ok(()));
        for (text, expected) in [
            ("no base64!".to_owned(), "it is not base64"),
            (STANDARD.encode("BASE64-ARMOURED-KEY"), "what the base64 holds does not begin with `-----BEGIN"),
            (public_text(&secret_key(KeyVersion::V4, false)), "key "),
            ("A".repeat(KEY_BYTES + 1), "65537 bytes long, the limit `pgp_key_bytes` is 65536"),
        ] {
            let error = key(&text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_template_stays_below_its_folder() {
        let template = |text: &str| checked("FORMAT", FieldKind::Template, &json!(text));
        for good in
            ["${caseData.brand}/${primaryContact.last}/${caseData.claimNumber}_${partialId}", "a b", "x"]
        {
            assert_eq!(template(good), Ok(()), "{good}");
        }
        for (bad, at) in [
            ("", 1),
            ("/etc/x", 1),
            ("a/../b", 3),
            ("a//b", 3),
            ("a\\b", 2),
            ("é${x", 2),
            ("${}", 1),
            ("a${x y}", 2),
        ] {
            let error = template(bad).unwrap_err();
            assert!(error.contains(&format!("at character {at};")), "{bad}: {error}");
        }
    }

    #[test]
    fn addresses_schedules_and_zones_are_checked() {
        let addresses = |value: Value| checked("RECIPIENTS", FieldKind::Addresses, &value);
        assert_eq!(addresses(json!("a.b+c@example.org")), Ok(()));
        assert_eq!(addresses(json!(["a@example.org", "b@mail.example.org"])), Ok(()));
        for bad in
            [json!([]), json!(["a"]), json!(["A <a@example.org>"]), json!(["a@b"]), json!([1]), json!(7)]
        {
            assert!(addresses(bad.clone()).is_err(), "{bad}");
        }
        assert!(addresses(json!(vec!["a@example.org"; 51])).unwrap_err().contains("`recipients`"));
        let schedule = |text: &str| checked("SCHEDULE", FieldKind::Text, &json!(text)).is_ok();
        assert!(schedule("daily 02:30") && schedule("weekly mon 23:59") && schedule("Weekly Sun 00:00"));
        for bad in
            ["daily", "daily 24:00", "daily 2:30", "weekly 02:30", "weekly monday 02:30", "hourly 02:30"]
        {
            assert!(!schedule(bad), "{bad}");
        }
        let zone = |text: &str| checked("TIME_ZONE", FieldKind::Text, &json!(text)).is_ok();
        assert!(zone("UTC") && zone("America/New_York") && zone("America/Argentina/Buenos_Aires"));
        assert!(!zone("EST5EDT!") && !zone("/etc/localtime") && !zone("Mars/../x"));
    }
}
