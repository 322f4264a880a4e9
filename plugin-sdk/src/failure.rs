//! Why there is no verdict.

/// What a plugin returns: a verdict, or why there is none.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why there is no verdict.
///
/// Every error that implements [`std::error::Error`] becomes [`Failure::Rejected`] by `?`: an event that cannot be
/// handled now cannot be handled later either, unless the plugin says so by [`Failure::temporary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The event cannot be handled, now or later: it is parked with this reason.
    Rejected(String),
    /// Something that will pass, such as a look-up table that is not filled yet: the plugin is run again later.
    Temporary(String),
}

impl Failure {
    /// The event cannot be handled, now or later.
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self::Rejected(reason.into())
    }

    /// The plugin should be run again later.
    pub fn temporary(reason: impl Into<String>) -> Self {
        Self::Temporary(reason.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rejected(reason) => write!(f, "rejected: {reason}"),
            Self::Temporary(reason) => write!(f, "temporary: {reason}"),
        }
    }
}

// `Failure` is no `Error` itself: this conversion would then overlap with that of a type into itself.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Rejected(with_causes(&error))
    }
}

/// An error and its causes in one line. Not generic, so that it is in the component once.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
