//! The sessions of all destinations: one for each, kept while it is used, and bounded in all.
//!
//! It must not know files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SftpLimits;
use super::connect::connect;
use super::fault::Fault;
use super::session::Session;
use super::steps::Steps;
use super::target::SftpTarget;
use crate::deliver::address::AddressPolicy;
use crate::store::work::Lane;

/// All sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: AddressPolicy,
    limits: SftpLimits,
    slots: Mutex<HashMap<Lane, Arc<Slot>>>,
    room: Arc<Semaphore>,
}

/// The place of one destination's session. Whoever connects holds it, so that others wait instead of connecting as well.
#[derive(Debug)]
struct Slot {
    /// [`SftpTarget::digest`]: with other settings there is another slot.
    digest: [u8; 32],
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

impl Pool {
    pub(super) fn new(policy: &AddressPolicy, limits: SftpLimits) -> Self {
        let room = Arc::new(Semaphore::new(limits.sessions));
        Self(Arc::new(Inner { policy: policy.clone(), limits, slots: Mutex::default(), room }))
    }

    /// The session of a destination, and whether it was there already.
    pub(super) async fn get(
        &self,
        lane: &Lane,
        target: &SftpTarget,
        steps: &mut Steps,
    ) -> Result<(Arc<Session>, bool), Fault> {
        let slot = self.slot(lane, target.digest);
        let mut place = slot.session.lock().await;
        if let Some(session) = place.as_ref().filter(|session| !session.is_closed()) {
            return Ok((session.clone(), true));
        }
        *place = None;
        let room = self.room().await?;
        let connected = connect(target, &self.0.policy, self.0.limits.keepalive, steps).await;
        let handle = match connected {
            Ok(handle) => handle,
            Err(fault) => {
                drop(place);
                self.forget(lane, &slot);
                return Err(fault);
            }
        };
        let session = Arc::new(Session::new(handle, self.0.limits.channels, room));
        *place = Some(session.clone());
        self.watch(lane.clone(), slot.clone(), session.clone());
        Ok((session, false))
    }

    /// Ends a session that has shown that it is of no use.
    pub(super) async fn discard(&self, lane: &Lane, session: &Arc<Session>) {
        let slot = self.slots().get(lane).cloned();
        if let Some(slot) = slot {
            let mut place = slot.session.lock().await;
            if place.as_ref().is_some_and(|one| Arc::ptr_eq(one, session)) {
                *place = None;
            }
        }
        session.retire();
    }

    /// Ends all sessions.
    pub(super) async fn close(&self) {
        let slots: Vec<_> = self.slots().drain().map(|(_, slot)| slot).collect();
        let ends = slots.into_iter().map(|slot| async move {
            let session = slot.session.lock().await.take();
            if let Some(session) = session {
                session.close().await;
            }
        });
        futures_util::future::join_all(ends).await;
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<Lane, Arc<Slot>>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, lane: &Lane, digest: [u8; 32]) -> Arc<Slot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(lane) {
            if slot.digest == digest {
                return slot.clone();
            }
            // The session of settings before: it ends with what is under way on it.
            if let Ok(place) = slot.session.try_lock()
                && let Some(session) = place.as_ref()
            {
                session.retire();
            }
        }
        let slot = Arc::new(Slot { digest, session: tokio::sync::Mutex::default() });
        slots.insert(lane.clone(), slot.clone());
        slot
    }

    fn forget(&self, lane: &Lane, slot: &Arc<Slot>) {
        let mut slots = self.slots();
        if slots.get(lane).is_some_and(|one| Arc::ptr_eq(one, slot)) {
            slots.remove(lane);
        }
    }

    /// Room for one session more; the one that has rested longest makes place.
    async fn room(&self) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(permit) = self.0.room.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let slots: Vec<_> = self.slots().values().cloned().collect();
        let resting = slots.iter().filter_map(|slot| slot.session.try_lock().ok()?.clone());
        let longest = resting.filter(|session| session.is_idle()).max_by_key(|session| session.rested());
        let Some(session) = longest else {
            return Err(Fault::Sessions { limit: self.0.limits.sessions });
        };
        session.retire();
        drop(session);
        self.0.room.clone().acquire_owned().await.map_err(|_| Fault::Closed)
    }

    /// Ends a session when it has rested long enough.
    fn watch(&self, lane: Lane, slot: Arc<Slot>, session: Arc<Session>) {
        let pool = Arc::downgrade(&self.0);
        let idle = self.0.limits.idle;
        tokio::spawn(async move {
            session.end_of_use(idle).await;
            let mut place = slot.session.lock().await;
            if place.as_ref().is_some_and(|one| Arc::ptr_eq(one, &session)) {
                *place = None;
                if let Some(inner) = pool.upgrade() {
                    Pool(inner).forget(&lane, &slot);
                }
            }
            drop(place);
            session.close().await;
        });
    }
}
