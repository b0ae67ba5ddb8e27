//! The root folder that files are read under: this machine's, or another system's.
//! Invariant: under a foreign root no path and no link leads out of it (the kernel resolves them inside of it).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags};

/// A folder that stands for `/`.
#[derive(Debug, Clone)]
pub struct Root(Option<Arc<OwnedFd>>);

impl Root {
    /// This machine.
    pub fn live() -> Self {
        Self(None)
    }

    /// Another system's files.
    ///
    /// # Errors
    /// When the path is no folder that can be opened.
    pub fn foreign(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(Some(Arc::new(rustix::fs::open(path, flags, Mode::empty())?))))
    }

    /// Whether this is the running machine.
    pub fn is_live(&self) -> bool {
        self.0.is_none()
    }

    /// Opens a file for reading. `path` is absolute.
    pub(super) fn open(&self, path: &str) -> io::Result<File> {
        // Not blocking: a named pipe in a foreign root must not hold the scan.
        self.open_with(path, OFlags::RDONLY | OFlags::NONBLOCK).map(File::from)
    }

    /// Whether anything is there; `None` of the kind "not found" is no error.
    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        match self.open_with(path, OFlags::PATH) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Names in a folder, at most `count_max`; none when it is not there.
    pub(super) fn names(&self, path: &str, count_max: usize) -> io::Result<Vec<String>> {
        let folder = match self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in Dir::new(folder)?.take(count_max) {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        Ok(names)
    }

    /// Where a link points to; `None` when there is none.
    pub(super) fn link(&self, folder: &str, name: &str) -> Option<String> {
        let folder = self.open_with(folder, OFlags::PATH | OFlags::DIRECTORY).ok()?;
        let target = rustix::fs::readlinkat(&folder, name, Vec::new()).ok()?;
        Some(target.to_string_lossy().into_owned())
    }

    fn open_with(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(match &self.0 {
            None => rustix::fs::openat(CWD, path, flags, Mode::empty())?,
            Some(root) => {
                let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                rustix::fs::openat2(root.as_ref(), path, flags, Mode::empty(), inside)?
            }
        })
    }
}

/// Whether the error says that nothing is there.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
