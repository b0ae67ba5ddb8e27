//! Events to a program, as CloudEvents 1.0 (structured JSON), signed as Standard Webhooks 1.0.0 has it
//! (<https://www.standardwebhooks.com>). Invariant: an event keeps its id however often it is sent, and what is signed
//! is the id, the instant and the very bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac as _};
use http::Request;
use http::header::CONTENT_TYPE;
use seatbeat_proto::ids::ResellerId;
use serde_json::json;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Teller;
use super::board::{Event, What};
use crate::clock::Clock;
use crate::distributor::call::{SendError, Transport};

/// What a secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// Bytes of a secret.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the webhook's secret has to be `whsec_` and base64 of 24 to 64 bytes")]
pub struct SecretError;

/// Posts events to an address.
pub struct Webhook {
    transport: Box<dyn Transport>,
    url: String,
    secret: Zeroizing<Vec<u8>>,
    reseller: ResellerId,
    clock: Clock,
}

impl Webhook {
    /// To an address, signed with a secret (`whsec_…`).
    ///
    /// # Errors
    /// When the secret is none.
    pub fn new(
        transport: Box<dyn Transport>,
        url: &str,
        secret: &str,
        reseller: ResellerId,
        clock: Clock,
    ) -> Result<Self, SecretError> {
        let text = secret.trim().strip_prefix(SECRET_PREFIX).ok_or(SecretError)?;
        let secret = Zeroizing::new(STANDARD.decode(text).map_err(|_| SecretError)?);
        if !SECRET_LENGTH.contains(&secret.len()) {
            return Err(SecretError);
        }
        Ok(Self { transport, url: url.to_owned(), secret, reseller, clock })
    }

    fn body(&self, event: &Event) -> Vec<u8> {
        let alert = &event.alert;
        let kind = match event.what {
            What::Opened => "seatbeat.alert.opened",
            What::Closed => "seatbeat.alert.closed",
            What::Test => "seatbeat.alert.test",
        };
        let event = json!({
            "specversion": "1.0",
            "id": event.id,
            "source": format!("urn:seatbeat:{}", self.reseller),
            "type": kind,
            "subject": alert.alert,
            "time": event.at.to_string(),
            "datacontenttype": "application/json",
            "data": {
                "alert": alert.alert,
                "rule": alert.rule,
                "customer": alert.customer,
                "machines": alert.machines,
                "what": alert.what,
                "remedy": alert.remedy,
                "since": event.since.to_string(),
            },
        });
        event.to_string().into_bytes()
    }

    fn request(&self, event: &Event) -> Result<Request<Bytes>, SendError> {
        let body = self.body(event);
        let seconds = self.clock.now().as_second().to_string();
        let signature = signature(&self.secret, &event.id, &seconds, &body);
        Request::post(&self.url)
            .header(CONTENT_TYPE, "application/cloudevents+json")
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", &seconds)
            .header("webhook-signature", signature)
            .body(body.into())
            .map_err(|error| SendError::stop(error.to_string(), "mend `alerts.webhook.url` in seatbeat.toml"))
    }
}

impl Teller for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn at_once(&self) -> usize {
        1
    }

    fn tell<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            for event in events {
                let answer = self.transport.call(self.request(event)?).await?;
                if !answer.status().is_success() {
                    return Err(SendError::of("the event", &answer));
                }
            }
            Ok(())
        }
        .boxed()
    }
}

fn signature(secret: &[u8], id: &str, seconds: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::Response;
    use jiff::Timestamp;
    use seatbeat_ledger::alerts::{Alert, Rule};

    use super::*;
    use crate::distributor::call::CallError;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Keeps what comes, and answers with a status.
    #[derive(Clone)]
    struct Far(Arc<Mutex<Vec<Request<Bytes>>>>, u16);

    impl Transport for Far {
        fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, CallError>> {
            self.0.lock().unwrap().push(request);
            let answer = Response::builder().status(self.1).header("retry-after", "120").body(Bytes::new());
            async move { Ok(answer.unwrap()) }.boxed()
        }
    }

    fn webhook(status: u16) -> (Webhook, Far) {
        let far = Far(Arc::default(), status);
        let clock = Clock::as_of("2026-10-15T12:00:00Z".parse().unwrap());
        let reseller = "rsl_a".parse().unwrap();
        let hook = Webhook::new(Box::new(far.clone()), "https://hooks.example/x", SECRET, reseller, clock);
        (hook.unwrap(), far)
    }

    fn event() -> Event {
        let at: Timestamp = "2026-10-15T11:59:00Z".parse().unwrap();
        let alert = Alert {
            alert: "machine-silent/cus_a".into(),
            rule: Rule::MachineSilent,
            customer: Some("cus_a".parse().unwrap()),
            machines: vec!["mch_a".parse().unwrap()],
            what: "1 machine(s)".into(),
            remedy: "look".into(),
        };
        Event { id: "17-1".into(), what: What::Opened, at, since: at, alert }
    }

    /// The example of the specification's reference libraries.
    #[test]
    fn it_is_signed_as_the_specification_has_it() {
        let secret = STANDARD.decode(SECRET.strip_prefix(SECRET_PREFIX).unwrap()).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[tokio::test]
    async fn an_event_is_posted_with_its_id_and_a_signature_of_what_is_sent() {
        let (hook, far) = webhook(204);
        hook.tell(&[event()]).await.unwrap();
        let sent = far.0.lock().unwrap().remove(0);
        let header = |name: &str| sent.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(
            (header("webhook-id"), header("content-type")),
            ("17-1".into(), "application/cloudevents+json".into())
        );
        let expected = signature(&hook.secret, "17-1", &header("webhook-timestamp"), sent.body());
        assert_eq!(header("webhook-signature"), expected);
        let body: serde_json::Value = serde_json::from_slice(sent.body()).unwrap();
        assert_eq!(body["type"], "seatbeat.alert.opened");
        assert_eq!((&body["specversion"], &body["subject"]), (&"1.0".into(), &"machine-silent/cus_a".into()));
        assert_eq!(body["data"]["machines"][0], "mch_a");
    }

    #[tokio::test]
    async fn a_far_side_that_does_not_take_it_is_asked_again_when_it_says_so() {
        let (hook, _) = webhook(503);
        let Err(SendError::Again { after, .. }) = hook.tell(&[event()]).await else { panic!("it was taken") };
        assert_eq!(after.unwrap().as_secs(), 120);
        let (hook, _) = webhook(404);
        assert!(matches!(hook.tell(&[event()]).await, Err(SendError::Stop { .. })));
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        let make = |secret: &str| {
            let far = Box::new(Far(Arc::default(), 200));
            Webhook::new(far, "https://x", secret, "rsl_a".parse().unwrap(), Clock::real()).is_ok()
        };
        assert!(make(SECRET) && make(&format!("{SECRET}\n")));
        for wrong in ["", "whsec_", "whsec_AAAA", &SECRET[6..], "whsec_not base64 at all, is it?"] {
            assert!(!make(wrong), "{wrong}");
        }
    }
}
