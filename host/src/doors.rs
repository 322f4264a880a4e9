//! The doors that ingest and the API open to the other stages: each an adapter of a few lines, so that handlers know
//! neither the router nor Wasm nor HTTP clients.

mod tester;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::api::state::{
    Activated, Checks, DropBox, DropBoxError, Handshaker, PluginAdmin, PluginAdminError, Unfit, Unopened,
    Uploaded,
};
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::handshake::{HandshakeSpec, Reply};
use crate::carrier::{
    Destination, DestinationSpec, DropFile, LimitsSpec, Login, MediaCeiling, MediaRules, Owner,
    SubscriptionSpec,
};
use crate::clock::{self, Clock};
use crate::deliver::drop::{DropError, DropFolder};
use crate::deliver::email::MailRules;
use crate::deliver::{AddressPolicy, Target, sftp, sign};
use crate::event::{CarrierId, Event, PluginName};
use crate::ingest::Intake;
use crate::matching::Order;
use crate::pgp::PgpKeys;
use crate::retry::Policy;
use crate::router::Router;
use crate::router::registry::{self, RegistryError};
use crate::schedule::Schedule;
use crate::secrets::MasterKeys;
use crate::store::error::AcceptError;
use crate::store::work::Acceptance;

/// The doors to the router: all in one, since they lead to the same few rooms.
#[derive(Debug)]
pub(crate) struct Doors {
    router: Router,

    clock: Clock,
    public_url: String,
    tests: tokio::sync::Semaphore,
    asks: tokio::sync::Semaphore,
}

/// What must hold before something is set up, and the key for what is kept secret. It needs no running host.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Seals and opens.
    pub(crate) master: MasterKeys,
    /// Where destinations may be.
    pub(crate) addresses: AddressPolicy,
    /// Which mails may be sent.
    pub(crate) mail: Arc<MailRules>,
    /// When keys that expire are too old.
    pub(crate) clock: Clock,
    /// What no carrier can go beyond in what is fetched for it.
    pub(crate) media: MediaCeiling,
    /// Whether this host has a drop folder.
    pub(crate) drop: bool,
}

/// Test deliveries under way at once.
const TESTS: usize = 16;
/// Receivers that are asked for permission at once; more wait.
const ASKS: usize = 16;

impl Doors {
    /// Doors to this router. `public_url` is where the API is reached from outside; empty when nobody said so.
    pub(crate) fn new(router: Router, clock: Clock, public_url: &str) -> Self {
        let public_url = public_url.trim_end_matches('/').to_owned();
        let (tests, asks) = (tokio::sync::Semaphore::new(TESTS), tokio::sync::Semaphore::new(ASKS));
        Self { router, clock, public_url, tests, asks }
    }
}

impl Intake for Doors {
    fn accept(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Acceptance>, AcceptError>> {
        Box::pin(self.router.accept(events))
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
            let (version, checked) = self.router.upload(&owner, &name, component, limits).await?;
            let report = json!({
                "imports": checked.imports,
                "warnings": checked.warnings,
                "smoke_us": u64::try_from(checked.smoke.as_micros()).unwrap_or(u64::MAX),
            });
            Ok(Uploaded { version, report })
        })
    }

    fn activate(
        &self,
        owner: Owner,
        name: PluginName,
        version: i64,
    ) -> BoxFuture<'_, Result<Activated, PluginAdminError>> {
        Box::pin(async move { Ok(self.router.activate(&owner, &name, version).await?.into()) })
    }

    fn rollback(&self, owner: Owner, name: PluginName) -> BoxFuture<'_, Result<Activated, PluginAdminError>> {
        Box::pin(async move { Ok(self.router.roll_back(&owner, &name).await?.into()) })
    }
}

impl DropBox for DropFolder {
    fn list(
        &self,
        carrier: CarrierId,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DropFile>, DropBoxError>> {
        Box::pin(async move { Ok(DropFolder::list(self, &carrier, after, limit).await?) })
    }

    fn delete(&self, carrier: CarrierId, path: String) -> BoxFuture<'_, Result<bool, DropBoxError>> {
        Box::pin(async move { Ok(DropFolder::delete(self, &carrier, &path).await?) })
    }
}

impl From<DropError> for DropBoxError {
    fn from(error: DropError) -> Self {
        match error {
            DropError::Path(_) | DropError::Hidden { .. } => Self::Path(error.to_string()),
            error => Self::Host(error.to_string()),
        }
    }
}

impl From<registry::Activated> for Activated {
    fn from(one: registry::Activated) -> Self {
        let warnings = one.elsewhere.iter().map(ToString::to_string).collect();
        Self { plugin: one.record, warnings }
    }
}

impl From<RegistryError> for PluginAdminError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Check(why) if why.is_hosts() => Self::Host(why.to_string()),
            RegistryError::Check(why) => {
                Self::Refused { limit: why.limit().map(str::to_owned), detail: why.to_string() }
            }
            RegistryError::Missing(what) => Self::Missing { what },
            RegistryError::NothingBefore => Self::NoPrevious,
            RegistryError::NotLoadable(why) => Self::Host(why),
            RegistryError::Store(why) => Self::Store(why),
        }
    }
}

impl Checks for Rules {
    fn destination(&self, spec: &DestinationSpec, secrets: &DestinationSecrets) -> Result<(), Unfit> {
        Target::check(spec, secrets, &self.addresses)
            .and_then(|()| self.mail.admits(spec))
            .map_err(|why| Unfit::new(why.field(), why))?;
        if !self.drop && spec.sftp.as_ref().is_some_and(|sftp| sftp.hosted) {
            let why = "this host has no drop folder: its operator sets `hosted = true` in `[drop]`";
            return Err(Unfit::new("sftp.hosted", why));
        }
        let keys = PgpKeys::read(&spec.pgp_keys).map_err(|why| Unfit::new("pgp_keys", why))?;
        keys.check_at(self.clock.now()).map_err(|why| Unfit::new("pgp_keys", why))
    }

    fn subscription(&self, spec: &SubscriptionSpec) -> Result<(), Unfit> {
        Order::compile(spec)
            .map_err(|why| Unfit { position: why.position(), ..Unfit::new(why.field(), why) })?;
        Policy::resolve(&spec.policy).map_err(|why| Unfit::new(why.field(), why))?;
        if let Some(schedule) = &spec.schedule {
            Schedule::compile(schedule).map_err(|why| Unfit {
                position: why.position(),
                limit: why.limit().map(str::to_owned),
                ..Unfit::new(why.field(), why)
            })?;
        }
        Ok(())
    }

    fn together(&self, spec: &SubscriptionSpec, destination: &DestinationSpec) -> Result<(), Unfit> {
        let policy = Policy::resolve(&spec.policy).map_err(|why| Unfit::new(why.field(), why))?;
        policy.permits(destination.url.as_deref()).map_err(|why| Unfit::new("url", why))
    }

    fn media(&self, rules: MediaRules) -> Result<MediaRules, Unfit> {
        rules.checked(&self.media).map_err(|why| Unfit::new(why.field(), why))
    }

    fn media_ceiling(&self) -> MediaCeiling {
        self.media.clone()
    }

    fn signing_secret(&self, asymmetric: bool) -> String {
        let random = clock::random_bytes();
        if asymmetric { sign::new_ed25519_secret(random) } else { sign::new_hmac_secret(random) }
    }

    fn public_key(&self, secret: &str) -> Option<String> {
        sign::public_key(secret).ok()
    }

    fn login_key(&self) -> String {
        sftp::keys::generate(clock::random_bytes())
    }

    fn public_half(&self, login: &Login) -> Option<(String, String)> {
        sftp::keys::public_half(login).map(|half| (half.key, half.fingerprint))
    }

    fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        self.master.seal(context, plain)
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
        self.master.open(context, sealed).map_err(|_| Unopened)
    }
}
impl Handshaker for Doors {
    fn ask(&self, destination: Destination, spec: HandshakeSpec, token: String) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            // It is never closed; each request has a deadline, so the wait ends.
            let _permit = self.asks.acquire().await;
            let callback = format!("{}/v1/handshake/{token}", self.public_url);
            let callback = (!self.public_url.is_empty()).then_some(callback.as_str());
            self.router.ask(&destination, &spec, callback).await
        })
    }
}
