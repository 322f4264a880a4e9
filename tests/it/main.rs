//! The integration tests: one binary, a module for each subject. They need real sockets, databases and components.

mod author;
mod deliver;
mod hostile;
mod plugin;
