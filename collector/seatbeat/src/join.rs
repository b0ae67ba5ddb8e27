//! `seatbeat join`: one more collector on a database. Invariant: nothing that is there is touched, and the vault's key is
//! read from a file, never from the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use seatbeat_collector::config::Config;
use seatbeat_collector::joining;
use seatbeat_collector::vault::KEY_LENGTH;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::Context;
use crate::hints::Hinted;
#[cfg(unix)]
use crate::installed;
use crate::journal::Access;
use crate::{out, store};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The `seatbeat.toml` of a collector on that database: it is taken over, but for what is said here
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The `vault/vault.key` of that collector
    #[arg(long, value_name = "FILE")]
    vault_key: PathBuf,
    /// The new collector's store [default: the user's data folder, /var/lib/seatbeat for root]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Where it listens for agents [default: as the other]
    #[arg(long, value_name = "ADDRESS:PORT")]
    agent_listen: Option<SocketAddr>,
    /// Where it listens for operators [default: as the other]
    #[arg(long, value_name = "ADDRESS:PORT")]
    operator_listen: Option<SocketAddr>,
    #[command(flatten)]
    access: Access,
}

#[derive(Serialize)]
struct Joined {
    store: PathBuf,
    reseller: String,
    journal: String,
    records: u64,
}

/// Runs the verb.
///
/// # Errors
/// When a store is there already, the files cannot be read, or the database has other books or cannot be reached.
pub fn run(args: Args, context: &Context) -> anyhow::Result<()> {
    #[cfg(unix)]
    if args.store.is_none() && installed::user().is_some() {
        return Err(Hinted {
            message: "the collector of this machine's package belongs to the user seatbeat, not to root"
                .to_owned(),
            hint: format!(
                "`runuser -u seatbeat -- seatbeat join --store {} …`, with files that this user can read",
                store::SYSTEM
            ),
        }
        .into());
    }
    let folder = store::folder(args.store.as_deref())?;
    let mut config = Config::read(&args.config)?;
    config.agent_listen = args.agent_listen.unwrap_or(config.agent_listen);
    config.operator_listen = args.operator_listen.unwrap_or(config.operator_listen);
    let files = [
        (args.access.journal_password_file, &mut config.journal_password_file),
        (args.access.journal_certificate, &mut config.journal_certificate),
    ];
    for (said, configured) in files {
        if let Some(path) = said {
            *configured = Some(std::path::absolute(path)?);
        }
    }
    let key = std::fs::read(&args.vault_key).map(Zeroizing::new);
    let key =
        key.with_context(|| format!("failed to read the vault's key `{}`", args.vault_key.display()))?;
    if key.len() != KEY_LENGTH {
        return Err(Hinted {
            message: format!("`{}` is no vault's key: it has {} bytes", args.vault_key.display(), key.len()),
            hint: "it is `vault/vault.key` in the store of a collector on that database".to_owned(),
        }
        .into());
    }
    let joined = joining::join(&folder, &config, &key)?;
    let joined = Joined {
        store: folder,
        reseller: joined.reseller.to_string(),
        journal: config.journal.clone().unwrap_or_default(),
        records: joined.records,
    };
    context.out.value(&joined, || {
        out::fields(&[
            ("store", joined.store.display().to_string()),
            ("reseller", joined.reseller.clone()),
            ("journal", joined.journal.clone()),
            ("records", joined.records.to_string()),
        ])
    })?;
    if !context.out.is_json() {
        out::note(&format!(
            "start it with `seatbeat serve --store {}`; agents find it once its address is among `agent_addresses` in \
             each collector's {}",
            joined.store.display(),
            Config::FILE
        ));
    }
    Ok(())
}
