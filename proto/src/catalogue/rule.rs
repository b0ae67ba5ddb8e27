//! Rules: what must be so for a product to count as active, or to be one of its variants. The set is closed.
//! Invariant: three-valued. What could not be read is unknown, and only what is known decides; `now` is given.

use jiff::Timestamp;

use super::observations::{Observations, Source};
use super::signal::{Sight, Signal};
use super::text::{self, glob};
use super::things::{Protection, SecurityCenterRow};
use super::value::{Value, ValueSource};

/// A rule, and the sentence that says why when it does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What must be so.
    pub test: Test,
    /// The sentence; without one it is made from the test.
    pub otherwise: Option<String>,
}

/// What a rule asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// All of them hold.
    All(Vec<Rule>),
    /// One of them holds.
    Any(Vec<Rule>),
    /// It does not hold; unknown when that is.
    Not(Box<Rule>),
    /// It is not known to hold: unlike `not`, true when that is unknown.
    Unless(Box<Rule>),
    /// A signal is seen.
    Seen(Box<Signal>),
    /// One of these systemd units is active.
    UnitActive(Vec<String>),
    /// One of these Windows services (by name) runs.
    ServiceRunning(Vec<String>),
    /// One of these Windows services (by display name) runs.
    ServiceDisplayRunning(Vec<String>),
    /// One of these programs runs.
    ProcessRunning(Vec<String>),
    /// One of these launchd jobs is loaded.
    LaunchdLoaded(Vec<String>),
    /// One of these system extensions is enabled.
    ExtensionEnabled(Vec<String>),
    /// One of these Security Center rows says on, and its program exists.
    SecurityCenterOn(Vec<String>),
    /// One of these Security Center rows says off or expired, and its program exists.
    SecurityCenterOff(Vec<String>),
    /// One of these Security Center rows says that the patterns are out of date, and its program exists.
    SecurityCenterOutdated(Vec<String>),
    /// Nothing that is known would tell, for this reason.
    CannotTell(String),
    /// A value is as it should be.
    Value {
        /// Whose value.
        of: ValueSource,
        /// Taken from it first, as a number.
        minus: Option<ValueSource>,
        /// What it must be.
        check: Check,
    },
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// There is one.
    Exists,
    /// One of these texts, letter case aside; `*` stands for any text.
    Is(Vec<String>),
    /// It has this text in it, letter case aside.
    Contains(String),
    /// An address whose host is one of these; `*` stands for any text.
    HostIn(Vec<String>),
    /// A number of at least this much.
    AtLeast(i64),
    /// A number of at most this much.
    AtMost(i64),
    /// Unix seconds, at most this many seconds ago.
    UnixAgeMax(i64),
    /// Unix seconds that lie ahead.
    UnixAhead,
    /// A date `YYYYMMDD`, at most this many days ago.
    DateAgeMax(i64),
}

/// Whether a rule holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Yes,
    /// It does not, because of this.
    No(String),
    /// It cannot be told, because of this.
    Unknown(String),
}

/// Hours by which a time stamp may lie ahead and still be fresh: another zone's midnight, or a clock a bit off.
const AHEAD_S_MAX: i64 = 26 * 3600;

impl Rule {
    /// Whether the rule holds for what was observed.
    pub fn judge(&self, seen: &Observations, now: Timestamp) -> Verdict {
        match (self.test.judge(seen, now), &self.otherwise) {
            (Verdict::No(_), Some(sentence)) => Verdict::No(sentence.clone()),
            (verdict, _) => verdict,
        }
    }

    /// Calls `visit` with each test in the rule.
    pub fn for_each<'a>(&'a self, visit: &mut dyn FnMut(&'a Test)) {
        visit(&self.test);
        match &self.test {
            Test::All(rules) | Test::Any(rules) => rules.iter().for_each(|rule| rule.for_each(visit)),
            Test::Not(rule) | Test::Unless(rule) => rule.for_each(visit),
            _ => {}
        }
    }
}

impl Test {
    fn judge(&self, seen: &Observations, now: Timestamp) -> Verdict {
        match self {
            Self::All(rules) => all(rules, seen, now),
            Self::Any(rules) => any(rules, seen, now),
            Self::Not(rule) => match rule.judge(seen, now) {
                Verdict::Yes => Verdict::No("what must not be is so".into()),
                Verdict::No(_) => Verdict::Yes,
                unknown => unknown,
            },
            Self::Unless(rule) => match rule.judge(seen, now) {
                Verdict::Yes => Verdict::No("what must not be is so".into()),
                Verdict::No(_) | Verdict::Unknown(_) => Verdict::Yes,
            },
            Self::Seen(signal) => match signal.look(seen) {
                Sight::Seen(_) => Verdict::Yes,
                Sight::Absent => Verdict::No(format!("{} is not there", signal.describe())),
                Sight::Discounted(why) => Verdict::No(why),
                Sight::Unreadable(why) => Verdict::Unknown(why),
            },
            Self::UnitActive(names) => unit_active(names, seen),
            Self::ServiceRunning(names) => {
                let runs =
                    seen.services.iter().any(|s| s.running && names.iter().any(|name| glob(name, &s.name)));
                known(runs, Source::Services, seen, || format!("service {} does not run", names.join(" or ")))
            }
            Self::ServiceDisplayRunning(names) => {
                let runs = seen
                    .services
                    .iter()
                    .any(|s| s.running && names.iter().any(|name| glob(name, &s.display)));
                known(runs, Source::Services, seen, || {
                    format!("service \"{}\" does not run", names.join("\" or \""))
                })
            }
            Self::ProcessRunning(names) => {
                let runs =
                    seen.processes.iter().any(|p| names.iter().any(|name| text::is_program(name, &p.exe)));
                known(runs, Source::Processes, seen, || format!("{} does not run", names.join(" or ")))
            }
            Self::LaunchdLoaded(names) => {
                let on = seen.launchd.iter().any(|(label, loaded)| *loaded && is_one_of(names, label));
                known(on, Source::Launchd, seen, || format!("{} is not loaded", names.join(" or ")))
            }
            Self::ExtensionEnabled(names) => {
                let on = seen.system_extensions.iter().any(|(id, enabled)| *enabled && is_one_of(names, id));
                known(on, Source::SystemExtensions, seen, || format!("{} is not enabled", names.join(" or ")))
            }
            Self::SecurityCenterOn(names) => live_row(names, "on", SecurityCenterRow::is_on, seen),
            Self::SecurityCenterOff(names) => {
                let is_off = |row: &SecurityCenterRow| {
                    matches!(row.protection(), Protection::Off | Protection::Expired)
                };
                live_row(names, "off", is_off, seen)
            }
            Self::SecurityCenterOutdated(names) => {
                live_row(names, "out of date", SecurityCenterRow::is_outdated, seen)
            }
            Self::CannotTell(why) => Verdict::Unknown(why.clone()),
            Self::Value { of, minus, check } => judge_value(of, minus.as_ref(), check, seen, now),
        }
    }
}

/// Whether a row that did not outlive its program says so.
fn live_row(
    names: &[String],
    word: &str,
    is_so: impl Fn(&SecurityCenterRow) -> bool,
    seen: &Observations,
) -> Verdict {
    let mut rows = seen.security_center.iter().filter(|row| is_one_of(names, &row.name));
    let so = rows.any(|row| row.program_exists && is_so(row));
    known(so, Source::SecurityCenter, seen, || {
        format!("Security Center does not have \"{}\" {word}", names.join("\" or \""))
    })
}

fn is_one_of(names: &[String], name: &str) -> bool {
    names.iter().any(|wanted| glob(wanted, name))
}

/// What was seen is so even when the rest of its source could not be read.
fn known(is_so: bool, source: Source, seen: &Observations, otherwise: impl FnOnce() -> String) -> Verdict {
    match seen.unreadable.get(&source) {
        _ if is_so => Verdict::Yes,
        Some(why) => Verdict::Unknown(why.clone()),
        None => Verdict::No(otherwise()),
    }
}

fn all(rules: &[Rule], seen: &Observations, now: Timestamp) -> Verdict {
    let mut unknown = None;
    for rule in rules {
        match rule.judge(seen, now) {
            Verdict::Yes => {}
            no @ Verdict::No(_) => return no,
            other => unknown = unknown.or(Some(other)),
        }
    }
    unknown.unwrap_or(Verdict::Yes)
}

fn any(rules: &[Rule], seen: &Observations, now: Timestamp) -> Verdict {
    let (mut unknown, mut reasons) = (None, Vec::new());
    for rule in rules {
        match rule.judge(seen, now) {
            Verdict::Yes => return Verdict::Yes,
            Verdict::No(why) if !reasons.contains(&why) => reasons.push(why),
            Verdict::No(_) => {}
            other => unknown = unknown.or(Some(other)),
        }
    }
    unknown.unwrap_or_else(|| Verdict::No(reasons.join("; ")))
}

fn unit_active(names: &[String], seen: &Observations) -> Verdict {
    let mut unknown = seen.unreadable.get(&Source::UnitFiles).cloned();
    let mut reasons = Vec::new();
    for name in names {
        match seen.units.get(name).map(|unit| unit.active.as_str()) {
            Some("active" | "reloading") => return Verdict::Yes,
            Some("") => {
                let why = seen.unreadable.get(&Source::UnitState);
                unknown = unknown
                    .or(Some(why.cloned().unwrap_or_else(|| format!("the state of {name} was not asked"))));
            }
            Some(state) => reasons.push(format!("{name} is {state}")),
            None => reasons.push(format!("there is no {name}")),
        }
    }
    match unknown {
        Some(why) => Verdict::Unknown(why),
        None => Verdict::No(reasons.join("; ")),
    }
}

fn judge_value(
    of: &ValueSource,
    minus: Option<&ValueSource>,
    check: &Check,
    seen: &Observations,
    now: Timestamp,
) -> Verdict {
    let text = match of.read(seen) {
        Value::Text(text) => text,
        Value::Missing => return Verdict::No(format!("{} has no value", of.describe())),
        Value::Unreadable(why) => return Verdict::Unknown(why),
    };
    let mut difference = None;
    if let Some(other) = minus {
        match other.read(seen) {
            Value::Text(other) => {
                difference = text::number(text).zip(text::number(other)).and_then(|(a, b)| a.checked_sub(b));
            }
            Value::Missing => return Verdict::No(format!("{} has no value", other.describe())),
            Value::Unreadable(why) => return Verdict::Unknown(why),
        }
    }
    let number = || if minus.is_some() { difference } else { text::number(text) };
    if check.holds(text, number, now) {
        return Verdict::Yes;
    }
    let shown: String = text.chars().take(SHOWN_LENGTH_MAX).collect();
    match minus {
        None => Verdict::No(format!("{} is `{shown}`", of.describe())),
        Some(other) => {
            Verdict::No(format!("{} is `{shown}`, too far from {}", of.describe(), other.describe()))
        }
    }
}

/// Characters of a value that a reason repeats: an address fits.
const SHOWN_LENGTH_MAX: usize = 80;

impl Check {
    fn holds(&self, text: &str, number: impl FnOnce() -> Option<i64>, now: Timestamp) -> bool {
        let age_s_max = |then: Option<i64>, limit: i64| {
            let age = then.and_then(|then| now.as_second().checked_sub(then));
            age.is_some_and(|age| (-AHEAD_S_MAX..=limit).contains(&age))
        };
        match self {
            Self::Exists => true,
            Self::Is(texts) => is_one_of(texts, text),
            Self::Contains(part) => text::contains(text, part),
            Self::HostIn(hosts) => text::host_of(text).is_some_and(|host| is_one_of(hosts, &host)),
            Self::AtLeast(limit) => number().is_some_and(|number| number >= *limit),
            Self::AtMost(limit) => number().is_some_and(|number| number <= *limit),
            Self::UnixAgeMax(limit) => age_s_max(number(), *limit),
            Self::UnixAhead => number().is_some_and(|then| then > now.as_second()),
            Self::DateAgeMax(days) => {
                age_s_max(unix_of_date(text), days.saturating_add(1).saturating_mul(86_400))
            }
        }
    }
}

/// Unix seconds at which a day `YYYYMMDD` begins in UTC.
fn unix_of_date(text: &str) -> Option<i64> {
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let date =
        jiff::civil::Date::new(text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?);
    Some(date.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}
