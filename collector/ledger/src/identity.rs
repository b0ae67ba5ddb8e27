//! When two agents are one machine: hardware and system facts compared, a decision for each pair.
//! Invariant: only machines of one customer are ever compared; a fact that is missing or shared by many says nothing.
//! A fact is a salted hash, so only equality is known of it; junk values were dropped where they were read.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::{CustomerId, MachineId};

use crate::fold::FORKED_SPOOL;
use crate::registry::{Facts, Machine, Registry};
use crate::usage::Usage;

/// A value on this many live machines is a vendor's default, not a fact.
const SHARED_BY: usize = 3;

/// Equal strong facts from which on two machines have the same hardware.
const SAME_HARDWARE: usize = 2;

/// Flag of a machine that may be a copy of another.
pub const POSSIBLE_CLONE: &str = "possible_clone";

/// Flag of a machine that may be another one, for an operator to decide.
pub const POSSIBLE_SAME_MACHINE: &str = "possible_same_machine";

/// Flag of a machine whose key speaks from two places.
pub const KEY_IN_TWO_PLACES: &str = "key_in_two_places";

/// What to put on record about a pair of machines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// One computer, set up anew: the older agent has been silent since before the newer one was let in.
    Merge {
        /// The newer one.
        kept: MachineId,
        /// The silent one.
        absorbed: MachineId,
        /// How many strong facts are equal.
        facts: usize,
    },
    /// The absorbed one reports again: they are two.
    Split {
        /// The newer one.
        kept: MachineId,
        /// The one that was thought to be gone.
        absorbed: MachineId,
    },
    /// To be shown to an operator.
    Flag {
        /// Which machine.
        machine: MachineId,
        /// [`POSSIBLE_CLONE`] or [`POSSIBLE_SAME_MACHINE`].
        flag: &'static str,
        /// The machine it looks like.
        like: MachineId,
    },
    /// Its chain came in two versions: one key is in two places. [`KEY_IN_TWO_PLACES`] for an operator.
    TwoPlaces {
        /// Which machine.
        machine: MachineId,
    },
}

/// Everything that the known machines' facts call for and that is not on record yet: for the machines that were not
/// known `before`, or were another customer's or showed other facts, for those that were absorbed and report again, and for those whose chain was forked since. A pair
/// about which `usage` knows a decision is not joined again: what was parted stays apart.
pub fn decisions(registry: &Registry, usage: &Usage, before: &Registry) -> BTreeSet<Decision> {
    let mut found = BTreeSet::new();
    let changed = registry.changed_since(before);
    let is_new = |id: &MachineId, machine: &Machine| {
        let is_as_before =
            |known: &Machine| known.customer == machine.customer && known.facts == machine.facts;
        !before.machine(id).is_some_and(is_as_before) && is_live(machine)
    };
    let mut new = changed.iter().filter(|(id, machine)| is_new(id, machine)).peekable();
    // The index is over all machines: it is made only where there is somebody to look up.
    if new.peek().is_some() {
        let index = Index::of(registry);
        for (id, machine) in new {
            for peer in index.alike(id, machine) {
                let parted = usage.bond_of(id, peer).is_some();
                found.extend(
                    compare(&index, (id, machine), peer)
                        .into_iter()
                        .filter(|decision| !parted || !matches!(decision, Decision::Merge { .. })),
                );
            }
        }
    }
    for (id, machine) in changed {
        if machine.flags.contains_key(FORKED_SPOOL) && !machine.flags.contains_key(KEY_IN_TWO_PLACES) {
            found.insert(Decision::TwoPlaces { machine: id.clone() });
        }
        if let Some((kept, merged_at)) = &machine.absorbed_into
            && machine.last.as_ref().is_some_and(|last| last.received_at > *merged_at)
        {
            found.insert(Decision::Split { kept: kept.clone(), absorbed: id.clone() });
            found.extend(flag(registry, POSSIBLE_CLONE, id, kept));
        }
    }
    found
}

/// Which live machines show a fact.
struct Index<'a> {
    registry: &'a Registry,
    showing: BTreeMap<(&'a CustomerId, &'a [u8]), Vec<&'a MachineId>>,
}

impl<'a> Index<'a> {
    fn of(registry: &'a Registry) -> Self {
        let mut showing: BTreeMap<_, Vec<&MachineId>> = BTreeMap::new();
        for (id, machine) in registry.machines_after(None).filter(|(_, machine)| is_live(machine)) {
            for fact in machine.facts.iter().flat_map(all).filter(|fact| !fact.is_empty()) {
                showing.entry((&machine.customer, fact)).or_default().push(id);
            }
        }
        Self { registry, showing }
    }

    fn tells(&self, customer: &CustomerId, fact: &[u8]) -> bool {
        !fact.is_empty() && self.showing.get(&(customer, fact)).is_none_or(|shown| shown.len() < SHARED_BY)
    }

    /// The machines that have a telling fact in common with this one.
    fn alike(&self, id: &MachineId, machine: &'a Machine) -> BTreeSet<&'a MachineId> {
        let facts = machine.facts.iter().flat_map(all).filter(|fact| self.tells(&machine.customer, fact));
        let shown = facts.filter_map(|fact| self.showing.get(&(&machine.customer, fact))).flatten();
        shown.copied().filter(|other| *other != id).collect()
    }
}

/// A machine that was absorbed goes on as the one that it became.
fn is_live(machine: &Machine) -> bool {
    machine.retired_at.is_none() && machine.absorbed_into.is_none()
}

fn strong(facts: &Facts) -> [&[u8]; 4] {
    [&facts.smbios_uuid, &facts.system_serial, &facts.board_serial, &facts.disk_serial]
}

fn all(facts: &Facts) -> impl Iterator<Item = &[u8]> {
    strong(facts).into_iter().chain([facts.os_id.as_slice()])
}

fn compare(index: &Index<'_>, one: (&MachineId, &Machine), other: &MachineId) -> Vec<Decision> {
    let registry = index.registry;
    let Some(peer) = registry.machine(other) else { return Vec::new() };
    let (Some(facts), Some(known)) = (&one.1.facts, &peer.facts) else { return Vec::new() };
    if facts.pool && known.pool {
        return Vec::new();
    }
    let tells = |fact: &[u8]| index.tells(&one.1.customer, fact);
    let pairs = strong(facts).into_iter().zip(strong(known));
    let equal = pairs.clone().filter(|(a, b)| a == b && tells(a)).count();
    let differ = pairs.filter(|(a, b)| a != b && tells(a) && tells(b)).count();
    let same_system = facts.os_id == known.os_id && tells(&facts.os_id);
    let (older, newer) = if (one.1.enrolled_at, one.0) <= (peer.enrolled_at, other) {
        (one, (other, peer))
    } else {
        ((other, peer), one)
    };
    let both_alive = older.1.last.as_ref().is_some_and(|last| last.received_at > newer.1.enrolled_at);
    match equal {
        SAME_HARDWARE.. if !both_alive => {
            vec![Decision::Merge { kept: newer.0.clone(), absorbed: older.0.clone(), facts: equal }]
        }
        SAME_HARDWARE.. => flag(registry, POSSIBLE_CLONE, newer.0, older.0),
        1 => flag(registry, POSSIBLE_SAME_MACHINE, newer.0, older.0),
        0 if same_system && differ > 0 => flag(registry, POSSIBLE_CLONE, newer.0, older.0),
        0 => Vec::new(),
    }
}

/// Both machines of a pair are flagged, as far as they are not.
fn flag(registry: &Registry, flag: &'static str, one: &MachineId, other: &MachineId) -> Vec<Decision> {
    let flagged =
        |id: &MachineId| registry.machine(id).is_some_and(|machine| machine.flags.contains_key(flag));
    [(one, other), (other, one)]
        .into_iter()
        .filter(|(machine, _)| !flagged(machine))
        .map(|(machine, like)| Decision::Flag { machine: machine.clone(), flag, like: like.clone() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::few::FewMap;
    use crate::record::{Entry, Event};
    use crate::registry::LastReport;
    use jiff::Timestamp;

    /// Uuid, system, board and disk serial, system id; `-` is a fact that is missing.
    fn facts(values: [&str; 5]) -> Facts {
        let [smbios_uuid, system_serial, board_serial, disk_serial, os_id] =
            values.map(|value| if value == "-" { Vec::new() } else { value.as_bytes().to_vec() });
        Facts { smbios_uuid, system_serial, board_serial, disk_serial, os_id, ..Facts::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A machine of a customer: enrolled, last heard, facts.
    fn machine(customer: &str, enrolled: i64, heard: i64, values: [&str; 5]) -> Machine {
        Machine {
            key: [0; 32],
            customer: customer.parse().unwrap(),
            token: "tok_a".parse().unwrap(),
            enrolled_at: at(enrolled),
            banned: false,
            retired_at: None,
            absorbed_into: None,
            agent_version: "".into(),
            catalogue_version: 0,
            spools: FewMap::new(),
            continued_at: FewMap::new(),
            last: Some(LastReport { observed_at: at(heard), received_at: at(heard), products: [].into() }),
            flags: FewMap::new(),
            facts: Some(facts(values)),
            seal_key: None,
        }
    }

    fn id(name: &str) -> MachineId {
        format!("mch_{name}").parse().unwrap()
    }

    fn check(machines: &[(&str, Machine)], expected: &[&str]) {
        check_after(&Usage::default(), &[], machines, expected);
    }

    fn check_after(usage: &Usage, seen: &[&str], machines: &[(&str, Machine)], expected: &[&str]) {
        let (mut registry, mut before) = (Registry::default(), Registry::default());
        for (name, machine) in machines {
            registry.machines.insert(id(name), machine.clone());
            if seen.contains(name) {
                before.machines.insert(id(name), Machine { flags: FewMap::new(), ..machine.clone() });
            }
        }
        let shown: Vec<String> = decisions(&registry, usage, &before)
            .iter()
            .map(|decision| match decision {
                Decision::Merge { kept, absorbed, .. } => format!("{kept} was {absorbed}"),
                Decision::Split { kept, absorbed } => format!("{kept} is not {absorbed}"),
                Decision::Flag { machine, flag, .. } => format!("{machine} {flag}"),
                Decision::TwoPlaces { machine } => format!("{machine} {KEY_IN_TWO_PLACES}"),
            })
            .collect();
        assert_eq!(shown, expected);
    }

    const PC: [&str; 5] = ["uuid", "serial", "board", "disk", "system"];

    #[test]
    fn a_computer_set_up_anew_stays_the_same_machine() {
        let anew = ["uuid", "serial", "board", "disk", "anew"];
        check(
            &[("a", machine("cus_x", 1, 10, PC)), ("b", machine("cus_x", 20, 30, anew))],
            &["mch_b was mch_a"],
        );
        let other_disk = ["uuid", "serial", "-", "disk2", "anew"];
        check(
            &[("a", machine("cus_x", 1, 10, PC)), ("b", machine("cus_x", 20, 30, other_disk))],
            &["mch_b was mch_a"],
        );
    }

    #[test]
    fn two_that_live_at_the_same_time_are_two_and_look_like_clones() {
        check(
            &[("a", machine("cus_x", 1, 25, PC)), ("b", machine("cus_x", 20, 30, PC))],
            &["mch_a possible_clone", "mch_b possible_clone"],
        );
    }

    #[test]
    fn a_copied_image_on_other_hardware_looks_like_a_clone() {
        let copy = ["uuid2", "serial2", "board2", "disk2", "system"];
        check(
            &[("a", machine("cus_x", 1, 10, PC)), ("b", machine("cus_x", 20, 30, copy))],
            &["mch_a possible_clone", "mch_b possible_clone"],
        );
    }

    #[test]
    fn one_strong_fact_in_common_is_for_an_operator() {
        let moved_disk = ["uuid2", "serial2", "board2", "disk", "other"];
        check(
            &[("a", machine("cus_x", 1, 10, PC)), ("b", machine("cus_x", 20, 30, moved_disk))],
            &["mch_a possible_same_machine", "mch_b possible_same_machine"],
        );
    }

    #[test]
    fn each_machine_is_looked_at_once_whatever_the_clock_said_when_it_came() {
        let machines = [("a", machine("cus_x", 20, 30, PC)), ("b", machine("cus_x", 1, 35, PC))];
        check_after(&Usage::default(), &["a"], &machines, &["mch_a possible_clone", "mch_b possible_clone"]);
        check_after(&Usage::default(), &["a", "b"], &machines, &[]);
    }

    #[test]
    fn a_forked_chain_is_one_key_in_two_places() {
        let mut forked = machine("cus_x", 1, 25, PC);
        forked.flags.insert(FORKED_SPOOL.to_owned(), at(30));
        check_after(&Usage::default(), &["a"], &[("a", forked.clone())], &["mch_a key_in_two_places"]);
        forked.flags.insert(KEY_IN_TWO_PLACES.to_owned(), at(31));
        check_after(&Usage::default(), &["a"], &[("a", forked)], &[]);
    }

    #[test]
    fn machines_of_two_customers_are_never_compared() {
        check(&[("a", machine("cus_x", 1, 10, PC)), ("b", machine("cus_y", 20, 30, PC))], &[]);
    }

    #[test]
    fn a_machine_that_changed_hands_is_compared_with_those_of_its_new_customer() {
        let (old, new) = (machine("cus_x", 1, 10, PC), machine("cus_x", 20, 30, PC));
        let (mut registry, mut before) = (Registry::default(), Registry::default());
        for (registry, customer) in [(&mut before, "cus_y"), (&mut registry, "cus_x")] {
            let new = Machine { customer: customer.parse().unwrap(), ..new.clone() };
            registry.machines.insert(id("a"), old.clone());
            registry.machines.insert(id("b"), new);
        }
        let found = decisions(&registry, &Usage::default(), &before);
        let merge = Decision::Merge { kept: id("b"), absorbed: id("a"), facts: 4 };
        assert_eq!(found, [merge].into());
        assert_eq!(decisions(&before, &Usage::default(), &Registry::default()), BTreeSet::new());
    }

    #[test]
    fn a_value_on_three_machines_is_no_fact() {
        let with = |disk| ["-", "default", "default board", disk, "-"];
        check(
            &[
                ("a", machine("cus_x", 1, 10, with("1"))),
                ("b", machine("cus_x", 20, 30, with("2"))),
                ("c", machine("cus_x", 40, 50, with("3"))),
            ],
            &[],
        );
    }

    #[test]
    fn a_pool_is_expected_to_look_alike() {
        let pooled = |enrolled, heard| {
            let mut machine = machine("cus_x", enrolled, heard, PC);
            machine.facts.as_mut().unwrap().pool = true;
            machine
        };
        check(&[("a", pooled(1, 25)), ("b", pooled(20, 30))], &[]);
    }

    #[test]
    fn an_absorbed_machine_that_reports_again_is_split_off() {
        let mut absorbed = machine("cus_x", 1, 40, PC);
        absorbed.absorbed_into = Some((id("b"), at(30)));
        check(
            &[("a", absorbed), ("b", machine("cus_x", 20, 35, ["-"; 5]))],
            &["mch_b is not mch_a", "mch_a possible_clone", "mch_b possible_clone"],
        );
    }

    #[test]
    fn what_is_on_record_is_not_decided_again() {
        let mut known = machine("cus_x", 1, 25, PC);
        known.flags.insert(POSSIBLE_CLONE.to_owned(), at(30));
        let mut absorbed = machine("cus_x", 1, 10, PC);
        absorbed.absorbed_into = Some((id("b"), at(30)));
        check(&[("a", known), ("b", machine("cus_x", 20, 30, PC))], &["mch_b possible_clone"]);
        check(&[("a", absorbed), ("b", machine("cus_x", 20, 30, PC))], &[]);
    }
    #[test]
    fn what_an_operator_parted_stays_apart() {
        let mut usage = Usage::default();
        let (kept, absorbed) = (id("b"), id("a"));
        usage.apply_entry(&Entry::new(at(40), Event::MachinesSplit { kept, absorbed }));
        let machines = [("a", machine("cus_x", 1, 10, PC)), ("b", machine("cus_x", 20, 30, PC))];
        check(&machines, &["mch_b was mch_a"]);
        check_after(&usage, &[], &machines, &[]);
    }
}
