//! A host in the test's own process, whose clock the test may move.

use std::time::Duration;

use hookyard::clock::{Clock, Millis};
use hookyard::config::Config;
use hookyard::host::Host;
use tokio::net::TcpListener;

use crate::client::Api;
use crate::data::Data;
use crate::sink::PATIENCE;
use crate::wasm::binary;

/// When a manual clock begins.
pub const T0: Millis = Millis(1_761_300_000_000);

/// A running host. A test ends it with [`TestHost::end`], [`TestHost::leave`] or [`TestHost::die`].
pub struct TestHost {
    host: Option<Host>,
    /// Speaks with the first admin key.
    pub admin: Api,
    /// The host's clock.
    pub clock: Clock,
}

impl TestHost {
    /// On the system's clock.
    pub async fn start(data: &Data) -> Self {
        Self::with(data, Clock::system(), |_| ()).await
    }

    /// On a clock that stands until the test moves it.
    pub async fn on_manual_clock(data: &Data) -> Self {
        Self::with(data, Clock::manual(T0), |_| ()).await
    }

    /// With a clock, and a configuration that the test changes.
    ///
    /// # Panics
    /// When the host does not start.
    pub async fn with(data: &Data, clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = data.config();
        change(&mut config);
        hookyard::telemetry::log_to_stderr(&config.log);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let host = Host::start(&config, listener, clock.clone(), binary()).await.expect("the host starts");
        let admin = Api::new(&format!("http://{}", host.address()), &data.admin_key());
        Self { host: Some(host), admin, clock }
    }

    /// The host itself.
    ///
    /// # Panics
    /// After its end.
    pub fn host(&self) -> &Host {
        self.host.as_ref().expect("it runs")
    }

    /// Stops the host in order, after it has come to rest: every event is routed, no routing waits, no delivery is pending
    /// or held.
    ///
    /// # Panics
    /// When something is left.
    pub async fn end(self) {
        let carriers = self.admin.get("/v1/carriers?limit=500").await.ok();
        for carrier in carriers["items"].as_array().expect("items") {
            let carrier = self.admin.of(carrier["id"].as_str().expect("an id"));
            carrier.settled_events().await;
            let events = carrier.api.get(&carrier.path("events?limit=100")).await.ok();
            for event in events["items"].as_array().expect("items") {
                let event = carrier.event(event["id"].as_str().expect("an id")).await;
                let waits = |r: &serde_json::Value| r["state"] == "later" || r["state"] == "held";
                let left = event["routings"].as_array().is_none_or(|all| all.iter().any(waits));
                assert!(!left, "an event is left open: {event:#}");
            }
        }
        self.leave().await;
    }

    /// Stops the host in order, whatever is left to do.
    pub async fn leave(self) {
        assert!(self.stop(Duration::from_secs(20)).await, "the host did not finish what was under way");
    }

    /// Stops the host without waiting for what is under way.
    ///
    /// # Panics
    /// When it waits all the same.
    pub async fn die(self) {
        tokio::time::timeout(PATIENCE, self.stop(Duration::ZERO)).await.expect("it drops everything at once");
    }

    /// Stops the host; gives whether everything under way was finished.
    pub async fn stop(mut self, soft: Duration) -> bool {
        let host = self.host.take().expect("it runs");
        host.stop(soft, PATIENCE * 2, std::future::pending()).await
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        // A test that forgot to look at what is left has not looked at everything.
        assert!(self.host.is_none() || std::thread::panicking(), "end the host before the test ends");
    }
}
