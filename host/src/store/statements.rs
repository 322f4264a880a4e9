//! Every statement by name, so that a test can prepare each on both databases, and what the schema must be.

use sqlx::migrate::{MigrateError, Migrator};

use super::db::Rows;
use super::error::StoreError;
use super::{
    accept, agreement, carriers, claim, collected, destinations, drop_keys, event_types, hand, handshakes,
    host_keys, idempotency, media, node, notice, plan, plugins, postgres, read, record, retention, runs,
    schedules, sealed, search, subscriptions, surveys, tables, tokens, webhooks,
};

/// The migrations that a database has seen. The table is sqlx's own.
pub(super) const SELECT_MIGRATIONS: &str = "SELECT version, success FROM _sqlx_migrations ORDER BY version";

/// Every statement that the store runs on a kind of database (`sqlite` or `postgres`), with its file and name.
pub fn statements(kind: &str) -> Vec<(String, &'static str)> {
    let mut all: Vec<(String, &'static str)> = Vec::new();
    let files: &[(&str, &[(&str, &'static str)])] = &[
        ("mod", super::STATEMENTS),
        ("accept", accept::STATEMENTS),
        ("plan", plan::STATEMENTS),
        ("record", record::STATEMENTS),
        ("claim", claim::STATEMENTS),
        ("collected", collected::STATEMENTS),
        ("schedules", schedules::STATEMENTS),
        ("runs", runs::STATEMENTS),
        ("node", node::STATEMENTS),
        ("agreement", agreement::STATEMENTS),
        ("carriers", carriers::STATEMENTS),
        ("destinations", destinations::STATEMENTS),
        ("subscriptions", subscriptions::STATEMENTS),
        ("plugins", plugins::STATEMENTS),
        ("tables", tables::STATEMENTS),
        ("drop_keys", drop_keys::STATEMENTS),
        ("event_types", event_types::STATEMENTS),
        ("tokens", tokens::STATEMENTS),
        ("read", read::STATEMENTS),
        ("search", search::STATEMENTS),
        ("hand", hand::STATEMENTS),
        ("handshakes", handshakes::STATEMENTS),
        ("webhooks", webhooks::STATEMENTS),
        ("notice", notice::STATEMENTS),
        ("surveys", surveys::STATEMENTS),
        ("host_keys", host_keys::STATEMENTS),
        ("idempotency", idempotency::STATEMENTS),
        ("media", media::STATEMENTS),
        ("retention", retention::STATEMENTS),
        ("sealed", sealed::STATEMENTS),
        if kind == "postgres" { ("postgres", postgres::STATEMENTS) } else { ("sqlite", &[]) },
    ];
    for (file, list) in files {
        // What is the other database's alone says so in its name.
        let others = if kind == "postgres" { "_SQLITE" } else { "_POSTGRES" };
        let own = list.iter().filter(|(name, _)| !name.ends_with(others));
        all.extend(own.map(|(name, sql)| (format!("{file}::{name}"), *sql)));
    }
    all.push(("statements::SELECT_MIGRATIONS".to_owned(), SELECT_MIGRATIONS));
    let rows: &[(&str, &'static Rows)] = &[
        ("accept::SELECT_KNOWN", &accept::SELECT_KNOWN),
        ("plan::SELECT_HELD", &plan::SELECT_HELD),
        ("record::SELECT_HELD", &record::SELECT_HELD),
        ("hand::RETRY_THESE", &hand::RETRY_THESE),
        ("hand::CANCEL_THESE", &hand::CANCEL_THESE),
        ("webhooks::RETRY_THESE", &webhooks::RETRY_THESE),
        ("claim::SELECT_EVENTS", &claim::SELECT_EVENTS),
        ("claim::SELECT_DELIVERIES", &claim::SELECT_DELIVERIES),
        ("runs::DELETE_MEMBERS", &runs::DELETE_MEMBERS),
        ("retention::DELETE_COLLECTED", &retention::DELETE_COLLECTED),
        ("media::SELECT_UNENDED", &media::SELECT_UNENDED),
        ("retention::DELETE_EVENTS", &retention::DELETE_EVENTS),
        ("retention::DELETE_BODIES", &retention::DELETE_BODIES),
        ("retention::DELETE_ROUTINGS", &retention::DELETE_ROUTINGS),
        ("retention::DELETE_DELIVERIES", &retention::DELETE_DELIVERIES),
        ("retention::DELETE_DELIVERY_BODIES", &retention::DELETE_DELIVERY_BODIES),
        ("retention::DELETE_ATTEMPTS", &retention::DELETE_ATTEMPTS),
    ];
    for (name, rows) in rows {
        all.extend(rows.all(kind).map(|sql| ((*name).to_owned(), sql)));
    }
    all
}

/// Compares the migrations that a database has seen with those that this version knows.
pub(super) fn check_schema(
    known: &Migrator,
    applied: Result<Vec<(i64, bool)>, sqlx::Error>,
) -> Result<(), StoreError> {
    let applied = match applied {
        Ok(applied) => applied,
        Err(sqlx::Error::Database(e)) => {
            return Err(StoreError::Schema { why: format!("it has none: {e}") });
        }
        Err(e) => return Err(e.into()),
    };
    let known: Vec<i64> = known.iter().map(|m| m.version).collect();
    if let Some((version, _)) = applied.iter().find(|(_, success)| !success) {
        return Err(StoreError::Schema { why: format!("migration {version} was begun but not ended") });
    }
    let applied: Vec<i64> = applied.into_iter().map(|(version, _)| version).collect();
    if applied != known {
        return Err(StoreError::Schema { why: format!("it has the migrations {applied:?}, not {known:?}") });
    }
    Ok(())
}

pub(super) fn schema_error(e: MigrateError) -> StoreError {
    match e {
        MigrateError::Execute(e) => StoreError::Database(e),
        other => StoreError::Schema { why: other.to_string() },
    }
}
