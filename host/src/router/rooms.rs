//! Room in memory for events between accept and plan: so many in all, and no more than half of them for one carrier.
//!
//! What finds no room is written unheld and claimed later, so a full house costs time and never an event. It must not
//! know what an event is.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::event::CarrierId;

/// All the rooms of a host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rooms(Arc<House>);

#[derive(Debug)]
struct House {
    most: usize,
    most_per_carrier: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_carrier: HashMap<CarrierId, usize>,
    /// Carriers that have events waiting in the store.
    waiting: HashSet<CarrierId>,
}

/// Room for one event; given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    house: Arc<House>,
    carrier: CarrierId,
}

/// Who asks for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// An event that just came in.
    Newcomer,
    /// An event that waits in the store.
    Waiting,
}

impl Rooms {
    /// A house of `most` rooms.
    pub fn new(most: usize) -> Self {
        let most_per_carrier = (most / 2).max(1);
        Self(Arc::new(House { most, most_per_carrier, taken: Mutex::default(), freed: Notify::new() }))
    }

    /// A room for one of the carrier's events. Without one, the carrier is remembered as having events in the store;
    /// newcomers then leave half of the rooms to those, so that they are not overtaken for ever.
    pub fn reserve(&self, carrier: &CarrierId, who: For) -> Option<Room> {
        let mut taken = self.0.lock();
        let mine = taken.by_carrier.get(carrier).copied().unwrap_or(0);
        let bound = match who {
            For::Newcomer if taken.waiting.contains(carrier) => self.0.most_per_carrier / 2,
            For::Newcomer | For::Waiting => self.0.most_per_carrier,
        };
        if taken.all >= self.0.most || mine >= bound {
            if who == For::Newcomer {
                taken.waiting.insert(carrier.clone());
            }
            return None;
        }
        taken.all += 1;
        match taken.by_carrier.get_mut(carrier) {
            Some(n) => *n += 1,
            None => {
                taken.by_carrier.insert(carrier.clone(), 1);
            }
        }
        Some(Room { house: self.0.clone(), carrier: carrier.clone() })
    }

    /// Says whether the carrier has events waiting in the store.
    pub fn set_waiting(&self, carrier: &CarrierId, waiting: bool) {
        let mut taken = self.0.lock();
        if waiting {
            taken.waiting.insert(carrier.clone());
        } else {
            taken.waiting.remove(carrier);
        }
    }

    /// Carriers that have events waiting in the store, as far as this node knows.
    pub fn waiting(&self) -> Vec<CarrierId> {
        self.0.lock().waiting.iter().cloned().collect()
    }

    /// How many rooms are taken.
    pub fn taken(&self) -> usize {
        self.0.lock().all
    }

    /// Resolves when a carrier that has events waiting has got room again.
    pub async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

impl House {
    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        // Counters are whole after every statement, so a panic elsewhere leaves nothing half done.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut taken = self.house.lock();
        taken.all -= 1;
        let mut mine = 0;
        if let Some(n) = taken.by_carrier.get_mut(&self.carrier) {
            *n -= 1;
            mine = *n;
        }
        if mine == 0 {
            taken.by_carrier.remove(&self.carrier);
        }
        // Claims come in batches: wake the claimer when a good part is free, not for every single room.
        let wake = taken.waiting.contains(&self.carrier) && mine <= self.house.most_per_carrier / 2;
        drop(taken);
        if wake {
            self.house.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carrier(name: &str) -> CarrierId {
        name.parse().unwrap()
    }

    #[test]
    fn one_carrier_cannot_take_the_whole_house() {
        let rooms = Rooms::new(8);
        let (a, b) = (carrier("a"), carrier("b"));
        let taken: Vec<_> = std::iter::from_fn(|| rooms.reserve(&a, For::Newcomer)).collect();
        assert_eq!(taken.len(), 4);
        assert_eq!(rooms.waiting(), std::slice::from_ref(&a));
        assert!(rooms.reserve(&b, For::Newcomer).is_some());
        drop(taken);
        assert_eq!(rooms.taken(), 0);
    }

    #[test]
    fn newcomers_leave_room_for_those_that_wait() {
        let rooms = Rooms::new(8);
        let a = carrier("a");
        rooms.set_waiting(&a, true);
        let new: Vec<_> = std::iter::from_fn(|| rooms.reserve(&a, For::Newcomer)).collect();
        assert_eq!(new.len(), 2);
        let old: Vec<_> = std::iter::from_fn(|| rooms.reserve(&a, For::Waiting)).collect();
        assert_eq!(old.len(), 2);
    }

    #[tokio::test]
    async fn a_freed_room_wakes_the_claimer() {
        let rooms = Rooms::new(4);
        let a = carrier("a");
        let taken: Vec<_> = std::iter::from_fn(|| rooms.reserve(&a, For::Newcomer)).collect();
        drop(taken);
        rooms.freed().await;
    }
}
