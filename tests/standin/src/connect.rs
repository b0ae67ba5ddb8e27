//! CloudBlue Connect as a vendor sees it: usage files, assets, and requests about them. Invariant: a usage file moves
//! along the platform's own state machine and along nothing else; it does not care whether an external id is new, and a
//! workbook that is empty or torn is no usage.
//!
//! What is decided is decided while nobody looks: an answer shows how it was, the next one how it is since.

mod assets;
mod form;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response};
use serde_json::{Value, json};

use crate::{Platform, Verdict, json as answer};
use assets::{Asset, AssetRequest};

/// When all of it happens.
const NOW: &str = "2026-11-05T08:45:00+00:00";

/// The platform.
pub struct Connect {
    api_key: String,
    product: String,
    contract: String,
    files: Vec<UsageFile>,
    assets: BTreeMap<String, Asset>,
    requests: Vec<AssetRequest>,
    verdicts: VecDeque<Verdict>,
    effects: Vec<String>,
}

/// How far a usage file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Draft,
    Processing,
    Invalid,
    Ready,
    Pending,
    Accepted,
    Rejected,
    Closed,
    Deleted,
}

struct UsageFile {
    id: String,
    made_of: Value,
    state: State,
    workbook: Vec<u8>,
    /// What the distributor is going to say, one a look.
    to_come: VecDeque<State>,
}

/// What is wrong with a request.
struct Refused(u16, &'static str, String);

impl Connect {
    /// Lets in who has the key; usage files are of this product and contract.
    pub fn new(api_key: &str, product: &str, contract: &str) -> Self {
        Self {
            api_key: api_key.to_owned(),
            product: product.to_owned(),
            contract: contract.to_owned(),
            files: Vec::new(),
            assets: BTreeMap::new(),
            requests: Vec::new(),
            verdicts: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// With an asset of a customer that has so many of an item; `parameter` is of the asset.
    #[must_use]
    pub fn with_asset(
        mut self,
        id: &str,
        customer: &str,
        item_mpn: &str,
        quantity: u64,
        parameter: (&str, &str),
    ) -> Self {
        let asset = self.assets.entry(id.to_owned()).or_insert_with(|| Asset::new(customer, parameter));
        asset.items.push((item_mpn.to_owned(), quantity));
        self
    }

    /// The workbook of the usage file with an external id, as it was uploaded last.
    pub fn workbook(&self, external_id: &str) -> Option<&[u8]> {
        let file = self.files.iter().find(|file| file.made_of["external_id"] == external_id)?;
        Some(&file.workbook)
    }

    fn route(&mut self, request: &Request<Bytes>) -> Result<Response<Bytes>, Refused> {
        let path = request.uri().path();
        // Behind `/public/v1`, or alone.
        let path = path.strip_prefix("/public/v1").unwrap_or(path);
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let query = query(request.uri().query().unwrap_or_default());
        match (request.method(), segments.as_slice()) {
            (&Method::GET, ["usage", "files"]) => Ok(self.list_files(&query)),
            (&Method::POST, ["usage", "files"]) => self.make_file(request),
            (&Method::GET, ["usage", "files", id]) => self.show_file(id),
            (&Method::POST, ["usage", "files", id, "upload"]) => self.upload(id, request),
            (&Method::POST, ["usage", "files", id, "submit"]) => self.submit(id),
            (&Method::POST, ["usage", "files", id, "delete"]) => self.delete(id),
            (&Method::GET, ["assets"]) => Ok(self.list_assets(&query)),
            (&Method::GET, ["assets", id]) => self.show_asset(id),
            (&Method::GET, ["requests"]) => Ok(self.list_requests(&query)),
            (&Method::POST, ["requests"]) => self.make_request(request),
            (&Method::GET, ["requests", id]) => self.show_request(id),
            _ => Err(not_found(path)),
        }
    }

    fn list_files(&self, query: &BTreeMap<String, String>) -> Response<Bytes> {
        let there = self.files.iter().filter(|file| file.state != State::Deleted);
        let wanted = there.filter(|file| {
            query.get("external_id").is_none_or(|external_id| file.made_of["external_id"] == **external_id)
        });
        page(wanted.map(|file| self.shown(file)).collect(), query)
    }

    fn make_file(&mut self, request: &Request<Bytes>) -> Result<Response<Bytes>, Refused> {
        let body = body(request)?;
        for field in ["name", "external_id", "currency"] {
            if body[field].as_str().is_none_or(str::is_empty) {
                return Err(invalid(format!("{field}: This field is required.")));
            }
        }
        let limits = [("name", 100), ("description", 200)];
        if limits
            .iter()
            .any(|(field, max)| body[field].as_str().is_some_and(|text| text.chars().count() > *max))
        {
            return Err(invalid("name, description: Ensure this field has no more characters.".to_owned()));
        }
        if body["product"]["id"] != self.product || body["contract"]["id"] != self.contract {
            return Err(invalid("product, contract: Invalid value.".to_owned()));
        }
        let is_date = |field: &str| body["period"][field].as_str().is_some_and(|date| date.len() == 10);
        if !is_date("from") || !is_date("to") {
            return Err(invalid("period: Enter a valid date.".to_owned()));
        }
        let id = format!("UF-2026-11-{:04}-0001", self.files.len() + 1);
        let file = UsageFile {
            id,
            made_of: body,
            state: State::Draft,
            workbook: Vec::new(),
            to_come: VecDeque::new(),
        };
        self.effect(&file, "made");
        // What is answered to this has no state, and references as plain ids.
        let made = json!({
            "id": file.id, "name": file.made_of["name"], "external_id": file.made_of["external_id"],
            "vendor": "VA-000-001", "provider": "PA-000-001", "environment": "production",
            "marketplace": "MP-00001", "product_id": self.product, "schema": "qt",
            "currency": file.made_of["currency"], "description": file.made_of["description"],
        });
        self.files.push(file);
        Ok(answer(201, &made))
    }

    fn show_file(&mut self, id: &str) -> Result<Response<Bytes>, Refused> {
        let index = self.file(id)?;
        let shown = self.shown(&self.files[index]);
        let file = &mut self.files[index];
        match file.state {
            State::Processing => {
                let is_whole = form::is_workbook(&file.workbook);
                file.state = if is_whole { State::Ready } else { State::Invalid };
            }
            State::Pending | State::Accepted | State::Rejected => {
                if let Some(next) = file.to_come.pop_front() {
                    file.state = next;
                    let file = &self.files[index];
                    let line = format!("{} {}", named(file), next.name());
                    self.effects.push(line);
                }
            }
            _ => {}
        }
        Ok(answer(200, &shown))
    }

    fn upload(&mut self, id: &str, request: &Request<Bytes>) -> Result<Response<Bytes>, Refused> {
        let index = self.file(id)?;
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let workbook = form::file(content_type.unwrap_or_default(), request.body(), "usage_file")
            .map_err(|why| invalid(format!("usage_file: {why}")))?;
        let state = self.files[index].state;
        if !matches!(state, State::Draft | State::Invalid | State::Ready | State::Rejected) {
            return Err(invalid(format!("Usage file cannot be uploaded in status {}.", state.name())));
        }
        let file = &mut self.files[index];
        file.workbook = workbook;
        file.state = State::Processing;
        file.to_come.clear();
        self.effect_of(index, "uploaded");
        Ok(answer(200, &self.shown(&self.files[index])))
    }

    fn submit(&mut self, id: &str) -> Result<Response<Bytes>, Refused> {
        let index = self.file(id)?;
        let state = self.files[index].state;
        if state != State::Ready {
            return Err(invalid(format!("Usage file cannot be submitted in status {}.", state.name())));
        }
        let to_come = match self.verdicts.pop_front().unwrap_or(Verdict::Accept) {
            Verdict::Accept => vec![State::Accepted, State::Closed],
            Verdict::Reject => vec![State::Rejected],
            Verdict::AcceptThenReject => vec![State::Accepted, State::Rejected],
            Verdict::RejectThenAccept => vec![State::Rejected, State::Accepted, State::Closed],
        };
        self.files[index].state = State::Pending;
        self.files[index].to_come = to_come.into();
        self.effect_of(index, "submitted");
        Ok(answer(200, &self.shown(&self.files[index])))
    }

    fn delete(&mut self, id: &str) -> Result<Response<Bytes>, Refused> {
        let index = self.file(id)?;
        let shown = self.shown(&self.files[index]);
        if !matches!(self.files[index].state, State::Draft | State::Invalid | State::Ready) {
            return Err(invalid("Usage file cannot be deleted.".to_owned()));
        }
        self.files[index].state = State::Deleted;
        self.effect_of(index, "deleted");
        Ok(answer(200, &shown))
    }

    fn file(&self, id: &str) -> Result<usize, Refused> {
        self.files.iter().position(|file| file.id == id).ok_or_else(|| not_found(id))
    }

    fn effect(&mut self, file: &UsageFile, act: &str) {
        self.effects.push(format!("{} {act}", named(file)));
    }

    fn effect_of(&mut self, index: usize, act: &str) {
        let line = format!("{} {act}", named(&self.files[index]));
        self.effects.push(line);
    }

    fn shown(&self, file: &UsageFile) -> Value {
        let note = |state, note: &str| if file.state == state { json!(note) } else { Value::Null };
        json!({
            "id": file.id,
            "name": file.made_of["name"],
            "external_id": file.made_of["external_id"],
            "status": file.state.name(),
            "vendor": { "id": "VA-000-001", "name": "Vendor" },
            "provider": { "id": "PA-000-001", "name": "Distributor" },
            "environment": "production",
            "marketplace": { "id": "MP-00001", "name": "Marketplace" },
            "contract": { "id": self.contract, "name": "Contract" },
            "product": { "id": self.product, "name": "Product" },
            "description": file.made_of["description"],
            "schema": "qt",
            "currency": file.made_of["currency"],
            "period": file.made_of["period"],
            "error_detail": note(State::Invalid, "The spreadsheet cannot be read."),
            "acceptance_note": note(State::Accepted, "Agreed."),
            "rejection_note": note(State::Rejected, "The quantities are not ours."),
            "events": { "created": { "at": NOW } },
        })
    }
}

impl Platform for Connect {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if authorization != Some(&format!("ApiKey {}", self.api_key)) {
            let body = json!({ "error_code": "AUTH_001", "errors": ["API request is unauthorized."] });
            return answer(401, &body);
        }
        match self.route(request) {
            Ok(answered) => answered,
            Err(Refused(status, code, why)) => {
                answer(status, &json!({ "error_code": code, "errors": [why] }))
            }
        }
    }

    fn effects(&self) -> Vec<String> {
        self.effects.clone()
    }

    fn decide(&mut self, verdict: Verdict) {
        self.verdicts.push_back(verdict);
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Processing => "processing",
            Self::Invalid => "invalid",
            Self::Ready => "ready",
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Closed => "closed",
            Self::Deleted => "deleted",
        }
    }
}

fn named(file: &UsageFile) -> String {
    format!("usage file {}", file.made_of["external_id"].as_str().unwrap_or_default())
}

fn not_found(what: &str) -> Refused {
    Refused(404, "NOT_FOUND", format!("{what} was not found."))
}

fn invalid(why: String) -> Refused {
    Refused(400, "VAL_001", why)
}

/// A body that is an object.
fn body(request: &Request<Bytes>) -> Result<Value, Refused> {
    let is_json = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let body: Option<Value> = serde_json::from_slice(request.body()).ok();
    body.filter(|body| is_json && body.is_object())
        .ok_or_else(|| invalid("the body is no JSON object".to_owned()))
}

/// A page of a list, as `limit` and `offset` ask for.
fn page(all: Vec<Value>, query: &BTreeMap<String, String>) -> Response<Bytes> {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (limit, offset) = (number("limit").unwrap_or(100).min(1000), number("offset").unwrap_or(0));
    let total = all.len();
    let rows: Vec<Value> = all.into_iter().skip(offset).take(limit).collect();
    let range = format!("items {offset}-{}/{total}", (offset + rows.len()).saturating_sub(1));
    let mut answered = answer(200, &Value::from(rows));
    if let Ok(range) = range.parse() {
        answered.headers_mut().insert("content-range", range);
    }
    answered
}

/// `field=value`, or in the platform's query language `eq(field,value)`.
fn query(text: &str) -> BTreeMap<String, String> {
    let pair = |term: &str| -> Option<(String, String)> {
        let equal = || term.strip_prefix("eq(")?.strip_suffix(')')?.split_once(',');
        let (name, value) = term.split_once('=').or_else(equal)?;
        Some((decoded(name), decoded(value)))
    };
    text.split('&').filter_map(pair).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
