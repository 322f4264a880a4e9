// Its examples are tested from `hookyard-macros`, which can depend on the SDK under the name that authors give it.
#![cfg_attr(not(doctest), doc = include_str!("../README.md"))]
#![warn(missing_docs)]

mod delivery;
mod event;
mod failure;
mod json;
mod pick;
mod plugin;
mod verdict;

pub mod links;
pub mod log;
pub mod settings;
pub mod tables;
pub mod template;

// What answers the imports: the host, or the test that runs the function natively.
#[cfg(target_family = "wasm")]
#[path = "guest.rs"]
mod imports;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
#[cfg(not(target_family = "wasm"))]
use testing as imports;

pub use delivery::{Attachment, Delivery, Email, HttpRequest, Message, Method, SftpFile};
pub use event::Event;
pub use failure::{Failure, Result};
pub use hookyard_macros::plugin;
pub use json::JsonError;
pub use plugin::Plugin;
pub use serde_json::{Value, json};
pub use verdict::{Content, Verdict};

/// What the macros write paths to. Not for authors: it changes without notice.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_family = "wasm")]
    pub use crate::imports::bindings;
    pub use crate::plugin::{Answer, handle};
}
