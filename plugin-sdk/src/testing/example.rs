//! Example files: an event, what the plugin finds when it asks, and what it must answer. `hookyard plugin test` runs
//! the same files through the component; [`run_examples`] runs them through the function.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Fixture, Outcome};
use crate::plugin::Answer;
use crate::{Event, JsonError};

/// An example file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Example {
    /// The event, its payload byte for byte as the file has it.
    pub event: Event,
    /// The settings that the plugin finds.
    pub settings: BTreeMap<String, String>,
    /// The look-up tables that it finds.
    pub tables: BTreeMap<String, BTreeMap<String, String>>,
    /// What it must answer; with `None` any answer that is no failure is right.
    pub expect: Option<Outcome>,
}

/// The file's members as they stand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "type")]
    event_type: String,
    payload: Box<RawValue>,
    #[serde(default = "id")]
    id: String,
    #[serde(default = "received_ms")]
    received_ms: u64,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    #[serde(default)]
    tables: BTreeMap<String, BTreeMap<String, String>>,
    expect: Option<Outcome>,
}

fn id() -> String {
    "test-event".to_owned()
}

fn received_ms() -> u64 {
    super::RECEIVED_MS
}

impl Example {
    /// Reads the text of an example file.
    ///
    /// # Errors
    /// When it is no JSON, lacks `type` or `payload`, or has a member that example files do not have.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let file: File =
            serde_json::from_str(text).map_err(|e| JsonError::new(&e, text.as_bytes(), "example"))?;
        Ok(Self {
            event: Event::from_parts(
                file.id,
                file.event_type,
                file.received_ms,
                file.attributes.into_iter().collect(),
                file.payload.get().as_bytes().to_vec(),
            ),
            settings: file.settings,
            tables: file.tables,
            expect: file.expect.map(Outcome::normal),
        })
    }

    /// Compares an answer with what the file expects.
    ///
    /// # Errors
    /// When they differ: both, as JSON.
    pub fn check(&self, outcome: &Outcome) -> Result<(), Mismatch> {
        let expected = match (&self.expect, outcome) {
            (Some(expected), got) if expected == got => return Ok(()),
            (None, Outcome::Drop(_) | Outcome::Forward(_) | Outcome::Deliver(_)) => return Ok(()),
            (Some(expected), _) => pretty(expected),
            (None, _) => "any verdict".to_owned(),
        };
        Err(Mismatch { expected, got: pretty(outcome) })
    }

    /// Runs a plugin's function on the example, natively.
    ///
    /// # Errors
    /// When the answer is not the expected one.
    pub fn run<A: Answer>(&self, function: impl FnOnce(&Event) -> A) -> Result<(), Mismatch> {
        let mut fixture =
            Fixture { settings: self.settings.clone(), tables: self.tables.clone(), ..Fixture::default() };
        let result = fixture.run(function, &self.event);
        self.check(&Outcome::from(&result))
    }
}

fn pretty(outcome: &Outcome) -> String {
    serde_json::to_string_pretty(outcome).unwrap_or_else(|e| e.to_string())
}

/// A plugin answered something else than its example expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What the file says.
    pub expected: String,
    /// What the plugin answered.
    pub got: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected {}\ngot {}", self.expected, self.got)
    }
}

impl std::error::Error for Mismatch {}

/// Runs a plugin's function on every `examples/*.json` below `root`, which is `env!("CARGO_MANIFEST_DIR")` in a test.
///
/// # Panics
/// When there are no examples, when one cannot be read, or when an answer is not the expected one.
pub fn run_examples<A: Answer>(root: impl AsRef<Path>, function: impl Fn(&Event) -> A) {
    let folder = root.as_ref().join("examples");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    files.sort();
    assert!(!files.is_empty(), "there are no examples in {}", folder.display());

    let mut wrong = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match Example::parse(&text) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(example) => {
                if let Err(mismatch) = example.run(&function) {
                    wrong.push(format!("{name}: {mismatch}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}
