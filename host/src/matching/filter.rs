//! The expression type of filters, its limits, and its printed form (which parses back to the same expression).

use std::fmt::{self, Display, Formatter, Write};

use serde_json::Number;

/// A condition on an event's payload and attributes. Made by [`Filter::parse`] or [`Filter::parse_carrier`]; printing
/// it gives the native language.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(pub(super) Expr);

impl Filter {
    /// The longest text, in bytes.
    pub const MAX_LENGTH: usize = 4_096;
    /// How deep conditions may be nested.
    pub const MAX_DEPTH: usize = 32;
    /// How many conditions and listed values there may be in all.
    pub const MAX_NODES: usize = 256;

    /// The expression, once its limits are kept.
    pub(super) fn checked(expr: Expr) -> Result<Self, FilterError> {
        if expr.depth() > Self::MAX_DEPTH {
            return Err(FilterError::Depth);
        }
        if expr.nodes() > Self::MAX_NODES {
            return Err(FilterError::Nodes);
        }
        Ok(Self(expr))
    }
}

/// What a filter may look at, by itself: a path into the payload, or an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(pub(super) Operand);

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text is too long.
    #[error("{length} bytes long, the limit is {}", Filter::MAX_LENGTH)]
    Length {
        /// Its length in bytes.
        length: usize,
    },
    /// Conditions are nested too deep.
    #[error("nested deeper than {} conditions", Filter::MAX_DEPTH)]
    Depth,
    /// There are too many conditions.
    #[error("more than {} conditions and values", Filter::MAX_NODES)]
    Nodes,
    /// The text does not follow the grammar.
    #[error("at character {at}: expected {expected}, found {found}")]
    Syntax {
        /// Where, counted in characters from 1.
        at: usize,
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    /// Two or more.
    And(Vec<Expr>),
    /// Two or more.
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Exists(Operand),
    Compare(Operand, Op, Literal),
    In(Operand, Vec<Literal>),
    Prefix(Operand, String),
    Contains(Operand, Literal),
    /// The carrier-webhook language's comparison: the text form of a scalar, keys without regard to case.
    Is(Operand, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    Attribute(String),
    /// No step: the payload as a whole.
    Payload(Vec<Step>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
}

impl Expr {
    fn depth(&self) -> usize {
        1 + match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::depth).max().unwrap_or(0),
            Self::Not(inner) => inner.depth(),
            _ => 0,
        }
    }

    fn nodes(&self) -> usize {
        1 + match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::nodes).sum(),
            Self::Not(inner) => inner.nodes(),
            Self::In(_, list) => list.len(),
            _ => 0,
        }
    }
}

/// Whether a key can be written without quotes.
pub(super) fn is_bare(key: &str) -> bool {
    let mut bytes = key.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') && bytes.all(is_bare_byte)
}

pub(super) fn is_bare_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut Formatter<'_>, parts: &[Self], word| {
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    f.write_str(word)?;
                }
                match part {
                    Self::And(_) | Self::Or(_) => write!(f, "({part})")?,
                    _ => part.fmt(f)?,
                }
            }
            Ok(())
        };
        match self {
            Self::And(parts) => joined(f, parts, " && "),
            Self::Or(parts) => joined(f, parts, " || "),
            Self::Not(inner) if matches!(**inner, Self::Exists(_)) => write!(f, "!{inner}"),
            Self::Not(inner) => write!(f, "!({inner})"),
            Self::Exists(what) => write!(f, "exists({what})"),
            Self::Compare(what, op, value) => write!(f, "{what} {op} {value}"),
            Self::In(what, list) => {
                write!(f, "{what} in [")?;
                for (i, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if i > 0 { ", " } else { "" })?;
                }
                f.write_char(']')
            }
            Self::Prefix(what, text) => write!(f, "{what} prefix {}", Quoted(text)),
            Self::Contains(what, value) => write!(f, "{what} contains {value}"),
            Self::Is(what, text) => write!(f, "{what} is {}", Quoted(text)),
        }
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        })
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let key = |f: &mut Formatter<'_>, key: &str| match is_bare(key) {
            true => write!(f, ".{key}"),
            false => write!(f, "[{}]", Quoted(key)),
        };
        let steps = match self {
            Self::Attribute(name) => {
                f.write_str("attributes")?;
                return key(f, name);
            }
            Self::Payload(steps) => steps,
        };
        let rest = match steps.split_first() {
            // The two roots are words of the language only in the first place.
            Some((Step::Key(first), rest))
                if is_bare(first) && !matches!(&**first, "payload" | "attributes") =>
            {
                f.write_str(first)?;
                rest
            }
            _ => {
                f.write_str("payload")?;
                steps
            }
        };
        for step in rest {
            match step {
                Step::Key(name) => key(f, name)?,
                Step::Index(i) => write!(f, "[{i}]")?,
            }
        }
        Ok(())
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => b.fmt(f),
            Self::Number(n) => n.fmt(f),
            Self::Text(text) => Quoted(text).fmt(f),
        }
    }
}

/// A text as a JSON string.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}
