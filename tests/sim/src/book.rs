//! The journal as somebody reads it who stands beside: each record once, in its order. Invariant: what is known from it is
//! a function of the records alone.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use seatbeat_ledger::fold::{Fold, Verdict};
use seatbeat_ledger::record::Record;
use seatbeat_ledger::registry::Refusal;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, EnrolmentClaim, Evidence, JournalRecord, Signed};

use crate::collector::News;
use crate::database::Database;
use crate::invariant::Invariant;
use crate::office::OPERATOR;
use crate::ordering::{is_end, is_switch};
use crate::witness::{Hash, content, fact_hash};
use crate::world::{BEGINS_MS, DAY, World};

/// How late a report may be to count.
const LATE_MAX: i64 = 62 * DAY;

/// What is in the journal, as far as it counts here.
#[derive(Debug, Default)]
pub struct Book {
    /// Records looked at.
    pub position: u64,
    /// Evidence.
    pub written: BTreeSet<Hash>,
    /// What evidence says.
    pub contents: BTreeSet<Hash>,
    /// Evidence that was counted.
    pub counted: BTreeSet<Hash>,
    /// Reports that count: by their bytes, what they say.
    pub reports: BTreeMap<Hash, Hash>,
    /// Where each chain ends.
    pub chains: BTreeMap<(String, String), (u64, Hash)>,
    /// What came first at each place of a chain.
    pub versions: BTreeMap<(String, String, u64), Hash>,
    /// Machines of which two versions of a link came, and those whose second version is on record.
    pub forked: BTreeSet<String>,
    /// How many machines each token let in.
    pub admitted: BTreeMap<String, u32>,
    /// How many machines a token may let in.
    pub limits: BTreeMap<String, u32>,
    /// Tokens that were taken back.
    pub revoked: BTreeSet<String>,
    /// Machines that were let in.
    pub machines: BTreeSet<String>,
    /// What was decided last about pairs of machines, as kept and absorbed, by whoever.
    pub bonds: BTreeMap<(String, String), PairBond>,
    /// Machines that are shut out.
    pub banned: BTreeSet<String>,
    /// Machines that an operator gave to a customer.
    pub moved: BTreeSet<String>,
    /// Bodies of statements.
    pub sealed: BTreeMap<(String, String), Vec<u8>>,
    /// How often an order was answered.
    pub answers: BTreeMap<(String, String), u32>,
    /// Orders that switch something and have an end on record.
    pub ended: BTreeSet<String>,
    /// Facts on record.
    pub facts: BTreeSet<Hash>,
    /// Records that count, for a recount.
    pub counts: Vec<Record>,
}

/// Whether two machines are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairBond {
    /// They are.
    pub joined: bool,
    /// An operator said so.
    pub by_hand: bool,
}

impl Book {
    /// Whether something stands at a place of a chain.
    pub fn has(&self, place: &(String, String, u64)) -> bool {
        self.versions.contains_key(place)
    }

    /// Whether an operator has joined or parted a machine.
    pub fn is_bound_by_hand(&self, machine: &str) -> bool {
        let mut bonds = self.bonds.iter();
        bonds.any(|((one, other), bond)| bond.by_hand && (one == machine || other == machine))
    }

    /// What was decided last about a pair, whichever of them was kept.
    fn bond(&mut self, one: &str, other: &str) -> Option<&mut PairBond> {
        let pair = (one.to_owned(), other.to_owned());
        let pair = if self.bonds.contains_key(&pair) { pair } else { (pair.1, pair.0) };
        self.bonds.get_mut(&pair)
    }
}

impl World {
    /// Reads what a collector has folded since.
    pub fn read_news(&mut self, collector: usize) {
        let Some(running) = &mut self.collectors[collector].running else { return };
        if let Some(database) = self.database.clone() {
            running.news.clear();
            return self.read_database(&database);
        }
        let news = std::mem::take(&mut running.news);
        let first = running.fold.position() - news.len() as u64;
        for (at, one) in (first..).zip(news) {
            // What another collector folded before was looked at then.
            if at == self.witness.book.position {
                self.witness.book.position += 1;
                self.read(&one, false);
                self.witness.log.push(one);
            }
        }
    }

    /// Reads what the database has, whoever wrote it.
    fn read_database(&mut self, database: &Database) {
        for bytes in database.records_from(self.witness.book.position) {
            let one = News::of(&mut self.witness.fold, &bytes);
            self.witness.book.position += 1;
            self.read(&one, true);
        }
        for (kind, count) in database.take_happened() {
            *self.tally.kinds.entry(kind).or_default() += count;
        }
    }

    /// All that is on record, as a collector would know it who has read it to its end.
    pub fn known(&self) -> Option<&Fold> {
        match &self.database {
            Some(_) => Some(&self.witness.fold),
            None => self.collectors[0].running.as_ref().map(|running| &running.fold),
        }
    }

    /// Looks at one record of the journal.
    pub fn read(&mut self, News { bytes, verdict, counted }: &News, shared: bool) {
        self.mix(bytes);
        let Ok(record) = JournalRecord::decode(bytes.as_slice()) else { return };
        let taken = *verdict == Verdict::Taken;
        self.witness.book.counts.extend(counted.clone());
        match &record.fact {
            Some(Fact::EvidenceReceived(received)) => {
                let Some(signed) = &received.evidence else { return };
                if *verdict == Verdict::Refused(Refusal::Repeated) && !shared {
                    self.breaks(Invariant::WrittenOnce, "evidence was written that stood there".to_owned());
                }
                if taken {
                    self.read_evidence(signed, received.forked, shared);
                }
                // One that is dated months back may be too old when it comes again.
                if let Some(Record::Report(report)) = counted
                    && report.observed_at.as_millisecond() >= BEGINS_MS
                    && report.received_at.as_millisecond() - report.observed_at.as_millisecond() <= LATE_MAX
                    && let Ok(evidence) = Evidence::decode(signed.payload.as_slice())
                {
                    self.witness.book.reports.insert(hash(&signed.payload), content(&evidence));
                }
            }
            Some(Fact::TokenCreated(fact)) => {
                self.witness.book.limits.insert(fact.token.clone(), fact.uses_max);
            }
            Some(Fact::TokenRevoked(fact)) if taken => {
                self.witness.book.revoked.insert(fact.token.clone());
            }
            Some(Fact::EnrolmentRequested(fact)) if taken => {
                let payload = fact.claim.as_ref().map(|claim| claim.payload.clone()).unwrap_or_default();
                let Ok(claim) = EnrolmentClaim::decode(payload.as_slice()) else { return };
                self.note_use(&claim);
            }
            Some(Fact::MachineBanned(fact)) if taken => {
                if fact.banned {
                    self.witness.book.banned.insert(fact.machine.clone());
                } else {
                    self.witness.book.banned.remove(&fact.machine);
                }
            }
            Some(Fact::MachineAssigned(fact)) => {
                self.witness.book.moved.insert(fact.machine.clone());
            }
            Some(Fact::StatementSealed(fact)) if taken => {
                let body = fact.statement.as_ref().map(|signed| signed.payload.clone()).unwrap_or_default();
                let place = (fact.period.clone(), fact.distributor.clone());
                self.tally.sealed += 1;
                if self.witness.book.sealed.insert(place, body.clone()).is_some_and(|before| before != body) {
                    let what = format!("the statement of {} has another body", fact.period);
                    self.breaks(Invariant::SealedStands, what);
                }
            }
            Some(Fact::MachinesMerged(fact)) if taken => {
                let by_hand = record.actor == OPERATOR;
                self.note_bond(&fact.kept, &fact.absorbed, PairBond { joined: true, by_hand });
                if !by_hand && !self.witness.rereading {
                    self.check_merge(&fact.kept, &fact.absorbed, fact.at_ms);
                }
            }
            Some(Fact::MachinesSplit(fact)) if taken => {
                let by_hand = record.actor == OPERATOR;
                self.note_bond(&fact.kept, &fact.absorbed, PairBond { joined: false, by_hand });
            }
            _ => {}
        }
        if let Some(fact) = &record.fact
            && record.actor == OPERATOR
        {
            self.witness.book.facts.insert(fact_hash(&record.actor, fact));
        }
    }

    fn note_bond(&mut self, kept: &str, absorbed: &str, bond: PairBond) {
        let (merges, splits) = if bond.joined { (1, 0) } else { (0, 1) };
        let book = &mut self.witness.book;
        match book.bond(kept, absorbed) {
            Some(known) if known.by_hand && !bond.by_hand => {
                let what = format!("{kept} and {absorbed}, joined: {}", known.joined);
                return self.breaks(Invariant::HandDecides, what);
            }
            Some(known) => *known = bond,
            None => drop(book.bonds.insert((kept.to_owned(), absorbed.to_owned()), bond)),
        }
        if !bond.by_hand {
            (self.tally.merges, self.tally.splits) = (self.tally.merges + merges, self.tally.splits + splits);
        }
    }

    fn note_use(&mut self, claim: &EnrolmentClaim) {
        let token = claim.token.as_str();
        let machine = seatbeat_proto::ids::MachineId::derived_from(&claim.public_key).to_string();
        if self.witness.book.revoked.contains(token) {
            self.breaks(Invariant::RevokedShutOut, format!("{token} let {machine} in on record"));
        }
        self.witness.book.machines.insert(machine);
        let used = self.witness.book.admitted.entry(token.to_owned()).or_default();
        *used += 1;
        let (used, limit) = (*used, self.witness.book.limits.get(token).copied().unwrap_or_default());
        if used > limit {
            self.breaks(Invariant::TokenLimit, format!("{token} has let in {used} of {limit} machines"));
        }
    }

    fn read_evidence(&mut self, signed: &Signed, forked: bool, shared: bool) {
        let digest = hash(&signed.payload);
        let Ok(evidence) = Evidence::decode(signed.payload.as_slice()) else { return };
        let (machine, spool, sequence) =
            (evidence.machine.clone(), evidence.spool.clone(), evidence.sequence);
        let book = &mut self.witness.book;
        let place = (machine.clone(), spool.clone(), sequence);
        let known = *book.versions.entry(place).or_insert(digest);
        let again = !book.counted.insert(digest);
        book.written.insert(digest);
        let said = self.witness.made.get(&digest).map(|made| made.content);
        book.contents.insert(said.unwrap_or_else(|| content(&evidence)));
        if forked {
            book.forked.insert(machine.clone());
            self.tally.forks += 1;
        }
        let before =
            (!forked).then(|| book.chains.insert((machine.clone(), spool.clone()), (sequence, digest)));
        let fits = match before.flatten() {
            Some((tip, hash)) => tip + 1 == sequence && evidence.previous == hash,
            None => forked || sequence == 1 || self.witness.set_back,
        };
        let answered = match &evidence.body {
            Some(wire::evidence::Body::OrderResult(result)) if is_switch(&result.order) => {
                if !forked && is_end(result.outcome()) {
                    self.witness.book.ended.insert(result.order.clone());
                }
                0
            }
            Some(wire::evidence::Body::OrderResult(result)) if !forked => {
                let count =
                    self.witness.book.answers.entry((machine.clone(), result.order.clone())).or_default();
                *count += 1;
                *count
            }
            _ => 0,
        };
        let shut_out = self.witness.book.banned.contains(&machine) && !shared;
        let told = format!("{machine} {spool} {sequence}");
        // A fork that comes again after a restart may stand twice: it says the same.
        if again && !forked {
            self.breaks(Invariant::CountedOnce, told.clone());
        }
        if !fits {
            self.breaks(Invariant::ChainUnbroken, told.clone());
        }
        if known != digest && !forked {
            self.breaks(Invariant::ForkFlagged, format!("{told} has two versions and no mark"));
        }
        if !self.witness.made.contains_key(&digest) {
            self.breaks(Invariant::AsSigned, told.clone());
        }
        if shut_out {
            self.breaks(Invariant::BannedShutOut, told.clone());
        }
        if answered > 1 {
            self.breaks(Invariant::OrderAnsweredOnce, told);
        }
    }

    /// The collector set its journal back: what is known of it begins anew.
    pub fn begin_book_anew(&mut self, records: &[Vec<u8>]) {
        self.witness.set_back = true;
        let known = std::mem::take(&mut self.witness.log);
        let book = std::mem::take(&mut self.witness.book);
        self.witness.reported_before.extend(book.reports);
        self.witness.acked.clear();
        self.witness.acts.clear();
        self.witness.told_in.clear();
        self.witness.went_out.clear();
        let current: BTreeSet<(usize, String)> =
            self.hosts.iter().enumerate().map(|(number, host)| (number, host.noted.0.clone())).collect();
        for made in self.witness.made.values_mut() {
            made.excused |= !current.contains(&(made.host, made.spool.clone()));
        }
        let same = known.iter().zip(records).take_while(|(news, bytes)| news.bytes == **bytes).count();
        let mut news: Vec<News> = known.into_iter().take(same).collect();
        if same < records.len() {
            let mut fold = Fold::default();
            records[..same].iter().for_each(|bytes| drop(fold.apply(bytes)));
            news.extend(records[same..].iter().map(|bytes| News::of(&mut fold, bytes)));
        }
        self.read_again(news, true);
    }

    /// Reads records that were there before, or that nobody was answered.
    pub fn read_again(&mut self, news: Vec<News>, shared: bool) {
        self.witness.rereading = true;
        for one in news {
            self.witness.book.position += 1;
            self.read(&one, shared);
            self.witness.log.push(one);
        }
        self.witness.rereading = false;
    }
}
