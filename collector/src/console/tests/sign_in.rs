//! Signing in as a browser does it, through the whole door. Invariant of these tests: a browser here keeps cookies and
//! sends them by itself, as a real one does.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::body::{Body as HttpBody, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use cookie::Cookie;
use seatbeat_ledger::operators::Role;

use super::super::door::{Encrypted, Peer};
use super::*;

mod attacks;
mod credentials;
mod elsewhere;
mod routes;
mod sessions;
mod visits;
mod with_provider;

pub(super) const PASSWORD: &str = "correct horse battery";

/// A browser, somewhere.
#[derive(Clone)]
pub(super) struct Browser {
    server: Server,
    from: SocketAddr,
    jar: BTreeMap<String, String>,
    /// Whether it speaks TLS, as the door says it to what answers.
    encrypted: bool,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Browser {
    pub(super) fn at(house: &House, address: &str) -> Self {
        let from = SocketAddr::new(address.parse().unwrap(), 4711);
        Self { server: house.server(), from, jar: BTreeMap::new(), encrypted: false }
    }

    pub(super) async fn send(&mut self, mut request: http::Request<HttpBody>) -> Answer {
        if !self.jar.is_empty() {
            let all: Vec<_> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request.headers_mut().insert(header::COOKIE, all.join("; ").parse().unwrap());
        }
        request.extensions_mut().insert(Peer(self.from));
        if self.encrypted {
            request.extensions_mut().insert(Encrypted);
        }
        let response = Service::<http::Request<HttpBody>>::call(&mut self.server, request).await.unwrap();
        let (head, body) = response.into_parts();
        for set in head.headers.get_all(header::SET_COOKIE) {
            let cookie = Cookie::parse(set.to_str().unwrap().to_owned()).unwrap();
            match cookie.value() {
                "" => drop(self.jar.remove(cookie.name())),
                value => drop(self.jar.insert(cookie.name().to_owned(), value.to_owned())),
            }
        }
        let body = to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.send(http::Request::get(path).header("host", "seats.example").body(HttpBody::empty()).unwrap())
            .await
    }

    pub(super) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(form(path, fields, &[])).await
    }

    pub(super) async fn sign_in(&mut self, name: &str, password: &str, code: &str) -> Answer {
        self.post("/sign-in", &[("name", name), ("password", password), ("code", code)]).await
    }

    /// What the session's forms prove.
    pub(super) async fn csrf(&mut self) -> String {
        self.get("/session").await.json()["session"]["csrf"].as_str().unwrap().to_owned()
    }

    /// Sends a form as a page of ours does.
    pub(super) async fn act(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf().await;
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
        self.post(path, &fields).await
    }

    pub(super) fn cookie(&self) -> Option<&String> {
        self.jar.get("seatbeat")
    }
}

pub(super) fn form(path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> http::Request<HttpBody> {
    let mut request = http::Request::post(path)
        .header("host", "seats.example")
        .header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let encoded = |text: &str| -> String {
        openidconnect::url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
    };
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    request.body(HttpBody::from(pairs.join("&"))).unwrap()
}

/// The collector is started again at another time; browsers have noticed nothing.
async fn later(house: House, at: &str, browsers: &mut [&mut Browser]) -> House {
    browsers.iter_mut().for_each(|browser| browser.server = Server::new());
    // What was refused last may just be put on record.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let house = house.again(at).await;
    browsers.iter_mut().for_each(|browser| browser.server = house.server());
    house
}

/// A house with an operator who signs in as `tess`.
pub(super) async fn house() -> House {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.operator("opr_t", "sbo1.t", Role::Technician, &[]).await;
    set_password(&house, "opr_t", "tess", PASSWORD).await;
    house
}

pub(super) async fn set_password(house: &House, operator: &str, login: &str, password: &str) {
    let request = wire::SetPasswordRequest {
        operator: operator.to_owned(),
        login: login.to_owned(),
        password: password.to_owned(),
        reason: String::new(),
    };
    house.client().set_password(request).await.unwrap();
}

/// What is on record of signing in: whom it is about, by whom, from where, and how it went.
async fn records(house: &House) -> Vec<(String, String, String, String)> {
    let records = house.console.books.records(crate::journal::Position(0), 1000).unwrap();
    let record = |(_, record): (_, Vec<u8>)| {
        let record = JournalRecord::decode(record.as_slice()).unwrap();
        match record.fact? {
            Fact::SignedIn(fact) => {
                let what = format!("{}{}", fact.means, if fact.refused { " refused" } else { "" });
                Some((fact.operator, record.actor, record.from, what))
            }
            Fact::CredentialSet(fact) => {
                let what = format!("{} {}", fact.means, if fact.removed { "removed" } else { "set" });
                Some((fact.operator, record.actor, record.from, what))
            }
            _ => None,
        }
    };
    records.into_iter().filter_map(record).collect()
}
