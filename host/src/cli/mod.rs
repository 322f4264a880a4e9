//! The binary's subcommands, one file each.

pub mod plugin;
