//! Connections that are kept: after a mail for the next one to the same relay and login.
//!
//! It must not know what is sent.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::session::Session;

/// How long a connection rests before it is closed.
const MAX_REST: Duration = Duration::from_secs(30);
/// Resting connections in all.
const MAX_RESTING: usize = 256;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Resting connections, by what tells relays apart. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Resting connections to one relay.
    most: usize,
    resting: Mutex<Resting>,
}

#[derive(Debug, Default)]
struct Resting {
    sessions: HashMap<[u8; 32], VecDeque<(Session, Instant)>>,
    count: usize,
    /// Whether someone looks after those that rest too long.
    watched: bool,
}

impl Pool {
    /// Keeps at most so many connections to one relay.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner { most, resting: Mutex::default() }))
    }

    /// The connection that was used last, if it is still good.
    pub(super) fn take(&self, key: &[u8; 32]) -> Option<Session> {
        let mut resting = self.0.lock();
        loop {
            let (mut session, since) = resting.sessions.get_mut(key)?.pop_back()?;
            resting.count -= 1;
            // One that was closed, or told that it will be, is forgotten.
            if since.elapsed() < MAX_REST && session.is_quiet() {
                return Some(session);
            }
        }
    }

    /// Keeps a connection, or takes leave where there is no room for it.
    pub(super) fn keep(&self, key: [u8; 32], session: Session) {
        let leaving = {
            let mut resting = self.0.lock();
            if resting.count >= MAX_RESTING {
                Some(session)
            } else {
                let same = resting.sessions.entry(key).or_default();
                same.push_back((session, Instant::now()));
                let oldest = if same.len() > self.0.most { same.pop_front() } else { None };
                resting.count += usize::from(oldest.is_none());
                if !std::mem::replace(&mut resting.watched, true) {
                    tokio::spawn(watch(Arc::downgrade(&self.0)));
                }
                oldest.map(|(oldest, _)| oldest)
            }
        };
        if let Some(session) = leaving {
            tokio::spawn(session.quit(FAREWELL));
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what rests too long; gives whether anything is left.
    fn weed(&self) -> (Vec<Session>, bool) {
        let mut resting = self.lock();
        let mut old = Vec::new();
        for sessions in resting.sessions.values_mut() {
            while sessions.front().is_some_and(|(_, since)| since.elapsed() >= MAX_REST) {
                old.extend(sessions.pop_front().map(|(session, _)| session));
            }
        }
        resting.sessions.retain(|_, sessions| !sessions.is_empty());
        resting.count = resting.sessions.values().map(VecDeque::len).sum();
        resting.watched = resting.count > 0;
        (old, resting.watched)
    }
}

/// Closes what rests too long, for as long as anything rests.
async fn watch(pool: Weak<Inner>) {
    loop {
        tokio::time::sleep(MAX_REST / 2).await;
        let Some(inner) = pool.upgrade() else { return };
        let (old, more) = inner.weed();
        drop(inner);
        for session in old {
            session.quit(FAREWELL).await;
        }
        if !more {
            return;
        }
    }
}
