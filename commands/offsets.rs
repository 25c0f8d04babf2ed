//! The forms in which people name positions of a partition: `start`, `end`, `+N`, `-N`, `N`, `N:M`,
//! `@time`, `@-1h`. Pure: what `end` or a time means is asked of a broker later.

use std::time::Duration;

use rivvend::config::Value as _;

/// A position in a partition, as it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// The first record that is kept.
    Start,
    /// After the last record.
    End,
    /// This offset.
    At(i64),
    /// This many records after the first.
    AfterStart(i64),
    /// This many records before the end.
    BeforeEnd(i64),
    /// The first record with this time stamp or a later one.
    Time(Moment),
}

/// A point in time, as it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Milliseconds since 1970.
    At(i64),
    /// This long before now.
    Ago(Duration),
}

impl Moment {
    /// The moment in milliseconds since 1970, given the present one.
    pub(crate) fn resolve(self, now_ms: i64) -> i64 {
        match self {
            Moment::At(at) => at,
            Moment::Ago(ago) => {
                now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)).max(0)
            }
        }
    }
}

/// Where reading starts and, if that was said, where it stops (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first record.
    pub(crate) from: Position,
    /// The first record that is not read any more.
    pub(crate) to: Option<Position>,
}

const FORMS: &str = "is no offset: use start, end, N, +N (after the start), -N (before the end), \
    N:M (M excluded), @TIME, @-1h or @TIME:@TIME";

/// Reads a position.
pub(crate) fn position(text: &str) -> Result<Position, String> {
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<i64>().ok()).flatten().ok_or_else(|| FORMS.to_owned())
    };
    match text {
        "start" | "earliest" | "beginning" => Ok(Position::Start),
        "end" | "latest" => Ok(Position::End),
        _ => match text.as_bytes().first() {
            Some(b'@') => moment(&text[1..]).map(Position::Time),
            Some(b'+') => number(&text[1..]).map(Position::AfterStart),
            Some(b'-') => number(&text[1..]).map(Position::BeforeEnd),
            _ => number(text).map(Position::At),
        },
    }
}

/// Reads a position or two with a colon between them.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    // Times contain colons themselves, so between two of them the mark of the second counts.
    let split = match text.starts_with('@') {
        true => text.find(":@").map(|at| (&text[..at], &text[at + 1..])),
        false => text.split_once(':'),
    };
    let Some((from, to)) = split else {
        return Ok(Span { from: position(text)?, to: None });
    };
    let from = if from.is_empty() { Position::Start } else { position(from)? };
    let to = if to.is_empty() { None } else { Some(position(to)?) };
    match (from, to) {
        (Position::At(first), Some(Position::At(end))) if end < first => {
            Err(format!("ends before it starts: {end} is less than {first}"))
        }
        _ => Ok(Span { from, to }),
    }
}

/// Reads a time: milliseconds since 1970, a date with or without a time of day, or a duration
/// before now. Without a zone it is UTC.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Some(ago) = text.strip_prefix('-') {
        return Duration::read(ago).map(Moment::Ago).map_err(|wrong| format!("{ago:?} {wrong}"));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Moment::At).map_err(|_| "is too late a time".to_owned());
    }
    let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    });
    let wanted = "is no time: use milliseconds since 1970, 2026-01-31, 2026-01-31T18:00:00Z or -1h";
    instant.map(|at| Moment::At(at.as_millisecond())).ok_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_is_read() {
        use Position::{AfterStart, At, BeforeEnd, End, Start, Time};
        let hour = Duration::from_secs(3600);
        let forms = [
            ("start", Start, None),
            ("end", End, None),
            ("+5", AfterStart(5), None),
            ("-5", BeforeEnd(5), None),
            ("42", At(42), None),
            ("10:20", At(10), Some(At(20))),
            (":20", Start, Some(At(20))),
            ("7:end", At(7), Some(End)),
            ("-3:", BeforeEnd(3), None),
            ("@-1h", Time(Moment::Ago(hour)), None),
            ("@1700000000000", Time(Moment::At(1_700_000_000_000)), None),
            ("@1970-01-02", Time(Moment::At(86_400_000)), None),
            ("@1970-01-01T01:00:00Z", Time(Moment::At(3_600_000)), None),
            ("@1970-01-01T01:00", Time(Moment::At(3_600_000)), None),
            ("@0:@1970-01-01T01:00:00+01:00", Time(Moment::At(0)), Some(Time(Moment::At(0)))),
        ];
        for (text, from, to) in forms {
            assert_eq!(span(text), Ok(Span { from, to }), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in
            ["", "x", "1e3", "+", "-", "--1", "+-1", "20:10", "@", "@x", "@-x", "1.5", "0x1"]
        {
            let got = span(text);
            assert!(got.is_err(), "{text}: {got:?}");
        }
        assert!(span("99999999999999999999").is_err());
    }

    #[test]
    fn a_moment_before_now_never_lies_before_1970() {
        assert_eq!(Moment::Ago(Duration::from_secs(1)).resolve(5_000), 4_000);
        assert_eq!(Moment::Ago(Duration::from_secs(9)).resolve(5_000), 0);
        assert_eq!(Moment::At(7).resolve(5_000), 7);
    }
}
