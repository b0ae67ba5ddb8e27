//! Agents that are one machine, joined.
//! Invariant: each agent is part of exactly one machine, which is known by its smallest id, for all time.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::MachineId;

use crate::usage::{MachineFacts, Usage};

/// One machine, with what all its agents know of it.
#[derive(Debug, Clone)]
pub struct Machine<'a> {
    /// The smallest id of its agents.
    pub id: MachineId,
    /// What all of them know.
    pub facts: Cow<'a, MachineFacts>,
    /// What each of them knows alone.
    pub agents: Vec<&'a MachineFacts>,
}

/// Which machine an agent is part of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Towards a smaller id of the same machine; who is not here stands alone.
    smaller: BTreeMap<MachineId, MachineId>,
    /// The agents of each machine that has several ids, whether they ever reported or not.
    members: BTreeMap<MachineId, BTreeSet<MachineId>>,
}

impl Names {
    /// The names by the latest decision on each pair.
    pub fn new(usage: &Usage) -> Self {
        let mut names = Self::default();
        for (one, other) in usage.merged_pairs() {
            let (one, other) = (names.of(one).clone(), names.of(other).clone());
            if one < other {
                names.smaller.insert(other, one);
            } else if other < one {
                names.smaller.insert(one, other);
            }
        }
        let mut members: BTreeMap<MachineId, BTreeSet<MachineId>> = BTreeMap::new();
        for agent in names.smaller.keys() {
            let name = names.of(agent);
            members.entry(name.clone()).or_default().extend([agent.clone(), name.clone()]);
        }
        names.members = members;
        names
    }

    /// The machine that this agent is part of.
    pub fn of<'a>(&'a self, agent: &'a MachineId) -> &'a MachineId {
        let mut name = agent;
        while let Some(smaller) = self.smaller.get(name) {
            name = smaller;
        }
        name
    }

    /// Whether this agent is one of several on its machine.
    pub fn is_joined(&self, agent: &MachineId) -> bool {
        !self.smaller.is_empty() && (self.smaller.contains_key(agent) || self.members.contains_key(agent))
    }

    /// The agents of a machine.
    pub fn members<'a>(&'a self, machine: &'a MachineId) -> impl Iterator<Item = &'a MachineId> {
        let several = self.members.get(machine);
        several.into_iter().flatten().chain(several.is_none().then_some(machine))
    }

    /// The machine of this name, as far as anything is known of it.
    pub fn machine<'a>(&self, usage: &'a Usage, name: &MachineId) -> Option<Machine<'a>> {
        let agents: Vec<&MachineFacts> =
            self.members(name).filter_map(|agent| usage.machines().get(agent)).collect();
        let facts = match agents.as_slice() {
            [] => return None,
            [alone] => Cow::Borrowed(*alone),
            several => {
                let mut joined = MachineFacts::default();
                several.iter().for_each(|facts| joined.absorb(facts));
                Cow::Owned(joined)
            }
        };
        Some(Machine { id: name.clone(), facts, agents })
    }

    /// All machines: those of one agent by their ids, then those of several by theirs.
    pub fn machines<'a>(&'a self, usage: &'a Usage) -> impl Iterator<Item = Machine<'a>> {
        self.part_of_machines(usage, 0, 1)
    }

    /// One of several parts of all machines.
    pub fn part_of_machines<'a>(
        &'a self,
        usage: &'a Usage,
        part: usize,
        parts: usize,
    ) -> impl Iterator<Item = Machine<'a>> {
        let alone = usage.machines().part(part, parts).filter(|(agent, _)| !self.is_joined(agent));
        let alone = alone.map(|(agent, facts)| Machine {
            id: agent.clone(),
            facts: Cow::Borrowed(facts),
            agents: vec![facts],
        });
        let joined = self.members.keys().skip(part).step_by(parts);
        alone.chain(joined.filter_map(|name| self.machine(usage, name)))
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn check(steps: &[(&str, &str, &str, &str)], lines: &[&str]) {
        let mut scenario = Scenario::new().policy("presume_days = 0");
        for machine in ["k", "m", "n"] {
            scenario = scenario.assigned("09-01 00:00", machine, "acme").reports(machine, [5], "a");
        }
        for (kind, at, kept, absorbed) in steps {
            scenario = scenario.machines(kind, at, kept, absorbed);
        }
        assert_eq!(scenario.lines(), lines, "{steps:?}");
    }

    #[test]
    fn merged_machines_are_one_for_all_time() {
        check(&[], &["acme A 3=3+0 on 5"]);
        check(&[("merged", "12-01 00:00", "m", "n")], &["acme A 2=2+0 on 5"]);
        check(&[("merged", "01-01 00:00", "n", "m")], &["acme A 2=2+0 on 5"]);
        check(
            &[("merged", "12-01 00:00", "m", "n"), ("merged", "12-01 00:00", "n", "k")],
            &["acme A 1=1+0 on 5"],
        );
    }

    #[test]
    fn the_latest_decision_on_a_pair_holds_split_winning_a_tie() {
        let merged = ("merged", "10-02 00:00", "m", "n");
        check(&[merged, ("split", "10-01 00:00", "m", "n")], &["acme A 2=2+0 on 5"]);
        check(&[merged, ("split", "10-02 00:00", "n", "m")], &["acme A 3=3+0 on 5"]);
        check(&[merged, ("split", "10-03 00:00", "m", "n")], &["acme A 3=3+0 on 5"]);
        check(&[("split", "10-02 00:00", "k", "n"), merged], &["acme A 2=2+0 on 5"]);
    }

    #[test]
    fn a_split_pair_may_still_be_one_through_a_third() {
        let through = [("merged", "10-01 00:00", "m", "k"), ("merged", "10-01 00:00", "n", "k")];
        check(&[through[0], through[1], ("split", "10-02 00:00", "m", "n")], &["acme A 1=1+0 on 5"]);
    }

    #[test]
    fn a_joined_machine_is_known_by_its_smallest_id_even_one_that_never_reported() {
        let scenario =
            Scenario::new().report("m", "09-01 08:00", "a").machines("merged", "10-01 00:00", "m", "a");
        assert_eq!(scenario.flags(), ["went_silent mch_a"]);
        let chain = Scenario::new()
            .report("m", "09-01 08:00", "a")
            .machines("merged", "10-01 00:00", "m", "z")
            .machines("merged", "10-01 00:00", "z", "y")
            .machines("merged", "10-01 00:00", "y", "c");
        assert_eq!(chain.flags(), ["went_silent mch_c"]);
    }
}
