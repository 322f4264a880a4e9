//! What is SQLite's alone: the folder and its lock, connecting, migrating.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::OpenFlags;
use sqlx::ConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use super::error::StoreError;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Connections that read at once. Reads are short, and the machine has other work.
const READERS: u32 = 4;

/// Statements that stay prepared on a connection, those over many rows in all their sizes.
const PREPARED: usize = 512;

/// How long a connection waits for another one's lock. Writers take turns, so it is only met at start and end.
const BUSY: Duration = Duration::from_secs(5);

/// What every connection is told.
const EVERY: &[(&str, &str)] = &[("mmap_size", "268435456"), ("temp_store", "MEMORY")];

/// What a connection that writes is told.
const WRITING: &[(&str, &str)] = &[
    ("cache_size", "-65536"),
    // Pages; fewer, larger checkpoints, since each costs two syncs of its own.
    ("wal_autocheckpoint", "4000"),
    ("journal_size_limit", "67108864"),
];

/// Makes the folder when it is missing and locks it for this process.
pub(super) fn lock(folder: &Path) -> Result<File, StoreError> {
    let cannot =
        |e: std::io::Error| StoreError::Folder { folder: folder.display().to_string(), why: e.to_string() };
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("hookyard.lock"))
        .map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(StoreError::Locked { folder: folder.display().to_string() })
        }
        Err(std::fs::TryLockError::Error(e)) => Err(cannot(e)),
    }
}

fn base(folder: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("hookyard.db"))
        .busy_timeout(BUSY)
        .statement_cache_capacity(PREPARED);
    EVERY.iter().fold(options, |options, (name, value)| options.pragma(*name, *value))
}

/// How the writer connects.
pub(super) fn options(folder: &Path) -> SqliteConnectOptions {
    let options = base(folder)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged event survives power loss.
        .synchronous(SqliteSynchronous::Full)
        // Work rows name rows of other tables by keys that the code derives; a check on every insert buys nothing.
        .foreign_keys(false);
    WRITING.iter().fold(options, |options, (name, value)| options.pragma(*name, *value))
}

pub(super) async fn connect_writer(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    Ok(options.connect().await?)
}

/// Statements of a turn, each over one row.
const TURN_STATEMENTS: usize = 32;

/// The connection of the writer's turns. It works on the writer's own thread: through [`connect_writer`]'s, each
/// statement would be handed to a thread of the driver and its answer back, which costs more than the statement.
pub(super) fn connect_turns(folder: &Path) -> Result<rusqlite::Connection, StoreError> {
    let conn = rusqlite::Connection::open_with_flags(
        folder.join("hookyard.db"),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(TURN_STATEMENTS);
    for (name, value) in EVERY.iter().chain(WRITING) {
        conn.pragma_update(None, name, value)?;
    }
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", "OFF")?;
    Ok(conn)
}

/// The connections that can only read.
pub(super) async fn readers(folder: &Path) -> Result<SqlitePool, StoreError> {
    let options = base(folder).read_only(true).pragma("cache_size", "-8192");
    Ok(SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await?)
}

/// Brings the schema up to date, or checks that it is.
pub(super) async fn migrate(conn: &mut SqliteConnection, apply: bool) -> Result<(), StoreError> {
    if apply {
        return MIGRATIONS.run_direct(None, conn, false).await.map_err(super::statements::schema_error);
    }
    let applied: Result<Vec<(i64, bool)>, _> =
        sqlx::query_as(super::statements::SELECT_MIGRATIONS).fetch_all(conn).await;
    super::statements::check_schema(&MIGRATIONS, applied)
}
