//! What somebody saw who stands beside: what was made, said, acknowledged, written. Invariant: it is noted where it
//! happens, in the words of the wire, and never asked of the rooms that are judged by it.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use seatbeat_agent::session::WINDOW;
use seatbeat_ledger::fold::{Fold, Verdict};
use seatbeat_ledger::record::Record;
use seatbeat_ledger::registry::Refusal;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Ack, EnrolmentClaim, Evidence, JournalRecord, Signed};

use crate::collector::News;
use crate::invariant::Invariant;
use crate::office::OPERATOR;
use crate::world::{MINUTE, World};

type Hash = [u8; 32];

/// How far a report of a connected agent may be from the collector's time.
const CLOCK_MS_MAX: i64 = 5 * MINUTE;

/// Files that a machine's spool may have: a day each for what is kept, as many again of spools that were left, marks.
const FILES_MAX: usize = 256;

/// A piece of evidence that an agent made.
#[derive(Debug, Clone)]
pub struct Made {
    /// On which computer.
    pub host: usize,
    /// On which of its disks.
    pub lineage: u64,
    /// In which chain.
    pub spool: String,
    /// At which place of it.
    pub sequence: u64,
    /// What it says, without its place in a chain.
    pub content: Hash,
    /// Its collector may lose it for good: once it was acknowledged its chain was given up, or its agent's clock said that
    /// two months were over.
    pub excused: bool,
}

/// What is in the journal, as far as it counts here.
#[derive(Debug, Default)]
pub struct Book {
    /// Records looked at.
    pub position: u64,
    /// Evidence.
    pub written: BTreeSet<Hash>,
    /// What evidence says.
    pub contents: BTreeSet<Hash>,
    counted: BTreeSet<Hash>,
    chains: BTreeMap<(String, String), (u64, Hash)>,
    versions: BTreeMap<(String, String, u64), Hash>,
    /// Machines of which two versions of a link came, and those whose second version is on record.
    pub forked: BTreeSet<String>,
    admitted: BTreeMap<String, u32>,
    /// How many machines a token may let in.
    pub limits: BTreeMap<String, u32>,
    /// Tokens that were taken back.
    pub revoked: BTreeSet<String>,
    /// Machines that were let in.
    pub machines: BTreeSet<String>,
    /// What was decided last about pairs of machines, as kept and absorbed, by whoever.
    pub bonds: BTreeMap<(String, String), PairBond>,
    banned: BTreeSet<String>,
    /// Machines that an operator gave to a customer.
    pub moved: BTreeSet<String>,
    sealed: BTreeMap<(String, String), Vec<u8>>,
    answers: BTreeMap<(String, String), u32>,
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

/// See the module's text.
#[derive(Debug, Default)]
pub struct Witness {
    connections: u64,
    /// Of each collector, how often it started.
    pub lives: Vec<u64>,
    /// What each collector knew when it went down.
    pub shadows: Vec<Option<Fold>>,
    /// By its hash.
    pub made: BTreeMap<Hash, Made>,
    /// The newest that each disk has said: chain and sequence.
    pub said: BTreeMap<(usize, u64), (String, u64)>,
    /// By machine and chain.
    pub acked: BTreeMap<(String, String), u64>,
    /// The journal.
    pub book: Book,
    /// Its records, as a replay would read them again.
    pub log: Vec<News>,
    /// Operators' acts that were answered.
    pub acts: BTreeSet<Hash>,
    /// Machines that were told that they are in.
    pub told_in: BTreeSet<String>,
    /// The journal was set back: chains may begin anywhere.
    pub set_back: bool,
    /// Records of before are read again: what was known then is not known now.
    pub rereading: bool,
    /// Statements as they went out.
    pub went_out: BTreeMap<(String, String), Vec<u8>>,
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

impl Witness {
    /// A number for a connection.
    pub fn next_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }
}

/// What evidence says, wherever it stands.
pub fn content(evidence: &Evidence) -> Hash {
    let bare = Evidence {
        spool: String::new(),
        sequence: 0,
        previous: Vec::new(),
        clock_offset_ms: 0,
        ..evidence.clone()
    };
    hash(&bare.encode_to_vec())
}

impl World {
    /// Notes what an agent has put into its spool.
    pub fn note_evidence(&mut self, host: usize) {
        let Some(reporter) = &self.hosts[host].reporter else { return };
        let chain = reporter.spool().chain();
        let (spool, tip) = (chain.spool().as_str().to_owned(), chain.tip());
        let from = if self.hosts[host].noted.0 == spool { self.hosts[host].noted.1 } else { 0 };
        let open = reporter.session().is_open();
        let fresh: Vec<Signed> =
            (from + 1..=tip).filter_map(|sequence| reporter.spool().read(sequence).ok().flatten()).collect();
        let (waiting, files) = (reporter.unanswered(), self.hosts[host].disk.file_count());
        if self.hosts[host].noted.0 != spool {
            self.tell(format!("agent {host} goes on in {spool}"));
        }
        if tip != from {
            self.hosts[host].noted = (spool.clone(), tip);
        }
        self.note_removed(host);
        for signed in fresh {
            self.note_one(host, &signed, open && from > 0);
        }
        if files > FILES_MAX || waiting > 64 {
            let what = format!("agent {host} has {files} files and {waiting} answers that wait");
            self.breaks(Invariant::QueuesBounded, what);
        }
    }

    /// What an agent removed after it was acknowledged, it does not have for a collector that lost its disk.
    fn note_removed(&mut self, host: usize) {
        let Some(reporter) = &self.hosts[host].reporter else { return };
        let (chain, acknowledged) = (reporter.spool().chain(), reporter.spool().acknowledged());
        if chain.oldest() == self.hosts[host].oldest {
            return;
        }
        let (oldest, spool) = (chain.oldest(), chain.spool().as_str());
        let removed = |made: &&mut Made| made.host == host && made.spool == spool && made.sequence < oldest;
        for made in self.witness.made.values_mut().filter(removed) {
            made.excused |= made.sequence <= acknowledged;
        }
        self.hosts[host].oldest = oldest;
    }

    fn note_one(&mut self, host: usize, signed: &Signed, open: bool) {
        let Ok(evidence) = Evidence::decode(signed.payload.as_slice()) else { return };
        let digest = hash(&signed.payload);
        let computer = &self.hosts[host];
        let made = Made {
            host,
            lineage: computer.lineage,
            spool: evidence.spool.clone(),
            sequence: evidence.sequence,
            content: content(&evidence),
            excused: false,
        };
        self.hosts[host].made_at = self.now;
        let off_ms = evidence.observed_at_ms - self.now;
        self.mix(&digest);
        self.tally.evidence += 1;
        self.witness.made.insert(digest, made);
        if open && off_ms.abs() > CLOCK_MS_MAX {
            let what = format!("agent {host} is connected and reports {} s beside the time", off_ms / 1000);
            self.breaks(Invariant::ClockCorrected, what);
        }
    }

    /// Notes evidence that an agent says.
    pub fn note_said(&mut self, host: usize, signed: &Signed) {
        let Ok(evidence) = Evidence::decode(signed.payload.as_slice()) else { return };
        // Acknowledged or not kept any more: everything before is not under way.
        let under_way = self.hosts[host].reporter.as_ref().map_or(0, |reporter| {
            let behind = reporter.session().acknowledged().max(reporter.spool().chain().oldest() - 1);
            evidence.sequence.saturating_sub(behind)
        });
        if under_way > WINDOW {
            self.breaks(Invariant::QueuesBounded, format!("agent {host} has {under_way} pieces under way"));
        }
        let said = self.witness.said.entry((host, self.hosts[host].lineage)).or_default();
        if said.0 != evidence.spool {
            *said = (evidence.spool, evidence.sequence);
        } else {
            said.1 = said.1.max(evidence.sequence);
        }
    }

    /// Compares what an agent that has just started still has with what it said before.
    pub fn check_spoken(&mut self, host: usize) {
        let computer = &self.hosts[host];
        let Some((spool, sequence)) = self.witness.said.get(&(host, computer.lineage)) else { return };
        let (now, tip) = &computer.noted;
        if now != spool || tip < sequence {
            let what = format!("agent {host} said {sequence} of {spool} and starts with {tip} of {now}");
            self.breaks(Invariant::SpokenIsKept, what);
        }
    }

    /// Notes an acknowledgement, and looks whether it is of what the journal has.
    pub fn note_ack(&mut self, host: usize, ack: &Ack) {
        let machine = self.hosts[host].machine.to_string();
        self.mix(&ack.sequence.to_be_bytes());
        let place = (machine.clone(), ack.spool.clone(), ack.sequence);
        let durable = self.witness.book.versions.contains_key(&place);
        if !durable && !self.witness.set_back {
            let what = format!("{machine} was acknowledged {} of {}", ack.sequence, ack.spool);
            self.breaks(Invariant::AcknowledgedIsDurable, what);
        }
        let acked = self.witness.acked.entry((machine, ack.spool.clone())).or_default();
        *acked = (*acked).max(ack.sequence);
    }

    /// A fork that is refused has to be on record.
    pub fn note_refusal(&mut self, host: usize, refusal: &wire::Refusal) {
        let machine = self.hosts[host].machine.to_string();
        self.tell(format!(
            "{machine} is refused {} of {}: {}",
            refusal.sequence, refusal.spool, refusal.detail
        ));
        let forked = refusal.reason() == wire::RefusalReason::Forked;
        if forked && !self.witness.book.forked.contains(&machine) {
            self.breaks(Invariant::ForkFlagged, format!("the fork of {machine} is not on record"));
        }
    }

    /// Reads what a collector has folded since.
    pub fn read_news(&mut self, collector: usize) {
        let shared = self.collectors.len() > 1;
        let Some(running) = &mut self.collectors[collector].running else { return };
        let news = std::mem::take(&mut running.news);
        let first = running.fold.position() - news.len() as u64;
        for (at, one) in (first..).zip(news) {
            // What another collector folded before was looked at then.
            if at == self.witness.book.position {
                self.witness.book.position += 1;
                self.read(&one, shared);
                self.witness.log.push(one);
            }
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
                    self.check_merge(&fact.kept, &fact.absorbed);
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
        self.witness.book = Book::default();
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

    /// After a start: what was acknowledged has to be there.
    pub fn check_acked(&mut self, collector: usize) {
        let Some(running) = &self.collectors[collector].running else { return };
        let registry = running.fold.registry();
        let lost = self.witness.acked.iter().find(|((machine, spool), sequence)| {
            let machine = machine.parse().ok().and_then(|machine| registry.machine(&machine));
            let spool = spool.parse().ok();
            let tip = machine.zip(spool).and_then(|(machine, spool)| machine.spools.get(&spool));
            tip.is_none_or(|tip| tip.sequence < **sequence)
        });
        let lost = lost.map(|((machine, spool), sequence)| format!("{machine} {spool} up to {sequence}"));
        if let Some(lost) = lost {
            self.breaks(Invariant::AcknowledgedIsDurable, format!("after a start it is gone: {lost}"));
        }
    }
}

/// A fact and its actor.
pub fn fact_hash(actor: &str, fact: &Fact) -> Hash {
    let record =
        JournalRecord { actor: actor.to_owned(), fact: Some(fact.clone()), ..JournalRecord::default() };
    hash(&record.encode_to_vec())
}

impl Witness {
    /// Orders that a machine's answers are on record for.
    pub fn answered_orders(&self, machine: &str) -> BTreeSet<String> {
        let from = (machine.to_owned(), String::new());
        let answers = self.book.answers.range(from..).map(|(place, _)| place);
        answers.take_while(|(by, _)| by == machine).map(|(_, order)| order.clone()).collect()
    }
}
