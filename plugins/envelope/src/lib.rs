//! Wraps an event as a CloudEvent in structured JSON (`format`), adds fields to its payload (`add`), or both.

use hookyard::{Delivery, Event, Result, Value, Verdict, settings};
use serde_json::{Map, value::RawValue};

/// Writes the values of the setting `add` into the payload, by their paths.
fn add(event: &Event, fields: &str) -> Result<Value> {
    let fields: Map<String, Value> = serde_json::from_str(fields).map_err(|e| settings::invalid("add", e))?;
    let mut payload: Value = event.json()?;
    for (path, value) in fields {
        let mut at = &mut payload;
        for name in path.split('.') {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(members) = at else {
                return Err(settings::invalid("add", format!("{path} does not lead through objects")).into());
            };
            at = members.entry(name).or_insert(Value::Null);
        }
        *at = match value.as_str() {
            Some("${id}") => Value::from(event.id.as_str()),
            Some("${type}") => Value::from(event.event_type.as_str()),
            Some("${received_ms}") => Value::from(event.received_ms),
            Some("${time}") => Value::from(event.received_rfc3339()),
            _ => value,
        };
    }
    Ok(payload)
}

/// The event as CloudEvents 1.0 structured JSON around `data`, which is JSON already.
fn cloudevent(event: &Event, data: &RawValue) -> Result<Vec<u8>> {
    let mut out = Map::new();
    for (name, value) in event.attributes.iter().filter(|(name, _)| !name.starts_with("data")) {
        out.insert(name.clone(), Value::from(value.as_str()));
    }
    // What a CloudEvent must have; the publisher's own `source` and `time` stand.
    out.insert("specversion".to_owned(), Value::from("1.0"));
    out.insert("id".to_owned(), Value::from(event.id.as_str()));
    out.insert("type".to_owned(), Value::from(event.event_type.as_str()));
    out.insert("datacontenttype".to_owned(), Value::from("application/json"));
    let source = settings::get("source").unwrap_or_else(|| "hookyard".to_owned());
    out.entry("source").or_insert(Value::from(source));
    out.entry("time").or_insert_with(|| Value::from(event.received_rfc3339()));
    let mut bytes = serde_json::to_vec(&out)?;
    bytes.pop();
    bytes.extend_from_slice(b",\"data\":");
    bytes.extend_from_slice(data.get().as_bytes());
    bytes.push(b'}');
    Ok(bytes)
}

/// Forwards the changed payload, or delivers it to the setting `destination` with the content type of its format.
#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let wrap = match settings::get("format").as_deref().map(str::trim) {
        None | Some("json") => false,
        Some("cloudevents") => true,
        Some(other) => {
            Err(settings::invalid("format", format!("{other:?} is neither json nor cloudevents")))?
        }
    };
    let mut bytes = match settings::get("add") {
        Some(fields) => serde_json::to_vec(&add(event, &fields)?)?,
        None if wrap => event.payload.clone(),
        None => Err(settings::invalid("format", "with `json` there is nothing to do unless `add` is there"))?,
    };
    if wrap {
        bytes = cloudevent(event, serde_json::from_slice(&bytes)?)?;
    }
    let content_type = if wrap { "application/cloudevents+json" } else { "application/json" };
    Ok(match settings::get("destination") {
        Some(name) => Delivery::http(name).bytes(content_type, bytes).into(),
        None => Verdict::Forward(bytes.into()),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_example_gets_what_it_expects() {
        hookyard::testing::run_examples(env!("CARGO_MANIFEST_DIR"), super::handle);
    }
}
