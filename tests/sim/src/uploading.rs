//! Sealed statements on their way to a distributor that loses questions and answers, decides late, and refuses. Invariant:
//! what is due and how far it has come is the ledger's word; the far side does what its contract says: one key, one effect.

use std::collections::BTreeMap;

use seatbeat_collector::distributor::projection::statement_key;
use seatbeat_collector::jobs::upload::sealed::SealedMonth;
use seatbeat_ledger::uploads::{PartId, Status, Upload, UploadId};
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Signed, UploadNoted, UploadPart, UploadRetried};

use crate::invariant::Invariant;
use crate::leading::Term;
use crate::witness::Hash;
use crate::world::{Event, HOUR, MINUTE, SECOND, World};
use crate::wrong::Wrong;

/// What the far side is called.
const DESTINATION: &str = "far";

/// What the far side has under a key.
#[derive(Debug, Clone)]
struct Kept {
    bytes: Hash,
    /// Its verdict, and from when on it tells it.
    verdict: Status,
    decided_ms: i64,
}

/// A distributor's platform.
#[derive(Debug, Default)]
pub struct FarSide {
    kept: BTreeMap<String, Kept>,
    /// Of each statement the keys under which something came.
    keys: BTreeMap<UploadId, Vec<String>>,
}

/// A statement as it goes out.
#[derive(Debug, Clone)]
pub struct Parcel {
    id: UploadId,
    submission: u32,
    key: String,
    file: Vec<u8>,
}

impl World {
    /// Brings what is sealed to the far side, one step of each statement.
    pub fn upload(&mut self, term: Term) {
        let Some(running) = &self.collectors[term.collector].running else { return };
        let fold = &running.fold;
        let ids: Vec<UploadId> = fold
            .sealed_periods()
            .flat_map(|period| {
                fold.sealed(period).map(move |(distributor, sealed)| (period, distributor, sealed))
            })
            .map(|(period, distributor, sealed)| UploadId {
                period,
                distributor: distributor.to_owned(),
                revision: sealed.revision,
                destination: DESTINATION.to_owned(),
            })
            .collect();
        if self.is_wrong(Wrong::UploadsLeftOut) {
            return;
        }
        let mut waits = false;
        for id in ids {
            waits |= !self.bring(term, &id);
        }
        if waits {
            let at = self.now + 2 * SECOND + self.draw(if self.healing { MINUTE } else { HOUR });
            self.plan(at, Event::Lead { collector: term.collector });
        }
    }

    /// Brings one statement on; whether nothing is to come any more.
    fn bring(&mut self, term: Term, id: &UploadId) -> bool {
        if self.upload_of(term, id).is_none() {
            let built = UploadNoted { parts: 1, ..id.step(1, Status::Built) };
            self.write_as_leader(term, "", vec![Fact::UploadNoted(built)]);
        }
        let Some((upload, parcel)) = self.upload_of(term, id).zip(self.parcel(term, id)) else {
            return false;
        };
        match upload.status_of(&PartId::Whole) {
            Status::Built => {
                if self.is_wrong(Wrong::SentBeforeRecord) {
                    self.send(&parcel);
                }
                // On record before it goes out.
                self.note(term, &parcel, Status::Sent) && self.send_and_note(term, &parcel)
            }
            Status::Sent => self.send_and_note(term, &parcel),
            Status::Acknowledged => {
                let verdict = self.ask_verdict(&parcel);
                verdict.is_some_and(|verdict| self.note(term, &parcel, verdict))
            }
            // An operator has to look at it.
            Status::Rejected | Status::Accepted | Status::Settled => true,
        }
    }

    fn upload_of(&self, term: Term, id: &UploadId) -> Option<Upload> {
        self.collectors[term.collector].running.as_ref()?.fold.uploads().get(id).cloned()
    }

    fn parcel(&self, term: Term, id: &UploadId) -> Option<Parcel> {
        let fold = &self.collectors[term.collector].running.as_ref()?.fold;
        let (_, sealed) = fold.sealed(id.period).find(|(distributor, _)| *distributor == id.distributor)?;
        let submission = fold.uploads().get(id).map_or(1, |upload| upload.submission_of(&PartId::Whole));
        let statement = Signed { payload: sealed.body.clone(), signature: sealed.signature.clone() };
        let key = self.office.statement.verifying_key().to_bytes();
        let month = SealedMonth::of(&statement, sealed.sealed_at, &key).ok()?;
        let mut key = statement_key(&month.body, &month.file, submission);
        if self.is_wrong(Wrong::AnotherKeyEachTime) {
            key.push_str(&self.now.to_string());
        }
        Some(Parcel { id: id.clone(), submission, key, file: month.file })
    }

    fn note(&mut self, term: Term, parcel: &Parcel, status: Status) -> bool {
        let part = UploadPart { far_id: parcel.key.clone(), ..UploadPart::default() };
        let fact = UploadNoted { noted: vec![part], ..parcel.id.step(parcel.submission, status) };
        self.write_as_leader(term, "", vec![Fact::UploadNoted(fact)])
    }

    /// Whether an answer came, and is on record.
    fn send_and_note(&mut self, term: Term, parcel: &Parcel) -> bool {
        let has_answer = self.send(parcel);
        if has_answer {
            self.note(term, parcel, Status::Acknowledged);
        }
        // What came of it is asked for next.
        false
    }

    /// Sends it; whether an answer comes back.
    fn send(&mut self, parcel: &Parcel) -> bool {
        match if self.healing { 9 } else { self.draw(10) } {
            0 | 1 => {
                self.count("upload lost");
                false
            }
            2 | 3 => {
                self.count("answer of an upload lost");
                self.taken(parcel);
                false
            }
            4 => {
                // It is under way still when its sender has given it up.
                self.count("upload late");
                let at = self.now + self.draw(6 * HOUR);
                self.plan(at, Event::Parcel(Box::new(parcel.clone())));
                false
            }
            _ => {
                self.taken(parcel);
                true
            }
        }
    }

    /// The far side takes what comes, each key once.
    pub fn taken(&mut self, parcel: &Parcel) {
        let Parcel { id, submission, key, file } = parcel;
        let bytes = hash(file);
        // While the only collector is down nobody can be asked.
        let is_down = self.known().is_none();
        let upload = self.known().and_then(|fold| fold.uploads().get(id));
        let is_on_record = is_down
            || upload
                .and_then(|upload| upload.part(&PartId::Whole))
                .is_some_and(|part| part.answers().iter().any(|answer| answer.submission == *submission));
        if !is_on_record && !self.witness.set_back {
            let what = format!("{key} arrives, and nothing on record says that it was sent");
            self.breaks(Invariant::SentIsOnRecord, what);
        }
        if let Some(kept) = self.far.kept.get(key) {
            if kept.bytes != bytes {
                self.breaks(Invariant::UploadedOnce, format!("{key} arrives with other bytes"));
            }
            return self.count("upload taken twice");
        }
        let is_refused = !self.healing && self.draw(3) == 0;
        let verdict = if is_refused { Status::Rejected } else { Status::Accepted };
        if is_refused {
            self.count("upload refused");
        }
        let decided_ms = self.now + self.draw(if self.healing { MINUTE } else { 12 * HOUR });
        self.tell(format!("the far side takes {key}"));
        self.far.kept.insert(key.clone(), Kept { bytes, verdict, decided_ms });
        self.far.keys.entry(id.clone()).or_default().push(key.clone());
    }

    fn ask_verdict(&mut self, parcel: &Parcel) -> Option<Status> {
        let lost = !self.healing && self.draw(4) == 0;
        let kept = self.far.kept.get(&parcel.key).filter(|_| !lost)?;
        (kept.decided_ms <= self.now).then_some(kept.verdict)
    }

    /// An operator sends once more what was refused.
    pub fn retry_uploads(&mut self) {
        let Some(fold) = self.known() else { return };
        let refused = fold.uploads().iter().filter(|(_, upload)| upload.status() == Status::Rejected);
        let refused: Vec<UploadRetried> = refused
            .map(|(id, upload)| UploadRetried {
                destination: id.destination.clone(),
                distributor: id.distributor.clone(),
                period: id.period.to_string(),
                revision: id.revision,
                submission: upload.submission + 1,
            })
            .collect();
        for retried in refused {
            self.write_act(Fact::UploadRetried(retried));
        }
    }

    /// When everything has healed: each statement is there, once.
    pub fn check_uploads(&mut self) {
        // A journal that was set back may have sealed another body since.
        let Some(fold) = self.known().filter(|_| !self.witness.set_back) else { return };
        let mut found = Vec::new();
        for period in fold.sealed_periods() {
            for (distributor, sealed) in fold.sealed(period) {
                let id = UploadId {
                    period,
                    distributor: distributor.to_owned(),
                    revision: sealed.revision,
                    destination: DESTINATION.to_owned(),
                };
                let keys = self.far.keys.get(&id).into_iter().flatten();
                let accepted = keys.filter(|key| self.far.kept[*key].verdict == Status::Accepted).count();
                let status = fold.uploads().get(&id).map(Upload::status);
                if accepted != 1 || status.is_none_or(|status| status < Status::Accepted) {
                    found.push(format!("{period} is {status:?} here, and there {accepted} times"));
                }
            }
        }
        for what in found {
            self.breaks(Invariant::UploadedOnce, what);
        }
    }
}
