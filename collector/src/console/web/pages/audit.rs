//! The audit: who did what, when, from where and why, the newest first. Invariant: read from the journal by the
//! question that all skins ask; a page says where the next one goes on, also where it found nothing.

use askama::Template;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::get;
use openidconnect::url::form_urlencoded;
use seatbeat_ledger::operators::Right;
use serde::Deserialize;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::audit::{ACTIONS, AuditPage, AuditQuery};
use crate::console::fault::Fault;
use crate::console::rights::{Needs, Whose};
use crate::console::web::form::Asked;
use crate::console::web::{Route, Web};

/// Rows on a page.
const PAGE_SIZE: usize = 100;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![Route { path: "/audit", needs: Needs::Right(Right::Administer, Whose::House), service: get(list) }]
}

/// What is asked for, as it was typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filter {
    from: String,
    to: String,
    who: String,
    what: String,
    customer: String,
    before: Option<u64>,
}

impl Filter {
    fn query(&self) -> Result<AuditQuery, Fault> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let day = |name: &'static str, text: &str| {
            let day = some(text).map(|text| text.parse()).transpose();
            day.map_err(|_| Fault::value(name, "is no day such as 2026-10-15"))
        };
        Ok(AuditQuery {
            from: day("`from`", &self.from)?,
            to: day("`to`", &self.to)?,
            who: some(&self.who),
            what: some(&self.what),
            customer: some(&self.customer).map(|text| text.parse()).transpose()?,
            before: self.before,
            limit: PAGE_SIZE,
        })
    }

    /// As the query of an address, from a position on.
    fn address(&self, before: Option<u64>) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
        for (name, value) in [
            ("from", &self.from),
            ("to", &self.to),
            ("who", &self.who),
            ("what", &self.what),
            ("customer", &self.customer),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        if let Some(before) = before {
            query.append_pair("before", &before.to_string());
        }
        query.finish()
    }
}

#[derive(Template)]
#[template(path = "audit/list.html")]
struct List {
    shell: Shell,
    filter: Filter,
    actions: &'static [&'static str],
    page: AuditPage,
    next: Option<String>,
    downloads: String,
}

async fn list(shell: Shell, State(web): State<Web>, Asked(filter): Asked<Filter>) -> Shown {
    let page = web.console.audit(filter.query()?, 0).await?;
    let next = page.next.map(|before| filter.address(Some(before)));
    let downloads = filter.address(None);
    Ok(Page(List { shell, filter, actions: ACTIONS, page, next, downloads }).into_response())
}
