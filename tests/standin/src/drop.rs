//! A server that takes files by PUT. Invariant: a file is there as a whole or not at all; with `If-None-Match: *` none
//! is written over.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, IF_NONE_MATCH};
use http::{Method, Request, Response, StatusCode};

use crate::{Platform, Verdict};

/// The server.
pub struct Drop {
    authorization: String,
    is_readable: bool,
    knows_conditions: bool,
    files: BTreeMap<String, Bytes>,
    effects: Vec<String>,
}

impl Drop {
    /// Lets in whoever sends this `Authorization`.
    pub fn new(authorization: &str) -> Self {
        Self {
            authorization: authorization.to_owned(),
            is_readable: true,
            knows_conditions: true,
            files: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// What was handed in is not given out.
    #[must_use]
    pub fn write_only(mut self) -> Self {
        self.is_readable = false;
        self
    }

    /// It does not care for `If-None-Match`.
    #[must_use]
    pub fn without_conditions(mut self) -> Self {
        self.knows_conditions = false;
        self
    }

    /// With a file that somebody else put there.
    #[must_use]
    pub fn with_file(mut self, path: &str, bytes: &'static [u8]) -> Self {
        self.files.insert(path.to_owned(), Bytes::from_static(bytes));
        self
    }

    fn put(&mut self, request: &Request<Bytes>) -> StatusCode {
        let path = request.uri().path();
        let length =
            request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length != Some(request.body().len()) {
            return StatusCode::BAD_REQUEST;
        }
        let is_new = !self.files.contains_key(path);
        let is_conditional = request.headers().get(IF_NONE_MATCH).is_some_and(|value| value == "*");
        if !is_new && is_conditional && self.knows_conditions {
            return StatusCode::PRECONDITION_FAILED;
        }
        self.effects.push(format!("file {path} {}", if is_new { "made" } else { "written over" }));
        self.files.insert(path.to_owned(), request.body().clone());
        if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT }
    }
}

impl Platform for Drop {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let authorization = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
        let path = request.uri().path();
        let (status, body) = match *request.method() {
            _ if authorization != Some(self.authorization.as_bytes()) => {
                (StatusCode::UNAUTHORIZED, Bytes::new())
            }
            Method::PUT => (self.put(request), Bytes::new()),
            Method::GET if self.is_readable => match self.files.get(path) {
                Some(bytes) => (StatusCode::OK, bytes.clone()),
                None => (StatusCode::NOT_FOUND, Bytes::new()),
            },
            _ => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
        };
        let mut answered = Response::new(body);
        *answered.status_mut() = status;
        answered
    }

    fn effects(&self) -> Vec<String> {
        self.effects.clone()
    }

    fn decide(&mut self, _: Verdict) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(server: &mut Drop, method: &str, body: &'static [u8], length: usize) -> u16 {
        let request = Request::builder()
            .method(method)
            .uri("/in/a.csv")
            .header(AUTHORIZATION, "Bearer t")
            .header(IF_NONE_MATCH, "*")
            .header(CONTENT_LENGTH, length);
        server.answer(&request.body(Bytes::from_static(body)).unwrap()).status().as_u16()
    }

    #[test]
    fn a_file_is_taken_once_and_whole() {
        let mut server = Drop::new("Bearer t");
        assert_eq!(ask(&mut server, "GET", b"", 0), 404);
        assert_eq!(ask(&mut server, "PUT", b"ro", 4), 400, "torn");
        assert_eq!(ask(&mut server, "PUT", b"rows", 4), 201);
        assert_eq!(ask(&mut server, "PUT", b"rows", 4), 412);
        assert_eq!(ask(&mut server, "GET", b"", 0), 200);
        assert_eq!(server.effects(), ["file /in/a.csv made"]);
        assert_eq!(ask(&mut Drop::new("Bearer other"), "PUT", b"rows", 4), 401);
        assert_eq!(ask(&mut Drop::new("Bearer t").write_only(), "GET", b"", 0), 405);
    }
}
