//! The simulated fleet of the plan: let in, moved and retired as planned, its reports sent through the agent door.
//! Invariant: a chain that the collector has a part of is gone on with, never sent as another one.

use std::sync::Arc;

use seatbeat_fleet::client::{ClientError, Connection, Door};
use seatbeat_fleet::{Plan, Planned};
use seatbeat_ledger::fold::COLLECTOR;
use seatbeat_proto::wire::amend_request::Change;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::{instant, wire};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::fault::Fault;
use super::house::{House, Tokens};
use super::steps::Steps;

/// Machines that speak at the same time: enough to keep both sides busy.
const AT_ONCE: usize = 8;

/// The door that a customer's token opens.
///
/// # Errors
/// When it is none.
pub fn door(tokens: &Tokens, customer: &str) -> Result<Door, Fault> {
    let text = tokens.get(customer).map_or("", String::as_str);
    Door::of(text).map_err(|source| Fault::Machine { name: customer.to_owned(), source })
}

/// Lets all machines of the plan in, and records what an operator did with them.
///
/// # Errors
/// When one is not let in, or the collector refuses.
pub async fn enrol(house: &mut House, plan: &Plan, tokens: &Tokens, steps: &mut Steps) -> Result<(), Fault> {
    let step = steps.begin("enrol the simulated fleet");
    step.of(plan.machines.len());
    for Planned { machine, customer, .. } in &plan.machines {
        let enrolled = door(tokens, customer)?.enrol(machine, house.clock.now()).await;
        enrolled.map_err(|source| failed(machine.name(), source))?;
        step.more(1);
    }
    if !house.is_sealed(&plan.period) {
        record(house, plan).await?;
    }
    step.done(&format!("{} machines, one of them moved and one retired last month", plan.machines.len()));
    Ok(())
}

/// What an operator did with the machines. Said again it changes nothing.
async fn record(house: &mut House, plan: &Plan) -> Result<(), Fault> {
    for Planned { machine, customer, moved, retired_at } in &plan.machines {
        let id = machine.id().to_string();
        if let Some((before, at)) = moved {
            for (customer, at) in [(*before, plan.begins_at), (*customer, *at)] {
                let (customer, at_ms) = (customer.to_owned(), instant::to_ms(at));
                let assigned = wire::MachineAssigned { machine: id.clone(), customer, at_ms };
                let reason = format!("{} changed hands", machine.name());
                house.books.write(COLLECTOR, &reason, Fact::MachineAssigned(assigned)).await?;
            }
        }
        if let Some(at) = retired_at {
            let retired = wire::MachineRetired { machine: id, at_ms: instant::to_ms(*at) };
            let request = wire::AmendRequest {
                change: Some(Change::MachineRetired(retired)),
                reason: format!("{} was scrapped", machine.name()),
                preview: false,
            };
            house.collector.call(async |console| console.amend(request).await).await?;
        }
    }
    Ok(())
}

/// Sends every report that was due since the last month began and that the collector does not hold.
///
/// # Errors
/// When the collector refuses one.
pub async fn send(house: &House, plan: &Plan, tokens: &Tokens, steps: &mut Steps) -> Result<(), Fault> {
    let step = steps.begin("send last month's signed reports, and this month's so far");
    let (clock, until) = (house.clock, house.clock.now());
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut sending = JoinSet::new();
    let mut reports = 0;
    for Planned { machine, customer, .. } in &plan.machines {
        let (door, machine, slots) = (door(tokens, customer)?, machine.clone(), Arc::clone(&slots));
        sending.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let mut chain = machine.clone();
            let links = tokio::task::spawn_blocking(move || chain.links_until(until)).await?;
            let sent = async {
                let mut connection = Connection::open(&door, &machine, clock.now()).await?;
                connection.send_all(&links).await?;
                connection.close().await;
                Ok(links.len())
            };
            sent.await.map_err(|source| failed(machine.name(), source))
        });
    }
    step.of(plan.machines.len());
    while let Some(sent) = sending.join_next().await {
        reports += sent??;
        step.more(1);
    }
    step.done(&format!("{reports} reports, each acknowledged when it was on disk"));
    Ok(())
}

/// A failure with the machine's name.
pub fn failed(name: &str, source: ClientError) -> Fault {
    Fault::Machine { name: name.to_owned(), source }
}
