//! What a plugin answered, in the form that example files use. It must not know how the answer came about.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Content, Failure, Message, Result, Verdict};

/// A verdict or a failure as it stands under `expect` in an example file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// `{"drop": "the reason"}`
    Drop(String),
    /// `{"forward": BODY}`
    Forward(Body),
    /// `{"deliver": [DELIVERY, ...]}`
    Deliver(Vec<Sent>),
    /// `{"rejected": "the reason"}`
    Rejected(String),
    /// `{"temporary": "the reason"}`
    Temporary(String),
}

/// Content in an example file: `"original"`, or an object with one member that says what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// `"original"`: the payload as it came.
    #[default]
    Original,
    /// `{"json": VALUE}`: bytes that are JSON. Compared as values, so the order of members does not matter.
    Json(Value),
    /// `{"text": "..."}`: bytes that are UTF-8 but no JSON.
    Text(String),
    /// `{"hex": "00ff"}`: any other bytes.
    Hex(String),
    /// `{"fetch": "https://..."}`: a file that the host fetches.
    Fetch(String),
}

/// A delivery in an example file. One of `http`, `email` and `sftp` is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sent {
    /// To a destination of kind `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SentHttp>,
    /// To a destination of kind `email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<SentEmail>,
    /// To a destination of kind `sftp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sftp: Option<SentFile>,
    /// Not before this moment, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<u64>,
    /// One at a time for this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_key: Option<String>,
}

/// A request in an example file. Only `destination` must be there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentHttp {
    /// The destination's name.
    pub destination: String,
    /// `POST` when it is not given.
    #[serde(default = "post")]
    pub method: String,
    /// Appended to the destination's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Pairs of name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The content type, when the plugin gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `"original"` when it is not given.
    #[serde(default)]
    pub body: Body,
}

fn post() -> String {
    "POST".to_owned()
}

/// A mail in an example file. Only `destination` must be there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentEmail {
    /// The destination's name.
    pub destination: String,
    /// Recipients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Recipients of copies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<String>,
    /// The subject.
    #[serde(default)]
    pub subject: String,
    /// The body as plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The body as HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Files that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<SentAttachment>,
}

/// A file of a mail in an example file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentAttachment {
    /// The file's name.
    pub name: String,
    /// What it holds.
    pub content_type: String,
    /// `"original"` when it is not given.
    #[serde(default)]
    pub content: Body,
}

/// A file for a destination of kind `sftp` in an example file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentFile {
    /// The destination's name.
    pub destination: String,
    /// Path below the destination's folder.
    pub path: String,
    /// `"original"` when it is not given.
    #[serde(default)]
    pub content: Body,
}

impl Outcome {
    /// The same in its one form: bytes that are JSON stand as JSON, whichever way the file wrote them.
    pub(super) fn normal(mut self) -> Self {
        match &mut self {
            Self::Forward(body) => body.normalise(),
            Self::Deliver(list) => {
                for sent in list {
                    sent.http.iter_mut().for_each(|http| http.body.normalise());
                    sent.sftp.iter_mut().for_each(|file| file.content.normalise());
                    sent.email
                        .iter_mut()
                        .flat_map(|e| &mut e.attachments)
                        .for_each(|a| a.content.normalise());
                }
            }
            Self::Drop(_) | Self::Rejected(_) | Self::Temporary(_) => {}
        }
        self
    }
}

impl Body {
    /// Bytes in the form that tells most about them.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        if let Ok(value) = serde_json::from_slice(bytes) {
            return Self::Json(value);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().map(|b| format!("{b:02x}")).collect()),
        }
    }

    fn normalise(&mut self) {
        if let Self::Text(text) = self {
            *self = Self::of_bytes(text.as_bytes());
        }
    }
}

impl From<&Content> for Body {
    fn from(content: &Content) -> Self {
        match content {
            Content::Original => Self::Original,
            Content::Bytes(bytes) => Self::of_bytes(bytes),
            Content::Fetch(url) => Self::Fetch(url.clone()),
        }
    }
}

impl From<&Result<Verdict>> for Outcome {
    fn from(result: &Result<Verdict>) -> Self {
        match result {
            Ok(Verdict::Drop(reason)) => Self::Drop(reason.clone()),
            Ok(Verdict::Forward(content)) => Self::Forward(content.into()),
            Ok(Verdict::Deliver(list)) => Self::Deliver(list.iter().map(sent).collect()),
            Err(Failure::Rejected(reason)) => Self::Rejected(reason.clone()),
            Err(Failure::Temporary(reason)) => Self::Temporary(reason.clone()),
        }
    }
}

fn sent(delivery: &crate::Delivery) -> Sent {
    let mut sent = Sent {
        not_before_ms: delivery.not_before_ms,
        order_key: delivery.order_key.clone(),
        ..Sent::default()
    };
    match &delivery.send {
        Message::Http(http) => {
            sent.http = Some(SentHttp {
                destination: http.destination.clone(),
                method: http.method.as_str().to_owned(),
                path: http.path.clone(),
                headers: http.headers.clone(),
                content_type: http.content_type.clone(),
                body: (&http.body).into(),
            });
        }
        Message::Email(email) => {
            let attachment = |a: &crate::Attachment| SentAttachment {
                name: a.name.clone(),
                content_type: a.content_type.clone(),
                content: (&a.content).into(),
            };
            sent.email = Some(SentEmail {
                destination: email.destination.clone(),
                to: email.to.clone(),
                cc: email.cc.clone(),
                subject: email.subject.clone(),
                text: email.text.clone(),
                html: email.html.clone(),
                attachments: email.attachments.iter().map(attachment).collect(),
            });
        }
        Message::Sftp(file) => {
            sent.sftp = Some(SentFile {
                destination: file.destination.clone(),
                path: file.path.clone(),
                content: (&file.content).into(),
            });
        }
    }
    sent
}
