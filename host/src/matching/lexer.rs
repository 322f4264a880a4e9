//! The words of the native filter language.

use serde_json::Number;

use super::filter::{FilterError, is_bare_byte};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A bare key or word.
    Word(String),
    Text(String),
    Number(Number),
    /// `==`, `&&`, `(`, ...
    Sign(&'static str),
    End,
}

impl Token {
    /// How it is shown in an error.
    pub(super) fn describe(&self) -> String {
        let text = match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Text(text) => format!("the text {text:?}"),
            Self::Number(n) => format!("the number {n}"),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".to_owned(),
        };
        text.chars().take(80).collect()
    }
}

/// Longer signs first, so that `<=` is not read as `<`.
const SIGNS: [&str; 15] = ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", "."];

/// Splits a text into tokens, each with the character (from 1) at which it starts; the last one is `End`.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, FilterError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        let Some(first) = rest.bytes().next() else {
            tokens.push((Token::End, place(text, at)));
            return Ok(tokens);
        };
        let (token, length) = if first == b'"' {
            quoted(text, at)?
        } else if first.is_ascii_alphabetic() || first == b'_' {
            let length = rest.bytes().take_while(|&b| is_bare_byte(b)).count();
            (Token::Word(rest[..length].to_owned()), length)
        } else if first.is_ascii_digit() || first == b'-' {
            number(text, at)?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            return Err(wrong(text, at, "a condition", rest.chars().next()));
        };
        tokens.push((token, place(text, at)));
        at += length;
    }
}

/// A JSON string.
fn quoted(text: &str, at: usize) -> Result<(Token, usize), FilterError> {
    let rest = &text[at..];
    let mut escaped = false;
    for (i, b) in rest.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let length = i + 1;
                return match serde_json::from_str(&rest[..length]) {
                    Ok(value) => Ok((Token::Text(value), length)),
                    Err(_) => Err(wrong(text, at, "a text with the escapes of JSON", Some('"'))),
                };
            }
            _ => {}
        }
    }
    Err(wrong(text, text.len(), "a closing `\"`", None))
}

/// A JSON number.
fn number(text: &str, at: usize) -> Result<(Token, usize), FilterError> {
    let rest = &text[at..];
    let length =
        rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-')).count();
    match serde_json::from_str(&rest[..length]) {
        Ok(n) => Ok((Token::Number(n), length)),
        Err(_) => Err(wrong(text, at, "a number as in JSON", rest.chars().next())),
    }
}

fn wrong(text: &str, at: usize, expected: &'static str, found: Option<char>) -> FilterError {
    let found = found.map_or_else(|| "the end".to_owned(), |c| format!("{c:?}"));
    FilterError::Syntax { at: place(text, at), expected, found }
}

fn place(text: &str, at: usize) -> usize {
    text[..at].chars().count() + 1
}
