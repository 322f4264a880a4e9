//! What proves whose a request is: every kind, sent to receivers and token servers that print it.

use bytes::Bytes;
use hookyard_tests::sink::{Answer, Sink};
use hookyard_tests::tls::Authority;
use serde_json::{Value, json};

use super::{DESTINATION, PLAIN, Secrets, User, print};

/// Every way in which a request proves whose it is, at receivers and token servers that print what they are sent.
pub(super) async fn prove(user: &mut User, secrets: &mut Secrets, sink: &Sink) {
    const TOKEN: &str = "fetched-token-3e90aa";
    let (certificate, key) = Authority::default().client("acme");
    let auth = |more: Value| {
        let mut auth = json!({
            "type": "oauth2", "token_url": sink.url("/token"), "client_id": "the-client",
            "client_secret": "client-secret-c41f", "parameters": { "resource": "parameter-secret-07bd" },
            "additional_headers": { "x-call": "call-header-secret-9a2e" },
        });
        auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "auth": auth })
    };
    let password =
        json!({ "grant_type": "password", "username": "the-user", "password": "user-password-e8d0" });
    let refused = json!({ "grant_type": "client_credentials", "token_url": sink.url("/no-token") });
    let destinations = [
        (
            "basic",
            json!({ "auth": { "type": "basic", "username": "user", "password": "basic-password-55ab" } }),
        ),
        ("bearer", json!({ "auth": { "type": "bearer", "token": "bearer-token-1c7f" } })),
        ("client", auth(json!({ "grant_type": "client_credentials" }))),
        ("password", auth(password)),
        ("refused", auth(refused)),
        ("shared", json!({ "shared_secret": "shared-secret-b2d4" })),
        ("mutual", json!({ "tls": { "client_certificate": certificate, "client_key": key } })),
    ];
    for secret in [
        "basic-password-55ab",
        "bearer-token-1c7f",
        "client-secret-c41f",
        "parameter-secret-07bd",
        "call-header-secret-9a2e",
        "user-password-e8d0",
        "shared-secret-b2d4",
        TOKEN,
        key.lines().nth(1).unwrap(),
    ] {
        secrets.hide("what proves whose a request is", secret);
    }
    sink.script(move |request| match request.path.as_str() {
        "/token" => Answer::Body(200, json!({ "access_token": TOKEN, "expires_in": 3_600 }).to_string()),
        "/no-token" => {
            let said = print(request, &[]);
            Answer::Body(400, json!({ "error": "invalid_client", "error_description": said }).to_string())
        }
        _ => Answer::Body(500, print(request, &[])),
    });
    let names: Vec<&str> = destinations.iter().map(|(name, _)| *name).collect();
    for (name, more) in &destinations {
        user.names.insert("destination", (*name).to_owned());
        let mut body = json!({ "kind": "http", "url": sink.url(&format!("/{name}")) });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        user.json(DESTINATION, body).await;
        let test = "POST /v1/carriers/{carrier}/destinations/{destination}/test";
        user.call(test, &[], Bytes::new()).await.ok();
    }
    let body = json!({ "event_types": ["*"], "destinations": names, "policy": { "profile": "none" } });
    user.json("PUT /v1/carriers/{carrier}/subscriptions/{subscription}", body).await;
    let event =
        json!({ "carrier": "acme", "id": "proved", "type": "case.closed", "payload": { "a": PLAIN } });
    user.json("POST /v1/events", event).await;
    user.names.insert("event", "proved".to_owned());
    user.admin.of("acme").settled_events().await;
    user.call("GET /v1/carriers/{carrier}/events/{event}", &[], Bytes::new()).await.ok();
    let sent =
        |wanted: String| sink.requests().iter().any(|request| request.header("authorization") == wanted);
    assert!(sent(format!("Bearer {TOKEN}")) && sent("Bearer bearer-token-1c7f".to_owned()), "they were sent");
    user.names.insert("destination", "claims".to_owned());
}
