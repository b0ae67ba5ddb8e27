//! `seatbeat journal` and `seatbeat migrate`: books in a database. Invariant: what is copied from loses nothing but a
//! record whose writing was never finished; a target with other records, or another's vault, is refused; no password is on
//! the command line.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use seatbeat_collector::journal::{FileJournal, Journal, PostgresJournal, copy};
use seatbeat_collector::journal_place::{address, migrate, of_store};
use seatbeat_collector::postgres::Address;
use seatbeat_collector::vault::Vault;
use serde::Serialize;

use crate::cli::Context;
use crate::hints::Hinted;
use crate::{out, store};

/// What lets the collector in at a database.
#[derive(Debug, Clone, clap::Args)]
pub struct Access {
    /// File with the database's password [default: the variable SEATBEAT_JOURNAL_PASSWORD]
    #[arg(long, value_name = "FILE")]
    pub journal_password_file: Option<PathBuf>,
    /// Authority that signed the database's certificate (PEM) [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    pub journal_certificate: Option<PathBuf>,
}

impl Access {
    fn to(&self, text: &str) -> anyhow::Result<Address> {
        Ok(address(text, self.journal_password_file.as_deref(), self.journal_certificate.as_deref())?)
    }
}

#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// The database, postgres://USER@HOST/DATABASE [default: the `journal` that the store is configured with]
    #[arg(value_name = "DATABASE")]
    journal: Option<String>,
    /// The collector's store [default: the user's data folder, /var/lib/seatbeat for root]
    #[arg(long, value_name = "DIR", conflicts_with = "journal")]
    store: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Copy a journal from a store to a database, or back, while no collector runs on it
    Copy(CopyArgs),
}

#[derive(Debug, clap::Args)]
pub struct CopyArgs {
    /// A store, or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "DIR|DATABASE")]
    from: String,
    /// A store or an empty folder, or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "DIR|DATABASE")]
    to: String,
    #[command(flatten)]
    access: Access,
}

#[derive(Serialize)]
struct Copied {
    records: u64,
    copied: u64,
    root: String,
    vault: bool,
}

#[derive(Serialize)]
struct Migrated {
    journal: String,
    made: bool,
}

/// Runs `seatbeat migrate`.
///
/// # Errors
/// When no database is named, or it cannot be reached or refuses.
pub fn run_migrate(args: &MigrateArgs, context: &Context) -> anyhow::Result<()> {
    let address = match &args.journal {
        Some(text) => args.access.to(text)?,
        None => {
            let folder = store::folder(args.store.as_deref())?;
            of_store(&folder)?.ok_or_else(|| Hinted {
                message: format!("the store `{}` keeps its journal itself", folder.display()),
                hint: "name the database: `seatbeat migrate postgres://USER@HOST/DATABASE`".to_owned(),
            })?
        }
    };
    let migrated = Migrated { made: migrate(&address)?, journal: address.to_string() };
    context.out.value(&migrated, || {
        let tables = if migrated.made { "made" } else { "are those of this version" };
        out::fields(&[("journal", migrated.journal.clone()), ("tables", tables.to_owned())])
    })?;
    Ok(())
}

/// Runs a verb of `seatbeat journal`.
///
/// # Errors
/// When one of the journals cannot be used, or the target holds other records.
pub fn run(verb: &Verb, context: &Context) -> anyhow::Result<()> {
    let Verb::Copy(args) = verb;
    let from = open(&args.from, &args.access, false)?;
    let mut to = open(&args.to, &args.access, true)?;
    let bar =
        ProgressBar::new(0).with_style(ProgressStyle::with_template("{wide_bar} {pos} of {len} records")?);
    let copied = copy(from.as_ref(), to.as_mut(), |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let copied = copied?;
    let vault = copy_vault(args)?;
    let (records, copied, root) = (copied.records, copied.copied, STANDARD.encode(copied.root));
    let shown = Copied { records, copied, root, vault };
    context.out.value(&shown, || {
        out::fields(&[
            ("records", shown.records.to_string()),
            ("copied", shown.copied.to_string()),
            ("root", format!("{}, the same on both sides", shown.root)),
            ("vault", if shown.vault { "copied with it" } else { "none was beside it" }.to_owned()),
        ])
    })?;
    if !context.out.is_json() && Address::is_one(&args.to) {
        out::note("set `journal` in the store's seatbeat.toml to that database, then start `seatbeat serve`");
    }
    Ok(())
}

/// Takes a store's vault to the database with its journal, or back; false where a folder is no store.
fn copy_vault(args: &CopyArgs) -> anyhow::Result<bool> {
    let vault_of = |place: &str| Some(Path::new(place).join("vault")).filter(|vault| vault.is_dir());
    match (Address::is_one(&args.from), Address::is_one(&args.to)) {
        (false, true) => {
            let Some(vault) = vault_of(&args.from) else { return Ok(false) };
            Vault::open(&vault)?.share(&args.access.to(&args.to)?)?;
        }
        (true, false) => {
            let Some(vault) = vault_of(&args.to) else { return Ok(false) };
            Vault::open_shared(&vault, &args.access.to(&args.from)?)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn open(place: &str, access: &Access, is_target: bool) -> anyhow::Result<Box<dyn Journal>> {
    if Address::is_one(place) {
        let address = access.to(place)?;
        if is_target {
            migrate(&address)?;
        }
        return Ok(Box::new(PostgresJournal::open(address)?));
    }
    let folder = segments_of(Path::new(place));
    if !is_target && !folder.is_dir() {
        return Err(Hinted {
            message: format!("there is no journal in `{place}`"),
            hint: "name a store, as --store DIR does elsewhere".to_owned(),
        }
        .into());
    }
    Ok(Box::new(FileJournal::open(&folder)?))
}

/// The journal's folder: a store has it inside.
fn segments_of(folder: &Path) -> PathBuf {
    let is_bare = folder.read_dir().is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.path().extension().is_some_and(|end| end == "seg"))
    });
    if is_bare { folder.to_owned() } else { folder.join("journal") }
}
