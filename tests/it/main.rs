//! The integration tests: one binary, a module for each subject. They need real sockets, databases and components.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod author;
mod deliver;
mod hostile;
mod plugin;
mod store;
