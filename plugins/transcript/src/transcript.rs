//! What a transcript says, before it has a format: a title, facts about the case, and entries. It must not know how these
//! are laid out.

use hookyard::{Event, Value};

use crate::case::Case;
use crate::media::Media;
use crate::{clean, moment, redact};

/// A transcript.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// `Transcript of claim NB-48213`.
    pub(crate) title: String,
    /// Label and value, each one line.
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) entries: Vec<Entry>,
    /// What the document was made from, one line.
    pub(crate) origin: String,
    /// When the event was received, as RFC 3339 in UTC.
    pub(crate) received: String,
}

/// A message as it is shown.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) side: Side,
    /// Who wrote it, one line.
    pub(crate) who: String,
    /// When, one line; empty when it is not known.
    pub(crate) when: String,
    pub(crate) body: Body,
    /// The language that it is probably written in, as BCP 47 has it.
    pub(crate) language: Option<String>,
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Customer,
    Operator,
    Automatic,
    Unknown,
}

/// What a message holds.
#[derive(Debug)]
pub(crate) enum Body {
    /// Lines of text.
    Text(String),
    /// A remark of this plugin in place of what cannot be shown, one line.
    Remark(String),
}

impl Transcript {
    /// The transcript of a case. `media` are the files that are sent with it.
    pub(crate) fn of(case: &Case, event: &Event, redacted: bool, media: &[Media]) -> Self {
        let payload = &case.payload;
        let get = |path: &[&str]| {
            let mut value = payload.get(*path.first()?)?;
            for step in &path[1..] {
                value = value.get(step)?;
            }
            scalar(value)
        };
        let kind = get(&["caseType"]).filter(|kind| matches!(kind.as_str(), "claim" | "policy"));
        let reference = get(&["referenceId"])
            .or_else(|| get(&["caseData", "claimNumber"]))
            .or_else(|| get(&["caseData", "policyNumber"]))
            .or_else(|| get(&["caseData", "reference"]))
            .or_else(|| get(&["caseData", "id"]));
        let head = if redacted { "Redacted transcript of" } else { "Transcript of" };
        let part = case.part.map_or_else(String::new, |(part, parts)| format!(", part {part} of {parts}"));
        let title = format!(
            "{head} {} {}{part}",
            kind.as_deref().unwrap_or("case"),
            reference.as_deref().unwrap_or("without a number")
        );

        let line = ["type", "subtype", "subType"]
            .iter()
            .filter_map(|step| get(&["caseData", "lineOfBusiness", step]));
        let line: Vec<String> = line.collect();
        let moment = |name: &str| get(&[name]).map(|text| moment::readable(&text));
        let mut facts = Vec::new();
        for (label, value) in [
            ("Brand", get(&["caseData", "brand"])),
            ("Line of business", (!line.is_empty()).then(|| line.join(", "))),
            ("Claim number", get(&["caseData", "claimNumber"])),
            ("Policy number", get(&["caseData", "policyNumber"])),
            ("Date of loss", get(&["caseData", "dateOfLoss"]).map(|text| moment::day(&text))),
            ("Customer", person(payload.get("customer"))),
            ("Business", get(&["businessName"])),
            ("Handled by", person(payload.get("primaryContact"))),
            ("State", get(&["state"])),
            ("Opened", moment("createTime")),
            ("Closed", moment("closedAt")),
            ("Case", get(&["caseData", "id"])),
            ("Messages", Some(case.messages().len().to_string())),
        ] {
            facts.extend(value.map(|value| (label, value)));
        }

        let customer = payload.get("customer").and_then(name);
        let language = get(&["languagePreference"]).filter(|tag| is_language(tag));
        let entry = |(index, message): (usize, &Value)| {
            let file = media.iter().find(|file| file.message == index);
            Entry::of(message, customer.as_deref(), language.as_deref(), file)
        };
        let received = event.received_rfc3339();
        Self {
            title,
            facts,
            entries: case.messages().iter().enumerate().map(entry).collect(),
            origin: format!(
                "Made from event {}, received {}. All times are in UTC unless they say otherwise.",
                clean::line(&event.id),
                moment::readable(&received)
            ),
            received,
        }
    }
}

impl Entry {
    fn of(message: &Value, customer: Option<&str>, language: Option<&str>, file: Option<&Media>) -> Self {
        let text = |member: &str| message.get(member).and_then(scalar);
        let ai = text("formatting").is_some_and(|how| how == "ai");
        let side = match text("channelSource").as_deref() {
            Some("mobile") => Side::Customer,
            Some("ai") => Side::Automatic,
            Some("marley") => Side::Operator,
            _ if ai => Side::Automatic,
            _ => Side::Unknown,
        };
        let role = match side {
            Side::Customer => "customer",
            Side::Operator => "operator",
            Side::Automatic => "automatic message",
            Side::Unknown => "sender not stated",
        };
        // Which operator wrote is only known where the message says so: cases change hands.
        let author = ["author", "sender"].iter().find_map(|member| name(message.get(member)?));
        let who = match author.as_deref().or(customer.filter(|_| side == Side::Customer)) {
            Some(name) => format!("{name} ({role})"),
            None => role[..1].to_uppercase() + &role[1..],
        };
        Self {
            side,
            who,
            when: text("createdAt").map_or_else(String::new, |text| moment::readable(&text)),
            body: Body::of(message, file),
            language: language.filter(|_| side == Side::Customer).map(str::to_owned),
        }
    }
}

impl Body {
    fn of(message: &Value, file: Option<&Media>) -> Self {
        let kind = message.get("type").and_then(scalar).unwrap_or_else(|| "text".to_owned());
        let id = message.get("id").and_then(scalar).map_or_else(String::new, |id| format!(" {id}"));
        let data = message.get("data");
        if data.is_none() && redact::is_marked(message) {
            return Self::Remark(if kind == "text" {
                redact::REDACTED.to_owned()
            } else {
                format!("[{kind}{id}: redacted]")
            });
        }
        // A link to media opens them for whoever holds it: it is never shown.
        let address = data.and_then(Value::as_str).is_some_and(|data| data.starts_with("https://"));
        if !matches!(kind.as_str(), "text" | "voice") && (address || file.is_some()) {
            return Self::Remark(match file {
                Some(file) => format!("[{kind}{id}: sent as {}]", file.name),
                None => format!("[{kind}{id}: not included]"),
            });
        }
        match data {
            Some(Value::String(text)) if !text.trim().is_empty() => Self::Text(clean::block(text)),
            Some(value @ (Value::Number(_) | Value::Bool(_) | Value::Object(_) | Value::Array(_))) => {
                Self::Text(clean::block(&value.to_string()))
            }
            _ => Self::Remark(format!("[{kind}{id}: empty]")),
        }
    }

    /// What is shown, whatever it is.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Remark(text) => text,
        }
    }
}

/// A text, number or truth value as one line; `None` for what is empty or has members.
fn scalar(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => clean::line(text),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A person's first and last name.
fn name(person: &Value) -> Option<String> {
    let names: Vec<String> = ["first", "last"].iter().filter_map(|part| scalar(person.get(part)?)).collect();
    (!names.is_empty()).then(|| names.join(" "))
}

/// A person with what reaches them.
fn person(person: Option<&Value>) -> Option<String> {
    let person = person?;
    let reach = ["mobile", "email"].iter().filter_map(|way| scalar(person.get(way)?));
    let all: Vec<String> = name(person).into_iter().chain(reach).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Whether a text has the form of a language tag.
fn is_language(tag: &str) -> bool {
    let good = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    tag.len() <= 35 && tag.split('-').all(good) && tag.starts_with(|c: char| c.is_ascii_alphabetic())
}
