//! Reads spool files back. Invariant: what is read is whole, signed by this machine and one chain; reading changes
//! nothing on disk.

use std::fmt;
use std::path::{Path, PathBuf};

use prost::Message as _;
use seatbeat_proto::frame::{self, Frame, Tail};
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::signed::{Domain, Verifying, hash};
use seatbeat_proto::wire;

use super::disk::Disk;
use super::{MARK, SpoolError};
use crate::chain::Chain;

/// What every spool file starts with; the last byte is the version.
pub const HEADER: &[u8; 8] = b"SBSPOOL\x01";

/// A spool file's name: `000001.spl_….00000000000000000001.frames`, and `.damaged` behind it when it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Number of the spool on this machine.
    pub ordinal: u32,
    /// Sequence of the first evidence in the file.
    pub first: u64,
    /// The spool.
    pub spool: SpoolId,
    /// Set aside.
    pub damaged: bool,
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let (text, damaged) = text.strip_suffix(".damaged").map_or((text, false), |text| (text, true));
        let (ordinal, rest) = text.strip_suffix(".frames")?.split_once('.')?;
        let (spool, first) = rest.rsplit_once('.')?;
        Some(Self {
            ordinal: ordinal.parse().ok()?,
            first: first.parse().ok()?,
            spool: spool.parse().ok()?,
            damaged,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ordinal, spool, first, damaged } = self;
        write!(f, "{ordinal:06}.{spool}.{first:020}.frames{}", if *damaged { ".damaged" } else { "" })
    }
}

/// One file of the current spool.
#[derive(Debug)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// Sequence of its first evidence.
    pub first: u64,
    /// When its first evidence was observed.
    pub first_ms: i64,
    /// When its newest evidence was observed.
    pub newest_ms: i64,
    /// Bytes that are whole.
    pub length: u64,
    /// Its evidence, in order.
    pub wholes: Vec<Whole>,
}

impl Segment {
    /// A file with a header and nothing else.
    pub fn empty(path: PathBuf, first: u64) -> Self {
        let length = HEADER.len() as u64;
        Self { path, first, first_ms: 0, newest_ms: i64::MIN, length, wholes: Vec::new() }
    }
}

/// Where a frame is in its file.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// Offset of the frame.
    pub at: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With whole evidence.
    Clean,
    /// With a frame that was cut off while it was written.
    Torn,
    /// It is not what was written.
    Damaged(&'static str),
}

/// The names of all spool files in a folder, oldest first.
pub fn names(disk: &dyn Disk, folder: &Path) -> Result<Vec<Name>, SpoolError> {
    let fault = |source| SpoolError::File { act: "list the folder", path: folder.to_owned(), source };
    let found = disk.names(folder).map_err(fault)?;
    let mut names: Vec<_> = found.iter().filter_map(|name| Name::parse(name)).collect();
    names.sort();
    Ok(names)
}

/// The acknowledged sequence of a spool, as it was marked last; 0 when there is no (readable) mark.
pub fn mark(disk: &dyn Disk, folder: &Path, spool: &SpoolId) -> u64 {
    let text = disk.read(&folder.join(MARK)).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.unwrap_or_default();
    let marked = text.split_once(' ').filter(|(marked, _)| *marked == spool.as_str());
    marked.and_then(|(_, sequence)| sequence.trim_end().parse().ok()).unwrap_or(0)
}

/// The signed evidence in a frame.
pub fn signed_at(disk: &dyn Disk, path: &Path, whole: &Whole) -> Result<wire::Signed, SpoolError> {
    let bytes = disk.read_part(path, whole.at, whole.length).map_err(|source| SpoolError::File {
        act: "read the spool file",
        path: path.to_owned(),
        source,
    })?;
    match frame::read(&bytes) {
        Frame::Whole { body, .. } => {
            wire::Signed::decode(body).map_err(|_| SpoolError::Changed(path.to_owned()))
        }
        Frame::Torn | Frame::Damaged | Frame::End => Err(SpoolError::Changed(path.to_owned())),
    }
}

/// When the newest whole evidence of a file was observed; of a file without any, when it was written.
pub fn newest_ms(disk: &dyn Disk, path: &Path) -> Option<i64> {
    let bytes = disk.read(path).ok()?;
    let mut at = HEADER.len();
    let mut newest = None;
    while let Some(Frame::Whole { body, length }) = bytes.get(at..).map(frame::read) {
        at += length;
        let evidence = wire::Signed::decode(body)
            .ok()
            .and_then(|signed| wire::Evidence::decode(signed.payload.as_slice()).ok());
        newest = newest.max(evidence.map(|evidence| evidence.observed_at_ms));
    }
    newest.or_else(|| disk.modified_ms(path))
}

/// The chain of a spool, built up file by file.
#[derive(Debug)]
pub struct Reading<'a> {
    disk: &'a dyn Disk,
    machine: &'a MachineId,
    key: &'a dyn Verifying,
    /// What was read so far.
    pub chain: Chain,
    /// Whole evidence, oldest first.
    pub kept: Vec<wire::Evidence>,
    /// The files.
    pub segments: Vec<Segment>,
    /// The spool belongs to another machine: somebody enrolled again.
    pub foreign: bool,
}

impl<'a> Reading<'a> {
    /// Nothing read yet.
    pub fn new(disk: &'a dyn Disk, machine: &'a MachineId, key: &'a dyn Verifying, spool: SpoolId) -> Self {
        let chain = Chain::new(spool);
        Self { disk, machine, key, chain, kept: Vec::new(), segments: Vec::new(), foreign: false }
    }

    /// Reads the next file, up to where it is not whole any more.
    ///
    /// # Errors
    /// When it cannot be read, or belongs to a newer agent.
    pub fn segment(&mut self, path: &Path, name: &Name) -> Result<End, SpoolError> {
        let bytes = self.disk.read(path).map_err(|source| SpoolError::File {
            act: "read the spool file",
            path: path.to_owned(),
            source,
        })?;
        let mut segment = Segment::empty(path.to_owned(), name.first);
        let end = match header(&bytes) {
            Header::Ours => self.frames(&bytes, name, &mut segment),
            Header::Newer => return Err(SpoolError::Newer(path.to_owned())),
            Header::CutOff => {
                segment.length = 0;
                End::Torn
            }
            Header::Other => End::Damaged("it does not start as a spool file does"),
        };
        self.segments.push(segment);
        Ok(end)
    }

    fn frames(&mut self, bytes: &[u8], name: &Name, segment: &mut Segment) -> End {
        if self.segments.is_empty() {
            self.chain = Chain::starting_after(name.spool.clone(), name.first.saturating_sub(1), None);
        }
        if name.first != self.chain.tip() + 1 {
            return End::Damaged("evidence before it is missing");
        }
        let mut at = HEADER.len();
        while let Frame::Whole { body, length } = frame::read(&bytes[at..]) {
            if let Err(what) = self.evidence(body, segment) {
                return End::Damaged(what);
            }
            segment.wholes.push(Whole { at: at as u64, length: length as u64 });
            at += length;
            segment.length = at as u64;
            if self.foreign {
                return End::Clean;
            }
        }
        match frame::tail(bytes, at) {
            Tail::Clean => End::Clean,
            Tail::Torn { .. } => End::Torn,
            Tail::Damaged { .. } => End::Damaged("bytes in the middle of it were changed"),
        }
    }

    fn evidence(&mut self, body: &[u8], segment: &mut Segment) -> Result<(), &'static str> {
        let signed = wire::Signed::decode(body).map_err(|_| "it holds something that is no evidence")?;
        let evidence = wire::Evidence::decode(signed.payload.as_slice())
            .map_err(|_| "it holds something that is no evidence")?;
        if evidence.machine != self.machine.as_str() {
            self.foreign = true;
            return Ok(());
        }
        self.key
            .holds(Domain::Evidence, &signed)
            .map_err(|_| "evidence in it is not signed by this machine")?;
        if self.chain.tip_hash().is_none() && evidence.sequence > 1 {
            let previous = evidence.previous.as_slice().try_into().ok();
            self.chain = Chain::starting_after(self.chain.spool().clone(), self.chain.tip(), previous);
        }
        let follows = evidence.spool == self.chain.spool().as_str()
            && evidence.sequence == self.chain.tip() + 1
            && evidence.previous == self.chain.tip_hash().map(|hash| hash.to_vec()).unwrap_or_default();
        if !follows {
            return Err("evidence in it does not follow what is before it");
        }
        if segment.wholes.is_empty() {
            segment.first_ms = evidence.observed_at_ms;
        }
        segment.newest_ms = segment.newest_ms.max(evidence.observed_at_ms);
        self.chain.push(hash(&signed.payload));
        self.kept.push(evidence);
        Ok(())
    }
}

enum Header {
    Ours,
    Newer,
    CutOff,
    Other,
}

fn header(bytes: &[u8]) -> Header {
    // Some file systems leave zeros where a write did not come through.
    let written = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    if bytes.starts_with(HEADER) {
        Header::Ours
    } else if HEADER.starts_with(&bytes[..written]) {
        Header::CutOff
    } else if bytes.starts_with(&HEADER[..7]) && bytes.get(7).is_some_and(|version| *version > HEADER[7]) {
        Header::Newer
    } else {
        Header::Other
    }
}
