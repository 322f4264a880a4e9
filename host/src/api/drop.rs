//! `/v1/carriers/{carrier}/drop`: the keys with which a carrier fetches files from the drop folder, and those files.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Part, Search};
use super::keys::room;
use super::list::{List, PageQuery};
use super::problem::{Code, Problem, Problems};
use super::proof::OfCarrier;
use super::state::{ApiState, DropBox, DropBoxError, Turn};
use crate::carrier::drop::MAX_DROP_KEYS;
use crate::carrier::{DropFile, DropKey, DropKeyName};
use crate::clock::{Clock, Millis};
use crate::store::Store;
use crate::store::page::PageRequest;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_keys))
        .routes(routes!(get_key, put_key, delete_key))
        .routes(routes!(list_files, delete_file))
}

#[derive(Debug, Deserialize)]
struct NamePart {
    key: DropKeyName,
}

/// A public key to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DropKeyBody {
    /// The key in OpenSSH's form, `ssh-ed25519 AAAA… name`: ed25519, ECDSA, or RSA of 2 048 bits or more, without options.
    public_key: String,
}

/// A public key that the carrier's login may use.
#[derive(Debug, Serialize, ToSchema)]
pub struct DropKeyView {
    /// Its name.
    pub name: DropKeyName,
    /// Its fingerprint as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// The key, without its comment.
    pub public_key: String,
    /// When it was first registered under this name, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub created_ms: Millis,
    /// When it was last registered, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub updated_ms: Millis,
}

impl From<DropKey> for DropKeyView {
    fn from(key: DropKey) -> Self {
        Self {
            name: key.name,
            fingerprint: key.fingerprint,
            public_key: key.public_key,
            created_ms: key.created,
            updated_ms: key.updated,
        }
    }
}

/// A file that waits to be fetched.
#[derive(Debug, Serialize, ToSchema)]
pub struct DropFileView {
    /// Its path, as the carrier's login sees it below `/files`.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was put there, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub modified_ms: Millis,
}

impl From<DropFile> for DropFileView {
    fn from(file: DropFile) -> Self {
        Self { path: file.path, bytes: file.bytes, modified_ms: file.modified }
    }
}

/// Which file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FileQuery {
    /// Its path, as the list shows it.
    path: String,
}

/// The drop folder, if this host has one.
fn there(drop: Option<Arc<dyn DropBox>>) -> Result<Arc<dyn DropBox>, Problem> {
    drop.ok_or_else(|| {
        let detail = "this host has no drop folder: its operator sets `hosted = true` in `[drop]`";
        Problem::new(Code::WrongState, detail)
    })
}

impl From<DropBoxError> for Problem {
    fn from(error: DropBoxError) -> Self {
        match error {
            DropBoxError::Path(why) => Self::new(Code::InvalidParameter, why).field("path"),
            DropBoxError::Host(why) => Self::new(Code::Unavailable, why),
        }
    }
}

/// List the keys of the drop folder
///
/// By name: those with which the carrier's login fetches files.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/drop/keys", tag = "drop folder", params(PageQuery),
    responses((status = 200, description = "A page of keys", body = List<DropKeyView>), Problems))]
async fn list_keys(
    of: OfCarrier,
    State(store): State<Store>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let all = store.drop_keys(&of.carrier).await?;
    Ok(axum::Json(List::cut(all, &page.try_into()?, |key| key.name.as_str(), DropKeyView::from)))
}

/// Read a key of the drop folder
#[utoipa::path(get, path = "/v1/carriers/{carrier}/drop/keys/{key}", tag = "drop folder",
    responses((status = 200, description = "The key", body = DropKeyView), Problems))]
async fn get_key(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<NamePart>,
) -> Result<impl IntoResponse, Problem> {
    let found = store.drop_keys(&of.carrier).await?.into_iter().find(|key| key.name == part.key);
    found.map(|key| axum::Json(DropKeyView::from(key))).ok_or_else(|| Problem::missing("key"))
}

/// Register or replace a key of the drop folder
///
/// From then on the carrier's login may use it, at every node; one that it replaces may be used no more.
#[utoipa::path(put, path = "/v1/carriers/{carrier}/drop/keys/{key}", tag = "drop folder",
    request_body = DropKeyBody, responses(
    (status = 200, description = "It was replaced", body = DropKeyView),
    (status = 201, description = "It was registered", body = DropKeyView), Problems))]
async fn put_key(
    of: OfCarrier,
    State(store): State<Store>,
    State(drop): State<Option<Arc<dyn DropBox>>>,
    State(clock): State<Clock>,
    State(turn): State<Turn>,
    Part(part): Part<NamePart>,
    Body(body): Body<DropKeyBody>,
) -> Result<impl IntoResponse, Problem> {
    there(drop)?;
    let mut key = DropKey::read(of.carrier, part.key, &body.public_key, clock.now())
        .map_err(|why| Problem::invalid("public_key", why))?;
    // Two at once would both find room for the last.
    let _turn = turn.mine().await;
    let all = store.drop_keys(&key.carrier).await?;
    let status = match all.iter().find(|one| one.name == key.name) {
        Some(earlier) => {
            key.created = earlier.created;
            StatusCode::OK
        }
        None => {
            room("drop_keys", all.len(), MAX_DROP_KEYS)?;
            StatusCode::CREATED
        }
    };
    store.put_drop_key(key.clone()).await?;
    Ok((status, axum::Json(DropKeyView::from(key))))
}

/// Delete a key of the drop folder
///
/// It may be used no more; sessions that are open stay open.
#[utoipa::path(delete, path = "/v1/carriers/{carrier}/drop/keys/{key}", tag = "drop folder",
    responses((status = 204, description = "It is gone"), Problems))]
async fn delete_key(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<NamePart>,
) -> Result<StatusCode, Problem> {
    let gone = store.delete_drop_key(&of.carrier, &part.key).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::missing("key")) }
}

/// List the files of the drop folder
///
/// By path: those that the carrier can fetch.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/drop/files", tag = "drop folder", params(PageQuery),
    responses((status = 200, description = "A page of files", body = List<DropFileView>), Problems))]
async fn list_files(
    of: OfCarrier,
    State(drop): State<Option<Arc<dyn DropBox>>>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let PageRequest { limit, after } = page.try_into()?;
    let limit = limit as usize;
    // One more than is shown tells whether there is another page.
    let mut files = there(drop)?.list(of.carrier, after, limit + 1).await?;
    let more = files.len() > limit;
    files.truncate(limit);
    let next = files.last().filter(|_| more).map(|file| file.path.clone());
    Ok(axum::Json(List { items: files.into_iter().map(DropFileView::from).collect(), next }))
}

/// Delete a file of the drop folder
///
/// One that was fetched, to make room; its delivery is not sent again.
#[utoipa::path(delete, path = "/v1/carriers/{carrier}/drop/files", tag = "drop folder", params(FileQuery),
    responses((status = 204, description = "It is gone"), Problems))]
async fn delete_file(
    of: OfCarrier,
    State(drop): State<Option<Arc<dyn DropBox>>>,
    Search(query): Search<FileQuery>,
) -> Result<StatusCode, Problem> {
    let gone = there(drop)?.delete(of.carrier, query.path).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::missing("file")) }
}
