//! A month as files: documents to read, the signed statement, the bundle that it is checked by. Invariant: a bundle goes
//! out piece after piece, and breaks off where its making does, so that nobody takes half of it for all.

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;

use super::super::Shown;
use super::{BILLS, Web};
use crate::config::Names;
use crate::console::auth::Caller;
use crate::console::documents::{DocumentQuery, Kind};
use crate::console::fault::{Fault, period};
use crate::console::proofs::Piece;
use crate::console::web::Route;
use crate::console::web::downloads::content_type;
use crate::jobs::proofs::BundleAsked;
use crate::outputs::Format;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/statements/{period}/files/{file}", needs: BILLS, service: get(document) },
        Route { path: "/statements/{period}/signed/{distributor}", needs: BILLS, service: get(signed) },
        Route { path: "/statements/{period}/bundle/{distributor}", needs: BILLS, service: get(bundle) },
    ]
}

/// A month's statement, earnings or invoice lines.
async fn document(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path((of, file)): Path<(String, String)>,
) -> Shown {
    let (kind, ending) = file.rsplit_once('.').ok_or(Fault::NoSuchPage)?;
    let kind = Kind::named(kind)?;
    let format: Format = ending.parse().map_err(|error| Fault::value("the format", error))?;
    let query = DocumentQuery {
        kind,
        period: Some(period(&of)?),
        format,
        distributor: None,
        customer: None,
        names: true,
        mapping: String::new(),
        licence_margin: String::new(),
    };
    let file = web.console.document(&caller, query, 0).await?;
    let mime = if format == Format::Html { "text/html; charset=utf-8" } else { content_type(format) };
    Ok(download(&file.name, mime, file.bytes))
}

/// What goes out to a distributor, signed.
async fn signed(
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path((of, distributor)): Path<(String, String)>,
) -> Shown {
    let sealed = web.console.sealed(period(&of)?, 0).await?;
    let found = sealed.statements.into_iter().find(|one| one.distributor == distributor);
    let found = found.ok_or_else(|| {
        Fault::value("the distributor", format!("`{distributor}` has no sealed statement of {of}"))
    })?;
    let name = format!("{of}-{distributor}-r{}.json", found.revision);
    Ok(download(&name, "application/json", found.file))
}

async fn bundle(
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path((of, distributor)): Path<(String, String)>,
) -> Shown {
    let asked = BundleAsked {
        period: period(&of)?,
        distributor: Some(distributor),
        checkpoints: Vec::new(),
        names: Names::Pseudonyms,
    };
    let mut pieces = web.console.export_bundle(asked, 0).await?;
    let first = pieces.recv().await.ok_or_else(|| Fault::value("the bundle", "could not be made"))??;
    let name = first.name.clone();
    let rest = stream::unfold((Some(Ok(first)), pieces), async |(next, mut pieces)| {
        let next: Option<Result<Piece, Fault>> = match next {
            Some(next) => Some(next),
            None => pieces.recv().await,
        };
        next.map(|piece| (piece.map(|piece| Bytes::from(piece.bytes)), (None, pieces)))
    });
    let mut response = Response::new(Body::from_stream(rest));
    response.headers_mut().extend(head(&name, "application/jsonl"));
    Ok(response)
}

/// A file to keep, or a page of its own to print.
pub fn download(name: &str, mime: &'static str, bytes: Vec<u8>) -> Response {
    (head(name, mime), bytes).into_response()
}

fn head(name: &str, mime: &'static str) -> HeaderMap {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(mime))]);
    if let Ok(kept) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, kept);
    }
    headers
}
