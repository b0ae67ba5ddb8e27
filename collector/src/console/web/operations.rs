//! What programs ask that watch a collector: is it there, is it ready, how much of everything. Invariant: nobody
//! learns more than that without a token, and asking changes nothing.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use seatbeat_ledger::operators::Right;
use serde_json::json;

use super::problem::Problem;
use super::{Route, Web};
use crate::console::fault::Fault;
use crate::console::rights::{Needs, Whose};
use crate::health;

/// As the specification of OpenMetrics names it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds after which whoever is told that the collector is not ready may ask again.
const ASK_AGAIN: &str = "5";

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/healthz", needs: Needs::Nobody, service: get(healthz) },
        Route { path: "/readyz", needs: Needs::Nobody, service: get(readyz) },
        Route { path: "/metrics", needs: Needs::Right(Right::See, Whose::House), service: get(metrics) },
    ]
}

/// The process answers: whoever starts it again need not.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Records are taken and questions answered.
async fn readyz(State(web): State<Web>) -> Response {
    let reasons = health::unready(&web.console.books).await;
    if reasons.is_empty() {
        return Json(json!({ "ready": true })).into_response();
    }
    let words: Vec<String> = reasons.iter().map(|one| format!("{}: {}", one.part, one.why)).collect();
    let problem = json!({
        "title": "Service Unavailable",
        "status": StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        "detail": format!("the collector is not ready: {}", words.join("; ")),
        "reasons": reasons,
    });
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(RETRY_AFTER, HeaderValue::from_static(ASK_AGAIN));
    response
}

async fn metrics(State(web): State<Web>) -> Response {
    match tokio::task::spawn_blocking(move || web.console.metrics()).await {
        Ok(page) => ([(CONTENT_TYPE, OPENMETRICS)], page).into_response(),
        Err(error) => Problem::of(&Fault::Panicked(error)).into_response(),
    }
}
