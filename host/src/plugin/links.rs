//! Links to pages of the host, as a plugin gets them: made elsewhere, since this room knows no secret.

use crate::clock::Millis;
use crate::event::{CarrierId, EventId, SubscriptionId};

/// What a link is about.
#[derive(Debug, Clone, Copy)]
pub struct Linked<'a> {
    /// Whose event it is.
    pub carrier: &'a CarrierId,
    /// The event.
    pub event: &'a EventId,
    /// When it was received.
    pub received: Millis,
    /// The subscription whose chain runs.
    pub subscription: &'a SubscriptionId,
}

/// What makes links: always the same for the same event and subscription.
pub trait PageLinks: std::fmt::Debug + Send + Sync {
    /// The page of a survey. Called on the threads of the plugins: short, and never blocking.
    ///
    /// # Errors
    /// Why there is none, and what the operator has to set; for people.
    fn survey(&self, about: Linked<'_>) -> Result<String, String>;
}

/// Makes none.
#[derive(Debug, Clone, Copy)]
pub struct NoPages;

impl PageLinks for NoPages {
    fn survey(&self, _: Linked<'_>) -> Result<String, String> {
        Err("there are no links here".to_owned())
    }
}
