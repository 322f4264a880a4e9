//! Who may do what, and what a carrier can learn of another.

use super::{Bench, request};
use crate::api::ApiLimits;

#[tokio::test]
async fn without_a_good_key_nothing_is_told() {
    let bench = Bench::new().await;
    for key in ["", "hky_x_y"] {
        for (method, path) in [("GET", "/v1/carriers"), ("GET", "/v1/carriers/acme"), ("POST", "/v1/events")]
        {
            let answer = bench.call(key, method, path, "").await;
            assert_eq!(answer.code(), (401, "unauthorized"), "{method} {path}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"hookyard\"");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
        }
    }
    bench.get("", "/v1/openapi.json").await.is(200);
}

#[tokio::test]
async fn roles_are_kept_apart() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let publisher = bench.publisher.clone();
    for (key, method, path) in [
        (&acme, "GET", "/v1/carriers"),
        (&acme, "POST", "/v1/carriers"),
        (&acme, "GET", "/v1/keys"),
        (&acme, "GET", "/v1/plugins"),
        (&acme, "POST", "/v1/events"),
        (&publisher, "GET", "/v1/carriers"),
        (&publisher, "GET", "/v1/carriers/acme/events"),
        (&publisher, "GET", "/v1/carriers/none/events"),
    ] {
        let answer = bench.call(key, method, path, "").await;
        assert_eq!(answer.code(), (403, "forbidden"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_carrier_cannot_learn_that_another_exists() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let other = bench.carrier("other").await;
    bench.get(&acme, "/v1/carriers/acme").await.is(200);
    assert_eq!(bench.get(&other, "/v1/carriers/me").await.is(200)["id"], "other");
    for (method, rest, body) in [
        ("GET", "", ""),
        ("GET", "/events", ""),
        ("GET", "/keys", ""),
        ("PUT", "/tables/t", r#"{"a":"b"}"#),
        ("PUT", "/tables/t", "not json"),
        ("DELETE", "/destinations/main", ""),
        ("GET", "/deliveries/x", ""),
        ("POST", "/keys", r#"{"name":"mine"}"#),
    ] {
        let path = |carrier: &str| format!("/v1/carriers/{carrier}{rest}");
        let there = bench.call(&acme, method, &path("other"), body).await;
        let never = bench.call(&acme, method, &path("never-was"), body).await;
        let no_name = bench.call(&acme, method, &path("N%20o"), body).await;
        assert_eq!(there.code(), (404, "not_found"), "{method} {rest}");
        assert_eq!((there.status, &there.text, &there.headers), (never.status, &never.text, &never.headers));
        assert_eq!((there.status, &there.text), (no_name.status, &no_name.text));
    }
    let answer = bench.get(&bench.admin, "/v1/carriers/never-was/events").await;
    assert_eq!(answer.code(), (404, "not_found"));
    assert_eq!(bench.get(&bench.admin, "/v1/carriers/me").await.status, 404);
}

#[tokio::test]
async fn a_key_works_until_it_is_deleted() {
    let bench = Bench::new().await;
    let first = bench.carrier("acme").await;
    let made = bench.post(&first, "/v1/carriers/me/keys", r#"{"name":"second"}"#).await.is(201);
    let (second, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    let list = bench.get(second, "/v1/carriers/me/keys").await.is(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert!(!list.to_string().contains(&second[20..]), "the key is shown once");

    let path = format!("/v1/carriers/me/keys/{id}");
    assert_eq!(bench.call(second, "DELETE", &path, "").await.code(), (409, "wrong_state"));
    let other = bench.carrier("other").await;
    assert_eq!(bench.call(&other, "DELETE", &path, "").await.code(), (404, "not_found"));
    bench.get(second, "/v1/carriers/me").await.is(200);
    bench.call(&first, "DELETE", &path, "").await.is(204);
    assert_eq!(bench.get(second, "/v1/carriers/me").await.status, 401);

    let made = bench.post(&bench.admin, "/v1/keys", r#"{"role":"publisher","name":"p"}"#).await.is(201);
    assert_eq!(made["role"], "publisher");
    let answer = bench.post(&bench.admin, "/v1/keys", r#"{"role":"carrier","name":"p"}"#).await;
    assert_eq!((answer.code(), &answer.json["field"]), ((422, "invalid_body"), &"role".into()));
}

#[tokio::test]
async fn refusals_say_what_to_change() {
    let bench = Bench::with(ApiLimits { keys: 2, request_bytes: 1_000, ..ApiLimits::default() }).await;
    let admin = bench.admin.clone();
    let carriers = "/v1/carriers";
    let cases = [
        (bench.get(&admin, "/v1/nothing").await, 404, "not_found"),
        (bench.call(&admin, "PATCH", carriers, "{}").await, 405, "method_not_allowed"),
        (bench.post(&admin, carriers, "{").await, 400, "invalid_json"),
        (bench.post(&admin, carriers, "").await, 415, "unsupported_media_type"),
        (bench.post(&admin, carriers, r#"{"id":"a","name":"A"} x"#).await, 400, "invalid_json"),
        (bench.post(&admin, carriers, r#"{"id":"a","name":"A","x":1}"#).await, 422, "invalid_body"),
        (bench.post(&admin, carriers, r#"{"id":"me","name":"A"}"#).await, 422, "invalid_body"),
        (bench.post(&admin, carriers, r#"{"id":"a","name":""}"#).await, 422, "invalid_body"),
        (bench.post(&admin, carriers, &format!("{:2000}", "{}")).await, 413, "too_large"),
        (bench.get(&admin, "/v1/carriers?limit=0").await, 400, "invalid_parameter"),
        (bench.get(&admin, "/v1/carriers?limt=1").await, 400, "invalid_parameter"),
        (bench.post(&admin, "/v1/keys", r#"{"role":"admin","name":"third"}"#).await, 422, "too_many"),
    ];
    for (answer, status, code) in cases {
        assert_eq!(answer.code(), (status, code), "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let answer = bench.post(&admin, carriers, r#"{"id":"A","name":"A"}"#).await;
    assert_eq!(answer.json["field"], "id");
    bench.carrier("acme").await;
    let again = bench.post(&admin, carriers, r#"{"id":"acme","name":"A"}"#).await;
    assert_eq!(again.code(), (409, "exists"));
}

#[tokio::test]
async fn a_post_with_an_idempotency_key_happens_once() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let path = "/v1/carriers/me/keys";
    let send = |name: &str, body: &str| {
        let headers = [("idempotency-key", name)];
        bench.send(request(&acme, "POST", path, &headers, body))
    };
    let first = send("a", r#"{"name":"x"}"#).await;
    let again = send("a", r#"{"name":"x"}"#).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.text, again.text, "the key that is shown once is in both");
    assert_eq!(first.headers.get("idempotency-replayed"), None);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let list = bench.get(&acme, path).await.is(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);

    assert_eq!(send("a", r#"{"name":"y"}"#).await.code(), (422, "idempotency_mismatch"));
    assert_eq!(send("", r#"{"name":"y"}"#).await.code(), (400, "invalid_parameter"));
    // What was refused may be mended under the same key.
    assert_eq!(send("b", r#"{"nam":"y"}"#).await.code(), (422, "invalid_body"));
    assert_eq!(send("b", r#"{"name":"y"}"#).await.status, 201);
    assert_eq!(send("c", &"x".repeat(9 << 20)).await.code(), (413, "too_large"));
    // Another API key's `a` is another one.
    let other = bench.carrier("other").await;
    let headers = [("idempotency-key", "a")];
    let answer = bench.send(request(&other, "POST", path, &headers, r#"{"name":"x"}"#)).await;
    assert_eq!(answer.headers.get("idempotency-replayed"), None);
    // The answer held a key: at rest it must not be readable.
    let secret = first.json["key"].as_str().unwrap();
    let id = acme.split('_').nth(1).unwrap().parse().unwrap();
    let kept = bench.store.recall(&id, "a").await.unwrap().unwrap();
    assert!(!kept.body.contains(secret));
}
