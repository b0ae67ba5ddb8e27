//! Ingram Micro's platform CloudBlue Connect: a statement is a usage file, handed in and followed until it is closed.
//! Invariant: of a statement there is one usage file there, whatever is sent how often; what is submitted is what this
//! program uploaded; nothing is handed in that is being decided upon.
//!
//! It needs a vendor's account there, and was never tried against the live platform. What it cannot be told is a
//! correction down: quantities are never negative there. After CloudBlue Connect's OpenAPI 37.0 and its usage files'
//! states: draft → uploading → processing → ready | invalid; ready → pending → accepted | rejected; accepted → closed;
//! invalid, ready and rejected may be uploaded again.

mod api;
mod licences;
mod records;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::mapping::Mapping;
use seatbeat_ledger::sealed::digest;
use seatbeat_ledger::uploads::Status;
use serde_json::{Value, json};

use super::arm::Arm;
use super::call::SendError;
use super::connector::{Answer, Connector, FarSeats, FarSubscription, Tools};
use super::destination::{Column, Destination, DestinationError};
use super::projection::{Load, OutFile, OutPart, Outgoing, Projection, ProjectionError, ShownRequest};
use api::{Api, FileStatus, UsageFile, form, in_query, read};

/// What it is called.
const NAME: &str = "cloudblue-connect";

/// Where it is.
const USUAL_URL: &str = "https://api.connect.cloudblue.com/public/v1";

/// Column of the mapping: what is billed there.
const ITEM: &str = "item";
/// Column of the mapping: whose it is there.
const ASSET: &str = "asset";
/// Column of the mapping: by what `item` is looked up.
const ITEM_CRITERIA: &str = "item_criteria";

/// Columns of its mapping.
pub const COLUMNS: &[Column] = &[
    Column { name: ITEM, is_needed: true },
    Column { name: ASSET, is_needed: true },
    Column { name: ITEM_CRITERIA, is_needed: false },
];

/// Most that is done of a usage file in one go: uploading and submitting, each seen to have been done.
const STEPS_MAX: usize = 4;

/// The platform, as seen by a vendor.
pub struct CloudblueConnect {
    api: Api,
    product: String,
    contract: String,
    currency: String,
    asset_parameter: Option<String>,
    /// Of each usage file what this process saw uploaded as a whole: under which key, which digest.
    uploaded: Mutex<BTreeMap<String, (String, String)>>,
}

/// Who asks for a usage file to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// To send it: what was refused in an earlier submission is sent again.
    Send,
    /// What became of it.
    Follow,
}

impl CloudblueConnect {
    /// As it is configured.
    ///
    /// # Errors
    /// When an option is missing or unknown, or the address is none.
    pub fn new(destination: &Destination, tools: Tools) -> Result<Self, DestinationError> {
        destination.only_options(&["product", "contract", "currency", "asset_parameter"])?;
        Ok(Self {
            api: Api::new(destination.base_url(Some(USUAL_URL))?, tools),
            product: destination.needed("product")?.to_owned(),
            contract: destination.needed("contract")?.to_owned(),
            currency: destination.needed("currency")?.to_owned(),
            asset_parameter: destination.option("asset_parameter").map(str::to_owned),
            uploaded: Mutex::default(),
        })
    }

    /// The usage file of a statement, the one that has come furthest where a request arrived twice.
    async fn found(&self, external_id: &str) -> Result<Option<UsageFile>, SendError> {
        let path = format!("/usage/files?external_id={}", in_query(external_id));
        let all: Vec<UsageFile> = self.api.list("the list of usage files", &path).await?;
        let there = all.into_iter().filter(|file| file.status != FileStatus::Deleted);
        Ok(there.max_by(|a, b| (a.status, &b.id).cmp(&(b.status, &a.id))))
    }

    async fn look(&self, far_id: &str) -> Result<UsageFile, SendError> {
        self.api.get(&format!("usage file `{far_id}`"), &format!("/usage/files/{}", in_query(far_id))).await
    }

    async fn create(&self, described: &OutFile, external_id: &str) -> Result<UsageFile, SendError> {
        let mut body: Value = serde_json::from_slice(&described.bytes)
            .map_err(|error| SendError::stop(error.to_string(), "this is a fault of the program"))?;
        body["external_id"] = external_id.into();
        let answer = self.api.post("/usage/files", Some(&body)).await?;
        if answer.status() != StatusCode::CREATED {
            return Err(SendError::of("making the usage file", &answer));
        }
        // If it was made twice, the list says which of them counts.
        if let Some(file) = self.found(external_id).await? {
            return Ok(file);
        }
        let made: Value = read("making the usage file", &answer)?;
        let id = made["id"].as_str().ok_or_else(|| SendError::again("the new usage file has no id"))?;
        self.look(id).await
    }

    /// Takes a usage file as far as it goes without waiting, and says how far that is.
    async fn advance(
        &self,
        part: &OutPart,
        key: &str,
        mut file: UsageFile,
        asked: Asked,
    ) -> Result<Answer, SendError> {
        let is_resend = asked == Asked::Send && statement_of(key) != key;
        for _ in 0..STEPS_MAX {
            let is_uploaded = self.is_uploaded(&file.id, key, &part.digest);
            file = match file.status {
                FileStatus::Draft => self.upload(part, key, file).await?,
                FileStatus::Invalid if !is_uploaded => self.upload(part, key, file).await?,
                FileStatus::Rejected if is_resend && !is_uploaded => self.upload(part, key, file).await?,
                // What was processed may be of before: only what this process uploaded is submitted.
                FileStatus::Ready if !is_uploaded => self.upload(part, key, file).await?,
                FileStatus::Ready | FileStatus::Uploaded => self.submit(file).await?,
                _ => return answered(file),
            };
        }
        answered(file)
    }

    async fn upload(&self, part: &OutPart, key: &str, file: UsageFile) -> Result<UsageFile, SendError> {
        let (_, workbook) = loaded(part)?;
        let (content_type, body) = form("usage_file", workbook);
        let path = format!("/usage/files/{}/upload", in_query(&file.id));
        let answer = self.api.call(Method::POST, &path, Some((&content_type, body))).await?;
        if answer.status().is_success() {
            let uploaded = (key.to_owned(), part.digest.clone());
            self.uploaded.lock().unwrap_or_else(PoisonError::into_inner).insert(file.id.clone(), uploaded);
            return self.look(&file.id).await;
        }
        self.gone_on(file, SendError::of("uploading the usage file", &answer)).await
    }

    async fn submit(&self, file: UsageFile) -> Result<UsageFile, SendError> {
        let path = format!("/usage/files/{}/submit", in_query(&file.id));
        let answer = self.api.post(&path, None).await?;
        if answer.status().is_success() {
            return self.look(&file.id).await;
        }
        self.gone_on(file, SendError::of("submitting the usage file", &answer)).await
    }

    /// What was refused may have been done already, by a request whose answer was lost.
    async fn gone_on(&self, before: UsageFile, refused: SendError) -> Result<UsageFile, SendError> {
        if matches!(refused, SendError::Again { .. }) {
            return Err(refused);
        }
        let now = self.look(&before.id).await?;
        if now.status == before.status { Err(refused) } else { Ok(now) }
    }

    fn is_uploaded(&self, far_id: &str, key: &str, digest: &str) -> bool {
        let uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        uploaded.get(far_id).is_some_and(|(of_key, of_digest)| of_key == key && of_digest == digest)
    }

    /// Every line in the destination's currency, or without one: quantities alone go there.
    fn check_currency(&self, outgoing: &Outgoing<'_>) -> Result<(), ProjectionError> {
        let mut currencies = outgoing.body.statement.lines.iter().filter_map(|line| line.price.as_ref());
        match currencies.find(|price| price.currency != self.currency) {
            None => Ok(()),
            Some(price) => Err(ProjectionError::Currency {
                found: price.currency.clone(),
                expected: self.currency.clone(),
            }),
        }
    }

    /// The usage file as it is made, without what tells it from others.
    fn described(&self, outgoing: &Outgoing<'_>, stem: &str) -> OutFile {
        let body = outgoing.body;
        let (from, to) = records::dates(body.statement.period);
        let described = json!({
            "name": format!("{stem} {}", body.distributor).chars().take(100).collect::<String>(),
            "description": format!("statement {}", digest(outgoing.file)),
            "period": { "from": from.to_string(), "to": to.to_string() },
            "currency": self.currency,
            "product": { "id": self.product },
            "contract": { "id": self.contract },
        });
        let bytes = Arc::from(described.to_string().into_bytes());
        OutFile { name: format!("{stem}.usage-file.json"), media_type: "application/json", bytes }
    }

    fn shown(&self, described: &OutFile, workbook: &OutFile) -> Vec<ShownRequest> {
        let shown = |method: &str, path: &str, body: &str| ShownRequest {
            method: method.to_owned(),
            target: self.api.target(path),
            body: body.to_owned(),
        };
        vec![
            shown("GET", "/usage/files?external_id={key}", ""),
            shown("POST", "/usage/files", &String::from_utf8_lossy(&described.bytes)),
            shown("POST", "/usage/files/{id}/upload", &workbook.name),
            shown("POST", "/usage/files/{id}/submit", ""),
        ]
    }
}

impl Connector for CloudblueConnect {
    fn project(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError> {
        self.check_currency(outgoing)?;
        let (bytes, by_hand) = records::workbook(outgoing, self.asset_parameter.as_deref())?;
        let stem = format!("{}-r{}", outgoing.body.statement.period, outgoing.body.revision);
        let described = self.described(outgoing, &stem);
        let workbook = OutFile {
            name: format!("{stem}.xlsx"),
            media_type: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            bytes: Arc::from(bytes),
        };
        let requests = self.shown(&described, &workbook);
        let mut parts = vec![OutPart::files(vec![described, workbook], requests)];
        parts.extend(by_hand);
        Ok(Projection { parts })
    }

    fn send<'a>(&'a self, part: &'a OutPart, key: &'a str) -> BoxFuture<'a, Result<Answer, SendError>> {
        async move {
            let (described, _) = loaded(part)?;
            // A later submission goes on with the usage file of the first: two would be billed twice.
            let external_id = statement_of(key);
            let file = match self.found(external_id).await? {
                Some(file) => file,
                None => self.create(described, external_id).await?,
            };
            self.advance(part, key, file, Asked::Send).await
        }
        .boxed()
    }

    fn follow<'a>(
        &'a self,
        part: &'a OutPart,
        key: &'a str,
        far_id: &'a str,
    ) -> BoxFuture<'a, Result<Answer, SendError>> {
        async move {
            let file = self.look(far_id).await?;
            self.advance(part, key, file, Asked::Follow).await
        }
        .boxed()
    }

    fn arm(&self) -> Option<&dyn Arm> {
        Some(self)
    }

    fn provisioned<'a>(
        &'a self,
        _: Period,
        mapping: &'a Mapping,
    ) -> BoxFuture<'a, Result<Option<Vec<FarSeats>>, SendError>> {
        async move { Ok(Some(self.far_seats(mapping).await?)) }.boxed()
    }

    fn subscriptions(&self) -> BoxFuture<'_, Result<Option<Vec<FarSubscription>>, SendError>> {
        async move { Ok(Some(self.far_subscriptions().await?)) }.boxed()
    }
}

/// The usage file as it is made, and its workbook.
fn loaded(part: &OutPart) -> Result<(&OutFile, &OutFile), SendError> {
    match &part.load {
        Load::Files(files) if files.len() == 2 => Ok((&files[0], &files[1])),
        _ => Err(SendError::stop(
            format!("`{}` is no usage file", part.id),
            "this is a fault of the program: usage files alone go there",
        )),
    }
}

/// A key without the number of its submission.
fn statement_of(key: &str) -> &str {
    match key.rsplit_once("-s") {
        Some((statement, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
            statement
        }
        _ => key,
    }
}

/// How far a usage file has come, in our words and the platform's.
fn answered(file: UsageFile) -> Result<Answer, SendError> {
    let UsageFile { id, status, error_detail, acceptance_note, rejection_note } = file;
    let status = match status {
        FileStatus::Draft
        | FileStatus::Uploading
        | FileStatus::Uploaded
        | FileStatus::Processing
        | FileStatus::Ready
        | FileStatus::Pending => Status::Acknowledged,
        FileStatus::Accepted => Status::Accepted,
        FileStatus::Rejected => Status::Rejected,
        FileStatus::Closed => Status::Settled,
        FileStatus::Invalid => {
            let why = error_detail.unwrap_or_else(|| "it does not say why".to_owned());
            return Err(SendError::stop(
                format!("usage file `{id}` is invalid: {why}"),
                "mend the mapping's `item` and `asset`, then `seatbeat upload retry`",
            ));
        }
        FileStatus::Deleted => {
            let hint = "if that was not meant, `seatbeat upload retry` makes another one";
            return Err(SendError::stop(format!("usage file `{id}` was deleted there"), hint));
        }
        FileStatus::Unknown => {
            return Err(SendError::again(format!("usage file `{id}` is in no state that is known here")));
        }
    };
    let said = match status {
        Status::Rejected => rejection_note,
        Status::Accepted | Status::Settled => acceptance_note,
        _ => None,
    };
    Ok(Answer::new(status, id).saying(said.unwrap_or_default()))
}
