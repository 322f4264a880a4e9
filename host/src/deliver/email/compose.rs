//! From a delivery and its target to a complete mail (RFC 5322, MIME), and the form of it that is recorded.
//!
//! What comes from events and plugins never breaks a line of a header: subjects and names lose control characters and are
//! encoded, addresses and types are checked. The same delivery is the same mail at every attempt, but for its DKIM
//! signature's time. It must not know the network.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use hookyard_sdk::template::{DEFAULT_FILE_NAME, LINE_CHARS, Template, Variables, with_extension};
use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{
    ContentDisposition, ContentTransferEncoding, ContentType, HeaderName, HeaderValue,
};
use lettre::message::{Mailbox, Message as Mail, MultiPart, MultiPartBuilder, SinglePart};
use serde_json::{Value, json};

use super::address::{address, is_unsafe, same};
use super::dkim::Dkim;
use super::encode;
use super::target::{EmailTarget, MAX_LIST};
use crate::clock::Millis;
use crate::pgp::{self, Encryption};
use crate::store::work::{HeldDelivery, Message};

/// The most files that go with one mail.
pub(super) const MAX_ATTACHMENTS: usize = 50;
/// The longest name of a file, in bytes.
const MAX_FILE_NAME: usize = 200;
/// The longest media type, in characters.
const MAX_TYPE: usize = 200;

/// Why a mail can never be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unmailable(pub(super) Cow<'static, str>);

fn never<T>(why: impl Into<Cow<'static, str>>) -> Result<T, Unmailable> {
    Err(Unmailable(why.into()))
}

/// A file that goes with a mail.
#[derive(Debug)]
pub(super) struct Enclosed {
    pub(super) name: String,
    pub(super) content_type: String,
    pub(super) bytes: Bytes,
}

/// A mail's parts, before it is written out.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) from: Mailbox,
    pub(super) to: Vec<Address>,
    pub(super) cc: Vec<Address>,
    reply_to: Option<Mailbox>,
    subject: String,
    text: Option<String>,
    html: Option<String>,
    pub(super) enclosed: Vec<Enclosed>,
    /// With the brackets.
    message_id: String,
    boundary: String,
    received: Millis,
    /// What says which delivery it is.
    marks: [(&'static str, String); 3],
}

/// A complete mail.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) from: Address,
    pub(super) recipients: Vec<Address>,
    pub(super) bytes: Vec<u8>,
}

/// Puts a delivery's mail together; `files` are its content: that of the attachments, or the one thing that is forwarded,
/// with the media type that it was fetched with.
pub(super) fn letter(
    target: &EmailTarget,
    from: &Mailbox,
    d: &HeldDelivery,
    files: Vec<(Bytes, Option<String>)>,
) -> Result<Letter, Unmailable> {
    let (to, cc, subject, text, html, enclosed) = match &d.message {
        Message::Forward => {
            let (content, fetched) = files.into_iter().next().unwrap_or_default();
            let (subject, text, file) = forwarded(target, d, content, fetched);
            (target.to.clone(), target.cc.clone(), subject, Some(text), None, vec![file])
        }
        Message::Email { to, cc, subject, text, html, attachments } => {
            let (to, cc) = recipients(target, to, cc)?;
            let enclosed = attachments.iter().zip(files).map(|(attachment, (bytes, fetched))| {
                let name = file_name(&attachment.name);
                let content_type = match fetched {
                    // A plugin that does not know what will be fetched says so.
                    Some(fetched) if attachment.content_type.is_empty() => fetched,
                    _ => attachment.content_type.clone(),
                };
                Enclosed { name, content_type, bytes }
            });
            (to, cc, one_line(subject), text.clone(), html.clone(), enclosed.collect())
        }
        Message::Http { .. } | Message::Sftp { .. } => {
            return never("the message is not a mail, but the destination is of kind `email`");
        }
    };
    if to.is_empty() {
        return never("there is no recipient: the destination has no `to`, and the plugin named nobody");
    }
    let event = &d.event;
    Ok(Letter {
        message_id: format!("<{}@{}>", d.id, from.email.domain()),
        // `=_` is in nothing that is encoded, and every part is.
        boundary: format!("=_{}", d.id),
        from: from.clone(),
        to,
        cc,
        reply_to: target.reply_to.clone(),
        subject,
        text,
        html,
        enclosed,
        received: event.received,
        marks: [
            ("X-Hookyard-Delivery", d.id.to_string()),
            ("X-Hookyard-Event", event.id.to_string()),
            ("X-Hookyard-Event-Type", event.event_type.to_string()),
        ],
    })
}

/// Subject, text and file of what no plugin made into a mail.
fn forwarded(
    target: &EmailTarget,
    d: &HeldDelivery,
    content: Bytes,
    fetched: Option<String>,
) -> (String, String, Enclosed) {
    let event = &d.event;
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let sent = read(&content);
    let is_json = sent.is_some();
    // What a plugin has taken out of the content does not come back in the subject.
    let payload = sent.filter(Value::is_object).or_else(|| read(&event.payload)).unwrap_or_default();
    let received_ms = u64::try_from(event.received.0).unwrap_or(0);
    let variables = Variables::of(&payload, received_ms);
    let content_type = fetched.unwrap_or_else(|| match (is_json, std::str::from_utf8(&content)) {
        (true, _) => "application/json".to_owned(),
        (false, Ok(_)) => "text/plain; charset=utf-8".to_owned(),
        (false, Err(_)) => "application/octet-stream".to_owned(),
    });
    let name = match &target.file_name {
        Some(template) => template.path(&payload, &variables),
        // It is a constant, and a template.
        None => Template::parse(&format!("{DEFAULT_FILE_NAME}.{}", extension(&content_type)))
            .map_or_else(|_| "content".to_owned(), |template| template.path(&payload, &variables)),
    };
    let subject = target.subject.as_ref().map(|template| template.line(&payload, &variables));
    let subject = subject.filter(|subject| !subject.is_empty());
    let subject = subject.unwrap_or_else(|| format!("{} {}", event.event_type, event.id));
    let name = file_name(&name);
    let text = format!(
        "Event {} of type {}, received at {}.\n\nIts content is attached: {name}\n",
        event.id,
        event.event_type,
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(received_ms)),
    );
    (one_line(&subject), text, Enclosed { name, content_type, bytes: content })
}

/// The ending of a file's name by its media type.
fn extension(content_type: &str) -> &'static str {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json" => "json",
        "text/plain" => "txt",
        "text/html" => "html",
        "text/csv" => "csv",
        "application/pdf" => "pdf",
        "image/png" => "png",
        "image/jpeg" => "jpg",
        _ => "bin",
    }
}

/// Whom a plugin's mail goes to. Whom it does not name stays the destination's.
fn recipients(
    target: &EmailTarget,
    to: &[String],
    cc: &[String],
) -> Result<(Vec<Address>, Vec<Address>), Unmailable> {
    let read = |field: &str, named: &[String]| -> Result<Vec<Address>, Unmailable> {
        if named.len() > MAX_LIST {
            return never(format!(
                "{field}: the plugin named {} recipients, the limit is {MAX_LIST}",
                named.len()
            ));
        }
        named.iter().map(|text| admitted(target, field, text)).collect()
    };
    let own_to = if to.is_empty() { target.to.clone() } else { read("to", to)? };
    let own_cc = match (to.is_empty(), cc.is_empty()) {
        (true, true) => target.cc.clone(),
        _ => read("cc", cc)?,
    };
    Ok((own_to, own_cc))
}

fn admitted(target: &EmailTarget, field: &str, text: &str) -> Result<Address, Unmailable> {
    let address = match address(text) {
        Ok(address) => address,
        Err(why) => return never(format!("{field}: the plugin named a recipient, and {why}")),
    };
    if target.to.iter().chain(&target.cc).any(|own| same(own, &address))
        || target.allowed.iter().any(|one| one.admits(&address))
    {
        return Ok(address);
    }
    never(format!(
        "{field}: the plugin named {address}, whom the destination's `allowed_recipients` do not admit"
    ))
}

/// A text without line breaks and other signs that have no place in a subject.
fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect();
    let mut line = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = line.char_indices().nth(LINE_CHARS) {
        line.truncate(at);
    }
    line
}

/// The name of a file and nothing of a path, for every system that may save it.
fn file_name(text: &str) -> String {
    let safe = |c: char| if is_unsafe(c) || "/\\:*?\"<>|".contains(c) { '_' } else { c };
    let name: String = text.chars().map(safe).collect();
    let name = name.trim().trim_start_matches('.');
    if name.is_empty() { "attachment".to_owned() } else { encode::cut_name(name, MAX_FILE_NAME).into_owned() }
}

impl Letter {
    /// What is sent, for the record; the complete mail's length is not known yet.
    pub(super) fn shown(&self, relay: &str) -> Value {
        let list = |all: &[Address]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let enclosed = |one: &Enclosed| json!({ "name": one.name, "content_type": one.content_type, "bytes": one.bytes.len() });
        let mut shown = json!({
            "relay": relay,
            "from": self.from.email.to_string(),
            "to": list(&self.to),
            "subject": self.subject,
            "message_id": self.message_id,
        });
        if !self.cc.is_empty() {
            shown["cc"] = json!(list(&self.cc));
        }
        if !self.enclosed.is_empty() {
            shown["attachments"] = self.enclosed.iter().map(enclosed).collect();
        }
        shown
    }

    /// Encrypts what goes with it. The texts and the headers are not encrypted.
    pub(super) fn encrypt(&mut self, encryption: &Encryption) -> Result<(), Unmailable> {
        for one in &mut self.enclosed {
            let mut encrypted = Vec::with_capacity(one.bytes.len() + 1_024);
            let done = encryption.encrypt(&*one.bytes, &mut encrypted);
            done.map_err(|why| {
                Unmailable(format!("attachment {:?} cannot be encrypted: {why}", one.name).into())
            })?;
            *one = Enclosed {
                name: with_extension(&one.name, pgp::EXTENSION),
                content_type: "application/octet-stream".to_owned(),
                bytes: encrypted.into(),
            };
        }
        Ok(())
    }

    /// Writes it out, signed at `now` where there is a key.
    pub(super) fn write(self, dkim: Option<&Dkim>, now: Millis) -> Result<Written, Unmailable> {
        if self.enclosed.len() > MAX_ATTACHMENTS {
            let count = self.enclosed.len();
            return never(format!("{count} attachments, the limit `MAX_ATTACHMENTS` is {MAX_ATTACHMENTS}"));
        }
        let mut recipients: Vec<Address> = Vec::with_capacity(self.to.len() + self.cc.len());
        for one in self.to.iter().chain(&self.cc) {
            if !recipients.iter().any(|known| same(known, one)) {
                recipients.push(one.clone());
            }
        }
        let unwritten =
            |why: lettre::error::Error| Unmailable(format!("the mail cannot be written: {why}").into());
        let received = UNIX_EPOCH + Duration::from_millis(u64::try_from(self.received.0).unwrap_or(0));
        let mut mail = Mail::builder()
            .envelope(Envelope::new(Some(self.from.email.clone()), recipients.clone()).map_err(unwritten)?)
            .from(self.from.clone())
            .date(received)
            .message_id(Some(self.message_id.clone()))
            .raw_header(encode::text_header("Subject", &self.subject));
        mail = self.to.iter().fold(mail, |mail, to| mail.to(to.clone().into()));
        mail = self.cc.iter().fold(mail, |mail, cc| mail.cc(cc.clone().into()));
        if let Some(reply_to) = &self.reply_to {
            mail = mail.reply_to(reply_to.clone());
        }
        // RFC 3834: nobody's machine answers it.
        mail = mail.raw_header(plain("Auto-Submitted", "auto-generated".to_owned()));
        for (name, value) in &self.marks {
            mail = mail.raw_header(plain(name, value.clone()));
        }
        let from = self.from.email.clone();
        let mail = match self.body()? {
            Part::Single(part) => mail.singlepart(part),
            Part::Multi(part) => mail.multipart(part),
        };
        let mail = mail.map_err(unwritten)?.formatted();
        let bytes = match dkim {
            None => mail,
            Some(dkim) => {
                let header = dkim.sign(&mail, now).map_err(|why| Unmailable(why.to_string().into()))?;
                [header.as_bytes(), &mail].concat()
            }
        };
        Ok(Written { from, recipients, bytes })
    }

    /// The texts, and around them what goes with them.
    fn body(self) -> Result<Part, Unmailable> {
        let texts = match (self.text, self.html) {
            (Some(text), None) => Part::Single(text_part(&text, ContentType::TEXT_PLAIN)),
            (None, Some(html)) => Part::Single(text_part(&html, ContentType::TEXT_HTML)),
            (Some(text), Some(html)) => {
                let both = multi(MultiPart::alternative(), &self.boundary, "a");
                let both = both.singlepart(text_part(&text, ContentType::TEXT_PLAIN));
                Part::Multi(both.singlepart(text_part(&html, ContentType::TEXT_HTML)))
            }
            (None, None) => return never("a mail needs text, html or both"),
        };
        if self.enclosed.is_empty() {
            return Ok(texts);
        }
        let mixed = multi(MultiPart::mixed(), &self.boundary, "m");
        let mut mixed = match texts {
            Part::Single(part) => mixed.singlepart(part),
            Part::Multi(part) => mixed.multipart(part),
        };
        for one in self.enclosed {
            mixed = mixed.singlepart(enclosed_part(&one)?);
        }
        Ok(Part::Multi(mixed))
    }
}

enum Part {
    Single(SinglePart),
    Multi(MultiPart),
}

fn multi(builder: MultiPartBuilder, boundary: &str, which: &str) -> MultiPart {
    builder.boundary(format!("{boundary}-{which}")).build()
}

/// A header of our own words and ids.
fn plain(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

fn text_part(text: &str, content_type: ContentType) -> SinglePart {
    let (bytes, encoding) = encode::text(text);
    part(content_type, encoding, bytes)
}

fn part(content_type: ContentType, encoding: ContentTransferEncoding, bytes: Vec<u8>) -> SinglePart {
    let body = lettre::message::Body::dangerous_pre_encoded(bytes, encoding);
    SinglePart::builder().header(content_type).body(body)
}

fn enclosed_part(one: &Enclosed) -> Result<SinglePart, Unmailable> {
    let content_type = media_type(&one.content_type)
        .ok_or_else(|| Unmailable(format!("attachment {:?}: its content type is none", one.name).into()))?;
    let body = lettre::message::Body::dangerous_pre_encoded(
        encode::base64(&one.bytes),
        ContentTransferEncoding::Base64,
    );
    Ok(SinglePart::builder()
        .header(content_type)
        .header(ContentDisposition::attachment(&one.name))
        .body(body))
}

/// A media type; nothing for what is none. Mails and what has parts of its own stand as plain bytes: they may not be
/// encoded (RFC 2046, 5.1 and 5.2).
fn media_type(text: &str) -> Option<ContentType> {
    if text.is_empty() {
        return ContentType::parse("application/octet-stream").ok();
    }
    let printable = |b: u8| b == b' ' || b.is_ascii_graphic();
    if text.len() > MAX_TYPE || !text.bytes().all(printable) || text.contains("=?") {
        return None;
    }
    let whole = text.to_ascii_lowercase();
    let is_compound = whole.starts_with("multipart/") || whole.starts_with("message/");
    ContentType::parse(if is_compound { "application/octet-stream" } else { text }).ok()
}

#[cfg(test)]
mod tests;
