//! Whether a filter holds for an event.

use std::cell::OnceCell;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::filter::{Expr, Filter, Literal, Op, Operand, Path, Step};
use crate::event::Event;

/// An event to be matched. Its payload is parsed when the first filter asks for it, and only once.
#[derive(Debug)]
pub struct Subject<'a> {
    event: &'a Event,
    payload: OnceCell<Value>,
}

impl<'a> Subject<'a> {
    /// The event, with nothing parsed yet.
    pub fn new(event: &'a Event) -> Self {
        Self { event, payload: OnceCell::new() }
    }

    /// The event.
    pub fn event(&self) -> &'a Event {
        self.event
    }

    #[cfg(test)]
    pub(super) fn is_parsed(&self) -> bool {
        self.payload.get().is_some()
    }

    fn payload(&self) -> &Value {
        // Ingest has checked the JSON. A payload that is none all the same has no fields.
        self.payload.get_or_init(|| serde_json::from_slice(&self.event.payload).unwrap_or(Value::Null))
    }

    /// What an operand names; `None` when there is no such thing.
    fn find(&self, operand: &Operand, fold_case: bool) -> Option<Found<'_>> {
        let steps = match operand {
            Operand::Attribute(name) => return self.event.attribute(name).map(Found::Text),
            Operand::Payload(steps) => steps,
        };
        let mut value = self.payload();
        for step in steps {
            value = match (step, value) {
                (Step::Index(i), Value::Array(list)) => list.get(*i)?,
                (Step::Key(key), Value::Object(map)) => match map.get(key) {
                    Some(value) => value,
                    None if fold_case => map.iter().find(|(k, _)| k.eq_ignore_ascii_case(key))?.1,
                    None => return None,
                },
                _ => return None,
            };
        }
        Some(found(value))
    }
}

#[derive(Clone, Copy)]
enum Found<'a> {
    Null,
    Bool(bool),
    Number(&'a Number),
    Text(&'a str),
    List(&'a [Value]),
    Object,
}

impl Path {
    /// The text, number or truth value at this path, as JSON; nothing where there is something else, or nothing.
    pub fn scalar(&self, subject: &Subject<'_>) -> Option<String> {
        match subject.find(&self.0, false)? {
            Found::Text(text) => serde_json::to_string(text).ok(),
            Found::Number(number) => Some(number.to_string()),
            Found::Bool(value) => Some(value.to_string()),
            Found::Null | Found::List(_) | Found::Object => None,
        }
    }
}

impl Filter {
    /// Whether the event is wanted.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        holds(&self.0, subject)
    }

    /// The conditions that do not hold, printed: of those that `&&` joins each by itself.
    pub fn unmet(&self, subject: &Subject<'_>) -> Vec<String> {
        let parts = match &self.0 {
            Expr::And(parts) => parts,
            one => std::slice::from_ref(one),
        };
        parts.iter().filter(|part| !holds(part, subject)).map(ToString::to_string).collect()
    }
}

fn holds(expr: &Expr, subject: &Subject<'_>) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(|part| holds(part, subject)),
        Expr::Or(parts) => parts.iter().any(|part| holds(part, subject)),
        Expr::Not(inner) => !holds(inner, subject),
        Expr::Exists(what) => !matches!(subject.find(what, false), None | Some(Found::Null)),
        Expr::Compare(what, op, value) => compare(subject.find(what, false), *op, value),
        Expr::In(what, list) => {
            subject.find(what, false).is_some_and(|found| list.iter().any(|value| equal(found, value)))
        }
        Expr::Prefix(what, text) => {
            matches!(subject.find(what, false), Some(Found::Text(t)) if t.starts_with(&**text))
        }
        Expr::Contains(what, value) => match (subject.find(what, false), value) {
            (Some(Found::Text(text)), Literal::Text(part)) => text.contains(&**part),
            (Some(Found::List(list)), value) => list.iter().any(|item| equal(found(item), value)),
            _ => false,
        },
        Expr::Is(what, text) => match subject.find(what, true) {
            Some(Found::Text(t)) => t == text,
            Some(Found::Bool(b)) => text == if b { "true" } else { "false" },
            Some(Found::Number(n)) => n.to_string() == *text,
            Some(Found::Null | Found::List(_) | Found::Object) | None => false,
        },
    }
}

fn found(value: &Value) -> Found<'_> {
    match value {
        Value::Null => Found::Null,
        Value::Bool(b) => Found::Bool(*b),
        Value::Number(n) => Found::Number(n),
        Value::String(text) => Found::Text(text),
        Value::Array(list) => Found::List(list),
        Value::Object(_) => Found::Object,
    }
}

fn compare(found: Option<Found<'_>>, op: Op, value: &Literal) -> bool {
    let order = || match (found, value) {
        (Some(Found::Text(a)), Literal::Text(b)) => Some(a.cmp(b)),
        (Some(Found::Number(a)), Literal::Number(b)) => number_order(a, b),
        _ => None,
    };
    match op {
        Op::Eq => found.is_some_and(|found| equal(found, value)),
        Op::Ne => !found.is_some_and(|found| equal(found, value)),
        Op::Lt => order().is_some_and(Ordering::is_lt),
        Op::Le => order().is_some_and(Ordering::is_le),
        Op::Gt => order().is_some_and(Ordering::is_gt),
        Op::Ge => order().is_some_and(Ordering::is_ge),
    }
}

fn equal(found: Found<'_>, value: &Literal) -> bool {
    match (found, value) {
        (Found::Null, Literal::Null) => true,
        (Found::Bool(a), Literal::Bool(b)) => a == *b,
        (Found::Number(a), Literal::Number(b)) => number_order(a, b).is_some_and(Ordering::is_eq),
        (Found::Text(a), Literal::Text(b)) => a == b,
        _ => false,
    }
}

/// By value: 1 and 1.0 are the same. Whole numbers are compared exactly, at any size that JSON text can give them here.
fn number_order(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;

    const CASE: &str = r#"{"state":"open","caseData":{"brand":"Acme Mutual"},"a":{"b":12},"closedAt":null,
        "tags":["vip",7,null],"n":9007199254740993,"x-y":{"é":1},"payload":1,"paid":true,"items":[{"id":"i1"}]}"#;

    #[test]
    fn each_operator_means_what_the_table_says() {
        let event = event("case.closed", &[("source", "/cases/1"), ("x", "y"), ("event-id", "5")], CASE);
        let subject = Subject::new(&event);
        let cases = [
            (
                r#"state == "open" && caseData.brand in ["Acme Mutual", "Other"] && !exists(closedAt)
                && attributes.source prefix "/cases" && (a.b > 10 || attributes["x"] == "z")"#,
                true,
            ),
            ("a.b == 12.0", true),
            ("a.b != 12", false),
            ("a.b >= 12 && a.b <= 12 && a.b < 12.5 && a.b > -1", true),
            ("a.b > \"1\"", false),
            ("state < \"p\" && state > \"o\"", true),
            ("n == 9007199254740993", true),
            ("n == 9007199254740992", false),
            ("n == 9007199254740992.0", true),
            ("missing == 1", false),
            ("missing != 1", true),
            ("missing < 1 || missing >= 1", false),
            ("closedAt == null", true),
            ("missing == null", false),
            ("exists(payload.closedAt)", false),
            ("exists(a)", true),
            ("exists(attributes.source) && !exists(attributes.nope)", true),
            ("attributes.event-id == \"5\"", true),
            ("attributes.event-id == 5", false),
            ("tags contains \"vip\" && tags contains 7 && tags contains null", true),
            ("tags contains \"v\"", false),
            ("caseData.brand contains \"Mut\"", true),
            ("caseData.brand contains 1", false),
            ("tags[0] == \"vip\"", true),
            ("tags[3] == \"vip\"", false),
            ("items[0].id prefix \"i\"", true),
            ("x-y[\"é\"] == 1", true),
            ("payload.payload == 1", true),
            ("paid == true && paid != false && paid is \"true\"", true),
            ("CASEDATA.Brand is \"Acme Mutual\"", true),
            ("CASEDATA.Brand == \"Acme Mutual\"", false),
            ("a == 12", false),
            ("a.b in [1, 12]", true),
            ("missing in [null]", false),
            ("!(state == \"open\" || a.b == 1)", false),
        ];
        for (text, expected) in cases {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter.matches(&subject), expected, "{text}");
        }
    }

    #[test]
    fn not_is_exact() {
        let event = event("case.closed", &[], CASE);
        let subject = Subject::new(&event);
        for text in ["missing == 1", "a.b < 3", "closedAt prefix \"x\"", "state != \"open\""] {
            let negated = Filter::parse(&format!("!({text})")).unwrap();
            assert_ne!(Filter::parse(text).unwrap().matches(&subject), negated.matches(&subject), "{text}");
        }
    }
}
