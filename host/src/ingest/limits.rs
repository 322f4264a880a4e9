//! The limits on what comes in, and the checks that every form of event shares.
//!
//! Pure. It must not know HTTP or the forms themselves.

use std::sync::Arc;

use bytes::Bytes;

use super::error::Refusal;
use crate::clock::Millis;
use crate::event::Event;

/// How much a publisher may send. Every field is the limit's name in errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestLimits {
    /// Bytes of one request's body.
    pub request_bytes: usize,
    /// Bytes of one event: in JSON forms as it came with its envelope, in binary form its body.
    pub event_bytes: usize,
    /// Events in one request.
    pub batch_events: usize,
    /// How deeply the payload's arrays and objects may be nested.
    pub depth: usize,
    /// Attributes of one event.
    pub attributes: usize,
    /// Characters of an attribute's name.
    pub attribute_name: usize,
    /// Bytes of an attribute's value.
    pub attribute_value: usize,
    /// Bytes of all names and values of one event together.
    pub attributes_bytes: usize,
}

impl Default for IngestLimits {
    /// 8 MiB a request, 256 KiB an event, 1 000 events, depth 64, 64 attributes of 64 characters and 4 KiB, 16 KiB of
    /// them in all.
    fn default() -> Self {
        Self {
            request_bytes: 8 << 20,
            event_bytes: 256 << 10,
            batch_events: 1_000,
            depth: 64,
            attributes: 64,
            attribute_name: 64,
            attribute_value: 4 << 10,
            attributes_bytes: 16 << 10,
        }
    }
}

impl IngestLimits {
    pub(super) fn check_event(&self, size: usize) -> Result<(), Refusal> {
        within("the event", "bytes", size, "event_bytes", self.event_bytes)
    }

    pub(super) fn check_batch(&self, events: usize) -> Result<(), Refusal> {
        within("the request", "events", events, "batch_events", self.batch_events)
    }
}

fn within(what: &str, unit: &str, size: usize, limit: &'static str, max: usize) -> Result<(), Refusal> {
    if size <= max {
        return Ok(());
    }
    Err(Refusal::Limit { what: format!("{what} has {size} {unit}"), limit, max })
}

/// Members of an event that are not attributes, so that no attribute can pretend to be one.
const RESERVED: [&str; 7] = ["carrier", "id", "type", "specversion", "data", "data_base64", "payload"];

/// The attributes of an event while they are collected.
#[derive(Debug)]
pub(super) struct Attributes<'l> {
    limits: &'l IngestLimits,
    list: Vec<(String, String)>,
    bytes: usize,
}

impl<'l> Attributes<'l> {
    pub(super) fn new(limits: &'l IngestLimits) -> Self {
        Self { limits, list: Vec::new(), bytes: 0 }
    }

    /// Takes one more, checked. `field` is how the sender knows it.
    pub(super) fn add(&mut self, field: &str, name: &str, value: &str) -> Result<(), Refusal> {
        let limits = self.limits;
        if RESERVED.contains(&name) {
            return Err(Refusal::field(field, format!("`{name}` is reserved and cannot name an attribute")));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(Refusal::field(field, "an attribute's name takes letters, digits, `_`, `-` and `.`"));
        }
        within("the attribute's name", "characters", name.len(), "attribute_name", limits.attribute_name)?;
        within(field, "bytes", value.len(), "attribute_value", limits.attribute_value)?;
        if value.chars().any(char::is_control) {
            return Err(Refusal::field(field, "an attribute's value takes no control characters"));
        }
        if name == "time" && !is_rfc3339(value) {
            return Err(Refusal::field(
                field,
                "a time is written as in RFC 3339, like `2026-08-25T10:00:00Z`",
            ));
        }
        self.bytes += name.len() + value.len();
        within("the event's attributes", "bytes", self.bytes, "attributes_bytes", limits.attributes_bytes)?;
        self.list.push((name.to_owned(), value.to_owned()));
        within("the event", "attributes", self.list.len(), "attributes", limits.attributes)
    }

    /// Sorted by name, each name once.
    fn finish(mut self) -> Result<Arc<[(String, String)]>, Refusal> {
        self.list.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = self.list.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Refusal::field(twice[0].0.as_str(), "the attribute is given twice"));
        }
        Ok(self.list.into())
    }
}

/// An event's parts as some form gave them; the names are not checked yet.
#[derive(Debug)]
pub(super) struct Parts<'a, 'l> {
    pub(super) carrier: &'a str,
    pub(super) id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) attributes: Attributes<'l>,
    /// Valid JSON.
    pub(super) payload: Bytes,
}

impl Parts<'_, '_> {
    /// The event, when everything about it holds.
    pub(super) fn into_event(self, received: Millis) -> Result<Event, Refusal> {
        let max = self.attributes.limits.depth;
        if depth(&self.payload) > max {
            let what = "the payload is nested too deeply".to_owned();
            return Err(Refusal::Limit { what, limit: "depth", max });
        }
        Ok(Event {
            carrier: self.carrier.parse().map_err(|source| Refusal::Name { field: "carrier", source })?,
            id: self.id.parse().map_err(|source| Refusal::Name { field: "id", source })?,
            event_type: self.event_type.parse().map_err(|source| Refusal::Name { field: "type", source })?,
            received,
            attributes: self.attributes.finish()?,
            payload: self.payload,
        })
    }
}

/// How deeply arrays and objects are nested in a valid JSON text: 0 for a scalar.
///
/// A walk over the bytes without a tree: this runs for every event.
pub(super) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => {
                        bytes.next();
                    }
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    deepest
}

/// Whether a text is a time as RFC 3339 writes it: `2026-08-25T10:00:00.123Z`, `...+02:00`.
fn is_rfc3339(text: &str) -> bool {
    let number = |from: usize, to: usize| -> Option<u32> {
        let digits = text.get(from..to)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    };
    let bytes = text.as_bytes();
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|b| any.contains(b));
    let date = || -> Option<bool> {
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        // 60 is a leap second.
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        Some((1..=days).contains(&day) && hour < 24 && minute < 60 && second <= 60)
    };
    let offset = || -> Option<bool> {
        let mut at = 19;
        if is(at, b".") {
            let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            at += 1 + digits;
        }
        if is(at, b"Zz") {
            return Some(bytes.len() == at + 1);
        }
        let (hour, minute) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
        Some(is(at, b"+-") && is(at + 3, b":") && bytes.len() == at + 6 && hour < 24 && minute < 60)
    };
    let marks = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    text.is_ascii() && marks && date() == Some(true) && offset() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_what_is_outside_of_strings() {
        for (json, deep) in [
            ("1", 0),
            ("\"[[[[\"", 0),
            ("{}", 1),
            ("[[],[[]]]", 3),
            (r#"{"a":"\"[[","b":[1]}"#, 2),
            (r#"["\\",[{}]]"#, 3),
        ] {
            assert_eq!(depth(json.as_bytes()), deep, "{json}");
        }
    }

    #[test]
    fn times_are_checked() {
        for good in [
            "2026-08-25T10:00:00Z",
            "2024-02-29T23:59:60.123456789+02:00",
            "2026-08-25t10:00:00.5z",
            "2026-08-25 10:00:00-11:30",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "2026-08-25",
            "2026-08-25T10:00:00",
            "2026-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-08-25T24:00:00Z",
            "2026-08-25T10:00:00.Z",
            "2026-08-25T10:00:00Zx",
            "2026-08-25T10:00:00+2:00",
            "+026-08-25T10:00:00Z",
            "2026-08-25T10:00:00€",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }

    #[test]
    fn attributes_are_sorted_unique_and_bounded() {
        let limits = IngestLimits { attributes: 2, attribute_value: 4, ..IngestLimits::default() };
        let mut attributes = Attributes::new(&limits);
        attributes.add("b", "b", "2").unwrap();
        attributes.add("a", "a", "1").unwrap();
        let error = attributes.add("c", "c", "3").unwrap_err().to_string();
        assert_eq!(error, "the event has 3 attributes: the limit `attributes` is 2");

        let mut attributes = Attributes::new(&limits);
        let error = attributes.add("attributes.a", "a", "12345").unwrap_err().to_string();
        assert_eq!(error, "attributes.a has 5 bytes: the limit `attribute_value` is 4");
        assert!(attributes.add("a", "a", "x\n").is_err());
        assert!(attributes.add("id", "id", "1").is_err());
        assert!(attributes.add("a b", "a b", "1").is_err());
        attributes.add("b", "b", "2").unwrap();
        attributes.add("a", "a", "1").unwrap();
        let sorted = attributes.finish().unwrap();
        assert_eq!(sorted.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["a", "b"]);

        let mut attributes = Attributes::new(&limits);
        attributes.add("a", "a", "1").unwrap();
        attributes.add("a", "a", "1").unwrap();
        assert!(attributes.finish().unwrap_err().to_string().contains("given twice"));
    }
}
