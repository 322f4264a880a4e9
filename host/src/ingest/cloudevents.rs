//! CloudEvents 1.0 over HTTP: binary, structured and batched.
//!
//! Pure: headers and bytes in, events out. The carrier comes in the extension attribute `carrier`; `id` and `type` are
//! the event's own, every other attribute is kept. It must not know the store.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use bytes::Bytes;
use http::HeaderMap;
use percent_encoding::percent_decode;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{IngestError, Refusal};
use super::json::{self, Scalar, Text};
use super::limits::{Attributes, IngestLimits, Parts};
use super::media::is_json;
use super::plain::each;
use crate::clock::Millis;
use crate::event::Event;

/// What stands for an event without data.
const NO_DATA: &str = "null";

/// The event of a request in binary mode: attributes in `ce-` headers, the body is the data.
///
/// # Errors
/// When a required attribute is missing, a header cannot be decoded, or the data is not JSON.
pub(super) fn binary(
    headers: &HeaderMap,
    body: &Bytes,
    limits: &IngestLimits,
    received: Millis,
) -> Result<Vec<Event>, IngestError> {
    limits.check_event(body.len())?;
    let mut envelope = Envelope::new(limits);
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix("ce-") else { continue };
        if name == "datacontenttype" {
            let why = "in binary mode the data's type stands in `content-type`";
            return Err(Refusal::field(header.as_str(), why).into());
        }
        envelope.take(header.as_str(), name, decode(header.as_str(), value.as_bytes())?.into())?;
    }
    if let Some(content_type) = headers.get(http::header::CONTENT_TYPE) {
        let text = content_type.to_str().unwrap_or_default();
        envelope.take("content-type", "datacontenttype", text.into())?;
    }
    let payload = if body.is_empty() {
        Bytes::from_static(NO_DATA.as_bytes())
    } else {
        let _: IgnoredAny = json::parse(body)?;
        as_utf8(body)?;
        body.clone()
    };
    Ok(vec![envelope.into_event(payload, received)?])
}

/// The event of a request of type `application/cloudevents+json`.
///
/// # Errors
/// When the body is not a CloudEvent whose data is JSON.
pub(super) fn structured(
    body: &Bytes,
    limits: &IngestLimits,
    received: Millis,
) -> Result<Vec<Event>, IngestError> {
    limits.check_event(body.len())?;
    Ok(vec![one(body, limits, received, |data| body.slice_ref(data.as_bytes()))?])
}

/// The events of a request of type `application/cloudevents-batch+json`.
///
/// # Errors
/// As [`structured`], with the event's index.
pub(super) fn batch(
    body: &Bytes,
    limits: &IngestLimits,
    received: Millis,
) -> Result<Vec<Event>, IngestError> {
    each(body, limits, |text| one(text, limits, received, |data| Bytes::copy_from_slice(data.as_bytes())))
}

fn one(
    text: &[u8],
    limits: &IngestLimits,
    received: Millis,
    keep: impl FnOnce(&str) -> Bytes,
) -> Result<Event, Refusal> {
    let event: Structured<'_> = json::parse(text)?;
    let mut envelope = Envelope::new(limits);
    for (name, value) in event.attributes {
        if let Some(value) = value.0 {
            let field = name.clone();
            envelope.take(&field, &name, value)?;
        }
    }
    let payload = match (event.data, event.data_base64) {
        (Some(_), Some(_)) => {
            return Err(Refusal::field("data_base64", "an event has `data` or `data_base64`, not both"));
        }
        (Some(data), None) => keep(data.get()),
        (None, Some(Text(data))) => from_base64(&data)?,
        (None, None) => Bytes::from_static(NO_DATA.as_bytes()),
    };
    envelope.into_event(payload, received)
}

/// Data that is JSON in spite of being packed.
fn from_base64(data: &str) -> Result<Bytes, Refusal> {
    let field = "data_base64";
    let data = base64::engine::general_purpose::STANDARD
        .decode(data)
        .map_err(|error| Refusal::field(field, format!("it is not base64: {error}")))?;
    // `IgnoredAny` does not look at the bytes within strings.
    let valid = std::str::from_utf8(&data).is_ok() && serde_json::from_slice::<IgnoredAny>(&data).is_ok();
    if !valid {
        return Err(Refusal::field(
            field,
            "the decoded data must be JSON in UTF-8: the host routes nothing else",
        ));
    }
    Ok(data.into())
}

fn as_utf8(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|error| Refusal::Syntax { why: error.to_string() })
}

/// The attributes of one CloudEvent, while they are collected.
struct Envelope<'a, 'l> {
    specversion: Option<Cow<'a, str>>,
    carrier: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    source: bool,
    rest: Attributes<'l>,
}

impl<'a, 'l> Envelope<'a, 'l> {
    fn new(limits: &'l IngestLimits) -> Self {
        let rest = Attributes::new(limits);
        Self { specversion: None, carrier: None, id: None, event_type: None, source: false, rest }
    }

    fn take(&mut self, field: &str, name: &str, value: Cow<'a, str>) -> Result<(), Refusal> {
        let own = match name {
            "specversion" => &mut self.specversion,
            "carrier" => &mut self.carrier,
            "id" => &mut self.id,
            "type" => &mut self.event_type,
            _ => {
                if name == "datacontenttype" && !is_json(&value) {
                    let why = format!("data of type `{value}` is not routed: send JSON");
                    return Err(Refusal::Media { why });
                }
                // CloudEvents allows lower-case letters and digits only, so that every binding can carry the name.
                if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
                    return Err(Refusal::field(
                        field,
                        "CloudEvents names take lower-case letters and digits",
                    ));
                }
                self.source |= name == "source";
                return self.rest.add(field, name, &value);
            }
        };
        if own.replace(value).is_some() {
            return Err(Refusal::field(field, "the attribute is given twice"));
        }
        Ok(())
    }

    fn into_event(self, payload: Bytes, received: Millis) -> Result<Event, Refusal> {
        let missing = |name: &str| Refusal::field(name, "the attribute is missing");
        let version = self.specversion.ok_or_else(|| missing("specversion"))?;
        if version != "1.0" {
            return Err(Refusal::field(
                "specversion",
                format!("`{version}` is not known: the host takes `1.0`"),
            ));
        }
        if !self.source {
            return Err(missing("source"));
        }
        Parts {
            carrier: &self.carrier.ok_or_else(|| missing("carrier"))?,
            id: &self.id.ok_or_else(|| missing("id"))?,
            event_type: &self.event_type.ok_or_else(|| missing("type"))?,
            attributes: self.rest,
            payload,
        }
        .into_event(received)
    }
}

/// A header's value as an attribute: first quotes are taken off, then percent signs decoded once, then it must be UTF-8.
fn decode(header: &str, value: &[u8]) -> Result<String, Refusal> {
    let quoted = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
    let value = match quoted {
        Some(quoted) => Cow::Owned(unescape(quoted)),
        None => Cow::Borrowed(value),
    };
    match percent_decode(&value).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Refusal::field(header, "the decoded value is not UTF-8")),
    }
}

/// The content of a quoted string (RFC 9110, 5.6.4).
fn unescape(quoted: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(&byte) = bytes.next() {
        let next = if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte };
        plain.push(next);
    }
    plain
}

/// A CloudEvent in the JSON format, its data kept as the text that it is.
struct Structured<'a> {
    attributes: Vec<(Cow<'a, str>, Scalar<'a>)>,
    data: Option<&'a RawValue>,
    data_base64: Option<Text<'a>>,
}

impl<'de> Deserialize<'de> for Structured<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Structured<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CloudEvent")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut event = Structured { attributes: Vec::new(), data: None, data_base64: None };
                while let Some(Text(name)) = map.next_key()? {
                    let again = match name.as_ref() {
                        "data" => event.data.replace(map.next_value()?).is_some(),
                        "data_base64" => event.data_base64.replace(map.next_value()?).is_some(),
                        _ => {
                            event.attributes.push((name, map.next_value()?));
                            continue;
                        }
                    };
                    if again {
                        return Err(A::Error::custom(format!("duplicate field `{name}`")));
                    }
                }
                Ok(event)
            }
        }
        from.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1);

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut all = HeaderMap::new();
        for (name, value) in list {
            all.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        all
    }

    const GOOD: [(&str, &str); 6] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "e-1"),
        ("ce-source", "/claims"),
        ("ce-type", "case.closed"),
        ("ce-carrier", "acme"),
        ("content-type", "application/json"),
    ];

    fn read_binary(more: &[(&'static str, &'static str)], body: &'static str) -> Result<Event, String> {
        let all: Vec<_> = GOOD.iter().chain(more).copied().collect();
        binary(&headers(&all), &Bytes::from_static(body.as_bytes()), &IngestLimits::default(), NOW)
            .map(|mut list| list.remove(0))
            .map_err(|error| error.to_string())
    }

    fn read_structured(body: &str) -> Result<Event, String> {
        structured(&Bytes::copy_from_slice(body.as_bytes()), &IngestLimits::default(), NOW)
            .map(|mut list| list.remove(0))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn binary_headers_become_attributes() {
        let event = read_binary(&[("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80")], r#"{"a": 1}"#).unwrap();
        assert_eq!(event.attribute("subject"), Some("Euro € 😀"));
        assert_eq!(event.attribute("source"), Some("/claims"));
        assert_eq!(event.attribute("datacontenttype"), Some("application/json"));
        assert_eq!(event.attribute("carrier"), None);
        assert_eq!(event.payload, r#"{"a": 1}"#);
        assert_eq!(read_binary(&[], "").unwrap().payload, "null");
    }

    #[test]
    fn header_values_are_decoded_as_the_binding_says() {
        for (value, text) in [
            ("Euro%20%e2%82%ac", "Euro €"),
            ("\"a \\\"b\\\" c\"", "a \"b\" c"),
            ("100%25", "100%"),
            ("a%2520b", "a%20b"),
            ("€", "€"),
        ] {
            assert_eq!(decode("ce-x", value.as_bytes()).unwrap(), text, "{value}");
        }
        let error = decode("ce-x", b"%C0%A0").unwrap_err().to_string();
        assert_eq!(error, "`ce-x`: the decoded value is not UTF-8");
    }

    #[test]
    fn binary_refuses_what_is_not_a_cloudevent_of_json() {
        type Headers = &'static [(&'static str, &'static str)];
        let cases: [(Headers, &str, &str); 5] = [
            (&[("ce-id", "2")], "{}", "given twice"),
            (&[("ce-datacontenttype", "text/plain")], "{}", "stands in `content-type`"),
            (&[("ce-my-own", "x")], "{}", "lower-case letters and digits"),
            (&[("ce-time", "noon")], "{}", "RFC 3339"),
            (&[], "{", "not valid JSON"),
        ];
        for (more, body, words) in cases {
            let error = read_binary(more, body).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        for missing in ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-carrier"] {
            let list: Vec<_> = GOOD.iter().filter(|(name, _)| *name != missing).copied().collect();
            let error = binary(&headers(&list), &Bytes::from_static(b"{}"), &IngestLimits::default(), NOW)
                .unwrap_err()
                .to_string();
            assert_eq!(error, format!("`{}`: the attribute is missing", &missing[3..]));
        }
        let xml = [("content-type", "text/xml"), ("ce-id", "1")];
        let error = binary(&headers(&xml), &Bytes::from_static(b"<a/>"), &IngestLimits::default(), NOW);
        assert!(matches!(error.unwrap_err().why, Refusal::Media { .. }));
    }

    #[test]
    fn strings_in_binary_data_must_be_utf8() {
        let body = Bytes::from_static(b"\"\xC0\xA0\"");
        let error = binary(&headers(&GOOD), &body, &IngestLimits::default(), NOW).unwrap_err();
        assert!(matches!(error.why, Refusal::Syntax { .. }), "{error}");
    }

    const ENVELOPE: &str = r#""specversion":"1.0","id":"1","source":"/x","type":"a.b","carrier":"acme""#;

    #[test]
    fn structured_keeps_data_and_extensions() {
        let event =
            read_structured(&format!(r#"{{{ENVELOPE},"n":5,"ok":true,"none":null,"data": {{"x" : 1}} }}"#))
                .unwrap();
        assert_eq!(event.payload, r#"{"x" : 1}"#);
        assert_eq!((event.attribute("n"), event.attribute("ok")), (Some("5"), Some("true")));
        assert_eq!(event.attribute("none"), None);
        assert_eq!(read_structured(&format!("{{{ENVELOPE}}}")).unwrap().payload, "null");
        let packed = read_structured(&format!(r#"{{{ENVELOPE},"data_base64":"eyJhIjoxfQ=="}}"#)).unwrap();
        assert_eq!(packed.payload, r#"{"a":1}"#);
    }

    #[test]
    fn structured_refuses_with_the_member() {
        for (more, words) in [
            (r#","data":1,"data_base64":"MQ==""#, "`data_base64`: an event has"),
            (r#","data_base64":"PGEvPg==""#, "must be JSON"),
            (r#","data_base64":"?""#, "not base64"),
            (r#","data_base64":"IsCgIg==""#, "must be JSON in UTF-8"),
            (r#","data":1,"data":2"#, "duplicate field `data`"),
            (r#","ext":{}"#, "`ext`: invalid type: map"),
            (r#","id":"2""#, "`id`: the attribute is given twice"),
            (r#","datacontenttype":"text/xml","data":"<a/>""#, "data of type `text/xml` is not routed"),
        ] {
            let error = read_structured(&format!("{{{ENVELOPE}{more}}}")).unwrap_err();
            assert!(error.contains(words), "{more}: {error}");
        }
        let old = ENVELOPE.replace("1.0", "0.3");
        assert!(read_structured(&format!("{{{old}}}")).unwrap_err().contains("`0.3` is not known"));
    }

    #[test]
    fn a_batch_names_the_offender() {
        let body = format!(r#"[{{{ENVELOPE},"data":1}},{{{ENVELOPE},"data":2}}]"#);
        assert_eq!(batch(&body.into(), &IngestLimits::default(), NOW).unwrap().len(), 2);
        assert_eq!(batch(&Bytes::from_static(b"[]"), &IngestLimits::default(), NOW).unwrap().len(), 0);
        let body = format!(r#"[{{{ENVELOPE},"data":1}},{{"id":"1"}}]"#);
        let error = batch(&body.into(), &IngestLimits::default(), NOW).unwrap_err();
        assert_eq!(
            (error.index, error.to_string().as_str()),
            (Some(1), "`specversion`: the attribute is missing")
        );
    }
}
