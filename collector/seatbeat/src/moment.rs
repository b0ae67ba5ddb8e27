//! Instants and spans of time as people write them. Invariant: no clock is read here; a span becomes an instant by
//! the collector's clock.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::record_line::parse_instant;

/// Longest span: beyond ten years it is a typing error.
const SPAN_DAYS_MAX: i64 = 3653;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// An instant, or a span from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A point in time.
    At(Timestamp),
    /// So long from now.
    After(SignedDuration),
}

impl Moment {
    /// The instant, as of `now`.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(instant) => instant,
            Self::After(span) => now.checked_add(span).unwrap_or(Timestamp::MAX),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(span) = span(text) {
            return span.map(Self::After);
        }
        instant(text).map(Self::At).map_err(|_| {
            format!("`{text}` is neither a span of time (`30d`, `12h`, `45m`) nor an instant (`2026-12-31T18:00:00Z`)")
        })
    }
}

/// An instant in RFC 3339, any offset.
///
/// # Errors
/// What is wrong with the text.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    parse_instant(text)
}

/// An instant as people read it: to the second, in UTC.
pub fn shown(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// None when the text has not the shape of a span.
fn span(text: &str) -> Option<Result<SignedDuration, String>> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => SECONDS_PER_DAY,
        'w' => SECONDS_PER_DAY * 7,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let total = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(seconds));
    Some(match total {
        Some(0) => Err(format!("`{text}` is no time at all")),
        Some(total) if total <= SPAN_DAYS_MAX * SECONDS_PER_DAY => Ok(SignedDuration::from_secs(total)),
        _ => Err(format!("`{text}` is more than ten years")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, now: &str, expected: &str) {
        let moment: Moment = text.parse().unwrap();
        assert_eq!(moment.from(now.parse().unwrap()).to_string(), expected, "{text}");
    }

    #[test]
    fn a_span_counts_from_now() {
        let now = "2026-11-01T12:00:00Z";
        check("30d", now, "2026-12-01T12:00:00Z");
        check("12h", now, "2026-11-02T00:00:00Z");
        check("90s", now, "2026-11-01T12:01:30Z");
        check("45m", now, "2026-11-01T12:45:00Z");
        check("2w", now, "2026-11-15T12:00:00Z");
    }

    #[test]
    fn an_instant_stands_whatever_the_clock() {
        check("2026-12-31T19:00:00+01:00", "2026-11-01T12:00:00Z", "2026-12-31T18:00:00Z");
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        let refused = |text: &str| text.parse::<Moment>().unwrap_err();
        assert!(refused("soon").contains("neither a span of time"));
        assert!(refused("2026-12-31").contains("neither a span of time"));
        assert!(refused("-3d").contains("neither a span of time"));
        assert!(refused("").contains("neither a span of time"));
        assert_eq!(refused("0d"), "`0d` is no time at all");
        assert_eq!(refused("99999999999999999999d"), "`99999999999999999999d` is more than ten years");
        assert_eq!(refused("5000d"), "`5000d` is more than ten years");
    }

    #[test]
    fn instants_are_shown_to_the_second() {
        assert_eq!(shown("2026-11-01T12:00:00.123Z".parse().unwrap()), "2026-11-01 12:00:00Z");
    }
}
