//! `/v1/openapi.json`: the document, generated from the handlers.
//!
//! It adds what every operation has in common. It must not know any operation in particular.

use std::sync::OnceLock;

use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, RefOr, Required};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Details;
use super::state::ApiState;
use super::webhooks::WebhookError;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(document))
}

/// Read this document
///
/// It needs no key.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "about", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value), super::problem::Problems))]
async fn document() -> impl IntoResponse {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| super::openapi().to_json().unwrap_or_default().into());
    ([(header::CONTENT_TYPE, "application/json")], text.clone())
}

/// The document before its paths: what it is about, who may, and the shape of problems.
pub(super) fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Hookyard")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Events in, a carrier's plugin decides, receivers get them, nothing is lost. Every POST takes \
             `Idempotency-Key`; every error is `application/problem+json` with a stable `code`. A change is \
             answered when every node has applied it; nodes that live and have not are named in the header \
             `hookyard-nodes-behind`.",
        ))
        .build();
    let in_header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let mut schemas = vec![(Details::name().into_owned(), <Details as utoipa::PartialSchema>::schema())];
    Details::schemas(&mut schemas);
    schemas.push((WebhookError::name().into_owned(), <WebhookError as utoipa::PartialSchema>::schema()));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("api_key", in_header)
        .security_scheme("bearer", bearer)
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// What each part of a path is.
const PARTS: [(&str, &str); 11] = [
    ("carrier", "The carrier's id, or `me` for the key's own."),
    ("key", "The key's id."),
    ("destination", "The destination's name."),
    ("subscription", "The subscription's id."),
    ("plugin", "The plugin's name."),
    ("version", "The version's number."),
    ("table", "The table's name."),
    ("event", "The event's id."),
    ("token", "What the receiver was told."),
    ("request", "The `requestid` that the receiver saw."),
    ("event_type", "The event type, such as `case.closed`."),
];

/// Adds what all operations have: keys, parts of the path, `Idempotency-Key` for every POST.
pub(super) fn finish(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let parts: Vec<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        for (post, operation) in operations(item) {
            operation.security.get_or_insert_with(|| {
                let none: [&str; 0] = [];
                vec![SecurityRequirement::new("api_key", none), SecurityRequirement::new("bearer", none)]
            });
            let parameters = operation.parameters.get_or_insert_with(Vec::new);
            for part in &parts {
                let about = PARTS.iter().find(|(name, _)| name == part).map_or("Its id.", |(_, about)| about);
                parameters.push(RefOr::T(parameter(part, ParameterIn::Path, about)));
            }
            if post {
                let about = "The same key with the same request gets the same answer for 24 hours.";
                parameters.push(RefOr::T(parameter("Idempotency-Key", ParameterIn::Header, about)));
            }
        }
    }
    document
}

fn parameter(name: &str, place: ParameterIn, about: &str) -> Parameter {
    let kind = if name == "version" { Type::Integer } else { Type::String };
    let required = if matches!(place, ParameterIn::Path) { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(about))
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .build()
}

/// The operations of a path, each with whether it is a POST.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    [
        (false, item.get.as_mut()),
        (false, item.put.as_mut()),
        (true, item.post.as_mut()),
        (false, item.delete.as_mut()),
        (false, item.patch.as_mut()),
    ]
    .into_iter()
    .filter_map(|(post, operation)| Some((post, operation?)))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// Every route, from the places that make them: the document can only lose one by losing the route.
    const ROUTES: &str = "\
delete /v1/carriers/{carrier}/destinations/{destination}
delete /v1/carriers/{carrier}/drop/files
delete /v1/carriers/{carrier}/drop/keys/{key}
delete /v1/carriers/{carrier}/event-types/{event_type}
delete /v1/carriers/{carrier}/keys/{key}
delete /v1/carriers/{carrier}/subscriptions/{subscription}
delete /v1/carriers/{carrier}/tables/{table}
delete /v1/keys/{key}
delete /webhooks/unregister/{subscription}
get /v1/carriers
get /v1/carriers/{carrier}
get /v1/carriers/{carrier}/deliveries
get /v1/carriers/{carrier}/deliveries/{delivery}
get /v1/carriers/{carrier}/destinations
get /v1/carriers/{carrier}/destinations/{destination}
get /v1/carriers/{carrier}/drop/files
get /v1/carriers/{carrier}/drop/keys
get /v1/carriers/{carrier}/drop/keys/{key}
get /v1/carriers/{carrier}/event-types
get /v1/carriers/{carrier}/event-types/{event_type}
get /v1/carriers/{carrier}/events
get /v1/carriers/{carrier}/events/{event}
get /v1/carriers/{carrier}/keys
get /v1/carriers/{carrier}/media
get /v1/carriers/{carrier}/plugins
get /v1/carriers/{carrier}/plugins/{plugin}
get /v1/carriers/{carrier}/plugins/{plugin}/versions
get /v1/carriers/{carrier}/plugins/{plugin}/versions/{version}
get /v1/carriers/{carrier}/subscriptions
get /v1/carriers/{carrier}/subscriptions/{subscription}
get /v1/carriers/{carrier}/subscriptions/{subscription}/schedule
get /v1/carriers/{carrier}/surveys
get /v1/carriers/{carrier}/tables
get /v1/carriers/{carrier}/tables/{table}
get /v1/event-types
get /v1/event-types/{event_type}
get /v1/handshake/{token}
get /v1/keys
get /v1/openapi.json
get /v1/plugins
get /v1/plugins/{plugin}
get /v1/plugins/{plugin}/versions
get /v1/plugins/{plugin}/versions/{version}
get /webhooks/failed
get /webhooks/subscribed
patch /webhooks/update/{subscription}
post /v1/carriers
post /v1/carriers/{carrier}/deliveries/cancel
post /v1/carriers/{carrier}/deliveries/retry
post /v1/carriers/{carrier}/deliveries/{delivery}/cancel
post /v1/carriers/{carrier}/deliveries/{delivery}/resend
post /v1/carriers/{carrier}/deliveries/{delivery}/retry
post /v1/carriers/{carrier}/destinations/{destination}/disable
post /v1/carriers/{carrier}/destinations/{destination}/enable
post /v1/carriers/{carrier}/destinations/{destination}/rotate-secret
post /v1/carriers/{carrier}/destinations/{destination}/test
post /v1/carriers/{carrier}/destinations/{destination}/validate
post /v1/carriers/{carrier}/events/{event}/routings/{subscription}/retry
post /v1/carriers/{carrier}/keys
post /v1/carriers/{carrier}/plugins/{plugin}/activate
post /v1/carriers/{carrier}/plugins/{plugin}/rollback
post /v1/carriers/{carrier}/plugins/{plugin}/versions
post /v1/carriers/{carrier}/subscriptions
post /v1/carriers/{carrier}/subscriptions/{subscription}/pause
post /v1/carriers/{carrier}/subscriptions/{subscription}/resume
post /v1/carriers/{carrier}/subscriptions/{subscription}/schedule/dry-run
post /v1/carriers/{carrier}/subscriptions/{subscription}/schedule/run
post /v1/carriers/{carrier}/subscriptions/{subscription}/test
post /v1/events
post /v1/handshake/{token}
post /v1/keys
post /v1/plugins/{plugin}/activate
post /v1/plugins/{plugin}/rollback
post /v1/plugins/{plugin}/versions
post /webhooks/register
post /webhooks/retry
post /webhooks/retry/{request}
put /v1/carriers/{carrier}/destinations/{destination}
put /v1/carriers/{carrier}/drop/keys/{key}
put /v1/carriers/{carrier}/event-types/{event_type}
put /v1/carriers/{carrier}/media
put /v1/carriers/{carrier}/subscriptions/{subscription}
put /v1/carriers/{carrier}/tables/{table}";

    fn document() -> Value {
        serde_json::to_value(super::super::openapi()).unwrap()
    }

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().unwrap();
        let each = paths.iter().flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (format!("{method} {path}"), operation))
        });
        each.collect()
    }

    #[test]
    fn every_route_is_in_the_document() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let mut routes: Vec<_> = operations(&document).into_iter().map(|(route, _)| route).collect();
        routes.sort();
        assert_eq!(routes.join("\n"), ROUTES);
    }

    #[test]
    fn every_operation_has_a_summary_security_and_errors() {
        let document = document();
        for (route, operation) in operations(&document) {
            assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{route}: summary");
            let open = route == "get /v1/openapi.json" || route.ends_with(" /v1/handshake/{token}");
            let schemes = operation["security"].as_array().unwrap();
            assert_eq!(schemes.iter().any(|s| s.get("api_key").is_some()), !open, "{route}: security");
            let webhooks = route.contains(" /webhooks/");
            let (statuses, media, name) = match webhooks {
                true => (["401", "404", "400", "429"], "application/json", "WebhookError"),
                false => (["401", "404", "422", "503"], "application/problem+json", "Problem"),
            };
            for status in statuses {
                let schema = &operation["responses"][status]["content"][media]["schema"];
                assert_eq!(schema["$ref"], format!("#/components/schemas/{name}"), "{route}: {status}");
            }
            let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
            let declared = |name: &str| parameters.iter().filter(|p| p["name"] == name).count();
            for part in route.split(['{', '}']).skip(1).step_by(2) {
                assert_eq!(declared(part), 1, "{route}: {part}");
            }
            assert_eq!(declared("Idempotency-Key"), usize::from(route.starts_with("post ")), "{route}");
        }
    }

    #[test]
    fn every_reference_has_its_schema() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{}", found.len());
        for reference in found {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }
}
