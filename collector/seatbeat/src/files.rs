//! Files that a verb leaves in a folder. Invariant: a file is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use seatbeat_proto::wire::FileChunk;
use tonic::Streaming;

use crate::connect::Collector;

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

/// Writes files that come in pieces into a folder; answers where each is.
///
/// # Errors
/// When they do not arrive, or a file cannot be written.
pub async fn save(
    collector: &Collector,
    mut chunks: Streaming<FileChunk>,
    folder: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    self::folder(folder)?;
    let (mut written, mut draft): (Vec<PathBuf>, Option<Draft>) = (Vec::new(), None);
    while let Some(chunk) = chunks.message().await.map_err(|status| collector.failed(&status))? {
        if !chunk.name.is_empty() {
            written.extend(draft.take().map(Draft::finish).transpose()?);
            draft = Some(Draft::begin(folder.join(plain_name(&chunk.name)))?);
        }
        if let Some(draft) = &mut draft {
            draft.write(&chunk.piece)?;
        }
    }
    written.extend(draft.map(Draft::finish).transpose()?);
    Ok(written)
}

/// Files that come in pieces, whole and in memory, by their names.
///
/// # Errors
/// When they do not arrive.
pub async fn receive(
    collector: &Collector,
    mut chunks: Streaming<FileChunk>,
) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut received: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some(chunk) = chunks.message().await.map_err(|status| collector.failed(&status))? {
        if received.is_empty() || !chunk.name.is_empty() {
            received.push((chunk.name, Vec::new()));
        }
        if let Some((_, bytes)) = received.last_mut() {
            bytes.extend(chunk.piece);
        }
    }
    Ok(received)
}

/// Paths, one a line.
pub fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n")
}

/// A name that cannot lead out of its folder.
pub fn plain_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
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
