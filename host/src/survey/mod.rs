//! Surveys: a link that a plugin mails, the page behind it, and what the carrier is told of the answer.
//!
//! | file | what |
//! | --- | --- |
//! | `link`, `key` | the signed token in the address, made and read (pure); the key that signs it |
//! | `record` | plain data: one survey as it is kept |
//! | `told` | pure: the case events that tell a carrier of it |
//! | `texts`, `page` | pure: what a customer reads, as HTML |
//! | `http` | `GET` and `POST /s/{token}` over the store |
//!
//! Looking at the page changes nothing, so that a mail scanner which follows links neither begins nor leaves a survey: it
//! begins with the first rating that is sent, is left when nothing follows within hours, and is completed with the text, once.
//! The page knows one link's survey and no API key; it must not know SQL, plugins or how mail is sent.

mod http;
mod key;
mod link;
mod page;
mod record;
mod texts;
mod told;

pub use http::{SurveyParts, router};
pub use key::link_key;
pub use link::{BadLink, LinkKey, SurveyLinks, Ticket};
pub use record::{RATING_MAX, Survey, SurveyId, SurveyState, TEXT_CHARACTERS, survey_id};
pub use texts::Texts;
pub use told::{Happening, TellError, context, tell};
