//! Far sides of the tests' own, in process. Invariant: nothing here waits for anything but a request that dies, so that
//! a test drives a connector without a runtime.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending, ready};
use http::{Request, Response};
use seatbeat_standin::Standin;
use zeroize::Zeroizing;

use super::call::{CallError, Transport};
use super::connector::Tools;
use super::secrets::{SecretError, Secrets};
use crate::clock::Clock;

/// Carries requests to a stand-in in this process.
#[derive(Clone)]
pub struct Loop(pub Arc<Mutex<Standin>>);

impl Loop {
    /// The stand-in itself.
    pub fn with<T>(&self, does: impl FnOnce(&mut Standin) -> T) -> T {
        does(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Transport for Loop {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, CallError>> {
        let answer = self.with(|standin| standin.call(&request));
        ready(answer.ok_or_else(|| CallError::NoAnswer("the connection was cut".to_owned()))).boxed()
    }
}

/// A process that dies in one of its requests, after the far side has carried it out: that request never returns.
#[derive(Clone)]
pub struct Mortal {
    far: Loop,
    /// Requests until then.
    left: Arc<AtomicU64>,
}

impl Mortal {
    /// Does not die before it is told to.
    pub fn new(far: Loop) -> Self {
        Self { far, left: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Dies in the request after so many; `None`: in none.
    pub fn dies_after(&self, requests: Option<u64>) {
        self.left.store(requests.unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Transport for Mortal {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, CallError>> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let answer = self.far.call(request);
        if left == 0 { pending().boxed() } else { answer }
    }
}

/// Looks at each request before it goes on.
pub struct Watched<W> {
    /// Where it goes on to.
    pub next: Arc<dyn Transport>,
    /// Who looks.
    pub watch: W,
}

impl<W: Fn(&Request<Bytes>) + Send + Sync> Transport for Watched<W> {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, CallError>> {
        (self.watch)(&request);
        self.next.call(request)
    }
}

/// Secrets that are kept in memory, and how often they were put there.
#[derive(Default)]
pub struct Memory {
    values: Mutex<BTreeMap<String, String>>,
    puts: AtomicU64,
}

impl Memory {
    /// These.
    pub fn of(values: &[(&str, &str)]) -> Arc<Self> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Arc::new(Self { values: Mutex::new(values), puts: AtomicU64::new(0) })
    }

    /// One of them as it is now.
    pub fn now(&self, name: &str) -> Option<String> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// How many were put there since.
    pub fn puts(&self) -> u64 {
        self.puts.load(Ordering::SeqCst)
    }
}

impl Secrets for Memory {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Zeroizing<String>, SecretError>> {
        let value = self.now(name).map(Zeroizing::new);
        ready(value.ok_or_else(|| SecretError::Missing(name.to_owned()))).boxed()
    }

    fn put<'a>(&'a self, name: &'a str, value: Zeroizing<String>) -> BoxFuture<'a, Result<(), SecretError>> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.insert(name.to_owned(), value.to_string());
        ready(Ok(())).boxed()
    }

    fn scrub(&self, text: &str) -> String {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.values().fold(text.to_owned(), |text, value| text.replace(value.as_str(), "(secret)"))
    }
}

/// Tools over a stand-in, at an instant. The transport can be told to die.
pub fn tools(standin: Standin, secrets: &Arc<Memory>, now: &str) -> (Tools, Loop, Mortal) {
    let far = Loop(Arc::new(Mutex::new(standin)));
    let mortal = Mortal::new(far.clone());
    let clock = Clock::as_of(now.parse().expect("an instant"));
    let tools = Tools {
        transport: Arc::new(mortal.clone()),
        secrets: Arc::clone(secrets) as Arc<dyn Secrets>,
        clock,
    };
    (tools, far, mortal)
}

#[test]
fn who_dies_in_a_request_has_sent_it_and_secrets_are_scrubbed() {
    struct Counts(u32);
    impl seatbeat_standin::Platform for Counts {
        fn answer(&mut self, _: &Request<Bytes>) -> Response<Bytes> {
            self.0 += 1;
            Response::new(Bytes::new())
        }

        fn effects(&self) -> Vec<String> {
            vec![self.0.to_string()]
        }

        fn decide(&mut self, _: seatbeat_standin::Verdict) {}
    }
    let secrets = Memory::of(&[("key", "s3cret")]);
    let (tools, far, mortal) = tools(Standin::new(Counts(0)), &secrets, "2026-11-05T00:00:00Z");
    let call = || tools.transport.call(Request::new(Bytes::new())).now_or_never();
    mortal.dies_after(Some(1));
    assert!(call().is_some_and(|answer| answer.is_ok()));
    assert!(call().is_none());
    assert_eq!(far.with(|standin| standin.effects()), ["2"]);
    mortal.dies_after(None);
    far.with(|standin| standin.tell([Some(seatbeat_standin::wrong::Wrong::LostBefore)]));
    assert!(matches!(call(), Some(Err(CallError::NoAnswer(_)))));
    assert!(tools.secrets.put("key", Zeroizing::new("other".to_owned())).now_or_never().is_some());
    assert_eq!((secrets.puts(), secrets.now("key").as_deref()), (1, Some("other")));
    assert_eq!(tools.secrets.scrub("is other"), "is (secret)");
}
