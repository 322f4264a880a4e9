//! Which form of events a request is in, by its headers.
//!
//! Pure. It must not know what the forms look like inside.

use http::HeaderMap;

use super::error::Refusal;

/// The forms that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Hookyard's own: an object or an array of objects.
    Plain,
    /// CloudEvents, attributes in headers.
    Binary,
    /// CloudEvents, the whole event in the body.
    Structured,
    /// CloudEvents, an array in the body.
    Batch,
}

/// The form of a request.
///
/// # Errors
/// When the type is missing or is none of those that are taken.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let content_type = headers.get(http::header::CONTENT_TYPE);
    let text = content_type.map_or("", |value| value.to_str().unwrap_or(""));
    let essence = essence(text);
    let refuse = |why: String| Err(Refusal::Media { why });
    if !charset_is_utf8(text) {
        return refuse(format!("`{text}` is not taken: the body must be in UTF-8"));
    }
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    if is("application/cloudevents-batch+json") {
        return Ok(Form::Batch);
    }
    if is("application/cloudevents+json") {
        return Ok(Form::Structured);
    }
    let foreign =
        essence.get(..23).is_some_and(|start| start.eq_ignore_ascii_case("application/cloudevents"));
    if foreign {
        return refuse(format!("`{essence}` is not taken: of CloudEvents formats the host reads JSON"));
    }
    if headers.contains_key("ce-specversion") {
        return Ok(Form::Binary);
    }
    if is_json(text) {
        return Ok(Form::Plain);
    }
    let found = if text.is_empty() {
        "the request has no `content-type`".to_owned()
    } else {
        format!("`{text}` is not taken")
    };
    refuse(format!(
        "{found}: send `application/json`, `application/cloudevents+json`, \
         `application/cloudevents-batch+json`, or `ce-` headers with a JSON body"
    ))
}

/// Whether a media type is JSON: `application/json`, `text/json` or a `+json` suffix, parameters aside.
pub(crate) fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type);
    let suffix = essence.len().checked_sub(5).and_then(|at| essence.get(at..));
    essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("text/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
}

fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn charset_is_utf8(media_type: &str) -> bool {
    media_type.split(';').skip(1).all(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return true };
        let value = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset")
            || value.eq_ignore_ascii_case("utf-8")
            || value.eq_ignore_ascii_case("utf8")
            || value.eq_ignore_ascii_case("us-ascii")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &'static str, binary: bool) -> Result<Form, Refusal> {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert("content-type", content_type.parse().unwrap());
        }
        if binary {
            headers.insert("ce-specversion", "1.0".parse().unwrap());
        }
        form(&headers)
    }

    #[test]
    fn the_form_follows_from_the_headers() {
        for (content_type, binary, expected) in [
            ("application/json", false, Form::Plain),
            ("Application/JSON; charset=\"UTF-8\"", false, Form::Plain),
            ("application/vnd.x+json", false, Form::Plain),
            ("application/json", true, Form::Binary),
            ("", true, Form::Binary),
            ("application/cloudevents+json; charset=UTF-8", false, Form::Structured),
            ("application/cloudevents+json", true, Form::Structured),
            ("application/cloudevents-batch+json", true, Form::Batch),
        ] {
            assert_eq!(of(content_type, binary), Ok(expected), "{content_type}");
        }
        for (content_type, words) in [
            ("", "no `content-type`"),
            ("text/plain", "`text/plain` is not taken"),
            ("application/cloudevents+avro", "formats the host reads JSON"),
            ("application/cloudevents-batch+xml", "formats the host reads JSON"),
            ("application/json; charset=latin1", "must be in UTF-8"),
        ] {
            let error = of(content_type, false).unwrap_err().to_string();
            assert!(error.contains(words), "{content_type}: {error}");
        }
    }
}
