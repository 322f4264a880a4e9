//! What the operator does and sees: first starts, refused starts, stops, checks, migrations, health and counters.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use hookyard_tests::child::{ChildHost, command};
use hookyard_tests::client::Api;
use hookyard_tests::data::Data;
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Gate, PATIENCE, Sink};
use serde_json::{Value, json};

use crate::way::simple;

on_both! {
    a_schema_is_brought_up_to_date_by_hand_where_it_is_not_by_itself,
    a_key_can_be_made_without_the_api,
}

/// Runs a subcommand to its end.
async fn run(subcommand: &str, folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = command(subcommand, folder, settings);
    command.args(arguments).stdout(std::process::Stdio::piped());
    let done = tokio::time::timeout(PATIENCE, command.output()).await;
    done.expect("it ends").expect("it starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_first_start_makes_its_folder_and_keys_and_says_where() {
    let data = Data::sqlite().await;
    let folder = data.folder().join("deep").join("inside");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    // The harness wants the admin key where the data is.
    let settings = [("LOG_FORMAT", "json")];
    let started = command("serve", &folder, &settings).spawn().unwrap();
    let first = lines_until(started, "listens on").await;
    let admin = folder.join("admin.key");
    assert!(first.contains(&format!("The first admin key is in {}", admin.display())), "{first}");
    assert_eq!((mode(&folder), mode(&admin), mode(&folder.join("master.key"))), (0o700, 0o600, 0o600));
    let keys = ["admin.key", "master.key"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap());

    let again = lines_until(command("serve", &folder, &settings).spawn().unwrap(), "listens on").await;
    assert!(!again.contains("first admin key"), "{again}");
    let same = ["admin.key", "master.key"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
    assert_eq!(keys, same);
    // In the log, every line is an object.
    let log = again.lines().find(|line| line.starts_with('{')).unwrap();
    assert!(serde_json::from_str::<Value>(log).unwrap()["level"].is_string(), "{log}");

    std::fs::write(folder.join("master.key"), "not a key\n").unwrap();
    let refused = run("serve", &folder, &[], &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("the master key in"), "{}", text(&refused.stderr));
}

/// What a process says on stderr until it says that; then it is killed.
async fn lines_until(mut child: tokio::process::Child, word: &str) -> String {
    use tokio::io::AsyncBufReadExt;
    let mut said = String::new();
    let mut lines = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
        said.push('\n');
        if line.contains(word) {
            child.kill().await.unwrap();
            return said;
        }
    }
    panic!("it never said `{word}`:\n{said}");
}

#[tokio::test]
async fn a_host_does_not_start_with_another_master_key() {
    let data = Data::sqlite().await;
    let host = TestHost::start(&data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({ "signing": "generate" })).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    host.leave().await;
    let file = data.folder().join("master.key");
    let right = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();

    // The start makes a new key, which opens nothing: better no host than one whose deliveries all fail.
    let refused = run("serve", data.folder(), &[], &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    let why = text(&refused.stderr);
    assert!(why.contains("master.key cannot be used: it does not open the secrets in the store"), "{why}");
    assert!(why.contains("was sealed with master key"), "{why}");

    // With the right key everything is as it was.
    std::fs::write(&file, right).unwrap();
    let host = TestHost::start(&data).await;
    let acme = acme.at(&host.admin);
    acme.post("evt", &json!({})).await;
    acme.delivery_in("evt", "delivered").await;
    host.end().await;
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused() {
    let data = Data::sqlite().await;
    let host = ChildHost::start(&data, &[]).await;
    for subcommand in ["serve", "migrate"] {
        let refused = run(subcommand, data.folder(), &[], &[]).await;
        assert_eq!(refused.status.code(), Some(1), "{subcommand}");
        let why = text(&refused.stderr);
        assert!(why.contains("is in use by another process"), "{subcommand}: {why}");
    }
    assert_eq!(host.admin.get("/readyz").await.status, 200, "the first is not disturbed");
    host.kill().await;
    let next = ChildHost::start(&data, &[]).await;
    next.kill().await;
}

#[tokio::test]
async fn a_signal_stops_it_when_what_is_under_way_is_done() {
    let data = Data::sqlite().await;
    let host = ChildHost::start(&data, &[]).await;
    let sink = Sink::start().await;
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(200)));
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({ "concurrency": 1 })).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    for n in 0..3 {
        acme.post(&format!("evt-{n}"), &json!({})).await;
    }
    sink.come(1).await;
    host.terminate();
    acme.publisher.gone().await;
    gate.open();
    assert!(host.dead().await.success());
    assert_eq!(sink.count(), 1, "what was under way is finished, what waited is left for the next start");

    let host = ChildHost::start(&data, &[]).await;
    sink.come(3).await;
    let acme = acme.at(&host.admin);
    acme.settled().await;
    assert_eq!(sink.count(), 3, "each once");
    host.kill().await;
}

#[tokio::test]
async fn a_second_signal_drops_what_is_under_way() {
    let data = Data::sqlite().await;
    let host = ChildHost::start(&data, &[("SERVER_STOP_SOFT_S", "600"), ("SERVER_STOP_HARD_S", "60")]).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Hang);
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    acme.post("evt", &json!({})).await;
    sink.come(1).await;
    host.terminate();
    acme.publisher.gone().await;
    host.terminate();
    assert!(host.dead().await.success(), "long before the ten minutes of the first stage");

    sink.answer(Answer::Status(200));
    let host = ChildHost::start(&data, &[]).await;
    acme.at(&host.admin).delivery_in("evt", "delivered").await;
    assert_eq!(sink.count(), 2);
    host.kill().await;
}

#[tokio::test]
async fn a_second_signal_right_after_the_first_is_not_lost() {
    let data = Data::sqlite().await;
    let host = ChildHost::start(&data, &[("SERVER_STOP_SOFT_S", "600"), ("SERVER_STOP_HARD_S", "60")]).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Hang);
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    acme.post("evt", &json!({})).await;
    sink.come(1).await;
    // Of two kinds, since the system itself makes one of two of the same kind that come together.
    host.terminate();
    host.interrupt();
    assert!(host.dead().await.success(), "long before the ten minutes of the first stage");
}

#[tokio::test]
async fn check_prints_every_problem_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hookyard.toml");
    let wrong = "[server]\nconnections = 0\nhead_ms = 99\nbody_ms = 4000000\nidle_ms = 0\n[store]\nlease_s = 1\nnonsense = 7\n[ingest]\nevent_bytes = \"many\"\n[plugins]\nthreads = 65\n";
    std::fs::write(&file, wrong).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let settings =
        [("DELIVER_QUEUED_PER_LANE", "0"), ("NO_SUCH_THING", "1"), ("STORE_DATABASE", "mysql://x")];
    let checked = run("check", folder.path(), &settings, &config).await;
    assert_eq!(checked.status.code(), Some(1));
    let said = text(&checked.stdout);
    let keys = [
        "server.connections",
        "server.head_ms",
        "server.body_ms",
        "server.idle_ms",
        "store.lease_s",
        "store.nonsense",
        "ingest.event_bytes",
        "plugins.threads",
        "deliver.queued_per_lane",
        "HOOKYARD_NO_SUCH_THING",
        "store.database",
    ];
    for key in keys {
        assert!(said.lines().any(|line| line.starts_with(key)), "nothing about {key}:\n{said}");
    }
    assert_eq!(said.lines().count(), keys.len(), "{said}");
    // And nothing starts on it.
    let refused = run("serve", folder.path(), &settings, &config).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("the configuration has 11 problem(s)"),
        "{}",
        text(&refused.stderr)
    );

    let good = run("check", folder.path(), &[("STORE_DATABASE", "postgres://me:s3cret@db/x")], &[]).await;
    assert_eq!(good.status.code(), Some(0));
    let shown = text(&good.stdout);
    assert!(shown.contains("lease_s = 5") && shown.contains("postgres://***@db/x"), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn check_prints_every_problem_of_the_catalogue_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.toml");
    let path = file.to_str().unwrap();
    let settings = [("CATALOGUE_FILE", path)];
    std::fs::write(&file, "[[event]]\nevent_id = 70\ntype = 'a..b'\nabout = 'x'\nkind = 'y'\n").unwrap();
    let checked = run("check", folder.path(), &settings, &[]).await;
    assert_eq!(checked.status.code(), Some(1));
    let said: Vec<_> = text(&checked.stdout).lines().collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with(&format!("{path}: line 3: event 70: type: \"a..b\" is not a valid event type"))
    );
    assert!(said[1].starts_with(&format!("{path}: line 5: event 70: kind: unknown; it takes `type`, ")));
    // And nothing starts on it.
    let refused = run("serve", folder.path(), &settings, &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("has 2 problem(s)"), "{}", text(&refused.stderr));

    std::fs::remove_file(&file).unwrap();
    let missing = run("check", folder.path(), &settings, &[]).await;
    assert!(text(&missing.stdout).starts_with("catalogue.file: the catalogue "), "{}", text(&missing.stdout));
    std::fs::write(&file, "[[event]]\nevent_id = 70\ntype = 'a.b'\nabout = 'x'\n").unwrap();
    let good = run("check", folder.path(), &settings, &[]).await;
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
}

#[tokio::test]
async fn an_operators_file_extends_the_catalogue() {
    let data = Data::sqlite().await;
    let file = data.folder().join("events.toml");
    std::fs::write(&file, "[[event]]\nevent_id = 70\ntype = 'policy.lapsed'\nabout = 'It lapsed.'\n")
        .unwrap();
    let host = TestHost::with(&data, hookyard::clock::Clock::system(), |config| {
        config.catalogue.file = file;
    })
    .await;
    let ours = host.admin.get("/v1/event-types/policy.lapsed").await.ok();
    assert_eq!((&ours["webhooks"][0]["event_id"], &ours["about"]), (&json!(70), &json!("It lapsed.")));
    assert_eq!(
        host.admin.get("/v1/event-types/case.closed").await.ok()["webhooks"].as_array().unwrap().len(),
        5
    );
    host.end().await;
}

async fn a_schema_is_brought_up_to_date_by_hand_where_it_is_not_by_itself(data: &Data) {
    let by_hand = [("STORE_MIGRATE", "false"), ("STORE_DATABASE", data.database())];
    let refused = run("serve", data.folder(), &by_hand, &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("run `hookyard migrate`"), "{}", text(&refused.stderr));
    for _ in 0..2 {
        let done = run("migrate", data.folder(), &by_hand, &[]).await;
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(text(&done.stdout).contains("up to date"), "{}", text(&done.stdout));
    }
    let host = ChildHost::start(data, &[("STORE_MIGRATE", "false")]).await;
    assert_eq!(host.admin.get("/v1/carriers").await.ok()["items"], json!([]));
    host.kill().await;
}

async fn a_key_can_be_made_without_the_api(data: &Data) {
    let host = ChildHost::start(data, &[]).await;
    host.admin.carrier("acme").await;
    host.terminate();
    assert!(host.dead().await.success());
    let settings = [("STORE_DATABASE", data.database())];
    let mut keys = Vec::new();
    for arguments in [
        vec!["new", "--role", "admin"],
        vec!["new", "--role", "publisher"],
        vec!["new", "--role", "carrier", "--carrier", "acme"],
    ] {
        let made = run("key", data.folder(), &settings, &arguments).await;
        assert!(made.status.success(), "{}", text(&made.stderr));
        keys.push(text(&made.stdout).trim().to_owned());
    }
    let refused =
        run("key", data.folder(), &settings, &["new", "--role", "carrier", "--carrier", "nobody"]).await;
    assert_eq!(refused.status.code(), Some(1));

    let host = ChildHost::start(data, &[]).await;
    let [admin, publisher, carrier] = [0, 1, 2].map(|n: usize| host.admin.with_key(&keys[n]));
    admin.get("/v1/keys").await.ok();
    publisher.get("/v1/keys").await.problem(403, "forbidden");
    publisher.of("acme").post("evt", &json!({})).await;
    assert_eq!(carrier.get("/v1/carriers/me").await.ok()["id"], "acme");
    host.kill().await;
}

#[tokio::test]
async fn health_and_counters_need_no_key_and_tell_the_truth() {
    let data = Data::sqlite().await;
    let host = TestHost::start(&data).await;
    let nobody: Api = host.admin.with_key("");
    assert_eq!(nobody.get("/healthz").await.ok(), "ok\n");
    assert_eq!(nobody.get("/readyz").await.ok(), "ready\n");
    let sink = Sink::start().await;
    sink.script(|request| Answer::Status(if request.json()["bad"] == true { 400 } else { 200 }));
    let acme = simple(&host, &sink, json!({ "profile": "none" })).await;
    for n in 0..5 {
        acme.post(&format!("evt-{n}"), &json!({ "bad": n == 4 })).await;
    }
    acme.post("evt-0", &json!({ "bad": false })).await;
    acme.settled().await;
    let metrics = nobody.get("/metrics").await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let body = metrics.ok();
    for line in [
        "hookyard_events_accepted_total 5",
        "hookyard_events_repeated_total 1",
        "hookyard_routings_total{kind=\"routed\"} 5",
        "hookyard_attempts_total{kind=\"delivered\"} 4",
        "hookyard_attempts_total{kind=\"status\"} 1",
        "hookyard_deliveries_ended_total{kind=\"delivered\"} 4",
        "hookyard_deliveries_ended_total{kind=\"failed\"} 1",
        "hookyard_events_held 0",
        "hookyard_deliveries_queued 0",
        "hookyard_attempts_under_way 0",
        "# EOF",
    ] {
        assert!(
            body.as_str().unwrap().lines().any(|l| l == line),
            "no `{line}` in:\n{}",
            body.as_str().unwrap()
        );
    }
    host.end().await;
}

#[tokio::test]
async fn by_default_nothing_is_sent_to_this_machine_or_its_network() {
    let data = Data::sqlite().await;
    let host = TestHost::with(&data, hookyard::clock::Clock::system(), |config| {
        config.deliver = hookyard::config::DeliverConfig::default();
    })
    .await;
    let acme = host.admin.carrier("acme").await;
    let addresses = [
        "http://example.com/hook",
        "https://127.0.0.1/hook",
        "https://localhost:8443/hook",
        "https://10.1.2.3/hook",
        "https://192.168.0.1/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://user:pass@example.com/",
        "ftp://example.com/",
    ];
    let mut taken = Vec::new();
    for url in addresses {
        let body = json!({ "kind": "http", "url": url });
        let answer = acme.api.put(&acme.path("destinations/claims"), &body).await;
        if answer.status == 201 {
            taken.push(url);
            continue;
        }
        assert_eq!(answer.problem(422, "invalid_body")["field"], "url", "{url}");
    }
    assert!(taken.is_empty(), "{taken:?}");
    acme.api.get(&acme.path("destinations/claims")).await.problem(404, "not_found");
    host.end().await;
}
