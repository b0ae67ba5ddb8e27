//! `seatbeat status`. Invariant: everything shown is the collector's own word.

use seatbeat_collector::console::rows::Status;
use seatbeat_proto::wire;

use crate::connect::Collector;
use crate::moment;
use crate::out::{self, Out};

/// Runs the verb.
///
/// # Errors
/// When the collector does not answer.
pub async fn run(collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let request = wire::StatusRequest::default();
    let status: Status = collector.ask(async |console| console.status(request).await).await?;
    out.value(&status, || page(&status))?;
    Ok(())
}

fn page(status: &Status) -> String {
    let machines = format!("{}, {} connected", status.machines, status.connected);
    let evidence = format!("{} received, {} beats, since the start", status.evidence_received, status.beats);
    let journal = match status.journal_size.saturating_sub(status.folded) {
        0 => out::count(status.journal_size, "record", "records"),
        behind => {
            format!("{}, {behind} not folded yet", out::count(status.journal_size, "record", "records"))
        }
    };
    let fields = out::fields(&[
        ("reseller", status.reseller.to_string()),
        ("version", status.version.clone()),
        ("now", moment::shown(status.now)),
        ("zone", status.zone.clone()),
        ("agents", status.agent_address.clone()),
        ("machines", machines),
        ("customers", status.customers.to_string()),
        ("evidence", evidence),
        ("journal", journal),
        ("root", status.journal_root.clone()),
        ("statement key", status.statement_key.clone()),
    ]);
    let alarms: Vec<String> = status.alarms.iter().map(|alarm| format!("! {}", out::clean(alarm))).collect();
    out::page([Some(fields), out::section("Needs a person", &alarms.join("\n"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_person_stands_at_the_end() {
        let status = Status {
            reseller: "rsl_1".parse().unwrap(),
            version: "0.1.0".to_owned(),
            now: "2026-10-01T07:02:11Z".parse().unwrap(),
            zone: "UTC".to_owned(),
            agent_address: String::new(),
            machines: 3,
            connected: 2,
            customers: 1,
            beats: 5,
            evidence_received: 4,
            journal_size: 9,
            journal_root: "r".to_owned(),
            folded: 8,
            statement_key: "k".to_owned(),
            alarms: vec!["search rows are not kept up to date".to_owned()],
        };
        let shown = page(&status);
        assert!(shown.contains("machines       3, 2 connected\n"), "{shown}");
        assert!(shown.contains("journal        9 records, 1 not folded yet\n"), "{shown}");
        assert!(shown.ends_with("\n\nNeeds a person\n! search rows are not kept up to date"), "{shown}");
        assert!(!shown.contains("agents"), "{shown}");
    }
}
