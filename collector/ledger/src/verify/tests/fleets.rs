//! Random fleets: whatever a journal says, its honest bundles verify at every level.
//! A failure prints its seed.

use super::house::{House, machine_id, ms};
use super::*;
use crate::verify::verify;

/// As many as fit a debug build's patience.
const SEEDS: u64 = 12;

/// xorshift64*: enough for tests, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }
}

const CUSTOMERS: [&str; 3] = ["cus_a", "cus_b", "cus_c"];

fn policy(random: &mut Random) -> String {
    let zone = random.of(&["UTC", "Europe/Berlin", "Pacific/Apia"]);
    let moved = random.of(&["main_owner", "last_owner", "each_owner"]);
    let mut text = format!(
        "zone = \"{zone}\"\npresume_days = {}\nmoved = \"{moved}\"\nuncounted = [\"f\"]\n[default_sku]\n\
         a = \"A\"\nb = \"B\"\nc = \"C\"\nd = \"A\"\ns = \"S\"\n[suite.s]\nproducts = [\"b\", \"c\"]\n",
        random.below(9)
    );
    for sku in ["A", "B", "C", "S"] {
        let count = random.of(&["high_water", "distinct", "month_end", "average"]);
        let group = random.of(&["", "price_group = \"g\"", "price_group = \"h\""]);
        text.push_str(&format!(
            "[sku.{sku}]\ncount = \"{count}\"\nmin_days = {}\nfree_first_month = {}\n{group}\n",
            random.below(10).saturating_sub(5),
            random.chance(20),
        ));
    }
    let mode = random.of(&["volume", "graduated"]);
    text.push_str(&format!(
        "[price_group.g]\ndistributor = \"ingram\"\ncurrency = \"USD\"\nmode = \"{mode}\"\n\
         tiers = [{{ from = 1, cost = \"2.10\" }}, {{ from = 3, cost = \"1.805\" }}]\n\
         [price_group.h]\ndistributor = \"{}\"\ncurrency = \"JPY\"\ntiers = [{{ from = 0, cost = \"99.5\" }}]\n",
        random.of(&["ingram", "other"])
    ));
    text
}

fn fleet(random: &mut Random) -> House {
    let mut house = House::new("rsl_r", &policy(random), &CUSTOMERS);
    let machines = 1 + u8::try_from(random.below(7)).unwrap();
    for machine in 1..=machines {
        house.enrol(machine, random.of(&CUSTOMERS));
    }
    let mut hour = 0;
    let start = ms("09-01 00:00");
    let closes = [(ms("10-04 00:00"), "2026-09"), (ms("11-04 00:00"), "2026-10")];
    for (closes_at, period) in closes {
        while start + hour * 3_600_000 < closes_at {
            hour += i64::try_from(1 + random.below(12)).unwrap();
            house.now_ms = start + hour * 3_600_000;
            step(&mut house, random, machines);
        }
        house.now_ms = closes_at;
        house.seal(period);
    }
    house
}

fn step(house: &mut House, random: &mut Random, machines: u8) {
    let machine = 1 + u8::try_from(random.below(u64::from(machines))).unwrap();
    let other = 1 + u8::try_from(random.below(u64::from(machines))).unwrap();
    let at_ms = house.now_ms - i64::try_from(random.below(40)).unwrap() * 3_600_000;
    let (customer, sku) = (random.of(&CUSTOMERS).to_owned(), random.of(&["A", "B", "C", "S"]).to_owned());
    let (kept, absorbed) = (machine_id(machine).to_string(), machine_id(other).to_string());
    match random.below(100) {
        0 => house.write(Fact::MachineAssigned(wire::MachineAssigned { machine: kept, customer, at_ms })),
        1 if machine != other => {
            house.write(Fact::MachinesMerged(wire::MachinesMerged { kept, absorbed, at_ms }))
        }
        2 if machine != other => {
            house.write(Fact::MachinesSplit(wire::MachinesSplit { kept, absorbed, at_ms }))
        }
        3 => house.write(Fact::LicenceSuspended(wire::LicenceSuspended {
            customer,
            sku,
            at_ms,
            ..Default::default()
        })),
        4..=5 => house.write(Fact::LicenceResumed(wire::LicenceResumed {
            customer,
            sku,
            at_ms,
            ..Default::default()
        })),
        6 => house.write(Fact::SkuAssigned(wire::SkuAssigned {
            customer,
            product: random.of(&["a", "b", "s"]).to_owned(),
            sku: random.chance(70).then_some(sku),
            at_ms,
        })),
        7 => house.write(Fact::Declared(wire::Declared {
            customer,
            sku,
            period: "2026-10".into(),
            quantity: random.below(5),
            at_ms,
        })),
        8 => house.write(Fact::Adjusted(wire::Adjusted {
            customer,
            sku,
            period: "2026-10".into(),
            delta: i64::try_from(random.below(3)).unwrap() - 1,
            at_ms,
        })),
        9 => house.write(Fact::MachineRetired(wire::MachineRetired { machine: kept, at_ms })),
        10 => house.new_spool(machine),
        11 => house.checkpoint = house.checkpoint_of(house.journal.len()),
        12 => house.report(machine, house.now_ms + 3_600_000, "a"),
        _ => {
            let late = if random.chance(10) { i64::try_from(random.below(70 * 24)).unwrap() } else { 0 };
            let words = ["a", "b", "c", "d", "f", "a-", "b-", "c?", "a?", "x", "family/y"];
            let count = random.below(4);
            let mut products: Vec<&str> = (0..count).map(|_| random.of(&words)).collect();
            products.sort_by_key(|word| word.trim_end_matches(['-', '?']));
            products.dedup_by_key(|word| word.trim_end_matches(['-', '?']));
            let observed = house.now_ms - late * 3_600_000;
            house.report(machine, observed, &products.join(" "));
        }
    }
}

#[test]
fn honest_bundles_of_random_fleets_verify_at_every_level() {
    for seed in 1..=SEEDS {
        let house = fleet(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        for period in ["2026-09", "2026-10"] {
            for distributor in house.distributors(period) {
                let names = seed % 3 == 0;
                let bundle = house.bundle(period, &distributor, &[seed % 20], names);
                let question = Question {
                    checkpoint: (seed % 20 > 0)
                        .then(|| house.checkpoint_of(usize::try_from(seed % 20).unwrap())),
                    sample: Some(house.sample(period, &distributor, NONCE).unwrap()),
                    replay: Some(house.replay(period, &distributor)),
                    ..house.question(Level::Replayed)
                };
                if let Err(failures) = verify(bundle.as_bytes(), question) {
                    panic!("seed {seed}, {period}, {distributor}: {failures}");
                }
            }
        }
    }
}
