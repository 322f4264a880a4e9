#![doc = include_str!("../README.md")]

// What travels, and the names for it.
mod name;

pub mod clock;

pub mod event;

pub mod carrier;

// Data: which event types there are.
pub mod catalogue;

// 1: HTTP in → accepted.
pub mod ingest;

// 2, 5, 7: durable truth.
pub mod store;

// 3: pure. Which of a carrier's subscriptions want an event.
pub mod matching;

// Pure. When scheduled subscriptions are due, and what their digests say.
pub mod schedule;

// 4: the plugins of the carriers, and those that come with the host.
pub mod plugin;

pub mod stock;

// 6: out of the door. `retry` (pure) says when again.
pub mod deliver;

pub mod retry;

// What files are encrypted to on their way out.
pub mod pgp;

// The page behind the links that plugins send to customers.
pub mod survey;

pub mod secrets;

pub mod rotate;

// The only part that composes 2 to 7.
pub mod router;

// The management API, and the doors from it to the stages.
pub mod api;

mod doors;

// How it is set up, started, watched and stopped.
pub mod config;

pub mod lifecycle;

pub mod telemetry;

pub mod server;

pub mod host;

// The binary's subcommands.
pub mod cli;
