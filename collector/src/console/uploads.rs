//! Statements on their way, for whoever watches over them. Invariant: a plan is what would be sent, to the byte, and
//! sends nothing; a retry and a settlement are on record with who asked for it and why.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::reconciliation::Source;
use seatbeat_ledger::uploads::{Answer, PartId, Status, Upload, UploadId};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{UploadNoted, UploadPart, UploadRetried};
use serde::{Deserialize, Serialize};

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use super::prices::NamedFile;
use super::reconcile::{ReconcileQuery, Unnamed, note_provisioned};
use crate::distributor::projection::{Load, OutPart, ShownRequest, statement_key};
use crate::jobs::upload::desk::{Desk, on_record};
use crate::jobs::upload::sealed::{SealedMonth, due};
use crate::journal::Position;

/// How often destinations are asked for what is on their books.
const COMPARED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What a person writes behind what no far side settles.
const SETTLED_BY_HAND: &str = "settled by hand";

/// Which statements on their way.
#[derive(Debug, Clone, Default)]
pub struct UploadQuery {
    /// Only there.
    pub destination: Option<String>,
    /// Only of this month.
    pub period: Option<Period>,
}

/// A statement and one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// The month.
    pub period: Period,
    /// Whose statement.
    pub distributor: String,
    /// Which of the sealed ones.
    pub revision: u32,
    /// Where it goes.
    pub destination: String,
    /// In which way; empty: it is not configured any more.
    pub connector: String,
    /// How far it has come: `due` before it is built.
    pub status: String,
    /// A later revision was sealed: this one is not sent any more.
    pub superseded: bool,
    /// From 1; 0 before it is built.
    pub submission: u32,
    /// Of how many parts it is.
    pub parts_expected: u32,
    /// How many parts have come how far.
    pub parts: BTreeMap<String, u32>,
    /// What keeps it, until a person changes something.
    pub trouble: Vec<TroubleRow>,
    /// What happened last, where it is tried again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Timestamp>,
    /// Each part with its answers, where one statement and one destination were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<PartRow>,
}

/// What keeps a statement, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleRow {
    /// Which part; empty: all.
    pub part: String,
    /// What happened.
    pub why: String,
    /// What to do.
    pub hint: String,
}

/// A part, and all that the far side ever said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRow {
    /// `statement`, `CUSTOMER/SKU`, or `CUSTOMER/SKU of MONTH`.
    pub part: String,
    /// How far it has come.
    pub status: String,
    /// The first one first.
    pub answers: Vec<Answer>,
}

/// What would be sent to a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanRow {
    destination: String,
    connector: &'static str,
    period: Period,
    revision: u64,
    /// Of a draft: it may change until it is approved.
    is_draft: bool,
    /// What each request is told apart by.
    key: String,
    parts: Vec<PlannedPart>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct PlannedPart {
    part: String,
    /// What is set; of a correction how many more or fewer it was.
    quantity: String,
    digest: String,
    /// What was sealed, where another quantity is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    /// What is in force there now, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<String>,
    /// What else there is to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    requests: Vec<ShownRequest>,
    files: Vec<String>,
}

impl Console {
    /// Where statements are on their way, the newest month first.
    ///
    /// # Errors
    /// When the position is not known here in time.
    pub async fn uploads(&self, query: UploadQuery, after: u64) -> Result<Vec<UploadRow>, Fault> {
        self.books.reached(after).await?;
        let in_full = query.destination.is_some() && query.period.is_some();
        let mut rows = Vec::new();
        self.books.read(|fold| {
            let mut ids: Vec<UploadId> = fold.uploads().iter().map(|(id, _)| id.clone()).collect();
            for (name, desk) in self.uploads.desks() {
                ids.extend(due(fold, name, desk.destination()));
            }
            ids.sort();
            ids.dedup();
            let is_asked = |id: &&UploadId| {
                query.destination.as_ref().is_none_or(|name| *name == id.destination)
                    && query.period.is_none_or(|period| period == id.period)
            };
            rows.extend(ids.iter().filter(is_asked).map(|id| self.upload_row(fold, id, in_full)));
        });
        rows.reverse();
        Ok(rows)
    }

    fn upload_row(&self, fold: &Fold, id: &UploadId, in_full: bool) -> UploadRow {
        let upload = fold.uploads().get(id);
        let desk = self.uploads.desk(&id.destination);
        let told = desk.map(|desk| desk.told()).unwrap_or_default();
        let newest = fold.sealed(id.period).find(|(name, _)| *name == id.distributor);
        let mut parts: BTreeMap<String, u32> = BTreeMap::new();
        for (part, _) in upload.into_iter().flat_map(Upload::parts) {
            let status = upload.map_or(Status::Built, |upload| upload.status_of(part));
            *parts.entry(status.name().to_owned()).or_default() += 1;
        }
        let whole = told.trouble.iter().chain(told.statements.get(id));
        let mut trouble: Vec<TroubleRow> =
            whole.map(|trouble| TroubleRow::of(String::new(), trouble)).collect();
        let of_parts = told.parts.iter().filter(|((kept, _), _)| kept == id);
        trouble.extend(of_parts.map(|((_, part), trouble)| TroubleRow::of(part.to_string(), trouble)));
        let answers = |upload: &Upload| {
            let row = |(part, known): (&PartId, &seatbeat_ledger::uploads::Part)| PartRow {
                part: part.to_string(),
                status: upload.status_of(part).name().to_owned(),
                answers: known.answers().to_vec(),
            };
            upload.parts().map(row).collect()
        };
        UploadRow {
            period: id.period,
            distributor: id.distributor.clone(),
            revision: id.revision,
            destination: id.destination.clone(),
            connector: desk.map_or("", |desk| desk.destination().connector.name()).to_owned(),
            status: upload.map_or("due", |upload| upload.status().name()).to_owned(),
            superseded: newest.is_some_and(|(_, sealed)| sealed.revision > id.revision),
            submission: upload.map_or(0, |upload| upload.submission),
            parts_expected: upload.map_or(0, |upload| upload.parts_expected),
            parts,
            trouble,
            failing: told.failing,
            next_try: told.next_try,
            answers: upload.filter(|_| in_full).map(answers).unwrap_or_default(),
        }
    }

    /// What a month's statement is sent with: `requests.json`, and the files. `look`: with what is in force there now.
    ///
    /// # Errors
    /// When there is no such destination or statement, or it cannot go there.
    pub async fn upload_plan(
        &self,
        query: UploadQuery,
        look: bool,
        after: u64,
    ) -> Result<Vec<NamedFile>, Fault> {
        self.books.reached(after).await?;
        let period = query.period.ok_or_else(|| Fault::value("the month", "is missing"))?;
        let mut desks: Vec<(String, Arc<Desk>)> = Vec::new();
        match &query.destination {
            Some(name) => desks.push((name.clone(), self.desk(name)?.clone())),
            None => desks.extend(self.uploads.desks().map(|(name, desk)| (name.to_owned(), desk.clone()))),
        }
        let is_sealed = self.books.read(|fold| fold.sealed(period).next().is_some());
        let mut drafted: BTreeMap<String, SealedMonth> = BTreeMap::new();
        if !is_sealed {
            drafted = self.drafted_months(period).await?;
        }
        let (mut plans, mut files) = (Vec::new(), Vec::new());
        for (name, desk) in desks {
            let found = self.books.read(|fold| due(fold, &name, desk.destination()));
            let sealed = found.into_iter().find(|id| id.period == period);
            let month = match sealed {
                Some(id) => Some(
                    SealedMonth::newest(&self.books, &id)
                        .map_err(|why| Fault::value("the statement", why))?,
                ),
                None => drafted.remove(&desk.destination().distributor),
            };
            let Some(month) = month else { continue };
            let planned = planned(&name, &desk, &month, !is_sealed, look).await?;
            files.extend(planned.1);
            plans.push(planned.0);
        }
        if plans.is_empty() {
            return Err(Fault::value("the destination", format!("has no statement of {period} to take")));
        }
        let bytes = serde_json::to_vec_pretty(&plans).expect("plans have text keys and plain values");
        files.insert(0, NamedFile { name: "requests.json".to_owned(), bytes });
        Ok(files)
    }

    /// A month that is not sealed, signed as it would be if it were approved now.
    async fn drafted_months(&self, period: Period) -> Result<BTreeMap<String, SealedMonth>, Fault> {
        let closing = self.closing.clone();
        let draft = tokio::task::spawn_blocking(move || closing.draft(period, 0)).await??;
        let (key, now) = (self.books.keys().statement(), self.books.clock().now());
        let public = key.verifying_key().to_bytes();
        let month = |(distributor, statement)| {
            let month = SealedMonth::of(&statement, now, &public);
            month.map(|month| (distributor, month)).map_err(|why| Fault::value("the draft", why))
        };
        draft.approved(key).statements().map(month).collect()
    }

    /// Sends again what was rejected, and tries at once what is held up.
    ///
    /// # Errors
    /// When there is no such statement on its way, nothing is to be sent any more, or it cannot be written.
    pub async fn retry_upload(
        &self,
        caller: &Caller,
        destination: &str,
        period: Period,
        reason: &str,
    ) -> Result<Position, Fault> {
        let (id, upload) = self.on_its_way(destination, period)?;
        let desk = self.desk(destination)?.clone();
        let status = upload.as_ref().map(Upload::status);
        if status.is_some_and(|status| status >= Status::Accepted) {
            let status = status.map_or("", Status::name);
            return Err(Fault::value(
                "the statement",
                format!("is {status} there: nothing of it is sent again"),
            ));
        }
        let position = match upload.filter(|upload| upload.status() == Status::Rejected) {
            None => Position(self.books.read(Fold::position)),
            Some(upload) => {
                if reason.trim().is_empty() {
                    return Err(Fault::value(
                        "the reason",
                        "is missing: it was rejected, and is sent once more",
                    ));
                }
                let fact = UploadRetried {
                    destination: id.destination.clone(),
                    distributor: id.distributor.clone(),
                    period: id.period.to_string(),
                    revision: id.revision,
                    submission: upload.submission + 1,
                };
                let facts = vec![Fact::UploadRetried(fact)];
                self.tried(caller, reason, &facts).await?;
                self.books.write_all(caller, reason, facts).await?
            }
        };
        desk.forget(&id).await;
        Ok(position)
    }

    /// A person has settled what the far side does not: corrections by hand, and verdicts that nobody gives.
    ///
    /// # Errors
    /// When there is no reason or nothing to settle, or it cannot be written.
    pub async fn settle_upload(
        &self,
        caller: &Caller,
        destination: &str,
        period: Period,
        reason: &str,
    ) -> Result<Position, Fault> {
        if reason.trim().is_empty() {
            return Err(Fault::value(
                "the reason",
                "is missing: how it was settled is asked for when somebody looks back",
            ));
        }
        let (id, upload) = self.on_its_way(destination, period)?;
        let Some(upload) = upload else {
            return Err(Fault::value("the statement", "was not sent there: there is nothing to settle"));
        };
        let mut settled: BTreeMap<u32, Vec<UploadPart>> = BTreeMap::new();
        for (part, known) in upload.parts() {
            let last = known.last();
            if upload.status_of(part) < Status::Acknowledged || last.status == Status::Settled {
                continue;
            }
            settled.entry(upload.submission_of(part)).or_default().push(UploadPart {
                quantity: last.quantity.clone(),
                digest: last.digest.clone(),
                far_id: last.far_id.clone(),
                said: SETTLED_BY_HAND.to_owned(),
                ..on_record(part)
            });
        }
        if settled.is_empty() {
            return Err(Fault::value("the statement", "has nothing there that a person could settle"));
        }
        let fact = |(submission, parts): (u32, Vec<UploadPart>)| {
            let step = id.step(submission, Status::Settled);
            Fact::UploadNoted(UploadNoted { noted: parts, ..step })
        };
        let facts: Vec<Fact> = settled.into_iter().map(fact).collect();
        self.tried(caller, reason, &facts).await?;
        Ok(self.books.write_all(caller, reason, facts).await?)
    }

    /// Asks the destinations of a month's distributors for what is on their books, and puts that on record. Answers
    /// what they list and no mapping names.
    ///
    /// # Errors
    /// When the one that was named does not tell, one does not answer, or it cannot be written.
    pub async fn fetch_provisioned(&self, query: &ReconcileQuery) -> Result<Vec<Unnamed>, Fault> {
        let is_asked = |name: &str, desk: &Desk| {
            let is_named = match &query.source {
                None => true,
                Some(source) => *source == Source::Destination(name.to_owned()),
            };
            let distributor = &desk.destination().distributor;
            is_named && query.distributor.as_ref().is_none_or(|asked| asked == distributor)
        };
        let mut unnamed = Vec::new();
        for (name, desk) in self.uploads.desks().filter(|(name, desk)| is_asked(name, desk)) {
            let distributor = desk.destination().distributor.as_str();
            let is_sealed = |fold: &Fold| fold.sealed(query.period).any(|(sealed, _)| sealed == distributor);
            // What is on its books today is no month's, and is compared only by who knows that.
            let is_wanted = query.source.is_some() || desk.connector().tells_months();
            if !is_wanted || query.period < desk.destination().from || !self.books.read(is_sealed) {
                continue;
            }
            let told = desk.connector().provisioned(query.period, &desk.mapping()).await;
            let told = told.map_err(|error| {
                Fault::value("the destination", desk.scrub(&format!("`{name}` does not answer: {error}")))
            })?;
            match told {
                Some(seats) => {
                    let noted =
                        note_provisioned(&self.books, name, (distributor, query.period), seats).await?;
                    unnamed.extend(noted.unnamed);
                }
                None if query.source.is_some() => {
                    return Err(Fault::value(
                        "the destination",
                        format!("`{name}` does not tell what is on its books"),
                    ));
                }
                None => {}
            }
        }
        Ok(unnamed)
    }

    /// Asks for the last sealed month, each day: what differs then is in the way of the next one.
    pub async fn compare_daily(self, stopped: impl Future<Output = ()>) {
        let mut tick = tokio::time::interval(COMPARED_EVERY);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => return,
                _ = tick.tick() => {}
            }
            let Some(period) = self.books.read(|fold| fold.sealed_periods().max()) else { continue };
            let query = ReconcileQuery { period, distributor: None, source: None };
            if let Err(error) = self.fetch_provisioned(&query).await {
                tracing::info!(%error, "what destinations have on their books is not known");
            }
        }
    }

    pub(super) fn desk(&self, name: &str) -> Result<&Arc<Desk>, Fault> {
        self.uploads.desk(name).ok_or_else(|| {
            let known: Vec<&str> = self.uploads.desks().map(|(name, _)| name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Fault::value("the destination", format!("`{name}` is not in seatbeat.toml; there are: {known}"))
        })
    }

    fn on_its_way(&self, destination: &str, period: Period) -> Result<(UploadId, Option<Upload>), Fault> {
        let desk = self.desk(destination)?;
        self.books.read(|fold| {
            let found = due(fold, destination, desk.destination()).into_iter().find(|id| id.period == period);
            let id = found.ok_or_else(|| {
                Fault::value(
                    "the month",
                    format!("{period} has no sealed statement that goes to `{destination}`"),
                )
            })?;
            let upload = fold.uploads().get(&id).cloned();
            Ok((id, upload))
        })
    }
}

impl TroubleRow {
    fn of(part: String, trouble: &crate::jobs::upload::desk::Trouble) -> Self {
        Self { part, why: trouble.why.clone(), hint: trouble.hint.clone() }
    }
}

async fn planned(
    name: &str,
    desk: &Desk,
    month: &SealedMonth,
    is_draft: bool,
    look: bool,
) -> Result<(PlanRow, Vec<NamedFile>), Fault> {
    let projection = desk.projection(month).await.map_err(|trouble| {
        Fault::value("the statement", format!("cannot go to `{name}`: {}", trouble.why))
    })?;
    let (mut parts, mut files) = (Vec::new(), Vec::new());
    for part in &projection.parts {
        let mut planned = planned_part(part);
        if look && matches!(part.load, Load::Seats { .. }) {
            planned.in_force = Some(match desk.connector().in_force(part).await {
                Ok(Some(seats)) => seats.to_string(),
                Ok(None) => "nothing".to_owned(),
                Err(error) => desk.scrub(&format!("not known: {error}")),
            });
        }
        if let Load::Files(out) = &part.load {
            files.extend(
                out.iter().map(|file| NamedFile {
                    name: format!("{name}-{}", file.name),
                    bytes: file.bytes.to_vec(),
                }),
            );
        }
        parts.push(planned);
    }
    let row = PlanRow {
        destination: name.to_owned(),
        connector: desk.destination().connector.name(),
        period: month.body.statement.period,
        revision: month.body.revision,
        is_draft,
        key: statement_key(&month.body, &month.file, 1),
        parts,
    };
    Ok((row, files))
}

fn planned_part(part: &OutPart) -> PlannedPart {
    let (sealed, note, files) = match &part.load {
        Load::Seats { seats, sealed, .. } if sealed.to_string() != seats.to_string() => {
            let note = "more than was sealed: so many ran on one day of the running month";
            (Some(sealed.to_string()), Some(note), Vec::new())
        }
        Load::Seats { .. } => (None, None, Vec::new()),
        Load::Files(files) => (None, None, files.iter().map(|file| file.name.clone()).collect()),
        Load::ByHand(_) => (None, Some("a person settles it: the far side takes no correction"), Vec::new()),
    };
    PlannedPart {
        part: part.id.to_string(),
        quantity: part.quantity.clone(),
        digest: part.digest.clone(),
        sealed,
        in_force: None,
        note,
        requests: part.requests.clone(),
        files,
    }
}
