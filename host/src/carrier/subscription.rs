//! Subscriptions: a carrier's standing orders.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PluginRef, ScheduleSpec, Webhook};
use crate::clock::Millis;
use crate::event::{CarrierId, DestinationName, SubscriptionId};

/// A subscription as its carrier describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionSpec {
    /// Event types: exact (`case.closed`), a prefix (`case.*`), or all (`*`). 1 to 64 of them.
    pub event_types: Vec<String>,
    /// A filter over payload and attributes, in the language of `host/src/matching`. At most 4 096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The chain of plugins, in order; at most 8. Without any, events go to the destinations as they are.
    #[serde(default)]
    pub plugins: Vec<PluginRef>,
    /// The destinations that its plugins may name, and where `forward` goes. At most 64.
    #[serde(default)]
    pub destinations: Vec<DestinationName>,
    /// What its plugins read with `settings`. At most 64 keys, 64 KiB in all.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// How its deliveries are sent and retried.
    #[serde(default)]
    pub policy: PolicySpec,
    /// What happens to events while a plugin of the chain is faulty.
    #[serde(default)]
    pub on_fault: OnFault,
    /// When its events are sent, as digests. Absent: each at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
    /// What `POST /webhooks/register` registered. Subscriptions that are made here have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    pub webhook: Option<Webhook>,
}

/// A part of a subscription that is larger than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has {size}: the limit `{limit}` is {max}")]
pub struct Excess {
    /// The member.
    pub field: &'static str,
    /// How much is there.
    pub size: usize,
    /// The limit's name.
    pub limit: &'static str,
    /// The limit.
    pub max: usize,
}

impl SubscriptionSpec {
    /// The first part that is larger than its limit.
    pub fn excess(&self) -> Option<Excess> {
        let settings: usize = self.settings.iter().map(|(key, value)| key.len() + value.len()).sum();
        let filter = self.filter.as_ref().map_or(0, |filter| filter.chars().count());
        [
            ("event_types", self.event_types.len(), "subscription_event_types", 64),
            ("filter", filter, "filter_characters", 4_096),
            ("plugins", self.plugins.len(), "subscription_plugins", 8),
            ("destinations", self.destinations.len(), "subscription_destinations", 64),
            ("settings", self.settings.len(), "settings", 64),
            ("settings", settings, "settings_bytes", 64 << 10),
        ]
        .into_iter()
        .find(|(_, size, _, max)| size > max)
        .map(|(field, size, limit, max)| Excess { field, size, limit, max })
    }
}

/// A policy by the name of its profile, with the fields that differ from it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySpec {
    /// `standard` (the default), `conversation` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Time for one attempt, answer included: 100 to 120 000 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The waits before the second, third, ... attempt, in milliseconds; at most 32, each at most 7 days. Empty means
    /// that nothing is retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<Vec<u64>>,
    /// Random spread of each wait, in percent: 0 to 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_percent: Option<u8>,
    /// Requests under way to one destination: 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Requests started to one destination per minute: 1 to 60 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
    /// Whether only `https` addresses are sent to, even where the operator allows others. `conversation` says true, the
    /// other profiles false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_only: Option<bool>,
}

/// What happens to events when a version has failed too often (its breaker is open).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFault {
    /// Keep the events and go on when a good version is active.
    #[default]
    Hold,
    /// Run the version that was active before.
    Previous,
    /// Go on without the plugin.
    Forward,
    /// Drop the events, with the reason in their routing.
    Drop,
}

/// Whether a subscription takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// Events are matched against it.
    Active,
    /// Its carrier paused it: events are not matched against it.
    Paused,
}

impl SubscriptionState {
    /// The word in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
        }
    }
}

/// A subscription as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Whose it is.
    pub carrier: CarrierId,
    /// Its id.
    pub id: SubscriptionId,
    /// What the carrier described, checked.
    pub spec: SubscriptionSpec,
    /// Whether it takes part.
    pub state: SubscriptionState,
    /// When it was made.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
}
