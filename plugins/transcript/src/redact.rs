//! The redacted copy: without what the platform marked as redacted, and without what tells who the customer is. It must
//! not know in which format the copy is shown.

use std::collections::BTreeSet;

use hookyard::Value;

/// What stands where something was left out of a text.
pub(crate) const REDACTED: &str = "[redacted]";

/// What stays of a message that is marked: nothing that could hold what it said.
const KEPT: [&str; 6] = ["id", "type", "channel", "channelSource", "createdAt", "isRedacted"];

/// Members whose values the platform chose, or that name things: they are no texts about anybody.
const NAMES: [&str; 15] = [
    "brand",
    "caseType",
    "channel",
    "channelSource",
    "createdAt",
    "creationSource",
    "id",
    "languagePreference",
    "optStatusDetail",
    "privacy",
    "role",
    "state",
    "subType",
    "subtype",
    "type",
];

/// The shortest text about the customer, in characters, that is looked for in other texts.
const SHORTEST: usize = 2;

/// Whether the platform marked a message as redacted.
pub(crate) fn is_marked(message: &Value) -> bool {
    message.get("isRedacted").and_then(Value::as_bool) == Some(true)
}

/// Makes a case's payload the redacted one.
pub(crate) fn redact(payload: &mut Value) {
    let mut words = BTreeSet::new();
    strip("", payload, &mut words);
    // The longest first, so that no rest of a longer one stays.
    let mut words: Vec<String> = words.into_iter().collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    if !words.is_empty() {
        replace("", payload, &words);
    }
}

/// Takes personal members and what marked messages say out of `value`, which is the member `name` of something; the
/// texts that tell who the customer is are collected.
fn strip(name: &str, value: &mut Value, words: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| strip(name, item, words)),
        Value::Object(_) if matches!(name, "messages" | "message") && is_marked(value) => {
            if let Value::Object(members) = value {
                members.retain(|member, _| KEPT.contains(&member.as_str()));
            }
        }
        Value::Object(members) => {
            let customer = name == "customer" || members.get("role").is_some_and(|role| role == "enduser");
            members.retain(|member, value| {
                let personal = match member.as_str() {
                    "first" | "last" => customer,
                    "email" | "mobile" | "businessName" => true,
                    _ => false,
                };
                let tells = personal && (customer || member == "businessName");
                if let Some(word) = value.as_str().map(str::trim).filter(|_| tells)
                    && word.chars().count() >= SHORTEST
                {
                    words.insert(word.to_owned());
                }
                !personal
            });
            members.iter_mut().for_each(|(member, value)| strip(member, value, words));
        }
        _ => {}
    }
}

/// Replaces the words in every text below `value`.
fn replace(name: &str, value: &mut Value, words: &[String]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(name, item, words)),
        Value::Object(members) => {
            members.iter_mut().for_each(|(member, value)| replace(member, value, words));
        }
        Value::String(text) if !NAMES.contains(&name) => {
            if let Some(masked) = mask(text, words) {
                *text = masked;
            }
        }
        _ => {}
    }
}

/// The text with every whole word of `words` replaced, whichever case it is written in; `None` when there is none.
fn mask(text: &str, words: &[String]) -> Option<String> {
    let mut masked: Option<String> = None;
    let (mut at, mut copied) = (0, 0);
    let mut before = None;
    while let Some(c) = text[at..].chars().next() {
        let found = if before.is_some_and(is_word) {
            None
        } else {
            words.iter().find_map(|word| {
                let len = begins_with(&text[at..], word)?;
                let after = text[at + len..].chars().next();
                (!after.is_some_and(is_word)).then_some(len)
            })
        };
        match found {
            Some(len) => {
                let masked = masked.get_or_insert_default();
                masked.push_str(&text[copied..at]);
                masked.push_str(REDACTED);
                before = Some(']');
                at += len;
                copied = at;
            }
            None => {
                before = Some(c);
                at += c.len_utf8();
            }
        }
    }
    masked.map(|mut masked| {
        masked.push_str(&text[copied..]);
        masked
    })
}

/// Whether a character next to a word would make it another word. The scripts of East Asia have no spaces.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() && c < '\u{2E80}'
}

/// How many bytes of the text the word takes at its beginning, without regard to case.
fn begins_with(text: &str, word: &str) -> Option<usize> {
    let mut rest = text.chars();
    for wanted in word.chars() {
        let c = rest.next()?;
        if c != wanted && !c.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
    }
    Some(text.len() - rest.as_str().len())
}

#[cfg(test)]
mod tests {
    use hookyard::json;

    use super::*;

    #[test]
    fn whole_words_are_replaced_in_any_case_and_parts_of_words_are_not() {
        let words = [
            "tilda.marsh@example.org".to_owned(),
            "+15550100142".to_owned(),
            "Tilda".to_owned(),
            "Al".to_owned(),
        ];
        for (text, masked) in [
            ("Hi TILDA, al's car", Some("Hi [redacted], [redacted]'s car")),
            ("Also, Tildas", None),
            ("Tilda.Marsh@example.org/+15550100142", Some("[redacted]/[redacted]")),
            ("给Tilda的", Some("给[redacted]的")),
            ("", None),
        ] {
            assert_eq!(mask(text, &words).as_deref(), masked, "{text}");
        }
        assert_eq!(
            mask("ΑΛΈΞΗΣ ήρθε", &["Αλέξης".to_owned()]).as_deref(),
            None,
            "a final sigma is another letter"
        );
    }

    #[test]
    fn nothing_of_the_customer_and_of_marked_messages_stays() {
        let mut payload = json!({
            "businessName": "Marsh Joinery",
            "caseData": {"id": "tilda", "brand": "Marsh"},
            "customer": {"id": "u", "first": "Tilda", "last": "Marsh", "email": "t@example.org", "mobile": "+1555", "role": "enduser"},
            "primaryContact": {"first": "Amir", "last": "Costa", "email": "a@example.org", "role": "operator"},
            "messages": [
                {"id": "1", "type": "text", "data": "Hi Tilda of MARSH JOINERY"},
                {"id": "2", "type": "image", "data": "https://media.example/1", "isRedacted": true, "thumbnail": "https://x"},
            ],
        });
        redact(&mut payload);
        let expected = json!({
            "caseData": {"id": "tilda", "brand": "Marsh"},
            "customer": {"id": "u", "role": "enduser"},
            "primaryContact": {"first": "Amir", "last": "Costa", "role": "operator"},
            "messages": [
                {"id": "1", "type": "text", "data": "Hi [redacted] of [redacted]"},
                {"id": "2", "type": "image", "isRedacted": true},
            ],
        });
        assert_eq!(payload, expected);
    }
}
