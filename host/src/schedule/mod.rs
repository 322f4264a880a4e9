//! Scheduled subscriptions: when they are due, how their events are grouped, and what a digest says.
//!
//! Pure: the time comes in as an argument, and time zones are those that the program was built with. It must not know the
//! store or how ticks are run.
//!
//! The words of [`ScheduleSpec::every`] are times on the clock of its time zone. Where clocks are changed, a time that does
//! not exist is due at the first moment after the gap, and one that is twice is due the first time only. Only where cron's
//! hour is `*` every real hour counts: nothing is due twice in the same hour, and no hour is left out.

mod digest;
mod every;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use digest::{Digest, Member, Packer, Parts, digest_event, entry_bytes};
pub use every::EveryError;

use crate::carrier::ScheduleSpec;
use crate::clock::Millis;
use crate::event::Event;
use crate::matching::{FilterError, Path, Subject};
use every::Every;
use sha2::{Digest as _, Sha256};

/// The type of the events that scheduled subscriptions' plugins get.
pub const DIGEST: &str = "hookyard.digest";

/// The group of events that have no value to be grouped by, as JSON.
pub const NO_GROUP: &str = "null";

/// The longest `every`, in characters.
const EVERY_CHARACTERS: usize = 128;
/// The longest `time_zone`, in characters.
const TIME_ZONE_CHARACTERS: usize = 64;
/// The longest `group_by`, in characters.
const GROUP_BY_CHARACTERS: usize = 256;
/// The longest value that a group is called by, in bytes of JSON. A longer one is called by its hash.
const GROUP_BYTES: usize = 512;

const HOUR_MS: i64 = 3_600_000;

/// A schedule, checked and ready to be asked.
#[derive(Debug, Clone)]
pub struct Schedule {
    every: Every,
    zone: TimeZone,
    group: Option<Path>,
}

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A text is too long.
    #[error("it has {length} characters: the limit `{limit}` is {max}")]
    Length {
        /// The member of the schedule.
        field: &'static str,
        /// Its characters.
        length: usize,
        /// The limit's name.
        limit: &'static str,
        /// The limit.
        max: usize,
    },
    /// When it is due cannot be understood, or is never.
    #[error(transparent)]
    Every(#[from] EveryError),
    /// There is no such time zone.
    #[error("there is no time zone `{0}`; it takes an IANA name, such as `Europe/Berlin` or `UTC`")]
    TimeZone(String),
    /// What to group by is no path.
    #[error("{0}; it takes a path into the payload, such as `caseData.id`, or `attributes.subject`")]
    GroupBy(FilterError),
}

impl ScheduleError {
    /// The member of the subscription that is at fault.
    pub fn field(&self) -> String {
        let field = match self {
            Self::Length { field, .. } => field,
            Self::Every(_) => "every",
            Self::TimeZone(_) => "time_zone",
            Self::GroupBy(_) => "group_by",
        };
        format!("schedule.{field}")
    }

    /// Where in the member's text, in characters from 1.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::GroupBy(FilterError::Syntax { at, .. }) => Some(*at),
            _ => None,
        }
    }

    /// The limit that was hit.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Length { limit, .. } => Some(limit),
            _ => None,
        }
    }
}

impl Schedule {
    /// Checks a schedule.
    ///
    /// # Errors
    /// The first member that does not hold.
    pub fn compile(spec: &ScheduleSpec) -> Result<Self, ScheduleError> {
        let within = |field, text: &str, limit, max| {
            let length = text.chars().count();
            if length > max { Err(ScheduleError::Length { field, length, limit, max }) } else { Ok(()) }
        };
        within("every", &spec.every, "schedule_every_characters", EVERY_CHARACTERS)?;
        within("time_zone", &spec.time_zone, "schedule_time_zone_characters", TIME_ZONE_CHARACTERS)?;
        let group_by = spec.group_by.as_deref();
        within("group_by", group_by.unwrap_or(""), "schedule_group_by_characters", GROUP_BY_CHARACTERS)?;
        let zone =
            TimeZone::get(&spec.time_zone).map_err(|_| ScheduleError::TimeZone(spec.time_zone.clone()))?;
        Ok(Self {
            every: Every::parse(&spec.every)?,
            zone,
            group: group_by.map(Path::parse).transpose().map_err(ScheduleError::GroupBy)?,
        })
    }

    /// The first tick after a moment; `None` when there is none before the calendar ends.
    pub fn next_after(&self, moment: Millis) -> Option<Millis> {
        let after = Timestamp::from_millisecond(moment.0).ok()?.to_zoned(self.zone.clone());
        self.every.next_after(&after).map(|tick| Millis(tick.timestamp().as_millisecond()))
    }

    /// The last tick after `after` and not after `now`: what was missed is one tick.
    pub fn latest(&self, after: Millis, now: Millis) -> Option<Millis> {
        // From near to far, so that few ticks are passed on the way.
        let mut window = HOUR_MS;
        loop {
            let start = Millis(now.0.saturating_sub(window)).max(after);
            let mut latest = self.next_after(start).filter(|tick| *tick <= now);
            while let Some(next) = latest.and_then(|tick| self.next_after(tick)).filter(|tick| *tick <= now) {
                latest = Some(next);
            }
            if latest.is_some() || start == after {
                return latest;
            }
            window = window.saturating_mul(8);
        }
    }

    /// The group of an event, as JSON. Without a text, number, truth value at the path: [`NO_GROUP`].
    pub fn group(&self, subject: &Subject<'_>) -> String {
        let Some(value) = self.group.as_ref().and_then(|path| path.scalar(subject)) else {
            return NO_GROUP.to_owned();
        };
        if value.len() <= GROUP_BYTES {
            return value;
        }
        let hash: String = Sha256::digest(&value).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"sha256:{hash}\"")
    }

    /// As [`Schedule::group`], for an event that nobody has parsed yet.
    pub fn group_of(&self, event: &Event) -> String {
        self.group(&Subject::new(event))
    }
}

#[cfg(test)]
mod tests;
