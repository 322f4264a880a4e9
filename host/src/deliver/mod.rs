//! Stage 6, delivering: a permit is taken (`lanes`) and one attempt made (`sender`), by the way that the destination's kind
//! has (`target`). For `http` the request is built (`request`), signed (`sign`) and proven to be its carrier's (`auth`), the
//! address is checked (`address`), and it is sent and its answer read within bounds (`http`, over the connections of `clients`).
//! What every kind carries comes from `content`.
//!
//! It must not know the store, plugins, or what follows an attempt (`crate::retry` decides that).

pub mod address;
pub mod auth;
mod clients;
pub mod content;
pub mod drop;
pub mod email;
mod fault;
mod file_name;
pub mod handshake;
mod headers;
pub mod http;
pub mod lanes;
mod mask;
pub mod media;
mod proxy;
mod request;
pub mod sender;
pub mod sftp;
pub mod sign;
pub mod target;
mod tls;
mod upload;
mod url_rules;

pub use address::{AddressPolicy, BlockedAddress};
pub use auth::{AuthError, TokenShelf};
pub use headers::HeadersError;
pub use lanes::{LaneLimits, LaneRules, Lanes, Permit, Room};
pub use media::{Media, MediaLimits, MediaParts, ScannerAddress};
pub use proxy::{EgressProxy, ProxyError};
pub use sender::{Report, Sender, SenderError, SenderParts};
pub use target::{Target, TargetError};
pub use tls::TlsError;
pub use url_rules::UrlError;
