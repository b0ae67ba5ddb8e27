//! What somebody saw who stands beside: what was made, said, acknowledged, written. Invariant: it is noted where it
//! happens, in the words of the wire, and never asked of the rooms that are judged by it.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use seatbeat_agent::act::book::Place;
use seatbeat_agent::session::WINDOW;
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Ack, Evidence, JournalRecord, Signed};

use crate::book::Book;
use crate::collector::News;
use crate::invariant::Invariant;
use crate::leading::Leases;
use crate::world::{MINUTE, World};

/// SHA-256.
pub type Hash = [u8; 32];

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
    /// What a database's records say.
    pub fold: Fold,
    /// Who had the jobs' lease.
    pub leases: Leases,
    /// Its records, as a replay would read them again.
    pub log: Vec<News>,
    /// Operators' acts that were answered.
    pub acts: BTreeSet<Hash>,
    /// Machines that were told that they are in.
    pub told_in: BTreeSet<String>,
    /// The journal was set back: chains may begin anywhere.
    pub set_back: bool,
    /// Reports that counted before the journal was set back: by their bytes, what they say.
    pub reported_before: BTreeMap<Hash, Hash>,
    /// Records of before are read again: what was known then is not known now.
    pub rereading: bool,
    /// How often destructive orders were begun, by computer, disk and order.
    pub begun: BTreeMap<(usize, u64, String), u32>,
    /// The newest order of a product that was answered, by computer, disk and product.
    pub newest: BTreeMap<(usize, u64, String), Place>,
    /// Statements as they went out.
    pub went_out: BTreeMap<(String, String), Vec<u8>>,
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
