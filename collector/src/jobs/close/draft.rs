//! A month's draft: what its statement would be by a fold. Invariant: a function of the fold, the instant and the
//! configuration; its digest is of exactly the bytes that would be sealed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use seatbeat_ledger::body::{JournalCut, SealedBody, StatementBody, bodies_by_distributor};
use seatbeat_ledger::bundle::gather::{GatherInput, MonthEvidence};
use seatbeat_ledger::bundle::write::Part;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::close::{self as ledger, CloseInput};
use seatbeat_ledger::corrections::corrections;
use seatbeat_ledger::fold::{Fold, Sealed};
use seatbeat_ledger::life::{Drafted, Life, Phase, Standing, overall, standings};
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::reconciliation::compare::open;
use seatbeat_ledger::review::{InTheWay, Review, ReviewInput};
use seatbeat_ledger::sealed::{body_bytes, digest, seal};
use seatbeat_ledger::statement::{Correction, MeterOutput, Statement};
use seatbeat_ledger::variance::{VarianceRow, variance};
use seatbeat_ledger::{RULES_VERSION, zone_data_version};
use serde_json::Value;

use super::approved::Approved;
use super::fault::CloseError;
use super::nobody_enrolled_in;
use crate::config::Config;
use crate::distributor::destination::Destination;
use crate::keys::Keys;

/// What a period's statement would be.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The month.
    pub period: Period,
    /// Where its statements stand.
    pub standings: Vec<Standing>,
    /// The end of its grace.
    pub closes_at: Timestamp,
    /// Of all bodies, in the order of their distributors; what an approval names.
    pub digest: String,
    /// Statement and earnings.
    pub output: MeterOutput,
    /// Why its lines differ from the month before; `None`: that one was never sealed.
    pub variance: Option<Vec<VarianceRow>>,
    /// What there is to look at beside it.
    pub review: Review,
    phase: Phase,
    journal_size: u64,
    /// What would be signed.
    bodies: Vec<Body>,
}

/// What would be signed for a distributor.
#[derive(Debug, Clone)]
struct Body {
    distributor: String,
    revision: u32,
    bytes: Vec<u8>,
}

impl Draft {
    /// Where the month stands.
    pub fn life(&self) -> &Life {
        overall(&self.standings).expect("a month always stands somewhere")
    }

    /// Records of the journal that it was made from.
    pub fn journal_size(&self) -> u64 {
        self.journal_size
    }

    /// What a life of it tells.
    pub fn drafted(&self) -> Drafted {
        Drafted {
            digest: self.digest.clone(),
            distributors: self.bodies.iter().map(|body| body.distributor.clone()).collect(),
            blockers: self.review.blockers.clone(),
        }
    }

    /// Whether nothing stands in the way of sealing it, if asked so in place of what was sealed of the month.
    ///
    /// # Errors
    /// What does: it is not over, in its grace, sealed already, of nobody, or blocked; or it supersedes nothing.
    pub fn may_be_sealed(&self, fold: &Fold, supersede: bool) -> Result<(), CloseError> {
        let period = self.period;
        match self.phase {
            Phase::Open { .. } => return Err(CloseError::NotOver(period)),
            Phase::Grace { until } => return Err(CloseError::Grace { period, until }),
            Phase::Over { .. } => {}
        }
        if supersede {
            self.may_supersede(fold)?;
        } else if fold.sealed(period).next().is_some() {
            return Err(CloseError::AlreadySealed(period));
        }
        let statement = &self.output.statement;
        let nothing = statement.lines.is_empty() && statement.corrections.is_empty();
        if nothing && nobody_enrolled_in(fold, period) {
            return Err(CloseError::Nobody(period));
        }
        if !self.review.blockers.is_empty() {
            return Err(CloseError::Blocked { period, blockers: self.review.blockers.clone() });
        }
        Ok(())
    }

    /// Whether it may stand in place of what was sealed. Corrections on a later statement rest on what was sealed
    /// before it, so that stays once there is one.
    fn may_supersede(&self, fold: &Fold) -> Result<(), CloseError> {
        let period = self.period;
        let refused = |why| Err(CloseError::NotSuperseded { period, why });
        if fold.sealed(period).next().is_none() {
            return Err(CloseError::NotSealed(period));
        }
        if fold.sealed_periods().any(|sealed| sealed > period) {
            return refused("a later month is sealed, and its corrections rest on it");
        }
        let is_same = |body: &Body| {
            let sealed = fold.sealed(period).find(|(name, _)| *name == body.distributor);
            sealed.is_some_and(|(_, sealed)| is_same_but_for_its_place(&sealed.body, &body.bytes))
        };
        if self.bodies.iter().all(is_same) {
            return refused("what it would say is what was sealed");
        }
        Ok(())
    }

    /// Commits its bodies to the evidence of each machine, if it can be sealed: what a bundle then proves.
    ///
    /// # Errors
    /// When the policy cannot be used.
    pub fn with_evidence(mut self, fold: &Fold, keys: &Keys) -> Result<Self, CloseError> {
        let is_over = matches!(self.phase, Phase::Over { .. });
        let Some(founded) = fold.founded().filter(|_| is_over) else { return Ok(self) };
        let policy = fold.terms().policy(self.period)?;
        let (evidence, key) = (evidence(fold, &policy, self.period), keys.pseudonyms());
        for Body { distributor, bytes, .. } in &mut self.bodies {
            let mut body: StatementBody = serde_json::from_slice(bytes)
                .map_err(|error| CloseError::Sealed { period: self.period, why: error.to_string() })?;
            let part = Part { evidence: &evidence, key: &key, period: self.period, distributor };
            body.evidence = Some(part.commitment(&founded.reseller, founded.service_key));
            *bytes = body_bytes(&body)?;
        }
        self.digest = digest_of(&self.bodies);
        for standing in &mut self.standings {
            if let Life::Draft { digest, .. } = &mut standing.life {
                digest.clone_from(&self.digest);
            }
        }
        Ok(self)
    }

    /// Approved and signed.
    pub fn approved(&self, key: &SigningKey) -> Approved {
        let sign = |body: &Body| (body.distributor.clone(), body.revision, seal(body.bytes.clone(), key));
        Approved {
            period: self.period,
            digest: self.digest.clone(),
            journal_size: self.journal_size,
            statements: self.bodies.iter().map(sign).collect(),
        }
    }
}

/// Whether two bodies bill the same by the same policy.
fn is_same_but_for_its_place(sealed: &[u8], other: &[u8]) -> bool {
    let billed = |body: &[u8]| {
        let mut body: Value = serde_json::from_slice(body).ok()?;
        for place in ["revision", "journal", "evidence", "rules_version", "zone_data"] {
            body.as_object_mut()?.remove(place);
        }
        Some(body)
    };
    billed(sealed).is_some() && billed(sealed) == billed(other)
}

/// What a period's statement would be by this fold.
///
/// # Errors
/// When the policy or an earlier statement cannot be used.
pub fn draft(fold: &Fold, period: Period, now: Timestamp, config: &Config) -> Result<Draft, CloseError> {
    let (policy, timetable) = (fold.terms().policy(period)?, config.timetable());
    let phase = timetable.phase(&policy.zone, period, now);
    let as_of = matches!(phase, Phase::Open { .. }).then_some(now);
    let sealed = sealed_before(fold, period)?;
    let (usage, usage_elsewhere) = (fold.usage(), [].as_slice());
    let input = CloseInput { usage, usage_elsewhere, policy: &policy, period, as_of, sealed: &sealed };
    let output = ledger::close(input)?;
    let last = fold.sealed(period.previous()).map(|(_, sealed)| sealed.sealed_at).min();
    let variance = match last {
        Some(sealed_at) => variance(&input, &output.statement.lines, sealed_at)?,
        None => None,
    };
    let open_differences = open(fold, period)?;
    let looked_at = ReviewInput {
        usage,
        registry: Some(fold.registry()),
        licences: fold.licences(),
        policy: &policy,
        statement: &output.statement,
        as_of,
        coverage: config.coverage(),
        open_differences: &open_differences,
    };
    let mut review = Review::of(looked_at, fold.back_dated());
    review.blockers.extend(undeliverable(fold, config, &output.statement));
    let bodies = bodies(fold, &policy, &output)?;
    let mut draft = Draft {
        period,
        standings: Vec::new(),
        closes_at: timetable.closes_at(&policy.zone, period),
        digest: digest_of(&bodies),
        output,
        variance,
        review,
        phase,
        journal_size: fold.position(),
        bodies,
    };
    draft.standings = standings(fold, &timetable, period, now, || Ok::<_, CloseError>(draft.drafted()))?;
    Ok(draft)
}

/// Lines that cannot go where they have to, by what is configured and mapped.
fn undeliverable(fold: &Fold, config: &Config, statement: &Statement) -> Vec<InTheWay> {
    if config.destination.is_empty() {
        return Vec::new();
    }
    let parts = bodies_by_distributor(statement);
    let of = |(name, destination): (&String, &Destination)| {
        let part = parts.get(&destination.distributor).filter(|_| statement.period >= destination.from);
        let lines = part.map_or(&[][..], |part| &part.lines);
        destination.in_the_way(name, lines, fold.mappings().of(name))
    };
    config.destination.iter().flat_map(of).map(InTheWay::Undeliverable).collect()
}

fn digest_of(bodies: &[Body]) -> String {
    let all: Vec<u8> = bodies.iter().flat_map(|body| seatbeat_proto::signed::hash(&body.bytes)).collect();
    digest(&all)
}

/// The evidence of a whole month by this fold.
pub(crate) fn evidence(fold: &Fold, policy: &Policy, period: Period) -> MonthEvidence {
    let seats = ledger::seats(fold.usage(), policy, period, None);
    MonthEvidence::gather(GatherInput {
        usage: fold.usage(),
        registry: Some(fold.registry()),
        policy,
        period,
        seats: &seats,
    })
}

pub(super) fn compute(
    fold: &Fold,
    policy: &Policy,
    period: Period,
    as_of: Option<Timestamp>,
) -> Result<MeterOutput, CloseError> {
    let sealed = sealed_before(fold, period)?;
    let (usage, usage_elsewhere) = (fold.usage(), [].as_slice());
    Ok(ledger::close(CloseInput { usage, usage_elsewhere, policy, period, as_of, sealed: &sealed })?)
}

/// What later statements correct of a sealed period: what they carry, and what the next one will by this fold.
///
/// # Errors
/// When a policy or a sealed statement cannot be used.
pub(crate) fn corrections_of(
    fold: &Fold,
    period: Period,
    now: Timestamp,
) -> Result<Vec<Correction>, CloseError> {
    let mut found = Vec::new();
    let mut open = None;
    for later in [period.next(), period.next().next()] {
        if fold.sealed(later).next().is_none() {
            open = open.or(Some(later));
            continue;
        }
        for body in sealed_bodies(fold, later)? {
            found.extend(body.corrections);
        }
    }
    if let Some(next) = open {
        let policy = fold.terms().policy(next)?;
        let end = policy.zone.first_instant(next.next().first_day());
        let (usage, usage_elsewhere) = (fold.usage(), [].as_slice());
        let (sealed, as_of) = (sealed_before(fold, next)?, (now < end).then_some(now));
        let policy = &policy;
        let input = CloseInput { usage, usage_elsewhere, policy, period: next, as_of, sealed: &sealed };
        found.extend(corrections(&input)?);
    }
    found.retain(|one| one.for_period == period);
    Ok(found)
}

/// The sealed bodies of the two periods before this one: those that it may correct, and their own corrections.
fn sealed_before(fold: &Fold, period: Period) -> Result<Vec<SealedBody>, CloseError> {
    let first = period.previous().previous();
    let earlier = fold.sealed_periods().filter(|sealed| (first..period).contains(sealed));
    let mut bodies = Vec::new();
    for sealed in earlier {
        bodies.extend(sealed_bodies(fold, sealed)?);
    }
    Ok(bodies)
}

fn sealed_bodies(fold: &Fold, period: Period) -> Result<Vec<SealedBody>, CloseError> {
    let read = |(_, sealed): (&str, &Sealed)| {
        serde_json::from_slice(&sealed.body)
            .map_err(|error| CloseError::Sealed { period, why: error.to_string() })
    };
    fold.sealed(period).map(read).collect()
}

/// One for each distributor; one that has a sealed statement and nothing to bill any more gets an empty one, so that
/// the next revision supersedes each of those before.
fn bodies(fold: &Fold, policy: &Policy, output: &MeterOutput) -> Result<Vec<Body>, CloseError> {
    let period = output.statement.period;
    let journal = JournalCut { size: fold.position(), root: STANDARD.encode(fold.root()) };
    let mut parts = bodies_by_distributor(&output.statement);
    for (distributor, _) in fold.sealed(period) {
        parts.entry(distributor.to_owned()).or_insert_with(|| Statement {
            lines: Vec::new(),
            corrections: Vec::new(),
            totals: Vec::new(),
            ..output.statement.clone()
        });
    }
    let newest = |distributor: &str| fold.sealed(period).find(|(name, _)| *name == distributor);
    parts
        .into_iter()
        .map(|(distributor, statement)| {
            let revision = newest(&distributor).map_or(1, |(_, sealed)| sealed.revision + 1);
            let body = StatementBody {
                statement,
                distributor: distributor.clone(),
                revision: u64::from(revision),
                policy: policy.public_toml_or_json(),
                rules_version: RULES_VERSION,
                zone_data: zone_data_version(),
                journal: journal.clone(),
                evidence: None,
            };
            Ok(Body { distributor, revision, bytes: body_bytes(&body)? })
        })
        .collect()
}
