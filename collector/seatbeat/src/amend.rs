//! Records by hand: shown with what they do, confirmed, written. Invariant: nothing is written that was not shown,
//! or asked for with `--yes`.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;
use jiff::Timestamp;
use seatbeat_collector::console::rows::{Amended, Effect};
use seatbeat_proto::wire::amend_request::Change;
use seatbeat_proto::{instant, wire};

use crate::connect::{Collector, RemoteError};
use crate::hints::Hinted;
use crate::moment;
use crate::out::{self, Align, Column, Out};

/// When, why, and whether at once.
#[derive(Debug, Args)]
pub struct How {
    /// Why: it stands in the journal beside the change
    #[arg(long)]
    reason: String,
    /// From when on (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::instant)]
    at: Option<Timestamp>,
    /// Only show what it would do
    #[arg(long, conflicts_with = "yes")]
    preview: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl How {
    /// The instant as a request carries it; 0: now.
    pub fn at_ms(&self) -> i64 {
        self.at.map_or(0, instant::to_ms)
    }
}

/// Shows what a change does, asks, and writes it; `done` says so in words.
///
/// # Errors
/// When the collector refuses, or nobody is there to be asked.
pub async fn amend(
    change: Change,
    how: How,
    done: &str,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    let How { reason, preview, yes, .. } = how;
    if preview || !yes {
        let shown = request(&change, &reason, true, collector).await?;
        if preview {
            out.value(&shown, || table(&shown.effects))?;
            return Ok(());
        }
        if !is_confirmed(&shown.effects)? {
            out::note("nothing was written");
            return Ok(());
        }
    }
    let written = request(&change, &reason, false, collector).await?;
    match out {
        Out::Json => out::data(&out::json(&written))?,
        Out::Text => out::note(done),
    }
    Ok(())
}

async fn request(
    change: &Change,
    reason: &str,
    preview: bool,
    collector: &mut Collector,
) -> Result<Amended, RemoteError> {
    let request = wire::AmendRequest { change: Some(change.clone()), reason: reason.to_owned(), preview };
    let progress = out::progress("working out what it does");
    let amended = collector.ask(async |console| console.amend(request).await).await;
    progress.finish_and_clear();
    amended
}

fn is_confirmed(effects: &[Effect]) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        let message = "nobody is there to be asked whether to write it".to_owned();
        let hint = "--preview shows what it does, --yes writes it without asking".to_owned();
        return Err(Hinted { message, hint }.into());
    }
    out::note(&table(effects));
    out::note("Write it? [y/N]");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn table(effects: &[Effect]) -> String {
    if effects.is_empty() {
        return "no open statement changes".to_owned();
    }
    let columns = [
        Column("STATEMENT", Align::Left),
        Column("CORRECTS", Align::Left),
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("BEFORE", Align::Right),
        Column("AFTER", Align::Right),
    ];
    let row = |effect: &Effect| {
        vec![
            effect.period.to_string(),
            effect.for_period.map(|period| period.to_string()).unwrap_or_default(),
            effect.customer.to_string(),
            effect.sku.to_string(),
            effect.before.to_string(),
            effect.after.to_string(),
        ]
    };
    out::table(&columns, effects.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_a_line_and_none_is_said() {
        let effect = Effect {
            period: "2026-10".parse().unwrap(),
            for_period: Some("2026-09".parse().unwrap()),
            customer: "cus_acme".parse().unwrap(),
            sku: "WF-SVC".parse().unwrap(),
            before: "0".parse().unwrap(),
            after: "-1".parse().unwrap(),
        };
        assert_eq!(
            table(&[effect]).lines().collect::<Vec<_>>(),
            [
                "STATEMENT  CORRECTS  CUSTOMER  SKU     BEFORE  AFTER",
                "2026-10    2026-09   cus_acme  WF-SVC       0     -1",
            ]
        );
        assert_eq!(table(&[]), "no open statement changes");
    }
}
