//! The vault, the keys in it, and what lets the collector in at destinations. Invariant: a vault is opened only as a copy,
//! which is gone afterwards; no secret is in a finding.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use seatbeat_ledger::fold::Founded;
use seatbeat_proto::ids::OrderId;

use super::{Finding, chain};
use crate::config::Config;
use crate::keys::{Keys, KeysError};
use crate::store;
use crate::vault::Vault;

const CHECK: &str = "keys";

/// Bytes of the vault's key.
const KEY_LENGTH: u64 = 32;

const RESTORE: &str = "restore it from a backup (`seatbeat backup` keeps it): nothing else opens the vault. Without one \
                       no agent, operator or statement can be told by this collector any more, and a new one has to \
                       be set up";

/// Looks at the vault's key and, where no collector is at it, at what it opens.
pub(super) fn look(folder: &Path, founded: Option<&Founded>, runs: bool) -> Vec<Finding> {
    let vault = folder.join("vault");
    let key = vault.join("vault.key");
    match fs::metadata(&key) {
        Ok(about) if about.len() == KEY_LENGTH => {}
        Ok(about) => {
            let what =
                format!("the vault's key `{}` has {} bytes, not {KEY_LENGTH}", key.display(), about.len());
            return vec![Finding::error(CHECK, what, RESTORE)];
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = format!("the vault's key `{}` is missing", key.display());
            return vec![Finding::error(CHECK, what, RESTORE)];
        }
        Err(error) => {
            let what = format!("the vault's key `{}` cannot be read: {error}", key.display());
            return vec![Finding::error(CHECK, what, "look as the collector's user, or as root")];
        }
    }
    if runs {
        return vec![Finding::ok(CHECK, "the vault's key is there; the collector has the vault open")];
    }
    vec![opened(&vault, founded)]
}

fn opened(vault: &Path, founded: Option<&Founded>) -> Finding {
    let copy = match Copied::of(vault) {
        Ok(copy) => copy,
        Err(error) => {
            let what = format!("the vault `{}` cannot be copied to look into it: {error}", vault.display());
            return Finding::warning(
                CHECK,
                what,
                "look as the collector's user, with room in the temporary folder",
            );
        }
    };
    // Words are about the vault, not about the copy.
    let told = |text: String| text.replace(&copy.0.display().to_string(), &vault.display().to_string());
    let keys = match Vault::open(&copy.0).map_err(KeysError::Vault).and_then(|vault| Keys::read(&vault)) {
        Ok(keys) => keys,
        Err(error) => {
            let hint = match &error {
                KeysError::Vault(error) => error.hint(),
                KeysError::Missing(_) | KeysError::Certificate(_) => None,
            };
            return Finding::error(
                CHECK,
                told(chain(&error)),
                told(hint.unwrap_or_else(|| RESTORE.to_owned())),
            );
        }
    };
    match founded {
        Some(founded) if keys.belong_to(founded) => {
            Finding::ok(CHECK, "the vault opens, its keys are those that the journal names")
        }
        Some(_) => Finding::error(
            CHECK,
            "the keys in the vault are not those that the journal names",
            "vault and journal belong together: restore both from the same backup",
        ),
        None => Finding::warning(
            CHECK,
            "the vault opens; whether its keys are the journal's is not known",
            "mend the journal first, then look again",
        ),
    }
}

/// A vault's copy, for its owner alone, until it is dropped.
struct Copied(PathBuf);

impl Copied {
    fn of(vault: &Path) -> io::Result<Self> {
        let name = format!("seatbeat-doctor-{}", OrderId::random());
        let copied = Self(std::env::temp_dir().join(name));
        store::make_folder(&copied.0).map_err(io::Error::other)?;
        copy_folder(vault, &copied.0)?;
        Ok(copied)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "remove this copy of the vault by hand");
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            store::make_folder(&target).map_err(io::Error::other)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Looks at the secrets files of destinations.
pub(super) fn of_destinations(config: &Config) -> Vec<Finding> {
    let looked = config.destination.iter().map(|(name, destination)| {
        let check = format!("destination {name}");
        let Some(path) = &destination.secrets_file else {
            return match destination.secrets_command.first() {
                Some(program) => Finding::ok(&check, format!("`{program}` is asked for its secrets")),
                None => Finding::ok(&check, "it has no secrets of its own"),
            };
        };
        let shown = path.display();
        match fs::metadata(path) {
            Ok(about) if about.permissions().mode() & 0o077 != 0 => {
                let what = format!("its secrets in `{shown}` are open to others, and not taken");
                Finding::error(&check, what, format!("`chmod 600 {shown}`"))
            }
            Ok(_) => Finding::ok(&check, format!("its secrets are in `{shown}`")),
            Err(error) => {
                let what = format!("its secrets in `{shown}` cannot be read: {error}");
                Finding::error(
                    &check,
                    what,
                    "what is in the vault already is used until they are there again",
                )
            }
        }
    });
    looked.collect()
}
