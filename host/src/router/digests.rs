//! Aside: one run of a scheduled subscription, from its tick to its watermark, in bounded memory.
//!
//! What was collected is taken in slices, group by group. Each step reads at most a digest's worth of events, or as many
//! small groups, and writes their digests in one transaction, between those of other work. A digest then goes the way of a
//! routing that is run again. Nothing here is kept between two steps but what the store knows as well.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Router;
use crate::clock::Millis;
use crate::event::{Event, SubscriptionId};
use crate::name::NameError;
use crate::schedule::{Digest, Packer, Parts, Schedule, digest_event};
use crate::store::collected::{After, CollectedKey, Window};
use crate::store::error::{HeldError, StoreError};
use crate::store::schedules::{NewDigest, Run, RunKind, ScheduleKey, ScheduleRecord, Stand};
use crate::telemetry::Kind;

/// How long a run waits for events that came in time and are just being committed.
const SETTLE: Duration = Duration::from_millis(500);
/// How long it waits in all for those that are not routed yet. What is later than that is for the next tick.
const SETTLE_MOST: Duration = Duration::from_secs(30);
/// How often it looks whether they are.
const SETTLE_LOOK: Duration = Duration::from_millis(100);
/// Keys of events that a step reads; no less than events of a digest.
const SLICE: u32 = 1_000;
/// Keys of events that are read at once where they are only counted.
const COUNTED: u32 = 5_000;
/// Bytes of events above which a step takes no further group.
const STEP_BYTES: u64 = 512 << 10;
/// Digests that a step writes at most: other work waits for its transaction.
const STEP_DIGESTS: usize = 64;
/// Routings that may wait to be claimed before a run makes more.
const WAITING: u32 = 256;
/// How often it looks whether they are fewer.
const EASE_LOOK: Duration = Duration::from_millis(50);

/// Why a run was broken off.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// A step was not written.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// What was collected cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A digest has no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// What a run is about, all along.
struct Tick<'a> {
    key: &'a ScheduleKey,
    /// The tick before.
    from: Millis,
    window: Window,
}

/// What a step takes of a slice.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// Whole groups, each in one digest.
    Groups(Vec<Range<usize>>),
    /// The first so many events of the first group, which has several digests.
    Part(usize),
}

impl Router {
    /// Makes a run that is due, or goes on with one.
    ///
    /// # Errors
    /// When it was broken off; it is gone on with at the next look.
    pub(super) async fn make_run(
        &self,
        seen: &ScheduleRecord,
        new: Option<(Millis, RunKind)>,
    ) -> Result<(), RunError> {
        let key = &seen.key;
        let now = self.clock.now();
        let held = match new {
            Some((to, kind)) => self.store.begin_run(key, to, kind, now, seen.watermark).await?,
            None => self.store.take_run(key).await?,
        };
        let record = if held { self.store.schedule(key).await? } else { None };
        let Some(ScheduleRecord { created, watermark, run: Some(mut run), .. }) = record else {
            return Ok(());
        };
        if let Some((to, kind)) = new {
            self.metrics.schedule_runs.get_or_create(&Kind { kind: kind.as_str() }).inc();
            self.metrics.schedule_lateness_seconds.observe(now.since(to).as_secs_f64());
        }
        if run.digests == 0 {
            self.settle(key, run.to).await?;
        }
        let tick = Tick { key, from: watermark, window: Window { from: created, to: run.to } };
        loop {
            if self.life.soft().is_cancelled() {
                // The store lets go of it when it is closed.
                return Ok(());
            }
            let stands = self.directory.carrier(&key.carrier);
            if !stands.is_some_and(|view| view.standing.iter().any(|s| s.id == key.subscription)) {
                self.store.let_go_of_run(key).await?;
                return Ok(());
            }
            self.ease().await?;
            let Some((digests, stand)) = self.next_step(&tick, &run).await? else { break };
            let events: u64 = digests.iter().map(|digest| digest.members.len() as u64).sum();
            let n = digests.len() as u64;
            self.store.write_digests(key, &run, digests, stand.clone()).await?;
            self.metrics.digests.inc_by(n);
            self.metrics.digest_events.inc_by(events);
            (run.digests, run.events) = (run.digests + n, run.events + events);
            (run.group, run.part, run.parts) = (Some(stand.group), stand.part, stand.parts);
        }
        self.store.end_run(key, &run, self.clock.now()).await?;
        tracing::debug!(carrier = %key.carrier, subscription = %key.subscription, to_ms = run.to.0,
            kind = run.kind.as_str(), digests = run.digests, events = run.events, "a tick is done");
        Ok(())
    }

    /// Waits until what was received by the tick is routed, as far as that does not take too long: it makes digests
    /// complete. Nothing depends on it, since what comes later is in the next one.
    async fn settle(&self, key: &ScheduleKey, to: Millis) -> Result<(), StoreError> {
        let routed = async {
            tokio::time::sleep(SETTLE).await;
            while self.store.open_until(&key.carrier, to).await? {
                tokio::time::sleep(SETTLE_LOOK).await;
            }
            Ok(())
        };
        tokio::select! {
            () = self.life.soft().cancelled() => Ok(()),
            done = tokio::time::timeout(SETTLE_MOST, routed) => done.unwrap_or(Ok(())),
        }
    }

    /// Waits until few routings wait to be claimed.
    async fn ease(&self) -> Result<(), StoreError> {
        while self.store.routings_waiting(self.clock.now(), WAITING).await? >= WAITING {
            tokio::select! {
                () = self.life.soft().cancelled() => return Ok(()),
                () = tokio::time::sleep(EASE_LOOK) => {}
            }
        }
        Ok(())
    }

    /// The digests of the next step, and where the run stands after it; nothing when everything is taken.
    async fn next_step(
        &self,
        tick: &Tick<'_>,
        run: &Run,
    ) -> Result<Option<(Vec<NewDigest>, Stand)>, RunError> {
        let group = run.group.as_deref().unwrap_or("");
        let begun = run.part < run.parts;
        let slice = self.store.collected(tick.key, tick.window, after(group, !begun), SLICE).await?;
        let Some(first) = slice.first() else { return Ok(None) };
        // A group that has begun has events left, since they only become more.
        let begun = begun && first.group == group;
        Ok(Some(match take(&slice, slice.len() < SLICE as usize, begun) {
            Taken::Groups(groups) => {
                let end = groups.last().map_or(0, |last| last.end);
                let events = self.store.events_of(&tick.key.carrier, &slice[..end]).await?;
                let only = Parts { part: 1, parts: 1 };
                let made = groups
                    .into_iter()
                    .map(|range| self.digest(tick, &slice[range.clone()], &events[range], only))
                    .collect::<Result<_, _>>()?;
                (made, Stand { group: slice[end - 1].group.clone(), part: 1, parts: 1 })
            }
            Taken::Part(n) => {
                let parts = match begun {
                    true => Parts { part: run.part + 1, parts: run.parts },
                    false => Parts { part: 1, parts: self.count_parts(tick, &first.group).await? },
                };
                let events = self.store.events_of(&tick.key.carrier, &slice[..n]).await?;
                let made = self.digest(tick, &slice[..n], &events, parts)?;
                (vec![made], Stand { group: first.group.clone(), part: parts.part, parts: parts.parts })
            }
        }))
    }

    fn digest(
        &self,
        tick: &Tick<'_>,
        members: &[CollectedKey],
        events: &[Arc<Event>],
        parts: Parts,
    ) -> Result<NewDigest, NameError> {
        let digest = Digest {
            carrier: &tick.key.carrier,
            subscription: &tick.key.subscription,
            from: tick.from,
            to: tick.window.to,
            group: &members[0].group,
            parts,
        };
        let event = digest_event(&digest, events, self.clock.now())?;
        Ok(NewDigest { event: Arc::new(event), members: members.to_vec() })
    }

    /// How many digests a group takes. What joins it later makes them no fewer.
    async fn count_parts(&self, tick: &Tick<'_>, group: &str) -> Result<u32, StoreError> {
        let mut packer = Packer::default();
        let mut last: Option<CollectedKey> = None;
        loop {
            let from = match &last {
                Some(last) => After { group, received: last.received, event: last.event.as_str() },
                None => after(group, false),
            };
            let slice = self.store.collected(tick.key, tick.window, from, COUNTED).await?;
            let members = slice.iter().take_while(|key| key.group == group);
            let counted = members.map(|key| packer.add(key.bytes)).count();
            if counted < COUNTED as usize {
                return Ok(packer.parts());
            }
            last = slice.into_iter().last();
        }
    }
}

/// The place before a group, or after it.
fn after(group: &str, done: bool) -> After<'_> {
    match done {
        // Ids are printable ASCII, and none begins with this.
        true => After { group, received: Millis(i64::MAX), event: "\u{7f}" },
        false => After { group, received: Millis(i64::MIN), event: "" },
    }
}

/// What the next step takes. `whole` says that nothing follows the slice, so that its last group is complete; `begun`, that
/// some digests of the first group are written already.
fn take(slice: &[CollectedKey], whole: bool, begun: bool) -> Taken {
    let group = |from: usize| slice[from..].iter().take_while(|key| key.group == slice[from].group).count();
    let (mut groups, mut bytes, mut end) = (Vec::new(), 0_u64, 0);
    while !begun && end < slice.len() && groups.len() < STEP_DIGESTS {
        let n = group(end);
        let members = &slice[end..end + n];
        let fits = Packer::first(members.iter().map(|key| key.bytes)) == n;
        bytes = members.iter().fold(bytes, |sum, key| sum.saturating_add(key.bytes));
        let complete = whole || end + n < slice.len();
        if !(fits && complete) || (end > 0 && bytes > STEP_BYTES) {
            break;
        }
        groups.push(end..end + n);
        end += n;
    }
    if groups.is_empty() {
        return Taken::Part(Packer::first(slice[..group(0)].iter().map(|key| key.bytes)));
    }
    Taken::Groups(groups)
}

/// What a scheduled subscription's chain would get if this event were all that came.
pub(super) fn alone(
    schedule: &Schedule,
    subscription: &SubscriptionId,
    event: Event,
    now: Millis,
) -> Result<Event, NameError> {
    let digest = Digest {
        carrier: &event.carrier.clone(),
        subscription,
        from: event.received,
        to: now,
        group: &schedule.group_of(&event),
        parts: Parts { part: 1, parts: 1 },
    };
    digest_event(&digest, &[Arc::new(event)], now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(n: usize) -> Taken {
        Taken::Groups(std::iter::once(0..n).collect())
    }

    fn slice(groups: &[(&str, &[u64])]) -> Vec<CollectedKey> {
        let mut all = Vec::new();
        for (group, sizes) in groups {
            for (n, bytes) in sizes.iter().enumerate() {
                let event = format!("{group}-{n}").parse().unwrap();
                all.push(CollectedKey {
                    group: (*group).to_owned(),
                    received: Millis(0),
                    event,
                    bytes: *bytes,
                });
            }
        }
        all
    }

    #[test]
    fn small_groups_share_a_step_and_a_large_one_has_several() {
        let small = slice(&[("a", &[10, 10]), ("b", &[10]), ("c", &[10])]);
        assert_eq!(take(&small, true, false), Taken::Groups(vec![0..2, 2..3, 3..4]));
        // What follows the slice may belong to its last group.
        assert_eq!(take(&small, false, false), Taken::Groups(vec![0..2, 2..3]));
        let heavy = slice(&[("a", &[400 << 10]), ("b", &[400 << 10])]);
        assert_eq!(take(&heavy, true, false), first(1));
        let large = slice(&[("a", &[400 << 10, 100 << 10, 100 << 10]), ("b", &[1])]);
        assert_eq!(take(&large, true, false), Taken::Part(2));
        let second = slice(&[("a", &[10]), ("b", &[400 << 10, 400 << 10])]);
        assert_eq!(take(&second, true, false), first(1));
        // A group that has begun goes on by itself, however little of it is left.
        assert_eq!(take(&small, true, true), Taken::Part(2));
        let names: Vec<String> = (0..STEP_DIGESTS + 9).map(|n| format!("g-{n:03}")).collect();
        let many: Vec<(&str, &[u64])> = names.iter().map(|name| (name.as_str(), &[1][..])).collect();
        let Taken::Groups(groups) = take(&slice(&many), true, false) else { panic!("groups") };
        assert_eq!(groups.len(), STEP_DIGESTS);
        let one = slice(&[("a", &[2 << 20])]);
        assert_eq!(take(&one, true, false), first(1), "what is too large has one to itself");
        assert_eq!(take(&one, false, false), Taken::Part(1));
    }
}
