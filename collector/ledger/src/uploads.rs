//! Sealed statements on their way to those they are for. Invariant: of a statement and a destination each part goes
//! forward only, within a submission; what the far side said is never forgotten; nothing counts as sent that was not
//! on record before.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire::{UploadNoted, UploadStatus};
use serde::{Deserialize, Serialize};

use crate::calendar::Period;
use crate::record::Sku;
use crate::registry::Refusal;

/// Longest text of the far side's that is kept, in bytes: a sentence or an id.
pub const SAID_LENGTH_MAX: usize = 512;

/// Answers that are kept of a part: a far side that changes its mind more often than this is not asked any more.
pub const ANSWERS_MAX: usize = 32;

/// A sealed statement and one destination of its distributor's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UploadId {
    /// The month.
    pub period: Period,
    /// Whose statement.
    pub distributor: String,
    /// Which of the sealed ones.
    pub revision: u32,
    /// Where it goes, as it is configured.
    pub destination: String,
}

impl UploadId {
    /// A step of it as a record has it, of none of its parts yet.
    pub fn step(&self, submission: u32, status: Status) -> UploadNoted {
        UploadNoted {
            destination: self.destination.clone(),
            distributor: self.distributor.clone(),
            period: self.period.to_string(),
            revision: self.revision,
            submission,
            status: status.on_wire().into(),
            parts: 0,
            noted: Vec::new(),
        }
    }
}

/// What is sent, and answered, as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PartId {
    /// All of the statement.
    Whole,
    /// A line of it.
    Line(CustomerId, Sku),
    /// A correction of an earlier month that the destination cannot be sent: a person settles it.
    Correction(CustomerId, Sku, Period),
}

/// How far a part, or all of a statement, has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing of it was sent.
    Built,
    /// The far side may know of it.
    Sent,
    /// The far side has it, its verdict is to come.
    Acknowledged,
    /// The far side refuses it.
    Rejected,
    /// The far side agrees.
    Accepted,
    /// Nothing more is to come.
    Settled,
}

/// What the far side answered, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// In which submission.
    pub submission: u32,
    /// How far it had come then.
    pub status: Status,
    /// When it was written down.
    pub at: Timestamp,
    /// What was set there, where no file says it.
    pub quantity: String,
    /// Of what was sent.
    pub digest: String,
    /// What the far side calls it.
    pub far_id: String,
    /// In its words.
    pub said: String,
}

/// A part on its way: all its answers, the newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// From the first to the last; there is one at least.
    answers: Vec<Answer>,
}

/// A statement on its way to a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// From 1; an operator's retry begins the next.
    pub submission: u32,
    /// When it was built.
    pub built_at: Timestamp,
    /// Of how many parts it is.
    pub parts_expected: u32,
    parts: BTreeMap<PartId, Part>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploads(BTreeMap<UploadId, Upload>);

impl Status {
    /// As it is shown and recorded.
    pub fn name(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Sent => "sent",
            Self::Acknowledged => "acknowledged",
            Self::Rejected => "rejected",
            Self::Accepted => "accepted",
            Self::Settled => "settled",
        }
    }

    /// As it stands in a record.
    pub fn on_wire(self) -> UploadStatus {
        match self {
            Self::Built => UploadStatus::Built,
            Self::Sent => UploadStatus::Sent,
            Self::Acknowledged => UploadStatus::Acknowledged,
            Self::Rejected => UploadStatus::Rejected,
            Self::Accepted => UploadStatus::Accepted,
            Self::Settled => UploadStatus::Settled,
        }
    }

    /// Of a record; none where it does not say.
    pub fn from_wire(status: UploadStatus) -> Option<Self> {
        Some(match status {
            UploadStatus::Unspecified => return None,
            UploadStatus::Built => Self::Built,
            UploadStatus::Sent => Self::Sent,
            UploadStatus::Acknowledged => Self::Acknowledged,
            UploadStatus::Rejected => Self::Rejected,
            UploadStatus::Accepted => Self::Accepted,
            UploadStatus::Settled => Self::Settled,
        })
    }

    /// Whether the far side's answer is there, whatever it is.
    pub fn is_verdict(self) -> bool {
        self > Self::Acknowledged
    }
}

impl std::fmt::Display for PartId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole => f.write_str("statement"),
            Self::Line(customer, sku) => write!(f, "{customer}/{sku}"),
            Self::Correction(customer, sku, period) => write!(f, "{customer}/{sku} of {period}"),
        }
    }
}

impl Part {
    /// The newest answer.
    pub fn last(&self) -> &Answer {
        self.answers.last().expect("a part is made with an answer")
    }

    /// All that was ever answered, the first one first.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }
}

impl Upload {
    /// How far a part has come. What was rejected is to be sent again once a retry has begun; what the far side has, or
    /// may have, is gone on with.
    pub fn status_of(&self, part: &PartId) -> Status {
        let Some(last) = self.parts.get(part).map(Part::last) else { return Status::Built };
        let is_to_be_sent = last.submission < self.submission && last.status == Status::Rejected;
        if is_to_be_sent { Status::Built } else { last.status }
    }

    /// Under which submission a part is sent, or was.
    pub fn submission_of(&self, part: &PartId) -> u32 {
        match self.parts.get(part) {
            Some(known) if self.status_of(part) > Status::Built => known.last().submission,
            _ => self.submission,
        }
    }

    /// A part that was ever sent.
    pub fn part(&self, part: &PartId) -> Option<&Part> {
        self.parts.get(part)
    }

    /// The parts that were ever sent.
    pub fn parts(&self) -> impl Iterator<Item = (&PartId, &Part)> {
        self.parts.iter()
    }

    /// How far all of it has come: as far as the last of its parts, and rejected when one is.
    pub fn status(&self) -> Status {
        let statuses = || self.parts.keys().map(|part| self.status_of(part));
        if statuses().any(|status| status == Status::Rejected) {
            return Status::Rejected;
        }
        let is_whole = self.parts.len() >= self.parts_expected as usize;
        let sent = statuses().any(|status| status > Status::Built);
        match statuses().min() {
            Some(least) if is_whole => least,
            // Some parts are out, others are not yet.
            _ if sent => Status::Sent,
            _ if self.parts_expected == 0 => Status::Settled,
            _ => Status::Built,
        }
    }

    fn note(&mut self, part: PartId, answer: Answer) -> Result<(), Refusal> {
        let before = self.status_of(&part);
        let known = self.parts.get(&part);
        let is_next = match answer.status {
            Status::Built => false,
            Status::Sent => before == Status::Built,
            // A far side may change its mind until it is settled.
            _ => before >= Status::Sent && before != Status::Settled,
        };
        let is_new = known.is_none_or(|known| {
            let last = known.last();
            (last.submission, last.status, &last.far_id) != (answer.submission, answer.status, &answer.far_id)
        });
        let is_full = known.is_some_and(|known| known.answers.len() >= ANSWERS_MAX);
        if !is_next || !is_new || (is_full && answer.status != Status::Settled) {
            return Err(Refusal::Repeated);
        }
        match self.parts.get_mut(&part) {
            Some(known) => known.answers.push(answer),
            None => drop(self.parts.insert(part, Part { answers: vec![answer] })),
        }
        Ok(())
    }
}

impl Uploads {
    /// A statement on its way to a destination; none before it was built.
    pub fn get(&self, id: &UploadId) -> Option<&Upload> {
        self.0.get(id)
    }

    /// All, in the order of their months.
    pub fn iter(&self) -> impl Iterator<Item = (&UploadId, &Upload)> {
        self.0.iter()
    }

    /// What is to be sent is known.
    pub(crate) fn build(&mut self, id: UploadId, parts: u32, at: Timestamp) -> Result<(), Refusal> {
        if self.0.contains_key(&id) {
            return Err(Refusal::Repeated);
        }
        let upload = Upload { submission: 1, built_at: at, parts_expected: parts, parts: BTreeMap::new() };
        self.0.insert(id, upload);
        Ok(())
    }

    /// Parts of it have come so far. What is not the next of its part is left out; refused when nothing is left.
    pub(crate) fn note(
        &mut self,
        id: &UploadId,
        submission: u32,
        noted: Vec<(PartId, Answer)>,
    ) -> Result<(), Refusal> {
        let upload = self.0.get_mut(id).ok_or(Refusal::UnknownUpload)?;
        let mut taken = Err(Refusal::Repeated);
        for (part, answer) in noted {
            if submission != upload.submission_of(&part) {
                taken = taken.or(Err(Refusal::Overtaken));
                continue;
            }
            let is_known = upload.parts.contains_key(&part);
            if !is_known && upload.parts.len() >= upload.parts_expected as usize {
                return Err(Refusal::Malformed);
            }
            if upload.note(part, answer).is_ok() {
                taken = Ok(());
            }
        }
        taken
    }

    /// The next submission begins.
    pub(crate) fn retry(&mut self, id: &UploadId, submission: u32) -> Result<(), Refusal> {
        let upload = self.0.get_mut(id).ok_or(Refusal::UnknownUpload)?;
        if upload.submission.checked_add(1) != Some(submission) {
            return Err(Refusal::Overtaken);
        }
        if upload.status() >= Status::Accepted {
            return Err(Refusal::Repeated);
        }
        upload.submission = submission;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> UploadId {
        UploadId {
            period: "2026-10".parse().unwrap(),
            distributor: "ingram".to_owned(),
            revision: 1,
            destination: "connect".to_owned(),
        }
    }

    fn line(sku: &str) -> PartId {
        PartId::Line("cus_a".parse().unwrap(), sku.parse().unwrap())
    }

    fn answer(submission: u32, status: Status, far_id: &str) -> Answer {
        Answer {
            submission,
            status,
            at: "2026-11-05T00:00:00Z".parse().unwrap(),
            quantity: String::new(),
            digest: String::new(),
            far_id: far_id.to_owned(),
            said: String::new(),
        }
    }

    /// Uploads with one of two lines, and what notes a step of a line in a submission.
    fn built() -> Uploads {
        let mut uploads = Uploads::default();
        uploads.build(id(), 2, "2026-11-05T00:00:00Z".parse().unwrap()).unwrap();
        uploads
    }

    fn step(uploads: &mut Uploads, sku: &str, submission: u32, status: Status) -> Result<(), Refusal> {
        uploads.note(&id(), submission, vec![(line(sku), answer(submission, status, "far"))])
    }

    fn status(uploads: &Uploads) -> Status {
        uploads.get(&id()).unwrap().status()
    }

    #[test]
    fn a_statement_has_come_as_far_as_the_last_of_its_parts() {
        let mut uploads = built();
        assert_eq!(status(&uploads), Status::Built);
        for (sku, to, all) in [
            ("A", Status::Sent, Status::Sent),
            ("A", Status::Accepted, Status::Sent),
            ("B", Status::Sent, Status::Sent),
            ("B", Status::Acknowledged, Status::Acknowledged),
            ("B", Status::Accepted, Status::Accepted),
            ("A", Status::Settled, Status::Accepted),
            ("B", Status::Settled, Status::Settled),
        ] {
            step(&mut uploads, sku, 1, to).unwrap();
            assert_eq!(status(&uploads), all, "{sku} {to:?}");
        }
    }

    #[test]
    fn a_statement_without_parts_has_nothing_to_wait_for() {
        let mut uploads = Uploads::default();
        uploads.build(id(), 0, "2026-11-05T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(status(&uploads), Status::Settled);
    }

    #[test]
    fn a_verdict_is_what_the_far_side_says_of_the_content() {
        let verdicts = [Status::Rejected, Status::Accepted, Status::Settled];
        let others = [Status::Built, Status::Sent, Status::Acknowledged];
        assert!(verdicts.into_iter().all(Status::is_verdict));
        assert!(!others.into_iter().any(Status::is_verdict));
    }

    #[test]
    fn nothing_is_answered_that_was_not_sent_and_nothing_goes_back() {
        let mut uploads = built();
        assert_eq!(step(&mut uploads, "A", 1, Status::Accepted), Err(Refusal::Repeated));
        step(&mut uploads, "A", 1, Status::Sent).unwrap();
        assert_eq!(step(&mut uploads, "A", 1, Status::Sent), Err(Refusal::Repeated));
        step(&mut uploads, "A", 1, Status::Settled).unwrap();
        assert_eq!(step(&mut uploads, "A", 1, Status::Rejected), Err(Refusal::Repeated));
        assert_eq!(uploads.build(id(), 2, Timestamp::UNIX_EPOCH), Err(Refusal::Repeated));
        step(&mut uploads, "B", 1, Status::Sent).unwrap();
        assert_eq!(step(&mut uploads, "C", 1, Status::Sent), Err(Refusal::Malformed), "there are two");
    }

    #[test]
    fn a_far_side_that_changes_its_mind_is_followed_and_all_it_said_is_kept() {
        let mut uploads = built();
        for to in [Status::Sent, Status::Accepted, Status::Rejected, Status::Accepted] {
            step(&mut uploads, "A", 1, to).unwrap();
            assert_eq!(uploads.get(&id()).unwrap().status_of(&line("A")), to);
        }
        let said = uploads.get(&id()).unwrap().part(&line("A")).unwrap().answers();
        assert_eq!(said.len(), 4);
        let mut last = Ok(());
        for turn in 0..ANSWERS_MAX {
            let to = if turn % 2 == 0 { Status::Rejected } else { Status::Accepted };
            last = step(&mut uploads, "A", 1, to);
        }
        assert_eq!(last, Err(Refusal::Repeated), "there is an end to it");
        step(&mut uploads, "A", 1, Status::Settled).unwrap();
    }

    #[test]
    fn what_the_far_side_still_has_is_gone_on_with_whatever_is_sent_again() {
        let mut uploads = built();
        for (sku, to) in
            [("A", Status::Sent), ("A", Status::Rejected), ("B", Status::Sent), ("B", Status::Acknowledged)]
        {
            step(&mut uploads, sku, 1, to).unwrap();
        }
        uploads.retry(&id(), 2).unwrap();
        let upload = uploads.get(&id()).unwrap();
        assert_eq!(
            (upload.status_of(&line("A")), upload.status_of(&line("B"))),
            (Status::Built, Status::Acknowledged)
        );
        assert_eq!(step(&mut uploads, "B", 2, Status::Settled), Err(Refusal::Overtaken));
        step(&mut uploads, "B", 1, Status::Settled).unwrap();
        for to in [Status::Sent, Status::Settled] {
            step(&mut uploads, "A", 2, to).unwrap();
        }
        assert_eq!(status(&uploads), Status::Settled);
    }

    #[test]
    fn where_all_that_was_sent_was_rejected_a_retry_begins_with_nothing_out() {
        let mut uploads = built();
        for to in [Status::Sent, Status::Rejected] {
            step(&mut uploads, "A", 1, to).unwrap();
        }
        assert_eq!(status(&uploads), Status::Rejected);
        uploads.retry(&id(), 2).unwrap();
        assert_eq!(status(&uploads), Status::Built);
        step(&mut uploads, "A", 2, Status::Sent).unwrap();
        assert_eq!(status(&uploads), Status::Sent);
    }

    #[test]
    fn a_retry_sends_what_was_not_accepted_and_late_answers_of_before_do_not_count() {
        let mut uploads = built();
        for (sku, to) in
            [("A", Status::Sent), ("A", Status::Accepted), ("B", Status::Sent), ("B", Status::Rejected)]
        {
            step(&mut uploads, sku, 1, to).unwrap();
        }
        assert_eq!(status(&uploads), Status::Rejected);
        assert_eq!(uploads.retry(&id(), 3), Err(Refusal::Overtaken));
        uploads.retry(&id(), 2).unwrap();
        let upload = uploads.get(&id()).unwrap();
        assert_eq!((upload.submission_of(&line("A")), upload.submission_of(&line("B"))), (1, 2));
        assert_eq!(
            (upload.status_of(&line("A")), upload.status_of(&line("B"))),
            (Status::Accepted, Status::Built)
        );
        assert_eq!(step(&mut uploads, "B", 1, Status::Accepted), Err(Refusal::Overtaken));
        for to in [Status::Sent, Status::Accepted] {
            step(&mut uploads, "B", 2, to).unwrap();
        }
        assert_eq!((status(&uploads), uploads.retry(&id(), 3)), (Status::Accepted, Err(Refusal::Repeated)));
    }
}
