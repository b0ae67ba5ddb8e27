//! SHA-256 sums beside packages, as `sha256sum --check` reads them. Invariant: made of the files as they go out, signed
//! ones included.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::deb::hex;

/// The file's name.
pub const FILE: &str = "SHA256SUMS";

/// Writes the sums of files in one folder, by name.
///
/// # Errors
/// When a file cannot be read, or the folder written.
pub fn write(folder: &Path, made: &[PathBuf]) -> Result<PathBuf> {
    let mut lines = Vec::new();
    for path in made {
        let bytes = std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push((name, hex(&Sha256::digest(bytes))));
    }
    lines.sort();
    let text: String = lines.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    let path = folder.join(FILE);
    std::fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_by_who_checks_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.deb");
        std::fs::write(&file, "abc").unwrap();
        let path = write(folder.path(), std::slice::from_ref(&file)).unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b.deb\n";
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }
}
