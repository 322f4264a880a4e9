//! Hookyard's own form of an event: one JSON object, or an array of them.
//!
//! Pure: bytes in, events out. It must not know HTTP or the store.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{IngestError, Refusal};
use super::json::{self, Scalars, Text};
use super::limits::{Attributes, IngestLimits, Parts};
use crate::clock::Millis;
use crate::event::Event;

/// One event as it stands in the request. The payload is kept as the text that it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'a> {
    #[serde(borrow)]
    carrier: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "type")]
    event_type: Text<'a>,
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow, default)]
    source: Option<Text<'a>>,
    #[serde(borrow, default)]
    subject: Option<Text<'a>>,
    #[serde(borrow, default)]
    attributes: Scalars<'a>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// The events of a body of type `application/json`.
///
/// # Errors
/// With the index of the first event that is not one, when the body is an array.
pub(super) fn events(
    body: &Bytes,
    limits: &IngestLimits,
    received: Millis,
) -> Result<Vec<Event>, IngestError> {
    if body.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'[') {
        limits.check_event(body.len())?;
        return Ok(vec![one(body, limits, received, |payload| body.slice_ref(payload.as_bytes()))?]);
    }
    each(body, limits, |text| {
        // A copy: a slice would keep the whole batch in memory for as long as its slowest event.
        one(text, limits, received, |payload| Bytes::copy_from_slice(payload.as_bytes()))
    })
}

/// Every element of an array on its own, so that an error knows its index.
pub(super) fn each(
    body: &[u8],
    limits: &IngestLimits,
    mut read: impl FnMut(&[u8]) -> Result<Event, Refusal>,
) -> Result<Vec<Event>, IngestError> {
    let texts: Vec<&RawValue> = json::parse(body)?;
    limits.check_batch(texts.len())?;
    let mut events = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let event = limits
            .check_event(text.get().len())
            .and_then(|()| read(text.get().as_bytes()))
            .map_err(|refusal| refusal.at(index))?;
        events.push(event);
    }
    Ok(events)
}

fn one(
    text: &[u8],
    limits: &IngestLimits,
    received: Millis,
    keep: impl FnOnce(&str) -> Bytes,
) -> Result<Event, Refusal> {
    let plain: Plain<'_> = json::parse(text)?;
    let mut attributes = Attributes::new(limits);
    let own = [("time", &plain.time), ("source", &plain.source), ("subject", &plain.subject)];
    for (name, value) in own {
        if let Some(Text(value)) = value {
            attributes.add(name, name, value)?;
        }
    }
    for (name, value) in &plain.attributes.0 {
        if let Some(value) = &value.0 {
            attributes.add(&format!("attributes.{name}"), name, value)?;
        }
    }
    let payload = keep(plain.payload.get());
    Parts { carrier: &plain.carrier.0, id: &plain.id.0, event_type: &plain.event_type.0, attributes, payload }
        .into_event(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_761_300_000_123);

    fn read(body: &str) -> Result<Vec<Event>, IngestError> {
        events(&Bytes::copy_from_slice(body.as_bytes()), &IngestLimits::default(), NOW)
    }

    fn refused(body: &str) -> (Option<usize>, String) {
        let error = read(body).unwrap_err();
        (error.index, error.why.to_string())
    }

    #[test]
    fn one_event_keeps_its_payload_byte_for_byte() {
        let body = r#" {"carrier":"acme","id":"e-1","type":"case.closed","time":"2026-08-25T10:00:00Z",
            "source":"/claims","attributes":{"brand":"x","big":true,"n":3,"none":null},
            "payload": {"b" : 1.50, "a":"\u0041"} }"#;
        let body = Bytes::copy_from_slice(body.as_bytes());
        let list = events(&body, &IngestLimits::default(), NOW).unwrap();
        let [event] = list.as_slice() else { panic!("one event") };
        assert_eq!(event.payload, r#"{"b" : 1.50, "a":"\u0041"}"#);
        assert!(body.as_ptr_range().contains(&event.payload.as_ptr()), "nothing was copied");
        assert_eq!(event.received, NOW);
        let names: Vec<_> = event.attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let expected = [
            ("big", "true"),
            ("brand", "x"),
            ("n", "3"),
            ("source", "/claims"),
            ("time", "2026-08-25T10:00:00Z"),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn an_array_is_read_whole_or_refused_with_an_index() {
        let good = r#"{"carrier":"acme","id":"1","type":"a","payload":null}"#;
        assert_eq!(read(&format!("[{good}, {good}]")).unwrap().len(), 2);
        assert_eq!(read("[]").unwrap().len(), 0);
        let (index, why) = refused(&format!(r#"[{good}, {{"carrier":"acme","id":"2","type":"a"}}]"#));
        assert_eq!(index, Some(1));
        assert!(why.contains("missing field `payload`"), "{why}");
        let (index, why) = refused(&format!("[{good}, {good}"));
        assert_eq!(index, None);
        assert!(why.starts_with("the body is not valid JSON"), "{why}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, words) in [
            ("", "not valid JSON"),
            ("{", "not valid JSON"),
            ("3", "invalid type"),
            (r#"{"carrier":"acme","id":"1","type":"a","payload":{},"extra":1}"#, "unknown field `extra`"),
            (r#"{"carrier":"acme","id":"1","type":"a","payload":{},"id":"2"}"#, "duplicate field `id`"),
            (r#"{"carrier":"Acme","id":"1","type":"a","payload":{}}"#, "`carrier`: \"Acme\" is not a valid"),
            (r#"{"carrier":"acme","id":"1 2","type":"a","payload":{}}"#, "`id`"),
            (r#"{"carrier":"acme","id":"1","type":"a..b","payload":{}}"#, "`type`"),
            (r#"{"carrier":"acme","type":"a","payload":{}}"#, "missing field `id`"),
            (r#"{"carrier":"acme","id":1,"type":"a","payload":{}}"#, "`id`: invalid type: integer `1`"),
            (
                r#"{"carrier":"acme","id":"1","type":"a","payload":{},"attributes":{"x":1.5}}"#,
                "`attributes.x`: invalid type: floating point `1.5`, expected a string, a boolean",
            ),
            (
                r#"{"carrier":"acme","id":"1","type":"a","payload":{},"source":"a","attributes":{"source":"b"}}"#,
                "`source`: the attribute is given twice",
            ),
            (r#"{"carrier":"acme","id":"1","type":"a","payload":{},"time":"noon"}"#, "`time`"),
            (r#"{"carrier":"acme","id":"1","type":"a","payload":{} } x"#, "trailing characters"),
        ] {
            let (_, why) = refused(body);
            assert!(why.contains(words), "{body}: {why}");
        }
    }

    #[test]
    fn utf8_is_checked() {
        let mut body = br#"{"carrier":"acme","id":"1","type":"a","payload":""#.to_vec();
        body.extend([0xC0, 0xA0]);
        body.extend(br#""}"#);
        let error = events(&body.into(), &IngestLimits::default(), NOW).unwrap_err();
        assert!(matches!(error.why, Refusal::Syntax { .. }), "{error}");
    }

    #[test]
    fn limits_are_named() {
        let event =
            |payload: &str| format!(r#"{{"carrier":"acme","id":"1","type":"a","payload":{payload}}}"#);
        let deep = |n: usize| event(&("[".repeat(n) + &"]".repeat(n)));
        assert!(read(&deep(64)).is_ok());
        assert_eq!(refused(&deep(65)).1, "the payload is nested too deeply: the limit `depth` is 64");
        // Far beyond what a recursive reader's stack could bear.
        assert!(refused(&deep(100_000)).1.contains("depth"));
        let (index, why) = refused(&format!("[{}]", event(&format!("\"{}\"", "x".repeat(300_000)))));
        assert_eq!(index, Some(0));
        assert!(why.contains("`event_bytes` is 262144"), "{why}");
        let many = format!("[{}]", vec!["1"; 1_001].join(","));
        assert_eq!(
            refused(&many),
            (None, "the request has 1001 events: the limit `batch_events` is 1000".into())
        );
    }
}
