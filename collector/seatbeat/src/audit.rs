//! `seatbeat audit`. Invariant: what was done is told as the journal has it, the newest first, and as far back as was
//! asked for.

use jiff::civil::Date;
use seatbeat_collector::console::audit::{AuditPage, AuditRow};
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;
use serde::Serialize;

use crate::connect::Collector;
use crate::moment;
use crate::out::{self, Align, Column, Out};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// From this day on, in the billing zone
    #[arg(long, value_name = "DAY")]
    from: Option<Date>,
    /// Up to the end of this day
    #[arg(long, value_name = "DAY")]
    to: Option<Date>,
    /// By this operator, or by `collector`
    #[arg(long)]
    who: Option<String>,
    /// This action only, such as `customer_added`
    #[arg(long, value_name = "ACTION")]
    what: Option<String>,
    /// About this customer, or a machine that is its own now
    #[arg(long)]
    customer: Option<CustomerId>,
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Serialize)]
struct Audit {
    /// The newest first.
    actions: Vec<AuditRow>,
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses.
pub async fn run(args: Args, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let limit = args.limit as usize;
    let mut asked = wire::AuditRequest {
        from: args.from.map(|day| day.to_string()).unwrap_or_default(),
        to: args.to.map(|day| day.to_string()).unwrap_or_default(),
        who: args.who.unwrap_or_default(),
        what: args.what.unwrap_or_default(),
        customer: args.customer.map(String::from).unwrap_or_default(),
        ..Default::default()
    };
    let mut actions = Vec::new();
    // An answer looks at so many records and no more: it says itself where the next one goes on.
    while actions.len() < limit {
        let left = u32::try_from(limit - actions.len()).unwrap_or(u32::MAX);
        let request = wire::AuditRequest { limit: left, ..asked.clone() };
        let page: AuditPage = collector.ask(async |console| console.list_audit(request).await).await?;
        actions.extend(page.rows);
        let Some(before) = page.next else { break };
        asked.before = before;
    }
    let audit = Audit { actions };
    out.value(&audit, || table(&audit.actions))?;
    if audit.actions.is_empty() && !out.is_json() {
        out::note("nothing of that kind was done");
    }
    Ok(())
}

fn table(actions: &[AuditRow]) -> String {
    let columns = [
        Column("WHEN", Align::Left),
        Column("WHO", Align::Left),
        Column("FROM", Align::Left),
        Column("WHAT", Align::Left),
        Column("ABOUT", Align::Left),
        Column("WHY", Align::Left),
    ];
    let row = |row: &AuditRow| {
        vec![
            moment::shown(row.at),
            if row.name.is_empty() { row.who.clone() } else { out::clean(&row.name) },
            row.from.clone(),
            row.what.clone(),
            out::clean(&row.about.join(" ")),
            out::clean(&row.reason),
        ]
    };
    out::table(&columns, actions.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_one_line_whatever_its_reason_holds() {
        let row = AuditRow {
            position: 7,
            at: "2026-10-01T07:02:11Z".parse().unwrap(),
            who: "opr_a".to_owned(),
            name: String::new(),
            from: "192.0.2.7".to_owned(),
            what: "machine_banned".to_owned(),
            about: vec!["mch_a".to_owned(), "banned".to_owned()],
            reason: "stolen\n\u{1b}[2J".to_owned(),
        };
        let shown = table(&[row.clone(), AuditRow { name: "Ann".to_owned(), ..row }]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        assert!(
            lines[1]
                .starts_with("2026-10-01 07:02:11Z  opr_a  192.0.2.7  machine_banned  mch_a banned  stolen")
        );
        assert!(lines[2].contains("  Ann  ") && !shown.contains('\u{1b}'));
    }
}
