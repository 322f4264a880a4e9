//! A carrier's script of plain `curl` calls, written from the public documents alone, against a host of its own.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hookyard_tests::child::ChildHost;
use hookyard_tests::data::Data;
use hookyard_tests::sink::{Answer, PATIENCE, Sink};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// The script says `platform TYPE` when the platform is to post an event, and `receiver up` or `receiver down` for what the
/// carrier's system does; it goes on when that is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_from_the_public_documents_runs() {
    let data = Data::sqlite().await;
    // A script goes as fast as the machine does; the throttle has tests of its own.
    let host = ChildHost::start(
        &data,
        &[
            ("WEBHOOKS_BURST", "1000"),
            ("MAIL_RELAY", "smtp.host.example"),
            ("MAIL_FROM", "events@host.example"),
        ],
    )
    .await;
    let acme = host.admin.carrier("acme").await;
    let sink = Sink::start().await;
    let down = Arc::new(AtomicBool::new(false));
    let state = down.clone();
    sink.script(move |_| Answer::Status(if state.load(Ordering::SeqCst) { 500 } else { 200 }));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/webhooks.sh");
    let mut script = Command::new("bash")
        .arg(path)
        .env("BASE", acme.api.url())
        .env("API_KEY", acme.api.key())
        .env("RECEIVER", sink.url(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut say = script.stdin.take().unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let mut events = 0;
    let talk = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            match line.split_once(' ') {
                Some(("platform", event_type)) => {
                    events += 1;
                    let payload = payload(event_type);
                    super::post(&acme, &format!("evt-{events}"), event_type, &payload).await;
                    acme.settled_events().await;
                }
                Some(("receiver", word)) => down.store(word == "down", Ordering::SeqCst),
                Some(("settle", _)) => acme.settled_events().await,
                _ => panic!("the script says {line:?}"),
            }
            say.write_all(b"done\n").await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE * 2, talk).await.expect("the script ends");
    let end = script.wait().await.unwrap();
    assert!(end.success(), "the script failed: {end}");
    let requests = sink.requests();
    let names: std::collections::BTreeSet<_> =
        requests.iter().map(|request| (request.header("eventid"), request.header("eventname"))).collect();
    let expected = [("1", "OPT_OUT"), ("11", "CLOSE_CASE"), ("14", "MESSAGE"), ("16", "CREATE_NOTE")];
    assert_eq!(names, expected.into());
    assert!(requests.iter().all(|request| request.header("accept") == "application/json"));
}

/// What the platform posts.
fn payload(event_type: &str) -> Value {
    match event_type {
        "user.opted_out" => {
            json!({ "id": "u-1", "first": "Maren", "last": "Oakes", "email": "m@x.example", "mobile": "+1" })
        }
        "note.created" => {
            json!({ "id": "n-1", "referenceId": "AC-1", "author": { "first": "Dev" }, "text": "note" })
        }
        _ => {
            json!({ "caseData": { "brand": "Hi Marley" }, "state": "open", "message": { "id": "m-1", "data": "hello" } })
        }
    }
}
