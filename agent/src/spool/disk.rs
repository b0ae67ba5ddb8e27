//! The few things a spool asks of its machine, so that a test can fill a disk up, or have the power fail. Invariant:
//! no decisions here; what a disk does not say otherwise is done by the file system as it is.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use jiff::Timestamp;
use seatbeat_proto::ids::SpoolId;
use seatbeat_proto::sealing::SealKey;

/// Where spool files are.
pub trait Disk: Debug + Send {
    /// Makes a folder only its owner may enter, and its name durable; it may be there already.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes an empty file, or empties it.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Tape>>;
    /// Opens a file to be continued.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>>;
    /// Makes new and renamed names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in any order.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        Ok(entries.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// All bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    /// A part of a file's bytes; fewer where it ends before.
    fn read_part(&self, path: &Path, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// When a file was written last (Unix milliseconds).
    fn modified_ms(&self, path: &Path) -> Option<i64> {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
        Timestamp::try_from(modified).ok().map(Timestamp::as_millisecond)
    }

    /// Gives a file another name; one that has it already is gone then.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// An id for a new spool that nobody else has.
    fn new_spool(&self) -> SpoolId {
        SpoolId::random()
    }

    /// A seal key that nobody else has.
    fn new_seal_key(&self) -> SealKey {
        SealKey::random()
    }
}

/// A file that grows at its end.
pub trait Tape: Debug + Send {
    /// Adds bytes; some of them may be there when it fails.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's contents durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file; the next write follows there.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The machine's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let made = path.ancestors().take_while(|path| !path.exists()).count();
        builder.create(path)?;
        path.ancestors().take(made.max(1)).filter_map(Path::parent).try_for_each(|around| {
            let around = if around.as_os_str().is_empty() { Path::new(".") } else { around };
            match self.sync_folder(around) {
                // The folder around it may be one that the agent only passes through.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            }
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Box::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Box::new(file))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // Windows has no such thing: a rename is in its journal.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }
}

impl Tape for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(|_| ())
    }
}
