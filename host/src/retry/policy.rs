//! How the deliveries of a subscription are sent and retried: the named profiles, overridden field by field, every range
//! checked.

use std::time::Duration;

use crate::carrier::PolicySpec;

/// How many waits a policy may list.
pub const MAX_WAITS: usize = 32;
/// The longest single wait of a policy.
pub const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a delivery becomes when no retry is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ends {
    /// Dead: kept, found by query, retried by hand or in bulk.
    Dead,
    /// Failed: the policy has no retries, a manual one is waited for.
    Failed,
}

/// How the deliveries of a subscription are sent and retried. Made by [`Policy::resolve`], which checks every range.
///
/// The delays of the profiles in full, counted from the end of the attempt before:
///
/// | profile | attempt 2, 3, ... after | in all | besides |
/// | --- | --- | --- | --- |
/// | `standard` | 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, each ±10 % | 10 attempts in 75 h 35 min 5 s | |
/// | `conversation` | 4 s, 8 s, 10 s | 4 attempts in 22 s | 100 a minute; HTTPS only |
/// | `none` | | 1 attempt | |
///
/// Each gives an attempt 30 s, and a destination 10 at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Time for one attempt, from connecting to the end of the answer.
    pub timeout: Duration,
    /// The waits before the second, third, ... attempt.
    pub waits: Vec<Duration>,
    /// Spread of each wait, up and down, in percent: 0 to 50.
    pub jitter_percent: u8,
    /// Requests under way to one destination: 1 to 100.
    pub concurrency: u32,
    /// Requests started to one destination per minute: 1 to 60 000.
    pub rate_per_minute: Option<u32>,
    /// Whether only `https` addresses are sent to, even where the operator allows others.
    pub https_only: bool,
    /// What a delivery becomes at the end.
    pub ends: Ends,
}

impl Default for Policy {
    /// The profile `standard`.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            waits: STANDARD_S.iter().copied().map(Duration::from_secs).collect(),
            jitter_percent: 10,
            concurrency: 10,
            rate_per_minute: None,
            https_only: false,
            ends: Ends::Dead,
        }
    }
}

/// The waits of the profile `standard`, in seconds.
const STANDARD_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// Why a policy was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is no such profile.
    #[error("policy.profile: there is no profile {name:?}; there are `standard`, `conversation` and `none`")]
    UnknownProfile {
        /// The name that was given, cut to 80 characters.
        name: String,
    },
    /// A number is out of its range.
    #[error("policy.{field}: {value} is out of range, it takes {min} to {max}")]
    OutOfRange {
        /// The field, with an index for lists.
        field: String,
        /// What was given.
        value: u64,
        /// The least that is allowed.
        min: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// A list is too long.
    #[error("policy.{field}: {count} entries, it takes at most {max}")]
    TooMany {
        /// The field.
        field: &'static str,
        /// How many were given.
        count: usize,
        /// The most that is allowed.
        max: usize,
    },
}

impl PolicyError {
    /// The member of the subscription that is at fault.
    pub fn field(&self) -> String {
        match self {
            Self::UnknownProfile { .. } => "policy.profile".to_owned(),
            Self::OutOfRange { field, .. } => format!("policy.{field}"),
            Self::TooMany { field, .. } => format!("policy.{field}"),
        }
    }
}

/// A policy that takes nothing but HTTPS met an address that is something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the policy sends over HTTPS only, and the destination's address is not `https`; change the address, or set the \
     policy's `https_only` to false"
)]
pub struct NotHttps;

impl Policy {
    /// The policy that a spec describes: its profile, overridden field by field.
    ///
    /// # Errors
    /// An unknown profile, or a field out of range; the error names the field.
    pub fn resolve(spec: &PolicySpec) -> Result<Self, PolicyError> {
        let mut policy = Self::profile(spec.profile.as_deref().unwrap_or("standard"))?;
        if let Some(ms) = spec.timeout_ms {
            policy.timeout = Duration::from_millis(in_range("timeout_ms", ms, 100, 120_000)?);
        }
        if let Some(waits) = &spec.retry_after_ms {
            if waits.len() > MAX_WAITS {
                let (count, max) = (waits.len(), MAX_WAITS);
                return Err(PolicyError::TooMany { field: "retry_after_ms", count, max });
            }
            let most = MAX_WAIT.as_millis() as u64;
            policy.waits = waits
                .iter()
                .enumerate()
                .map(|(i, &ms)| {
                    Ok(Duration::from_millis(in_range(&format!("retry_after_ms[{i}]"), ms, 0, most)?))
                })
                .collect::<Result<_, _>>()?;
        }
        if let Some(percent) = spec.jitter_percent {
            in_range("jitter_percent", u64::from(percent), 0, 50)?;
            policy.jitter_percent = percent;
        }
        if let Some(n) = spec.concurrency {
            in_range("concurrency", u64::from(n), 1, 100)?;
            policy.concurrency = n;
        }
        if let Some(n) = spec.rate_per_minute {
            in_range("rate_per_minute", u64::from(n), 1, 60_000)?;
            policy.rate_per_minute = Some(n);
        }
        if let Some(only) = spec.https_only {
            policy.https_only = only;
        }
        Ok(policy)
    }

    /// Whether the policy lets its deliveries go to this address.
    ///
    /// # Errors
    /// It is not `https`, and the policy takes nothing else.
    pub fn permits(&self, url: Option<&str>) -> Result<(), NotHttps> {
        let scheme = url.and_then(|url| url.split_once(':')).map(|(scheme, _)| scheme.trim());
        match scheme {
            Some(scheme) if self.https_only && !scheme.eq_ignore_ascii_case("https") => Err(NotHttps),
            _ => Ok(()),
        }
    }

    fn profile(name: &str) -> Result<Self, PolicyError> {
        let (waits, rate_per_minute, https_only, ends): (&[u64], _, _, _) = match name {
            "standard" => return Ok(Self::default()),
            "conversation" => (&[4, 8, 10], Some(100), true, Ends::Dead),
            "none" => (&[], None, false, Ends::Failed),
            other => return Err(PolicyError::UnknownProfile { name: other.chars().take(80).collect() }),
        };
        let waits = waits.iter().copied().map(Duration::from_secs).collect();
        Ok(Self { waits, jitter_percent: 0, rate_per_minute, https_only, ends, ..Self::default() })
    }
}

fn in_range(field: &str, value: u64, min: u64, max: u64) -> Result<u64, PolicyError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(PolicyError::OutOfRange { field: field.to_owned(), value, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(profile: &str) -> PolicySpec {
        PolicySpec { profile: Some(profile.to_owned()), ..PolicySpec::default() }
    }

    #[test]
    fn the_profiles_are_those_of_the_design() {
        let standard = Policy::resolve(&PolicySpec::default()).unwrap();
        assert_eq!(standard, Policy::resolve(&spec("standard")).unwrap());
        assert_eq!(standard.waits.iter().sum::<Duration>().as_secs(), 75 * 3600 + 35 * 60 + 5);
        assert_eq!((standard.waits.len(), standard.jitter_percent, standard.concurrency), (9, 10, 10));
        let conversation = Policy::resolve(&spec("conversation")).unwrap();
        assert_eq!(conversation.waits, [4, 8, 10].map(Duration::from_secs));
        assert_eq!((conversation.rate_per_minute, conversation.concurrency), (Some(100), 10));
        assert_eq!((conversation.timeout, conversation.jitter_percent), (Duration::from_secs(30), 0));
        assert!(conversation.https_only && !standard.https_only);
        let none = Policy::resolve(&spec("none")).unwrap();
        assert_eq!((none.waits.len(), none.ends), (0, Ends::Failed));
    }

    #[test]
    fn https_only_is_a_profiles_word_and_can_be_taken_back() {
        let conversation = Policy::resolve(&spec("conversation")).unwrap();
        for url in [None, Some("https://a.example/x"), Some("HTTPS://a.example")] {
            assert_eq!(conversation.permits(url), Ok(()), "{url:?}");
        }
        for url in ["http://a.example/x", "HTTP://a.example", "http://a.example/?to=https://b.example"] {
            assert_eq!(conversation.permits(Some(url)), Err(NotHttps), "{url}");
        }
        let open = PolicySpec { https_only: Some(false), ..spec("conversation") };
        assert_eq!(Policy::resolve(&open).unwrap().permits(Some("http://a.example")), Ok(()));
        let strict = PolicySpec { https_only: Some(true), ..spec("standard") };
        assert_eq!(Policy::resolve(&strict).unwrap().permits(Some("http://a.example")), Err(NotHttps));
    }

    #[test]
    fn a_field_out_of_range_is_named() {
        let refuse = |change: fn(&mut PolicySpec)| {
            let mut spec = PolicySpec::default();
            change(&mut spec);
            Policy::resolve(&spec).unwrap_err().to_string()
        };
        type Change = fn(&mut PolicySpec);
        let cases: [(Change, &str); 8] = [
            (|s| s.profile = Some("fast".into()), "policy.profile: there is no profile \"fast\""),
            (|s| s.timeout_ms = Some(99), "policy.timeout_ms: 99 is out of range, it takes 100 to 120000"),
            (|s| s.timeout_ms = Some(120_001), "policy.timeout_ms: 120001"),
            (|s| s.retry_after_ms = Some(vec![1, 604_800_001]), "policy.retry_after_ms[1]: 604800001"),
            (|s| s.retry_after_ms = Some(vec![1; 33]), "policy.retry_after_ms: 33 entries"),
            (|s| s.jitter_percent = Some(51), "policy.jitter_percent: 51"),
            (|s| s.concurrency = Some(0), "policy.concurrency: 0"),
            (|s| s.rate_per_minute = Some(60_001), "policy.rate_per_minute: 60001"),
        ];
        for (change, expected) in cases {
            let error = refuse(change);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
