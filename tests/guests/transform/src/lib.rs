//! What a usual plugin does, for measuring: parses its event, edits it, and uses every import once.

mod edit;

use hookyard::{Delivery, Event, Result, Verdict};

#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let queue = hookyard::settings::get("queue").unwrap_or_default();
    let brand = hookyard::tables::get("brands", "QB").unwrap_or_default();
    let edited = edit::edit(&event.payload, &brand)?;
    hookyard::log::info!("edited {}", event.id);
    Ok(Delivery::http("claims").path(queue).bytes("application/json", edited).into())
}
