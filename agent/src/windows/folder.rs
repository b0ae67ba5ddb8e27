//! Folders that are the system's alone. Invariant: a folder is private from its first instant; one that somebody else made
//! before is not taken over: what lies in it could be theirs.

use std::io;
use std::path::Path;

use super::access::{Thing, stranger};
use super::raw;

/// Makes a folder, and those above it that are missing, for SYSTEM, administrators and the account that runs this; or
/// finds it to be so.
///
/// # Errors
/// When it cannot be made, or others may write it.
pub fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return check(path);
    }
    if let Some(above) = path.parent().filter(|above| !above.is_dir()) {
        make(above)?;
    }
    let own = raw::own_account()?;
    let access = format!("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;{own})");
    match raw::create_folder(path, &access) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(path),
        other => other,
    }
}

/// Whether nobody else may write there.
///
/// # Errors
/// When somebody may, in words.
pub fn check(path: &Path) -> io::Result<()> {
    let access = raw::access_of(path)?;
    match stranger(&access, &raw::own_account()?, Thing::Own) {
        None => Ok(()),
        Some(why) => {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{why}, not the system alone")))
        }
    }
}
