//! Requests to the platform and what its answers hold. Invariant: the key goes out in one header, marked as a secret;
//! an answer that is not what was asked for is told in the platform's words.
//!
//! After CloudBlue Connect's OpenAPI 37.0: `/usage/files`, `/requests`, `/assets`.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use seatbeat_ledger::sealed::digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::call::SendError;
use super::super::connector::Tools;
use super::super::projection::OutFile;

/// Its name among the destination's secrets.
const API_KEY: &str = "api_key";

/// Rows that are asked for at a time: an asset is some ten kilobytes, and an answer has to fit.
const PAGE_ROWS: usize = 100;

/// Rows beyond which a list is not read on: the platform would be asked for hours.
const ROWS_MAX: usize = 100_000;

/// The platform.
pub struct Api {
    base: String,
    tools: Tools,
}

/// How far a usage file has come there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileStatus {
    /// It is no longer there.
    Deleted,
    /// It has no workbook.
    Draft,
    /// Its workbook is no usage.
    Invalid,
    /// Its workbook is on its way.
    Uploading,
    /// Its workbook is there.
    Uploaded,
    /// Its workbook is being read.
    Processing,
    /// It may be submitted.
    Ready,
    /// The distributor refuses it.
    Rejected,
    /// The distributor has it.
    Pending,
    /// The distributor agrees.
    Accepted,
    /// It is billed.
    Closed,
    /// What this program does not know.
    #[serde(other)]
    Unknown,
}

/// A usage file as the platform shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct UsageFile {
    /// `UF-…`.
    pub id: String,
    /// How far it has come.
    pub status: FileStatus,
    /// Why its workbook is no usage.
    #[serde(default)]
    pub error_detail: Option<String>,
    /// What the distributor said to it.
    #[serde(default)]
    pub acceptance_note: Option<String>,
    /// Why the distributor refuses it.
    #[serde(default)]
    pub rejection_note: Option<String>,
}

impl Api {
    /// The platform at this address.
    pub fn new(base: String, tools: Tools) -> Self {
        Self { base, tools }
    }

    /// The collector's clock.
    pub fn now(&self) -> jiff::Timestamp {
        self.tools.clock.now()
    }

    /// Where a path is.
    pub fn target(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request with a body of this type, or none.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Response<Bytes>, SendError> {
        let secret = self.tools.secrets.get(API_KEY).await?;
        let unusable = |what: &str| {
            SendError::stop(format!("{what} cannot be sent"), "it has to be plain text in one line")
        };
        let key = secret.trim().trim_start_matches("ApiKey ");
        let mut authorization = HeaderValue::from_str(&format!("ApiKey {key}"))
            .map_err(|_| unusable(&format!("the secret `{API_KEY}`")))?;
        authorization.set_sensitive(true);
        let mut request = Request::builder()
            .method(method)
            .uri(self.target(path))
            .header(AUTHORIZATION, authorization)
            .header(ACCEPT, "application/json");
        if let Some((content_type, _)) = &body {
            request = request.header(CONTENT_TYPE, *content_type);
        }
        let body = body.map_or_else(Bytes::new, |(_, body)| body);
        let request = request.body(body).map_err(|_| unusable(&format!("`{path}`")))?;
        Ok(self.tools.transport.call(request).await?)
    }

    /// Asks for something.
    pub async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, SendError> {
        let answer = self.call(Method::GET, path, None).await?;
        if !answer.status().is_success() {
            return Err(SendError::of(what, &answer));
        }
        read(what, &answer)
    }

    /// Posts data.
    pub async fn post(&self, path: &str, body: Option<&Value>) -> Result<Response<Bytes>, SendError> {
        let body = body.map(|body| ("application/json", Bytes::from(body.to_string())));
        self.call(Method::POST, path, body).await
    }

    /// All of a list; `path` has a query already.
    pub async fn list<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<Vec<T>, SendError> {
        let mut all = Vec::new();
        loop {
            let page = format!("{path}&limit={PAGE_ROWS}&offset={}", all.len());
            let rows: Vec<T> = self.get(what, &page).await?;
            let is_last = rows.len() < PAGE_ROWS;
            all.extend(rows);
            if is_last {
                return Ok(all);
            }
            if all.len() >= ROWS_MAX {
                let why = format!("{what} has more than {ROWS_MAX} rows");
                return Err(SendError::stop(
                    why,
                    "see that the destination's `product` is the one that is sold",
                ));
            }
        }
    }
}

/// What an answer holds.
pub fn read<T: DeserializeOwned>(what: &str, answer: &Response<Bytes>) -> Result<T, SendError> {
    // Whatever stands between may have answered; the platform itself answers as its document says.
    serde_json::from_slice(answer.body()).map_err(|error| {
        SendError::again(format!("{what} was answered with {}, not as documented: {error}", answer.status()))
    })
}

/// A form with one file. Its part has a type of its own: the platform does not read it otherwise.
pub fn form(field: &str, file: &OutFile) -> (String, Bytes) {
    // Longer than what any workbook holds by chance, and the same for the same bytes.
    let boundary = digest(&file.bytes).replace("sha256:", "seatbeat-");
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
        file.name, file.media_type
    )
    .into_bytes();
    body.extend_from_slice(&file.bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), Bytes::from(body))
}

/// A value in a query.
pub fn in_query(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte))
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
