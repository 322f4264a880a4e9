//! What the tests share: real servers, and hands on them.

pub mod postgres;
