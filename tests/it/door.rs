//! The door: clients that are slow, silent or many, and those that are served meanwhile.

use std::time::Duration;

use hookyard::clock::{Clock, Stopwatch};
use hookyard_tests::client::Api;
use hookyard_tests::data::Data;
use hookyard_tests::host::TestHost;
use hookyard_tests::sink::PATIENCE;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client that says exactly what it is told to.
struct Raw {
    stream: TcpStream,
    since: Stopwatch,
}

impl Raw {
    async fn connect(host: &TestHost) -> Self {
        let stream = TcpStream::connect(host.host().address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, since: Stopwatch::start() }
    }

    /// Says something; whether the other side still listens is seen when it is read.
    async fn say(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Says one byte now and then, for as long as the other side takes them; gives what it answered until it closed.
    async fn drip(mut self, text: &str) -> (String, Duration) {
        let (mut reader, mut writer) = self.stream.split();
        let mut answer = Vec::new();
        let drops = async {
            let mut beat = tokio::time::interval(Duration::from_millis(10));
            for byte in text.as_bytes().iter().chain(std::iter::repeat(&b'x')) {
                beat.tick().await;
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            // The reader says when it is over.
            std::future::pending::<()>().await;
        };
        let ended = async {
            tokio::select! {
                // An end that comes as a reset is an end.
                end = reader.read_to_end(&mut answer) => drop(end),
                () = drops => {}
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the connection ends");
        (String::from_utf8(answer).unwrap(), self.since.elapsed())
    }

    /// Waits for the end of the connection; gives what was said until then.
    async fn end(mut self) -> (String, Duration) {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut answer)).await;
        drop(ended.expect("the connection ends"));
        (String::from_utf8(answer).unwrap(), self.since.elapsed())
    }

    /// Reads an answer with a body of that length, and keeps the connection.
    async fn answer(&mut self, body: &str) -> String {
        let mut answer = String::new();
        let whole = async {
            while !answer.ends_with(&format!("\r\n\r\n{body}")) {
                let mut some = [0; 4_096];
                let n = self.stream.read(&mut some).await.unwrap();
                assert!(n > 0, "it ended after {answer:?}");
                answer.push_str(std::str::from_utf8(&some[..n]).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("an answer");
        answer
    }
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

async fn host(data: &Data, change: impl FnOnce(&mut hookyard::config::ServerConfig)) -> TestHost {
    TestHost::with(data, Clock::system(), |config| change(&mut config.server)).await
}

/// The body of an answer that was read raw.
fn problem(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn a_client_that_drips_its_head_is_cut_off_and_the_others_are_served() {
    let data = Data::sqlite().await;
    let host = host(&data, |server| server.head_ms = 300).await;
    let dripping = Raw::connect(&host).await;
    let silent = Raw::connect(&host).await;
    // One that has been served begins anew with each request.
    let mut served = Raw::connect(&host).await;
    served.say(HEALTH).await;
    served.answer("ok\n").await;
    let served_since = Stopwatch::start();
    let drip = tokio::spawn(dripping.drip("POST /v1/events HTTP/1.1\r\nhost: x\r\nx-drip: "));
    let silence = tokio::spawn(silent.end());
    let second = tokio::spawn(served.drip("GET /v1/carriers HTTP/1.1\r\nx-drip: "));
    while !(drip.is_finished() && silence.is_finished() && second.is_finished()) {
        assert_eq!(host.admin.get("/healthz").await.status, 200, "others are served meanwhile");
    }
    for cut in [drip, silence, second] {
        let (answer, after) = cut.await.unwrap();
        assert_eq!(answer, "", "there is nothing to answer");
        assert!(after >= Duration::from_millis(300), "{after:?}");
    }
    assert!(served_since.elapsed() >= Duration::from_millis(290), "{:?}", served_since.elapsed());
    host.end().await;
}

#[tokio::test]
async fn a_client_that_drips_its_body_is_told_so_and_the_others_are_served() {
    let data = Data::sqlite().await;
    let host = host(&data, |server| (server.body_ms, server.head_ms) = (300, 100)).await;
    let acme = host.admin.carrier("acme").await;
    let head = |path: &str, more: &str| {
        let key = host.admin.key();
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\
             content-length: 100000\r\n{more}\r\n"
        )
    };
    // Events, what is set up, an upload, and what is read before it is looked at.
    let plans = [
        head("/v1/events", ""),
        head("/v1/carriers", ""),
        head("/v1/carriers/acme/plugins/p/versions", ""),
        head("/v1/carriers", "idempotency-key: once\r\n"),
    ];
    let mut slow = tokio::task::JoinSet::new();
    for head in plans {
        let mut raw = Raw::connect(&host).await;
        raw.say(&head).await;
        slow.spawn(raw.drip("{\"carrier\":"));
    }
    let mut n = 0;
    while !slow.is_empty() {
        acme.post(&format!("evt-{n}"), &json!({})).await;
        n += 1;
        let Some(cut) = slow.try_join_next() else { continue };
        let (answer, after) = cut.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
        let problem = problem(&answer);
        assert_eq!((&problem["code"], &problem["limit"]), (&json!("body_timeout"), &json!("server.body_ms")));
        assert_eq!(problem["max"], 300, "{problem:#}");
        assert!(after >= Duration::from_millis(300), "{after:?}");
    }
    acme.settled_events().await;
    host.end().await;
}

#[tokio::test]
async fn a_connection_that_rests_too_long_is_closed_and_one_that_works_is_not() {
    let data = Data::sqlite().await;
    let host = host(&data, |server| (server.idle_ms, server.head_ms) = (1_500, 100)).await;
    let mut raw = Raw::connect(&host).await;
    // A rest longer than a head may take is no fault, and neither are two requests at once.
    raw.say(HEALTH).await;
    raw.answer("ok\n").await;
    let rested = Raw::connect(&host).await.end().await.1;
    assert!(rested >= Duration::from_millis(100), "{rested:?}");
    raw.say(&HEALTH.repeat(2)).await;
    let mut both = raw.answer("ok\n").await;
    while both.matches("HTTP/1.1 200").count() < 2 {
        both.push_str(&raw.answer("ok\n").await);
    }
    let since = Stopwatch::start();
    let (more, _) = raw.end().await;
    assert_eq!(more, "");
    // The clock of this test begins when it has read the answer, a little after the host's.
    assert!(since.elapsed() >= Duration::from_millis(1_400), "{:?}", since.elapsed());
    host.end().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_while_the_others_are_served() {
    let data = Data::sqlite().await;
    let host = host(&data, |server| server.connections = 4).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::connect(&host).await;
        raw.say(HEALTH).await;
        raw.answer("ok\n").await;
        held.push(raw);
    }
    // A client of its own, so that it has no connection yet.
    let late = Api::new(&format!("http://{}", host.host().address()), host.admin.key());
    let refused = late.get("/v1/carriers").await;
    assert_eq!(
        (&refused.headers["retry-after"], &refused.headers["connection"]),
        (&"1".parse().unwrap(), &"close".parse().unwrap())
    );
    let problem = refused.problem(503, "busy");
    assert_eq!((&problem["limit"], &problem["max"]), (&json!("server.connections"), &json!(4)));
    // The operator is not locked out, and sees it.
    assert_eq!(late.get("/healthz").await.ok(), "ok\n");
    let metrics = late.get("/metrics").await.ok();
    let shown = |line: &str| metrics.as_str().unwrap().lines().any(|l| l == line);
    assert!(shown("hookyard_connections 4") && shown("hookyard_connections_refused_total 3"), "{metrics}");
    for raw in &mut held {
        raw.say(HEALTH).await;
        raw.answer("ok\n").await;
    }
    // As soon as one leaves there is room again.
    drop(held.pop());
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    let admitted = async {
        while late.get("/v1/carriers").await.status != 200 {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, admitted).await.expect("a place was freed");
    drop(held);
    host.leave().await;
}

#[tokio::test]
async fn a_stop_waits_for_no_connection_that_rests() {
    let data = Data::sqlite().await;
    let host = host(&data, |_| ()).await;
    let mut rests = Raw::connect(&host).await;
    rests.say(HEALTH).await;
    rests.answer("ok\n").await;
    let fresh = Raw::connect(&host).await;
    let since = Stopwatch::start();
    host.leave().await;
    // Long before the patience of ten seconds for a head.
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    assert_eq!((rests.end().await.0.as_str(), fresh.end().await.0.as_str()), ("", ""));
}
