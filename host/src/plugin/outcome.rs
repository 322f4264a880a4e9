//! What a chain of plugins decides and how it can fail: plain types, free of any version of the contract.
//!
//! It must not know Wasm.

use std::time::Duration;

use bytes::Bytes;

use crate::carrier::destination::HttpMethod;
use crate::carrier::{DestinationKind, PluginRef};
use crate::clock::Millis;
use crate::event::DestinationName;

/// What the chain decided, checked against the subscription's grants and the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is sent; the reason is for the carrier.
    Drop(String),
    /// This content goes to every destination of the subscription.
    Forward(Content),
    /// This is sent, and nothing else.
    Deliver(Vec<Delivery>),
}

/// What travels on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The event's own payload. What `original` meant inside of a chain is resolved already.
    Original,
    /// Other bytes.
    Bytes(Bytes),
    /// An `https` address that is fetched at delivery.
    Fetch(String),
}

/// One thing to send to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What is sent.
    pub send: Message,
    /// Not before this moment; at most 30 days after the event was received.
    pub not_before: Option<Millis>,
    /// Deliveries of a destination with the same key go one at a time; 1 to 128 characters.
    pub order_key: Option<String>,
}

/// What is sent, by kind of destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// An HTTP request.
    Http(HttpRequest),
    /// A mail.
    Email(Email),
    /// A file.
    Sftp(SftpFile),
}

impl Message {
    /// The kind of destination that it needs.
    pub fn kind(&self) -> DestinationKind {
        match self {
            Self::Http(_) => DestinationKind::Http,
            Self::Email(_) => DestinationKind::Email,
            Self::Sftp(_) => DestinationKind::Sftp,
        }
    }

    /// Where it goes.
    pub fn destination(&self) -> &DestinationName {
        match self {
            Self::Http(m) => &m.destination,
            Self::Email(m) => &m.destination,
            Self::Sftp(m) => &m.destination,
        }
    }
}

/// A request to a destination of kind `http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// A destination that the subscription was granted.
    pub destination: DestinationName,
    /// The method.
    pub method: HttpMethod,
    /// To be appended to the destination's address: no leading `/`, no `..`, its query included.
    pub path: Option<String>,
    /// Names in lower case, none of them reserved; at most 64.
    pub headers: Vec<(String, String)>,
    /// `application/json` when absent.
    pub content_type: Option<String>,
    /// The body.
    pub body: Content,
}

/// A mail through a destination of kind `email`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// A destination that the subscription was granted.
    pub destination: DestinationName,
    /// Recipients; empty means the destination's own.
    pub to: Vec<String>,
    /// Recipients of copies.
    pub cc: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The body as plain text.
    pub text: Option<String>,
    /// The body as HTML.
    pub html: Option<String>,
    /// Files that go with it.
    pub attachments: Vec<Attachment>,
}

/// A file that goes with a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The file's name.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Its bytes.
    pub content: Content,
}

/// A file for a destination of kind `sftp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftpFile {
    /// A destination that the subscription was granted.
    pub destination: DestinationName,
    /// Path below the destination's folder; no `..`, not absolute.
    pub path: String,
    /// The file's bytes.
    pub content: Content,
}

/// Why there is no outcome. Each kind asks for something else of the router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The plugin refused the event, or asked for what it may not have: park with the reason.
    #[error("rejected: {0}")]
    Rejected(String),
    /// The plugin wants to be run again later.
    #[error("for now: {0}")]
    Temporary(String),
    /// The guest stopped itself. The same event would trap again: park.
    #[error("the plugin trapped ({what}): {message}")]
    Trapped {
        /// What kind of trap.
        what: TrapKind,
        /// The panic's message where there is one, else the trap's; at most 2 KiB.
        message: String,
    },
    /// A hard limit was hit: park.
    #[error("limit {limit} hit: {message}")]
    LimitHit {
        /// The limit's name, as in the documentation of `carrier::plugin::Limits`.
        limit: &'static str,
        /// How, and what the limit is.
        message: String,
    },
    /// The wall time was over: once more, then park.
    #[error("limit wall_ms hit: the plugin did not answer within {} ms", wall.as_millis())]
    Deadline {
        /// The limit.
        wall: Duration,
    },
    /// The version failed too often and rests; `on_fault` says `hold`, or there is nothing to fall back on.
    #[error("plugin {plugin} version {version} rests after too many faults, the last one: {reason}")]
    BreakerOpen {
        /// The plugin.
        plugin: PluginRef,
        /// Its version.
        version: i64,
        /// The last fault.
        reason: String,
    },
    /// The host failed; neither the plugin nor the event is to blame.
    #[error("the host failed: {0}")]
    Host(String),
}

impl Fault {
    /// One word for metrics and logs.
    pub fn kind(&self) -> &'static str {
        KINDS[self.index()]
    }

    pub(super) fn index(&self) -> usize {
        match self {
            Self::Rejected(_) => 0,
            Self::Temporary(_) => 1,
            Self::Trapped { .. } => 2,
            Self::LimitHit { .. } => 3,
            Self::Deadline { .. } => 4,
            Self::BreakerOpen { .. } => 5,
            Self::Host(_) => 6,
        }
    }

    /// Whether it speaks against the version, and so counts for its breaker.
    pub(super) fn blames_the_version(&self) -> bool {
        matches!(self, Self::Trapped { .. } | Self::LimitHit { .. } | Self::Deadline { .. })
    }
}

/// The words of [`Fault::kind`], in the order of [`Fault::index`].
pub(super) const KINDS: [&str; 7] =
    ["rejected", "temporary", "trapped", "limit_hit", "deadline", "breaker_open", "host"];

/// What kind of trap ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrapKind {
    /// It panicked; the message says where.
    Panic,
    /// It executed `unreachable` without saying why.
    Unreachable,
    /// It called `exit`.
    Exit,
    /// It used up its native stack: recursion without end, most often.
    StackOverflow,
    /// It read or wrote outside of its memory.
    MemoryOutOfBounds,
    /// It called through a table entry that is missing or of another type.
    Table,
    /// Integer division by zero, overflow, or a conversion out of range.
    Arithmetic,
    /// It broke the rules of the component model, such as a string that is not UTF-8.
    Contract,
    /// Anything else; the message says what.
    Other,
}

impl std::fmt::Display for TrapKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Panic => "panic",
            Self::Unreachable => "unreachable",
            Self::Exit => "exit",
            Self::StackOverflow => "stack overflow",
            Self::MemoryOutOfBounds => "memory out of bounds",
            Self::Table => "bad indirect call",
            Self::Arithmetic => "arithmetic",
            Self::Contract => "contract broken",
            Self::Other => "other",
        })
    }
}

/// How grave a line of a plugin's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// For the developer.
    Debug,
    /// What stdout gets counts as this.
    Info,
    /// What stderr gets counts as this.
    Warn,
    /// For whoever looks after the plugin.
    Error,
}

impl LogLevel {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A line that a plugin wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Which plugin.
    pub plugin: PluginRef,
    /// How grave.
    pub level: LogLevel,
    /// The text, without its line end.
    pub message: String,
}
