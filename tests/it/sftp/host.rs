//! A whole host that sends files: set up by the API, killed, tried out.

use hookyard_tests::child::ChildHost;
use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::on_both;
use hookyard_tests::sink::PATIENCE;
use hookyard_tests::sshd::{KeyPair, Sshd};
use serde_json::{Value, json};

use crate::kill::settings;

on_both! {
    a_key_of_the_hosts_own_is_let_in_and_never_shown,
    kill_9_leaves_one_file_for_each_event,
}

async fn put(acme: &Carrier, sshd: &Sshd, more: Value, login: Value) -> Value {
    let mut sftp = json!({ "host": "127.0.0.1", "port": sshd.port(), "username": sshd.user(),
        "host_keys": [sshd.host_key(0).await.fingerprint] });
    sftp.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = json!({ "kind": "sftp", "sftp": sftp, "login": login });
    acme.api.put(&acme.path("destinations/files"), &body).await.ok()
}

async fn a_key_of_the_hosts_own_is_let_in_and_never_shown(data: &Data) {
    let sshd = Sshd::start().await;
    let host = ChildHost::start(data, &settings(data)).await;
    let acme = host.admin.carrier("acme").await;
    let made = put(&acme, &sshd, json!({ "folder": "in" }), json!({ "generate": "ed25519" })).await;
    assert_eq!(made["login"]["private_key"], "***");
    let public = made["login"]["public_key"].as_str().unwrap().to_owned();
    assert!(public.starts_with("ssh-ed25519 AAAA") && public.ends_with(" hookyard"), "{public}");

    let test = acme.path("destinations/files/test");
    let refused = acme.api.post(&test, &json!({})).await.ok();
    assert_eq!(refused["outcome"], "login", "{refused:#}");
    assert!(refused["error"].as_str().unwrap().contains(made["login"]["fingerprint"].as_str().unwrap()));
    sshd.authorize(&public);
    let sent = acme.api.post(&test, &json!({})).await.ok();
    assert_eq!(sent["outcome"], "delivered", "{sent:#}");
    assert!(sent["response_body"].as_str().unwrap().contains("logged in as"), "{sent:#}");
    assert_eq!(sent["request"]["path"], format!("in/{}", sshd.names()[0].trim_start_matches("in/")));

    // Replaced without a word about the login, it is the same key; another host key is told by a test.
    let other = KeyPair::make("ed25519", "").await;
    let again = put(&acme, &sshd, json!({ "host_keys": [other.fingerprint] }), Value::Null).await;
    assert_eq!(again["login"]["public_key"], made["login"]["public_key"]);
    let refused = acme.api.post(&test, &json!({})).await.ok();
    assert_eq!(refused["outcome"], "host_key", "{refused:#}");
    let error = refused["error"].as_str().unwrap();
    assert!(
        error.contains(&sshd.host_key(0).await.fingerprint) && error.contains(&other.fingerprint),
        "{error}"
    );

    let both = json!({ "generate": "ed25519", "private_key": other.private });
    let body = json!({ "kind": "sftp", "sftp": again["sftp"], "login": both });
    let refused = acme.api.put(&acme.path("destinations/files"), &body).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("invalid_body")), "{:#}", refused.body);
    host.kill().await;
}

async fn kill_9_leaves_one_file_for_each_event(data: &Data) {
    let sshd = Sshd::start().await;
    let key = KeyPair::make("ed25519", "").await;
    sshd.authorize(&key.public);
    let mut host = ChildHost::start(data, &settings(data)).await;
    let mut acme = host.admin.carrier("acme").await;
    let login = json!({ "private_key": key.private });
    put(&acme, &sshd, json!({ "file_name": "in/${n}.json" }), login).await;
    acme.subscription("main", json!({ "destinations": ["files"] })).await;
    let mut posted = 0;
    for round in 1..=3 {
        for n in posted..posted + 40 {
            acme.post(&format!("evt-{n}"), &json!({ "n": n })).await;
        }
        posted += 40;
        // Wherever it is with the others.
        let some = async {
            let mut beat = tokio::time::interval(std::time::Duration::from_millis(2));
            while sshd.names().len() < posted - 40 + 5 * round {
                beat.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, some).await.expect("some files");
        host.kill().await;
        host = ChildHost::start(data, &settings(data)).await;
        acme = acme.at(&host.admin);
        acme.settled_events().await;
    }
    let mut names = sshd.names();
    names.sort_by_key(|name| {
        name.trim_start_matches("in/").trim_end_matches(".json").parse::<usize>().unwrap_or(0)
    });
    let expected: Vec<_> = (0..posted).map(|n| format!("in/{n}.json")).collect();
    assert_eq!(names, expected, "each once, and none with a number");
    for n in 0..posted {
        let content: Value = serde_json::from_slice(&sshd.read(&format!("in/{n}.json"))).unwrap();
        assert_eq!(content["n"], n);
    }
    host.kill().await;
}
