//! `seatbeat statement explain`. Invariant: every number is the collector's; what is left for the next page is said.

use clap::Args;
use seatbeat_collector::console::explain::{Explained, MachineShown, Report, SealedTold};
use seatbeat_collector::console::words;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::statement::Line;
use seatbeat_ledger::unbilled::Unbilled;
use seatbeat_proto::ids::{CustomerId, MachineId};
use seatbeat_proto::wire;

use crate::connect::Collector;
use crate::out::{self, Align, Column, Out};
use crate::{moment, review};

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Which month, as `2026-10`
    period: Period,
    /// Whose; with --sku the line, else what is not billed of this customer
    #[arg(long)]
    customer: Option<CustomerId>,
    /// Of what
    #[arg(long, requires = "customer")]
    sku: Option<Sku>,
    /// Only this machine, with all its reports of the month
    #[arg(long)]
    machine: Option<MachineId>,
    /// Machines behind this one
    #[arg(long, value_name = "MACHINE", conflicts_with = "machine")]
    after: Option<MachineId>,
    /// How many machines at once [default: 100, at most 500]
    #[arg(long, value_name = "MACHINES", default_value_t = 0, hide_default_value = true)]
    limit: u32,
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses.
pub async fn run(args: ExplainArgs, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let request = wire::ExplainRequest {
        period: args.period.to_string(),
        customer: args.customer.as_ref().map(ToString::to_string).unwrap_or_default(),
        sku: args.sku.as_ref().map(ToString::to_string).unwrap_or_default(),
        page_after: args.after.map(String::from).unwrap_or_default(),
        page_size: args.limit,
        machine: args.machine.map(String::from).unwrap_or_default(),
        after_position: 0,
    };
    let progress = out::progress("explaining");
    let reply = collector.call(async |console| console.explain_statement(request).await).await;
    progress.finish_and_clear();
    let explained: Explained = serde_json::from_str(&reply?.json)?;
    out.value(&explained, || page(&explained, args.customer.as_ref(), args.sku.as_ref()))?;
    if let Some(next) = explained.next.as_ref().filter(|_| !out.is_json()) {
        out::note(&format!("there are more: --after {next}"));
    }
    Ok(())
}

fn page(explained: &Explained, customer: Option<&CustomerId>, sku: Option<&Sku>) -> String {
    let is_counted = |one: &&MachineShown| {
        let mut seats = one.told.seats.iter();
        seats.any(|seat| seat.counts && Some(&seat.customer) == customer && Some(&seat.sku) == sku)
    };
    let (counted, others): (Vec<&MachineShown>, Vec<&MachineShown>) =
        explained.machines.iter().partition(is_counted);
    let head = match (customer, sku) {
        (Some(customer), Some(sku)) => out::fields(&[
            ("line", format!("{customer} {sku} in {}", explained.period)),
            ("quantity", explained.line.as_ref().map_or("no line".to_owned(), quantity)),
            ("sealed", explained.sealed.as_ref().map(sealed).unwrap_or_default()),
            ("counted", out::count(explained.counted, "machine", "machines")),
            ("not counted", out::count(explained.not_counted, "machine", "machines")),
        ]),
        _ => out::fields(&[
            ("period", explained.period.to_string()),
            ("not billed", out::count(explained.not_counted, "machine", "machines")),
        ]),
    };
    let reasons: Vec<Unbilled> = others.iter().flat_map(|one| one.told.reasons.iter().cloned()).collect();
    let with_seats = others.iter().filter(|_| sku.is_some()).copied();
    out::page([
        Some(head),
        out::section("Counted", &machines(counted.iter().copied(), customer.zip(sku))),
        out::section("Why others are not", &review::unbilled(&reasons)),
        out::section("Counted elsewhere", &elsewhere(with_seats, customer.zip(sku))),
        out::section("Reports", &reports(&explained.machines)),
    ])
}

fn quantity(line: &Line) -> String {
    let mut words = format!("{} = {} confirmed + {} presumed", line.quantity, line.confirmed, line.presumed);
    for (units, name) in [(line.declared, "declared"), (line.adjusted, "adjusted")] {
        if !units.is_zero() {
            words.push_str(&format!(" {} {name}", signed(units)));
        }
    }
    match line.day {
        Some(day) => format!("{words}, on {day}"),
        None => words,
    }
}

fn signed(quantity: Quantity) -> String {
    if quantity < Quantity::ZERO { quantity.to_string() } else { format!("+{quantity}") }
}

fn sealed(sealed: &SealedTold) -> String {
    if sealed.since.is_zero() && sealed.carried.is_empty() {
        return sealed.quantity.to_string();
    }
    let carried = sealed.carried.iter().map(|one| format!(", {} on {}", signed(one.delta), one.by));
    let rest = match sealed.to_carry.is_zero() {
        true => String::new(),
        false => format!(", {} not carried yet", signed(sealed.to_carry)),
    };
    format!(
        "{}; what came after the seal makes it {}, as a correction: {}",
        sealed.quantity,
        signed(sealed.since),
        carried.chain([rest]).collect::<String>().trim_start_matches(", ")
    )
}

fn machines<'a>(
    machines: impl Iterator<Item = &'a MachineShown>,
    line: Option<(&CustomerId, &Sku)>,
) -> String {
    let columns = [
        Column("MACHINE", Align::Left),
        Column("HOST", Align::Left),
        Column("CONFIRMED", Align::Left),
        Column("PRESUMED", Align::Left),
        Column("AGENTS", Align::Left),
    ];
    let row = |one: &MachineShown| {
        let is_it = |seat: &&seatbeat_ledger::explain::SeatTold| line == Some((&seat.customer, &seat.sku));
        let seat = one.told.seats.iter().find(is_it);
        let agents: Vec<String> = one.told.agents.iter().map(ToString::to_string).collect();
        vec![
            one.told.machine.to_string(),
            one.host_name.clone(),
            seat.map(|seat| words::days(&seat.confirmed)).unwrap_or_default(),
            seat.map(|seat| words::days(&seat.presumed)).unwrap_or_default(),
            agents.join(" "),
        ]
    };
    out::table(&columns, machines.map(row).collect())
}

/// Seats of machines that are not in the line, of other SKUs or customers.
fn elsewhere<'a>(
    machines: impl Iterator<Item = &'a MachineShown>,
    line: Option<(&CustomerId, &Sku)>,
) -> String {
    let columns = [
        Column("MACHINE", Align::Left),
        Column("HOST", Align::Left),
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("DAYS", Align::Left),
    ];
    let rows = machines.flat_map(|one| {
        let others = one.told.seats.iter().filter(|seat| line != Some((&seat.customer, &seat.sku)));
        others.map(|seat| {
            let mut days: Vec<u8> = seat.confirmed.iter().chain(&seat.presumed).copied().collect();
            days.sort_unstable();
            vec![
                one.told.machine.to_string(),
                one.host_name.clone(),
                seat.customer.to_string(),
                seat.sku.to_string(),
                words::days(&days),
            ]
        })
    });
    out::table(&columns, rows.collect())
}

fn reports(machines: &[MachineShown]) -> String {
    let columns = [
        Column("AGENT", Align::Left),
        Column("DAY", Align::Left),
        Column("OBSERVED", Align::Left),
        Column("RECORD", Align::Right),
        Column("SPOOL", Align::Left),
        Column("SEQUENCE", Align::Right),
        Column("ACTIVE", Align::Left),
    ];
    let row = |report: &Report| {
        let active: Vec<String> = report.active.iter().map(ToString::to_string).collect();
        vec![
            report.agent.to_string(),
            report.day.to_string(),
            moment::shown(report.observed_at),
            report.position.to_string(),
            report.spool.to_string(),
            report.sequence.to_string(),
            active.join(" "),
        ]
    };
    out::table(&columns, machines.iter().flat_map(|one| &one.reports).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPLAINED: &str = r#"{"period":"2026-10",
        "line":{"customer":"cus_a","sku":"A","count":"high_water","day":"2026-10-07","confirmed":"1","presumed":"0",
            "measured":"1","declared":"0","adjusted":"-1","quantity":"0"},
        "sealed":{"quantity":"2","since":"-2","carried":[{"by":"2026-11","delta":"-1"}],"to_carry":"-1"},
        "counted":1,"not_counted":1,
        "machines":[
            {"machine":"mch_a","host_name":"desk","seats":[{"customer":"cus_a","sku":"A","counts":true,
                "confirmed":[5,6,7],"presumed":[8]}],"reasons":[],
             "reports":[{"day":"2026-10-07","position":41,"agent":"mch_a","spool":"spl_1","sequence":3,
                "observed_at":"2026-10-07T08:00:00Z","active":["a"]}]},
            {"machine":"mch_b","host_name":"","seats":[{"customer":"cus_a","sku":"B","counts":true,
                "confirmed":[1],"presumed":[]}],
             "reasons":[{"machine":"mch_b","reason":"min_days","customer":"cus_a","sku":"A","days":[7]}],
             "reports":[]}]}"#;

    #[test]
    fn a_line_is_told_with_its_machines_and_why_others_are_not_in_it() {
        let explained: Explained = serde_json::from_str(EXPLAINED).unwrap();
        let (customer, sku) = ("cus_a".parse().unwrap(), "A".parse().unwrap());
        let shown = page(&explained, Some(&customer), Some(&sku));
        for expected in [
            "quantity     0 = 1 confirmed + 0 presumed -1 adjusted, on 2026-10-07",
            "2; what came after the seal makes it -2, as a correction: -1 on 2026-11, -1 not carried yet",
            "mch_a    desk  5-7        8",
            "mch_b    cus_a     A   seen on fewer days than the SKU asks for           7",
            "mch_b          cus_a     B    1",
            "mch_a  2026-10-07  2026-10-07 08:00:00Z      41  spl_1         3  a",
        ] {
            assert!(shown.contains(expected), "{expected:?} in\n{shown}");
        }
        let json: Explained = serde_json::from_str(&serde_json::to_string(&explained).unwrap()).unwrap();
        assert_eq!(json, explained);
    }
}
