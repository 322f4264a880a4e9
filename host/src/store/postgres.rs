//! What is PostgreSQL's alone: connecting, migrating, claiming past other nodes, and hearing them.

use sqlx::ConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use tokio::sync::broadcast;

use super::db::{Conn, Db};
use super::error::StoreError;
use super::{Shared, Wake};
use crate::event::NodeId;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

/// Connections that read at once.
const READERS: u32 = 8;

/// Statements that stay prepared on a connection.
const PREPARED: usize = 512;

/// The channel on which nodes tell each other what changed.
const CHANNEL: &str = "hookyard";

/// Proves that this node is alive and keeps others from taking it over until the transaction ends.
pub(super) const HOLD_NODE: &str = "SELECT started_ms FROM nodes WHERE id = $1 FOR SHARE";

/// Tells the other nodes, at the commit.
pub(super) const NOTIFY: &str = "SELECT pg_notify('hookyard', $1)";

/// What the writer changes it finds by keys. A plan that is made while a table is still empty would read the whole
/// table, and would go on doing so when it is large.
const NO_SCANS: &str = "SET enable_seqscan = off";
const NO_HASHES: &str = "SET enable_hashjoin = off";
const NO_MERGES: &str = "SET enable_mergejoin = off";

/// The statements of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[(&str, &str)] = &[
    ("HOLD_NODE", HOLD_NODE),
    ("NOTIFY", NOTIFY),
    ("NO_SCANS", NO_SCANS),
    ("NO_HASHES", NO_HASHES),
    ("NO_MERGES", NO_MERGES),
];

pub(super) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.application_name("hookyard").statement_cache_capacity(PREPARED))
}

pub(super) async fn connect_writer(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let mut conn = options.connect().await?;
    for sql in [NO_SCANS, NO_HASHES, NO_MERGES] {
        sqlx::query(sql).execute(&mut conn).await?;
    }
    Ok(conn)
}

pub(super) async fn readers(options: &PgConnectOptions) -> Result<PgPool, StoreError> {
    Ok(PgPoolOptions::new().max_connections(READERS).connect_with(options.clone()).await?)
}

/// One column of rows, as an array to bind: one text then serves any number of rows.
pub(super) fn column<'r, R, C>(rows: &'r [R], of: impl FnMut(&'r R) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

/// Brings the schema up to date, or checks that it is. Nodes that start together wait for each other.
pub(super) async fn migrate(conn: &mut PgConnection, apply: bool) -> Result<(), StoreError> {
    if apply {
        return MIGRATIONS.run_direct(None, conn, false).await.map_err(super::statements::schema_error);
    }
    let applied: Result<Vec<(i64, bool)>, _> =
        sqlx::query_as(super::statements::SELECT_MIGRATIONS).fetch_all(conn).await;
    super::statements::check_schema(&MIGRATIONS, applied)
}

/// Sends the wake-ups of a transaction to the other nodes; they hear them when it commits.
pub(super) async fn tell_others(conn: &mut Conn, shared: &Shared, wakes: &[Wake]) -> Result<(), StoreError> {
    let Db::Postgres(conn) = conn else { return Ok(()) };
    for wake in wakes {
        let word = match wake {
            Wake::Work => "work".to_owned(),
            Wake::Run => "run".to_owned(),
            Wake::Keys => "keys".to_owned(),
            Wake::Applied => "applied".to_owned(),
            Wake::Health(carrier) => format!("health {carrier}"),
            Wake::Config(None) => "config".to_owned(),
            Wake::Config(Some(carrier)) => format!("config {carrier}"),
        };
        sqlx::query(NOTIFY).bind(format!("{} {word}", shared.node)).execute(&mut *conn).await?;
    }
    Ok(())
}

/// What another node said; nothing for this node's own words.
fn heard(payload: &str, own: &NodeId) -> Option<Wake> {
    let (node, word) = payload.split_once(' ')?;
    if node == own.as_str() {
        return None;
    }
    match word.split_once(' ') {
        None if word == "work" => Some(Wake::Work),
        None if word == "run" => Some(Wake::Run),
        None if word == "keys" => Some(Wake::Keys),
        None if word == "applied" => Some(Wake::Applied),
        Some(("config", carrier)) => Some(Wake::Config(carrier.parse().ok())),
        Some(("health", carrier)) => carrier.parse().ok().map(Wake::Health),
        // A newer node's word: looking at what is set up is never wrong.
        _ => Some(Wake::Config(None)),
    }
}

/// Begins to listen, then hears other nodes until it is aborted.
pub(super) async fn listen(
    pool: &PgPool,
    own: NodeId,
    wakes: broadcast::Sender<Wake>,
) -> Result<tokio::task::JoinHandle<()>, StoreError> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await?;
    Ok(tokio::spawn(async move {
        loop {
            // Without a receiver there is nobody to wake.
            match listener.try_recv().await {
                Ok(Some(said)) => {
                    if let Some(wake) = heard(said.payload(), &own) {
                        let _ = wakes.send(wake);
                    }
                }
                // The connection was lost and is made again at the next call; anything may have been said meanwhile.
                Ok(None) => {
                    let _ = wakes.send(Wake::Config(None));
                    let _ = wakes.send(Wake::Keys);
                    let _ = wakes.send(Wake::Work);
                    let _ = wakes.send(Wake::Run);
                    let _ = wakes.send(Wake::Applied);
                }
                Err(sqlx::Error::PoolClosed) => break,
                Err(error) => {
                    tracing::warn!(%error, "other nodes are not heard until the database answers again");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_hears_others_and_not_itself() {
        let own = NodeId::from(uuid::Uuid::from_u128(1));
        let other = NodeId::from(uuid::Uuid::from_u128(2));
        assert_eq!(heard(&format!("{own} work"), &own), None);
        assert_eq!(heard(&format!("{other} work"), &own), Some(Wake::Work));
        assert_eq!(heard(&format!("{other} run"), &own), Some(Wake::Run));
        assert_eq!(heard(&format!("{other} config"), &own), Some(Wake::Config(None)));
        let acme = "acme".parse().unwrap();
        assert_eq!(heard(&format!("{other} config acme"), &own), Some(Wake::Config(Some(acme))));
        assert_eq!(heard(&format!("{other} applied"), &own), Some(Wake::Applied));
        let acme = "acme".parse().unwrap();
        assert_eq!(heard(&format!("{other} health acme"), &own), Some(Wake::Health(acme)));
        assert_eq!(heard(&format!("{other} more than I know"), &own), Some(Wake::Config(None)));
        assert_eq!(heard("rubbish", &own), None);
    }
}
