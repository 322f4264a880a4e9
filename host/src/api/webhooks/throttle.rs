//! How many requests a key may send: so many a second on average, and a burst of some at once.
//!
//! A bucket of `burst` tokens that fills at the rate. It is kept as one number, the moment at which it will be full again:
//! a request moves that moment on by the time that one token takes. Shares are counted by each node for itself. The headers
//! are those of draft-ietf-httpapi-ratelimit-headers-10, with quoted names.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::api::problem::{Code, Problem};
use crate::carrier::KeyId;
use crate::clock::Millis;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Keys of which is remembered when they last asked. Beyond it, those are forgotten whose bucket is full again.
const KEYS: usize = 10_000;

/// The shares of all keys.
#[derive(Debug)]
pub struct Throttle {
    /// Microseconds that one token takes.
    token_us: i64,
    /// Tokens in a full bucket.
    burst: i64,
    rate: u32,
    policy: HeaderValue,
    /// When each key's bucket is full again, in Unix microseconds.
    full_at: Mutex<HashMap<KeyId, i64>>,
}

/// What is left of a key's share after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Whether the request may go on.
    pub(super) allowed: bool,
    /// Requests that may follow at once.
    remaining: i64,
    /// Until when the burst is whole again; for a refused request, until one may follow.
    reset: Duration,
}

impl Throttle {
    /// `rate` requests a second on average, `burst` at once; both at least 1.
    pub fn new(rate: u32, burst: u32) -> Self {
        let (rate, burst) = (rate.max(1), burst.max(1));
        let policy = format!("\"average\";q={rate};w=1, \"burst\";q={burst}");
        Self {
            token_us: 1_000_000 / i64::from(rate),
            burst: i64::from(burst),
            rate,
            policy: HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("")),
            full_at: Mutex::default(),
        }
    }

    /// Takes a token of this key, if there is one.
    pub(super) fn take(&self, key: &KeyId, now: Millis) -> Share {
        let now = now.0.saturating_mul(1_000);
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEYS && !all.contains_key(key) {
            all.retain(|_, full_at| *full_at > now);
        }
        let full_at = all.entry(key.clone()).or_insert(now);
        let (share, after) = self.share(*full_at, now);
        *full_at = after;
        share
    }

    /// The share, and when the bucket is full then.
    fn share(&self, full_at: i64, now: i64) -> (Share, i64) {
        let size = self.burst * self.token_us;
        let after = full_at.max(now) + self.token_us;
        let short = after - now - size;
        if short > 0 {
            return (Share { allowed: false, remaining: 0, reset: micros(short) }, full_at);
        }
        let remaining = -short / self.token_us.max(1);
        (Share { allowed: true, remaining, reset: micros(after - now) }, after)
    }

    /// What a request above the share is told.
    pub(super) fn refusal(&self, share: &Share) -> Problem {
        let Self { rate, burst, .. } = self;
        let detail = format!(
            "more requests with this key than the limits `requests_per_second` ({rate}) and `burst` ({burst}) allow: \
             send it again after the time in `Retry-After`"
        );
        Problem::new(Code::Throttled, detail).retry_after(share.reset)
    }

    /// Says what the limits are.
    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        headers.insert(POLICY, self.policy.clone());
    }
}

impl Share {
    /// Says what is left.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let seconds = self.reset.as_millis().div_ceil(1_000);
        let text = format!("\"burst\";r={};t={seconds}", self.remaining);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(LIMIT, value);
        }
    }
}

fn micros(n: i64) -> Duration {
    Duration::from_micros(u64::try_from(n).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> KeyId {
        name.parse().unwrap()
    }

    fn taken(throttle: &Throttle, at: i64, n: usize) -> Vec<bool> {
        (0..n).map(|_| throttle.take(&key("a"), Millis(at)).allowed).collect()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let throttle = Throttle::new(20, 15);
        assert_eq!(taken(&throttle, 1_000, 16), [vec![true; 15], vec![false]].concat());
        // One token takes 50 ms.
        assert_eq!(taken(&throttle, 1_049, 1), [false]);
        assert_eq!(taken(&throttle, 1_050, 2), [true, false]);
        assert_eq!(taken(&throttle, 1_150, 3), [true, true, false]);
        // A full bucket does not grow.
        assert_eq!(taken(&throttle, 60_000, 16), [vec![true; 15], vec![false]].concat());
        assert!(throttle.take(&key("b"), Millis(60_000)).allowed, "each key has its own share");
    }

    #[test]
    fn a_second_at_the_rate_is_never_refused() {
        let throttle = Throttle::new(20, 1);
        assert_eq!(
            (0..40).map(|n| throttle.take(&key("a"), Millis(n * 50)).allowed).collect::<Vec<_>>(),
            [true; 40]
        );
        assert!(!throttle.take(&key("a"), Millis(39 * 50 + 1)).allowed);
    }

    #[test]
    fn the_headers_say_what_is_left_and_when_more_comes() {
        let throttle = Throttle::new(2, 3);
        let mut headers = HeaderMap::new();
        throttle.announce(&mut headers);
        let mut seen = Vec::new();
        for at in [0, 0, 0, 0, 400] {
            let share = throttle.take(&key("a"), Millis(at));
            share.tell(&mut headers);
            seen.push((share.allowed, headers["ratelimit"].to_str().unwrap().to_owned()));
        }
        let say = |allowed: bool, text: &str| (allowed, text.to_owned());
        let expected = [
            say(true, "\"burst\";r=2;t=1"),
            say(true, "\"burst\";r=1;t=1"),
            say(true, "\"burst\";r=0;t=2"),
            say(false, "\"burst\";r=0;t=1"),
            say(false, "\"burst\";r=0;t=1"),
        ];
        assert_eq!(seen, expected);
        assert_eq!(headers["ratelimit-policy"], "\"average\";q=2;w=1, \"burst\";q=3");
    }

    #[test]
    fn keys_that_ask_no_more_are_forgotten() {
        let throttle = Throttle::new(20, 15);
        for n in 0..KEYS {
            throttle.take(&key(&format!("k{n}")), Millis(0));
        }
        throttle.take(&key("late"), Millis(10_000));
        assert_eq!(throttle.full_at.lock().unwrap().len(), 1);
    }
}
