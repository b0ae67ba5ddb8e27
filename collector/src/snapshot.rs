//! Snapshot files: the fold at a position, so that a start need not fold the whole journal.
//! Invariant: a snapshot is only ever a shortcut. One that is not whole is passed over, never an error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::journal::Position;
use crate::store::{StoreError, sync_folder_of, write_aside};

/// Largest body: a fold holds some hundred bytes a seat, so this is a fleet of millions; it is read into memory.
pub const BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;

const MAGIC: &[u8; 17] = b"seatbeat snapshot";
const FORMAT: u32 = 12;
const HEAD_LENGTH: usize = MAGIC.len() + 4 + 8 + 32 + 8;
const CHECKSUM_LENGTH: usize = 4;

/// A snapshot: its position, its `root_check` and its body.
pub type Loaded = (Position, [u8; 32], Vec<u8>);

/// Why no snapshot was saved or looked for.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Larger than a start could read.
    #[error("{bytes} bytes are more than a snapshot holds ({BODY_BYTES_MAX})")]
    TooLarge {
        /// How many came.
        bytes: usize,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder cannot be looked into.
    #[error("failed to read the folder `{folder}`")]
    Folder {
        /// Where snapshots lie.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Saves a snapshot; the one before it is kept. `root_check` tells whether a journal is the one it was taken of.
///
/// # Errors
/// When it is too large or the system fails; the earlier snapshots stand then.
pub fn save(
    folder: &Path,
    position: Position,
    root_check: [u8; 32],
    body: &[u8],
) -> Result<(), SnapshotError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(SnapshotError::TooLarge { bytes: body.len() });
    }
    let length = (body.len() as u64).to_le_bytes();
    let position = position.0.to_le_bytes();
    let head = [MAGIC.as_slice(), &FORMAT.to_le_bytes(), &position, &root_check, &length].concat();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&head), body).to_le_bytes();
    let [newest, previous] = paths(folder);
    let aside = write_aside(&newest, &[&head, body, &checksum])?;
    let replaced = |source| StoreError::Io { act: "replace", path: newest.clone(), source };
    match fs::rename(&newest, &previous) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(replaced(error).into()),
        _ => {}
    }
    // Between the two renames only the previous one is there: a start takes that.
    fs::rename(&aside, &newest).map_err(replaced)?;
    Ok(sync_folder_of(&newest)?)
}

/// Loads the newest whole snapshot. Damaged, cut off or alien files are
/// passed over with a warning.
///
/// # Errors
/// When the folder itself cannot be read.
pub fn load(folder: &Path) -> Result<Option<Loaded>, SnapshotError> {
    if let Err(source) = fs::metadata(folder) {
        return if source.kind() == io::ErrorKind::NotFound {
            Ok(None)
        } else {
            Err(SnapshotError::Folder { folder: folder.into(), source })
        };
    }
    Ok(paths(folder).iter().find_map(|path| {
        read(path)
            .inspect_err(|reason| tracing::warn!(path = %path.display(), reason, "a snapshot is passed over"))
            .ok()
            .flatten()
    }))
}

/// The file of the newest snapshot; none where none was ever saved. It may be replaced at any time, whole.
pub fn newest(folder: &Path) -> Option<PathBuf> {
    paths(folder).into_iter().find(|path| path.exists())
}

fn paths(folder: &Path) -> [PathBuf; 2] {
    [folder.join("snapshot"), folder.join("snapshot.previous")]
}

fn read(path: &Path) -> Result<Option<Loaded>, String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(found) if found.len() > (BODY_BYTES_MAX + HEAD_LENGTH + CHECKSUM_LENGTH) as u64 => {
            return Err("it is larger than a snapshot can be".into());
        }
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    decode(bytes).map(Some)
}

fn decode(mut bytes: Vec<u8>) -> Result<Loaded, String> {
    let (rest, checksum) = bytes.split_last_chunk::<CHECKSUM_LENGTH>().ok_or("it is cut off")?;
    if !rest.starts_with(MAGIC) {
        return Err("it is no snapshot".into());
    }
    if crc32c::crc32c(rest) != u32::from_le_bytes(*checksum) {
        return Err("its checksum does not fit".into());
    }
    let (format, rest) = rest[MAGIC.len()..].split_first_chunk::<4>().ok_or("it is cut off")?;
    if u32::from_le_bytes(*format) != FORMAT {
        return Err(format!("its format is {}, not {FORMAT}", u32::from_le_bytes(*format)));
    }
    let (position, rest) = rest.split_first_chunk::<8>().ok_or("it is cut off")?;
    let (root_check, rest) = rest.split_first_chunk::<32>().ok_or("it is cut off")?;
    let (length, body) = rest.split_first_chunk::<8>().ok_or("it is cut off")?;
    if u64::from_le_bytes(*length) != body.len() as u64 {
        return Err("its length does not fit".into());
    }
    let (position, root_check) = (Position(u64::from_le_bytes(*position)), *root_check);
    bytes.truncate(bytes.len() - CHECKSUM_LENGTH);
    bytes.drain(..HEAD_LENGTH);
    Ok((position, root_check, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: (Position, [u8; 32], &[u8]) = (Position(5), [1; 32], b"the first");
    const SECOND: (Position, [u8; 32], &[u8]) = (Position(9), [2; 32], b"the second");

    fn saved(snapshots: &[(Position, [u8; 32], &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (position, root_check, body) in snapshots {
            save(folder.path(), *position, *root_check, body).unwrap();
        }
        folder
    }

    fn check(folder: &Path, expected: Option<(Position, [u8; 32], &[u8])>, why: &str) {
        let expected = expected.map(|(position, root_check, body)| (position, root_check, body.to_vec()));
        assert_eq!(load(folder).unwrap(), expected, "{why}");
    }

    #[test]
    fn the_newest_comes_back_and_none_where_none_was_saved() {
        check(saved(&[]).path(), None, "nothing saved");
        check(saved(&[FIRST]).path(), Some(FIRST), "one saved");
        check(saved(&[FIRST, SECOND]).path(), Some(SECOND), "two saved");
        check(saved(&[SECOND, FIRST]).path(), Some(FIRST), "the last saved, whatever its position");
        check(Path::new("/nowhere/at/all"), None, "no folder");
    }

    #[test]
    fn any_changed_or_missing_byte_gives_the_previous_one_and_never_a_wrong_one() {
        let folder = saved(&[FIRST, SECOND]);
        let newest = folder.path().join("snapshot");
        let whole = fs::read(&newest).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&newest, damaged).unwrap();
            check(folder.path(), Some(FIRST), &format!("flipped at {at}"));
            fs::write(&newest, &whole[..at]).unwrap();
            check(folder.path(), Some(FIRST), &format!("cut at {at}"));
        }
        fs::write(&newest, [whole.as_slice(), b"more"].concat()).unwrap();
        check(folder.path(), Some(FIRST), "more bytes behind it");
        fs::remove_file(&newest).unwrap();
        check(folder.path(), Some(FIRST), "between the two renames");
    }

    #[test]
    fn a_damaged_one_without_another_is_none_and_saving_goes_on() {
        let folder = saved(&[FIRST]);
        let newest = folder.path().join("snapshot");
        for alien in
            [b"".as_slice(), b"seatbeat snapshot", &[0; 500], b"something else altogether, but long enough"]
        {
            fs::write(&newest, alien).unwrap();
            check(folder.path(), None, "alien");
        }
        save(folder.path(), SECOND.0, SECOND.1, SECOND.2).unwrap();
        check(folder.path(), Some(SECOND), "saved over a damaged one");
    }

    #[test]
    fn another_format_is_passed_over() {
        let folder = saved(&[FIRST, SECOND]);
        let newest = folder.path().join("snapshot");
        let mut bytes = fs::read(&newest).unwrap();
        bytes[MAGIC.len()] += 1;
        let end = bytes.len() - CHECKSUM_LENGTH;
        let checksum = crc32c::crc32c(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&checksum);
        fs::write(&newest, bytes).unwrap();
        check(folder.path(), Some(FIRST), "a later format");
    }

    #[test]
    fn a_save_that_fails_leaves_the_earlier_ones() {
        let folder = saved(&[FIRST]);
        fs::create_dir(folder.path().join("snapshot.new")).unwrap();
        assert!(save(folder.path(), SECOND.0, SECOND.1, SECOND.2).is_err());
        check(folder.path(), Some(FIRST), "the folder is in the way");
    }
}
