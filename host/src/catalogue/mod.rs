//! The catalogue: which event types there are, and which `EVENT_ID` of the carrier webhooks stands for which of them.
//!
//! It is data, not code: `events.toml` comes with the host, and an operator's file of the same form adds to it and
//! overrides it (`read` has the form). It describes and does not refuse: events of types that it does not know are
//! accepted and routed like any other. It must not know the store, the API or how anything is delivered.
//!
//! Event type and webhook are two things: one event type can set off several webhooks (`case.closed`: 3, 8, 9, 11 and 18),
//! each with an action of its own.

mod problem;
mod read;

use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::EventType;

pub use problem::{CatalogueError, Problem, Why};

/// What comes with the host.
const EMBEDDED: &str = include_str!("events.toml");

/// Every event type that the host knows, and every webhook. Sorted by event type, then by `EVENT_ID`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

/// One event type with one reaction to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number under which carriers register for it; absent for an event type that no webhook has. 1 to 65 535.
    pub event_id: Option<u16>,
    /// The event type.
    pub event_type: EventType,
    /// What the webhook calls it (`CLOSE_CASE`), where that is known.
    pub event_name: Option<String>,
    /// What happens on it.
    pub action: Action,
    /// Whether a registration may have `FILTER_BY`.
    pub filter: Filterable,
    /// What a registration may say beyond `HTTP_POST_ADDRESS`, `HEADERS` and `FILTER_BY`.
    pub fields: Vec<Field>,
    /// Event types, or prefixes such as `case.*`, that a registration with a schedule collects in place of `event_type`.
    pub collects: Vec<String>,
    /// Which parts of this entry no document states, and why they were chosen so. Empty: all is documented.
    pub assumed: Vec<String>,
    /// What it is about, for people.
    pub about: String,
    /// A payload of this type: JSON text, as it is written in the file.
    pub example: Option<Bytes>,
}

/// What a webhook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The payload is posted to an address.
    HttpPost,
    /// The case's transcript is put on an SFTP site.
    Sftp,
    /// The file that a message carries is put on an SFTP site.
    Media,
    /// The case's transcript is sent by mail.
    Email,
    /// The user gets a survey.
    Survey,
}

/// Whether a webhook may be filtered with `FILTER_BY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filterable {
    /// It may not.
    No,
    /// It may.
    Yes {
        /// What stands before the paths of a case, such as `case.`; absent when the case is the payload's root.
        prefix: Option<String>,
    },
}

/// A member of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Field {
    /// Its name as documented. Registrations may spell it in another case.
    pub name: String,
    /// What it takes.
    pub kind: FieldKind,
    /// Whether a registration must have it.
    pub required: bool,
    /// What it does, for people.
    pub about: String,
}

/// What a member of a registration takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// `true` or `false`.
    Bool,
    /// A text.
    Text,
    /// Base64.
    Base64,
    /// A template of a file's name, with `${path}` for values of the case.
    Template,
    /// Mail addresses: a text, or an array of them.
    Addresses,
    /// An SFTP server: an object with `host`, `username` and the like.
    Site,
}

impl Catalogue {
    /// The catalogue that comes with the host.
    ///
    /// # Errors
    /// Never with the file as it is, which a test reads.
    pub fn embedded() -> Result<Self, CatalogueError> {
        let entries = read::read(EMBEDDED, &read::Examples::default())
            .map_err(|problems| CatalogueError::Problems { file: "events.toml".into(), problems })?;
        Ok(Self { entries: sorted(entries.entries) })
    }

    /// The catalogue that comes with the host, with an operator's file laid over it: an entry of the file replaces the one
    /// with the same `event_id`; one without an `event_id` replaces the one of the same type that has none either.
    ///
    /// # Errors
    /// [`CatalogueError::Problems`] with everything that is wrong with the file, each with its line.
    pub fn with_file(path: &Path) -> Result<Self, CatalogueError> {
        let unreadable = |why| CatalogueError::File { path: path.to_owned(), why };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > problem::MAX_BYTES {
            return Err(CatalogueError::Size { path: path.to_owned(), size });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::with_text(&text)
            .map_err(|problems| CatalogueError::Problems { file: path.to_owned(), problems })
    }

    fn with_text(text: &str) -> Result<Self, Vec<Problem>> {
        let own = read::read(EMBEDDED, &read::Examples::default())?;
        let added = read::read(text, &own.examples)?;
        let mut entries = own.entries;
        for entry in added.entries {
            match entries.iter_mut().find(|there| there.is_same_as(&entry)) {
                Some(there) => *there = entry,
                None => entries.push(entry),
            }
        }
        Ok(Self { entries: sorted(entries) })
    }

    /// All entries, by event type and then by `EVENT_ID`.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The webhook with this number.
    pub fn by_event_id(&self, id: u16) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.event_id == Some(id))
    }

    /// The entries of an event type, by `EVENT_ID`. None when the catalogue does not know the type.
    pub fn by_type(&self, event_type: &str) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.event_type.as_str() < event_type);
        self.entries[from..].iter().take_while(move |entry| entry.event_type.as_str() == event_type)
    }

    /// The entry that speaks for an event type: the first that has an example and posts it, or else the first.
    pub fn lead(&self, event_type: &str) -> Option<&Entry> {
        self.by_type(event_type)
            .find(|entry| entry.action == Action::HttpPost && entry.example.is_some())
            .or_else(|| self.by_type(event_type).next())
    }
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| (&a.event_type, a.event_id).cmp(&(&b.event_type, b.event_id)));
    entries
}

impl Entry {
    /// What the webhook calls it; where nothing documents that, the event type in the same style (`CASE_OPTED_IN`).
    pub fn shown_name(&self) -> String {
        let made = || self.event_type.as_str().replace(['.', '-'], "_").to_ascii_uppercase();
        self.event_name.clone().unwrap_or_else(made)
    }

    /// A field by its name, in any case.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.event_id == other.event_id && (self.event_id.is_some() || self.event_type == other.event_type)
    }
}

impl Action {
    /// The word in the file and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpPost => "http_post",
            Self::Sftp => "sftp",
            Self::Media => "media",
            Self::Email => "email",
            Self::Survey => "survey",
        }
    }
}

#[cfg(test)]
mod tests;
