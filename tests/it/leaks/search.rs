//! Looking for secrets: in every form that hides them from the eye and not from a thief, and in every corner of a database.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hookyard_tests::data::{Data, Kind};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

/// A text as it is, in hexadecimal digits, and inside anything that is base64, wherever it stands there.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
    let mut forms = vec![secret.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for before in 0..3 {
        let shifted = [vec![0; before], secret.as_bytes().to_vec()].concat();
        let (first, last) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&shifted).as_bytes()[first..last].to_vec());
        }
    }
    forms
}

/// Places by name, each with all that stands there.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<String, Vec<u8>>);

impl Places {
    pub(super) fn add(&mut self, place: impl Into<String>, text: &[u8]) {
        let all = self.0.entry(place.into()).or_default();
        all.extend_from_slice(text);
        all.push(b'\n');
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The names of the places where it stands in some form.
    pub(super) fn of(&self, secret: &str) -> Vec<&str> {
        let forms = forms(secret);
        let holds = |text: &[u8]| forms.iter().any(|form| position(text, form).is_some());
        self.0.iter().filter(|(_, text)| holds(text)).map(|(place, _)| place.as_str()).collect()
    }

    /// What stands around it at its first place, for a failure's message.
    pub(super) fn around(&self, place: &str, secret: &str) -> String {
        let text = &self.0[place];
        let at = forms(secret).iter().find_map(|form| position(text, form)).unwrap_or(0);
        String::from_utf8_lossy(&text[at.saturating_sub(80)..(at + 80).min(text.len())]).into_owned()
    }
}

fn position(text: &[u8], form: &[u8]) -> Option<usize> {
    let (first, rest) = form.split_first()?;
    let mut from = 0;
    // Looking for the first byte alone is fast; few places go on as the rest does.
    while let Some(at) = text[from..].iter().position(|b| b == first) {
        let at = from + at;
        if text[at + 1..].starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Every column of every table, and on SQLite the files of the data folder as they lie there, but for the keys.
pub(super) async fn database(data: &Data) -> Places {
    let mut places = Places::default();
    match data.kind() {
        Kind::Postgres => {
            let mut conn = PgConnection::connect(data.database()).await.unwrap();
            let columns: Vec<(String, String, String)> = sqlx::query_as(
                "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns \
                 WHERE table_schema = 'public'",
            )
            .fetch_all(&mut conn)
            .await
            .unwrap();
            for (table, column, kind) in columns {
                let value = match kind.as_str() {
                    "bytea" => format!("\"{column}\""),
                    _ => format!("convert_to(\"{column}\"::text, 'UTF8')"),
                };
                let sql = format!("SELECT {value} FROM \"{table}\" WHERE \"{column}\" IS NOT NULL");
                let rows: Vec<(Vec<u8>,)> =
                    sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
                rows.iter().for_each(|(bytes,)| places.add(format!("{table}.{column}"), bytes));
            }
        }
        Kind::Sqlite => {
            let url = format!("sqlite://{}", data.folder().join("hookyard.db").display());
            let mut conn = SqliteConnection::connect(&url).await.unwrap();
            let columns: Vec<(String, String)> = sqlx::query_as(
                "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table'",
            )
            .fetch_all(&mut conn)
            .await
            .unwrap();
            for (table, column) in columns {
                let sql = format!(
                    "SELECT CAST(\"{column}\" AS BLOB) FROM \"{table}\" WHERE \"{column}\" IS NOT NULL"
                );
                let rows: Vec<(Vec<u8>,)> =
                    sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
                rows.iter().for_each(|(bytes,)| places.add(format!("{table}.{column}"), bytes));
            }
            conn.close().await.unwrap();
        }
    }
    files(data.folder(), &mut places);
    places
}

fn files(folder: &Path, places: &mut Places) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files(&path, places);
        } else if !["master.key", "admin.key"].contains(&name.as_str()) {
            places.add(format!("file {name}"), &std::fs::read(&path).unwrap());
        }
    }
}
