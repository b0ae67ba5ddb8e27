//! Wrong copies of small rules of closing and of identity. Invariant: each gives what the right rule gives where nothing
//! is made wrong.

use std::collections::BTreeSet;

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::identity::{Decision, POSSIBLE_CLONE, POSSIBLE_SAME_MACHINE};
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::record::{Event, Record};
use seatbeat_ledger::registry::{Machine, Registry};
use seatbeat_ledger::statement::Statement;
use seatbeat_ledger::usage::Usage;
use seatbeat_proto::ids::MachineId;

use crate::book::{Book, PairBond};
use crate::checks::{SAME_CASE, closed, equal_facts};
use crate::office::POLICY;
use crate::wrong::Wrong;

/// What a wrong close would say; none where it is right.
pub fn misclosed(wrong: Option<Wrong>, records: &[Record], period: Period) -> Option<Statement> {
    let policy = match wrong? {
        Wrong::PresumedADayLonger => POLICY.replace("presume_days = 7", "presume_days = 8"),
        Wrong::MovedBilledTwice => format!("moved = \"each_owner\"\n{POLICY}"),
        Wrong::RetirementIgnored
        | Wrong::MergesForgottenAtClose
        | Wrong::DayOfReceipt
        | Wrong::SkuMapIgnored
        | Wrong::NullSkuBilled
        | Wrong::SwitchesIgnored
        | Wrong::DeclarationIgnored => POLICY.to_owned(),
        _ => return None,
    };
    let policy = Policy::parse(&policy).expect("the policy is one");
    let mut usage = Usage::new(policy.zone.clone());
    for record in records {
        let left_out = match record {
            Record::Entry(entry) => match &entry.event {
                Event::MachineRetired { .. } => wrong == Some(Wrong::RetirementIgnored),
                Event::MachinesMerged { .. } => wrong == Some(Wrong::MergesForgottenAtClose),
                Event::SkuAssigned { sku, .. } => {
                    wrong == Some(Wrong::SkuMapIgnored)
                        || wrong == Some(Wrong::NullSkuBilled) && sku.is_none()
                }
                Event::Declared { .. } => wrong == Some(Wrong::DeclarationIgnored),
                Event::SwitchedOff { .. } => wrong == Some(Wrong::SwitchesIgnored),
                _ => false,
            },
            Record::Report(_) => false,
        };
        let mut record = record.clone();
        if let (Record::Report(report), Some(Wrong::DayOfReceipt)) = (&mut record, wrong) {
            report.observed_at = report.received_at;
        }
        if !left_out {
            usage.apply(&record);
        }
    }
    Some(closed(&usage, &policy, period, &[]))
}

/// What a wrong identity would decide; the same where it is right.
pub fn misjudged(
    wrong: Option<Wrong>,
    book: &Book,
    registry: &Registry,
    mut found: BTreeSet<Decision>,
) -> BTreeSet<Decision> {
    let merge_flagged = match wrong {
        Some(Wrong::MergeOnOneFact) => POSSIBLE_SAME_MACHINE,
        Some(Wrong::MergeOfTwoAlive) => POSSIBLE_CLONE,
        Some(Wrong::MergeAcrossCustomers) => return across_customers(registry, found),
        Some(Wrong::HandOverruled) => {
            found.extend(book.bonds.iter().filter(|(_, bond)| bond.by_hand).filter_map(overruled));
            return found;
        }
        Some(Wrong::FlaggedAgain) => {
            found.extend(registry.machines_after(None).filter_map(flagged_again));
            return found;
        }
        _ => return found,
    };
    let misread = |decision| match decision {
        Decision::Flag { machine, flag, like } if flag == merge_flagged => {
            Decision::Merge { kept: machine, absorbed: like, facts: 1 }
        }
        right => right,
    };
    found.into_iter().map(misread).collect()
}

fn overruled(((kept, absorbed), bond): (&(String, String), &PairBond)) -> Option<Decision> {
    let (kept, absorbed) = (kept.parse().ok()?, absorbed.parse().ok()?);
    Some(if bond.joined {
        Decision::Split { kept, absorbed }
    } else {
        Decision::Merge { kept, absorbed, facts: SAME_CASE }
    })
}

fn flagged_again((id, machine): (&MachineId, &Machine)) -> Option<Decision> {
    let flagged = machine.flags.contains_key(POSSIBLE_CLONE);
    flagged.then(|| Decision::Flag { machine: id.clone(), flag: POSSIBLE_CLONE, like: id.clone() })
}

fn across_customers(registry: &Registry, mut found: BTreeSet<Decision>) -> BTreeSet<Decision> {
    for (id, machine) in registry.machines_after(None) {
        for (other_id, other) in registry.machines_after(Some(id)) {
            let bound = machine.absorbed_into.is_some() || other.absorbed_into.is_some();
            if machine.customer != other.customer && equal_facts(machine, other) >= SAME_CASE && !bound {
                found.insert(Decision::Merge { kept: id.clone(), absorbed: other_id.clone(), facts: 2 });
            }
        }
    }
    found
}
