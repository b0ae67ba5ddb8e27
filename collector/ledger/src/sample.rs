//! Records of the log that a nonce picks, with what proves each of them: the answer to a level 2 check.
//! Invariant: which records are picked follows from the nonce and the statement alone, so neither side can choose
//! them; policies and price lists, which hold sell prices, are withheld and counted as such.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bundle::marks::HashText;
use crate::bundle::pseudonym::Opening;
use crate::bundle::write::Part;
use crate::merkle::{Hash, leaf};
use crate::proof::{Harvest, ProofError, consistency, inclusion};
use crate::registry::Registry;

/// What stands in a sample's `seatbeat` field.
pub const KIND: &str = "sample/1";

/// Records that are picked: of a log of which one in a hundred is wrong, all are missed in 8 of 100 samples.
pub const PICKS: usize = 256;

/// Shortest nonce: a shorter one could be guessed before the month is sealed.
pub const NONCE_LENGTH_MIN: usize = 16;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// By which the records were picked.
    pub nonce: String,
    /// In the order of the log.
    pub picks: Vec<Pick>,
    /// [`KIND`].
    pub seatbeat: String,
    /// Digest of the statement's body.
    pub statement: HashText,
}

/// A picked record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// Of evidence that is not the first of its chain: the evidence before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Logged>,
    /// Of evidence that carries a checkpoint: that this is the beginning of the statement's cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consistency: Vec<HashText>,
    /// Of evidence: the machine's public key, which its id is derived from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<HashText>,
    /// Opens the machine wherever it is in the bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub openings: Vec<Opening>,
    /// The record.
    pub record: Logged,
}

/// A record and its place in the statement's cut of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logged {
    /// Its bytes (base64); empty when they are withheld.
    pub bytes: String,
    /// From 0.
    pub index: u64,
    /// Hash of its leaf.
    pub leaf: HashText,
    /// Leaf to root of the cut.
    pub path: Vec<HashText>,
}

impl Sample {
    /// Reads an answer.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let sample: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if sample.seatbeat == KIND {
            Ok(sample)
        } else {
            Err(format!("its `seatbeat` field is not `{KIND}`"))
        }
    }

    /// Everything that it opens.
    pub fn openings(&self) -> impl Iterator<Item = &Opening> {
        self.picks.iter().flat_map(|pick| &pick.openings)
    }
}

/// Which records of a log of this size a nonce picks for a statement, in order.
pub fn picks(nonce: &str, statement: &Hash, size: u64) -> Vec<u64> {
    let all = usize::try_from(size).unwrap_or(usize::MAX);
    if all <= PICKS {
        return (0..size).collect();
    }
    let mut picked = BTreeSet::new();
    let mut count = 0u64;
    while picked.len() < PICKS {
        let digest = Sha256::new()
            .chain_update(b"seatbeat/v1/sample\0")
            .chain_update((nonce.len() as u64).to_be_bytes())
            .chain_update(nonce)
            .chain_update(statement)
            .chain_update(count.to_be_bytes())
            .finalize();
        let start: [u8; 8] = digest[..8].try_into().expect("a digest has 32 bytes");
        // The product's upper half: as good as even over a size far below 2^64.
        let index = (u128::from(u64::from_be_bytes(start)) * u128::from(size)) >> 64;
        picked.insert(u64::try_from(index).unwrap_or(0));
        count += 1;
    }
    picked.into_iter().collect()
}

/// Makes an answer, in two passes over the records up to the cut: one that looks, one for the leaves.
#[derive(Debug)]
pub struct Sampler {
    nonce: String,
    statement: Hash,
    cut: u64,
    /// The picked records.
    picked: BTreeMap<u64, Vec<u8>>,
    /// Evidence by its hash that was, or may still be, the one before a picked one.
    links: BTreeMap<Hash, u64>,
    before: BTreeMap<u64, Vec<u8>>,
    harvest: Harvest,
}

/// An answer that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// Too short.
    #[error("the nonce has {0} characters, fewer than {NONCE_LENGTH_MIN}")]
    Nonce(usize),
    /// A proof is not at hand.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl Sampler {
    /// Of a statement by its digest and cut; `read` gives the record at an index.
    ///
    /// # Errors
    /// When the nonce is too short, or what `read` returns.
    pub fn new<E: From<SampleError>>(
        nonce: &str,
        statement: Hash,
        cut: u64,
        read: impl Fn(u64) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        if nonce.chars().count() < NONCE_LENGTH_MIN {
            return Err(SampleError::Nonce(nonce.chars().count()).into());
        }
        let (mut picked, mut links, mut harvest) = (BTreeMap::new(), BTreeMap::new(), Harvest::default());
        for index in picks(nonce, &statement, cut) {
            let record = read(index)?;
            harvest.want_inclusion(index, cut).map_err(SampleError::from)?;
            if let Some((_, evidence)) = evidence_of(&record) {
                if let Ok(previous) = Hash::try_from(evidence.previous.as_slice()) {
                    links.insert(previous, u64::MAX);
                }
                if let Some(size) = checkpoint_size(&evidence.checkpoint).filter(|size| *size <= cut) {
                    harvest.want_consistency(size, cut).map_err(SampleError::from)?;
                }
            }
            picked.insert(index, record);
        }
        let (nonce, before) = (nonce.to_owned(), BTreeMap::new());
        Ok(Self { nonce, statement, cut, picked, links, before, harvest })
    }

    /// The first pass: shows each record up to the cut, in order.
    pub fn look(&mut self, index: u64, record: &[u8]) {
        let Some((signed, _)) = evidence_of(record) else { return };
        if let Some(place) = self.links.get_mut(&hash(&signed.payload))
            && *place == u64::MAX
        {
            *place = index;
            self.before.insert(index, record.to_vec());
            // An index below the cut: the path is there to be had.
            let _ = self.harvest.want_inclusion(index, self.cut);
        }
    }

    /// The second pass: takes each leaf up to the cut, in order.
    pub fn append_leaf(&mut self, leaf: Hash) {
        self.harvest.append_leaf(leaf);
    }

    /// The answer.
    ///
    /// # Errors
    /// When a pass was not whole.
    pub fn answer(&self, part: &Part<'_>, registry: &Registry) -> Result<Sample, SampleError> {
        let excluded = part.excluded();
        let open = |agent: &MachineId| openings(part, &excluded, agent);
        let picks = self.picked.iter().map(|(index, record)| self.pick(*index, record, &open, registry));
        Ok(Sample {
            nonce: self.nonce.clone(),
            picks: picks.collect::<Result<_, _>>()?,
            seatbeat: KIND.to_owned(),
            statement: HashText(self.statement),
        })
    }

    fn pick(
        &self,
        index: u64,
        record: &[u8],
        open: &dyn Fn(&MachineId) -> Vec<Opening>,
        registry: &Registry,
    ) -> Result<Pick, SampleError> {
        let mut pick = Pick {
            before: None,
            consistency: Vec::new(),
            key: None,
            openings: Vec::new(),
            record: self.logged(index, record)?,
        };
        let Some((_, evidence)) = evidence_of(record) else { return Ok(pick) };
        let previous = Hash::try_from(evidence.previous.as_slice()).ok();
        if let Some(place) = previous.and_then(|previous| self.links.get(&previous))
            && let Some(record) = self.before.get(place)
        {
            pick.before = Some(self.logged(*place, record)?);
        }
        if let Some(size) = checkpoint_size(&evidence.checkpoint).filter(|size| *size <= self.cut) {
            let proof = consistency(&self.harvest, size, self.cut)?;
            pick.consistency = proof.into_iter().map(HashText).collect();
        }
        let Ok(agent) = evidence.machine.parse::<MachineId>() else { return Ok(pick) };
        pick.key = registry.machine(&agent).map(|machine| HashText(machine.key));
        pick.openings = open(&agent);
        Ok(pick)
    }

    fn logged(&self, index: u64, record: &[u8]) -> Result<Logged, SampleError> {
        let path = inclusion(&self.harvest, index, self.cut)?;
        Ok(Logged {
            bytes: if is_withheld(record) { String::new() } else { STANDARD.encode(record) },
            index,
            leaf: HashText(leaf(record)),
            path: path.into_iter().map(HashText).collect(),
        })
    }
}

/// Opens an agent's machine wherever it is, and the agent beside it where it was joined with others.
fn openings(part: &Part<'_>, excluded: &BTreeSet<&MachineId>, agent: &MachineId) -> Vec<Opening> {
    let machine = part.evidence.machine_of(agent);
    let mut openings = part.openings_of(machine, excluded);
    if machine != agent {
        let beside: Vec<Opening> =
            openings.iter().map(|one| part.secret(&one.section).open(&one.section, agent, "")).collect();
        openings.extend(beside);
    }
    openings
}

fn is_withheld(record: &[u8]) -> bool {
    let fact = JournalRecord::decode(record).ok().and_then(|record| record.fact);
    matches!(fact, Some(Fact::PolicySet(_) | Fact::PricesStaged(_)))
}

/// The evidence in a record.
pub(crate) fn evidence_of(record: &[u8]) -> Option<(wire::Signed, wire::Evidence)> {
    let Some(Fact::EvidenceReceived(received)) = JournalRecord::decode(record).ok()?.fact else {
        return None;
    };
    let signed = received.evidence?;
    let evidence = wire::Evidence::decode(signed.payload.as_slice()).ok()?;
    Some((signed, evidence))
}

/// The size that a checkpoint tells of.
fn checkpoint_size(note: &str) -> Option<u64> {
    note.lines().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_follow_from_nonce_statement_and_size() {
        let (nonce, statement) = ("a nonce of an auditor", [1; 32]);
        let picked = picks(nonce, &statement, 1_000_000);
        assert_eq!(picked.len(), PICKS);
        assert!(picked.windows(2).all(|pair| pair[0] < pair[1]) && picked[PICKS - 1] < 1_000_000);
        assert_eq!(picks(nonce, &statement, 1_000_000), picked);
        assert_ne!(picks("another nonce of them", &statement, 1_000_000), picked);
        assert_ne!(picks(nonce, &[2; 32], 1_000_000), picked);
        let low = picked.iter().filter(|index| **index < 500_000).count();
        assert!((80..176).contains(&low), "{low} of {PICKS} are in the lower half");
        assert_eq!(picks(nonce, &statement, 3), [0, 1, 2]);
        assert_eq!(picks(nonce, &statement, 0), [] as [u64; 0]);
    }
}
