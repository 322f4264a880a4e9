//! The author's tools as an author uses them: the binary's own subcommands, against a host in this process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use hookyard::clock::Clock;
use hookyard::config::Config;
use hookyard::host::Host;
use hookyard::stock;
use hookyard_tests::guests;
use hookyard_tests::wasm::binary;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;

/// Tests share the machine: a deadline is what `hostile` is about.
const PATIENT: [&str; 2] = ["--wall-ms", "1000"];

/// How a command ended and what it said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// What a command that went well printed.
    fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// What a command printed that failed with status 1: everything.
    fn badly(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        self.out + &self.err
    }
}

/// Runs `hookyard plugin` with nothing of this process's environment that could lead it elsewhere.
async fn plugin<S: AsRef<str>>(arguments: &[S]) -> Said {
    let mut command = Command::new(binary());
    command.arg("plugin").args(arguments.iter().map(AsRef::as_ref));
    command.env_remove("HOOKYARD_URL").env_remove("HOOKYARD_KEY");
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Where plugins are compiled: it outlives the test, so that their dependencies are compiled once.
fn target_dir() -> String {
    let target = binary().ancestors().nth(2).unwrap().join("author");
    target.to_str().unwrap().to_owned()
}

/// Writes a component and its examples, as `plugin test` expects to find them.
fn lay_out(folder: &Path, component: &[u8], examples: &[(&str, &str)]) -> PathBuf {
    let path = folder.join("plugin.wasm");
    std::fs::write(&path, component).unwrap();
    std::fs::create_dir(folder.join("examples")).unwrap();
    for (name, text) in examples {
        std::fs::write(folder.join("examples").join(name), text).unwrap();
    }
    path
}

/// A host on a free port, with its first admin key, and a receiver that tells what it gets.
struct Yard {
    host: Host,
    url: String,
    admin: String,
    received: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
    receiver: String,
    _data: tempfile::TempDir,
}

impl Yard {
    async fn open() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.data = data.path().join("data");
        config.deliver.allow_http = true;
        config.deliver.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Host::start(&config, listener, Clock::system(), binary()).await.unwrap();
        let url = format!("http://{}", host.address());
        let admin = std::fs::read_to_string(host.first_key().unwrap()).unwrap().trim().to_owned();

        let (say, received) = mpsc::unbounded_channel();
        let take = |State(say): State<mpsc::UnboundedSender<_>>, headers: HeaderMap, body: Bytes| async move {
            say.send((headers, body)).map_or(StatusCode::GONE, |()| StatusCode::OK)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = format!("http://{}/in", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(take).with_state(say);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { host, url, admin, received, receiver, _data: data }
    }

    async fn ask(&self, method: &str, path: &str, key: &str, body: &Value) -> Value {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(hookyard::deliver::http::tls().unwrap())
            .no_proxy()
            .build()
            .unwrap();
        let method = method.parse::<reqwest::Method>().unwrap();
        let request = http.request(method, format!("{}{path}", self.url)).header("x-api-key", key).json(body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    /// Makes the carrier `acme` with the destination `crm`; gives its key.
    async fn carrier(&self) -> String {
        self.ask("POST", "/v1/carriers", &self.admin, &json!({"id": "acme", "name": "Acme Mutual"})).await;
        let made = self.ask("POST", "/v1/carriers/acme/keys", &self.admin, &json!({"name": "author"})).await;
        let key = made["key"].as_str().unwrap().to_owned();
        let crm = json!({"kind": "http", "url": self.receiver});
        self.ask("PUT", "/v1/carriers/me/destinations/crm", &key, &crm).await;
        key
    }

    async fn post(&self, id: &str, payload: &Value) {
        let event = json!({"carrier": "acme", "id": id, "type": "case.closed", "payload": payload});
        self.ask("POST", "/v1/events", &self.admin, &event).await;
    }

    /// The body of the next delivery.
    async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(Duration::from_secs(60), self.received.recv());
        let (headers, body) = next.await.expect("a delivery arrives").unwrap();
        assert_eq!(headers["eventname"], "case.closed");
        serde_json::from_slice(&body).unwrap()
    }

    async fn close(self) {
        let (soft, hard) = (Duration::from_secs(20), Duration::from_secs(5));
        self.host.stop(soft, hard, std::future::pending()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_new_plugin_to_its_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("brand-tour");
    let dir = path.to_str().unwrap();
    let target_dir = target_dir();
    let build = ["--offline", "--target-dir", &target_dir];

    plugin(&["new", dir]).await.well();
    let built = plugin(&[&["build", dir][..], &build].concat()).await;
    assert!(!built.err.contains("warning"), "the SDK builds without a word: {}", built.err);
    let built = built.well();
    assert!(built.contains("brand_tour.wasm: ") && built.contains("imports hookyard:plugin/log@"), "{built}");
    let tested = plugin(&[&["test", dir][..], &build, &PATIENT].concat()).await.well();
    assert!(tested.contains("2 examples: 2 passed, 0 failed"), "{tested}");
    assert!(tested.contains("log info  Acme Mutual is wanted"), "{tested}");
    assert!(tested.contains("drop: Gamma Casualty is not one of Acme Mutual"), "{tested}");

    let mut yard = Yard::open().await;
    let key = yard.carrier().await;
    let url = yard.url.clone();
    let place = ["--url", &url, "--key", &key];
    let none = plugin(&[&["list"][..], &place].concat()).await.well();
    assert!(none.contains("there are no plugins yet"), "{none}");
    let pushed =
        plugin(&[&["push", "brand", dir, "--activate"][..], &build, &place, &PATIENT].concat()).await;
    let pushed = pushed.well();
    assert!(pushed.contains("version 1, sha256 ") && pushed.contains("`brand` runs version 1\n"), "{pushed}");

    let subscription = json!({
        "event_types": ["case.*"], "plugins": ["brand"], "destinations": ["crm"],
        "settings": {"brands": "Acme Mutual"},
    });
    yard.ask("PUT", "/v1/carriers/me/subscriptions/main", &key, &subscription).await;
    let case = json!({"caseData": {"brand": "Acme Mutual", "author": {"first": "Ada", "id": 7}}});
    yard.post("e-1", &case).await;
    assert_eq!(yard.next().await, case, "the plugin forwards what it keeps");

    // Another plugin as the second version: what it changes shows which one runs.
    let other = folder.path().join("redact.wasm");
    std::fs::write(&other, stock::find("redact").unwrap().bytes).unwrap();
    let pushed =
        plugin(&[&["push", "brand", other.to_str().unwrap()][..], &place, &PATIENT].concat()).await.well();
    assert!(pushed.contains("it is not active: `hookyard plugin activate brand 2` makes it run"), "{pushed}");
    yard.post("e-2", &case).await;
    assert_eq!(yard.next().await, case, "pushing alone changes nothing");

    let activated = plugin(&[&["activate", "brand", "2"][..], &place].concat()).await.well();
    assert_eq!(activated, "`brand` runs version 2 (before: 1)\n");
    yard.post("e-3", &case).await;
    let redacted = json!({"caseData": {"brand": "Acme Mutual", "author": {"id": 7}}});
    assert_eq!(yard.next().await, redacted);

    let back = plugin(&[&["rollback", "brand"][..], &place].concat()).await.well();
    assert_eq!(back, "`brand` runs version 1 (before: 2)\n");
    yard.post("e-4", &case).await;
    assert_eq!(yard.next().await, case);
    let list = plugin(&[&["list"][..], &place].concat()).await.well();
    let words: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words, ["brand", "1", "2", "2"]);
    yard.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_host_says_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sockets.wasm");
    std::fs::write(&path, guests::SOCKETS).unwrap();
    let file = path.to_str().unwrap();
    let yard = Yard::open().await;
    let key = yard.carrier().await;
    let place = ["--url", &yard.url, "--key", &key];

    let refused = plugin(&[&["push", "net", file][..], &place].concat()).await.badly();
    assert!(refused.contains("the host refused the component: it imports wasi:sockets/"), "{refused}");
    assert!(refused.contains("`hookyard plugin test` makes the same checks here"), "{refused}");
    let missing = plugin(&[&["activate", "net", "1"][..], &place].concat()).await.badly();
    assert!(missing.contains("404 not_found") && missing.contains("`hookyard plugin list`"), "{missing}");
    let not_mine = plugin(&[&["push", "net", file, "--shared"][..], &place].concat()).await.badly();
    assert!(not_mine.contains("403 forbidden") && not_mine.contains("take an admin's key"), "{not_mine}");
    let stranger = ["list", "--url", place[1], "--key", "hy_nobody"];
    let stranger = plugin(&stranger).await.badly();
    assert!(
        stranger.contains("401 unauthorized") && stranger.contains("--key or HOOKYARD_KEY"),
        "{stranger}"
    );

    let admin = ["--url", &yard.url, "--key", &yard.admin];
    let whose = plugin(&[&["push", "hello", file][..], &admin].concat()).await.badly();
    assert!(whose.contains("with an admin's key say whose it is: --carrier or --shared"), "{whose}");
    std::fs::write(&path, guests::HELLO).unwrap();
    let shared = [&["push", "hello", file, "--shared", "--activate"][..], &admin, &PATIENT].concat();
    let shared = plugin(&shared).await.well();
    assert!(shared.contains("`hello` runs version 1"), "{shared}");
    let named =
        plugin(&[&["push", "hello", file, "--carrier", "acme"][..], &admin, &PATIENT].concat()).await.well();
    assert!(named.contains("`hookyard plugin activate hello 1 --carrier acme` makes it run"), "{named}");
    let back = plugin(&[&["rollback", "hello", "--shared"][..], &admin].concat()).await.badly();
    assert!(back.contains("409 wrong_state: no other version"), "{back}");
    yard.close().await;
}

#[tokio::test]
async fn without_a_host_a_key_or_a_component_the_error_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.wasm");
    std::fs::write(&path, guests::HELLO).unwrap();
    let file = path.to_str().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);

    let nobody = plugin(&["push", "hello", file, "--key", "k", "--url", &url]).await.badly();
    assert!(
        nobody.contains(&format!("cannot reach the host at {url} (is it running? see --url)")),
        "{nobody}"
    );
    let no_key = plugin(&["push", "hello", file]).await.badly();
    assert!(no_key.contains("give one with --key or HOOKYARD_KEY"), "{no_key}");
    let nothing = plugin(&["test", "no-such-folder"]).await.badly();
    assert!(
        nothing.contains("there is no no-such-folder: give a plugin's folder or a component"),
        "{nothing}"
    );
    let unknown = plugin(&["test", "--stock", "filters"]).await.badly();
    assert!(
        unknown.contains("there are envelope, filter, media, redact, route, survey, transcript"),
        "{unknown}"
    );

    let no_examples = plugin(&["test", file]).await.badly();
    assert!(
        no_examples.contains("there are no examples in ") && no_examples.contains("--examples"),
        "{no_examples}"
    );
    lay_out(folder.path(), guests::SOCKETS, &[("a.json", r#"{"type": "a", "payload": 1}"#)]);
    let refused = plugin(&["test", folder.path().join("plugin.wasm").to_str().unwrap()]).await.badly();
    assert!(refused.contains("a host would refuse plugin.wasm: it imports wasi:sockets/"), "{refused}");
}

#[tokio::test]
async fn every_stock_plugin_passes_its_examples_as_a_component() {
    for stock in stock::all() {
        let said = plugin(&[&["test", "--stock", stock.name][..], &PATIENT].concat()).await.well();
        let n = stock.examples.len();
        assert!(said.contains(&format!("\n{n} examples: {n} passed, 0 failed\n")), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), n, "{said}");
    }
}

#[tokio::test]
async fn a_wrong_answer_fails_with_a_readable_difference() {
    let folder = tempfile::tempdir().unwrap();
    let filter = stock::find("filter").unwrap().bytes;
    let examples = [
        ("broken.json", r#"{"type": "case.closed", "payload": }"#),
        (
            "right.json",
            r#"{"type": "a", "payload": {"s": 1}, "settings": {"keep": "s=1"}, "expect": {"forward": "original"}}"#,
        ),
        (
            "wrong.json",
            r#"{"type": "a", "payload": {"s": 2}, "settings": {"keep": "s=1"}, "expect": {"forward": "original"}}"#,
        ),
        ("notes.txt", "not an example"),
    ];
    let file = lay_out(folder.path(), filter, &examples);
    let said = plugin(&[&["test", file.to_str().unwrap()][..], &PATIENT].concat()).await.badly();
    assert!(said.contains("FAIL  broken.json\n        this is no example file: "), "{said}");
    assert!(said.contains("ok    right.json "), "{said}");
    assert!(said.contains("FAIL  wrong.json "), "{said}");
    assert!(said.contains("expected (-) and got (+):\n"), "{said}");
    assert!(said.contains("        -   \"forward\": \"original\"\n        +   \"drop\": \""), "{said}");
    assert!(said.contains("3 examples: 1 passed, 2 failed"), "{said}");
}

#[tokio::test]
async fn what_a_host_would_stop_fails_here_with_the_same_words() {
    let folder = tempfile::tempdir().unwrap();
    let example = |payload: &str| format!(r#"{{"type": "a.b", "payload": {payload}}}"#);
    let files = [
        ("deliver.json", example(r#"{"do": "deliver", "with": "claims"}"#)),
        ("large.json", example(r#"{"do": "output", "with": 900}"#)),
        ("loop.json", example(r#"{"do": "loop"}"#)),
        ("panic.json", example(r#"{"do": "panic", "with": "at the disco"}"#)),
        ("too-large.json", example(r#"{"do": "output", "with": 2000}"#)),
        ("unknown.json", example(r#"{"do": "deliver", "with": "nowhere"}"#)),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let file = lay_out(folder.path(), guests::HOSTILE, &files);
    let file = file.to_str().unwrap();
    let arguments =
        ["test", file, "--destination", "claims=http", "--output-bytes", "1000", "--wall-ms", "300"];
    let said = plugin(&arguments).await.badly();
    assert!(
        said.contains("FAIL  loop.json ")
            && said.contains("limit wall_ms hit: the plugin did not answer within 300 ms"),
        "{said}"
    );
    assert!(said.contains("FAIL  panic.json ") && said.contains("the plugin trapped (panic): "), "{said}");
    assert!(said.contains("at the disco"), "{said}");
    assert!(said.contains("limit output_bytes hit: "), "{said}");
    assert!(said.contains("of the 1000 bytes that limit output_bytes allows"), "{said}");
    assert!(said.contains("ok    deliver.json ") && said.contains("deliver to claims\n"), "{said}");
    assert!(said.contains("those of --destination NAME=KIND"), "{said}");
    assert!(said.contains("6 examples: 2 passed, 4 failed"), "{said}");
}
