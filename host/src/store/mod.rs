//! Durable truth: every event, routing, delivery and attempt, and what carriers have set up.
//!
//! One concrete [`Store`] over SQLite or PostgreSQL. Every method is one business step, atomic within its turn of the
//! writer. It must not know HTTP, Wasm or how retries are decided; time and ids come from the caller.

mod accept;
pub mod agreement;
mod carriers;
mod claim;
pub mod collected;
mod db;
mod destinations;
mod drop_keys;
pub mod error;
mod event_types;
mod hand;
mod handshakes;
pub mod host_keys;
mod idempotency;
mod media;
mod node;
pub mod notice;
pub mod page;
mod plan;
mod plugins;
mod postgres;
mod queue;
mod read;
mod record;
mod retention;
mod rows;
mod runs;
pub mod schedules;
pub mod sealed;
pub mod search;
mod sqlite;
mod statements;
mod subscriptions;
pub mod surveys;
mod tables;
pub mod tokens;
mod webhooks;
pub mod work;
mod writer;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::clock::Millis;
use crate::event::{CarrierId, NodeId};
use db::{Conn, Db, Readers, on_db, sql};
use error::StoreError;
pub use statements::statements;
pub use webhooks::FAILED_PAGE_MAX;
use writer::{Command, Given, Job, Work, Writer};

/// Where the data lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// One file, `hookyard.db`, in this folder, which one process locks.
    Sqlite {
        /// The data folder. Made when it is missing.
        folder: PathBuf,
    },
    /// A PostgreSQL database.
    Postgres {
        /// `postgres://user:password@host/database`.
        url: String,
    },
}

/// How much the writer takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterLimits {
    /// Events that may wait for their turn; beyond it `accept` answers [`error::AcceptError::Busy`].
    pub queued_events: usize,
    /// Events that a carrier may have waiting unheld (the backlog) before `accept` answers [`error::AcceptError::Backlog`].
    pub backlog_events: i64,
}

/// What a wake-up is about. Sent by this node's own writes and, on PostgreSQL, by other nodes'.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wake {
    /// There may be unheld events, routings or deliveries to claim.
    Work,
    /// Somebody asked for a run of a scheduled subscription, or a dead node's is to be gone on with.
    Run,
    /// What this carrier has set up has changed, or it is new (`None`: shared plugins, so any carrier).
    Config(Option<CarrierId>),
    /// An attempt has changed what is known of a destination of this carrier: its health. Nobody waits for it.
    Health(CarrierId),
    /// API keys were made or deleted.
    Keys,
    /// A node has applied what was changed, and says so.
    Applied,
}

/// How much a take-over released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakenOver {
    /// Nodes that were found dead.
    pub nodes: u64,
    /// Events that they held.
    pub events: u64,
    /// Routings that they held.
    pub routings: u64,
    /// Deliveries that they held.
    pub deliveries: u64,
    /// Runs of scheduled subscriptions that they made.
    pub runs: u64,
}

/// An answer that is given again to a repeated `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// SHA-256 of method, path and body of the request.
    pub request: [u8; 32],
    /// The status that was answered.
    pub status: u16,
    /// The body that was answered (JSON).
    pub body: String,
}

/// Called on the writer's task right after the commit (or the failure): it must be short and must not block.
pub type Done<T> = Box<dyn FnOnce(T) + Send>;

sql! {
    PING = "SELECT COUNT(*) FROM nodes";
}

/// The store. Cheap to clone.
///
/// When the last clone is dropped without [`Store::close`], the writer still ends its turn and releases what this node
/// holds, as far as the runtime lets it.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    readers: Readers,
    queue: mpsc::UnboundedSender<Command>,
}

/// What the store's clones and its writer share.
#[derive(Debug)]
struct Shared {
    node: NodeId,
    limits: WriterLimits,
    connect: Db<sqlx::sqlite::SqliteConnectOptions, sqlx::postgres::PgConnectOptions>,
    /// Events in the writer's queue. Plans and attempts are bounded by the work that the router holds.
    queued: AtomicUsize,
    carriers: Mutex<HashSet<CarrierId>>,
    /// Unheld events of each carrier: exact on SQLite, on PostgreSQL counted anew when it seems full.
    backlog: Mutex<HashMap<CarrierId, i64>>,
    wakes: broadcast::Sender<Wake>,
    /// The latest change of what is set up that this node has committed and that somebody may wait for.
    changed: AtomicI64,
}

/// Wake-ups that a slow receiver may be behind before it must look at everything.
const WAKES: usize = 1_024;

impl Shared {
    fn carriers(&self) -> MutexGuard<'_, HashSet<CarrierId>> {
        self.carriers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, HashMap<CarrierId, i64>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_backlog(&self, carrier: &CarrierId, change: i64) {
        let mut backlog = self.backlog();
        let n = backlog.entry(carrier.clone()).or_default();
        *n = n.saturating_add(change).max(0);
    }

    /// Notes the number of a change of this node's own, which somebody may wait for.
    fn has_changed(&self, number: Option<i64>) {
        if let Some(number) = number {
            self.changed.fetch_max(number, std::sync::atomic::Ordering::AcqRel);
        }
    }

    fn wake(&self, wakes: Vec<Wake>) {
        for wake in wakes {
            // Without a receiver there is nobody to wake.
            let _ = self.wakes.send(wake);
        }
    }

    async fn connect_writer(&self) -> Result<Conn, StoreError> {
        Ok(match &self.connect {
            Db::Sqlite(options) => Db::Sqlite(sqlite::connect_writer(options).await?),
            Db::Postgres(options) => Db::Postgres(postgres::connect_writer(options).await?),
        })
    }
}

impl Store {
    /// Connects, applies the migrations when `migrate` is set (otherwise refuses an unknown schema), locks the data
    /// folder (SQLite) and writes this node's row.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Folder`], [`StoreError::Schema`], or what the database said.
    pub async fn open(
        config: &StoreConfig,
        migrate: bool,
        limits: WriterLimits,
        node: NodeId,
        now: Millis,
        lease: Duration,
    ) -> Result<Self, StoreError> {
        let (wakes, _) = broadcast::channel(WAKES);
        let (connect, mut conn, turns, readers, lock) = match config {
            StoreConfig::Sqlite { folder } => {
                let lock = sqlite::lock(folder)?;
                let options = sqlite::options(folder);
                let mut conn = sqlite::connect_writer(&options).await?;
                sqlite::migrate(&mut conn, migrate).await?;
                let turns = sqlite::connect_turns(folder)?;
                let readers = sqlite::readers(folder).await?;
                (Db::Sqlite(options), Db::Sqlite(conn), Some(turns), Db::Sqlite(readers), Some(lock))
            }
            StoreConfig::Postgres { url } => {
                let options = postgres::options(url)?;
                let mut conn = postgres::connect_writer(&options).await?;
                postgres::migrate(&mut conn, migrate).await?;
                let readers = postgres::readers(&options).await?;
                (Db::Postgres(options), Db::Postgres(conn), None, Db::Postgres(readers), None)
            }
        };
        // Listening begins before anything is read, so that no change falls between.
        let listener = match &readers {
            Db::Sqlite(_) => None,
            Db::Postgres(pool) => Some(postgres::listen(pool, node.clone(), wakes.clone()).await?),
        };
        node::enter(&mut conn, &node, now, lease).await?;
        let carriers = carriers::ids(&mut conn).await?;
        let backlog = claim::backlog(&mut conn).await?;
        let shared = Arc::new(Shared {
            node,
            limits,
            connect,
            queued: AtomicUsize::new(0),
            carriers: Mutex::new(carriers),
            backlog: Mutex::new(backlog),
            wakes,
            changed: AtomicI64::new(0),
        });
        let (queue, commands) = mpsc::unbounded_channel();
        let writer = Writer {
            conn: Some(conn),
            turns,
            shared: Arc::clone(&shared),
            queue: commands,
            doubtful: writer::Doubtful::default(),
            listener,
            lock,
        };
        // A thread of its own: a task would wait at each of a turn's statements until the runtime's threads have done
        // what they are at, and every event waits for the turn.
        let runtime = tokio::runtime::Handle::current();
        // The thread must not outlive the runtime: this task ends with the one or the other.
        let (mut alive, gone) = oneshot::channel::<()>();
        tokio::spawn(async move { alive.closed().await });
        let work = async move {
            tokio::select! {
                biased;
                _ = gone => {}
                () = writer.run() => {}
            }
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(work))
            .map_err(|e| StoreError::Thread { why: e.to_string() })?;
        Ok(Self { shared, readers, queue })
    }

    /// Waits for the writer's last turn, releases all that this node holds, removes its row and closes the pools.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when it is closed already.
    pub async fn close(self) -> Result<(), StoreError> {
        let (told, end) = oneshot::channel();
        self.queue.send(Command::Close(told)).map_err(|_| StoreError::Closed)?;
        end.await.map_err(|_| StoreError::Closed)?;
        on_db!(&self.readers, |db| db.close().await);
        Ok(())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// What it says instead.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let _nodes: (i64,) = on_db!(&self.readers, |db| sqlx::query_as(PING).fetch_one(db).await?);
        Ok(())
    }

    /// This node.
    pub fn node(&self) -> &NodeId {
        &self.shared.node
    }

    /// `sqlite` or `postgres`.
    pub fn kind(&self) -> &'static str {
        self.readers.pick("sqlite", "postgres")
    }

    /// Wake-ups. A receiver that lags sees `RecvError::Lagged` and must look at everything.
    pub fn wakes(&self) -> broadcast::Receiver<Wake> {
        self.shared.wakes.subscribe()
    }

    /// Hands work to the writer. When the store is closed its caller is told on this thread.
    fn send(&self, command: Command) {
        if let Err(mpsc::error::SendError(command)) = self.queue.send(command) {
            command.refuse();
        }
    }

    /// Runs a step in a transaction of its own, after what has queued before it.
    async fn write<T, F>(&self, steps: F) -> Result<T, StoreError>
    where
        T: Any + Send,
        F: for<'c, 'w> FnOnce(
                &'c mut Work<'w>,
            )
                -> Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>
            + Send
            + 'static,
    {
        let (answer, given) = oneshot::channel();
        let steps: writer::Steps =
            Box::new(move |w| Box::pin(async move { steps(w).await.map(|t| Box::new(t) as Given) }));
        self.queue.send(Command::Job(Job { steps, answer })).map_err(|_| StoreError::Closed)?;
        let given = given.await.map_err(|_| StoreError::Closed)??;
        given.downcast().map(|t| *t).map_err(|_| StoreError::Closed)
    }
}

/// A destination's lane: the carrier and the destination in one column. Neither holds a `/`.
fn lane(carrier: &str, destination: &str) -> String {
    format!("{carrier}/{destination}")
}
