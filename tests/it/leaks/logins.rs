//! What logins to SFTP servers prove themselves with: a password, keys, a passphrase; right ones and wrong ones.

use bytes::Bytes;
use hookyard_tests::sshd::{KeyPair, Sshd};
use serde_json::{Value, json};

use super::{DESTINATION, Secrets, User};

/// Every kind of login to a real server: one that lets it in, and one that does not.
pub(super) async fn log_in(user: &mut User, secrets: &mut Secrets) {
    const PASSWORD: &str = "sftp-password-5d20ab";
    const PASSPHRASE: &str = "sftp-passphrase-c7741e";
    let sshd = Sshd::start().await;
    let (plain, locked) = (KeyPair::make("ed25519", "").await, KeyPair::make("rsa", PASSPHRASE).await);
    sshd.authorize(&plain.public);
    sshd.authorize(&locked.public);
    secrets.hide("a password", PASSWORD);
    secrets.hide("a passphrase", PASSPHRASE);
    for key in [&plain, &locked] {
        // A line of its own; the first ones have no more than how it is written, and the public half.
        let lines: Vec<&str> = key.private.lines().collect();
        secrets.hide("a private key", lines[lines.len() - 3]);
    }
    let fingerprint = sshd.host_key(0).await.fingerprint;
    let sftp = |user: &str| json!({ "host": "127.0.0.1", "port": sshd.port(), "username": user, "host_keys": [fingerprint] });
    let name = sshd.user();
    let logins = [
        ("by-password", sftp("nobody-at-all"), json!({ "password": PASSWORD }), "login"),
        ("by-key", sftp(name), json!({ "private_key": plain.private }), "delivered"),
        (
            "by-locked-key",
            sftp(name),
            json!({ "private_key": locked.private, "passphrase": PASSPHRASE }),
            "delivered",
        ),
        ("by-both", sftp(name), json!({ "private_key": plain.private, "password": PASSWORD }), "delivered"),
        ("by-own-key", sftp(name), json!({ "generate": "ed25519" }), "login"),
    ];
    for (destination, sftp, login, outcome) in logins {
        user.names.insert("destination", destination.to_owned());
        user.json(DESTINATION, json!({ "kind": "sftp", "sftp": sftp, "login": login })).await;
        user.call("GET /v1/carriers/{carrier}/destinations/{destination}", &[], Bytes::new()).await.ok();
        let test = "POST /v1/carriers/{carrier}/destinations/{destination}/test";
        let tried: Value = user.call(test, &[], Bytes::new()).await.ok();
        assert_eq!(tried["outcome"], outcome, "{destination}: {tried:#}");
    }
    let wrong = json!({ "private_key": locked.private, "passphrase": format!("{PASSPHRASE}-wrong") });
    let wrong = json!({ "kind": "sftp", "sftp": sftp(name), "login": wrong });
    user.refused(DESTINATION, wrong.to_string()).await;
    let wrong = json!({ "kind": "sftp", "sftp": sftp(name), "login": { "private_key": format!("{}x", plain.private.replace("OPENSSH", "OTHER")) } });
    user.refused(DESTINATION, wrong.to_string()).await;

    let body = json!({ "event_types": ["*"], "destinations": ["by-key", "by-password"], "policy": { "profile": "none" } });
    user.json("PUT /v1/carriers/{carrier}/subscriptions/{subscription}", body).await;
    user.json(
        "POST /v1/events",
        json!({ "carrier": "acme", "id": "filed", "type": "case.closed", "payload": {} }),
    )
    .await;
    user.names.insert("event", "filed".to_owned());
    user.admin.of("acme").settled_events().await;
    user.call("GET /v1/carriers/{carrier}/events/{event}", &[], Bytes::new()).await.ok();
    assert!(sshd.names().len() >= 4, "they were sent: {:?}", sshd.files());
    user.names.insert("destination", "claims".to_owned());
}
