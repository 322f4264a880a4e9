//! What the operator sees: log lines and metrics.
//!
//! Each host has a registry of its own, so that two can live in one process. It must not decide anything.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Starts writing log lines to stderr. Does nothing when the process logs already.
pub fn log_to_stderr(config: &LogConfig) {
    let filter: Targets = config.level.parse().unwrap_or_else(|_| Targets::new());
    let mut layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if !std::io::stderr().is_terminal() {
        // A file or a collector has no colours.
        layer.set_ansi(false);
    }
    let registry = tracing_subscriber::registry().with(filter);
    let done = match config.format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    // A second host in one process (a test, the demo) logs to where the first one does.
    drop(done);
}

/// The label of counters that are told apart by one word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// The word.
    pub kind: &'static str,
}

/// Everything that is counted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

/// The counters, by the stage that counts.
#[derive(Debug)]
pub struct Inner {
    registry: Registry,
    /// Events committed for the first time.
    pub events_accepted: Counter,
    /// Events that were accepted before.
    pub events_repeated: Counter,
    /// Requests to ingest that were refused, by problem code.
    pub ingest_refused: Family<Kind, Counter>,
    /// Routings planned, by state.
    pub routings: Family<Kind, Counter>,
    /// Time that chains took on their thread.
    pub plugin_seconds: Histogram,
    /// Chains that gave no verdict, by fault.
    pub plugin_faults: Family<Kind, Counter>,
    /// Attempts, by outcome.
    pub attempts: Family<Kind, Counter>,
    /// Time of attempts.
    pub attempt_seconds: Histogram,
    /// How late attempts began after they were due.
    pub attempt_lateness_seconds: Histogram,
    /// Deliveries that came to an end, by state.
    pub deliveries_ended: Family<Kind, Counter>,
    /// Fetches of media, by outcome.
    pub media_fetches: Family<Kind, Counter>,
    /// Bytes of media fetched.
    pub media_bytes: Counter,
    /// Bytes in the spool.
    pub media_spool_bytes: Gauge<i64, AtomicI64>,
    /// Fetches under way.
    pub media_fetching: Gauge<i64, AtomicI64>,
    /// Events held in memory between accept and plan.
    pub events_held: Gauge<i64, AtomicI64>,
    /// Deliveries queued in memory.
    pub deliveries_queued: Gauge<i64, AtomicI64>,
    /// Attempts under way.
    pub attempts_under_way: Gauge<i64, AtomicI64>,
    /// Runs that wait for a plugin thread.
    pub plugin_queue: Gauge<i64, AtomicI64>,
    /// Connections that are served.
    pub connections: Gauge<i64, AtomicI64>,
    /// Connections above the bound.
    pub connections_refused: Counter,
    /// Work taken over from dead nodes.
    pub taken_over: Counter,
    /// Runs of scheduled subscriptions that were begun, by what made them.
    pub schedule_runs: Family<Kind, Counter>,
    /// How late runs began after their tick.
    pub schedule_lateness_seconds: Histogram,
    /// Digests written.
    pub digests: Counter,
    /// Events in them.
    pub digest_events: Counter,
}

impl std::ops::Deref for Metrics {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

fn seconds() -> Histogram {
    // 50 µs to about 26 s.
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut inner = Inner {
            registry: Registry::with_prefix("hookyard"),
            events_accepted: Counter::default(),
            events_repeated: Counter::default(),
            ingest_refused: Family::default(),
            routings: Family::default(),
            plugin_seconds: seconds(),
            plugin_faults: Family::default(),
            attempts: Family::default(),
            attempt_seconds: seconds(),
            attempt_lateness_seconds: seconds(),
            deliveries_ended: Family::default(),
            media_fetches: Family::default(),
            media_bytes: Counter::default(),
            media_spool_bytes: Gauge::default(),
            media_fetching: Gauge::default(),
            events_held: Gauge::default(),
            deliveries_queued: Gauge::default(),
            attempts_under_way: Gauge::default(),
            plugin_queue: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            taken_over: Counter::default(),
            schedule_runs: Family::default(),
            schedule_lateness_seconds: seconds(),
            digests: Counter::default(),
            digest_events: Counter::default(),
        };
        let r = &mut inner.registry;
        r.register("events_accepted", "Events committed for the first time", inner.events_accepted.clone());
        r.register("events_repeated", "Events that were accepted before", inner.events_repeated.clone());
        r.register("ingest_refused", "Requests refused by ingest, by code", inner.ingest_refused.clone());
        r.register("routings", "Routings planned, by state", inner.routings.clone());
        r.register_with_unit(
            "plugin",
            "Time of plugin chains on their thread",
            Unit::Seconds,
            inner.plugin_seconds.clone(),
        );
        r.register("plugin_faults", "Plugin chains without a verdict, by fault", inner.plugin_faults.clone());
        r.register("attempts", "Delivery attempts, by outcome", inner.attempts.clone());
        r.register_with_unit(
            "attempt",
            "Time of delivery attempts",
            Unit::Seconds,
            inner.attempt_seconds.clone(),
        );
        r.register_with_unit(
            "attempt_lateness",
            "How late attempts began after they were due",
            Unit::Seconds,
            inner.attempt_lateness_seconds.clone(),
        );
        r.register("deliveries_ended", "Deliveries at their end, by state", inner.deliveries_ended.clone());
        r.register("media_fetches", "Fetches of media, by outcome", inner.media_fetches.clone());
        r.register("media_fetched_bytes", "Bytes of media fetched", inner.media_bytes.clone());
        r.register("media_spool_bytes", "Bytes of media in the spool", inner.media_spool_bytes.clone());
        r.register("media_fetching", "Fetches of media under way", inner.media_fetching.clone());
        r.register("events_held", "Events in memory between accept and plan", inner.events_held.clone());
        r.register("deliveries_queued", "Deliveries queued in memory", inner.deliveries_queued.clone());
        r.register("attempts_under_way", "Attempts under way", inner.attempts_under_way.clone());
        r.register("plugin_queue", "Runs that wait for a plugin thread", inner.plugin_queue.clone());
        r.register("connections", "Connections that are served", inner.connections.clone());
        r.register(
            "connections_refused",
            "Connections above the bound `server.connections`",
            inner.connections_refused.clone(),
        );
        r.register("taken_over", "Pieces of work taken over from dead nodes", inner.taken_over.clone());
        r.register(
            "schedule_runs",
            "Runs of scheduled subscriptions, by what made them",
            inner.schedule_runs.clone(),
        );
        r.register_with_unit(
            "schedule_lateness",
            "How late runs of scheduled subscriptions began",
            Unit::Seconds,
            inner.schedule_lateness_seconds.clone(),
        );
        r.register("digests", "Digests written for scheduled subscriptions", inner.digests.clone());
        r.register("digest_events", "Events in digests", inner.digest_events.clone());
        Self(Arc::new(inner))
    }
}

impl Metrics {
    /// All metrics in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail; half a page would be better than a panic anyway.
        let _ = encode(&mut out, &self.registry);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.events_accepted.inc();
        metrics.attempts.get_or_create(&Kind { kind: "timeout" }).inc();
        let text = metrics.text();
        assert!(text.contains("hookyard_events_accepted_total 1"), "{text}");
        assert!(text.contains("hookyard_attempts_total{kind=\"timeout\"} 1"), "{text}");
    }
}
