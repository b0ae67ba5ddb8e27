//! What a month will come to when products are switched on machines now, beside what it will come to when they are
//! not. Invariant: both sides are counted and priced by the rules of the forecast's expected course; nothing is
//! changed by asking.
//!
//! What a switched machine amounts to from tomorrow on is counted, not guessed: once as if it reported tomorrow what
//! it reported last, once as if it reported the same with the products switched.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId, SpoolId};
use serde::{Deserialize, Serialize};

use super::{Course, Month, without_min_days};
use crate::calendar::{MonthDays, Period, UsageDay};
use crate::close::seats;
use crate::fold::Fold;
use crate::machines::Names;
use crate::money::{Decimal, Quantity, TooLarge};
use crate::policy::Policy;
use crate::pricing::{earnings, price_lines};
use crate::record::{Entry, Event, Report, Sighting, Sku, State};
use crate::seats::Counting;
use crate::statement::Line;
use crate::usage::{Switch, Usage};

/// A seat: whose, of what, on which machine.
pub(super) type SeatKey = (CustomerId, Sku, MachineId);

/// Seats that are otherwise from tomorrow on.
#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) end: BTreeSet<SeatKey>,
    pub(super) begin: BTreeSet<SeatKey>,
}

/// A (customer, SKU) of the month that comes to something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchLine {
    /// Whose seats.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// If nothing is switched.
    pub without: Side,
    /// If it is.
    pub with: Side,
}

/// What a line comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Its counted seats.
    pub quantity: Quantity,
    /// What they cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    /// What customers pay for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revenue: Option<Decimal>,
    /// ISO 4217 code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// What the month of `now` will come to when these products are switched on these machines now, beside what it will
/// come to otherwise: lines whose seats, cost or revenue differ, by customer and SKU. Those of customers whose machines
/// are not touched are among them when the price group reaches another tier. Machines that were not in use today are
/// expected to come back on neither side; on the month's last day nothing differs.
///
/// # Errors
/// When amounts are too large to add.
pub fn switch_effect(
    fold: &Fold,
    policy: &Policy,
    switched: &BTreeSet<(MachineId, ProductId)>,
    to: Switch,
    now: Timestamp,
) -> Result<Vec<SwitchLine>, TooLarge> {
    let usage = fold.usage();
    let period = Period::of_day(usage.zone().usage_day(now));
    let days = usage.zone().days(period);
    let begun = days.iter().filter(|day| day.first <= now).count();
    let turns = turns(fold, policy, &days, begun, switched, to, now);
    let seen = seats(usage, &without_min_days(policy), period, Some(now));
    let month = |turns| Month { usage, policy, period, days: &days, begun, turns };
    let side = |month: Month<'_>| {
        let mut lines = month.lines(&seen, Course::GoesOn)?;
        price_lines(&mut lines, policy).map(|()| lines)
    };
    let without = sides(&side(month(Turns::default()))?, policy)?;
    let with = sides(&side(month(turns))?, policy)?;
    let keys: BTreeSet<&(CustomerId, Sku)> = without.keys().chain(with.keys()).collect();
    let line = |key: &(CustomerId, Sku)| {
        let of = |sides: &BTreeMap<_, Side>| sides.get(key).cloned().unwrap_or_default();
        let (customer, sku) = key.clone();
        SwitchLine { customer, sku, without: of(&without), with: of(&with) }
    };
    Ok(keys.into_iter().map(line).filter(|line| line.without != line.with).collect())
}

fn sides(lines: &[Line], policy: &Policy) -> Result<BTreeMap<(CustomerId, Sku), Side>, TooLarge> {
    let earned = earnings(lines, policy)?;
    let revenue: BTreeMap<_, _> =
        earned.iter().map(|row| ((&row.customer, &row.sku), (row.revenue, row.currency.as_ref()))).collect();
    let side = |line: &Line| {
        let earned = revenue.get(&(&line.customer, &line.sku));
        let cost = line.price.as_ref();
        let currency = cost.map(|cost| &cost.currency).or(earned.and_then(|(_, currency)| *currency));
        Side {
            quantity: line.quantity,
            cost: cost.map(|cost| cost.cost),
            revenue: earned.map(|(revenue, _)| *revenue),
            currency: currency.cloned(),
        }
    };
    Ok(lines.iter().map(|line| ((line.customer.clone(), line.sku.clone()), side(line))).collect())
}

fn turns(
    fold: &Fold,
    policy: &Policy,
    days: &[UsageDay],
    begun: usize,
    switched: &BTreeSet<(MachineId, ProductId)>,
    to: Switch,
    now: Timestamp,
) -> Turns {
    let Some(tomorrow) = days.get(begun) else { return Turns::default() };
    let (mut as_it_is, mut as_switched) = (fold.usage().clone(), fold.usage().clone());
    let mut machines: BTreeMap<&MachineId, BTreeSet<&ProductId>> = BTreeMap::new();
    for (machine, product) in switched {
        machines.entry(machine).or_default().insert(product);
    }
    for (machine, products) in &machines {
        let last = fold.registry().machine(machine).and_then(|machine| machine.last.as_ref());
        let last = last.map(|last| last.products.iter()).into_iter().flatten();
        let same: BTreeMap<ProductId, Sighting> = last
            .map(|found| (found.product.clone(), Sighting { state: found.state, version: None }))
            .collect();
        as_it_is.apply_report(&report(machine, tomorrow.first, same.clone()));
        let mut other = same;
        for product in products {
            let (machine, product) = ((*machine).clone(), (*product).clone());
            let (state, event) = match to {
                Switch::Off => (State::SwitchedOff, Event::SwitchedOff { machine, product: product.clone() }),
                Switch::On => (State::Active, Event::SwitchedOn { machine, product: product.clone() }),
            };
            other.insert(product, Sighting { state, version: None });
            as_switched.apply_entry(&Entry::new(now, event));
        }
        as_switched.apply_report(&report(machine, tomorrow.first, other));
    }
    let of = |usage| seats_of_day(usage, policy, days, begun, machines.keys().copied());
    let (before, after) = (of(&as_it_is), of(&as_switched));
    Turns {
        end: before.difference(&after).cloned().collect(),
        begin: after.difference(&before).cloned().collect(),
    }
}

fn report(machine: &MachineId, at: Timestamp, products: BTreeMap<ProductId, Sighting>) -> Report {
    Report {
        machine: machine.clone(),
        spool: SpoolId::derived_from(machine.as_str().as_bytes()),
        sequence: 1,
        observed_at: at,
        received_at: at,
        products: products.into_iter().collect(),
    }
}

/// The seats of these agents' machines on the day of this place in the month.
fn seats_of_day<'a>(
    usage: &Usage,
    policy: &Policy,
    days: &[UsageDay],
    place: usize,
    agents: impl Iterator<Item = &'a MachineId>,
) -> BTreeSet<SeatKey> {
    let (names, policy) = (Names::new(usage), without_min_days(policy));
    let mut found = BTreeSet::new();
    let (Some(month), Some(day)) = (MonthDays::of(&days[..=place]), days.get(place)) else { return found };
    let mut counting = Counting::new(usage, &policy, Period::of_day(day.day), month);
    for agent in agents {
        let Some(machine) = names.machine(usage, names.of(agent)) else { continue };
        for seat in counting.machine(&machine).seats {
            if seat.counted >> place & 1 == 1 {
                found.insert((seat.customer, seat.sku, machine.id.clone()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use seatbeat_proto::signed::{Domain, hash, new_key, sign};
    use seatbeat_proto::wire::journal_record::Fact;
    use seatbeat_proto::wire::{self, JournalRecord, ProductState, evidence};

    use super::*;

    const POLICY: &str = r#"
zone = "UTC"
presume_days = 0
[default_sku]
a = "A"
b = "B"
[sku.A]
count = "average"
price_group = "g"
[sku.B]
count = "high_water"
price_group = "g"
[price_group.g]
distributor = "d"
currency = "EUR"
tiers = [{ from = 1, cost = "2.00" }]
[price.A]
reseller = "3.00"
"#;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Two machines that report `a` and `b` each day of the month's first half, the second one `b` as inactive.
    fn fold() -> (Fold, Vec<MachineId>) {
        let mut fold = Fold::default();
        let mut write = |at: Timestamp, fact: Fact| {
            let recorded_at_ms = at.as_millisecond();
            let record = JournalRecord { recorded_at_ms, fact: Some(fact), ..Default::default() };
            assert_eq!(fold.apply(&record.encode_to_vec()).unwrap(), crate::fold::Verdict::Taken);
        };
        let start = at("2026-10-01T00:00:00Z");
        write(start, Fact::PolicySet(wire::PolicySet { toml: POLICY.into(), ..Default::default() }));
        write(start, Fact::CustomerAdded(wire::CustomerAdded { customer: "cus_a".into() }));
        write(
            start,
            Fact::TokenCreated(wire::TokenCreated {
                token: "tok_a".into(),
                customer: "cus_a".into(),
                secret_hash: vec![1; 32],
                uses_max: 2,
                expires_at_ms: start.as_millisecond() * 2,
                uses_per_hour: 0,
            }),
        );
        let mut machines = Vec::new();
        for second in [ProductState::Active, ProductState::Inactive] {
            let key = new_key();
            let public_key = key.verifying_key().to_bytes().to_vec();
            let machine = MachineId::derived_from(&public_key);
            let claim = wire::EnrolmentClaim { public_key, token: "tok_a".into(), ..Default::default() };
            let claim = Some(sign(&key, Domain::EnrolmentClaim, claim.encode_to_vec()));
            write(start, Fact::EnrolmentRequested(wire::EnrolmentRequested { claim }));
            let mut previous = Vec::new();
            for day in 1..=15u64 {
                let at = start + jiff::SignedDuration::from_hours(24 * (day as i64 - 1) + 9);
                let found = |(product, state): (&str, ProductState)| wire::FoundProduct {
                    product: product.into(),
                    state: state.into(),
                    ..Default::default()
                };
                let products = [("a", ProductState::Active), ("b", second)].map(found).to_vec();
                let evidence = wire::Evidence {
                    machine: machine.to_string(),
                    spool: "spl_a".into(),
                    sequence: day,
                    previous,
                    observed_at_ms: at.as_millisecond(),
                    body: Some(evidence::Body::Report(wire::Report { products, ..Default::default() })),
                    ..Default::default()
                };
                let signed = sign(&key, Domain::Evidence, evidence.encode_to_vec());
                previous = hash(&signed.payload).to_vec();
                let evidence = Some(signed);
                write(at, Fact::EvidenceReceived(wire::EvidenceReceived { evidence, ..Default::default() }));
            }
            machines.push(machine);
        }
        (fold, machines)
    }

    fn told(switched: &[(&MachineId, &str)], fold: &Fold, to: Switch, now: &str) -> String {
        let policy = Policy::parse(POLICY).unwrap();
        let switched = switched
            .iter()
            .map(|(machine, product)| ((*machine).clone(), product.parse().unwrap()))
            .collect();
        let lines = switch_effect(fold, &policy, &switched, to, at(now)).unwrap();
        let side = |side: &Side| {
            let money = |amount: Option<Decimal>| amount.map_or("-".to_owned(), |amount| amount.to_string());
            format!("{} {} {}", side.quantity, money(side.cost), money(side.revenue))
        };
        let line =
            |line: &SwitchLine| format!("{}: {} -> {}", line.sku, side(&line.without), side(&line.with));
        lines.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_switched_machine_counts_until_today_and_the_bill_follows() {
        let (fold, machines) = fold();
        let noon = "2026-10-15T12:00:00Z";
        // 15 of 31 days of one machine, 31 of the other.
        assert_eq!(
            told(&[(&machines[0], "a")], &fold, Switch::Off, noon),
            "A: 2 4.00 6.00 -> 1.48 2.96 4.44"
        );
        // The most of the month was reached before.
        assert_eq!(told(&[(&machines[0], "b")], &fold, Switch::Off, noon), "");
        assert_eq!(told(&[(&machines[1], "b")], &fold, Switch::On, noon), "B: 1 2.00 - -> 2 4.00 -");
        assert_eq!(told(&[], &fold, Switch::Off, noon), "");
    }

    #[test]
    fn nothing_differs_where_nothing_was_in_use_and_on_the_last_day() {
        let (fold, machines) = fold();
        assert_eq!(told(&[(&machines[1], "b")], &fold, Switch::Off, "2026-10-15T12:00:00Z"), "");
        assert_eq!(told(&[(&machines[0], "a")], &fold, Switch::Off, "2026-10-31T12:00:00Z"), "");
        let nobody = MachineId::random();
        assert_eq!(told(&[(&nobody, "a")], &fold, Switch::Off, "2026-10-15T12:00:00Z"), "");
    }
}
