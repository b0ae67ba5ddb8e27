//! Files that a verb leaves in a folder. Invariant: a file is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Makes the folder where it is missing.
///
/// # Errors
/// When it cannot be made; the error names it.
pub fn folder(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("failed to make the folder `{}`", path.display()))
}

/// A file that gets its name when it is whole.
pub struct Draft {
    path: PathBuf,
    aside: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Draft {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be made; the error names it.
    pub fn begin(path: PathBuf) -> anyhow::Result<Self> {
        let mut aside = path.clone().into_os_string();
        aside.push(".part");
        let aside = PathBuf::from(aside);
        let file = File::create(&aside).with_context(|| format!("failed to write `{}`", aside.display()))?;
        Ok(Self { path, aside, file: Some(BufWriter::new(file)) })
    }

    /// Writes a piece.
    ///
    /// # Errors
    /// When the disk does not take it; the error names the file.
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(io::Error::other("the file is finished")),
        };
        written.with_context(|| format!("failed to write `{}`", self.aside.display()))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// When the disk does not take it; the error names the file.
    pub fn finish(mut self) -> anyhow::Result<PathBuf> {
        let finished = match self.file.take() {
            Some(file) => file
                .into_inner()
                .map_err(io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&self.aside, &self.path)),
            None => Ok(()),
        };
        finished.with_context(|| format!("failed to write `{}`", self.path.display()))?;
        Ok(self.path.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Half a file helps nobody.
            let _ = fs::remove_file(&self.aside);
        }
    }
}

/// Writes a whole file.
///
/// # Errors
/// When the disk does not take it; the error names the file.
pub fn write(path: PathBuf, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let mut draft = Draft::begin(path)?;
    draft.write(bytes)?;
    draft.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("records.jsonl");
        let mut given_up = Draft::begin(path.clone()).unwrap();
        given_up.write(b"half").unwrap();
        drop(given_up);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        write(path.clone(), b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
