//! What must hold between the agents' disks and the collector's journal. Invariant: it reads what is on the disks, and
//! asks neither agent nor collector.

use std::collections::BTreeMap;

use prost::Message as _;
use seatbeat_collector::journal::{Journal as _, Position};
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Evidence, JournalRecord, Signed};

use crate::house::House;
use crate::machine::{Machine, Standing};

/// Records read at once.
const BATCH: usize = 4096;

/// A collector's journal, read from its files.
pub struct Book {
    /// Evidence by spool and sequence.
    evidence: BTreeMap<(String, u64), Signed>,
    fold: Fold,
}

/// A promise that was broken, in words.
pub type Broken = String;

impl Book {
    /// Reads what a killed collector left behind.
    ///
    /// # Errors
    /// When a piece of evidence was written twice, or is a fork though no machine was ever copied.
    pub fn of(house: &House) -> Result<Self, Broken> {
        let journal = house.left_behind();
        let mut book = Self { evidence: BTreeMap::new(), fold: Fold::default() };
        loop {
            let from = Position(book.fold.position());
            let batch = journal.read_from(from, BATCH).map_err(|error| error.to_string())?;
            if batch.is_empty() {
                return Ok(book);
            }
            for (at, record) in batch {
                book.fold.apply(&record).map_err(|error| error.to_string())?;
                book.enter(at, &record)?;
            }
        }
    }

    fn enter(&mut self, at: Position, record: &[u8]) -> Result<(), Broken> {
        let record = JournalRecord::decode(record).map_err(|error| error.to_string())?;
        let Some(Fact::EvidenceReceived(received)) = record.fact else { return Ok(()) };
        if received.forked {
            return Err(format!("{} forked at {at}: nobody copied a machine", record.actor));
        }
        let signed = received.evidence.ok_or("evidence without a signed payload")?;
        let evidence = Evidence::decode(signed.payload.as_slice()).map_err(|error| error.to_string())?;
        let key = (evidence.spool, evidence.sequence);
        match self.evidence.insert(key.clone(), signed) {
            Some(_) => Err(format!("{key:?} was written twice, again at {at}")),
            None => Ok(()),
        }
    }

    /// How much evidence is in it.
    pub fn len(&self) -> usize {
        self.evidence.len()
    }

    /// What an agent was told is kept is kept, as it was signed.
    ///
    /// # Errors
    /// When it is not.
    pub fn holds_what_was_acknowledged(&self, machines: &[Machine]) -> Result<(), Broken> {
        machines.iter().try_for_each(|machine| match machine.standing() {
            Some(standing) => self.holds(machine.name(), &standing, standing.acknowledged),
            None => Ok(()),
        })
    }

    /// Everything that every agent signed is kept, nothing else, and the token let in each machine once.
    ///
    /// # Errors
    /// When it is not so.
    pub fn holds_everything(&self, machines: &[Machine]) -> Result<(), Broken> {
        let mut signed = 0;
        for machine in machines {
            let standing =
                machine.standing().ok_or_else(|| format!("{} was never let in", machine.name()))?;
            self.holds(machine.name(), &standing, standing.signed.len() as u64)?;
            signed += standing.signed.len();
            if self.fold.registry().machine(&standing.machine).is_none() {
                return Err(format!("{} is not known to the collector", machine.name()));
            }
        }
        if signed != self.evidence.len() {
            return Err(format!("{} pieces of evidence are kept, {signed} were signed", self.evidence.len()));
        }
        let known = self.fold.registry().machine_count();
        if known != machines.len() {
            return Err(format!("{known} machines are known, there are {}", machines.len()));
        }
        Ok(())
    }

    fn holds(&self, name: &str, standing: &Standing, up_to: u64) -> Result<(), Broken> {
        for (sequence, signed) in (1..=up_to).zip(&standing.signed) {
            match self.evidence.get(&(standing.spool.clone(), sequence)) {
                Some(kept) if kept == signed => {}
                Some(_) => return Err(format!("{name}: {sequence} is kept otherwise than it was signed")),
                None => return Err(format!("{name}: {sequence} of {up_to} is lost")),
            }
        }
        Ok(())
    }
}
