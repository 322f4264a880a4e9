//! Patterns of event types: exact, a prefix of whole parts, or all.

use std::str::FromStr;

use crate::event::EventType;
use crate::name::NameError;

/// Which event types a subscription asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TypePattern {
    /// `*`: every type.
    All,
    /// `case.*`: every type below `case`, at any depth, but not `case` itself.
    Below(EventType),
    /// `case.closed`: this type.
    Exact(EventType),
}

/// Why a text is not a pattern of event types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no pattern of event types; it takes a type (`case.closed`), all below one (`case.*`) or `*`: {cause}"
)]
pub struct TypePatternError {
    /// The text, cut to 80 characters.
    pub text: String,
    /// What is wrong with its name.
    pub cause: NameError,
}

impl TypePattern {
    /// Whether the type is one of those asked for.
    pub fn matches(&self, event_type: &EventType) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => exact == event_type,
            Self::Below(parent) => {
                event_type.as_str().strip_prefix(parent.as_str()).is_some_and(|rest| rest.starts_with('.'))
            }
        }
    }
}

impl FromStr for TypePattern {
    type Err = TypePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |cause| TypePatternError { text: text.chars().take(80).collect(), cause };
        if text == "*" {
            return Ok(Self::All);
        }
        match text.strip_suffix(".*") {
            Some(parent) => parent.parse().map(Self::Below).map_err(wrong),
            None => text.parse().map(Self::Exact).map_err(wrong),
        }
    }
}

impl std::fmt::Display for TypePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(parent) => write!(f, "{parent}.*"),
            Self::Exact(exact) => exact.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_parts() {
        let cases = [
            ("*", "case.closed", true),
            ("case.closed", "case.closed", true),
            ("case.closed", "case.closed.late", false),
            ("case.*", "case.closed", true),
            ("case.*", "case.closed.late", true),
            ("case.*", "case", false),
            ("case.*", "cases.closed", false),
            ("case.closed.*", "case.closed", false),
        ];
        for (pattern, event_type, expected) in cases {
            let parsed: TypePattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(&event_type.parse().unwrap()), expected, "{pattern} {event_type}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in ["", "**", ".*", "*.closed", "case.*.late", "case*", "case.", "a b"] {
            assert!(bad.parse::<TypePattern>().is_err(), "{bad}");
        }
    }
}
