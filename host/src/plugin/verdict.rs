//! From a guest's verdict to an outcome: every name, header, path and size is checked here, once.
//!
//! Pure. Each refusal says what the plugin's author has to change. It must not know how the guest was run.

use std::time::Duration;

use bytes::Bytes;
use hookyard_sdk::template::{LEVELS, PATH_BYTES};

use super::log::cut;
use super::outcome::{Attachment, Content, Delivery, Email, Fault, HttpRequest, Message, SftpFile};
use super::v1;
use crate::carrier::destination::HttpMethod;
use crate::carrier::path::check_path;
use crate::carrier::{DestinationKind, Limits};
use crate::clock::Millis;
use crate::event::DestinationName;

/// How far in the future a delivery may be put off.
const NOT_BEFORE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const HEADERS_MAX: usize = 64;
const TEXT_MAX: usize = 2 << 10;
const HEADER_VALUE_MAX: usize = 8 << 10;
const ORDER_KEY_MAX: usize = 128;

/// Headers that the host writes itself, or that would change how a request is read.
const RESERVED: [&str; 20] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "eventid",
    "eventname",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "requestid",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];
const RESERVED_PREFIXES: [&str; 5] = ["webhook-", "proxy-", "x-forwarded-", "x-hookyard-", "sec-"];

/// What a verdict is checked against.
pub(super) struct Rules<'a> {
    /// The subscription's destinations.
    pub(super) granted: &'a [(DestinationName, DestinationKind)],
    pub(super) limits: &'a Limits,
    pub(super) received: Millis,
    /// What `original` means: the payload that this link was given, when it is not the event's own.
    pub(super) given: Option<&'a Bytes>,
}

impl Rules<'_> {
    /// Content that travels on.
    pub(super) fn content(&self, content: v1::Content) -> Result<Content, Fault> {
        Ok(match content {
            v1::Content::Original => {
                self.given.map_or(Content::Original, |bytes| Content::Bytes(bytes.clone()))
            }
            v1::Content::Bytes(bytes) => Content::Bytes(bytes.into()),
            v1::Content::Fetch(url) => Content::Fetch(fetch(url)?),
        })
    }

    /// Content that is forwarded, within the limit for output.
    pub(super) fn forward(&self, content: v1::Content) -> Result<Content, Fault> {
        self.output(content_len(&content))?;
        self.content(content)
    }

    /// Everything that is to be delivered.
    pub(super) fn deliveries(&self, list: Vec<v1::Delivery>) -> Result<Vec<Delivery>, Fault> {
        let allowed = self.limits.deliveries as usize;
        if list.len() > allowed {
            let message = format!("{} deliveries in one verdict, {allowed} allowed", list.len());
            return Err(Fault::LimitHit { limit: "deliveries", message });
        }
        self.output(list.iter().map(delivery_len).sum())?;
        let delivery = |(index, delivery)| {
            self.delivery(delivery).map_err(|fault| match fault {
                Fault::Rejected(why) => Fault::Rejected(format!("delivery {index}: {why}")),
                other => other,
            })
        };
        list.into_iter().enumerate().map(delivery).collect()
    }

    fn output(&self, bytes: usize) -> Result<(), Fault> {
        let allowed = self.limits.output_bytes;
        if bytes as u64 <= allowed {
            return Ok(());
        }
        let message = format!("the verdict holds {bytes} bytes, {allowed} allowed");
        Err(Fault::LimitHit { limit: "output_bytes", message })
    }

    fn delivery(&self, delivery: v1::Delivery) -> Result<Delivery, Fault> {
        let send = match delivery.send {
            v1::Message::Http(m) => Message::Http(self.http(m)?),
            v1::Message::Email(m) => Message::Email(self.email(m)?),
            v1::Message::Sftp(m) => Message::Sftp(self.sftp(m)?),
        };
        let not_before = delivery.not_before_ms.map(|at| Millis(i64::try_from(at).unwrap_or(i64::MAX)));
        if not_before.is_some_and(|at| at.since(self.received) > NOT_BEFORE_MAX) {
            return rejected("not-before-ms is more than 30 days after the event was received".to_owned());
        }
        if let Some(key) = &delivery.order_key
            && !(1..=ORDER_KEY_MAX).contains(&key.len())
        {
            return rejected(format!(
                "order-key takes 1 to {ORDER_KEY_MAX} bytes, this one has {}",
                key.len()
            ));
        }
        Ok(Delivery { send, not_before, order_key: delivery.order_key })
    }

    fn http(&self, m: v1::HttpRequest) -> Result<HttpRequest, Fault> {
        let destination = self.destination(&m.destination, DestinationKind::Http)?;
        let path = m.path.as_deref().map(|path| relative(path, "path")).transpose()?;
        if m.headers.len() > HEADERS_MAX {
            return rejected(format!("{} headers, {HEADERS_MAX} allowed", m.headers.len()));
        }
        let headers = m.headers.into_iter().map(header).collect::<Result<_, _>>()?;
        if let Some(value) = &m.content_type {
            header_value("content-type", value)?;
        }
        Ok(HttpRequest {
            destination,
            method: match m.method {
                v1::Method::Get => HttpMethod::Get,
                v1::Method::Post => HttpMethod::Post,
                v1::Method::Put => HttpMethod::Put,
                v1::Method::Patch => HttpMethod::Patch,
                v1::Method::Delete => HttpMethod::Delete,
            },
            path,
            headers,
            content_type: m.content_type,
            body: self.content(m.body)?,
        })
    }

    fn email(&self, m: v1::Email) -> Result<Email, Fault> {
        let attachment = |a: v1::Attachment| {
            Ok(Attachment { name: a.name, content_type: a.content_type, content: self.content(a.content)? })
        };
        if m.text.is_none() && m.html.is_none() {
            return rejected("a mail needs text, html or both".to_owned());
        }
        Ok(Email {
            destination: self.destination(&m.destination, DestinationKind::Email)?,
            to: m.to,
            cc: m.cc,
            subject: m.subject,
            text: m.text,
            html: m.html,
            attachments: m.attachments.into_iter().map(attachment).collect::<Result<_, Fault>>()?,
        })
    }

    fn sftp(&self, m: v1::SftpFile) -> Result<SftpFile, Fault> {
        Ok(SftpFile {
            destination: self.destination(&m.destination, DestinationKind::Sftp)?,
            path: file_path(m.path)?,
            content: self.content(m.content)?,
        })
    }

    fn destination(&self, name: &str, kind: DestinationKind) -> Result<DestinationName, Fault> {
        match self.granted.iter().find(|(granted, _)| granted.as_str() == name) {
            Some((name, has)) if *has == kind => Ok(name.clone()),
            Some((_, has)) => rejected(format!(
                "destination {name:?} is of kind {}, and this is a message of kind {}",
                has.as_str(),
                kind.as_str()
            )),
            None => rejected(format!(
                "destination {:?} is not granted: add it to the subscription's destinations",
                cut(name, 80)
            )),
        }
    }
}

fn rejected<T>(why: String) -> Result<T, Fault> {
    Err(Fault::Rejected(why))
}

fn header((name, value): (String, String)) -> Result<(String, String), Fault> {
    let Ok(valid) = name.parse::<http::HeaderName>() else {
        return rejected(format!("{:?} is not the name of a header", cut(&name, 80)));
    };
    // Parsing has made it lower case.
    let name = valid.as_str();
    if RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        let way = if name == "content-type" { "; use the content-type field" } else { "" };
        return rejected(format!("header {name:?} is reserved for the host{way}"));
    }
    header_value(name, &value)?;
    Ok((name.to_owned(), value))
}

fn header_value(name: &str, value: &str) -> Result<(), Fault> {
    // Visible characters of ASCII, spaces and tabs: what every receiver reads alike.
    let plain = value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
    if !plain || value.len() > HEADER_VALUE_MAX {
        return rejected(format!(
            "the value of header {name:?} takes printable ASCII, at most {HEADER_VALUE_MAX} bytes"
        ));
    }
    Ok(())
}

/// A path that stays below what it is appended to, without its leading `/`.
fn relative(path: &str, what: &str) -> Result<String, Fault> {
    let say = |why: &str| rejected(format!("{what} {:?} {why}", cut(path, 80)));
    let below = path.strip_prefix('/').unwrap_or(path);
    if path.len() > TEXT_MAX {
        return say("is longer than 2048 bytes");
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) || path.contains(['\\', '#']) {
        return say("takes printable ASCII without spaces, `\\` and `#`; percent-encode the rest");
    }
    let (folders, _query) = below.split_once('?').unwrap_or((below, ""));
    if below.starts_with('/') || folders.split('/').next().is_some_and(|first| first.contains(':')) {
        return say("is absolute: it is appended to the destination's address, so it must be relative");
    }
    let dots = |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if folders.split('/').any(dots) || folders.to_ascii_lowercase().contains("%2f") {
        return say("must not contain `.` or `..` as a part, or an encoded `/`");
    }
    Ok(below.to_owned())
}

/// A path of a file: any characters that names of files have, and none that leads elsewhere.
fn file_path(path: String) -> Result<String, Fault> {
    match check_path(&path, PATH_BYTES, LEVELS) {
        Ok(()) => Ok(path),
        Err(why) => rejected(format!(
            "path {:?}: {why}; it goes below the destination's folder, such as `2026/report.pdf`",
            cut(&path, 80)
        )),
    }
}

fn fetch(url: String) -> Result<String, Fault> {
    let parsed = url.parse::<http::Uri>().ok();
    let host = parsed.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    // Whether plain HTTP is allowed is the operator's to say, when it is fetched.
    let web = parsed.as_ref().and_then(|uri| uri.scheme_str()).is_some_and(|s| s == "https" || s == "http");
    let user = parsed.as_ref().and_then(|uri| uri.authority()).is_some_and(|a| a.as_str().contains('@'));
    if !web || host.is_empty() || user || url.len() > TEXT_MAX {
        return rejected(format!(
            "{:?} cannot be fetched: it takes an https address (http where the operator allows it) without user name, \
             at most {TEXT_MAX} bytes",
            cut(&url, 80)
        ));
    }
    Ok(url)
}

fn content_len(content: &v1::Content) -> usize {
    match content {
        v1::Content::Original => 0,
        v1::Content::Bytes(bytes) => bytes.len(),
        v1::Content::Fetch(url) => url.len(),
    }
}

fn delivery_len(delivery: &v1::Delivery) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let all = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let message = match &delivery.send {
        v1::Message::Http(m) => {
            let headers: usize = m.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            m.destination.len()
                + optional(&m.path)
                + headers
                + optional(&m.content_type)
                + content_len(&m.body)
        }
        v1::Message::Email(m) => {
            let files = |a: &v1::Attachment| a.name.len() + a.content_type.len() + content_len(&a.content);
            m.destination.len()
                + all(&m.to)
                + all(&m.cc)
                + m.subject.len()
                + optional(&m.text)
                + optional(&m.html)
                + m.attachments.iter().map(files).sum::<usize>()
        }
        v1::Message::Sftp(m) => m.destination.len() + m.path.len() + content_len(&m.content),
    };
    message + optional(&delivery.order_key)
}

#[cfg(test)]
mod tests;
