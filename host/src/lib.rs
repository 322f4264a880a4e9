//! Hookyard: events in, a carrier's plugin decides, receivers get them, nothing is lost.

// What travels, and the names for it.
mod name;

pub mod clock;

pub mod event;

pub mod carrier;

// 2, 5, 7: durable truth.
pub mod store;

// The plugins that come with the host.
pub mod stock;

pub mod cli;
