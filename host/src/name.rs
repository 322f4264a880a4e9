//! Names that are checked once and relied on after: the newtypes of ids, made by one macro.

/// Why a text is not a name of some kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}: {rule}")]
pub struct NameError {
    /// The kind of name that was wanted.
    pub what: &'static str,
    /// The text, cut to 80 characters.
    pub text: String,
    /// What the text must look like.
    pub rule: String,
}

/// The alphabets that a name can have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    Slug,
    Token,
    Dotted,
    Uuid,
}

pub(crate) fn check(what: &'static str, text: &str, max: usize, rule: Rule) -> Result<(), NameError> {
    let sized = (1..=max).contains(&text.len());
    let (ok, words) = match rule {
        Rule::Slug => (
            sized
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
                && text.as_bytes()[0].is_ascii_alphanumeric(),
            "lower-case letters, digits, `-` and `_`, starting with a letter or digit",
        ),
        Rule::Token => {
            (sized && text.bytes().all(|b| b.is_ascii_graphic()), "printable ASCII without spaces")
        }
        Rule::Dotted => (
            sized
                && text.split('.').all(|part| {
                    !part.is_empty()
                        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
                }),
            "parts of letters, digits, `_` and `-`, separated by single dots",
        ),
        Rule::Uuid => (text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(), "a hyphenated UUID"),
    };
    if ok {
        return Ok(());
    }
    Err(NameError {
        what,
        text: text.chars().take(80).collect(),
        rule: format!("it takes 1 to {max} characters: {words}"),
    })
}

/// Describes a type as a text of 1 to `max` characters in the OpenAPI document.
macro_rules! text_schema {
    ($name:ident, $max:literal) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .max_length(Some($max))
                    .min_length(Some(1))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed(stringify!($name))
            }
        }
    };
}
pub(crate) use text_schema;

/// Defines a newtype over a text that has been checked. Cloning one copies a pointer.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        $crate::name::name!(@from $name $rule);

        impl std::str::FromStr for $name {
            type Err = $crate::name::NameError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::name::check($what, text, $max, $crate::name::name!(@rule $rule))?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::name::NameError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        $crate::name::text_schema!($name, $max);
    };
    (@rule slug) => { $crate::name::Rule::Slug };
    (@rule token) => { $crate::name::Rule::Token };
    (@rule dotted) => { $crate::name::Rule::Dotted };
    (@rule uuid) => { $crate::name::Rule::Uuid };
    (@from $name:ident uuid) => {
        impl From<uuid::Uuid> for $name {
            fn from(id: uuid::Uuid) -> Self {
                let mut buffer = uuid::Uuid::encode_buffer();
                Self((&*id.hyphenated().encode_lower(&mut buffer)).into())
            }
        }
    };
    (@from $name:ident $other:ident) => {};
}
pub(crate) use name;

#[cfg(test)]
mod tests {
    use crate::event::{CarrierId, EventId, EventType};

    #[test]
    fn names_are_checked_and_say_what_is_wrong() {
        for good in ["acme", "a", "acme-mutual-2"] {
            assert!(good.parse::<CarrierId>().is_ok(), "{good}");
        }
        for bad in ["", "Acme", "-a", "a b", "a/b", &"a".repeat(64)] {
            assert!(bad.parse::<CarrierId>().is_err(), "{bad}");
        }
        let error = "a b".parse::<CarrierId>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"a b\" is not a valid carrier id: it takes 1 to 63 characters: \
             lower-case letters, digits, `-` and `_`, starting with a letter or digit"
        );
        assert!("case..closed".parse::<EventType>().is_err());
        assert!("total_loss.vehicle_checked_in".parse::<EventType>().is_ok());
        assert!("evt 1".parse::<EventId>().is_err());
    }
}
