//! A desk and a far side that takes texts by name: what is told, stopped and settled.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::ready;
use seatbeat_standin::wrong::Wrong;
use seatbeat_standin::{Platform, Verdict, json};
use serde_json::json;

use super::*;
use crate::distributor::call::SendError;
use crate::distributor::connector::{Answer, Connector};
use crate::distributor::projection::{OutPart, Outgoing, Projection, ProjectionError};

const SECRET: &str = "s3cret-of-the-far-side";

/// Keeps texts; the path is the name.
#[derive(Default)]
struct Shelf {
    texts: BTreeMap<String, Bytes>,
    verdict: Option<Verdict>,
}

impl Platform for Shelf {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let name = request.uri().path().to_owned();
        if name.contains("refused") {
            return json(422, &json!({ "message": format!("refused, says {SECRET}") }));
        }
        if request.method() == http::Method::PUT {
            self.texts.insert(name, request.body().clone());
            return json(201, &json!({}));
        }
        match self.verdict {
            Some(Verdict::Reject) => json(200, &json!({ "status": "rejected" })),
            _ => json(200, &json!({ "status": "accepted" })),
        }
    }

    fn effects(&self) -> Vec<String> {
        self.texts.keys().cloned().collect()
    }

    fn decide(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }
}

/// Puts each line there.
struct Putting(Tools);

impl Connector for Putting {
    fn project(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError> {
        outgoing.seats_by_line(&[], |_, _| Vec::new())
    }

    fn send<'a>(&'a self, part: &'a OutPart, key: &'a str) -> BoxFuture<'a, Result<Answer, SendError>> {
        async move {
            let name = format!("/{key}/{}", part.id);
            let request =
                Request::put(name.replace(' ', "-")).body(Bytes::from(part.quantity.clone())).unwrap();
            let answer = self.0.transport.call(request).await?;
            match answer.status().is_success() {
                true => Ok(Answer::new(Status::Acknowledged, name)),
                false => Err(SendError::of("the text", &answer)),
            }
        }
        .boxed()
    }

    fn follow<'a>(
        &'a self,
        _: &'a OutPart,
        _: &'a str,
        far_id: &'a str,
    ) -> BoxFuture<'a, Result<Answer, SendError>> {
        async move {
            let answer = self.0.transport.call(Request::get(far_id).body(Bytes::new()).unwrap()).await?;
            let rejected = String::from_utf8_lossy(answer.body()).contains("rejected");
            Ok(match rejected {
                true => Answer::new(Status::Rejected, far_id).saying("no"),
                false => Answer::new(Status::Settled, far_id),
            })
        }
        .boxed()
    }

    fn in_force<'a>(&'a self, _: &'a OutPart) -> BoxFuture<'a, Result<Option<u64>, SendError>> {
        ready(Ok(Some(1))).boxed()
    }
}

/// A desk at a shelf, with what happens at the shelf.
fn desk(house: &House, distributor: &str) -> (Arc<Desk>, Loop, UploadId) {
    let far = Loop(Arc::new(Mutex::new(Standin::new(Shelf::default()))));
    let secrets: Arc<dyn Secrets> = Memory::of(&[("key", SECRET)]);
    let tools =
        Tools { transport: Arc::new(far.clone()), secrets: Arc::clone(&secrets), clock: Clock::real() };
    let text = format!("connector = \"lmpi\"\ndistributor = \"{distributor}\"\nfrom = \"2026-10\"\n");
    let destination: Destination = toml::from_str(&text).unwrap();
    let id = house.only("shelf", &destination);
    let (books, closing) = (house.books.clone(), house.closing.clone());
    let desk = Desk::new("shelf", destination, Box::new(Putting(tools)), secrets, books, closing);
    (Arc::new(desk), far, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_built_sent_acknowledged_and_settled_and_a_person_settles_its_corrections() {
    let house = House::founded();
    house.seals("far").await;
    let (desk, far, id) = desk(&house, "far");
    let at = SEALED_AT.parse().unwrap();
    desk.run(at).await;
    desk.run(later(at, 3_600)).await;
    let upload = house.upload(&id);
    let status = |is_correction: bool| -> Vec<Status> {
        let of_kind =
            upload.parts().filter(|(part, _)| matches!(part, PartId::Correction(..)) == is_correction);
        of_kind.map(|(part, _)| upload.status_of(part)).collect()
    };
    assert_eq!(status(false), [Status::Settled; 3]);
    assert_eq!(status(true), [Status::Acknowledged]);
    assert_eq!(far.with(|shelf| shelf.effects()).len(), 3, "no correction went out");
    for (_, part) in upload.parts() {
        let statuses: Vec<Status> = part.answers().iter().map(|answer| answer.status).collect();
        assert_eq!(statuses[..2], [Status::Sent, Status::Acknowledged]);
        assert!(part.answers().iter().all(|answer| answer.digest.starts_with("sha256:")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_part_stops_alone_and_is_told_without_secrets_until_a_retry() {
    let house = House::founded();
    let mut body = Sample::default().body;
    "far".clone_into(&mut body.distributor);
    body.statement.lines[1].sku = "refused".parse().unwrap();
    house.seals_body(&body).await;
    let (desk, far, id) = desk(&house, "far");
    let at = SEALED_AT.parse().unwrap();
    for turn in 0..3 {
        desk.run(later(at, turn * 600)).await;
    }
    let told = desk.told();
    let ((_, part), trouble) = told.parts.first_key_value().unwrap();
    assert_eq!((told.parts.len(), told.trouble.is_none()), (1, true));
    assert!(part.to_string().ends_with("/refused") && trouble.why.contains("422"), "{trouble:?}");
    assert!(!trouble.why.contains(SECRET) && trouble.hint.contains("upload retry"), "{trouble:?}");
    let alarms = house.books.alarms().standing().join("\n");
    assert!(alarms.contains("destination shelf") && !alarms.contains(SECRET), "{alarms}");
    let asked = far.with(|shelf| shelf.requests());
    desk.run(later(at, 90_000)).await;
    assert_eq!(asked, far.with(|shelf| shelf.requests()), "what was refused is not sent again by itself");
    desk.forget(&id).await;
    desk.run(later(at, 90_100)).await;
    assert!(far.with(|shelf| shelf.requests()) > asked);
    assert!(!house.journal().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_side_is_left_alone_for_as_long_as_it_said() {
    let house = House::founded();
    house.seals("far").await;
    let (desk, far, id) = desk(&house, "far");
    let at: Timestamp = SEALED_AT.parse().unwrap();
    far.with(|shelf| shelf.tell([Some(Wrong::Status { status: 429, retry_after_s: Some(7_200) })]));
    desk.run(at).await;
    assert_eq!(far.with(|shelf| shelf.requests()), 1);
    let told = desk.told();
    assert!(told.next_try.unwrap() >= later(at, 7_200) && told.failing.unwrap().contains("429"));
    desk.run(later(at, 7_199)).await;
    assert_eq!(far.with(|shelf| shelf.requests()), 1);
    desk.run(told.next_try.unwrap()).await;
    assert!(house.status(&id) > Some(Status::Built) && desk.told().failing.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_is_told_and_sent_once_more_when_an_operator_says_so() {
    let house = House::founded();
    house.seals("far").await;
    let (desk, far, id) = desk(&house, "far");
    far.with(|shelf| shelf.decide(Verdict::Reject));
    let at: Timestamp = SEALED_AT.parse().unwrap();
    desk.run(at).await;
    assert_eq!(house.status(&id), Some(Status::Rejected));
    assert!(house.books.alarms().standing().join("\n").contains("rejected the statement of 2026-10"));
    let before = far.with(|shelf| shelf.effects());
    desk.run(later(at, 60)).await;
    assert_eq!(far.with(|shelf| shelf.effects()), before);
    house.retries(&id).await;
    far.with(|shelf| shelf.decide(Verdict::Accept));
    desk.forget(&id).await;
    desk.run(later(at, 120)).await;
    desk.run(later(at, 4_000)).await;
    let upload = house.upload(&id);
    for (part, known) in upload.parts().filter(|(part, _)| matches!(part, PartId::Line(..))) {
        assert_eq!(upload.status_of(part), Status::Settled);
        let submissions: Vec<u32> = known.answers().iter().map(|answer| answer.submission).collect();
        assert_eq!((submissions.first(), submissions.last()), (Some(&1), Some(&2)), "all answers are kept");
    }
    assert!(!house.books.alarms().standing().join("\n").contains("rejected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_destination_that_hangs_holds_no_other_up() {
    let house = House::founded();
    house.seals("far").await;
    house.seals("near").await;
    let (far_desk, far, far_id) = desk(&house, "far");
    let (near_desk, _, near_id) = desk(&house, "near");
    far.with(|shelf| shelf.tell((0..50).map(|_| Some(Wrong::LostBefore))));
    let at: Timestamp = SEALED_AT.parse().unwrap();
    for turn in 0..4 {
        let now = later(at, turn * 600);
        let both = async { tokio::join!(far_desk.run(now), near_desk.run(now)) };
        tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    }
    assert!(house.status(&near_id) >= Some(Status::Acknowledged));
    assert_eq!(house.status(&far_id), Some(Status::Sent));
}
