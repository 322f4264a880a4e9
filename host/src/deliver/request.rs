//! From a delivery and its target to the request that is sent, and the form of it that is recorded.
//!
//! It must not know the network.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use super::content::{File, Missing};
use super::target::HttpTarget;
use super::url_rules::MAX_URL;
use crate::carrier::destination::HttpMethod;
use crate::clock::Millis;
use crate::secrets::MASK;
use crate::store::work::{HeldDelivery, Message};

/// How many headers a plugin may add to a request.
pub(super) const MAX_PLUGIN_HEADERS: usize = 64;
/// Names and values of a plugin's headers, in bytes together.
pub(super) const MAX_PLUGIN_HEADER_BYTES: usize = 16 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("requestid");
const EVENT_ID: HeaderName = HeaderName::from_static("eventid");
const EVENT_NAME: HeaderName = HeaderName::from_static("eventname");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// As CloudEvents do it in headers: what is not printable ASCII, space, `"` and `%`.
const IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Whether a header is the host's own: of the connection, or of what the host says about a delivery.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("webhook-")
        || name.starts_with("proxy-")
        || matches!(
            name,
            "host"
                | "content-length"
                | "transfer-encoding"
                | "connection"
                | "keep-alive"
                | "te"
                | "trailer"
                | "upgrade"
                | "expect"
                | "http2-settings"
                | "requestid"
                | "eventid"
                | "eventname"
        )
}

/// What is sent, and what is recorded of it.
pub(super) struct Built {
    /// Without its body.
    pub(super) request: reqwest::Request,
    /// The body; none with `GET`.
    pub(super) content: Option<File>,
    /// JSON of method, url and headers, secrets masked; of what was fetched also its length, SHA-256 and type.
    pub(super) shown: String,
}

/// Builds a request. An error says what the attempt comes to: almost always that this delivery can never be sent.
///
/// Every request carries `requestid` and `webhook-id` (the delivery's id), `webhook-timestamp`, `eventid` (the number that a
/// webhook was registered for; for other subscriptions the event's attribute `eventid` or `event-id`, or else the publisher's
/// id of the event) and `eventname` (the webhook's; for others the attribute `eventname`, or else the event's type). A destination's own headers win over a plugin's.
pub(super) async fn build(
    target: &HttpTarget,
    d: &HeldDelivery,
    content: File,
    now: Millis,
) -> Result<Built, Missing> {
    let mut built = frame(target, d, content, now).map_err(Missing::never)?;
    let content = built.content.clone().unwrap_or(File::Memory(Bytes::new()));
    let second = now.0.div_euclid(1_000);
    let signature = match content {
        File::Memory(bytes) => target.signer.sign(d.id.as_str(), second, &bytes, now),
        File::Spooled(_) if !target.signer.signs(now) => None,
        file @ File::Spooled(_) => {
            let (signer, id) = (target.signer.clone(), d.id.clone());
            let sign = move || signer.sign_read(id.as_str(), second, || file.open_blocking(0), now);
            let signed = tokio::task::spawn_blocking(sign).await.unwrap_or_else(|why| Err(why.into()));
            signed.map_err(|why| Missing::failed(format!("the spool cannot be read: {why}")))?
        }
    };
    if let Some(signature) = signature {
        built.request.headers_mut().insert(WEBHOOK_SIGNATURE, header_value(&signature));
    }
    built.shown = shown(&built.request, built.content.as_ref());
    Ok(built)
}

/// Everything but the signature.
fn frame(
    target: &HttpTarget,
    d: &HeldDelivery,
    content: File,
    now: Millis,
) -> Result<Built, Cow<'static, str>> {
    let (method, path, headers, content_type) = match &d.message {
        Message::Forward => (None, &None, [].as_slice(), &None),
        Message::Http { method, path, headers, content_type } => {
            (*method, path, headers.as_slice(), content_type)
        }
        Message::Email { .. } | Message::Sftp { .. } => {
            return Err("the message is not an HTTP request, but the destination is of kind `http`".into());
        }
    };
    let method = method.unwrap_or(target.method);
    let content = (method != HttpMethod::Get).then_some(content);
    let url = match path {
        Some(path) => append(&target.url, path)?,
        None => target.url.clone(),
    };

    let mut request = reqwest::Request::new(wire(method), url);
    let map = request.headers_mut();
    map.clone_from(&target.headers);
    let mut set = |name: HeaderName, value: HeaderValue| map.insert(name, value);
    for (name, value) in plugin_headers(target, headers)? {
        set(name, value);
    }
    // What was fetched says what it is, unless the plugin knows better.
    let fetched = content.as_ref().and_then(File::content_type);
    if let Some(text) = content_type.as_deref().or(fetched) {
        set(CONTENT_TYPE, plain_value(text).ok_or("the content type is not a header's value")?);
    }
    let id = plain_value(d.id.as_str()).ok_or("the delivery's id is not a header's value")?;
    let event = &*d.event;
    let event_id =
        || event.attribute("eventid").or_else(|| event.attribute("event-id")).unwrap_or(event.id.as_str());
    let event_name = || event.attribute("eventname").unwrap_or(event.event_type.as_str());
    let (event_id, event_name) = match &target.event {
        Some(said) => said.clone(),
        None => (header_value(event_id()), header_value(event_name())),
    };
    set(REQUEST_ID, id.clone());
    set(EVENT_ID, event_id);
    set(EVENT_NAME, event_name);
    set(WEBHOOK_ID, id);
    set(WEBHOOK_TIMESTAMP, HeaderValue::from(now.0.div_euclid(1_000)));
    if method == HttpMethod::Get {
        request.headers_mut().remove(CONTENT_TYPE);
    }
    Ok(Built { request, content, shown: String::new() })
}

fn shown(request: &reqwest::Request, content: Option<&File>) -> String {
    let mut json = String::with_capacity(768);
    json.push_str("{\"method\":\"");
    json.push_str(request.method().as_str());
    json.push_str("\",\"url\":");
    push_text(&mut json, request.url().as_str());
    json.push_str(",\"headers\":{");
    for (name, value) in request.headers() {
        let text = if value.is_sensitive() { MASK } else { value.to_str().unwrap_or(MASK) };
        show(&mut json, name.as_str(), text);
    }
    json.push('}');
    if let Some(file @ File::Spooled(_)) = content {
        json.push_str(",\"content\":");
        json.push_str(&file.shown().to_string());
    }
    json.push('}');
    json
}

fn wire(method: HttpMethod) -> http::Method {
    match method {
        HttpMethod::Get => http::Method::GET,
        HttpMethod::Post => http::Method::POST,
        HttpMethod::Put => http::Method::PUT,
        HttpMethod::Patch => http::Method::PATCH,
        HttpMethod::Delete => http::Method::DELETE,
    }
}

/// A text as a header's value, percent-encoded where it could not stand there otherwise.
pub(super) fn header_value(text: &str) -> HeaderValue {
    plain_value(text)
        .or_else(|| plain_value(&utf8_percent_encode(text, IN_HEADER).to_string()))
        .unwrap_or_else(|| HeaderValue::from_static(""))
}

/// A text as a header's value as it is: printable ASCII on one line.
pub(super) fn plain_value(text: &str) -> Option<HeaderValue> {
    // The type itself also takes bytes beyond ASCII, which receivers read in different ways.
    if text.is_ascii() { HeaderValue::from_str(text).ok() } else { None }
}

/// A plugin's headers, without those that the destination sets itself. Later ones of the same name win.
fn plugin_headers(
    target: &HttpTarget,
    headers: &[(String, String)],
) -> Result<Vec<(HeaderName, HeaderValue)>, Cow<'static, str>> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MAX_PLUGIN_HEADERS || bytes > MAX_PLUGIN_HEADER_BYTES {
        let limits = format!("the limits are {MAX_PLUGIN_HEADERS} and {MAX_PLUGIN_HEADER_BYTES}");
        return Err(format!("{} headers of {bytes} bytes, {limits}", headers.len()).into());
    }
    let mut checked: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(headers.len());
    for (text, value) in headers {
        let wrong = |why| Cow::Owned(format!("header {:?} {why}", text.chars().take(80).collect::<String>()));
        let name: HeaderName = text.parse().map_err(|_| wrong("is not a header's name"))?;
        if is_reserved(&name) {
            return Err(wrong("is set by the host itself"));
        }
        let mut value =
            plain_value(value).ok_or_else(|| wrong("has a value that is not printable ASCII on one line"))?;
        value.set_sensitive(is_secret(name.as_str()));
        let own = target.headers.get(&name).is_some_and(HeaderValue::is_sensitive);
        if own || name == CONTENT_TYPE {
            continue;
        }
        checked.retain(|(other, _)| *other != name);
        checked.push((name, value));
    }
    Ok(checked)
}

/// Whether a header that a plugin sets probably carries a secret, by its name.
fn is_secret(name: &str) -> bool {
    ["auth", "token", "secret", "key", "cookie", "password", "credential"].iter().any(|w| name.contains(w))
}

/// The address with a relative path after its own. It can name another path below, never another place.
fn append(base: &Url, path: &str) -> Result<Url, Cow<'static, str>> {
    let wrong = |why: &str| Err(Cow::Owned(format!("the path of the request {why}")));
    if path.len() > MAX_URL {
        return wrong(&format!("has {} characters, the limit is {MAX_URL}", path.len()));
    }
    if path.contains(|c: char| c.is_control() || matches!(c, '\\' | '#')) {
        return wrong("has a control character, `\\` or `#` in it");
    }
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let dots = |part: &str| {
        let plain = part.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    if path.split('/').any(dots) {
        return wrong("has a `.` or `..` part");
    }
    let mut url = base.clone();
    url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/')));
    match (base.query(), query) {
        (Some(own), Some(more)) => url.set_query(Some(&format!("{own}&{more}"))),
        (None, Some(more)) => url.set_query(Some(more)),
        (_, None) => {}
    }
    if url.as_str().len() > MAX_URL {
        return wrong(&format!("makes an address longer than {MAX_URL} characters"));
    }
    Ok(url)
}

/// Adds a member to the inside of a JSON object.
pub(super) fn show(json: &mut String, name: &str, value: &str) {
    if !json.is_empty() && !json.ends_with('{') {
        json.push(',');
    }
    push_text(json, name);
    json.push(':');
    push_text(json, value);
}

/// Adds a JSON string. Almost everything in headers and addresses needs no escape.
fn push_text(json: &mut String, text: &str) {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\') {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        json.push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append_to(base: &str, path: &str) -> Result<String, String> {
        append(&base.parse().unwrap(), path).map(String::from).map_err(Cow::into_owned)
    }

    #[test]
    fn a_path_stays_below_its_address() {
        let cases = [
            ("https://a.example/hook", "claims/1", "https://a.example/hook/claims/1"),
            ("https://a.example/hook/", "/claims", "https://a.example/hook/claims"),
            ("https://a.example", "claims", "https://a.example/claims"),
            ("https://a.example/h?k=1", "c?x=2", "https://a.example/h/c?k=1&x=2"),
            ("https://a.example/h?k=1", "c", "https://a.example/h/c?k=1"),
            ("https://a.example/h", "//evil.example/x", "https://a.example/h/evil.example/x"),
            ("https://a.example/h", "https://evil.example/x", "https://a.example/h/https://evil.example/x"),
            ("https://a.example/h", "@evil.example", "https://a.example/h/@evil.example"),
            ("https://a.example/h", "a b/é", "https://a.example/h/a%20b/%C3%A9"),
            ("https://a.example/h", "", "https://a.example/h/"),
        ];
        for (base, path, expected) in cases {
            assert_eq!(append_to(base, path).as_deref(), Ok(expected), "{base} {path}");
        }
        for path in [
            "../admin",
            "a/../../x",
            "a/%2e%2E/x",
            ".%2e",
            ".",
            "a\\..\\b",
            "a#b",
            "a\r\nb",
            &"x".repeat(3000),
        ] {
            assert!(append_to("https://a.example/h", path).is_err(), "{path}");
        }
    }

    #[test]
    fn values_that_no_header_can_carry_are_percent_encoded() {
        assert_eq!(header_value("case.closed"), "case.closed");
        assert_eq!(header_value("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(header_value("a\r\nb"), "a%0D%0Ab");
    }
}
