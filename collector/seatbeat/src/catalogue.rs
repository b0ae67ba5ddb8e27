//! `seatbeat catalogue`. Invariant: the release key is read from a file of its owner's alone and goes nowhere; what is
//! pushed is the signed file, byte for byte.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use ed25519_dalek::{SigningKey, VerifyingKey};
use prost::Message as _;
use seatbeat_collector::console::rows::{CatalogueState, PushedCatalogue};
use seatbeat_proto::catalogue::{CATALOGUE_LENGTH_MAX, Catalogue, RELEASE_KEY};
use seatbeat_proto::hex;
use seatbeat_proto::signed::{Domain, hash, key_from_text, key_text, new_key, sign, verify};
use seatbeat_proto::wire;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::Context;
use crate::hints::Hinted;
use crate::out::{self, Align, Column};
use crate::{files, moment, private};

/// Longest file that is read: a catalogue, its signature and what frames them.
const FILE_LENGTH_MAX: u64 = CATALOGUE_LENGTH_MAX as u64 + 1024;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a release key: for whoever builds agents, kept away from any collector
    Keygen {
        /// Where the secret key goes, readable by its owner alone
        file: PathBuf,
    },
    /// Sign a catalogue with the release key
    Sign {
        /// The catalogue (TOML)
        file: PathBuf,
        /// The secret key that `keygen` made
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The signed catalogue
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// What is in a signed catalogue; without a file, which one agents are sent, and which they use
    Show {
        /// The signed catalogue
        file: Option<PathBuf>,
        /// The release key that has to have signed it (base64) [default: the one this program was built with]
        #[arg(long, value_name = "PUB", value_parser = key, requires = "file")]
        key: Option<VerifyingKey>,
    },
    /// Send agents a newer catalogue, those who are connected at once
    Push {
        /// The signed catalogue
        file: PathBuf,
        /// The release key that has to have signed it (base64) [default: the one this program was built with]
        #[arg(long, value_name = "PUB", value_parser = key)]
        key: Option<VerifyingKey>,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

fn key(text: &str) -> Result<VerifyingKey, String> {
    key_from_text(text).map_err(|error| error.to_string())
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be read or written, is not what it has to be, or the collector refuses.
pub fn run(verb: Verb, context: &Context) -> anyhow::Result<()> {
    match verb {
        Verb::Keygen { file } => keygen(&file, context),
        Verb::Sign { file, key, to } => sign_file(&file, &key, to, context),
        Verb::Show { file: Some(file), key } => show(&file, key, context),
        Verb::Show { file: None, .. } => context.ask(async |collector| {
            let request = wire::ListRequest::default();
            let state: CatalogueState =
                collector.ask(async |console| console.get_catalogue(request).await).await?;
            Ok(context.out.value(&state, || state_page(&state))?)
        }),
        Verb::Push { file, key, reason } => {
            let signed = read_signed(&file)?;
            let shown = Shown::of(&file, &signed, key)?;
            if !shown.verified {
                out::note(
                    "note: this program knows no release key: whether the signature holds, agents will tell",
                );
            }
            let request = wire::PushCatalogueRequest { catalogue: Some(signed), reason };
            context.ask(async |collector| {
                let pushed: PushedCatalogue = collector
                    .ask(async |console| console.push_catalogue(request).await)
                    .await
                    .with_context(|| format!("`{}` was not pushed", file.display()))?;
                Ok(context.out.value(&pushed, || {
                    format!("catalogue {} goes to agents that have an older one", pushed.version)
                })?)
            })
        }
    }
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    public_key: String,
}

fn keygen(file: &Path, context: &Context) -> anyhow::Result<()> {
    let key = new_key();
    let text = Zeroizing::new(hex::format(Zeroizing::new(key.to_bytes()).as_slice()) + "\n");
    private::make(file, "the release key", &text)?;
    let made = Made { file: file.to_owned(), public_key: key_text(&key.verifying_key()) };
    context.out.value(&made, || {
        out::fields(&[
            ("key file", made.file.display().to_string()),
            ("release key", made.public_key.clone()),
        ])
    })?;
    Ok(())
}

#[derive(Serialize)]
struct SignedFile {
    file: PathBuf,
    version: u32,
    sha256: String,
    release_key: String,
}

fn sign_file(file: &Path, key: &Path, to: PathBuf, context: &Context) -> anyhow::Result<()> {
    let bytes = read(file)?;
    let unfit = || format!("`{}` is not signed", file.display());
    let text = std::str::from_utf8(&bytes).with_context(unfit)?;
    let catalogue = Catalogue::parse(text).with_context(unfit)?;
    for lint in catalogue.lint() {
        out::note(&format!("note: {} {}", lint.place, lint.what));
    }
    let key = secret_key(key)?;
    let signed = sign(&key, Domain::Catalogue, bytes);
    if signed.payload.len() > CATALOGUE_LENGTH_MAX {
        anyhow::bail!(
            "{}: it has {} bytes, and can have {CATALOGUE_LENGTH_MAX}",
            unfit(),
            signed.payload.len()
        );
    }
    let made = SignedFile {
        sha256: hex::format(&hash(&signed.payload)),
        version: catalogue.version,
        release_key: key_text(&key.verifying_key()),
        file: files::write(to, &signed.encode_to_vec())?,
    };
    context.out.value(&made, || {
        out::fields(&[
            ("file", made.file.display().to_string()),
            ("version", made.version.to_string()),
            ("sha256", made.sha256.clone()),
            ("release key", made.release_key.clone()),
        ])
    })?;
    Ok(())
}

/// A signed catalogue, as far as its file tells.
#[derive(Serialize)]
struct Shown {
    file: PathBuf,
    version: u32,
    length: usize,
    sha256: String,
    products: usize,
    families: usize,
    /// A release key was known, and it signed the file.
    verified: bool,
}

impl Shown {
    fn of(file: &Path, signed: &wire::Signed, key: Option<VerifyingKey>) -> anyhow::Result<Self> {
        let key = key.or_else(|| RELEASE_KEY.and_then(|text| key_from_text(text).ok()));
        let refused = || format!("`{}` is no signed catalogue", file.display());
        if let Some(key) = &key {
            verify(key, Domain::Catalogue, signed).with_context(refused)?;
        }
        let catalogue = Catalogue::from_unverified(signed, 0).with_context(refused)?;
        Ok(Self {
            file: file.to_owned(),
            version: catalogue.version,
            length: signed.payload.len(),
            sha256: hex::format(&hash(&signed.payload)),
            products: catalogue.products.len(),
            families: catalogue.families.len(),
            verified: key.is_some(),
        })
    }
}

fn show(file: &Path, key: Option<VerifyingKey>, context: &Context) -> anyhow::Result<()> {
    let shown = Shown::of(file, &read_signed(file)?, key)?;
    let signature = if shown.verified { "holds" } else { "not checked: name the release key with --key PUB" };
    context.out.value(&shown, || {
        out::fields(&[
            ("version", shown.version.to_string()),
            ("products", shown.products.to_string()),
            ("families", shown.families.to_string()),
            ("length", format!("{} bytes", shown.length)),
            ("sha256", shown.sha256.clone()),
            ("signature", signature.to_owned()),
        ])
    })?;
    Ok(())
}

fn state_page(state: &CatalogueState) -> String {
    let pushed = state.pushed.as_ref();
    let head = out::fields(&[
        ("built in", state.built_in_version.to_string()),
        ("pushed", pushed.map_or_else(|| "none".to_owned(), |pushed| pushed.version.to_string())),
        ("sha256", pushed.map(|pushed| pushed.sha256.clone()).unwrap_or_default()),
        ("at", pushed.map(|pushed| moment::shown(pushed.pushed_at)).unwrap_or_default()),
        ("by", pushed.map(|pushed| pushed.operator.clone()).unwrap_or_default()),
        ("reason", pushed.map(|pushed| pushed.reason.clone()).unwrap_or_default()),
    ]);
    let columns = [Column("CATALOGUE", Align::Right), Column("MACHINES", Align::Right)];
    let rows = state.in_use.iter().map(|one| vec![one.version.to_string(), one.machines.to_string()]);
    out::page([Some(head), out::section("In use", &out::table(&columns, rows.collect()))])
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_LENGTH_MAX + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("failed to read `{}`", path.display()))?;
    if bytes.len() as u64 > FILE_LENGTH_MAX {
        anyhow::bail!(
            "`{}` is longer than a catalogue can be ({CATALOGUE_LENGTH_MAX} bytes)",
            path.display()
        );
    }
    Ok(bytes)
}

fn read_signed(path: &Path) -> anyhow::Result<wire::Signed> {
    let signed = wire::Signed::decode(read(path)?.as_slice()).ok();
    signed.filter(|signed| !signed.payload.is_empty() && !signed.signature.is_empty()).ok_or_else(|| {
        Hinted {
            message: format!("`{}` is no signed catalogue", path.display()),
            hint: "`seatbeat catalogue sign` makes one of a catalogue (TOML)".to_owned(),
        }
        .into()
    })
}

fn secret_key(path: &Path) -> anyhow::Result<SigningKey> {
    let failed = || format!("failed to read the key file `{}`", path.display());
    let text = Zeroizing::new(std::fs::read_to_string(path).with_context(failed)?);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).with_context(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Hinted {
                message: format!("the key file `{}` can be read by others (mode {mode:03o})", path.display()),
                hint: format!(
                    "`chmod 600 {}`; when somebody may have copied it, make a new key",
                    path.display()
                ),
            }
            .into());
        }
    }
    let damaged = || format!("`{}` is no key file of `seatbeat catalogue keygen`", path.display());
    let seed = Zeroizing::new(hex::parse::<32>(text.trim_end()).with_context(damaged)?);
    Ok(SigningKey::from_bytes(&seed))
}
