//! The two databases behind one face: connections, and statements over many rows.
//!
//! A statement's text is written once and its binding once; [`on_db!`] repeats the tokens for each driver. Only the three
//! steps of an event's way have statements for each database (`write_sqlite` and `write_postgres` in their files), since
//! they are what the host spends its time on. This file knows no table.

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::sqlite::{SqliteConnection, SqlitePool};

/// Runs the body for whichever database it is, with the same tokens for both drivers.
macro_rules! on_db {
    ($which:expr, |$db:ident| $body:expr) => {
        match $which {
            $crate::store::db::Db::Sqlite($db) => $body,
            $crate::store::db::Db::Postgres($db) => $body,
        }
    };
}
pub(super) use on_db;

/// One of two.
#[derive(Debug, Clone)]
pub(super) enum Db<S, P> {
    Sqlite(S),
    Postgres(P),
}

/// The connections that only read. On SQLite they are opened read-only, so that a slip fails loudly.
pub(super) type Readers = Db<SqlitePool, PgPool>;

/// The writer's own connection.
pub(super) type Conn = Db<SqliteConnection, PgConnection>;

impl<S, P> Db<S, P> {
    /// The statement for this database, where one text does not serve both.
    pub(super) fn pick<T>(&self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }
}

impl Conn {
    /// Runs a statement without parameters.
    pub(super) async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        on_db!(self, |c| sqlx::query(sql).execute(c).await.map(|_| ()))
    }
}

/// Declares a file's statements as constants and lists them, so that a test can prepare every one.
macro_rules! sql {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(super) const $name: &str = $text;)*
        pub(super) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}
pub(super) use sql;

/// The numbers of rows that a many-row statement is made for, largest first: few enough that all stay prepared, and
/// close enough that two or three statements make any number up to the largest.
pub(super) const SIZES: [usize; 13] = [128, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];

/// A statement over a list of rows, in one text for each size and database.
///
/// SQLite takes `?` here: every `$7` is a name to it, and looking up the names of a thousand parameters, as sqlx does at
/// each execution, costs more than the statement itself.
pub(super) struct Rows {
    sqlite: [String; SIZES.len()],
    postgres: [String; SIZES.len()],
}

impl Rows {
    /// `before (VALUES (…), (…)) after`: the first `fixed` parameters stand in `before`, each once and in order; those of
    /// the rows follow. `types` casts the columns of the first row, since the database sees no target column.
    pub(super) fn new(before: &str, fixed: usize, types: &[&str], after: &str) -> Self {
        let postgres = SIZES.map(|size| rows_text(before, fixed, types, after, size, |n| format!("${n}")));
        let mut anonymous = before.to_owned();
        for n in 1..=fixed {
            anonymous = anonymous.replace(&format!("${n}"), "?");
        }
        let sqlite = SIZES.map(|size| rows_text(&anonymous, fixed, types, after, size, |_| "?".to_owned()));
        Self { sqlite, postgres }
    }

    /// The text for `size` rows.
    pub(super) fn text<S, P>(&'static self, db: &Db<S, P>, size: usize) -> &'static str {
        let at = SIZES.iter().position(|s| *s == size).unwrap_or(SIZES.len() - 1);
        db.pick(&self.sqlite[at], &self.postgres[at])
    }

    /// All texts for a kind of database, for the test that prepares them.
    pub(super) fn all(&'static self, kind: &str) -> impl Iterator<Item = &'static str> {
        let texts = if kind == "postgres" { &self.postgres } else { &self.sqlite };
        texts.iter().map(String::as_str)
    }
}

fn rows_text(
    before: &str,
    fixed: usize,
    types: &[&str],
    after: &str,
    size: usize,
    parameter: impl Fn(usize) -> String,
) -> String {
    let mut n = fixed;
    let mut rows = Vec::with_capacity(size);
    for row in 0..size {
        let mut cells = Vec::with_capacity(types.len());
        for cast in types {
            n += 1;
            let p = parameter(n);
            cells.push(if row == 0 { format!("CAST({p} AS {cast})") } else { p });
        }
        rows.push(format!("({})", cells.join(", ")));
    }
    format!("{before} (VALUES {}){after}", rows.join(", "))
}

/// Cuts a list into pieces of the sizes that statements are made for.
pub(super) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let (piece, rest) = rows.split_at(size);
        rows = rest;
        Some(piece)
    })
}

/// Runs a many-row statement over all rows and gives the number of rows that changed.
///
/// The fixed values are bound first, then each row by `|q, row| q.bind(…)`.
macro_rules! write_rows {
    ($conn:expr, $rows:expr, $list:expr, [$($fixed:expr),*], |$q:ident, $row:pat_param| $bind:expr) => {{
        let mut changed: u64 = 0;
        for piece in $crate::store::db::pieces($list) {
            let text = $rows.text(&*$conn, piece.len());
            changed += $crate::store::db::on_db!(&mut *$conn, |c| {
                let mut $q = sqlx::query(text)$(.bind($fixed))*;
                for $row in piece {
                    $q = $bind;
                }
                $q.execute(c).await?.rows_affected()
            });
        }
        changed
    }};
}
pub(super) use write_rows;

/// As [`write_rows!`], but collects the rows that the statement gives.
macro_rules! read_rows {
    ($conn:expr, $rows:expr, $list:expr, [$($fixed:expr),*], |$q:ident, $row:pat_param| $bind:expr) => {{
        let mut found = Vec::new();
        for piece in $crate::store::db::pieces($list) {
            let text = $rows.text(&*$conn, piece.len());
            found.extend($crate::store::db::on_db!(&mut *$conn, |c| {
                let mut $q = sqlx::query_as(text)$(.bind($fixed))*;
                for $row in piece {
                    $q = $bind;
                }
                $q.fetch_all(c).await?
            }));
        }
        found
    }};
}
pub(super) use read_rows;

/// PostgreSQL refuses the character NUL in a text. What people may read takes the replacement character instead.
pub(super) fn text(s: &str) -> std::borrow::Cow<'_, str> {
    if s.contains('\0') { s.replace('\0', "\u{fffd}").into() } else { s.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_the_sizes_that_are_prepared() {
        let list = [0_u8; 128 + 48 + 12 + 1];
        let sizes: Vec<usize> = pieces(&list).map(<[u8]>::len).collect();
        assert_eq!(sizes, [128, 48, 12, 1]);
        assert_eq!(pieces::<u8>(&[]).count(), 0);
    }

    #[test]
    fn parameters_are_numbered_through() {
        let rows = Rows::new("UPDATE t SET a = $1 FROM", 1, &["TEXT", "BIGINT"], " AS v WHERE 1=1");
        assert_eq!(
            rows.postgres[SIZES.len() - 1],
            "UPDATE t SET a = $1 FROM (VALUES (CAST($2 AS TEXT), CAST($3 AS BIGINT))) AS v WHERE 1=1"
        );
        assert_eq!(
            rows.sqlite[SIZES.len() - 1],
            "UPDATE t SET a = ? FROM (VALUES (CAST(? AS TEXT), CAST(? AS BIGINT))) AS v WHERE 1=1"
        );
        let many = Rows::new("DELETE FROM t WHERE (a, b) IN", 0, &["TEXT", "BIGINT"], "");
        let begins =
            "DELETE FROM t WHERE (a, b) IN (VALUES (CAST($1 AS TEXT), CAST($2 AS BIGINT)), ($3, $4), (";
        assert!(many.postgres[2].starts_with(begins));
        let begins = "DELETE FROM t WHERE (a, b) IN (VALUES (CAST(? AS TEXT), CAST(? AS BIGINT)), (?, ?), (";
        assert!(many.sqlite[2].starts_with(begins));
    }

    #[test]
    fn text_for_people_never_holds_nul() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        assert!(matches!(text("ab"), std::borrow::Cow::Borrowed("ab")));
    }
}
