//! Surveys: from the link that a plugin sends to what the carrier is told, by a visitor who has no script and no key.

mod kept;
mod page;
mod visitor;
mod whenever;

use std::time::Duration;

use hookyard::clock::Clock;
use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::on_both;
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

use visitor::Visitor;

on_both! {
    a_survey_goes_from_its_link_to_its_answer,
    who_only_looks_changes_nothing,
    who_leaves_may_come_back,
    what_nobody_goes_on_with_is_left_and_links_end,
    of_many_answers_at_once_one_counts,
    a_link_opens_what_it_was_made_for_and_nothing_else,
}

/// Where links begin, with something before the path as a proxy may have.
const PUBLIC: &str = "https://hooks.example.com/hookyard/";

pub(crate) fn case(id: &str) -> Value {
    json!({ "caseData": { "id": id, "brand": "Northbank Mutual" }, "state": "closed", "referenceId": "NB-1",
        "customer": { "email": "tilda.marsh@example.org" }, "messages": [{ "data": "a long one" }] })
}

async fn start(data: &Data, clock: Clock) -> TestHost {
    TestHost::with(data, clock, |config| config.server.public_url = PUBLIC.to_owned()).await
}

/// A carrier whose closed cases send their link to `/claims`, and who is told of surveys at `/told`.
pub(crate) async fn furnish(acme: &Carrier, sink: &Sink) {
    acme.destination("claims", sink, json!({})).await;
    acme.destination("told", sink, json!({})).await;
    acme.plugin("link", guests::LINK, "?wall_ms=900").await;
    let main = json!({ "event_types": ["case.closed"], "plugins": ["link"], "destinations": ["claims"] });
    acme.subscription("main", main).await;
    let filter = json!({ "event_types": ["case.event"], "destinations": ["told"] });
    acme.subscription("told", filter).await;
}

/// The link in what was sent about this event.
pub(crate) async fn link(sink: &Sink, event: &str) -> String {
    let of = |r: &hookyard_tests::sink::Request| r.path == "/claims" && r.json()["event"] == event;
    sink.wait(&format!("the link of {event}"), |all| all.iter().any(of)).await;
    let request = sink.requests().into_iter().find(of).unwrap();
    request.json()["link"].as_str().unwrap().to_owned()
}

/// What the carrier was told of surveys, `n` of them: what was begun, then what was left, then what was completed. They go out side
/// by side, so that the later one may come first.
pub(crate) async fn told(sink: &Sink, n: usize) -> Vec<Value> {
    let of = |r: &&hookyard_tests::sink::Request| r.path == "/told";
    sink.wait(&format!("{n} that are told"), |all| all.iter().filter(of).count() >= n).await;
    let mut all: Vec<Value> = sink.requests().iter().filter(of).map(|r| r.json()).collect();
    assert_eq!(all.len(), n, "{all:#?}");
    let steps = ["survey.initiated", "survey.exited", "survey.complete"];
    all.sort_by_key(|told| steps.iter().position(|step| told["event"]["type"] == *step));
    all
}

async fn surveys(acme: &Carrier, query: &str) -> Vec<Value> {
    let found = acme.api.get(&acme.path(&format!("surveys{query}"))).await.ok();
    found["items"].as_array().unwrap().clone()
}

async fn a_survey_goes_from_its_link_to_its_answer(data: &Data) {
    let (host, sink) = (start(data, Clock::manual(T0)).await, Sink::start().await);
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    acme.post("evt", &case("c-1")).await;
    let visitor = Visitor::at(&host.admin, &link(&sink, "evt").await);

    let first = visitor.get().await;
    assert_eq!((first.status, first.heading()), (200, "How did Carrier acme do?".to_owned()));
    let wrong = visitor.post(&[("step", "rating")]).await;
    assert_eq!(wrong.status, 422);
    assert_eq!(surveys(&acme, "").await, [] as [Value; 0]);

    let rated = visitor.post(&[("step", "rating"), ("rating", "4")]).await;
    assert_eq!(rated.status, 303);
    // Relative, so that what a proxy put before it stays.
    assert_eq!(rated.headers["location"].to_str().unwrap(), visitor.token());
    let second = visitor.get().await;
    assert_eq!((second.status, second.heading()), (200, "You chose 4 of 5".to_owned()));
    let begun = told(&sink, 1).await.remove(0);
    assert_eq!(begun["event"]["type"], "survey.initiated");
    assert_eq!((&begun["event"]["rating"], &begun["event"]["body"]), (&json!(4), &json!("")));
    assert_eq!(begun["caseData"], case("c-1")["caseData"]);
    assert_eq!(begun["messages"], Value::Null);

    // Back, and another choice: it is the same survey, and nobody is told twice.
    host.clock.advance(Duration::from_secs(60));
    assert_eq!(visitor.post(&[("step", "rating"), ("rating", "5")]).await.status, 303);
    let done = visitor.post(&[("step", "feedback"), ("text", "All was well.\r\nThank you!")]).await;
    assert_eq!((done.status, done.heading()), (200, "Thank you".to_owned()));
    let complete = told(&sink, 2).await.remove(1);
    let id = begun["event"]["surveyId"].clone();
    let expected = json!({ "type": "survey.complete", "body": "All was well.\nThank you!", "rating": 5, "surveyId": id });
    assert_eq!(complete["event"], expected);
    let end = T0.0 / 1_000 * 1_000 + 14 * 86_400_000;
    let answered = json!({ "id": id, "event": "evt", "subscription": "main", "state": "completed", "rating": 5,
        "feedback": "All was well.\nThank you!", "initiated_ms": T0.0, "completed_ms": T0.0 + 60_000, "expires_ms": end });
    assert_eq!(surveys(&acme, "").await, [answered]);

    // Answered once: whatever comes then changes nothing.
    for form in [
        &[("step", "rating"), ("rating", "1")][..],
        &[("step", "rating")],
        &[("step", "feedback"), ("text", "No, bad")],
        &[("step", "feedback"), ("text", &"x".repeat(3_000))],
        &[("step", "leave")],
    ] {
        let again = visitor.post(form).await;
        assert_eq!((again.status, again.heading()), (409, "This survey is answered".to_owned()), "{form:?}");
    }
    assert_eq!(visitor.get().await.status, 409);
    assert_eq!(surveys(&acme, "").await[0]["rating"], 5);
    // What is told is an event of the carrier's like others.
    let events = acme.api.get(&acme.path("events?type=case.event")).await.ok();
    let ids: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect();
    let id = id.as_str().unwrap();
    assert_eq!(ids, [format!("survey-{id}-completed"), format!("survey-{id}-initiated")]);
    host.end().await;
}

async fn who_only_looks_changes_nothing(data: &Data) {
    let (host, sink) = (start(data, Clock::manual(T0)).await, Sink::start().await);
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    acme.post("evt", &case("c-1")).await;
    let visitor = Visitor::at(&host.admin, &link(&sink, "evt").await);
    // As the scanners of mail servers do, before anybody has read the mail and afterwards.
    for method in ["GET", "HEAD", "GET", "HEAD"] {
        assert_eq!(visitor.call(method, None).await.status, 200);
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(visitor.call(method, None).await.status, 405, "{method}");
    }
    for nothing in
        ["", "rating=5", "step=other&rating=5", "{\"step\": \"leave\"}", "step=leave", "step=feedback&text=x"]
    {
        let answer = visitor.call("POST", Some(nothing.to_owned())).await;
        assert_eq!(answer.status, 303, "{nothing}: back to the page");
    }
    assert_eq!(surveys(&acme, "").await, [] as [Value; 0]);
    visitor.post(&[("step", "rating"), ("rating", "2")]).await;
    told(&sink, 1).await;
    for method in ["GET", "HEAD", "GET"] {
        assert_eq!(visitor.call(method, None).await.status, 200);
    }
    assert_eq!(surveys(&acme, "").await[0]["state"], "initiated");
    // One link cannot keep the host busy; others are not touched by it.
    while visitor.get().await.status == 200 {}
    let busy = visitor.get().await;
    assert_eq!((busy.status, busy.headers["retry-after"].to_str().unwrap()), (429, "2"));
    acme.post("other", &case("c-2")).await;
    assert_eq!(Visitor::at(&host.admin, &link(&sink, "other").await).get().await.status, 200);
    host.clock.advance(Duration::from_secs(2));
    assert_eq!(visitor.get().await.status, 200);
    told(&sink, 1).await;
    host.end().await;
}

async fn who_leaves_may_come_back(data: &Data) {
    let (host, sink) = (start(data, Clock::manual(T0)).await, Sink::start().await);
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    acme.post("evt", &case("c-1")).await;
    let visitor = Visitor::at(&host.admin, &link(&sink, "evt").await);
    visitor.post(&[("step", "rating"), ("rating", "1")]).await;
    for _ in 0..2 {
        let left = visitor.post(&[("step", "leave")]).await;
        assert_eq!((left.status, left.heading()), (200, "You have left the survey".to_owned()));
    }
    let events = told(&sink, 2).await;
    assert_eq!(
        (&events[1]["event"]["type"], &events[1]["event"]["rating"]),
        (&json!("survey.exited"), &json!(1))
    );
    assert_eq!(surveys(&acme, "?state=left").await[0]["left_ms"], T0.0);
    // The sweep has nothing more to tell of it.
    host.clock.advance(Duration::from_secs(13 * 3_600));
    assert_eq!(visitor.get().await.heading(), "You chose 1 of 5");
    let done = visitor.post(&[("step", "feedback"), ("text", "  ")]).await;
    assert_eq!(done.status, 200);
    let events = told(&sink, 3).await;
    assert_eq!(
        (&events[2]["event"]["type"], &events[2]["event"]["body"]),
        (&json!("survey.complete"), &json!(""))
    );
    let survey = &surveys(&acme, "?state=completed&subscription=main").await[0];
    assert_eq!(
        (&survey["left_ms"], &survey["feedback"]),
        (&json!(T0.0), &Value::Null),
        "it is told as it was"
    );
    assert_eq!(surveys(&acme, "?state=left").await, [] as [Value; 0]);
    assert_eq!(surveys(&acme, "?subscription=other").await, [] as [Value; 0]);
    host.end().await;
}

async fn what_nobody_goes_on_with_is_left_and_links_end(data: &Data) {
    let (host, sink) = (start(data, Clock::manual(T0)).await, Sink::start().await);
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    for event in ["early", "late", "never"] {
        acme.post(event, &case(event)).await;
    }
    let at = async |event: &str| Visitor::at(&host.admin, &link(&sink, event).await);
    let (early, late, never) = (at("early").await, at("late").await, at("never").await);
    let rate = [("step", "rating"), ("rating", "3")];
    assert_eq!(early.post(&rate).await.status, 303);
    told(&sink, 1).await;
    host.clock.advance(Duration::from_secs(12 * 3_600 - 61));
    assert_eq!(early.get().await.status, 200);
    assert_eq!(surveys(&acme, "?state=initiated").await.len(), 1);
    host.clock.advance(Duration::from_secs(61));
    told(&sink, 2).await;
    let survey = surveys(&acme, "?state=left").await.remove(0);
    assert_eq!((&survey["event"], &survey["left_ms"]), (&json!("early"), &json!(T0.0 + 12 * 3_600_000)));

    // An hour before its end: it is left when the link ends, not after twelve hours.
    let end = survey["expires_ms"].as_i64().unwrap();
    let hour = Duration::from_secs(3_600);
    host.clock.advance(Duration::from_millis(u64::try_from(end - host.clock.now().0).unwrap()) - hour);
    assert_eq!(late.post(&rate).await.status, 303);
    told(&sink, 3).await;
    host.clock.advance(hour);
    let all = told(&sink, 4).await;
    assert_eq!(
        (&all[3]["event"]["type"], &all[3]["caseData"]["id"]),
        (&json!("survey.exited"), &json!("late"))
    );
    for visitor in [&early, &late, &never] {
        let page = visitor.get().await;
        assert_eq!((page.status, page.heading()), (410, "This survey has ended".to_owned()));
        assert!(!page.html.contains("acme"), "it says nothing of whose it was");
        assert_eq!(visitor.post(&rate).await.status, 410);
        assert_eq!(visitor.post(&[("step", "feedback"), ("text", "late")]).await.status, 410);
    }
    assert_eq!(surveys(&acme, "").await.len(), 2, "of a link that nobody answered there is nothing");
    host.end().await;
}

async fn of_many_answers_at_once_one_counts(data: &Data) {
    let (host, sink) = (start(data, Clock::system()).await, Sink::start().await);
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    acme.post("evt", &case("c-1")).await;
    let visitor = Visitor::at(&host.admin, &link(&sink, "evt").await);
    let all_at_once = async |forms: Vec<Vec<(&'static str, String)>>| {
        let mut visitors = tokio::task::JoinSet::new();
        for form in forms {
            let visitor = visitor.clone();
            visitors.spawn(async move {
                let form: Vec<(&str, &str)> =
                    form.iter().map(|(name, value)| (*name, value.as_str())).collect();
                visitor.post(&form).await.status
            });
        }
        visitors.join_all().await
    };
    let rate = |n: usize| vec![("step", "rating".to_owned()), ("rating", (n % 5 + 1).to_string())];
    assert_eq!(all_at_once((0..8).map(rate).collect()).await, [303; 8]);
    let write = |n: usize| vec![("step", "feedback".to_owned()), ("text", format!("answer {n}"))];
    let mut statuses = all_at_once((0..8).map(write).collect()).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[409; 7]].concat());
    let events = told(&sink, 2).await;
    let survey = surveys(&acme, "").await.remove(0);
    let types: Vec<&str> = events.iter().map(|e| e["event"]["type"].as_str().unwrap()).collect();
    assert!(types.contains(&"survey.initiated") && types.contains(&"survey.complete"), "{types:?}");
    let complete = events.iter().find(|e| e["event"]["type"] == "survey.complete").unwrap();
    assert_eq!(
        (&complete["event"]["body"], &complete["event"]["rating"]),
        (&survey["feedback"], &survey["rating"])
    );
    host.end().await;
}

async fn a_link_opens_what_it_was_made_for_and_nothing_else(data: &Data) {
    let (host, sink) = (start(data, Clock::manual(T0)).await, Sink::start().await);
    let acme = host.admin.carrier("acme").await;
    let zeta = host.admin.carrier("zeta").await;
    let (acme_sink, zeta_sink) = (&sink, Sink::start().await);
    furnish(&acme, acme_sink).await;
    furnish(&zeta, &zeta_sink).await;
    acme.post("evt", &case("c-1")).await;
    zeta.post("evt", &case("c-1")).await;
    let (mine, theirs) = (link(acme_sink, "evt").await, link(&zeta_sink, "evt").await);
    assert_ne!(mine, theirs);
    let visitor = Visitor::at(&host.admin, &mine);
    visitor.post(&[("step", "rating"), ("rating", "4")]).await;
    told(&sink, 1).await;
    assert_eq!(
        surveys(&zeta, "").await,
        [] as [Value; 0],
        "the same event and subscription of another carrier"
    );
    let own = zeta.api.get("/v1/carriers/me/surveys").await.ok();
    assert_eq!(own["items"], json!([]));
    zeta.api.get(&acme.path("surveys")).await.problem(404, "not_found");

    // The head of the one's token with the tag of the other's, and whatever else could be tried.
    let (a, b) = (visitor.token(), Visitor::at(&host.admin, &theirs).token());
    let mixed = format!("{}{}", &b[..b.len() - 21], &a[a.len() - 21..]);
    for token in
        [mixed.as_str(), &a[1..], "x", "AAAA", "..%2fx", &"A".repeat(2_000), "evt", &format!("{a}%00")]
    {
        let page = visitor.with(token).get().await;
        assert_eq!((page.status, page.heading()), (404, "There is no such survey".to_owned()), "{token}");
        assert!(!page.html.contains("acme") && !page.html.contains("zeta"));
        assert_eq!(visitor.with(token).post(&[("step", "leave")]).await.status, 404);
    }
    assert_eq!(host.admin.get("/s/").await.status, 404);
    assert_eq!(host.admin.get("/s").await.status, 404);
    // A trial's event is never kept, and neither is a survey about it.
    let trial = json!({ "event_type": "case.closed", "payload": case("c-9"), "send": true });
    acme.api.post(&acme.path("subscriptions/main/test"), &trial).await.ok();
    let tried = sink.requests().into_iter().rfind(|r| r.path == "/claims").unwrap().json();
    let page = Visitor::at(&host.admin, tried["link"].as_str().unwrap()).get().await;
    assert_eq!(page.status, 410);
    assert_eq!(surveys(&acme, "").await.len(), 1);
    host.end().await;
}
