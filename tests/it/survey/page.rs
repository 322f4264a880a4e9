//! The page itself: what a browser, a screen reader and a security scanner look at.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookyard::clock::Clock;
use hookyard_tests::data::Data;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::sink::{PATIENCE, Sink};
use scraper::{ElementRef, Selector};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::visitor::{Seen, Visitor};
use super::{case, furnish, link, start};

/// Every page that there is, by what it is.
async fn all(host: &TestHost, sink: &Sink) -> Vec<(&'static str, Seen)> {
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, sink).await;
    acme.post("evt", &case("c-1")).await;
    let visitor = Visitor::at(&host.admin, &link(sink, "evt").await);
    let long = "x".repeat(2_001);
    let mut pages = vec![
        ("rating", visitor.get().await),
        ("no rating", visitor.post(&[("step", "rating")]).await),
        ("unknown", visitor.with("x").get().await),
    ];
    visitor.post(&[("step", "rating"), ("rating", "4")]).await;
    pages.push(("feedback", visitor.get().await));
    pages.push(("too long", visitor.post(&[("step", "feedback"), ("text", &long)]).await));
    pages.push(("left", visitor.post(&[("step", "leave")]).await));
    pages.push(("thanks", visitor.post(&[("step", "feedback"), ("text", "")]).await));
    pages.push(("answered", visitor.get().await));
    while visitor.get().await.status == 409 {}
    pages.push(("busy", visitor.get().await));
    acme.settled_events().await;
    pages
}

#[tokio::test]
async fn every_page_is_valid_and_can_be_used_without_eyes_mouse_or_script() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = start(&data, Clock::manual(T0)).await;
    for (name, page) in all(&host, &sink).await {
        let parsed = page.parsed();
        assert_eq!(parsed.errors, [] as [&str; 0], "{name}: {}", page.html);
        let select = |selector: &str| -> Vec<ElementRef<'_>> {
            parsed.select(&Selector::parse(selector).unwrap()).collect()
        };
        let attribute = |selector: &str, of: &str| select(selector)[0].value().attr(of).map(str::to_owned);
        assert_eq!(attribute("html", "lang").as_deref(), Some("en"), "{name}");
        let viewport = attribute("meta[name=viewport]", "content").unwrap();
        assert!(
            viewport.contains("width=device-width") && !viewport.contains("scal=no"),
            "{name}: it can be zoomed"
        );
        assert_eq!((select("title").len(), select("h1").len(), select("main").len()), (1, 1, 1), "{name}");
        assert!(page.text("title").contains(&page.heading()), "{name}: {}", page.text("title"));
        assert_eq!(select("script, [onclick], [onload], iframe, img, link, [style]").len(), 0, "{name}");

        let ids: Vec<&str> = select("[id]").iter().filter_map(|e| e.value().attr("id")).collect();
        let known: HashSet<&str> = ids.iter().copied().collect();
        assert_eq!(known.len(), ids.len(), "{name}: ids are there once");
        for element in select("[aria-describedby]") {
            for id in element.value().attr("aria-describedby").unwrap().split(' ') {
                assert!(known.contains(id), "{name}: {id}");
            }
        }
        for element in select("a[href^='#']") {
            assert!(known.contains(&element.value().attr("href").unwrap()[1..]), "{name}");
        }
        // Every control has a label of its own, in words.
        for control in select("input:not([type=hidden]), textarea") {
            let id = control.value().attr("id").unwrap();
            let labels = select(&format!("label[for='{id}']"));
            assert_eq!(labels.len(), 1, "{name}: {id}");
            assert!(labels[0].text().collect::<String>().chars().any(char::is_alphabetic), "{name}: {id}");
        }
        for group in select("form:has(input[type=radio])") {
            let inside = |s: &str| group.select(&Selector::parse(s).unwrap()).count();
            assert_eq!((inside("fieldset > legend"), inside("fieldset input[type=radio]")), (1, 5), "{name}");
        }
        let wrong = matches!(name, "no rating" | "too long");
        assert_eq!(select("[role=alert]").len(), usize::from(wrong), "{name}");
        assert_eq!(
            page.text("title").starts_with("Please check your answer: "),
            wrong,
            "{name}: heard at once"
        );
        let forms = matches!(name, "rating" | "no rating" | "feedback" | "too long");
        assert_eq!(select("form[method=post]").len(), usize::from(forms), "{name}");
        assert_eq!(select("form[action]").len(), 0, "{name}: to where it came from");
        assert_eq!(select("button[type=submit]").is_empty(), !forms, "{name}");
    }
    host.end().await;
    data.end().await;
}

#[tokio::test]
async fn every_page_says_that_nothing_may_be_kept_followed_framed_or_run() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = start(&data, Clock::manual(T0)).await;
    for (name, page) in all(&host, &sink).await {
        let header = |of: &str| page.headers.get(of).map_or("", |value| value.to_str().unwrap());
        assert_eq!(header("content-type"), "text/html; charset=utf-8", "{name}");
        let style = page.text("style");
        let hash = STANDARD.encode(Sha256::digest(&style));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        assert_eq!(header("content-security-policy"), policy, "{name}");
        assert_eq!(header("cache-control"), "no-store", "{name}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{name}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{name}");
        assert_eq!(header("x-frame-options"), "DENY", "{name}");
        assert!(header("x-robots-tag").contains("noindex"), "{name}");
        assert_eq!(header("set-cookie"), "", "{name}");
    }
    host.end().await;
    data.end().await;
}

#[tokio::test]
async fn an_operator_says_it_in_other_words() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = TestHost::with(&data, Clock::manual(T0), |config| {
        config.server.public_url = super::PUBLIC.to_owned();
        config.survey.valid_days = 1;
        config.survey.texts.lang = "de".to_owned();
        config.survey.texts.title = "Wie zufrieden sind Sie mit {carrier}?".to_owned();
        config.survey.texts.until = "Bis {until} <gültig>".to_owned();
    })
    .await;
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    acme.post("evt", &case("c-1")).await;
    let page = Visitor::at(&host.admin, &link(&sink, "evt").await).get().await;
    assert!(page.html.contains("<html lang=\"de\">"), "{}", page.html);
    assert_eq!(page.heading(), "Wie zufrieden sind Sie mit Carrier acme?");
    assert_eq!(page.text(".end"), "Bis 2025-10-25 <gültig>");
    host.end().await;
    data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_slowly_holds_up_nobody() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = start(&data, Clock::manual(T0)).await;
    let acme = host.admin.carrier("acme").await;
    furnish(&acme, &sink).await;
    let mut slow = Vec::new();
    for n in 0..4 {
        acme.post(&format!("evt-{n}"), &case("c-1")).await;
        let visitor = Visitor::at(&host.admin, &link(&sink, &format!("evt-{n}")).await);
        if n == 3 {
            // More are being sent than the host works on at once.
            assert_eq!(slow.len(), 75);
            assert_eq!(visitor.get().await.status, 200);
            continue;
        }
        for _ in 0..25 {
            let mut stream = TcpStream::connect(host.host().address()).await.unwrap();
            let head = format!(
                "POST /s/{} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n",
                visitor.token()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            // The host has begun to read the form.
            let mut begun = [0; 25];
            tokio::time::timeout(PATIENCE, stream.read_exact(&mut begun)).await.unwrap().unwrap();
            assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
            slow.push(stream);
        }
    }
    drop(slow);
    host.end().await;
    data.end().await;
}
