//! Reading a catalogue file so that every problem is found at once, each with its line.
//!
//! A file has, in any number:
//!
//! ```toml
//! [examples]              # payloads as JSON text, by name; several events may use one
//! case = '''{"caseData": {"id": "..."}}'''
//!
//! [[event]]
//! type = "case.reopened"  # required: the event type
//! about = "A case is open again."                                       # required
//! event_id = 20           # the webhook's number, 1 to 65535; leave it out for a type without a webhook
//! name = "REOPEN_CASE"    # what the webhook calls it, if that is known
//! action = "http_post"    # the default; or "sftp", "media", "email", "survey"
//! filter = true           # or { prefix = "case." }; the default is false: no FILTER_BY
//! example = "case"        # a name from [examples], of this file or of the one that comes with the host
//! collects = ["case.*"]   # what a registration with a SCHEDULE collects in place of `type`
//! assumed = ["the type: the document names only the number"]            # what is not documented, and why so
//! fields = [{ name = "redacted", kind = "bool", required = false, about = "..." }]   # further members of a registration
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde::de::value::{Error as WordError, StrDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Why};
use super::{Action, Entry, Field, Filterable};
use crate::event::EventType;
use crate::name::{NameError, Rule, check};

const MAX_EVENTS: usize = 10_000;
const MAX_EXAMPLE_BYTES: usize = 64 << 10;
const MAX_TEXT: usize = 2_000;
const MAX_LIST: usize = 32;

/// Payloads by the names that entries give them.
pub(super) type Examples = BTreeMap<String, Bytes>;

/// What a file says.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) entries: Vec<Entry>,
    pub(super) examples: Examples,
}

/// Reads a file. `known` are examples that it may name beside its own.
pub(super) fn read(text: &str, known: &Examples) -> Result<Read, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, problems: Vec::new() };
    for error in &errors {
        let at = error.span().unwrap_or_default();
        reader.say(&at, "the file", Why::Syntax(error.message().to_owned()));
    }
    if !errors.is_empty() {
        return Err(reader.problems);
    }
    let file = Part { table: document.get_ref(), at: document.span(), place: String::new() };
    reader.only(&file, "`examples` and `event`", &["examples", "event"]);
    let own = reader.examples(&file);
    let entries = reader.events(&file, &own, known);
    reader.problems.sort_by_key(|problem| problem.line);
    if reader.problems.is_empty() { Ok(Read { entries, examples: own }) } else { Err(reader.problems) }
}

/// A table of the file.
struct Part<'a> {
    table: &'a DeTable<'a>,
    at: Range<usize>,
    /// What problems call it; empty for the file itself.
    place: String,
}

impl Part<'_> {
    fn member(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}: {key}", self.place) }
    }
}

struct Reader<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

const EVENT_KEYS: &[&str] =
    &["type", "about", "event_id", "name", "action", "filter", "example", "collects", "assumed", "fields"];
const EVENT_WORDS: &str =
    "`type`, `about`, `event_id`, `name`, `action`, `filter`, `example`, `collects`, `assumed` and `fields`";

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    fn say(&mut self, at: &Range<usize>, place: impl Into<String>, why: Why) {
        let line = self.line(at.start);
        self.problems.push(Problem { line, place: place.into(), why });
    }

    fn only(&mut self, part: &Part<'_>, words: &'static str, known: &[&str]) {
        for key in part.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            self.say(&key.span(), part.member(key.get_ref()), Why::Unknown(words));
        }
    }

    /// A member of the type that `take` gives; what is there and is something else is a problem.
    fn get<'a, T>(
        &mut self,
        part: &Part<'a>,
        key: &str,
        expected: &'static str,
        take: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<(T, Range<usize>)> {
        let value = part.table.get(key)?;
        let taken = take(value.get_ref());
        if taken.is_none() {
            let found = shown(value.get_ref());
            self.say(&value.span(), part.member(key), Why::Kind { expected, found });
        }
        Some((taken?, value.span()))
    }

    fn text<'a>(&mut self, part: &Part<'a>, key: &str) -> Option<(&'a str, Range<usize>)> {
        let (text, at) = self.get(part, key, "a text", DeValue::as_str)?;
        self.bounded(&at, &part.member(key), text.chars().count(), "text_characters", MAX_TEXT)
            .then_some((text, at))
    }

    fn needed<'a>(
        &mut self,
        part: &Part<'a>,
        key: &str,
        expected: &'static str,
    ) -> Option<(&'a str, Range<usize>)> {
        if !part.table.contains_key(key) {
            self.say(&part.at, part.member(key), Why::Missing(expected));
        }
        self.text(part, key)
    }

    fn list<'a>(&mut self, part: &Part<'a>, key: &str, max: usize) -> &'a [Spanned<DeValue<'a>>] {
        let Some((list, at)) = self.get(part, key, "a list", |value| value.as_array().map(|list| &list[..]))
        else {
            return &[];
        };
        if self.bounded(&at, &part.member(key), list.len(), "catalogue_list", max) { list } else { &[] }
    }

    fn word<T: for<'d> Deserialize<'d>>(&mut self, part: &Part<'_>, key: &str) -> Option<T> {
        let (text, at) = self.text(part, key)?;
        match T::deserialize(StrDeserializer::<WordError>::new(text)) {
            Ok(word) => Some(word),
            Err(why) => {
                self.say(&at, part.member(key), Why::Word(why.to_string()));
                None
            }
        }
    }

    fn named<T>(&mut self, at: &Range<usize>, place: String, name: Result<T, NameError>) -> Option<T> {
        name.map_err(|why| self.say(at, place, why.into())).ok()
    }

    fn bounded(
        &mut self,
        at: &Range<usize>,
        place: &str,
        size: usize,
        limit: &'static str,
        max: usize,
    ) -> bool {
        if size > max {
            self.say(at, place, Why::Limit { size, limit, max });
        }
        size <= max
    }

    fn examples(&mut self, file: &Part<'_>) -> Examples {
        let mut examples = Examples::new();
        let Some((table, at)) = self.get(file, "examples", "a table", DeValue::as_table) else {
            return examples;
        };
        let part = Part { table, at, place: "examples".to_owned() };
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            let Some((json, at)) = self.get(&part, name, "JSON text", DeValue::as_str) else { continue };
            let json = json.trim();
            if !self.bounded(&at, &part.member(name), json.len(), "example_bytes", MAX_EXAMPLE_BYTES) {
                continue;
            }
            if let Err(why) = serde_json::from_str::<IgnoredAny>(json) {
                self.say(&at, part.member(name), Why::Json(why.to_string()));
                continue;
            }
            examples.insert(name.to_owned(), Bytes::copy_from_slice(json.as_bytes()));
        }
        examples
    }

    fn events(&mut self, file: &Part<'_>, own: &Examples, known: &Examples) -> Vec<Entry> {
        let mut entries: Vec<(Entry, Range<usize>)> = Vec::new();
        for (index, value) in self.list(file, "event", MAX_EVENTS).iter().enumerate() {
            let place = format!("event[{index}]");
            let Some(table) = value.get_ref().as_table() else {
                let found = shown(value.get_ref());
                self.say(&value.span(), place, Why::Kind { expected: "a table", found });
                continue;
            };
            let part = Part { table, at: value.span(), place };
            let Some(entry) = self.event(part, own, known) else { continue };
            if let Some((_, first)) = entries.iter().find(|(there, _)| there.is_same_as(&entry)) {
                let first = self.line(first.start);
                let place = match entry.event_id {
                    Some(id) => format!("event {id}: event_id"),
                    None => format!("event {}: type", entry.event_type),
                };
                self.say(&value.span(), place, Why::Twice { first });
            }
            entries.push((entry, value.span()));
        }
        entries.into_iter().map(|(entry, _)| entry).collect()
    }

    fn event(&mut self, mut part: Part<'_>, own: &Examples, known: &Examples) -> Option<Entry> {
        let event_id = self
            .get(&part, "event_id", "a number from 1 to 65535", |value| number(value).filter(|id| *id > 0));
        let event_id = event_id.map(|(id, _)| id);
        if let Some(id) = event_id {
            part.place = format!("event {id}");
        }
        self.only(&part, EVENT_WORDS, EVENT_KEYS);
        let event_type = self
            .needed(&part, "type", "an event type such as `case.closed`")
            .and_then(|(text, at)| self.named(&at, part.member("type"), text.parse::<EventType>()));
        let about = self.needed(&part, "about", "a text for people");
        let event_name = self.text(&part, "name").and_then(|(text, at)| {
            let checked = check("event name", text, 64, Rule::Token).map(|()| text.to_owned());
            self.named(&at, part.member("name"), checked)
        });
        let action = if part.table.contains_key("action") { self.word(&part, "action") } else { None };
        let example = self.text(&part, "example").and_then(|(name, at)| {
            let found = own.get(name).or_else(|| known.get(name)).cloned();
            if found.is_none() {
                self.say(&at, part.member("example"), Why::NoExample(name.to_owned()));
            }
            found
        });
        let (filter, fields) = (self.filter(&part), self.fields(&part));
        let (collects, assumed) = (self.collects(&part), self.texts(&part, "assumed"));
        Some(Entry {
            event_id,
            event_type: event_type?,
            event_name,
            action: action.unwrap_or(Action::HttpPost),
            filter,
            fields,
            collects,
            assumed,
            about: about?.0.to_owned(),
            example,
        })
    }

    fn filter(&mut self, part: &Part<'_>) -> Filterable {
        const A_PATH: &str = "a path that ends with a dot, such as `case.`";
        const EXPECTED: &str = "`true`, `false` or `{ prefix = \"case.\" }`";
        let Some(value) = part.table.get("filter") else { return Filterable::No };
        match value.get_ref() {
            DeValue::Boolean(true) => Filterable::Yes { prefix: None },
            DeValue::Boolean(false) => Filterable::No,
            DeValue::Table(table) => {
                let part = Part { table, at: value.span(), place: part.member("filter") };
                self.only(&part, "`prefix`", &["prefix"]);
                let prefix = self.needed(&part, "prefix", A_PATH).and_then(|(text, at)| {
                    let path =
                        text.strip_suffix('.').filter(|path| check("path", path, 128, Rule::Dotted).is_ok());
                    if path.is_none() {
                        let found = format!("\"{text}\"");
                        self.say(&at, part.member("prefix"), Why::Kind { expected: A_PATH, found });
                    }
                    path.map(|_| text.to_owned())
                });
                Filterable::Yes { prefix }
            }
            other => {
                let found = shown(other);
                self.say(&value.span(), part.member("filter"), Why::Kind { expected: EXPECTED, found });
                Filterable::No
            }
        }
    }

    fn texts(&mut self, part: &Part<'_>, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for value in self.list(part, key, MAX_LIST) {
            match value.get_ref().as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    let found = shown(value.get_ref());
                    self.say(&value.span(), part.member(key), Why::Kind { expected: "texts", found });
                }
            }
        }
        texts
    }

    /// Event types, or prefixes with `.*`.
    fn collects(&mut self, part: &Part<'_>) -> Vec<String> {
        let texts = self.texts(part, "collects");
        for text in &texts {
            let at = part.table.get("collects").map_or(part.at.clone(), Spanned::span);
            let name = text.strip_suffix(".*").unwrap_or(text).parse::<EventType>();
            self.named(&at, part.member("collects"), name);
        }
        texts
    }

    fn fields(&mut self, part: &Part<'_>) -> Vec<Field> {
        let mut fields: Vec<Field> = Vec::new();
        for (index, value) in self.list(part, "fields", MAX_LIST).iter().enumerate() {
            let place = part.member(&format!("fields[{index}]"));
            let Some(table) = value.get_ref().as_table() else {
                let found = shown(value.get_ref());
                self.say(&value.span(), place, Why::Kind { expected: "a table", found });
                continue;
            };
            let part = Part { table, at: value.span(), place };
            self.only(
                &part,
                "`name`, `kind`, `required` and `about`",
                &["name", "kind", "required", "about"],
            );
            let name = self.needed(&part, "name", "the member's name").and_then(|(text, at)| {
                let checked = check("field name", text, 64, Rule::Token).map(|()| text.to_owned());
                self.named(&at, part.member("name"), checked)
            });
            if !table.contains_key("kind") {
                self.say(
                    &part.at,
                    part.member("kind"),
                    Why::Missing("what the member takes, such as `bool`"),
                );
            }
            let kind = self.word(&part, "kind");
            let required = self.get(&part, "required", "`true` or `false`", DeValue::as_bool);
            let about = self.needed(&part, "about", "a text for people");
            let (Some(name), Some(kind), Some((about, _))) = (name, kind, about) else { continue };
            let (required, about) = (required.is_some_and(|(required, _)| required), about.to_owned());
            fields.push(Field { name, kind, required, about });
        }
        fields
    }
}

fn number(value: &DeValue<'_>) -> Option<u16> {
    let integer = value.as_integer()?;
    u16::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A value as a problem names it: short ones themselves, others by their kind.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("\"{text}\""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        other => other.type_str().to_owned(),
    }
}
