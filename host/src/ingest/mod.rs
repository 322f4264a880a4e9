//! 1: from a request to events that are fit to be accepted.
//!
//! `media` tells the forms apart, `plain` and `cloudevents` read them, `limits` holds what every form must obey, `http`
//! is the handler. Everything but the handler is pure. It must not know the store or the router: what takes the events
//! is behind [`Intake`].

mod cloudevents;
mod error;
pub mod http;
mod json;
mod limits;
mod media;
mod plain;

pub use error::{IngestError, Refusal};
pub use limits::IngestLimits;
pub use media::Form;
pub(crate) use media::is_json;

use ::http::HeaderMap;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::clock::Millis;
use crate::event::Event;
use crate::store::error::AcceptError;
use crate::store::work::Acceptance;

/// What takes events over: it answers after they are committed, all or none.
pub trait Intake: Send + Sync {
    /// Accepts a request's events, in order; gives one acceptance for each.
    ///
    /// # Errors
    /// Those of [`AcceptError`]; then nothing was written.
    fn accept(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Acceptance>, AcceptError>>;
}

/// Reads the events of a request, in whichever form they came.
///
/// # Errors
/// The first thing that is wrong, with the index of its event where the request held several.
pub fn events(
    headers: &HeaderMap,
    body: &Bytes,
    limits: &IngestLimits,
    received: Millis,
) -> Result<Vec<Event>, IngestError> {
    match media::form(headers)? {
        Form::Plain => plain::events(body, limits, received),
        Form::Binary => cloudevents::binary(headers, body, limits, received),
        Form::Structured => cloudevents::structured(body, limits, received),
        Form::Batch => cloudevents::batch(body, limits, received),
    }
}
