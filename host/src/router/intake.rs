//! Step 2: events become durable and go on from memory.
//!
//! The commit itself hands an event over, not the request that brought it: a publisher that hangs up after the commit
//! loses its answer and nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::Router;
use super::rooms::{For, Room};
use crate::event::Event;
use crate::store::error::{AcceptError, StoreError};
use crate::store::work::{Acceptance, NewEvent};

impl Router {
    /// Accepts a request's events, all or none. When this returns `Ok` they are committed.
    ///
    /// # Errors
    /// As [`crate::store::Store::accept`].
    pub async fn accept(&self, events: Vec<Event>) -> Result<Vec<Acceptance>, AcceptError> {
        let mut rooms: Vec<Option<Room>> = Vec::with_capacity(events.len());
        let mut new = Vec::with_capacity(events.len());
        for event in events {
            let room = self.rooms.reserve(&event.carrier, For::Newcomer);
            new.push(NewEvent { digest: event.digest(), hold: room.is_some(), event: Arc::new(event) });
            rooms.push(room);
        }
        let events: Vec<Arc<Event>> = new.iter().map(|n| n.event.clone()).collect();
        let (answer, answered) = oneshot::channel();
        let router = self.clone();
        self.store.accept(
            new,
            Box::new(move |accepted| {
                if let Ok(accepted) = &accepted {
                    router.hand_over(events, rooms, accepted);
                }
                // Nobody listens when the publisher has hung up.
                let _ = answer.send(accepted);
            }),
        )?;
        answered.await.unwrap_or(Err(AcceptError::Store(StoreError::Closed)))
    }

    /// Called on the writer's task: leaves at once.
    fn hand_over(&self, events: Vec<Arc<Event>>, rooms: Vec<Option<Room>>, accepted: &[Acceptance]) {
        let mut held = Vec::with_capacity(events.len());
        let (mut first, mut repeated) = (0, 0);
        for ((event, room), acceptance) in events.into_iter().zip(rooms).zip(accepted) {
            match acceptance {
                Acceptance::First => {
                    first += 1;
                    // Without room it was written unheld; the claimer finds it.
                    held.extend(room.map(|room| (event, room)));
                }
                Acceptance::Repeat { .. } => repeated += 1,
            }
        }
        self.metrics.events_accepted.inc_by(first);
        self.metrics.events_repeated.inc_by(repeated);
        if held.is_empty() || !self.inbox.put(held) {
            return;
        }
        let router = self.clone();
        self.life.tracker().spawn(async move {
            for (event, room) in router.inbox.take() {
                router.route(event, room);
            }
        });
    }
}

/// Events between the commit and their routing. A turn of the writer commits many requests: they are routed together, so
/// that neither a task nor a plugin thread is woken for each.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Vec<(Arc<Event>, Room)>>);

impl Inbox {
    /// Adds events; true when somebody has to be sent to take them.
    fn put(&self, events: Vec<(Arc<Event>, Room)>) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.is_empty();
        waiting.extend(events);
        first
    }

    fn take(&self) -> Vec<(Arc<Event>, Room)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
