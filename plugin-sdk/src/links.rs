//! Addresses of pages of the host, to be sent to people. A plugin cannot make them: they are signed.

use std::fmt::Display;

/// The page where a customer answers the survey about this event: a rating and a free text. It is the same address
/// whenever the event is run again for this subscription.
///
/// # Errors
/// When the host has no address that can be sent; by `?` the event is rejected with what its operator has to set.
pub fn survey() -> Result<String, LinkError> {
    crate::imports::survey().map_err(LinkError)
}

/// Why there is no link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkError(String);

impl Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LinkError {}
