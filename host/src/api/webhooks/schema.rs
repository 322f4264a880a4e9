//! A registration's members as the OpenAPI document lists them.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};

use super::registration::Registration;

impl utoipa::PartialSchema for Registration {
    fn schema() -> RefOr<Schema> {
        let of = |kind: Type, about: &str| ObjectBuilder::new().schema_type(kind).description(Some(about));
        let words =
            |words: &[&str], about: &str| of(Type::String, about).enum_values(Some(words.iter().copied()));
        let strings = || {
            let any = || ObjectBuilder::new().schema_type(Type::Object);
            OneOfBuilder::new()
                .description(Some(
                    "Static headers; `Authorization` is a text or an object with OAuth 2.0 settings. An array with one such \
                     object is taken as well.",
                ))
                .item(any().build())
                .item(ArrayBuilder::new().items(RefOr::<Schema>::from(any())).build())
        };
        ObjectBuilder::new()
            .description(Some(
                "A registration. Names are taken in any case. What an event takes beyond these members stands in the catalogue \
                 (`GET /v1/event-types`); a member that it does not take is refused.",
            ))
            .property("EVENT_ID", of(Type::Integer, "The number of the event."))
            .property("HTTP_POST_ADDRESS", of(Type::String, "Where it is sent; needed for events that are."))
            .property("HEADERS", strings())
            .property("FILTER_BY", of(Type::String, "`path:value`, several joined by `&`: all must hold."))
            .property("redacted", of(Type::Boolean, "Whether personal data is left out; of a transcript, what the platform marked, too."))
            .property(
                "includeMessageClassifications",
                of(Type::Boolean, "For event 14: whether classifications of messages are sent."),
            )
            .property("PGP_KEY", of(Type::String, "For files and mails: base64 of an armoured public key."))
            .property("FORMAT", of(Type::String, "For files and mails: the template of the files' names."))
            .property("SFTP", of(Type::Object, "For files: a site of your own in place of the drop folder."))
            .property("RECIPIENTS", of(Type::Array, "For mails: the addresses."))
            .property("SUBJECT", of(Type::String, "For mails: the template of the subject."))
            .property("INCLUDE_MEDIA", of(Type::Boolean, "For event 8: whether the customer's files go with it."))
            .property("SCHEDULE", of(Type::String, "For event 4: `daily HH:MM` or `weekly DAY HH:MM`."))
            .property("TIME_ZONE", of(Type::String, "For event 4: such as `America/New_York`; `UTC` when absent."))
            .property(
                "POLICY",
                words(&["none", "conversation", "standard"], "How it is retried. Absent: `none` for what is posted, else `standard`."),
            )
            .property("SIGNING", of(Type::Boolean, "Whether requests are signed by Standard Webhooks."))
            .property("AUTH_TOKEN", of(Type::String, "Sent as `x-auth-token`; never shown."))
            .property("HTTP_METHOD", words(&["POST", "PUT", "GET"], "`POST` when absent; `GET` carries no payload."))
            .required("EVENT_ID")
            .into()
    }
}

impl utoipa::ToSchema for Registration {
    fn name() -> std::borrow::Cow<'static, str> {
        "Registration".into()
    }
    fn schemas(_: &mut Vec<(String, RefOr<Schema>)>) {}
}
