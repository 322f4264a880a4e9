//! Runs a plugin's function natively, in an ordinary `#[test]`: settings, tables, links and log without Wasm or a host.
//!
//! ```
//! # extern crate hookyard_sdk as hookyard;
//! use hookyard::{Event, Result, Verdict, settings, testing};
//!
//! fn handle(event: &Event) -> Result<Verdict> {
//!     if settings::required("state")? == "open" { Ok(Verdict::forward()) } else { Ok(Verdict::drop("not open")) }
//! }
//!
//! let event = testing::event("case.updated", &hookyard::json!({"state": "open"}));
//! let verdict = testing::Fixture::new().setting("state", "open").run(handle, &event);
//! assert_eq!(verdict, Ok(Verdict::forward()));
//! ```

mod example;
mod outcome;

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::log::Level;
use crate::plugin::Answer;
use crate::{Event, Result, Verdict};

pub use example::{Example, ExamplesError, Mismatch, read_examples, run_examples};
pub use outcome::{Body, Outcome, Sent, SentAttachment, SentEmail, SentFile, SentHttp};

/// When the events of tests were received: the first moment of 2026, UTC.
const RECEIVED_MS: u64 = 1_767_225_600_000;

/// The link to the survey that a plugin gets in tests. `hookyard plugin test` gives the same.
pub const SURVEY_LINK: &str = "https://hooks.example.com/s/a-link-of-tests";

/// What a plugin is told in tests where there are no links. `hookyard plugin test` says the same.
pub const NO_LINKS: &str = "this host makes no links";

/// What a plugin finds when it asks: nothing but a link, until the test says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Fixture {
    settings: BTreeMap<String, String>,
    tables: BTreeMap<String, BTreeMap<String, String>>,
    no_links: bool,
    log: Vec<(Level, String)>,
}

thread_local! {
    // A plugin's function asks through free functions, so what answers them must be found by the thread.
    static CURRENT: RefCell<Fixture> = RefCell::new(Fixture::default());
}

impl Fixture {
    /// No settings, no tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a setting.
    #[must_use]
    pub fn setting(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(key.into(), value.into());
        self
    }

    /// Puts a row into a look-up table.
    #[must_use]
    pub fn table(
        mut self,
        table: impl Into<String>,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.tables.entry(table.into()).or_default().insert(key.into(), value.into());
        self
    }

    /// Gives no links, as a host whose operator has set no address for them.
    #[must_use]
    pub fn without_links(mut self) -> Self {
        self.no_links = true;
        self
    }

    /// Runs a plugin's function on an event, on this thread.
    ///
    /// # Errors
    /// What the function returns, as the host would get it.
    pub fn run<A: Answer>(&mut self, function: impl FnOnce(&Event) -> A, event: &Event) -> Result<Verdict> {
        self.log.clear();
        let before = CURRENT.replace(std::mem::take(self));
        let result = function(event).answer();
        *self = CURRENT.replace(before);
        result
    }

    /// What the last run wrote to the log.
    pub fn log(&self) -> &[(Level, String)] {
        &self.log
    }
}

/// An event with this payload, received on 1 January 2026 and called `test-event`.
///
/// # Panics
/// When the payload has no JSON form.
pub fn event(event_type: impl Into<String>, payload: &impl Serialize) -> Event {
    let payload = serde_json::to_vec(payload).expect("the payload has a JSON form");
    Event::from_parts("test-event".to_owned(), event_type.into(), RECEIVED_MS, Vec::new(), payload)
}

impl Event {
    /// Adds an attribute, for tests. They stay sorted by name, as the host gives them.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.attributes.retain(|(key, _)| *key != name);
        self.attributes.push((name, value.into()));
        self.attributes.sort();
        self
    }
}

pub(crate) fn log(level: Level, message: &str) {
    CURRENT.with_borrow_mut(|f| f.log.push((level, message.to_owned())));
}

pub(crate) fn setting(key: &str) -> Option<String> {
    CURRENT.with_borrow(|f| f.settings.get(key).cloned())
}

pub(crate) fn table(table: &str, key: &str) -> Option<String> {
    CURRENT.with_borrow(|f| f.tables.get(table)?.get(key).cloned())
}

pub(crate) fn survey() -> Result<String, String> {
    if CURRENT.with_borrow(|f| f.no_links) { Err(NO_LINKS.to_owned()) } else { Ok(SURVEY_LINK.to_owned()) }
}
