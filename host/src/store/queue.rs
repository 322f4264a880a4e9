//! What waits for the writer: the three steps of an event's way, jobs, and who is told how it ended.
//!
//! Plain data and its callers. It must not know how a turn is written.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::db::Conn;
use super::error::{AcceptError, HeldError, StoreError};
use super::work::{Acceptance, NewAttempt, NewEvent, Plan};
use super::{Done, Shared, Wake};

/// What a job gives its caller, whatever the type.
pub(super) type Given = Box<dyn Any + Send>;

/// A job's writes, which run inside its transaction.
pub(super) type Steps = Box<
    dyn for<'c, 'w> FnOnce(
            &'c mut Work<'w>,
        ) -> Pin<Box<dyn Future<Output = Result<Given, StoreError>> + Send + 'c>>
        + Send,
>;

/// A write that is not one of the three of the event's way: its own transaction between two turns.
pub(super) struct Job {
    pub(super) steps: Steps,
    /// Told after the commit.
    pub(super) answer: oneshot::Sender<Result<Given, StoreError>>,
}

/// What a job works with.
pub(super) struct Work<'w> {
    pub(super) conn: &'w mut Conn,
    pub(super) shared: &'w Shared,
    /// Sent after the commit.
    pub(super) wakes: &'w mut Vec<Wake>,
}

/// Who waits for an answer. The lock is never contended: it lets a turn be lent to its steps between threads.
pub(super) struct Caller<T>(Mutex<Done<T>>);

impl<T> Caller<T> {
    pub(super) fn new(done: Done<T>) -> Self {
        Self(Mutex::new(done))
    }

    /// Calls it.
    pub(super) fn tell(self, answer: T) {
        (self.0.into_inner().unwrap_or_else(PoisonError::into_inner))(answer);
    }
}

/// A request's events, which stand or fall together.
pub(super) struct Group {
    pub(super) events: Vec<NewEvent>,
    pub(super) done: Caller<Result<Vec<Acceptance>, AcceptError>>,
}

/// An event's plan, and who waits for it.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) done: Caller<Result<(), HeldError>>,
}

/// An attempt, and who waits for it.
pub(super) struct Attempted {
    pub(super) attempt: Arc<NewAttempt>,
    pub(super) done: Caller<Result<(), HeldError>>,
}

/// What is sent to the writer.
pub(super) enum Command {
    Accept(Group),
    Plan(Planned),
    Record(Attempted),
    Job(Job),
    Close(oneshot::Sender<()>),
}

/// What one transaction writes.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) groups: Vec<Group>,
    pub(super) plans: Vec<Planned>,
    pub(super) attempts: Vec<Attempted>,
}

impl Turn {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len() + self.plans.len() + self.attempts.len()
    }

    /// Two turns of half the size, so that what is bad is found in a few steps. Of two items or more, each has some.
    pub(super) fn halves(mut self) -> (Self, Self) {
        let mut left = self.len() / 2;
        let mut keep = |n: usize| {
            let kept = n.min(left);
            left -= kept;
            kept
        };
        let (groups, plans, attempts) =
            (keep(self.groups.len()), keep(self.plans.len()), keep(self.attempts.len()));
        let second = Self {
            groups: self.groups.split_off(groups),
            plans: self.plans.split_off(plans),
            attempts: self.attempts.split_off(attempts),
        };
        (self, second)
    }

    pub(super) fn fail(self, mut error: impl FnMut() -> StoreError) {
        for group in self.groups {
            group.done.tell(Err(AcceptError::Store(error())));
        }
        for p in self.plans {
            p.done.tell(Err(HeldError::Store(error())));
        }
        for a in self.attempts {
            a.done.tell(Err(HeldError::Store(error())));
        }
    }
}

impl Command {
    /// Tells the caller that there is no writer any more.
    pub(super) fn refuse(self) {
        match self {
            Self::Accept(g) => g.done.tell(Err(AcceptError::Store(StoreError::Closed))),
            Self::Plan(p) => p.done.tell(Err(HeldError::Store(StoreError::Closed))),
            Self::Record(a) => a.done.tell(Err(HeldError::Store(StoreError::Closed))),
            // Their callers see that the channel's other end is gone.
            Self::Job(_) | Self::Close(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;
    use crate::event::Event;
    use crate::store::work::Next;

    fn turn(groups: usize, plans: usize, attempts: usize) -> Turn {
        let event = Arc::new(Event {
            carrier: "acme".parse().unwrap(),
            id: "evt".parse().unwrap(),
            event_type: "case.closed".parse().unwrap(),
            received: Millis(1),
            attributes: [].into(),
            payload: bytes::Bytes::from_static(b"{}"),
        });
        let attempt = Arc::new(NewAttempt {
            carrier: event.carrier.clone(),
            delivery: "019a15a9-0000-7000-8000-000000000001".parse().unwrap(),
            number: 1,
            started: Millis(1),
            duration_us: 1,
            outcome: "delivered",
            status: Some(200),
            error: None,
            request: "{}".to_owned(),
            response_headers: None,
            response_body: None,
            next: Next::Delivered,
            destination: None,
        });
        let plan =
            || Plan { event: event.clone(), routings: Vec::new(), collected: Vec::new(), whole_event: true };
        Turn {
            groups: (0..groups)
                .map(|_| Group { events: Vec::new(), done: Caller::new(Box::new(drop)) })
                .collect(),
            plans: (0..plans).map(|_| Planned { plan: plan(), done: Caller::new(Box::new(drop)) }).collect(),
            attempts: (0..attempts)
                .map(|_| Attempted { attempt: attempt.clone(), done: Caller::new(Box::new(drop)) })
                .collect(),
        }
    }

    /// A turn of one group and one attempt was once cut into itself and nothing, for ever.
    #[test]
    fn a_turn_is_halved_until_each_piece_is_one() {
        for (groups, plans, attempts) in
            (0..4).flat_map(|g| (0..4).flat_map(move |p| (0..4).map(move |a| (g, p, a))))
        {
            let (mut stack, mut ones) = (vec![turn(groups, plans, attempts)], (0, 0, 0));
            let mut steps = 0;
            while let Some(turn) = stack.pop() {
                steps += 1;
                assert!(steps < 64, "{groups} groups, {plans} plans, {attempts} attempts");
                if turn.len() > 1 {
                    let (first, second) = turn.halves();
                    stack.extend([second, first]);
                } else {
                    ones =
                        (ones.0 + turn.groups.len(), ones.1 + turn.plans.len(), ones.2 + turn.attempts.len());
                }
            }
            assert_eq!(ones, (groups, plans, attempts));
        }
    }
}
