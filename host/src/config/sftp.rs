//! `[sftp]`

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deliver::sftp::SftpLimits;

/// `[sftp]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftpConfig {
    /// Connections to SFTP servers that are open at once, one for each destination: 1 to 10 000. One more waits for the end of
    /// another, and the one that has rested longest is closed for it.
    pub sessions: usize,
    /// Files that are sent at once over one connection: 1 to 64. OpenSSH allows 10; a server that allows less is obeyed.
    pub channels: usize,
    /// Seconds that a connection may rest before it is closed: 1 to 3 600. Too short means that each file costs a login.
    pub idle_s: u64,
    /// Seconds of silence after which a connection is asked whether it lives: 1 to 600. After three questions without an answer it
    /// counts as dead.
    pub keepalive_s: u64,
    /// Seconds that one attempt may take in all: 30 to 86 400. A policy's own timeout is how long nothing at all may happen. What
    /// was sent of a file until then is gone on with by the next attempt.
    pub total_s: u64,
    /// Hours after which what is left of uploads that never ended is removed from the servers' folders: 1 to 8 760. Shorter than
    /// deliveries are retried costs them no more than what they had sent.
    pub parts_h: u64,
    /// Whether a file counts as delivered only when the server has it on its disk, where the server offers that
    /// (`fsync@openssh.com`). Off is faster, and a server that loses power may lose what it acknowledged.
    pub fsync: bool,
}

impl Default for SftpConfig {
    fn default() -> Self {
        let limits = SftpLimits::default();
        Self {
            sessions: limits.sessions,
            channels: limits.channels,
            idle_s: limits.idle.as_secs(),
            keepalive_s: limits.keepalive.as_secs(),
            total_s: limits.total.as_secs(),
            parts_h: limits.parts.as_secs() / 3_600,
            fsync: limits.fsync,
        }
    }
}

impl SftpConfig {
    /// The keys whose values have a range: name, value, least, most.
    pub(super) fn ranges(&self) -> [(&'static str, u64, u64, u64); 6] {
        [
            ("sftp.sessions", self.sessions as u64, 1, 10_000),
            ("sftp.channels", self.channels as u64, 1, 64),
            ("sftp.idle_s", self.idle_s, 1, 3_600),
            ("sftp.keepalive_s", self.keepalive_s, 1, 600),
            ("sftp.total_s", self.total_s, 30, 86_400),
            ("sftp.parts_h", self.parts_h, 1, 8_760),
        ]
    }

    /// What sessions are held to.
    pub fn limits(&self) -> SftpLimits {
        SftpLimits {
            sessions: self.sessions,
            channels: self.channels,
            idle: Duration::from_secs(self.idle_s),
            keepalive: Duration::from_secs(self.keepalive_s),
            total: Duration::from_secs(self.total_s),
            parts: Duration::from_secs(self.parts_h * 3_600),
            fsync: self.fsync,
        }
    }
}
