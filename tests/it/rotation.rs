//! A master key follows another: nothing that is sealed is lost, whatever happens in between, and every refusal says what
//! to do.

use std::path::Path;
use std::time::Duration;

use hookyard::clock::Clock;
use hookyard::host::open_store;
use hookyard::rotate::{self, RotateError, Rotated, Stage};
use hookyard::secrets::{KeyFile, KeyList, MasterKey};
use hookyard_tests::child::command;
use hookyard_tests::client::Carrier;
use hookyard_tests::data::{Data, Kind};
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::{PATIENCE, Request, Sink};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

on_both! {
    after_a_rotation_everything_is_delivered_as_before,
    a_rotation_that_breaks_off_loses_nothing_and_is_gone_on_with,
    a_rotation_that_is_killed_loses_nothing,
    nothing_is_rotated_without_the_keys_that_sealed_it,
}

fn keys(data: &Data) -> KeyList {
    KeyFile::in_folder(data.folder()).read().unwrap().unwrap()
}

/// Rotates in this process; `told` may break it off by a panic.
async fn rotate(data: &Data, stage: Stage, told: impl FnMut(u64)) -> Result<Rotated, RotateError> {
    let (config, clock) = (data.config(), Clock::system());
    let store = open_store(&config, true, clock.now()).await?;
    let file = KeyFile::in_folder(data.folder());
    let done = rotate::rotate(&store, &file, stage, &clock, config.lease(), told).await;
    store.close().await?;
    done
}

/// `hookyard key …` as an operator calls it: whether it went well, and what it said.
async fn key(data: &Data, folder: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = command("key", folder, &[("STORE_DATABASE", data.database())]);
    command.args(arguments).stdout(std::process::Stdio::piped());
    let done = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.success(), text(done.stdout) + &text(done.stderr))
}

/// A carrier with a destination that has secrets of both kinds; gives the signing secret.
async fn set_up(host: &TestHost, sink: &Sink) -> (Carrier, String) {
    let acme = host.admin.carrier("acme").await;
    let more = json!({ "headers": { "x-secret": "open sesame" }, "signing": "generate" });
    let made = acme.destination("claims", sink, more).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    (acme, made["signing_secret"].as_str().unwrap().to_owned())
}

/// Posts an event and checks that it arrives with the secrets of its destination.
async fn goes_out(acme: &Carrier, sink: &Sink, id: &str, secret: &str) {
    acme.post(id, &json!({})).await;
    let delivery = acme.delivery_in(id, "delivered").await;
    let requests = sink.requests();
    let mine = |request: &&Request| Some(request.id.as_str()) == delivery["id"].as_str();
    let request = requests.iter().find(mine).unwrap();
    assert_eq!(request.header("x-secret"), "open sesame");
    assert!(request.verified(secret), "{request:?}");
}

/// Destinations `d-000`, …: enough for several batches.
async fn many(acme: &Carrier, sink: &Sink) {
    for n in 0..150 {
        let more = json!({ "headers": { "x-number": format!("number {n}") } });
        acme.destination(&format!("d-{n:03}"), sink, more).await;
    }
}

/// An event at the first, a middle and the last destination.
async fn each_opens(acme: &Carrier, sink: &Sink, round: &str) {
    for n in [0, 75, 149] {
        let name = format!("d-{n:03}");
        acme.subscription("main", json!({ "destinations": [name] })).await;
        let id = format!("{round}-{n}");
        acme.post(&id, &json!({})).await;
        let delivery = acme.delivery_in(&id, "delivered").await;
        let requests = sink.requests();
        let request = requests.iter().find(|r| Some(r.id.as_str()) == delivery["id"].as_str()).unwrap();
        assert_eq!(request.header("x-number"), format!("number {n}"), "{name}");
    }
}

async fn after_a_rotation_everything_is_delivered_as_before(data: &Data) {
    let sink = Sink::start().await;
    let host = TestHost::start(data).await;
    let (acme, secret) = set_up(&host, &sink).await;
    let rotate_secret = |acme: Carrier| async move {
        let headers = [("content-type", "application/json"), ("idempotency-key", "once")];
        let path = acme.path("destinations/claims/rotate-secret");
        acme.api.call(reqwest::Method::POST, &path, &headers, "{}".into()).await
    };
    let first = rotate_secret(acme.clone()).await.ok();
    let second_secret = first["signing_secret"].as_str().unwrap().to_owned();
    goes_out(&acme, &sink, "before", &secret).await;
    host.leave().await;

    let mut known = vec![keys(data).ids()];
    for round in ["first", "second"] {
        let (good, said) = key(data, data.folder(), &["rotate"]).await;
        let ids = keys(data).ids();
        assert!(good && said.contains(&format!("sealed with the master key {ids}")), "{said}");
        // The destination's and the remembered answer's.
        assert!(said.contains("(2 were sealed anew)"), "{said}");
        assert!(!known.contains(&ids) && !ids.contains(' '), "{known:?} {ids}");
        known.push(ids);

        let host = TestHost::start(data).await;
        let acme = acme.at(&host.admin);
        // Until the overlap is over, both sign.
        goes_out(&acme, &sink, &format!("{round}-old"), &secret).await;
        goes_out(&acme, &sink, &format!("{round}-new"), &second_secret).await;
        let again = rotate_secret(acme).await;
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(again.ok()["signing_secret"], first["signing_secret"], "the answer is remembered still");
        host.end().await;
    }
}

async fn a_rotation_that_breaks_off_loses_nothing_and_is_gone_on_with(data: &Data) {
    let sink = Sink::start().await;
    let host = TestHost::start(data).await;
    let acme = host.admin.carrier("acme").await;
    many(&acme, &sink).await;
    host.leave().await;
    let before = keys(data);

    // The first batch is sealed anew, the others are not.
    let folder = data.folder().to_owned();
    let (config, clock) = (data.config(), Clock::system());
    let broken = tokio::spawn(async move {
        let store = open_store(&config, true, clock.now()).await.unwrap();
        let file = KeyFile::in_folder(&folder);
        let told = |n| panic!("broken off after {n}");
        rotate::rotate(&store, &file, Stage::All, &clock, config.lease(), told).await
    });
    assert!(broken.await.unwrap_err().is_panic());
    let both = keys(data);
    assert_eq!((both.older.len(), both.older[0].id()), (1, before.seals.id()));

    // A host opens secrets of both keys, and what it seals is sealed with the new one.
    gone(data).await;
    let host = TestHost::start(data).await;
    let acme = acme.at(&host.admin);
    each_opens(&acme, &sink, "between").await;
    host.end().await;

    // Without the old key neither a host nor a rotation begins, and nothing is changed.
    let file = KeyFile::in_folder(data.folder());
    file.write(&KeyList::of(both.seals.clone())).unwrap();
    let (good, said) = serve(data).await;
    assert!(!good && said.contains("put back the key that sealed them"), "{said}");
    assert!(said.contains(&format!("was sealed with master key {}", before.seals.id())), "{said}");
    let refused = rotate(data, Stage::All, |_| ()).await.unwrap_err();
    assert!(matches!(refused, RotateError::Unopened { what: "destination", .. }), "{refused}");
    assert!(refused.to_string().starts_with("nothing was rotated: "), "{refused}");
    assert_eq!(keys(data).ids(), both.seals.id());
    file.write(&both).unwrap();

    // It goes on with the key that it had made, and then the old one is not needed.
    let mut told = Vec::new();
    let done = rotate(data, Stage::All, |n| told.push(n)).await.unwrap();
    assert_eq!((done.key.clone(), done.finished), (both.seals.id(), true));
    assert!(done.resealed >= 150 - 64 && told.last() == Some(&done.resealed), "{done:?} {told:?}");
    assert_eq!(keys(data).ids(), done.key);
    let host = TestHost::start(data).await;
    each_opens(&acme.at(&host.admin), &sink, "after").await;
    host.end().await;
}

/// Waits until the database is free of a process or task that ended without a word.
async fn gone(data: &Data) {
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    let look = async {
        loop {
            beat.tick().await;
            if let Ok(store) = open_store(&data.config(), true, Clock::system().now()).await {
                let alone = store.nodes_alive(Clock::system().now()).await.unwrap().is_empty();
                store.close().await.unwrap();
                if alone {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("nobody else is left");
}

/// A start that must fail: what it said.
async fn serve(data: &Data) -> (bool, String) {
    let mut command = command("serve", data.folder(), &[("STORE_DATABASE", data.database())]);
    let done = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    (done.status.success(), String::from_utf8(done.stderr).unwrap())
}

async fn a_rotation_that_is_killed_loses_nothing(data: &Data) {
    let sink = Sink::start().await;
    let host = TestHost::start(data).await;
    let acme = host.admin.carrier("acme").await;
    many(&acme, &sink).await;
    host.leave().await;
    for batches in 0..3 {
        let mut command = command("key", data.folder(), &[("STORE_DATABASE", data.database())]);
        let mut child = command.arg("rotate").stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..batches {
            lines.next_line().await.unwrap();
        }
        child.kill().await.unwrap();
        gone(data).await;
        let host = TestHost::start(data).await;
        each_opens(&acme.at(&host.admin), &sink, &format!("round-{batches}")).await;
        host.end().await;
    }
    let (good, said) = key(data, data.folder(), &["rotate"]).await;
    assert!(good, "{said}");
    let host = TestHost::start(data).await;
    each_opens(&acme.at(&host.admin), &sink, "last").await;
    host.end().await;
    assert!(!keys(data).ids().contains(' '));
}

async fn nothing_is_rotated_without_the_keys_that_sealed_it(data: &Data) {
    let (good, said) = key(data, data.folder(), &["rotate"]).await;
    assert!(!good && said.contains("there is no master key in"), "{said}");
    assert!(!data.folder().join("master.key").exists());

    let sink = Sink::start().await;
    let host = TestHost::start(data).await;
    let (acme, secret) = set_up(&host, &sink).await;
    let (good, said) = key(data, data.folder(), &["rotate"]).await;
    let expected = match data.kind() {
        Kind::Sqlite => "is in use by another process; stop it",
        Kind::Postgres => "run on this database: stop them, or rotate in stages",
    };
    assert!(!good && said.contains(expected), "{said}");
    host.leave().await;

    let right = keys(data);
    let file = KeyFile::in_folder(data.folder());
    for stage in [Stage::All, Stage::Prepare] {
        file.write(&KeyList::of(MasterKey::from_bytes([7; 32]))).unwrap();
        let refused = rotate(data, stage, |_| ()).await.unwrap_err();
        assert!(matches!(refused, RotateError::Unopened { .. }), "{stage:?}: {refused}");
        assert_eq!(keys(data).ids(), MasterKey::from_bytes([7; 32]).id());
    }
    std::fs::write(file.path(), "not a key\n").unwrap();
    let (good, said) = key(data, data.folder(), &["rotate"]).await;
    assert!(!good && said.contains("line 1: the master key must be 32 bytes in base64"), "{said}");

    // Steps out of their turn.
    file.write(&right).unwrap();
    for (stage, expected) in
        [(Stage::Seal, "begin with `--stage prepare`"), (Stage::Finish, "begin with `--stage prepare`")]
    {
        let refused = rotate(data, stage, |_| ()).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{stage:?}: {refused}");
    }
    let prepared = rotate(data, Stage::Prepare, |_| ()).await.unwrap();
    assert_eq!((prepared.resealed, prepared.finished), (0, false));
    assert_eq!(rotate(data, Stage::Prepare, |_| ()).await.unwrap(), prepared, "one new key is enough");
    let refused = rotate(data, Stage::Finish, |_| ()).await.unwrap_err().to_string();
    assert!(refused.contains("run `--stage seal` first"), "{refused}");
    assert_eq!(rotate(data, Stage::Seal, |_| ()).await.unwrap().resealed, 1);
    let refused = rotate(data, Stage::Prepare, |_| ()).await.unwrap_err().to_string();
    assert!(refused.contains("end it with `--stage finish`"), "{refused}");
    assert_eq!(rotate(data, Stage::Finish, |_| ()).await.unwrap().key, prepared.key);
    let host = TestHost::start(data).await;
    goes_out(&acme.at(&host.admin), &sink, "at-last", &secret).await;
    host.end().await;
}

/// Two nodes on one database, each with its own folder.
async fn two_nodes(data: &Data, sink: &Sink) -> (TestHost, TestHost, tempfile::TempDir, Carrier, String) {
    let first = TestHost::start(data).await;
    let folder = data.second_folder();
    let path = folder.path().to_owned();
    let second = TestHost::with(data, Clock::system(), |config| config.store.data = path).await;
    let (acme, secret) = set_up(&first, sink).await;
    let known = |answer: &Value| answer["id"] == "acme";
    acme.at(&second.admin).get_when("/v1/carriers/me", "the carrier's key", known).await;
    (first, second, folder, acme, secret)
}

/// Runs a stage again and again until the nodes have caught up with the file.
async fn until_it_goes(data: &Data, stage: &str) -> String {
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    let run = async {
        loop {
            beat.tick().await;
            let (good, said) = key(data, data.folder(), &["rotate", "--stage", stage]).await;
            if good {
                return said;
            }
            assert!(said.contains("over the `master.key` of each"), "{said}");
        }
    };
    tokio::time::timeout(PATIENCE, run).await.expect("the nodes read their keys")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nodes_that_run_the_key_is_rotated_in_stages() {
    let data = Data::make(Kind::Postgres).await;
    let sink = Sink::start().await;
    let (first, second, folder, acme, secret) = two_nodes(&data, &sink).await;
    let old = keys(&data).ids();
    let copy = || std::fs::copy(data.folder().join("master.key"), folder.path().join("master.key")).unwrap();
    let at = [acme.at(&first.admin), acme.at(&second.admin)];

    let said = until_it_goes(&data, "prepare").await;
    assert!(said.contains("does not seal yet"), "{said}");
    // The second node does not know the key: nothing is sealed with it.
    let (good, said) = key(&data, data.folder(), &["rotate", "--stage", "seal"]).await;
    assert!(!good && said.contains("do not know the master key"), "{said}");
    assert_eq!(keys(&data).seals.id(), old);
    copy();
    let said = until_it_goes(&data, "seal").await;
    assert!(said.contains("sealed 1 secrets anew"), "{said}");

    // The second node still seals with the old key.
    at[1].destination("late", &sink, json!({ "headers": { "x-late": "yes" } })).await;
    let (good, said) = key(&data, data.folder(), &["rotate", "--stage", "finish"]).await;
    assert!(!good && said.contains("do not seal with the master key"), "{said}");
    for (n, acme) in at.iter().enumerate() {
        goes_out(acme, &sink, &format!("between-{n}"), &secret).await;
    }
    copy();
    let said = until_it_goes(&data, "finish").await;
    assert!(said.contains("(1 were sealed anew)"), "{said}");
    let new = keys(&data).ids();
    assert!(new != old && !new.contains(' '), "{new}");
    copy();

    // Both nodes go on, and so do new ones that have the new key alone.
    for (n, acme) in at.iter().enumerate() {
        goes_out(acme, &sink, &format!("after-{n}"), &secret).await;
    }
    second.leave().await;
    first.leave().await;
    let host = TestHost::start(&data).await;
    let acme = acme.at(&host.admin);
    goes_out(&acme, &sink, "new-start", &secret).await;
    acme.subscription("main", json!({ "destinations": ["late"] })).await;
    acme.post("late", &json!({})).await;
    acme.delivery_in("late", "delivered").await;
    assert_eq!(sink.requests().last().unwrap().header("x-late"), "yes");
    host.end().await;
    data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_key_leaves_the_delivery_to_one_that_has_it_or_waits_for_the_key() {
    let data = Data::make(Kind::Postgres).await;
    let sink = Sink::start().await;
    let (first, second, folder, acme, _) = two_nodes(&data, &sink).await;
    let other = acme.at(&second.admin);

    // The first node alone is given a new key: no operator who keeps to the stages does that.
    let old = keys(&data).seals;
    let list = KeyList { next: None, seals: MasterKey::from_bytes([9; 32]), older: vec![old] };
    KeyFile::in_folder(data.folder()).write(&list).unwrap();
    let config = data.config();
    let store = open_store(&config, true, Clock::system().now()).await.unwrap();
    let mut beat = tokio::time::interval(Duration::from_millis(20));
    let told = async {
        loop {
            beat.tick().await;
            let nodes = store.nodes_alive(Clock::system().now()).await.unwrap();
            if nodes.iter().any(|node| node.keys.first() == Some(&list.seals.id())) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the first node reads its file");
    store.close().await.unwrap();
    let more = json!({ "headers": { "x-secret": "open sesame" } });
    acme.destination("claims", &sink, more).await;
    other.api.get(&other.path("destinations/claims")).await.problem(500, "internal");

    // What the second node takes in, the first one delivers.
    other.post("helped", &json!({})).await;
    other.delivery_in("helped", "delivered").await;

    // Without the first one it waits, without an attempt, and says for what.
    first.leave().await;
    other.post("waits", &json!({})).await;
    let why = |delivery: &Value| {
        delivery["last_error"].as_str().unwrap_or_default().contains("put the missing key")
    };
    let delivery = other.delivery_when("waits", "the reason", why).await;
    assert_eq!(
        (&delivery["state"], delivery["attempts"].as_array().map(Vec::len)),
        (&json!("pending"), Some(0))
    );
    assert!(delivery["last_error"].as_str().unwrap().contains(&list.seals.id()), "{delivery:#}");
    KeyFile::in_folder(folder.path()).write(&list).unwrap();
    other.delivery_in("waits", "delivered").await;
    assert_eq!(sink.requests().last().unwrap().header("x-secret"), "open sesame");
    second.leave().await;
    data.end().await;
}
