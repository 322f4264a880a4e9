//! No answer of the API, no log line at any level, no metric, no record of an attempt and nothing in the database ever holds
//! a secret: a host is driven through every operation of its document, by receivers that print what they are sent, and
//! then everything that it has said and kept is searched.

mod logins;
mod mails;
mod proofs;
mod search;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookyard::deliver::http::MAX_ANSWER;
use hookyard_tests::child::{ChildHost, command};
use hookyard_tests::client::{Answer as Answered, Api};
use hookyard_tests::data::Data;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, PATIENCE, Request, Sink};
use hookyard_tests::smtp::SmtpSink;
use reqwest::Method;
use serde_json::{Value, json};

use crate::way::stock;
use logins::log_in;
use mails::mail;
use proofs::prove;
use search::Places;

on_both! {
    no_secret_is_ever_shown_or_kept,
}

/// Stands in the payload of each event: what must be found, or the search finds nothing.
const PLAIN: &str = "this-stands-in-the-payload";
/// In headers that are refused, and in bodies that cannot be read.
const REFUSED: &str = "never-repeat-this-0d1c";
const WRONG_KEY: &str = "hky_00112233aabbccdd_never-log-this-either";
const SURVEY: &str = "a-surveys-token-never-logged-4be0";
const HEADER: &str = "static-header-5f21ab";
const BEARER: &str = "static-bearer-77ce02";
const PASSWORD: &str = "static-password-91d3";

/// A user of the API who remembers every answer.
struct User {
    admin: Api,
    /// What stands for the parts of a path.
    names: BTreeMap<&'static str, String>,
    called: BTreeSet<String>,
    seen: Places,
}

impl User {
    fn path(&self, template: &str) -> String {
        let mut path = template.to_owned();
        for (name, value) in &self.names {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        path
    }

    /// Calls an operation of the document, with an admin's key unless the headers have another.
    async fn call(&mut self, operation: &str, headers: &[(&str, &str)], body: Bytes) -> Answered {
        let (method, template) = operation.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let path = self.path(template);
        let own = headers.iter().find(|(name, _)| *name == "x-api-key");
        let api = own.map_or_else(|| self.admin.clone(), |(_, key)| self.admin.with_key(key));
        let others: Vec<_> = headers.iter().copied().filter(|(name, _)| *name != "x-api-key").collect();
        let answer = api.call(method, &path, &others, body).await;
        self.called.insert(template_of(operation));
        self.seen.add(
            format!("answer to {operation}"),
            format!("{:?} {}", answer.headers, answer.body).as_bytes(),
        );
        answer
    }

    async fn json(&mut self, operation: &str, body: Value) -> Value {
        let json = [("content-type", "application/json")];
        let answer = self.call(operation, &json, body.to_string().into()).await;
        assert!((200..300).contains(&answer.status), "{operation}: {} {:#}", answer.status, answer.body);
        answer.body
    }

    async fn refused(&mut self, operation: &str, body: String) -> Answered {
        let answer = self.call(operation, &[("content-type", "application/json")], body.into()).await;
        assert!((400..500).contains(&answer.status), "{operation}: {} {:#}", answer.status, answer.body);
        answer
    }
}

fn template_of(operation: &str) -> String {
    operation.split('?').next().unwrap_or_default().to_owned()
}

/// Everything that a receiver knows, printed in every way that receivers have.
fn print(request: &Request, known: &[String]) -> String {
    let headers: Vec<String> = request.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
    let (headers, known) = (headers.join("\r\n"), known.join(" "));
    json!({
        "headers": request.headers,
        "raw": headers,
        "body": String::from_utf8_lossy(&request.body),
        "encoded": STANDARD.encode(&headers),
        "known": known,
        "known_encoded": STANDARD.encode(format!("a{known}")),
    })
    .to_string()
}

const DESTINATION: &str = "PUT /v1/carriers/{carrier}/destinations/{destination}";

async fn no_secret_is_ever_shown_or_kept(data: &Data) {
    let relay = SmtpSink::offering(&["AUTH PLAIN LOGIN", "PIPELINING"]).await;
    let relay_port = relay.port.to_string();
    let settings = [
        ("LOG_LEVEL", "trace"),
        ("SERVER_PUBLIC_URL", "https://hooks.example.com"),
        ("MAIL_RELAY", "127.0.0.1"),
        ("MAIL_PORT", &relay_port),
        ("MAIL_SECURITY", "none"),
        ("MAIL_USERNAME", "operator"),
        ("MAIL_PASSWORD", mails::OPERATORS),
        ("MAIL_FROM", "events@host.example"),
        ("MAIL_ALLOW_PLAIN", "true"),
    ];
    let host = ChildHost::start(data, &settings).await;
    let sink = Sink::start().await;
    let names =
        [("carrier", "acme"), ("destination", "claims"), ("subscription", "main"), ("plugin", "pass")];
    let mut user = User {
        admin: host.admin.clone(),
        names: names.map(|(name, value)| (name, value.to_owned())).into(),
        called: BTreeSet::new(),
        seen: Places::default(),
    };
    let mut secrets = Secrets::default();
    secrets.hide("the static header", HEADER);
    secrets.hide("the static bearer token", BEARER);
    secrets.hide("the static password", PASSWORD);
    secrets.hide("what was refused", REFUSED);
    secrets.hide("the key that is none", WRONG_KEY);
    secrets.hide("a survey's token", SURVEY);
    secrets.hide("the first admin key", &data.admin_key());

    let known = set_up(&mut user, &mut secrets, &sink).await;
    refuse(&mut user, &sink).await;
    deliver(&mut user, &sink, known).await;
    prove(&mut user, &mut secrets, &sink).await;
    mail(&mut user, &mut secrets, &relay).await;
    log_in(&mut user, &mut secrets).await;
    ask(&mut user, &mut secrets, &sink).await;
    let carrier = user.admin.of("acme");
    carrier.settled().await;
    everything_else(&mut user).await;
    for method in [Method::GET, Method::POST] {
        let said = user.admin.call(method, &format!("/s/{SURVEY}"), &[], Bytes::new()).await;
        assert_eq!(said.status, 404);
        user.seen.add("the page of a survey", said.body.to_string().as_bytes());
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        let said = user.admin.get(path).await;
        user.seen.add(format!("answer to GET {path}"), said.body.to_string().as_bytes());
    }
    host.terminate();
    let log = host.log_after_the_end().await;
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "it logs all that there is");
    user.seen.add("the log", log.as_bytes());

    secrets.unseal(data).await;
    user.seen.extend(search::database(data).await);
    let mut leaks = Vec::new();
    for (what, secret, shown) in &secrets.0 {
        let places = user.seen.of(secret);
        let found: BTreeSet<&str> = places.into_iter().collect();
        let expected: BTreeSet<&str> = shown.iter().copied().collect();
        for place in found.difference(&expected) {
            leaks.push(format!("{what} ({secret}) in {place}: …{}…", user.seen.around(place, secret)));
        }
        for place in expected.difference(&found) {
            leaks.push(format!("{what} is not in {place}, where it is shown once"));
        }
    }
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n\n"));
    let found = user.seen.of(PLAIN);
    assert!(found.contains(&"event_bodies.payload"), "the search finds what is there: {found:?}");
    let found = user.seen.of("\"x-static\":\"***\"");
    assert!(found.contains(&"attempts.response_body"), "and the receivers did print it: {found:?}");
}

/// What must not be found, and where it is shown all the same: in the one answer that makes it.
#[derive(Default)]
struct Secrets(Vec<(String, String, Vec<&'static str>)>);

impl Secrets {
    fn hide(&mut self, what: &str, secret: &str) {
        self.shown(what, secret, &[]);
    }

    fn shown(&mut self, what: &str, secret: &str, places: &[&'static str]) {
        assert!(secret.len() >= 12, "{what} is too short to be looked for");
        self.0.push((what.to_owned(), secret.to_owned(), places.to_vec()));
    }

    /// What the host made for itself and never showed: the master key, and everything that is sealed with it.
    async fn unseal(&mut self, data: &Data) {
        let config = data.config();
        let store =
            hookyard::host::open_store(&config, true, hookyard::clock::Clock::system().now()).await.unwrap();
        let list = hookyard::secrets::KeyFile::in_folder(data.folder()).read().unwrap().unwrap();
        self.hide("the master key", &list.seals.to_base64());
        let (mut sealed, mut own) = (0, 0);
        for place in hookyard::store::sealed::PLACES.iter().filter(|place| !place.is_dispensable()) {
            for one in store.sealed(place, &Default::default(), 500).await.unwrap() {
                let plain = list.open(&one.context, &one.bytes).unwrap();
                let plain: Value = serde_json::from_slice(&plain).unwrap();
                if let Some(key) = plain.as_str() {
                    self.hide("a key of the host's own", key);
                    own += 1;
                }
                if let Some(key) = plain["login"]["private_key"].as_str() {
                    let line = key.lines().nth(2).unwrap();
                    if !self.0.iter().any(|(_, known, _)| known == line) {
                        self.hide("a private key of the host's making", line);
                    }
                }
                for key in plain["signing"].as_array().into_iter().flatten() {
                    let secret = key["secret"].as_str().unwrap();
                    sealed += 1;
                    if !self.0.iter().any(|(_, known, _)| known == secret) {
                        self.hide("a signing secret that was never shown", secret);
                    }
                }
            }
        }
        assert!(sealed >= 2, "those of the destinations that are left");
        assert_eq!(own, 1, "the key that signs links");
        store.close().await.unwrap();
    }
}

/// The signing secrets that each receiver knows, by its path.
type Known = BTreeMap<String, Vec<String>>;

/// Everything that a carrier has, each secret known.
async fn set_up(user: &mut User, secrets: &mut Secrets, sink: &Sink) -> Known {
    let mut known = Known::new();
    user.json("POST /v1/carriers", json!({ "id": "acme", "name": "Acme Mutual" })).await;
    for (operation, body) in [
        ("POST /v1/carriers/{carrier}/keys", json!({ "name": "tests" })),
        ("POST /v1/keys", json!({ "name": "platform", "role": "publisher" })),
    ] {
        // Remembered, so that the answer lies in the database, too.
        let headers = [("content-type", "application/json"), ("idempotency-key", operation)];
        let made = user.call(operation, &headers, body.to_string().into()).await.ok();
        let again = user.call(operation, &headers, body.to_string().into()).await;
        assert_eq!(again.headers["idempotency-replayed"], "true");
        let place = match operation {
            "POST /v1/keys" => "answer to POST /v1/keys",
            _ => "answer to POST /v1/carriers/{carrier}/keys",
        };
        secrets.shown("an API key", made["key"].as_str().unwrap(), &[place]);
        user.names.insert("key", made["id"].as_str().unwrap().to_owned());
    }
    let headers = json!({
        "x-static": HEADER,
        "authorization": format!("Bearer {BEARER}"),
        "x-basic": format!("Basic {}", STANDARD.encode(format!("user:{PASSWORD}"))),
    });
    let shown = "answer to PUT /v1/carriers/{carrier}/destinations/{destination}";
    for (name, signing) in [("second", "generate_ed25519"), ("third", "generate"), ("claims", "generate")] {
        user.names.insert("destination", name.to_owned());
        let url = sink.url(&format!("/{name}"));
        let body = json!({ "kind": "http", "url": url, "headers": headers, "signing": signing });
        let made = user.json(DESTINATION, body).await;
        if let Some(secret) = made["signing_secret"].as_str() {
            secrets.shown("a signing secret", secret, &[shown]);
            known.entry(format!("/{name}")).or_default().push(secret.to_owned());
        }
    }
    let rotate = "POST /v1/carriers/{carrier}/destinations/{destination}/rotate-secret";
    let rotated = user.json(rotate, json!({})).await;
    let shown = "answer to POST /v1/carriers/{carrier}/destinations/{destination}/rotate-secret";
    let secret = rotated["signing_secret"].as_str().unwrap();
    secrets.shown("a rotated secret", secret, &[shown]);
    known.entry("/claims".to_owned()).or_default().push(secret.to_owned());

    let versions = "POST /v1/carriers/{carrier}/plugins/{plugin}/versions";
    let wasm = [("content-type", "application/wasm")];
    for component in ["redact", "filter"] {
        user.call(versions, &wasm, Bytes::from_static(stock(component))).await.ok();
        user.call("POST /v1/plugins/{plugin}/versions", &wasm, Bytes::from_static(stock(component)))
            .await
            .ok();
    }
    user.names.insert("version", "1".to_owned());
    for of in ["/v1/carriers/{carrier}/plugins/{plugin}", "/v1/plugins/{plugin}"] {
        for version in [1, 2] {
            user.json(&format!("POST {of}/activate"), json!({ "version": version })).await;
        }
        user.json(&format!("POST {of}/rollback"), json!({})).await;
    }
    user.names.insert("table", "codes".to_owned());
    user.json("PUT /v1/carriers/{carrier}/tables/{table}", json!({ "a": "b" })).await;
    let body = json!({
        "event_types": ["*"], "destinations": ["claims", "second", "third"], "policy": { "profile": "none" }
    });
    user.json("PUT /v1/carriers/{carrier}/subscriptions/{subscription}", body).await;
    let body = json!({ "event_types": ["never.comes"], "destinations": ["claims"] });
    user.json("POST /v1/carriers/{carrier}/subscriptions", body).await;
    for change in ["pause", "resume"] {
        let path = format!("POST /v1/carriers/{{carrier}}/subscriptions/{{subscription}}/{change}");
        user.json(&path, json!({})).await;
    }
    known
}

/// Requests that are refused because of the very thing that is secret in them.
async fn refuse(user: &mut User, sink: &Sink) {
    let url = sink.url("/refused");
    let headers = |headers: Value| json!({ "kind": "http", "url": url, "headers": headers }).to_string();
    let line = format!("{REFUSED}\r\nx: y");
    for body in [
        headers(json!(REFUSED)),
        headers(json!([REFUSED])),
        headers(json!({ "x-a": [REFUSED] })),
        headers(json!({ "x-a": line })),
        headers(json!({ "x-a": format!("{REFUSED}é") })),
        headers(json!({ "host": REFUSED })),
        headers(json!({ "x-a": REFUSED, "X-A": REFUSED })),
        headers(json!({ "x-a": REFUSED.repeat(1_000) })),
        json!({ "kind": "http", "url": url, "signing": REFUSED }).to_string(),
        json!({ "kind": REFUSED, "url": url }).to_string(),
        json!({ "kind": "http", "url": url, "auth": REFUSED }).to_string(),
        json!({ "kind": "http", "url": url, "auth": { "type": REFUSED } }).to_string(),
        json!({ "kind": "http", "url": url, "auth": { "type": "bearer", "token": [REFUSED] } }).to_string(),
        json!({ "kind": "http", "url": url, "auth": { "type": "bearer", "token": line } }).to_string(),
        json!({ "kind": "http", "url": url, "auth": { "type": "basic", "username": "a:b", "password": REFUSED } })
            .to_string(),
        json!({ "kind": "http", "url": url, "shared_secret": line }).to_string(),
        json!({ "kind": "http", "url": url, "shared_secret": { "is": REFUSED } }).to_string(),
        json!({ "kind": "http", "url": url, "tls": { "client_key": REFUSED } }).to_string(),
        json!({ "kind": "http", "url": url, "tls": REFUSED }).to_string(),
        json!({ "kind": "http", "url": url, "login": { "password": REFUSED } }).to_string(),
        json!({ "kind": "email", "email": { "to": ["a@b.example"] }, "dkim_key": REFUSED }).to_string(),
        json!({ "kind": "email", "email": { "to": ["a@b.example"] }, "login": { "password": line } }).to_string(),
        json!({ "kind": "email", "email": { "to": ["a@b.example"] }, "login": REFUSED }).to_string(),
        json!({ "kind": "email", "login": { "private_key": REFUSED }, "email": { "to": ["a@b.example"] } }).to_string(),
        json!({ "kind": "http", "url": format!("https://user:{REFUSED}@example.com/") }).to_string(),
        json!({ "kind": "http", "url": url, "concurrency": REFUSED }).to_string(),
        format!("{{\"headers\": {{\"x-a\": \"{REFUSED}"),
        format!("{{\"kind\": \"http\", \"headers\": {{\"x-a\": \"{REFUSED}\"}}, nonsense}}"),
    ] {
        user.refused(DESTINATION, body).await;
    }
    let as_text = user.call(DESTINATION, &[("content-type", "text/plain")], REFUSED.into()).await;
    assert_eq!(as_text.status, 415);
    for key in [WRONG_KEY.to_owned(), format!("hky_{REFUSED}")] {
        let answer = user.call("GET /v1/carriers", &[("x-api-key", &key)], Bytes::new()).await;
        assert_eq!(answer.status, 401);
        let bearer = [("x-api-key", ""), ("authorization", &*format!("Bearer {key}"))];
        user.call("GET /v1/carriers", &bearer, Bytes::new()).await;
    }
}

/// Attempts at receivers that print everything, and at some that cannot be reached.
async fn deliver(user: &mut User, sink: &Sink, known: Known) {
    sink.script(move |request| {
        let known = known.get(&request.path).cloned().unwrap_or_default();
        match request.path.as_str() {
            "/second" => Answer::With(500, "x-printed", print(request, &known).replace(['\r', '\n'], " ")),
            // Longer than what is kept: it is cut off in the middle of a secret.
            "/third" => Answer::Body(200, format!("{}{}", " ".repeat(MAX_ANSWER - 20), known[0])),
            _ => Answer::Body(500, print(request, &known)),
        }
    });
    let event =
        |id: &str| json!({ "carrier": "acme", "id": id, "type": "case.closed", "payload": { "a": PLAIN } });
    user.json("POST /v1/events", event("evt")).await;
    user.names.insert("event", "evt".to_owned());
    let carrier = user.admin.of("acme");
    carrier.settled_events().await;
    let found = carrier.event("evt").await;
    let deliveries = found["routings"][0]["deliveries"].as_array().unwrap().clone();
    assert_eq!(deliveries.len(), 3);
    let id = |name: &str| {
        let one = deliveries.iter().find(|d| d["destination"] == name).unwrap();
        one["id"].as_str().unwrap().to_owned()
    };
    user.names.insert("delivery", id("claims"));
    for name in ["claims", "second", "third"] {
        user.names.insert("destination", name.to_owned());
        let test = "POST /v1/carriers/{carrier}/destinations/{destination}/test";
        user.call(test, &[], Bytes::new()).await.ok();
    }
    // Nothing listens there, nothing is called so, and nothing speaks TLS.
    for (name, url) in [
        ("closed", "http://127.0.0.1:1/".to_owned()),
        ("nowhere", "https://no-such-host.invalid/".to_owned()),
        ("plain", sink.url("/plain").replace("http:", "https:")),
    ] {
        user.names.insert("destination", name.to_owned());
        let headers = json!({ "x-static": HEADER, "authorization": format!("Bearer {BEARER}") });
        let made = json!({ "kind": "http", "url": url, "headers": headers });
        user.json(DESTINATION, made).await;
        let test = "POST /v1/carriers/{carrier}/destinations/{destination}/test";
        user.call(test, &[], Bytes::new()).await.ok();
    }
    user.names.insert("destination", "claims".to_owned());
    for again in [
        "POST /v1/carriers/{carrier}/deliveries/{delivery}/retry",
        "POST /v1/carriers/{carrier}/deliveries/{delivery}/cancel",
        "POST /v1/carriers/{carrier}/deliveries/retry",
        "POST /v1/carriers/{carrier}/events/{event}/routings/{subscription}/retry",
    ] {
        // Whether there is anything to do depends on the moment.
        let answer = user.call(again, &[("content-type", "application/json")], "{}".into()).await;
        assert!(answer.status < 500, "{again}: {}", answer.body);
    }
    let sent = |request: &Request| {
        request.header("x-static") == HEADER && request.header("authorization").ends_with(BEARER)
    };
    assert!(sink.requests().iter().filter(|request| sent(request)).count() >= 6, "they were sent");
}

/// A receiver that repeats the address at which permission could be given.
async fn ask(user: &mut User, secrets: &mut Secrets, sink: &Sink) {
    sink.script(|request| {
        let url = request.header("webhook-request-callback").to_owned();
        Answer::With(200, "webhook-allowed-origin", url)
    });
    user.names.insert("destination", "asked".to_owned());
    let handshake = json!({ "origin": "events.example.com" });
    let body = json!({ "kind": "http", "url": sink.url("/asked"), "handshake": handshake });
    let made = user.json(DESTINATION, body).await;
    assert_eq!(made["handshake"]["note"], "answered 200: it allows `***`, not `events.example.com`");
    user.json("POST /v1/carriers/{carrier}/destinations/{destination}/validate", json!({})).await;
    let asked: Vec<Request> = sink.requests().into_iter().filter(|r| r.method == "OPTIONS").collect();
    let mut statuses = Vec::new();
    for request in &asked {
        let token = request.header("webhook-request-callback").rsplit('/').next().unwrap();
        secrets.hide("a callback's token", token);
        user.names.insert("token", token.to_owned());
        statuses.push(user.call("POST /v1/handshake/{token}", &[], Bytes::new()).await.status);
    }
    assert_eq!(statuses, [404, 200], "the later request alone can be answered");
    for change in ["disable", "enable"] {
        let path = format!("POST /v1/carriers/{{carrier}}/destinations/{{destination}}/{change}");
        user.json(&path, json!({})).await;
    }
    user.names.insert("destination", "claims".to_owned());
}

/// Every operation of the document that was not called yet: reading first, deleting last. One that comes new is called with
/// nothing to say, which is worth little: give it a call of its own above.
async fn everything_else(user: &mut User) {
    let document = user.call("GET /v1/openapi.json", &[], Bytes::new()).await.ok();
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert!(user.called.iter().all(|called| operations.contains(called)), "{:?}", user.called);
    assert!(operations.len() > 50, "{operations:?}");
    for wanted in ["GET", "PUT", "PATCH", "POST", "DELETE"] {
        for operation in operations.iter().filter(|one| one.starts_with(&format!("{wanted} "))) {
            let reads = wanted == "GET";
            if user.called.contains(operation) && !reads {
                continue;
            }
            let body = if reads || wanted == "DELETE" { "" } else { "{}" };
            let json = [("content-type", "application/json")];
            let answer = user.call(operation, &json, body.into()).await;
            assert!(answer.status < 500, "{operation}: {} {:#}", answer.status, answer.body);
        }
    }
    assert_eq!(user.called.len(), operations.len());
}

/// What the operator's own commands say.
#[tokio::test]
async fn no_command_shows_the_databases_password_or_a_master_key() {
    let folder = tempfile::tempdir().unwrap();
    let list = hookyard::secrets::KeyList::of(hookyard::secrets::MasterKey::from_bytes([7; 32]));
    hookyard::secrets::KeyFile::in_folder(folder.path()).write(&list).unwrap();
    let mut seen = Places::default();
    for (subcommand, arguments) in [
        ("serve", &[][..]),
        ("migrate", &[]),
        ("check", &[]),
        ("key", &["new", "--role", "admin"]),
        ("key", &["rotate"]),
    ] {
        let database = format!("postgres://hookyard:{PASSWORD}@127.0.0.1:1/hookyard");
        let settings = [("STORE_DATABASE", database.as_str()), ("LOG_LEVEL", "trace")];
        let mut command = command(subcommand, folder.path(), &settings);
        command.args(arguments).stdout(std::process::Stdio::piped());
        let done = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        assert_eq!(done.status.success(), subcommand == "check", "{subcommand}: nothing listens there");
        seen.add(format!("{subcommand} {arguments:?}"), &[done.stdout, done.stderr].concat());
    }
    for secret in [PASSWORD.to_owned(), list.seals.to_base64()] {
        let found = seen.of(&secret);
        assert!(found.is_empty(), "{found:?}: {}", seen.around(found[0], &secret));
    }
    assert_eq!(seen.of("127.0.0.1:1/hookyard"), ["check []"], "the search finds what is there");
}
