//! `hookyard plugin`: the tools of a plugin's author, one file each.

pub mod build;
pub mod new;
mod vendor;
