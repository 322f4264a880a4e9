//! Example files: an event, what the plugin finds when it asks, and what it must answer. `hookyard plugin test` runs
//! the same files through the component; [`run_examples`] runs them through the function.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// Whether it gets links: [`super::SURVEY_LINK`], or else [`super::NO_LINKS`].
    pub links: bool,
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
    #[serde(default = "links")]
    links: bool,
    expect: Option<Outcome>,
}

fn id() -> String {
    "test-event".to_owned()
}

fn received_ms() -> u64 {
    super::RECEIVED_MS
}

fn links() -> bool {
    true
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
            links: file.links,
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
        let mut fixture = Fixture {
            settings: self.settings.clone(),
            tables: self.tables.clone(),
            no_links: !self.links,
            ..Fixture::default()
        };
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

/// Why the examples of a plugin cannot be read.
#[derive(Debug)]
pub enum ExamplesError {
    /// There is no file `examples/*.json`.
    None(PathBuf),
    /// A file or the folder cannot be read.
    Read(PathBuf, std::io::Error),
    /// A file is no example.
    Parse(PathBuf, JsonError),
}

impl std::fmt::Display for ExamplesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None(path) => write!(f, "there are no examples in {}", path.display()),
            Self::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Parse(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ExamplesError {}

/// The examples of the plugin in the folder `root`, with the names of their files, sorted by them.
///
/// # Errors
/// When there are none, or one of them cannot be read or is no example.
pub fn read_examples(root: impl AsRef<Path>) -> Result<Vec<(String, Example)>, ExamplesError> {
    let folder = root.as_ref().join("examples");
    let entries = std::fs::read_dir(&folder).map_err(|e| ExamplesError::Read(folder.clone(), e))?;
    let mut examples = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| ExamplesError::Read(folder.clone(), e))?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| ExamplesError::Read(path.clone(), e))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let example = Example::parse(&text).map_err(|e| ExamplesError::Parse(path, e))?;
        examples.push((name, example));
    }
    if examples.is_empty() {
        return Err(ExamplesError::None(folder));
    }
    examples.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(examples)
}

/// Runs a plugin's function on every `examples/*.json` below `root`, which is `env!("CARGO_MANIFEST_DIR")` in a test.
///
/// # Panics
/// When there are no examples, when one cannot be read, or when an answer is not the expected one.
pub fn run_examples<A: Answer>(root: impl AsRef<Path>, function: impl Fn(&Event) -> A) {
    let examples = read_examples(root).unwrap_or_else(|error| panic!("{error}"));
    let wrong: Vec<String> = examples
        .iter()
        .filter_map(|(name, example)| Some(format!("{name}: {}", example.run(&function).err()?)))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}
