//! Pure: what the result of a chain means for its routing. Here each kind of failure gets its consequence.

use std::time::Duration;

use bytes::BytesMut;
use serde_json::json;

use crate::clock::Millis;
use crate::event::{DestinationName, SubscriptionId};
use crate::plugin::{self, Content, Fault, Outcome, Ran};
use crate::store::work::{
    Attachment, AttachmentContent, Body, Message, NewRouting, RoutingState, UsedVersion, VerdictKind,
};

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
        by: None,
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
        Err(fault) => {
            let reason = match (&fault, &ran.by) {
                // It names its plugin itself.
                (Fault::BreakerOpen { .. }, _) | (_, None) => fault.to_string(),
                (_, Some((plugin, version))) => format!("plugin {plugin} version {version}: {fault}"),
            };
            failed(&fault, reason, subscription.clone(), tries, now)
        }
    };
    made.versions =
        ran.versions.into_iter().map(|(plugin, version)| UsedVersion { plugin, version }).collect();
    made.cost_us = u64::try_from(ran.cost.as_micros()).unwrap_or(u64::MAX);
    made.log = log_json(&ran.log, ran.log_dropped);
    Conclusion { routing: made, sends }
}

fn failed(
    fault: &Fault,
    reason: String,
    subscription: SubscriptionId,
    tries: u32,
    now: Millis,
) -> NewRouting {
    let again = |most: u32| {
        if tries >= most {
            return (RoutingState::Parked, None);
        }
        let wait = WAITS_S[(tries as usize - 1).min(WAITS_S.len() - 1)];
        (RoutingState::Later, Some(now.plus(Duration::from_secs(wait))))
    };
    let (state, due) = match fault {
        // The same event would fail again in the same way.
        Fault::Rejected(_) | Fault::Trapped { .. } | Fault::LimitHit { .. } => (RoutingState::Parked, None),
        Fault::Temporary(_) | Fault::Host(_) => again(TRIES_TEMPORARY),
        // Perhaps the machine was slow, not the plugin.
        Fault::Deadline { .. } => again(TRIES_DEADLINE),
        Fault::BreakerOpen { .. } => (RoutingState::Held, None),
    };
    NewRouting { reason: Some(reason), due, ..routing(subscription, state, tries) }
}

/// The log as it is kept: `[{"plugin","level","message"}, …]`, with a last entry that counts what was dropped.
fn log_json(lines: &[plugin::LogLine], dropped: u32) -> Option<String> {
    if lines.is_empty() && dropped == 0 {
        return None;
    }
    let mut all: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| {
            json!({ "plugin": line.plugin.to_string(), "level": line.level.as_str(), "message": line.message })
        })
        .collect();
    if dropped > 0 {
        all.push(
            json!({ "level": "warn", "message": format!("{dropped} lines above the limit were dropped") }),
        );
    }
    Some(serde_json::Value::Array(all).to_string())
}

fn body(content: Content) -> Body {
    match content {
        Content::Original => Body::Original,
        Content::Bytes(bytes) => Body::Bytes(bytes),
        Content::Fetch(url) => Body::Fetch(url),
    }
}

/// A mail's attachments as they are kept: their bytes one after the other in one body.
fn attachments(all: Vec<plugin::Attachment>) -> (Vec<Attachment>, Body) {
    let mut bytes = BytesMut::new();
    let mut has_bytes = false;
    let kept = all.into_iter().map(|one| {
        let content = match one.content {
            Content::Original => AttachmentContent::Original,
            Content::Bytes(part) => {
                has_bytes = true;
                bytes.extend_from_slice(&part);
                AttachmentContent::Bytes(part.len() as u64)
            }
            Content::Fetch(url) => AttachmentContent::Fetch(url),
        };
        Attachment { name: one.name, content_type: one.content_type, content }
    });
    let kept = kept.collect();
    (kept, if has_bytes { Body::Bytes(bytes.freeze()) } else { Body::Original })
}

fn send(delivery: plugin::Delivery) -> Send {
    let (destination, message, body) = match delivery.send {
        plugin::Message::Http(r) => (
            r.destination,
            Message::Http {
                method: Some(r.method),
                path: r.path,
                headers: r.headers,
                content_type: r.content_type,
            },
            body(r.body),
        ),
        plugin::Message::Email(m) => {
            let (attachments, body) = attachments(m.attachments);
            let plugin::Email { destination, to, cc, subject, text, html, .. } = m;
            (destination, Message::Email { to, cc, subject, text, html, attachments }, body)
        }
        plugin::Message::Sftp(f) => (f.destination, Message::Sftp { path: f.path }, body(f.content)),
    };
    Send { destination, message, body, not_before: delivery.not_before, order_key: delivery.order_key }
}
