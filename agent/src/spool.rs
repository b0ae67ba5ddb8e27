//! Signed evidence on disk, until 62 days have passed and, of 62 files, until the collector has it. Invariant: evidence is durable before anybody may send it,
//! its bytes come back as they were signed, and a spool is one unbroken chain; a file that is not is set aside and
//! a new spool begun.

use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use seatbeat_proto::frame;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, Signing, Verifying, hash};
use seatbeat_proto::wire;

use crate::chain::{Chain, Hash};
use crate::meter::{self, Observation};

pub mod disk;
mod read;
#[cfg(test)]
mod tests;

use disk::{Disk, RealDisk, Tape};
use read::{End, Name, Reading, Segment, Whole};

/// How long evidence is kept, acknowledged or not: a collector that lost its disk gets two months again, and
/// nobody counts anything older.
pub const KEPT: SignedDuration = SignedDuration::from_hours(62 * 24);

/// Files of unacknowledged evidence that stay even when it is older than [`KEPT`]: a clock that is far ahead while the
/// collector cannot be reached costs nothing that is nowhere else. As many as the days of [`KEPT`]; the oldest give way.
const SEGMENTS_WAITING_MAX: usize = 62;

/// Age of a segment's oldest evidence at which the next one is begun: what is pruned at once.
const SEGMENT_AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Length in bytes at which the next segment is begun: it is read whole when the agent starts.
const SEGMENT_LENGTH_MAX: u64 = 1024 * 1024;

/// File with the newest acknowledged sequence. It is not synced: without it, evidence is sent again.
const MARK: &str = "acknowledged";

/// What went wrong with the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file or folder of it.
    #[error("failed to {act} `{}`", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no room for more evidence.
    #[error("the disk is full: failed to write evidence to `{}`", path.display())]
    Full {
        /// The segment.
        path: PathBuf,
    },
    /// A later version wrote it.
    #[error("the spool file `{}` was written by a newer agent", .0.display())]
    Newer(PathBuf),
    /// It was whole when it was opened, and is not any more.
    #[error("the spool file `{}` was changed while it was in use", .0.display())]
    Changed(PathBuf),
    /// Evidence longer than a frame.
    #[error("failed to write evidence")]
    TooLong(#[from] frame::TooLong),
}

impl SpoolError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Full { .. } => "make room on the disk; reporting goes on by itself",
            Self::Newer(_) => "install the newer agent again",
            Self::Changed(_) => "start the agent again: it sets a damaged file aside",
            Self::File { .. } => "look at the owner and the permissions of the state folder",
            Self::TooLong(_) => return None,
        })
    }
}

/// A file that is no part of the chain any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the spool file `{}` is damaged ({what}); it was set aside as `{}`", was.display(), is.display())]
pub struct Damage {
    /// What it was called.
    pub was: PathBuf,
    /// What it is called now.
    pub is: PathBuf,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A spool as it was found.
#[derive(Debug)]
pub struct Opened {
    /// Ready to be written.
    pub spool: Spool,
    /// All evidence in it, oldest first.
    pub kept: Vec<wire::Evidence>,
    /// What was set aside: what the collector did not have of it was said again in a new spool.
    pub damage: Option<Damage>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    disk: Box<dyn Disk>,
    machine: MachineId,
    /// Of spools on this machine; the file names sort by it.
    ordinal: u32,
    chain: Chain,
    acknowledged: u64,
    segments: Vec<Segment>,
    tape: Option<Box<dyn Tape>>,
    /// The last file may end with a part of a frame.
    torn: bool,
}

impl Spool {
    /// Opens the newest spool of this machine and key in a folder, or begins one. A torn tail is cut; a damaged
    /// file is set aside and the spool given up for a new one.
    ///
    /// # Errors
    /// When a file cannot be read, set aside, cut or written, or belongs to a newer agent.
    pub fn open(
        folder: &Path,
        disk: Box<dyn Disk>,
        machine: &MachineId,
        key: &dyn Signing,
    ) -> Result<Opened, SpoolError> {
        let fault = |source| SpoolError::File { act: "create the folder", path: folder.to_owned(), source };
        disk.create_folder(folder).map_err(fault)?;
        let names = read::names(disk.as_ref(), folder)?;
        let ordinal = names.last().map_or(1, |name| name.ordinal);
        let spool_id = names.last().map_or_else(|| disk.new_spool(), |name| name.spool.clone());
        let mut spool = Self {
            folder: folder.to_owned(),
            disk,
            machine: machine.clone(),
            ordinal,
            chain: Chain::new(spool_id.clone()),
            acknowledged: 0,
            segments: Vec::new(),
            tape: None,
            torn: false,
        };
        let mut reading = Reading::new(spool.disk.as_ref(), machine, key.verifying(), spool_id.clone());
        let current: Vec<_> = names.iter().filter(|name| name.ordinal == ordinal).collect();
        let bad = read_all(folder, &current, &mut reading)?;
        let Reading { chain, mut kept, segments, foreign, .. } = reading;
        (spool.chain, spool.segments) = (chain, segments);
        spool.acknowledged = read::mark(spool.disk.as_ref(), folder, &spool_id).min(spool.chain.tip());
        let damage = match bad {
            Some((name, what)) => {
                let damage = set_aside(spool.disk.as_ref(), folder, name, what)?;
                kept.retain(|evidence| evidence.sequence > spool.acknowledged);
                kept = spool.begin_new(kept, key)?;
                Some(damage)
            }
            None if foreign => {
                kept = spool.begin_new(Vec::new(), key)?;
                None
            }
            None => {
                spool.continue_last_segment()?;
                None
            }
        };
        Ok(Opened { spool, kept, damage })
    }

    /// Looks at a spool without touching it: how much evidence waits, or what is wrong.
    ///
    /// # Errors
    /// When a file cannot be read, or belongs to a newer agent.
    pub fn inspect(
        folder: &Path,
        machine: &MachineId,
        key: &dyn Verifying,
    ) -> Result<Inspection, SpoolError> {
        let names = if folder.exists() { read::names(&RealDisk, folder)? } else { Vec::new() };
        let Some(newest) = names.last() else { return Ok(Inspection::default()) };
        let mut reading = Reading::new(&RealDisk, machine, key, newest.spool.clone());
        let mut damage = None;
        for name in names.iter().filter(|name| name.ordinal == newest.ordinal) {
            if let End::Damaged(what) = reading.segment(&folder.join(name.to_string()), name)? {
                damage = Some(format!("`{}`: {what}", folder.join(name.to_string()).display()));
                break;
            }
        }
        let acknowledged = read::mark(&RealDisk, folder, &newest.spool).min(reading.chain.tip());
        let waiting = reading.chain.tip() - acknowledged.max(reading.chain.oldest() - 1);
        Ok(Inspection { kept: reading.kept.len() as u64, waiting, damage, chain: Some(reading.chain) })
    }

    /// The chain of what is in it.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Sequence up to which the collector has everything, as was last marked.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Signs an observation as the next evidence and writes it: durable when this returns.
    ///
    /// # Errors
    /// When it could not be written; the spool is as before then, and the next call tries anew.
    pub fn append(
        &mut self,
        observation: Observation,
        key: &dyn Signing,
    ) -> Result<wire::Evidence, SpoolError> {
        let evidence = meter::evidence(&self.chain, &self.machine, observation);
        let (bytes, digest) = framed(&evidence, key)?;
        if self.segments.last().is_none_or(|segment| is_done(segment, evidence.observed_at_ms)) {
            self.begin_segment(evidence.sequence)?;
        }
        self.write(&bytes)?;
        if let Some(segment) = self.segments.last_mut() {
            enter(segment, &evidence, bytes.len() as u64);
        }
        self.chain.push(digest);
        Ok(evidence)
    }

    /// The evidence of a sequence as it was signed; `None` when it is not kept.
    ///
    /// # Errors
    /// When its file cannot be read or was changed.
    pub fn read(&self, sequence: u64) -> Result<Option<wire::Signed>, SpoolError> {
        let Some(segment) = self.segments.iter().rev().find(|segment| segment.first <= sequence) else {
            return Ok(None);
        };
        let index = usize::try_from(sequence - segment.first).ok();
        let whole = index.and_then(|index| segment.wholes.get(index));
        whole.map(|whole| read::signed_at(self.disk.as_ref(), &segment.path, whole)).transpose()
    }

    /// Everything after a sequence, decoded.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub fn after(&self, sequence: u64) -> Result<Vec<wire::Evidence>, SpoolError> {
        let mut all = Vec::new();
        for sequence in sequence.max(self.chain.oldest() - 1) + 1..=self.chain.tip() {
            let signed = self.read(sequence)?;
            all.extend(signed.and_then(|signed| wire::Evidence::decode(signed.payload.as_slice()).ok()));
        }
        Ok(all)
    }

    /// Marks what the collector has. A mark that is lost, or cannot be written, only sends again.
    pub fn acknowledge(&mut self, sequence: u64) {
        self.acknowledged = sequence.min(self.chain.tip());
        let text = format!("{} {}\n", self.chain.spool(), self.acknowledged);
        let aside = self.folder.join(format!("{MARK}.tmp"));
        let marked = self
            .disk
            .create(&aside)
            .and_then(|mut tape| tape.write(text.as_bytes()))
            .and_then(|()| self.disk.rename(&aside, &self.folder.join(MARK)));
        if let Err(source) = marked {
            tracing::debug!(error = %source, "the mark of what is acknowledged was not written");
        }
    }

    /// Leaves the current spool for a new one that starts with what `carried` observed; all of it is in the new
    /// spool when this returns. The old files stay until their time is over.
    ///
    /// # Errors
    /// When it could not be written; the spool is as before then.
    pub fn begin_new(
        &mut self,
        carried: Vec<wire::Evidence>,
        key: &dyn Signing,
    ) -> Result<Vec<wire::Evidence>, SpoolError> {
        let mut chain = Chain::new(self.disk.new_spool());
        let mut again = Vec::new();
        let mut bytes = read::HEADER.to_vec();
        let name = Name { ordinal: self.ordinal + 1, first: 1, spool: chain.spool().clone(), damaged: false };
        let mut segment = Segment::empty(self.folder.join(name.to_string()), 1);
        for observation in carried.into_iter().filter_map(meter::observation_of) {
            let evidence = meter::evidence(&chain, &self.machine, observation);
            let (frame, digest) = framed(&evidence, key)?;
            enter(&mut segment, &evidence, frame.len() as u64);
            bytes.extend(frame);
            chain.push(digest);
            again.push(evidence);
        }
        let (mut tape, mut segments) = (None, Vec::new());
        if !again.is_empty() {
            tape = Some(self.write_aside(&segment.path, &bytes)?);
            segments.push(segment);
        }
        self.ordinal = name.ordinal;
        (self.chain, self.acknowledged) = (chain, 0);
        (self.segments, self.tape, self.torn) = (segments, tape, false);
        Ok(again)
    }

    /// Removes the oldest file when all its evidence is too old and the collector has it, or too many files wait; says
    /// whether it did. One a call, so that a clock that is wrong for an hour does not cost two months.
    ///
    /// # Errors
    /// When the folder cannot be listed or the file not removed.
    pub fn prune(&mut self, now: Timestamp) -> Result<bool, SpoolError> {
        let Ok(limit) = now.checked_sub(KEPT) else { return Ok(false) };
        let limit_ms = limit.as_millisecond();
        let names = read::names(self.disk.as_ref(), &self.folder)?;
        if let Some(other) = names.first().filter(|name| name.ordinal < self.ordinal) {
            let path = self.folder.join(other.to_string());
            let old =
                read::newest_ms(self.disk.as_ref(), &path).is_some_and(|newest_ms| newest_ms < limit_ms);
            return if old { remove(self.disk.as_ref(), &path).map(|()| true) } else { Ok(false) };
        }
        // The newest evidence stays: it is the tip.
        let [oldest, later @ ..] = self.segments.as_slice() else { return Ok(false) };
        let waits = self.acknowledged < oldest.first + oldest.wholes.len() as u64 - 1
            && self.segments.len() <= SEGMENTS_WAITING_MAX;
        let holds_tip = later.iter().all(|segment| segment.wholes.is_empty());
        if oldest.newest_ms >= limit_ms || holds_tip || waits {
            return Ok(false);
        }
        remove(self.disk.as_ref(), &oldest.path)?;
        self.chain.forget_oldest(oldest.wholes.len());
        self.segments.remove(0);
        Ok(true)
    }

    /// What a process that was killed left unsynced is durable from here on: it may be handed out now.
    fn continue_last_segment(&mut self) -> Result<(), SpoolError> {
        let Some(segment) = self.segments.last() else { return Ok(()) };
        let fault =
            |source| SpoolError::File { act: "continue the spool file", path: segment.path.clone(), source };
        if segment.length < read::HEADER.len() as u64 {
            // Not even its header was written: it is begun again.
            remove(self.disk.as_ref(), &segment.path)?;
            self.segments.pop();
            return Ok(());
        }
        let mut tape = self.disk.open(&segment.path).map_err(fault)?;
        let durable = tape.cut(segment.length).and_then(|()| tape.sync());
        durable.and_then(|()| self.disk.sync_folder(&self.folder)).map_err(fault)?;
        self.tape = Some(tape);
        Ok(())
    }

    fn begin_segment(&mut self, first: u64) -> Result<(), SpoolError> {
        let name = Name { ordinal: self.ordinal, first, spool: self.chain.spool().clone(), damaged: false };
        let segment = Segment::empty(self.folder.join(name.to_string()), first);
        self.tape = Some(self.write_aside(&segment.path, read::HEADER)?);
        self.segments.push(segment);
        self.torn = false;
        Ok(())
    }

    /// A new file that is there whole or not at all.
    fn write_aside(&self, path: &Path, bytes: &[u8]) -> Result<Box<dyn Tape>, SpoolError> {
        let aside = path.with_extension("tmp");
        let write = || {
            let mut tape = self.disk.create(&aside)?;
            tape.write(bytes)?;
            tape.sync()?;
            self.disk.rename(&aside, path)?;
            self.disk.sync_folder(&self.folder)?;
            Ok(tape)
        };
        write().map_err(|source| {
            for left in [aside.as_path(), path] {
                let _ = self.disk.remove(left);
            }
            write_error("begin the spool file", path, source)
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let (Some(tape), Some(segment)) = (&mut self.tape, self.segments.last()) else { return Ok(()) };
        let mut write = || {
            if self.torn {
                tape.cut(segment.length)?;
            }
            tape.write(bytes)?;
            tape.sync()
        };
        let Err(source) = write() else {
            self.torn = false;
            return Ok(());
        };
        // What was written of it must not stay; when it cannot be cut off now, it is before the next write.
        self.torn = tape.cut(segment.length).and_then(|()| tape.sync()).is_err();
        Err(write_error("write evidence to", &segment.path, source))
    }
}

fn read_all<'n>(
    folder: &Path,
    names: &[&'n Name],
    reading: &mut Reading<'_>,
) -> Result<Option<(&'n Name, &'static str)>, SpoolError> {
    for (index, name) in names.iter().enumerate() {
        match reading.segment(&folder.join(name.to_string()), name)? {
            _ if reading.foreign => return Ok(None),
            End::Damaged(what) => return Ok(Some((name, what))),
            End::Torn if index + 1 < names.len() => return Ok(Some((name, "its end is missing"))),
            End::Clean | End::Torn if name.damaged => return Ok(Some((name, "it was set aside before"))),
            End::Clean | End::Torn => {}
        }
    }
    Ok(None)
}

/// What is in a spool, seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Evidence that is kept.
    pub kept: u64,
    /// Evidence that is not acknowledged.
    pub waiting: u64,
    /// What is wrong with it.
    pub damage: Option<String>,
    /// The current chain; `None`: there is no spool yet.
    pub chain: Option<Chain>,
}

fn framed(evidence: &wire::Evidence, key: &dyn Signing) -> Result<(Vec<u8>, Hash), SpoolError> {
    let payload = evidence.encode_to_vec();
    let digest = hash(&payload);
    let mut bytes = Vec::new();
    frame::append(&mut bytes, &key.signs(Domain::Evidence, payload).encode_to_vec())?;
    Ok((bytes, digest))
}

fn enter(segment: &mut Segment, evidence: &wire::Evidence, length: u64) {
    if segment.wholes.is_empty() {
        segment.first_ms = evidence.observed_at_ms;
    }
    segment.newest_ms = segment.newest_ms.max(evidence.observed_at_ms);
    segment.wholes.push(Whole { at: segment.length, length });
    segment.length += length;
}

fn is_done(segment: &Segment, observed_at_ms: i64) -> bool {
    let age_ms = observed_at_ms.abs_diff(segment.first_ms);
    let old = u128::from(age_ms) >= SEGMENT_AGE_MAX.unsigned_abs().as_millis();
    !segment.wholes.is_empty() && (old || segment.length >= SEGMENT_LENGTH_MAX)
}

fn set_aside(disk: &dyn Disk, folder: &Path, name: &Name, what: &'static str) -> Result<Damage, SpoolError> {
    let was = folder.join(name.to_string());
    let is = folder.join(Name { damaged: true, ..name.clone() }.to_string());
    disk.rename(&was, &is).map_err(|source| SpoolError::File {
        act: "set aside",
        path: was.clone(),
        source,
    })?;
    Ok(Damage { was, is, what })
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), SpoolError> {
    disk.remove(path).map_err(|source| SpoolError::File {
        act: "remove the old spool file",
        path: path.to_owned(),
        source,
    })
}

fn write_error(act: &'static str, path: &Path, source: io::Error) -> SpoolError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            SpoolError::Full { path: path.to_owned() }
        }
        _ => SpoolError::File { act, path: path.to_owned(), source },
    }
}
