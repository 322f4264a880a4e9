//! The two schemas are one, and every statement is understood by both databases.

use std::collections::BTreeMap;

use hookyard::store::error::StoreError;
use hookyard::store::{Store, WriterLimits, statements};
use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr};

use super::bed::*;

pub(super) async fn every_statement_prepares(bed: &Bed) {
    bed.open().await.close().await.unwrap();
    let mut bad = Vec::new();
    match bed {
        Bed::Sqlite(folder) => {
            let url = format!("sqlite://{}", folder.path().join("hookyard.db").display());
            let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
            for (name, sql) in statements("sqlite") {
                if let Err(e) = conn.prepare(AssertSqlSafe(sql).into_sql_str()).await {
                    bad.push(format!("{name}: {e}"));
                }
            }
        }
        Bed::Postgres(database) => {
            let mut conn = sqlx::PgConnection::connect(database.url()).await.unwrap();
            for (name, sql) in statements("postgres") {
                if let Err(e) = conn.prepare(AssertSqlSafe(sql).into_sql_str()).await {
                    bad.push(format!("{name}: {e}"));
                }
            }
        }
    }
    assert!(statements("sqlite").len() > 100);
    assert_eq!(bad, [] as [String; 0]);
}

pub(super) async fn an_unknown_schema_is_refused(bed: &Bed) {
    let open = async || {
        let limits = WriterLimits { queued_events: 1, backlog_events: 1 };
        let node = uuid::Uuid::now_v7().into();
        Store::open(&bed.config(), false, limits, node, T0, LEASE).await
    };
    let refused = open().await;
    assert!(matches!(refused, Err(StoreError::Schema { .. })), "{refused:?}");
    bed.open().await.close().await.unwrap();
    open().await.unwrap().close().await.unwrap();
    // As a newer version of the program would leave it.
    let sql = "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 2";
    match bed {
        Bed::Sqlite(folder) => {
            let url = format!("sqlite://{}", folder.path().join("hookyard.db").display());
            let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::query(sql).execute(&mut conn).await.unwrap();
        }
        Bed::Postgres(database) => {
            let mut conn = sqlx::PgConnection::connect(database.url()).await.unwrap();
            sqlx::query(sql).execute(&mut conn).await.unwrap();
        }
    }
    let refused = open().await;
    assert!(matches!(refused, Err(StoreError::Schema { .. })), "{refused:?}");
}

/// Table, then column, then type and whether it may be absent.
type Schema = BTreeMap<String, BTreeMap<String, (String, bool)>>;

fn collect(rows: Vec<(String, String, String, bool)>) -> Schema {
    let mut schema = Schema::new();
    for (table, column, kind, null) in rows {
        let kind = match kind.to_lowercase().as_str() {
            "bytea" => "blob".to_owned(),
            other => other.to_owned(),
        };
        schema.entry(table).or_default().insert(column, (kind, null));
    }
    schema
}

#[tokio::test]
async fn both_schemas_are_the_same() {
    let (lite, pg) = (Bed::make(Kind::Sqlite).await, Bed::make(Kind::Postgres).await);
    lite.open().await.close().await.unwrap();
    pg.open().await.close().await.unwrap();
    let (Bed::Sqlite(folder), Bed::Postgres(database)) = (&lite, &pg) else { panic!("made as asked") };
    let url = format!("sqlite://{}", folder.path().join("hookyard.db").display());
    let mut lite_conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let mut pg_conn = sqlx::PgConnection::connect(database.url()).await.unwrap();

    let migrations = "SELECT version, description FROM _sqlx_migrations ORDER BY version";
    let a: Vec<(i64, String)> = sqlx::query_as(migrations).fetch_all(&mut lite_conn).await.unwrap();
    let b: Vec<(i64, String)> = sqlx::query_as(migrations).fetch_all(&mut pg_conn).await.unwrap();
    assert_eq!(a, b);

    let rows: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT m.name, c.name, c.type, c.\"notnull\" = 0 FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut lite_conn)
    .await
    .unwrap();
    let lite_schema = collect(rows);
    let rows: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'YES' \
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut pg_conn)
    .await
    .unwrap();
    assert!(lite_schema.len() > 15);
    assert_eq!(lite_schema, collect(rows));

    let lite_indexes: Vec<(String,)> = sqlx::query_as(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name",
    )
    .fetch_all(&mut lite_conn)
    .await
    .unwrap();
    let pg_indexes: Vec<(String,)> = sqlx::query_as(
        "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%_pkey' \
         ORDER BY indexname COLLATE \"C\"",
    )
    .fetch_all(&mut pg_conn)
    .await
    .unwrap();
    assert_eq!(lite_indexes, pg_indexes);
    drop(pg_conn);
    pg.end().await;
}
