//! What an attempt came to, and the word for it.

use std::borrow::Cow;
use std::time::Duration;

/// Where on the way a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkFault {
    /// The name has no address, or none could be learnt.
    Dns,
    /// No connection came about.
    Connect,
    /// The receiver's certificate or its TLS was not acceptable.
    Tls,
    /// The connection broke, or what came back was not HTTP.
    Broken,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged: with a 2xx, by a mail server after the data, or by a file that has its final name.
    Delivered,
    /// Answered with another status (a mail server: with a 4xx).
    Refused {
        /// The status.
        status: u16,
        /// What `Retry-After` asked for, if it was there and could be read.
        retry_after: Option<Duration>,
    },
    /// Answered with 410: the receiver wants no more.
    Gone,
    /// Not answered in full within the policy's timeout.
    Timeout,
    /// Not answered at all.
    Network(NetworkFault),
    /// The address guard refused the address; it may resolve to another one later.
    Blocked,
    /// There was no token to send it with. Whatever the token server's reason is: credentials are mended too, and events
    /// that come meanwhile are not to be lost.
    Token {
        /// What the token server's `Retry-After` asked for, with a 429 or 503.
        retry_after: Option<Duration>,
    },
    /// The receiver named itself by a key that is not the pinned one. Nothing was sent; the carrier may pin the new one.
    HostKey,
    /// The receiver did not take the name and what proves it. Credentials are mended, so it is tried again.
    Login,
    /// The receiver took the message and refused it for good, such as a mail server with a 5xx. Says how.
    Rejected(Cow<'static, str>),
    /// The receiver could not do what was asked of it just now: its disk is full, a folder is not writable. Says what.
    Remote(Cow<'static, str>),
    /// What was to be fetched and sent is not there.
    Media(MediaFault),
    /// It can never be sent: the message cannot be built for its destination. Says why.
    Unavailable(Cow<'static, str>),
}

/// Why content that the host fetches is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaFault {
    /// It could not be fetched now.
    Failed,
    /// The link has expired, or what it led to is gone: for good.
    Expired,
    /// It may not be sent: its place, size or type is not allowed. Says which limit.
    Refused(Cow<'static, str>),
    /// A scanner found something in it. Says what.
    Flagged(Cow<'static, str>),
}

/// Every word that [`Outcome::kind`] gives.
pub const OUTCOME_KINDS: [&str; 19] = [
    "delivered",
    "status",
    "gone",
    "timeout",
    "dns",
    "connect",
    "tls",
    "broken",
    "blocked_address",
    "token",
    "host_key",
    "login",
    "rejected",
    "remote",
    "media",
    "media_expired",
    "media_refused",
    "media_flagged",
    "unavailable",
];

impl Outcome {
    /// The word in the log of attempts and the metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused { .. } => "status",
            Self::Gone => "gone",
            Self::Timeout => "timeout",
            Self::Network(NetworkFault::Dns) => "dns",
            Self::Network(NetworkFault::Connect) => "connect",
            Self::Network(NetworkFault::Tls) => "tls",
            Self::Network(NetworkFault::Broken) => "broken",
            Self::Blocked => "blocked_address",
            Self::Token { .. } => "token",
            Self::HostKey => "host_key",
            Self::Login => "login",
            Self::Rejected(_) => "rejected",
            Self::Remote(_) => "remote",
            Self::Media(MediaFault::Failed) => "media",
            Self::Media(MediaFault::Expired) => "media_expired",
            Self::Media(MediaFault::Refused(_)) => "media_refused",
            Self::Media(MediaFault::Flagged(_)) => "media_flagged",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// What went wrong in a few words; the status where there is one.
    pub(super) fn describe(&self) -> Cow<'static, str> {
        match self {
            Self::Refused { status, .. } => format!("status {status}").into(),
            Self::Gone => "status 410".into(),
            Self::Unavailable(why)
            | Self::Rejected(why)
            | Self::Remote(why)
            | Self::Media(MediaFault::Refused(why) | MediaFault::Flagged(why)) => why.clone(),
            Self::HostKey => "the host key is not the pinned one".into(),
            Self::Login => "the login was refused".into(),
            Self::Media(MediaFault::Expired) => "the link to its content has expired".into(),
            other => other.kind().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_word() {
        let place = |outcome: &Outcome| match outcome {
            Outcome::Delivered => 0,
            Outcome::Refused { .. } => 1,
            Outcome::Gone => 2,
            Outcome::Timeout => 3,
            Outcome::Network(NetworkFault::Dns) => 4,
            Outcome::Network(NetworkFault::Connect) => 5,
            Outcome::Network(NetworkFault::Tls) => 6,
            Outcome::Network(NetworkFault::Broken) => 7,
            Outcome::Blocked => 8,
            Outcome::Token { .. } => 9,
            Outcome::HostKey => 10,
            Outcome::Login => 11,
            Outcome::Rejected(_) => 12,
            Outcome::Remote(_) => 13,
            Outcome::Media(MediaFault::Failed) => 14,
            Outcome::Media(MediaFault::Expired) => 15,
            Outcome::Media(MediaFault::Refused(_)) => 16,
            Outcome::Media(MediaFault::Flagged(_)) => 17,
            Outcome::Unavailable(_) => 18,
        };
        let network = |fault| Outcome::Network(fault);
        let all = [
            Outcome::Delivered,
            Outcome::Refused { status: 500, retry_after: None },
            Outcome::Gone,
            Outcome::Timeout,
            network(NetworkFault::Dns),
            network(NetworkFault::Connect),
            network(NetworkFault::Tls),
            network(NetworkFault::Broken),
            Outcome::Blocked,
            Outcome::Token { retry_after: None },
            Outcome::HostKey,
            Outcome::Login,
            Outcome::Rejected("550".into()),
            Outcome::Remote("disk full".into()),
            Outcome::Media(MediaFault::Failed),
            Outcome::Media(MediaFault::Expired),
            Outcome::Media(MediaFault::Refused("too large".into())),
            Outcome::Media(MediaFault::Flagged("Eicar".into())),
            Outcome::Unavailable("no".into()),
        ];
        assert_eq!(all.len(), OUTCOME_KINDS.len());
        for outcome in all {
            assert_eq!(outcome.kind(), OUTCOME_KINDS[place(&outcome)]);
        }
    }
}
