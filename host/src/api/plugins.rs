//! `/v1/carriers/{carrier}/plugins` and `/v1/plugins`: uploading, activating and rolling back.
//!
//! A carrier's own and the shared plugins differ in their owner alone; `owned` holds what both do.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Part, RawBody, Search};
use super::list::{List, PageQuery};
use super::plugin_views::{
    Activate, ActivatedView, PluginPart, PluginView, UploadQuery, UploadedView, VersionPart, VersionView,
};
use super::problem::{Problem, Problems};
use super::proof::{Admin, OfCarrier};
use super::state::{ApiState, PluginAdmin};
use crate::carrier::{Owner, PluginVersion};
use crate::event::PluginName;
use crate::store::Store;
use crate::store::page::PluginRecord;

/// Everything but uploads.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(version))
        .routes(routes!(activate))
        .routes(routes!(rollback))
        .routes(routes!(list_shared))
        .routes(routes!(get_shared))
        .routes(routes!(version_shared))
        .routes(routes!(activate_shared))
        .routes(routes!(rollback_shared))
}

/// Uploads, whose bodies are larger than any other.
pub(super) fn upload_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(versions, upload)).routes(routes!(versions_shared, upload_shared))
}

fn own(of: &OfCarrier) -> Owner {
    Owner::Carrier(of.carrier.clone())
}

/// What carriers and admins do alike, each with plugins of their own.
mod owned {
    use super::{
        List, Owner, PageQuery, PluginName, PluginRecord, PluginVersion, PluginView, Problem, Store,
        VersionPart, VersionView,
    };

    pub(super) async fn list(
        store: &Store,
        owner: &Owner,
        page: PageQuery,
    ) -> Result<axum::Json<List<PluginView>>, Problem> {
        let all = store.plugins(owner).await?;
        Ok(axum::Json(List::cut(all, &page.try_into()?, |one| one.name.as_str(), PluginView::from)))
    }

    pub(super) async fn get(
        store: &Store,
        owner: &Owner,
        name: &PluginName,
    ) -> Result<axum::Json<PluginView>, Problem> {
        let found = store.plugins(owner).await?.into_iter().find(|one: &PluginRecord| one.name == *name);
        found.map(|one| axum::Json(one.into())).ok_or_else(|| Problem::missing("plugin"))
    }

    pub(super) async fn versions(
        store: &Store,
        owner: &Owner,
        name: &PluginName,
    ) -> Result<axum::Json<List<VersionView>>, Problem> {
        let all = store.versions(owner, name).await?;
        if all.is_empty() {
            return Err(Problem::missing("plugin"));
        }
        Ok(axum::Json(List { items: all.into_iter().map(VersionView::from).collect(), next: None }))
    }

    pub(super) async fn version(
        store: &Store,
        owner: &Owner,
        part: &VersionPart,
    ) -> Result<axum::Json<VersionView>, Problem> {
        let all = store.versions(owner, &part.plugin).await?;
        let found = all.into_iter().find(|one: &PluginVersion| one.version == part.version);
        found.map(|one| axum::Json(one.into())).ok_or_else(|| Problem::missing("plugin version"))
    }
}

/// List a carrier's plugins
///
/// By name.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/plugins", tag = "plugins", params(PageQuery),
    responses((status = 200, description = "A page of plugins", body = List<PluginView>), Problems))]
async fn list(
    of: OfCarrier,
    State(store): State<Store>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    owned::list(&store, &own(&of), page).await
}

/// Read a plugin
#[utoipa::path(get, path = "/v1/carriers/{carrier}/plugins/{plugin}", tag = "plugins",
    responses((status = 200, description = "The plugin", body = PluginView), Problems))]
async fn get(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<PluginPart>,
) -> Result<impl IntoResponse, Problem> {
    owned::get(&store, &own(&of), &part.plugin).await
}

/// List a plugin's versions
///
/// Oldest first.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/plugins/{plugin}/versions", tag = "plugins",
    responses((status = 200, description = "All versions", body = List<VersionView>), Problems))]
async fn versions(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<PluginPart>,
) -> Result<impl IntoResponse, Problem> {
    owned::versions(&store, &own(&of), &part.plugin).await
}

/// Upload a version of a plugin
///
/// The body is the component. It is checked, compiled and tried before it is answered; the same bytes with the same
/// limits give the version that they have. It runs after it is activated.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/plugins/{plugin}/versions", tag = "plugins", params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, description = "The version", body = UploadedView), Problems))]
async fn upload(
    of: OfCarrier,
    State(plugins): State<Arc<dyn PluginAdmin>>,
    Part(part): Part<PluginPart>,
    Search(query): Search<UploadQuery>,
    RawBody(component): RawBody,
) -> Result<impl IntoResponse, Problem> {
    let uploaded = plugins.upload(own(&of), part.plugin, component, query.into()).await?;
    Ok((StatusCode::CREATED, axum::Json(UploadedView::from(uploaded))))
}

/// Read a version of a plugin
#[utoipa::path(get, path = "/v1/carriers/{carrier}/plugins/{plugin}/versions/{version}", tag = "plugins",
    responses((status = 200, description = "The version", body = VersionView), Problems))]
async fn version(
    of: OfCarrier,
    State(store): State<Store>,
    Part(part): Part<VersionPart>,
) -> Result<impl IntoResponse, Problem> {
    owned::version(&store, &own(&of), &part).await
}

/// Activate a version of a plugin
///
/// Answered when every node has loaded it; with 202 and `warnings` when one that lives cannot, or does not in time.
/// Events under way finish on the version that they began with.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/plugins/{plugin}/activate", tag = "plugins", request_body = Activate,
    responses((status = 200, description = "The plugin; every node runs the version", body = ActivatedView),
        (status = 202, description = "The plugin; some nodes do not run the version yet", body = ActivatedView), Problems))]
async fn activate(
    of: OfCarrier,
    State(plugins): State<Arc<dyn PluginAdmin>>,
    Part(part): Part<PluginPart>,
    Body(body): Body<Activate>,
) -> Result<impl IntoResponse, Problem> {
    Ok(ActivatedView::from(plugins.activate(own(&of), part.plugin, body.version).await?))
}

/// Go back to the version that was active before
#[utoipa::path(post, path = "/v1/carriers/{carrier}/plugins/{plugin}/rollback", tag = "plugins",
    responses((status = 200, description = "The plugin; every node runs the version", body = ActivatedView),
        (status = 202, description = "The plugin; some nodes do not run the version yet", body = ActivatedView), Problems))]
async fn rollback(
    of: OfCarrier,
    State(plugins): State<Arc<dyn PluginAdmin>>,
    Part(part): Part<PluginPart>,
) -> Result<impl IntoResponse, Problem> {
    Ok(ActivatedView::from(plugins.rollback(own(&of), part.plugin).await?))
}

/// List the shared plugins
///
/// By name.
#[utoipa::path(get, path = "/v1/plugins", tag = "shared plugins", params(PageQuery),
    responses((status = 200, description = "A page of plugins", body = List<PluginView>), Problems))]
async fn list_shared(
    _: Admin,
    State(store): State<Store>,
    Search(page): Search<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    owned::list(&store, &Owner::Shared, page).await
}

/// Read a shared plugin
#[utoipa::path(get, path = "/v1/plugins/{plugin}", tag = "shared plugins",
    responses((status = 200, description = "The plugin", body = PluginView), Problems))]
async fn get_shared(
    _: Admin,
    State(store): State<Store>,
    Part(part): Part<PluginPart>,
) -> Result<impl IntoResponse, Problem> {
    owned::get(&store, &Owner::Shared, &part.plugin).await
}

/// List a shared plugin's versions
///
/// Oldest first.
#[utoipa::path(get, path = "/v1/plugins/{plugin}/versions", tag = "shared plugins",
    responses((status = 200, description = "All versions", body = List<VersionView>), Problems))]
async fn versions_shared(
    _: Admin,
    State(store): State<Store>,
    Part(part): Part<PluginPart>,
) -> Result<impl IntoResponse, Problem> {
    owned::versions(&store, &Owner::Shared, &part.plugin).await
}

/// Upload a version of a shared plugin
///
/// As for a carrier's own. Carriers name it `shared/…` in their subscriptions.
#[utoipa::path(post, path = "/v1/plugins/{plugin}/versions", tag = "shared plugins", params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, description = "The version", body = UploadedView), Problems))]
async fn upload_shared(
    _: Admin,
    State(plugins): State<Arc<dyn PluginAdmin>>,
    Part(part): Part<PluginPart>,
    Search(query): Search<UploadQuery>,
    RawBody(component): RawBody,
) -> Result<impl IntoResponse, Problem> {
    let uploaded = plugins.upload(Owner::Shared, part.plugin, component, query.into()).await?;
    Ok((StatusCode::CREATED, axum::Json(UploadedView::from(uploaded))))
}

/// Read a version of a shared plugin
#[utoipa::path(get, path = "/v1/plugins/{plugin}/versions/{version}", tag = "shared plugins",
    responses((status = 200, description = "The version", body = VersionView), Problems))]
async fn version_shared(
    _: Admin,
    State(store): State<Store>,
    Part(part): Part<VersionPart>,
) -> Result<impl IntoResponse, Problem> {
    owned::version(&store, &Owner::Shared, &part).await
}

/// Activate a version of a shared plugin
///
/// For every carrier whose subscriptions name it.
#[utoipa::path(post, path = "/v1/plugins/{plugin}/activate", tag = "shared plugins", request_body = Activate,
    responses((status = 200, description = "The plugin; every node runs the version", body = ActivatedView),
        (status = 202, description = "The plugin; some nodes do not run the version yet", body = ActivatedView), Problems))]
async fn activate_shared(
    _: Admin,
    State(plugins): State<Arc<dyn PluginAdmin>>,
    Part(part): Part<PluginPart>,
    Body(body): Body<Activate>,
) -> Result<impl IntoResponse, Problem> {
    Ok(ActivatedView::from(plugins.activate(Owner::Shared, part.plugin, body.version).await?))
}

/// Go back to the shared version that was active before
#[utoipa::path(post, path = "/v1/plugins/{plugin}/rollback", tag = "shared plugins",
    responses((status = 200, description = "The plugin; every node runs the version", body = ActivatedView),
        (status = 202, description = "The plugin; some nodes do not run the version yet", body = ActivatedView), Problems))]
async fn rollback_shared(
    _: Admin,
    State(plugins): State<Arc<dyn PluginAdmin>>,
    Part(part): Part<PluginPart>,
) -> Result<impl IntoResponse, Problem> {
    Ok(ActivatedView::from(plugins.rollback(Owner::Shared, part.plugin).await?))
}
