//! One destination: brings what is sealed there, part by part. Invariant: what is about to be sent is on record before
//! it is; what was answered is put on record as it was said, without secrets; whatever is cut off in between is gone
//! on with under the same key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::mapping::Mapping;
use seatbeat_ledger::uploads::{PartId, SAID_LENGTH_MAX, Status, Upload, UploadId};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{UploadNoted, UploadPart};
use tokio::sync::Mutex as AsyncMutex;

use super::pace::Pace;
use super::sealed::{SealedMonth, Seats, due};
use crate::books::{Books, WriteError};
use crate::distributor::call::SendError;
use crate::distributor::connector::{Answer, Connector};
use crate::distributor::destination::Destination;
use crate::distributor::projection::{Load, OutPart, Projection, statement_key};
use crate::distributor::secrets::Secrets;
use crate::jobs::close::{Closing, running_period};

/// Parts whose sending is put on record at once: what is cut off is at most so much to be asked for again.
const CHUNK: usize = 100;

/// Parts that may be refused one after the other before the destination rests: it is not the parts then.
const STOPS_MAX: u32 = 3;

/// Failures one after the other from which on somebody is told: half an hour or so.
const FAILURES_TOLD: u32 = 5;

/// How long a verdict is asked for: two months, as long as evidence may come in.
const FOLLOWED_FOR: SignedDuration = SignedDuration::from_hours(62 * 24);

/// What a part says that no far side takes.
const BY_HAND: &str = "settle by hand: this destination takes no correction of an earlier month";

/// What keeps something from going on, until a person has changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What happened.
    pub why: String,
    /// What to do.
    pub hint: String,
}

/// How a destination is.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// What keeps all of it.
    pub trouble: Option<Trouble>,
    /// What happened last, while it is tried again.
    pub failing: Option<String>,
    /// When it is tried again.
    pub next_try: Option<Timestamp>,
    /// What keeps statements.
    pub statements: BTreeMap<UploadId, Trouble>,
    /// What keeps parts.
    pub parts: BTreeMap<(UploadId, PartId), Trouble>,
}

/// A destination with the way there.
pub struct Desk {
    name: String,
    destination: Destination,
    connector: Box<dyn Connector>,
    secrets: Arc<dyn Secrets>,
    books: Books,
    closing: Closing,
    /// One at a time.
    pace: AsyncMutex<Paces>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Paces {
    /// Whether the secrets' command was asked since the start.
    has_asked: bool,
    far_side: Pace,
    verdicts: BTreeMap<UploadId, Pace>,
}

/// The far side is not asked any more for now.
struct Rest;

impl Desk {
    /// A destination of these books.
    pub fn new(
        name: &str,
        destination: Destination,
        connector: Box<dyn Connector>,
        secrets: Arc<dyn Secrets>,
        books: Books,
        closing: Closing,
    ) -> Self {
        let name = name.to_owned();
        let (pace, told) = (AsyncMutex::default(), Mutex::default());
        Self { name, destination, connector, secrets, books, closing, pace, told }
    }

    /// As it is configured.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The way there.
    pub fn connector(&self) -> &dyn Connector {
        &*self.connector
    }

    /// A text without the destination's secrets.
    pub fn scrub(&self, text: &str) -> String {
        self.secrets.scrub(text)
    }

    /// How it is.
    pub fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings what is due, once. What fails is told and tried again at its time.
    pub async fn run(&self, now: Timestamp) {
        let mut paces = self.pace.lock().await;
        self.take_new_secrets(&mut paces).await;
        if !paces.far_side.is_due(now) {
            return;
        }
        for id in self.books.read(|fold| due(fold, &self.name, &self.destination)) {
            if self.bring(&id, &mut paces, now).await.is_err() {
                break;
            }
        }
        self.tell();
    }

    /// What was refused with other secrets may be let in with new ones.
    async fn take_new_secrets(&self, paces: &mut Paces) {
        // Without new ones what they are refused for stays, and is told where they are wanted.
        let asks = !std::mem::replace(&mut paces.has_asked, true);
        if self.secrets.renew(asks).await.is_ok_and(|are_new| are_new) {
            paces.far_side = Pace::default();
            self.keep(|told| {
                told.trouble = None;
                told.parts.clear();
            });
        }
    }

    /// Forgets what kept it, so that it is tried at once.
    pub async fn forget(&self, id: &UploadId) {
        let mut paces = self.pace.lock().await;
        paces.far_side = Pace::default();
        paces.verdicts.remove(id);
        let renewed = self.secrets.renew(true).await;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.trouble = renewed.err().map(|error| stopped_by(error.into()));
        told.failing = None;
        told.next_try = None;
        told.statements.remove(id);
        told.parts.retain(|(kept, _), _| kept != id);
    }

    /// What goes there of a sealed statement.
    ///
    /// # Errors
    /// Says what is missing.
    pub async fn projection(&self, month: &SealedMonth) -> Result<Projection, Trouble> {
        let failed = |why: String| Trouble { why, hint: "see the collector's log".to_owned() };
        let names = month.names(&self.books, self.destination.names).map_err(failed)?;
        let mapping = self.mapping();
        let live = self.live().await.map_err(failed)?;
        self.connector.project(&month.outgoing(&names, &live, &mapping)).map_err(|error| Trouble {
            why: error.to_string(),
            hint: format!(
                "`seatbeat upload dry-run` shows it; `seatbeat mapping import {} FILE.csv` maps",
                self.name
            ),
        })
    }

    /// The mapping in force.
    pub fn mapping(&self) -> Mapping {
        self.books.read(|fold| fold.mappings().of(&self.name).cloned()).unwrap_or_default()
    }

    /// The running month's high water, where a quantity that is set holds from then on.
    async fn live(&self) -> Result<Seats, String> {
        if !self.destination.connector.sets_quantities() {
            return Ok(Seats::new());
        }
        let (closing, running) = (self.closing.clone(), running_period(&self.books));
        let counted = tokio::task::spawn_blocking(move || closing.so_far(running)).await;
        let counted = counted.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let output = counted.map_err(|error| error.to_string())?;
        let seats = output
            .statement
            .lines
            .iter()
            .map(|line| ((line.customer.clone(), line.sku.clone()), line.quantity));
        Ok(seats.collect())
    }

    fn upload(&self, id: &UploadId) -> Option<Upload> {
        self.books.read(|fold| fold.uploads().get(id).cloned())
    }

    async fn bring(&self, id: &UploadId, paces: &mut Paces, now: Timestamp) -> Result<(), Rest> {
        let known = self.upload(id);
        let status = known.as_ref().map(Upload::status);
        let is_out = status.is_some_and(|status| status >= Status::Acknowledged);
        let is_followed = paces.verdicts.get(id).is_none_or(|pace| pace.is_due(now));
        if status == Some(Status::Settled) || (is_out && !is_followed) || self.is_held_up(id) {
            return Ok(());
        }
        let projected = async {
            let month = SealedMonth::newest(&self.books, id)
                .map_err(|why| Trouble { why, hint: "see `seatbeat statement list`".to_owned() })?;
            Ok((self.projection(&month).await?, month))
        };
        let (projection, month) = match projected.await {
            Ok(projected) => projected,
            Err(trouble) => {
                self.keep(|told| drop(told.statements.insert(id.clone(), trouble)));
                return Ok(());
            }
        };
        if known.is_none() {
            let parts = u32::try_from(projection.parts.len()).unwrap_or(u32::MAX);
            let built = UploadNoted { parts, ..id.step(1, Status::Built) };
            self.write(built, paces, now).await?;
        }
        let Some(upload) = self.upload(id) else { return Ok(()) };
        let key = |submission| statement_key(&month.body, &month.file, submission);
        let trip = Trip { id, upload: &upload, key: &key };
        self.send_all(&trip, &projection, paces, now).await?;
        self.follow_all(id, &projection, &key, paces, now).await
    }

    fn is_held_up(&self, id: &UploadId) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.trouble.is_some() || told.statements.contains_key(id)
    }

    async fn send_all(
        &self,
        trip: &Trip<'_>,
        projection: &Projection,
        paces: &mut Paces,
        now: Timestamp,
    ) -> Result<(), Rest> {
        let Trip { id, upload, .. } = *trip;
        let stopped: BTreeSet<PartId> =
            self.told().parts.into_keys().filter(|(kept, _)| kept == id).map(|(_, part)| part).collect();
        let is_due =
            |part: &&OutPart| upload.status_of(&part.id) <= Status::Sent && !stopped.contains(&part.id);
        let parts: Vec<&OutPart> = projection.parts.iter().filter(is_due).collect();
        for chunk in parts.chunks(CHUNK) {
            let new = chunk.iter().filter(|part| upload.status_of(&part.id) == Status::Built);
            let sent: Vec<UploadPart> = new.map(|part| said_of(part, String::new(), String::new())).collect();
            if !sent.is_empty() {
                // On record before the first of them goes out.
                let sent = UploadNoted { noted: sent, ..id.step(upload.submission, Status::Sent) };
                self.write(sent, paces, now).await?;
            }
            let mut answers = Answers::default();
            let sent = self.send_chunk(trip, chunk, &mut answers, paces, now).await;
            self.put_on_record(id, answers, paces, now).await?;
            sent?;
        }
        Ok(())
    }

    async fn send_chunk(
        &self,
        trip: &Trip<'_>,
        chunk: &[&OutPart],
        answers: &mut Answers,
        paces: &mut Paces,
        now: Timestamp,
    ) -> Result<(), Rest> {
        let Trip { id, upload, key } = *trip;
        let mut stops = 0;
        for part in chunk {
            let submission = upload.submission_of(&part.id);
            let answer = match &part.load {
                Load::ByHand(_) => Ok(Answer::new(Status::Acknowledged, "").saying(BY_HAND)),
                Load::Seats { .. } | Load::Files(_) => self.connector.send(part, &key(submission)).await,
            };
            match answer {
                Ok(answer) => {
                    stops = 0;
                    self.reached(paces);
                    answers.note(submission, part, self.cleaned(answer));
                }
                Err(SendError::Again { why, after }) => return Err(self.failed(&why, after, paces, now)),
                Err(error @ SendError::Stop { .. }) => {
                    stops += 1;
                    let trouble = self.trouble(error);
                    if stops >= STOPS_MAX {
                        self.keep(|told| told.trouble = Some(trouble));
                        return Err(Rest);
                    }
                    self.keep(|told| drop(told.parts.insert((id.clone(), part.id.clone()), trouble)));
                }
            }
        }
        Ok(())
    }

    /// Asks what became of what the far side has.
    async fn follow_all(
        &self,
        id: &UploadId,
        projection: &Projection,
        key: Keys<'_>,
        paces: &mut Paces,
        now: Timestamp,
    ) -> Result<(), Rest> {
        let Some(upload) = self.upload(id) else { return Ok(()) };
        let is_followed = paces.verdicts.entry(id.clone()).or_default().is_due(now);
        let is_over = now.duration_since(upload.built_at) > FOLLOWED_FOR;
        if !is_followed || is_over {
            return Ok(());
        }
        let mut answers = Answers::default();
        let mut followed = Ok(());
        for part in projection.parts.iter().filter(|part| !matches!(part.load, Load::ByHand(_))) {
            let Some(last) = upload.part(&part.id).map(|known| known.last()) else { continue };
            let status = upload.status_of(&part.id);
            if status < Status::Acknowledged || status == Status::Settled {
                continue;
            }
            let submission = upload.submission_of(&part.id);
            match self.connector.follow(part, &key(submission), &last.far_id).await {
                Ok(answer) => {
                    self.reached(paces);
                    let is_news = (answer.status, &answer.far_id) != (last.status, &last.far_id);
                    if is_news {
                        answers.note(submission, part, self.cleaned(answer));
                    }
                }
                Err(SendError::Again { why, after }) => {
                    followed = Err(self.failed(&why, after, paces, now));
                    break;
                }
                Err(error @ SendError::Stop { .. }) => {
                    let trouble = self.trouble(error);
                    self.keep(|told| drop(told.parts.insert((id.clone(), part.id.clone()), trouble)));
                }
            }
        }
        let has_news = !answers.0.is_empty();
        self.put_on_record(id, answers, paces, now).await?;
        let pace = paces.verdicts.entry(id.clone()).or_default();
        if has_news {
            *pace = Pace::default();
        }
        pace.waits(now);
        followed
    }

    async fn put_on_record(
        &self,
        id: &UploadId,
        answers: Answers,
        paces: &mut Paces,
        now: Timestamp,
    ) -> Result<(), Rest> {
        for ((submission, status), parts) in answers.0 {
            self.write(UploadNoted { noted: parts, ..id.step(submission, status) }, paces, now).await?;
        }
        Ok(())
    }

    async fn write(&self, fact: UploadNoted, paces: &mut Paces, now: Timestamp) -> Result<(), Rest> {
        let written: Result<_, WriteError> =
            self.books.write_as_leader("", vec![Fact::UploadNoted(fact)]).await;
        written.map(drop).map_err(|error| self.failed(&error.to_string(), None, paces, now))
    }

    fn cleaned(&self, answer: Answer) -> Answer {
        let cut = |text: &str| {
            let text = self.secrets.scrub(text);
            let end = text.floor_char_boundary(SAID_LENGTH_MAX);
            text[..end].to_owned()
        };
        Answer { status: answer.status, far_id: cut(&answer.far_id), said: cut(&answer.said) }
    }

    fn trouble(&self, error: SendError) -> Trouble {
        let Trouble { why, hint } = stopped_by(error);
        Trouble { why: self.secrets.scrub(&why), hint: self.secrets.scrub(&hint) }
    }

    fn reached(&self, paces: &mut Paces) {
        paces.far_side = Pace::default();
        self.keep(|told| {
            told.failing = None;
            told.next_try = None;
        });
    }

    fn failed(
        &self,
        why: &str,
        after: Option<std::time::Duration>,
        paces: &mut Paces,
        now: Timestamp,
    ) -> Rest {
        let salt = seatbeat_proto::signed::hash(self.name.as_bytes());
        let salt = salt.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        // Each house has times of its own.
        let house = self.books.keys().service().verifying_key();
        let house = house.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        paces.far_side.failed(now, after, salt ^ house);
        let why = self.secrets.scrub(why);
        tracing::info!(destination = %self.name, %why, "a destination is tried again later");
        let next = paces.far_side.next();
        let is_lasting = paces.far_side.turns() >= FAILURES_TOLD;
        self.keep(|told| {
            told.next_try = next;
            told.failing = Some(why);
        });
        if is_lasting {
            self.tell();
        }
        Rest
    }

    fn keep(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Raises or ends the destination's alarm.
    fn tell(&self) {
        let told = self.told();
        let rejected = self.books.read(|fold| {
            let of_here = |(id, upload): (&UploadId, &Upload)| {
                (id.destination == self.name && upload.status() == Status::Rejected).then_some(id.period)
            };
            fold.uploads().iter().filter_map(of_here).last()
        });
        let alarm = format!("upload-{}", self.name);
        match self.words(&told, rejected) {
            Some(words) => self.books.alarms().raise(alarm, words),
            None => self.books.alarms().clear(&alarm),
        }
    }

    fn words(&self, told: &Told, rejected: Option<Period>) -> Option<String> {
        let name = &self.name;
        let say = |what: &str, Trouble { why, hint }: &Trouble| {
            format!("{what} to destination {name}: {why}. {hint}; then `seatbeat upload retry`")
        };
        if let Some(trouble) = &told.trouble {
            return Some(say("nothing goes", trouble));
        }
        if let Some((id, trouble)) = told.statements.first_key_value() {
            return Some(say(&format!("the statement of {} does not go", id.period), trouble));
        }
        if let Some(((id, part), trouble)) = told.parts.first_key_value() {
            let (more, of) = (told.parts.len() - 1, id.period);
            let others = if more == 0 { String::new() } else { format!(" and {more} more") };
            return Some(say(&format!("{part}{others} of {of} does not go"), trouble));
        }
        if let Some(period) = rejected {
            return Some(format!(
                "destination {name} rejected the statement of {period}: `seatbeat upload show {period} --destination \
                 {name}` says why; `seatbeat upload retry` sends it again"
            ));
        }
        let failing = told.failing.as_ref()?;
        Some(format!("destination {name} cannot be reached: {failing}; it is tried again by itself"))
    }
}

/// What a part is sent under, by its submission.
type Keys<'a> = &'a (dyn Fn(u32) -> String + Send + Sync);

/// A statement with what is on record of it.
struct Trip<'a> {
    id: &'a UploadId,
    upload: &'a Upload,
    key: Keys<'a>,
}

/// Answers of one chunk, by submission and what they say.
#[derive(Default)]
struct Answers(BTreeMap<(u32, Status), Vec<UploadPart>>);

impl Answers {
    fn note(&mut self, submission: u32, part: &OutPart, answer: Answer) {
        self.0.entry((submission, answer.status)).or_default().push(said_of(
            part,
            answer.far_id,
            answer.said,
        ));
    }
}

fn stopped_by(error: SendError) -> Trouble {
    match error {
        SendError::Stop { why, hint } => Trouble { why, hint },
        SendError::Again { why, .. } => Trouble { why, hint: "it passes by itself".to_owned() },
    }
}

/// A part as it stands in a record, with nothing said of it yet.
pub(crate) fn on_record(part: &PartId) -> UploadPart {
    let (customer, sku, for_period) = match part {
        PartId::Whole => (String::new(), String::new(), String::new()),
        PartId::Line(customer, sku) => (customer.to_string(), sku.to_string(), String::new()),
        PartId::Correction(customer, sku, period) => {
            (customer.to_string(), sku.to_string(), period.to_string())
        }
    };
    UploadPart { customer, sku, for_period, ..UploadPart::default() }
}

fn said_of(part: &OutPart, far_id: String, said: String) -> UploadPart {
    let (quantity, digest) = (part.quantity.clone(), part.digest.clone());
    UploadPart { quantity, digest, far_id, said, ..on_record(&part.id) }
}
