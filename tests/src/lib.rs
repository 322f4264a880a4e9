//! What the tests share: hosts, real servers and hands on them, and components made for tests.

/// Components made from the crates in `guests/`.
pub mod guests {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
}

pub mod client;

pub mod child;

pub mod clamd;

pub mod data;

pub mod host;

pub mod generated;

pub mod media;

pub mod pdf;

pub mod postgres;

pub mod proxy;

pub mod sink;

pub mod tls;

pub mod verifiers;

pub mod wasm;
