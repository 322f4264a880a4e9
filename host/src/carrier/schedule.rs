//! When a scheduled subscription is due, and how its events are grouped.
//!
//! Plain data. It must not know the clock.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A schedule: at each tick the events since the last one that match become digests, one for each group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// When: `daily 02:30`, `weekly mon 02:30`, or five fields of cron (`30 2 * * 1-5`); at most 128 characters. A time that
    /// does not exist on a day when clocks go forward is due right after the gap; one that is twice, the first time only.
    /// With `*` for the hour in cron every real hour counts.
    pub every: String,
    /// The time zone of `every` by its IANA name, such as `America/New_York`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// A path into the payload (`caseData.id`, `lines[0].id`) or `attributes.NAME`, at most 256 characters; events with the
    /// same text, number or truth value there are one digest, those without any are one as well. Absent: all are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}
