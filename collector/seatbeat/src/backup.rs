//! `seatbeat backup` and `seatbeat restore`. Invariant: nothing that is there is written over; whoever restores is told
//! what is lost, as far as anybody knows.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use seatbeat_collector::backup::restore::{Asked, Restored, restore};
use seatbeat_collector::backup::{BackedUp, back_up};
use seatbeat_collector::books::Books;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::serve::ServeError;
use seatbeat_proto::wire;
use serde_json::Value;

use crate::cli::Context;
use crate::{moment, out, store};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The backup's folder, on the collector's machine; nothing is there yet
    folder: PathBuf,
    /// Back up this store, on which no collector runs
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// The backup's folder
    backup: PathBuf,
    /// The store that is to be; nothing is there yet [default: the user's data folder, /var/lib/seatbeat for root]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Begin a new epoch, so that machines take what is ordered from now on for newer than what was lost
    #[arg(long, required = true)]
    new_epoch: bool,
    /// Why; goes on record
    #[arg(long)]
    reason: String,
    /// A checkpoint that was kept elsewhere, or a folder of them: tells what the backup lacks
    #[arg(long, value_name = "FILE|DIR")]
    witnessed: Vec<PathBuf>,
}

/// Runs `seatbeat backup`.
///
/// # Errors
/// When the folder is there or cannot be written, or the collector or the store cannot be read.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let folder = std::path::absolute(&args.folder)?;
    let made = match &args.store {
        Some(store) => offline(store, &folder, context)?,
        None => {
            let folder = folder.display().to_string();
            let mut made = Value::Null;
            context.ask(async |collector| {
                let request = wire::BackUpRequest { folder };
                let reply = collector.call(async |console| console.back_up(request).await).await?;
                made = serde_json::from_str(&reply.json).context("the answer is no backup's")?;
                Ok(())
            })?;
            made
        }
    };
    context.out.value(&made, || {
        let text = |name: &str| match &made[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        out::fields(&[
            ("backup", text("folder")),
            ("records", text("records")),
            ("root", text("root")),
            ("bytes", text("bytes")),
        ])
    })?;
    if !context.out.is_json() {
        out::note("the collector's keys are in it: keep it as you keep those, and on another disk");
    }
    Ok(())
}

fn offline(store: &Path, folder: &Path, context: &Context) -> anyhow::Result<Value> {
    let clock = context.clock.map_or_else(Clock::real, Clock::as_of);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let made: BackedUp = runtime.block_on(async {
        let (books, end) = Books::open(store, clock).map_err(ServeError::from)?;
        let made = back_up(&books, folder);
        drop(books);
        end.close().await?;
        anyhow::Ok(made?)
    })?;
    Ok(serde_json::to_value(made)?)
}

/// Runs `seatbeat restore`.
///
/// # Errors
/// When the backup is not whole, or the store is there or cannot be written.
pub fn run_restore(args: RestoreArgs, context: &Context) -> anyhow::Result<()> {
    let RestoreArgs { backup, store, new_epoch: _, reason, witnessed } = args;
    let store = std::path::absolute(store::folder(store.as_deref())?)?;
    let now = context.clock.map_or_else(Clock::real, Clock::as_of).now();
    let restored = restore(&Asked { backup, store, reason, witnessed, now })?;
    context.out.value(&restored, || page(&restored))?;
    if !context.out.is_json() {
        out::note(&next(&restored));
    }
    Ok(())
}

fn page(restored: &Restored) -> String {
    let unreached = restored.unreached.as_ref();
    out::fields(&[
        ("store", restored.store.display().to_string()),
        ("records", restored.records.to_string()),
        ("root", restored.root.clone()),
        ("backed up", restored.made_at.map(moment::shown).unwrap_or_default()),
        ("epoch", restored.epoch.to_string()),
        (
            "not reached",
            unreached.map(|last| format!("record {}, root {}", last.size, last.root)).unwrap_or_default(),
        ),
    ])
}

fn next(restored: &Restored) -> String {
    let lost = match &restored.unreached {
        Some(last) => format!(
            "The last checkpoint that this log cannot reach is of record {}: {} records are lost.",
            last.size,
            last.size.saturating_sub(restored.records)
        ),
        None => "No checkpoint of what came behind the backup was given; agents bring theirs, and `seatbeat status` \
                 tells of the last one that is not reached."
            .to_owned(),
    };
    format!(
        "{lost}\nWith `seatbeat serve` agents send their reports of the last 62 days again. What operators did since \
         the backup has to be done again: customers, tokens, prices, approvals; machines that were let in since are \
         let in again with a new token."
    )
}

#[cfg(test)]
mod tests {
    use seatbeat_collector::set_back::Unreached;

    use super::*;

    #[test]
    fn what_is_lost_is_told_in_records() {
        let mut restored = Restored {
            store: "/s".into(),
            records: 100,
            root: "r".to_owned(),
            made_at: None,
            epoch: 1,
            unreached: Some(Unreached { size: 130, root: "x".to_owned() }),
        };
        assert!(page(&restored).contains("not reached  record 130, root x"), "{}", page(&restored));
        assert!(next(&restored).contains("30 records are lost"), "{}", next(&restored));
        restored.unreached = None;
        assert!(!page(&restored).contains("not reached"));
    }
}
