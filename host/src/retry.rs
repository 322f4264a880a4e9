//! When to try again, and when to give up: a policy, an attempt's outcome and the time go in, a decision comes out.
//!
//! Pure: no I/O, no clock, no randomness of its own. It must not know how an attempt is made or recorded.

use std::borrow::Cow;
use std::time::Duration;

use crate::carrier::PolicySpec;
use crate::clock::Millis;
use crate::store::work::DestinationEffect;

/// The longest wait that a receiver's `Retry-After` can ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A destination that only fails for this long is disabled.
pub const MAX_FAILING: Duration = Duration::from_secs(5 * 24 * 3600);
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
    /// Acknowledged with a 2xx.
    Delivered,
    /// Answered with another status.
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
    /// It can never be sent: the kind is not available, or the message cannot be built. Says why.
    Unavailable(Cow<'static, str>),
}

/// Every word that [`Outcome::kind`] gives.
pub const OUTCOME_KINDS: [&str; 11] = [
    "delivered",
    "status",
    "gone",
    "timeout",
    "dns",
    "connect",
    "tls",
    "broken",
    "blocked_address",
    "unavailable",
    "token",
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
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// What went wrong in a few words; the status where there is one.
    fn describe(&self) -> Cow<'static, str> {
        match self {
            Self::Refused { status, .. } => format!("status {status}").into(),
            Self::Gone => "status 410".into(),
            Self::Unavailable(why) => why.clone(),
            other => other.kind().into(),
        }
    }
}

/// What follows an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing more to do.
    Delivered,
    /// Try again at this moment.
    RetryAt(Millis),
    /// Given up, for this reason.
    Dead(String),
    /// The policy has no retries: wait for a manual one.
    Failed(String),
    /// Disable the destination for this reason, and hold the delivery until it is enabled again.
    Disable(String),
}

/// Decides what follows attempt `number` (1 for the first) that ended at `now` with `outcome`.
///
/// `jitter` is a random number in `0.0..1.0`; values outside are taken as the nearer end. The wait is the policy's,
/// spread by its jitter; when the receiver or its token server answered 429 or 503 with `Retry-After` it is at least what was asked, where
/// no more than [`MAX_RETRY_AFTER`] can be asked.
pub fn decide(policy: &Policy, number: u32, outcome: &Outcome, now: Millis, jitter: f64) -> Decision {
    match outcome {
        Outcome::Delivered => return Decision::Delivered,
        Outcome::Gone => return Decision::Disable("the receiver answered 410 Gone".to_owned()),
        Outcome::Unavailable(why) => return Decision::Dead(why.clone().into_owned()),
        Outcome::Refused { .. }
        | Outcome::Timeout
        | Outcome::Network(_)
        | Outcome::Blocked
        | Outcome::Token { .. } => {}
    }
    let Some(&wait) = policy.waits.get(number.saturating_sub(1) as usize) else {
        let reason = format!("attempt {number} of {}: {}", policy.waits.len() + 1, outcome.describe());
        return match policy.ends {
            Ends::Dead => Decision::Dead(reason),
            Ends::Failed => Decision::Failed(reason),
        };
    };
    Decision::RetryAt(now.plus(spread(wait, policy.jitter_percent, jitter).max(asked(outcome))))
}

/// The wait that the receiver asked for, bounded; zero when it asked for none or has no say.
fn asked(outcome: &Outcome) -> Duration {
    match outcome {
        Outcome::Refused { status: 429 | 503, retry_after: Some(asked) }
        | Outcome::Token { retry_after: Some(asked) } => (*asked).min(MAX_RETRY_AFTER),
        _ => Duration::ZERO,
    }
}

fn spread(wait: Duration, percent: u8, jitter: f64) -> Duration {
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 };
    let factor = 1.0 + (2.0 * jitter - 1.0) * f64::from(percent.min(50)) / 100.0;
    wait.mul_f64(factor)
}

/// What an attempt that ended at `now` means for its destination, which has failed without a success since
/// `failing_since`. `None`: nothing changes there.
///
/// A message that can never be sent says nothing about its destination.
pub fn health(failing_since: Option<Millis>, outcome: &Outcome, now: Millis) -> Option<DestinationEffect> {
    match (outcome, failing_since) {
        (Outcome::Unavailable(_), _) | (Outcome::Delivered, None) => None,
        (Outcome::Delivered, Some(_)) => Some(DestinationEffect::Recovered),
        (Outcome::Gone, _) => Some(DestinationEffect::Disable("the receiver answered 410 Gone".to_owned())),
        (_, None) => Some(DestinationEffect::FailingSince(now)),
        (failed, Some(since)) if now.since(since) >= MAX_FAILING => Some(DestinationEffect::Disable(
            format!("nothing but failures for five days, the last: {}", failed.describe()),
        )),
        (_, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = Millis(1_761_300_000_000);

    fn spec(profile: &str) -> PolicySpec {
        PolicySpec { profile: Some(profile.to_owned()), ..PolicySpec::default() }
    }

    fn refused(status: u16, retry_after: Option<u64>) -> Outcome {
        Outcome::Refused { status, retry_after: retry_after.map(Duration::from_secs) }
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
            Outcome::Unavailable(_) => 9,
            Outcome::Token { .. } => 10,
        };
        let network = |fault| Outcome::Network(fault);
        let all = [
            Outcome::Delivered,
            refused(500, None),
            Outcome::Gone,
            Outcome::Timeout,
            network(NetworkFault::Dns),
            network(NetworkFault::Connect),
            network(NetworkFault::Tls),
            network(NetworkFault::Broken),
            Outcome::Blocked,
            Outcome::Unavailable("no".into()),
            Outcome::Token { retry_after: None },
        ];
        assert_eq!(all.len(), OUTCOME_KINDS.len());
        for outcome in all {
            assert_eq!(outcome.kind(), OUTCOME_KINDS[place(&outcome)]);
        }
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

    #[test]
    fn each_outcome_has_its_consequence() {
        let p = Policy::resolve(&spec("conversation")).unwrap();
        let decide = |number, outcome: &Outcome| decide(&p, number, outcome, NOW, 0.5);
        assert_eq!(decide(1, &Outcome::Delivered), Decision::Delivered);
        assert!(matches!(decide(1, &Outcome::Gone), Decision::Disable(_)));
        assert_eq!(decide(1, &Outcome::Unavailable("no".into())), Decision::Dead("no".to_owned()));
        assert_eq!(decide(1, &Outcome::Timeout), Decision::RetryAt(NOW.plus(Duration::from_secs(4))));
        assert_eq!(decide(3, &refused(500, None)), Decision::RetryAt(NOW.plus(Duration::from_secs(10))));
        assert_eq!(decide(4, &refused(500, None)), Decision::Dead("attempt 4 of 4: status 500".to_owned()));
        let none = Policy::resolve(&spec("none")).unwrap();
        let once = super::decide(&none, 1, &Outcome::Timeout, NOW, 0.5);
        assert_eq!(once, Decision::Failed("attempt 1 of 1: timeout".to_owned()));
    }

    #[test]
    fn retry_after_is_obeyed_for_two_statuses_and_bounded() {
        let p = Policy::resolve(&spec("conversation")).unwrap();
        let wait = |outcome: &Outcome| match decide(&p, 1, outcome, NOW, 0.5) {
            Decision::RetryAt(at) => at.since(NOW).as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(&refused(429, Some(60))), 60);
        assert_eq!(wait(&refused(503, Some(60))), 60);
        assert_eq!(wait(&refused(500, Some(60))), 4);
        assert_eq!(wait(&refused(429, Some(1))), 4);
        assert_eq!(wait(&refused(429, Some(u64::MAX))), 24 * 3600);
        let token = |seconds| Outcome::Token { retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!((wait(&token(60)), wait(&token(1))), (60, 4));
    }

    #[test]
    fn five_days_of_nothing_but_failures_disable() {
        let later = |d: Duration| NOW.plus(d);
        assert_eq!(health(None, &Outcome::Delivered, NOW), None);
        assert_eq!(health(Some(NOW), &Outcome::Delivered, NOW), Some(DestinationEffect::Recovered));
        assert_eq!(health(None, &Outcome::Timeout, NOW), Some(DestinationEffect::FailingSince(NOW)));
        let almost = later(MAX_FAILING - Duration::from_millis(1));
        assert_eq!(health(Some(NOW), &Outcome::Timeout, almost), None);
        let disabled = health(Some(NOW), &refused(500, None), later(MAX_FAILING));
        let reason = "nothing but failures for five days, the last: status 500";
        assert_eq!(disabled, Some(DestinationEffect::Disable(reason.to_owned())));
        assert!(matches!(health(None, &Outcome::Gone, NOW), Some(DestinationEffect::Disable(_))));
        assert_eq!(health(Some(NOW), &Outcome::Unavailable("x".into()), later(MAX_FAILING)), None);
    }

    proptest! {
        #[test]
        fn a_retry_is_never_earlier_than_asked_and_never_past_the_bound(
            waits in prop::collection::vec(0u64..=604_800_000, 1..=32),
            percent in 0u8..=50, number in 1u32..40, status in 400u16..600,
            asked in prop::option::of(0u64..200_000), jitter in -1.0f64..2.0,
        ) {
            let spec = PolicySpec {
                retry_after_ms: Some(waits.clone()), jitter_percent: Some(percent), ..PolicySpec::default()
            };
            let policy = Policy::resolve(&spec).unwrap();
            let decision = decide(&policy, number, &refused(status, asked), NOW, jitter);
            match waits.get(number as usize - 1) {
                None => prop_assert!(matches!(decision, Decision::Dead(_))),
                Some(&wait) => {
                    let Decision::RetryAt(at) = decision else { panic!("{decision:?}") };
                    let (got, spread) = (at.since(NOW).as_millis() as u64, wait * u64::from(percent) / 100);
                    let heard = if status == 429 || status == 503 { asked.unwrap_or(0) } else { 0 };
                    let heard = (heard * 1000).min(86_400_000);
                    prop_assert!(got + 1 >= (wait - spread).max(heard));
                    prop_assert!(got <= (wait + spread + 1).max(heard));
                }
            }
        }
    }
}
