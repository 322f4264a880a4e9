//! The imports as the host serves them, and the export that the host calls: the only file that knows the bindings.

use crate::log::Level;
use crate::{Content, Delivery, Event, Failure, Message, Method, Plugin, Verdict};

#[expect(missing_docs, reason = "what the macro makes has its words in the contract")]
pub mod bindings {
    //! Made from `wit/v1`; everything in here follows the contract and nothing else.
    wit_bindgen::generate!({
        path: "../wit/v1",
        world: "plugin",
        pub_export_macro: true,
        default_bindings_module: "::hookyard::__private::bindings",
    });
}

use bindings::exports::hookyard::plugin::handler;
use bindings::hookyard::plugin::{links, log as host_log, settings, tables, types};

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Debug => host_log::Level::Debug,
        Level::Info => host_log::Level::Info,
        Level::Warn => host_log::Level::Warn,
        Level::Error => host_log::Level::Error,
    };
    host_log::write(level, message);
}

pub(crate) fn setting(key: &str) -> Option<String> {
    settings::get(key)
}

pub(crate) fn table(table: &str, key: &str) -> Option<String> {
    tables::get(table, key)
}

pub(crate) fn survey() -> Result<String, String> {
    links::survey()
}

impl<P: Plugin> handler::Guest for P {
    fn handle(event: types::Event) -> Result<types::Verdict, types::Failure> {
        let types::Event { id, event_type, received_ms, attributes, payload } = event;
        match P::handle(&Event::from_parts(id, event_type, received_ms, attributes, payload)) {
            Ok(Verdict::Drop(reason)) => Ok(types::Verdict::Drop(reason)),
            Ok(Verdict::Forward(content)) => Ok(types::Verdict::Forward(content.into())),
            Ok(Verdict::Deliver(list)) => {
                Ok(types::Verdict::Deliver(list.into_iter().map(Into::into).collect()))
            }
            Err(Failure::Rejected(reason)) => Err(types::Failure::Rejected(reason)),
            Err(Failure::Temporary(reason)) => Err(types::Failure::Temporary(reason)),
        }
    }
}

impl From<Content> for types::Content {
    fn from(content: Content) -> Self {
        match content {
            Content::Original => Self::Original,
            Content::Bytes(bytes) => Self::Bytes(bytes),
            Content::Fetch(url) => Self::Fetch(url),
        }
    }
}

impl From<Delivery> for types::Delivery {
    fn from(delivery: Delivery) -> Self {
        let send = match delivery.send {
            Message::Http(http) => types::Message::Http(types::HttpRequest {
                destination: http.destination,
                method: match http.method {
                    Method::Get => types::Method::Get,
                    Method::Post => types::Method::Post,
                    Method::Put => types::Method::Put,
                    Method::Patch => types::Method::Patch,
                    Method::Delete => types::Method::Delete,
                },
                path: http.path,
                headers: http.headers,
                content_type: http.content_type,
                body: http.body.into(),
            }),
            Message::Email(email) => types::Message::Email(types::Email {
                destination: email.destination,
                to: email.to,
                cc: email.cc,
                subject: email.subject,
                text: email.text,
                html: email.html,
                attachments: email
                    .attachments
                    .into_iter()
                    .map(|file| types::Attachment {
                        name: file.name,
                        content_type: file.content_type,
                        content: file.content.into(),
                    })
                    .collect(),
            }),
            Message::Sftp(file) => types::Message::Sftp(types::SftpFile {
                destination: file.destination,
                path: file.path,
                content: file.content.into(),
            }),
        };
        Self { send, not_before_ms: delivery.not_before_ms, order_key: delivery.order_key }
    }
}
