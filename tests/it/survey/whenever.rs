//! The same link and the same truth whatever happens in between: runs again, restarts, a new master key, two nodes, a kill.

use std::time::Duration;

use hookyard::clock::Clock;
use hookyard::rotate::{Stage, rotate};
use hookyard::secrets::KeyFile;
use hookyard_tests::child::ChildHost;
use hookyard_tests::data::{Data, Kind};
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::on_both;
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

use super::visitor::Visitor;
use super::{PUBLIC, case, furnish, link, start, surveys, told};

on_both! {
    a_link_is_the_same_whenever_its_event_is_run,
    a_killed_host_keeps_the_answer_and_tells_it_once,
}

async fn a_link_is_the_same_whenever_its_event_is_run(data: &Data) {
    let sink = Sink::start().await;
    // Without an address there are no links: the event is parked, and says what to set.
    let host = TestHost::with(data, Clock::manual(T0), |_| ()).await;
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    acme.post("evt", &case("c-1")).await;
    let parked = acme.routing_when("evt", "parked", |r| r["state"] == "parked").await;
    assert!(parked["reason"].as_str().unwrap().contains("`server.public_url`"), "{parked:#}");
    let clock = host.clock.clone();
    host.leave().await;

    let host = start(data, clock.clone()).await;
    let at = acme.at(&host.admin);
    let again = at.path("events/evt/routings/main/retry");
    at.api.post(&again, &json!({})).await.ok();
    let first = link(&sink, "evt").await;
    // Another event with the same content, and another subscription, have links of their own.
    at.post("evt-2", &case("c-1")).await;
    assert_ne!(link(&sink, "evt-2").await, first);
    let visitor = Visitor::at(&host.admin, &first);
    visitor.post(&[("step", "rating"), ("rating", "2")]).await;
    told(&sink, 1).await;
    host.end().await;

    // A new master key, and the old one forgotten.
    let store = hookyard::host::open_store(&data.config(), true, clock.now()).await.unwrap();
    let file = KeyFile::in_folder(data.folder());
    let done = rotate(&store, &file, Stage::All, &clock, Duration::from_secs(60), |_| ()).await.unwrap();
    assert!(done.finished && done.resealed >= 3, "{done:?}");
    store.close().await.unwrap();

    clock.advance(Duration::from_secs(86_400));
    let host = start(data, clock).await;
    let at = acme.at(&host.admin);
    let visitor = Visitor::at(&host.admin, &first);
    assert_eq!(visitor.get().await.heading(), "You chose 2 of 5", "the link in the mail goes on working");
    assert_eq!(visitor.post(&[("step", "feedback"), ("text", "fine")]).await.status, 200);
    let types: Vec<Value> = told(&sink, 2).await.iter().map(|e| e["event"]["type"].clone()).collect();
    assert_eq!(types, ["survey.initiated", "survey.complete"]);
    assert_eq!(surveys(&at, "?state=completed").await[0]["event"], "evt");
    host.end().await;
}

async fn a_killed_host_keeps_the_answer_and_tells_it_once(data: &Data) {
    let sink = Sink::start().await;
    let lease = crate::kill::settings(data);
    let settings = [&lease[..], &[("SERVER_PUBLIC_URL", PUBLIC)]].concat();
    let host = ChildHost::start(data, &settings).await;
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    acme.post("evt", &case("c-1")).await;
    let first = link(&sink, "evt").await;
    let visitor = Visitor::at(&host.admin, &first);
    assert_eq!(visitor.post(&[("step", "rating"), ("rating", "3")]).await.status, 303);
    // Killed with the answer's event just written.
    assert_eq!(visitor.post(&[("step", "feedback"), ("text", "kept")]).await.status, 200);
    host.kill().await;

    let host = ChildHost::start(data, &settings).await;
    let acme = acme.at(&host.admin);
    let visitor = Visitor::at(&host.admin, &first);
    assert_eq!(visitor.get().await.status, 409);
    acme.settled_events().await;
    let survey = surveys(&acme, "").await.remove(0);
    assert_eq!((&survey["state"], &survey["feedback"]), (&json!("completed"), &json!("kept")));
    let events = acme.api.get(&acme.path("events?type=case.event")).await.ok();
    assert_eq!(events["items"].as_array().unwrap().len(), 2, "{events:#}");
    let ids: std::collections::HashSet<String> =
        sink.requests().iter().filter(|r| r.path == "/told").map(|r| r.id.clone()).collect();
    assert_eq!(ids.len(), 2, "each is told under one id");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_know_each_others_links_and_tell_each_survey_once() {
    let (data, sink) = (Data::make(Kind::Postgres).await, Sink::start().await);
    let first = start(&data, Clock::system()).await;
    let folder = data.second_folder();
    let second = TestHost::with(&data, Clock::system(), |config| {
        config.server.public_url = PUBLIC.to_owned();
        config.store.data = folder.path().to_owned();
    })
    .await;
    let acme = first.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    for n in 0..20 {
        acme.post(&format!("evt-{n}"), &case("c")).await;
    }
    for n in 0..20 {
        let link = link(&sink, &format!("evt-{n}")).await;
        let (here, there) = if n % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let [here, there] = [here, there].map(|host| Visitor::at(&host.admin, &link));
        let rate = [("step", "rating"), ("rating", "5")];
        // The same form at both nodes at once.
        let (a, b) = tokio::join!(here.post(&rate), there.post(&rate));
        assert_eq!((a.status, b.status), (303, 303));
        if n < 10 {
            let text = [("step", "feedback"), ("text", "same")];
            let (a, b) = tokio::join!(here.post(&text), there.post(&text));
            let mut statuses = [a.status, b.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409]);
        }
    }
    let all = told(&sink, 30).await;
    let of = |name: &str| all.iter().filter(|e| e["event"]["type"] == name).count();
    assert_eq!((of("survey.initiated"), of("survey.complete")), (20, 10));
    acme.settled_events().await;
    told(&sink, 30).await;
    assert_eq!(surveys(&acme.at(&second.admin), "?state=initiated").await.len(), 10);
    second.leave().await;
    first.leave().await;
    data.end().await;
}
