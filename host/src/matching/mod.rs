#![doc = include_str!("README.md")]
//!
//! Pure: no I/O, no clock. It must not know the store, plugins or how anything is delivered.

mod carrier_language;
mod eval;
mod filter;
mod lexer;
mod parse;
mod types;

pub use eval::Subject;
pub use filter::{Filter, FilterError, Path};
pub use types::{TypePattern, TypePatternError};

use crate::carrier::SubscriptionSpec;

/// How many patterns a subscription may list.
pub const MAX_EVENT_TYPES: usize = 64;

/// What a subscription asks for, checked and ready to be matched.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The event types; one that fits is enough.
    pub types: Vec<TypePattern>,
    /// The filter over payload and attributes.
    pub filter: Option<Filter>,
}

/// Why a subscription's event types or filter were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// None, or too many.
    #[error("event_types: {count} entries, it takes 1 to {MAX_EVENT_TYPES}")]
    Count {
        /// How many were given.
        count: usize,
    },
    /// One of the patterns is wrong.
    #[error("event_types[{index}]: {error}")]
    Type {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        error: TypePatternError,
    },
    /// The filter is wrong.
    #[error("filter: {0}")]
    Filter(#[from] FilterError),
}

impl OrderError {
    /// The member of the subscription that is at fault.
    pub fn field(&self) -> String {
        match self {
            Self::Count { .. } => "event_types".to_owned(),
            Self::Type { index, .. } => format!("event_types[{index}]"),
            Self::Filter(_) => "filter".to_owned(),
        }
    }

    /// Where in a filter's text, in characters from 1.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::Filter(FilterError::Syntax { at, .. }) => Some(*at),
            _ => None,
        }
    }
}

impl Order {
    /// Checks the event types and the filter of a subscription.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn compile(spec: &SubscriptionSpec) -> Result<Self, OrderError> {
        let count = spec.event_types.len();
        if !(1..=MAX_EVENT_TYPES).contains(&count) {
            return Err(OrderError::Count { count });
        }
        let types = spec
            .event_types
            .iter()
            .enumerate()
            .map(|(index, text)| text.parse().map_err(|error| OrderError::Type { index, error }))
            .collect::<Result<_, _>>()?;
        let filter = spec.filter.as_deref().map(Filter::parse).transpose()?;
        Ok(Self { types, filter })
    }

    /// How this order meets an event.
    pub fn meets(&self, subject: &Subject<'_>) -> Match {
        if !self.types.iter().any(|t| t.matches(&subject.event().event_type)) {
            return Match::TypeDiffers;
        }
        match &self.filter {
            Some(filter) if !filter.matches(subject) => Match::Filtered,
            _ => Match::Matched,
        }
    }

    /// The conditions of the filter that do not hold, printed: of those that `&&` joins each by itself.
    pub fn unmet(&self, subject: &Subject<'_>) -> Vec<String> {
        self.filter.as_ref().map(|filter| filter.unmet(subject)).unwrap_or_default()
    }
}

/// How an event and a subscription meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Match {
    /// It is not about this type: no routing is written.
    TypeDiffers,
    /// The filter did not match.
    Filtered,
    /// The event goes on to the chain of plugins.
    Matched,
}

/// How an event meets each of `orders`, in their order. The payload is parsed once at most, and not at all where no
/// filter asks for it.
pub fn matches<'a>(subject: &Subject<'_>, orders: impl IntoIterator<Item = &'a Order>) -> Vec<Match> {
    orders.into_iter().map(|order| order.meets(subject)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;
    use crate::event::Event;

    pub(super) fn event(event_type: &str, attributes: &[(&str, &str)], payload: &str) -> Event {
        let mut attributes: Vec<_> =
            attributes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        attributes.sort();
        Event {
            carrier: "acme".parse().unwrap(),
            id: "e-1".parse().unwrap(),
            event_type: event_type.parse().unwrap(),
            received: Millis(0),
            attributes: attributes.into(),
            payload: bytes::Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    fn order(types: &[&str], filter: Option<&str>) -> Order {
        Order {
            types: types.iter().map(|t| t.parse().unwrap()).collect(),
            filter: filter.map(|f| Filter::parse(f).unwrap()),
        }
    }

    #[test]
    fn each_subscription_is_answered_in_its_place() {
        let event = event("case.closed", &[], r#"{"state":"open"}"#);
        let orders = [
            order(&["case.opened", "case.*"], None),
            order(&["message.*"], Some("state == \"open\"")),
            order(&["*"], Some("state == \"closed\"")),
            order(&["case.closed"], Some("state == \"open\"")),
        ];
        use Match::{Filtered, Matched, TypeDiffers};
        assert_eq!(matches(&Subject::new(&event), &orders), [Matched, TypeDiffers, Filtered, Matched]);
    }

    #[test]
    fn the_payload_is_parsed_only_when_a_filter_asks_and_then_once() {
        let event = event("case.closed", &[("source", "/cases")], r#"{"state":"open"}"#);
        let subject = Subject::new(&event);
        order(&["*"], None).meets(&subject);
        order(&["*"], Some("attributes.source == \"/cases\"")).meets(&subject);
        order(&["other"], Some("state == \"open\"")).meets(&subject);
        assert!(!subject.is_parsed());
        assert_eq!(order(&["*"], Some("state == \"open\"")).meets(&subject), Match::Matched);
        assert!(subject.is_parsed());
    }

    #[test]
    fn a_path_finds_what_is_one_value() {
        let payload = r#"{"case":{"id":"a\"b","n":7.0,"ok":true,"none":null,"list":[1]}}"#;
        let event = event("case.closed", &[("subject", "x")], payload);
        let at = |path: &str| Path::parse(path).unwrap().scalar(&Subject::new(&event));
        assert_eq!(at("case.id").as_deref(), Some(r#""a\"b""#));
        assert_eq!(at("case.n").as_deref(), Some("7.0"));
        assert_eq!(at("payload.case[\"ok\"]").as_deref(), Some("true"));
        assert_eq!(at("case.list[0]").as_deref(), Some("1"));
        assert_eq!(at("attributes.subject").as_deref(), Some("\"x\""));
        for nothing in ["case.none", "case.list", "case", "case.other", "attributes.other", "case.list[1]"] {
            assert_eq!(at(nothing), None, "{nothing}");
        }
        for wrong in ["", "a ==", "a b", "$.a", "a.", "attributes", "exists(a)"] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_filter_misses_is_named_condition_by_condition() {
        let event = event("case.closed", &[], r#"{"state":"open","n":1}"#);
        let unmet = |filter: &str| order(&["*"], Some(filter)).unmet(&Subject::new(&event));
        assert_eq!(unmet("state == \"open\" && n == 1"), [""; 0]);
        assert_eq!(
            unmet("state == \"closed\" && n == 1 && !exists(n)"),
            ["state == \"closed\"", "!exists(n)"]
        );
        assert_eq!(unmet("n == 2 || n == 3"), ["n == 2 || n == 3"]);
        assert_eq!(order(&["*"], None).unmet(&Subject::new(&event)), [""; 0]);
    }

    #[test]
    fn a_wrong_order_says_where() {
        let compile = |types: &[&str], filter: Option<&str>| {
            let spec = SubscriptionSpec {
                event_types: types.iter().map(|t| (*t).to_owned()).collect(),
                filter: filter.map(str::to_owned),
                plugins: Vec::new(),
                destinations: Vec::new(),
                settings: Default::default(),
                policy: Default::default(),
                on_fault: Default::default(),
                schedule: None,
                webhook: None,
            };
            Order::compile(&spec).map_err(|e| e.to_string())
        };
        assert_eq!(compile(&["case.*"], Some("a == 1")).unwrap(), order(&["case.*"], Some("a == 1")));
        assert_eq!(compile(&[], None).unwrap_err(), "event_types: 0 entries, it takes 1 to 64");
        let error = compile(&["a", "b.*.c"], None).unwrap_err();
        assert!(error.starts_with("event_types[1]: "), "{error}");
        let error = compile(&["a"], Some("a ==")).unwrap_err();
        assert!(error.starts_with("filter: at character 5: expected "), "{error}");
    }
}
