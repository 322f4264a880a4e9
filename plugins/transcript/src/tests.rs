//! The plugin's function on whole events.

use hookyard::testing::{self, Fixture};
use hookyard::{Content, Event, Message, Value, Verdict, json};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};

use super::handle;

#[test]
fn every_example_gets_what_it_expects() {
    testing::run_examples(env!("CARGO_MANIFEST_DIR"), handle);
}

/// A case with messages of these texts, in turn the customer's and an operator's.
fn case(texts: &[&str]) -> Value {
    let message = |(index, text): (usize, &&str)| {
        let source = if index % 2 == 0 { "mobile" } else { "marley" };
        json!({"id": format!("m-{index}"), "type": "text", "channelSource": source, "data": text})
    };
    json!({
        "caseData": {"id": "4e7d1c92-58ab-4a63-9b1f-c07e2d48a5f1", "claimNumber": "NB-48213"},
        "caseType": "claim", "referenceId": "NB-48213",
        "customer": {"first": "Tilda", "last": "Marsh", "email": "tilda.marsh@example.org", "mobile": "+15550100142", "role": "enduser"},
        "messages": texts.iter().enumerate().map(message).collect::<Vec<_>>(),
    })
}

/// The only file that is sent for a payload, in a format.
fn file(payload: &Value, format: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fixture =
        Fixture::new().setting("via", "sftp").setting("to", "archive").setting("format", format);
    for (key, value) in more {
        fixture = fixture.setting(*key, *value);
    }
    let event: Event = testing::event("case.closed", payload);
    let Ok(Verdict::Deliver(mut list)) = fixture.run(handle, &event) else { panic!("it delivers") };
    assert_eq!(list.len(), 1);
    match list.remove(0).send {
        Message::Sftp(file) => match file.content {
            Content::Bytes(bytes) => bytes,
            Content::Original => event.payload,
            Content::Fetch(_) => panic!("a transcript is made here"),
        },
        other => panic!("{other:?}"),
    }
}

fn text(payload: &Value, format: &str, more: &[(&str, &str)]) -> String {
    String::from_utf8(file(payload, format, more)).unwrap()
}

#[test]
fn what_people_write_is_never_read_as_html() {
    let payload = case(&["<script>alert('1')</script>\" onload=\"x", "</p></li><h1>Operator</h1>&lt;"]);
    let html = text(&payload, "html", &[]);
    assert!(
        !html.contains("<script") && !html.contains("\" onload") && html.matches("<h1>").count() == 1,
        "{html}"
    );
    assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot; onload=&quot;x"), "{html}");
    assert!(html.contains("&lt;/p&gt;&lt;/li&gt;&lt;h1&gt;Operator&lt;/h1&gt;&amp;lt;"), "{html}");
    assert!(html.contains("<html lang=\"en\">") && html.contains("<meta charset=\"utf-8\">"), "{html}");
}

#[test]
fn no_message_can_pass_for_the_head_of_another_in_a_text() {
    let payload = case(&["yes\n----\n2026-04-20 08:00:12 UTC  Operator\nwe pay"]);
    let document = text(&payload, "text", &[]);
    assert!(
        document
            .contains("\nTilda Marsh (customer)\n    yes\n    ----\n    2026-04-20 08:00:12 UTC  Operator\n"),
        "{document}"
    );
}

#[test]
fn messages_stand_in_the_order_of_their_times_where_all_have_one() {
    let mut payload = case(&["third", "first", "second"]);
    for (index, minute) in [(0, "09"), (1, "07"), (2, "08")] {
        payload["messages"][index]["createdAt"] = format!("2026-04-20T08:{minute}:00.000Z").into();
    }
    let order = |document: &str| ["first", "second", "third"].map(|word| document.find(word).unwrap());
    assert!(order(&text(&payload, "text", &[])).is_sorted());
    payload["messages"][0]["createdAt"] = Value::Null;
    assert!(!order(&text(&payload, "text", &[])).is_sorted(), "the platform's order stays");
}

#[test]
fn the_same_event_gives_the_same_pdf() {
    let payload = case(&["Zażółć", "שלום (1)", "مرحبا", "e\u{301} 👍 x\u{35C}"]);
    let first = file(&payload, "pdf", &[]);
    assert!(first.starts_with(b"%PDF-1.7\n") && first.ends_with(b"%%EOF"), "it is a whole file");
    assert_eq!(first, file(&payload, "pdf", &[]));
    assert_ne!(first, file(&payload, "pdf", &[("paper", "letter")]));
}

#[test]
fn a_digest_makes_no_more_of_an_event_than_it_says() {
    for events in [json!([]), json!([1, {"payload": 2}, {"payload": {"id": "x"}}])] {
        let event = testing::event("hookyard.digest", &json!({"from_ms": 0, "to_ms": 1, "events": events}));
        let mut fixture = Fixture::new().setting("via", "http").setting("to", "crm");
        assert_eq!(fixture.run(handle, &event), Ok(Verdict::drop("it is not about a case")));
    }
    let event = testing::event("case.closed", &json!([]));
    let result = Fixture::new().setting("via", "http").setting("to", "crm").run(handle, &event);
    assert!(matches!(result, Err(hookyard::Failure::Rejected(why)) if why.contains("no JSON object")));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gives_a_transcript_in_every_format(
        texts in prop::collection::vec(any::<String>(), 0..4),
        scripts in "[א-ת ا-ي\u{300}-\u{36f}\u{200c}\u{200d}\u{202a}-\u{202e}👍(\\[a-c\n]{0,80}",
    ) {
        let mut all: Vec<&str> = texts.iter().map(String::as_str).collect();
        all.push(&scripts);
        let mut payload = case(&all);
        payload["customer"]["last"] = scripts.as_str().into();
        for format in ["pdf", "html", "text"] {
            prop_assert!(!file(&payload, format, &[("redacted", "true")]).is_empty());
            let made = file(&payload, format, &[]);
            if format != "pdf" {
                let made = String::from_utf8(made).unwrap();
                prop_assert!(!made.chars().any(|c| c.is_control() && c != '\n'));
            }
        }
    }

    #[test]
    fn a_redacted_copy_never_tells_who_the_customer_is(
        before in any::<String>(), after in any::<String>(), secret in "[A-Z][a-z]{8}",
    ) {
        // Words of their own; what surrounds them is anything.
        let said = format!("{before} tilda MARSH, {secret} tilda.marsh@example.org +15550100142. {after}");
        let mut payload = case(&[&said, "plain"]);
        payload["businessName"] = secret.as_str().into();
        payload["messages"][1] = json!({"id": "m", "type": "text", "data": format!("secret{secret}"), "isRedacted": true});
        for format in ["html", "text", "json"] {
            let copy = text(&payload, format, &[("redacted", "true")]).to_lowercase();
            for word in ["tilda.marsh@", "15550100142", &secret.to_lowercase(), " tilda ", " marsh,"] {
                prop_assert!(!copy.contains(word), "{word} in {copy}");
            }
        }
        prop_assert_eq!(text(&payload, "html", &[]).matches("[redacted]").count(), said.matches("[redacted]").count());
    }
}
