//! What can be wrong with a catalogue file.

use std::path::PathBuf;

use crate::name::NameError;

/// Bytes of a file.
pub(super) const MAX_BYTES: u64 = 4 << 20;

/// A catalogue that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file is not there or cannot be read.
    #[error("the catalogue {path} cannot be read: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The file is too large.
    #[error("the catalogue {path} has {size} bytes: the limit `catalogue_bytes` is {MAX_BYTES}")]
    Size {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
    },
    /// What it says is wrong: all of it.
    #[error("the catalogue {file} has {} problem(s):\n{}", .problems.len(), lines(.problems))]
    Problems {
        /// The file.
        file: PathBuf,
        /// In the order of lines.
        problems: Vec<Problem>,
    },
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong with a catalogue file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {place}: {why}")]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The table and member, such as `event 14: action`.
    pub place: String,
    /// What is wrong with it and what it takes.
    pub why: Why,
}

/// What is wrong with a member of a catalogue file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// There is no such member.
    #[error("unknown; it takes {0}")]
    Unknown(&'static str),
    /// A member that must be there is not.
    #[error("missing; it takes {0}")]
    Missing(&'static str),
    /// It has another type or is out of range.
    #[error("it takes {expected}, not {found}")]
    Kind {
        /// What it takes.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// It is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It is none of the words that it can be.
    #[error("{0}")]
    Word(String),
    /// An example is not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// An example that does not exist.
    #[error("there is no example `{0}` in [examples]")]
    NoExample(String),
    /// Two entries say the same thing.
    #[error("the same as on line {first}; change or remove one of them")]
    Twice {
        /// Where it was said first.
        first: usize,
    },
    /// It is too large.
    #[error("it has {size}: the limit `{limit}` is {max}")]
    Limit {
        /// How much there is.
        size: usize,
        /// The limit's name.
        limit: &'static str,
        /// The limit.
        max: usize,
    },
}
