//! Stands in for distributors and the vendor's platform. Invariant: a platform is a state machine over requests, after
//! the far side's own documents and knowing nothing of the collector; what it was told to do wrong happens around it,
//! once each, in the order in which it was told.

pub mod connect;
pub mod drop;
pub mod ion;
pub mod lmpi;
pub mod orders;
pub mod server;
pub mod simpleapi;
pub mod wrong;

use std::collections::VecDeque;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use wrong::Wrong;

/// A far side.
pub trait Platform: Send {
    /// Answers a request.
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes>;

    /// What was done there for good, one line an effect (`usage file 2026-10-ingram-r1… submitted`), the first first.
    fn effects(&self) -> Vec<String>;

    /// What it is to decide next, where it decides anything: verdicts are given in this order, then `accept`.
    fn decide(&mut self, verdict: Verdict);
}

/// What a far side says of something that it was handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It agrees.
    Accept,
    /// It refuses.
    Reject,
    /// It agrees, and thinks better of it when it is asked again.
    AcceptThenReject,
    /// It refuses, and thinks better of it when it is asked again.
    RejectThenAccept,
}

/// A platform with what is to go wrong around it.
pub struct Standin {
    platform: Box<dyn Platform>,
    wrong: VecDeque<Option<Wrong>>,
    requests: u64,
}

impl Standin {
    /// Nothing goes wrong.
    pub fn new(platform: impl Platform + 'static) -> Self {
        Self { platform: Box::new(platform), wrong: VecDeque::new(), requests: 0 }
    }

    /// What goes wrong with the requests to come, one each; `None`: nothing.
    pub fn tell(&mut self, wrong: impl IntoIterator<Item = Option<Wrong>>) {
        self.wrong.extend(wrong);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.wrong.clear();
    }

    /// See [`Platform::decide`].
    pub fn decide(&mut self, verdict: Verdict) {
        self.platform.decide(verdict);
    }

    /// See [`Platform::effects`].
    pub fn effects(&self) -> Vec<String> {
        self.platform.effects()
    }

    /// How many requests came.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// What comes back of a request; none where no answer does.
    pub fn call(&mut self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        self.requests += 1;
        match self.wrong.pop_front().flatten() {
            None => Some(self.platform.answer(request)),
            Some(Wrong::LostBefore) => None,
            Some(Wrong::LostAfter) => {
                self.platform.answer(request);
                None
            }
            Some(Wrong::Status { status, retry_after_s }) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut answer = Response::builder().status(status);
                if let Some(seconds) = retry_after_s {
                    answer = answer.header(http::header::RETRY_AFTER, seconds);
                }
                answer.body(Bytes::from_static(b"{}")).ok()
            }
            Some(Wrong::Twice) => {
                self.platform.answer(request);
                Some(self.platform.answer(request))
            }
            Some(Wrong::Torn) => {
                let half = request.body().slice(..request.body().len() / 2);
                let (parts, _) = request.clone().into_parts();
                self.platform.answer(&Request::from_parts(parts, half));
                None
            }
        }
    }
}

/// A JSON answer.
pub fn json(status: u16, body: &serde_json::Value) -> Response<Bytes> {
    let answer = Response::builder().status(status).header(http::header::CONTENT_TYPE, "application/json");
    answer.body(Bytes::from(body.to_string())).expect("a status and a content type make an answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the whole bodies it was sent.
    #[derive(Default)]
    struct Counter(Vec<usize>);

    impl Platform for Counter {
        fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
            self.0.push(request.body().len());
            json(200, &serde_json::json!({ "count": self.0.len() }))
        }

        fn effects(&self) -> Vec<String> {
            self.0.iter().map(usize::to_string).collect()
        }

        fn decide(&mut self, _: Verdict) {}
    }

    #[test]
    fn what_goes_wrong_does_so_once_and_in_order() {
        let mut standin = Standin::new(Counter::default());
        let request = Request::builder().uri("/").body(Bytes::from_static(b"body")).unwrap();
        standin.tell([
            Some(Wrong::LostBefore),
            Some(Wrong::LostAfter),
            None,
            Some(Wrong::Status { status: 429, retry_after_s: Some(7) }),
            Some(Wrong::Twice),
            Some(Wrong::Torn),
        ]);
        let statuses: Vec<Option<u16>> =
            (0..7).map(|_| standin.call(&request).map(|answer| answer.status().as_u16())).collect();
        assert_eq!(statuses, [None, None, Some(200), Some(429), Some(200), None, Some(200)]);
        assert_eq!(standin.effects(), ["4", "4", "4", "4", "2", "4"]);
        assert_eq!(standin.requests(), 7);
    }
}
