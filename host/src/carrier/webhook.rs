//! What makes a subscription one of the carrier-webhook API: its number, its name and what was registered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::event::{DestinationName, SubscriptionId};

/// A registration of the carrier-webhook API. A subscription that has one is made by `POST /webhooks/register` with a
/// destination of its own, and the two are removed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The number that it was registered for, which receivers see as `eventid`. 1 to 65 535.
    pub event_id: u16,
    /// What the webhook is called, which receivers see as `eventname`.
    pub event_name: String,
    /// The destination that belongs to it alone.
    pub destination: DestinationName,
    /// The members of the registration as they came, without the address, the headers and every secret: those are the
    /// destination's.
    #[schema(value_type = Object)]
    pub registered: Map<String, Value>,
    /// Whether `HEADERS` came as an array with one object, which is how it is shown again.
    #[serde(default)]
    pub headers_listed: bool,
}

impl Webhook {
    /// The name of the destination that belongs to a registration.
    ///
    /// # Errors
    /// When the id is too long to be part of a name; a UUID is not.
    pub fn destination_of(id: &SubscriptionId) -> Result<DestinationName, crate::name::NameError> {
        format!("webhook-{id}").parse()
    }
}
