//! Where a collector's store is when nobody says. Invariant: the same for `init` and everything after it.

use std::path::{Path, PathBuf};

use directories::ProjectDirs;

use crate::hints::Hinted;

/// The store of a service: packages run `serve` as root or as a user of their own with `--store`.
pub const SYSTEM: &str = "/var/lib/seatbeat";

/// The store's folder: as asked for, the system's for root, else in the user's data folder.
///
/// # Errors
/// When nothing names it and no home folder is known.
pub fn folder(asked: Option<&Path>) -> Result<PathBuf, Hinted> {
    if let Some(folder) = asked {
        return Ok(folder.to_owned());
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(SYSTEM));
    }
    let folders = ProjectDirs::from("", "", "seatbeat").ok_or_else(|| Hinted {
        message: "failed to find a folder for the store: no home folder is known".to_owned(),
        hint: "name one with --store DIR".to_owned(),
    })?;
    Ok(folders.data_dir().to_owned())
}
