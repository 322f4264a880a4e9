//! Destinations, subscriptions, plugins and tables.

use super::{Bench, request};
use serde_json::{Value, json};

const MAIN: &str = "/v1/carriers/me/destinations/main";

#[tokio::test]
async fn secrets_go_in_and_never_come_out() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let body = json!({"kind": "http", "url": "https://example.com/in", "signing": "generate",
        "headers": {"authorization": "Bearer hush-hush"}});
    let made = bench.call(&acme, "PUT", MAIN, &body.to_string()).await.is(201);
    let secret = made["signing_secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    for path in [MAIN, "/v1/carriers/me/destinations"] {
        let shown = bench.get(&acme, path).await;
        assert!(!shown.text.contains("hush-hush") && !shown.text.contains(&secret), "{}", shown.text);
        assert!(shown.text.contains(r#""header_names":["authorization"]"#), "{}", shown.text);
    }
    let kept = bench.store.destinations(&"acme".parse().unwrap()).await.unwrap();
    assert!(!String::from_utf8_lossy(&kept[0].sealed).contains("hush-hush"));

    // What is absent stays; what is given replaces.
    let body = json!({"kind": "http", "url": "https://example.com/other"}).to_string();
    let shown = bench.call(&acme, "PUT", MAIN, &body).await.is(200);
    assert_eq!(
        (&shown["url"], &shown["signing"]),
        (&json!("https://example.com/other"), &json!([{"scheme": "v1"}]))
    );
    assert_eq!(shown["header_names"], json!(["authorization"]));
    let body =
        json!({"kind": "http", "url": "https://example.com/", "headers": {}, "signing": "none"}).to_string();
    let shown = bench.call(&acme, "PUT", MAIN, &body).await.is(200);
    assert_eq!((&shown["signing"], &shown["header_names"]), (&json!([]), &json!([])));
    let answer = bench.post(&acme, &format!("{MAIN}/rotate-secret"), "{}").await;
    assert_eq!(answer.code(), (409, "wrong_state"));

    let body = json!({"kind": "http", "url": "https://10.0.0.1/"}).to_string();
    let answer = bench.call(&acme, "PUT", MAIN, &body).await;
    assert_eq!((answer.code(), &answer.json["field"]), ((422, "invalid_body"), &json!("url")));
}

#[tokio::test]
async fn every_kind_of_authentication_goes_in_and_comes_out_masked() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let put = async |more: Value| {
        let mut body = json!({"kind": "http", "url": "https://example.com/in"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bench.call(&acme, "PUT", MAIN, &body.to_string()).await
    };
    let oauth = json!({"type": "oauth2", "grant_type": "password", "token_url": "https://login.example/token",
        "username": "user", "password": "hush", "client_id": "router", "client_secret": "hush", "scope": "a b",
        "parameters": {"resource": "hush"}, "additional_headers": {"x-key": "hush"}, "optional_params": ["audience"]});
    let mut shown = oauth.clone();
    (shown["password"], shown["client_secret"]) = (json!("***"), json!("***"));
    (shown["parameters"], shown["additional_headers"]) =
        (json!({"resource": "***"}), json!({"x-key": "***"}));
    for (given, expected) in [
        (
            json!({"type": "basic", "username": "u", "password": "hush"}),
            json!({"type": "basic", "username": "u", "password": "***"}),
        ),
        (json!({"type": "bearer", "token": "hush"}), json!({"type": "bearer", "token": "***"})),
        (oauth, shown.clone()),
    ] {
        let answer = put(json!({"auth": given, "shared_secret": "hush"})).await;
        assert!(answer.status < 300 && !answer.text.contains("hush"), "{}", answer.text);
        assert_eq!((&answer.json["auth"], &answer.json["shared_secret"]), (&expected, &json!("***")));
        for path in [MAIN, "/v1/carriers/me/destinations"] {
            assert!(!bench.get(&acme, path).await.text.contains("hush"));
        }
    }
    let kept = bench.store.destinations(&"acme".parse().unwrap()).await.unwrap();
    assert!(!String::from_utf8_lossy(&kept[0].sealed).contains("hush"));

    // What is absent stays; what stands for nothing removes.
    let same = put(json!({})).await.is(200);
    assert_eq!((&same["auth"], &same["shared_secret"]), (&shown, &json!("***")));
    let none = put(json!({"auth": {"type": "none"}, "shared_secret": "", "tls": {}})).await.is(200);
    assert_eq!((none.get("auth"), none.get("shared_secret"), none.get("tls")), (None, None, None));
}

#[tokio::test]
async fn what_is_wrong_with_an_authentication_is_named() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let oauth = |change: Value| {
        let mut auth = json!({"type": "oauth2", "grant_type": "client_credentials", "client_id": "hush",
            "client_secret": "hush", "token_url": "https://login.example/token"});
        for (name, value) in change.as_object().unwrap() {
            auth[name] = value.clone();
        }
        json!({ "auth": auth })
    };
    for (more, field) in [
        (json!({"auth": {"type": "digest"}}), "auth"),
        (json!({"auth": {"type": "basic", "username": "hu:sh", "password": "hush"}}), "auth.username"),
        (json!({"auth": {"type": "bearer", "token": "hush hush"}}), "auth.token"),
        (json!({"auth": {"type": "bearer", "token": "***"}}), "auth.token"),
        (json!({"auth": {"type": "bearer", "token": "t"}, "headers": {"Authorization": "hush"}}), "auth"),
        (json!({"shared_secret": "hush", "headers": {"x-auth-token": "hush"}}), "shared_secret"),
        (oauth(json!({"token_url": "https://169.254.169.254/token"})), "auth.token_url"),
        (oauth(json!({"token_url": "http://login.example/token"})), "auth.token_url"),
        (oauth(json!({"client_id": ""})), "auth.client_id"),
        (oauth(json!({"grant_type": "password"})), "auth.username"),
        (oauth(json!({"grant_type": "implicit"})), "auth"),
        (oauth(json!({"username": "hush"})), "auth.username"),
        (oauth(json!({"client_secert": "hush"})), "auth"),
        (oauth(json!({"parameters": {"scope": "hush"}})), "auth.parameters"),
        (oauth(json!({"additional_headers": {"host": "hush"}})), "auth.additional_headers"),
        (json!({"tls": {"client_key": "hush"}}), "tls.client_certificate"),
        (json!({"tls": {"ca": "hush"}}), "tls.ca"),
    ] {
        let mut body = json!({"kind": "http", "url": "https://example.com/in"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = bench.call(&acme, "PUT", MAIN, &body.to_string()).await;
        assert_eq!(
            (answer.code(), &answer.json["field"]),
            ((422, "invalid_body"), &json!(field)),
            "{}",
            answer.text
        );
        assert!(!answer.text.contains("hush"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_rotated_secret_overlaps_with_the_one_before() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let body = json!({"kind": "http", "url": "https://example.com/", "signing": "generate"}).to_string();
    let first = bench.call(&acme, "PUT", MAIN, &body).await.is(201)["signing_secret"].clone();
    let path = format!("{MAIN}/rotate-secret");
    let rotated = bench.post(&acme, &path, r#"{"overlap_hours":1}"#).await.is(200);
    assert_ne!(rotated["signing_secret"], first);
    let until = super::START.0 + 3_600_000;
    assert_eq!(rotated["signing"], json!([{"scheme": "v1"}, {"scheme": "v1", "until_ms": until}]));
    // After the overlap the old one is gone at the next rotation; without overlap nothing is left of it.
    bench.clock.advance(std::time::Duration::from_secs(3_600));
    let rotated = bench.post(&acme, &path, r#"{"overlap_hours":0}"#).await.is(200);
    assert_eq!(rotated["signing"], json!([{"scheme": "v1"}]));
    assert_eq!(bench.post(&acme, &path, r#"{"overlap_hours":169}"#).await.code(), (422, "invalid_body"));

    let body =
        json!({"kind": "http", "url": "https://example.com/", "signing": "generate_ed25519"}).to_string();
    let made = bench.call(&acme, "PUT", MAIN, &body).await.is(200);
    assert_eq!(made["signing"][0]["scheme"], "v1a");
    assert!(made["signing"][0]["public_key"].as_str().unwrap().starts_with("whpk_"));
    assert_eq!(made.get("signing_secret"), None);
}

#[tokio::test]
async fn a_destination_is_disabled_enabled_tested_and_deleted() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let body = json!({"kind": "http", "url": "https://example.com/"}).to_string();
    bench.call(&acme, "PUT", MAIN, &body).await.is(201);
    let shown = bench.post(&acme, &format!("{MAIN}/disable"), "").await.is(200);
    assert_eq!(shown["state"], "disabled");
    assert!(shown["disabled_reason"].as_str().unwrap().starts_with("disabled with the key"));
    // Replacing it does not enable it.
    assert_eq!(bench.call(&acme, "PUT", MAIN, &body).await.is(200)["state"], "disabled");
    assert_eq!(bench.get(&acme, MAIN).await.is(200)["state"], "disabled");
    let shown = bench.post(&acme, &format!("{MAIN}/enable"), "").await.is(200);
    assert_eq!((&shown["state"], shown.get("disabled_reason")), (&json!("enabled"), None));
    let tested = bench.post(&acme, &format!("{MAIN}/test"), "").await.is(200);
    assert_eq!((&tested["status"], &tested["error"]), (&json!(500), &json!("main answered 500")));
    bench.call(&acme, "DELETE", MAIN, "").await.is(204);
    for (method, path) in
        [("GET", MAIN.to_owned()), ("DELETE", MAIN.to_owned()), ("POST", format!("{MAIN}/enable"))]
    {
        assert_eq!(bench.call(&acme, method, &path, "").await.code(), (404, "not_found"));
    }
    let answer = bench.call(&acme, "PUT", "/v1/carriers/me/destinations/Bad", &body).await;
    assert_eq!(answer.code(), (400, "invalid_parameter"));
}

#[tokio::test]
async fn a_subscription_is_checked_when_it_is_registered() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let destination = json!({"kind": "http", "url": "https://example.com/"}).to_string();
    bench.call(&acme, "PUT", MAIN, &destination).await.is(201);
    let path = "/v1/carriers/me/subscriptions";
    let made = bench.post(&acme, path, r#"{"event_types":["case.*"],"destinations":["main"]}"#).await.is(201);
    let id = made["id"].as_str().unwrap();
    assert_eq!(id.len(), 36);
    for (body, code, field, position) in [
        (json!({"event_types": []}), "invalid_body", "event_types", Value::Null),
        (json!({"event_types": vec!["a"; 65]}), "invalid_body", "event_types", Value::Null),
        (json!({"event_types": ["*"], "filter": "payload.a == "}), "invalid_body", "filter", json!(14)),
        (
            json!({"event_types": ["*"], "destinations": ["main", "no"]}),
            "unknown_reference",
            "destinations[1]",
            Value::Null,
        ),
        (
            json!({"event_types": ["*"], "plugins": ["shared/no"]}),
            "unknown_reference",
            "plugins[0]",
            Value::Null,
        ),
        (
            json!({"event_types": ["*"], "policy": {"retries": 3}}),
            "invalid_body",
            "policy.retries",
            Value::Null,
        ),
        (json!({"event_types": ["*"], "plugins": ["Bad"]}), "invalid_body", "plugins[0]", Value::Null),
    ] {
        let answer = bench.post(&acme, path, &body.to_string()).await;
        assert_eq!((answer.code(), &answer.json["field"]), ((422, code), &json!(field)), "{}", answer.text);
        if !position.is_null() {
            assert!(answer.json["position"].is_u64(), "{}", answer.text);
        }
    }
    let settings: std::collections::BTreeMap<_, _> = (0..65).map(|n| (n.to_string(), "x")).collect();
    let answer =
        bench.post(&acme, path, &json!({"event_types": ["*"], "settings": settings}).to_string()).await;
    assert_eq!((&answer.json["limit"], &answer.json["max"]), (&json!("settings"), &json!(64)));

    let own = format!("{path}/mine");
    bench.call(&acme, "PUT", &own, r#"{"event_types":["*"]}"#).await.is(201);
    assert_eq!(bench.post(&acme, &format!("{own}/pause"), "").await.is(200)["state"], "paused");
    let put = bench.call(&acme, "PUT", &own, r#"{"event_types":["a"]}"#).await.is(200);
    assert_eq!((&put["state"], &put["event_types"]), (&json!("paused"), &json!(["a"])));
    assert_eq!(bench.post(&acme, &format!("{own}/resume"), "").await.is(200)["state"], "active");
    let page = bench.get(&acme, &format!("{path}?limit=1")).await.is(200);
    let next = page["next"].as_str().unwrap();
    let rest = bench.get(&acme, &format!("{path}?limit=1&after={next}")).await.is(200);
    assert_eq!((&rest["items"][0]["id"], rest.get("next")), (&json!("mine"), None));
    bench.call(&acme, "DELETE", &own, "").await.is(204);
    assert_eq!(bench.get(&acme, &own).await.code(), (404, "not_found"));
}

#[tokio::test]
async fn plugins_are_uploaded_activated_and_rolled_back() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let wasm = [("content-type", "application/wasm")];
    for (key, base) in
        [(&acme, "/v1/carriers/me/plugins/redact"), (&bench.admin.clone(), "/v1/plugins/redact")]
    {
        let versions = format!("{base}/versions");
        assert_eq!(bench.get(key, &versions).await.code(), (404, "not_found"));
        let path = format!("{versions}?wall_ms=20");
        let made = bench.send(request(key, "POST", &path, &wasm, "one")).await.is(201);
        assert_eq!((&made["version"], &made["limits"]), (&json!(1), &json!({"wall_ms": 20})));
        assert_eq!(made["report"], json!({"imports": []}));
        bench.send(request(key, "POST", &versions, &wasm, "two")).await.is(201);
        let answer = bench.send(request(key, "POST", &versions, &wasm, "bad")).await;
        assert_eq!(answer.code(), (422, "plugin_refused"));
        assert_eq!(bench.get(key, base).await.is(200).get("active"), None);
        let rollback = format!("{base}/rollback");
        for version in [1, 2] {
            let body = json!({"version": version}).to_string();
            let active = bench.post(key, &format!("{base}/activate"), &body).await.is(200);
            assert_eq!(active["active"], version);
        }
        assert_eq!(bench.post(key, &format!("{base}/activate"), r#"{"version":9}"#).await.status, 404);
        assert_eq!(bench.post(key, &rollback, "").await.is(200)["active"], 1);
        assert_eq!(bench.get(key, &format!("{versions}/2")).await.is(200)["size"], 3);
        assert_eq!(bench.get(key, &format!("{versions}/3")).await.code(), (404, "not_found"));
        assert_eq!(bench.get(key, &versions).await.is(200)["items"].as_array().unwrap().len(), 2);
    }
    let subscription = r#"{"event_types":["*"],"plugins":["redact","shared/redact"]}"#;
    bench.post(&acme, "/v1/carriers/me/subscriptions", subscription).await.is(201);
}

#[tokio::test]
async fn tables_are_replaced_whole() {
    let limits = crate::api::ApiLimits {
        tables: 1,
        table_entries: 2,
        table_bytes: 100,
        ..crate::api::ApiLimits::default()
    };
    let bench = Bench::with(limits).await;
    let acme = bench.carrier("acme").await;
    let path = "/v1/carriers/me/tables/regions";
    let put = bench.call(&acme, "PUT", path, r#"{"a":"1","b":"2"}"#).await.is(200);
    assert_eq!((&put["version"], &put["entries"]), (&json!(1), &json!(2)));
    assert_eq!(bench.call(&acme, "PUT", path, r#"{"c":"3"}"#).await.is(200)["version"], 2);
    assert_eq!(bench.get(&acme, path).await.is(200), json!({"c": "3"}));
    let answer = bench.call(&acme, "PUT", path, r#"{"a":"1","b":"2","c":"3"}"#).await;
    assert_eq!((answer.code(), &answer.json["limit"]), ((413, "too_large"), &json!("table_entries")));
    let answer = bench.call(&acme, "PUT", path, &json!({"a": "x".repeat(100)}).to_string()).await;
    assert_eq!((answer.code(), &answer.json["limit"]), ((413, "too_large"), &json!("table_bytes")));
    let answer = bench.call(&acme, "PUT", path, r#"{"a":1}"#).await;
    assert_eq!((answer.code(), &answer.json["field"]), ((422, "invalid_body"), &json!("a")));
    let answer = bench.call(&acme, "PUT", "/v1/carriers/me/tables/more", "{}").await;
    assert_eq!((answer.code(), &answer.json["limit"]), ((422, "too_many"), &json!("tables")));
    assert_eq!(bench.get(&acme, "/v1/carriers/me/tables").await.is(200)["items"][0]["entries"], 1);
    bench.call(&acme, "DELETE", path, "").await.is(204);
    assert_eq!(bench.get(&acme, path).await.code(), (404, "not_found"));
}
