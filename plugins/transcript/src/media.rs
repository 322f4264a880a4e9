//! The customer's media among a case's messages: which are fetched, and what their files are called. It must not know how
//! they are sent.

use std::collections::BTreeSet;

use hookyard::Value;
use hookyard::template::{Template, Variables, numbered, with_extension};

use crate::case::Case;

/// The longest address that the host fetches, in bytes.
const URL_MAX: usize = 2_048;

/// The media that the platform takes from customers (4.6 of its catalogue), by what their names end with.
const TYPES: [(&str, &str); 12] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("m4a", "audio/mp4"),
    ("vcf", "text/vcard"),
    ("pdf", "application/pdf"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
];

/// A file that the host fetches.
#[derive(Debug)]
pub(crate) struct Media {
    /// Which of the case's messages it is.
    pub(crate) message: usize,
    pub(crate) url: String,
    /// Its path with folders.
    pub(crate) path: String,
    /// The last part of `path`.
    pub(crate) name: String,
    pub(crate) content_type: &'static str,
}

/// The files of a case. `taken` are the paths that are in use, to which theirs are added.
pub(crate) fn of(
    case: &Case,
    template: &Template,
    variables: &Variables,
    taken: &mut BTreeSet<String>,
) -> Vec<Media> {
    let mut media = Vec::new();
    let mut named = None;
    for (index, message) in case.messages().iter().enumerate() {
        let Some(url) = address(message) else { continue };
        // The case without its messages, beside which each message stands in turn.
        let named = named.get_or_insert_with(|| {
            let members =
                case.payload.as_object().into_iter().flatten().filter(|(name, _)| *name != "messages");
            Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
        });
        named["message"] = message.clone();
        let ending = ending(url);
        let path = template.path(named, variables);
        let path = match ending {
            Some((ending, _)) => ended(path, ending),
            None => path,
        };
        let path = unique(path, taken);
        media.push(Media {
            message: index,
            url: url.to_owned(),
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            path,
            content_type: ending.map_or("application/octet-stream", |(_, content_type)| content_type),
        });
    }
    media
}

/// Where a message's file is fetched from; `None` when it has none that the host would fetch, or is not the customer's.
fn address(message: &Value) -> Option<&str> {
    let member = |name: &str| message.get(name).and_then(Value::as_str);
    let of_customer = member("channelSource").is_none_or(|source| source == "mobile");
    if member("type").is_none_or(|kind| kind == "text") || !of_customer {
        return None;
    }
    let url = member("data")?;
    let authority = url.strip_prefix("https://")?.split(['/', '?', '#']).next()?;
    let good = url.len() <= URL_MAX
        && !authority.is_empty()
        && !authority.contains('@')
        && url.bytes().all(|b| {
            b.is_ascii_graphic()
                && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']')
        });
    good.then_some(url)
}

/// What the address' path ends with, and the type that it stands for.
fn ending(url: &str) -> Option<(&'static str, &'static str)> {
    let path = url.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    TYPES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(ending))
}

/// The path with this ending, which it may have already.
pub(crate) fn ended(path: String, ending: &str) -> String {
    let has = path.rsplit_once('.').is_some_and(|(_, has)| has.eq_ignore_ascii_case(ending));
    if has { path } else { with_extension(&path, &format!(".{ending}")) }
}

/// The path, numbered when it is taken, which it is then.
pub(crate) fn unique(path: String, taken: &mut BTreeSet<String>) -> String {
    let mut path = path;
    let plain = path.clone();
    let mut number = 2;
    while !taken.insert(path.clone()) {
        path = numbered(&plain, number);
        number += 1;
    }
    path
}
