//! Agents that are one machine, joined.
//! Invariant: each agent is part of exactly one machine, which is known by its smallest id, for all time.

use std::borrow::Cow;
use std::collections::BTreeMap;

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
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Towards a smaller id of the same machine; who is not here stands alone.
    smaller: BTreeMap<MachineId, MachineId>,
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
}

/// The machines, in the order of their ids.
pub fn join<'a>(usage: &'a Usage, names: &Names) -> Vec<Machine<'a>> {
    let mut groups: BTreeMap<&MachineId, Vec<&'a MachineFacts>> = BTreeMap::new();
    for (agent, facts) in usage.machines() {
        groups.entry(names.of(agent)).or_default().push(facts);
    }
    let machine = |(id, agents): (&MachineId, Vec<&'a MachineFacts>)| {
        let facts = match agents.as_slice() {
            [alone] => Cow::Borrowed(*alone),
            several => {
                let mut joined = MachineFacts::default();
                several.iter().for_each(|facts| joined.absorb(facts));
                Cow::Owned(joined)
            }
        };
        Machine { id: id.clone(), facts, agents }
    };
    groups.into_iter().map(machine).collect()
}
