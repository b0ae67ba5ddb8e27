//! What may help after an error. Invariant: a hint names something to do, in a line; without one, nothing is said.

use std::io;

use seatbeat_collector::backup::BackupError;
use seatbeat_collector::backup::restore::RestoreError;
use seatbeat_collector::books::BooksError;
use seatbeat_collector::config::ConfigError;
use seatbeat_collector::console::dial::DialError;
use seatbeat_collector::console::fault::Reason;
use seatbeat_collector::found::FoundError;
use seatbeat_collector::journal::{CopyError, JournalError};
use seatbeat_collector::journal_place::PlaceError;
use seatbeat_collector::keys::KeysError;
use seatbeat_collector::postgres::PostgresError;
use seatbeat_collector::serve::ServeError;
use seatbeat_collector::vault::VaultError;
use seatbeat_ledger::sealed::VerifyError;

use crate::connect::RemoteError;
use crate::profile::{ProfileError, VARIABLE};

/// An error of a verb that knows what helps.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Hinted {
    /// What failed.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// An error with all that caused it, each said once.
pub fn chain(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if words.is_empty() {
            words = cause;
        } else if !words.ends_with(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

/// What may help.
pub fn of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(hinted) = cause.downcast_ref::<Hinted>() {
            return Some(hinted.hint.clone());
        }
        if let Some(error) = cause.downcast_ref::<ProfileError>() {
            return profile(error);
        }
        if let Some(error) = cause.downcast_ref::<RemoteError>() {
            return remote(error);
        }
        if let Some(error) = cause.downcast_ref::<ServeError>() {
            return serve(error);
        }
        if let Some(error) = cause.downcast_ref::<FoundError>() {
            return found(error);
        }
        if let Some(error) = cause.downcast_ref::<ConfigError>() {
            return config(error);
        }
        if let Some(error) = cause.downcast_ref::<BackupError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<RestoreError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<PlaceError>() {
            return place(error);
        }
        if let Some(error) = cause.downcast_ref::<JournalError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<PostgresError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<VaultError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<CopyError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<VerifyError>() {
            return Some(seatbeat_verify::statement_hint(error).to_owned());
        }
        cause.downcast_ref::<io::Error>().and_then(disk)
    })
}

fn profile(error: &ProfileError) -> Option<String> {
    match error {
        ProfileError::Missing(_) => Some(format!(
            "`seatbeat init` sets a collector up and writes it; another one is named with --profile FILE or {VARIABLE}"
        )),
        ProfileError::Exists(_) => Some(
            "it opens another collector: name a new file with --profile FILE, or move it away".to_owned(),
        ),
        ProfileError::NoFolder => Some(format!("name a file with --profile FILE or {VARIABLE}")),
        ProfileError::Parse { .. } => {
            Some("it has two lines: address = \"HOST:PORT\" and token = \"sbo1.…\"".to_owned())
        }
        ProfileError::Read { source, .. } | ProfileError::Write { source, .. } => disk(source),
    }
}

fn remote(error: &RemoteError) -> Option<String> {
    match error {
        RemoteError::NotRunning { why, .. } if why.contains("certificate") => Some(
            "trust its authority with --ca FILE, or `ca` in the profile, and say the name that its certificate has".to_owned(),
        ),
        RemoteError::NotRunning { .. } => Some(
            "is `seatbeat serve` running? Another collector is named with --profile or --address".to_owned(),
        ),
        RemoteError::NotLetIn { .. } => Some(format!(
            "name the profile that `seatbeat init` wrote for this collector, with --profile FILE or {VARIABLE}"
        )),
        RemoteError::Token(_) => {
            Some("it has two lines: address = \"HOST:PORT\" and token = \"sbo1.…\"".to_owned())
        }
        RemoteError::Dial(DialError::Clear(_)) => Some(
            "give the operator door a certificate (`operator_certificate`) and say https://HOST:PORT, or come through a tunnel to this machine".to_owned(),
        ),
        RemoteError::Dial(DialError::Address(_)) => {
            Some("it stands in the profile as `address`, or after --address".to_owned())
        }
        RemoteError::Dial(DialError::Authorities(_)) => {
            Some("name a PEM file with the authority's certificate as `ca` in the profile, or with --ca FILE".to_owned())
        }
        RemoteError::Foreign { .. } => {
            Some("does another program listen there, or a collector of another version?".to_owned())
        }
        RemoteError::Refused { reason, hint, .. } => {
            hint.clone().or_else(|| refused(*reason).map(str::to_owned))
        }
        RemoteError::Row(_) => Some("use the `seatbeat` of the collector's version".to_owned()),
    }
}

fn refused(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::UnknownCustomer => Some("`seatbeat customers list` shows them"),
        Reason::UnknownMachine => Some("`seatbeat machines list` shows them"),
        Reason::UnknownLicence | Reason::SeatsTaken => {
            Some("`seatbeat licences list` shows licences and who holds their seats")
        }
        Reason::UnknownBatch | Reason::OrderRefused => {
            Some("`seatbeat orders list` shows what was ordered and what it waits for")
        }
        Reason::UnknownToken => Some("`seatbeat tokens list` shows them"),
        Reason::Exists => {
            Some("`seatbeat customers list` shows what is there; without --id a new one is made")
        }
        Reason::NoAddress => Some(
            "set `agent_addresses = [\"HOST:PORT\"]` in the store's seatbeat.toml, and start `seatbeat serve` again",
        ),
        Reason::Policy => Some("`seatbeat policy show` prints the one in force"),
        Reason::ZoneFixed => Some("keep the zone; another one needs a collector of its own"),
        Reason::Catalogue => Some("`seatbeat catalogue show` says which one agents are sent"),
        Reason::NotOver => Some("`seatbeat usage` shows the month so far; --dry-run shows what it would be"),
        Reason::NobodyYet => {
            Some("there is nothing to seal: `seatbeat machines list` shows who is enrolled since when")
        }
        Reason::InGrace => Some(
            "--dry-run shows what it would be now; `grace_hours` in seatbeat.toml says how long it waits",
        ),
        Reason::AlreadySealed => Some(
            "`seatbeat statement show` prints it; what comes in later is a correction on the next, and --supersede seals the draft of now in its place",
        ),
        Reason::NotSuperseded => Some(
            "what differs since is carried by the next statement as a correction: `seatbeat statement list`",
        ),
        Reason::NotSealed => Some("`seatbeat statement close PERIOD --dry-run` shows its draft"),
        Reason::DraftChanged => Some("look at the draft of now with --dry-run, and approve its digest"),
        Reason::Overtaken => Some("import it again: it is compared with what holds now"),
        Reason::NotReached => Some("ask again in a moment"),
        Reason::NotWritten => Some("see the collector's log: nothing is taken until it can be written"),
        Reason::Failed => Some("see the collector's log"),
        Reason::Forbidden => Some("an admin can change that: `seatbeat operators allow`"),
        Reason::UnknownOperator => Some("`seatbeat operators list` shows them"),
        Reason::LastAdmin => Some(
            "let another admin of all customers in before: `seatbeat operators add`, or `operators allow --role admin`",
        ),
        Reason::SignInRefused => Some("an admin can set it anew: `seatbeat operators password`"),
        Reason::Provider => {
            Some("look at `[sign_in.oidc]` in seatbeat.toml, and whether the collector reaches that address")
        }
        Reason::TooOften => Some("wait a minute, then try again"),
        Reason::Blocked | Reason::Invalid | Reason::BodyTooLong | Reason::NotLetIn | Reason::NoSuchPage => {
            None
        }
    }
}

fn serve(error: &ServeError) -> Option<String> {
    match error {
        ServeError::Config(error) => config(error),
        ServeError::Books(error) => books(error),
        ServeError::Listen { door, source, .. } => listen(door, source),
        ServeError::Journal(_) => {
            Some("look at the disk, then start again: what was acknowledged is kept".to_owned())
        }
        ServeError::Certificate(error) => error.hint(),
        ServeError::Destination(_) => {
            Some("mend `[destination.NAME]` in the store's seatbeat.toml, then start again".to_owned())
        }
        ServeError::Provider(_) => {
            Some("mend `[sign_in.oidc]` in the store's seatbeat.toml, then start again".to_owned())
        }
        ServeError::Alerts(_) => {
            Some("mend `[alerts]` in the store's seatbeat.toml, then start again".to_owned())
        }
        ServeError::Gateway(_) | ServeError::Panicked(_) => None,
    }
}

fn listen(door: &str, source: &io::Error) -> Option<String> {
    let key = if door == "agents" { "agent_listen" } else { "operator_listen" };
    match source.kind() {
        io::ErrorKind::AddrInUse => Some(format!(
            "another program has this port, perhaps a collector that still runs; else set `{key}` in the store's seatbeat.toml"
        )),
        io::ErrorKind::PermissionDenied => {
            Some(format!("this user may not listen on that port: set `{key}` to one above 1023"))
        }
        io::ErrorKind::AddrNotAvailable => {
            Some(format!("this machine does not have that address: set `{key}` in the store's seatbeat.toml"))
        }
        _ => None,
    }
}

fn books(error: &BooksError) -> Option<String> {
    match error {
        BooksError::Store(error) => error.hint(),
        BooksError::Format(error) => error.hint(),
        BooksError::Journal(error) => error.hint(),
        BooksError::Place(error) => place(error),
        BooksError::Vault(error) => error.hint(),
        BooksError::Keys(error) => keys(error),
        BooksError::NotFounded(_) => Some("`seatbeat init` sets a store up".to_owned()),
        BooksError::ForeignVault(_) => {
            Some("journal and vault belong together: restore both from the same backup".to_owned())
        }
        BooksError::Shortened { .. } => Some(
            "restore the journal; where that cannot be, set the files `snapshot` and `snapshot.previous` aside: the agents send again what they kept"
                .to_owned(),
        ),
        BooksError::Fold(_) => Some("start the version that wrote this store, or a later one".to_owned()),
        BooksError::Lookup(_) => None,
    }
}

fn place(error: &PlaceError) -> Option<String> {
    match error {
        PlaceError::Config(error) => config(error),
        error => error.hint(),
    }
}

fn keys(error: &KeysError) -> Option<String> {
    match error {
        KeysError::Vault(error) => error.hint(),
        KeysError::Missing(_) => Some("restore the vault from a backup".to_owned()),
        KeysError::Certificate(_) => None,
    }
}

fn found(error: &FoundError) -> Option<String> {
    match error {
        FoundError::Founded(_) => {
            Some("`seatbeat serve` runs it; another collector needs another --store DIR".to_owned())
        }
        FoundError::Store(error) => error.hint(),
        FoundError::Vault(error) => error.hint(),
        FoundError::Journal(error) => error.hint(),
        FoundError::Place(error) => place(error),
        FoundError::Taken(_) => Some(
            "`seatbeat join` sets another collector up on it; new books need a database of their own".to_owned(),
        ),
        FoundError::NoDatabase => Some(
            "collectors share a database: `seatbeat init --journal DATABASE`, or `seatbeat journal copy` to one".to_owned(),
        ),
        FoundError::Empty(_) => Some("`seatbeat init --journal DATABASE` sets the first collector up".to_owned()),
        FoundError::ForeignVault(_) => {
            Some("take `seatbeat.toml` and `vault/vault.key` from the same collector".to_owned())
        }
        FoundError::Keys(error) => keys(error),
        FoundError::Fold(_) => Some("start the version that wrote this store, or a later one".to_owned()),
        FoundError::Policy(_) | FoundError::Config(_) => None,
    }
}

fn config(error: &ConfigError) -> Option<String> {
    match error {
        ConfigError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Some("`seatbeat init` sets a store up; one elsewhere is named with --store DIR".to_owned())
        }
        ConfigError::Read { source, .. } => disk(source),
        ConfigError::Parse { .. } | ConfigError::Value { .. } => {
            Some("the keys and their defaults are in `seatbeat config show` of a fresh store".to_owned())
        }
    }
}

fn disk(source: &io::Error) -> Option<String> {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("name a place that this user can read and write".to_owned())
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space on that disk".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_chain_says_each_cause_once() {
        let error = anyhow::anyhow!("line 3: unknown type `x`").context("`records.jsonl` is refused");
        assert_eq!(chain(&error), "`records.jsonl` is refused: line 3: unknown type `x`");
        let twice = anyhow::anyhow!("no room").context("failed: no room");
        assert_eq!(chain(&twice), "failed: no room");
    }

    #[test]
    fn a_hint_is_found_under_what_was_put_on_top() {
        let missing = ProfileError::Missing("/home/op/operator.toml".into());
        let error = Err::<(), _>(missing).context("failed to list customers").unwrap_err();
        assert!(of(&error).unwrap().contains("`seatbeat init`"));
        let refused = RemoteError::Refused { message: "x".to_owned(), reason: Reason::InGrace, hint: None };
        assert!(of(&refused.into()).unwrap().contains("--dry-run"));
        assert_eq!(of(&anyhow::anyhow!("odd")), None);
    }

    #[test]
    fn a_taken_port_is_told_with_the_key_that_changes_it() {
        let error = ServeError::Listen {
            address: "127.0.0.1:8080".parse().unwrap(),
            door: "operators",
            source: io::ErrorKind::AddrInUse.into(),
        };
        assert!(of(&error.into()).unwrap().contains("`operator_listen`"));
    }
}
