//! The hook for whoever holds a signing key: their command, run on a file. Invariant: nothing is signed here, and no
//! unsigned file is told to be a signed one: a command that fails, or leaves the file as it was, is an error.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Runs the command, split at blanks, with the file's path as its last word.
///
/// # Errors
/// When it cannot be run, fails, or changed nothing.
pub fn sign(command: &str, file: &Path) -> Result<()> {
    let read = || std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()));
    let before = read()?;
    run(command, file)?;
    if read()? == before {
        bail!("`{command}` left `{}` as it was: it is not signed", file.display());
    }
    Ok(())
}

/// As [`sign`], with a command that leaves the file as it is and writes a signature beside it, under a name that begins
/// with the file's; where that is.
///
/// # Errors
/// When it cannot be run, fails, changed the file, or wrote nothing.
pub fn sign_beside(command: &str, file: &Path) -> Result<PathBuf> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = file.parent().unwrap_or(Path::new("."));
    let beside = || -> Result<Vec<PathBuf>> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("failed to read `{}`", folder.display()))?;
        let is_of = |path: &PathBuf| {
            let other = path.file_name().unwrap_or_default().to_string_lossy();
            other.len() > name.len() && other.starts_with(&name)
        };
        Ok(entries.flatten().map(|entry| entry.path()).filter(is_of).collect())
    };
    // One of an earlier build is none of this.
    for old in beside()? {
        std::fs::remove_file(&old).with_context(|| format!("failed to remove `{}`", old.display()))?;
    }
    let before = std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()))?;
    run(command, file)?;
    if std::fs::read(file).ok().as_ref() != Some(&before) {
        bail!("`{command}` changed `{}`: its signature has to be a file of its own", file.display());
    }
    let made = beside()?.into_iter().next();
    made.with_context(|| format!("`{command}` wrote no signature beside `{}`", file.display()))
}

fn run(command: &str, file: &Path) -> Result<()> {
    let mut words = command.split_whitespace();
    let Some(program) = words.next() else { bail!("the command that signs (--sign-command) is empty") };
    let status = Command::new(program)
        .args(words)
        .arg(file)
        .status()
        .with_context(|| format!("failed to run the command that signs, `{program}`"))?;
    if !status.success() {
        bail!("`{command}` did not sign `{}` ({status})", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_signs_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a package.msi");
        std::fs::write(&file, "x").unwrap();
        let refused = |command: &str| sign(command, &file).unwrap_err().to_string();
        assert!(refused("").contains("--sign-command"));
        assert!(refused("false").contains("did not sign"));
        assert!(refused("true").contains("is not signed"));
        assert!(refused("no-such-program-of-anybody").contains("failed to run"));
        sign("cp -f /proc/self/cmdline", &file).unwrap();
        assert!(std::fs::read(&file).unwrap().starts_with(b"cp\0"));
    }

    #[test]
    fn a_signature_beside_a_file_leaves_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("SHA256SUMS");
        std::fs::write(&file, "x").unwrap();
        let refused = |command: &str| sign_beside(command, &file).unwrap_err().to_string();
        assert!(refused("true").contains("wrote no signature"));
        assert!(refused("cp -f /proc/self/cmdline").contains("changed"));
        let made = sign_beside("gzip --keep --force", &file).unwrap();
        assert_eq!(made, folder.path().join("SHA256SUMS.gz"));
    }
}
