//! Against a stand-in that checks every signature.

use std::sync::{Arc, Mutex};

use http::Request;
use seatbeat_ledger::uploads::PartId;
use seatbeat_standin::{Standin, Verdict};

use super::super::arm::{ArmError, Licence, Receipt, Step};
use super::super::faults::{KEY, line, now, seeds, settled};
use super::super::samples::Sample;
use super::super::standin::{Loop, Memory, Mortal, Watched, tools};
use super::*;

const NOW: &str = "2026-11-05T09:00:00Z";
const TOKEN: &str = "2f9a54b8-0000-4000-8000-1234567890ab";
const SECRET: &str = "IyNDBEnKBeZc0tduDlwhUgkZKBvqSUm7fO9ijOYL0yU=";
const MAPPED: [(&str, &str); 4] = [
    ("far_customer", "c1"),
    ("subscription", "s1"),
    ("customer_name", "Acme GmbH"),
    ("service_plan", "WFS monthly"),
];

struct World {
    secrets: Arc<Memory>,
    tools: Tools,
    far: Loop,
    mortal: Mortal,
}

impl World {
    fn new() -> Self {
        let posix_s = NOW.parse::<jiff::Timestamp>().unwrap().as_second();
        let platform = seatbeat_standin::lmpi::Lmpi::new(TOKEN, SECRET)
            .at(posix_s)
            .customer("c1", "Acme GmbH")
            .subscription("s1", "c1", "WFS monthly", 40);
        Self::of(platform)
    }

    fn of(platform: seatbeat_standin::lmpi::Lmpi) -> Self {
        let secrets = Memory::of(&[("access_token", TOKEN), ("secret_key", SECRET)]);
        let (tools, far, mortal) = tools(Standin::new(platform), &secrets, NOW);
        Self { secrets, tools, far, mortal }
    }

    fn connector(&self, more: &str) -> Lmpi {
        let text = format!("connector = \"lmpi\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n{more}");
        Lmpi::new(&toml::from_str(&text).unwrap(), self.tools.clone()).unwrap()
    }

    fn effects(&self) -> Vec<String> {
        self.far.with(|standin| standin.effects())
    }
}

fn licence() -> Licence {
    let mapped = MAPPED.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Licence {
        customer: "cus_acme".parse().unwrap(),
        sku: "WF-SVC".parse().unwrap(),
        mapped: mapped.into_iter().collect(),
    }
}

#[test]
fn units_are_set_and_read_back() {
    let world = World::new();
    let answer = now(world.connector("").send(&line(&MAPPED, 55), KEY)).unwrap();
    assert_eq!(answer, Answer::new(Status::Settled, "s1").saying("55 in force"));
    assert_eq!(world.effects(), ["subscription s1: 40 to 55 units"]);
    assert_eq!(now(world.connector("").in_force(&line(&MAPPED, 55))).unwrap(), Some(55));
}

#[test]
fn fewer_are_set_only_where_that_is_allowed_and_none_never() {
    let world = World::new();
    for (seats, said) in [
        (12, "left at 40: 12 were sealed; fewer needs `allow_decrease`"),
        (0, "left at 40: it cannot be set to none; suspend it"),
    ] {
        let answer = now(world.connector("").send(&line(&MAPPED, seats), KEY)).unwrap();
        assert_eq!(answer, Answer::new(Status::Settled, "s1").saying(said));
    }
    assert_eq!(world.effects(), Vec::<String>::new());
    let connector = world.connector("allow_decrease = true");
    assert_eq!(now(connector.send(&line(&MAPPED, 12), KEY)).unwrap().said, "12 in force");
    assert_eq!(world.effects(), ["subscription s1: 40 to 12 units"]);
    let many = now(connector.send(&line(&MAPPED, 1_000_000), KEY)).unwrap_err();
    assert!(matches!(&many, SendError::Stop { why, .. } if why.contains("999999")), "{many:?}");
}

#[test]
fn a_refusal_stops_in_the_platforms_words() {
    let world = World::new();
    world.far.with(|standin| standin.decide(Verdict::Reject));
    let error = now(world.connector("").send(&line(&MAPPED, 55), KEY)).unwrap_err();
    assert!(error.to_string().contains("The subscription cannot be updated."), "{error}");
    let elsewhere = [("far_customer", "c2"), ("subscription", "../s1")];
    let error = now(world.connector("").send(&line(&elsewhere, 55), KEY)).unwrap_err();
    assert!(matches!(&error, SendError::Stop { hint, .. } if hint.contains("mapping")), "{error:?}");
    assert_eq!(world.effects(), Vec::<String>::new());
}

#[test]
fn whatever_goes_wrong_units_are_changed_once() {
    for seed in seeds() {
        let world = World::new();
        let part = line(&MAPPED, 55);
        let start = || -> Box<dyn Connector> { Box::new(world.connector("")) };
        settled(seed, (&world.far, &world.mortal), &part, start, |_| false);
        assert_eq!(world.effects(), ["subscription s1: 40 to 55 units"], "SEATBEAT_SEED={seed}");
    }
}

#[test]
fn what_is_set_is_what_was_sealed_or_runs_now_and_a_correction_is_settled_by_hand() {
    let world = World::new();
    let connector = world.connector("");
    let sample = Sample::default();
    let error = connector.project(&sample.outgoing()).unwrap_err();
    assert!(error.to_string().contains("far_customer, subscription missing"), "{error}");
    let row = |subscription| [("far_customer", "c1"), ("subscription", subscription)];
    let sample = sample
        .mapped("cus_acme", "WF-ADV", &row("s/1"))
        .mapped("cus_acme", "WF-SVC", &row("s2"))
        .mapped("cus_bolt", "WF-SVC", &row("s3"))
        .running("cus_acme", "WF-SVC", 20)
        .running("cus_bolt", "WF-SVC", 7);
    let parts = sample.project(&connector).parts;
    let quantities: Vec<&str> = parts.iter().map(|part| part.quantity.as_str()).collect();
    assert_eq!(quantities, ["3", "20", "45", "2"]);
    assert_eq!(
        (parts[0].requests[0].target.as_str(), parts[0].requests[0].body.as_str()),
        (
            "https://cspi.trendmicro.com/LMPI/v2/customers/c1/subscriptions/s%2F1",
            r#"{"units_per_license":3}"#
        )
    );
    assert!(matches!(parts[3].id, PartId::Correction(..)));
    let answer = now(connector.send(&parts[3], KEY)).unwrap();
    assert!(answer.status == Status::Settled && answer.said.contains("settle by hand"), "{answer:?}");
    assert_eq!(world.far.with(|standin| standin.requests()), 0);
}

fn act(world: &World, step: Step, key: &str) -> Result<Receipt, ArmError> {
    now(world.connector("").arm().unwrap().act(step, &licence(), key))
}

#[test]
fn a_licence_is_suspended_and_resumed_once_under_one_receipt() {
    let world = World::new();
    let receipt = act(&world, Step::Suspend, "k1").unwrap();
    assert!(receipt.id.starts_with("subscription s1 suspended, trace "), "{}", receipt.id);
    assert_eq!(act(&world, Step::Suspend, "k1").unwrap().id, receipt.id);
    let resumed = act(&world, Step::Resume, "k2").unwrap();
    assert_eq!(act(&world, Step::Resume, "k2").unwrap().id, resumed.id);
    assert_ne!(receipt.id, resumed.id);
    assert_eq!(world.effects(), ["subscription s1 suspended", "subscription s1 unsuspended"]);
}

#[test]
fn an_act_without_an_answer_is_asked_for_again_and_has_one_effect() {
    use seatbeat_standin::wrong::Wrong;
    for wrong in [Wrong::LostAfter, Wrong::LostBefore, Wrong::Twice, Wrong::Torn] {
        let world = World::new();
        world.far.with(|standin| standin.tell([None, Some(wrong)]));
        let first = act(&world, Step::Suspend, "k1");
        let receipt = match (wrong, first) {
            // The second of the two was refused; asked again it is seen to be done.
            (Wrong::Twice, Err(ArmError::Refused { .. })) => act(&world, Step::Suspend, "k1").unwrap(),
            (_, Err(ArmError::NoAnswer { .. })) => act(&world, Step::Suspend, "k1").unwrap(),
            (_, other) => panic!("{wrong:?}: {other:?}"),
        };
        assert!(receipt.id.contains("suspended"));
        assert_eq!(world.effects(), ["subscription s1 suspended"], "{wrong:?}");
    }
}

#[test]
fn a_refused_act_says_so_in_the_platforms_words_and_one_that_is_not_mapped_never_leaves() {
    let world = World::new();
    let unmapped = Licence { mapped: Fields::new(), ..licence() };
    let error = now(world.connector("").act(Step::Suspend, &unmapped, "k1")).unwrap_err();
    assert!(error.to_string().contains("subscription missing"), "{error}");
    assert_eq!(world.far.with(|standin| standin.requests()), 0);
    let elsewhere = Licence {
        mapped: [("far_customer", "c9"), ("subscription", "s1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..licence()
    };
    let error = now(world.connector("").act(Step::Suspend, &elsewhere, "k1")).unwrap_err();
    assert!(error.to_string().contains("The subscription does not exist."), "{error}");
}

#[test]
fn of_a_report_what_the_mapping_names_has_its_line_and_the_rest_its_names() {
    let platform = seatbeat_standin::lmpi::Lmpi::new(TOKEN, SECRET)
        .customer("c1", "ACME GmbH ")
        .customer("c2", "Bolt")
        .subscription("s1", "c1", "WFS monthly", 40)
        .subscription("s2", "c2", "WFS monthly", 7);
    let world = World::of(platform);
    let sample = Sample::default().mapped("cus_acme", "WF-SVC", &MAPPED);
    let period = "2026-10".parse().unwrap();
    let rows = now(world.connector("").provisioned(period, &sample.mapping)).unwrap().unwrap();
    let seen: Vec<(bool, &str, Option<u64>, Option<u64>)> =
        rows.iter().map(|row| (row.line.is_some(), row.called.as_str(), row.provisioned, row.used)).collect();
    assert_eq!(
        seen,
        [
            (true, "ACME GmbH / Worry-Free Services / WFS monthly", Some(40), None),
            (false, "Bolt / Worry-Free Services / WFS monthly", Some(7), None),
        ]
    );
    // Names that two lines share name neither.
    let twice = sample.mapped("cus_bolt", "WF-SVC", &MAPPED);
    let rows = now(world.connector("").provisioned(period, &twice.mapping)).unwrap().unwrap();
    assert!(rows.iter().all(|row| row.line.is_none()));
}

#[test]
fn all_pages_of_subscriptions_are_listed_with_their_names() {
    let mut platform = seatbeat_standin::lmpi::Lmpi::new(TOKEN, SECRET);
    for number in 0..230 {
        let (customer, subscription) = (format!("c{number}"), format!("s{number}"));
        platform = platform.customer(&customer, &format!("Customer {number}")).subscription(
            &subscription,
            &customer,
            "WFS monthly",
            number,
        );
    }
    let world = World::of(platform);
    let listed = now(world.connector("").subscriptions()).unwrap().unwrap();
    assert_eq!(listed.len(), 230);
    let one = listed.iter().find(|one| one.mapped["subscription"] == "s217").unwrap();
    assert_eq!(
        (one.customer.as_str(), one.mapped["far_customer"].as_str(), one.mapped["service_plan"].as_str()),
        ("Customer 217", "c217", "WFS monthly")
    );
    assert!(one.product.contains(&"WFSBWXE3X".to_owned()), "{:?}", one.product);
}

#[test]
fn no_secret_is_shown_of_a_request_and_a_skewed_clock_is_refused() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(String::new()));
    let (shown, next) = (Arc::clone(&seen), Arc::clone(&world.tools.transport));
    let watch = move |request: &Request<Bytes>| shown.lock().unwrap().push_str(&format!("{request:?}"));
    let tools = Tools { transport: Arc::new(Watched { next, watch }), ..world.tools.clone() };
    let connector = Lmpi { tools, ..world.connector("") };
    now(connector.send(&line(&MAPPED, 55), KEY)).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.contains("x-signature") && !seen.contains(SECRET) && !seen.contains(TOKEN), "{seen}");

    let late = crate::clock::Clock::as_of("2026-11-05T09:16:00Z".parse().unwrap());
    let connector = Lmpi { tools: Tools { clock: late, ..world.tools.clone() }, ..world.connector("") };
    let error = now(connector.send(&line(&MAPPED, 60), KEY)).unwrap_err();
    assert!(matches!(&error, SendError::Stop { hint, .. } if hint.contains("clock is right")), "{error:?}");
    assert_eq!(world.secrets.puts(), 0);
}

#[test]
fn licences_that_differ_are_set_even_unless_that_lowers_one_of_them() {
    let world = World::new();
    let connector = world.connector("");
    let licences = |units: [u64; 2]| Subscription {
        licenses: units.map(|units| License { units, ..License::default() }).into(),
        ..Subscription::default()
    };
    let part = line(&MAPPED, 45);
    let wanted = Wanted::of(&part).unwrap();
    let said = |units| connector.settled(&wanted, &licences(units)).unwrap().map(|answer| answer.said);
    assert_eq!((said([40, 45]), said([40, 30])), (None, None));
    assert_eq!(said([45, 45]).unwrap(), "45 in force");
    assert!(said([50, 40]).unwrap().starts_with("left at 50"));
}
