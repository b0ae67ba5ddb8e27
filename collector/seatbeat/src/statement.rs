//! `seatbeat statement`. Invariant: what is sealed is the draft whose digest was named; nothing here computes one.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use seatbeat_collector::console::fault::Reason;
use seatbeat_collector::console::rows::{Draft, SealedStatement, SealedStatements, StatementList};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::statement::Statement;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;
use seatbeat_proto::wire::amend_request::Change;
use serde_json::{Value, json};

use crate::amend::{How, amend};
use crate::connect::{Collector, RemoteError};
use crate::document::{self, Format, Target};
use crate::hints::Hinted;
use crate::out::{self, Out};
use crate::{explain, files, months, proofs, review, shown};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Seal a month's statement: the draft of now, or the approved one
    Close {
        /// Which month, as `2026-10`
        period: Period,
        /// Show the draft, and seal nothing
        #[arg(long, conflicts_with_all = ["approve", "reason"])]
        dry_run: bool,
        /// Seal only the draft of this digest, as --dry-run showed it
        #[arg(long, value_name = "DIGEST")]
        approve: Option<String>,
        /// Seal it in place of what was sealed of that month, as its next revision; needs --reason
        #[arg(long, requires = "reason", conflicts_with = "dry_run")]
        supersede: bool,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Show the machines behind a line, and why others are not in it; without a SKU, what is in no line
    Explain(explain::ExplainArgs),
    /// Show where statements stand: open, grace, draft, approved, sealed, superseded
    List,
    /// Declare units that no agent can see
    Declare {
        #[command(flatten)]
        line: LineOf,
        /// How many there are in all
        #[arg(long, value_name = "UNITS")]
        quantity: u64,
        #[command(flatten)]
        how: How,
    },
    /// Add units to a line, or take them away
    Adjust {
        #[command(flatten)]
        line: LineOf,
        /// How many more, or fewer (`-1`)
        #[arg(long, value_name = "UNITS", allow_negative_numbers = true)]
        by: i64,
        #[command(flatten)]
        how: How,
    },
    /// Show a sealed statement and what it earns, or its draft; in a format: the statement alone
    Show {
        /// Which month, as `2026-10`
        period: Period,
        /// Of this distributor only, in a format
        #[arg(long, requires = "format")]
        distributor: Option<String>,
        /// With what customers are called, in a format
        #[arg(long, requires = "format")]
        names: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Write a sealed statement with the evidence of each machine behind it, for anyone to check
    Bundle(proofs::BundleArgs),
    /// Answer a nonce of whoever checks a bundle: the records of the log that it picks
    Answer(proofs::AnswerArgs),
    /// Write a month's sealed statements as they go out
    Export {
        /// Which month, as `2026-10`
        period: Period,
        /// The folder that the files go to
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// As this beside what was signed
        #[arg(long, value_enum)]
        format: Option<Format>,
    },
}

/// Which line of which month.
#[derive(Debug, Args)]
pub struct LineOf {
    /// Which month, as `2026-10`
    period: Period,
    /// Whose
    #[arg(long)]
    customer: CustomerId,
    /// Of what
    #[arg(long)]
    sku: Sku,
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses or a file cannot be written.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Close { period, dry_run: true, .. } => {
            let draft = draft(collector, period).await?;
            out.value(&draft, || months::draft(&draft))?;
        }
        Verb::List => {
            let request = wire::ListRequest::default();
            let list: StatementList =
                collector.ask(async |console| console.list_statements(request).await).await?;
            out.value(&list, || months::table(&list.statements))?;
            if list.statements.is_empty() && !out.is_json() {
                out::note("no statements yet: a month has one once a machine was enrolled in it");
            }
        }
        Verb::Close { period, approve, supersede, reason, .. } => {
            let sealed = close(collector, period, approve, supersede, reason).await?;
            show(&sealed, out)?;
        }
        Verb::Declare { line: LineOf { period, customer, sku }, quantity, how } => {
            let done = format!("{quantity} {sku} are declared for {customer} in {period}");
            let change = wire::Declared {
                customer: customer.to_string(),
                sku: sku.to_string(),
                period: period.to_string(),
                quantity,
                at_ms: how.at_ms(),
            };
            amend(Change::Declared(change), how, &done, collector, out).await?;
        }
        Verb::Adjust { line: LineOf { period, customer, sku }, by, how } => {
            let done = format!("{sku} of {customer} in {period} is adjusted by {by}");
            let change = wire::Adjusted {
                customer: customer.to_string(),
                sku: sku.to_string(),
                period: period.to_string(),
                delta: by,
                at_ms: how.at_ms(),
            };
            amend(Change::Adjusted(change), how, &done, collector, out).await?;
        }
        Verb::Explain(args) => explain::run(args, collector, out).await?,
        Verb::Bundle(args) => proofs::bundle(args, collector, out).await?,
        Verb::Answer(args) => proofs::answer(args, collector, out).await?,
        Verb::Show { period, distributor, names, target } if target.format.is_some() => {
            let request = document_request(period, distributor.unwrap_or_default(), names);
            document::show(request, &target, collector, out).await?;
        }
        Verb::Show { period, .. } => match sealed(collector, period).await {
            Err(RemoteError::Refused { reason: Reason::NotSealed, .. }) => {
                let draft = draft(collector, period).await?;
                out.value(&draft, || months::draft(&draft))?;
            }
            sealed => show(&sealed?, out)?,
        },
        Verb::Export { period, to, format } => {
            export(&sealed(collector, period).await?, &to, format, collector, out).await?;
        }
    }
    Ok(())
}

async fn draft(collector: &mut Collector, period: Period) -> Result<Draft, RemoteError> {
    let request = wire::PeriodRequest { period: period.to_string(), after_position: 0 };
    let progress = out::progress("drafting");
    let draft = collector.ask(async |console| console.draft_statement(request).await).await;
    progress.finish_and_clear();
    draft
}

async fn sealed(collector: &mut Collector, period: Period) -> Result<SealedStatements, RemoteError> {
    let request = wire::PeriodRequest { period: period.to_string(), after_position: 0 };
    collector.ask(async |console| console.show_statement(request).await).await
}

async fn close(
    collector: &mut Collector,
    period: Period,
    approve: Option<String>,
    supersede: bool,
    reason: String,
) -> anyhow::Result<SealedStatements> {
    let digest = match approve {
        Some(digest) => digest,
        None => draft(collector, period).await?.digest,
    };
    let request = wire::SealRequest { period: period.to_string(), digest, reason, supersede };
    let sealed = collector.ask(async |console| console.seal_statement(request).await).await;
    match sealed {
        Err(RemoteError::Refused { reason: Reason::Blocked, .. }) => {
            Err(blocked(&draft(collector, period).await?).into())
        }
        other => Ok(other?),
    }
}

/// What stands in the way, in words.
fn blocked(draft: &Draft) -> Hinted {
    let blockers = months::blockers(draft);
    let things = out::count(blockers.len() as u64, "thing stands", "things stand");
    Hinted {
        message: format!(
            "{things} in the way of the statement of {}:\n{}",
            draft.period,
            review::in_the_way(&blockers)
        ),
        hint: format!("settle them, then see `seatbeat statement close {} --dry-run`", draft.period),
    }
}

fn show(sealed: &SealedStatements, out: Out) -> anyhow::Result<()> {
    match out {
        Out::Json => out::data(&out::json(&as_json(sealed)?))?,
        Out::Text => out::data(&sealed_page(sealed)?)?,
    }
    Ok(())
}

fn as_json(sealed: &SealedStatements) -> anyhow::Result<Value> {
    let mut statements = Vec::new();
    for one in &sealed.statements {
        let file: Value = serde_json::from_slice(&one.file)?;
        statements.push(json!({ "distributor": one.distributor, "revision": one.revision, "file": file }));
    }
    let (earnings, licences) = (&sealed.earnings, &sealed.licences);
    Ok(json!({
        "period": sealed.period, "statements": statements, "earnings": earnings, "licences": licences
    }))
}

fn sealed_page(sealed: &SealedStatements) -> anyhow::Result<String> {
    let mut blocks = Vec::new();
    for one in &sealed.statements {
        let mut file: Value = serde_json::from_slice(&one.file)?;
        let body = file["body"].take();
        let digest = seatbeat_ledger::sealed::digest(&seatbeat_ledger::sealed::body_bytes(&body)?);
        let statement: Statement = serde_json::from_value(body)?;
        blocks.push(Some(out::fields(&[
            ("distributor", one.distributor.clone()),
            ("revision", one.revision.to_string()),
            ("digest", digest),
        ])));
        blocks.push(Some(shown::statement(&statement)));
    }
    blocks.push(out::section("Licences", &review::licences(&sealed.licences)));
    blocks.push(Some(shown::earnings(&sealed.earnings)));
    Ok(out::page(blocks))
}

fn document_request(period: Period, distributor: String, names: bool) -> wire::DocumentRequest {
    let (kind, period) = ("statement".to_owned(), period.to_string());
    wire::DocumentRequest { kind, period, distributor, names, ..Default::default() }
}

async fn export(
    sealed: &SealedStatements,
    to: &Path,
    format: Option<Format>,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    files::folder(to)?;
    let mut written = Vec::new();
    for one in &sealed.statements {
        let path = to.join(file_name(sealed.period, one));
        written.push(files::write(path.clone(), &one.file)?);
        // As JSON it is the signed file itself.
        if let Some(format) = format.filter(|format| *format != Format::Json) {
            let request = document_request(sealed.period, one.distributor.clone(), false);
            let request = wire::DocumentRequest { format: format.name().to_owned(), ..request };
            let bytes = document::fetch(request, collector).await?;
            written.push(files::write(path.with_extension(format.name()), &bytes)?);
        }
    }
    out.value(&json!({ "period": sealed.period, "files": written }), || {
        written.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n")
    })?;
    Ok(())
}

/// As the collector itself names the files that it drops.
fn file_name(period: Period, statement: &SealedStatement) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let distributor: String = statement.distributor.chars().map(plain).collect();
    format!("{period}-{distributor}-r{}.json", statement.revision)
}

#[cfg(test)]
mod tests {
    use seatbeat_collector::console::rows::PeriodState;

    use super::*;

    fn draft(blockers: &str) -> Draft {
        crate::months::tests::draft(PeriodState::Draft, blockers)
    }

    #[test]
    fn blockers_are_told_one_by_one_with_what_to_do() {
        let blockers = r#"[{"blocker":"unassigned","machine":"mch_a"},
            {"blocker":"unmapped_product","customer":"cus_acme","product":"spnt"}]"#;
        assert_eq!(
            blocked(&draft(blockers)).message,
            "2 things stand in the way of the statement of 2026-10:\n\
             - machine mch_a belongs to no customer: give it to one: `seatbeat machines assign`\n\
             - customer cus_acme uses product spnt, which has no SKU: `seatbeat customers map cus_acme spnt --sku \
             SKU`, or name it in the policy for everybody"
        );
    }

    #[test]
    fn a_distributor_cannot_name_a_path() {
        let statement = SealedStatement { distributor: "../a b".to_owned(), revision: 2, file: Vec::new() };
        assert_eq!(file_name("2026-10".parse().unwrap(), &statement), "2026-10-___a_b-r2.json");
    }
}
