//! Deliveries and their builders: one thing to send to one destination, named and never addressed.

use serde::Serialize;

use crate::{Content, Result};

/// One thing to send to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// What is sent; its kind must be the destination's kind.
    pub send: Message,
    /// Not before this moment, in Unix milliseconds. At most 30 days after the event's `received_ms`.
    pub not_before_ms: Option<u64>,
    /// Deliveries of one destination with the same key are sent one at a time, in the order of their events.
    pub order_key: Option<String>,
}

impl Delivery {
    /// A request to a destination of kind `http`: a POST of the original payload, until the builder says otherwise.
    pub fn http(destination: impl Into<String>) -> HttpRequest {
        HttpRequest {
            destination: destination.into(),
            method: Method::Post,
            path: None,
            headers: Vec::new(),
            content_type: None,
            body: Content::Original,
        }
    }

    /// A mail through a destination of kind `email`. It needs a text or an HTML body.
    pub fn email(destination: impl Into<String>) -> Email {
        Email {
            destination: destination.into(),
            to: Vec::new(),
            cc: Vec::new(),
            subject: String::new(),
            text: None,
            html: None,
            attachments: Vec::new(),
        }
    }

    /// A file with the original payload for a destination of kind `sftp`, until the builder says otherwise. `path`
    /// lies below the destination's folder; `/` makes folders, and `..` is refused.
    pub fn sftp(destination: impl Into<String>, path: impl Into<String>) -> SftpFile {
        SftpFile { destination: destination.into(), path: path.into(), content: Content::Original }
    }

    /// Not before this moment, in Unix milliseconds, at most 30 days after the event's `received_ms`.
    #[must_use]
    pub fn not_before_ms(mut self, moment: u64) -> Self {
        self.not_before_ms = Some(moment);
        self
    }

    /// Sent one at a time with the destination's other deliveries of this key, in the order of their events.
    #[must_use]
    pub fn order_key(mut self, key: impl Into<String>) -> Self {
        self.order_key = Some(key.into());
        self
    }
}

/// What is sent, by the kind of destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// To a destination of kind `http`.
    Http(HttpRequest),
    /// To a destination of kind `email`.
    Email(Email),
    /// To a destination of kind `sftp`.
    Sftp(SftpFile),
}

/// The methods that a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl Method {
    /// The method as it stands in a request: `POST`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A request to a destination of kind `http`. Made by [`Delivery::http`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The destination's name. It must be granted to the subscription.
    pub destination: String,
    /// POST when nothing else is said.
    pub method: Method,
    /// Appended to the destination's address: a relative path, with its query if there is one.
    pub path: Option<String>,
    /// Added to the destination's own headers, which win where both name one.
    pub headers: Vec<(String, String)>,
    /// `application/json` when it is not given.
    pub content_type: Option<String>,
    /// What is sent.
    pub body: Content,
}

impl HttpRequest {
    /// Sends a GET.
    #[must_use]
    pub fn get(self) -> Self {
        self.method(Method::Get)
    }

    /// Sends a POST, which is the default.
    #[must_use]
    pub fn post(self) -> Self {
        self.method(Method::Post)
    }

    /// Sends a PUT.
    #[must_use]
    pub fn put(self) -> Self {
        self.method(Method::Put)
    }

    /// Sends a PATCH.
    #[must_use]
    pub fn patch(self) -> Self {
        self.method(Method::Patch)
    }

    /// Sends a DELETE.
    #[must_use]
    pub fn delete(self) -> Self {
        self.method(Method::Delete)
    }

    /// Sends with this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Appended to the destination's address: a relative path, with its query if there is one. It can never change
    /// the host, and the host refuses `..`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Adds a header. The destination's own headers win, and the names that the host keeps for itself
    /// (`authorization`, `host`, `content-length`, `requestid`, `webhook-*`, ...) are refused by it.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends the payload as this plugin was given it.
    pub fn original(self) -> Delivery {
        self.body(Content::Original)
    }

    /// Sends a value as JSON.
    ///
    /// # Errors
    /// When the value has no JSON form (a map with keys that are no texts).
    pub fn json(self, value: &impl Serialize) -> Result<Delivery> {
        Ok(self.body(Content::json(value)?))
    }

    /// Sends these bytes under this content type.
    pub fn bytes(mut self, content_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Delivery {
        self.content_type = Some(content_type.into());
        self.body(Content::Bytes(bytes.into()))
    }

    /// Sends the file at this `https` address, which the host fetches and streams.
    pub fn fetch(mut self, content_type: impl Into<String>, url: impl Into<String>) -> Delivery {
        self.content_type = Some(content_type.into());
        self.body(Content::Fetch(url.into()))
    }

    fn body(mut self, body: Content) -> Delivery {
        self.body = body;
        self.into()
    }
}

/// A mail through a destination of kind `email`. Made by [`Delivery::email`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Email {
    /// The destination's name. It must be granted to the subscription.
    pub destination: String,
    /// Recipients. Empty means the destination's own; others must match the pattern that the destination allows.
    pub to: Vec<String>,
    /// Further recipients.
    pub cc: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The body as plain text. At least one of `text` and `html` must be there.
    pub text: Option<String>,
    /// The body as HTML.
    pub html: Option<String>,
    /// Files that go with it.
    pub attachments: Vec<Attachment>,
}

impl Email {
    /// Adds a recipient. Without any the mail goes to the destination's own.
    #[must_use]
    pub fn to(mut self, address: impl Into<String>) -> Self {
        self.to.push(address.into());
        self
    }

    /// Adds a recipient of a copy.
    #[must_use]
    pub fn cc(mut self, address: impl Into<String>) -> Self {
        self.cc.push(address.into());
        self
    }

    /// Sets the subject.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Sets the body as plain text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Sets the body as HTML.
    #[must_use]
    pub fn html(mut self, html: impl Into<String>) -> Self {
        self.html = Some(html.into());
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn attach(
        mut self,
        name: impl Into<String>,
        content_type: impl Into<String>,
        content: impl Into<Content>,
    ) -> Self {
        let attachment =
            Attachment { name: name.into(), content_type: content_type.into(), content: content.into() };
        self.attachments.push(attachment);
        self
    }

    /// The mail as a delivery, to give it a time or an order.
    pub fn delivery(self) -> Delivery {
        self.into()
    }
}

/// A file that goes with a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The file's name as the reader sees it.
    pub name: String,
    /// What it holds, such as `application/pdf`.
    pub content_type: String,
    /// The file itself.
    pub content: Content,
}

/// A file for a destination of kind `sftp`. Made by [`Delivery::sftp`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SftpFile {
    /// The destination's name. It must be granted to the subscription.
    pub destination: String,
    /// Path below the destination's folder. `/` makes folders; `..` and absolute paths are refused.
    pub path: String,
    /// The file itself.
    pub content: Content,
}

impl SftpFile {
    /// What the file holds.
    pub fn content(mut self, content: impl Into<Content>) -> Delivery {
        self.content = content.into();
        self.into()
    }

    /// The file as a delivery, to give it a time or an order.
    pub fn delivery(self) -> Delivery {
        self.into()
    }
}

impl From<Message> for Delivery {
    fn from(send: Message) -> Self {
        Self { send, not_before_ms: None, order_key: None }
    }
}

impl From<HttpRequest> for Delivery {
    fn from(request: HttpRequest) -> Self {
        Message::Http(request).into()
    }
}

impl From<Email> for Delivery {
    fn from(email: Email) -> Self {
        Message::Email(email).into()
    }
}

impl From<SftpFile> for Delivery {
    fn from(file: SftpFile) -> Self {
        Message::Sftp(file).into()
    }
}
