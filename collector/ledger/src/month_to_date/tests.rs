//! What is added up from kept counts, beside a recount of all machines, over random fleets. Invariant of these tests: a
//! failure prints its seed.

use super::*;
use crate::close::seats;
use crate::forecast::forecast;
use crate::record::Record;
use crate::record_set::RecordSet;
use crate::scenario::Scenario;

/// As many as fit a debug build's patience.
const SEEDS: u64 = 60;

/// xorshift64*: enough for tests, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }

    fn instant(&mut self) -> String {
        format!("10-{:02} {:02}:{:02}", 1 + self.below(31), self.below(24), self.below(60))
    }
}

const CUSTOMERS: [&str; 3] = ["acme", "bell", "core"];

fn fleet(random: &mut Random) -> Scenario {
    let zone = random.of(&["UTC", "Europe/Berlin", "America/New_York"]);
    let mut scenario = Scenario::bare().policy(&format!(
        "zone = \"{zone}\"\npresume_days = {}\nmoved = \"{}\"\n[default_sku]\na = \"A\"\nb = \"B\"\nc = \"C\"\n\
         [price_group.g]\ndistributor = \"d\"\ncurrency = \"EUR\"\n\
         tiers = [{{ from = 1, cost = \"2.10\" }}, {{ from = 3, cost = \"1.805\" }}]\n\
         [price.A]\nreseller = \"3.00\"\n[price.M]\nreseller = \"1.50\"",
        random.below(6),
        random.of(&["main_owner", "last_owner", "each_owner"]),
    ));
    for sku in ["A", "B", "C"] {
        let count = random.of(&["high_water", "distinct", "month_end", "average"]);
        let group = random.of(&["", "price_group = \"g\""]);
        let free = random.of(&["true", "false", "false"]);
        scenario =
            scenario.policy(&format!("[sku.{sku}]\ncount = \"{count}\"\nfree_first_month = {free}\n{group}"));
    }
    let machines = ["m", "n", "o", "p"];
    for machine in machines {
        scenario = scenario.assigned("09-01 00:00", machine, random.of(&CUSTOMERS));
    }
    for _ in 0..20 + random.below(60) {
        let (machine, at) = (random.of(&machines), random.instant());
        scenario = match random.below(14) {
            0 => scenario.assigned(&at, machine, random.of(&CUSTOMERS)),
            1 => scenario.licence("suspended", &at, random.of(&CUSTOMERS), random.of(&["A", "B"])),
            2 => scenario.declared(&at, random.of(&CUSTOMERS), "M", "2026-09", random.below(9)),
            3 => scenario.adjusted(&at, random.of(&CUSTOMERS), "A", "2026-10", 1),
            4 => scenario.retired(&at, machine),
            _ => scenario.report(machine, &at, random.of(&["a", "b", "a b", "a c", "a-", "b? c", "x", ""])),
        };
    }
    scenario
}

#[test]
fn days_and_forecast_from_kept_counts_are_those_of_a_recount() {
    for seed in 1..=SEEDS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let scenario = fleet(&mut random);
        let (policy, period) = (scenario.parsed_policy(), "2026-10".parse().unwrap());
        let mut instants: Vec<Timestamp> = (0..5)
            .map(|_| crate::scenario::instant(&random.instant()).parse().unwrap())
            .chain(["2026-09-30T12:00:00Z", "2026-11-03T00:00:00Z"].map(|text| text.parse().unwrap()))
            .collect();
        instants.sort();
        let mut kept: Option<MonthToDate> = None;
        for now in instants {
            let records = RecordSet::new(Record::parse_jsonl(scenario.records()).unwrap(), Some(now));
            let usage = records.usage(&policy.zone);
            let mut month =
                kept.take().unwrap_or_else(|| MonthToDate::new(usage.clone(), policy.clone(), period, now));
            month.refresh(usage.clone(), policy.clone(), now);
            let whole = forecast(&usage, &policy, period, now).unwrap();
            assert_eq!(month.forecast(now).unwrap(), Some(whole), "seed {seed}, {now}");

            let by_day = month.by_day(|customer| customer.as_str() != "cus_core");
            let mut counted: BTreeMap<Sku, Vec<u64>> = BTreeMap::new();
            for ((customer, sku), machines) in seats(&usage, &policy, period, Some(now)) {
                if customer.as_str() == "cus_core" {
                    continue;
                }
                let sums = counted.entry(sku).or_insert_with(|| vec![0; by_day.days.len()]);
                for day in machines.values().flatten() {
                    sums[by_day.days.iter().position(|one| *one == day.day).unwrap()] += 1;
                }
            }
            assert_eq!(by_day.skus, counted, "seed {seed}, {now}");
            kept = Some(month);
        }
    }
}

#[test]
fn a_rule_that_asks_for_days_of_each_machine_is_forecast_from_the_machines() {
    let scenario = Scenario::new().policy("[sku.A]\nmin_days = 3").reports("m", 1..=2, "a");
    let now: Timestamp = "2026-10-02T12:00:00Z".parse().unwrap();
    let records = RecordSet::new(Record::parse_jsonl(scenario.records()).unwrap(), Some(now));
    let policy = scenario.parsed_policy();
    let usage = records.usage(&policy.zone);
    let month = MonthToDate::new(usage, policy, "2026-10".parse().unwrap(), now);
    assert_eq!(month.forecast(now).unwrap(), None);
}

#[test]
fn what_is_said_of_a_customers_licence_counts_its_machines_anew_and_no_others() {
    let now: Timestamp = "2026-10-20T12:00:00Z".parse().unwrap();
    let period: Period = "2026-10".parse().unwrap();
    let before = Scenario::bare()
        .policy("[default_sku]\na = \"A\"")
        .assigned("09-01 00:00", "m", "acme")
        .assigned("09-01 00:00", "n", "bell")
        .report("m", "10-05 08:00", "a")
        .report("n", "10-05 08:00", "a");
    let after = before.clone().licence("suspended", "10-02 00:00", "acme", "A");
    let usage = |scenario: &Scenario| {
        let records = RecordSet::new(Record::parse_jsonl(scenario.records()).unwrap(), Some(now));
        records.usage(&scenario.parsed_policy().zone)
    };
    let mut kept = MonthToDate::new(usage(&before), before.parsed_policy(), period, now);
    let seats = |month: &MonthToDate| month.by_day(|_| true).skus;
    let counted_before = seats(&kept);
    kept.refresh(usage(&after), after.parsed_policy(), now);
    let anew = MonthToDate::new(usage(&after), after.parsed_policy(), period, now);
    assert_eq!(seats(&kept), seats(&anew));
    assert_ne!(seats(&kept), counted_before);
}
