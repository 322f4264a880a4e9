//! The settings that the carrier made for the subscription: texts by key.

use std::fmt::Display;
use std::str::FromStr;

/// A setting. `None` when the carrier did not make it.
pub fn get(key: &str) -> Option<String> {
    crate::imports::setting(key)
}

/// A setting that the plugin cannot do without.
///
/// # Errors
/// When the carrier did not make it; by `?` the event is rejected with a message that names the setting.
pub fn required(key: &str) -> Result<String, SettingError> {
    get(key).ok_or_else(|| SettingError { key: key.to_owned(), reason: "is missing".to_owned() })
}

/// A setting as a number, a `bool` or any other type that is made from a text. `None` when it is not made.
///
/// # Errors
/// When the text is no `T`; by `?` the event is rejected with a message that names the setting.
pub fn parse<T: FromStr<Err: Display>>(key: &str) -> Result<Option<T>, SettingError> {
    let Some(text) = get(key) else { return Ok(None) };
    match text.trim().parse() {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(invalid(key, format!("{error} (it says {text:?})"))),
    }
}

/// An error about a setting, for a plugin that reads its text by itself.
pub fn invalid(key: &str, reason: impl Display) -> SettingError {
    SettingError { key: key.to_owned(), reason: format!("is not valid: {reason}") }
}

/// What is wrong with a setting. It shows as ``setting `keep` is missing``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    key: String,
    reason: String,
}

impl Display for SettingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "setting `{}` {}", self.key, self.reason)
    }
}

impl std::error::Error for SettingError {}
