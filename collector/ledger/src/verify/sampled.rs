//! Level 2: records of the log that a nonce has picked. Invariant: each picked report was signed by the machine it
//! names, continues its chain, and counts on its day or is left out for a reason that the bundle states.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, hash, public_key, verify as verify_signature};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord, Signed};

use super::Failure;
use super::rows::{Looked, LookedUp};
use crate::body::StatementBody;
use crate::bundle::Section;
use crate::bundle::marks::{DaySet, HashText};
use crate::calendar::Day;
use crate::checkpoint::{Checkpoint, origin};
use crate::fold::evidence::{Body, Evidence};
use crate::merkle::{Hash, leaf};
use crate::proof::{Head, extends, includes};
use crate::record::{Report, State};
use crate::sample::{Logged, NONCE_LENGTH_MIN, Pick, Sample, evidence_of, picks};
use crate::tlog_proof::parse_hash;
use crate::usage::{RejectReason, judge};

/// What became of the picked records, by name: `counted`, a reason for which they are left out, or what they are.
pub type Outcomes = BTreeMap<&'static str, u64>;

/// A record whose bytes are not shown.
const WITHHELD: &str = "withheld";

/// Records that may be withheld, a quarter of all picks: in the log of a small reseller, policies and the parts of
/// price lists weigh that much; in a large one they are next to nothing.
const WITHHELD_MAX: u64 = 64;

/// Checks a sample; names each pick that is wrong.
pub(super) fn check(
    sample: &Sample,
    body: &StatementBody,
    statement: &Hash,
    looked_up: &LookedUp,
    found: &mut Vec<Failure>,
) -> Option<Outcomes> {
    let refused = |what: &str| Failure::Sample(what.to_owned());
    let Some(root) = parse_hash(&body.journal.root) else {
        found.push(refused("the statement's cut has no root"));
        return None;
    };
    if sample.nonce.chars().count() < NONCE_LENGTH_MIN {
        found.push(refused("its nonce is too short to be believed"));
    }
    if sample.statement.0 != *statement {
        found.push(refused("it is of another statement"));
        return None;
    }
    if body.zone_data != crate::zone_data_version() {
        let (theirs, ours) = (body.zone_data.clone(), crate::zone_data_version());
        found.push(Failure::ZoneData { found: theirs, ours });
    }
    let due = picks(&sample.nonce, statement, body.journal.size);
    let told: Vec<u64> = sample.picks.iter().map(|pick| pick.record.index).collect();
    if told.len() != due.len() {
        let what = format!("it has {} records, the nonce picks {}", told.len(), due.len());
        found.push(Failure::Sample(what));
        return None;
    }
    if told != due {
        found.push(refused("its records are not those that the nonce picks"));
        return None;
    }
    let checks = Checks { body, cut: Head { size: body.journal.size, root }, looked_up };
    let mut outcomes = Outcomes::new();
    for pick in &sample.picks {
        match checks.pick(pick) {
            Ok(outcome) => *outcomes.entry(outcome).or_default() += 1,
            Err(what) => found.push(Failure::Pick { index: pick.record.index, what }),
        }
    }
    let withheld = outcomes.get(WITHHELD).copied().unwrap_or(0);
    if withheld > WITHHELD_MAX {
        found.push(Failure::Sample(format!(
            "{withheld} of its records are withheld, more than {WITHHELD_MAX}"
        )));
    }
    Some(outcomes)
}

struct Checks<'a> {
    body: &'a StatementBody,
    cut: Head,
    looked_up: &'a LookedUp,
}

impl Checks<'_> {
    fn pick(&self, pick: &Pick) -> Result<&'static str, String> {
        let Some(bytes) = self.logged(&pick.record)? else { return Ok(WITHHELD) };
        let record = JournalRecord::decode(bytes.as_slice()).map_err(|_| "it is no record".to_owned())?;
        match &record.fact {
            Some(Fact::PolicySet(_)) => {
                Err("it is a policy, whose sell prices are not to be shown".to_owned())
            }
            Some(Fact::EvidenceReceived(received)) => {
                let signed = received.evidence.as_ref().ok_or("it holds no evidence")?;
                let received_at = seatbeat_proto::instant::from_ms(record.recorded_at_ms)
                    .map_err(|error| error.to_string())?;
                let evidence =
                    Evidence::parse(&signed.payload, received_at).map_err(|error| error.to_string())?;
                self.evidence(pick, signed, &evidence)
            }
            _ => Ok("not_evidence"),
        }
    }

    /// The record's bytes, once they are shown to be in the log; `None` when they are withheld.
    fn logged(&self, logged: &Logged) -> Result<Option<Vec<u8>>, String> {
        let path: Vec<Hash> = logged.path.iter().map(|HashText(hash)| *hash).collect();
        if !includes(&logged.leaf.0, logged.index, self.cut.size, &path, &self.cut.root) {
            return Err(format!("record {} is not in the log at the statement's cut", logged.index));
        }
        if logged.bytes.is_empty() {
            return Ok(None);
        }
        let bytes = STANDARD.decode(&logged.bytes).map_err(|_| "its bytes are not base64".to_owned())?;
        if leaf(&bytes) != logged.leaf.0 {
            return Err(format!("the bytes of record {} are not those in the log", logged.index));
        }
        Ok(Some(bytes))
    }

    fn evidence(&self, pick: &Pick, signed: &Signed, evidence: &Evidence) -> Result<&'static str, String> {
        let key = pick.key.as_ref().ok_or("the machine's key is missing")?;
        if MachineId::derived_from(&key.0) != evidence.machine {
            return Err(format!("its key is not that of {}", evidence.machine));
        }
        let key = public_key(&key.0).map_err(|_| "the machine's key is none".to_owned())?;
        verify_signature(&key, Domain::Evidence, signed)
            .map_err(|_| format!("the evidence was not signed by {}", evidence.machine))?;
        self.link(pick, evidence)?;
        self.carried(pick, evidence)?;
        match &evidence.body {
            Body::OrderResult { .. } => Ok("order_result"),
            Body::Report(report) => self.report(pick, &report.record),
        }
    }

    /// The evidence before it is in the log, and is the one whose hash it carries.
    fn link(&self, pick: &Pick, evidence: &Evidence) -> Result<(), String> {
        if evidence.sequence == 1 {
            return Ok(());
        }
        let missing = || {
            format!(
                "the evidence before number {} of its chain is not there: it was taken out of the log, or the \
                 collector had lost its disk",
                evidence.sequence
            )
        };
        let before = pick.before.as_ref().ok_or_else(missing)?;
        let bytes = self.logged(before)?.ok_or_else(missing)?;
        let (signed, previous) = evidence_of(&bytes).ok_or_else(missing)?;
        if continues(evidence, &signed, &previous) {
            Ok(())
        } else {
            Err("it does not continue the evidence before it".to_owned())
        }
    }

    /// The checkpoint that the machine had seen is of this log, and of records before this one.
    fn carried(&self, pick: &Pick, evidence: &Evidence) -> Result<(), String> {
        let Some(commitment) = self.body.evidence.as_ref().filter(|_| !evidence.checkpoint.is_empty()) else {
            return Ok(());
        };
        let key = public_key(&commitment.service_key.0).map_err(|_| "the log's key is none".to_owned())?;
        let seen = Checkpoint::verify(&evidence.checkpoint, &origin(&commitment.reseller), &key)
            .map_err(|error| format!("the checkpoint that it carries: {error}"))?;
        let index = pick.record.index;
        if seen.size > index {
            return Err(format!(
                "the machine had seen a checkpoint over {} records, but its evidence is record {index}: the log was \
                 rolled back",
                seen.size
            ));
        }
        let proof: Vec<Hash> = pick.consistency.iter().map(|HashText(hash)| *hash).collect();
        if !extends(&Head { size: seen.size, root: seen.root }, &self.cut, &proof) {
            return Err(format!(
                "the checkpoint over {} records that it carries is not the beginning of this log: the log was \
                 rewritten",
                seen.size
            ));
        }
        Ok(())
    }

    fn report(&self, pick: &Pick, report: &Report) -> Result<&'static str, String> {
        let (zone, period) = (&self.body.statement.zone, self.body.statement.period);
        if let Err(reason) = judge(report) {
            let is_listed = self.body.statement.rejected.iter().any(|rejected| {
                rejected.machine == report.machine
                    && (&rejected.spool, rejected.sequence) == (&report.spool, report.sequence)
            });
            if period.contains(zone.usage_day(report.received_at)) && !is_listed {
                return Err(format!("a rejected report of {} is not listed as such", report.machine));
            }
            return Ok(match reason {
                RejectReason::ClockAhead => "clock_ahead",
                RejectReason::TooOld => "too_old",
            });
        }
        let day = zone.usage_day(report.observed_at);
        if !period.contains(day) {
            return Ok("other_month");
        }
        let is_active = report.products.values().any(|sighting| sighting.state == State::Active);
        self.accounted(pick, report, day, is_active)
    }

    /// What the bundle says of the machine on that day.
    fn accounted(
        &self,
        pick: &Pick,
        report: &Report,
        day: Day,
        is_active: bool,
    ) -> Result<&'static str, String> {
        let period = self.body.statement.period;
        let rows = self.rows(pick, &report.machine)?;
        if let Some(row) = rows.iter().find(|row| is_active && row.not_active.contains(period, day)) {
            let why =
                format!("the bundle says that nothing was active on {}, but something was", report.machine);
            return if row.is_seat { Ok("counted") } else { Err(why) };
        }
        if rows.iter().any(|row| row.is_seat && row.days.contains(period, day)) {
            return Ok("counted");
        }
        let reasons = rows.iter().flat_map(|row| &row.reasons);
        let reason = reasons
            .filter(|(_, days): &&(_, DaySet)| days.contains(period, day))
            .map(|(reason, _)| reason.as_str())
            .next();
        match reason {
            Some(reason) => Ok(reason),
            None if !is_active => Ok("not_active"),
            None => Err(format!(
                "{} reported active products on {}, which is neither counted nor left out for a reason",
                report.machine,
                day.date()
            )),
        }
    }

    /// The rows that the pick opens: of the machine itself, or of one that it was joined in.
    fn rows(&self, pick: &Pick, agent: &MachineId) -> Result<Vec<&Looked>, String> {
        let mut rows = Vec::new();
        for opening in &pick.openings {
            let row =
                self.looked_up.get(&(opening.section.clone(), opening.pseudonym())).and_then(Option::as_ref);
            let is_agent_beside = opening.machine == *agent && self.is_beside(pick, &opening.section, agent);
            let Some(row) = row else {
                if is_agent_beside {
                    continue;
                }
                return Err(format!(
                    "{} is opened in {}, but is not there",
                    opening.machine, opening.section
                ));
            };
            if opening.machine == *agent || self.is_beside(pick, &opening.section, agent) {
                rows.push(row);
            } else {
                return Err(format!("{} is opened, which is not the machine of {agent}", opening.machine));
            }
        }
        Ok(rows)
    }

    /// Whether the agent is one of those joined in a machine that the pick opens in this section.
    fn is_beside(&self, pick: &Pick, section: &Section, agent: &MachineId) -> bool {
        let here = || pick.openings.iter().filter(|opening| opening.section == *section);
        let Some(own) = here().find(|opening| opening.machine == *agent) else { return false };
        here().any(|opening| {
            let row = self.looked_up.get(&(section.clone(), opening.pseudonym())).and_then(Option::as_ref);
            row.is_some_and(|row| row.agents.contains(&own.pseudonym()))
        })
    }
}

/// Whether evidence is the next in its chain behind a signed one, which says this.
fn continues(evidence: &Evidence, signed: &Signed, previous: &wire::Evidence) -> bool {
    hash(&signed.payload).as_slice() == evidence.previous
        && previous.machine == evidence.machine.as_str()
        && previous.spool == evidence.spool.as_str()
        && previous.sequence.checked_add(1) == Some(evidence.sequence)
}

#[cfg(test)]
mod tests {
    use seatbeat_proto::ids::SpoolId;
    use seatbeat_proto::instant;

    use super::*;

    #[test]
    fn a_link_of_a_chain_fits_in_hash_machine_spool_and_number() {
        let (machine, spool) = (MachineId::random(), SpoolId::random());
        let says = |machine: &MachineId, spool: &SpoolId, sequence: u64, previous: &[u8]| wire::Evidence {
            machine: machine.to_string(),
            spool: spool.to_string(),
            sequence,
            previous: previous.to_vec(),
            body: Some(wire::evidence::Body::Report(wire::Report::default())),
            ..wire::Evidence::default()
        };
        let signed =
            |evidence: &wire::Evidence| Signed { payload: evidence.encode_to_vec(), signature: vec![] };
        let check = |previous: &wire::Evidence, named: &wire::Evidence, expected: bool| {
            let named = hash(&signed(named).payload);
            let next = says(&machine, &spool, 5, &named).encode_to_vec();
            let next = Evidence::parse(&next, instant::from_ms(0).unwrap()).unwrap();
            assert_eq!(continues(&next, &signed(previous), previous), expected, "{previous:?}");
        };
        let before = says(&machine, &spool, 4, b"");
        check(&before, &before, true);
        check(&before, &says(&machine, &spool, 4, b"other"), false);
        for other in [
            says(&MachineId::random(), &spool, 4, b""),
            says(&machine, &SpoolId::random(), 4, b""),
            says(&machine, &spool, 3, b""),
            says(&machine, &spool, u64::MAX, b""),
        ] {
            check(&other, &other, false);
        }
    }
}
