//! The tests that need a database, a network or a whole host.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod store;
