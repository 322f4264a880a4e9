//! The cases that an event is about: one, or those of a digest's events put together. It must not know how they are shown.

use std::collections::BTreeMap;

use hookyard::{Event, Failure, Result, Value};
use serde_json::Map;

use crate::moment;

/// A case with its messages.
#[derive(Debug)]
pub(crate) struct Case {
    /// What the platform posts when a case is closed (11): an object with the case's members and `messages`, which are in
    /// the order of their times where each of them has one.
    pub(crate) payload: Value,
    /// Whether the event's payload is such a document already.
    pub(crate) untouched: bool,
    /// Which part of how many the digest is, when there is more than one.
    pub(crate) part: Option<(u64, u64)>,
}

impl Case {
    /// The messages, as the platform writes them.
    pub(crate) fn messages(&self) -> &[Value] {
        self.payload.get("messages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// The event's cases; none when it has nothing to do with one.
///
/// # Errors
/// When the payload is no JSON object.
pub(crate) fn of(event: &Event) -> Result<Vec<Case>> {
    let Value::Object(mut payload) = event.json()? else {
        return Err(Failure::rejected(
            "the payload is no JSON object, and so neither a case nor a digest of events",
        ));
    };
    if payload.contains_key("from_ms")
        && let Some(Value::Array(events)) = payload.remove("events")
    {
        return Ok(digest(&payload, events));
    }
    let untouched = payload.get("messages").is_some_and(Value::is_array) && !payload.contains_key("message");
    if key(&payload).is_none() && !untouched {
        return Ok(Vec::new());
    }
    let mut gathered = Gathered::default();
    gathered.absorb(payload);
    Ok(vec![Case { payload: gathered.finish(), untouched, part: None }])
}

/// The cases of a digest's events, in the order in which they come first.
fn digest(digest: &Map<String, Value>, events: Vec<Value>) -> Vec<Case> {
    let number = |name: &str| digest.get(name).and_then(Value::as_u64);
    let part = number("part").zip(number("parts")).filter(|(_, parts)| *parts > 1);
    let mut cases: Vec<Gathered> = Vec::new();
    let mut places = BTreeMap::new();
    for mut event in events {
        let Some(Value::Object(payload)) = event.get_mut("payload").map(Value::take) else { continue };
        let Some(key) = key(&payload) else { continue };
        let at = *places.entry(key).or_insert_with(|| {
            cases.push(Gathered::default());
            cases.len() - 1
        });
        cases[at].absorb(payload);
    }
    cases.into_iter().map(|case| Case { payload: case.finish(), untouched: false, part }).collect()
}

/// What tells a case from others: its id, else what it is referred to by.
fn key(payload: &Map<String, Value>) -> Option<String> {
    let inner = match payload.get("case") {
        Some(Value::Object(case)) if !payload.contains_key("caseData") => case,
        _ => payload,
    };
    let data = inner.get("caseData");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    text(data.and_then(|data| data.get("id")))
        .or_else(|| text(inner.get("referenceId")))
        .or_else(|| data.map(|_| String::new()))
}

/// What several events say about a case.
#[derive(Debug, Default)]
struct Gathered {
    members: Map<String, Value>,
    messages: Vec<Value>,
    /// Where the message of an id stands.
    places: BTreeMap<String, usize>,
}

impl Gathered {
    /// Takes in what one event says: newer members win, messages are told apart by their ids.
    fn absorb(&mut self, mut payload: Map<String, Value>) {
        // A case that was reassigned (21) stands one level down.
        if !payload.contains_key("caseData")
            && let Some(Value::Object(case)) = payload.remove("case")
        {
            payload.extend(case);
        }
        match payload.remove("messages") {
            Some(Value::Array(messages)) => messages.into_iter().for_each(|message| self.message(message)),
            Some(other) => {
                payload.insert("messages".to_owned(), other);
            }
            None => {}
        }
        if let Some(mut message) = payload.remove("message") {
            // The flags of a message (22) may stand beside it.
            if let (Some(flag), Value::Object(message)) = (payload.remove("isRedacted"), &mut message) {
                message.entry("isRedacted").or_insert(flag);
            }
            self.message(message);
        }
        for (name, value) in payload {
            match (self.members.get_mut(&name), value) {
                // Events tell more or less about the same object.
                (Some(Value::Object(known)), Value::Object(news)) => known.extend(news),
                (_, value) => {
                    self.members.insert(name, value);
                }
            }
        }
    }

    fn message(&mut self, message: Value) {
        let Value::Object(message) = message else { return };
        let id = message.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let place = id.map(|id| *self.places.entry(id.to_owned()).or_insert(self.messages.len()));
        match place.and_then(|place| self.messages.get_mut(place)) {
            Some(Value::Object(known)) => known.extend(message),
            _ => self.messages.push(Value::Object(message)),
        }
    }

    fn finish(mut self) -> Value {
        let order = |message: &Value| moment::order(message.get("createdAt")?.as_str()?);
        // Without the time of one of them its place is only known from the platform's order.
        if let Some(keys) = self.messages.iter().map(order).collect::<Option<Vec<String>>>() {
            let mut keyed: Vec<_> = keys.into_iter().zip(self.messages).collect();
            keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
            self.messages = keyed.into_iter().map(|(_, message)| message).collect();
        }
        self.members.insert("messages".to_owned(), Value::Array(self.messages));
        Value::Object(self.members)
    }
}
