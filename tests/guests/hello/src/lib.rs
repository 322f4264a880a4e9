//! The smallest guest: forwards what it is given, and greets in the log. It behaves.

use hookyard::{Event, Result, Verdict};

#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    hookyard::log::info!("hello, {}", event.id);
    Ok(Verdict::forward())
}
