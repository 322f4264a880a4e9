//! Keeps the events whose payload and attributes hold what the setting `keep` says, and drops the others with a reason
//! that names the first clause that failed. The README says how clauses are written.

use hookyard::settings::{self, SettingError};
use hookyard::{Event, Result, Value, Verdict};

/// What stands at a path must be (or not be) one of the values; without values it must (or must not) be there.
struct Clause<'a> {
    path: &'a str,
    negated: bool,
    values: Option<Vec<&'a str>>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Result<Self, SettingError> {
        let (path, negated, values) = match text.split_once('=') {
            Some((left, values)) => match left.strip_suffix('!') {
                Some(path) => (path, true, Some(values)),
                None => (left, false, Some(values)),
            },
            None => match text.strip_prefix('!') {
                Some(path) => (path, true, None),
                None => (text, false, None),
            },
        };
        let path = path.trim();
        if path.is_empty() || path.contains(char::is_whitespace) {
            return Err(settings::invalid("keep", format!("{text:?} does not start with a path")));
        }
        Ok(Self { path, negated, values: values.map(|v| v.split('|').map(str::trim).collect()) })
    }

    /// Why the event is not kept; `None` when the clause holds.
    fn fails(&self, event: &Event) -> Result<Option<String>> {
        let found = match self.path {
            "@type" => Some(event.event_type.clone()),
            path => match path.strip_prefix('@') {
                Some(name) => event.attribute(name).map(str::to_owned),
                None => event.pick(path)?.and_then(text),
            },
        };
        let Some(values) = &self.values else {
            return Ok(match found {
                Some(_) if self.negated => Some(format!("{} is there", self.path)),
                None if !self.negated => Some(format!("{} is missing", self.path)),
                _ => None,
            });
        };
        if found.as_deref().is_some_and(|value| values.contains(&value)) != self.negated {
            return Ok(None);
        }
        let is = match found {
            Some(value) => format!("{:?}", value.chars().take(80).collect::<String>()),
            None => "missing".to_owned(),
        };
        let not = if self.negated { "" } else { "not " };
        Ok(Some(format!("{} is {is}, {not}one of {}", self.path, values.join(", "))))
    }
}

/// A value as the setting writes it: texts without quotes, everything else as JSON. `null` is as good as missing.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// Forwards the event unchanged when every clause of `keep` holds.
#[hookyard::plugin]
fn handle(event: &Event) -> Result<Verdict> {
    let keep = settings::required("keep")?;
    for clause in keep.split(';').map(str::trim).filter(|clause| !clause.is_empty()) {
        if let Some(reason) = Clause::parse(clause)?.fails(event)? {
            return Ok(Verdict::drop(reason));
        }
    }
    Ok(Verdict::forward())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_example_gets_what_it_expects() {
        hookyard::testing::run_examples(env!("CARGO_MANIFEST_DIR"), super::handle);
    }
}
