//! A small reseller and its last month: four customers, 44 machines, and what became of each. Invariant: pure; zone,
//! seed and month decide every machine's chain, `now` only how much of it has been written.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use crate::machine::{Condition, Machine, Timeline};
use crate::seed::Seed;
use crate::snapshot::{Snapshot, SnapshotError};

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// An instant or zone outside of what the calendar knows.
    #[error("the calendar does not reach as far as {0}")]
    Calendar(Timestamp),
}

/// An end customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Customer {
    /// Its id.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
}

/// The plan's customers.
pub const CUSTOMERS: [Customer; 4] = [
    Customer { id: "cus_lindner", name: "Bäckerei Lindner GmbH" },
    Customer { id: "cus_brandt", name: "Kanzlei Brandt & Partner" },
    Customer { id: "cus_ostermann", name: "Werkzeugbau Ostermann KG" },
    Customer { id: "cus_elbe", name: "Praxisverbund Elbe" },
];

/// A machine and what an operator did with it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The machine.
    pub machine: Machine,
    /// The customer that it belongs to now.
    pub customer: &'static str,
    /// The customer that it belonged to before, and until when.
    pub moved: Option<(&'static str, Timestamp)>,
    /// When it was given up.
    pub retired_at: Option<Timestamp>,
}

/// The reseller's last month and this month up to now.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The last month, `2026-09`.
    pub period: String,
    /// The last month's first instant.
    pub begins_at: Timestamp,
    /// This month's first instant.
    pub ends_at: Timestamp,
    /// The billing policy, as TOML.
    pub policy: String,
    /// All machines.
    pub machines: Vec<Planned>,
    now: Timestamp,
    seed: Seed,
}

/// The plan as of an instant, billed in `zone`, whose IANA name is `zone_name`.
///
/// # Errors
/// When the calendar does not reach that far.
pub fn plan(now: Timestamp, zone_name: &str, zone: &TimeZone, seed: u64) -> Result<Plan, PlanError> {
    let calendar = Calendar::last_month(now, zone).ok_or(PlanError::Calendar(now))?;
    let seed = Seed::new(seed).branch(&calendar.period());
    let mut drawing = Drawing { calendar: &calendar, seed: &seed, now, machines: Vec::new() };
    drawing.bakery()?;
    drawing.law_firm()?;
    drawing.toolmaker()?;
    drawing.practice()?;
    Ok(Plan {
        period: calendar.period(),
        begins_at: calendar.begins_at,
        ends_at: calendar.ends_at,
        policy: include_str!("../policy.toml").replace("@ZONE@", zone_name),
        machines: drawing.machines,
        now,
        seed,
    })
}

impl Plan {
    /// A machine that nobody planned for: it turns up at `at`, at the bakery.
    ///
    /// # Errors
    /// When its snapshot cannot be read.
    pub fn walk_in(&self, number: u32, at: Timestamp) -> Result<Machine, PlanError> {
        let seed = self.seed.branch(&at.to_string());
        let shows = Snapshot::WfbsSvc.condition(self.now)?;
        Ok(Machine::new(&format!("lindner-new-{number}"), &seed, Timeline::from(at, shows)))
    }
}

/// The days of the last month in the billing zone.
struct Calendar<'a> {
    zone: &'a TimeZone,
    first: Date,
    begins_at: Timestamp,
    ends_at: Timestamp,
}

impl<'a> Calendar<'a> {
    fn last_month(now: Timestamp, zone: &'a TimeZone) -> Option<Self> {
        let this = now.to_zoned(zone.clone()).date().first_of_month();
        let first = this.checked_sub(1.month()).ok()?;
        let begins_at = first.to_zoned(zone.clone()).ok()?.timestamp();
        let ends_at = this.to_zoned(zone.clone()).ok()?.timestamp();
        Some(Self { zone, first, begins_at, ends_at })
    }

    fn period(&self) -> String {
        self.first.strftime("%Y-%m").to_string()
    }

    /// Noon of a day of the month; of the last day where there is no such day.
    fn noon(&self, day: i8) -> Result<Timestamp, PlanError> {
        let date = self.first.with().day(day.min(self.first.days_in_month())).build();
        date.and_then(|date| date.at(12, 0, 0, 0).to_zoned(self.zone.clone()))
            .map(|noon| noon.timestamp())
            .map_err(|_| PlanError::Calendar(self.begins_at))
    }

    fn days(&self) -> i8 {
        self.first.days_in_month()
    }
}

struct Drawing<'a> {
    calendar: &'a Calendar<'a>,
    seed: &'a Seed,
    now: Timestamp,
    machines: Vec<Planned>,
}

impl<'a> Drawing<'a> {
    fn bakery(&mut self) -> Result<(), PlanError> {
        for number in 1..=10 {
            self.add(self.sketch("cus_lindner", &format!("lindner-till-{number}"), Snapshot::WfbsSvc)?);
        }
        // Taken along and never seen again: presumed for a week, then it is gone.
        self.add(self.sketch("cus_lindner", "lindner-laptop-1", Snapshot::WfbsSvc)?.silent_after(9)?);
        let holiday = self.sketch("cus_lindner", "lindner-laptop-2", Snapshot::WfbsSvc)?;
        self.add(holiday.silent_after(5)?.shows_from(11, Snapshot::WfbsSvc)?);
        self.add(self.sketch("cus_lindner", "lindner-oven-pc", Snapshot::WfbsSvc)?.has_noisy_clock());
        // Left behind by a switch of product: installed, its services stopped.
        self.add(self.sketch("cus_lindner", "lindner-old-office", Snapshot::WfbsSvcStopped)?);
        Ok(())
    }

    fn law_firm(&mut self) -> Result<(), PlanError> {
        for number in 1..=8 {
            self.add(self.sketch("cus_brandt", &format!("brandt-desk-{number}"), Snapshot::ApexOne)?);
        }
        let scrapped = self.sketch("cus_brandt", "brandt-scrapped", Snapshot::ApexOne)?;
        self.add(scrapped.silent_after(11)?.retired_on(12)?);
        let changed = self.sketch("cus_brandt", "brandt-new-software", Snapshot::ApexOne)?;
        self.add(changed.shows_from(15, Snapshot::WfbsSvc)?);
        Ok(())
    }

    fn toolmaker(&mut self) -> Result<(), PlanError> {
        for number in 1..=3 {
            self.add(self.sketch(
                "cus_ostermann",
                &format!("ostermann-erp-{number}"),
                Snapshot::DsaOnprem,
            )?);
            self.add(self.sketch("cus_ostermann", &format!("ostermann-web-{number}"), Snapshot::V1Server)?);
        }
        self.add(self.sketch("cus_ostermann", "ostermann-backup", Snapshot::DsaCloud)?);
        for number in 1..=2 {
            self.add(self.sketch("cus_ostermann", &format!("ostermann-files-{number}"), Snapshot::Splx)?);
            self.add(self.sketch("cus_ostermann", &format!("ostermann-cad-{number}"), Snapshot::Spnt)?);
        }
        Ok(())
    }

    fn practice(&mut self) -> Result<(), PlanError> {
        for number in 1..=4 {
            self.add(self.sketch("cus_elbe", &format!("elbe-desk-{number}"), Snapshot::V1es)?);
        }
        for number in 1..=2 {
            self.add(self.sketch("cus_elbe", &format!("elbe-lab-{number}"), Snapshot::WfbsSvc)?);
        }
        let notebook = self.sketch("cus_elbe", "elbe-notebook", Snapshot::V1es)?;
        self.add(notebook.moved_from("cus_ostermann", 20)?);
        // Off over the month's end: presumed on the day that counts.
        let server = self.sketch("cus_elbe", "elbe-server", Snapshot::DsaOnprem)?;
        self.add(server.silent_after(self.calendar.days() - 4)?);
        // Came this month, its product not told apart yet: a blocker of the running month, and of that only.
        let unclear = self.sketch("cus_elbe", "elbe-unclear", Snapshot::WorryFreeFamily)?;
        self.add(unclear.first_seen(self.calendar.ends_at, Snapshot::WorryFreeFamily)?);
        Ok(())
    }

    fn sketch(
        &self,
        customer: &'static str,
        name: &str,
        snapshot: Snapshot,
    ) -> Result<Sketch<'a>, PlanError> {
        let minutes = self.seed.branch(name).below(40);
        // Never in the month's first minutes: a clock that is a bit off stays in the month.
        let delay = SignedDuration::from_mins(10 + i64::try_from(minutes).unwrap_or_default());
        let sketch = Sketch {
            calendar: self.calendar,
            now: self.now,
            customer,
            name: name.to_owned(),
            os: snapshot.os()?,
            delay,
            clock_noise: SignedDuration::ZERO,
            timeline: Timeline::default(),
            moved: None,
            retired_at: None,
        };
        sketch.first_seen(self.calendar.begins_at, snapshot)
    }

    fn add(&mut self, sketch: Sketch<'_>) {
        let Sketch { customer, name, os, clock_noise, timeline, moved, retired_at, .. } = sketch;
        let machine = Machine::new(&name, self.seed, timeline).with_os(os).with_clock_noise(clock_noise);
        self.machines.push(Planned { machine, customer, moved, retired_at });
    }
}

/// A machine that is being planned.
struct Sketch<'a> {
    calendar: &'a Calendar<'a>,
    now: Timestamp,
    customer: &'static str,
    name: String,
    os: &'static str,
    delay: SignedDuration,
    clock_noise: SignedDuration,
    timeline: Timeline,
    moved: Option<(&'static str, Timestamp)>,
    retired_at: Option<Timestamp>,
}

impl Sketch<'_> {
    fn first_seen(mut self, at: Timestamp, snapshot: Snapshot) -> Result<Self, PlanError> {
        let at = at.saturating_add(self.delay).unwrap_or(at);
        self.timeline = Timeline::from(at, snapshot.condition(self.now)?);
        Ok(self)
    }

    /// Silent from noon of this day on.
    fn silent_after(mut self, day: i8) -> Result<Self, PlanError> {
        self.timeline = self.timeline.then(self.calendar.noon(day)?, Condition::Silent);
        Ok(self)
    }

    fn shows_from(mut self, day: i8, snapshot: Snapshot) -> Result<Self, PlanError> {
        self.timeline = self.timeline.then(self.calendar.noon(day)?, snapshot.condition(self.now)?);
        Ok(self)
    }

    fn retired_on(mut self, day: i8) -> Result<Self, PlanError> {
        self.retired_at = Some(self.calendar.noon(day)?);
        Ok(self)
    }

    fn moved_from(mut self, customer: &'static str, day: i8) -> Result<Self, PlanError> {
        self.moved = Some((customer, self.calendar.noon(day)?));
        Ok(self)
    }

    fn has_noisy_clock(mut self) -> Self {
        self.clock_noise = SignedDuration::from_mins(7);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn of(now: &str) -> Plan {
        plan(now.parse().unwrap(), "Europe/Berlin", &berlin(), 1).unwrap()
    }

    #[test]
    fn the_last_month_is_that_of_the_billing_zone() {
        for (now, period, begins_at) in [
            ("2026-10-31T23:30:00Z", "2026-10", "2026-09-30T22:00:00Z"),
            ("2026-11-01T12:00:00Z", "2026-10", "2026-09-30T22:00:00Z"),
            ("2026-10-31T12:00:00Z", "2026-09", "2026-08-31T22:00:00Z"),
            ("2026-01-03T12:00:00Z", "2025-12", "2025-11-30T23:00:00Z"),
            ("2026-03-29T00:30:00Z", "2026-02", "2026-01-31T23:00:00Z"),
        ] {
            let plan = of(now);
            assert_eq!(
                (plan.period.as_str(), plan.begins_at.to_string().as_str()),
                (period, begins_at),
                "{now}"
            );
        }
    }

    #[test]
    fn the_month_that_was_written_once_is_written_the_same_way_later() {
        let links = |now: &str| {
            let until = "2026-10-02T00:00:00Z".parse().unwrap();
            let plan = of(now);
            plan.machines
                .into_iter()
                .map(|mut planned| planned.machine.links_until(until))
                .collect::<Vec<_>>()
        };
        assert_eq!(links("2026-10-02T00:00:00Z"), links("2026-10-20T17:00:00Z"));
    }

    #[test]
    fn no_report_is_older_than_a_collector_takes() {
        let oldest = SignedDuration::from_hours(62 * 24);
        for now in ["2026-08-31T21:59:59Z", "2026-01-31T22:59:59Z", "2026-10-25T01:30:00Z"] {
            let at: Timestamp = now.parse().unwrap();
            for mut planned in of(now).machines {
                for link in planned.machine.links_until(at) {
                    let age = at.duration_since(link.observed_at);
                    assert!(
                        age < oldest && age > SignedDuration::from_mins(-8),
                        "{} {age}",
                        planned.machine.name()
                    );
                }
            }
        }
    }

    #[test]
    fn machines_and_keys_are_there_once() {
        let plan = of("2026-10-31T12:00:00Z");
        let ids: std::collections::BTreeSet<_> = plan.machines.iter().map(|one| one.machine.id()).collect();
        assert_eq!((ids.len(), plan.machines.len()), (44, 44));
        let walk_in = plan.walk_in(1, plan.ends_at).unwrap();
        assert!(!ids.contains(&walk_in.id()));
    }
}
