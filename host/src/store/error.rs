//! What can go wrong in the store, by what the caller must do about it.

use std::time::Duration;

use rusqlite::ErrorCode;

/// The database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed. It may pass: try again.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The embedded database did not take a turn. It may pass: try again.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row cannot be read: the data was written by something else.
    #[error("the row {key} of table {table} cannot be read: column {column}: {why}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The name is taken.
    #[error("{what} exists already")]
    Exists {
        /// What kind of thing.
        what: &'static str,
    },
    /// What was named does not exist.
    #[error("there is no such {what}")]
    Missing {
        /// What kind of thing.
        what: &'static str,
    },
    /// Another process has locked the data folder.
    #[error(
        "the data folder {folder} is in use by another process; stop it, or choose another `data` folder"
    )]
    Locked {
        /// The folder.
        folder: String,
    },
    /// The schema is not the one that this version needs.
    #[error("the database's schema is not up to date ({why}); run `hookyard migrate`")]
    Schema {
        /// What is different.
        why: String,
    },
    /// The data folder cannot be used.
    #[error("the data folder {folder} cannot be used: {why}")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system said.
        why: String,
    },
    /// Another node has taken over this one's work: this process must stop.
    #[error("this node's lease lapsed and another node took over its work")]
    NodeLost,
    /// A list was asked to go on from something that is not one of its cursors.
    #[error("the cursor is not one that this list gave")]
    Cursor,
    /// What was written together with this failed; the work itself may be tried again.
    #[error("the writer's turn failed: {why}")]
    Turn {
        /// What the database said.
        why: String,
    },
    /// The writer's thread cannot be started.
    #[error("the store's writer cannot be started: {why}")]
    Thread {
        /// What the system said.
        why: String,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether it is about one of the rows that were written, not about the database.
    pub(super) fn is_about_rows(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(e)) => {
                // PostgreSQL's class 22: data exceptions.
                e.kind() != sqlx::error::ErrorKind::Other || e.code().is_some_and(|c| c.starts_with("22"))
            }
            Self::Sqlite(rusqlite::Error::SqliteFailure(e, _)) => {
                matches!(e.code, ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
            }
            Self::Database(sqlx::Error::Encode(_)) | Self::Turn { .. } => true,
            _ => false,
        }
    }

    /// Whether the connection is of no more use.
    pub(super) fn breaks_connection(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(e)) => {
                // The server is shutting down, or has ended this session.
                e.code().is_some_and(|c| c.starts_with("57P"))
            }
            Self::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed,
            ) => true,
            _ => false,
        }
    }
}

/// Why a request's events were not accepted; none of them was written.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// An id is known with another body.
    #[error("event {index} has the id of an earlier event, but another body")]
    Conflict {
        /// Its place in the request, from 0.
        index: usize,
    },
    /// There is no such carrier.
    #[error("event {index} names a carrier that does not exist")]
    UnknownCarrier {
        /// Its place in the request, from 0.
        index: usize,
    },
    /// Too much is waiting to be written (`queued_events`).
    #[error("the host is busy: the limit `queued_events` is reached")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The carrier has too much waiting to be routed (`backlog_events`).
    #[error("the carrier's backlog is full: the limit `backlog_events` is reached")]
    Backlog {
        /// When to try again.
        retry_after: Duration,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why work that this node held was not written.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// This node does not hold it any more: another one does, or its owner cancelled it.
    #[error("this node no longer holds the work")]
    Lost,
    /// The database failed; the work is still held and may be tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
}
