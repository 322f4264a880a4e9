//! What the tests share: hosts, real servers and hands on them, and components made for tests.

/// Components made from the crates in `guests/`.
pub mod guests {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
}

pub mod client;

pub mod child;

pub mod clamd;

pub mod data;

pub mod drop_server;

pub mod exim;

pub mod gnupg;

pub mod host;

pub mod generated;

pub mod media;

pub mod pdf;

pub mod postgres;

pub mod proxy;

pub mod relay;

pub mod sink;

pub mod smtp;

pub mod sshd;

pub mod tls;

pub mod verifiers;

pub mod wasm;
