//! The names of files: by a plugin, or by the destination's template; with an extension that says what is in them.
//!
//! Pure. It must not know where the files go.

use hookyard_sdk::template::{DEFAULT_FILE_NAME, Template, TemplateError, Variables, with_extension};
use serde_json::Value;

use super::content::File;
use crate::store::work::{Body, HeldDelivery};

/// How files are named that no plugin has named.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    template: Template,
    /// Whether the template itself ends with an extension.
    has_extension: bool,
}

impl Naming {
    /// By a template, or by the default one.
    pub(super) fn of(template: Option<&str>) -> Result<Self, TemplateError> {
        let text = template.unwrap_or(DEFAULT_FILE_NAME);
        let last = text.rsplit('/').next().unwrap_or_default();
        let extension = last.rsplit_once('.').map_or("", |(_, extension)| extension);
        let letters = extension.bytes().all(|b| b.is_ascii_alphanumeric());
        let has_extension = (1..=10).contains(&extension.len()) && letters;
        Ok(Self { template: Template::parse(text)?, has_extension })
    }

    /// The path of a delivery's file. Every attempt at it gives the same.
    pub(super) fn path(&self, d: &HeldDelivery, content: &File) -> String {
        let event = &d.event;
        // It was checked when it came in; what cannot be read has no values.
        let payload: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
        let variables = Variables::of(&payload, u64::try_from(event.received.0).unwrap_or(0));
        let path = self.template.path(&payload, &variables);
        if self.has_extension { path } else { with_extension(&path, &extension(d, content)) }
    }
}

/// `.json` and so on: by what the content was fetched as, and for bytes by what they are.
fn extension(d: &HeldDelivery, content: &File) -> String {
    let known = match (&d.body, content) {
        (Body::Original, _) => "json",
        (_, File::Memory(bytes)) => by_bytes(bytes),
        (_, File::Spooled(spooled)) => by_media_type(&spooled.content_type),
    };
    format!(".{known}")
}

fn by_bytes(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(b"%PDF-") {
        return "pdf";
    }
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    match first {
        Some(b'{' | b'[') if is_json() => "json",
        Some(b'<') if is_html(bytes) => "html",
        _ if std::str::from_utf8(bytes).is_ok() => "txt",
        _ => "bin",
    }
}

fn is_html(bytes: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).trim_start().to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

/// The extensions of the media types that the platform knows, and of what plugins make.
fn by_media_type(media_type: &str) -> &'static str {
    match media_type {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/heic" => "heic",
        "video/mp4" | "audio/mp4" => "mp4",
        "audio/mpeg" => "mp3",
        "text/vcard" | "text/x-vcard" => "vcf",
        "application/pdf" => "pdf",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "application/json" => "json",
        "text/html" => "html",
        "text/csv" => "csv",
        "text/plain" => "txt",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::clock::Millis;
    use crate::event::{Event, time_ordered};
    use crate::store::work::Message;

    fn path(template: Option<&str>, body: Body) -> String {
        let d = HeldDelivery {
            event: Arc::new(Event {
                carrier: "acme".parse().unwrap(),
                id: "e".parse().unwrap(),
                event_type: "case.closed".parse().unwrap(),
                received: Millis(1_761_300_000_123),
                attributes: Default::default(),
                payload: Bytes::from_static(
                    br#"{"caseId":"4e7d1c92-58ab","referenceId":"NB-1","brand":"A/B"}"#,
                ),
            }),
            subscription: "main".parse().unwrap(),
            id: time_ordered(Millis(0), [0; 10]).into(),
            destination: "claims".parse().unwrap(),
            message: Message::forwarded(),
            body: body.clone(),
            attempts: 0,
            due: Millis(0),
        };
        let content = match body {
            Body::Bytes(bytes) => File::Memory(bytes),
            _ => File::Memory(d.event.payload.clone()),
        };
        Naming::of(template).unwrap().path(&d, &content)
    }

    #[test]
    fn a_name_has_an_extension_that_fits_what_is_in_the_file() {
        assert_eq!(path(None, Body::Original), "NB-1_4e7d1c92-_20251024T100000Z.json");
        let bytes = |bytes: &'static [u8]| Body::Bytes(Bytes::from_static(bytes));
        for (content, name) in [
            (&b"%PDF-1.7 \xff"[..], "x.pdf"),
            (b" [1]", "x.json"),
            (b"[1", "x.txt"),
            (b"<!DOCTYPE html><p>", "x.html"),
            (b"\xff\xfe", "x.bin"),
            (b"", "x.txt"),
        ] {
            assert_eq!(path(Some("x"), bytes(content)), name);
        }
        assert_eq!(path(Some("${brand}/x.dat"), Body::Original), "A_B/x.dat");
        assert_eq!(
            path(Some("v1.0/${brand}"), Body::Original),
            "v1.0/A_B.json",
            "a folder's dot says nothing"
        );
    }
}
