//! What is wrong with a collector, and what to do about it. Invariant: looking changes nothing of a store, and takes no
//! lock that a collector needs; each finding says what was looked at, and each bad one what to do.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::console::tls::{Files, WARN_BEFORE};
use crate::journal::{InArchive, Looked, PostgresJournal};
use crate::journal_place;
use crate::set_back::Unreached;
use crate::store;

mod access;
mod disk;
mod records;
mod secrets;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It goes on, for now.
    Warning,
    /// It does not go on, or is about to lose something.
    Error,
}

/// What one look has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do; empty where all is well.
    pub todo: String,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &str, what: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level: Level::Ok, what: what.into(), todo: String::new() }
    }

    /// It goes on, for now.
    pub fn warning(check: &str, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level: Level::Warning, what: what.into(), todo: todo.into() }
    }

    /// It does not go on, or is about to lose something.
    pub fn error(check: &str, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level: Level::Error, what: what.into(), todo: todo.into() }
    }
}

/// Whether a collector holds a store, and which process that is.
pub fn is_running(folder: &Path) -> Option<u32> {
    store::holder(folder)
}

/// Looks at a store, whether a collector runs on it or not; of a running one the vault is left to the collector itself.
pub fn look(folder: &Path, now: Timestamp) -> Vec<Finding> {
    if !folder.is_dir() {
        let what = format!("there is no store `{}`", folder.display());
        return vec![Finding::error("store", what, "name it with --store DIR; `seatbeat init` sets one up")];
    }
    let runs = is_running(folder).is_some();
    let mut findings = access::look(folder);
    let config = Config::read(&folder.join(Config::FILE));
    findings.push(match &config {
        Ok(_) => Finding::ok("configuration", format!("`{}` is valid", folder.join(Config::FILE).display())),
        Err(error) => Finding::error(
            "configuration",
            chain(error),
            "mend it; `seatbeat config show` of a fresh store has all keys and their defaults",
        ),
    });
    let journal = records::look(folder, now, runs);
    findings.push(disk::look(folder, journal.growth));
    findings.extend(journal.findings);
    findings.extend(secrets::look(folder, journal.founded.as_ref(), runs));
    let mut archived = journal.archived;
    if let Ok(config) = &config {
        findings.extend(database(config, &mut archived));
        findings.extend(certificate(config, folder, now));
        findings.extend(secrets::of_destinations(config));
    }
    findings.extend(records::archive(&archived));
    if let Some(unreached) = Unreached::of(folder) {
        findings.push(Finding::warning(
            "log",
            unreached.words(),
            "do again what operators did since the backup, then remove that file",
        ));
    }
    findings
}

/// The database that keeps the journal, where one does; what it has in archives beyond `archived` comes to that.
fn database(config: &Config, archived: &mut Vec<InArchive>) -> Option<Finding> {
    let check = "database";
    let address = match journal_place::of_config(config).transpose()? {
        Ok(address) => address,
        Err(error) => return Some(Finding::error(check, chain(&error), error.hint().unwrap_or_default())),
    };
    Some(match PostgresJournal::look_at(&address) {
        Ok(Looked { size, archived: more }) => {
            archived.extend(
                more.into_iter()
                    .filter(|more| archived.iter().all(|known| known.archived != more.archived))
                    .collect::<Vec<_>>(),
            );
            Finding::ok(check, format!("`{address}` keeps {size} records, and its settings forget none"))
        }
        Err(error) => Finding::error(check, chain(&error), error.hint().unwrap_or_default()),
    })
}

/// The operator door's certificate, where it has one.
fn certificate(config: &Config, folder: &Path, now: Timestamp) -> Option<Finding> {
    let check = "certificate";
    Some(match Files::configured(config, folder)?.read(now) {
        Ok((_, ends_at)) if ends_at <= now.saturating_add(WARN_BEFORE).unwrap_or(Timestamp::MAX) => {
            Finding::warning(
                check,
                format!("the operator door's certificate ends at {ends_at}"),
                "renew it; new files are taken without a start",
            )
        }
        Ok((_, ends_at)) => Finding::ok(check, format!("the operator door's is good until {ends_at}")),
        Err(error) => Finding::error(check, chain(&error), error.hint().unwrap_or_default()),
    })
}

/// An error with all that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

#[cfg(test)]
mod tests;
