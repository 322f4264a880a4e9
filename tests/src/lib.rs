//! What the tests share: real servers, components made from the guests, and hands on them.

/// Components made from the crates in `guests/`.
pub mod guests {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
}

pub mod generated;
pub mod postgres;
pub mod wasm;
