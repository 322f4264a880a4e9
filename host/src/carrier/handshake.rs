//! Asking a receiver for its permission before anything is sent to it: CloudEvents, "HTTP 1.1 Web Hooks for Event
//! Delivery" 1.0.2, section 4 (abuse protection).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Millis;
use crate::event::{CarrierId, DestinationName};

/// The reason that a destination is disabled with while its receiver has not answered. A grant enables a destination that
/// is disabled with this reason and no other.
pub const WAITING: &str = "waiting for the receiver's permission";

/// The longest origin, in characters: that of a DNS name.
const MAX_ORIGIN: usize = 253;
/// The highest rate, per minute.
const MAX_RATE: u32 = 60_000;

/// What the receiver of a destination is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandshakeSpec {
    /// A DNS name that stands for the sending system, such as `events.example.com`. It travels with every delivery.
    pub origin: String,
    /// Requests per minute that permission is asked for: 1 to 60 000. Absent: no rate is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
}

/// Why an answer or a description was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The origin is no name.
    #[error("it takes a DNS name of at most {MAX_ORIGIN} characters, such as `events.example.com`")]
    Origin,
    /// The rate is out of its range.
    #[error("{rate} is out of range, it takes 1 to {MAX_RATE}")]
    Rate {
        /// What was given.
        rate: u32,
    },
    /// The granted rate cannot be read.
    #[error("`WebHook-Allowed-Rate` takes a whole number above 0, or `*`")]
    AllowedRate,
}

impl HandshakeError {
    /// The member of the description that is at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Origin => "handshake.origin",
            Self::Rate { .. } | Self::AllowedRate => "handshake.rate_per_minute",
        }
    }
}

impl HandshakeSpec {
    /// Whether it can be asked for.
    ///
    /// # Errors
    /// The member that does not hold.
    pub fn check(&self) -> Result<(), HandshakeError> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if self.origin.len() > MAX_ORIGIN || !self.origin.split('.').all(label) {
            return Err(HandshakeError::Origin);
        }
        match self.rate_per_minute {
            Some(rate) if !(1..=MAX_RATE).contains(&rate) => Err(HandshakeError::Rate { rate }),
            _ => Ok(()),
        }
    }

    /// The limit that a grant with this `WebHook-Allowed-Rate` sets: none for `*`. A receiver that says nothing of a rate
    /// has granted what it was asked for.
    ///
    /// # Errors
    /// It is neither `*` nor a number above 0.
    pub fn granted_rate(&self, allowed: Option<&str>) -> Result<Option<u32>, HandshakeError> {
        let Some(allowed) = allowed.map(str::trim) else { return Ok(self.rate_per_minute) };
        if allowed == "*" {
            return Ok(None);
        }
        let number = !allowed.is_empty() && allowed.bytes().all(|b| b.is_ascii_digit());
        match allowed.parse::<u32>() {
            Ok(0) => Err(HandshakeError::AllowedRate),
            Ok(rate) => Ok(Some(rate.min(MAX_RATE))),
            // More digits than a number has: no rate that this host sends at comes near it.
            Err(_) if number => Ok(Some(MAX_RATE)),
            Err(_) => Err(HandshakeError::AllowedRate),
        }
    }
}

/// What the receiver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It allows deliveries, at most so many per minute.
    Granted {
        /// None: as many as there are.
        rate: Option<u32>,
    },
    /// It did not allow them, or not yet.
    Withheld {
        /// What came instead, for people.
        why: String,
    },
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// The receiver was asked, and has not allowed anything: nothing is sent.
    Waiting,
    /// The receiver has allowed deliveries.
    Granted,
    /// An admin has allowed them in the receiver's place.
    Overridden,
}

impl Permission {
    /// The word in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Granted => "granted",
            Self::Overridden => "overridden",
        }
    }
}

/// A handshake as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Whose destination it is about.
    pub carrier: CarrierId,
    /// Which destination.
    pub destination: DestinationName,
    /// The address that the receiver was asked at: another one needs another permission.
    pub url: String,
    /// What was asked for.
    pub spec: HandshakeSpec,
    /// How far it has come.
    pub permission: Permission,
    /// Deliveries per minute that the receiver allows; none: no limit.
    pub granted_rate: Option<u32>,
    /// What the last request came to, for people.
    pub note: Option<String>,
    /// When the receiver was last asked.
    pub asked: Millis,
    /// When permission was given.
    pub answered: Option<Millis>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(origin: &str, rate_per_minute: Option<u32>) -> HandshakeSpec {
        HandshakeSpec { origin: origin.to_owned(), rate_per_minute }
    }

    #[test]
    fn an_origin_is_a_dns_name_and_a_rate_has_a_range() {
        for good in ["events.example.com", "localhost", "a-b.c1", &["a"; 100].join(".")] {
            assert_eq!(spec(good, Some(60_000)).check(), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "a/b",
            "é.example",
            "*",
            "a\r\nb",
            &long,
            &["a"; 128].join("."),
        ] {
            assert_eq!(spec(bad, None).check(), Err(HandshakeError::Origin), "{bad}");
        }
        for rate in [0, 60_001] {
            assert_eq!(spec("a", Some(rate)).check(), Err(HandshakeError::Rate { rate }));
        }
    }

    #[test]
    fn what_is_granted_is_what_the_receiver_says_or_else_what_it_was_asked() {
        let cases = [
            (None, Some(120), Ok(Some(120))),
            (None, None, Ok(None)),
            (Some("*"), Some(120), Ok(None)),
            (Some("7"), Some(120), Ok(Some(7))),
            (Some(" 200 "), Some(120), Ok(Some(200))),
            (Some("100"), None, Ok(Some(100))),
            (Some("99999999999999999999"), None, Ok(Some(60_000))),
            (Some("0"), None, Err(HandshakeError::AllowedRate)),
            (Some("-1"), None, Err(HandshakeError::AllowedRate)),
            (Some("many"), None, Err(HandshakeError::AllowedRate)),
            (Some(""), None, Err(HandshakeError::AllowedRate)),
            (Some("1.5"), None, Err(HandshakeError::AllowedRate)),
        ];
        for (allowed, asked, expected) in cases {
            assert_eq!(spec("a", asked).granted_rate(allowed), expected, "{allowed:?} {asked:?}");
        }
    }
}
