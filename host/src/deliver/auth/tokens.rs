//! Tokens in memory: one for each destination, fetched by one caller while the others wait for the same answer.
//!
//! What is fetched is also put on a shelf that outlives this process and that other nodes see; what is there is taken
//! from there first. It must not know what a shelf is made of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::super::clients::Clients;
use super::super::tls::ClientTls;
use super::oauth::{TokenError, TokenSource};
use crate::carrier::auth::Token;
use crate::clock::Millis;
use crate::store::work::Lane;

/// How long before its end a token is replaced; half of its life when that is shorter.
pub const REFRESH_EARLY: Duration = Duration::from_secs(60);
/// How long a token server is left alone after a failure. What is attempted meanwhile fails with the same error.
pub const REST: Duration = Duration::from_secs(1);
/// How many destinations' tokens are in memory. Those above come from the shelf again.
const MAX_SLOTS: usize = 16_384;

/// Where tokens outlive the process, and where other nodes find them. Losing one costs a token call and nothing else, so
/// its errors are for the log.
pub trait TokenShelf: Send + Sync + std::fmt::Debug {
    /// The token of a destination, whatever its age and settings.
    fn load<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, Option<Token>>;

    /// Keeps a token in the place of the one before it.
    fn keep<'a>(&'a self, lane: &'a Lane, token: &'a Token) -> BoxFuture<'a, ()>;

    /// Drops this token, if it is still the one that is kept.
    fn forget<'a>(&'a self, lane: &'a Lane, token: &'a Token) -> BoxFuture<'a, ()>;
}

/// All tokens. Cheap to clone.
#[derive(Clone)]
pub(in super::super) struct Tokens {
    /// How long a call may take.
    limit: Duration,
    shelf: Option<Arc<dyn TokenShelf>>,
    slots: Arc<Mutex<HashMap<Lane, Arc<Slot>>>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

type Fetched = Result<Token, TokenError>;
type Flight = Shared<BoxFuture<'static, Fetched>>;

#[derive(Default)]
struct Slot(Mutex<State>);

/// What is known of one destination's token.
#[derive(Default)]
struct State {
    /// The settings that all the rest belongs to.
    fingerprint: [u8; 32],
    token: Option<Token>,
    /// The call under way. Those who wait for it drive it; it ends with the last of them.
    flight: Option<WeakShared<BoxFuture<'static, Fetched>>>,
    /// What the last call failed with, and until when none is made.
    failed: Option<(Millis, TokenError)>,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tokens {
    /// Tokens with a shelf, or in memory alone.
    pub(in super::super) fn new(shelf: Option<Arc<dyn TokenShelf>>, limit: Duration) -> Self {
        Self { limit, shelf, slots: Arc::default() }
    }

    /// A token that is good at `now`: the one in memory, the one that is being fetched, or a new one. `rejected` is one that
    /// the receiver has refused; it is dropped everywhere and never given again.
    pub(in super::super) async fn get(
        &self,
        lane: &Lane,
        source: &Arc<TokenSource>,
        clients: &Clients,
        tls: Option<&Arc<ClientTls>>,
        now: Millis,
        rejected: Option<&Token>,
    ) -> Fetched {
        let flight = {
            let slot = self.slot(lane);
            let mut state = slot.state();
            if state.fingerprint != source.fingerprint() {
                *state = State { fingerprint: source.fingerprint(), ..State::default() };
            }
            if state.token.is_some() && state.token.as_ref() == rejected {
                state.token = None;
            }
            match &state.token {
                Some(token) if is_fresh(token, now) => return Ok(token.clone()),
                _ => {}
            }
            match state.flight.as_ref().and_then(WeakShared::upgrade) {
                Some(flight) => flight,
                None => {
                    if let Some((until, error)) = &state.failed
                        && now < *until
                    {
                        let good = state.token.as_ref().filter(|token| is_good(token, now));
                        return good.cloned().ok_or_else(|| error.clone());
                    }
                    let call = Call {
                        slot: slot.clone(),
                        limit: self.limit,
                        shelf: self.shelf.clone(),
                        lane: lane.clone(),
                        source: source.clone(),
                        clients: clients.clone(),
                        tls: tls.cloned(),
                        now,
                        rejected: rejected.cloned(),
                    };
                    let flight: Flight = call.run().boxed().shared();
                    state.flight = flight.downgrade();
                    flight
                }
            }
        };
        flight.await
    }

    fn slot(&self, lane: &Lane) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(lane) {
            return slot.clone();
        }
        if slots.len() >= MAX_SLOTS {
            // Who uses one has a clone of it.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(lane.clone()).or_default().clone()
    }
}

/// Whether a token serves without being replaced.
fn is_fresh(token: &Token, now: Millis) -> bool {
    token.expires.is_some_and(|end| now.plus(REFRESH_EARLY.min(end.since(token.made) / 2)) < end)
}

/// Whether a token still serves when no other is to be had.
fn is_good(token: &Token, now: Millis) -> bool {
    token.expires.is_some_and(|end| now < end)
}

/// One look at the shelf and, where that is not enough, one token call.
struct Call {
    slot: Arc<Slot>,
    limit: Duration,
    shelf: Option<Arc<dyn TokenShelf>>,
    lane: Lane,
    source: Arc<TokenSource>,
    clients: Clients,
    tls: Option<Arc<ClientTls>>,
    now: Millis,
    rejected: Option<Token>,
}

impl Call {
    async fn run(self) -> Fetched {
        let mut old = self.slot.state().token.clone();
        if let Some(shelf) = &self.shelf
            && let Some(kept) = shelf.load(&self.lane).await
            && kept.fingerprint == self.source.fingerprint()
        {
            if Some(&kept) == self.rejected.as_ref() {
                shelf.forget(&self.lane, &kept).await;
            } else if is_fresh(&kept, self.now) {
                return self.ended(Ok(kept), None);
            } else {
                old = Some(kept);
            }
        }
        match self.source.fetch(&self.clients, self.tls.as_deref(), self.limit, self.now).await {
            Ok(token) => {
                if let Some(shelf) = self.shelf.as_ref().filter(|_| token.expires.is_some()) {
                    shelf.keep(&self.lane, &token).await;
                }
                self.ended(Ok(token), None)
            }
            Err(error) => {
                let carrier = &self.lane.carrier;
                tracing::debug!(%carrier, destination = %self.lane.destination, %error, "no token");
                match old.filter(|old| is_good(old, self.now) && Some(old) != self.rejected.as_ref()) {
                    Some(old) => self.ended(Ok(old), Some(error)),
                    None => self.ended(Err(error.clone()), Some(error)),
                }
            }
        }
    }

    /// Notes how it ended, unless the settings have changed meanwhile.
    fn ended(&self, fetched: Fetched, failed: Option<TokenError>) -> Fetched {
        let mut state = self.slot.state();
        if state.fingerprint == self.source.fingerprint() {
            state.flight = None;
            state.failed = failed.map(|error| (self.now.plus(REST), error));
            // One without an end serves those who waited for it, and nobody after them.
            state.token = fetched.as_ref().ok().filter(|token| token.expires.is_some()).cloned();
        }
        fetched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_a_minute_before_its_end_or_at_half_of_a_short_life() {
        let made = Millis(1_761_300_000_000);
        let after = |seconds: u64| made.plus(Duration::from_secs(seconds));
        let token = |life: Option<u64>| Token {
            fingerprint: [0; 32],
            access_token: "t".to_owned(),
            made,
            expires: life.map(after),
        };
        for (life, at, fresh, good) in [
            (Some(3_600), 0, true, true),
            (Some(3_600), 3_539, true, true),
            (Some(3_600), 3_540, false, true),
            (Some(3_600), 3_600, false, false),
            (Some(60), 29, true, true),
            (Some(60), 30, false, true),
            (Some(0), 0, false, false),
            (None, 0, false, false),
        ] {
            let (token, now) = (token(life), after(at));
            assert_eq!((is_fresh(&token, now), is_good(&token, now)), (fresh, good), "{life:?} at {at}");
        }
    }

    #[test]
    fn memory_for_tokens_is_bounded_and_what_is_used_stays() {
        let tokens = Tokens::new(None, REST);
        let lane = |n: usize| Lane {
            carrier: "acme".parse().unwrap(),
            destination: format!("d{n}").parse().unwrap(),
        };
        let used = tokens.slot(&lane(0));
        for n in 0..=MAX_SLOTS {
            tokens.slot(&lane(n));
        }
        assert!(tokens.slots.lock().unwrap().len() <= 2);
        assert!(Arc::ptr_eq(&used, &tokens.slot(&lane(0))));
    }
}
