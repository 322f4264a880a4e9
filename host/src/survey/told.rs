//! The case events that tell a carrier of a survey: `case.event`, the type of the webhook 23, with the names that carriers
//! know: `survey.initiated`, `survey.exited` and `survey.complete`.
//!
//! Pure. It must not know when something is told.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::record::Survey;
use crate::clock::Millis;
use crate::event::Event;
use crate::name::NameError;

/// The type of the events.
const EVENT_TYPE: &str = "case.event";

/// What the `source` of the events says.
const SOURCE: &str = "/hookyard/surveys";

/// Bytes of what is kept of a case.
const CONTEXT_BYTES: usize = 64 << 10;

/// What happened to a survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The customer gave the first rating.
    Initiated,
    /// The customer left it, or did not go on.
    Left,
    /// The customer completed it.
    Completed,
}

impl Happening {
    /// `event.type`, as the carriers' documents name it.
    fn name(self) -> &'static str {
        match self {
            Self::Initiated => "survey.initiated",
            Self::Left => "survey.exited",
            Self::Completed => "survey.complete",
        }
    }

    /// The end of the event's id.
    fn word(self) -> &'static str {
        match self {
            Self::Initiated => "initiated",
            Self::Left => "left",
            Self::Completed => "completed",
        }
    }
}

/// Why an event could not be made: what is kept of the survey cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// The case.
    #[error("what is kept of the case is no object of JSON: {0}")]
    Context(#[from] serde_json::Error),
    /// A name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// The member `event` of the payload.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    r#type: &'a str,
    /// The customer's own words, and nothing else: what leaves out people's words leaves this out.
    body: &'a str,
    rating: u8,
    survey_id: &'a str,
}

/// The event that tells of it: the case as it was when the survey was sent, and `event`. Its id is derived from the survey's.
///
/// # Errors
/// When what is kept of the survey cannot be read.
pub fn tell(survey: &Survey, what: Happening, now: Millis) -> Result<Event, TellError> {
    let mut payload: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&survey.context)?;
    let told = Told {
        r#type: what.name(),
        body: survey.feedback.as_deref().unwrap_or_default(),
        rating: survey.rating,
        survey_id: survey.id.as_str(),
    };
    payload.insert("event".to_owned(), serde_json::value::to_raw_value(&told)?);
    Ok(Event {
        carrier: survey.carrier.clone(),
        id: format!("survey-{}-{}", survey.id, what.word()).parse()?,
        event_type: EVENT_TYPE.parse()?,
        received: now,
        attributes: [
            ("source".to_owned(), SOURCE.to_owned()),
            ("subject".to_owned(), survey.event.as_str().to_owned()),
        ]
        .into(),
        payload: Bytes::from(serde_json::to_vec(&payload)?),
    })
}

/// What is kept of the case that a survey is about: the event's payload without its messages, which the events of a case do
/// not carry. What is too large for the limit loses its largest members.
pub fn context(payload: &[u8]) -> String {
    // A payload that is no object says nothing about a case in the form that is documented.
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_slice(payload).unwrap_or_default();
    members.remove("messages");
    members.remove("event");
    loop {
        let text = serde_json::to_string(&members).unwrap_or_else(|_| "{}".to_owned());
        let largest = members.iter().max_by_key(|(_, value)| value.get().len()).map(|(name, _)| name.clone());
        match largest {
            Some(name) if text.len() > CONTEXT_BYTES => members.remove(&name),
            _ => return text,
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::record::{SurveyState, survey_id};
    use super::*;

    fn survey(context: &str) -> Survey {
        let (carrier, event, subscription) =
            ("acme".parse().unwrap(), "evt".parse().unwrap(), "main".parse().unwrap());
        Survey {
            id: survey_id(&carrier, &event, Millis(1_761_300_000_123), &subscription),
            carrier,
            event,
            subscription,
            state: SurveyState::Completed,
            rating: 4,
            feedback: Some("well\n\"done\"".to_owned()),
            initiated: Millis(1),
            left: None,
            completed: Some(Millis(2)),
            leave: Millis(3),
            expires: Millis(4),
            context: context.to_owned(),
        }
    }

    #[test]
    fn an_event_has_the_case_and_what_happened() {
        let context = context(
            br#"{"caseData": {"id": "c-1", "deductible": 500.00}, "messages": [1], "state": "closed"}"#,
        );
        let survey = survey(&context);
        let event = tell(&survey, Happening::Completed, Millis(9)).unwrap();
        assert_eq!(event.event_type.as_str(), "case.event");
        assert_eq!((event.attribute("subject"), event.received), (Some("evt"), Millis(9)));
        assert_eq!(event.id.as_str(), format!("survey-{}-completed", survey.id));
        let payload: Value = serde_json::from_slice(&event.payload).unwrap();
        let told = json!({ "type": "survey.complete", "body": "well\n\"done\"", "rating": 4, "surveyId": survey.id.as_str() });
        assert_eq!(payload["event"], told);
        assert_eq!((&payload["caseData"]["id"], &payload["state"]), (&json!("c-1"), &json!("closed")));
        assert!(payload.get("messages").is_none());
        assert!(
            String::from_utf8_lossy(&event.payload).contains("500.00"),
            "numbers stay as they were written"
        );
        for (what, name) in [(Happening::Initiated, "survey.initiated"), (Happening::Left, "survey.exited")] {
            let payload: Value =
                serde_json::from_slice(&tell(&survey, what, Millis(9)).unwrap().payload).unwrap();
            assert_eq!(payload["event"]["type"], name);
        }
    }

    #[test]
    fn what_is_kept_of_a_case_is_bounded_and_always_an_object() {
        assert_eq!(context(b"[1]"), "{}");
        assert_eq!(context(b"7"), "{}");
        let large = json!({ "a": "x".repeat(CONTEXT_BYTES), "b": "y".repeat(CONTEXT_BYTES / 2), "c": 1 });
        let kept: Value = serde_json::from_str(&context(large.to_string().as_bytes())).unwrap();
        assert_eq!(kept, json!({ "b": "y".repeat(CONTEXT_BYTES / 2), "c": 1 }));
        assert!(tell(&survey("[]"), Happening::Left, Millis(9)).is_err());
    }
}
