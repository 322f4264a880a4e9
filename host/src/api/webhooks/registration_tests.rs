use serde_json::json;

use super::*;

fn catalogue() -> Catalogue {
    Catalogue::embedded().unwrap()
}

fn read(body: Value) -> Result<Registration, (Option<String>, String)> {
    let Value::Object(body) = body else { panic!("an object") };
    Registration::read(body, &catalogue()).map_err(|problem| (problem.field.clone(), problem.detail.clone()))
}

const ADDRESS: &str = "https://hooks.example/in";

#[test]
fn the_documented_bodies_are_taken() {
    let example = json!({ "EVENT_ID": 14, "HTTP_POST_ADDRESS": ADDRESS, "HEADERS": { "key": "value", "key1": "value1" },
        "FILTER_BY": "caseData.brand:Acme Mutual&state:open", "includeMessageClassifications": true });
    let taken = read(example).unwrap();
    assert_eq!((taken.event_id, taken.address.as_deref()), (14, Some(ADDRESS)));
    assert_eq!(taken.filter.as_deref(), Some(r#"caseData.brand is "Acme Mutual" && state is "open""#));
    assert_eq!((taken.policy.as_str(), taken.classifications, taken.redacted), ("none", true, false));
    let kept: Vec<_> = taken.registered.keys().map(String::as_str).collect();
    assert_eq!(kept, ["EVENT_ID", "FILTER_BY", "includeMessageClassifications"], "no address, no header");

    let file = json!({ "EVENT_ID": 3, "format": "${caseData.brand}/${partialId}", "redacted": true });
    let taken = read(file).unwrap();
    assert_eq!((taken.address, taken.redacted, taken.registered.contains_key("format")), (None, true, true));
    let mail = read(json!({ "event_id": 8, "recipients": ["claims@acme.example"] })).unwrap();
    assert_eq!((mail.event_id, mail.policy.as_str()), (8, "standard"), "names are taken in any case");
    let site = read(json!({ "EVENT_ID": 15, "sftp": { "HOST": "sftp.acme.example", "password": "S3CRET" } }))
        .unwrap();
    assert_eq!(site.site.unwrap().login.password.as_deref(), Some("S3CRET"));
    assert_eq!(site.registered.keys().collect::<Vec<_>>(), ["EVENT_ID"], "the site is the destination's");
    read(json!({ "EVENT_ID": 9 })).unwrap();
    read(json!({ "EVENT_ID": 4, "SCHEDULE": "weekly mon 02:30", "TIME_ZONE": "Europe/Berlin" })).unwrap();
    let absent = json!({ "EVENT_ID": 11, "HTTP_POST_ADDRESS": ADDRESS, "HEADERS": null, "FILTER_BY": null });
    assert_eq!(read(absent).unwrap().registered.len(), 1, "null is as good as absent");
}

#[test]
fn every_known_number_registers() {
    for entry in catalogue().entries() {
        let Some(id) = entry.event_id else { continue };
        let mut body = Map::from_iter([("EVENT_ID".to_owned(), json!(id))]);
        if entry.action == Action::HttpPost {
            body.insert("HTTP_POST_ADDRESS".to_owned(), json!(ADDRESS));
        }
        if let Filterable::Yes { prefix } = &entry.filter {
            body.insert(
                "FILTER_BY".to_owned(),
                json!(format!("{}state:open", prefix.as_deref().unwrap_or(""))),
            );
        }
        if entry.field("RECIPIENTS").is_some() {
            body.insert("RECIPIENTS".to_owned(), json!("claims@acme.example"));
        }
        let taken = read(body.into()).unwrap_or_else(|why| panic!("{id}: {why:?}"));
        assert_eq!(taken.filter.is_some(), entry.filter != Filterable::No, "{id}");
    }
}

#[test]
fn a_member_that_does_not_hold_is_named() {
    let with = |more: Value| {
        let mut body = json!({ "EVENT_ID": 14, "HTTP_POST_ADDRESS": ADDRESS });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        body
    };
    for (body, field, said) in [
        (json!({}), "EVENT_ID", "it is missing"),
        (json!({ "EVENT_ID": "14" }), "EVENT_ID", "it takes a number"),
        (json!({ "EVENT_ID": 99 }), "EVENT_ID", "there is no event 99; there are 1, 2, 3,"),
        (json!({ "EVENT_ID": 65_537 }), "EVENT_ID", "there is no event 65537"),
        (json!({ "EVENT_ID": 14 }), "HTTP_POST_ADDRESS", "event 14 is sent to an address"),
        (with(json!({ "HTTP_POST_ADDRESS": 7 })), "HTTP_POST_ADDRESS", "it takes a text"),
        (
            with(json!({ "FILTERBY": "x:y" })),
            "FILTERBY",
            "event 14 does not take it; it takes AUTH_TOKEN, EVENT_ID,",
        ),
        (with(json!({ "PGP_KEY": "x" })), "PGP_KEY", "event 14 does not take it"),
        (with(json!({ "redacted": "yes" })), "redacted", "it takes true or false"),
        (with(json!({ "POLICY": "often" })), "POLICY", "it takes `none`, `conversation`, `standard`"),
        (with(json!({ "HTTP_METHOD": "DELETE" })), "HTTP_METHOD", "it takes `POST`, `PUT`, `GET`"),
        (with(json!({ "SIGNING": 1 })), "SIGNING", "it takes true or false"),
        (with(json!({ "AUTH_TOKEN": "two words" })), "AUTH_TOKEN", "it takes 1 to 1024"),
        (with(json!({ "http_post_address": ADDRESS })), "http_post_address", "it is there twice"),
        (
            json!({ "EVENT_ID": 3, "HTTP_POST_ADDRESS": ADDRESS }),
            "HTTP_POST_ADDRESS",
            "event 3 does not take it",
        ),
        (json!({ "EVENT_ID": 3, "HEADERS": {} }), "HEADERS", "event 3 does not take it"),
        (json!({ "EVENT_ID": 3, "PGP_KEY": "x!" }), "PGP_KEY", "it is not base64"),
        (json!({ "EVENT_ID": 8 }), "RECIPIENTS", "event 8 needs it"),
        (
            json!({ "EVENT_ID": 9, "redacted": true }),
            "redacted",
            "event 9 does not take it; it takes EVENT_ID,",
        ),
        (
            json!({ "EVENT_ID": 9, "SUBJECT": "a\nb" }),
            "SUBJECT",
            "it has a control character, at character 2",
        ),
        (json!({ "EVENT_ID": 15, "redacted": false }), "redacted", "event 15 does not take it"),
        (json!({ "EVENT_ID": 4, "TIME_ZONE": "UTC" }), "TIME_ZONE", "it belongs to a `SCHEDULE`"),
        (json!({ "EVENT_ID": 3, "SFTP": "sftp.acme.example" }), "SFTP", "it takes an object"),
        (with(json!({ "SFTP": {} })), "SFTP", "event 14 does not take it"),
    ] {
        let (named, why) = read(body.clone()).unwrap_err();
        assert_eq!(named.as_deref(), Some(field), "{body}: {why}");
        assert!(why.starts_with(&format!("`{field}`: {said}")), "{body}: {why}");
    }
}

#[test]
fn a_filter_that_cannot_be_meant_is_refused_at_its_clause() {
    let filter = |id: u16, text: &str| {
        let body = json!({ "EVENT_ID": id, "HTTP_POST_ADDRESS": ADDRESS, "FILTER_BY": text });
        read(body).map(|taken| taken.filter.unwrap())
    };
    for (id, text) in [
        (11, " \"state:open\""),
        (
            11,
            "caseData.brand:Hi There&caseData.lineOfBusiness.type:auto&caseData.lineOfBusiness.subType:personal",
        ),
        (21, "case.caseData.brand:Acme Mutual&case.state:open"),
        (31, "customer.email:a@b.example"),
        (14, "message.data:see http://x.example"),
    ] {
        filter(id, text).unwrap_or_else(|why| panic!("{text}: {why:?}"));
    }
    for (id, text, said) in [
        (
            16,
            "state:open",
            "event 16 cannot be filtered; those that can are 10, 11, 14, 18, 20, 21, 22, 23, 24,",
        ),
        (14, "", "at character 1: expected `path:value`"),
        (14, "state:open&&caseType:claim", "at character 12: expected `path:value`"),
        (21, "case.state:open&state:open", "clause 2 (`state:open`): paths of event 21 begin with `case.`"),
        (11, "case.state:open", "clause 1 (`case.state:open`): paths of event 11 do not begin with `case.`"),
        (
            11,
            "caseData.brand:Acme&caseData.lineOfBusiness.type:auto.lineOfBusiness.subType:personal",
            "clause 2 (`caseData.lineOfBusiness.type:auto.lineOfBusiness.subType:personal`): the value holds another",
        ),
        (11, &"a:b&".repeat(1_100), "4400 bytes long"),
    ] {
        let (field, why) = filter(id, text).unwrap_err();
        assert_eq!(field.as_deref(), Some("FILTER_BY"));
        assert!(why.starts_with(&format!("`FILTER_BY`: {said}")), "{text}: {why}");
    }
    let long = filter(11, &vec!["some.path:value"; 250].join("&")).unwrap_err().1;
    assert!(long.contains("the limit `filter_characters` is 4096"), "{long}");
}

#[test]
fn what_is_said_of_a_destination_is_said_in_the_words_of_a_registration() {
    let said = in_words(Problem::invalid("url", "url: the scheme `ftp` is refused"));
    assert_eq!(said.field.as_deref(), Some("HTTP_POST_ADDRESS"));
    assert_eq!(said.detail, "`HTTP_POST_ADDRESS`: the scheme `ftp` is refused");
    let said = in_words(Problem::invalid("auth.token_url", "it must be https"));
    assert_eq!(said.field.as_deref(), Some("HEADERS.Authorization.token_url"));
}
