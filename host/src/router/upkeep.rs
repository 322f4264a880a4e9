//! What keeps a node alive and its store small: the lease, dead nodes' work, changes of other nodes, retention.

use std::time::Duration;

use super::Router;
use crate::clock::Stopwatch;
use crate::store::Wake;
use crate::store::error::StoreError;

/// How long what attempts say of destinations' health is gathered before it is read: nobody waits for it, and a receiver
/// that comes and goes brings many.
const HEALTH_PAUSE: Duration = Duration::from_millis(50);
/// How often changes are looked for that no wake-up told of, or that could not be read.
const CHANGES_EVERY: Duration = Duration::from_secs(1);
/// When a version that could not be loaded is tried again: first, and at most after doubling.
const MEND_FIRST: Duration = Duration::from_secs(10);
const MEND_LAST: Duration = Duration::from_secs(600);
/// Events deleted by one statement.
const RETENTION_BATCH: u32 = 500;
/// Surveys that one transaction notes as left, or deletes.
const SURVEYS_BATCH: u32 = 200;
/// How often surveys are looked for that nobody goes on with.
const SURVEYS_EVERY: Duration = Duration::from_secs(60);
/// How often old events are looked for.
const RETENTION_EVERY: Duration = Duration::from_secs(600);

impl Router {
    pub(super) fn spawn_tasks(&self) {
        self.life.spawn("claims", self.clone().run_claims());
        self.life.spawn("schedules", self.clone().run_schedules());
        self.life.spawn("lease", self.clone().run_lease());
        self.life.spawn("changes", self.clone().run_changes());
        self.life.spawn("mending", self.clone().run_mending());
        self.life.spawn("surveys", self.clone().run_surveys());
        self.life.spawn("retention", self.clone().run_retention());
        self.life.spawn("media", self.clone().run_media());
    }

    /// Renews this node's row three times within a lease, and takes over from nodes that did not.
    async fn run_lease(self) -> Result<(), StoreError> {
        loop {
            let since = Stopwatch::start();
            tokio::select! {
                () = self.life.soft().cancelled() => {
                    // The stop waits for its tasks, and what they finish may take longer than a lease.
                    tokio::spawn(self.keep_lease());
                    return Ok(());
                }
                () = self.clock.sleep(self.lease / 3) => {}
            }
            match self.store.renew(self.clock.now(), self.lease).await {
                Ok(()) => {}
                Err(lost @ (StoreError::NodeLost | StoreError::Closed)) => return Err(lost),
                Err(why) => {
                    tracing::warn!(%why, waited_ms = since.elapsed().as_millis(), "the lease was not renewed");
                    continue;
                }
            }
            match self.store.take_over(self.clock.now()).await {
                Ok(taken) => {
                    let pieces = taken.events + taken.routings + taken.deliveries + taken.runs;
                    if taken.nodes > 0 {
                        self.metrics.taken_over.inc_by(pieces);
                        tracing::warn!(
                            nodes = taken.nodes,
                            events = taken.events,
                            routings = taken.routings,
                            deliveries = taken.deliveries,
                            runs = taken.runs,
                            "took over the work of nodes that went silent"
                        );
                    }
                }
                Err(why) => tracing::warn!(%why, "dead nodes could not be looked for"),
            }
        }
    }

    /// Renews the lease while what is under way is finished, or another node would take it over and do it again.
    async fn keep_lease(self) {
        loop {
            tokio::select! {
                () = self.life.hard().cancelled() => return,
                () = self.clock.sleep(self.lease / 3) => {}
            }
            match self.store.renew(self.clock.now(), self.lease).await {
                Ok(()) => {}
                Err(StoreError::NodeLost | StoreError::Closed) => return,
                Err(why) => tracing::warn!(%why, "the lease was not renewed"),
            }
        }
    }

    /// Applies what was changed, here or at another node, and says so: at once where somebody waits for it.
    async fn run_changes(self) -> Result<(), StoreError> {
        let mut wakes = self.store.wakes();
        loop {
            if let Err(why) = self.agreement.follow().await {
                tracing::warn!(%why, "a change could not be applied yet; trying again");
            }
            self.schedules.has_changed(&self.directory.carriers());
            let again = tokio::time::sleep(CHANGES_EVERY);
            tokio::pin!(again);
            let mut gathering = false;
            loop {
                tokio::select! {
                    () = self.life.soft().cancelled() => {
                        if let Err(why) = self.agreement.leave().await {
                            tracing::warn!(%why, "the other nodes wait for this one until its lease lapses");
                        }
                        return Ok(());
                    }
                    () = &mut again => break,
                    wake = wakes.recv() => match wake {
                        Ok(Wake::Work | Wake::Run | Wake::Applied) => {}
                        Ok(Wake::Health(_)) if gathering => {}
                        Ok(Wake::Health(_)) => {
                            gathering = true;
                            again.as_mut().reset(tokio::time::Instant::now() + HEALTH_PAUSE);
                        }
                        Ok(Wake::Config(_) | Wake::Keys) | Err(_) => break,
                    },
                }
            }
        }
    }

    /// Tries again to load versions that could not be loaded: the disk was full, or compiling took too long. Their events
    /// go on when they can.
    async fn run_mending(self) -> Result<(), StoreError> {
        let mut wait = MEND_FIRST;
        loop {
            tokio::select! {
                () = self.life.soft().cancelled() => return Ok(()),
                () = self.clock.sleep(wait) => {}
            }
            let mended = async {
                let (mended, left) = self.agreement.mend().await?;
                for version in mended {
                    tracing::info!(owner = version.owner, plugin = %version.plugin, version = version.version,
                        "a version can be loaded after all; its events go on");
                    self.release(&version.owner, &version.plugin).await?;
                }
                Ok::<_, StoreError>(left)
            };
            wait = match mended.await {
                Ok(true) => (wait * 2).min(MEND_LAST),
                Ok(false) => MEND_FIRST,
                Err(why) => {
                    tracing::warn!(%why, "versions that cannot be loaded could not be tried again");
                    wait
                }
            };
        }
    }

    /// Notes surveys as left that nobody went on with, which tells their carriers.
    async fn run_surveys(self) -> Result<(), StoreError> {
        let mut now = self.clock.now();
        loop {
            tokio::select! {
                () = self.life.soft().cancelled() => return Ok(()),
                // From the moment that was looked at: what passes while it is looked is not slept over.
                () = self.clock.sleep_until(now.plus(SURVEYS_EVERY)) => {}
            }
            now = self.clock.now();
            loop {
                match self.store.leave_due_surveys(now, SURVEYS_BATCH).await {
                    Ok(n) if n < u64::from(SURVEYS_BATCH) => break,
                    Ok(_) => {}
                    Err(why) => {
                        tracing::warn!(%why, "surveys that were left could not be looked for; trying again");
                        break;
                    }
                }
            }
        }
    }

    async fn run_retention(self) -> Result<(), StoreError> {
        let mut now = self.clock.now();
        loop {
            tokio::select! {
                () = self.life.soft().cancelled() => return Ok(()),
                () = self.clock.sleep_until(now.plus(RETENTION_EVERY)) => {}
            }
            now = self.clock.now();
            let keep = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
            let before = crate::clock::Millis(now.0.saturating_sub(keep));
            loop {
                match self.store.delete_before(before, now, RETENTION_BATCH).await {
                    Ok(n) if n < u64::from(RETENTION_BATCH) => break,
                    Ok(_) => {}
                    Err(why) => {
                        tracing::warn!(%why, "old events could not be deleted; trying again later");
                        break;
                    }
                }
            }
            loop {
                match self.store.delete_surveys_before(before, SURVEYS_BATCH).await {
                    Ok(n) if n < u64::from(SURVEYS_BATCH) => break,
                    Ok(_) => {}
                    Err(why) => {
                        tracing::warn!(%why, "old surveys could not be deleted; trying again later");
                        break;
                    }
                }
            }
        }
    }
}
