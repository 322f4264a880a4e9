//! Attempts over real sockets: what a receiver sees, and what hostile receivers can do.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod auth;
mod endpoint;
mod tls;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookyard::carrier::destination::{DestinationSecrets, DestinationSpec, HttpMethod, SigningSecret};
use hookyard::carrier::{DestinationKind, PolicySpec};
use hookyard::clock::{Clock, Millis};
use hookyard::deliver::http::MAX_ANSWER;
use hookyard::deliver::{AddressPolicy, Report, Sender, Target, sign};
use hookyard::event::{Event, delivery_id};
use hookyard::retry::{Decision, NetworkFault, Outcome, Policy, decide};
use hookyard::store::work::{Body, HeldDelivery, Message};
use tokio::io::AsyncWriteExt;

use endpoint::Endpoint;

const NOW: Millis = Millis(1_761_300_000_123);
const LONG: Duration = Duration::from_secs(20);
const PAYLOAD: &[u8] = br#"{"state":"closed"}"#;

fn loopback() -> AddressPolicy {
    let allowed_networks = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).to_vec();
    AddressPolicy { allow_http: true, allowed_networks }
}

fn spec(url: &str) -> DestinationSpec {
    DestinationSpec { url: Some(url.to_owned()), ..DestinationSpec::of(DestinationKind::Http) }
}

fn target(url: &str, secrets: &DestinationSecrets) -> Target {
    let (carrier, name) = ("acme".parse().unwrap(), "claims".parse().unwrap());
    Target::compile(carrier, name, &spec(url), secrets, &loopback()).unwrap()
}

fn delivery(message: Message, body: Body) -> HeldDelivery {
    let event = Event {
        carrier: "acme".parse().unwrap(),
        id: "evt-1".parse().unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: NOW,
        attributes: [("event-id".to_owned(), "20".to_owned())].into(),
        payload: Bytes::from_static(PAYLOAD),
    };
    let subscription = "main".parse().unwrap();
    HeldDelivery {
        id: delivery_id(&event, &subscription, 0),
        event: Arc::new(event),
        subscription,
        destination: "claims".parse().unwrap(),
        message,
        body,
        attempts: 0,
        due: NOW,
    }
}

fn forwarded() -> HeldDelivery {
    delivery(Message::forwarded(), Body::Original)
}

async fn attempt(url: &str, timeout: Duration) -> Report {
    let sender = Sender::new(&loopback()).unwrap();
    sender.attempt(&target(url, &DestinationSecrets::default()), &forwarded(), timeout, NOW).await
}

#[tokio::test]
async fn a_receiver_sees_the_documented_headers_and_the_record_hides_secrets() {
    let mut endpoint =
        Endpoint::answering("HTTP/1.1 202 Accepted\r\nx-a: b\r\ncontent-length: 2\r\n\r\nok").await;
    let secrets = DestinationSecrets {
        headers: [("Authorization", "Bearer s3cret"), ("x-team", "blue")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
        signing: Vec::new(),
        ..DestinationSecrets::default()
    };
    let message = Message::Http {
        method: Some(HttpMethod::Put),
        path: Some("cases/7?full=1".to_owned()),
        headers: [
            ("x-kind", "claim"),
            ("x-api-token", "t0ken"),
            ("authorization", "mine"),
            ("accept", "*/*"),
        ]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .to_vec(),
        content_type: Some("text/plain".to_owned()),
    };
    let d = delivery(message, Body::Bytes(Bytes::from_static(b"hello")));
    let sender = Sender::new(&loopback()).unwrap();
    let report = sender.attempt(&target(&endpoint.url("/hook"), &secrets), &d, LONG, NOW).await;

    let request = endpoint.next().await;
    assert_eq!(request.line, "PUT /hook/cases/7?full=1 HTTP/1.1");
    assert_eq!(request.body, b"hello");
    let agent = concat!("Hookyard/", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        ("content-type", "text/plain"),
        ("accept", "*/*"),
        ("user-agent", agent),
        ("content-length", "5"),
        ("requestid", d.id.as_str()),
        ("eventid", "20"),
        ("eventname", "case.closed"),
        ("webhook-id", d.id.as_str()),
        ("webhook-timestamp", "1761300000"),
        ("authorization", "Bearer s3cret"),
        ("x-team", "blue"),
        ("x-kind", "claim"),
        ("x-api-token", "t0ken"),
    ] {
        assert_eq!(request.headers.get(name).map(String::as_str), Some(value), "{name}");
    }

    assert_eq!((&report.outcome, report.kind, report.status), (&Outcome::Delivered, "delivered", Some(202)));
    assert_eq!(report.response_body.as_deref(), Some(&b"ok"[..]));
    let answered: serde_json::Value = serde_json::from_str(&report.response_headers.unwrap()).unwrap();
    assert_eq!(answered["x-a"], "b");
    let shown: serde_json::Value = serde_json::from_str(&report.request).unwrap();
    assert_eq!(
        (&shown["method"], &shown["url"]),
        (&"PUT".into(), &endpoint.url("/hook/cases/7?full=1").into())
    );
    assert_eq!(shown["headers"]["requestid"], d.id.as_str());
    for name in ["authorization", "x-team", "x-api-token"] {
        assert_eq!(shown["headers"][name], "***", "{name}");
    }
}

#[tokio::test]
async fn signatures_are_accepted_by_another_implementation() {
    // The other implementation compares with the system's clock.
    let now = Clock::system().now();
    let mut endpoint = Endpoint::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let (old, new) = (sign::new_hmac_secret([1; 32]), sign::new_ed25519_secret([2; 32]));
    let signing = vec![
        SigningSecret { secret: new, until_ms: None },
        SigningSecret { secret: old.clone(), until_ms: Some(now.plus(LONG)) },
    ];
    let secrets = DestinationSecrets { signing, ..DestinationSecrets::default() };
    let target = target(&endpoint.url("/"), &secrets);
    let sender = Sender::new(&loopback()).unwrap();
    assert_eq!(sender.attempt(&target, &forwarded(), LONG, now).await.outcome, Outcome::Delivered);

    let request = endpoint.next().await;
    let mut headers = standardwebhooks_headers(&request.headers);
    let verifier = standardwebhooks::Webhook::new(&old).unwrap();
    verifier.verify(&request.body, &headers).unwrap();
    assert!(verifier.verify(b"{}", &headers).is_err());
    headers.insert("webhook-id", "another".parse().unwrap());
    assert!(verifier.verify(&request.body, &headers).is_err());
    let signature = &request.headers["webhook-signature"];
    assert!(signature.starts_with("v1a,") && signature.contains(" v1,"), "{signature}");

    // The overlap of the old secret has ended: the new one signs alone.
    sender.attempt(&target, &forwarded(), LONG, now.plus(LONG)).await;
    assert!(!endpoint.next().await.headers["webhook-signature"].contains("v1,"));
}

fn standardwebhooks_headers(
    headers: &std::collections::HashMap<String, String>,
) -> reqwest::header::HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| name.starts_with("webhook-"))
        .map(|(n, v)| (n.parse::<reqwest::header::HeaderName>().unwrap(), v.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_dripping_answer_ends_with_the_deadline() {
    let endpoint = Endpoint::behaving(|mut stream| async move {
        let mut all = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
        let mut second = tokio::time::interval(Duration::from_millis(100));
        while all.is_ok() {
            second.tick().await;
            all = stream.write_all(b"x").await;
        }
    })
    .await;
    let report = attempt(&endpoint.url("/"), Duration::from_millis(450)).await;
    assert_eq!((&report.outcome, report.status), (&Outcome::Timeout, Some(200)));
    assert!((450_000..5_000_000).contains(&report.duration_us), "{}", report.duration_us);
    assert!(report.response_body.is_some_and(|b| !b.is_empty() && b.len() < 20));
    assert_eq!(report.error.as_deref(), Some("waited 450ms for its answer's end"));
}

#[tokio::test]
async fn dripping_headers_and_silence_end_with_the_deadline_too() {
    let drip = Endpoint::behaving(|mut stream| async move {
        let mut all = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        let mut second = tokio::time::interval(Duration::from_millis(50));
        while all.is_ok() {
            second.tick().await;
            all = stream.write_all(b"x").await;
        }
    })
    .await;
    let silent = Endpoint::behaving(|stream| async move {
        let _ = stream.readable().await;
    })
    .await;
    for url in [drip.url("/"), silent.url("/")] {
        let report = attempt(&url, Duration::from_millis(300)).await;
        assert_eq!((&report.outcome, report.status), (&Outcome::Timeout, None));
        assert_eq!(report.error.as_deref(), Some("waited 300ms for an answer"));
        assert!(report.duration_us < 5_000_000);
    }
}

#[tokio::test]
async fn of_an_endless_answer_only_so_much_is_read() {
    let (closed, was_closed) = tokio::sync::oneshot::channel();
    let closed = std::sync::Mutex::new(Some(closed));
    let closed = Arc::new(closed);
    let endpoint = Endpoint::behaving(move |mut stream| {
        let closed = closed.clone();
        async move {
            let mut all = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let chunk = [&b"1000\r\n"[..], &[b'x'; 0x1000], b"\r\n"].concat();
            while all.is_ok() {
                all = stream.write_all(&chunk).await;
            }
            let closed = closed.lock().unwrap().take();
            closed.unwrap().send(()).unwrap();
        }
    })
    .await;
    let report = attempt(&endpoint.url("/"), LONG).await;
    assert_eq!(report.outcome, Outcome::Delivered);
    assert_eq!(report.response_body.map(|b| b.len()), Some(MAX_ANSWER));
    tokio::time::timeout(LONG, was_closed).await.expect("the connection is dropped").unwrap();
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let mut other = Endpoint::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} X\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", other.url("/"));
        let endpoint = Endpoint::answering(&answer).await;
        let report = attempt(&endpoint.url("/"), LONG).await;
        assert_eq!(report.outcome, Outcome::Refused { status, retry_after: None });
        assert!(report.error.unwrap().ends_with("redirects are not followed"));
    }
    assert!(other.nothing_came());
}

#[tokio::test]
async fn statuses_have_their_consequences() {
    let policy = Policy::resolve(&PolicySpec { jitter_percent: Some(0), ..PolicySpec::default() }).unwrap();
    let decision = async |answer: &str| {
        let mut endpoint = Endpoint::answering(answer).await;
        let report = attempt(&endpoint.url("/"), LONG).await;
        endpoint.next().await;
        assert!(endpoint.nothing_came(), "every send is one attempt");
        decide(&policy, 1, &report.outcome, NOW, 0.5)
    };
    let at = |seconds| Decision::RetryAt(NOW.plus(Duration::from_secs(seconds)));
    let empty = "content-length: 0\r\n\r\n";
    assert!(matches!(decision(&format!("HTTP/1.1 410 Gone\r\n{empty}")).await, Decision::Disable(_)));
    assert_eq!(decision(&format!("HTTP/1.1 429 X\r\nretry-after: 90\r\n{empty}")).await, at(90));
    assert_eq!(decision(&format!("HTTP/1.1 503 X\r\nretry-after: 99999999\r\n{empty}")).await, at(86_400));
    assert_eq!(decision(&format!("HTTP/1.1 503 X\r\n{empty}")).await, at(5));
    assert_eq!(decision(&format!("HTTP/1.1 400 X\r\n{empty}")).await, at(5));
    assert_eq!(decision("this is not HTTP\r\n\r\n").await, at(5));
}

#[tokio::test]
async fn each_fault_of_the_network_has_its_kind() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let refused = attempt(&format!("http://127.0.0.1:{port}/"), LONG).await;
    assert_eq!((&refused.outcome, refused.kind), (&Outcome::Network(NetworkFault::Connect), "connect"));
    assert!(!refused.error.unwrap().is_empty());

    let plain = Endpoint::behaving(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 plain HTTP here\r\n\r\n").await;
    })
    .await;
    let tls = attempt(&plain.url("/").replace("http://", "https://"), LONG).await;
    assert_eq!((&tls.outcome, tls.kind), (&Outcome::Network(NetworkFault::Tls), "tls"));

    let broken = Endpoint::answering("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
    let broken = attempt(&broken.url("/"), LONG).await;
    assert_eq!((&broken.outcome, broken.kind), (&Outcome::Network(NetworkFault::Broken), "broken"));

    let unknown = attempt("https://no-such-name.invalid/", LONG).await;
    assert_eq!((&unknown.outcome, unknown.kind), (&Outcome::Network(NetworkFault::Dns), "dns"));
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_blocked_unless_allowed() {
    let mut endpoint = Endpoint::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    // Compiled while its network was allowed; what counts is what the sender allows when it connects.
    let literal = target(&endpoint.url("/"), &DestinationSecrets::default());
    let url = endpoint.url("/").replace("127.0.0.1", "localhost");
    let target = target(&url, &DestinationSecrets::default());
    let strict = Sender::new(&AddressPolicy::default()).unwrap();
    for target in [&target, &literal] {
        let report = strict.attempt(target, &forwarded(), LONG, NOW).await;
        assert_eq!((&report.outcome, report.kind), (&Outcome::Blocked, "blocked_address"));
        assert!(report.error.unwrap().contains("loopback"));
    }
    assert!(endpoint.nothing_came());

    let open = Sender::new(&loopback()).unwrap();
    assert_eq!(open.attempt(&target, &forwarded(), LONG, NOW).await.outcome, Outcome::Delivered);
    endpoint.next().await;
}

#[tokio::test]
async fn what_can_never_be_sent_says_why_and_sends_nothing() {
    let mut endpoint = Endpoint::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let sender = Sender::new(&loopback()).unwrap();
    let http = target(&endpoint.url("/hook"), &DestinationSecrets::default());
    let with = |path: Option<&str>, headers: &[(&str, &str)]| Message::Http {
        method: None,
        path: path.map(str::to_owned),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        content_type: None,
    };
    let sftp = Message::Sftp { path: "a".to_owned() };
    let fetch = Body::Fetch("https://example.com/file".to_owned());
    let cases = [
        (Message::forwarded(), fetch, "content `fetch` needs a spool, and there is none"),
        (with(Some("../x"), &[]), Body::Original, "the path of the request has a `.` or `..` part"),
        (with(None, &[("host", "x")]), Body::Original, "header \"host\" is set by the host itself"),
        (with(None, &[("x", "a\r\nb: c")]), Body::Original, "header \"x\" has a value that is not"),
        (sftp, Body::Original, "the message is not an HTTP request"),
    ];
    for (message, body, expected) in cases {
        let report = sender.attempt(&http, &delivery(message, body), LONG, NOW).await;
        let Outcome::Unavailable(why) = &report.outcome else { panic!("{report:?}") };
        assert!(why.starts_with(expected), "{why}");
    }
    // Without a description of where files go there is nothing that could be sent to.
    let files = DestinationSpec::of(DestinationKind::Sftp);
    let (carrier, name) = ("acme".parse().unwrap(), "files".parse().unwrap());
    let why =
        Target::compile(carrier, name, &files, &DestinationSecrets::default(), &loopback()).unwrap_err();
    assert_eq!(why.field(), "sftp", "{why}");
    assert!(endpoint.nothing_came());
}

#[tokio::test]
async fn connections_are_used_again() {
    let mut endpoint = Endpoint::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let sender = Sender::new(&loopback()).unwrap();
    let target = target(&endpoint.url("/"), &DestinationSecrets::default());
    let mut connections = std::collections::BTreeSet::new();
    for _ in 0..5 {
        assert_eq!(sender.attempt(&target, &forwarded(), LONG, NOW).await.outcome, Outcome::Delivered);
        connections.insert(endpoint.next().await.connection);
    }
    assert_eq!(connections.len(), 1);
}
