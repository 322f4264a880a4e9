//! `daily`, `weekly` and cron, and their ticks on the clock of a time zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;
use jiff::{ToSpan, Zoned};

/// What a schedule's `every` says.
#[derive(Debug, Clone)]
pub(super) struct Every {
    cron: Cron,
    /// Whether the hour is `*`: then real hours are counted, not those on the clock.
    each_hour: bool,
}

/// Why a schedule's `every` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EveryError {
    /// It is none of the three forms.
    #[error(
        "{0}; it takes `daily HH:MM`, `weekly DAY HH:MM` with a day from `mon` to `sun`, or five fields of cron \
         (minute, hour, day of the month, month, day of the week)"
    )]
    Form(String),
    /// It is well-formed, and no day is such a day.
    #[error("there is no such day: it would never be due")]
    Never,
}

const DAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];

impl Every {
    pub(super) fn parse(text: &str) -> Result<Self, EveryError> {
        let lower = text.to_ascii_lowercase();
        let words: Vec<&str> = lower.split_ascii_whitespace().collect();
        let (fields, each_hour) = match words.as_slice() {
            ["daily", time] => {
                let (hour, minute) = clock(time)?;
                (format!("{minute} {hour} * * *"), false)
            }
            ["weekly", day, time] => {
                let known = DAYS.iter().find(|(short, long)| day == short || day == long);
                let (day, _) = known.ok_or_else(|| EveryError::Form(format!("`{day}` is no day")))?;
                let (hour, minute) = clock(time)?;
                (format!("{minute} {hour} * * {day}"), false)
            }
            ["daily" | "weekly", ..] => return Err(EveryError::Form(format!("`{text}` is not complete"))),
            [_, hour, _, _, _] => (words.join(" "), matches!(*hour, "*" | "?")),
            _ => return Err(EveryError::Form(format!("it has {} words", words.len()))),
        };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&fields).map_err(|why| EveryError::Form(why.to_string()))?;
        let every = Self { cron, each_hour };
        // From any day on will do: what is due once is due again.
        let some_day = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
        every.next_on_clock(some_day).map(|_| every).ok_or(EveryError::Never)
    }

    /// The first tick after a moment, in its time zone.
    pub(super) fn next_after(&self, after: &Zoned) -> Option<Zoned> {
        if self.each_hour {
            return self.cron.find_next_occurrence(after, false).ok();
        }
        let mut clock = after.datetime();
        loop {
            clock = self.next_on_clock(clock)?;
            // What the clock shows for the second time comes out at its first, which has passed.
            let tick = moment(after, clock)?;
            if tick.timestamp() > after.timestamp() {
                return Some(tick);
            }
        }
    }

    fn next_on_clock(&self, after: DateTime) -> Option<DateTime> {
        self.cron.find_next_occurrence(&after, false).ok()
    }
}

/// Hour and minute of `HH:MM`.
fn clock(text: &str) -> Result<(u8, u8), EveryError> {
    let two = |part: &str, max| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u8>().ok().filter(|n| digits && *n <= max)
    };
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((two(hour, 23)?, two(minute, 59)?)));
    parts.ok_or_else(|| EveryError::Form(format!("`{text}` is no time from 00:00 to 23:59")))
}

/// The moment at which a time zone's clock shows this: the first one where there are two, the end of the gap where there
/// is none.
fn moment(zone: &Zoned, clock: DateTime) -> Option<Zoned> {
    let zone = zone.time_zone();
    let moment = zone.to_ambiguous_zoned(clock);
    if !matches!(moment.offset(), AmbiguousOffset::Gap { .. }) {
        return moment.earlier().ok();
    }
    // The next change of the clocks after a moment that is surely before the gap, and not long before.
    let before = moment.earlier().ok()?.timestamp().checked_sub(48.hours()).ok()?;
    let change = zone.following(before).find(|change| {
        let after = change.timestamp().to_zoned(zone.clone()).datetime();
        after > clock
    })?;
    Some(change.timestamp().to_zoned(zone.clone()))
}
