use std::sync::Arc;

use bytes::Bytes;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn spec(every: &str, zone: &str, group_by: Option<&str>) -> ScheduleSpec {
    ScheduleSpec {
        every: every.to_owned(),
        time_zone: zone.to_owned(),
        group_by: group_by.map(str::to_owned),
    }
}

fn schedule(every: &str, zone: &str) -> Schedule {
    Schedule::compile(&spec(every, zone, None)).unwrap()
}

fn at(text: &str) -> Millis {
    Millis(text.parse::<Timestamp>().unwrap().as_millisecond())
}

/// The first ticks after a moment, as the clock of the zone shows them.
fn ticks(every: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
    let (schedule, zone) = (schedule(every, zone), TimeZone::get(zone).unwrap());
    let next = |tick: &Millis| schedule.next_after(*tick);
    std::iter::successors(schedule.next_after(at(after)), next)
        .take(n)
        .map(|tick| {
            let tick = Timestamp::from_millisecond(tick.0).unwrap().to_zoned(zone.clone());
            tick.strftime("%m-%d %H:%M%:z").to_string()
        })
        .collect()
}

#[test]
fn the_three_forms_say_when() {
    let monday = "2026-11-23T00:00:00Z";
    assert_eq!(ticks("daily 02:30", "UTC", monday, 2), ["11-23 02:30+00:00", "11-24 02:30+00:00"]);
    assert_eq!(ticks("Weekly WED 23:59", "UTC", monday, 2), ["11-25 23:59+00:00", "12-02 23:59+00:00"]);
    assert_eq!(ticks("weekly sunday 00:00", "UTC", monday, 1), ["11-29 00:00+00:00"]);
    let hourly = ["11-23 00:20+00:00", "11-23 00:40+00:00", "11-23 01:00+00:00"];
    assert_eq!(ticks("*/20 * * * *", "UTC", monday, 3), hourly);
    assert_eq!(ticks("0 9 1 jan mon-fri", "UTC", monday, 1), ["01-01 09:00+00:00"]);
    assert_eq!(ticks("0 0 29 2 *", "UTC", monday, 1), ["02-29 00:00+00:00"]);
    // A tick is not due again at its own moment, and is due a millisecond before.
    let daily = schedule("daily 02:30", "America/New_York");
    let tick = at("2026-11-23T07:30:00Z");
    assert_eq!(daily.next_after(Millis(tick.0 - 1)), Some(tick));
    assert_eq!(daily.next_after(tick), Some(at("2026-11-24T07:30:00Z")));
}

#[test]
fn a_time_that_does_not_exist_is_due_after_the_gap() {
    let berlin = ["03-28 02:30+01:00", "03-29 03:00+02:00", "03-30 02:30+02:00"];
    assert_eq!(ticks("daily 02:30", "Europe/Berlin", "2026-03-27T12:00:00Z", 3), berlin);
    let new_york = ["03-07 02:30-05:00", "03-08 03:00-04:00", "03-09 02:30-04:00"];
    assert_eq!(ticks("daily 02:30", "America/New_York", "2026-03-07T02:00:00Z", 3), new_york);
    assert_eq!(ticks("weekly sun 02:00", "Europe/Berlin", "2026-03-27T12:00:00Z", 1), ["03-29 03:00+02:00"]);
    // Several times in one gap are one tick, even where it is a tick of its own.
    let few = ["03-29 01:45+01:00", "03-29 03:00+02:00", "03-29 03:15+02:00"];
    assert_eq!(ticks("*/15 1,2,3 * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 3), few);
    // A gap at midnight, half an hour, and a whole day that never was.
    assert_eq!(ticks("daily 00:10", "Africa/Cairo", "2026-04-23T12:00:00Z", 1), ["04-24 01:00+03:00"]);
    assert_eq!(ticks("daily 02:10", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", 1), ["10-04 02:30+11:00"]);
    let apia = ["12-29 08:00-10:00", "12-31 00:00+14:00", "12-31 08:00+14:00"];
    assert_eq!(ticks("daily 08:00", "Pacific/Apia", "2011-12-29T12:00:00Z", 3), apia);
}

#[test]
fn a_time_that_is_twice_is_due_once() {
    let berlin = ["10-24 02:30+02:00", "10-25 02:30+02:00", "10-26 02:30+01:00"];
    assert_eq!(ticks("daily 02:30", "Europe/Berlin", "2026-10-23T12:00:00Z", 3), berlin);
    let new_york = ["10-31 01:30-04:00", "11-01 01:30-04:00", "11-02 01:30-05:00"];
    assert_eq!(ticks("daily 01:30", "America/New_York", "2026-10-31T00:00:00Z", 3), new_york);
    // Also for who asks between the two.
    let between = ["10-26 02:30+01:00"];
    assert_eq!(ticks("daily 02:30", "Europe/Berlin", "2026-10-25T01:10:00Z", 1), between);
    let several = ["10-25 02:20+02:00", "10-25 02:40+02:00", "10-25 03:00+01:00"];
    assert_eq!(ticks("*/20 2,3 * * *", "Europe/Berlin", "2026-10-25T00:05:00Z", 3), several);
}

#[test]
fn every_real_hour_counts_where_the_hour_is_any() {
    let spring = ["03-29 01:30+01:00", "03-29 03:30+02:00", "03-29 04:30+02:00"];
    assert_eq!(ticks("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3), spring);
    let autumn = ["10-25 02:30+02:00", "10-25 02:30+01:00", "10-25 03:30+01:00"];
    assert_eq!(ticks("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3), autumn);
}

#[test]
fn ticks_that_were_missed_are_one() {
    let daily = schedule("daily 02:30", "Europe/Berlin");
    let (watermark, now) = (at("2026-03-20T01:30:00Z"), at("2026-03-30T12:00:00Z"));
    assert_eq!(daily.latest(watermark, now), Some(at("2026-03-30T00:30:00Z")));
    assert_eq!(daily.latest(at("2026-03-30T00:30:00Z"), now), None);
    assert_eq!(
        daily.latest(at("2026-03-30T00:29:59Z"), at("2026-03-30T00:30:00Z")),
        Some(at("2026-03-30T00:30:00Z"))
    );
    assert_eq!(daily.latest(now, watermark), None, "a clock that was put back");
    let minutely = schedule("* * * * *", "UTC");
    assert_eq!(minutely.latest(at("2016-01-01T00:00:00Z"), now), Some(now));
    let leap = schedule("0 0 29 2 *", "UTC");
    assert_eq!(leap.latest(at("2016-01-01T00:00:00Z"), now), Some(at("2024-02-29T00:00:00Z")));
}

#[test]
fn a_wrong_schedule_says_what_to_change() {
    let refused = |every: &str, zone: &str, group_by: Option<&str>| {
        let error = Schedule::compile(&spec(every, zone, group_by)).unwrap_err();
        format!("{}: {error}", error.field())
    };
    for (every, wrong) in [
        ("", "it has 0 words"),
        ("hourly", "it has 1 words"),
        ("daily", "`daily` is not complete"),
        ("daily 2:30", "`2:30` is no time from 00:00 to 23:59"),
        ("daily 24:00", "`24:00` is no time"),
        ("daily +1:30", "`+1:30` is no time"),
        ("weekly mon", "`weekly mon` is not complete"),
        ("weekly moonday 02:30", "`moonday` is no day"),
        ("* * * *", "it has 4 words"),
        ("0 30 2 * * *", "it has 6 words"),
        ("61 2 * * *", "it takes `daily HH:MM`"),
        ("@daily", "it has 1 words"),
        ("0 0 30 2 *", "there is no such day: it would never be due"),
    ] {
        let error = refused(every, "UTC", None);
        assert!(error.starts_with("schedule.every: ") && error.contains(wrong), "{every}: {error}");
    }
    assert!(
        refused("daily 02:30", "Mars/Olympus", None).starts_with("schedule.time_zone: there is no time zone")
    );
    assert!(refused("daily 02:30", "+02:00", None).starts_with("schedule.time_zone: "));
    let error = Schedule::compile(&spec("daily 02:30", "UTC", Some("a..b"))).unwrap_err();
    assert_eq!((error.field().as_str(), error.position()), ("schedule.group_by", Some(3)));
    let error = Schedule::compile(&spec(&" ".repeat(129), "UTC", None)).unwrap_err();
    assert_eq!(
        (error.limit(), error.field().as_str()),
        (Some("schedule_every_characters"), "schedule.every")
    );
    assert!(error.to_string().contains("the limit `schedule_every_characters` is 128"), "{error}");
}

fn event(id: &str, payload: &str) -> Member {
    Arc::new(Event {
        carrier: "acme".parse().unwrap(),
        id: id.parse().unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: at("2026-11-22T00:00:00Z"),
        attributes: [("source".to_owned(), "/\"x\"".to_owned())].into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    })
}

#[test]
fn a_group_is_the_value_at_the_path() {
    let by = Schedule::compile(&spec("daily 02:30", "UTC", Some("case.id"))).unwrap();
    let group = |payload: &str| by.group_of(&event("e", payload));
    assert_eq!(group(r#"{"case":{"id":"C-1"}}"#), r#""C-1""#);
    assert_eq!(group(r#"{"case":{"id":7}}"#), "7", "a number is another group than its text");
    for without in ["{}", r#"{"case":{"id":null}}"#, r#"{"case":{"id":{}}}"#, "[]", "7"] {
        assert_eq!(group(without), NO_GROUP, "{without}");
    }
    let long =
        |end: char| group(&json!({ "case": { "id": format!("{}{end}", "x".repeat(600)) } }).to_string());
    assert!(long('a').starts_with("\"sha256:") && long('a').len() == 73, "{}", long('a'));
    assert_ne!(long('a'), long('b'));
    assert_eq!(schedule("daily 02:30", "UTC").group_of(&event("e", "{}")), NO_GROUP);
}

#[test]
fn a_digest_holds_its_events_as_they_came() {
    let members = [event("e-1", r#"{ "n": 1.50 }"#), event("e-2", "[1]")];
    let (carrier, subscription) = ("acme".parse().unwrap(), "daily".parse().unwrap());
    let digest = Digest {
        carrier: &carrier,
        subscription: &subscription,
        from: Millis(1),
        to: Millis(2),
        group: "\"C-1\"",
        parts: Parts { part: 2, parts: 3 },
    };
    let made = digest_event(&digest, &members, Millis(5)).unwrap();
    assert_eq!((made.event_type.as_str(), made.received), (DIGEST, Millis(5)));
    assert_eq!(made.attribute("subject"), Some("daily"));
    let text = std::str::from_utf8(&made.payload).unwrap();
    assert!(text.contains(r#""payload":{ "n": 1.50 }"#), "{text}");
    let payload: Value = serde_json::from_str(text).unwrap();
    let entry = json!({ "id": "e-2", "type": "case.closed", "received_ms": members[1].received.0,
        "attributes": { "source": "/\"x\"" }, "payload": [1] });
    assert_eq!(payload["events"][1], entry);
    let frame = (&payload["subscription"], &payload["from_ms"], &payload["to_ms"], &payload["group"]);
    assert_eq!(frame, (&json!("daily"), &json!(1), &json!(2), &json!("C-1")));
    assert_eq!((&payload["part"], &payload["parts"]), (&json!(2), &json!(3)));
    // The same again has the same id; what begins with another event has not.
    assert_eq!(digest_event(&digest, &members[..1], Millis(9)).unwrap().id, made.id);
    assert_ne!(digest_event(&digest, &members[1..], Millis(5)).unwrap().id, made.id);
    let counted: u64 = members.iter().map(|member| entry_bytes(member)).sum();
    let empty = digest_event(&digest, &[], Millis(5)).unwrap().payload.len();
    let taken = (made.payload.len() - empty) as u64;
    assert!((taken..taken + 20).contains(&counted), "{counted} for {taken}");
}

fn parts(sizes: &[u64]) -> u32 {
    let mut packer = Packer::default();
    for size in sizes {
        packer.add(*size);
    }
    packer.parts()
}

#[test]
fn digests_are_filled_up_to_their_limits() {
    assert_eq!(parts(&[1; 1_000]), 1);
    assert_eq!(parts(&[1; 1_001]), 2);
    assert_eq!(parts(&[256 << 10; 4]), 2);
    assert_eq!(parts(&[1 << 20, 1, 1 << 20]), 3, "what is too large has one to itself");
    assert_eq!(Packer::first([1; 2_000]), 1_000);
    assert_eq!(Packer::first([1 << 20, 1]), 1);
    assert_eq!(Packer::first([]), 0);
}

/// Forms with every kind of field, in zones with every kind of change.
fn any_schedule() -> impl Strategy<Value = Schedule> {
    let minute =
        prop_oneof![(0..60u8).prop_map(|m| m.to_string()), Just("*/15".to_owned()), Just("0,59".to_owned())];
    let hour = prop_oneof![
        (0..24u8).prop_map(|h| h.to_string()),
        Just("*".to_owned()),
        Just("*/2".to_owned()),
        Just("1-3".to_owned())
    ];
    let day = prop_oneof![Just("* * *"), Just("* * sun"), Just("1 * *"), Just("L * *"), Just("* 3,10,11 *")];
    let zone = prop_oneof![
        Just("Europe/Berlin"),
        Just("America/New_York"),
        Just("Africa/Cairo"),
        Just("Australia/Lord_Howe"),
        Just("America/St_Johns"),
        Just("Asia/Kathmandu"),
        Just("UTC"),
    ];
    (minute, hour, day, zone).prop_map(|(m, h, d, zone)| schedule(&format!("{m} {h} {d}"), zone))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn ticks_go_on_strictly_and_exist(
        schedule in any_schedule(),
        // From 2020 to 2035.
        start in 1_577_836_800_000i64..2_051_222_400_000,
    ) {
        let mut last = Millis(start);
        for _ in 0..40 {
            let tick = schedule.next_after(last).unwrap();
            prop_assert!(tick > last);
            // On the clock it is a whole minute: the end of a gap is one, too.
            let shown = Timestamp::from_millisecond(tick.0).unwrap().to_zoned(schedule.zone.clone());
            prop_assert_eq!((shown.second(), shown.millisecond()), (0, 0));
            // Nothing lies between: whoever asks from anywhere in between is told the same.
            for part in 1..4 {
                let between = Millis(last.0 + (tick.0 - last.0) * part / 4);
                if between < tick {
                    prop_assert_eq!(schedule.next_after(between), Some(tick));
                }
            }
            prop_assert_eq!(schedule.latest(last, tick), Some(tick));
            prop_assert_eq!(schedule.latest(last, Millis(tick.0 - 1)), None);
            last = tick;
        }
        prop_assert_eq!(schedule.latest(Millis(start), last), Some(last));
    }

    #[test]
    fn no_time_on_the_clock_is_due_twice_where_hours_are_given(
        hour in 0..24u8, minute in 0..60u8, year in 2020..2035i16,
    ) {
        for zone in ["Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe"] {
            let schedule = schedule(&format!("daily {hour:02}:{minute:02}"), zone);
            let start = jiff::civil::date(year, 1, 1).to_zoned(schedule.zone.clone()).unwrap();
            let end = start.checked_add(1.year()).unwrap().timestamp().as_millisecond();
            let (mut last, mut days) = (Millis(start.timestamp().as_millisecond() - 1), std::collections::BTreeSet::new());
            while let Some(tick) = schedule.next_after(last).filter(|tick| tick.0 < end) {
                let shown = Timestamp::from_millisecond(tick.0).unwrap().to_zoned(schedule.zone.clone());
                prop_assert!(days.insert(shown.date()), "{zone}: {} is due twice", shown.date());
                last = tick;
            }
            prop_assert_eq!(days.len(), usize::from(start.date().days_in_year() as u16), "{}", zone);
        }
    }

    #[test]
    fn more_events_never_take_fewer_digests(
        sizes in prop::collection::vec(1u64..700_000, 1..60), extra in 1u64..700_000, place in 0usize..60,
    ) {
        let mut more = sizes.clone();
        more.insert(place.min(sizes.len()), extra);
        prop_assert!(parts(&more) >= parts(&sizes));
    }
}
