//! What Hello is answered with. Invariant: no clock, no store, no network; an agent is told the end of the chain that
//! it names itself, and of no other.

use std::time::Duration;

use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::registry::Tip;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::wire::{Hello, PROTOCOL_VERSION, Welcome};
use tonic::Status;

use super::streams::Ending;

/// The end of the chain that Hello names.
///
/// # Errors
/// When the machine is not let in.
pub fn tip(fold: &Fold, machine: &MachineId, spool: Option<&SpoolId>) -> Result<Option<Tip>, Status> {
    match fold.registry().machine(machine) {
        Some(machine) if !machine.banned => Ok(spool.and_then(|spool| machine.spools.get(spool).copied())),
        _ => Err(Ending::Banned.status()),
    }
}

/// The spool that Hello names, when the agent has one already.
///
/// # Errors
/// When the agent is newer than this collector, or names what is no spool.
pub fn checked(hello: &Hello) -> Result<Option<SpoolId>, Status> {
    match hello.protocol {
        0 => return Err(Status::invalid_argument("Hello names no protocol version")),
        newer if newer > PROTOCOL_VERSION => {
            return Err(Status::failed_precondition(format!(
                "the agent speaks protocol {newer}, this collector up to {PROTOCOL_VERSION}: update the collector"
            )));
        }
        _ => {}
    }
    if hello.spool.is_empty() {
        return Ok(None);
    }
    hello.spool.parse().map(Some).map_err(|error| Status::invalid_argument(format!("Hello: {error}")))
}

/// What Hello is answered with, when the chain it names ends with `tip`. Who was quiet for so long may stand by; zero:
/// nobody may.
pub fn welcome(hello: Hello, tip: Option<Tip>, now_ms: i64, checkpoint: String, quiet: Duration) -> Welcome {
    Welcome {
        hello_sent_at_ms: hello.sent_at_ms,
        now_ms,
        spool: hello.spool,
        sequence: tip.map_or(0, |tip| tip.sequence),
        hash: tip.map_or_else(Vec::new, |tip| tip.hash.to_vec()),
        checkpoint,
        standby_after_ms: u32::try_from(quiet.as_millis()).unwrap_or(u32::MAX),
    }
}

/// Whether an agent's chain ends where this collector's copy of it does: neither has anything to say to the other.
pub fn agrees(hello: &Hello, tip: Option<Tip>) -> bool {
    match tip {
        Some(tip) => hello.sequence == tip.sequence && hello.hash == tip.hash,
        None => hello.sequence == 0,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn says(protocol: u32, spool: &str) -> Result<Option<SpoolId>, Code> {
        let hello = Hello { protocol, spool: spool.into(), ..Hello::default() };
        checked(&hello).map_err(|status| status.code())
    }

    #[test]
    fn an_agent_may_be_older_but_not_newer() {
        assert_eq!(says(PROTOCOL_VERSION, ""), Ok(None));
        assert_eq!(says(PROTOCOL_VERSION + 1, ""), Err(Code::FailedPrecondition));
        assert_eq!(says(0, ""), Err(Code::InvalidArgument));
    }

    #[test]
    fn a_spool_is_a_spool_id_or_not_there_yet() {
        assert_eq!(says(1, "spl_a"), Ok(Some("spl_a".parse().unwrap())));
        assert_eq!(says(1, "mch_a"), Err(Code::InvalidArgument));
    }

    #[test]
    fn welcome_tells_the_tip_and_gives_the_clock_back() {
        let hello = || Hello { sent_at_ms: 5, spool: "spl_a".into(), ..Hello::default() };
        let quiet = Duration::from_secs(180);
        let none = welcome(hello(), None, 9, String::new(), quiet);
        assert_eq!((none.sequence, none.hash, none.hello_sent_at_ms, none.now_ms), (0, vec![], 5, 9));
        let tip = Tip { sequence: 3, hash: [1; 32] };
        let some = welcome(hello(), Some(tip), 9, String::new(), Duration::ZERO);
        assert_eq!((none.standby_after_ms, some.standby_after_ms), (180_000, 0));
        assert_eq!((some.sequence, some.hash), (3, vec![1; 32]));
    }

    #[test]
    fn chains_agree_that_end_at_the_same_place_with_the_same_content() {
        let says = |sequence, hash: &[u8], tip| {
            agrees(&Hello { sequence, hash: hash.to_vec(), ..Hello::default() }, tip)
        };
        let tip = |sequence| Some(Tip { sequence, hash: [1; 32] });
        assert!(says(0, &[], None) && says(3, &[1; 32], tip(3)));
        assert!(!says(1, &[1; 32], None), "this collector lost its disk");
        assert!(!says(2, &[1; 32], tip(3)) && !says(4, &[1; 32], tip(3)) && !says(3, &[2; 32], tip(3)));
    }
}
