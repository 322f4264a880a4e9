//! Which deliveries a request means: the query of a search, and the body of a change to many.
//!
//! Pure. It must not know what is done with them.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::extract::page_request;
use super::problem::{Code, Problem};
use crate::clock::Millis;
use crate::event::{DestinationName, EventId, EventType, SubscriptionId};
use crate::retry::OUTCOME_KINDS;
use crate::store::page::{DeliveryFilter, Order, PageRequest};
use crate::store::work::DeliveryState;

/// Deliveries that one request changes at most.
const CHANGE_MAX: u32 = 10_000;

/// A choice among deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliverySearch {
    /// Only of this event.
    event: Option<EventId>,
    /// Only of this subscription.
    subscription: Option<SubscriptionId>,
    /// Only to this destination.
    destination: Option<DestinationName>,
    /// Only of events of this type.
    event_type: Option<EventType>,
    /// Only in these states: one, or several separated by commas (`dead,failed`).
    state: Option<String>,
    /// Only where the last answer had this status.
    status: Option<u16>,
    /// Only where the last answer had a status of this class: `2xx` to `5xx`.
    #[param(inline)]
    status_class: Option<StatusClass>,
    /// Only where the last attempt came to this: `delivered`, `status`, `gone`, `timeout`, `dns`, `connect`, `tls`,
    /// `broken`, `blocked_address`, `unavailable` or `token` (none could be fetched).
    outcome: Option<String>,
    /// Whose event was accepted at or after, in Unix milliseconds.
    #[param(value_type = Option<i64>)]
    from_ms: Option<Millis>,
    /// Whose event was accepted before, in Unix milliseconds.
    #[param(value_type = Option<i64>)]
    until_ms: Option<Millis>,
    /// Which last changed (as a rule: whose last attempt ended) at or after, in Unix milliseconds.
    #[param(value_type = Option<i64>)]
    updated_from_ms: Option<Millis>,
    /// Which last changed before, in Unix milliseconds.
    #[param(value_type = Option<i64>)]
    updated_until_ms: Option<Millis>,
    /// Which come first, by the time of their event: `newest` (when absent) or `oldest`.
    #[param(inline)]
    order: Option<OrderWord>,
    /// How many at most: 1 to 500, 50 when absent.
    limit: Option<u32>,
    /// What the page before gave as `next`.
    after: Option<String>,
}

/// A class of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
pub(super) enum StatusClass {
    /// 200 to 299.
    #[serde(rename = "2xx")]
    Success,
    /// 300 to 399.
    #[serde(rename = "3xx")]
    Redirection,
    /// 400 to 499.
    #[serde(rename = "4xx")]
    ClientError,
    /// 500 to 599.
    #[serde(rename = "5xx")]
    ServerError,
}

/// Which come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OrderWord {
    /// Those of the newest events.
    Newest,
    /// Those of the oldest events.
    Oldest,
}

impl DeliverySearch {
    pub(super) fn read(self) -> Result<(DeliveryFilter, PageRequest), Problem> {
        let filter = DeliveryFilter {
            event: self.event,
            subscription: self.subscription,
            destination: self.destination,
            event_type: self.event_type,
            states: self.state.as_deref().map(states).transpose()?.unwrap_or_default(),
            statuses: statuses(self.status, self.status_class, Code::InvalidParameter)?,
            outcome: outcome(self.outcome, Code::InvalidParameter)?,
            from: self.from_ms,
            until: self.until_ms,
            updated_from: self.updated_from_ms,
            updated_until: self.updated_until_ms,
            order: match self.order {
                None | Some(OrderWord::Newest) => Order::Newest,
                Some(OrderWord::Oldest) => Order::Oldest,
            },
        };
        Ok((filter, page_request(self.limit, self.after)?))
    }
}

/// Which deliveries to change. What is absent does not narrow the choice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Many {
    /// Only of this event.
    event: Option<EventId>,
    /// Only of this subscription.
    subscription: Option<SubscriptionId>,
    /// Only to this destination.
    destination: Option<DestinationName>,
    /// Only of events of this type.
    event_type: Option<EventType>,
    /// Only in these states; in every state in which it can be done when absent.
    #[serde(default)]
    states: Vec<DeliveryState>,
    /// Only where the last answer had this status.
    status: Option<u16>,
    /// Only where the last answer had a status of this class: `2xx` to `5xx`.
    #[schema(inline)]
    status_class: Option<StatusClass>,
    /// Only where the last attempt came to this: `timeout`, `dns`, … as in the search.
    outcome: Option<String>,
    /// Whose event was accepted at or after, in Unix milliseconds.
    #[schema(value_type = Option<i64>)]
    from_ms: Option<Millis>,
    /// Whose event was accepted before, in Unix milliseconds.
    #[schema(value_type = Option<i64>)]
    until_ms: Option<Millis>,
    /// Which last changed at or after, in Unix milliseconds.
    #[schema(value_type = Option<i64>)]
    updated_from_ms: Option<Millis>,
    /// Which last changed before, in Unix milliseconds.
    #[schema(value_type = Option<i64>)]
    updated_until_ms: Option<Millis>,
    /// How many at most, oldest first: 1 to 10 000, 1 000 when absent.
    limit: Option<u32>,
    /// What the answer before gave as `next`.
    after: Option<String>,
}

impl Many {
    /// `possible`: the states in which the change can be done, and `what` it is called.
    pub(super) fn read(
        self,
        possible: &[DeliveryState],
        what: &str,
    ) -> Result<(DeliveryFilter, PageRequest), Problem> {
        let limit = self.limit.unwrap_or(1_000);
        if !(1..=CHANGE_MAX).contains(&limit) {
            return Err(Problem::invalid("limit", "it takes 1 to 10 000"));
        }
        if let Some(at) = self.states.iter().position(|state| !possible.contains(state)) {
            let words: Vec<_> = possible.iter().map(|state| format!("`{}`", state.as_str())).collect();
            let why = format!("only {} are {what} in bulk", words.join(" and "));
            return Err(Problem::invalid(format!("states[{at}]"), why));
        }
        // Checks the cursor's size.
        let after = page_request(None, self.after)?.after;
        let filter = DeliveryFilter {
            event: self.event,
            subscription: self.subscription,
            destination: self.destination,
            event_type: self.event_type,
            states: if self.states.is_empty() { possible.to_vec() } else { self.states },
            statuses: statuses(self.status, self.status_class, Code::InvalidBody)?,
            outcome: outcome(self.outcome, Code::InvalidBody)?,
            from: self.from_ms,
            until: self.until_ms,
            updated_from: self.updated_from_ms,
            updated_until: self.updated_until_ms,
            order: Order::Oldest,
        };
        Ok((filter, PageRequest { limit, after }))
    }
}

fn states(list: &str) -> Result<Vec<DeliveryState>, Problem> {
    let state = |word: &str| {
        let word = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(word);
        DeliveryState::deserialize(word)
            .map_err(|error| Problem::new(Code::InvalidParameter, format!("`state`: {error}")).field("state"))
    };
    list.split(',').map(|word| state(word.trim())).collect()
}

fn statuses(
    status: Option<u16>,
    class: Option<StatusClass>,
    code: Code,
) -> Result<Option<(u16, u16)>, Problem> {
    let class = class.map(|class| match class {
        StatusClass::Success => 200,
        StatusClass::Redirection => 300,
        StatusClass::ClientError => 400,
        StatusClass::ServerError => 500,
    });
    match (status, class) {
        (Some(_), Some(_)) => {
            let detail = "`status_class`: give it or `status`, not both";
            Err(Problem::new(code, detail).field("status_class"))
        }
        (Some(status), None) => Ok(Some((status, status))),
        (None, class) => Ok(class.map(|first| (first, first + 99))),
    }
}

fn outcome(word: Option<String>, code: Code) -> Result<Option<&'static str>, Problem> {
    let Some(word) = word else { return Ok(None) };
    let known = OUTCOME_KINDS.into_iter().find(|kind| *kind == word);
    known.map(Some).ok_or_else(|| {
        let kinds = OUTCOME_KINDS.map(|kind| format!("`{kind}`")).join(", ");
        Problem::new(code, format!("`outcome`: it takes one of {kinds}")).field("outcome")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeliveryState::{Cancelled, Dead, Failed, Held, Pending};

    #[test]
    fn states_are_read_from_a_list() {
        assert_eq!(states("dead, failed").unwrap(), [Dead, Failed]);
        let problem = states("dead,gone").unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), ("invalid_parameter", Some("state")));
        assert!(problem.detail.contains("unknown variant `gone`"), "{}", problem.detail);
    }

    #[test]
    fn statuses_are_one_or_a_class() {
        let read = |status, class| statuses(status, class, Code::InvalidParameter);
        assert_eq!(read(None, None).unwrap(), None);
        assert_eq!(read(Some(503), None).unwrap(), Some((503, 503)));
        assert_eq!(read(None, Some(StatusClass::ClientError)).unwrap(), Some((400, 499)));
        let both = read(Some(503), Some(StatusClass::ServerError)).unwrap_err();
        assert_eq!(both.field.as_deref(), Some("status_class"));
    }

    #[test]
    fn an_unknown_outcome_is_told_which_there_are() {
        let problem = outcome(Some("slow".to_owned()), Code::InvalidBody).unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), ("invalid_body", Some("outcome")));
        assert!(problem.detail.contains("`timeout`, `dns`"), "{}", problem.detail);
        assert_eq!(outcome(Some("tls".to_owned()), Code::InvalidBody).unwrap(), Some("tls"));
    }

    #[test]
    fn a_change_to_many_touches_only_what_it_can_change() {
        let read = |text: &str, possible: &[DeliveryState]| {
            serde_json::from_str::<Many>(text).unwrap().read(possible, "changed")
        };
        let (filter, page) = read("{}", &[Dead, Failed]).unwrap();
        assert_eq!((filter.states, page.limit, page.after), (vec![Dead, Failed], 1_000, None));
        let (filter, _) = read(r#"{"states":["held"],"outcome":"timeout"}"#, &[Pending, Held]).unwrap();
        assert_eq!((filter.states, filter.outcome), (vec![Held], Some("timeout")));
        let problem = read(r#"{"states":["dead","delivered"]}"#, &[Dead, Failed]).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("states[1]"));
        assert!(
            problem.detail.contains("only `dead` and `failed` are changed in bulk"),
            "{}",
            problem.detail
        );
        assert_eq!(read(r#"{"limit":0}"#, &[Cancelled]).unwrap_err().code, "invalid_body");
        assert_eq!(read(r#"{"limit":10001}"#, &[Cancelled]).unwrap_err().field.as_deref(), Some("limit"));
    }
}
