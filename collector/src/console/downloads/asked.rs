//! What a download is asked with. Invariant: pure; a parameter that the table does not have, has twice, or cannot take
//! is a fault that names it.

use std::str::FromStr;

use jiff::civil::Date;
use seatbeat_ledger::calendar::Period;
use seatbeat_proto::ids::{CustomerId, ProductId};

use super::{CURSOR_LENGTH_MAX, Download, LIMIT_MAX, POSITION_MAX, Parameter, SEARCH_LENGTH_MAX, Takes};
use crate::console::fault::Fault;
use crate::console::machines::Cursor;

/// Bytes of a name of something.
pub const NAME_LENGTH_MAX: usize = 72;

/// Parameters that were checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Of which month, where it is one of a month.
    pub period: Option<Period>,
    values: Vec<(&'static Parameter, String)>,
}

impl Asked {
    /// The parameters of a request.
    ///
    /// # Errors
    /// When one of them is not there, was given twice, or is none.
    pub fn read(
        table: &Download,
        period: Option<Period>,
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Fault> {
        let mut values: Vec<(&'static Parameter, String)> = Vec::new();
        for (name, value) in pairs {
            let Some(parameter) = table.parameters.iter().find(|one| one.name == name) else {
                return Err(unknown(table, &name));
            };
            if values.iter().any(|(known, _)| known.name == name) {
                return Err(Fault::value(parameter.quoted, "is there twice"));
            }
            check(parameter, &value)?;
            values.push((parameter, value));
        }
        Ok(Self { period, values })
    }

    /// The value of a parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known.name == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter as what it was checked to be.
    pub fn value<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// Which customer it is narrowed to.
    pub fn customer(&self) -> Option<CustomerId> {
        self.value("customer")
    }

    /// Whether one page is asked for, and not all.
    pub fn is_page(&self) -> bool {
        self.values
            .iter()
            .any(|(known, _)| matches!(known.takes, Takes::Limit | Takes::Cursor | Takes::Position))
    }

    /// The parameters for the page that begins elsewhere, in their order.
    pub fn turned<'a>(&'a self, cursor: &'a Parameter, to: &'a str) -> Vec<(&'a str, &'a str)> {
        let kept = self.values.iter().filter(|(known, _)| known.name != cursor.name);
        kept.map(|(known, value)| (known.name, value.as_str())).chain([(cursor.name, to)]).collect()
    }
}

fn unknown(table: &Download, name: &str) -> Fault {
    let known: Vec<&str> = table.parameters.iter().map(|one| one.quoted).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let name: String = name.chars().take(NAME_LENGTH_MAX).collect();
    Fault::value("a parameter", format!("`{name}` is not known here: there are {known}"))
}

fn check(parameter: &Parameter, value: &str) -> Result<(), Fault> {
    let why = match parameter.takes {
        Takes::Customer => value.parse::<CustomerId>().err().map(|error| format!("is no customer: {error}")),
        Takes::Product => value.parse::<ProductId>().err().map(|error| format!("is no product: {error}")),
        Takes::OneOf(words) => (!words.contains(&value)).then(|| format!("is none of {}", words.join(", "))),
        Takes::Name => {
            let fits =
                (1..=NAME_LENGTH_MAX).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
            (!fits).then(|| format!("is not a name of 1 to {NAME_LENGTH_MAX} characters without a space"))
        }
        Takes::Text => {
            let fits = (1..=SEARCH_LENGTH_MAX).contains(&value.chars().count())
                && !value.chars().any(char::is_control);
            (!fits).then(|| format!("is not a line of 1 to {SEARCH_LENGTH_MAX} characters"))
        }
        Takes::Day => day(value).is_none().then(|| "is not a day as `2026-10-31`".to_owned()),
        Takes::Flag => {
            (!matches!(value, "true" | "false")).then(|| "is neither `true` nor `false`".to_owned())
        }
        Takes::Limit => {
            let fits = number(value).is_some_and(|limit| (1..=LIMIT_MAX as u64).contains(&limit));
            (!fits).then(|| format!("is not a number from 1 to {LIMIT_MAX}"))
        }
        Takes::Cursor => {
            let fits = value.len() <= CURSOR_LENGTH_MAX && value.parse::<Cursor>().is_ok();
            (!fits).then(|| "is not what the page before says".to_owned())
        }
        Takes::Position => {
            let fits = number(value).is_some_and(|position| position <= POSITION_MAX);
            (!fits).then(|| "is not a position of the journal".to_owned())
        }
    };
    why.map_or(Ok(()), |why| Err(Fault::value(parameter.quoted, why)))
}

/// A number of decimal digits alone.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A day of a year from 1 on, in exactly the form that is documented.
pub fn day(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    let is_form = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
    is_form.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::downloads::TABLES;

    fn asked(table: &str, pairs: &[(&str, &str)]) -> Result<Asked, String> {
        let table = TABLES.iter().find(|one| one.name == table).unwrap();
        let pairs = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Asked::read(table, None, pairs).map_err(|fault| fault.words())
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (pair, words) in [
            (("colour", "red"), "a parameter `colour` is not known here"),
            (("customer", ""), "`customer` is no customer"),
            (("customer", "mch_a"), "`customer` is no customer"),
            (("limit", "0"), "`limit` is not a number from 1 to 1000"),
            (("limit", "+5"), "`limit` is not"),
            (("limit", "1001"), "`limit` is not"),
            (("after", ""), "`after` is not"),
        ] {
            let fault = asked("machines", &[pair]).unwrap_err();
            assert!(fault.starts_with(words), "{fault}");
        }
        let twice = asked("machines", &[("limit", "1"), ("limit", "2")]).unwrap_err();
        assert_eq!(twice, "`limit` is there twice");
        assert!(asked("orders", &[("state", "lost")]).unwrap_err().contains("`state` is none of ordered, "));
        assert!(asked("statement-lines", &[("draft", "yes")]).unwrap_err().contains("`draft` is neither"));
    }

    #[test]
    fn the_next_page_is_asked_for_with_the_same_parameters() {
        let asked = asked("machines", &[("after", "mch_a"), ("limit", "5"), ("customer", "cus_a")]).unwrap();
        let table = TABLES.iter().find(|one| one.name == "machines").unwrap();
        assert!(asked.is_page());
        assert_eq!(
            asked.turned(table.cursor().unwrap(), "mch_b"),
            [("limit", "5"), ("customer", "cus_a"), ("after", "mch_b")]
        );
    }

    #[test]
    fn a_day_is_one_of_the_calendar() {
        assert!(day("2026-02-28").is_some() && day("0001-01-01").is_some());
        for wrong in ["2026-02-29", "2026-2-28", "20260228", "-026-01-01", "2026-01-01T00:00", ""] {
            assert_eq!(day(wrong), None, "{wrong}");
        }
    }
}
