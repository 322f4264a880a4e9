//! The SDK as an author uses it, natively: what the function asks for, what its errors become, and what example files
//! say about it.

// As an author does who renames the dependency.
extern crate hookyard_sdk as hookyard;

use hookyard::log::Level;
use hookyard::testing::{self, Example, Fixture, Outcome};
use hookyard::{Content, Delivery, Event, Failure, Message, Method, Result, Verdict, json, settings, tables};
use serde::Deserialize;

#[derive(Deserialize)]
struct Claim {
    brand: String,
    amount: u64,
}

#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let claim: Claim = event.json()?;
    let least = settings::parse::<u64>("least")?.unwrap_or(10);
    if claim.amount < least {
        hookyard::log::warn!("{} is below {least}", claim.amount);
        return Ok(Verdict::drop("below the least amount"));
    }
    let Some(team) = tables::get("teams", &claim.brand) else {
        return Err(Failure::temporary("the team is not in the table yet"));
    };
    let claims =
        Delivery::http("claims").put().path(format!("/teams/{team}")).header("x-team", team.as_str());
    Ok(Verdict::deliver([
        claims
            .json(&json!({"amount": claim.amount}))?
            .not_before_ms(event.received_ms + 1)
            .order_key(claim.brand),
        Delivery::email(settings::required("mailbox")?)
            .to("a@example.org")
            .cc("b@example.org")
            .subject("New claim")
            .text("See the file")
            .attach("claim.json", "application/json", Content::Original)
            .delivery(),
        Delivery::sftp("archive", "claims/1.json").delivery(),
    ]))
}

fn claim(amount: u64) -> Event {
    testing::event("claim.opened", &json!({"brand": "Acme", "amount": amount}))
}

fn fixture() -> Fixture {
    Fixture::new().setting("mailbox", "adjusters").table("teams", "Acme", "east")
}

#[test]
fn a_function_finds_what_the_test_put_there_and_nothing_is_left_for_the_next() {
    let Ok(Verdict::Deliver(list)) = fixture().run(handle, &claim(12)) else { panic!("it delivers") };
    assert_eq!(list.len(), 3);
    let Message::Http(http) = &list[0].send else { panic!("the first is a request") };
    assert_eq!((http.method, http.path.as_deref()), (Method::Put, Some("/teams/east")));
    assert_eq!(http.body, Content::Bytes(br#"{"amount":12}"#.to_vec()));
    assert_eq!(list[0].order_key.as_deref(), Some("Acme"));
    assert_eq!(list[0].not_before_ms, Some(1_767_225_600_001));

    let again = Fixture::new().run(handle, &claim(12));
    assert_eq!(again, Err(Failure::temporary("the team is not in the table yet")));
    assert_eq!(settings::get("mailbox"), None);
}

#[test]
fn the_log_is_that_of_the_last_run() {
    let mut fixture = fixture();
    assert_eq!(fixture.run(handle, &claim(3)), Ok(Verdict::drop("below the least amount")));
    assert_eq!(fixture.log(), [(Level::Warn, "3 is below 10".to_owned())]);
    assert!(fixture.run(handle, &claim(12)).is_ok());
    assert!(fixture.log().is_empty());
}

#[test]
fn errors_become_rejections_that_say_where() {
    let rejected = |fixture: Fixture, event: &Event| match { fixture }.run(handle, event) {
        Err(Failure::Rejected(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let event = testing::event("claim.opened", &json!({"brand": "Acme", "amount": "12"}));
    assert_eq!(rejected(fixture(), &event), r#"payload.amount: invalid type: string "12", expected u64"#);
    assert_eq!(
        rejected(fixture().setting("least", "many"), &claim(12)),
        r#"setting `least` is not valid: invalid digit found in string (it says "many")"#
    );
    let unmade = Fixture::new().table("teams", "Acme", "east");
    assert_eq!(rejected(unmade, &claim(12)), "setting `mailbox` is missing");
}

#[test]
fn attributes_are_found_by_name() {
    let event = claim(1).with_attribute("subject", "b").with_attribute("source", "/a");
    assert_eq!(event.attribute("source"), Some("/a"));
    assert_eq!(event.attribute("Source"), None);
    assert_eq!(event.attributes[1].0, "subject");
}

/// What every kind of delivery looks like in an example file.
const DELIVERED: &str = r#"{
    "type": "claim.opened",
    "payload": {"brand": "Acme", "amount": 12},
    "settings": {"mailbox": "adjusters"},
    "tables": {"teams": {"Acme": "east"}},
    "expect": {"deliver": [
        {"http": {"destination": "claims", "method": "PUT", "path": "/teams/east", "headers": [["x-team", "east"]],
                  "body": {"text": "{ \"amount\": 12 }"}},
         "not_before_ms": 1767225600001, "order_key": "Acme"},
        {"email": {"destination": "adjusters", "to": ["a@example.org"], "cc": ["b@example.org"],
                   "subject": "New claim", "text": "See the file",
                   "attachments": [{"name": "claim.json", "content_type": "application/json"}]}},
        {"sftp": {"destination": "archive", "path": "claims/1.json"}}
    ]}
}"#;

#[test]
fn an_example_is_compared_by_meaning() {
    let example = Example::parse(DELIVERED).unwrap();
    example.run(handle).unwrap();

    let other = Example::parse(&DELIVERED.replace("/teams/east", "/teams/west")).unwrap();
    let mismatch = other.run(handle).unwrap_err();
    assert!(mismatch.expected.contains("/teams/west") && mismatch.got.contains("/teams/east"), "{mismatch}");
}

#[test]
fn an_example_without_an_expectation_takes_any_verdict_but_no_failure() {
    let example = Example::parse(r#"{"type": "t", "payload": {"brand":  "Acme", "amount": 1}}"#).unwrap();
    assert_eq!(example.event.payload, br#"{"brand":  "Acme", "amount": 1}"#);
    example.run(handle).unwrap();
    assert_eq!(example.check(&Outcome::Temporary("later".to_owned())).unwrap_err().expected, "any verdict");
}

#[test]
fn a_mistake_in_an_example_is_named_with_its_place() {
    for (text, says) in [
        (r#"{"type": "t"}"#, "example: missing field `payload`"),
        (
            r#"{"type": "t", "payload": {}, "expect": {"dropp": ""}}"#,
            "example.expect.dropp: unknown variant `dropp`",
        ),
        (
            r#"{"type": "t", "payload": {}, "settings": {"a": 1}}"#,
            "example.settings.a: invalid type: integer `1`",
        ),
    ] {
        let error = Example::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn a_folder_of_examples_must_hold_some_and_a_wrong_one_is_named() {
    let root = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("author-examples");
    let folder = root.join("examples");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&folder).unwrap();
    let error = testing::read_examples(&root).unwrap_err().to_string();
    assert!(error.starts_with("there are no examples in "), "{error}");

    std::fs::write(folder.join("b.json"), DELIVERED.replace("/teams/east", "/teams/west")).unwrap();
    std::fs::write(folder.join("a.json"), DELIVERED).unwrap();
    let names: Vec<String> =
        testing::read_examples(&root).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.json", "b.json"]);
    let panic = std::panic::catch_unwind(|| testing::run_examples(&root, handle)).unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.contains("b.json: expected") && !said.contains("a.json"), "{said}");

    std::fs::write(folder.join("c.json"), "{}").unwrap();
    let error = testing::read_examples(&root).unwrap_err().to_string();
    assert!(error.ends_with("c.json: example: missing field `type`"), "{error}");
}
