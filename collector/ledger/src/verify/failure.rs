//! What a bundle can be refused for. Invariant: a failure names what is wrong and where, and whoever reads it can
//! tell one manipulation from another.

use jiff::civil::Date;

use crate::bundle::Section;
use crate::bundle::marks::Pseudonym;
use crate::bundle::sealed_record::OtherRecord;
use crate::checkpoint::CheckpointError;
use crate::cosignature::CosignatureError;
use crate::sealed::VerifyError;

/// One thing that is wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum Failure {
    #[error("the bundle is cut off after line {0}: its end line is missing")]
    Truncated(u64),
    #[error("line {0}: something follows the end of the bundle")]
    AfterEnd(u64),
    #[error("line {line}: the end line tells of {told} lines before it, there are {found}")]
    LineCount { line: u64, told: u64, found: u64 },
    #[error("line {line} is not {what}: {why}")]
    Malformed { line: u64, what: &'static str, why: String },
    #[error("the file is not a bundle: its first line's `seatbeat` field is not `{}`", crate::bundle::KIND)]
    Kind,
    #[error("the statement: {0}")]
    Statement(#[from] VerifyError),
    #[error("the statement commits to no evidence: it was sealed by a version that had no bundles")]
    NoEvidence,
    #[error("the statement's body is not one of this version: {0}")]
    Body(String),
    #[error("the statement was computed by rules {found}, this version has rules {ours}")]
    Rules { found: u32, ours: u32 },
    #[error("the statement was computed with zone data {found}, this version has {ours}")]
    ZoneData { found: String, ours: String },
    #[error("the bundle's checkpoint: {0}")]
    Checkpoint(CheckpointError),
    #[error("the bundle's proof of the statement's place in the log is not one")]
    Proof,
    #[error(transparent)]
    Record(#[from] OtherRecord),
    #[error("the record says {field} {logged}, the statement {told}")]
    RecordField { field: &'static str, logged: String, told: String },
    #[error(
        "the record that sealed the statement is not in the log: nothing leads from record {index} to the checkpoint over {size}"
    )]
    NotInLog { index: u64, size: u64 },
    #[error("the statement was sealed at record {index}, but its cut is of {cut} records")]
    SealedBeforeCut { index: u64, cut: u64 },
    #[error("the bundle does not prove the statement's cut of {0} records")]
    NoCutProof(u64),
    #[error(
        "the statement's cut of {cut} records is not the beginning of the log that the checkpoint over {size} is of"
    )]
    Cut { cut: u64, size: u64 },
    #[error("the given checkpoint: {0}")]
    Given(CheckpointError),
    #[error("the given checkpoint is of {given}, the bundle's log is {ours}: it is another reseller's")]
    OtherLog { given: String, ours: String },
    #[error(
        "the given checkpoint is over {given} records, the bundle's log has {size}: the log was rolled back, or the bundle is older"
    )]
    RolledBack { given: u64, size: u64 },
    #[error(
        "the given checkpoint over {given} records is not the beginning of the bundle's log of {size}: the log was rewritten"
    )]
    Rewritten { given: u64, size: u64 },
    #[error("the bundle proves nothing about the given checkpoint over {0} records")]
    NoProofFor(u64),
    #[error("the bundle's checkpoint: {0}")]
    Witness(#[from] CosignatureError),
    #[error("line {line}: here is {found}, where {expected} should be")]
    Section { line: u64, found: String, expected: String },
    #[error("{section}: its machines are missing")]
    MissingSection { section: Section },
    #[error("line {line}, {section}: machine {machine} stands here twice")]
    Twice { line: u64, section: Section, machine: Pseudonym },
    #[error("line {line}, {section}: machine {machine} is not in its place")]
    Order { line: u64, section: Section, machine: Pseudonym },
    #[error("line {line}, {section}: machine {machine} is both confirmed and presumed on {day}")]
    Both { line: u64, section: Section, machine: Pseudonym, day: Date },
    #[error("line {line}, {section}: machine {machine} has no day")]
    NoDay { line: u64, section: Section, machine: Pseudonym },
    #[error("line {line}, {section}: machine {machine} has a day that the month has not")]
    NotInMonth { line: u64, section: Section, machine: Pseudonym },
    #[error("line {line}, {section}: machine {machine} has {day}, before its first counted day {first}")]
    First { line: u64, section: Section, machine: Pseudonym, day: Date, first: Date },
    #[error(
        "line {line}, {section}: machine {machine} is confirmed on {days} days, the policy asks for {wanted}"
    )]
    MinDays { line: u64, section: Section, machine: Pseudonym, days: u32, wanted: u32 },
    #[error("line {line}, {section}: machine {machine} has its first month, which the policy makes free")]
    FreeMonth { line: u64, section: Section, machine: Pseudonym },
    #[error(
        "line {line}, {section}: machine {machine} is left out as {reason}, which the policy does not know"
    )]
    Reason { line: u64, section: Section, machine: Pseudonym, reason: &'static str },
    #[error("{section}: the statement counts {told} machines, the bundle has {found}")]
    Machines { section: Section, told: u64, found: u64 },
    #[error("{section}: the rows are not those that were sealed: their root is another")]
    Root { section: Section },
    #[error("line {line}, {section}: the row before is not that of {machine}")]
    Opened { line: u64, machine: String, section: Section },
    #[error("{place}: {field} is {told}, it should be {due}")]
    Value { place: String, field: &'static str, told: String, due: String },
    #[error("{place}: {what}")]
    Odd { place: String, what: &'static str },
    #[error("the sample: {0}")]
    Sample(String),
    #[error("pick {index}: {what}")]
    Pick { index: u64, what: String },
    #[error("the replay: {0}")]
    Replay(String),
}

impl Failure {
    /// What whoever asked can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Truncated(_) | Self::AfterEnd(_) | Self::LineCount { .. } | Self::Malformed { .. } => {
                "ask for the file again; `seatbeat statement bundle` writes it"
            }
            Self::Kind => "a sealed statement alone is checked too: name its .json file",
            Self::Statement(VerifyError::OtherKey { .. }) => {
                "is this the key of the reseller whose bundle it is? `seatbeat status` shows the statement key there"
            }
            Self::NoEvidence => "check the statement's .json file; months sealed from now on have a bundle",
            Self::Rules { .. } | Self::ZoneData { .. } | Self::Body(_) => {
                "use the `seatbeat-verify` of the version that sealed it"
            }
            Self::OtherLog { .. } => "name a checkpoint that came from this reseller",
            Self::RolledBack { .. } => {
                "ask for a new bundle; if its log is still shorter, records were taken out of it"
            }
            Self::NoProofFor(_) => {
                "ask for a bundle with `seatbeat statement bundle --checkpoint FILE`, which proves it"
            }
            Self::Rewritten { .. } | Self::Cut { .. } => {
                "keep both files: together they show that two logs were signed by one key"
            }
            Self::Witness(_) => "ask for a bundle made after the witness has cosigned",
            Self::Sample(_) | Self::Pick { .. } => {
                "ask for the answer again: `seatbeat statement answer PERIOD --nonce NONCE`"
            }
            Self::Replay(_) => "export the records anew: `seatbeat export --period PERIOD --to DIR`",
            _ => "the bundle was changed after it was sealed, or was never what it says; do not accept it",
        }
    }
}

/// Everything that was found wrong, in the order in which it was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.0))]
pub struct Failures(pub Vec<Failure>);

/// Failures that are told; a bundle that is wrong all over need not be told to the end.
const TOLD_MAX: usize = 12;

fn list(failures: &[Failure]) -> String {
    let mut told: Vec<String> = failures.iter().take(TOLD_MAX).map(Failure::to_string).collect();
    if failures.len() > TOLD_MAX {
        told.push(format!("and {} more", failures.len() - TOLD_MAX));
    }
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_says_what_can_be_done() {
        let check = |failure: Failure, words: &str| {
            assert!(failure.hint().contains(words), "{failure}: {}", failure.hint());
        };
        check(Failure::Kind, "name its .json file");
        check(Failure::NoEvidence, ".json file");
        let malformed = Failure::Malformed { line: 1, what: "a row", why: String::new() };
        for incomplete in [
            Failure::Truncated(1),
            Failure::AfterEnd(1),
            Failure::LineCount { line: 1, told: 2, found: 1 },
            malformed,
        ] {
            check(incomplete, "ask for the file again");
        }
        let other_key = VerifyError::OtherKey { found: String::new(), expected: String::new() };
        check(Failure::Statement(other_key), "shows the statement key");
        check(Failure::Statement(VerifyError::Signature), "do not accept it");
        let zone_data = Failure::ZoneData { found: String::new(), ours: String::new() };
        for other_version in [Failure::Rules { found: 2, ours: 1 }, zone_data, Failure::Body(String::new())] {
            check(other_version, "of the version that sealed it");
        }
        let other_log = Failure::OtherLog { given: String::new(), ours: String::new() };
        check(other_log, "came from this reseller");
        check(Failure::Witness(CosignatureError::Malformed), "after the witness has cosigned");
        check(Failure::RolledBack { given: 3, size: 2 }, "ask for a new bundle");
        check(Failure::Rewritten { given: 3, size: 4 }, "keep both files");
        check(Failure::NoProofFor(3), "--checkpoint FILE");
        check(Failure::Sample(String::new()), "seatbeat statement answer");
        check(Failure::Replay(String::new()), "seatbeat export");
        check(Failure::Odd { place: String::new(), what: "" }, "do not accept it");
    }
}
