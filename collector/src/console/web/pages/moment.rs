//! Instants as pages show and take them. Invariant: to the second, in UTC, as the command line shows them; no clock is
//! read here.

use std::borrow::Borrow;

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::record_line::parse_instant;
use seatbeat_proto::instant;

use crate::console::fault::Fault;

/// An instant as people read it.
pub fn shown(instant: impl Borrow<Timestamp>) -> String {
    instant.borrow().strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The same from milliseconds; empty for what is no instant, and for 0.
pub fn shown_ms(at_ms: impl Borrow<i64>) -> String {
    match *at_ms.borrow() {
        0 => String::new(),
        at_ms => instant::from_ms(at_ms).map(shown).unwrap_or_default(),
    }
}

/// The same, where there may be none.
pub fn shown_or(instant: Option<Timestamp>, none: &str) -> String {
    instant.map_or_else(|| none.to_owned(), shown)
}

/// So many days from an instant on.
pub fn days_after(instant: Timestamp, days: u32) -> Timestamp {
    instant.checked_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX)
}

/// The instant of a field (RFC 3339, or as it is shown here); an empty one is none.
///
/// # Errors
/// When it is none.
pub fn read(field: &'static str, text: &str) -> Result<Option<Timestamp>, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    // Days and hours are apart by a space where people read them.
    let parsed = parse_instant(&text.replacen(' ', "T", 1));
    parsed.map(Some).map_err(|_| Fault::value(field, "is not an instant as `2026-10-31 18:00:00Z`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back() {
        let instant: Timestamp = "2026-11-01T12:00:07Z".parse().unwrap();
        assert_eq!(shown(instant), "2026-11-01 12:00:07Z");
        assert_eq!(read("`at`", &shown(instant)).unwrap(), Some(instant));
        assert_eq!(read("`at`", " ").unwrap(), None);
        assert!(read("`at`", "soon").unwrap_err().words().contains("`at` is not an instant"));
        assert_eq!(shown_or(None, "never"), "never");
        assert_eq!(shown_ms(instant.as_millisecond()), shown(instant));
        assert_eq!((shown_ms(0), shown_ms(i64::MAX)), (String::new(), String::new()));
    }
}
