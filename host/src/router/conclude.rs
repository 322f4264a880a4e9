//! Pure: what the result of a chain means for its routing. Here each kind of failure gets its consequence.

use std::time::Duration;

use crate::clock::Millis;
use crate::event::{DestinationName, SubscriptionId};
use crate::plugin::{self, Content, Fault, Outcome, Ran};
use crate::store::work::{Body, Message, NewRouting, RoutingState, UsedVersion, VerdictKind};

/// How often a chain is run before its event is parked, when the plugin says `temporary` or the host fails.
const TRIES_TEMPORARY: u32 = 8;
/// How often a chain is run before its event is parked, when it runs into its wall deadline.
const TRIES_DEADLINE: u32 = 2;
/// The waits before the second, third, ... run.
const WAITS_S: [u64; 7] = [1, 5, 30, 120, 600, 1_800, 3_600];

/// A routing, and what it sends.
pub(super) struct Conclusion {
    pub(super) routing: NewRouting,
    pub(super) sends: Vec<Send>,
}

/// One thing to send, before it has an id.
pub(super) struct Send {
    pub(super) destination: DestinationName,
    pub(super) message: Message,
    pub(super) body: Body,
    pub(super) not_before: Option<Millis>,
    pub(super) order_key: Option<String>,
}

fn routing(subscription: SubscriptionId, state: RoutingState, tries: u32) -> NewRouting {
    NewRouting {
        subscription,
        state,
        verdict: None,
        reason: None,
        versions: Vec::new(),
        tries,
        due: None,
        cost_us: 0,
        log: None,
        deliveries: Vec::new(),
    }
}

/// The filter did not match.
pub(super) fn filtered(subscription: SubscriptionId) -> NewRouting {
    NewRouting {
        reason: Some("the subscription's filter does not match".to_owned()),
        ..routing(subscription, RoutingState::Filtered, 0)
    }
}

/// The subscription was deleted or paused while its routing waited.
pub(super) fn gone(subscription: SubscriptionId, tries: u32) -> NewRouting {
    NewRouting {
        reason: Some("the subscription is not active any more".to_owned()),
        ..routing(subscription, RoutingState::Parked, tries)
    }
}

/// The chain cannot be run now.
pub(super) fn not_ready(subscription: SubscriptionId, why: String, tries: u32) -> NewRouting {
    NewRouting { reason: Some(why), ..routing(subscription, RoutingState::Held, tries) }
}

/// The result of a chain without plugins.
pub(super) fn untouched() -> Ran {
    Ran {
        result: Ok(Outcome::Forward(Content::Original)),
        versions: Vec::new(),
        cost: Duration::ZERO,
        log: Vec::new(),
        log_dropped: 0,
    }
}

/// What a chain's result means. `tries` is how often it had been run before; `destinations` is where `forward` goes.
pub(super) fn conclude(
    ran: Ran,
    subscription: &SubscriptionId,
    tries: u32,
    now: Millis,
    destinations: impl FnOnce() -> Vec<DestinationName>,
) -> Conclusion {
    let tries = tries + 1;
    let mut sends = Vec::new();
    let mut made = match ran.result {
        Ok(outcome) => {
            let mut made = routing(subscription.clone(), RoutingState::Routed, tries);
            match outcome {
                Outcome::Drop(reason) => {
                    made.verdict = Some(VerdictKind::Drop);
                    made.reason = Some(reason);
                }
                Outcome::Forward(content) => {
                    made.verdict = Some(VerdictKind::Forward);
                    let body = body(content);
                    sends.extend(destinations().into_iter().map(|destination| Send {
                        destination,
                        message: Message::forwarded(),
                        body: body.clone(),
                        not_before: None,
                        order_key: None,
                    }));
                    if sends.is_empty() {
                        made.reason = Some("the subscription has no destinations to forward to".to_owned());
                    }
                }
                Outcome::Deliver(deliveries) => {
                    made.verdict = Some(VerdictKind::Deliver);
                    sends.extend(deliveries.into_iter().map(send));
                }
            }
            made
        }
        Err(fault) => failed(&fault, subscription.clone(), tries, now),
    };
    made.versions =
        ran.versions.into_iter().map(|(plugin, version)| UsedVersion { plugin, version }).collect();
    made.cost_us = u64::try_from(ran.cost.as_micros()).unwrap_or(u64::MAX);
    made.log = plugin::log_json(&ran.log, ran.log_dropped);
    Conclusion { routing: made, sends }
}

fn failed(fault: &Fault, subscription: SubscriptionId, tries: u32, now: Millis) -> NewRouting {
    let again = |most: u32| {
        if tries >= most {
            return (RoutingState::Parked, None);
        }
        let wait = WAITS_S[(tries as usize - 1).min(WAITS_S.len() - 1)];
        (RoutingState::Later, Some(now.plus(Duration::from_secs(wait))))
    };
    let (state, due) = match fault {
        // The same event would fail again in the same way.
        Fault::Rejected { .. } | Fault::Trapped { .. } | Fault::LimitHit { .. } => (RoutingState::Parked, None),
        Fault::Temporary { .. } | Fault::Host { .. } => again(TRIES_TEMPORARY),
        // Perhaps the machine was slow, not the plugin.
        Fault::Deadline { .. } => again(TRIES_DEADLINE),
        Fault::BreakerOpen { .. } => (RoutingState::Held, None),
    };
    NewRouting { reason: Some(fault.to_string()), due, ..routing(subscription, state, tries) }
}

fn body(content: Content) -> Body {
    match content {
        Content::Original => Body::Original,
        Content::Bytes(bytes) => Body::Bytes(bytes),
        Content::Fetch(url) => Body::Fetch(url),
    }
}

fn send(delivery: plugin::Delivery) -> Send {
    let (destination, message, content) = match delivery.send {
        plugin::Message::Http { destination, method, path, headers, content_type, body } => {
            (destination, Message::Http { method: Some(method), path, headers, content_type }, body)
        }
        plugin::Message::Email { destination, to, cc, subject, .. } => {
            (destination, Message::Email { to, cc, subject }, Content::Original)
        }
        plugin::Message::Sftp { destination, path, content } => {
            (destination, Message::Sftp { path }, content)
        }
    };
    Send {
        destination,
        message,
        body: body(content),
        not_before: delivery.not_before,
        order_key: delivery.order_key,
    }
}
