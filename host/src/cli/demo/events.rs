//! The demo's events: invented values in the shapes of carrier webhooks (cases, messages, notes, contacts), and what
//! each must come to, computed here without the host.

use serde_json::{Value, json};

/// Personal values that must not reach a receiver behind the `redact` plugin.
pub(super) const PERSONAL: [&str; 4] = ["Tilda", "Grahn", "tilda.grahn@mail.example", "+15550142"];

const BRANDS: [&str; 3] = ["Acme Mutual", "Beacon Direct", "Acme Mutual"];
const LINES: [(&str, &str); 4] =
    [("auto", "personal"), ("home", "owner"), ("auto", "commercial"), ("marine", "yacht")];
const STATES: [&str; 2] = ["open", "closed"];

/// An event and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) carrier: &'static str,
    pub(super) id: String,
    pub(super) event_type: &'static str,
    pub(super) payload: Value,
    /// The destination that must get it; `None` when it must be dropped.
    pub(super) goes_to: Option<&'static str>,
}

/// `n` events for each of the demo's carriers.
pub(super) fn samples(n: usize) -> Vec<Sample> {
    (0..n).flat_map(|i| [acme(i), northwind(i)]).collect()
}

/// Acme wants open cases of its own brand, without personal data.
fn acme(i: usize) -> Sample {
    let (brand, state) = (BRANDS[i % BRANDS.len()], STATES[(i / 2) % STATES.len()]);
    let (event_type, payload) = match i % 5 {
        0 => ("case.created", case(i, brand, state)),
        1 => ("message.received", with(case(i, brand, state), "message", message(i))),
        2 => ("message.updated", with(case(i, brand, state), "message", flags(i))),
        3 => ("case.event", with(case(i, brand, state), "event", case_event(i))),
        _ => ("case.closed", transcript(i, brand, state)),
    };
    let wanted = brand == "Acme Mutual" && state == "open";
    let goes_to = wanted.then_some("crm");
    Sample { carrier: "acme", id: format!("acme-{i}"), event_type, payload, goes_to }
}

/// Northwind sends each line of business to a desk of its own.
fn northwind(i: usize) -> Sample {
    let (line, kind) = LINES[i % LINES.len()];
    let mut body = case(i, "Northwind", STATES[i % 2]);
    body["caseData"]["lineOfBusiness"] = json!({ "type": line, "subtype": kind });
    let (event_type, payload) = match i % 3 {
        0 => ("case.created", body),
        1 => ("case.opted_in", with(body, "prevPrimaryContact", operator(i + 1))),
        _ => ("message.failed", with(body, "message", failed(i))),
    };
    let goes_to = match line {
        "auto" => Some("auto-desk"),
        "home" => Some("home-desk"),
        _ => None,
    };
    Sample { carrier: "northwind", id: format!("northwind-{i}"), event_type, payload, goes_to }
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

pub(super) fn case(i: usize, brand: &str, state: &str) -> Value {
    json!({
        "caseData": {
            "id": format!("8f2e4c1a-0000-4d3b-9a10-{i:012x}"), "archived": false,
            "claimNumber": format!("CL-{:05}", 20_000 + i), "dateOfLoss": "2026-05-04T00:00:00.000Z", "brand": brand,
        },
        "state": state, "caseType": "claim",
        "customer": {
            "id": format!("c0ffee00-0000-4a11-8b22-{i:012x}"), "first": PERSONAL[0], "last": PERSONAL[1],
            "email": PERSONAL[2], "mobile": format!("{}{:04}", PERSONAL[3], i % 10_000),
            "role": "enduser", "optStatus": true, "optStatusDetail": "OPTED_IN",
        },
        "primaryContact": operator(i),
        "createTime": "2026-05-05T08:15:30.120Z", "creationSource": "PublicApi",
        "referenceId": format!("CL-{:05}", 20_000 + i), "privacy": "public", "marleyNumber": "+15550160000",
        "languagePreference": "en", "secondaryOperators": [],
    })
}

fn operator(i: usize) -> Value {
    json!({
        "id": format!("0be7a70e-0000-4c44-9d55-{i:012x}"), "first": "Omar", "last": "Villeneuve",
        "email": "omar.villeneuve@carrier.example", "role": "operator",
    })
}

fn message(i: usize) -> Value {
    json!({
        "id": format!("msg-{i:04}"), "type": "text", "channel": "text", "channelSource": "mobile",
        "data": "The tow truck is here", "createdAt": "2026-05-06T10:00:00.000Z",
    })
}

fn flags(i: usize) -> Value {
    json!({
        "id": format!("msg-{i:04}"), "type": "text", "data": "Any news?",
        "needsAttention": i.is_multiple_of(2), "needsAction": true, "isRedacted": false,
    })
}

fn failed(i: usize) -> Value {
    json!({
        "id": format!("msg-{i:04}"), "type": "text", "channelSource": "marley", "status": "failed",
        "errorCode": "DEMO-7",
    })
}

fn case_event(i: usize) -> Value {
    let kinds = ["total_loss.assignment_created", "survey.initiated", "title_express.request_created"];
    json!({ "type": kinds[i % kinds.len()], "body": "Made by the demo" })
}

fn transcript(i: usize, brand: &str, state: &str) -> Value {
    let mut body = case(i, brand, state);
    body["closedAt"] = json!("2026-06-01T17:30:00.000Z");
    body["messages"] = json!([
        { "id": format!("msg-{i:04}-1"), "type": "text", "channelSource": "mobile", "data": "Photos are up" },
        { "id": format!("msg-{i:04}-2"), "type": "text", "channelSource": "marley", "data": "Thank you" },
    ]);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_have_every_fate() {
        let all = samples(120);
        assert_eq!(all.len(), 240);
        for goes_to in [None, Some("crm"), Some("auto-desk"), Some("home-desk")] {
            assert!(all.iter().any(|s| s.goes_to == goes_to), "{goes_to:?}");
        }
        let ids: std::collections::HashSet<_> = all.iter().map(|s| &s.id).collect();
        assert_eq!(ids.len(), all.len());
    }
}
