//! The management API under `/v1`: one file per noun, handlers of about ten lines over the store. The carrier-webhook API
//! stands beside it, in `webhooks`.
//!
//! `proof` says who may, `extract` reads requests, `problem` is what goes wrong, `state` the doors to the rest of the
//! host. It must not know SQL, Wasm or how deliveries are sent.

pub mod auth;
pub mod carriers;
pub mod deliveries;
pub mod delivery_choice;
pub mod destination_auth;
mod destination_login;
pub mod destination_views;
pub mod destinations;
mod document;
pub mod drop;
pub mod event_types;
pub mod events;
pub mod extract;
pub mod handshakes;
mod hide;
pub mod idempotency;
pub mod keys;
pub mod list;
pub mod log_views;
pub mod media;
pub mod plugin_views;
pub mod plugins;
pub mod problem;
pub mod proof;
pub mod schedules;
pub mod state;
pub mod subscriptions;
pub mod surveys;
pub mod tables;
pub mod trial_views;
pub mod trials;
pub mod webhooks;

use axum::Extension;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::routing::any;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use auth::{KeyRing, Principal, mint};
pub use state::{Activated, ApiLimits, ApiParts, ApiState, Checks, Handshaker, PluginAdmin, Tester};

use crate::ingest::{self, IngestLimits};
use extract::BodyLimit;
use problem::{Code, Problem};

/// The routes with their limits on bodies.
fn routes(limits: &ApiLimits, ingest: &IngestLimits) -> OpenApiRouter<ApiState> {
    let body = |name, max| (DefaultBodyLimit::max(max), Extension(BodyLimit { name, max }));
    let small = OpenApiRouter::new()
        .merge(carriers::routes())
        .merge(keys::routes())
        .merge(destinations::routes())
        .merge(drop::routes())
        .merge(handshakes::routes())
        .merge(subscriptions::routes())
        .merge(plugins::routes())
        .merge(events::routes())
        .merge(event_types::routes())
        .merge(schedules::routes())
        .merge(media::routes())
        .merge(trials::routes())
        .merge(deliveries::routes())
        .merge(surveys::routes())
        .merge(document::routes())
        .layer(body("request_bytes", limits.request_bytes));
    OpenApiRouter::with_openapi(document::frame())
        .merge(small)
        .merge(plugins::upload_routes().layer(body("component_bytes", limits.component_bytes)))
        .merge(tables::routes().layer(body("table_bytes", limits.table_bytes)))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(ingest::http::post_events))
                .layer(body("request_bytes", ingest.request_bytes)),
        )
}

/// The routes of the carrier-webhook API with their limit on bodies.
fn webhook_routes(limits: &ApiLimits) -> OpenApiRouter<ApiState> {
    let limit = BodyLimit { name: "request_bytes", max: limits.request_bytes };
    webhooks::routes().layer((DefaultBodyLimit::max(limit.max), Extension(limit)))
}

/// Everything under `/v1` and `/webhooks`, and problem details for every path and method that there is not.
pub fn router(state: ApiState) -> axum::Router {
    use axum::extract::FromRef;
    use std::sync::Arc;
    let limits = <Arc<ApiLimits>>::from_ref(&state);
    let ingest = <Arc<IngestLimits>>::from_ref(&state);
    let (router, _) = routes(&limits, &ingest).split_for_parts();
    let (webhooks, _) = webhook_routes(&limits).split_for_parts();
    // Its face is the outermost, so that no answer lacks its shape and its headers.
    let webhooks = webhooks
        .route("/webhooks/{*rest}", any(no_such_path))
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(state.clone(), idempotency::idempotent))
        .layer(from_fn_with_state(state.clone(), webhooks::face));
    router
        .layer(from_fn_with_state(state.clone(), idempotency::idempotent))
        .merge(webhooks)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(state)
}

/// The OpenAPI 3.1 document of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let limits = ApiLimits::default();
    let all = routes(&limits, &IngestLimits::default()).merge(webhook_routes(&limits));
    let (_, document) = all.split_for_parts();
    document::finish(document)
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("there is nothing at `{}`; `/v1/openapi.json` lists what there is", uri.path()),
    )
}

async fn no_such_method(uri: Uri, method: axum::http::Method) -> Problem {
    let detail = format!("`{}` does not take {method}; `/v1/openapi.json` lists what it takes", uri.path());
    Problem::new(Code::MethodNotAllowed, detail)
}

#[cfg(test)]
mod tests;
