//! Tables as files at stable addresses. Invariant: a table that comes in pages is never whole in memory, except as a
//! workbook, of which one is made at a time and none is longer than [`WORKBOOK_ROWS_MAX`]; what is wrong with a
//! request is said before the first byte of an answer.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LINK, VARY,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use seatbeat_ledger::calendar::Period;
use seatbeat_proto::hex;
use seatbeat_proto::signed::hash;
use tokio::sync::Semaphore;

use super::problem::Problem;
use super::{Route, Web};
use crate::console::Console;
use crate::console::auth::Caller;
use crate::console::downloads::{Asked, Download, FORMATS, LIMIT_MAX, Page, Place, TABLES};
use crate::console::fault::Fault;
use crate::outputs::Format;
use crate::outputs::document::{Cell, Document, Table, csv_rows};
use crate::outputs::sheets::workbook;
use json::{Sent, json_rows};

mod json;

/// Rows of a workbook: with all its cells in memory they take some hundred megabytes.
const WORKBOOK_ROWS_MAX: usize = 200_000;

/// Hexadecimal digits of an entity tag: 128 bits.
const TAG_LENGTH: usize = 32;

/// Workbooks that are made at once.
static WORKBOOKS: Semaphore = Semaphore::const_new(1);

/// The routes of all tables.
pub fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for table in TABLES {
        match table.place {
            Place::Paths(paths) => {
                for (path, format) in paths {
                    let answer = async move |State(web): State<Web>, Extension(caller), request: Request| {
                        answered(&web.console, caller, table, format, None, request).await
                    };
                    routes.push(Route { path, needs: table.needs, service: get(answer) });
                }
            }
            Place::Months(path) => {
                let answer = async move |State(web): State<Web>,
                                         Extension(caller),
                                         Path(file): Path<String>,
                                         request: Request| {
                    match month_and_format(&file) {
                        Ok((period, format)) => {
                            answered(&web.console, caller, table, format, Some(period), request).await
                        }
                        Err(fault) => Problem::of(&fault).into_response(),
                    }
                };
                routes.push(Route { path, needs: table.needs, service: get(answer) });
            }
        }
    }
    routes
}

/// A file's name as its month and format.
fn month_and_format(file: &str) -> Result<(Period, Format), Fault> {
    let (month, ending) = file.rsplit_once('.').ok_or(Fault::NoSuchPage)?;
    let format = FORMATS.into_iter().find(|format| format.ending() == ending).ok_or(Fault::NoSuchPage)?;
    Ok((crate::console::fault::period(month)?, format))
}

async fn answered(
    console: &Console,
    caller: Caller,
    table: &'static Download,
    format: Format,
    period: Option<Period>,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    let download = match asked(table, period, &head.uri) {
        Ok(asked) => Asking { console: console.clone(), caller, table, asked, format },
        Err(fault) => return Problem::of(&fault).into_response(),
    };
    match download.answer(&head.uri, &head.headers).await {
        Ok(response) => response,
        Err(fault) => Problem::of(&fault).into_response(),
    }
}

fn asked(table: &Download, period: Option<Period>, uri: &Uri) -> Result<Asked, Fault> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| {
        Fault::value("the address", format!("has parameters that cannot be read: {error}"))
    })?;
    Asked::read(table, period, pairs.0)
}

/// A download that goes on.
struct Asking {
    console: Console,
    caller: Caller,
    table: &'static Download,
    asked: Asked,
    format: Format,
}

impl Asking {
    async fn answer(self, uri: &Uri, headers: &HeaderMap) -> Result<Response, Fault> {
        let limit = self.asked.value("limit").unwrap_or(LIMIT_MAX);
        let cursor = self.table.cursor().and_then(|cursor| self.asked.text(cursor.name)).map(str::to_owned);
        let first = self.page(cursor.as_deref(), limit).await?;
        let link = match (&first.next, self.table.cursor()) {
            (Some(next), Some(cursor)) if self.asked.is_page() => {
                Some(link_to(uri.path(), &self.asked.turned(cursor, next)))
            }
            _ => None,
        };
        let (kind, name) = (content_type(self.format), self.file_name());
        let is_whole = self.asked.is_page() || first.next.is_none();
        let mut response = if self.format == Format::Xlsx {
            let rows = if is_whole { first.rows } else { self.all(first).await? };
            whole(self.workbook(rows).await?, headers)
        } else if is_whole {
            whole(self.piece(&first.rows, Sent::Nothing, true), headers)
        } else {
            self.in_pieces(first)
        };
        let head = response.headers_mut();
        head.insert(VARY, HeaderValue::from_static("authorization, cookie"));
        if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
            head.insert(LINK, link);
        }
        if response.status() == StatusCode::OK {
            let head = response.headers_mut();
            head.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
                head.insert(CONTENT_DISPOSITION, name);
            }
        }
        Ok(response)
    }

    /// Of letters, digits, `-` and `.` alone.
    fn file_name(&self) -> String {
        let of = self.asked.period.map(|period| format!("{period}-")).unwrap_or_default();
        format!("{of}{}.{}", self.table.name, self.format.ending())
    }

    async fn page(&self, cursor: Option<&str>, limit: usize) -> Result<Page, Fault> {
        self.console.page(&self.caller, self.table, &self.asked, cursor, limit).await
    }

    /// All rows, for a workbook.
    async fn all(&self, first: Page) -> Result<Vec<Vec<Cell>>, Fault> {
        let Page { mut rows, mut next } = first;
        while let Some(cursor) = next {
            if rows.len() > WORKBOOK_ROWS_MAX {
                let why =
                    format!("has more than {WORKBOOK_ROWS_MAX} rows: ask for CSV or JSON, or for pages");
                return Err(Fault::value("the workbook", why));
            }
            let page = self.page(Some(&cursor), LIMIT_MAX).await?;
            rows.extend(page.rows);
            next = page.next;
        }
        Ok(rows)
    }

    async fn workbook(&self, rows: Vec<Vec<Cell>>) -> Result<Vec<u8>, Fault> {
        let mut table = Table::new(self.table.name, &heads(self.table));
        table.rows = rows;
        let document = Document::new(self.table.name.to_owned(), [], vec![table]);
        let _one_at_a_time = WORKBOOKS.acquire().await;
        let made = tokio::task::spawn_blocking(move || workbook(&document)).await?;
        made.map_err(|error| Fault::value("the workbook", format!("cannot be made: {error}")))
    }

    /// Rows as text: with what comes before the first of them, and behind the last.
    fn piece(&self, rows: &[Vec<Cell>], sent: Sent, is_last: bool) -> Vec<u8> {
        if self.format == Format::Json {
            return json_rows(self.table.columns, rows, sent, is_last);
        }
        let head =
            if sent == Sent::Nothing { Table::new("", &heads(self.table)).to_csv() } else { Vec::new() };
        [head, csv_rows(rows)].concat()
    }

    /// A page after the other, each read once the one before has gone out. A fault on the way breaks the answer off,
    /// so that nobody takes it for all of them.
    fn in_pieces(self, first: Page) -> Response {
        let pieces = stream::try_unfold((self, Some(first), Sent::Nothing), async |(asking, page, sent)| {
            let Some(page) = page else { return Ok::<_, Fault>(None) };
            let piece = asking.piece(&page.rows, sent, page.next.is_none());
            let sent = if page.rows.is_empty() && sent != Sent::Rows { Sent::Head } else { Sent::Rows };
            let next = match page.next {
                Some(cursor) => Some(asking.page(Some(&cursor), LIMIT_MAX).await?),
                None => None,
            };
            Ok(Some((Bytes::from(piece), (asking, next, sent))))
        });
        Response::new(Body::from_stream(pieces))
    }
}

fn heads(table: &Download) -> Vec<&'static str> {
    table.columns.iter().map(|column| column.name).collect()
}

/// An answer that is whole in memory: whoever has the same bytes is told so.
pub(super) fn whole(bytes: Vec<u8>, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", &hex::format(&hash(&bytes))[..TAG_LENGTH]);
    let is_known = |value: &HeaderValue| {
        let known = value.to_str().unwrap_or_default().split(',').map(str::trim);
        known.map(|known| known.strip_prefix("W/").unwrap_or(known)).any(|known| known == tag || known == "*")
    };
    let mut response = if headers.get_all(IF_NONE_MATCH).iter().any(is_known) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(bytes))
    };
    let head = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        head.insert(ETAG, tag);
    }
    head.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// What an answer in a format is.
pub fn content_type(format: Format) -> &'static str {
    match format {
        Format::Csv => "text/csv; charset=utf-8; header=present",
        Format::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        Format::Json | Format::Html | Format::Document => "application/json",
    }
}

/// A link to another page (RFC 8288).
fn link_to(path: &str, parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("<{path}?{}>; rel=\"next\"", pairs.join("&"))
}

/// A value as part of an address (RFC 3986): what is reserved there is written as its bytes.
fn encoded(text: &str) -> String {
    let mut address = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => address.push(byte.into()),
            _ => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_whatever_a_value_holds() {
        let link = link_to("/v1/machines.csv", &[("after", "a b/ü>;\"\r\n"), ("limit", "5")]);
        assert_eq!(link, "</v1/machines.csv?after=a%20b%2F%C3%BC%3E%3B%22%0D%0A&limit=5>; rel=\"next\"");
    }

    #[test]
    fn a_file_of_a_month_is_a_month_and_a_format() {
        assert!(matches!(month_and_format("2026-10.csv"), Ok((_, Format::Csv))));
        for nowhere in ["2026-10", "2026-10.html", "2026-10.csv.exe", "", "2026-10.CSV"] {
            assert!(matches!(month_and_format(nowhere), Err(Fault::NoSuchPage)), "{nowhere}");
        }
        for wrong in ["2026-13.csv", "../../etc/passwd.csv", ".csv"] {
            assert!(matches!(month_and_format(wrong), Err(Fault::Period(_))), "{wrong}");
        }
    }
}
