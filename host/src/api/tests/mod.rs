//! The API over a real store in a temporary folder; only the doors to the router and the plugin runtime are stand-ins.

mod access;
mod event_types;
mod log;
mod posting;
mod setup;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tower::ServiceExt;

use super::state::{PluginAdminError, Rehearsal, TestError, TestOutcome, Uploaded};
use super::{Activated, ApiLimits, ApiParts, ApiState, Handshaker, KeyRing, PluginAdmin, Tester, mint};
use crate::carrier::handshake::{HandshakeSpec, Reply};
use crate::carrier::{Destination, LimitsSpec, Owner, Role, Subscription};
use crate::clock::{Clock, Millis};
use crate::config::MediaConfig;
use crate::deliver::AddressPolicy;
use crate::doors::Rules;
use crate::event::{Event, PluginName};
use crate::ingest::{IngestLimits, Intake};
use crate::matching::{Order, Subject};
use crate::secrets::{KeyList, MasterKey, MasterKeys};
use crate::store::error::AcceptError;
use crate::store::work::{Acceptance, NewEvent};
use crate::store::{Store, StoreConfig, WriterLimits};

const START: Millis = Millis(1_761_300_000_000);

/// Events go straight to the store, held by its node; plugins are stored without being looked at.
struct Doors {
    store: Store,
    clock: Clock,
}

impl Intake for Doors {
    fn accept(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Acceptance>, AcceptError>> {
        Box::pin(async move {
            let new = |event: Event| NewEvent { digest: event.digest(), event: Arc::new(event), hold: true };
            let (done, answer) = tokio::sync::oneshot::channel();
            let done = Box::new(move |result| drop(done.send(result)));
            self.store.accept(events.into_iter().map(new).collect(), done)?;
            answer.await.unwrap()
        })
    }
}

impl PluginAdmin for Doors {
    fn upload(
        &self,
        owner: Owner,
        name: PluginName,
        component: Bytes,
        limits: LimitsSpec,
    ) -> BoxFuture<'_, Result<Uploaded, PluginAdminError>> {
        Box::pin(async move {
            if component.starts_with(b"bad") {
                let detail = "it is not a component".to_owned();
                return Err(PluginAdminError::Refused { detail, limit: None });
            }
            let version = self.store.add_version(&owner, &name, component, limits, self.clock.now()).await?;
            Ok(Uploaded { version, report: serde_json::json!({"imports": []}) })
        })
    }

    fn activate(
        &self,
        owner: Owner,
        name: PluginName,
        version: i64,
    ) -> BoxFuture<'_, Result<Activated, PluginAdminError>> {
        Box::pin(async move {
            let active = self.store.activate(&owner, &name, version, self.clock.now()).await?;
            let plugin = active.ok_or(PluginAdminError::Missing { what: "plugin version" })?;
            Ok(Activated { plugin, warnings: Vec::new() })
        })
    }

    fn rollback(&self, owner: Owner, name: PluginName) -> BoxFuture<'_, Result<Activated, PluginAdminError>> {
        Box::pin(async move {
            let all = self.store.plugins(&owner).await?;
            let found = all.into_iter().find(|one| one.name == name);
            let previous = found.ok_or(PluginAdminError::Missing { what: "plugin" })?.previous;
            self.activate(owner, name, previous.ok_or(PluginAdminError::NoPrevious)?).await
        })
    }
}

impl Tester for Doors {
    /// Answers with what it was given.
    fn test(&self, destination: Destination, event: Event) -> BoxFuture<'_, Result<TestOutcome, TestError>> {
        Box::pin(async move {
            let error = Some(format!("{} answered 500", destination.name));
            Ok(TestOutcome {
                outcome: "status".to_owned(),
                status: Some(500),
                duration_us: 5,
                error,
                request: format!(r#"{{"type":"{}"}}"#, event.event_type),
                response_headers: None,
                response_body: Some(String::from_utf8_lossy(&event.payload).into_owned()),
            })
        })
    }

    /// Matches, and sends nothing.
    fn rehearse(
        &self,
        subscription: Subscription,
        event: Event,
        _send: bool,
    ) -> BoxFuture<'_, Result<Rehearsal, TestError>> {
        Box::pin(async move {
            let order = Order::compile(&subscription.spec).unwrap();
            let subject = Subject::new(&event);
            let (meets, unmet) = (order.meets(&subject), order.unmet(&subject));
            Ok(Rehearsal { meets, unmet, routing: None, attempts: Vec::new() })
        })
    }
}

/// No receiver answers.
impl Handshaker for Doors {
    fn ask(&self, _: Destination, _: HandshakeSpec, _: String) -> BoxFuture<'_, Reply> {
        Box::pin(async { Reply::Withheld { why: "no answer".to_owned() } })
    }
}

struct Bench {
    app: axum::Router,
    store: Store,
    clock: Clock,
    admin: String,
    publisher: String,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
    json: Value,
}

impl Answer {
    /// Status and code of a refusal.
    fn code(&self) -> (u16, &str) {
        (self.status, self.json["code"].as_str().unwrap_or("none"))
    }

    #[track_caller]
    fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(ApiLimits::default()).await
    }

    async fn with(limits: ApiLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::Sqlite { folder: folder.path().to_owned() };
        let writer = WriterLimits { queued_events: 1_000, backlog_events: 1_000 };
        let node = crate::event::time_ordered(START, [1; 10]).into();
        let store = Store::open(&config, true, writer, node, START, Duration::from_secs(60)).await.unwrap();
        let clock = Clock::manual(START);
        let (admin, admin_text) = mint(Role::Admin, None, "ops".to_owned(), [1; 40], START);
        let (publisher, publisher_text) = mint(Role::Publisher, None, "platform".to_owned(), [2; 40], START);
        store.create_key(admin).await.unwrap();
        store.create_key(publisher).await.unwrap();
        let master = MasterKeys::new(KeyList::of(MasterKey::from_bytes([9; 32])));
        let media = MediaConfig::default().ceiling();
        let (addresses, mail) = (AddressPolicy::default(), Arc::default());
        let rules = Rules { master, addresses, clock: clock.clone(), mail, media, drop: true };
        let doors = Arc::new(Doors { store: store.clone(), clock: clock.clone() });
        let state = ApiState::new(ApiParts {
            keys: KeyRing::load(&store).await.unwrap(),
            store: store.clone(),
            intake: doors.clone(),
            plugins: doors.clone(),
            checks: Arc::new(rules),
            tester: doors.clone(),
            handshaker: doors,
            drop: None,
            catalogue: Arc::new(crate::catalogue::Catalogue::embedded().unwrap()),
            clock: clock.clone(),
            limits,
            ingest: IngestLimits::default(),
            body_time: Duration::from_secs(60),
        });
        let (app, admin, publisher) = (super::router(state), admin_text, publisher_text);
        Self { app, store, clock, admin, publisher, _folder: folder }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 64 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: parts.status.as_u16(), headers: parts.headers, text, json }
    }

    async fn call(&self, key: &str, method: &str, path: &str, body: &str) -> Answer {
        self.send(request(key, method, path, &[], body)).await
    }

    async fn get(&self, key: &str, path: &str) -> Answer {
        self.call(key, "GET", path, "").await
    }

    async fn post(&self, key: &str, path: &str, body: &str) -> Answer {
        self.call(key, "POST", path, body).await
    }

    /// A carrier and a key of its own.
    async fn carrier(&self, id: &str) -> String {
        let body = format!(r#"{{"id":"{id}","name":"The {id}"}}"#);
        self.post(&self.admin, "/v1/carriers", &body).await.is(201);
        let path = format!("/v1/carriers/{id}/keys");
        let made = self.post(&self.admin, &path, r#"{"name":"first"}"#).await.is(201);
        made["key"].as_str().unwrap().to_owned()
    }
}

fn request(key: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !key.is_empty() {
        request = request.header("x-api-key", key);
    }
    if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}
