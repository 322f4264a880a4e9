//! A client of the API as its users are: an admin, a publisher, a carrier.
//!
//! It checks that answers which must go well do, and leaves everything else to the test.

use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use crate::sink::{PATIENCE, Sink};

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: JSON, or else a string, or null when there is none.
    pub body: Value,
}

impl Answer {
    /// The body of an answer that must have gone well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {:#}", self.status, self.body);
        self.body
    }

    /// Checks status and problem code, and gives the problem.
    ///
    /// # Panics
    /// When they are others.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{:#}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        self.body
    }
}

/// A client with one key.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Api {
    /// A client of the host at `url`.
    ///
    /// # Panics
    /// When HTTP cannot be set up.
    pub fn new(url: &str, key: &str) -> Self {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(hookyard::deliver::http::tls().expect("TLS"))
            .no_proxy()
            .timeout(PATIENCE * 2)
            .build()
            .expect("HTTP");
        Self { http, url: url.to_owned(), key: key.to_owned() }
    }

    /// Where it calls.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The key that it sends.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The same with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Any request; the host must answer it.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        self.try_call(method, path, headers, body).await.expect("the host answers")
    }

    /// Any request.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> reqwest::Result<Answer> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.url)).header("x-api-key", &self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.body(body);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await?;
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).unwrap_or_else(|_| text()),
        };
        Ok(Answer { status, headers, body })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], Bytes::new()).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::POST, path, body).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::PUT, path, body).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], Bytes::new()).await
    }

    async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.call(method, path, &[("content-type", "application/json")], body.to_string().into()).await
    }

    /// Waits until nobody listens there any more.
    ///
    /// # Panics
    /// When somebody still does after [`PATIENCE`].
    pub async fn gone(&self) {
        // A port that is let go of tells nobody: it can only be tried again.
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        let address = self.url.trim_start_matches("http://").to_owned();
        let knock = async {
            while tokio::net::TcpStream::connect(&address).await.is_ok() {
                beat.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, knock).await.expect("the port is let go of");
    }

    /// A carrier that is there, spoken for with this key.
    pub fn of(&self, id: &str) -> Carrier {
        Carrier { id: id.to_owned(), api: self.clone(), publisher: self.clone() }
    }

    /// Makes a carrier and a key for it.
    pub async fn carrier(&self, id: &str) -> Carrier {
        self.post("/v1/carriers", &json!({ "id": id, "name": format!("Carrier {id}") })).await.ok();
        let key = self.post(&format!("/v1/carriers/{id}/keys"), &json!({ "name": "tests" })).await.ok();
        let api = self.with_key(key["key"].as_str().expect("the key"));
        Carrier { id: id.to_owned(), api, publisher: self.clone() }
    }
}

/// A carrier with its key, and the publisher of its events.
#[derive(Debug, Clone)]
pub struct Carrier {
    /// Its id.
    pub id: String,
    /// Speaks with its key.
    pub api: Api,
    /// Posts its events.
    pub publisher: Api,
}

impl Carrier {
    /// A path below the carrier.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/carriers/{}/{rest}", self.id)
    }

    /// The same carrier at another host on the same data.
    pub fn at(&self, admin: &Api) -> Self {
        Self { api: admin.with_key(&self.api.key), publisher: admin.clone(), id: self.id.clone() }
    }

    /// Makes or replaces a destination at the sink, under `/NAME`; `more` are further members.
    pub async fn destination(&self, name: &str, sink: &Sink, more: Value) -> Value {
        let mut body = json!({ "kind": "http", "url": sink.url(&format!("/{name}")) });
        merge(&mut body, more);
        self.api.put(&self.path(&format!("destinations/{name}")), &body).await.ok()
    }

    /// Makes or replaces a subscription to all event types; `more` are further members.
    pub async fn subscription(&self, id: &str, more: Value) -> Value {
        let mut body = json!({ "event_types": ["*"] });
        merge(&mut body, more);
        self.api.put(&self.path(&format!("subscriptions/{id}")), &body).await.ok()
    }

    /// Uploads a version; `query` asks for limits.
    pub async fn upload(&self, name: &str, component: &'static [u8], query: &str) -> Answer {
        let path = self.path(&format!("plugins/{name}/versions{query}"));
        let headers = [("content-type", "application/wasm")];
        self.api.call(Method::POST, &path, &headers, Bytes::from_static(component)).await
    }

    /// Activates a version.
    pub async fn activate(&self, name: &str, version: &Value) -> Value {
        let path = self.path(&format!("plugins/{name}/activate"));
        self.api.post(&path, &json!({ "version": version })).await.ok()
    }

    /// Uploads a version and activates it; gives its number.
    pub async fn plugin(&self, name: &str, component: &'static [u8], query: &str) -> Value {
        let version = self.upload(name, component, query).await.ok()["version"].clone();
        self.activate(name, &version).await;
        version
    }

    /// Posts an event of the type `case.closed`.
    pub async fn try_post(&self, id: &str, payload: &Value) -> Answer {
        let event = json!({ "carrier": self.id, "id": id, "type": "case.closed", "payload": payload });
        self.publisher.post("/v1/events", &event).await
    }

    /// Posts an event with the carrier's own key, which is no publisher's.
    pub async fn try_post_as_itself(&self) -> Answer {
        let event = json!({ "carrier": self.id, "id": "own", "type": "case.closed", "payload": {} });
        self.api.post("/v1/events", &event).await
    }

    /// Posts an event that must be accepted.
    pub async fn post(&self, id: &str, payload: &Value) {
        let answer = self.try_post(id, payload).await;
        assert_eq!(answer.status, 202, "{:#}", answer.body);
    }

    /// Posts an event of this type, with an empty payload.
    pub async fn post_typed(&self, id: &str, event_type: &str) {
        let event = json!({ "carrier": self.id, "id": id, "type": event_type, "payload": {} });
        self.publisher.post("/v1/events", &event).await.ok();
    }

    /// The event with everything that it came to.
    pub async fn event(&self, id: &str) -> Value {
        self.api.get(&self.path(&format!("events/{id}"))).await.ok()
    }

    /// The event's only routing.
    pub async fn routing(&self, id: &str) -> Value {
        one(&self.event(id).await["routings"])
    }

    /// The event's only delivery.
    pub async fn delivery(&self, id: &str) -> Value {
        one(&self.routing(id).await["deliveries"])
    }

    /// The event's only routing, once it is as wanted.
    pub async fn routing_when(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.event_when(id, what, |event| wanted(&event["routings"][0])).await["routings"][0].clone()
    }

    /// The event's only delivery, once it is as wanted.
    pub async fn delivery_when(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let event = self.event_when(id, what, |event| wanted(&event["routings"][0]["deliveries"][0])).await;
        one(&one(&event["routings"])["deliveries"])
    }

    /// The event's only delivery, once it has that state.
    pub async fn delivery_in(&self, id: &str, state: &str) -> Value {
        self.delivery_when(id, state, |delivery| delivery["state"] == state).await
    }

    /// The event's only delivery, once that many attempts at it have been recorded.
    pub async fn delivery_after(&self, id: &str, attempts: usize) -> Value {
        let tried = |delivery: &Value| delivery["attempts"].as_array().is_some_and(|a| a.len() == attempts);
        self.delivery_when(id, &format!("{attempts} attempts"), tried).await
    }

    /// The event, once it is as wanted.
    pub async fn event_when(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = self.path(&format!("events/{id}"));
        self.get_when(&path, &format!("{what} of event {id}"), wanted).await
    }

    /// A resource, once it is as wanted.
    ///
    /// # Panics
    /// When it is not after [`PATIENCE`].
    pub async fn get_when(&self, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        // Nothing tells a client of the API that something has changed: all that it can do is to ask again.
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        let ask = async {
            loop {
                beat.tick().await;
                last = self.api.get(path).await.ok();
                if wanted(&last) {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, ask).await.is_err() {
            panic!("waited in vain for {what}; it is {last:#}");
        }
        last
    }

    /// How many deliveries are in one of these states (`pending,held`), up to 500.
    pub async fn deliveries(&self, states: &str) -> Vec<Value> {
        let found = self.api.get(&self.path(&format!("deliveries?limit=500&state={states}"))).await.ok();
        found["items"].as_array().expect("items").clone()
    }

    /// Waits until every event is routed and no delivery is open. Looks at every event: for tests that have many.
    pub async fn settled_events(&self) {
        let mut next = String::new();
        loop {
            let path = self.path(&format!("events?limit=500{next}"));
            let routed = |page: &Value| {
                page["items"].as_array().is_some_and(|all| all.iter().all(|e| e["routed"] == true))
            };
            let page = self.get_when(&path, "the routing of all events", routed).await;
            match page["next"].as_str() {
                Some(cursor) => next = format!("&after={cursor}"),
                None => break,
            }
        }
        self.settled().await;
    }

    /// Waits until no delivery is open.
    pub async fn settled(&self) {
        let path = self.path("deliveries?limit=500&state=pending,held");
        let none = |found: &Value| found["items"].as_array().is_some_and(Vec::is_empty);
        self.get_when(&path, "the end of all deliveries", none).await;
    }
}

/// The only item of a list.
///
/// # Panics
/// When there are others, or none.
#[track_caller]
pub fn one(list: &Value) -> Value {
    match list.as_array().map(Vec::as_slice) {
        Some([only]) => only.clone(),
        _ => panic!("not one item: {list:#}"),
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
