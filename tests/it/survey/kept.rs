//! What is kept of an answer, and for how long.

use std::time::Duration;

use hookyard::clock::Clock;
use hookyard_tests::data::Data;
use hookyard_tests::host::T0;
use hookyard_tests::on_both;
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

use super::visitor::Visitor;
use super::{case, furnish, link, start, surveys, told};

on_both! {
    what_a_customer_writes_is_kept_as_it_is,
    old_surveys_go_after_their_links_have_ended,
}

async fn what_a_customer_writes_is_kept_as_it_is(data: &Data) {
    let (host, sink) = (start(data, Clock::manual(T0)).await, Sink::start().await);
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    let hostile = "</textarea><script>alert(document.cookie)</script>\"'&lt;${survey} \u{202e}😀 é\t{carrier}\n' OR 1=1 --";
    let longest = "😀".repeat(2_000);
    for (event, text) in [("hostile", hostile), ("longest", longest.as_str())] {
        // Lists have the newest event first.
        host.clock.advance(Duration::from_millis(1));
        acme.post(event, &case(event)).await;
        let visitor = Visitor::at(&host.admin, &link(&sink, event).await);
        visitor.post(&[("step", "rating"), ("rating", "1")]).await;
        let long = format!("{text}{}", "\u{e9}".repeat(2_001));
        let refused = visitor.post(&[("step", "feedback"), ("text", &long)]).await;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.text("textarea"), long, "what was written is not lost");
        assert_eq!(refused.count("script"), 0);
        let huge = visitor.post(&[("step", "feedback"), ("text", &"x".repeat(70_000))]).await;
        assert_eq!((huge.status, huge.heading()), (413, "You chose 1 of 5".to_owned()));
        assert!(huge.text("[role=alert] a").contains("65536+"), "{}", huge.html);
        // Lines end as forms send them; what cannot be seen is left out.
        let sent = format!(" {}\0\u{7}\r\n", text.replace('\n', "\r\n"));
        assert_eq!(visitor.post(&[("step", "feedback"), ("text", &sent)]).await.status, 200);
        let kept = surveys(&acme, "?limit=1").await.remove(0);
        assert_eq!(kept["feedback"], text);
    }
    let bodies: Vec<Value> = told(&sink, 4).await.into_iter().map(|e| e["event"]["body"].clone()).collect();
    assert!(bodies.contains(&json!(hostile)) && bodies.contains(&json!(longest)));
    // Pages of the list hold together.
    let first = acme.api.get(&acme.path("surveys?limit=1")).await.ok();
    let next = acme
        .api
        .get(&acme.path(&format!("surveys?limit=1&after={}", first["next"].as_str().unwrap())))
        .await
        .ok();
    assert_eq!(
        (first["items"][0]["event"].clone(), next["items"][0]["event"].clone()),
        (json!("longest"), json!("hostile"))
    );
    assert_eq!(next.get("next"), None);
    acme.api.get(&acme.path("surveys?after=nonsense")).await.problem(400, "invalid_parameter");
    acme.api.get(&acme.path("surveys?state=none")).await.problem(400, "invalid_parameter");
    host.end().await;
}

async fn old_surveys_go_after_their_links_have_ended(data: &Data) {
    let (host, sink) = (start(data, Clock::manual(T0)).await, Sink::start().await);
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    let day = Duration::from_secs(86_400);
    acme.post("old", &case("old")).await;
    let old = Visitor::at(&host.admin, &link(&sink, "old").await);
    host.clock.advance(13 * day);
    old.post(&[("step", "rating"), ("rating", "4")]).await;
    old.post(&[("step", "feedback"), ("text", "kept as long as an event")]).await;
    told(&sink, 2).await;
    acme.settled().await;
    // The event goes before its survey, and the link has ended before both.
    host.clock.advance(18 * day);
    let path = acme.path("events/old");
    let gone = async {
        while acme.api.get(&path).await.status == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(hookyard_tests::sink::PATIENCE, gone).await.expect("the event is old enough to go");
    assert_eq!(surveys(&acme, "").await.len(), 1);
    assert_eq!(old.get().await.status, 410);
    host.clock.advance(13 * day);
    let none = |found: &Value| found["items"].as_array().is_some_and(Vec::is_empty);
    acme.get_when(&acme.path("surveys"), "no surveys", none).await;
    host.end().await;
}
