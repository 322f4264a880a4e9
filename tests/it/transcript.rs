//! The stock plugin `transcript` in the host's engine: its PDF as others read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hookyard::carrier::DestinationKind;
use hookyard::plugin::{Chain, Content, Message, Outcome};
use hookyard_tests::pdf;
use hookyard_tests::wasm::{Wasm, chain};
use serde_json::{Value, json};

use crate::way::stock;

/// What people write, a line each. Those written from right to left have no numbers or signs in them, since a reader of text
/// puts such a line in the order of the page.
const LINES: [&str; 9] = [
    "Straße, l’été à Noël, cœur, þæð, naïve, €5 – “ok”…",
    "Zażółć gęślą jaźń",
    "Καλημέρα κόσμε",
    "Съешь же ещё этих мягких булок",
    "Tôi đã gửi ảnh của chiếc xe",
    "Cafe\u{301} Vie\u{323}\u{302}t A\u{30a}ngstro\u{308}m",
    "שלום עולם",
    "السلام عليكم لا بأس",
    "😀 \\ (a) <b> & \"q\" ${x}",
];

async fn load(wasm: &Wasm) -> Chain {
    let program = wasm.load(stock("transcript")).await;
    let mut chain = chain("acme", &[&program]);
    chain.destinations = [("archive".parse().unwrap(), DestinationKind::Sftp)].into();
    chain
}

/// The PDF of a payload, made in the engine under the limits that a version has unless its upload says otherwise.
async fn pdf_of(payload: &Value, settings: &[(&str, &str)]) -> (String, Bytes) {
    let wasm = Wasm::start();
    let mut chain = load(&wasm).await;
    let own = [("via", "sftp"), ("to", "archive"), ("file-name", "cases/${partialId}")];
    let pairs = own.iter().chain(settings).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    chain.settings = Arc::new(pairs.collect::<BTreeMap<_, _>>());
    let ran = wasm.run(&Arc::new(chain), &payload.to_string()).await;
    let Ok(Outcome::Deliver(list)) = ran.result else { panic!("{ran:?}") };
    let Message::Sftp(file) = &list[0].send else { panic!("{list:?}") };
    let Content::Bytes(bytes) = &file.content else { panic!("{file:?}") };
    (file.path.clone(), bytes.clone())
}

fn case(messages: &[String]) -> Value {
    let message = |(index, text): (usize, &String)| {
        let source = if index % 2 == 0 { "mobile" } else { "marley" };
        let at = format!("2026-04-20T{:02}:{:02}:00.000Z", index / 60, index % 60);
        json!({"id": format!("m-{index}"), "type": "text", "channelSource": source, "data": text, "createdAt": at})
    };
    json!({
        "caseData": {"id": "4e7d1c92-58ab-4a63-9b1f-c07e2d48a5f1", "claimNumber": "NB-48213"},
        "caseType": "claim", "referenceId": "Nü-48213", "state": "closed",
        "customer": {"first": "Łucja", "last": "Marsh", "email": "l.marsh@example.org", "role": "enduser"},
        "messages": messages.iter().enumerate().map(message).collect::<Vec<_>>(),
    })
}

fn without_spaces(text: &str) -> String {
    text.split_whitespace().collect()
}

#[tokio::test]
async fn what_was_written_can_be_read_out_of_the_pdf() {
    let lines = LINES.map(str::to_owned);
    let (path, bytes) = pdf_of(&case(&lines), &[]).await;
    assert_eq!(path, "cases/4e7d1c92-.pdf");
    assert_eq!(pdf::info(&bytes, "Title"), "Transcript of claim Nü-48213");
    assert_eq!(pdf::info(&bytes, "Page size"), "595 x 842 pts (A4)");
    assert_eq!(pdf::info(&bytes, "Pages"), "1");
    let text = pdf::text(&bytes);
    for line in LINES {
        assert!(text.lines().any(|read| read.trim() == line), "{line:?} is not in\n{text}");
    }
    for said in ["Łucja Marsh (customer)", "2026-04-20 00:01:00 UTC", "Page 1 of 1"] {
        assert!(text.contains(said), "{said:?} is not in\n{text}");
    }
}

#[tokio::test]
async fn long_messages_and_words_are_wrapped_and_what_the_font_lacks_is_shown_as_a_code() {
    let long = "This message goes on and on, – und weiter – ".repeat(20);
    let word = format!("https://example.org/{}", "0123456789abcdefgh".repeat(30));
    let messages = [long, word, "👍 中\u{1b}[0m\u{202e}".to_owned()];
    let (_, bytes) = pdf_of(&case(&messages), &[("paper", "letter")]).await;
    assert_eq!(pdf::info(&bytes, "Page size"), "612 x 792 pts (letter)");
    let text = pdf::text(&bytes);
    let read = without_spaces(&text);
    for message in &messages[..2] {
        assert!(read.contains(&without_spaces(message)), "{message:?} is not in\n{text}");
    }
    assert!(text.contains("[U+1F44D thumbs up sign] [U+4E2D]\u{FFFD}[0m"), "{text}");
}

#[tokio::test]
async fn five_hundred_messages_fill_numbered_pages_within_the_limits() {
    let message = |n: usize| format!("Message number {n}: {}", LINES[n % 5].repeat(1 + n % 4));
    let messages: Vec<String> = (0..500).map(message).collect();
    let payload = case(&messages);
    let (_, bytes) = pdf_of(&payload, &[]).await;
    let pages: usize = pdf::info(&bytes, "Pages").parse().unwrap();
    assert!((20..100).contains(&pages), "{pages}");
    let text = pdf::text(&bytes);
    for page in 1..=pages {
        assert!(text.contains(&format!("Page {page} of {pages}\n")), "page {page} has no number");
    }
    let read = without_spaces(&text);
    for n in 0..500 {
        assert_eq!(read.matches(&format!("Messagenumber{n}:")).count(), 1, "{n}");
    }
    assert_eq!(pdf_of(&payload, &[]).await.1, bytes, "the same event gives the same bytes");
}

#[tokio::test]
async fn a_redacted_pdf_holds_nothing_of_what_is_redacted() {
    let mut payload = case(&["Dear łucja, all is well".to_owned(), "My licence is D-1234".to_owned()]);
    payload["messages"][1]["isRedacted"] = true.into();
    let (_, bytes) = pdf_of(&payload, &[("redacted", "true"), ("file-name", "${customer.last}")]).await;
    assert_eq!(pdf::info(&bytes, "Title"), "Redacted transcript of claim Nü-48213");
    let text = pdf::text(&bytes);
    assert!(text.contains("Dear [redacted], all is well") && text.contains("Customer\n"), "{text}");
    for gone in ["Łucja", "Marsh", "marsh@", "D-1234"] {
        assert!(!text.contains(gone), "{gone} is in\n{text}");
    }
}
