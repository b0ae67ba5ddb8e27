//! Small, hostile fleets from a seed: few names, few instants, everything collides.
//! The same seed makes the same case on any machine.

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};

use super::places::PLACES;
use super::policies::{PRODUCTS, SKUS};
use super::random::Random;
use super::{Case, oracle};

const CUSTOMERS: [&str; 3] = ["cus_acme", "cus_bell", "cus_core"];
const FLAGS: [&str; 4] = ["pool", "possible_clone", "possible_same_machine", "key_in_two_places"];

/// What the names of one case are, and the instants it likes to come back to.
struct Fleet {
    random: Random,
    period: String,
    machines: Vec<String>,
    customers: Vec<&'static str>,
    products: Vec<&'static str>,
    /// From before the period to after it.
    days: Vec<Date>,
    instants: Vec<Timestamp>,
    records: Vec<Value>,
}

/// The case of a seed.
pub(super) fn case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let (zone, period) = *random.pick(&PLACES);
    let policy = super::policies::policy(&mut random, zone);
    let mut fleet = Fleet::new(random, zone, period);
    fleet.fill();
    let Fleet { mut random, instants, records, .. } = fleet;
    let records: Vec<String> = records.iter().map(Value::to_string).collect();
    let as_of = random.chance(25).then(|| *random.pick(&instants));
    let case = Case { records: records.join("\n"), policy, period: period.to_owned(), as_of, sealed: None };
    let sealed = random.chance(45).then(|| sealed(&mut random, &case));
    Case { sealed, ..case }
}

/// The periods before, as they were printed when only part of the records was known,
/// by one policy for all or each by its own, which the body then carries.
fn sealed(random: &mut Random, case: &Case) -> String {
    let mut bodies: Vec<Value> = Vec::new();
    let carried = random.chance(50);
    let one_before = oracle::period_before(&case.period);
    for period in [oracle::period_before(&one_before), one_before, case.period.clone()] {
        if random.chance(if period == case.period { 85 } else { 25 }) {
            continue;
        }
        let known: Vec<&str> = case.records.lines().filter(|_| random.chance(80)).collect();
        let known = known.join("\n");
        let sealed = (!bodies.is_empty()).then(|| Value::from(bodies.clone()).to_string());
        let mut policy = case.policy.clone();
        if carried && random.chance(70) {
            let (zone, _) = *random.pick(&PLACES);
            policy = super::policies::policy(random, zone);
        }
        let mut theirs: toml::Table = policy.parse().expect("a policy is TOML");
        theirs.remove("price");
        let mut statement =
            oracle::meter(&Case { records: known, policy, period, as_of: None, sealed })["statement"].take();
        if carried {
            statement["policy"] = json!(theirs);
        }
        if random.chance(20) {
            bodies.extend(in_two(random, &statement));
        } else {
            bodies.push(statement);
        }
    }
    Value::from(bodies).to_string()
}

/// One statement sealed as two bodies.
fn in_two(random: &mut Random, statement: &Value) -> [Value; 2] {
    let mut bodies = [statement.clone(), statement.clone()];
    for list in ["lines", "corrections"] {
        let rows = statement[list].as_array().expect("a list").clone();
        let (one, other) = rows.into_iter().partition::<Vec<Value>, _>(|_| random.chance(50));
        bodies[0][list] = one.into();
        bodies[1][list] = other.into();
    }
    bodies
}

/// An instant at a day's boundary, a hair beside it, or in the middle.
fn edge(random: &mut Random, zone: &TimeZone, day: Date) -> Timestamp {
    let start = day.to_zoned(zone.clone()).expect("a day in reach").timestamp();
    let beside = match random.below(8) {
        0 | 1 => SignedDuration::ZERO,
        2 => SignedDuration::from_nanos(1),
        3 => SignedDuration::from_nanos(-1),
        4 => SignedDuration::from_secs(-1),
        5 => SignedDuration::from_hours(12),
        6 => SignedDuration::from_mins(random.between(-70, 70)),
        _ => SignedDuration::from_mins(random.between(0, 1439)),
    };
    start + beside
}

impl Fleet {
    fn new(mut random: Random, zone: &str, period: &str) -> Fleet {
        let zone = TimeZone::get(zone).expect("an IANA zone");
        let machines = (0..random.between(1, 8)).map(|number| format!("mch_{number}")).collect();
        let customers = CUSTOMERS[..random.between(1, 3) as usize].to_vec();
        let mut products = PRODUCTS.to_vec();
        random.shuffle(&mut products);
        products.truncate(random.between(1, 4) as usize);
        let month = oracle::days_of(period);
        let before = if random.chance(50) { random.between(30, 61) } else { random.between(1, 20) };
        let first = month[0] - before.days();
        let days: Vec<Date> = (0..before + month.len() as i64 + 4).map(|day| first + day.days()).collect();
        let mut instants = Vec::new();
        for _ in 0..12 {
            let day = if random.chance(70) { *random.pick(&month) } else { *random.pick(&days) };
            instants.push(edge(&mut random, &zone, day));
        }
        let (from, until) =
            (*instants.iter().min().expect("instants"), *instants.iter().max().expect("instants"));
        let change = zone.following(from).next().filter(|change| change.timestamp() < until);
        if let Some(change) = change.filter(|_| random.chance(50)) {
            for beside in [0, 29, -29] {
                instants.push(change.timestamp() + SignedDuration::from_mins(beside));
            }
        }
        Fleet {
            random,
            period: period.to_owned(),
            machines,
            customers,
            products,
            days,
            instants,
            records: vec![],
        }
    }

    fn fill(&mut self) {
        self.assign();
        for machine in self.machines.clone() {
            self.report(&machine);
        }
        self.operate();
        self.join();
        self.declare();
        self.repeat();
    }

    fn at(&mut self) -> Timestamp {
        *self.random.pick(&self.instants)
    }

    /// One instant in one of its spellings.
    fn spelled(&mut self, at: Timestamp) -> String {
        let minutes = *self.random.pick(&[0, 0, 0, 60, -300, 345, 840]);
        if minutes == 0 {
            return at.to_string();
        }
        let offset = Offset::from_seconds(minutes * 60).expect("an offset in reach");
        at.display_with_offset(offset).to_string()
    }

    fn machine(&mut self) -> String {
        self.random.pick(&self.machines).clone()
    }

    fn customer(&mut self) -> &'static str {
        self.customers[self.random.below(self.customers.len())]
    }

    fn product(&mut self) -> &'static str {
        self.products[self.random.below(self.products.len())]
    }

    fn sku(&mut self) -> &'static str {
        SKUS[self.random.below(SKUS.len())]
    }

    /// Writes a fact down, sometimes later than it took effect.
    fn note(&mut self, kind: &str, at: Timestamp, fields: Value) {
        let mut record = json!({"type": kind, "at": self.spelled(at)});
        for (field, value) in fields.as_object().expect("fields") {
            record[field] = value.clone();
        }
        if self.random.chance(20) {
            let recorded_at = if self.random.chance(50) { self.at() } else { at };
            record["recorded_at"] = json!(self.spelled(recorded_at));
        }
        if self.random.chance(5) {
            record["id"] = json!(format!("rec_{}", self.random.below(3)));
        }
        self.records.push(record);
    }

    fn assign(&mut self) {
        let start = self.instants.iter().min().copied().expect("instants") - 24.hours();
        for machine in self.machines.clone() {
            if self.random.chance(85) {
                let at = if self.random.chance(70) { start } else { self.at() };
                let customer = self.customer();
                self.note("machine_assigned", at, json!({"machine": machine, "customer": customer}));
            }
            while self.random.chance(30) {
                let (at, customer) = (self.at(), self.customer());
                self.note("machine_assigned", at, json!({"machine": machine, "customer": customer}));
            }
        }
        let mut names = self.products.clone();
        names.extend(super::policies::SUITES.map(|(name, _)| name));
        for customer in self.customers.clone() {
            for product in &names {
                let mut chance = 65;
                while self.random.chance(chance) {
                    let at = if chance == 65 && self.random.chance(70) { start } else { self.at() };
                    let sku = if self.random.chance(12) { Value::Null } else { json!(self.sku()) };
                    self.note(
                        "sku_assigned",
                        at,
                        json!({"customer": customer, "product": product, "sku": sku}),
                    );
                    chance = 20;
                }
            }
        }
    }

    /// A machine's life: it reports often, or hardly, from some day until some day.
    fn report(&mut self, machine: &str) {
        let often = *self.random.pick(&[8, 20, 45]);
        let first = self.random.below(self.days.len());
        let first = if self.random.chance(60) { 0 } else { first };
        let mut sequence = self.random.between(0, 3);
        for day in self.days.clone().into_iter().skip(first) {
            if !self.random.chance(often) {
                continue;
            }
            let zone = TimeZone::UTC;
            let observed_at =
                if self.random.chance(30) { self.at() } else { edge(&mut self.random, &zone, day) };
            self.observe(machine, sequence, observed_at);
            if self.random.chance(94) {
                sequence += 1;
            }
            if self.random.chance(2) {
                break;
            }
        }
    }

    fn observe(&mut self, machine: &str, sequence: i64, observed_at: Timestamp) {
        let mut products = Vec::new();
        for product in self.products.clone() {
            let state = match self.random.below(20) {
                0..13 => "active",
                13 => "inactive",
                14 => "switched_off",
                15..17 => "unknown",
                _ => continue,
            };
            let version = *self.random.pick(&["1.0", "1.0", "1.1"]);
            products.push(json!({"product": product, "state": state, "version": version}));
        }
        let spool = if self.random.chance(90) { "spl_1" } else { "spl_2" };
        let on_the_way = self.on_the_way();
        let report = json!({
            "type": "report",
            "machine": machine,
            "spool": spool,
            "sequence": sequence,
            "observed_at": self.spelled(observed_at),
            "received_at": self.spelled(observed_at + on_the_way),
            "products": products,
        });
        self.records.push(report);
    }

    /// From observed to received; the exact limits and the first instants beyond them included.
    fn on_the_way(&mut self) -> SignedDuration {
        let ahead = SignedDuration::from_mins(-10);
        let old = SignedDuration::from_hours(62 * 24);
        match self.random.below(40) {
            0 => ahead,
            1 => ahead - SignedDuration::from_nanos(1),
            2 => ahead - SignedDuration::from_mins(self.random.between(1, 3000)),
            3 => old,
            4 => old + SignedDuration::from_nanos(1),
            5 => old + SignedDuration::from_hours(self.random.between(1, 500)),
            6..12 => SignedDuration::from_hours(self.random.between(1, 300)),
            _ => SignedDuration::from_secs(1),
        }
    }

    /// Orders carried out, licences, retirements and flags.
    fn operate(&mut self) {
        while self.random.chance(65) {
            let kind = *self.random.pick(&["switched_off", "switched_off", "switched_on"]);
            let (at, machine, product) = (self.at(), self.machine(), self.product());
            let fields = json!({"machine": machine, "product": product});
            self.note(kind, at, fields.clone());
            if self.random.chance(25) {
                self.note("switched_on", at, fields);
            }
        }
        while self.random.chance(60) {
            let kind = *self.random.pick(&["licence_suspended", "licence_suspended", "licence_resumed"]);
            let (at, customer, sku) = (self.at(), self.customer(), self.sku());
            let fields = json!({"customer": customer, "sku": sku});
            self.note(kind, at, fields.clone());
            if self.random.chance(25) {
                self.note("licence_resumed", at, fields);
            }
        }
        while self.random.chance(25) {
            let (at, machine) = (self.at(), self.machine());
            self.note("machine_retired", at, json!({"machine": machine, "reason": "scrapped"}));
        }
        while self.random.chance(40) {
            let (at, machine, flag) = (self.at(), self.machine(), *self.random.pick(&FLAGS));
            self.note("machine_flagged", at, json!({"machine": machine, "flag": flag}));
        }
    }

    /// Merges and splits, chains of them, a pair named in either order.
    fn join(&mut self) {
        if self.machines.len() < 2 || self.random.chance(50) {
            return;
        }
        while self.random.chance(75) {
            let kind = *self.random.pick(&["machines_merged", "machines_merged", "machines_split"]);
            let (at, kept, absorbed) = (self.at(), self.machine(), self.machine());
            if kept != absorbed {
                self.note(kind, at, json!({"kept": kept, "absorbed": absorbed}));
            }
        }
    }

    fn declare(&mut self) {
        let before = oracle::period_before(&self.period);
        let periods =
            [self.period.clone(), self.period.clone(), before.clone(), oracle::period_before(&before)];
        while self.random.chance(60) {
            let (at, customer, sku) = (self.at(), self.customer(), self.sku());
            let period = self.random.pick(&periods).clone();
            if self.random.chance(50) {
                let quantity = *self.random.pick(&[0, 1, 3, 40]);
                let fields = json!({"customer": customer, "sku": sku, "period": period, "quantity": quantity, "reason": "told"});
                self.note("declared", at, fields);
            } else {
                let delta = self.random.between(-3, 2);
                let fields = json!({"customer": customer, "sku": sku, "period": period, "delta": delta, "reason": "agreed"});
                self.note("adjusted", at, fields);
            }
        }
    }

    /// Records that stand in the file again: as they were, respelled, received at another time.
    fn repeat(&mut self) {
        for mut record in self.records.clone() {
            if !self.random.chance(8) {
                continue;
            }
            for field in ["at", "observed_at", "received_at", "recorded_at"] {
                if let Some(at) = record.get(field).and_then(Value::as_str) {
                    let at: Timestamp = at.parse().expect("an instant");
                    record[field] = json!(self.spelled(at));
                }
            }
            if record["type"] != "report" && record.get("recorded_at").is_none() {
                record["recorded_at"] = record["at"].clone();
            }
            if record["type"] == "report" {
                if self.random.chance(60) {
                    let observed_at: Timestamp =
                        record["observed_at"].as_str().expect("an instant").parse().expect("an instant");
                    let on_the_way = self.on_the_way();
                    record["received_at"] = json!(self.spelled(observed_at + on_the_way));
                }
                record["products"].as_array_mut().expect("products").reverse();
            }
            self.records.push(record);
        }
        let records = &mut self.records;
        self.random.shuffle(records);
    }
}
