//! `seatbeat alerts`. Invariant: what is open is shown whether or not it is muted; who mutes says why.

use clap::Subcommand;
use seatbeat_collector::console::rows::Status;
use seatbeat_proto::{instant, wire};
use serde_json::json;

use crate::connect::Collector;
use crate::moment::{self, Moment};
use crate::out::{self, Align, Column, Out};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// What needs somebody now
    List,
    /// Tell nobody of an alert for a while
    Mute {
        /// Which, as `list` names it
        alert: String,
        /// Until when: an instant, or a time from now (`7d`)
        #[arg(long)]
        until: Moment,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Tell of it again
    Unmute {
        /// Which
        alert: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Tell of nothing, on every way there is: to see that it arrives
    Test,
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let list = wire::ListRequest { after_position: 0 };
    match verb {
        Verb::List => {
            let list = collector.call(async |console| console.list_alerts(list).await).await?;
            let alerts: Vec<_> = list.alerts.iter().map(json_row).collect();
            let ways: Vec<_> = list
                .ways
                .iter()
                .map(|way| json!({ "name": way.name, "waiting": way.waiting, "left_out": way.left_out }))
                .collect();
            out.value(&json!({ "alerts": alerts, "ways": ways }), || table(&list.alerts))?;
            Ok(())
        }
        Verb::Mute { alert, until, reason } => {
            let asked = wire::StatusRequest::default();
            let status: Status = collector.ask(async |console| console.status(asked).await).await?;
            let until = until.from(status.now);
            let (until_ms, words) =
                (instant::to_ms(until), format!("{alert} is not told until {}", moment::shown(until)));
            let request = wire::MuteAlertRequest { alert, until_ms, reason };
            let done = collector.call(async |console| console.mute_alert(request).await).await?;
            Ok(out::done(out, done.position, &words)?)
        }
        Verb::Unmute { alert, reason } => {
            let words = format!("{alert} is told again");
            let request = wire::MuteAlertRequest { alert, until_ms: 0, reason };
            let done = collector.call(async |console| console.mute_alert(request).await).await?;
            Ok(out::done(out, done.position, &words)?)
        }
        Verb::Test => {
            let tested = collector.call(async |console| console.test_alerts(list).await).await?;
            let ways = tested.ways;
            out.value(&json!({ "ways": ways }), || format!("a test is on its way {ways} way(s)"))?;
            Ok(())
        }
    }
}

fn since(row: &wire::AlertRow) -> String {
    instant::from_ms(row.since_ms).map(moment::shown).unwrap_or_default()
}

fn muted_until(row: &wire::AlertRow) -> Option<String> {
    (row.muted_until_ms != 0)
        .then(|| instant::from_ms(row.muted_until_ms).map(moment::shown).unwrap_or_default())
}

fn json_row(row: &wire::AlertRow) -> serde_json::Value {
    json!({
        "alert": row.alert,
        "rule": row.rule,
        "customer": row.customer,
        "machines": row.machines,
        "what": row.what,
        "remedy": row.remedy,
        "since": since(row),
        "muted_until": muted_until(row),
        "muted_by": row.muted_by,
        "muted_reason": row.muted_reason,
    })
}

fn table(rows: &[wire::AlertRow]) -> String {
    let columns = [
        Column("ALERT", Align::Left),
        Column("SINCE", Align::Left),
        Column("WHAT", Align::Left),
        Column("WHAT TO DO", Align::Left),
        Column("", Align::Left),
    ];
    let row = |row: &wire::AlertRow| {
        let muted = muted_until(row).map(|until| format!("muted until {until}")).unwrap_or_default();
        vec![out::clean(&row.alert), since(row), out::clean(&row.what), out::clean(&row.remedy), muted]
    };
    out::table(&columns, rows.iter().map(row).collect())
}
