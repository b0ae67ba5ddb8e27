//! Statements in the fold: what was approved, sealed and superseded. Invariant: of a (distributor, period) revisions
//! are sealed one after the other, from 1; what was sealed is never taken back, only superseded by the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};

use super::{Entry, Fold, Stop, refuse_unless};
use crate::calendar::Period;
use crate::registry::Refusal;
use crate::sealed::digest;

/// A sealed statement: its newest revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// From 1.
    pub revision: u32,
    /// The body's bytes (RFC 8785).
    pub body: Vec<u8>,
    /// The statement key's signature.
    pub signature: Vec<u8>,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Where its record stands in the journal.
    pub position: u64,
    /// Who had it sealed.
    pub by: String,
    /// The revisions before it, the first one first.
    pub earlier: Vec<Earlier>,
}

/// A sealed statement that a later revision superseded. Its body is in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// From 1.
    pub revision: u32,
    /// Of its body.
    pub digest: String,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Where its record stands in the journal.
    pub position: u64,
}

/// A draft that was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Over all its bodies.
    pub digest: String,
    /// So many records it was drafted from.
    pub journal_size: u64,
    /// What is sealed by it: the revision of each distributor.
    pub statements: BTreeMap<String, u32>,
    /// Who approved it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What became of the drafts of all periods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Statements {
    sealed: BTreeMap<Period, BTreeMap<String, Sealed>>,
    approved: BTreeMap<Period, Approval>,
}

impl Statements {
    pub(super) fn sealed(&self, period: Period) -> impl Iterator<Item = (&str, &Sealed)> {
        self.sealed.get(&period).into_iter().flatten().map(|(name, sealed)| (name.as_str(), sealed))
    }

    pub(super) fn sealed_periods(&self) -> impl Iterator<Item = Period> {
        self.sealed.keys().copied()
    }

    pub(super) fn approved(&self, period: Period) -> Option<&Approval> {
        let approval = self.approved.get(&period)?;
        let newest = |distributor: &String| {
            let sealed = self.sealed.get(&period).and_then(|sealed| sealed.get(distributor));
            sealed.map_or(0, |sealed| sealed.revision)
        };
        let is_waiting = |(distributor, revision): (&String, &u32)| newest(distributor) < *revision;
        approval.statements.iter().any(is_waiting).then_some(approval)
    }

    pub(super) fn approved_periods(&self) -> impl Iterator<Item = Period> {
        self.approved.keys().copied().filter(|period| self.approved(*period).is_some())
    }
}

impl Fold {
    /// Of several that approve the same revision the latest counts, until one of them is sealed.
    pub(super) fn approve(
        &mut self,
        entry: &Entry,
        fact: &wire::StatementApproved,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let period: Period = entry.id("period", &fact.period)?;
        let approval = Approval {
            digest: fact.digest.clone(),
            journal_size: fact.journal_size,
            statements: fact.statements.iter().map(|one| (one.distributor.clone(), one.revision)).collect(),
            by: entry.record.actor.clone(),
            reason: entry.record.reason.clone(),
            at,
        };
        let is_next = |(distributor, revision): (&String, &u32)| {
            let mut sealed = self.statements.sealed(period);
            let newest = sealed.find(|(name, _)| name == distributor).map_or(0, |(_, one)| one.revision);
            newest.checked_add(1) == Some(*revision)
        };
        refuse_unless(approval.statements.iter().all(is_next), Refusal::Sealed)?;
        refuse_unless(!approval.statements.is_empty(), Refusal::Malformed)?;
        Arc::make_mut(&mut self.statements).approved.insert(period, approval);
        Ok(())
    }

    pub(super) fn seal(
        &mut self,
        entry: &Entry,
        fact: &wire::StatementSealed,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let period: Period = entry.id("period", &fact.period)?;
        let signed = fact.statement.as_ref().ok_or_else(|| entry.invalid("statement", "it is missing"))?;
        let revisions = Arc::make_mut(&mut self.statements).sealed.entry(period).or_default();
        let before = revisions.get(&fact.distributor);
        let newest = before.map_or(0, |sealed| sealed.revision);
        refuse_unless(newest.checked_add(1) == Some(fact.revision), Refusal::Sealed)?;
        let mut earlier = before.map(|sealed| sealed.earlier.clone()).unwrap_or_default();
        earlier.extend(before.map(|sealed| Earlier {
            revision: sealed.revision,
            digest: digest(&sealed.body),
            sealed_at: sealed.sealed_at,
            position: sealed.position,
        }));
        let sealed = Sealed {
            revision: fact.revision,
            body: signed.payload.clone(),
            signature: signed.signature.clone(),
            sealed_at: at,
            position: entry.position,
            by: entry.record.actor.clone(),
            earlier,
        };
        revisions.insert(fact.distributor.clone(), sealed);
        Ok(())
    }
}
