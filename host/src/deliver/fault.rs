//! What an error of the client means, by the types of its causes and never by their text.
//!
//! It must not know what follows.

use std::borrow::Cow;
use std::error::Error;

use super::address::{BlockedAddress, Unresolved};
use crate::retry::{NetworkFault, Outcome};

/// How much of an error's text is kept, in characters.
const MAX_ERROR: usize = 500;

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The guard refuses the address that the request names.
    #[error(transparent)]
    Blocked(#[from] BlockedAddress),
    /// The name could not be resolved, or leads to what the guard refuses.
    #[error(transparent)]
    Address(Box<dyn Error + Send + Sync>),
    /// The client failed.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
    /// The client failed on the way to the egress proxy or beyond it.
    #[error("through the egress proxy: {0}")]
    Proxied(reqwest::Error),
}

/// What an error means, and its text for people.
pub(super) fn explain(error: SendError) -> (Outcome, String) {
    match error {
        SendError::Blocked(blocked) => (Outcome::Blocked, blocked.to_string()),
        SendError::Address(error) => {
            let outcome = named(&*error).unwrap_or(Outcome::Network(NetworkFault::Dns));
            (outcome, text(&*error, ""))
        }
        SendError::Client(error) => client(error, ""),
        SendError::Proxied(error) => client(error, "through the egress proxy: "),
    }
}

fn client(error: reqwest::Error, before: &str) -> (Outcome, String) {
    let error = error.without_url();
    let outcome = if let Some(outcome) = named(&error) {
        outcome
    } else if error.is_builder() {
        Outcome::Unavailable(Cow::Borrowed("the request cannot be built"))
    } else if error.is_connect() {
        Outcome::Network(NetworkFault::Connect)
    } else {
        Outcome::Network(NetworkFault::Broken)
    };
    (outcome, text(&error, before))
}

/// What one of the causes alone means.
pub(super) fn named(error: &(dyn Error + 'static)) -> Option<Outcome> {
    if has::<BlockedAddress>(error) {
        Some(Outcome::Blocked)
    } else if has::<Unresolved>(error) {
        Some(Outcome::Network(NetworkFault::Dns))
    } else if has::<rustls::Error>(error) {
        Some(Outcome::Network(NetworkFault::Tls))
    } else {
        None
    }
}

fn text(error: &(dyn Error + 'static), before: &str) -> String {
    let mut all: Vec<String> = causes(error).map(ToString::to_string).collect();
    // What only wraps another error says the same.
    all.dedup();
    before.chars().chain(all.join(": ").chars()).take(MAX_ERROR).collect()
}

/// An error and what caused it. What an I/O error wraps is not its source, so it is looked into.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), cause)
}

fn cause<'a>(error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let error: &'a (dyn Error + 'static) = *error;
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn has<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<E>())
}
