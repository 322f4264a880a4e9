//! Hookyard: events in, a carrier's plugin decides, receivers get them, nothing is lost.

// What travels, and the names for it.
mod name;

pub mod clock;

pub mod event;

pub mod carrier;

// 1: HTTP in, and everything that is managed over HTTP.
pub mod ingest;

pub mod api;

// 2, 5, 7: durable truth.
pub mod store;

// 3: pure. Which of a carrier's subscriptions want an event.
pub mod matching;

// 4: the plugins of the carriers.
pub mod plugin;

// 6: out of the door. `retry` (pure) says when again.
pub mod deliver;

pub mod retry;

pub mod secrets;

// How it is set up, started, watched and stopped.
pub mod config;

pub mod lifecycle;

pub mod telemetry;
