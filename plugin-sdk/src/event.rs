//! The event, as a plugin sees it. Plain data: it must not know where events come from.

use serde::Deserialize;

use crate::{JsonError, Value};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The publisher's id, unique among the carrier's events. 1 to 128 characters.
    pub id: String,
    /// A dotted name from the catalogue, such as `case.closed`.
    pub event_type: String,
    /// When the host accepted the event, in Unix milliseconds. The plugin's clock stands at this moment too.
    pub received_ms: u64,
    /// CloudEvents attributes and extensions (`source`, `subject`, `time`, ...), sorted by name, each name once.
    pub attributes: Vec<(String, String)>,
    /// The event's data: UTF-8 JSON, already checked by the host. In a chain, what the plugin before made of it.
    pub payload: Vec<u8>,
}

impl Event {
    pub(crate) fn from_parts(
        id: String,
        event_type: String,
        received_ms: u64,
        attributes: Vec<(String, String)>,
        payload: Vec<u8>,
    ) -> Self {
        Self { id, event_type, received_ms, attributes, payload }
    }

    /// The payload as a type of yours. It may borrow texts from the payload (`&'a str` with `#[serde(borrow)]`).
    ///
    /// Name only the fields that you need: others are skipped without being built, which is also the fastest way.
    ///
    /// # Errors
    /// When the payload does not have the shape of `T`. The error says where, as in
    /// `payload.claim.amount: invalid type: string "12", expected u64`; by `?` it becomes
    /// [`Failure::Rejected`](crate::Failure::Rejected).
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, JsonError> {
        serde_json::from_slice(&self.payload).map_err(|error| self.error(&error))
    }

    /// One value of the payload by its path, such as `caseData.lines.0.type`; the rest is skipped. `None` when a step
    /// of the path is not there. A name with a dot in it cannot be reached.
    ///
    /// # Errors
    /// When the payload is no JSON, which the host never lets through.
    pub fn pick(&self, path: &str) -> Result<Option<Value>, JsonError> {
        crate::pick::pick(&self.payload, path).map_err(|error| self.error(&error))
    }

    /// `received_ms` in UTC as RFC 3339 writes it: `2026-01-01T00:00:00.000Z`.
    pub fn received_rfc3339(&self) -> String {
        rfc3339(self.received_ms)
    }

    fn error(&self, error: &serde_json::Error) -> JsonError {
        JsonError::new(error, &self.payload, "payload")
    }

    /// An attribute by its name, such as `source` or `subject`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Unix milliseconds in UTC, by the civil-from-days arithmetic on years that begin in March.
pub(crate) fn rfc3339(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let day = day - (153 * march + 2) / 5 + 1;
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    let ms = rest % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (1_835_481_598_007, "2028-02-29T23:59:58.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }
}
