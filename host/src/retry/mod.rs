//! When to try again, and when to give up: a policy, an attempt's outcome and the time go in, a decision comes out.
//!
//! Pure: no I/O, no clock, no randomness of its own. It must not know how an attempt is made or recorded.

mod outcome;
mod policy;

pub use outcome::{MediaFault, NetworkFault, OUTCOME_KINDS, Outcome};
pub use policy::{Ends, MAX_WAIT, MAX_WAITS, NotHttps, Policy, PolicyError};

use std::time::Duration;

use crate::clock::Millis;

/// The longest wait that a receiver's `Retry-After` can ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A destination that only fails for this long is disabled.
pub const MAX_FAILING: Duration = Duration::from_secs(5 * 24 * 3600);

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

/// What an attempt says of its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The first failure after a success, or ever.
    FailingSince(Millis),
    /// The first success after failures.
    Recovered,
    /// Nothing more is to be sent there, for this reason.
    Unfit(String),
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
        Outcome::Unavailable(_)
        | Outcome::Rejected(_)
        | Outcome::Media(MediaFault::Expired | MediaFault::Refused(_) | MediaFault::Flagged(_)) => {
            return Decision::Dead(outcome.describe().into_owned());
        }
        Outcome::Refused { .. }
        | Outcome::Timeout
        | Outcome::Network(_)
        | Outcome::Blocked
        | Outcome::Token { .. }
        | Outcome::HostKey
        | Outcome::Login
        | Outcome::Remote(_)
        | Outcome::Media(MediaFault::Failed) => {}
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
/// A message that can never be sent, or whose content is not there, says nothing about its destination.
pub fn health(failing_since: Option<Millis>, outcome: &Outcome, now: Millis) -> Option<Health> {
    match (outcome, failing_since) {
        (Outcome::Unavailable(_) | Outcome::Media(_), _) | (Outcome::Delivered, None) => None,
        (Outcome::Delivered, Some(_)) => Some(Health::Recovered),
        (Outcome::Gone, _) => Some(Health::Unfit("the receiver answered 410 Gone".to_owned())),
        (_, None) => Some(Health::FailingSince(now)),
        (failed, Some(since)) if now.since(since) >= MAX_FAILING => Some(Health::Unfit(format!(
            "nothing but failures for five days, the last: {}",
            failed.describe()
        ))),
        (_, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::carrier::PolicySpec;

    const NOW: Millis = Millis(1_761_300_000_000);

    fn spec(profile: &str) -> PolicySpec {
        PolicySpec { profile: Some(profile.to_owned()), ..PolicySpec::default() }
    }

    fn refused(status: u16, retry_after: Option<u64>) -> Outcome {
        Outcome::Refused { status, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn each_outcome_has_its_consequence() {
        let p = Policy::resolve(&spec("conversation")).unwrap();
        let decide = |number, outcome: &Outcome| decide(&p, number, outcome, NOW, 0.5);
        assert_eq!(decide(1, &Outcome::Delivered), Decision::Delivered);
        assert!(matches!(decide(1, &Outcome::Gone), Decision::Disable(_)));
        assert_eq!(decide(1, &Outcome::Unavailable("no".into())), Decision::Dead("no".to_owned()));
        for last in [
            Outcome::Rejected("550 no such user".into()),
            Outcome::Media(MediaFault::Expired),
            Outcome::Media(MediaFault::Refused("too large".into())),
            Outcome::Media(MediaFault::Flagged("Eicar".into())),
        ] {
            assert!(matches!(decide(1, &last), Decision::Dead(_)), "{last:?}");
        }
        let again = Decision::RetryAt(NOW.plus(Duration::from_secs(4)));
        for passing in [
            Outcome::Timeout,
            Outcome::HostKey,
            Outcome::Login,
            Outcome::Remote("disk full".into()),
            Outcome::Media(MediaFault::Failed),
        ] {
            assert_eq!(decide(1, &passing), again, "{passing:?}");
        }
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
        assert_eq!(health(Some(NOW), &Outcome::Delivered, NOW), Some(Health::Recovered));
        assert_eq!(health(None, &Outcome::Timeout, NOW), Some(Health::FailingSince(NOW)));
        let almost = later(MAX_FAILING - Duration::from_millis(1));
        assert_eq!(health(Some(NOW), &Outcome::Timeout, almost), None);
        let disabled = health(Some(NOW), &refused(500, None), later(MAX_FAILING));
        let reason = "nothing but failures for five days, the last: status 500";
        assert_eq!(disabled, Some(Health::Unfit(reason.to_owned())));
        assert!(matches!(health(None, &Outcome::Gone, NOW), Some(Health::Unfit(_))));
        for silent in [Outcome::Unavailable("x".into()), Outcome::Media(MediaFault::Failed)] {
            assert_eq!(health(Some(NOW), &silent, later(MAX_FAILING)), None, "{silent:?}");
        }
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
