//! The one task that writes, turn by turn.
//!
//! Whatever has queued while the last turn committed is written by the next in one transaction; then the waiting
//! callers are answered. It waits for nothing but the database inside a turn, and on SQLite blocks its thread for it.
//! What the statements say stands in the files of the business steps; it must not know who waits for the answers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::TransactionBehavior;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;

use super::db::{Conn, Db, on_db};
use super::error::StoreError;
pub(super) use super::queue::{Attempted, Caller, Command, Given, Group, Job, Planned, Steps, Turn, Work};
use super::{Shared, Wake, accept, agreement, plan, postgres, record};

/// Work items (events, plans and attempts) that one turn takes at most.
const TURN_ITEMS: usize = 2_048;

/// Bytes of bodies that one turn takes at most; the group that crosses the line is still taken.
const TURN_BYTES: usize = 8 << 20;

/// How a turn ended that was not committed.
enum Undone {
    /// Some of it was known, refused or lost: what is left must be written again.
    Again,
    /// The database said no.
    Failed(StoreError),
}

impl From<StoreError> for Undone {
    fn from(e: StoreError) -> Self {
        Self::Failed(e)
    }
}

/// The task's state.
pub(super) struct Writer {
    /// What jobs and look-ups use, and on PostgreSQL the turns, too.
    pub(super) conn: Option<Conn>,
    /// What the turns use on SQLite.
    pub(super) turns: Option<rusqlite::Connection>,
    pub(super) shared: Arc<Shared>,
    pub(super) queue: mpsc::UnboundedReceiver<Command>,
    /// What a commit of unknown outcome may have left held by this node though nobody works on it.
    pub(super) doubtful: Doubtful,
    /// What hears other nodes; it ends with the writer.
    pub(super) listener: Option<tokio::task::JoinHandle<()>>,
    /// The data folder's lock; it is given up with the writer.
    pub(super) lock: Option<std::fs::File>,
}

/// Keys of events and deliveries whose commit was not answered.
#[derive(Default)]
pub(super) struct Doubtful {
    pub(super) events: Vec<(String, i64, String)>,
    pub(super) deliveries: Vec<(String, String)>,
}

impl Writer {
    /// Takes turns until it is closed or every sender is gone.
    pub(super) async fn run(mut self) {
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(command) => Some(command),
                None => self.queue.recv().await,
            };
            let Some(first) = first else { break };
            match first {
                Command::Close(told) => {
                    self.queue.close();
                    while let Some(late) = self.queue.recv().await {
                        late.refuse();
                    }
                    self.end().await;
                    // Whoever asked may be gone.
                    let _ = told.send(());
                    return;
                }
                Command::Job(job) => self.job(job).await,
                work => {
                    let turn = self.gather(work, &mut next);
                    self.turn(turn).await;
                }
            }
        }
        self.end().await;
    }

    /// Drains what has queued, up to the bounds of a turn. A command that is not part of a turn ends it.
    fn gather(&mut self, first: Command, next: &mut Option<Command>) -> Turn {
        let (mut turn, mut items, mut bytes) = (Turn::default(), 0, 0);
        let mut command = Some(first);
        while let Some(c) = command.take() {
            match c {
                Command::Accept(group) => {
                    items += group.events.len();
                    bytes += group.events.iter().map(|e| e.event.payload.len()).sum::<usize>();
                    self.shared.queued.fetch_sub(group.events.len(), Ordering::Relaxed);
                    turn.groups.push(group);
                }
                Command::Plan(p) => {
                    items += 1 + p.plan.routings.iter().map(|r| r.deliveries.len()).sum::<usize>();
                    bytes += plan::bytes(&p.plan);
                    turn.plans.push(p);
                }
                Command::Record(a) => {
                    items += 1;
                    bytes += a.attempt.response_body.as_ref().map_or(0, bytes::Bytes::len);
                    turn.attempts.push(a);
                }
                other => {
                    *next = Some(other);
                    break;
                }
            }
            if items >= TURN_ITEMS || bytes >= TURN_BYTES {
                break;
            }
            command = self.queue.try_recv().ok();
        }
        turn
    }

    /// Writes a turn. What is bad in it fails alone: a turn that the database refuses is halved until it is found.
    async fn turn(&mut self, turn: Turn) {
        let mut stack = vec![turn];
        while let Some(turn) = stack.pop() {
            if let Some((turn, error)) = self.write(turn).await {
                if turn.len() > 1 && error.is_about_rows() {
                    let (first, second) = turn.halves();
                    stack.push(second);
                    stack.push(first);
                    continue;
                }
                if error.breaks_connection() {
                    self.doubt(&turn);
                    self.drop_conn();
                }
                let text = error.to_string();
                let mut first = Some(error);
                turn.fail(|| first.take().unwrap_or_else(|| StoreError::Turn { why: text.clone() }));
            }
        }
    }

    /// One or more tries at a turn's transaction. Gives back what could not be written.
    async fn write(&mut self, mut turn: Turn) -> Option<(Turn, StoreError)> {
        let mut known = accept::Known::default();
        // Each round settles at least one event, plan or attempt, unless another node is at work on the same rows.
        for _ in 0..8 {
            if turn.is_empty() {
                return None;
            }
            if let Err(e) = self.prepare(&mut turn).await {
                return Some((turn, e));
            }
            let resolved = accept::resolve(&self.shared, &turn.groups, &known);
            let mut wakes = Vec::new();
            accept::wakes(&resolved, &mut wakes);
            plan::wakes(&turn.plans, &mut wakes);
            record::wakes(&turn.attempts, &mut wakes);
            match self.attempt(&turn, &resolved, &mut wakes).await {
                Ok(()) => {
                    self.shared.wake(wakes);
                    accept::answer(&self.shared, std::mem::take(&mut turn.groups), resolved);
                    for p in turn.plans {
                        p.done.tell(Ok(()));
                    }
                    for a in turn.attempts {
                        a.done.tell(Ok(()));
                    }
                    return None;
                }
                Err(Undone::Failed(e)) => return Some((turn, e)),
                Err(Undone::Again) => {
                    if let Err(e) = self.settle(&mut turn, &mut known).await {
                        return Some((turn, e));
                    }
                }
            }
        }
        Some((turn, StoreError::Turn { why: "the rows kept changing under it".to_owned() }))
    }

    /// Looks up what a turn needs to know before it is resolved: carriers that this node has not seen, full backlogs.
    async fn prepare(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        accept::learn(self.conn().await?, &shared, &turn.groups).await
    }

    /// The transaction itself.
    async fn attempt(
        &mut self,
        turn: &Turn,
        resolved: &accept::Resolved,
        wakes: &mut Vec<Wake>,
    ) -> Result<(), Undone> {
        let shared = Arc::clone(&self.shared);
        let node = shared.node.as_str();
        if let Some(conn) = &mut self.turns {
            dedupe(wakes);
            let number = attempt_sqlite(conn, node, turn, resolved, wakes)?;
            shared.has_changed(number);
            return Ok(());
        }
        let conn = self.conn().await?;
        begin(conn, &shared).await?;
        let written = match conn {
            Db::Sqlite(_) => Err(StoreError::Closed),
            Db::Postgres(conn) => attempt_postgres(conn, node, turn, resolved).await,
        };
        match self.finish(written.map(|complete| complete.then_some(())), wakes).await? {
            Some(()) => Ok(()),
            None => Err(Undone::Again),
        }
    }

    /// After a turn that did not change all the rows that it named: finds out which, and answers those.
    async fn settle(&mut self, turn: &mut Turn, known: &mut accept::Known) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let conn = self.conn().await?;
        accept::look_up(conn, &turn.groups, known).await?;
        plan::drop_lost(conn, &shared, &mut turn.plans).await?;
        record::drop_lost(conn, &shared, &mut turn.attempts).await
    }

    /// Commits what was written, or takes it back. `Ok(None)` is taken back as well.
    async fn finish<T>(
        &mut self,
        written: Result<Option<T>, StoreError>,
        wakes: &mut Vec<Wake>,
    ) -> Result<Option<T>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let conn = self.conn().await?;
        let end = match written {
            Ok(Some(value)) => {
                dedupe(wakes);
                let committed = async {
                    let number = agreement::number(conn, wakes).await?;
                    postgres::tell_others(conn, &shared, wakes).await?;
                    conn.run("COMMIT").await?;
                    Ok(number)
                };
                committed.await.map(|number| {
                    shared.has_changed(number);
                    Some(value)
                })
            }
            Ok(None) => return conn.run("ROLLBACK").await.map(|()| None).map_err(StoreError::from),
            Err(e) => Err(e),
        };
        if let Err(e) = &end {
            // SQLite has already rolled back after some errors; a lost connection has no transaction any more.
            let rolled = conn.run("ROLLBACK").await;
            if e.breaks_connection() || rolled.is_err_and(|e| !matches!(e, sqlx::Error::Database(_))) {
                self.drop_conn();
            }
        }
        end
    }

    async fn job(&mut self, job: Job) {
        let mut wakes = Vec::new();
        let result = self.steps(job.steps, &mut wakes).await;
        if result.as_ref().is_err_and(StoreError::breaks_connection) {
            self.drop_conn();
        }
        // The wake-ups come first: what they wake is under way when the caller goes on.
        if result.is_ok() {
            self.shared.wake(wakes);
        }
        // Whoever asked may be gone; the write stands all the same.
        let _ = job.answer.send(result);
    }

    async fn steps(&mut self, steps: Steps, wakes: &mut Vec<Wake>) -> Result<Given, StoreError> {
        let shared = Arc::clone(&self.shared);
        let conn = self.conn().await?;
        begin(conn, &shared).await?;
        let written = steps(&mut Work { conn, shared: &shared, wakes: &mut *wakes }).await;
        self.finish(written.map(Some), wakes).await?.ok_or(StoreError::Closed)
    }

    /// The connection, made anew when it was lost. What a lost commit left in doubt is released first.
    async fn conn(&mut self) -> Result<&mut Conn, StoreError> {
        if self.conn.is_none() {
            let conn = self.shared.connect_writer().await?;
            self.conn = Some(conn);
        }
        let Some(conn) = self.conn.as_mut() else { return Err(StoreError::Closed) };
        if !(self.doubtful.events.is_empty() && self.doubtful.deliveries.is_empty()) {
            super::node::release_doubtful(conn, self.shared.node.as_str(), &self.doubtful).await?;
            self.doubtful = Doubtful::default();
        }
        Ok(conn)
    }

    fn drop_conn(&mut self) {
        // On SQLite the connection is a file of this process and cannot be lost.
        if matches!(self.conn, Some(Db::Postgres(_))) {
            self.conn = None;
        }
    }

    /// Remembers what may be held from birth by a turn whose commit was not answered.
    fn doubt(&mut self, turn: &Turn) {
        for group in &turn.groups {
            for e in &group.events {
                let key = (e.event.carrier.to_string(), e.event.received.0, e.event.id.to_string());
                self.doubtful.events.push(key);
            }
        }
        for p in &turn.plans {
            for d in p.plan.routings.iter().flat_map(|r| &r.deliveries) {
                self.doubtful.deliveries.push((p.plan.event.carrier.to_string(), d.id.to_string()));
            }
        }
    }

    /// Releases what this node holds and removes its row, so that others need not wait for its lease to lapse.
    async fn end(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
        let node = self.shared.node.clone();
        if let Ok(conn) = self.conn().await {
            let released = super::node::leave(conn, node.as_str()).await;
            if let Err(error) = released {
                tracing::warn!(%error, "this node's work is not released; others take it over when its lease lapses");
            }
        }
        self.turns = None;
        match self.conn.take() {
            Some(Db::Sqlite(c)) => drop(sqlx::Connection::close(c).await),
            Some(Db::Postgres(c)) => drop(sqlx::Connection::close(c).await),
            None => {}
        }
        self.lock = None;
    }
}

fn dedupe(wakes: &mut Vec<Wake>) {
    let mut seen = HashSet::new();
    wakes.retain(|w| seen.insert(w.clone()));
}

/// A turn's transaction on SQLite, from beginning to end on this thread. What is not committed is taken back. Gives the
/// number of what the wake-ups are about, as [`agreement::number`] does.
fn attempt_sqlite(
    conn: &mut rusqlite::Connection,
    node: &str,
    turn: &Turn,
    resolved: &accept::Resolved,
    wakes: &[Wake],
) -> Result<Option<i64>, Undone> {
    let begun = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
    let complete = accept::write_sqlite(&begun, node, resolved)?
        && plan::write_sqlite(&begun, node, &turn.plans)?
        && record::write_sqlite(&begun, node, &turn.attempts)?;
    if !complete {
        return Err(Undone::Again);
    }
    let number = agreement::number_sqlite(&begun, wakes)?;
    begun.commit().map_err(StoreError::from)?;
    Ok(number)
}

/// A turn's statements on PostgreSQL: one or two for each step, whatever the number of rows.
async fn attempt_postgres(
    conn: &mut PgConnection,
    node: &str,
    turn: &Turn,
    resolved: &accept::Resolved,
) -> Result<bool, StoreError> {
    Ok(accept::write_postgres(conn, node, resolved).await?
        && plan::write_postgres(conn, node, &turn.plans).await?
        && record::write_postgres(conn, node, &turn.attempts).await?)
}

/// Opens a transaction. On PostgreSQL it also proves that this node has not been taken over, and keeps it so until
/// the end: the lock makes a take-over wait, which then sees what this transaction wrote.
async fn begin(conn: &mut Conn, shared: &Shared) -> Result<(), StoreError> {
    match conn {
        Db::Sqlite(_) => conn.run("BEGIN IMMEDIATE").await?,
        Db::Postgres(_) => {
            conn.run("BEGIN").await?;
            let held: Option<(i64,)> = on_db!(&mut *conn, |c| {
                sqlx::query_as(postgres::HOLD_NODE).bind(shared.node.as_str()).fetch_optional(c).await?
            });
            if held.is_none() {
                conn.run("ROLLBACK").await?;
                return Err(StoreError::NodeLost);
            }
        }
    }
    Ok(())
}
