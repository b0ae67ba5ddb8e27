//! `seatbeat upload`: sealed statements on their way to distributors. Invariant: a dry run sends nothing; what a far
//! side said is shown as it was said.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use seatbeat_collector::console::uploads::UploadRow;
use seatbeat_ledger::calendar::Period;
use seatbeat_proto::wire;

use crate::connect::Collector;
use crate::out::{self, Align, Column, Out};
use crate::{files, moment};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Where statements are on their way
    Status {
        /// Only of this month
        #[arg(long)]
        period: Option<Period>,
        /// Only there
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
    },
    /// All that was sent of a statement, and answered
    Show(Which),
    /// The exact requests and files that a month is sent with, sealed or still a draft; nothing is sent
    DryRun {
        /// Which month
        period: Period,
        /// Only there
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        /// Ask the far side how many seats are in force there now
        #[arg(long)]
        look: bool,
        /// Write requests and files there
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Try at once what is held up, and send again what was rejected
    Retry {
        #[command(flatten)]
        which: Which,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// A person has settled what no far side does: corrections by hand, verdicts that nobody gives
    Settle {
        #[command(flatten)]
        which: Which,
        /// How
        #[arg(long)]
        reason: String,
    },
}

/// A statement and where it goes.
#[derive(Debug, Args)]
pub struct Which {
    /// Which month
    period: Period,
    /// Where it goes, as in seatbeat.toml
    #[arg(long, value_name = "NAME")]
    destination: String,
}

impl Which {
    fn act(self, reason: String) -> wire::UploadActRequest {
        wire::UploadActRequest { destination: self.destination, period: self.period.to_string(), reason }
    }
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be written, or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Status { period, destination } => {
            let period = period.map(|period| period.to_string()).unwrap_or_default();
            let rows = rows(collector, period, destination.unwrap_or_default()).await?;
            out.value(&rows, || table(&rows))?;
            if rows.is_empty() && !out.is_json() {
                out::note(
                    "nothing is on its way: `[destination.NAME]` in seatbeat.toml says where statements go",
                );
            }
            Ok(())
        }
        Verb::Show(which) => {
            let rows = rows(collector, which.period.to_string(), which.destination.clone()).await?;
            anyhow::ensure!(
                !rows.is_empty(),
                "no statement of {} goes to `{}`",
                which.period,
                out::clean(&which.destination)
            );
            out.value(&rows, || rows.iter().map(page).collect::<Vec<_>>().join("\n\n"))?;
            Ok(())
        }
        Verb::DryRun { period, destination, look, to } => {
            let request = wire::UploadsRequest {
                destination: destination.unwrap_or_default(),
                period: period.to_string(),
                look,
                after_position: 0,
            };
            let chunks = collector.call(async |console| console.plan_upload(request).await).await?;
            match to {
                Some(folder) => {
                    let written = files::save(collector, chunks, &folder).await?;
                    out.value(&written, || files::listed(&written))?;
                }
                None => {
                    let received = files::receive(collector, chunks).await?;
                    for (name, bytes) in received {
                        if name == "requests.json" {
                            out::data(&String::from_utf8_lossy(&bytes))?;
                        } else if !out.is_json() {
                            out::note(&format!(
                                "file {}, {} bytes: `--to DIR` writes it",
                                out::clean(&name),
                                bytes.len()
                            ));
                        }
                    }
                }
            }
            if !out.is_json() {
                out::note("nothing was sent");
            }
            Ok(())
        }
        Verb::Retry { which, reason } => {
            let words = format!("{} goes to {} again", which.period, out::clean(&which.destination));
            let request = which.act(reason);
            let done = collector.call(async |console| console.retry_upload(request).await).await?;
            Ok(out::done(out, done.position, &words)?)
        }
        Verb::Settle { which, reason } => {
            let words = format!("{} at {} is settled", which.period, out::clean(&which.destination));
            let request = which.act(reason);
            let done = collector.call(async |console| console.settle_upload(request).await).await?;
            Ok(out::done(out, done.position, &words)?)
        }
    }
}

async fn rows(
    collector: &mut Collector,
    period: String,
    destination: String,
) -> anyhow::Result<Vec<UploadRow>> {
    let request = wire::UploadsRequest { destination, period, look: false, after_position: 0 };
    let chunks = collector.call(async |console| console.list_uploads(request).await).await?;
    let received = files::receive(collector, chunks).await?;
    let (_, bytes) = received.first().context("the collector answered nothing")?;
    serde_json::from_slice(bytes).context("the collector's answer is not understood")
}

fn table(rows: &[UploadRow]) -> String {
    let columns = ["MONTH", "DISTRIBUTOR", "REVISION", "DESTINATION", "STATUS", "PARTS", ""]
        .map(|head| Column(head, Align::Left));
    let row = |row: &UploadRow| {
        vec![
            row.period.to_string(),
            out::clean(&row.distributor),
            row.revision.to_string(),
            out::clean(&row.destination),
            row.status.clone(),
            parts(row),
            note(row),
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

fn parts(row: &UploadRow) -> String {
    let told: Vec<String> = row.parts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    if told.is_empty() { String::new() } else { format!("{} of {}", told.join(", "), row.parts_expected) }
}

/// What keeps it, or when it goes on.
fn note(row: &UploadRow) -> String {
    if let Some(trouble) = row.trouble.first() {
        return out::clean(&format!("stopped: {}", trouble.why));
    }
    match (&row.failing, row.next_try) {
        (Some(why), Some(next)) if !row.superseded => {
            out::clean(&format!("tried again at {}: {why}", moment::shown(next)))
        }
        _ if row.superseded => "superseded".to_owned(),
        _ => String::new(),
    }
}

fn page(row: &UploadRow) -> String {
    let fields = out::fields(&[
        ("month", row.period.to_string()),
        ("distributor", out::clean(&row.distributor)),
        ("revision", row.revision.to_string()),
        ("destination", out::clean(&row.destination)),
        ("connector", row.connector.clone()),
        ("status", row.status.clone()),
        ("submission", row.submission.to_string()),
        ("parts", parts(row)),
        ("note", note(row)),
    ]);
    let trouble: Vec<String> = row
        .trouble
        .iter()
        .map(|one| {
            let part = if one.part.is_empty() { "all" } else { &one.part };
            out::clean(&format!("{part}: {}\n  {}", one.why, one.hint))
        })
        .collect();
    let columns = ["PART", "AT", "STATUS", "QUANTITY", "THERE IT IS", "SENT", "SAID"]
        .map(|head| Column(head, Align::Left));
    let answers = row.answers.iter().flat_map(|part| {
        part.answers.iter().map(|answer| {
            let sent: String = answer.digest.chars().take(19).collect();
            vec![
                out::clean(&part.part),
                moment::shown(answer.at),
                answer.status.name().to_owned(),
                answer.quantity.clone(),
                out::clean(&answer.far_id),
                sent,
                out::clean(&answer.said),
            ]
        })
    });
    out::page([
        Some(fields),
        out::section("Stopped", &trouble.join("\n")),
        out::section("Answers", &out::table(&columns, answers.collect())),
    ])
}
