//! A fresh PostgreSQL database for each test, on the server that `tests/run` starts.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// The variable that holds a superuser's URL.
const VARIABLE: &str = "HOOKYARD_TEST_POSTGRES";

/// A database of one test's own. [`Database::drop_now`] removes it; what a failed test leaves goes with the server.
#[derive(Debug)]
pub struct Database {
    server: PgConnectOptions,
    name: String,
    url: String,
}

impl Database {
    /// Makes an empty database.
    ///
    /// # Panics
    /// When there is no server: the tests need one.
    pub async fn create() -> Self {
        let url = server_url();
        let server: PgConnectOptions = url.parse().expect("HOOKYARD_TEST_POSTGRES is a postgres:// URL");
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        run(&server, format!("CREATE DATABASE {name}")).await;
        let (base, query) = url.split_once('?').map_or((url.as_str(), None), |(b, q)| (b, Some(q)));
        let slash = base.rfind('/').filter(|at| !base[..*at].ends_with('/')).unwrap_or(base.len());
        let query = query.map(|q| format!("?{q}")).unwrap_or_default();
        let url = format!("{}/{name}{query}", &base[..slash]);
        Self { server, name, url }
    }

    /// The database's own URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Removes it, whoever is still connected.
    pub async fn drop_now(self) {
        run(&self.server, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    /// Ends every connection to it, as a server's restart would.
    pub async fn cut_connections(&self) {
        let sql =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", self.name);
        run(&self.server, sql).await;
    }
}

async fn run(server: &PgConnectOptions, sql: String) {
    let mut conn: PgConnection = server.connect().await.expect("the test server answers");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.expect("the server does it");
    conn.close().await.expect("the connection closes");
}

#[expect(clippy::disallowed_methods, reason = "where the test server is cannot be known otherwise")]
fn server_url() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} is not set: run the tests with `tests/run`, which starts a PostgreSQL server for them"
        )
    })
}
