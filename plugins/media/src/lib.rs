//! Sends the file that a message carries in place of the message: the host fetches it from the link in the payload.

use hookyard::settings;
use hookyard::{Content, Event, Result, Value, Verdict};

/// Where the link stands unless the setting `link` says otherwise.
const DEFAULT_LINK: &str = "message.data";

/// Which types of message have a link there, unless the setting `types` says otherwise. The others have a text, which a
/// customer may have written to look like a link.
const DEFAULT_TYPES: &str = "image, file, video";

/// Forwards what lies behind the link; drops what has none.
#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let link = settings::get("link").unwrap_or_else(|| DEFAULT_LINK.to_owned());
    let types = settings::get("types").unwrap_or_else(|| DEFAULT_TYPES.to_owned());
    let (parent, name) = link.rsplit_once('.').unwrap_or(("", &link));
    if name.is_empty() {
        Err(settings::invalid("link", "it takes a path of names with `.` between them"))?;
    }
    let Some(Value::Object(mut message)) = event.pick(parent)? else {
        return Ok(Verdict::drop(format!("{parent} is not there")));
    };
    let kind = message.get("type").and_then(Value::as_str).unwrap_or_default();
    if !types.split(',').any(|one| one.trim().eq_ignore_ascii_case(kind)) {
        let kind: String = kind.chars().take(40).collect();
        return Ok(Verdict::drop(format!("its type is {kind:?}, not one of {types}")));
    }
    match message.remove(name) {
        Some(Value::String(url)) if url.starts_with("https://") || url.starts_with("http://") => {
            Ok(Verdict::Forward(Content::Fetch(url)))
        }
        _ => Ok(Verdict::drop(format!("{link} holds no link"))),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_example_gets_what_it_expects() {
        hookyard::testing::run_examples(env!("CARGO_MANIFEST_DIR"), super::handle);
    }
}
