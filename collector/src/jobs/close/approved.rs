//! An approved draft on its way into the journal. Invariant: the approval is written before the first of its seals, so
//! that what was cut off between them can be made good.

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Signed, StatementApproved, StatementRevision, StatementSealed};

/// A draft that was approved, signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Approved {
    pub(super) period: Period,
    pub(super) digest: String,
    pub(super) journal_size: u64,
    /// By distributor, with their revisions.
    pub(super) statements: Vec<(String, u32, Signed)>,
}

impl Approved {
    /// What puts it on record: the approval, then each seal.
    pub fn facts(&self) -> Vec<Fact> {
        let revision = |(distributor, revision, _): &(String, u32, Signed)| StatementRevision {
            distributor: distributor.clone(),
            revision: *revision,
        };
        let approval = Fact::StatementApproved(StatementApproved {
            period: self.period.to_string(),
            digest: self.digest.clone(),
            journal_size: self.journal_size,
            statements: self.statements.iter().map(revision).collect(),
        });
        std::iter::once(approval).chain(self.statements.iter().map(|one| self.seal(one))).collect()
    }

    /// The seals that are not on record.
    pub(super) fn left_to_seal(&self, fold: &Fold) -> Vec<Fact> {
        let is_missing = |(distributor, revision, _): &&(String, u32, Signed)| {
            !fold
                .sealed(self.period)
                .any(|(name, sealed)| name == distributor && sealed.revision >= *revision)
        };
        self.statements.iter().filter(is_missing).map(|one| self.seal(one)).collect()
    }

    fn seal(&self, (distributor, revision, statement): &(String, u32, Signed)) -> Fact {
        Fact::StatementSealed(StatementSealed {
            distributor: distributor.clone(),
            period: self.period.to_string(),
            revision: *revision,
            statement: Some(statement.clone()),
        })
    }

    /// Whether the month is sealed as exactly these statements.
    pub fn is_sealed_in(&self, fold: &Fold) -> bool {
        self.statements.iter().all(|(distributor, _, statement)| {
            let mut sealed = fold.sealed(self.period);
            sealed.any(|(name, sealed)| name == distributor && sealed.body == statement.payload)
        })
    }

    /// The signed statements, by distributor.
    pub fn statements(self) -> impl Iterator<Item = (String, Signed)> {
        self.statements.into_iter().map(|(distributor, _, statement)| (distributor, statement))
    }
}
