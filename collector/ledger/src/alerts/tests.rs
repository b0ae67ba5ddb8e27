//! What is an alert and what is none, on small books.

use prost::Message as _;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord};

use super::*;
use crate::coverage::Rule as Coverage;
use crate::month_to_date::MonthToDate;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Books that begin on 2026-10-01.
struct House {
    fold: Fold,
    now_ms: i64,
}

impl House {
    fn new() -> Self {
        let now_ms = "2026-10-01T08:00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
        let mut house = Self { fold: Fold::default(), now_ms };
        house.taken(Fact::Founded(wire::Founded {
            reseller: "rsl_a".into(),
            format: crate::fold::FORMAT,
            service_key: vec![1; 32],
            statement_key: vec![1; 32],
        }));
        let toml = "zone = \"UTC\"".to_owned();
        house.taken(Fact::PolicySet(wire::PolicySet { toml, ..Default::default() }));
        for customer in ["cus_a", "cus_b"] {
            house.taken(Fact::CustomerAdded(wire::CustomerAdded { customer: customer.into() }));
            house.taken(Fact::TokenCreated(wire::TokenCreated {
                token: format!("tok_{}", &customer[4..]),
                customer: customer.into(),
                secret_hash: vec![1; 32],
                uses_max: 1000,
                expires_at_ms: now_ms + DAY_MS,
                uses_per_hour: 0,
            }));
        }
        house
    }

    fn taken(&mut self, fact: Fact) {
        let record = JournalRecord { recorded_at_ms: self.now_ms, fact: Some(fact), ..Default::default() };
        let verdict = self.fold.apply(&record.encode_to_vec()).unwrap();
        assert_eq!(verdict, crate::fold::Verdict::Taken);
    }

    fn enrol(&mut self, customer: &str, key: u8) -> MachineId {
        let public_key = vec![key; 32];
        let id = MachineId::derived_from(&public_key);
        let token = format!("tok_{}", &customer[4..]);
        let claim = wire::EnrolmentClaim { public_key, token, ..Default::default() };
        let claim = Some(wire::Signed { payload: claim.encode_to_vec(), signature: vec![0; 64] });
        self.taken(Fact::EnrolmentRequested(wire::EnrolmentRequested { claim }));
        id
    }

    fn alerts(&self, bounds: &Bounds, days: i64) -> Vec<Alert> {
        let now = Timestamp::from_millisecond(self.now_ms + days * DAY_MS).unwrap();
        let usage = self.fold.usage().clone();
        let period = Period::of_day(usage.zone().usage_day(now));
        let policy = self.fold.terms().policy(period).unwrap();
        let month = MonthToDate::new(usage, policy, period, now).output().unwrap();
        of_books(&self.fold, &month.statement, bounds, now)
    }
}

fn bounds() -> Bounds {
    Bounds {
        silent_days: 7,
        coverage: Coverage { percent: 0, days: 14 },
        quota: BTreeMap::new(),
        due: None,
        due_notice: SignedDuration::from_hours(72),
    }
}

fn names(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| alert.alert.as_str()).collect()
}

#[test]
fn silent_machines_are_one_alert_a_customer() {
    let mut house = House::new();
    let (a, b) = (house.enrol("cus_a", 1), house.enrol("cus_a", 2));
    house.enrol("cus_b", 3);
    assert!(house.alerts(&bounds(), 7).is_empty(), "not yet");
    let alerts = house.alerts(&bounds(), 8);
    assert_eq!(names(&alerts), ["machine-silent/cus_a", "machine-silent/cus_b"]);
    let mut machines = alerts[0].machines.clone();
    machines.sort();
    let mut expected = vec![a.clone(), b];
    expected.sort();
    assert_eq!(machines, expected);
    assert!(alerts[0].what.contains("2 machine(s)"), "{}", alerts[0].what);

    house.taken(Fact::MachineBanned(wire::MachineBanned { machine: a.to_string(), banned: true }));
    let customer = "cus_b".to_owned();
    house.taken(Fact::CustomerLeft(wire::CustomerLeft { customer, for_good: false }));
    let alerts = house.alerts(&bounds(), 8);
    assert_eq!(names(&alerts), ["machine-silent/cus_a"], "who left is not waited for");
    assert_eq!(alerts[0].machines.len(), 1);
}

#[test]
fn a_long_list_is_cut_and_counted() {
    let mut house = House::new();
    for key in 1..=30 {
        house.enrol("cus_a", key);
    }
    let alerts = house.alerts(&bounds(), 8);
    assert_eq!(alerts[0].machines.len(), MACHINES_NAMED_MAX);
    assert!(alerts[0].what.starts_with("30 "), "{}", alerts[0].what);
}

#[test]
fn too_few_heard_from_is_told_of_all() {
    let mut house = House::new();
    house.enrol("cus_a", 1);
    let low = Bounds { coverage: Coverage { percent: 80, days: 14 }, silent_days: 100, ..bounds() };
    assert!(house.alerts(&low, 14).is_empty());
    assert_eq!(names(&house.alerts(&low, 15)), ["coverage-low"]);
}

#[test]
fn a_month_that_has_to_be_there_soon_is_told_until_it_is() {
    let house = House::new();
    let due = Some(("2026-09".parse().unwrap(), "2026-10-10T00:00:00Z".parse().unwrap()));
    let soon = Bounds { due, ..bounds() };
    assert!(house.alerts(&soon, 5).is_empty());
    let told = house.alerts(&soon, 6);
    assert_eq!(names(&told), ["deadline-near/2026-09"]);
    assert!(told[0].what.contains("has to be"));
    assert!(house.alerts(&soon, 9)[0].what.contains("had to be"));
}

#[test]
fn what_the_count_finds_becomes_an_alert_where_somebody_can_act() {
    let customer: CustomerId = "cus_a".parse().unwrap();
    let machine: MachineId = "mch_a".parse().unwrap();
    let unmapped = Blocker::unmapped_product(&customer, &"dsa-cloud".parse().unwrap());
    let told = of_blocker(&unmapped).unwrap();
    assert_eq!(
        (told.alert.as_str(), told.rule),
        ("product-unlicensed/cus_a/dsa-cloud", Rule::ProductUnlicensed)
    );
    assert_eq!(of_blocker(&Blocker::of_machine("clock_trouble", &machine)), None);
    for (flag, name) in [
        ("forked_spool", Some("possible-clone/mch_a")),
        ("merged_while_both_alive", Some("possible-clone/mch_a")),
        ("active_after_retirement", Some("switch-off-contradicted/mch_a")),
        ("active_after_switch_off", Some("switch-off-contradicted/mch_a")),
        ("went_silent", None),
    ] {
        let told = of_flag(&Flag::of_machine(flag, &machine));
        assert_eq!(told.map(|alert| alert.alert).as_deref(), name, "{flag}");
    }
}

#[test]
fn more_seats_than_agreed_are_told_with_both_numbers() {
    let house = House::new();
    let usage = house.fold.usage().clone();
    let policy = house.fold.terms().policy("2026-10".parse().unwrap()).unwrap();
    let now = Timestamp::from_millisecond(house.now_ms).unwrap();
    let mut month =
        MonthToDate::new(usage, policy, "2026-10".parse().unwrap(), now).output().unwrap().statement;
    let key: (CustomerId, Sku) = ("cus_a".parse().unwrap(), "DS".parse().unwrap());
    let line = |customer: &str, sku: &str, quantity: &str| {
        serde_json::from_value(serde_json::json!({
            "customer": customer, "sku": sku, "count": "high_water", "confirmed": quantity, "presumed": "0",
            "measured": quantity, "declared": "0", "adjusted": "0", "quantity": quantity
        }))
        .unwrap()
    };
    month.lines.extend([line("cus_a", "XX", "800"), line("cus_b", "DS", "900"), line("cus_a", "DS", "51")]);
    let over = |quota: u64| above_quota(&month, &Bounds { quota: [(key.clone(), quota)].into(), ..bounds() });
    assert!(over(51).is_empty());
    let told = over(50);
    assert_eq!(names(&told), ["seats-above-quota/cus_a/DS"]);
    assert!(told[0].what.contains("51 seats") && told[0].what.contains("50 were agreed"), "{}", told[0].what);
}
