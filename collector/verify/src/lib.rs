//! Checks what a reseller sent: a sealed statement or a bundle, offline. One implementation behind two programs.
//! Invariant: only what follows from the key that was named is called verified.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use seatbeat_ledger::cosignature::Witness;
use seatbeat_ledger::sample::Sample;
use seatbeat_ledger::sealed::{self, VerifyError};
use seatbeat_ledger::statement::Statement;
use seatbeat_ledger::verify::{
    Failure, Failures, LINE_LENGTH_MAX, Level, Question, Replay, Verdict, Verifier,
};
use seatbeat_proto::signed::public_key;
use serde_json::{Value, json};

/// How much of a file is looked at to tell what it is.
const START_LENGTH: usize = 64;

/// Longest statement that is read as one piece: a bundle is read line by line.
const STATEMENT_LENGTH_MAX: u64 = LINE_LENGTH_MAX as u64;

/// What is checked, and against what.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The sealed statement, or the bundle
    pub file: PathBuf,
    /// The reseller's statement key, as `seatbeat status` shows it (base64)
    #[arg(long, value_name = "PUB", value_parser = key)]
    pub key: Option<Key>,
    /// Of a bundle: 0 signatures and proofs, 1 every quantity, 2 a sample of the log, 3 a replay of all records
    /// [default: the highest that there is something for, else 1]
    #[arg(long, value_name = "0..3")]
    pub level: Option<Level>,
    /// A signed checkpoint of the log that you have kept: the bundle has to be of the same log
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// The answer to a nonce that you chose (`seatbeat statement answer`), for level 2
    #[arg(long, value_name = "FILE")]
    pub sample: Option<PathBuf>,
    /// The nonce that you chose: an answer to another one is refused
    #[arg(long, value_name = "NONCE")]
    pub nonce: Option<String>,
    /// The folder that `seatbeat export` wrote, for level 3
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,
    /// A witness that has to have cosigned the bundle's checkpoint, as `name+hash+key`
    #[arg(long, value_name = "KEY")]
    pub witness: Vec<Witness>,
}

/// A public key by which a statement is checked.
#[derive(Debug, Clone, Copy)]
pub struct Key([u8; 32]);

/// Reads a public key.
///
/// # Errors
/// When the text is none, in words.
pub fn key(text: &str) -> Result<Key, String> {
    let refused = || "expected a public key: 32 bytes in base64, as `seatbeat status` shows it".to_owned();
    let bytes = STANDARD.decode(text.trim()).map_err(|_| refused())?;
    public_key(&bytes).map_err(|_| refused())?;
    Ok(Key(bytes.try_into().map_err(|_| refused())?))
}

/// What was found of a file in which nothing is wrong.
#[derive(Debug, Clone)]
pub struct Report {
    /// In a few words, each with its name.
    pub fields: Vec<(&'static str, String)>,
    /// The same for programs.
    pub json: Value,
    /// The statement, where it is one that this version knows.
    pub statement: Option<Statement>,
    /// Whether only the file itself says whose it is: then it is not verified.
    pub self_attested: bool,
}

/// A file that is not verified.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be read.
    #[error("failed to read `{path}`: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The statement is not what it should be.
    #[error("`{path}` is not verified: {source}")]
    Statement {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: VerifyError,
    },
    /// The bundle is not what it should be.
    #[error("`{path}` is not verified: {source}")]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// All that is wrong.
        source: Failures,
    },
    /// What was asked does not fit the file.
    #[error("{0}")]
    Asked(String),
}

impl Refused {
    /// What may help.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Read { .. } => Some("is the path right, and may this user read it?"),
            Self::Statement { source, .. } => Some(statement_hint(source)),
            Self::Bundle { source, .. } => source.0.first().map(Failure::hint),
            Self::Asked(_) => None,
        }
    }
}

/// What may help where a statement does not verify.
pub fn statement_hint(error: &VerifyError) -> &'static str {
    match error {
        VerifyError::OtherKey { .. } => {
            "the statement key of this reseller is in `seatbeat status`; ask whoever sent the file"
        }
        _ => "ask for the file again; `seatbeat statement export` writes it as it was sealed",
    }
}

/// What has to be said where nobody named a key.
pub fn self_attested(path: &Path) -> (String, &'static str) {
    (
        format!("`{}` is self-attested: only the file itself says whose key signed it", path.display()),
        "name the reseller's statement key with --key; it has to come from the reseller, not from the file",
    )
}

/// Checks a file.
///
/// # Errors
/// When it cannot be read, or anything is wrong with it.
pub fn check(args: &Args) -> Result<Report, Refused> {
    let mut file = BufReader::new(open(&args.file)?);
    let read = |source| Refused::Read { path: args.file.clone(), source };
    let start = file.fill_buf().map_err(read)?;
    if start[..start.len().min(START_LENGTH)].starts_with(b"{\"seatbeat\":") {
        return check_bundle(args, file);
    }
    if args.asks_of_a_bundle() {
        return Err(Refused::Asked(format!(
            "`{}` is a statement alone: levels, samples and checkpoints are asked of a bundle",
            args.file.display()
        )));
    }
    let mut bytes = Vec::new();
    file.take(STATEMENT_LENGTH_MAX).read_to_end(&mut bytes).map_err(read)?;
    check_statement(args, &bytes).map_err(|source| Refused::Statement { path: args.file.clone(), source })
}

impl Args {
    fn asks_of_a_bundle(&self) -> bool {
        let files = self.checkpoint.is_some() || self.sample.is_some() || self.export.is_some();
        files || self.level.is_some() || !self.witness.is_empty()
    }

    fn expected(&self) -> Option<VerifyingKey> {
        self.key.and_then(|Key(bytes)| public_key(&bytes).ok())
    }

    fn question(&self) -> Result<Question, Refused> {
        let sample = match &self.sample {
            Some(path) => {
                let sample = Sample::parse(&read(path)?).map_err(|why| {
                    Refused::Asked(format!("`{}` is not an answer to a sample: {why}", path.display()))
                })?;
                if self.nonce.as_ref().is_some_and(|nonce| *nonce != sample.nonce) {
                    let path = path.display();
                    return Err(Refused::Asked(format!("`{path}` answers another nonce than yours")));
                }
                Some(sample)
            }
            None => None,
        };
        let replay = match &self.export {
            Some(folder) => Some(Replay {
                records: text(&folder.join("records.jsonl"))?,
                policy: text(&folder.join("policy.toml"))?,
                sealed: Some(folder.join("sealed.json"))
                    .filter(|path| path.exists())
                    .map(|path| text(&path))
                    .transpose()?,
            }),
            None => None,
        };
        let highest = match (&replay, &sample) {
            (Some(_), Some(_)) => Level::Replayed,
            (None, Some(_)) => Level::Sampled,
            _ => Level::Recomputed,
        };
        Ok(Question {
            key: self.expected(),
            level: self.level.unwrap_or(highest),
            checkpoint: self.checkpoint.as_deref().map(text).transpose()?,
            witnesses: self.witness.clone(),
            sample,
            replay,
        })
    }
}

fn open(path: &Path) -> Result<File, Refused> {
    File::open(path).map_err(|source| Refused::Read { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, Refused> {
    std::fs::read(path).map_err(|source| Refused::Read { path: path.to_owned(), source })
}

fn text(path: &Path) -> Result<String, Refused> {
    std::fs::read_to_string(path).map_err(|source| Refused::Read { path: path.to_owned(), source })
}

fn check_statement(args: &Args, file: &[u8]) -> Result<Report, VerifyError> {
    let verified = sealed::verify(file, args.expected().as_ref())?;
    let digest = sealed::digest(&sealed::body_bytes(&verified.body)?);
    let is_verified = args.key.is_some();
    let key = STANDARD.encode(verified.key.as_bytes());
    let word = |field: &str| verified.body[field].as_str().unwrap_or_default().to_owned();
    let number = |field: &str| verified.body[field].as_u64().map(|n| n.to_string()).unwrap_or_default();
    Ok(Report {
        fields: vec![
            ("signature", standing(is_verified)),
            ("key", key.clone()),
            ("digest", digest.clone()),
            ("distributor", word("distributor")),
            ("revision", number("revision")),
            ("rules", number("rules_version")),
            ("zone data", word("zone_data")),
        ],
        statement: serde_json::from_value(verified.body.clone()).ok(),
        json: json!({
            "verified": is_verified,
            "self_attested": !is_verified,
            "key": key,
            "digest": digest,
            "body": verified.body,
        }),
        self_attested: !is_verified,
    })
}

fn standing(is_verified: bool) -> String {
    if is_verified { "verified" } else { "self-attested" }.to_owned()
}

fn check_bundle(args: &Args, mut file: BufReader<File>) -> Result<Report, Refused> {
    let refused = |source| Refused::Bundle { path: args.file.clone(), source };
    let mut verifier = Verifier::new(args.question()?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = LINE_LENGTH_MAX as u64 + 1;
        let length = (&mut file).take(limit).read_until(b'\n', &mut line);
        let length = length.map_err(|source| Refused::Read { path: args.file.clone(), source })?;
        if length == 0 || length > LINE_LENGTH_MAX {
            break;
        }
        if !verifier.line(line.strip_suffix(b"\n").unwrap_or(&line)) {
            break;
        }
    }
    verifier.finish().map(|verdict| report(&verdict)).map_err(refused)
}

fn report(verdict: &Verdict) -> Report {
    let body = &verdict.body;
    let is_verified = !verdict.self_attested;
    let key = STANDARD.encode(verdict.key.as_bytes());
    let mut fields = vec![
        ("signature", standing(is_verified)),
        ("key", key.clone()),
        ("level", verdict.level.number().to_string()),
        ("digest", verdict.digest.clone()),
        ("distributor", body.distributor.clone()),
        ("revision", body.revision.to_string()),
        ("rules", body.rules_version.to_string()),
        ("zone data", body.zone_data.clone()),
        ("cut", format!("{} records", body.journal.size)),
        ("sealed at", format!("record {}", verdict.sealed_at)),
        ("checkpoint", format!("{} records", verdict.log_size)),
    ];
    for (witness, at) in &verdict.witnessed {
        let at = i64::try_from(*at).ok().and_then(|at| Timestamp::from_second(at).ok());
        fields.push(("witness", format!("{witness}, {}", at.map(|at| at.to_string()).unwrap_or_default())));
    }
    if verdict.level >= Level::Recomputed {
        fields.push(("seats", format!("{} rows", verdict.seats)));
        fields.push(("excluded", format!("{} machines", verdict.excluded)));
    }
    if let Some(outcomes) = &verdict.outcomes {
        let words: Vec<String> = outcomes.iter().map(|(name, count)| format!("{count} {name}")).collect();
        fields.push(("sample", words.join(", ")));
    }
    Report {
        fields,
        statement: Some(body.statement.clone()),
        json: json!({
            "verified": is_verified,
            "self_attested": verdict.self_attested,
            "key": key,
            "level": verdict.level.number(),
            "digest": verdict.digest,
            "log_size": verdict.log_size,
            "sealed_at": verdict.sealed_at,
            "witnessed": verdict.witnessed,
            "seats": verdict.seats,
            "excluded": verdict.excluded,
            "opened": verdict.opened,
            "sample": verdict.outcomes,
            "body": body,
        }),
        self_attested: verdict.self_attested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_base64_of_a_real_public_key() {
        let made = STANDARD.encode(seatbeat_proto::signed::new_key().verifying_key().as_bytes());
        assert!(key(&made).is_ok() && key(&format!(" {made}\n")).is_ok());
        for wrong in ["", "hello", &made[..20], "ff"] {
            assert!(key(wrong).unwrap_err().starts_with("expected a public key"), "{wrong}");
        }
    }

    fn args(file: PathBuf) -> Args {
        Args {
            file,
            key: None,
            level: None,
            checkpoint: None,
            sample: None,
            nonce: None,
            export: None,
            witness: Vec::new(),
        }
    }

    #[test]
    fn a_file_that_is_neither_is_refused_with_what_may_help() {
        let temp = tempfile::tempdir().unwrap();
        let check = |text: &str| {
            let path = temp.path().join("file");
            std::fs::write(&path, text).unwrap();
            let refused = check(&args(path)).unwrap_err();
            (refused.to_string().replace(&temp.path().display().to_string(), ""), refused.hint().is_some())
        };
        let told = |text: &str, why: &str| {
            assert_eq!(check(text), (format!("`/file` is not verified: {why}"), true))
        };
        told("{}", "the file is not a sealed statement: its `seatbeat` field is not `statement/1`");
        told("hello", "the file is not JSON: expected value at line 1 column 1");
        told("", "the file is not JSON: EOF while parsing a value at line 1 column 0");
        told(
            "{\"seatbeat\":\"other/1\"}",
            "the file is not a bundle: its first line's `seatbeat` field is not `bundle/1`",
        );
        let absent = super::check(&args(temp.path().join("absent"))).unwrap_err();
        assert!(absent.to_string().starts_with("failed to read"), "{absent}");
    }

    #[test]
    fn a_level_is_not_asked_of_a_statement_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("statement.json");
        std::fs::write(&path, "{\"body\":{}}").unwrap();
        let refused = check(&Args { level: Some(Level::Sampled), ..args(path) }).unwrap_err();
        assert!(refused.to_string().contains("is a statement alone"), "{refused}");
    }
}
