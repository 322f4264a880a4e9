//! Receivers that are asked before anything is sent to them: CloudEvents, HTTP 1.1 Web Hooks, section 4.

use std::time::Duration;

use hookyard::carrier::DestinationKind;
use hookyard::carrier::destination::{DestinationSecrets, DestinationSpec};
use hookyard::carrier::handshake::{HandshakeSpec, Reply};
use hookyard::clock::Clock;
use hookyard::deliver::{AddressPolicy, Sender, Target};
use hookyard_tests::client::{Answer as Answered, Api, Carrier};
use hookyard_tests::data::Data;
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Gate, Request, Sink};
use reqwest::Method;
use serde_json::{Value, json};

const ORIGIN: &str = "events.example.com";
const WAITING: &str = "waiting for the receiver's permission";

on_both! {
    a_receiver_that_allows_it_is_sent_to,
    without_permission_nothing_is_sent_until_it_comes,
    permission_can_come_by_the_callback,
    an_admin_can_give_permission_in_the_receivers_place,
}

fn handshake(rate: Option<u32>) -> Value {
    let mut asked = json!({ "origin": ORIGIN });
    if let Some(rate) = rate {
        asked["rate_per_minute"] = json!(rate);
    }
    json!({ "handshake": asked, "headers": { "x-secret": "open sesame" } })
}

/// Answers `OPTIONS` with this permission, and everything else with 200.
fn allow(sink: &Sink, origin: &'static str, rate: Option<&'static str>) {
    let rate = rate.map(|rate| format!("\r\nwebhook-allowed-rate: {rate}")).unwrap_or_default();
    sink.script(move |request| match request.method.as_str() {
        // The status says nothing.
        "OPTIONS" => Answer::With(405, "webhook-allowed-origin", format!("{origin}{rate}")),
        _ => Answer::Status(200),
    });
}

fn asked(sink: &Sink) -> Vec<Request> {
    sink.requests().into_iter().filter(|r| r.method == "OPTIONS").collect()
}

fn sent(sink: &Sink) -> Vec<Request> {
    sink.requests().into_iter().filter(|r| r.method != "OPTIONS").collect()
}

async fn act(acme: &Carrier, api: &Api, what: &str) -> Answered {
    api.call(Method::POST, &acme.path(&format!("destinations/claims/{what}")), &[], Default::default()).await
}

fn waits(destination: &Value, note: &str) {
    assert_eq!(destination["state"], "disabled", "{destination:#}");
    assert_eq!(destination["disabled_reason"], WAITING);
    assert_eq!(destination["handshake"]["permission"], "waiting");
    let noted = destination["handshake"]["note"].as_str().unwrap_or_default();
    assert!(noted.contains(note), "{noted} instead of {note}");
}

fn goes(destination: &Value, permission: &str, rate: &Value) {
    assert_eq!(destination["state"], "enabled", "{destination:#}");
    assert_eq!(destination["disabled_reason"], Value::Null);
    assert_eq!(destination["handshake"]["permission"], permission);
    assert_eq!(&destination["handshake"]["granted_rate_per_minute"], rate);
}

async fn a_receiver_that_allows_it_is_sent_to(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    allow(&sink, ORIGIN, Some("100"));
    let mut more = handshake(Some(120));
    more["url"] = json!(sink.url("/claims?tenant=7"));
    let made = acme.destination("claims", &sink, more.clone()).await;
    goes(&made, "granted", &json!(100));
    assert_eq!(made["handshake"]["origin"], ORIGIN);

    let [question] = &asked(&sink)[..] else { panic!("asked once: {:?}", sink.requests()) };
    assert_eq!(question.path, "/claims?tenant=7", "the exact address");
    assert_eq!(question.header("webhook-request-origin"), ORIGIN);
    assert_eq!(question.header("webhook-request-rate"), "120");
    for absent in ["webhook-request-callback", "x-secret", "webhook-signature", "content-length"] {
        assert_eq!(question.header(absent), "", "{absent}");
    }

    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    acme.post("evt", &json!({})).await;
    acme.delivery_in("evt", "delivered").await;
    act(&acme, &acme.api, "test").await.ok();
    let all = sent(&sink);
    assert_eq!(all.len(), 2);
    for delivery in &all {
        assert_eq!(delivery.header("webhook-request-origin"), ORIGIN, "each delivery says who sends it");
        assert_eq!(delivery.header("x-secret"), "open sesame");
    }

    // The same again needs no new permission; another address or rate does.
    goes(&acme.destination("claims", &sink, more.clone()).await, "granted", &json!(100));
    assert_eq!(asked(&sink).len(), 1);
    allow(&sink, "*", Some("*"));
    more["url"] = json!(sink.url("/other"));
    goes(&acme.destination("claims", &sink, more.clone()).await, "granted", &Value::Null);
    allow(&sink, "*", None);
    more["handshake"]["rate_per_minute"] = json!(7);
    goes(&acme.destination("claims", &sink, more).await, "granted", &json!(7));
    assert_eq!(asked(&sink).len(), 3);

    // Without a handshake nobody is asked, and nothing is said.
    let plain = acme.destination("claims", &sink, json!({})).await;
    assert_eq!((&plain["state"], &plain["handshake"]), (&json!("enabled"), &Value::Null));
    acme.post("evt-2", &json!({})).await;
    acme.delivery_in("evt-2", "delivered").await;
    assert_eq!(sent(&sink).last().unwrap().header("webhook-request-origin"), "");
    host.end().await;
}

async fn without_permission_nothing_is_sent_until_it_comes(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;

    sink.answer(Answer::With(405, "allow", "GET, POST".to_owned()));
    waits(
        &acme.destination("claims", &sink, handshake(None)).await,
        "answered 405, `allow: GET, POST` without",
    );
    // Asked for once more by each of these.
    allow(&sink, "somebody.example.com", None);
    waits(&acme.destination("claims", &sink, handshake(None)).await, "it allows `somebody.example.com`, not");
    allow(&sink, "*", Some("0"));
    waits(&act(&acme, &acme.api, "validate").await.ok(), "takes a whole number above 0");
    sink.answer(Answer::With(301, "location", sink.url("/elsewhere")));
    waits(&act(&acme, &acme.api, "validate").await.ok(), "answered 301 without");
    sink.answer(Answer::Close);
    waits(&act(&acme, &acme.api, "validate").await.ok(), "no answer: ");
    assert!(asked(&sink).iter().all(|r| r.path == "/claims"), "no redirect is followed");

    // It waits, and so does everything that is for it.
    acme.post("evt", &json!({})).await;
    acme.event_when("evt", "its routing", |event| event["routed"] == true).await;
    act(&acme, &acme.api, "test").await.problem(409, "wrong_state");
    act(&acme, &acme.api, "enable").await.problem(409, "wrong_state");
    assert_eq!(sent(&sink).len(), 0);
    let listed = acme.api.get(&acme.path("destinations")).await.ok();
    waits(&listed["items"][0], "no answer: ");

    // A restart forgets nothing of this.
    host.leave().await;
    let host = TestHost::start(data).await;
    let acme = acme.at(&host.admin);
    waits(&acme.api.get(&acme.path("destinations/claims")).await.ok(), "no answer: ");
    allow(&sink, ORIGIN, None);
    goes(&act(&acme, &acme.api, "validate").await.ok(), "granted", &Value::Null);
    acme.delivery_in("evt", "delivered").await;
    assert_eq!(sent(&sink).len(), 1);

    // Whoever changes their mind is not sent to any more.
    sink.answer(Answer::Status(200));
    waits(&act(&acme, &acme.api, "validate").await.ok(), "answered 200 without");
    host.leave().await;
}

/// The path of the callback that the receiver was told last.
fn callback(sink: &Sink) -> String {
    let asked = asked(sink);
    let url = asked.last().expect("it was asked").header("webhook-request-callback");
    url.strip_prefix("https://hooks.example.com/in").unwrap_or_else(|| panic!("{url}")).to_owned()
}

async fn with_callback(data: &Data) -> TestHost {
    let url = "https://hooks.example.com/in/".to_owned();
    TestHost::with(data, Clock::system(), |config| config.server.public_url = url).await
}

async fn permission_can_come_by_the_callback(data: &Data) {
    let host = with_callback(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let nobody = host.admin.with_key("");
    waits(&acme.destination("claims", &sink, handshake(Some(50))).await, "answered 200 without");
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    acme.post("evt", &json!({})).await;
    let first = callback(&sink);
    assert!(first.len() > "/v1/handshake/".len() + 40, "{first}");
    waits(&act(&acme, &acme.api, "validate").await.ok(), "answered 200 without");
    let second = callback(&sink);

    // A guess, an older request, a look, a rate that is none.
    nobody.get("/v1/handshake/AAAA").await.problem(404, "not_found");
    nobody.get(&first).await.problem(404, "not_found");
    assert_eq!(nobody.call(Method::HEAD, &second, &[], Default::default()).await.status, 405);
    let rate = |rate| [("webhook-allowed-rate", rate)];
    nobody
        .call(Method::GET, &second, &rate("some"), Default::default())
        .await
        .problem(400, "invalid_parameter");
    waits(&acme.api.get(&acme.path("destinations/claims")).await.ok(), "");
    assert_eq!(sent(&sink).len(), 0);

    let granted = nobody.call(Method::GET, &second, &rate("20"), Default::default()).await.ok();
    assert_eq!(granted, json!({ "permission": "granted", "rate_per_minute": 20 }));
    acme.delivery_in("evt", "delivered").await;
    goes(&acme.api.get(&acme.path("destinations/claims")).await.ok(), "granted", &json!(20));
    // Once more, with another rate, by the other method.
    let granted = nobody.call(Method::POST, &second, &rate("*"), "thanks".into()).await.ok();
    assert_eq!(granted, json!({ "permission": "granted" }));
    goes(&acme.api.get(&acme.path("destinations/claims")).await.ok(), "granted", &Value::Null);

    // Who calls back before answering has given permission, whatever the answer says.
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(405)));
    let asking = tokio::spawn({
        let acme = acme.clone();
        async move { act(&acme, &acme.api, "validate").await.ok() }
    });
    sink.wait("the third question", |all| all.iter().filter(|r| r.method == "OPTIONS").count() == 3).await;
    nobody.get(&callback(&sink)).await.ok();
    gate.open();
    goes(&asking.await.unwrap(), "granted", &json!(50));

    // A destination that is gone is asked for nothing.
    let last = callback(&sink);
    acme.api.delete(&acme.path("destinations/claims")).await.ok();
    nobody.get(&last).await.problem(404, "not_found");
    sink.answer(Answer::Status(200));
    let again = acme.destination("claims", &sink, json!({})).await;
    assert_eq!((&again["state"], &again["handshake"]), (&json!("enabled"), &Value::Null));
    host.end().await;
}

async fn an_admin_can_give_permission_in_the_receivers_place(data: &Data) {
    let host = with_callback(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    waits(&acme.destination("claims", &sink, handshake(Some(50))).await, "answered 200 without");
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    acme.post("evt", &json!({})).await;
    act(&acme, &acme.api, "enable").await.problem(409, "wrong_state");
    goes(&act(&acme, &host.admin, "enable").await.ok(), "overridden", &Value::Null);
    acme.delivery_in("evt", "delivered").await;
    assert_eq!(sent(&sink)[0].header("webhook-request-origin"), ORIGIN);

    // A grant does not enable what was disabled for another reason.
    waits(&act(&acme, &acme.api, "validate").await.ok(), "");
    act(&acme, &acme.api, "disable").await.ok();
    host.admin.with_key("").get(&callback(&sink)).await.ok();
    let found = acme.api.get(&acme.path("destinations/claims")).await.ok();
    assert_eq!((&found["state"], &found["handshake"]["permission"]), (&json!("disabled"), &json!("granted")));
    goes(&act(&acme, &acme.api, "enable").await.ok(), "granted", &json!(50));
    host.end().await;
}

#[tokio::test]
async fn the_granted_rate_is_kept() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    allow(&sink, ORIGIN, Some("3"));
    let mut more = handshake(Some(100));
    more["rate_per_minute"] = json!(50);
    acme.destination("claims", &sink, more.clone()).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    let post = |n: usize| json!({ "carrier": "acme", "id": format!("e-{n}"), "type": "a", "payload": {} });
    host.admin.post("/v1/events", &(0..7).map(post).collect()).await.ok();
    for passed in [3, 6, 7] {
        sink.wait(&format!("{passed} deliveries"), |all| {
            all.iter().filter(|r| r.header("eventname") == "a").count() >= passed
        })
        .await;
        // Whatever could go out now has gone out: a request goes the way of all others and comes back.
        act(&acme, &acme.api, "test").await.ok();
        assert_eq!(
            sent(&sink).iter().filter(|r| r.header("eventname") == "a").count(),
            passed,
            "three a minute"
        );
        host.clock.advance(Duration::from_secs(60));
    }
    // The destination's own rate stands where it is the lower one.
    more["rate_per_minute"] = json!(1);
    goes(&acme.destination("claims", &sink, more).await, "granted", &json!(3));
    host.admin.post("/v1/events", &(7..9).map(post).collect()).await.ok();
    sink.wait("one more", |all| all.iter().filter(|r| r.header("eventname") == "a").count() > 7).await;
    act(&acme, &acme.api, "test").await.ok();
    assert_eq!(sent(&sink).iter().filter(|r| r.header("eventname") == "a").count(), 8);
    host.clock.advance(Duration::from_secs(60));
    host.end().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_what_to_change() {
    let data = Data::sqlite().await;
    let host = TestHost::start(&data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let path = acme.path("destinations/claims");
    for (asked, field) in [
        (json!({ "origin": "https://example.com" }), "handshake.origin"),
        (json!({ "origin": "" }), "handshake.origin"),
        (json!({ "origin": ORIGIN, "rate_per_minute": 0 }), "handshake.rate_per_minute"),
        (json!({ "origin": ORIGIN, "rate_per_minute": 60_001 }), "handshake.rate_per_minute"),
        (json!({ "origin": ORIGIN, "callback": "x" }), "handshake.callback"),
        (json!({}), "handshake"),
    ] {
        let body = json!({ "kind": "http", "url": sink.url("/claims"), "handshake": asked });
        let problem = acme.api.put(&path, &body).await.problem(422, "invalid_body");
        assert_eq!(problem["field"], field, "{problem:#}");
    }
    let email =
        json!({ "to": ["a@b.example"], "from": "a@b.example", "relay": { "host": "smtp.example.com" } });
    let mail = json!({ "kind": "email", "email": email, "handshake": { "origin": ORIGIN } });
    assert_eq!(acme.api.put(&path, &mail).await.problem(422, "invalid_body")["field"], "handshake");
    acme.api.get(&path).await.problem(404, "not_found");
    acme.destination("claims", &sink, json!({})).await;
    act(&acme, &acme.api, "validate").await.problem(409, "wrong_state");
    assert_eq!(asked(&sink).len(), 0);
    host.end().await;
}

#[tokio::test]
async fn a_question_is_bounded_and_goes_only_where_deliveries_may() {
    let sink = Sink::start().await;
    let target = |url: String| {
        let spec = DestinationSpec { url: Some(url), ..DestinationSpec::of(DestinationKind::Http) };
        let policy =
            AddressPolicy { allow_http: true, allowed_networks: vec!["127.0.0.0/8".parse().unwrap()] };
        let (carrier, name) = ("acme".parse().unwrap(), "claims".parse().unwrap());
        let target = Target::compile(carrier, name, &spec, &DestinationSecrets::default(), &policy).unwrap();
        (target, policy)
    };
    let spec = HandshakeSpec { origin: ORIGIN.to_owned(), rate_per_minute: None };
    let (literal, open) = target(sink.url("/claims"));
    let (named, _) = target(sink.url("/claims").replace("127.0.0.1", "localhost"));

    // The operator has changed the policy since the destination was made.
    let guarded = Sender::new(&AddressPolicy { allow_http: true, allowed_networks: Vec::new() }).unwrap();
    for target in [&literal, &named] {
        let Reply::Withheld { why } = guarded.ask(target, &spec, None).await else { panic!("it was asked") };
        assert!(why.contains("is refused: loopback"), "{why}");
    }
    assert_eq!(sink.count(), 0);

    let sender = Sender::new(&open).unwrap();
    sink.answer(Answer::Hang);
    let late = sender.ask(&literal, &spec, None).await;
    assert_eq!(late, Reply::Withheld { why: "no answer within 10 s".to_owned() });
    // A body without end is not read.
    sink.answer(Answer::Endless);
    let Reply::Withheld { why } = sender.ask(&literal, &spec, None).await else {
        panic!("no permission was given")
    };
    assert_eq!(why, "answered 200 without `webhook-allowed-origin`");
}
