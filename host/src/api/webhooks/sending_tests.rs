use serde_json::{Value, json};

use super::*;
use crate::catalogue::Catalogue;

fn sending(body: Value) -> Sending {
    let Value::Object(body) = body else { panic!("an object") };
    let registration = Registration::read(body, &Catalogue::embedded().unwrap()).unwrap();
    of(&registration, &"webhook-1".parse().unwrap()).unwrap()
}

fn settings(sending: &Sending) -> Value {
    json!(sending.settings)
}

fn plugins(sending: &Sending) -> Vec<String> {
    sending.plugins.iter().map(ToString::to_string).collect()
}

#[test]
fn a_transcript_goes_to_the_drop_folder_or_to_the_carriers_site() {
    let plain = sending(json!({ "EVENT_ID": 3 }));
    assert_eq!(
        (plugins(&plain), &plain.event_types),
        (vec!["shared/transcript".to_owned()], &vec!["case.closed".into()])
    );
    assert_eq!(settings(&plain), json!({ "to": "webhook-1", "via": "sftp", "format": "pdf" }));
    assert!(plain.spec.sftp.as_ref().is_some_and(|sftp| sftp.hosted) && plain.secrets.login.is_none());

    let site =
        json!({ "host": "sftp.acme.example", "username": "u", "host_keys": ["SHA256:x"], "password": "p" });
    let name = "${caseData.brand}/${partialId}";
    let own = sending(json!({ "EVENT_ID": 3, "format": name, "redacted": true, "SFTP": site }));
    let expected =
        json!({ "to": "webhook-1", "via": "sftp", "format": "pdf", "file-name": name, "redacted": "true" });
    assert_eq!(settings(&own), expected);
    let sftp = own.spec.sftp.unwrap();
    assert_eq!((sftp.hosted, sftp.host.as_deref()), (false, Some("sftp.acme.example")));
    assert_eq!(own.secrets.login.unwrap().password.as_deref(), Some("p"));
}

#[test]
fn a_schedule_collects_what_happens_to_cases() {
    let due = sending(json!({ "EVENT_ID": 4 }));
    assert_eq!(
        (due.event_types, due.filter, due.schedule),
        (vec!["case.transcript_due".to_owned()], None, None)
    );
    let zone = "Europe/Berlin";
    let daily = sending(json!({ "EVENT_ID": 4, "SCHEDULE": "Weekly MON 02:30", "TIME_ZONE": zone }));
    assert_eq!(daily.event_types, ["case.*", "message.*", "chatbot.completed"]);
    assert_eq!(daily.filter.as_deref(), Some("exists(caseData.id)"));
    let expected = ScheduleSpec {
        every: "weekly mon 02:30".to_owned(),
        time_zone: zone.to_owned(),
        group_by: Some("caseData.id".to_owned()),
    };
    assert_eq!(daily.schedule, Some(expected));
}

#[test]
fn mails_surveys_and_media_have_their_plugins() {
    let mail = sending(
        json!({ "EVENT_ID": 8, "recipients": "a@acme.example", "SUBJECT": "Closed", "INCLUDE_MEDIA": true }),
    );
    let expected =
        json!({ "to": "webhook-1", "via": "email", "format": "pdf", "subject": "Closed", "media": "fetch" });
    assert_eq!((plugins(&mail), settings(&mail)), (vec!["shared/transcript".to_owned()], expected));
    assert_eq!(mail.spec.email.unwrap().to, ["a@acme.example"]);

    let survey = sending(json!({ "EVENT_ID": 9 }));
    assert_eq!(
        (plugins(&survey), settings(&survey)),
        (vec!["shared/survey".to_owned()], json!({ "destination": "webhook-1" }))
    );
    assert_eq!(survey.spec.email.unwrap().allowed_recipients, ["*"]);

    let media = sending(json!({ "EVENT_ID": 15 }));
    assert_eq!((plugins(&media), settings(&media)), (vec!["shared/media".to_owned()], json!({})));
    assert_eq!(media.spec.sftp.unwrap().file_name.as_deref(), Some(MEDIA_NAME));
}
