//! What to do with one piece of evidence. Invariant: no clock, no store, no network; what is appended verified with
//! the key of its connection, and only content that is known to be in the journal is acknowledged again.

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::fold::evidence::{Evidence, EvidenceError};
use seatbeat_ledger::registry::{Standing, Tip};
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, Verifying};
use seatbeat_proto::wire::{self, Refusal, RefusalReason, Signed};

use crate::journal::Position;

/// What to do with evidence that is the machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Write it; acknowledge it when it is durable.
    Append,
    /// It is durable already.
    AckAgain,
    /// Its sequence is taken: [`compare`] it with what stands there.
    Compare,
    /// It cannot be part of its chain.
    Refuse(Reason),
}

/// What evidence is whose sequence is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The same once more: it is durable already.
    Same,
    /// Other content than the original: write it, for both versions count, and refuse it then.
    Fork {
        /// Where the original stands in the journal.
        original: Position,
    },
    /// Nothing is known there.
    TooEarly,
}

/// Why evidence is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Changed on its way, or signed by another key.
    #[error("the signature is not this machine's")]
    BadSignature,
    /// Another machine's word.
    #[error("the evidence is of machine `{0}`, the connection is not")]
    WrongMachine(MachineId),
    /// Signed, and not what evidence has to be.
    #[error("{0}")]
    Malformed(#[from] EvidenceError),
}

/// Why evidence does not fit its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It does not follow the tip.
    #[error("it does not continue its chain: open a new spool")]
    Broken,
    /// It stands before the first evidence that is known of its chain.
    #[error("it lies before what is known of its chain: open a new spool")]
    TooEarly,
    /// Other content has its sequence.
    #[error("another report has this sequence; both are kept: open a new spool")]
    Forked,
}

/// Verifies and reads what came over the connection of `machine`, whose key is `key`.
///
/// # Errors
/// When it is not this machine's valid evidence.
pub fn read(
    signed: &Signed,
    machine: &MachineId,
    key: &dyn Verifying,
    now: Timestamp,
) -> Result<Evidence, Fault> {
    if key.holds(Domain::Evidence, signed).is_err() {
        // Decoded only to name the fault: a machine's evidence sent over another's connection.
        let claimed = wire::Evidence::decode(signed.payload.as_slice()).ok();
        return Err(match claimed.and_then(|evidence| evidence.machine.parse::<MachineId>().ok()) {
            Some(other) if other != *machine => Fault::WrongMachine(other),
            _ => Fault::BadSignature,
        });
    }
    let evidence = Evidence::parse(&signed.payload, now)?;
    if evidence.machine == *machine { Ok(evidence) } else { Err(Fault::WrongMachine(evidence.machine)) }
}

/// Places evidence in its chain, whose end, folded or on its way to the journal, is `tip`.
pub fn place(evidence: &Evidence, tip: Option<&Tip>) -> Decision {
    match Standing::of(tip, evidence.sequence, &evidence.previous, &evidence.hash) {
        Standing::Next => Decision::Append,
        Standing::Tip => Decision::AckAgain,
        Standing::Earlier | Standing::Fork => Decision::Compare,
        Standing::Broken => Decision::Refuse(Reason::Broken),
    }
}

/// Compares evidence with what stands at its sequence in the journal: where, and the hash of its payload.
pub fn compare(evidence: &Evidence, known: Option<(Position, [u8; 32])>) -> Comparison {
    match known {
        Some((_, hash)) if hash == evidence.hash => Comparison::Same,
        Some((original, _)) => Comparison::Fork { original },
        None => Comparison::TooEarly,
    }
}

impl Fault {
    /// Whether an honest agent can go on after it: a malformed report is a mistake, the others are not its own words.
    pub fn ends_the_stream(&self) -> bool {
        !matches!(self, Self::Malformed(_))
    }

    /// The refusal of the evidence in `payload`, named as far as it can be read.
    pub fn refusal(&self, payload: &[u8]) -> Refusal {
        let reason = match self {
            Self::BadSignature => RefusalReason::BadSignature,
            Self::WrongMachine(_) => RefusalReason::WrongMachine,
            Self::Malformed(_) => RefusalReason::Malformed,
        };
        let claimed = wire::Evidence::decode(payload).unwrap_or_default();
        let spool = if claimed.spool.len() <= seatbeat_proto::ids::ID_LENGTH_MAX {
            claimed.spool
        } else {
            String::new()
        };
        Refusal { reason: reason.into(), spool, sequence: claimed.sequence, detail: self.to_string() }
    }
}

impl Reason {
    /// The refusal of this evidence.
    pub fn refusal(self, evidence: &Evidence) -> Refusal {
        let reason = match self {
            Self::Broken | Self::TooEarly => RefusalReason::BrokenChain,
            Self::Forked => RefusalReason::Forked,
        };
        Refusal {
            reason: reason.into(),
            spool: evidence.spool.to_string(),
            sequence: evidence.sequence,
            detail: self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use seatbeat_proto::ids::{ID_LENGTH_MAX, SpoolId};
    use seatbeat_proto::signed::{hash, new_key, sign};

    use super::*;

    struct Machine {
        key: SigningKey,
        id: MachineId,
        spool: SpoolId,
    }

    impl Machine {
        fn new() -> Self {
            let key = new_key();
            let id = MachineId::derived_from(key.verifying_key().as_bytes());
            Self { key, id, spool: SpoolId::random() }
        }

        fn says(&self, sequence: u64, previous: &[u8], agent_version: &str) -> wire::Evidence {
            let report = wire::Report { agent_version: agent_version.into(), ..wire::Report::default() };
            wire::Evidence {
                machine: self.id.to_string(),
                spool: self.spool.to_string(),
                sequence,
                previous: previous.to_vec(),
                observed_at_ms: 1_700_000_000_000,
                body: Some(wire::evidence::Body::Report(report)),
                ..wire::Evidence::default()
            }
        }

        fn signs(&self, evidence: &wire::Evidence) -> Signed {
            sign(&self.key, Domain::Evidence, evidence.encode_to_vec())
        }

        fn reads(&self, signed: &Signed) -> Result<Evidence, Fault> {
            read(signed, &self.id, &self.key.verifying_key(), Timestamp::UNIX_EPOCH)
        }
    }

    fn reason(fault: &Fault, signed: &Signed) -> RefusalReason {
        fault.refusal(&signed.payload).reason()
    }

    #[test]
    fn only_the_machines_own_signed_words_are_read() {
        let (machine, other) = (Machine::new(), Machine::new());
        let honest = machine.says(1, b"", "1");
        assert!(machine.reads(&machine.signs(&honest)).is_ok());

        let check = |signed: Signed, expected: RefusalReason, ends: bool| {
            let fault = machine.reads(&signed).unwrap_err();
            assert_eq!((reason(&fault, &signed), fault.ends_the_stream()), (expected, ends), "{fault}");
        };
        let forged = Signed { payload: machine.says(1, b"", "2").encode_to_vec(), ..machine.signs(&honest) };
        check(forged, RefusalReason::BadSignature, true);
        check(other.signs(&honest), RefusalReason::BadSignature, true);
        check(other.signs(&other.says(1, b"", "1")), RefusalReason::WrongMachine, true);
        check(machine.signs(&other.says(1, b"", "1")), RefusalReason::WrongMachine, true);
        check(Signed { payload: vec![255; 9], signature: vec![0; 64] }, RefusalReason::BadSignature, true);
        let other_domain = sign(&machine.key, Domain::EnrolmentClaim, honest.encode_to_vec());
        check(other_domain, RefusalReason::BadSignature, true);
        check(sign(&machine.key, Domain::Evidence, vec![255; 9]), RefusalReason::Malformed, false);
        check(machine.signs(&machine.says(0, b"", "1")), RefusalReason::Malformed, false);
        let long = "x".repeat(100_000);
        check(machine.signs(&machine.says(1, b"", &long)), RefusalReason::Malformed, false);
    }

    #[test]
    fn a_refusal_names_what_it_is_of_unless_that_is_too_long() {
        let machine = Machine::new();
        for (spool, named) in [
            (machine.spool.to_string(), machine.spool.to_string()),
            ("s".repeat(ID_LENGTH_MAX), "s".repeat(ID_LENGTH_MAX)),
            ("s".repeat(ID_LENGTH_MAX + 1), String::new()),
        ] {
            let signed = machine.signs(&wire::Evidence { spool, ..machine.says(0, b"", "1") });
            let refusal = machine.reads(&signed).unwrap_err().refusal(&signed.payload);
            assert_eq!((refusal.spool, refusal.sequence), (named, 0));
        }
    }

    #[test]
    fn reports_of_any_day_are_read_for_the_count_to_judge() {
        let machine = Machine::new();
        for observed_at_ms in [0, 1_600_000_000_000, 4_000_000_000_000] {
            let evidence = wire::Evidence { observed_at_ms, ..machine.says(1, b"", "1") };
            assert!(machine.reads(&machine.signs(&evidence)).is_ok(), "observed at {observed_at_ms}");
        }
    }

    #[test]
    fn the_place_in_the_chain_decides() {
        let machine = Machine::new();
        let first = machine.signs(&machine.says(7, b"before", "1"));
        let tip = Tip { sequence: 7, hash: hash(&first.payload) };
        let check = |sequence: u64, previous: &[u8], tip: Option<&Tip>, expected: Decision| {
            let evidence = machine.reads(&machine.signs(&machine.says(sequence, previous, "2"))).unwrap();
            assert_eq!(place(&evidence, tip), expected, "sequence {sequence} on {tip:?}");
        };
        let broken = Decision::Refuse(Reason::Broken);
        check(1, b"", None, Decision::Append);
        check(1, b"something", None, broken);
        check(5, b"what a lost disk had", None, Decision::Append);
        check(8, &tip.hash, Some(&tip), Decision::Append);
        check(8, b"another", Some(&tip), broken);
        check(9, &tip.hash, Some(&tip), broken);
        check(7, b"before", Some(&tip), Decision::Compare);
        check(6, b"", Some(&tip), Decision::Compare);
        let again = machine.reads(&first).unwrap();
        assert_eq!(place(&again, Some(&tip)), Decision::AckAgain);
    }

    #[test]
    fn where_a_sequence_is_taken_only_the_same_content_is_acknowledged() {
        let machine = Machine::new();
        let evidence = machine.reads(&machine.signs(&machine.says(3, b"before", "1"))).unwrap();
        let original = Position(5);
        assert_eq!(compare(&evidence, Some((original, evidence.hash))), Comparison::Same);
        assert_eq!(compare(&evidence, Some((original, [0; 32]))), Comparison::Fork { original });
        assert_eq!(compare(&evidence, None), Comparison::TooEarly);
    }
}
