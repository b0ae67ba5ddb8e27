//! `seatbeat verify`: what a reseller sent, checked without a collector. Invariant: exit 0 only when it follows from
//! the key that was asked for; what is checked, and how, is the room of `seatbeat-verify`.

use std::process::ExitCode;

use seatbeat_verify::{Report, check, self_attested};

pub use seatbeat_verify::Args;

use crate::cli::Context;
use crate::{out, shown};

/// Runs the verb.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let report = match check(args) {
        Ok(report) => report,
        Err(refused) => {
            out::failure(&refused.to_string(), refused.hint());
            return Ok(ExitCode::FAILURE);
        }
    };
    context.out.value(&report.json, || page(&report))?;
    if !report.self_attested {
        return Ok(ExitCode::SUCCESS);
    }
    let (message, hint) = self_attested(&args.file);
    out::failure(&message, Some(hint));
    Ok(ExitCode::FAILURE)
}

fn page(report: &Report) -> String {
    out::page([Some(out::fields(&report.fields)), report.statement.as_ref().map(shown::statement)])
}
