//! The drop folder as its carriers see it: `sftp` against OpenSSH, set up as the README says; and what a process that is killed
//! leaves there.

use std::collections::BTreeSet;
use std::path::Path;

use hookyard::clock::Clock;
use hookyard_tests::child::ChildHost;
use hookyard_tests::data::{Data, Kind};
use hookyard_tests::drop_server::DropServer;
use hookyard_tests::gnupg::Gnupg;
use hookyard_tests::host::TestHost;
use serde_json::{Value, json};

const BOX: &str = "destinations/box";

/// All files below a folder, by their paths there; those that grow are not among them.
fn files(folder: &Path) -> BTreeSet<String> {
    fn below(folder: &Path, before: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.unwrap();
            let path = format!("{before}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                if path != ".incoming" {
                    below(&entry.path(), &format!("{path}/"), found);
                }
            } else {
                found.insert(path);
            }
        }
    }
    let mut found = BTreeSet::new();
    below(folder, "", &mut found);
    found
}

#[tokio::test]
async fn a_carrier_fetches_its_own_files_with_a_registered_key_and_does_nothing_else() {
    let server = DropServer::start(2);
    let data = Data::make(Kind::Sqlite).await;
    let host = TestHost::with(&data, Clock::system(), |config| {
        config.drop.hosted = true;
        config.drop.folder = server.drop_folder();
        config.drop.keys = server.keys_folder();
    })
    .await;
    let acme = host.admin.carrier(server.user(0)).await;
    let other = host.admin.carrier(server.user(1)).await;
    for carrier in [&acme, &other] {
        let sftp = json!({"hosted": true, "file_name": "${caseData.brand}/${referenceId}_${partialId}.json"});
        carrier.api.put(&carrier.path(BOX), &json!({"kind": "sftp", "sftp": sftp})).await.ok();
        carrier.subscription("main", json!({"destinations": ["box"]})).await;
    }
    let payload = json!({"caseData": {"id": "4e7d1c92-58ab", "brand": "../../Acme"}, "referenceId": "NB-1"});
    acme.post("one", &payload).await;
    let delivery = acme.delivery_in("one", "delivered").await;
    let answer = delivery["attempts"][0].to_string();
    assert!(answer.contains("_.._Acme/NB-1_4e7d1c92-.json"), "{answer}");
    other.post("two", &json!({"referenceId": "secret", "caseData": {"brand": "B"}})).await;
    other.delivery_in("two", "delivered").await;

    let kinds: [(&str, &[&str]); 3] = [
        ("ed", &["-t", "ed25519"]),
        ("ec", &["-t", "ecdsa", "-b", "384"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
    ];
    let got = tempfile::tempdir().unwrap();
    let fetched = got.path().join("file");
    let get = format!("get \"/files/_.._Acme/NB-1_4e7d1c92-.json\" {}\n", fetched.display());
    for (name, kind) in kinds {
        let (private, public) = server.key(name, kind);
        let refused = server.sftp(server.user(0), &private, &get);
        assert!(!refused.status.success(), "{name} is not registered yet");
        let path = acme.path(&format!("drop/keys/{name}"));
        let shown = acme.api.put(&path, &json!({"public_key": public})).await.ok();
        let fingerprint = std::process::Command::new("ssh-keygen").arg("-lf").arg(&private).output().unwrap();
        let fingerprint = String::from_utf8(fingerprint.stdout).unwrap();
        assert!(fingerprint.contains(shown["fingerprint"].as_str().unwrap()), "{fingerprint}");

        let done = server.sftp(server.user(0), &private, &get);
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(&fetched).unwrap()).unwrap(), payload);
        std::fs::remove_file(&fetched).unwrap();
    }
    let key = server.private_key("ed");
    let listed = server.sftp(server.user(0), &key, "ls -1 /\npwd\nls -1\n");
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("/files") && listed.contains("_.._Acme"), "{listed}");
    assert!(!listed.contains(server.user(1)), "{listed}");

    // Every one of these is refused, and changes nothing.
    let before = files(&server.drop_folder());
    std::fs::write(got.path().join("evil"), "x").unwrap();
    let evil = got.path().join("evil");
    for commands in [
        format!("put {} /files/evil\n", evil.display()),
        format!("put {} /evil\n", evil.display()),
        "rm /files/_.._Acme/NB-1_4e7d1c92-.json\n".to_owned(),
        "rename /files/_.._Acme /files/x\n".to_owned(),
        "mkdir /files/x\n".to_owned(),
        "ln -s /etc /files/etc\n".to_owned(),
        "ls /files/.incoming\n".to_owned(),
        format!("get ../{}/files/B/secret_unknown.json {}\n", server.user(1), fetched.display()),
        format!("cd /../{}\n", server.user(1)),
        format!("get /etc/passwd {}\n", fetched.display()),
    ] {
        let done = server.sftp(server.user(0), &key, &commands);
        assert!(!done.status.success(), "{commands}: {}", String::from_utf8_lossy(&done.stdout));
    }
    assert_eq!(files(&server.drop_folder()), before);
    assert!(!server.sftp(server.user(1), &key, "ls\n").status.success(), "a key is its carrier's alone");

    // The API shows the files, deletes them, and takes keys back.
    let shown = acme.api.get(&acme.path("drop/files")).await.ok();
    assert_eq!(shown["items"][0]["path"], "_.._Acme/NB-1_4e7d1c92-.json");
    acme.api.get(&other.path("drop/files")).await.problem(404, "not_found");
    let path = acme.path("drop/files?path=_.._Acme/NB-1_4e7d1c92-.json");
    acme.api.delete(&path).await.ok();
    acme.api.delete(&path).await.problem(404, "not_found");
    assert!(!server.sftp(server.user(0), &key, &get).status.success());
    acme.api.delete(&acme.path("drop/keys/ed")).await.ok();
    assert!(!server.sftp(server.user(0), &key, "ls\n").status.success());
    assert!(server.sftp(server.user(0), &server.private_key("rsa"), "ls\n").status.success());
    host.end().await;
}

#[tokio::test]
async fn keys_and_hosted_destinations_are_checked_when_they_are_registered() {
    let data = Data::make(Kind::Sqlite).await;
    let hosted = json!({"kind": "sftp", "sftp": {"hosted": true}});
    let host = TestHost::start(&data).await;
    let acme = host.admin.carrier("acme").await;
    let refused = acme.api.put(&acme.path(BOX), &hosted).await.problem(422, "invalid_body");
    assert_eq!(refused["field"], "sftp.hosted");
    assert!(refused["detail"].as_str().unwrap().contains("`hosted = true` in `[drop]`"), "{refused}");
    acme.api.get(&acme.path("drop/files")).await.problem(409, "wrong_state");
    host.end().await;

    let host = TestHost::with(&data, Clock::system(), |config| config.drop.hosted = true).await;
    let acme = acme.at(&host.admin);
    let gpg = Gnupg::new();
    let weak = gpg.make_rsa("weak@example.org", 1024, "0");
    let body = |more: Value| json!({"kind": "sftp", "sftp": {"hosted": true}, "pgp_keys": [more]});
    let refused = acme.api.put(&acme.path(BOX), &body(weak.into())).await.problem(422, "invalid_body");
    assert_eq!(refused["field"], "pgp_keys");
    let good = gpg.make_rsa("good@example.org", 2048, "0");
    acme.api.put(&acme.path(BOX), &body(good.into())).await.ok();
    acme.subscription("main", json!({"destinations": ["box"]})).await;
    acme.post("evt", &json!({"referenceId": "R", "id": "case-1"})).await;
    acme.delivery_in("evt", "delivered").await;
    let folder = data.folder().join("drop/acme/files");
    let names = files(&folder);
    let name = names.first().unwrap();
    assert!(names.len() == 1 && name.starts_with("R_case-1_") && name.ends_with("Z.json.pgp"), "{names:?}");
    let plain: Value = serde_json::from_slice(&gpg.decrypt(&folder.join(name))).unwrap();
    assert_eq!(plain, json!({"referenceId": "R", "id": "case-1"}));

    let put = async |name: &str, key: &str| {
        acme.api.put(&acme.path(&format!("drop/keys/{name}")), &json!({"public_key": key})).await
    };
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqi me";
    for number in 0..8 {
        put(&format!("key-{number}"), KEY).await.ok();
    }
    let full = put("key-8", KEY).await.problem(422, "too_many");
    assert!(full["detail"].as_str().unwrap().contains("`drop_keys`"), "{full}");
    assert_eq!(put("key-7", KEY).await.status, 200, "it takes the place of the one before");
    let refused = put("key-7", &format!("command=\"sh\" {KEY}")).await.problem(422, "invalid_body");
    assert_eq!(refused["field"], "public_key");
    let file = data.folder().join("drop-keys/acme");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 8);
    host.end().await;

    // What is lost of the keys' folder is there again after a start.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(data.folder().join("drop-keys/nobody"), KEY).unwrap();
    let host = TestHost::with(&data, Clock::system(), |config| config.drop.hosted = true).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 8);
    assert!(!data.folder().join("drop-keys/nobody").exists(), "who has no keys has no file");
    host.end().await;
}

#[tokio::test]
async fn a_process_that_is_killed_again_and_again_leaves_each_file_once() {
    const EVENTS: usize = 300;
    let data = Data::make(Kind::Sqlite).await;
    let settings = [("STORE_LEASE_S", "300"), ("LOG_LEVEL", "info"), ("DROP_HOSTED", "true")];
    let mut host = ChildHost::start(&data, &settings).await;
    let mut acme = host.admin.carrier("acme").await;
    // All of one name, so that a file that is there twice shows as a number too many.
    let sftp = json!({"hosted": true, "file_name": "claims/claim.json"});
    acme.api.put(&acme.path(BOX), &json!({"kind": "sftp", "sftp": sftp})).await.ok();
    acme.subscription("main", json!({"destinations": ["box"]})).await;
    let event =
        |n| json!({"carrier": "acme", "id": format!("evt-{n}"), "type": "case.closed", "payload": {"n": n}});
    host.admin.post("/v1/events", &Value::Array((0..EVENTS).map(event).collect())).await.ok();
    let folder = data.folder().join("drop/acme/files");
    // Killed while files come: at once, and whenever there are some more.
    for more in [1, 20, 20, 20, 20, 20, 20, 20] {
        let before = files(&folder).len();
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(1));
        let grown = async {
            while files(&folder).len() < (before + more).min(EVENTS) {
                beat.tick().await;
            }
        };
        tokio::time::timeout(hookyard_tests::sink::PATIENCE, grown).await.expect("files come");
        host.kill().await;
        host = ChildHost::start(&data, &settings).await;
        acme = acme.at(&host.admin);
    }
    acme.settled().await;
    let names = files(&folder);
    let expected: BTreeSet<String> = (1..=EVENTS)
        .map(|n| if n == 1 { "claims/claim.json".to_owned() } else { format!("claims/claim-{n}.json") })
        .collect();
    assert_eq!(names, expected);
    let whole: BTreeSet<u64> = names
        .iter()
        .map(|name| {
            let content: Value = serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
            content["n"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(whole.len(), EVENTS, "each is whole, and each event has one");
    host.kill().await;
}
