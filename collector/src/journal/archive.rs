//! Segments that lie elsewhere, packed: in a folder or in storage that speaks S3. Invariant: an index in the journal's
//! folder names each with its digest and its link, and no record of one is handed out before its bytes were compared
//! with that.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, PutPayload};
use seatbeat_proto::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Position;
use super::reader::{InArchive, Segment};
use super::segment::{Header, NO_LINK, path_of};
use crate::store::{self, StoreError};

/// Name of the index, in the journal's folder.
pub const INDEX: &str = "archived.json";

/// The index's format written here.
const FORMAT: u32 = 1;

/// How long one request may take: a segment over a line of a megabit a second.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(600);

/// How a place in storage that speaks S3 begins.
const S3: &str = "s3://";

/// Why an archive does not give or take a segment.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It names no place.
    #[error("`{0}` is no place for an archive")]
    Place(String),
    /// The place is not there, or cannot be asked.
    #[error("failed to open the archive `{to}`")]
    Open {
        /// Where.
        to: String,
        /// Why not.
        source: Box<object_store::Error>,
    },
    /// The place refused an act.
    #[error("failed to {act} `{object}` in the archive `{to}`")]
    Storage {
        /// What was tried.
        act: &'static str,
        /// With which object.
        object: String,
        /// Where.
        to: String,
        /// What it said.
        source: Box<object_store::Error>,
    },
    /// What it gave is not what was put there.
    #[error("`{object}` in the archive `{to}` is not what was put there")]
    Differs {
        /// Which object.
        object: String,
        /// Where.
        to: String,
    },
    /// The index cannot be used.
    #[error("the index `{INDEX}` of the archived segments cannot be used: {0}")]
    Index(String),
    /// The index cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ArchiveError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Place(_) => Some("name a folder by its whole path, or `s3://BUCKET/PREFIX`".into()),
            Self::Storage { source, .. } if matches!(**source, object_store::Error::NotFound { .. }) => Some(
                "bring the archive back to that place: the journal is not complete without it. What stays there is \
                 not to be deleted by a rule before the evidence's time is over"
                    .into(),
            ),
            Self::Open { .. } | Self::Storage { .. } => Some(
                "look whether that place is there and this user may write it (under systemd also `ReadWritePaths=` of \
                 the unit); for S3 the AWS_ variables of this process say who asks"
                    .into(),
            ),
            Self::Differs { .. } => Some("restore that object from a copy of the archive".into()),
            Self::Index(_) => Some(format!("restore `{INDEX}` in the journal's folder from a backup")),
            Self::Store(error) => error.hint(),
        }
    }
}

/// A segment in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archived {
    /// Its first record.
    pub first: Position,
    /// How many it holds.
    pub records: u64,
    /// Bytes of it, unpacked.
    pub bytes: u64,
    /// Bytes of its object.
    pub packed: u64,
    /// SHA-256 of them, in hex.
    pub sha256: String,
    /// What the header of the next segment names, in hex.
    pub link: String,
    /// In which archive.
    pub to: String,
    /// Its name there.
    pub object: String,
}

impl Archived {
    /// The position behind its last record.
    pub fn end(&self) -> Position {
        self.first.plus(self.records)
    }

    /// What the header of the next segment names.
    ///
    /// # Errors
    /// When the index says no such thing.
    pub fn link(&self) -> Result<[u8; 32], ArchiveError> {
        let byte = |at: usize| u8::from_str_radix(self.link.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        let link = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        link.ok_or_else(|| ArchiveError::Index(format!("the link of segment {} is none", self.first)))
    }
}

/// Which segments are archived, as it lies in the journal's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    format: u32,
    /// In order, from the first record on, without a gap.
    pub segments: Vec<Archived>,
}

impl Default for Index {
    fn default() -> Self {
        Self { format: FORMAT, segments: Vec::new() }
    }
}

impl Index {
    /// The index of a journal's folder; without one nothing is archived.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn load(folder: &Path) -> Result<Self, ArchiveError> {
        let path = folder.join(INDEX);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(StoreError::Io { act: "read", path, source }.into()),
        };
        let index: Self =
            serde_json::from_slice(&bytes).map_err(|error| ArchiveError::Index(error.to_string()))?;
        if index.format > FORMAT {
            return Err(ArchiveError::Index(format!("it has format {}, known is {FORMAT}", index.format)));
        }
        if let Some((next, segment)) = index.gap() {
            return Err(ArchiveError::Index(format!("segment {segment} does not follow record {next}")));
        }
        index.segments.iter().try_for_each(|segment| segment.link().map(drop))?;
        Ok(index)
    }

    /// Names these, which are in order.
    pub fn of(segments: Vec<Archived>) -> Self {
        Self { segments, ..Self::default() }
    }

    /// The first segment that does not go on from those before it, behind the place where it should.
    pub fn gap(&self) -> Option<(Position, Position)> {
        let mut next = Position(0);
        for segment in &self.segments {
            if segment.first > next || segment.end() <= next {
                return Some((next, segment.first));
            }
            next = segment.end();
        }
        None
    }

    /// Writes it down, durably.
    ///
    /// # Errors
    /// When the system fails; the old one stands then.
    pub fn save(&self, folder: &Path) -> Result<(), StoreError> {
        let text = serde_json::to_vec_pretty(self).expect("names and numbers make JSON");
        store::write_file(&folder.join(INDEX), &text)
    }

    /// Leaves out what begins at a place or behind it.
    pub fn cut(&mut self, from: Position) {
        self.segments.retain(|segment| segment.first < from);
    }

    /// Where the archived part ends.
    pub fn end(&self) -> Position {
        self.segments.last().map_or(Position(0), Archived::end)
    }

    /// The header that fits behind the archived part.
    ///
    /// # Errors
    /// When the last segment's link is none.
    pub fn header_behind(&self) -> Result<Header, ArchiveError> {
        let link = self.segments.last().map_or(Ok(NO_LINK), Archived::link)?;
        Ok(Header { first: self.end(), link })
    }
}

/// A place for packed segments, opened when it is first asked for one. The segment that was fetched last is kept in
/// memory.
pub struct Archive {
    to: String,
    place: Place,
    variables: Vec<(AmazonS3ConfigKey, String)>,
    store: Mutex<Option<Arc<dyn ObjectStore>>>,
    fetched: Mutex<Option<(String, Arc<[u8]>)>>,
}

/// What a place is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Folder,
    Bucket { name: String, prefix: String },
}

impl Place {
    fn named(to: &str) -> Option<Self> {
        if Path::new(to).is_absolute() {
            return Some(Self::Folder);
        }
        let rest = to.strip_prefix(S3)?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        (!name.is_empty()).then(|| Self::Bucket { name: name.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Archive {
    /// Whether this names a place: a folder by its whole path, or `s3://BUCKET/PREFIX`.
    pub fn is_place(to: &str) -> bool {
        Place::named(to).is_some()
    }

    /// A place: a folder by its whole path, which has to be there, or `s3://BUCKET/PREFIX`; who asks there is said by
    /// the `AWS_` variables of the environment.
    ///
    /// # Errors
    /// When it names none.
    pub fn named(to: &str) -> Result<Arc<Self>, ArchiveError> {
        let variables = std::env::vars_os();
        Self::named_with(
            to,
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// As [`Archive::named`], with these variables.
    ///
    /// # Errors
    /// As [`Archive::named`].
    pub fn named_with(
        to: &str,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Arc<Self>, ArchiveError> {
        let place = Place::named(to).ok_or_else(|| ArchiveError::Place(to.to_owned()))?;
        // The library would take `ENDPOINT` and `TOKEN` as well, which are anybody's.
        let known = variables.filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let key = name.starts_with("aws_").then(|| name.parse().ok())??;
            Some((key, value))
        });
        Ok(Arc::new(Self {
            to: to.to_owned(),
            place,
            variables: known.collect(),
            store: Mutex::default(),
            fetched: Mutex::default(),
        }))
    }

    /// What it was named by.
    pub fn to(&self) -> &str {
        &self.to
    }

    fn store(&self) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = store.as_ref() {
            return Ok(Arc::clone(store));
        }
        let failed = |source| ArchiveError::Open { to: self.to.clone(), source: Box::new(source) };
        let opened: Arc<dyn ObjectStore> = match &self.place {
            Place::Folder => {
                Arc::new(LocalFileSystem::new_with_prefix(&self.to).map_err(failed)?.with_fsync(true))
            }
            Place::Bucket { name, .. } => {
                // One may be there already, of this process: either serves.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let patient = ClientOptions::new().with_timeout(REQUEST_TIME_MAX);
                let builder = AmazonS3Builder::new().with_client_options(patient);
                let known = self.variables.iter().cloned();
                let builder = known.fold(builder, |builder, (key, value)| builder.with_config(key, value));
                Arc::new(builder.with_bucket_name(name).build().map_err(failed)?)
            }
        };
        Ok(Arc::clone(store.insert(opened)))
    }

    fn path(&self, object: &str) -> ObjectPath {
        match &self.place {
            Place::Folder => ObjectPath::from(object),
            Place::Bucket { prefix, .. } => ObjectPath::from(prefix.as_str()).join(object),
        }
    }

    /// Puts a segment there, and reads it back. Blocks.
    ///
    /// # Errors
    /// When the place does not take it, or gives back something else.
    pub fn put(
        &self,
        first: Position,
        records: u64,
        bytes: &[u8],
        link: [u8; 32],
    ) -> Result<Archived, ArchiveError> {
        let sha256 = hex::format(&Sha256::digest(bytes));
        // Its content is in its name: another journal's segment of the same place is another object.
        let object = format!("{:020}-{}.seg.gz", first.0, &sha256[..16]);
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        let packed = packed.write_all(bytes).and_then(|()| packed.finish()).expect("memory takes bytes");
        let archived = Archived {
            first,
            records,
            bytes: bytes.len() as u64,
            packed: packed.len() as u64,
            sha256,
            link: hex::format(&link),
            to: self.to.clone(),
            object,
        };
        // Put there by a store that this one was restored from, it is that store's, too: perhaps packed otherwise.
        if let Ok(found) = self.ask("look at", &archived, async |store, path| store.head(&path).await) {
            let there = Archived { packed: found.size, ..archived.clone() };
            if self.read(&there).is_ok() {
                self.settle()?;
                return Ok(there);
            }
        }
        let payload = PutPayload::from(packed);
        self.ask("write", &archived, async |store, path| store.put(&path, payload.clone()).await)?;
        self.read(&archived)?;
        Ok(archived)
    }

    /// Makes the names of what is there durable: a move that was killed may have left one that no sync covers.
    fn settle(&self) -> Result<(), ArchiveError> {
        match &self.place {
            Place::Folder => Ok(store::sync_folder(Path::new(&self.to))?),
            Place::Bucket { .. } => Ok(()),
        }
    }

    /// Whether a segment is there, as long as it was: its bytes are looked at once they are fetched. Blocks.
    ///
    /// # Errors
    /// When it is not there, or has another length.
    pub fn look(&self, archived: &Archived) -> Result<(), ArchiveError> {
        let found = self.ask("look at", archived, async |store, path| store.head(&path).await)?;
        match found.size == archived.packed {
            true => Ok(()),
            false => Err(ArchiveError::Differs { object: archived.object.clone(), to: self.to.clone() }),
        }
    }

    /// The bytes of a segment. Blocks.
    ///
    /// # Errors
    /// When the place does not give it, or gives something else.
    pub fn fetch(&self, archived: &Archived) -> Result<Arc<[u8]>, ArchiveError> {
        // Held while it is fetched: whoever else wants the same one waits for it.
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((object, bytes)) = fetched.as_ref()
            && *object == archived.object
        {
            return Ok(Arc::clone(bytes));
        }
        *fetched = None;
        let bytes: Arc<[u8]> = self.read(archived)?.into();
        *fetched = Some((archived.object.clone(), Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// The bytes of a segment as they lie there now. Blocks.
    ///
    /// # Errors
    /// As [`Archive::fetch`].
    pub fn read(&self, archived: &Archived) -> Result<Vec<u8>, ArchiveError> {
        let packed = self.ask("read", archived, async |store, path| store.get(&path).await?.bytes().await)?;
        let differs = || ArchiveError::Differs { object: archived.object.clone(), to: self.to.clone() };
        let mut bytes = Vec::new();
        // One more than there is: what unpacks to more is not read on.
        let mut unpacked = GzDecoder::new(&*packed).take(archived.bytes + 1);
        unpacked.read_to_end(&mut bytes).map_err(|_| differs())?;
        if hex::format(&Sha256::digest(&bytes)) != archived.sha256 {
            return Err(differs());
        }
        Ok(bytes)
    }

    /// Asks the place from a thread of its own: whoever waits here may be at work for a runtime.
    fn ask<T: Send>(
        &self,
        act: &'static str,
        archived: &Archived,
        ask: impl AsyncFn(Arc<dyn ObjectStore>, ObjectPath) -> object_store::Result<T> + Sync,
    ) -> Result<T, ArchiveError> {
        let (store, path) = (self.store()?, self.path(&archived.object));
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("the operating system gives a timer and a poll").block_on(ask(store, path))
        };
        let answered = std::thread::scope(|scope| scope.spawn(run).join());
        answered.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(|source| {
            ArchiveError::Storage {
                act,
                object: archived.object.clone(),
                to: self.to.clone(),
                source: Box::new(source),
            }
        })
    }
}

/// The archives that an index names, each made once.
#[derive(Debug, Default)]
pub struct Archives(BTreeMap<String, Arc<Archive>>);

impl Archives {
    /// The archive of this place.
    ///
    /// # Errors
    /// As [`Archive::named`].
    pub fn at(&mut self, to: &str) -> Result<Arc<Archive>, ArchiveError> {
        if let Some(known) = self.0.get(to) {
            return Ok(Arc::clone(known));
        }
        let archive = Archive::named(to)?;
        self.0.insert(to.to_owned(), Arc::clone(&archive));
        Ok(archive)
    }

    /// What an index names, as segments of a journal in this folder.
    ///
    /// # Errors
    /// As [`Archive::named`].
    pub fn segments(&mut self, folder: &Path, archived: Vec<Archived>) -> Result<Vec<Segment>, ArchiveError> {
        let lies = |archived: Archived| {
            let lies = InArchive { archive: self.at(&archived.to)?, archived };
            Ok(Segment::archived(path_of(folder, lies.archived.first), lies))
        };
        archived.into_iter().map(lies).collect()
    }
}
