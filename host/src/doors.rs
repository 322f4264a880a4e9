//! The doors that ingest and the API open to the other stages: each an adapter of a few lines, so that handlers know
//! neither the router nor Wasm nor HTTP clients.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::api::state::{
    Checks, PluginAdmin, PluginAdminError, TestError, TestOutcome, Tester, Unfit, Unopened, Uploaded,
};
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::{Destination, DestinationSpec, LimitsSpec, Owner, SubscriptionSpec};
use crate::clock::{self, Clock};
use crate::deliver::{AddressPolicy, Target, sign};
use crate::event::{Event, PluginName};
use crate::ingest::Intake;
use crate::matching::Order;
use crate::retry::Policy;
use crate::router::Router;
use crate::router::registry::RegistryError;
use crate::secrets::MasterKey;
use crate::store::error::AcceptError;
use crate::store::page::PluginRecord;
use crate::store::work::Acceptance;

/// The doors to the router: all in one, since they lead to the same few rooms.
#[derive(Debug)]
pub(crate) struct Doors {
    router: Router,
    clock: Clock,
    tests: tokio::sync::Semaphore,
}

/// What must hold before something is set up, and the key for what is kept secret. It needs no running host.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Seals and opens.
    pub(crate) master: MasterKey,
    /// Where destinations may be.
    pub(crate) addresses: AddressPolicy,
}

/// Test deliveries under way at once.
const TESTS: usize = 16;

impl Doors {
    /// Doors to this router.
    pub(crate) fn new(router: Router, clock: Clock) -> Self {
        Self { router, clock, tests: tokio::sync::Semaphore::new(TESTS) }
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
    ) -> BoxFuture<'_, Result<PluginRecord, PluginAdminError>> {
        Box::pin(async move { Ok(self.router.activate(&owner, &name, version).await?) })
    }

    fn rollback(
        &self,
        owner: Owner,
        name: PluginName,
    ) -> BoxFuture<'_, Result<PluginRecord, PluginAdminError>> {
        Box::pin(async move { Ok(self.router.roll_back(&owner, &name).await?) })
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
        Target::check(spec, secrets, &self.addresses).map_err(|why| Unfit::new(why.field(), why))
    }

    fn subscription(&self, spec: &SubscriptionSpec) -> Result<(), Unfit> {
        Order::compile(spec)
            .map_err(|why| Unfit { position: why.position(), ..Unfit::new(why.field(), why) })?;
        Policy::resolve(&spec.policy).map_err(|why| Unfit::new(why.field(), why))?;
        Ok(())
    }

    fn signing_secret(&self, asymmetric: bool) -> String {
        let random = clock::random_bytes();
        if asymmetric { sign::new_ed25519_secret(random) } else { sign::new_hmac_secret(random) }
    }

    fn public_key(&self, secret: &str) -> Option<String> {
        sign::public_key(secret).ok()
    }

    fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        self.master.seal(context, plain)
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
        self.master.open(context, sealed).map_err(|_| Unopened)
    }
}

impl Tester for Doors {
    fn test(&self, destination: Destination) -> BoxFuture<'_, Result<TestOutcome, TestError>> {
        Box::pin(async move {
            let _permit = self.tests.try_acquire().map_err(|_| TestError::Busy)?;
            let report =
                self.router.try_out(&destination, self.clock.now()).await.map_err(TestError::Host)?;
            Ok(TestOutcome {
                outcome: report.kind.to_owned(),
                status: report.status,
                duration_us: report.duration_us,
                error: report.error,
                response_body: report.response_body.map(|b| String::from_utf8_lossy(&b).into_owned()),
            })
        })
    }
}
