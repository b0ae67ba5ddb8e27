//! What leaves the house so that others can check it: a bundle for each sealed statement, a signed checkpoint a day,
//! answers to samples. Invariant: all of it is made from the journal as it was at the statement's cut, and is refused
//! when the journal no longer is what the statement says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message as _;
use seatbeat_ledger::body::StatementBody;
use seatbeat_ledger::bundle::gather::MonthEvidence;
use seatbeat_ledger::bundle::place::{EARLIER_MAX, Place, PlaceError};
use seatbeat_ledger::bundle::write::Part;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::checkpoint::{Checkpoint, CheckpointError, origin};
use seatbeat_ledger::fold::{Fold, FoldError};
use seatbeat_ledger::jcs::JcsError;
use seatbeat_ledger::merkle::leaf;
use seatbeat_ledger::proof::Harvest;
use seatbeat_ledger::sample::{Sample, SampleError, Sampler};
use seatbeat_ledger::sealed::{self, VerifyError};
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{JournalRecord, Signed};

use crate::books::Books;
use crate::config::{Config, Names};
use crate::jobs::close::{CloseError, evidence, file_name};
use crate::journal::{JournalError, Position};
use crate::store;
use crate::vault::VaultRow;

/// Records read at once.
const BATCH: usize = 4096;

/// Name of the alarm about a folder that takes no proofs.
const FOLDER: &str = "proofs-folder";

/// Makes proofs.
#[derive(Clone)]
pub struct Proofs {
    books: Books,
    names: Names,
    folder: PathBuf,
    /// Months sealed before there were bundles: they have none.
    without: Arc<Mutex<BTreeSet<(Period, String)>>>,
    /// One at a time: each has a fold of its own.
    making: Arc<Mutex<()>>,
}

/// Which bundle.
#[derive(Debug, Clone)]
pub struct BundleAsked {
    /// The month.
    pub period: Period,
    /// Whose statement; none: the only one.
    pub distributor: Option<String>,
    /// Signed checkpoints that whoever asks has kept: the bundle proves each.
    pub checkpoints: Vec<String>,
    /// Whether it says which machine is which.
    pub names: Names,
}

/// A proof that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// There is no such statement.
    #[error("period {period} is not sealed for `{distributor}`")]
    NotSealed {
        /// Which month.
        period: Period,
        /// For whom; empty: for anybody.
        distributor: String,
    },
    /// There are several.
    #[error("period {period} is sealed for {}: name one", .distributors.join(", "))]
    Several {
        /// Which month.
        period: Period,
        /// For whom.
        distributors: Vec<String>,
    },
    /// Sealed by a version without bundles.
    #[error("the statement of period {0} was sealed before there were bundles: it commits to no evidence")]
    NoEvidence(Period),
    /// A statement or its month's policy cannot be read.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// A checkpoint that was given is not of this log.
    #[error("the checkpoint that was given cannot be proven")]
    Given(#[source] CheckpointError),
    /// A checkpoint that was given is of records that are not there.
    #[error("the checkpoint that was given is over {given} records, the journal has {size}")]
    Ahead {
        /// Its size.
        given: u64,
        /// What there is.
        size: u64,
    },
    /// Records cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Records cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The journal ends before it should.
    #[error("the journal ends at record {0}, before what is to be proven")]
    Short(u64),
    /// The journal is not the one that the statement was sealed in.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// No answer to this sample.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A value without canonical form.
    #[error(transparent)]
    Value(#[from] JcsError),
    /// The statement is not one.
    #[error(transparent)]
    Statement(#[from] VerifyError),
    /// It cannot be written.
    #[error("failed to write it")]
    Write(#[from] std::io::Error),
    /// Whoever asked is gone.
    #[error("nobody waits for it any more")]
    Gone,
}

/// A sealed statement, ready to be proven.
struct SealedMonth {
    distributor: String,
    revision: u32,
    statement: Signed,
    body: StatementBody,
}

impl Proofs {
    /// Of these books; proofs are dropped beside the sealed statements in `folder`.
    pub fn new(books: Books, config: &Config, folder: PathBuf) -> Self {
        let names = config.bundle_names;
        Self { books, names, folder, without: Arc::default(), making: Arc::default() }
    }

    /// Gives each line of a bundle to `write`. Blocks while the journal is read.
    ///
    /// # Errors
    /// When there is no such bundle, the journal cannot be read, or what `write` returns.
    pub fn bundle(
        &self,
        asked: &BundleAsked,
        write: impl FnMut(&str) -> Result<(), ProofError>,
    ) -> Result<(), ProofError> {
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = self.sealed(asked.period, asked.distributor.as_deref())?;
        let cut = sealed.body.journal.size;
        let (sealed_at, record) = self.sealing_record(cut, &sealed.statement)?;
        let given = self.given(&asked.checkpoints)?;
        let (head, checkpoint) = self.head(&given, sealed_at);
        let kept = given.iter().map(|(checkpoint, _)| checkpoint.size).chain(self.kept_sizes());
        let place = Place { cut, sealed_at, head, earlier: kept.collect() };
        let mut harvest = Harvest::default();
        place.want(&mut harvest)?;
        let mut fold = Fold::default();
        self.each_record(0..head, |index, record| {
            harvest.append_leaf(leaf(record));
            if index < cut {
                fold.apply(record)?;
            }
            Ok(())
        })?;
        let root = &sealed.body.journal.root;
        let log = place.proofs(&harvest, &record, &sealed.statement, root, checkpoint)?;
        let month = self.month(&fold, asked.period)?;
        drop(fold);
        let key = self.books.keys().pseudonyms();
        let part =
            Part { evidence: &month, key: &key, period: asked.period, distributor: &sealed.distributor };
        let file = sealed::file(&sealed.statement, self.books.keys().statement().verifying_key().as_bytes())?;
        let file = serde_json::from_slice(&file).map_err(|error| VerifyError::Json(error.to_string()))?;
        let host = |machine: &MachineId| self.host_name(machine);
        let hosts: Option<&dyn Fn(&MachineId) -> String> = match asked.names {
            Names::Pseudonyms => None,
            Names::Real => Some(&host),
        };
        part.write(file, &log, hosts, write)
    }

    /// What the file of an asked bundle is called.
    ///
    /// # Errors
    /// When there is no such bundle.
    pub fn name(&self, asked: &BundleAsked) -> Result<String, ProofError> {
        let sealed = self.sealed(asked.period, asked.distributor.as_deref())?;
        Ok(bundle_name(asked.period, &sealed.distributor, sealed.revision))
    }

    /// The records that a nonce picks, with what proves them. Blocks while the journal is read.
    ///
    /// # Errors
    /// As [`Proofs::bundle`], or when the nonce is too short.
    pub fn answer(
        &self,
        period: Period,
        distributor: Option<&str>,
        nonce: &str,
    ) -> Result<Sample, ProofError> {
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = self.sealed(period, distributor)?;
        let cut = sealed.body.journal.size;
        let mut sampler =
            Sampler::new(nonce, hash(&sealed.statement.payload), cut, |index| self.record(index))?;
        let mut fold = Fold::default();
        self.each_record(0..cut, |index, record| {
            sampler.look(index, record);
            fold.apply(record)?;
            Ok(())
        })?;
        self.each_record(0..cut, |_, record| {
            sampler.append_leaf(leaf(record));
            Ok(())
        })?;
        let month = self.month(&fold, period)?;
        let key = self.books.keys().pseudonyms();
        let part = Part { evidence: &month, key: &key, period, distributor: &sealed.distributor };
        Ok(sampler.answer(&part, fold.registry())?)
    }

    /// Runs once: drops the day's checkpoint, and each bundle that is missing. Blocks.
    pub fn run(&self) {
        let dropped = self.drop_checkpoint().and_then(|()| self.drop_bundles());
        match dropped {
            Ok(()) => self.books.alarms().clear(FOLDER),
            Err(error) => {
                let words = format!("proofs could not be dropped in `{}`: {error}", self.folder.display());
                self.books.alarms().raise(FOLDER, words);
            }
        }
    }

    /// A checkpoint that is kept elsewhere cannot be taken back: one a day.
    fn drop_checkpoint(&self) -> Result<(), ProofError> {
        let now = self.books.clock().now();
        let (day, is_founded) =
            self.books.read(|fold| (fold.usage().zone().usage_day(now), fold.founded().is_some()));
        let path = self.checkpoints().join(format!("{day}.checkpoint"));
        if path.exists() || !is_founded {
            return Ok(());
        }
        fs::create_dir_all(self.checkpoints())?;
        let checkpoint = self.books.checkpoint();
        store::write_file(&path, checkpoint.as_bytes()).map_err(std::io::Error::other)?;
        Ok(())
    }

    fn drop_bundles(&self) -> Result<(), ProofError> {
        let sealed: Vec<(Period, String, u32)> = self.books.read(|fold| {
            let periods = fold.sealed_periods();
            let all = periods.flat_map(|period| {
                fold.sealed(period).map(move |(name, sealed)| (period, name.to_owned(), sealed.revision))
            });
            all.collect()
        });
        for (period, distributor, revision) in sealed {
            let path = self.bundle_path(period, &distributor, revision);
            let known = (period, distributor.clone());
            let is_without = || self.without.lock().unwrap_or_else(PoisonError::into_inner).contains(&known);
            if path.exists() || is_without() {
                continue;
            }
            let distributor = Some(distributor);
            let asked = BundleAsked { period, distributor, checkpoints: Vec::new(), names: self.names };
            match self.write_bundle(&asked, &path) {
                Err(ProofError::NoEvidence(_)) => {
                    self.without.lock().unwrap_or_else(PoisonError::into_inner).insert(known);
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// The file is there whole or not at all.
    fn write_bundle(&self, asked: &BundleAsked, path: &Path) -> Result<(), ProofError> {
        self.sealed(asked.period, asked.distributor.as_deref())?;
        fs::create_dir_all(&self.folder)?;
        let aside = path.with_extension("part");
        let mut file = BufWriter::new(File::create(&aside)?);
        let written = self.bundle(asked, |line| {
            file.write_all(line.as_bytes())?;
            Ok(file.write_all(b"\n")?)
        });
        let synced = written.and_then(|()| {
            let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            Ok(file.sync_all()?)
        });
        match synced {
            Ok(()) => Ok(fs::rename(&aside, path)?),
            Err(error) => {
                // Half a bundle helps nobody.
                let _ = fs::remove_file(&aside);
                Err(error)
            }
        }
    }

    fn bundle_path(&self, period: Period, distributor: &str, revision: u32) -> PathBuf {
        self.folder.join(bundle_name(period, distributor, revision))
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    /// Sizes of the checkpoints that were dropped, the newest ones.
    fn kept_sizes(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(self.checkpoints()) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let notes = paths.iter().rev().take(EARLIER_MAX).filter_map(|path| fs::read_to_string(path).ok());
        notes.filter_map(|note| note.lines().nth(1)?.parse().ok()).collect()
    }

    fn sealed(&self, period: Period, distributor: Option<&str>) -> Result<SealedMonth, ProofError> {
        let mut sealed: Vec<(String, u32, Signed)> = self.books.read(|fold| {
            let all = fold.sealed(period).filter(|(name, _)| distributor.is_none_or(|asked| asked == *name));
            all.map(|(name, sealed)| {
                let statement = Signed { payload: sealed.body.clone(), signature: sealed.signature.clone() };
                (name.to_owned(), sealed.revision, statement)
            })
            .collect()
        });
        let Some((distributor, revision, statement)) = sealed.pop() else {
            let distributor = distributor.unwrap_or_default().to_owned();
            return Err(ProofError::NotSealed { period, distributor });
        };
        if !sealed.is_empty() {
            let mut distributors: Vec<String> = sealed.into_iter().map(|(name, ..)| name).collect();
            distributors.push(distributor);
            return Err(ProofError::Several { period, distributors });
        }
        let body: StatementBody = serde_json::from_slice(&statement.payload)
            .map_err(|error| CloseError::Sealed { period, why: error.to_string() })?;
        if body.evidence.is_none() {
            return Err(ProofError::NoEvidence(period));
        }
        Ok(SealedMonth { distributor, revision, statement, body })
    }

    /// The record that sealed a statement: the first such behind its cut.
    fn sealing_record(&self, cut: u64, statement: &Signed) -> Result<(u64, Vec<u8>), ProofError> {
        let mut from = cut;
        loop {
            let batch = self.books.records(Position(from), BATCH)?;
            if batch.is_empty() {
                return Err(ProofError::Short(from));
            }
            for (position, record) in batch {
                let fact = JournalRecord::decode(record.as_slice()).ok().and_then(|record| record.fact);
                if matches!(&fact, Some(Fact::StatementSealed(one)) if one.statement.as_ref() == Some(statement))
                {
                    return Ok((position.0, record));
                }
                from = position.0 + 1;
            }
        }
    }

    /// The checkpoints that were given, once they are shown to be signed by this collector.
    fn given(&self, notes: &[String]) -> Result<Vec<(Checkpoint, String)>, ProofError> {
        let (name, size) = self.books.read(|fold| {
            (fold.founded().map(|founded| origin(&founded.reseller)).unwrap_or_default(), fold.position())
        });
        let key = self.books.keys().service().verifying_key();
        let read = |note: &String| {
            let checkpoint = Checkpoint::verify(note, &name, &key).map_err(ProofError::Given)?;
            if checkpoint.size > size {
                return Err(ProofError::Ahead { given: checkpoint.size, size });
            }
            Ok((checkpoint, note.clone()))
        };
        notes.iter().map(read).collect()
    }

    /// What the bundle is proven to: the newest given checkpoint that a witness has cosigned and the statement is in,
    /// else one of now.
    fn head(&self, given: &[(Checkpoint, String)], sealed_at: u64) -> (u64, String) {
        let signatures = |note: &str| note.lines().filter(|line| line.starts_with('—')).count();
        let cosigned = given
            .iter()
            .filter(|(checkpoint, note)| checkpoint.size > sealed_at && signatures(note) > 1)
            .max_by_key(|(checkpoint, _)| checkpoint.size);
        if let Some((checkpoint, note)) = cosigned {
            return (checkpoint.size, note.clone());
        }
        let note = self.books.checkpoint();
        let size = note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0);
        (size, note)
    }

    fn month(&self, fold: &Fold, period: Period) -> Result<MonthEvidence, ProofError> {
        let policy = fold.terms().policy(period).map_err(CloseError::from)?;
        Ok(evidence(fold, &policy, period))
    }

    fn host_name(&self, machine: &MachineId) -> String {
        let name = self.books.vault().get(VaultRow::HostName(machine)).ok().flatten();
        name.map(|name| String::from_utf8_lossy(&name).into_owned()).unwrap_or_default()
    }

    fn record(&self, index: u64) -> Result<Vec<u8>, ProofError> {
        let found = self.books.records(Position(index), 1)?.into_iter().next();
        found.map(|(_, record)| record).ok_or(ProofError::Short(index))
    }

    fn each_record(
        &self,
        range: Range<u64>,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), ProofError>,
    ) -> Result<(), ProofError> {
        let mut from = range.start;
        while from < range.end {
            let left = usize::try_from(range.end - from).unwrap_or(BATCH).min(BATCH);
            let batch = self.books.records(Position(from), left)?;
            if batch.is_empty() {
                return Err(ProofError::Short(from));
            }
            for (position, record) in batch {
                take(position.0, &record)?;
                from = position.0 + 1;
            }
        }
        Ok(())
    }
}

/// What a bundle's file is called.
pub fn bundle_name(period: Period, distributor: &str, revision: u32) -> String {
    format!("{period}-{}-r{revision}.bundle.jsonl", file_name(distributor))
}
