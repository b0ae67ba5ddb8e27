//! The hook for whoever holds a signing key: their command, run on a file. Invariant: nothing is signed here, and no
//! unsigned file is told to be a signed one: a command that fails, or leaves the file as it was, is an error.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Runs the command, split at blanks, with the file's path as its last word.
///
/// # Errors
/// When it cannot be run, fails, or changed nothing.
pub fn sign(command: &str, file: &Path) -> Result<()> {
    let mut words = command.split_whitespace();
    let Some(program) = words.next() else { bail!("the command that signs (--sign-command) is empty") };
    let read = || std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()));
    let before = read()?;
    let status = Command::new(program)
        .args(words)
        .arg(file)
        .status()
        .with_context(|| format!("failed to run the command that signs, `{program}`"))?;
    if !status.success() {
        bail!("`{command}` did not sign `{}` ({status})", file.display());
    }
    if read()? == before {
        bail!("`{command}` left `{}` as it was: it is not signed", file.display());
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
}
