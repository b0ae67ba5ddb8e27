//! Level 0: where the statement stands in its reseller's log. Invariant: what is proven leads from a key in the
//! signed body to the record that sealed it, and from every given checkpoint to the bundle's.

use seatbeat_proto::signed::public_key;
use seatbeat_proto::wire::Signed;

use super::{Failure, Question};
use crate::body::StatementBody;
use crate::bundle::marks::HashText;
use crate::bundle::{Commitment, LogProofs};
use crate::checkpoint::{Checkpoint, CheckpointError, origin};
use crate::merkle::{Hash, leaf};
use crate::proof::{Head, extends, includes};
use crate::tlog_proof::{TlogProof, parse_hash};

/// What level 0 has found.
#[derive(Debug)]
pub(super) struct LogFacts {
    /// Records that the checkpoint is over.
    pub size: u64,
    /// The record that sealed the statement.
    pub sealed_at: u64,
    /// Who saw the checkpoint, and when.
    pub witnessed: Vec<(String, u64)>,
}

/// Checks everything that the log says; ends only where nothing further can be told.
pub(super) fn check_log(
    body: &StatementBody,
    statement: &Signed,
    log: &LogProofs,
    question: &Question,
    found: &mut Vec<Failure>,
) -> Result<LogFacts, Failure> {
    let evidence = body.evidence.as_ref().ok_or(Failure::NoEvidence)?;
    let proof = TlogProof::parse(&log.inclusion).map_err(|_| Failure::Proof)?;
    let checkpoint = match read(&proof.checkpoint, evidence) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            found.push(Failure::Checkpoint(error));
            return Ok(LogFacts { size: 0, sealed_at: proof.index, witnessed: Vec::new() });
        }
    };
    let head = Head { size: checkpoint.size, root: checkpoint.root };
    check_record(body, statement, log, &proof, &head, found);
    check_cut(body, log, &head, proof.index, found);
    if let Some(given) = &question.checkpoint {
        found.extend(check_given(given, evidence, log, &head).err());
    }
    let mut witnessed = Vec::new();
    for witness in &question.witnesses {
        match witness.verify(&proof.checkpoint) {
            Ok(at) => witnessed.push((witness.name().to_owned(), at)),
            Err(error) => found.push(error.into()),
        }
    }
    Ok(LogFacts { size: head.size, sealed_at: proof.index, witnessed })
}

fn read(note: &str, evidence: &Commitment) -> Result<Checkpoint, CheckpointError> {
    let key = public_key(&evidence.service_key.0).map_err(|_| CheckpointError::Signature)?;
    Checkpoint::verify(note, &origin(&evidence.reseller), &key)
}

fn check_record(
    body: &StatementBody,
    statement: &Signed,
    log: &LogProofs,
    proof: &TlogProof,
    head: &Head,
    found: &mut Vec<Failure>,
) {
    let (record, sealed) = match log.record.record(statement) {
        Ok(record) => record,
        Err(other) => return found.push(other.into()),
    };
    let mut same = |field, logged: String, told: String| {
        if logged != told {
            found.push(Failure::RecordField { field, logged, told });
        }
    };
    same("distributor", sealed.distributor, body.distributor.clone());
    same("period", sealed.period, body.statement.period.to_string());
    same("revision", sealed.revision.to_string(), body.revision.to_string());
    if !includes(&leaf(&record), proof.index, head.size, &proof.path, &head.root) {
        found.push(Failure::NotInLog { index: proof.index, size: head.size });
    }
}

fn check_cut(body: &StatementBody, log: &LogProofs, head: &Head, sealed_at: u64, found: &mut Vec<Failure>) {
    let cut = body.journal.size;
    if sealed_at < cut {
        found.push(Failure::SealedBeforeCut { index: sealed_at, cut });
    }
    let Some(hashes) = proof_of(log, cut) else {
        found.push(Failure::NoCutProof(cut));
        return;
    };
    let root = parse_hash(&body.journal.root);
    if !root.is_some_and(|root| extends(&Head { size: cut, root }, head, &hashes)) {
        found.push(Failure::Cut { cut, size: head.size });
    }
}

fn proof_of(log: &LogProofs, size: u64) -> Option<Vec<Hash>> {
    let proof = log.consistency.iter().find(|proof| proof.size == size)?;
    Some(proof.hashes.iter().map(|HashText(hash)| *hash).collect())
}

fn check_given(given: &str, evidence: &Commitment, log: &LogProofs, head: &Head) -> Result<(), Failure> {
    let ours = origin(&evidence.reseller);
    let theirs = given.lines().next().unwrap_or_default();
    if theirs != ours && theirs.starts_with("seatbeat/") {
        return Err(Failure::OtherLog { given: theirs.to_owned(), ours });
    }
    let given = read(given, evidence).map_err(Failure::Given)?;
    if given.size > head.size {
        return Err(Failure::RolledBack { given: given.size, size: head.size });
    }
    let old = Head { size: given.size, root: given.root };
    let rewritten = Failure::Rewritten { given: given.size, size: head.size };
    if old.size == head.size {
        return if old == *head { Ok(()) } else { Err(rewritten) };
    }
    let hashes = proof_of(log, old.size).ok_or(Failure::NoProofFor(old.size))?;
    if extends(&old, head, &hashes) { Ok(()) } else { Err(rewritten) }
}
