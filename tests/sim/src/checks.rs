//! Whether it held: after starts, at each close, and when everything has healed. Invariant: a promise is compared with
//! what the witness saw, or with a second reading of the page.

use std::collections::BTreeSet;

use seatbeat_agent::session::WINDOW;
use seatbeat_collector::books;
use seatbeat_ledger::body::SealedBody;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::close::{CloseInput, close};
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::identity::{KEY_IN_TWO_PLACES, POSSIBLE_CLONE};
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::record::Record;
use seatbeat_ledger::registry::{Facts, Machine, Registry};
use seatbeat_ledger::statement::Statement;
use seatbeat_ledger::usage::{Bond, Usage};
use seatbeat_proto::ids::MachineId;

use crate::collector::{News, instant};
use crate::host::{Host, Power};
use crate::invariant::Invariant;
use crate::misjudged::misclosed;
use crate::office::POLICY;
use crate::page::{Quantities, quantities};
use crate::witness::{Hash, Made};
use crate::world::{DAY, HOUR, SECOND, World};
use crate::wrong::Wrong;

/// When October is closed: behind its grace, and behind all that was presumed.
const OCTOBER_CLOSES_MS: i64 = 1_793_664_000_000 + 2 * DAY;

/// How far the clocks of two collectors are apart at most.
const CLOCKS_APART: i64 = 4 * SECOND;

/// Equal strong facts that make two machines one case.
pub const SAME_CASE: usize = 2;

impl World {
    /// After a start: what was known before is known again, and beside it what stood in the journal without an answer.
    pub fn check_replay(&mut self, collector: usize) {
        let Some(running) = &self.collectors[collector].running else { return };
        let Some(mut shadow) = self.witness.shadows[collector].take() else { return };
        if running.fold.position() < shadow.position() {
            return;
        }
        let tail = self.collectors[collector].records_from(shadow.position());
        let tail: Vec<News> = tail.iter().map(|bytes| News::of(&mut shadow, bytes)).collect();
        if shadow != running.fold {
            let what = format!("collector {collector} starts with another fold than it had");
            self.breaks(Invariant::FoldIsReplay, what);
        }
        if self.database.is_none() {
            self.read_again(tail, false);
        }
    }

    /// A merge that the collector decided.
    pub fn check_merge(&mut self, kept: &str, absorbed: &str, decided_ms: i64) {
        let Some(fold) = self.known() else { return };
        let registry = fold.registry();
        let machine = |id: &str| id.parse::<MachineId>().ok().and_then(|id| registry.machine(&id));
        let (Some(one), Some(other)) = (machine(kept), machine(absorbed)) else { return };
        let told = format!("{kept} and {absorbed}");
        let (older, newer) = if one.enrolled_at < other.enrolled_at { (one, other) } else { (other, one) };
        // A leader that stood still may not have known the newest.
        let known_ms = if self.database.is_some() { decided_ms - CLOCKS_APART } else { i64::MAX };
        let silent = older.last.as_ref().is_none_or(|last| {
            last.received_at <= newer.enrolled_at || last.received_at.as_millisecond() >= known_ms
        });
        let (customers, equal) = ((one.customer.clone(), other.customer.clone()), equal_facts(one, other));
        if customers.0 != customers.1 {
            self.breaks(Invariant::MergeWithinCustomer, told.clone());
        }
        if equal < SAME_CASE || !silent {
            self.breaks(Invariant::MergeRestsOnFacts, format!("{told}: {equal} equal, silent: {silent}"));
        }
    }

    /// A statement, as it would be sealed.
    pub fn check_statement(&mut self, statement: &Statement, period: Period) {
        let wrong = misclosed(self.question.wrong, &self.witness.book.counts, period);
        let statement = wrong.as_ref().unwrap_or(statement);
        let read = page_of(&self.witness.book.counts, period);
        let said = lines(statement);
        if read != said {
            let what = format!("{period}: the page says {read:?}, the statement {said:?}");
            self.breaks(Invariant::StatementOfThePage, what);
        }
    }

    /// When everything has healed.
    pub fn judge_the_end(&mut self) {
        for collector in 0..self.collectors.len() {
            self.follow(collector);
        }
        self.tally.machine_days = self.hosts.len() as u64 * self.question.days.unsigned_abs();
        self.tally.records = self.witness.book.position;
        self.check_acts();
        self.check_drained();
        self.check_nothing_lost();
        self.check_restored();
        // What is decided may call for something else.
        // Whoever has the lease lets go of it.
        self.now += HOUR;
        let decided: Vec<usize> = (0..4).map(|_| self.identify_at_the_end()).collect();
        let again = decided[3];
        if again > 0 {
            self.breaks(Invariant::QueuesBounded, format!("identity decides {again} times about the same"));
        }
        self.check_identity();
        self.check_orders();
        self.check_keys();
        self.check_uploads();
        self.check_folds();
        self.check_database();
        self.check_set();
        self.check_october();
    }

    /// What waits at a collector, as its jobs run.
    pub fn check_queues(&mut self, collector: usize) {
        let queues = self.collectors[collector].queues();
        if let Some((what, many, bound)) = queues.into_iter().find(|(_, many, bound)| many > bound) {
            let what = format!("collector {collector} has {many} {what}, of {bound}");
            self.breaks(Invariant::QueuesBounded, what);
        }
    }

    fn check_drained(&mut self) {
        let stuck = self.hosts.iter().enumerate().find_map(|(number, host)| {
            if host.power == Power::Gone || !host.enrolled {
                return (host.power != Power::Gone).then(|| format!("computer {number} is not let in"));
            }
            let reporter = host.reporter.as_ref();
            let waiting = reporter.map_or(u64::MAX, |reporter| reporter.waiting());
            let open = reporter.is_some_and(|reporter| reporter.session().is_open());
            let registry = self.known().map(Fold::registry);
            let known =
                registry.and_then(|registry| registry.machine(&host.machine)).map(|machine| machine.banned);
            let words = || format!("agent {number}: open {open}, {waiting} wait, banned {known:?}");
            (!open || waiting > 0).then(words)
        });
        if let Some(stuck) = stuck {
            self.breaks(Invariant::Drains, stuck);
        }
        let far = self.hosts.iter().filter_map(|host| host.reporter.as_ref()).any(|r| r.waiting() > WINDOW);
        if far {
            self.breaks(Invariant::QueuesBounded, "more waits than a window".to_owned());
        }
    }

    fn check_nothing_lost(&mut self) {
        let book = &self.witness.book;
        let lost = self.witness.made.iter().find(|(hash, made)| {
            self.has_still(made) && !book.written.contains(*hash) && !book.contents.contains(&made.content)
        });
        let lost =
            lost.map(|(_, made)| format!("agent {} observed in {} what is nowhere", made.host, made.spool));
        let gone = self.witness.acked.iter().find(|((machine, spool), sequence)| {
            let place = (machine.clone(), spool.clone(), **sequence);
            !book.has(&place) && !self.witness.set_back
        });
        let gone = gone.map(|((machine, spool), sequence)| format!("{machine} {spool} {sequence}"));
        for (invariant, what) in [(Invariant::NothingLost, lost), (Invariant::AcknowledgedIsDurable, gone)] {
            if let Some(what) = what {
                self.breaks(invariant, what);
            }
        }
    }

    /// What counted before a restore, and is somebody's still, counts again.
    fn check_restored(&mut self) {
        let counted: BTreeSet<&Hash> = self.witness.book.reports.values().collect();
        let gone = self.witness.reported_before.iter().find_map(|(digest, content)| {
            let made = self.witness.made.get(digest)?;
            (self.has_still(made) && !counted.contains(content)).then_some(made)
        });
        if let Some(made) = gone {
            let what = format!("{} of {}, of agent {}", made.sequence, made.spool, made.host);
            self.breaks(Invariant::RestoredCounts, what);
        }
    }

    /// Whether a computer has to have handed in what was made on it.
    fn has_still(&self, made: &Made) -> bool {
        let host = &self.hosts[made.host];
        host.power != Power::Gone && host.lineage == made.lineage && !made.excused
    }

    fn check_identity(&mut self) {
        let Some(fold) = self.known() else { return };
        let (registry, usage) = (fold.registry(), fold.usage());
        let mut found = Vec::new();
        for machine in &self.witness.book.forked {
            let known = machine.parse().ok().and_then(|id: MachineId| registry.machine(&id));
            if known.is_none_or(|machine| !machine.flags.contains_key(KEY_IN_TWO_PLACES)) {
                found.push((Invariant::ForkFlagged, machine.clone()));
            }
        }
        for (id, machine) in registry.machines_after(None) {
            let absorbed = machine.absorbed_into.as_ref();
            let heard = machine.last.as_ref().map(|last| last.received_at);
            if let Some((kept, at)) = absorbed.filter(|(_, at)| heard.is_some_and(|heard| heard > *at)) {
                found.push((Invariant::ReturnedIsSplit, format!("{id} is still {kept} since {at}")));
            }
        }
        for (old, host) in &self.office.succeeded {
            let (Ok(old), new) = (old.parse::<MachineId>(), &self.hosts[*host].machine) else { continue };
            if self.is_clear_case(registry, &old, *host) && usage.bond_of(&old, new) != Some(Bond::Merged) {
                found.push((Invariant::SetUpAnewIsOne, format!("{new} is not {old}")));
            }
        }
        for (one, other) in &self.office.copies {
            if self.is_clear_copy(registry, *one, *other) {
                let told = format!("{} and {}", self.hosts[*one].machine, self.hosts[*other].machine);
                found.push((Invariant::CopyFlagged, told));
            }
        }
        for (invariant, what) in found {
            self.breaks(invariant, what);
        }
    }

    /// Whether nothing but the new installation stands between an older machine and what its computer is now.
    fn is_clear_case(&self, registry: &Registry, old: &MachineId, host: usize) -> bool {
        let computer = &self.hosts[host];
        let once = self.office.succeeded.iter().filter(|(_, other)| *other == host).count() == 1;
        let alone = self.hosts.iter().enumerate().all(|(number, other)| {
            let shares = other.hardware.0.iter().zip(&computer.hardware.0).any(|(a, b)| a == b);
            number == host || (!shares && other.machine != *old && other.os_id != computer.os_id)
        });
        let (Some(before), Some(after)) = (registry.machine(old), registry.machine(&computer.machine)) else {
            return false;
        };
        let silent = before.last.as_ref().is_none_or(|last| last.received_at <= after.enrolled_at);
        let live = before.retired_at.is_none() && after.retired_at.is_none();
        let known = before.facts.is_some() && after.facts.is_some();
        let by_hand = [old, &computer.machine].map(|id| self.witness.book.is_bound_by_hand(id.as_str()));
        once && alone && silent && live && known && by_hand == [false; 2] && before.customer == after.customer
    }

    /// Whether two computers with one case, and nothing else that is like them, are alive beside each other unflagged.
    fn is_clear_copy(&self, registry: &Registry, one: usize, other: usize) -> bool {
        let (one, other) = (&self.hosts[one], &self.hosts[other]);
        let like = |host: &&Host| host.hardware.0.iter().zip(&one.hardware.0).any(|(a, b)| a == b);
        let alone = self.hosts.iter().filter(like).count() == 2 && one.lineage + other.lineage == 0;
        let (Some(a), Some(b)) = (registry.machine(&one.machine), registry.machine(&other.machine)) else {
            return false;
        };
        let moved = [one, other].iter().any(|host| {
            let (book, id) = (&self.witness.book, host.machine.as_str());
            book.moved.contains(id) || book.is_bound_by_hand(id)
        });
        let live = a.retired_at.is_none() && b.retired_at.is_none();
        let (older, newer) = if a.enrolled_at <= b.enrolled_at { (a, b) } else { (b, a) };
        let beside = older.last.as_ref().is_some_and(|last| last.received_at > newer.enrolled_at);
        let flagged = [a, b].iter().all(|machine| machine.flags.contains_key(POSSIBLE_CLONE));
        alone && !moved && live && beside && !flagged && !self.witness.set_back
    }

    fn check_acts(&mut self) {
        let missing = self.witness.acts.difference(&self.witness.book.facts).count();
        if missing > 0 {
            self.breaks(Invariant::ActsStand, format!("{missing} acts are nowhere"));
        }
        let Some(fold) = self.known() else { return };
        let known = |id: &String| id.parse().ok().and_then(|id| fold.registry().machine(&id)).is_some();
        let unknown = self.witness.told_in.iter().find(|id| !known(id)).cloned();
        if let Some(unknown) = unknown {
            self.breaks(Invariant::AdmittedIsKnown, unknown);
        }
    }

    fn check_folds(&mut self) {
        // Who shares a journal shares its replay.
        let mut replayed = Fold::default();
        for collector in 0..self.collectors.len() {
            self.save_snapshot(collector);
            let records = self.collectors[collector].records_from(replayed.position());
            let Some(running) = &self.collectors[collector].running else { continue };
            records.iter().for_each(|bytes| drop(replayed.apply(bytes)));
            let started = books::start(self.collectors[collector].folder(), &running.reader());
            let same = replayed == running.fold;
            let from_snapshot = started.is_ok_and(|fold| fold == running.fold);
            let sealed = self.witness.went_out.iter().all(|((period, distributor), body)| {
                let period: Period = period.parse().expect("it was sealed for a period");
                running.fold.sealed(period).any(|(name, sealed)| name == distributor && sealed.body == *body)
            });
            let root = running.fold.root();
            self.mix(&root);
            if !same || !from_snapshot {
                let what = format!("replay is the same: {same}, snapshot and tail: {from_snapshot}");
                self.breaks(Invariant::FoldIsReplay, what);
            }
            if !sealed {
                self.breaks(Invariant::SealedStands, "a sealed body is another one now".to_owned());
            }
        }
    }

    /// What the collectors share holds each batch once, and each of them has read the same.
    fn check_database(&mut self) {
        let Some(database) = self.database.clone() else { return };
        let mut commits = database.commits();
        commits.sort_unstable();
        if let Some(twice) = commits.windows(2).find(|pair| pair[0] == pair[1]) {
            self.breaks(Invariant::AppendedOnce, format!("{:?} is there twice", twice[0]));
        }
        for collector in &self.collectors {
            let is_read = collector.records_from(0) == database.records_from(0);
            let fold = collector.running.as_ref().map(|running| &running.fold);
            if !is_read || fold != Some(&self.witness.fold) {
                let what = format!("collector {} has read other records: {}", collector.number, !is_read);
                return self.breaks(Invariant::FoldIsReplay, what);
            }
        }
    }

    /// As the identity job, of the collector that gets the lease; how much it decided.
    fn identify_at_the_end(&mut self) -> usize {
        let Some(term) = self.term_of(0) else { return 0 };
        let decided = self.run_identity(term);
        (1..self.collectors.len()).for_each(|collector| self.follow(collector));
        decided
    }

    /// The same records in another order, some of them twice.
    fn check_set(&mut self) {
        let Some(fold) = self.known() else { return };
        let mut records = self.witness.book.counts.clone();
        let mut chance = self.seed().branch("order");
        for last in (1..records.len()).rev() {
            records.swap(last, chance.below(last as u64 + 1) as usize);
        }
        records.extend_from_within(..records.len() / 10);
        let policy = Policy::parse(POLICY).expect("the policy is one");
        let mut usage = Usage::new(policy.zone.clone());
        records.iter().for_each(|record| usage.apply(record));
        for period in ["2026-09", "2026-10"] {
            let period: Period = period.parse().expect("a month");
            let one = lines(&closed(fold.usage(), &policy, period, &[]));
            let other = lines(&closed(&usage, &policy, period, &[]));
            if one != other {
                let what = format!("{period}: {one:?} in order, {other:?} in another");
                return self.breaks(Invariant::StatementOfTheSet, what);
            }
        }
    }

    /// October is closed, and September and its corrections are a recount.
    fn check_october(&mut self) {
        let (september, october): (Period, Period) =
            ("2026-09".parse().expect("a month"), "2026-10".parse().expect("a month"));
        self.now = OCTOBER_CLOSES_MS + 9 * HOUR;
        let Some(fold) = self.known() else { return };
        let bodies: Vec<SealedBody> = fold
            .sealed(september)
            .filter_map(|(_, sealed)| SealedBody::parse_array(&array(&sealed.body)).ok())
            .flatten()
            .collect();
        let policy = Policy::parse(POLICY).expect("the policy is one");
        let known = if self.is_wrong(Wrong::CorrectionsForgotten) { &[] } else { bodies.as_slice() };
        let statement = closed(fold.usage(), &policy, october, known);
        if let Some(term) = self.term_of(0) {
            self.close(term, october, instant(self.now));
        }
        if bodies.is_empty() {
            return;
        }
        let mut sum: Quantities = Quantities::new();
        for line in bodies.iter().flat_map(|body| &body.lines) {
            *sum.entry((line.customer.to_string(), line.sku.to_string())).or_default() +=
                hundredths(&line.quantity);
        }
        for correction in &statement.corrections {
            let place = (correction.customer.to_string(), correction.sku.to_string());
            *sum.entry(place).or_default() += hundredths(&correction.delta);
            self.tally.corrections += 1;
        }
        sum.retain(|_, quantity| *quantity != 0);
        let recount = page_of(&self.witness.book.counts, september);
        if sum != recount {
            let what = format!("sealed and corrected {sum:?}, a recount {recount:?}");
            self.breaks(Invariant::SealedAndCorrected, what);
        }
    }
}

fn array(body: &[u8]) -> String {
    format!("[{}]", String::from_utf8_lossy(body))
}

fn page_of(records: &[Record], period: Period) -> Quantities {
    let text = period.to_string();
    let (year, month) = text.split_once('-').expect("a period is a year and a month");
    quantities(records, year.parse().expect("a year"), month.parse().expect("a month"))
}

fn lines(statement: &Statement) -> Quantities {
    let all = statement.lines.iter();
    all.map(|line| ((line.customer.to_string(), line.sku.to_string()), hundredths(&line.quantity)))
        .filter(|(_, quantity)| *quantity != 0)
        .collect()
}

fn hundredths(quantity: &impl std::fmt::Display) -> i64 {
    let text = quantity.to_string();
    let (sign, text) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: i64 = format!("{part:0<2}").parse().expect("two digits");
    sign * (100 * whole.parse::<i64>().expect("a number") + part)
}

/// A month closed by the ledger.
pub fn closed(usage: &Usage, policy: &Policy, period: Period, sealed: &[SealedBody]) -> Statement {
    let input = CloseInput { usage, usage_elsewhere: &[], policy, period, as_of: None, sealed };
    close(input).expect("a month of the simulation can be closed").statement
}

fn strong(facts: &Facts) -> [&Vec<u8>; 4] {
    [&facts.smbios_uuid, &facts.system_serial, &facts.board_serial, &facts.disk_serial]
}

/// How many strong facts of two machines are equal.
pub fn equal_facts(one: &Machine, other: &Machine) -> usize {
    let (Some(one), Some(other)) = (&one.facts, &other.facts) else { return 0 };
    strong(one).into_iter().zip(strong(other)).filter(|(a, b)| a == b && !a.is_empty()).count()
}
