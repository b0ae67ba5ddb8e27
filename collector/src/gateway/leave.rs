//! A machine from which the agent is removed. Invariant: it is on record before the machine hears so, once however often
//! it asks, and under its own name: nobody has to find out what became of it.

use seatbeat_proto::ids::MachineId;
use seatbeat_proto::instant;
use seatbeat_proto::wire::{self, journal_record::Fact};
use tonic::Status;

use super::door::Door;

/// Retires it, as of now.
///
/// # Errors
/// What the machine is told when the journal does not take it.
pub async fn leave(door: &Door, machine: &MachineId) -> Result<(), Status> {
    let is_retired = door
        .books
        .read(|fold| fold.registry().machine(machine).is_some_and(|machine| machine.retired_at.is_some()));
    if is_retired {
        return Ok(());
    }
    let at_ms = instant::to_ms(door.books.clock().now());
    let retired = wire::MachineRetired { machine: machine.to_string(), at_ms };
    door.write(machine, vec![Fact::MachineRetired(retired)]).await?;
    tracing::info!(%machine, "its agent was removed: the machine is retired");
    Ok(())
}
