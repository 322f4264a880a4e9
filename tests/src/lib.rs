//! What the tests share.

/// Components made from the crates in `guests/`.
pub mod guests {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
}

pub mod wasm;
