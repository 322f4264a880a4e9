//! Why a request's events were refused before the store saw them.
//!
//! It must not know status codes: `http` turns these into problem details.

use crate::name::NameError;

/// One refusal, with the place of the offending event when the request held several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct IngestError {
    /// The event's place in the request, from 0; absent when the whole request is meant.
    pub index: Option<usize>,
    /// What is wrong.
    #[source]
    pub why: Refusal,
}

impl From<Refusal> for IngestError {
    fn from(why: Refusal) -> Self {
        Self { index: None, why }
    }
}

/// What is wrong with an event or with the request that carries it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body does not say what it is, or is something that the host does not take.
    #[error("{why}")]
    Media {
        /// What was found and what would be taken.
        why: String,
    },
    /// The text is not JSON at all.
    #[error("the body is not valid JSON: {why}")]
    Syntax {
        /// What the parser said, with line and column.
        why: String,
    },
    /// The JSON is not an event.
    #[error("`{field}`: {why}")]
    Field {
        /// The path of the member, or the name of the header.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// A name does not follow its rules.
    #[error("`{field}`: {source}")]
    Name {
        /// The member or header.
        field: &'static str,
        /// The rule that was broken.
        source: NameError,
    },
    /// Something is larger than its limit.
    #[error("{what}: the limit `{limit}` is {max}")]
    Limit {
        /// What is too large, and how large it is.
        what: String,
        /// The limit's name in the configuration.
        limit: &'static str,
        /// The limit itself.
        max: usize,
    },
}

impl Refusal {
    /// A member that is wrong.
    pub(super) fn field(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Field { field: field.into(), why: why.into() }
    }

    /// The same refusal, of the event at `index`.
    pub(super) fn at(self, index: usize) -> IngestError {
        IngestError { index: Some(index), why: self }
    }
}
