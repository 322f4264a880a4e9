//! The only file that asks the time and the operating system's randomness.
//!
//! Everything else is given a [`Clock`] or a [`Millis`], so that a test can move time by hand. It must not know
//! what the time is used for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment in Unix milliseconds, UTC. The one form of time in tables, API and contract.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, sqlx::Type,
)]
#[sqlx(transparent)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// This moment and `d` more; stops at the end of the range instead of wrapping.
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the time comes from: the system, or a test's hand.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<Manual>>);

#[derive(Debug)]
struct Manual {
    now: AtomicI64,
    moved: tokio::sync::watch::Sender<i64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `at` until [`Clock::advance`] moves it.
    pub fn manual(at: Millis) -> Self {
        let (moved, _) = tokio::sync::watch::channel(at.0);
        Self(Some(Arc::new(Manual { now: AtomicI64::new(at.0), moved })))
    }

    /// The present moment.
    pub fn now(&self) -> Millis {
        match &self.0 {
            Some(manual) => Millis(manual.now.load(Ordering::SeqCst)),
            None => Millis(system_millis()),
        }
    }

    /// Moves a manual clock on and wakes whoever waits for a moment that has come.
    ///
    /// # Panics
    /// On the system's clock: nothing can move that.
    pub fn advance(&self, by: Duration) {
        let manual = self.0.as_ref().expect("only a manual clock can be moved");
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let now = manual.now.fetch_add(by, Ordering::SeqCst).saturating_add(by);
        manual.moved.send_replace(now);
    }

    /// Waits until the clock shows `at` or later.
    pub async fn sleep_until(&self, at: Millis) {
        match &self.0 {
            None => tokio::time::sleep(at.since(self.now())).await,
            Some(manual) => {
                let mut moved = manual.moved.subscribe();
                // The sender lives in `manual`, so waiting cannot fail while this borrow stands.
                let _ = moved.wait_for(|now| *now >= at.0).await;
            }
        }
    }

    /// Waits for `d` of this clock's time.
    pub async fn sleep(&self, d: Duration) {
        self.sleep_until(self.now().plus(d)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
fn system_millis() -> i64 {
    // A system clock before 1970 is a broken machine; the epoch is then as good as any answer.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A stopwatch for costs and durations that are reported, never decided by.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Fresh random bytes from the operating system, for keys, nonces and ids.
///
/// # Panics
/// When the operating system has no randomness to give: nothing safe can be done then.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    use rand::TryRng;
    let mut bytes = [0; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// The operating system's randomness, for the encryption of files. Its kind of generator is the one that the library takes.
pub fn os_rng() -> rand_core_06::OsRng {
    rand_core_06::OsRng
}

/// A random number from 0 (included) to 1 (excluded), for the spread of waits.
pub fn jitter() -> f64 {
    use rand::RngExt;
    rand::rng().random()
}
