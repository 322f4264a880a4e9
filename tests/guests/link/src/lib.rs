//! Sends the link to the survey of its event to the destination `claims`. It behaves.

use hookyard::{Delivery, Event, Result, json, links};

#[hookyard::plugin]
fn handle(event: &Event) -> Result<Delivery> {
    Delivery::http("claims").json(&json!({"event": event.id, "link": links::survey()?}))
}
