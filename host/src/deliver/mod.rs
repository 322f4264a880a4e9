//! Stage 6, delivering: a permit is taken (`lanes`), the request is built (`target`, `request`) and signed (`sign`), the
//! address is checked (`address`), and it is sent and its answer read within bounds (`http`).
//!
//! It must not know the store, plugins, or what follows an attempt (`crate::retry` decides that).

pub mod address;
pub mod handshake;
pub mod http;
pub mod lanes;
mod mask;
mod request;
pub mod sign;
pub mod target;

pub use address::{AddressPolicy, BlockedAddress};
pub use http::{Report, Sender, SenderError};
pub use lanes::{LaneLimits, LaneRules, Lanes, Permit, Room};
pub use target::{Target, TargetError};
