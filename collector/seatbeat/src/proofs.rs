//! `seatbeat statement bundle` and `answer`: what others check a statement by. Invariant: a file is there whole or not
//! at all; nothing here decides what is in it.

use std::path::PathBuf;

use anyhow::Context as _;
use seatbeat_ledger::calendar::Period;
use seatbeat_proto::wire;
use serde_json::json;
use tonic::Streaming;

use crate::connect::Collector;
use crate::files::{self, Draft};
use crate::out::{self, Out};

#[derive(Debug, clap::Args)]
pub struct BundleArgs {
    /// Which month, as `2026-10`
    period: Period,
    /// The folder that the file goes to
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Whose statement, where there are several
    #[arg(long)]
    distributor: Option<String>,
    /// A signed checkpoint that whoever checks has kept: the bundle proves it; one with a witness's line is kept in it
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Say which machine is which
    #[arg(long)]
    names: bool,
}

#[derive(Debug, clap::Args)]
pub struct AnswerArgs {
    /// Which month, as `2026-10`
    period: Period,
    /// What whoever checks has chosen: 16 characters or more
    #[arg(long)]
    nonce: String,
    /// The file that the answer goes to
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Whose statement, where there are several
    #[arg(long)]
    distributor: Option<String>,
}

/// Writes a bundle.
///
/// # Errors
/// When the collector refuses or the file cannot be written.
pub async fn bundle(args: BundleArgs, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
    };
    let request = wire::BundleRequest {
        period: args.period.to_string(),
        distributor: args.distributor.unwrap_or_default(),
        checkpoints: args.checkpoint.iter().map(read).collect::<anyhow::Result<_>>()?,
        names: args.names,
        after_position: 0,
    };
    files::folder(&args.to)?;
    let mut pieces = collector.call(async |console| console.export_bundle(request).await).await?;
    let first = pieces.message().await.map_err(|status| collector.failed(&status))?.unwrap_or_default();
    // The name comes from the collector: only its last part may be one of a file.
    let name = PathBuf::from(&first.name);
    let name = name.file_name().context("the collector names no file")?;
    let path = args.to.join(name);
    let path = save(path, first, pieces, collector, "bundle").await?;
    out.value(&json!({ "period": args.period, "file": path }), || path.display().to_string())?;
    Ok(())
}

/// Writes an answer.
///
/// # Errors
/// When the collector refuses or the file cannot be written.
pub async fn answer(args: AnswerArgs, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let request = wire::SampleRequest {
        period: args.period.to_string(),
        distributor: args.distributor.unwrap_or_default(),
        nonce: args.nonce,
        after_position: 0,
    };
    let mut pieces = collector.call(async |console| console.answer_sample(request).await).await?;
    let first = pieces.message().await.map_err(|status| collector.failed(&status))?.unwrap_or_default();
    let path = save(args.to, first, pieces, collector, "sample").await?;
    out.value(&json!({ "period": args.period, "file": path }), || path.display().to_string())?;
    Ok(())
}

async fn save(
    path: PathBuf,
    first: wire::FileChunk,
    mut pieces: Streaming<wire::FileChunk>,
    collector: &Collector,
    what: &'static str,
) -> anyhow::Result<PathBuf> {
    let mut file = Draft::begin(path)?;
    let progress = out::progress(what);
    let mut next = Some(first);
    while let Some(piece) = next {
        progress.inc(piece.piece.len() as u64);
        file.write(&piece.piece)?;
        next = pieces.message().await.map_err(|status| collector.failed(&status))?;
    }
    progress.finish_and_clear();
    file.finish()
}
