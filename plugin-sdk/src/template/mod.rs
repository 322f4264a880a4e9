//! Templates of file names and of one-line texts such as subjects: text with `${path}` for values of an event's payload.
//!
//! ```
//! # extern crate hookyard_sdk as hookyard;
//! use hookyard::json;
//! use hookyard::template::{Template, Variables};
//!
//! let payload = json!({"caseData": {"id": "4e7d1c92-58ab-4a63-9b1f-c07e2d48a5f1", "brand": "A/S Nord"}, "referenceId": "NB-48213"});
//! let variables = Variables::of(&payload, 1_795_343_400_000);
//!
//! let name = Template::parse("${caseData.brand}/${referenceId}_${partialId}")?;
//! assert_eq!(name.path(&payload, &variables), "A_S Nord/NB-48213_4e7d1c92-");
//!
//! let subject = Template::parse_line("Case ${referenceId} of ${caseData.brand}: closed")?;
//! assert_eq!(subject.line(&payload, &variables), "Case NB-48213 of A/S Nord: closed");
//! # Ok::<(), hookyard::template::TemplateError>(())
//! ```
//!
//! # What `${…}` takes
//!
//! | in the braces | becomes |
//! | --- | --- |
//! | `partialId` | the first nine characters of the case's id (see [`Variables::of`]) |
//! | `currentDateTime` | when the host took the event, in UTC: `20261122T103000Z`. A retry gives the same |
//! | a path such as `caseData.brand` or `messages.0.id` | that value. A number is an index into an array |
//!
//! A path that the payload does not have is looked for below its member `case`, where events about a case that changed hands
//! keep it. A text stands as it is, a number as JSON writes it, a flag as `true` or `false`. Nothing else is a value: an object, an
//! array, `null`, an empty text and a path that leads nowhere are *missing*.
//!
//! # Names of files
//!
//! A `/` of the template makes a folder; a value never does. In values (and in the template's own text) each of `/ \ < > : " | ? *`, each
//! control character and each character that is invisible or turns the writing direction becomes `_`; dots and spaces at both ends of a value
//! are taken away. A missing value becomes [`MISSING`]; a value of which nothing is left becomes `_`. A part does not end with a dot or a space,
//! and one that Windows keeps for itself (`con`, `nul`, `com1.txt`, …) gets a `_` before it. A part has at most [`PART_BYTES`] bytes and the
//! whole at most [`PATH_BYTES`] ones: the longest parts are cut, at a character's end, and what looks like an extension is kept. So the result
//! always has as many parts as the template, each of them a name, whatever the payload holds.
//!
//! # One line
//!
//! Control characters, line breaks and characters that turn the writing direction become spaces, several spaces one, and none is left
//! at the ends. A missing value becomes nothing. The line is cut after [`LINE_CHARS`] characters. It may turn out empty.
//!
//! # Texts
//!
//! What [`Template::parse_text`] reads may have many lines. Nothing is cut, and as [`Form::Html`] no value is markup.

mod name;
mod text;

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

pub use name::{EXTENSION_BYTES, PART_BYTES, PATH_BYTES, numbered, with_extension};
pub use text::{Form, TEXT_TEMPLATE_BYTES};

/// The longest template, in bytes (the limit `template_bytes`).
pub const TEMPLATE_BYTES: usize = 1_024;
/// The most parts of a file's name, its own and its folders' (the limit `template_levels`).
pub const LEVELS: usize = 16;
/// The longest line, in characters (the limit `line_chars`).
pub const LINE_CHARS: usize = 255;
/// What stands in a file's name for a value that is missing.
pub const MISSING: &str = "unknown";
/// The template of files for which nothing else is said.
pub const DEFAULT_FILE_NAME: &str = "${referenceId}_${partialId}_${currentDateTime}";

/// How many characters of the case's id `partialId` has.
const PARTIAL_ID_CHARS: usize = 9;
/// Where payloads keep the case's id, the first that is there. Notes and contacts stand for themselves.
const CASE_IDS: [&str; 6] = ["caseData.id", "case.caseData.id", "case.id", "caseId", "conversation_id", "id"];

/// Text with `${path}` for values, checked. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The levels of a file's name; a line has one.
    levels: Vec<Vec<Piece>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    PartialId,
    CurrentDateTime,
    Value(String),
}

/// Why a text is no template, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateError {
    /// The character at which it goes wrong, from 1.
    pub at: usize,
    /// What is wrong.
    pub why: &'static str,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at character {}", self.why, self.at)
    }
}

impl std::error::Error for TemplateError {}

/// What a template can name beside the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variables {
    /// `currentDateTime`: when the host took the event, in UTC and in ISO 8601's basic form, `20261122T103000Z`.
    pub current_date_time: String,
    /// `partialId`: the first nine characters of the case's id; of a UUID eight digits and the hyphen. Empty when it is missing.
    pub partial_id: String,
}

impl Variables {
    /// Those of an event: its payload, and when the host took it in Unix milliseconds.
    ///
    /// The case's id is the first of `caseData.id`, `case.caseData.id`, `case.id`, `caseId`, `conversation_id` and `id` that is there.
    pub fn of(payload: &Value, received_ms: u64) -> Self {
        let id = CASE_IDS.iter().find_map(|path| text(at(payload, path)?)).unwrap_or_default();
        Self {
            current_date_time: compact(&crate::event::rfc3339(received_ms)),
            partial_id: id.chars().take(PARTIAL_ID_CHARS).collect(),
        }
    }
}

/// `2026-11-22T10:30:00.000Z` → `20261122T103000Z`.
fn compact(rfc3339: &str) -> String {
    let seconds = rfc3339.split_once('.').map_or(rfc3339, |(seconds, _)| seconds);
    seconds.chars().filter(|c| !matches!(c, '-' | ':')).chain(['Z']).collect()
}

impl Template {
    /// Reads the template of a file's name: `/` makes folders.
    ///
    /// # Errors
    /// When it is empty or longer than [`TEMPLATE_BYTES`], a `${` is not closed or does not hold a path, there is a control character or a
    /// `\`, a part is empty or begins with a dot, or there are more than [`LEVELS`] parts.
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        bounded(template)?;
        if let Some((offset, _)) = template.char_indices().find(|(_, c)| c.is_control() || *c == '\\') {
            return Err(wrong(template, offset, "it has a control character or `\\`"));
        }
        let mut levels = Vec::new();
        let mut offset = 0;
        for part in template.split('/') {
            if part.trim().is_empty() {
                return Err(wrong(template, offset, "it has an empty part in the path"));
            }
            if part.starts_with('.') {
                return Err(wrong(template, offset, "a part of the path begins with a dot"));
            }
            if levels.len() == LEVELS {
                return Err(wrong(
                    template,
                    offset,
                    "it has more than 16 parts (the limit `template_levels`)",
                ));
            }
            levels.push(pieces(template, offset, part)?);
            offset += part.len() + 1;
        }
        Ok(Self { levels })
    }

    /// Reads the template of a line, such as a subject: `/` is a character like others.
    ///
    /// # Errors
    /// When it is empty or longer than [`TEMPLATE_BYTES`], a `${` is not closed or does not hold a path, or there is a control
    /// character.
    pub fn parse_line(template: &str) -> Result<Self, TemplateError> {
        bounded(template)?;
        if let Some((offset, _)) = template.char_indices().find(|(_, c)| c.is_control()) {
            return Err(wrong(template, offset, "it has a control character"));
        }
        Ok(Self { levels: vec![pieces(template, 0, template)?] })
    }

    /// The name of a file, relative and with `/` between its parts: safe whatever the payload holds.
    pub fn path(&self, payload: &Value, variables: &Variables) -> String {
        let part = |level: &Vec<Piece>| {
            let mut part = String::new();
            for piece in level {
                match piece {
                    Piece::Text(text) => name::literal(&mut part, text),
                    piece => name::value(&mut part, piece.value(payload, variables).as_deref()),
                }
            }
            name::finish(part)
        };
        name::fit(self.levels.iter().map(part).collect())
    }

    /// One line of text, without control characters.
    pub fn line(&self, payload: &Value, variables: &Variables) -> String {
        let mut line = Line::default();
        for (index, level) in self.levels.iter().enumerate() {
            if index > 0 {
                line.push("/");
            }
            for piece in level {
                match piece {
                    Piece::Text(text) => line.push(text),
                    piece => line.push(&piece.value(payload, variables).unwrap_or_default()),
                }
            }
        }
        line.text
    }
}

impl Piece {
    /// What stands for it; nothing when it is missing.
    fn value<'a>(&'a self, payload: &'a Value, variables: &'a Variables) -> Option<Cow<'a, str>> {
        let value = match self {
            Self::Text(text) => Cow::Borrowed(text.as_str()),
            Self::PartialId => Cow::Borrowed(variables.partial_id.as_str()),
            Self::CurrentDateTime => Cow::Borrowed(variables.current_date_time.as_str()),
            Self::Value(path) => {
                let found = at(payload, path).or_else(|| at(payload.get("case")?, path));
                text(found?)?
            }
        };
        (!value.is_empty()).then_some(value)
    }
}

/// The value at a path.
fn at<'a>(payload: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(payload, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A value as text, when it has one.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => (!text.is_empty()).then_some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn wrong(template: &str, offset: usize, why: &'static str) -> TemplateError {
    TemplateError { at: template[..offset].chars().count() + 1, why }
}

fn bounded(template: &str) -> Result<(), TemplateError> {
    if template.trim().is_empty() {
        return Err(wrong(template, 0, "it is empty"));
    }
    match template.char_indices().find(|(offset, c)| offset + c.len_utf8() > TEMPLATE_BYTES) {
        Some((offset, _)) => {
            Err(wrong(template, offset, "it is longer than 1024 bytes (the limit `template_bytes`)"))
        }
        None => Ok(()),
    }
}

/// The pieces of one part, which begins at `offset` of the whole.
fn pieces(whole: &str, offset: usize, part: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = 0;
    while let Some(found) = part[rest..].find("${") {
        let start = rest + found;
        // A name of a file ends at the slash: what closes behind it does not close this.
        let Some(length) = part[start..].find('}') else {
            return Err(wrong(whole, offset + start, "`${` is not closed"));
        };
        let path = &part[start + 2..start + length];
        let named = |key: &str| {
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        if !path.split('.').all(named) {
            return Err(wrong(
                whole,
                offset + start,
                "`${…}` does not hold a path of names with `.` between them",
            ));
        }
        if start > rest {
            pieces.push(Piece::Text(part[rest..start].to_owned()));
        }
        pieces.push(match path {
            "partialId" => Piece::PartialId,
            "currentDateTime" => Piece::CurrentDateTime,
            path => Piece::Value(path.to_owned()),
        });
        rest = start + length + 1;
    }
    if rest < part.len() {
        pieces.push(Piece::Text(part[rest..].to_owned()));
    }
    Ok(pieces)
}

/// A line that grows to its limit.
#[derive(Default)]
struct Line {
    text: String,
    chars: usize,
    /// Whether a space is due before the next character.
    space: bool,
}

impl Line {
    fn push(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() || c.is_control() || name::turns_or_breaks(c) {
                self.space = self.chars > 0;
                continue;
            }
            let space = std::mem::take(&mut self.space);
            if self.chars + usize::from(space) >= LINE_CHARS {
                self.chars = LINE_CHARS;
                return;
            }
            if space {
                self.text.push(' ');
            }
            self.text.push(c);
            self.chars += 1 + usize::from(space);
        }
    }
}

#[cfg(test)]
mod tests;
