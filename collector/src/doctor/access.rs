//! Who may read and write a store's files. Invariant: nothing is changed, only looked at.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Finding;
use crate::config::Config;

const CHECK: &str = "access";

/// Looks at the files that a collector has to be able to use, and nobody else.
pub(super) fn look(folder: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let owner = match fs::metadata(folder) {
        Ok(about) => about.uid(),
        Err(error) => return vec![unread(folder, &error)],
    };
    let mut looked = 0;
    for path in files(folder) {
        match fs::metadata(&path) {
            Ok(about) => {
                looked += 1;
                findings.extend(one(&path, &about, owner));
            }
            // What has to be there is asked for by whoever reads it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => findings.push(unread(&path, &error)),
        }
    }
    let caller = rustix::process::geteuid().as_raw();
    if caller != owner && caller != 0 {
        findings.push(Finding::warning(
            CHECK,
            format!("the store `{}` belongs to user {owner}, you are user {caller}", folder.display()),
            "look again as that user, or as root: what you may not read is not checked",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{looked} files and folders are user {owner}'s alone")));
    }
    findings
}

fn one(path: &Path, about: &Metadata, owner: u32) -> Option<Finding> {
    let mode = about.permissions().mode() & 0o777;
    let shown = path.display();
    if about.uid() != owner {
        let what = format!("`{shown}` belongs to user {}, the store to user {owner}", about.uid());
        let todo = format!("`chown {owner} {shown}`: the collector cannot use what is another's");
        return Some(Finding::error(CHECK, what, todo));
    }
    // sled makes its files as it likes; the folder around them is closed.
    let is_sleds = path.components().any(|part| part.as_os_str() == "sled");
    if mode & 0o077 != 0 && !is_sleds {
        let what = format!("`{shown}` is open to others (mode {mode:03o})");
        let right = if about.is_dir() { 700 } else { 600 };
        let todo = format!("`chmod {right} {shown}`");
        let is_secret = path.ends_with("vault.key") || path.parent().is_none();
        return Some(if is_secret {
            Finding::error(CHECK, what, format!("{todo}; whoever read it can open the vault's copies, too"))
        } else {
            Finding::warning(CHECK, what, todo)
        });
    }
    let needed = if about.is_dir() { 0o700 } else { 0o600 };
    (mode & needed != needed).then(|| {
        let what = format!("`{shown}` cannot be read and written by its owner (mode {mode:03o})");
        Finding::error(CHECK, what, format!("`chmod u+rw{} {shown}`", if about.is_dir() { "x" } else { "" }))
    })
}

/// The store's folders, and the files in them that a collector opens itself.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths = vec![folder.to_owned()];
    let named = [Config::FILE, "lock", "snapshot", "snapshot.previous", "lookup", "vault", "vault/vault.key"];
    paths.extend(named.map(|name| folder.join(name)));
    paths.extend(
        ["vault/vault.writes", "vault/rows", "vault/rows/sled", "vault/rows/sled/db", "journal"]
            .map(|name| folder.join(name)),
    );
    let segments = fs::read_dir(folder.join("journal")).into_iter().flatten().flatten();
    paths.extend(segments.map(|entry| entry.path()));
    paths
}

fn unread(path: &Path, error: &io::Error) -> Finding {
    let what = format!("`{}` cannot be looked at: {error}", path.display());
    Finding::error(CHECK, what, "look as the collector's user, or as root")
}
