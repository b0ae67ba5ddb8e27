//! Where a demonstration is kept: one folder a month, so that a second start goes on with the first one's store.
//! Invariant: a store whose evidence lies ahead of the clock is left alone, and so is a folder of somebody else.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fault::Fault;

const MEMORY: &str = "demo.json";

/// Folders of one month that are tried: each time the clock was set back makes one more.
const FOLDERS_MAX: u32 = 1000;

/// What a demonstration remembers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// Latest time of its clock.
    latest: Timestamp,
    /// Whether its store is founded.
    founded: bool,
}

/// The folder of one demonstration.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
    memory: Memory,
}

impl Place {
    /// Takes a folder for the month before `now`: the one that is there when its clock was not ahead, else a new one.
    ///
    /// # Errors
    /// When it cannot be written, or is somebody else's.
    pub fn take(named: Option<PathBuf>, period: &str, now: Timestamp) -> Result<Self, Fault> {
        let all = match named {
            Some(folder) => folder,
            None => ProjectDirs::from("", "", "seatbeat").ok_or(Fault::Homeless)?.data_dir().join("demo"),
        };
        let names =
            std::iter::once(period.to_owned()).chain((2..=FOLDERS_MAX).map(|n| format!("{period}.{n}")));
        for folder in names.map(|name| all.join(name)) {
            let memory = match Memory::of(&folder)? {
                Some(memory) if memory.latest > now => continue,
                Some(memory) => memory,
                None => Memory { latest: now, founded: false },
            };
            let mut place = Self { folder, memory };
            place.make()?;
            place.remember(now)?;
            return Ok(place);
        }
        Err(Fault::Foreign(all))
    }

    /// Whether a store was founded here before.
    pub fn is_founded(&self) -> bool {
        self.memory.founded
    }

    /// The store is founded from now on.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn founded(&mut self) -> Result<(), Fault> {
        self.memory.founded = true;
        self.remember(self.memory.latest)
    }

    /// Removes what a founding that was cut short left.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clear(&self) -> Result<(), Fault> {
        for path in [self.store(), self.agent()] {
            match fs::remove_dir_all(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(Fault::Folder { act: "remove", path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps in mind how far the clock has come.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn remember(&mut self, now: Timestamp) -> Result<(), Fault> {
        self.memory.latest = self.memory.latest.max(now);
        let text = serde_json::to_string_pretty(&self.memory).unwrap_or_default();
        self.write(&self.folder.join(MEMORY), &text)
    }

    /// Writes a file in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path, text: &str) -> Result<(), Fault> {
        fs::write(path, text).map_err(|source| Fault::Folder { act: "write", path: path.to_owned(), source })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The collector's store.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// State of the agent on this machine.
    pub fn agent(&self) -> PathBuf {
        self.folder.join("agent")
    }

    /// What that agent says.
    pub fn agent_log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    /// Where sealed statements are dropped.
    pub fn statements(&self) -> PathBuf {
        self.folder.join("statements")
    }

    /// The key that would replace a lost order key.
    pub fn recovery_key(&self) -> PathBuf {
        self.folder.join("recovery.key")
    }

    /// The operator's profile.
    pub fn profile(&self) -> PathBuf {
        self.folder.join("operator.toml")
    }

    fn make(&self) -> Result<(), Fault> {
        fs::create_dir_all(&self.folder).map_err(|source| Fault::Folder {
            act: "make the folder",
            path: self.folder.clone(),
            source,
        })
    }
}

impl Memory {
    /// None where nothing is.
    fn of(folder: &Path) -> Result<Option<Self>, Fault> {
        let path = folder.join(MEMORY);
        match fs::read_to_string(&path) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(memory) => Ok(Some(memory)),
                Err(_) => Err(Fault::Foreign(path)),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let is_empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
                if is_empty { Ok(None) } else { Err(Fault::Foreign(folder.to_owned())) }
            }
            Err(source) => Err(Fault::Folder { act: "read", path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(folder: &Path, now: &str) -> Result<Place, Fault> {
        Place::take(Some(folder.to_owned()), "2026-09", now.parse().unwrap())
    }

    fn name(place: &Place) -> &str {
        place.path().file_name().unwrap().to_str().unwrap()
    }

    #[test]
    fn a_later_start_goes_on_and_a_clock_that_was_set_back_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = take(folder.path(), "2026-10-20T12:00:00Z").unwrap();
        assert!(!first.is_founded());
        first.founded().unwrap();
        let later = take(folder.path(), "2026-10-21T12:00:00Z").unwrap();
        assert_eq!((name(&later), later.is_founded()), ("2026-09", true));
        let earlier = take(folder.path(), "2026-10-02T12:00:00Z").unwrap();
        assert_eq!((name(&earlier), earlier.is_founded()), ("2026-09.2", false));
    }

    #[test]
    fn somebody_elses_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("2026-09")).unwrap();
        fs::write(folder.path().join("2026-09/thesis.txt"), "").unwrap();
        let refused = take(folder.path(), "2026-10-20T12:00:00Z").unwrap_err();
        assert!(matches!(refused, Fault::Foreign(_)) && refused.hint().is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = take(&file, "2026-10-20T12:00:00Z").unwrap_err();
        assert!(refused.to_string().contains("file"), "{refused}");
        assert!(refused.hint().unwrap().contains("--folder"));
    }
}
