//! The platform's moments (RFC 3339), for readers and for putting messages in order. It must not know whose they are.

/// A moment in its parts: `2026-04-20`, `08:00:12`, `250` and `Z`.
struct Parts<'a> {
    date: &'a str,
    time: &'a str,
    fraction: &'a str,
    zone: &'a str,
}

/// `None` when the text is no moment of RFC 3339; the seconds may be missing.
fn parts(text: &str) -> Option<Parts<'_>> {
    let shaped = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape.bytes())
                .all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { b == s })
    };
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let at = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.')?;
    let (clock, zone) = rest.split_at(at);
    let (time, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let good = shaped(date, "0000-00-00")
        && (shaped(time, "00:00:00") || shaped(time, "00:00"))
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && (matches!(zone, "Z" | "z") || shaped(zone, "+00:00") || shaped(zone, "-00:00"));
    good.then_some(Parts { date, time, fraction, zone })
}

/// `2026-04-20 08:00:12 UTC`, or with the offset that the moment has; a text that is no moment as it is.
pub(crate) fn readable(text: &str) -> String {
    match parts(text) {
        Some(Parts { date, time, zone: "Z" | "z", .. }) => format!("{date} {time} UTC"),
        Some(Parts { date, time, zone, .. }) => format!("{date} {time} {zone}"),
        None => text.to_owned(),
    }
}

/// The day alone where the moment is a midnight of UTC, which is how the platform writes a day.
pub(crate) fn day(text: &str) -> String {
    match parts(text) {
        Some(Parts { date, time: "00:00:00" | "00:00", zone: "Z" | "z", .. }) => date.to_owned(),
        _ => readable(text),
    }
}

/// What moments in UTC are ordered by; `None` for another text.
pub(crate) fn order(text: &str) -> Option<String> {
    let Parts { date, time, fraction, zone: "Z" | "z" } = parts(text)? else { return None };
    Some(format!("{date} {time:0<8} {fraction:0<9}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_with_their_zone_and_other_texts_as_they_are() {
        for (text, shown) in [
            ("2026-04-20T08:00:12.250Z", "2026-04-20 08:00:12 UTC"),
            ("2026-04-20T08:00Z", "2026-04-20 08:00 UTC"),
            ("2026-04-20T08:00:12+02:00", "2026-04-20 08:00:12 +02:00"),
            ("2026-04-20", "2026-04-20"),
            ("2026-04-20T08:00:12", "2026-04-20T08:00:12"),
            ("yesterday, at ten or so", "yesterday, at ten or so"),
            ("", ""),
            ("20è6-04-20T08:00:12Z", "20è6-04-20T08:00:12Z"),
        ] {
            assert_eq!(readable(text), shown);
        }
        assert_eq!(day("2026-04-18T00:00:00.000Z"), "2026-04-18");
        assert_eq!(day("2026-04-18T06:00:00.000Z"), "2026-04-18 06:00:00 UTC");
    }

    #[test]
    fn moments_in_utc_are_ordered_whatever_their_precision() {
        let texts = [
            "2026-04-20T08:00Z",
            "2026-04-20T08:00:12Z",
            "2026-04-20T08:00:12.5Z",
            "2026-04-20T08:00:12.51Z",
        ];
        let keys: Vec<_> = texts.iter().map(|text| order(text).unwrap()).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(order("2026-04-20T08:00:12+02:00"), None);
    }
}
