//! Letting machines in. Invariant: the fold decides; a machine is named to the asker only when its record is durable
//! and folded.

use std::net::IpAddr;

use seatbeat_proto::wire::{EnrolRequest, EnrolResponse};
use tonic::Status;

use super::admission::Asker;
use super::door::Door;

/// Answers one request that came from `address`.
///
/// # Errors
/// Why the machine is not let in, in a technician's words.
pub async fn enrol(
    door: &Door,
    address: Option<IpAddr>,
    request: EnrolRequest,
) -> Result<EnrolResponse, Status> {
    if address.is_some_and(|address| !door.may_enrol(address)) {
        return Err(Status::resource_exhausted(
            "too many enrolments from this address: try again in a minute",
        ));
    }
    let asker = Asker::read(request).map_err(|fault| Status::invalid_argument(fault.to_string()))?;
    let now = door.books.clock().now();
    let known = || door.books.read(|fold| asker.known(fold, now));
    let known = match known() {
        Err(_) => {
            // Another collector may have made its token just now.
            door.books.caught_up().await;
            known()
        }
        known => known,
    };
    let answer = match known? {
        Some(known) => known,
        None => {
            door.write(&asker.machine, vec![asker.fact()]).await?;
            let answer = door.books.read(|fold| asker.told(fold, door.books.clock().now()))?;
            tracing::info!(machine = %asker.machine, token = %asker.token, "a machine was let in");
            answer
        }
    };
    door.host_names.note(&asker.machine, &asker.host_name);
    Ok(answer)
}
