//! Checks a bundle, line by line, without the collector that made it.
//! Invariant: memory is for one line of the file and one number a day, except where a replay was asked for; nothing is
//! believed that does not follow from the key that was named.
//!
//! Levels: 0 signatures and proofs; 1 every quantity, total and cost computed again from the rows; 2 records of the
//! log that whoever asks has picked by a nonce; 3 all records replayed. Each holds the ones before it.

use std::collections::BTreeMap;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use seatbeat_proto::wire::Signed;
use serde_json::Value;

use crate::body::StatementBody;
use crate::bundle::{End, KIND, LogPart, Opened, Opening, Section};
use crate::calendar::Period;
use crate::cosignature::Witness;
use crate::sealed::{self, VerifyError};

mod failure;
mod log;
mod recompute;
mod replay;
mod rows;
mod sampled;

pub use failure::{Failure, Failures};
pub use replay::Replay;
pub use sampled::Outcomes;

use crate::sample::Sample;
use log::check_log;
use rows::RowChecks;

/// Longest line of a bundle: a statement of 100,000 lines fits many times over.
pub const LINE_LENGTH_MAX: usize = 256 * 1024 * 1024;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 0: signatures and proofs.
    Proofs,
    /// 1: and every quantity, total and cost.
    Recomputed,
    /// 2: and a sample of the log's records.
    Sampled,
    /// 3: and all of the records.
    Replayed,
}

impl Level {
    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "0" => Ok(Self::Proofs),
            "1" => Ok(Self::Recomputed),
            "2" => Ok(Self::Sampled),
            "3" => Ok(Self::Replayed),
            _ => Err("expected a level from 0 to 3".to_owned()),
        }
    }
}

/// What is asked of a bundle.
#[derive(Debug, Clone)]
pub struct Question {
    /// The reseller's statement key; without it only the bundle itself says whose it is.
    pub key: Option<VerifyingKey>,
    /// How much is checked.
    pub level: Level,
    /// A signed checkpoint of the log that whoever asks has kept.
    pub checkpoint: Option<String>,
    /// Witnesses that have to have cosigned the bundle's checkpoint.
    pub witnesses: Vec<Witness>,
    /// For level 2.
    pub sample: Option<Sample>,
    /// For level 3.
    pub replay: Option<Replay>,
}

/// What was found of a bundle in which nothing is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Who signed the statement.
    pub key: VerifyingKey,
    /// Whether only the bundle itself says so.
    pub self_attested: bool,
    /// How much was checked.
    pub level: Level,
    /// The statement.
    pub body: StatementBody,
    /// Digest of the statement's body.
    pub digest: String,
    /// Records of the log that the bundle's checkpoint is over.
    pub log_size: u64,
    /// The record that sealed the statement.
    pub sealed_at: u64,
    /// When each witness saw the checkpoint (Unix seconds).
    pub witnessed: Vec<(String, u64)>,
    /// Rows of machines behind the lines.
    pub seats: u64,
    /// Rows of excluded machines.
    pub excluded: u64,
    /// Pseudonyms that the bundle opens.
    pub opened: u64,
    /// What became of the picked records.
    pub outcomes: Option<Outcomes>,
}

/// Checks one bundle.
#[derive(Debug)]
pub struct Verifier {
    question: Question,
    line: u64,
    step: Step,
    found: Vec<Failure>,
}

#[derive(Debug)]
enum Step {
    Opening,
    Log(Box<Statement>),
    Rows(Box<Statement>, Box<log::LogFacts>, Box<RowChecks>),
    Ended(Box<Statement>, Box<log::LogFacts>, Box<RowChecks>),
    /// Nothing more can be read.
    Stopped,
}

/// The statement as the first line has it.
#[derive(Debug)]
struct Statement {
    key: VerifyingKey,
    body: StatementBody,
    signed: Signed,
    digest: [u8; 32],
}

impl Verifier {
    /// Begins.
    pub fn new(question: Question) -> Self {
        Self { question, line: 0, step: Step::Opening, found: Vec::new() }
    }

    /// The next line of the file, without its end. `false`: nothing more need be read.
    pub fn line(&mut self, text: &[u8]) -> bool {
        self.line += 1;
        let step = std::mem::replace(&mut self.step, Step::Stopped);
        match self.take(step, text) {
            Ok(next) => {
                self.step = next;
                true
            }
            Err(failure) => {
                self.found.push(failure);
                false
            }
        }
    }

    fn take(&mut self, step: Step, text: &[u8]) -> Result<Step, Failure> {
        match step {
            Step::Opening => {
                let statement = open(text, self.question.key.as_ref(), &mut self.found)?;
                Ok(Step::Log(Box::new(statement)))
            }
            Step::Log(statement) => {
                let part: LogPart = self.parse(text, "the log's proofs")?;
                let facts = check_log(
                    &statement.body,
                    &statement.signed,
                    &part.log,
                    &self.question,
                    &mut self.found,
                )?;
                let rows = RowChecks::new(&statement.body, &self.question, &mut self.found)?;
                Ok(Step::Rows(statement, Box::new(facts), Box::new(rows)))
            }
            Step::Rows(statement, log, mut rows) => {
                if text.starts_with(b"{\"end\":") {
                    let end: End = self.parse(text, "the end of a bundle")?;
                    let before = self.line - 1;
                    if end.end != before {
                        self.found.push(Failure::LineCount { line: self.line, told: end.end, found: before });
                    }
                    return Ok(Step::Ended(statement, log, rows));
                }
                self.take_row(&mut rows, text)?;
                Ok(Step::Rows(statement, log, rows))
            }
            Step::Ended(..) => Err(Failure::AfterEnd(self.line)),
            Step::Stopped => Ok(Step::Stopped),
        }
    }

    fn take_row(&mut self, rows: &mut RowChecks, text: &[u8]) -> Result<(), Failure> {
        if self.question.level < Level::Recomputed {
            return Ok(());
        }
        if text.starts_with(b"{\"line\":") || text.starts_with(b"{\"excluded\":") {
            let section: Section = self.parse(text, "the beginning of a section")?;
            return rows.begin(self.line, section, &mut self.found);
        }
        if text.starts_with(b"{\"opened\":") {
            let opened: Opened = self.parse(text, "an opened pseudonym")?;
            rows.opened(self.line, &opened.opened, &mut self.found);
            return Ok(());
        }
        rows.row(self.line, text, &mut self.found)
    }

    fn parse<'a, T: serde::Deserialize<'a>>(&self, text: &'a [u8], what: &'static str) -> Result<T, Failure> {
        parse(self.line, text, what)
    }

    /// What is to be said of the bundle, now that its last line was read.
    ///
    /// # Errors
    /// Everything that was found wrong.
    pub fn finish(mut self) -> Result<Verdict, Failures> {
        let step = std::mem::replace(&mut self.step, Step::Stopped);
        let (statement, log, rows) = match step {
            Step::Ended(statement, log, rows) => (statement, log, rows),
            Step::Stopped => return Err(Failures(self.found)),
            Step::Opening | Step::Log(_) | Step::Rows(..) => {
                self.found.push(Failure::Truncated(self.line));
                return Err(Failures(self.found));
            }
        };
        let (mut seats, mut excluded, mut opened, mut outcomes) = (0, 0, 0, None);
        if self.question.level >= Level::Recomputed {
            let counted = rows.finish(&statement.body, &mut self.found);
            (seats, excluded, opened) = (counted.seats, counted.excluded, counted.opened);
            if self.question.level >= Level::Sampled {
                outcomes = self.sampled(&statement, &counted);
            }
            if self.question.level >= Level::Replayed {
                match &self.question.replay {
                    Some(replay) => replay.check(&statement.body, &counted.days, &mut self.found),
                    None => self.found.push(Failure::Replay("there are no records to replay".to_owned())),
                }
            }
        }
        if !self.found.is_empty() {
            return Err(Failures(self.found));
        }
        Ok(Verdict {
            key: statement.key,
            self_attested: self.question.key.is_none(),
            level: self.question.level,
            digest: sealed::digest(&statement.signed.payload),
            body: statement.body,
            log_size: log.size,
            sealed_at: log.sealed_at,
            witnessed: log.witnessed,
            seats,
            excluded,
            opened,
            outcomes,
        })
    }

    fn sampled(&mut self, statement: &Statement, counted: &rows::Counted) -> Option<Outcomes> {
        let Some(sample) = &self.question.sample else {
            self.found.push(Failure::Sample("there is none".to_owned()));
            return None;
        };
        sampled::check(sample, &statement.body, &statement.digest, &counted.looked_up, &mut self.found)
    }
}

/// Checks a whole bundle that is in memory.
///
/// # Errors
/// Everything that is wrong with it.
pub fn verify(bundle: &[u8], question: Question) -> Result<Verdict, Failures> {
    let mut verifier = Verifier::new(question);
    let bundle = bundle.strip_suffix(b"\n").unwrap_or(bundle);
    for line in bundle.split(|byte| *byte == b'\n') {
        if !verifier.line(line) {
            break;
        }
    }
    verifier.finish()
}

fn parse<'a, T: serde::Deserialize<'a>>(line: u64, text: &'a [u8], what: &'static str) -> Result<T, Failure> {
    serde_json::from_slice(text).map_err(|error| Failure::Malformed { line, what, why: error.to_string() })
}

/// Reads the statement. A signature that does not hold is a failure, but not the end: what else is wrong tells what
/// was changed.
fn open(text: &[u8], key: Option<&VerifyingKey>, found: &mut Vec<Failure>) -> Result<Statement, Failure> {
    let value: Value = parse(1, text, "the beginning of a bundle")?;
    if value["seatbeat"] != KIND {
        return Err(Failure::Kind);
    }
    let opening: Opening = parse(1, text, "the beginning of a bundle")?;
    let file = crate::jcs::to_canonical(&opening.statement).map_err(VerifyError::from)?;
    let (body, signed_by) = match sealed::verify(file.as_bytes(), key) {
        Ok(verified) => (verified.body, verified.key),
        Err(error @ (VerifyError::Signature | VerifyError::OtherKey { .. })) => {
            found.push(error.into());
            (opening.statement["body"].clone(), stated_key(&opening.statement)?)
        }
        Err(error) => return Err(error.into()),
    };
    if crate::jcs::to_canonical(&value).map_err(VerifyError::from)?.as_bytes() != text {
        found.push(VerifyError::NotCanonical.into());
    }
    let payload = sealed::body_bytes(&body).map_err(VerifyError::from)?;
    let signature = opening.statement["signature"].as_str().unwrap_or_default();
    let signature = STANDARD.decode(signature).map_err(|_| VerifyError::Field("signature"))?;
    let body = serde_json::from_value(body).map_err(|error| Failure::Body(error.to_string()))?;
    let digest = seatbeat_proto::signed::hash(&payload);
    Ok(Statement { key: signed_by, body, signed: Signed { payload, signature }, digest })
}

fn stated_key(statement: &Value) -> Result<VerifyingKey, Failure> {
    let key = statement["key"].as_str().and_then(|key| STANDARD.decode(key).ok());
    let key = key.and_then(|key| seatbeat_proto::signed::public_key(&key).ok());
    key.ok_or(Failure::Statement(VerifyError::Field("key")))
}

/// Machines' days by line, for a replay.
pub(crate) type RowDays =
    BTreeMap<Section, Vec<(crate::bundle::marks::DaySet, crate::bundle::marks::DaySet)>>;

/// The days of a month in the body's zone.
fn month_days(body: &StatementBody) -> (Period, Vec<crate::calendar::UsageDay>) {
    (body.statement.period, body.statement.zone.days(body.statement.period))
}

#[cfg(test)]
mod tests;
