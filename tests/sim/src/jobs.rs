//! What collectors do by themselves: identity, the month, what others wrote, the house's copy. Invariant: each compares
//! what should be with what is, as the product's jobs do.

use std::fs;
use std::path::{Path, PathBuf};

use seatbeat_collector::jobs::{close, identity as job};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::identity::{Decision, decisions};

use crate::collector::instant;
use crate::leading::Term;
use crate::world::{Event, HOUR, SECOND, World};
use crate::wrong::Wrong;

impl World {
    /// A collector's jobs: the house's copy, identity, the month.
    pub fn jobs(&mut self, collector: usize) {
        let others = if self.database.is_some() { self.draw(30 * SECOND) - 15 * SECOND } else { 0 };
        self.plan(self.now + 3 * HOUR + others, Event::Jobs { collector });
        if self.collectors[collector].running.is_none() {
            return;
        }
        self.follow(collector);
        self.remove_copies();
        self.check_queues(collector);
        if collector == 0 {
            if self.healing {
                // It may have been down when faults stopped.
                self.unban_all();
                self.retry_uploads();
                self.set_keys_again(collector);
            }
            self.renew_tokens();
        }
        self.lead(collector);
        match self.draw(16) {
            0 => self.save_snapshot(collector),
            1 => {
                self.save_snapshot(collector);
                self.back_up(collector);
            }
            _ => {}
        }
    }

    /// As the identity job does; how much it decided.
    pub fn run_identity(&mut self, term: Term) -> usize {
        let (now, collector) = (self.now, term.collector);
        let clock = self.collectors[collector].clock(now);
        let Some(running) = &self.collectors[collector].running else { return 0 };
        let (registry, usage) = (running.fold.registry(), running.fold.usage());
        let found = decisions(registry, usage, &running.identified);
        let found = crate::misjudged::misjudged(self.question.wrong, &self.witness.book, registry, found);
        let decided = found.len();
        let looked_at = registry.clone();
        for decision in found {
            let left_out = match &decision {
                Decision::Merge { .. } => self.is_wrong(Wrong::MergesLeftOut),
                Decision::Split { .. } => self.is_wrong(Wrong::SplitsLeftOut),
                Decision::Flag { .. } | Decision::TwoPlaces { .. } => self.is_wrong(Wrong::FlagsLeftOut),
            };
            if left_out {
                continue;
            }
            let (reason, fact) = job::record(&decision, clock);
            self.tell(reason.clone());
            if !self.write_as_leader(term, &reason, vec![fact]) {
                return decided;
            }
        }
        if let Some(running) = &mut self.collectors[collector].running {
            running.identified = looked_at;
        }
        decided
    }

    pub fn close_what_is_due(&mut self, term: Term) {
        let collector = term.collector;
        let clock = instant(self.collectors[collector].clock(self.now));
        let Some(running) = &self.collectors[collector].running else { return };
        let due = close::due(&running.fold, &self.office.config, clock);
        let again = self.is_wrong(Wrong::SealedAgain).then(|| running.fold.sealed_periods().next()).flatten();
        let period = due.or(again);
        if let Some(period) = period {
            self.close(term, period, clock);
        }
    }

    /// As the close job does.
    pub fn close(&mut self, term: Term, period: Period, clock: jiff::Timestamp) {
        let collector = term.collector;
        let Some(running) = &self.collectors[collector].running else { return };
        let draft = match close::draft(&running.fold, period, clock, &self.office.config) {
            Ok(draft) => draft,
            Err(error) => return self.tell(format!("{period} is not drafted: {error}")),
        };
        let may = draft.may_be_sealed(&running.fold, false);
        self.check_statement(&draft.output.statement, period);
        if let Err(error) = may
            && !self.is_wrong(Wrong::SealedAgain)
        {
            return self.tell(format!("{period} is not sealed: {error}"));
        }
        let approved = draft.approved(&self.office.statement);
        if !self.write_as_leader(term, "", approved.facts()) {
            return;
        }
        let Some(running) = &self.collectors[collector].running else { return };
        if approved.is_sealed_in(&running.fold) {
            self.tell(format!("{period} is sealed"));
            for (distributor, signed) in approved.statements() {
                self.witness.went_out.entry((period.to_string(), distributor)).or_insert(signed.payload);
            }
        }
    }

    /// A collector folds what others wrote.
    pub fn follow(&mut self, collector: usize) {
        let known = self.keys_known_to(collector);
        if let Err(over) = self.collectors[collector].catch_up() {
            return self.after_failed_write(collector, over);
        }
        self.read_news(collector);
        let down = self.collectors[collector].end_banned();
        self.send_down(down);
        if self.keys_known_to(collector) > known {
            self.deliver_to_all();
        }
    }

    /// Before somebody is greeted who may come from another collector: what that one wrote, unless it takes too long.
    pub fn follow_most_often(&mut self, collector: usize) {
        if self.database.is_some() && self.draw(8) != 0 {
            self.follow(collector);
        }
    }

    /// The others hear of it within seconds.
    pub fn plan_following(&mut self, collector: usize) {
        for other in (0..self.collectors.len()).filter(|other| *other != collector) {
            let at = self.now + 10 + self.draw(5 * SECOND);
            self.plan(at, Event::Follow { collector: other });
        }
    }

    fn back_up(&mut self, collector: usize) {
        if self.database.is_none() {
            let folder = self.collectors[collector].folder();
            let segments = fs::read_dir(folder.join("journal")).into_iter().flatten().flatten();
            let mut copy: Vec<(PathBuf, Vec<u8>)> = segments
                .filter_map(|entry| Some((entry.file_name().into(), fs::read(entry.path()).ok()?)))
                .collect();
            copy.sort();
            self.office.backup = Some(copy);
        }
    }
}

/// Puts a copy of the journal in the place of what was lost.
pub fn put_back(folder: &Path, copy: &[(PathBuf, Vec<u8>)]) {
    let journal = folder.join("journal");
    let _ = fs::remove_dir_all(&journal);
    for snapshot in ["snapshot", "snapshot.previous"] {
        let _ = fs::remove_file(folder.join(snapshot));
    }
    let _ = fs::create_dir_all(&journal);
    for (name, bytes) in copy {
        let _ = fs::write(journal.join(name), bytes);
    }
}
