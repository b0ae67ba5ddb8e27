//! Against a stand-in that takes no order without all that the spec lists.

use std::sync::{Arc, Mutex};

use seatbeat_ledger::uploads::Status;
use seatbeat_standin::simpleapi::SimpleApi;
use seatbeat_standin::{Standin, Verdict};

use super::super::connector::{Answer, Connector};
use super::super::faults::{KEY, line, now, seeds, settled};
use super::super::samples::Sample;
use super::super::seats::order_number;
use super::super::standin::{Loop, Memory, Mortal, Watched, tools};
use super::*;

const MAPPED: [(&str, &str); 3] =
    [("far_customer", "1000001"), ("subscription", "1000017"), ("mpn", "WFS-1")];

struct World {
    tools: Tools,
    far: Loop,
    mortal: Mortal,
}

impl World {
    fn new() -> Self {
        Self::of(SimpleApi::new("gateway-key", "api-user", "s3cret", "us"))
    }

    fn of(platform: SimpleApi) -> Self {
        let secrets =
            Memory::of(&[("user", "api-user"), ("password", "s3cret"), ("subscription_key", "gateway-key")]);
        let platform = platform.subscription("1000017", "1000001", "WFS-1", "TrendMicro", 40);
        let (tools, far, mortal) = tools(Standin::new(platform), &secrets, "2026-11-05T09:00:00Z");
        Self { tools, far, mortal }
    }

    fn connector(&self, more: &str) -> IngramSimpleApi {
        let text = format!(
            "connector = \"ingram-simpleapi\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n\
             url = \"https://market.example/v1\"\noptions.marketplace = \"us\"\n{more}"
        );
        IngramSimpleApi::new(&toml::from_str(&text).unwrap(), self.tools.clone()).unwrap()
    }

    fn effects(&self) -> Vec<String> {
        self.far.with(|standin| standin.effects())
    }
}

/// The stand-in is below an address of its own here.
fn connector(world: &World, more: &str) -> IngramSimpleApi {
    IngramSimpleApi { url: "https://market.example".to_owned(), ..world.connector(more) }
}

fn once(seats: u64) -> [String; 2] {
    let number = order_number(&line(&MAPPED, seats), KEY);
    [
        format!("order {number} placed: subscription 1000017 to have {seats}"),
        format!("subscription 1000017: 40 to {seats} by order {number}"),
    ]
}

#[test]
fn a_quantity_is_changed_by_an_order_that_is_followed_to_its_end() {
    let world = World::new();
    let (connector, part) = (connector(&world, ""), line(&MAPPED, 55));
    let sent = now(connector.send(&part, KEY)).unwrap();
    assert_eq!((sent.status, sent.far_id.as_str()), (Status::Acknowledged, "1000001"));
    let working = now(connector.follow(&part, KEY, &sent.far_id)).unwrap();
    assert_eq!(
        (working.status, working.said.as_str()),
        (Status::Acknowledged, "order SO1000001 processing (XX)")
    );
    let done = now(connector.follow(&part, KEY, &sent.far_id)).unwrap();
    assert_eq!(done, Answer::new(Status::Settled, "1000001").saying("55 in force"));
    assert_eq!(world.effects(), once(55));
    assert_eq!(now(connector.in_force(&part)).unwrap(), Some(55));
}

#[test]
fn whatever_goes_wrong_there_is_one_order_and_one_change() {
    for seed in seeds() {
        let world = World::of(SimpleApi::new("gateway-key", "api-user", "s3cret", "us").token_uses(5));
        let start = || -> Box<dyn Connector> { Box::new(connector(&world, "")) };
        let part = line(&MAPPED, 55);
        settled(seed, (&world.far, &world.mortal), &part, start, |_| false);
        assert_eq!(world.effects(), once(55), "SEATBEAT_SEED={seed}");
        world.far.with(|standin| standin.heal());
        world.mortal.dies_after(None);
        assert_eq!(now(start().send(&part, KEY)).unwrap().status, Status::Settled, "SEATBEAT_SEED={seed}");
        assert_eq!(world.effects(), once(55), "SEATBEAT_SEED={seed}");
    }
}

#[test]
fn an_order_that_failed_is_rejected_and_stays_so_until_somebody_there_goes_on_with_it() {
    for (verdict, last) in [(Verdict::Reject, Status::Rejected), (Verdict::RejectThenAccept, Status::Settled)]
    {
        let world = World::new();
        world.far.with(|standin| standin.decide(verdict));
        let (connector, part) = (connector(&world, ""), line(&MAPPED, 55));
        let mut answer = now(connector.send(&part, KEY)).unwrap();
        for _ in 0..2 {
            answer = now(connector.follow(&part, KEY, &answer.far_id)).unwrap();
        }
        assert_eq!(answer.status, Status::Rejected);
        assert_eq!(now(connector.follow(&part, KEY, &answer.far_id)).unwrap().status, last);
        // Asked to send it again, it goes on with the order there is; the next submission is a new one.
        assert_eq!(now(connector.send(&part, KEY)).unwrap().status, last);
        let again = now(connector.send(&part, &format!("{KEY}-s2"))).unwrap();
        let expected = if last == Status::Settled { Status::Settled } else { Status::Acknowledged };
        assert_eq!(again.status, expected);
    }
}

#[test]
fn fewer_are_ordered_only_where_that_is_allowed() {
    let world = World::new();
    let left = now(connector(&world, "").send(&line(&MAPPED, 12), KEY)).unwrap();
    let said = "left at 40: 12 were sealed; fewer needs `allow_decrease`";
    assert_eq!(left, Answer::new(Status::Settled, "1000017").saying(said));
    assert_eq!(world.effects(), Vec::<String>::new());
    let sent = now(connector(&world, "allow_decrease = true").send(&line(&MAPPED, 12), KEY)).unwrap();
    assert_eq!(sent.status, Status::Acknowledged);
}

#[test]
fn what_the_mapping_has_wrong_stops_and_says_what_there_is() {
    let world = World::new();
    let connector = connector(&world, "");
    for (mapped, words) in [
        ([MAPPED[0], MAPPED[1], ("mpn", "OTHER")], "it has: WFS-1"),
        ([("far_customer", "1000002"), MAPPED[1], MAPPED[2]], "not of customer 1000002"),
        ([MAPPED[0], ("subscription", "9"), MAPPED[2]], "404"),
    ] {
        let error = now(connector.send(&line(&mapped, 55), KEY)).unwrap_err();
        assert!(
            matches!(&error, SendError::Stop { why, hint } if why.contains(words) && hint.contains("mapping")),
            "{error:?}"
        );
    }
}

#[test]
fn a_token_is_kept_while_it_lasts_asked_for_anew_when_it_is_refused_and_never_shown() {
    let world = World::of(SimpleApi::new("gateway-key", "api-user", "s3cret", "us").token_uses(3));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (shown, next) = (Arc::clone(&seen), Arc::clone(&world.tools.transport));
    let watch = move |request: &Request<Bytes>| shown.lock().unwrap().push(format!("{request:?}"));
    let tools = Tools { transport: Arc::new(Watched { next, watch }), ..world.tools.clone() };
    let connector = IngramSimpleApi { tools, ..connector(&world, "") };
    for _ in 0..5 {
        assert_eq!(now(connector.in_force(&line(&MAPPED, 1))).unwrap(), Some(40));
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().filter(|request| request.contains("/token")).count(), 2);
    // Five, the one that was refused, and two for tokens.
    assert_eq!(seen.len(), 8);
    for secret in ["gateway-key", "s3cret", "token-1", "Basic"] {
        assert!(seen.iter().all(|request| !request.contains(secret)), "{secret}");
    }
}

#[test]
fn wrong_credentials_stop_with_what_to_renew() {
    let world = World::of(SimpleApi::new("gateway-key", "api-user", "other", "us"));
    let error = now(connector(&world, "").send(&line(&MAPPED, 55), KEY)).unwrap_err();
    assert!(matches!(&error, SendError::Stop { hint, .. } if hint.contains("secrets")), "{error:?}");
}

#[test]
fn an_order_is_read_bare_and_as_data() {
    let bare = json!({ "id": "7", "status": "cancelled", "orderNumber": "SO7" });
    for shown in [bare.clone(), json!({ "data": bare })] {
        let order = order_of(&inner(shown));
        assert_eq!(
            (order.id.as_str(), order.progress, order.said.as_str()),
            ("7", Progress::Failed, "order SO7 cancelled")
        );
    }
}

#[test]
fn an_order_is_found_behind_many_others() {
    let mut platform = SimpleApi::new("gateway-key", "api-user", "s3cret", "us");
    for number in 0..250 {
        platform = platform.subscription(&format!("s{number}"), "1000001", "WFS-1", "TrendMicro", 1);
    }
    let world = World::of(platform);
    let connector = connector(&world, "");
    let sent = now(connector.send(&line(&MAPPED, 55), KEY)).unwrap();
    for number in 0..250 {
        let subscription = format!("s{number}");
        let mapped = [MAPPED[0], ("subscription", subscription.as_str()), MAPPED[2]];
        now(connector.send(&line(&mapped, 2), &subscription)).unwrap();
    }
    assert_eq!(now(connector.send(&line(&MAPPED, 55), KEY)).unwrap().far_id, sent.far_id);
    assert_eq!(world.effects().len(), 251);
    let listed = now(connector.subscriptions()).unwrap().unwrap();
    let one = listed.iter().find(|one| one.mapped["subscription"] == "1000017").unwrap();
    assert_eq!((listed.len(), one.quantity, one.mapped["mpn"].as_str()), (251, Some(40), "WFS-1"));
    assert_eq!(one.customer, "Customer 1000001");
}

#[test]
fn a_dry_run_shows_the_order_with_what_only_the_marketplace_knows_in_braces() {
    let world = World::new();
    let row = MAPPED;
    let sample = Sample::default()
        .mapped("cus_acme", "WF-ADV", &row)
        .mapped("cus_acme", "WF-SVC", &row)
        .mapped("cus_bolt", "WF-SVC", &row);
    let parts = sample.project(&world.connector("")).parts;
    let shown = &parts[2].requests[0];
    assert_eq!((shown.method.as_str(), shown.target.as_str()), ("POST", "https://market.example/v1/orders"));
    for words in ["\"quantity\":45", "{poNumber}", "{vendor}", "\"subscriptionId\":\"1000017\""] {
        assert!(shown.body.contains(words), "{}", shown.body);
    }
    let missing =
        toml::from_str("connector = \"ingram-simpleapi\"\ndistributor = \"i\"\nfrom = \"2026-10\"").unwrap();
    assert!(
        IngramSimpleApi::new(&missing, world.tools.clone())
            .err()
            .unwrap()
            .to_string()
            .contains("marketplace")
    );
}
