//! Delivers what is at the link in its event, `{"url": "https://…"}`, as an image to the destination `claims`. It behaves.

use hookyard::{Delivery, Event, Failure, Result, Value, Verdict};

#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let url = event.pick("url")?.and_then(|url| url.as_str().map(str::to_owned));
    let url = url.ok_or_else(|| Failure::rejected("the event has no `url`"))?;
    let content_type = match event.pick("type")? {
        Some(Value::String(said)) => said,
        _ => "image/png".to_owned(),
    };
    Ok(Delivery::http("claims").fetch(content_type, url).into())
}
