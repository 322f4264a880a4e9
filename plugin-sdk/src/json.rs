//! Where in a JSON text an error lies: `payload.claim.lines[2].amount`.
//!
//! The path is found by walking the text again up to the place that the parser named. That costs nothing while
//! payloads are good and, unlike a parser that keeps the path, adds nothing for each type that is parsed. It must
//! not know what the text means.

use std::fmt::Write as _;

/// Why a JSON text is not a value of the wanted type, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    path: String,
    message: String,
}

impl JsonError {
    /// `text` is what was parsed; `name` is what the path starts with.
    pub(crate) fn new(error: &serde_json::Error, text: &[u8], name: &str) -> Self {
        let mut message = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        if message.ends_with(&place) {
            message.truncate(message.len() - place.len());
        }
        let mut path = name.to_owned();
        if let Some(end) = offset(text, error.line(), error.column()) {
            path_at(text, end, &mut path);
        }
        Self { path, message }
    }

    /// Where the error lies, such as `payload.claim.amount`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)?;
        f.write_str(": ")?;
        f.write_str(&self.message)
    }
}

impl std::error::Error for JsonError {}

/// The offset of the last byte that the parser had read. Lines and columns count from 1, columns in bytes.
fn offset(text: &[u8], line: usize, column: usize) -> Option<usize> {
    let mut start = 0;
    for _ in 1..line {
        start += text.get(start..)?.iter().position(|b| *b == b'\n')? + 1;
    }
    Some((start + column).saturating_sub(1))
}

/// A value that is not at its end yet.
enum Level {
    /// In an object: the member's name, quotes and escapes as they stand.
    Object(Option<(usize, usize)>),
    /// In an array: the index.
    Array(usize),
}

/// Writes the steps from the root to the value that holds the byte at `end`.
fn path_at(text: &[u8], end: usize, path: &mut String) {
    let mut levels: Vec<Level> = Vec::new();
    let mut wants_key = false;
    let mut at = 0;
    while at <= end && at < text.len() {
        match text[at] {
            b'{' => {
                levels.push(Level::Object(None));
                wants_key = true;
            }
            b'[' => levels.push(Level::Array(0)),
            b'}' | b']' => {
                // An error at the very end of a value (a field is missing) belongs to that value.
                if at == end {
                    if let Some(Level::Object(key)) = levels.last_mut() {
                        *key = None;
                    } else {
                        levels.pop();
                    }
                    break;
                }
                levels.pop();
                wants_key = false;
            }
            b',' => match levels.last_mut() {
                Some(Level::Array(index)) => *index += 1,
                Some(Level::Object(key)) => {
                    *key = None;
                    wants_key = true;
                }
                None => {}
            },
            b'"' => {
                let start = at + 1;
                at = start;
                while at < text.len() && text[at] != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                if wants_key && let Some(Level::Object(key)) = levels.last_mut() {
                    *key = Some((start, at.min(text.len())));
                    wants_key = false;
                }
            }
            _ => {}
        }
        at += 1;
    }
    for level in &levels {
        match level {
            Level::Object(Some((from, to))) => {
                path.push('.');
                path.push_str(&String::from_utf8_lossy(&text[*from..*to]));
            }
            Level::Object(None) => {}
            Level::Array(index) => {
                // Writing to a `String` cannot fail.
                let _ = write!(path, "[{index}]");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors of parsing matter")]
    struct Claim {
        amount: u64,
        #[serde(default)]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors of parsing matter")]
    struct Line {
        kind: Kind,
        text: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Auto,
        Home,
    }

    fn error(text: &str) -> String {
        let error = serde_json::from_str::<Claim>(text).unwrap_err();
        JsonError::new(&error, text.as_bytes(), "payload").to_string()
    }

    #[test]
    fn an_error_names_the_value_that_is_wrong() {
        for (text, says) in [
            (r#"{"amount":"12"}"#, r#"payload.amount: invalid type: string "12", expected u64"#),
            (
                r#"{"x":{"amount":1},"amount":-1}"#,
                "payload.amount: invalid value: integer `-1`, expected u64",
            ),
            (r#"{"x":[1,{"y":2}]}"#, "payload: missing field `amount`"),
            (
                r#"{"amount":1,"lines":[{"kind":"auto"},{"text":"b"}]}"#,
                "payload.lines[1]: missing field `kind`",
            ),
            (
                "{\n  \"amount\": 1,\n  \"lines\": [\n    {\"kind\": \"auto\"},\n    {\"kind\": \"boat\"}]}",
                "payload.lines[1].kind: unknown variant `boat`, expected `auto` or `home`",
            ),
            (
                r#"{"amount":1,"lines":[{"kind":"home","text":7}]}"#,
                "payload.lines[0].text: invalid type: integer `7`, expected a string",
            ),
            (r#"{"a\"b":"}{][,","amount":{}}"#, "payload.amount: invalid type: map, expected u64"),
            (r#"[]"#, "payload: invalid length 0, expected struct Claim with 2 elements"),
            (r#"7"#, "payload: invalid type: integer `7`, expected struct Claim"),
        ] {
            assert_eq!(error(text), says, "{text}");
        }
    }
}
