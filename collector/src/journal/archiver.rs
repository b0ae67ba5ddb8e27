//! Moves old segments to an archive while the journal is in use. Invariant: a segment's file goes only once its object was
//! read back and the index that names it is durable; readers find each record all the time.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::JournalError;
use super::archive::{Archive, ArchiveError, Archived, Archives, Index};
use super::disk::Disk;
use super::file::make_folder;
use super::reader::{InArchive, Segment, Segments};
use super::recovery::{READ_ALWAYS, create, moved_of};
use super::scan::Scan;
use super::segment::{path_of, position_in};
use crate::store::sync_folder_of;

/// Moves segments of the journal that this process writes.
#[derive(Debug, Clone)]
pub struct Archiver {
    folder: PathBuf,
    segments: Segments,
    one_at_a_time: Arc<Mutex<()>>,
}

impl Archiver {
    pub(super) fn new(folder: PathBuf, segments: Segments) -> Self {
        Self { folder, segments, one_at_a_time: Arc::default() }
    }

    /// The oldest segment that can be moved: none while older parts are still to be checked, and never one that a start
    /// reads anyway.
    pub fn oldest(&self) -> Option<Segment> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let movable = segments.len().checked_sub(READ_ALWAYS)?;
        let all_checked = segments.iter().all(|segment| segment.is_checked);
        segments
            .iter()
            .take(movable)
            .find(|segment| segment.archived.is_none())
            .filter(|_| all_checked)
            .cloned()
    }

    /// Nothing is moved while this is held.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The archive of this name: the one that segments lie in already, where some do.
    ///
    /// # Errors
    /// When it names no place.
    pub fn archive(&self, to: &str) -> Result<Arc<Archive>, ArchiveError> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let mut archives = segments.iter().filter_map(|segment| Some(&segment.archived.as_ref()?.archive));
        archives
            .find(|archive| archive.to() == to)
            .map_or_else(|| Archive::named(to), |known| Ok(Arc::clone(known)))
    }

    /// Removes what a move that was cut off has left. Blocks.
    ///
    /// # Errors
    /// When the system fails.
    pub fn tidy(&self) -> Result<(), JournalError> {
        let _one_at_a_time = self.hold();
        self.remove_moved(&Index::load(&self.folder)?)
    }

    /// Moves that segment. Blocks.
    ///
    /// # Errors
    /// When the segment is damaged or the archive does not take it: it stays where it is then.
    pub fn move_oldest(&self, archive: &Arc<Archive>) -> Result<Option<Archived>, JournalError> {
        let _one_at_a_time = self.hold();
        let Some(segment) = self.oldest() else { return Ok(None) };
        let bytes = fs::read(&segment.path).map_err(|e| JournalError::io("read", &segment.path, e))?;
        let link = link_of(&segment, &bytes)?;
        let mut index = Index::load(&self.folder)?;
        // A folder whose disk is not mounted takes segments, too, but shows none of those before.
        if let Some(before) = index.segments.iter().rev().find(|before| before.to == archive.to()) {
            archive.look(before)?;
        }
        let archived = archive.put(segment.first, segment.records, &bytes, link)?;
        // One that reached over the archives' end has all that begins behind it.
        index.cut(archived.first);
        index.segments.push(archived.clone());
        index.save(&self.folder).map_err(ArchiveError::from)?;
        {
            let lies = InArchive { archive: Arc::clone(archive), archived: archived.clone() };
            let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = segments.iter_mut().find(|known| known.first == segment.first) {
                known.archived = Some(lies);
            }
        }
        self.remove_moved(&index)?;
        Ok(Some(archived))
    }

    /// Takes over what a database has in archives, once that is more than is known here: what lies there as a whole goes
    /// from this disk. Says whether it did. Blocks.
    ///
    /// # Errors
    /// When an archive does not have it: all stays as it is then.
    pub fn follow(&self, index: &Index) -> Result<bool, JournalError> {
        let _one_at_a_time = self.hold();
        let known = Index::load(&self.folder)?;
        let moved = Archives::default().segments(&self.folder, index.segments.clone())?;
        let stays = |segment: &Segment| segment.archived.is_none() && segment.end() > index.end();
        {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let stay = segments.iter().filter(|segment| stays(segment)).count();
            let all_checked = segments.iter().all(|segment| segment.is_checked);
            if index.end() <= known.end() || stay < READ_ALWAYS || !all_checked {
                return Ok(false);
            }
        }
        let lie = moved.iter().filter_map(|segment| segment.archived.as_ref());
        for lies in lie.filter(|lies| !known.segments.contains(&lies.archived)) {
            lies.archive.look(&lies.archived)?;
        }
        index.save(&self.folder).map_err(ArchiveError::from)?;
        {
            let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
            segments.retain(stays);
            let begins = segments.first().map_or(index.end(), |segment| segment.first);
            segments.splice(..0, moved.into_iter().filter(|segment| segment.first < begins));
        }
        self.remove_moved(index)?;
        Ok(true)
    }

    /// Removes the files of segments that the index names: one may have been left by a move that was cut off.
    fn remove_moved(&self, index: &Index) -> Result<(), JournalError> {
        let failed = |source| JournalError::io("list", &self.folder, source);
        let mut firsts = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            firsts.extend(entry.map_err(failed)?.file_name().to_str().and_then(position_in));
        }
        firsts.sort_unstable();
        for first in &firsts[..moved_of(&firsts, index.end())] {
            let path = path_of(&self.folder, *first);
            fs::remove_file(&path).map_err(|e| JournalError::io("remove", &path, e))?;
            sync_folder_of(&path).map_err(ArchiveError::from)?;
        }
        Ok(())
    }
}

/// Begins a journal behind what lies in archives, where a folder holds none.
///
/// # Errors
/// When the system fails.
pub fn begin_behind(folder: &Path, index: Index, disk: &dyn Disk) -> Result<(), JournalError> {
    let is_begun = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if is_begun || index.segments.is_empty() {
        return Ok(());
    }
    make_folder(folder)?;
    index.save(folder).map_err(ArchiveError::from)?;
    create(folder, index.header_behind()?, disk).map(drop)
}

/// What the next segment's header names, each frame looked at.
fn link_of(segment: &Segment, bytes: &[u8]) -> Result<[u8; 32], JournalError> {
    let unread = Segment::empty(segment.path.clone(), segment.first);
    let found = Scan::of(unread, Cursor::new(bytes), bytes.len() as u64, None)?.whole()?;
    if found.whole_bytes == 0 {
        return Err(found.damage("no header of a journal segment"));
    }
    if found.segment.records != segment.records {
        return Err(found.damage("it has another number of records than were written"));
    }
    Ok(found.link.finish())
}

#[cfg(test)]
mod tests;
