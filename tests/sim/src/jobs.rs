//! What collectors do by themselves: identity, the month, what others wrote, the house's copy. Invariant: each compares
//! what should be with what is, as the product's jobs do.

use std::fs;
use std::path::{Path, PathBuf};

use seatbeat_collector::jobs::{close, identity as job};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::COLLECTOR;
use seatbeat_ledger::identity::{Decision, decisions};

use crate::collector::{NotWritten, instant};
use crate::world::{Event, HOUR, SECOND, World};
use crate::wrong::Wrong;

impl World {
    /// A collector's jobs: the house's copy, identity, the month.
    pub fn jobs(&mut self, collector: usize) {
        let at = self.now + 3 * HOUR;
        self.plan(at, Event::Jobs { collector });
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
            }
            self.renew_tokens();
            self.run_identity();
            self.close_what_is_due();
        }
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
    pub fn run_identity(&mut self) -> usize {
        let now = self.now;
        let clock = self.collectors[0].clock(now);
        let Some(running) = &self.collectors[0].running else { return 0 };
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
            let written = self.collectors[0].write(COLLECTOR, &reason, vec![fact], now);
            self.read_news(0);
            if written.is_err() {
                self.after_failed_write(0, written);
                return decided;
            }
        }
        if let Some(running) = &mut self.collectors[0].running {
            running.identified = looked_at;
        }
        (1..self.collectors.len()).for_each(|collector| self.follow(collector));
        decided
    }

    fn close_what_is_due(&mut self) {
        let now = self.now;
        let clock = instant(self.collectors[0].clock(now));
        let Some(running) = &self.collectors[0].running else { return };
        let due = close::due(&running.fold, &self.office.config, clock);
        let again = self.is_wrong(Wrong::SealedAgain).then(|| running.fold.sealed_periods().next()).flatten();
        let period = due.or(again);
        if let Some(period) = period {
            self.close(period, clock);
        }
    }

    /// As the close job does.
    pub fn close(&mut self, period: Period, clock: jiff::Timestamp) {
        let now = self.now;
        let Some(running) = &self.collectors[0].running else { return };
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
        let written = self.collectors[0].write(COLLECTOR, "", approved.facts(), now);
        self.read_news(0);
        if written.is_err() {
            return self.after_failed_write(0, written);
        }
        let Some(running) = &self.collectors[0].running else { return };
        if approved.is_sealed_in(&running.fold) {
            self.tell(format!("{period} is sealed"));
            for (distributor, signed) in approved.statements() {
                self.witness.went_out.entry((period.to_string(), distributor)).or_insert(signed.payload);
            }
        }
    }

    /// A collector that could not write for another reason than a full disk is over.
    pub fn after_failed_write(&mut self, collector: usize, written: Result<(), NotWritten>) {
        if written == Err(NotWritten::Over) {
            self.crash(collector);
        }
    }

    /// A collector folds what others wrote.
    pub fn follow(&mut self, collector: usize) {
        self.collectors[collector].catch_up();
        self.read_news(collector);
        let down = self.collectors[collector].end_banned();
        self.send_down(down);
    }

    /// The others hear of it within seconds.
    pub fn plan_following(&mut self, collector: usize) {
        for other in (0..self.collectors.len()).filter(|other| *other != collector) {
            let at = self.now + 10 + self.draw(5 * SECOND);
            self.plan(at, Event::Follow { collector: other });
        }
    }

    fn back_up(&mut self, collector: usize) {
        if let Some(folder) = self.collectors[collector].folder() {
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
