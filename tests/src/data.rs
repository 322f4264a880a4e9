//! Where a host of a test keeps its data: a folder, and on PostgreSQL a database of the test's own. Outlives its hosts.

use std::path::Path;

use hookyard::config::Config;
use sqlx::{AssertSqlSafe, Connection};

use crate::postgres::Database;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file in the data folder.
    Sqlite,
    /// A database on the server that `tests/run` starts.
    Postgres,
}

/// A data folder and its database.
#[derive(Debug)]
pub struct Data {
    folder: tempfile::TempDir,
    database: Option<Database>,
}

impl Data {
    /// An empty one.
    ///
    /// # Panics
    /// When there is no room for it.
    pub async fn make(kind: Kind) -> Self {
        let database = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(Database::create().await),
        };
        Self { folder: tempfile::tempdir().expect("a folder"), database }
    }

    /// One in SQLite.
    pub async fn sqlite() -> Self {
        Self::make(Kind::Sqlite).await
    }

    /// The same database with another folder, as a second node has it: with the same master key.
    ///
    /// # Panics
    /// When there is no master key yet.
    pub fn second_folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["master.key", "admin.key"] {
            std::fs::copy(self.folder().join(file), folder.path().join(file)).expect("the first node's keys");
        }
        folder
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Which database it is.
    pub fn kind(&self) -> Kind {
        if self.database.is_some() { Kind::Postgres } else { Kind::Sqlite }
    }

    /// The value of `store.database`.
    pub fn database(&self) -> &str {
        self.database.as_ref().map_or("sqlite", Database::url)
    }

    /// The configuration of a host on this data that may send to the loopback.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.store.data = self.folder().to_owned();
        config.store.database = self.database().to_owned();
        config.deliver.allow_http = true;
        config.deliver.allow_networks = vec!["127.0.0.0/8".parse().expect("a network")];
        config
    }

    /// The first admin key.
    ///
    /// # Panics
    /// Before the first start.
    pub fn admin_key(&self) -> String {
        let text = std::fs::read_to_string(self.folder().join("admin.key")).expect("the first admin key");
        text.trim().to_owned()
    }

    /// Runs a statement beside the host, as an operator's tool does. One text for both databases.
    ///
    /// # Panics
    /// When the database does not take it.
    pub async fn run(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        if self.kind() == Kind::Postgres {
            let mut conn = sqlx::PgConnection::connect(self.database()).await.expect("the server answers");
            sql.execute(&mut conn).await.expect("the server does it");
            conn.close().await.expect("the connection closes");
        } else {
            let url = format!("sqlite://{}", self.folder().join("hookyard.db").display());
            let mut conn = sqlx::SqliteConnection::connect(&url).await.expect("the file opens");
            sql.execute(&mut conn).await.expect("the database does it");
            conn.close().await.expect("the connection closes");
        }
    }

    /// Ends every connection to the database, as a server's restart does.
    ///
    /// # Panics
    /// On SQLite, which has none.
    pub async fn cut_connections(&self) {
        self.database.as_ref().expect("a database with connections").cut_connections().await;
    }

    /// Removes it all.
    pub async fn end(self) {
        if let Some(database) = self.database {
            database.drop_now().await;
        }
    }
}

/// Declares every test of a list twice, once for each database. Each is an `async fn(&Data)` beside the list.
#[macro_export]
macro_rules! on_both {
    ($($name:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let data = $crate::data::Data::make($crate::data::Kind::Sqlite).await;
                super::$name(&data).await;
                data.end().await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let data = $crate::data::Data::make($crate::data::Kind::Postgres).await;
                super::$name(&data).await;
                data.end().await;
            })*
        }
    };
}
