//! `seatbeat orders key`, and how a key is opened to sign. Invariant: a key that signs orders is in clear in this
//! process alone; on a disk it lies under its passphrase.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use ed25519_dalek::SigningKey;
use prost::Message as _;
use seatbeat_collector::order_key::{KeyError, LockedKey};
use seatbeat_proto::signed::{Domain, key_text, sign};
use seatbeat_proto::{trust, wire};
use serde_json::json;
use zeroize::Zeroizing;

use super::secret_of;
use crate::connect::Collector;
use crate::hints::Hinted;
use crate::out::{self, Out};
use crate::private;

/// With which key orders are signed.
#[derive(Debug, Clone, Default, Args)]
pub struct SignArgs {
    /// The order key's file [default: the key that the collector keeps]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File with the passphrase [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make the order key and its recovery key, and have machines trust them from the next token on
    New {
        #[command(flatten)]
        place: KeyPlace,
        /// Where the recovery key is written: take it offline
        #[arg(long, value_name = "FILE")]
        recovery_file: PathBuf,
        /// File with the recovery key's passphrase [default: it is asked for]
        #[arg(long, value_name = "FILE")]
        recovery_passphrase_file: Option<PathBuf>,
    },
    /// Put another order key in the place of the one in force; machines follow when they connect
    Rotate {
        #[command(flatten)]
        place: KeyPlace,
        /// The order key in force that signs its successor [default: the one that the collector keeps]
        #[arg(long, value_name = "FILE", conflicts_with = "lost")]
        old_key_file: Option<PathBuf>,
        /// File with its passphrase, or the recovery key's [default: it is asked for]
        #[arg(long, value_name = "FILE")]
        old_passphrase_file: Option<PathBuf>,
        /// The order key is lost: the recovery key signs
        #[arg(long, value_name = "RECOVERY-FILE")]
        lost: Option<PathBuf>,
        /// Write a new recovery key there as well
        #[arg(long, value_name = "FILE")]
        new_recovery_file: Option<PathBuf>,
        /// File with the new recovery key's passphrase [default: it is asked for]
        #[arg(long, value_name = "FILE")]
        new_recovery_passphrase_file: Option<PathBuf>,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Print whose orders machines take, as text for `seatbeat-agent trust-orders`
    Show,
}

/// Where a new order key is kept.
#[derive(Debug, Clone, Args)]
pub struct KeyPlace {
    /// Write the order key to this file, and keep none at the collector
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File with the new key's passphrase [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// When a file is there already or cannot be written, a passphrase does not open its key, or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::New { place, recovery_file, recovery_passphrase_file } => {
            let held = held(collector).await?;
            if !held.trust.is_empty() {
                return Err(hinted(
                    "there are order keys already",
                    "`seatbeat orders key rotate` puts another one in their place",
                ));
            }
            let (locked, key) = make(place.passphrase_file.as_deref(), "the order key")?;
            let recovery = make(recovery_passphrase_file.as_deref(), "the recovery key")?;
            private::make(&recovery_file, "the recovery key", &recovery.0.to_text())?;
            let keys = wire::OrderKeys {
                revision: 1,
                keys: vec![key.verifying_key().to_bytes().to_vec()],
                recovery_key: recovery.1.verifying_key().to_bytes().to_vec(),
            };
            let reason = "the first order keys".to_owned();
            put(&keys, &key, &place, &locked, reason, collector, out).await?;
            if !out.is_json() {
                out::note(&format!(
                    "take `{}` offline: it is what replaces a lost order key",
                    recovery_file.display()
                ));
                out::note(
                    "machines that were let in before need `seatbeat-agent trust-orders` once: `seatbeat orders key show`",
                );
            }
            Ok(())
        }
        Verb::Rotate {
            place,
            old_key_file,
            old_passphrase_file,
            lost,
            new_recovery_file,
            new_recovery_passphrase_file,
            reason,
        } => {
            let held = held(collector).await?;
            let trusted = trust::parse(&held.trust).map_err(|_| nobody_signs())?;
            let sign_args =
                SignArgs { key_file: lost.or(old_key_file), passphrase_file: old_passphrase_file };
            let signer = open(&sign_args, &held)?;
            let (locked, key) = make(place.passphrase_file.as_deref(), "the new order key")?;
            let recovery_key = match &new_recovery_file {
                Some(file) => {
                    let (recovery, public) =
                        make(new_recovery_passphrase_file.as_deref(), "the new recovery key")?;
                    private::make(file, "the new recovery key", &recovery.to_text())?;
                    public.verifying_key().to_bytes().to_vec()
                }
                None => trusted.recovery_key,
            };
            let public = key.verifying_key().to_bytes().to_vec();
            let keys = wire::OrderKeys { revision: trusted.revision + 1, keys: vec![public], recovery_key };
            put(&keys, &signer, &place, &locked, reason, collector, out).await
        }
        Verb::Show => {
            let held = held(collector).await?;
            let keys = trust::parse(&held.trust).map_err(|_| nobody_signs())?;
            let texts: Vec<String> = keys.keys.iter().filter_map(|key| text_of(key)).collect();
            let recovery = text_of(&keys.recovery_key);
            let value = json!({
                "revision": keys.revision, "keys": texts, "recovery_key": recovery, "trust": held.trust,
                "kept_by": if held.locked_key.is_empty() { "operator" } else { "vault" },
            });
            out.value(&value, || held.trust.clone())?;
            Ok(())
        }
    }
}

/// Signs the new keys and has the collector put them in force.
async fn put(
    keys: &wire::OrderKeys,
    signer: &SigningKey,
    place: &KeyPlace,
    locked: &LockedKey,
    reason: String,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    let locked_key = match &place.key_file {
        Some(file) => {
            private::make(file, "the order key", &locked.to_text())?;
            String::new()
        }
        None => locked.to_text(),
    };
    let signed = sign(signer, Domain::OrderKeys, keys.encode_to_vec());
    let request = wire::SetOrderKeysRequest { keys: Some(signed), locked_key, reason };
    let done = collector.call(async |console| console.set_order_keys(request).await).await?;
    let kept = place.key_file.as_ref().map_or_else(
        || "the collector keeps it under its passphrase".to_owned(),
        |file| format!("it is in `{}`, under its passphrase", file.display()),
    );
    Ok(out::done(
        out,
        done.position,
        &format!("order keys of revision {} are in force; {kept}", keys.revision),
    )?)
}

/// What the collector holds.
///
/// # Errors
/// When it refuses.
pub async fn held(collector: &mut Collector) -> anyhow::Result<wire::OrderKeysReply> {
    let request = wire::ListRequest { after_position: 0 };
    Ok(collector.call(async |console| console.get_order_keys(request).await).await?)
}

/// Opens the key that signs.
///
/// # Errors
/// When there is none, or the passphrase does not open it.
pub fn open(sign: &SignArgs, held: &wire::OrderKeysReply) -> anyhow::Result<SigningKey> {
    let text = match &sign.key_file {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("failed to read `{}`", file.display()))?
        }
        None if held.locked_key.is_empty() => return Err(nobody_signs()),
        None => held.locked_key.clone(),
    };
    let locked = LockedKey::from_text(&text).map_err(told)?;
    let passphrase = passphrase(sign.passphrase_file.as_deref(), "the key that signs", false)?;
    locked.open(&passphrase).map_err(told)
}

fn nobody_signs() -> anyhow::Error {
    hinted(
        "nobody can sign orders here: there is no order key",
        "`seatbeat orders key new` makes one; a key on a workstation is named with --key-file FILE",
    )
}

fn make(passphrase_file: Option<&Path>, whose: &str) -> anyhow::Result<(LockedKey, SigningKey)> {
    let words = passphrase(passphrase_file, whose, true)?;
    LockedKey::make(&words).map_err(told)
}

/// The passphrase from its file, or from whoever sits there; a new one twice.
fn passphrase(file: Option<&Path>, whose: &str, is_new: bool) -> anyhow::Result<Zeroizing<String>> {
    if let Some(file) = file {
        return secret_of(&file.to_owned());
    }
    if !std::io::stdin().is_terminal() {
        return Err(hinted(
            &format!("the passphrase of {whose} is missing, and nobody sits here to be asked"),
            "name a file that holds it with --passphrase-file FILE",
        ));
    }
    let asked = Zeroizing::new(rpassword::prompt_password(format!("Passphrase of {whose}: "))?);
    if is_new {
        let again = Zeroizing::new(rpassword::prompt_password("The same again: ")?);
        anyhow::ensure!(asked == again, "the two passphrases differ");
    }
    Ok(asked)
}

fn told(error: KeyError) -> anyhow::Error {
    hinted(&error.to_string(), error.hint())
}

fn hinted(message: &str, hint: &str) -> anyhow::Error {
    Hinted { message: message.to_owned(), hint: hint.to_owned() }.into()
}

fn text_of(key: &[u8]) -> Option<String> {
    seatbeat_proto::signed::public_key(key).ok().map(|key| key_text(&key))
}
