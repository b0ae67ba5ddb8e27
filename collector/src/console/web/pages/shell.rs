//! What is around every page: who looks, what they may, and where else they can go. Invariant: a part is shown to those
//! who may open it, by the very table that the door asks.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use seatbeat_ledger::operators::{LetIn, Reach, Right};
use serde::Deserialize;

use crate::console::auth::Caller;
use crate::console::sign_in::enter::InSession;
use crate::console::web::{Web, assets};

/// The parts, in their order. Those that no route has are not shown.
const PARTS: [(&str, &str); 12] = [
    ("/", "Overview"),
    ("/customers", "Customers"),
    ("/machines", "Machines"),
    ("/statements", "Statements"),
    ("/licences", "Licences"),
    ("/prices", "Prices"),
    ("/orders", "Orders"),
    ("/alerts", "Alerts"),
    ("/audit", "Audit"),
    ("/operators", "Operators"),
    ("/settings", "Settings"),
    ("/account", "My account"),
];

/// What an action says on the page that it leads to: `?done=` and one of these.
const DONE: &[(&str, &str)] = &[
    ("saved", "Saved, and on record."),
    ("kept", "Saved."),
    ("customer_added", "Added. The install kit has the line that lets its machines in."),
    ("banned", "The machine is shut out: nothing that it sends is taken."),
    ("let_in", "The machine is let in again."),
    ("ordered", "Signed and on the way."),
    ("ordered_second", "Placed. It waits until a second operator has confirmed it."),
    ("ordered_unsigned", "Placed. It waits for a signature: `seatbeat orders sign --key-file FILE`."),
    ("token_revoked", "The token lets nobody in any more."),
    ("erased", "The names are erased."),
    ("confirmed", "Confirmed: it goes on."),
    ("cancelled", "Cancelled where it was not begun."),
    ("muted", "Muted: it stays open, and nobody is told of it until then."),
    ("unmuted", "It is told of again."),
    ("tested", "A test is on its way: see that it arrives."),
    ("totp", "The second factor is in force from the next sign-in on."),
    ("no-totp", "The second factor is taken away."),
    ("password", "The password is set; your other sessions are over."),
    ("sealed", "Sealed. Its files are in the folder of statements, and go where they have to."),
    ("amended", "Entered, and on record. What it does to the month is in its draft."),
    ("retried", "It is tried again now."),
    ("settled", "Settled by hand, and on record."),
    ("imported", "The licences are there."),
    ("withdrawn", "It is out of use, and its code is erased."),
    ("explained", "The reason is on record."),
];

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Shell {
    /// Who looks.
    pub operator: String,
    /// What forms carry; empty without a session.
    pub csrf: String,
    /// What an action said that led here.
    pub done: Option<&'static str>,
    path: String,
    let_in: Option<LetIn>,
    open: Vec<(&'static str, &'static str)>,
}

/// A part that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its address.
    pub path: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whether this page is in it.
    pub is_here: bool,
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    done: String,
}

impl FromRequestParts<Web> for Shell {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Infallible> {
        let let_in = parts.extensions.get::<Caller>().map(|caller| caller.let_in.clone());
        let session = parts.extensions.get::<InSession>();
        let Query(said) = Query::<Said>::try_from_uri(&parts.uri).unwrap_or_default();
        let is_open = |(path, _): &(&str, &str)| {
            web.needs.iter().any(|(of, needs)| of == path && needs.check(let_in.as_ref()).is_ok())
        };
        Ok(Self {
            operator: let_in.as_ref().map(|let_in| let_in.operator.to_string()).unwrap_or_default(),
            csrf: session.map(|session| session.session.csrf()).unwrap_or_default(),
            done: DONE.iter().find(|(key, _)| *key == said.done).map(|(_, words)| *words),
            path: parts.uri.path().to_owned(),
            open: PARTS.into_iter().filter(is_open).collect(),
            let_in,
        })
    }
}

impl Shell {
    /// The parts that this operator may open.
    pub fn parts(&self) -> Vec<Part> {
        let is_here = |path: &str| match self.path.strip_prefix(path) {
            _ if path == "/" => self.path == "/",
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        self.open.iter().map(|&(path, name)| Part { path, name, is_here: is_here(path) }).collect()
    }

    /// Whether they see money and close months.
    pub fn bills(&self) -> bool {
        self.has(Right::Bill)
    }

    /// Whether they roll out, switch off and on.
    pub fn serves(&self) -> bool {
        self.has(Right::Serve)
    }

    /// Whether they set up the house.
    pub fn administers(&self) -> bool {
        self.has(Right::Administer)
    }

    /// Whether all customers are theirs.
    pub fn has_house(&self) -> bool {
        self.let_in.as_ref().is_some_and(|let_in| let_in.reach() == Reach::House)
    }

    /// Where a page finds what it loads.
    pub fn asset(&self, name: &str) -> &'static str {
        assets::address(name)
    }

    fn has(&self, right: Right) -> bool {
        self.let_in.as_ref().is_some_and(|let_in| let_in.has(right))
    }
}
