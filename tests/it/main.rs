//! The integration tests: one binary, a module for each subject. They need real sockets, databases and components.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

// Rooms of the host, each by itself.
mod deliver;
mod demo;
mod door;
mod hostile;
mod pgp;
mod plugin;
mod sftp;
mod store;
mod transcript;

// The author's tools, as the binary is used.
mod author;

// A whole host, seen from outside.
mod auth;
mod changes;
mod conversation;
mod disabled;
mod drop;
mod email;
mod faults;
mod handshake;
mod ingest;
mod isolation;
mod kill;
mod lanes;
mod leaks;
mod media;
mod neighbours;
mod nodes;
mod operation;
mod outage;
mod peers;
mod restart;
mod retries;
mod rotation;
mod schedules;
mod survey;
mod swap;
mod trial;
mod verifiers;
mod way;
mod webhooks;
