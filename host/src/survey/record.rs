//! One survey as it is kept: a row for each link that was answered, in part or in whole.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::clock::Millis;
use crate::event::{CarrierId, EventId, SubscriptionId, time_ordered};
use crate::name::name;

/// Ratings go from 1 to this.
pub const RATING_MAX: u8 = 5;

/// Characters of the free text; the limit `text_characters`.
pub const TEXT_CHARACTERS: usize = 2_000;

name! {
    /// The id of a survey: a UUID that [`survey_id`] derives.
    SurveyId, "survey id", 36, uuid
}

/// How far a survey has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SurveyState {
    /// The customer has given a rating, and may go on.
    Initiated,
    /// The customer has left it, or did not go on in time. While the link lasts it can still be completed.
    Left,
    /// It is answered; nothing changes any more.
    Completed,
}

impl SurveyState {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initiated => "initiated",
            Self::Left => "left",
            Self::Completed => "completed",
        }
    }
}

/// A survey that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its id.
    pub id: SurveyId,
    /// Whose survey it is.
    pub carrier: CarrierId,
    /// The event that it is about.
    pub event: EventId,
    /// The subscription that sent the link.
    pub subscription: SubscriptionId,
    /// How far it has come.
    pub state: SurveyState,
    /// 1 to [`RATING_MAX`].
    pub rating: u8,
    /// The free text; absent until it is completed, and when nothing was written.
    pub feedback: Option<String>,
    /// When the first rating was given.
    pub initiated: Millis,
    /// When it was left.
    pub left: Option<Millis>,
    /// When it was completed.
    pub completed: Option<Millis>,
    /// When it counts as left if nothing follows.
    pub leave: Millis,
    /// When its link ends.
    pub expires: Millis,
    /// What the carrier is told of the case with each step: an object of JSON, from [`super::context`].
    pub context: String,
}

/// The id of the survey that a subscription sent about an event.
///
/// Derived, as [`crate::event::delivery_id`] is: one event and subscription have one survey, and a carrier's surveys are in
/// the order of their events.
pub fn survey_id(
    carrier: &CarrierId,
    event: &EventId,
    received: Millis,
    subscription: &SubscriptionId,
) -> SurveyId {
    let mut hash = Sha256::new_with_prefix(b"hookyard survey id\0");
    for part in [carrier.as_str(), event.as_str(), subscription.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    SurveyId::from(time_ordered(received, random))
}
