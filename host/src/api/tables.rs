//! `/v1/carriers/{carrier}/tables`: look-up tables, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Part, Search};
use super::keys::room;
use super::list::{List, PageQuery};
use super::problem::{Code, Problem, Problems};
use super::proof::OfCarrier;
use super::state::{ApiLimits, ApiState};
use crate::carrier::Table;
use crate::clock::{Clock, Millis};
use crate::event::{CarrierId, TableName};
use crate::store::Store;

/// The bodies are larger than most.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put, delete))
}

/// A table without its entries.
#[derive(Debug, Serialize, ToSchema)]
pub struct TableView {
    /// Its name.
    pub name: TableName,
    /// 1 for the first upload, one more for each replacement.
    pub version: i64,
    /// How many entries it has.
    pub entries: usize,
    /// When this version was written, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub updated_ms: Millis,
}

impl From<&Table> for TableView {
    fn from(one: &Table) -> Self {
        let (version, updated_ms) = (one.version, one.updated);
        Self { name: one.name.clone(), version, entries: one.entries.len(), updated_ms }
    }
}

#[derive(Debug, Deserialize)]
struct NamePart {
    table: TableName,
}

async fn existing(store: &Store, carrier: &CarrierId, name: &TableName) -> Result<Table, Problem> {
    let found = store.tables(carrier).await?.into_iter().find(|one| one.name == *name);
    found.ok_or_else(|| Problem::missing("table"))
}

/// List look-up tables
///
/// By name, without their entries.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/tables", tag = "tables", params(PageQuery),
    responses((status = 200, description = "A page of tables", body = List<TableView>), Problems))]
async fn list(
    of: OfCarrier,
    State(store): State<Store>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let page = page.try_into()?;
    let all = store.tables(&of.carrier).await?;
    Ok(axum::Json(List::cut(all, &page, |one| one.name.as_str(), |one| TableView::from(&one))))
}

/// Read a look-up table
///
/// Its entries, as they were put.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/tables/{table}", tag = "tables",
    responses((status = 200, description = "Keys and values", body = BTreeMap<String, String>), Problems))]
async fn get(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<NamePart>,
) -> Result<impl IntoResponse, Problem> {
    Ok(axum::Json(existing(&store, &of.carrier, &part.table).await?.entries))
}

/// Make or replace a look-up table
///
/// The body is an object of texts. Plugins read the new version from the next event on.
#[utoipa::path(put, path = "/v1/carriers/{carrier}/tables/{table}", tag = "tables",
    request_body = BTreeMap<String, String>,
    responses((status = 200, description = "The table", body = TableView), Problems))]
async fn put(
    of: OfCarrier,
    State(store): State<Store>,
    State(limits): State<Arc<ApiLimits>>,
    State(clock): State<Clock>,
    Part(part): Part<NamePart>,
    Body(entries): Body<BTreeMap<String, String>>,
) -> Result<impl IntoResponse, Problem> {
    let (count, max) = (entries.len(), limits.table_entries);
    if count > max {
        let detail = format!("the table has {count} entries: the limit `table_entries` is {max}");
        return Err(Problem::new(Code::TooLarge, detail).limit("table_entries", max as u64));
    }
    let there = store.tables(&of.carrier).await?;
    if !there.iter().any(|one| one.name == part.table) {
        room("tables", there.len(), limits.tables)?;
    }
    let now = clock.now();
    let version = store.put_table(&of.carrier, &part.table, entries, now).await?;
    Ok(axum::Json(TableView { name: part.table, version, entries: count, updated_ms: now }))
}

/// Delete a look-up table
#[utoipa::path(delete, path = "/v1/carriers/{carrier}/tables/{table}", tag = "tables",
    responses((status = 204, description = "It is gone"), Problems))]
async fn delete(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<NamePart>,
) -> Result<StatusCode, Problem> {
    let gone = store.delete_table(&of.carrier, &part.table).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::missing("table")) }
}
