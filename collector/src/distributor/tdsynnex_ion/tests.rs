//! Against a stand-in that takes each refresh token once.

use std::sync::Arc;

use http::Request;
use seatbeat_ledger::uploads::Status;
use seatbeat_standin::ion::{Ion, Portal};
use seatbeat_standin::wrong::Wrong;
use seatbeat_standin::{Standin, Verdict};

use super::super::connector::{Answer, Connector};
use super::super::faults::{KEY, line, now, seeds, settled};
use super::super::samples::Sample;
use super::super::seats::order_number;
use super::super::secrets::Secrets as _;
use super::super::standin::{Loop, Memory, Mortal, Watched, tools};
use super::*;

const MAPPED: [(&str, &str); 2] = [("far_customer", "10991"), ("subscription", "501")];

struct World {
    secrets: Arc<Memory>,
    portal: Portal,
    tools: Tools,
    far: Loop,
    mortal: Mortal,
}

impl World {
    fn new() -> Self {
        let (platform, portal) = Ion::new("2768");
        let mut platform = platform.subscription("501", "10991", "WFS", 40);
        for id in 502..507 {
            platform = platform.subscription(&id.to_string(), "10991", &format!("P{id}"), 1);
        }
        let secrets = Memory::of(&[("refresh_token", &portal.refresh_token())]);
        let (tools, far, mortal) = tools(Standin::new(platform), &secrets, "2026-11-05T09:00:00Z");
        // Whatever is asked for with an access token: the refresh token that came with it is kept by then.
        let (next, kept, taken) = (Arc::clone(&tools.transport), Arc::clone(&secrets), portal.clone());
        let watch = move |request: &Request<Bytes>| {
            if request.uri().path() != "/oauth/token" {
                assert_eq!(kept.now("refresh_token"), Some(taken.taken()));
            }
        };
        let tools = Tools { transport: Arc::new(Watched { next, watch }), ..tools };
        Self { secrets, portal, tools, far, mortal }
    }

    fn connector(&self, more: &str) -> TdSynnexIon {
        let text = format!(
            "connector = \"tdsynnex-ion\"\ndistributor = \"td\"\nfrom = \"2026-10\"\n{more}\n\
             [options]\naccount = \"2768\"\nattributes = \"operation=changeQuantity; term=1\""
        );
        TdSynnexIon::new(&toml::from_str(&text).unwrap(), self.tools.clone()).unwrap()
    }

    fn effects(&self) -> Vec<String> {
        self.far.with(|standin| standin.effects())
    }
}

fn once(seats: u64) -> [String; 2] {
    let number = order_number(&line(&MAPPED, seats), KEY);
    [
        format!("order {number} placed: subscription 501 to have {seats}"),
        format!("subscription 501: 40 to {seats} by order {number}"),
    ]
}

#[test]
fn a_quantity_is_changed_by_an_order_that_is_followed_to_its_end() {
    let world = World::new();
    let (connector, part) = (world.connector(""), line(&MAPPED, 55));
    let sent = now(connector.send(&part, KEY)).unwrap();
    assert_eq!((sent.status, sent.far_id.as_str()), (Status::Acknowledged, "1000001"));
    assert_eq!(now(connector.follow(&part, KEY, &sent.far_id)).unwrap().said, "order 1000001 IN_PROGRESS");
    let done = now(connector.follow(&part, KEY, &sent.far_id)).unwrap();
    assert_eq!(done, Answer::new(Status::Settled, "1000001").saying("55 in force"));
    assert_eq!(world.effects(), once(55));
    // One token for all of it, and the one to come is kept.
    assert_eq!((world.secrets.puts(), world.secrets.now("refresh_token")), (1, Some(world.portal.taken())));
}

#[test]
fn whatever_goes_wrong_there_is_one_order_and_one_change() {
    for seed in seeds() {
        let world = World::new();
        let start = || -> Box<dyn Connector> { Box::new(world.connector("")) };
        // An answer with a refresh token in it that got lost is lost for good: a person gets the next one.
        let mend = |error: &SendError| {
            let token = Zeroizing::new(world.portal.refresh_token());
            now(world.secrets.put("refresh_token", token)).unwrap();
            error.to_string().contains("the access token was answered with 400")
        };
        let part = line(&MAPPED, 55);
        settled(seed, (&world.far, &world.mortal), &part, start, mend);
        assert_eq!(world.effects(), once(55), "SEATBEAT_SEED={seed}");
    }
}

#[test]
fn a_refresh_token_that_is_used_up_stops_with_where_the_next_one_is() {
    let world = World::new();
    world.far.with(|standin| standin.tell([Some(Wrong::LostAfter)]));
    let connector = world.connector("");
    let lost = now(connector.send(&line(&MAPPED, 55), KEY)).unwrap_err();
    assert!(matches!(lost, SendError::Again { .. }), "{lost:?}");
    let stop = now(connector.send(&line(&MAPPED, 55), KEY)).unwrap_err();
    let SendError::Stop { why, hint } = stop else { panic!("{stop:?}") };
    assert!(why.contains("cannot validate token") && hint.contains("portal"), "{why} {hint}");
}

#[test]
fn an_order_that_failed_is_rejected_with_its_errors() {
    let world = World::new();
    world.far.with(|standin| standin.decide(Verdict::Reject));
    let (connector, part) = (world.connector(""), line(&MAPPED, 55));
    let mut answer = now(connector.send(&part, KEY)).unwrap();
    for _ in 0..2 {
        answer = now(connector.follow(&part, KEY, &answer.far_id)).unwrap();
    }
    assert_eq!(answer, Answer::new(Status::Rejected, "1000001").saying("order 1000001 ERROR; out of credit"));
}

#[test]
fn an_order_is_found_behind_others_and_fewer_are_ordered_only_where_that_is_allowed() {
    let world = World::new();
    let connector = world.connector("");
    for id in 502..507 {
        let id = id.to_string();
        let mapped = [MAPPED[0], ("subscription", id.as_str())];
        now(connector.send(&line(&mapped, 2), &id)).unwrap();
    }
    let sent = now(connector.send(&line(&MAPPED, 55), KEY)).unwrap();
    assert_eq!(now(connector.send(&line(&MAPPED, 55), KEY)).unwrap().far_id, sent.far_id);
    assert_eq!(world.effects().len(), 6);
    let left = now(connector.send(&line(&MAPPED, 12), "another")).unwrap();
    assert_eq!(left.said, "left at 40: 12 were sealed; fewer needs `allow_decrease`");
}

#[test]
fn all_subscriptions_are_listed_with_their_quantities() {
    let world = World::new();
    let listed = now(world.connector("").subscriptions()).unwrap().unwrap();
    let seen: Vec<(&str, Option<u64>)> =
        listed.iter().map(|one| (one.mapped["subscription"].as_str(), one.quantity)).collect();
    assert_eq!(seen[0], ("501", Some(40)));
    assert_eq!((seen.len(), listed[0].customer.as_str()), (6, "Customer 10991"));
}

#[test]
fn a_dry_run_shows_the_order_and_an_attribute_without_a_value_is_refused() {
    let world = World::new();
    let sample = Sample::default()
        .mapped("cus_acme", "WF-ADV", &MAPPED)
        .mapped("cus_acme", "WF-SVC", &MAPPED)
        .mapped("cus_bolt", "WF-SVC", &MAPPED);
    let parts = sample.project(&world.connector("")).parts;
    let shown = &parts[2].requests[0];
    assert_eq!(shown.target, "https://ion.tdsynnex.com/api/v3/accounts/2768/customers/10991/orders");
    for words in ["\"quantity\":45", "{resourceId}", r#"{"name":"operation","value":"changeQuantity"}"#] {
        assert!(shown.body.contains(words), "{}", shown.body);
    }
    let wrong = "connector = \"tdsynnex-ion\"\ndistributor = \"td\"\nfrom = \"2026-10\"\n\
                 options = { account = \"1\", attributes = \"a\" }";
    let error = TdSynnexIon::new(&toml::from_str(wrong).unwrap(), world.tools.clone()).err().unwrap();
    assert!(error.to_string().contains("`a`, which is not `name=value`"), "{error}");
}
