//! What the catalogue must say, and what is said of a file that cannot be used.

use serde_json::Value;

use super::*;

fn embedded() -> Catalogue {
    Catalogue::embedded().unwrap()
}

/// The table of the carrier webhooks: number, our type, name, action, filter.
const TABLE: &str = "\
1 user.opted_out OPT_OUT http_post -
2 user.opted_in OPT_IN http_post -
3 case.closed CLOSE_CASE sftp -
4 case.transcript_due - sftp -
8 case.closed CLOSE_CASE email -
9 case.closed CLOSE_CASE survey -
10 case.created - http_post .
11 case.closed CLOSE_CASE http_post .
14 message.created MESSAGE http_post .
15 media.received - media -
16 note.created CREATE_NOTE http_post -
17 note.updated UPDATE_NOTE http_post -
18 case.closed - http_post .
19 chatbot.completed - http_post -
20 case.reopened - http_post .
21 case.reassigned CASE_REASSIGNED http_post case.
22 message.updated MESSAGE_UPDATED http_post .
23 case.event CASE_EVENT http_post .
24 case.event_24 - http_post .
25 case.event_25 - http_post .
26 case.event_26 - http_post .
27 case.opted_in - http_post .
28 case.opted_out - http_post .
30 contact.updated - http_post -
31 case.event_31 - http_post .
32 message.failed MESSAGE_STATUS_UPDATED http_post -";

#[test]
fn every_documented_webhook_is_there_and_no_other() {
    let catalogue = embedded();
    let row = |id: u16| {
        let entry = catalogue.by_event_id(id)?;
        let filter = match &entry.filter {
            Filterable::No => "-",
            Filterable::Yes { prefix } => prefix.as_deref().unwrap_or("."),
        };
        let name = entry.event_name.as_deref().unwrap_or("-");
        Some(format!("{id} {} {name} {} {filter}", entry.event_type, entry.action.as_str()))
    };
    let rows: Vec<_> = (0..=u16::MAX).filter_map(row).collect();
    assert_eq!(rows.join("\n"), TABLE);
    let without: Vec<_> = catalogue.entries().iter().filter(|e| e.event_id.is_none()).collect();
    assert_eq!(without.len(), 1);
    assert_eq!(without[0].event_type.as_str(), "conversation.message");
}

#[test]
fn what_no_document_states_is_marked() {
    let catalogue = embedded();
    for id in [3, 4, 8, 9, 10, 15, 18, 20, 24, 25, 26, 28, 31] {
        assert!(!catalogue.by_event_id(id).unwrap().assumed.is_empty(), "{id}");
    }
    for id in [1, 2, 16, 19, 27, 30] {
        assert_eq!(catalogue.by_event_id(id).unwrap().assumed, [""; 0], "{id}");
    }
}

#[test]
fn registrations_have_the_documented_fields() {
    let catalogue = embedded();
    let fields = |id| {
        let fields = &catalogue.by_event_id(id).unwrap().fields;
        fields.iter().map(|f| (f.name.as_str(), f.kind, f.required)).collect::<Vec<_>>()
    };
    use FieldKind::{Addresses, Base64, Bool, Site, Template, Text};
    let file = [("PGP_KEY", Base64, false), ("FORMAT", Template, false), ("SFTP", Site, false)];
    let transcript = [&file[..], &[("redacted", Bool, false)]].concat();
    assert_eq!(fields(3), transcript);
    assert_eq!(
        fields(4),
        [&transcript[..], &[("SCHEDULE", Text, false), ("TIME_ZONE", Text, false)]].concat()
    );
    let mail = [("RECIPIENTS", Addresses, true), ("PGP_KEY", Base64, false), ("FORMAT", Template, false)];
    let own = [("SUBJECT", Text, false), ("INCLUDE_MEDIA", Bool, false), ("redacted", Bool, false)];
    assert_eq!(fields(8), [&mail[..], &own].concat());
    assert_eq!(fields(9), [("SUBJECT", Text, false)]);
    assert_eq!(fields(14), [("includeMessageClassifications", Bool, false)]);
    assert_eq!(fields(15), file);
    for id in [21, 22] {
        assert_eq!(fields(id), [("redacted", Bool, false)], "{id}");
    }
    let others =
        catalogue.entries().iter().filter(|e| !matches!(e.event_id, Some(3 | 4 | 8 | 9 | 14 | 15 | 21 | 22)));
    assert!(others.into_iter().all(|e| e.fields.is_empty()));
    let entry = catalogue.by_event_id(3).unwrap();
    assert_eq!(entry.field("format").unwrap().name, "FORMAT");
    assert_eq!(entry.field("forma"), None);
}

#[test]
fn every_example_is_json_and_has_what_filters_ask_for() {
    for entry in embedded().entries() {
        let example: Value = serde_json::from_slice(entry.example.as_ref().unwrap()).unwrap();
        assert!(example.is_object(), "{}", entry.event_type);
        let Filterable::Yes { prefix } = &entry.filter else { continue };
        let root = match prefix.as_deref() {
            None => &example,
            Some(prefix) => &example[prefix.strip_suffix('.').unwrap()],
        };
        for path in [
            "/caseData/brand",
            "/caseData/lineOfBusiness/type",
            "/caseData/lineOfBusiness/subtype",
            "/state",
            "/caseType",
            "/creationSource",
        ] {
            assert!(root.pointer(path).is_some_and(Value::is_string), "{} {path}", entry.event_type);
        }
    }
}

#[test]
fn one_type_can_set_off_several_webhooks() {
    let catalogue = embedded();
    let ids: Vec<_> = catalogue.by_type("case.closed").map(|e| e.event_id.unwrap()).collect();
    assert_eq!(ids, [3, 8, 9, 11, 18]);
    assert_eq!(catalogue.lead("case.closed").unwrap().event_id, Some(11));
    assert_eq!(catalogue.lead("media.received").unwrap().event_id, Some(15));
    assert_eq!((catalogue.by_type("case").count(), catalogue.lead("zzz")), (0, None));
}

#[test]
fn a_name_is_made_only_where_none_is_known() {
    let catalogue = embedded();
    let shown = |id| catalogue.by_event_id(id).unwrap().shown_name();
    assert_eq!((shown(11).as_str(), shown(27).as_str()), ("CLOSE_CASE", "CASE_OPTED_IN"));
}

#[test]
fn a_file_adds_and_overrides() {
    let text = r#"
        [examples]
        mine = '{"a": 1}'
        [[event]]
        event_id = 18
        type = "case.reopened"
        about = "Really the reopening."
        example = "case"
        filter = { prefix = "body." }
        [[event]]
        event_id = 0x100
        type = "policy.lapsed"
        name = "POLICY_LAPSED"
        about = "A policy has lapsed."
        action = "email"
        example = "mine"
        fields = [{ name = "cc", kind = "addresses", required = true, about = "Who else." }]
        [[event]]
        type = "conversation.message"
        about = "Ours."
        assumed = ["all"]
    "#;
    let catalogue = Catalogue::with_text(text).unwrap();
    assert_eq!(catalogue.entries().len(), embedded().entries().len() + 1);
    let eighteen = catalogue.by_event_id(18).unwrap();
    assert_eq!(eighteen.event_type.as_str(), "case.reopened");
    assert_eq!(eighteen.filter, Filterable::Yes { prefix: Some("body.".to_owned()) });
    assert_eq!(eighteen.example, embedded().by_event_id(10).unwrap().example);
    let expected = Entry {
        event_id: Some(256),
        event_type: "policy.lapsed".parse().unwrap(),
        event_name: Some("POLICY_LAPSED".to_owned()),
        action: Action::Email,
        filter: Filterable::No,
        fields: vec![Field {
            name: "cc".to_owned(),
            kind: FieldKind::Addresses,
            required: true,
            about: "Who else.".to_owned(),
        }],
        collects: Vec::new(),
        assumed: Vec::new(),
        about: "A policy has lapsed.".to_owned(),
        example: Some(Bytes::from_static(br#"{"a": 1}"#)),
    };
    assert_eq!(catalogue.by_event_id(256), Some(&expected));
    let ours: Vec<_> = catalogue.by_type("conversation.message").collect();
    assert_eq!((ours.len(), ours[0].about.as_str()), (1, "Ours."));
    assert_eq!(Catalogue::with_text("").unwrap(), embedded());
}

#[test]
fn every_problem_of_a_file_is_told_at_once_with_its_line() {
    let text = "\
[examples]
bad = '{'
[[event]]
event_id = 0
type = 'a..b'
about = 'x'
[[event]]
event_id = 70
about = 7
kind = 1
action = 'fax'
name = 'A B'
filter = 'yes'
collects = ['case.*', '*']
example = 'none'
assumed = [1]
fields = [{ name = 'x', kind = 'int' }, 3]
[[event]]
event_id = 71
type = 'x.y'
about = 'x'
filter = { prefix = 'case', more = 1 }
[[event]]
event_id = 71
type = 'x.z'
about = 'x'
[other]
";
    let problems: Vec<_> = Catalogue::with_text(text).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "line 2: examples: bad: not JSON: EOF while parsing an object at line 1 column 1",
            "line 4: event[0]: event_id: it takes a number from 1 to 65535, not 0",
            "line 5: event[0]: type: \"a..b\" is not a valid event type: it takes 1 to 128 characters: parts of letters, \
             digits, `_` and `-`, separated by single dots",
            "line 7: event 70: type: missing; it takes an event type such as `case.closed`",
            "line 9: event 70: about: it takes a text, not 7",
            "line 10: event 70: kind: unknown; it takes `type`, `about`, `event_id`, `name`, `action`, `filter`, `example`, \
             `collects`, `assumed` and `fields`",
            "line 11: event 70: action: unknown variant `fax`, expected one of `http_post`, `sftp`, `media`, `email`, \
             `survey`",
            "line 12: event 70: name: \"A B\" is not a valid event name: it takes 1 to 64 characters: printable ASCII \
             without spaces",
            "line 13: event 70: filter: it takes `true`, `false` or `{ prefix = \"case.\" }`, not \"yes\"",
            "line 14: event 70: collects: \"*\" is not a valid event type: it takes 1 to 128 characters: parts of letters, \
             digits, `_` and `-`, separated by single dots",
            "line 15: event 70: example: there is no example `none` in [examples]",
            "line 16: event 70: assumed: it takes texts, not 1",
            "line 17: event 70: fields[0]: kind: unknown variant `int`, expected one of `bool`, `text`, `base64`, \
             `template`, `addresses`, `site`",
            "line 17: event 70: fields[0]: about: missing; it takes a text for people",
            "line 17: event 70: fields[1]: it takes a table, not 3",
            "line 22: event 71: filter: more: unknown; it takes `prefix`",
            "line 22: event 71: filter: prefix: it takes a path that ends with a dot, such as `case.`, not \"case\"",
            "line 23: event 71: event_id: the same as on line 18; change or remove one of them",
            "line 27: other: unknown; it takes `examples` and `event`",
        ]
    );
}

#[test]
fn what_is_not_toml_or_too_large_says_where() {
    let problems = |text: &str| -> Vec<String> {
        Catalogue::with_text(text).unwrap_err().iter().map(ToString::to_string).collect()
    };
    let syntax = problems("[[event]]\ntype = \n");
    assert!(syntax[0].starts_with("line 2: the file: not TOML: "), "{syntax:?}");
    let long = "x".repeat(2_001);
    assert_eq!(
        problems(&format!("[[event]]\ntype = 'a'\nabout = '{long}'\n")),
        ["line 3: event[0]: about: it has 2001: the limit `text_characters` is 2000"]
    );
    let large = format!("[examples]\nbig = '\"{}\"'\n", "x".repeat(64 << 10));
    assert_eq!(problems(&large), ["line 2: examples: big: it has 65538: the limit `example_bytes` is 65536"]);
    let fields = "{ name = 'x', kind = 'bool', about = 'x' },".repeat(33);
    assert_eq!(
        problems(&format!("[[event]]\ntype = 'a'\nabout = 'x'\nfields = [{fields}]\n")),
        ["line 4: event[0]: fields: it has 33: the limit `catalogue_list` is 32"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.toml");
    let error = Catalogue::with_file(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("the catalogue {} cannot be read: ", path.display())), "{error}");
    std::fs::write(&path, "[[event]]\ntype = 'a.b'\nabout = 'x'\n").unwrap();
    assert_eq!(Catalogue::with_file(&path).unwrap().by_type("a.b").count(), 1);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(problem::MAX_BYTES + 1).unwrap();
    let error = Catalogue::with_file(&path).unwrap_err().to_string();
    assert!(error.ends_with("has 4194305 bytes: the limit `catalogue_bytes` is 4194304"), "{error}");
}
