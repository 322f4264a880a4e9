//! Hookyard: events in, a carrier's plugin decides, receivers get them, nothing is lost.

// What travels, and the names for it.
mod name;

pub mod clock;

pub mod event;

pub mod carrier;

// 2, 5, 7: durable truth.
pub mod store;

// 4: the plugins of the carriers.
pub mod plugin;

// How it is set up, started, watched and stopped.
pub mod config;

pub mod lifecycle;

pub mod telemetry;
