//! Static headers of a carrier's: which names and values it may set.
//!
//! The same rules for a destination's own and for those of its token calls. It must not know what they are sent with.

use std::collections::BTreeMap;

use http::header::{HeaderMap, HeaderName};

use super::request::{is_reserved, plain_value};

/// How many static headers a destination may have, and how many its token calls.
pub(super) const MAX_HEADERS: usize = 64;
/// Names and values of either, in bytes together.
pub(super) const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Why static headers were refused. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    /// There are too many, or they are too long.
    #[error("{count} headers of {bytes} bytes, the limits are {MAX_HEADERS} and {MAX_HEADER_BYTES}")]
    Size {
        /// How many there are.
        count: usize,
        /// Their names and values together.
        bytes: usize,
    },
    /// One is malformed or the host's own.
    #[error("{name:?} {why}")]
    Header {
        /// Its name, cut to 80 characters.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Checks static headers. Their values are marked as sensitive.
pub(super) fn check(given: &BTreeMap<String, String>) -> Result<HeaderMap, HeadersError> {
    let count = given.len();
    let bytes = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if count > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(HeadersError::Size { count, bytes });
    }
    let mut headers = HeaderMap::with_capacity(count);
    for (text, value) in given {
        let wrong = |why| HeadersError::Header { name: text.chars().take(80).collect(), why };
        let name: HeaderName = text.parse().map_err(|_| wrong("is not a header's name"))?;
        if is_reserved(&name) {
            return Err(wrong("is set by the host itself"));
        }
        let mut value =
            plain_value(value).ok_or_else(|| wrong("has a value that is not printable ASCII on one line"))?;
        value.set_sensitive(true);
        if headers.insert(name, value).is_some() {
            return Err(wrong("is there twice, in different spellings"));
        }
    }
    Ok(headers)
}
