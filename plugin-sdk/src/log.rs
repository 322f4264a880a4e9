//! Lines for the plugin's log, which the carrier can read beside the event.
//!
//! ```
//! # extern crate hookyard_sdk as hookyard;
//! # let event = hookyard::testing::event("case.closed", &hookyard::json!({}));
//! hookyard::log::info!("closed: {}", event.id);
//! ```
//!
//! At most 256 lines and 16 KiB per event; what is above is dropped and counted. What a plugin prints to stdout and
//! stderr goes there too, and so does the message of a panic.

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// For the carrier: what happened.
    Info,
    /// For the carrier: something to look at.
    Warn,
    /// For the carrier: something is wrong.
    Error,
}

/// Writes a line.
pub fn write(level: Level, message: &str) {
    crate::imports::log(level, message);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($message:tt)+) => {
        $crate::log::write($crate::log::Level::$level, &::std::format!($($message)+))
    };
}

/// Writes a line of level `debug`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug { ($($m:tt)+) => { $crate::__log!(Debug, $($m)+) }; }

/// Writes a line of level `info`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __info { ($($m:tt)+) => { $crate::__log!(Info, $($m)+) }; }

/// Writes a line of level `warn`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn { ($($m:tt)+) => { $crate::__log!(Warn, $($m)+) }; }

/// Writes a line of level `error`; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __error { ($($m:tt)+) => { $crate::__log!(Error, $($m)+) }; }

#[doc(inline)]
pub use crate::{__debug as debug, __error as error, __info as info, __warn as warn};
