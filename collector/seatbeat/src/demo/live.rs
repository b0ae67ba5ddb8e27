//! Staying up: the fleet beats and reports, machines turn up, and the counts move. Invariant: what happens here is of
//! the running month; the sealed one stays as it is.

use std::time::Duration;

use seatbeat_collector::clock::Clock;
use seatbeat_collector::console::rows::{Status, Usage};
use seatbeat_fleet::client::{ClientError, Connection, Door};
use seatbeat_fleet::machine::Machine;
use seatbeat_fleet::seed::Seed;
use seatbeat_fleet::{CUSTOMERS, Plan};
use seatbeat_proto::ids::SpoolId;
use seatbeat_proto::wire;
use tokio::task::JoinSet;

use super::fault::Fault;
use super::fleet::{door, failed};
use super::house::{BEAT_INTERVAL_S, House, Tokens};
use super::orders;
use crate::{moment, out};

/// How often the counts are told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// A machine that nobody planned for turns up at every so many tellings.
const WALK_IN_EVERY: u32 = 3;

/// How many of them turn up in all.
const WALK_INS_MAX: u32 = 12;

/// A machine reports anew after this many beats, give or take half.
const REPORT_BEATS: u64 = 12;

/// How long a machine waits before it connects again.
const RECONNECT_WAIT: Duration = Duration::from_secs(5);

/// Runs until it is dropped, or the collector no longer answers.
///
/// # Errors
/// When the collector does not answer.
pub async fn stay(house: &mut House, plan: &Plan, tokens: &Tokens) -> Result<(), Fault> {
    let mut fleet = JoinSet::new();
    for planned in plan.machines.iter().filter(|planned| planned.retired_at.is_none()) {
        let machine = planned.machine.clone().trusting_orders(orders::REVISION);
        let mut beats = Seed::new(0).branch(machine.name()).below(REPORT_BEATS);
        if planned.customer == orders::CUSTOMER {
            // They say at once whose orders they take.
            beats = 0;
        }
        fleet.spawn(live(door(tokens, planned.customer)?, machine, beats, house.clock));
    }
    if let Err(fault) = orders::place(house).await {
        out::note(&format!("nothing is ordered: {fault}"));
    }
    out::data("\nUp until Ctrl-C. Beats arrive, machines turn up, this month's counts move:")?;
    let mut before = (0, 0);
    let mut walk_ins = 0;
    for telling in 1_u32.. {
        tokio::time::sleep(TELL_EVERY).await;
        if telling.is_multiple_of(WALK_IN_EVERY) && walk_ins < WALK_INS_MAX {
            walk_ins += 1;
            let machine = walk_in(house, plan, tokens, walk_ins).await?;
            fleet.spawn(live(door(tokens, CUSTOMERS[0].id)?, machine, 0, house.clock));
        }
        let status = house.status().await?;
        let asked = wire::UsageRequest::default();
        let usage: Usage = house.collector.ask(async |console| console.usage(asked).await).await?;
        out::data(&line(&status, &usage, before))?;
        before = (status.beats, status.evidence_received);
        house.place.remember(house.clock.now())?;
    }
    Ok(())
}

async fn walk_in(house: &House, plan: &Plan, tokens: &Tokens, number: u32) -> Result<Machine, Fault> {
    let now = house.clock.now();
    let machine = plan.walk_in(number, now)?;
    let enrolled = door(tokens, CUSTOMERS[0].id)?.enrol(&machine, now).await;
    enrolled.map_err(|source| failed(machine.name(), source))?;
    Ok(machine)
}

fn line(status: &Status, usage: &Usage, before: (u64, u64)) -> String {
    let seats: u64 = usage.rows.iter().filter_map(|row| row.quantity.parse::<u64>().ok()).sum();
    format!(
        "{}  {} machines, {} connected  beats {} (+{})  reports {} (+{})  seats in {}: {seats}{}",
        moment::shown(status.now),
        status.machines,
        status.connected,
        status.beats,
        status.beats.saturating_sub(before.0),
        status.evidence_received,
        status.evidence_received.saturating_sub(before.1),
        usage.period,
        match usage.blockers.len() {
            0 => String::new(),
            blockers => format!(", {} to settle", out::count(blockers as u64, "thing", "things")),
        },
    )
}

/// When a machine speaks next, and how.
struct Rhythm {
    /// Beats until its next report.
    beats_left: u64,
    chance: Seed,
}

/// A machine's life: it beats, and reports now and then, in a chain of this start. A silent one stays silent.
async fn live(door: Door, mut machine: Machine, beats_left: u64, clock: Clock) {
    let chance = Seed::new(0).branch(machine.name());
    let mut rhythm = Rhythm { beats_left, chance };
    loop {
        machine.open_spool(SpoolId::random());
        if machine.clone().link_at(clock.now()).is_none() {
            return;
        }
        // The collector is away, or ends: an agent tries again.
        let _ = converse(&door, &mut machine, clock, &mut rhythm).await;
        tokio::time::sleep(RECONNECT_WAIT).await;
    }
}

async fn converse(
    door: &Door,
    machine: &mut Machine,
    clock: Clock,
    rhythm: &mut Rhythm,
) -> Result<(), ClientError> {
    let mut connection = Connection::open(door, machine, clock.now()).await?;
    let interval_ms = u64::from(BEAT_INTERVAL_S) * 1000;
    loop {
        if rhythm.beats_left > 0 {
            rhythm.beats_left -= 1;
            connection.beat(clock.now()).await?;
        } else if let Some(link) = machine.link_at(clock.now()) {
            rhythm.beats_left = REPORT_BEATS / 2 + rhythm.chance.below(REPORT_BEATS);
            connection.send(&link).await?;
            connection.wait_acked(link.tip.sequence).await?;
        }
        let jittered_ms = interval_ms / 2 + rhythm.chance.below(interval_ms);
        tokio::time::sleep(Duration::from_millis(jittered_ms)).await;
    }
}
