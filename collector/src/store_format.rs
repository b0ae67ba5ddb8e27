//! How what lies in a store is laid out, and how an older layout becomes this version's. Invariant: a store goes forward
//! only, after a copy of it was made that the older version opens; a store of a later version is refused untouched.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::store::{self, Store, StoreError};

/// The layout that this version reads and writes. There has been one so far, and stores without the file have it.
pub const FORMAT: u32 = 1;

/// Says which one a store has.
const FILE: &str = "format";

/// Makes the next layout of the one before it; done again after a crash it comes to the same.
type Step = fn(&Store) -> Result<(), StoreError>;

/// From each layout to the next, the first from 1 to 2.
const STEPS: [Step; FORMAT as usize - 1] = [];

/// A store that this version does not open.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A later version has opened it.
    #[error(
        "the store `{folder}` is of a later version: it has format {found}, this version reads up to {known}"
    )]
    Later {
        /// The store.
        folder: PathBuf,
        /// What it has.
        found: u32,
        /// What is known here.
        known: u32,
        /// The copy that was made before it went beyond what is known here.
        before: Option<PathBuf>,
    },
    /// The file says something else.
    #[error("`{0}` holds no number")]
    Damaged(PathBuf),
    /// The system failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FormatError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Later { before: Some(copy), .. } => Some(format!(
                "start the version that wrote it, or a later one; to go back, serve the copy of before, `{}`: what came since is not in it",
                copy.display()
            )),
            Self::Later { before: None, .. } => {
                Some("start the version that wrote it, or a later one".into())
            }
            Self::Damaged(path) => Some(format!(
                "remove `{}` where the version that ran last knew format 1 only",
                path.display()
            )),
            Self::Store(error) => error.hint(),
        }
    }
}

/// Brings a store to this version's layout.
///
/// # Errors
/// When it is of a later version, or the disk does not take the copy or the change.
pub fn bring_forward(store: &Store) -> Result<(), FormatError> {
    bring(store, &STEPS)
}

fn bring(store: &Store, steps: &[Step]) -> Result<(), FormatError> {
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX) + 1;
    let path = store.folder().join(FILE);
    let found = read(&path)?;
    if found > known {
        let copies = (known + 1..=found).map(|format| copy_path(store, format));
        let before = copies.into_iter().find(|copy| copy.exists());
        return Err(FormatError::Later { folder: store.folder().to_owned(), found, known, before });
    }
    for (step, next) in steps.iter().zip(2..).filter(|(_, next)| *next > found) {
        copy_before(store, next)?;
        step(store)?;
        write(&path, next)?;
        tracing::info!(format = next, "the store was brought forward");
    }
    if !path.exists() {
        write(&path, known)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<u32, FormatError> {
    match fs::read_to_string(path) {
        Ok(text) => match text.trim().parse() {
            Ok(format) if format > 0 => Ok(format),
            _ => Err(FormatError::Damaged(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(1),
        Err(source) => Err(StoreError::Io { act: "read", path: path.to_owned(), source }.into()),
    }
}

fn write(path: &Path, format: u32) -> Result<(), StoreError> {
    store::write_file(path, format!("{format}\n").as_bytes())
}

fn copy_path(store: &Store, format: u32) -> PathBuf {
    store.folder().join(format!("before-format-{format}"))
}

/// What the version before opens: all that counts depend on. Snapshots and lookup rows it makes anew.
fn copy_before(store: &Store, format: u32) -> Result<(), StoreError> {
    let copy = copy_path(store, format);
    if copy.exists() {
        return Ok(());
    }
    let aside = copy.with_extension("new");
    store::remove_folder(&aside)?;
    store::make_folder(&aside)?;
    for folder in [store.journal(), store.vault()] {
        let name = folder.file_name().unwrap_or_default();
        copy_folder(&folder, &aside.join(name))?;
    }
    for file in [Config::FILE, FILE] {
        let from = store.folder().join(file);
        if from.exists() {
            copy_file(&from, &aside.join(file))?;
        }
    }
    let renamed = fs::rename(&aside, &copy);
    renamed.map_err(|source| StoreError::Io { act: "rename", path: aside, source })?;
    store::sync_folder_of(&copy)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), StoreError> {
    store::make_folder(to)?;
    let failed = |source| StoreError::Io { act: "read the folder", path: from.to_owned(), source };
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, below) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy_folder(&path, &below)? } else { copy_file(&path, &below)? }
    }
    store::sync_folder_of(&to.join(FILE))
}

fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    let copied = fs::copy(from, to).and_then(|_| File::open(to)?.sync_all());
    copied.map_err(|source| StoreError::Io { act: "copy", path: from.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for folder in [store.journal(), store.vault()] {
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("old"), "as it was").unwrap();
        }
        fs::write(store.folder().join(Config::FILE), "").unwrap();
        (folder, store)
    }

    fn said(store: &Store) -> String {
        fs::read_to_string(store.folder().join(FILE)).unwrap()
    }

    const NEXT: [Step; 1] = [|store| store::write_file(&store.journal().join("old"), b"as it is now")];

    #[test]
    fn a_store_goes_forward_after_a_copy_and_not_back() {
        let (_folder, store) = store();
        bring_forward(&store).unwrap();
        assert_eq!(said(&store), "1\n");
        bring(&store, &NEXT).unwrap();
        assert_eq!(said(&store), "2\n");
        assert_eq!(fs::read_to_string(store.journal().join("old")).unwrap(), "as it is now");
        let copy = store.folder().join("before-format-2");
        assert_eq!(fs::read_to_string(copy.join("journal/old")).unwrap(), "as it was");
        assert!(copy.join("vault/old").exists() && copy.join(Config::FILE).exists());
        bring(&store, &NEXT).unwrap();
        let refused = bring_forward(&store).unwrap_err();
        assert!(refused.to_string().contains("it has format 2, this version reads up to 1"), "{refused}");
        assert!(refused.hint().unwrap().contains("before-format-2"), "{:?}", refused.hint());
        bring_forward(&Store::open(&copy).unwrap()).unwrap();
    }

    #[test]
    fn a_step_that_was_cut_short_is_done_again_and_the_copy_stays_that_of_before() {
        let (_folder, store) = store();
        let fails: [Step; 1] = [|store| {
            store::write_file(&store.journal().join("old"), b"half")?;
            let source = io::ErrorKind::StorageFull.into();
            Err(StoreError::Io { act: "write", path: store.journal(), source })
        }];
        bring(&store, &fails).unwrap_err();
        bring(&store, &NEXT).unwrap();
        let copy = store.folder().join("before-format-2/journal/old");
        assert_eq!(fs::read_to_string(copy).unwrap(), "as it was");
    }

    #[test]
    fn what_is_no_number_is_named() {
        let (_folder, store) = store();
        for text in ["", "0", "two"] {
            fs::write(store.folder().join(FILE), text).unwrap();
            let refused = bring_forward(&store).unwrap_err();
            assert!(matches!(refused, FormatError::Damaged(_)), "{refused}");
        }
    }
}
