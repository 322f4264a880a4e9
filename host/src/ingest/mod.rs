//! 1: from a request to events that are fit to be accepted.
//!
//! `media` tells the forms apart, `plain` and `cloudevents` read them, `limits` holds what every form must obey, `http`
//! is the handler. Everything but the handler is pure. It must not know the store or the router: what takes the events
//! is behind [`Intake`].

mod cloudevents;
mod error;
pub mod http;
mod json;
mod limits;
mod made;
mod media;
mod plain;

pub use error::{IngestError, Refusal};
pub use limits::IngestLimits;
pub use made::made;
pub use media::Form;
pub(crate) use media::is_json;

use ::http::HeaderMap;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::clock::Millis;
use crate::event::Event;
use crate::store::error::AcceptError;
use crate::store::work::Acceptance;

/// What takes events over: it answers after they are committed, all or none.
pub trait Intake: Send + Sync {
    /// Accepts a request's events, in order; gives one acceptance for each.
    ///
    /// # Errors
    /// Those of [`AcceptError`]; then nothing was written.
    fn accept(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Acceptance>, AcceptError>>;
}

/// Reads the events of a request, in whichever form they came.
///
/// # Errors
/// The first thing that is wrong, with the index of its event where the request held several.
pub fn events(
    headers: &HeaderMap,
    body: &Bytes,
    limits: &IngestLimits,
    received: Millis,
) -> Result<Vec<Event>, IngestError> {
    match media::form(headers)? {
        Form::Plain => plain::events(body, limits, received),
        Form::Binary => cloudevents::binary(headers, body, limits, received),
        Form::Structured => cloudevents::structured(body, limits, received),
        Form::Batch => cloudevents::batch(body, limits, received),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn headers(content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", content_type.parse().unwrap());
        headers
    }

    fn read(content_type: &str, body: Vec<u8>) -> Result<Vec<Event>, IngestError> {
        events(&headers(content_type), &body.into(), &IngestLimits::default(), Millis(1))
    }

    proptest! {
        #[test]
        fn every_payload_comes_through_as_it_is(payload in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&payload) } else { serde_json::to_string(&payload) };
            let text = text.unwrap();
            let plain = format!(r#"{{"carrier":"a","id":"1","type":"t","payload":{text}}}"#);
            let cloud = format!(
                r#"{{"specversion":"1.0","carrier":"a","id":"1","type":"t","source":"/","data":{text}}}"#
            );
            for (content_type, body) in [
                ("application/json", plain.clone()),
                ("application/json", format!("[{plain}]")),
                ("application/cloudevents+json", cloud.clone()),
                ("application/cloudevents-batch+json", format!("[{cloud}]")),
            ] {
                let list = read(content_type, body.into_bytes()).unwrap();
                prop_assert_eq!(&list[0].payload, text.as_bytes());
            }
            prop_assert_eq!(limits::depth(text.as_bytes()), depth(&payload));
        }

        #[test]
        fn no_bytes_bring_a_reader_down(start in "[\\[{]?", body in prop::collection::vec(any::<u8>(), 0..200)) {
            let body = [start.as_bytes(), &body].concat();
            for content_type in
                ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json"]
            {
                if let Ok(list) = read(content_type, body.clone()) {
                    prop_assert!(list.is_empty(), "random bytes are no event");
                }
            }
        }

        #[test]
        fn a_mutilated_event_is_read_or_refused(at in 0_usize..120, byte in any::<u8>()) {
            let good = br#"{"carrier":"acme","id":"e-1","type":"case.closed","attributes":{"a":"b"},"payload":{"x":["y"]}}"#;
            let mut body = good.to_vec();
            let at = at % body.len();
            body[at] = byte;
            if let Ok(list) = read("application/json", body) {
                prop_assert!(serde_json::from_slice::<Value>(&list[0].payload).is_ok());
            }
        }
    }
}
