//! `seatbeat verify`: a sealed statement's signature, without a collector. Invariant: exit 0 only when the statement
//! was signed by the key that was asked for.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seatbeat_ledger::sealed::{self, VerifyError};
use seatbeat_ledger::statement::Statement;
use seatbeat_proto::signed::{key_from_text, public_key};
use serde::Serialize;

use crate::cli::Context;
use crate::{out, shown};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sealed statement
    file: PathBuf,
    /// The reseller's statement key, as `seatbeat status` shows it (base64)
    #[arg(long, value_name = "PUB", value_parser = key)]
    key: Option<Key>,
}

/// A public key by which a statement is checked.
#[derive(Debug, Clone, Copy)]
pub struct Key([u8; 32]);

fn key(text: &str) -> Result<Key, String> {
    let refused = |_| "expected a public key: 32 bytes in base64, as `seatbeat status` shows it".to_owned();
    key_from_text(text).map(|key| Key(key.to_bytes())).map_err(refused)
}

#[derive(Serialize)]
struct Verdict {
    verified: bool,
    /// The signature holds, but only the file itself says whose it is.
    self_attested: bool,
    key: String,
    digest: String,
    body: serde_json::Value,
}

/// Runs the verb.
///
/// # Errors
/// When the file cannot be read, was changed, or was signed by another key.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let path = args.file.display();
    let file = std::fs::read(&args.file).with_context(|| format!("failed to read `{path}`"))?;
    let refused = || format!("`{path}` is not verified");
    let expected = args.key.map(|key| public_key(&key.0)).transpose().with_context(refused)?;
    let verified = sealed::verify(&file, expected.as_ref()).with_context(refused)?;
    let body = sealed::body_bytes(&verified.body).map_err(VerifyError::from).with_context(refused)?;
    let verdict = Verdict {
        verified: expected.is_some(),
        self_attested: expected.is_none(),
        key: STANDARD.encode(verified.key.as_bytes()),
        digest: sealed::digest(&body),
        body: verified.body,
    };
    context.out.value(&verdict, || page(&verdict))?;
    if verdict.verified {
        return Ok(ExitCode::SUCCESS);
    }
    let hint =
        "name the reseller's statement key with --key; it has to come from the reseller, not from the file";
    out::failure(
        &format!("`{path}` is self-attested: only the file itself says whose key signed it"),
        Some(hint),
    );
    Ok(ExitCode::FAILURE)
}

fn page(verdict: &Verdict) -> String {
    let text = |field: &str| verdict.body[field].as_str().unwrap_or_default().to_owned();
    let standing = if verdict.verified { "verified" } else { "self-attested" };
    let head = out::fields(&[
        ("signature", standing.to_owned()),
        ("key", verdict.key.clone()),
        ("digest", verdict.digest.clone()),
        ("distributor", text("distributor")),
        ("revision", verdict.body["revision"].as_u64().map(|number| number.to_string()).unwrap_or_default()),
        (
            "rules",
            verdict.body["rules_version"].as_u64().map(|number| number.to_string()).unwrap_or_default(),
        ),
        ("zone data", text("zone_data")),
    ]);
    let statement: Option<Statement> = serde_json::from_value(verdict.body.clone()).ok();
    out::page([Some(head), statement.as_ref().map(shown::statement)])
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
}
