//! Tells open pages that something has happened, as server-sent events (HTML Living Standard, 9.2). Invariant: it says
//! that there is something new and never what; pages ask for that as they are let in, and a stream ends with its
//! session.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::stream::unfold;
use seatbeat_ledger::operators::Right;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::problem::Problem;
use super::{Route, Web};
use crate::console::door::Closing;
use crate::console::fault::Fault;
use crate::console::rights::{Needs, Whose};
use crate::console::sign_in::enter::InSession;
use crate::journal::Position;

/// Where pages listen.
pub const PATH: &str = "/live";

/// Pages are told at most this often: what a fleet sends comes all the time.
const PAUSE: Duration = Duration::from_secs(2);

/// How often it is asked whether the session goes on.
const ASK_AFTER: Duration = Duration::from_secs(15);

/// The route of this room.
pub fn routes() -> Vec<Route> {
    vec![Route { path: PATH, needs: Needs::Right(Right::See, Whose::Customers), service: get(live) }]
}

/// A page that listens.
struct Listener {
    web: Web,
    session: InSession,
    positions: watch::Receiver<Position>,
    /// Without a network there is no door that could close.
    closing: Option<Closing>,
    told_at: Instant,
    has_ended: bool,
}

async fn live(
    State(web): State<Web>,
    session: Option<Extension<InSession>>,
    closing: Option<Extension<Closing>>,
) -> Response {
    let Some(Extension(session)) = session else {
        let fault = Fault::value("the request", "comes with a token: news is for pages of a session");
        return Problem::of(&fault).into_response();
    };
    let positions = web.console.positions();
    let closing = closing.map(|Extension(closing)| closing);
    let listener = Listener { web, session, positions, closing, told_at: Instant::now(), has_ended: false };
    Sse::new(unfold(listener, next)).keep_alive(KeepAlive::default()).into_response()
}

async fn next(mut listener: Listener) -> Option<(Result<Event, Infallible>, Listener)> {
    if listener.has_ended {
        return None;
    }
    let happened = async {
        sleep_until(listener.told_at + PAUSE).await;
        timeout_at(Instant::now() + ASK_AFTER, listener.positions.changed()).await
    };
    let happened = tokio::select! {
        happened = happened => happened,
        // Pages come back by themselves when the collector does.
        () = closes(listener.closing.as_mut()) => return None,
    };
    if matches!(happened, Ok(Err(_))) {
        return None;
    }
    // Browsers pass over an event without data.
    let event = if !listener.web.console.goes_on(&listener.session).await.unwrap_or(false) {
        // Pages ask anew, and are led to where one can sign in.
        listener.has_ended = true;
        Event::default().event("ended").data("session")
    } else if happened.is_ok() {
        listener.told_at = Instant::now();
        Event::default().event("changed").data("books")
    } else {
        Event::default().comment("")
    };
    Some((Ok(event), listener))
}

async fn closes(closing: Option<&mut Closing>) {
    match closing {
        // An error means that the door is gone: that is an end, too.
        Some(closing) => drop(closing.0.wait_for(|closes| *closes).await),
        None => std::future::pending().await,
    }
}
