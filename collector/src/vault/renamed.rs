//! Which machines' names were written lately. Invariant: whoever asks with what they were told last is told of every
//! name since, or that they have to look at all.

use std::collections::VecDeque;

use seatbeat_proto::ids::MachineId;

/// Names that are remembered as written: more at once come with a roll-out, and then all are looked at.
const KEPT_MAX: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub struct Renamed {
    /// Names that were written since the start, and one: 0 stands for nothing known.
    count: u64,
    newest: VecDeque<MachineId>,
}

impl Default for Renamed {
    fn default() -> Self {
        Self { count: 1, newest: VecDeque::new() }
    }
}

impl Renamed {
    /// Notes a name that was written.
    pub fn note(&mut self, machine: MachineId) {
        self.count += 1;
        self.newest.push_back(machine);
        if self.newest.len() > KEPT_MAX {
            self.newest.pop_front();
        }
    }

    /// Where it is now, and the machines since an earlier place; none: too many.
    pub fn since(&self, known: u64) -> (u64, Option<Vec<MachineId>>) {
        let missed = usize::try_from(self.count.saturating_sub(known)).unwrap_or(usize::MAX);
        let kept = known > 0 && missed <= self.newest.len();
        (self.count, kept.then(|| self.newest.iter().rev().take(missed).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_since_is_told_or_that_there_were_too_many() {
        let id = |number: usize| format!("mch_{number}").parse::<MachineId>().unwrap();
        let mut renamed = Renamed::default();
        assert_eq!(renamed.since(0), (1, None));
        assert_eq!(renamed.since(1), (1, Some(Vec::new())));
        renamed.note(id(1));
        renamed.note(id(2));
        assert_eq!(renamed.since(1), (3, Some(vec![id(2), id(1)])));
        assert_eq!(renamed.since(2), (3, Some(vec![id(2)])));
        (0..KEPT_MAX).for_each(|number| renamed.note(id(number)));
        assert_eq!(renamed.since(2).1, None);
        assert_eq!(renamed.since(3).1.map(|names| names.len()), Some(KEPT_MAX));
    }
}
