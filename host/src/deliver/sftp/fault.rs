//! What can go wrong on the way to a file's final name, by stage, and what each of it means for the attempt.
//!
//! It must not know what follows.

use std::error::Error;
use std::time::Duration;

use super::packet::{Malformed, Status};
use crate::deliver::fault::{SendError, explain};
use crate::retry::{NetworkFault, Outcome};

/// How much of an error's text is kept, in characters.
const MAX_ERROR: usize = 500;

/// Why a file has not come to its place.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The name could not be resolved, or the guard refuses its address.
    #[error(transparent)]
    Address(Box<dyn Error + Send + Sync>),
    /// No connection came about at any of its addresses.
    #[error("no connection to {address}: {why}")]
    Connect {
        /// The last of them.
        address: std::net::SocketAddr,
        /// What the system says.
        why: std::io::Error,
    },
    /// There is no room for another session.
    #[error("all {limit} sessions are in use, the limit `sftp.sessions`")]
    Sessions {
        /// The limit.
        limit: usize,
    },
    /// The two sides have no way to speak in common.
    #[error("the handshake failed: {0}")]
    Handshake(russh::Error),
    /// The server's key is none of the pinned ones.
    #[error(
        "the host key is not the pinned one: the server offered {offered}, `host_keys` has {pinned}; nothing was sent. If the \
         server's operator confirms the new key, put its fingerprint into `sftp.host_keys`"
    )]
    HostKey {
        /// What the server has, each with its kind.
        offered: String,
        /// What was expected.
        pinned: String,
    },
    /// The server did not take the name and what proves it.
    #[error("the login was refused: {0}")]
    Login(String),
    /// The server lets the user in, but offers no SFTP.
    #[error("the server does not offer SFTP to this user: it refused the subsystem `sftp`")]
    NoSftp,
    /// The connection or the channel ended.
    #[error("the server closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Ssh(russh::Error),
    /// What came was not SFTP.
    #[error(transparent)]
    Malformed(Malformed),
    /// Nothing happened for too long.
    #[error("waited {patience:?} for {awaited}")]
    Stalled {
        /// What was waited for.
        awaited: &'static str,
        /// How long.
        patience: Duration,
    },
    /// It took too long in all.
    #[error("it took longer than {} s in all, the limit `sftp.total_s`", .0.as_secs())]
    TooLong(Duration),
    /// The server refused a step.
    #[error("{step} {path:?}: the server says {status}{}", hint(*.writing))]
    Refused {
        /// What was being done.
        step: &'static str,
        /// With what.
        path: String,
        /// What the server says.
        status: Status,
        /// Whether it was the content that it did not take.
        writing: bool,
    },
    /// The server has another size than what was sent.
    #[error("{path:?} has {found} bytes at the server, and {sent} were sent")]
    Size {
        /// The file.
        path: String,
        /// What the server has.
        found: u64,
        /// What was sent.
        sent: u64,
    },
    /// There is a file of that name, and the destination says that this is an error.
    #[error("there is a file {path:?} already, and `existing` is `error`")]
    Exists {
        /// The name.
        path: String,
    },
    /// Every number is taken.
    #[error("there are {limit} files named like {path:?} already, the limit of `existing: number`")]
    Numbers {
        /// The name without a number.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// The content could not be read here.
    #[error("the content could not be read: {0}")]
    Content(std::io::Error),
}

fn hint(writing: bool) -> &'static str {
    if writing { "; its disk or a quota may be full" } else { "" }
}

impl Fault {
    /// The server refused a step.
    pub(super) fn refused(step: &'static str, path: &str, status: Status) -> Self {
        Self::Refused { step, path: path.to_owned(), status, writing: false }
    }

    /// Whether the session is of no use any more, or may be.
    pub(super) fn ends_session(&self) -> bool {
        matches!(
            self,
            Self::Closed | Self::Ssh(_) | Self::Malformed(_) | Self::Stalled { .. } | Self::TooLong(_)
        )
    }

    /// Whether a session that rested may have been dead before anything was asked of it: the connection is gone, or gave no sign
    /// of life when it was taken up.
    pub(super) fn is_of_a_dead_session(&self, timeout: Duration) -> bool {
        match self {
            Self::Stalled { patience, .. } => *patience < timeout,
            other => other.ends_session() && !matches!(other, Self::TooLong(_)),
        }
    }

    /// What it means for the attempt, and its text for people.
    pub(super) fn explain(self) -> (Outcome, String) {
        let text: String = self.to_string().chars().take(MAX_ERROR).collect();
        let outcome = match self {
            Self::Address(error) => return explain(SendError::Address(error)),
            Self::Connect { .. } => Outcome::Network(NetworkFault::Connect),
            Self::Handshake(_) => Outcome::Network(NetworkFault::Tls),
            Self::Closed | Self::Ssh(_) | Self::Malformed(_) => Outcome::Network(NetworkFault::Broken),
            Self::HostKey { .. } => Outcome::HostKey,
            Self::Login(_) => Outcome::Login,
            Self::Stalled { .. } | Self::TooLong(_) => Outcome::Timeout,
            Self::Exists { .. } => Outcome::Rejected(text.clone().into()),
            Self::Sessions { .. }
            | Self::NoSftp
            | Self::Refused { .. }
            | Self::Size { .. }
            | Self::Numbers { .. }
            | Self::Content(_) => Outcome::Remote(text.clone().into()),
        };
        (outcome, text)
    }
}
