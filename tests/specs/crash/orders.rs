//! Whoever carries orders out, behind a crash, and killed before it as often as a seed says: what was ordered, whose orders
//! are taken, what secrets are sealed to. Invariant: the measure is what was told, and when hands were set to work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_agent::act::actor::{Actor, Pinned, pin};
use seatbeat_agent::act::arm::{Ask, Standing, Told};
use seatbeat_agent::act::{Hands, Stand, Task};
use seatbeat_agent::moment::Moment;
use seatbeat_agent::spool::disk::{Disk, RealDisk};
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::hex;
use seatbeat_proto::ids::{MachineId, ProductId};
use seatbeat_proto::sealing::seal;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::wire::{self, Action, OrderDelivery, OrderSecrets, Outcome};

use super::dying::DyingDisk;
use super::{Found, Stage, Verdict, check};

const NOW_MS: i64 = 1_790_000_000_000;

const ORDERS: u64 = 24;

/// After so many orders the order keys are others.
const ORDERS_OF_KEYS: u64 = 4;

/// Acts of its disk that a process does before it is killed, at most: some orders from their coming to their end.
const ACTS_MAX: u64 = 40;

fn service() -> SigningKey {
    SigningKey::from_bytes(&[201; 32])
}

/// Signs orders while keys of this revision are in force.
fn operator(revision: u64) -> SigningKey {
    SigningKey::from_bytes(&[revision as u8; 32])
}

fn order_keys(revision: u64) -> wire::OrderKeys {
    wire::OrderKeys {
        revision,
        keys: vec![operator(revision).verifying_key().to_bytes().to_vec()],
        recovery_key: SigningKey::from_bytes(&[200; 32]).verifying_key().to_bytes().to_vec(),
    }
}

/// Signed by the key before.
fn signed_keys(revision: u64) -> wire::Signed {
    sign(&operator(revision - 1), Domain::OrderKeys, order_keys(revision).encode_to_vec())
}

fn machine() -> MachineId {
    "mch_a".parse().expect("an id")
}

fn folder_in(folder: &Path) -> PathBuf {
    folder.join("helper/orders")
}

fn now() -> Moment {
    Moment { wall: Timestamp::from_millisecond(NOW_MS).expect("an instant"), uptime: Duration::ZERO }
}

/// Every third one switches something on, every second has secrets.
fn order(number: u64, revision: u64, seal_key: &[u8]) -> OrderDelivery {
    let action = if number.is_multiple_of(3) { Action::SwitchOn } else { Action::SwitchOff };
    let mut order = wire::Order {
        order: format!("ord_{number}"),
        machine: machine().to_string(),
        action: action.into(),
        product: if number.is_multiple_of(4) { "splx" } else { "dsa" }.to_owned(),
        sequence: number,
        issued_at_ms: NOW_MS - 1_000,
        expires_at_ms: NOW_MS + 3 * 86_400_000,
        at_once: true,
        ..wire::Order::default()
    };
    let mut sealed = Vec::new();
    if number.is_multiple_of(2) {
        let secrets = OrderSecrets { password: "to unload it".to_owned(), ..OrderSecrets::default() };
        sealed = seal(seal_key, &order, &secrets).expect("a seal key was told");
        order.secrets_hash = hash(&sealed).to_vec();
    }
    delivery(&order, revision, sealed)
}

fn delivery(order: &wire::Order, revision: u64, sealed: Vec<u8>) -> OrderDelivery {
    OrderDelivery { order: Some(sign(&operator(revision), Domain::Order, order.encode_to_vec())), sealed }
}

fn read(delivery: &OrderDelivery) -> wire::Order {
    let signed = delivery.order.clone().unwrap_or_default();
    wire::Order::decode(signed.payload.as_slice()).expect("an order is one")
}

/// Hands that can do all, and know of nothing how it stands.
struct Blind;

impl Hands for Blind {
    fn ready(&mut self, _: &Task, _: Option<&OrderSecrets>) -> Result<(), String> {
        Ok(())
    }

    fn carry_out(&mut self, _: &Task, _: Option<&OrderSecrets>) -> Result<String, String> {
        Ok("it was done".to_owned())
    }

    fn look(&mut self, _: &ProductId) -> Result<Stand, String> {
        Err("nobody can see it".to_owned())
    }
}

/// An actor, and what it told since it was opened.
struct Heard<'a> {
    actor: Actor,
    told: Vec<Told>,
    /// What hands were set to.
    begun: BTreeSet<String>,
    /// Where all of that is marked.
    stage: Option<&'a Stage>,
}

impl<'a> Heard<'a> {
    fn open(folder: &Path, disk: Box<dyn Disk>, stage: Option<&'a Stage>) -> Result<Self, String> {
        let actor = Actor::open(&folder_in(folder), disk, &machine(), &service().verifying_key());
        let actor = actor.map_err(|error| format!("{error}, {error:?}"))?;
        let mut heard = Self { actor, told: Vec::new(), begun: BTreeSet::new(), stage };
        heard.ask(Ask::Recap);
        Ok(heard)
    }

    fn ask(&mut self, ask: Ask) {
        let told = self.actor.ask(ask, now());
        self.hear(told);
    }

    /// Does whatever is due.
    fn work(&mut self) {
        loop {
            let (told, job) = self.actor.begin(now(), &mut Blind);
            self.hear(told);
            let Some(job) = job else { return };
            self.mark(&format!("begun {}", job.order));
            self.begun.insert(job.order.to_string());
            let done = Blind.carry_out(&job.task, job.secrets.as_ref());
            let told = self.actor.end(job, done, now());
            self.hear(told);
        }
    }

    fn hear(&mut self, told: Vec<Told>) {
        for told in told {
            match &told {
                Told::Standing(Standing { seal_key, .. }) => {
                    self.mark(&format!("seal {}", hex::format(&seal_key.public_key)));
                    self.mark(&format!("keys {}", seal_key.order_keys_revision));
                }
                Told::Result(result) => {
                    self.mark(&format!("told {} {}", result.order, result.outcome().as_str_name()));
                }
                Told::Noticed(_) => {}
            }
            self.told.push(told);
        }
    }

    fn mark(&self, words: &str) {
        if let Some(stage) = self.stage {
            stage.mark(words);
        }
    }

    fn seal_key(&self) -> &wire::SealKey {
        let standing = self.told.iter().rev().find_map(|told| match told {
            Told::Standing(standing) => Some(&standing.seal_key),
            _ => None,
        });
        standing.expect("it tells when it is opened")
    }

    /// What was told last of an order.
    fn outcome(&self, order: &str) -> Option<Outcome> {
        self.told.iter().rev().find_map(|told| match told {
            Told::Result(result) if result.order == order => Some(result.outcome()),
            _ => None,
        })
    }
}

fn is_end(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Taken | Outcome::Doing)
}

/// Orders and newer keys come until each has its end; whoever carries them out is killed again and again.
fn work(stage: &Stage) {
    let folder = stage.folder().to_owned();
    let pinned = pin(
        &folder_in(&folder),
        Box::new(RealDisk),
        &machine(),
        &service().verifying_key(),
        &order_keys(1),
        true,
    );
    assert_eq!(pinned.expect("there is room"), Pinned::Taken);
    stage.mark("keys 1");
    let mut seed = Seed::new(1).branch("kills");
    let (mut number, mut ordered) = (1, None);
    while number <= ORDERS {
        let disk = DyingDisk::after(1 + seed.below(ACTS_MAX));
        let Ok(mut heard) = Heard::open(&folder, Box::new(disk.clone()), Some(stage)) else { continue };
        while number <= ORDERS && !disk.is_dead() {
            let revision = 1 + (number - 1) / ORDERS_OF_KEYS;
            if heard.seal_key().order_keys_revision < revision {
                heard.ask(Ask::Keys(signed_keys(revision)));
                continue;
            }
            let delivery = ordered.get_or_insert_with(|| {
                let delivery = order(number, revision, &heard.seal_key().public_key);
                stage.mark(&format!("ordered {}", hex::format(&delivery.encode_to_vec())));
                delivery
            });
            heard.ask(Ask::Order(delivery.clone()));
            heard.work();
            if heard.outcome(&format!("ord_{number}")).is_some_and(is_end) {
                (number, ordered) = (number + 1, None);
            }
        }
    }
}

/// What the marks amount to.
#[derive(Default)]
struct Known<'a> {
    revision: u64,
    seal_key: Vec<u8>,
    /// In the order in which they came.
    ordered: Vec<OrderDelivery>,
    told: BTreeMap<&'a str, &'a str>,
    begun: BTreeMap<&'a str, u32>,
}

impl<'a> Known<'a> {
    fn by(marks: &[&'a str]) -> Self {
        let mut known = Self::default();
        let bytes = |text: &str| hex::parse_all(text).expect("it was written by this test");
        for mark in marks {
            let words: Vec<&'a str> = mark.split(' ').collect();
            match words.as_slice() {
                ["keys", revision] => known.revision = revision.parse().expect("a number"),
                ["seal", public] => known.seal_key = bytes(public),
                ["ordered", delivery] => {
                    let delivery = OrderDelivery::decode(bytes(delivery).as_slice());
                    known.ordered.push(delivery.expect("it was written by this test"));
                }
                ["told", order, outcome] => _ = known.told.insert(order, outcome),
                ["begun", order] => *known.begun.entry(order).or_default() += 1,
                other => panic!("nobody marks {other:?}"),
            }
        }
        known
    }
}

/// Nothing that was told is otherwise now, and nothing is done twice.
fn holds(heard: &mut Heard<'_>, known: &Known<'_>) -> Result<(), String> {
    let revision = heard.seal_key().order_keys_revision;
    if revision != known.revision && revision != known.revision + 1 {
        return Err(format!("order keys of revision {} were in force, {revision} are", known.revision));
    }
    for delivery in &known.ordered {
        heard.ask(Ask::Order(delivery.clone()));
        heard.work();
        let order = read(delivery);
        let outcome =
            heard.outcome(&order.order).ok_or_else(|| format!("nothing is told of {}", order.order))?;
        let was = known.told.get(order.order.as_str()).and_then(|was| Outcome::from_str_name(was));
        if was.is_some_and(|was| is_end(was) && was != outcome) {
            return Err(format!("{} was {was:?}, and is {outcome:?}", order.order));
        }
        if !is_end(outcome) {
            return Err(format!("{} has no end: {outcome:?}", order.order));
        }
    }
    let ended = known.told.iter().filter(|(_, was)| Outcome::from_str_name(was).is_some_and(is_end));
    let off = known.ordered.iter().map(read).filter(|order| order.action() == Action::SwitchOff);
    let once: BTreeSet<String> = off
        .map(|order| order.order)
        .filter(|order| known.begun.contains_key(order.as_str()))
        .chain(ended.map(|(order, _)| (*order).to_owned()))
        .collect();
    let twice: Vec<_> = heard.begun.intersection(&once).cloned().collect();
    if twice.is_empty() { Ok(()) } else { Err(format!("begun once more: {twice:?}")) }
}

/// What came before is not taken any more, and what comes now is.
fn goes_on(heard: &mut Heard<'_>, known: &Known<'_>) -> Result<(), String> {
    let revision = heard.seal_key().order_keys_revision;
    let mut ask = |name: &str, delivery: &OrderDelivery| {
        heard.ask(Ask::Order(delivery.clone()));
        heard.work();
        heard.outcome(name)
    };
    let next = |name: &str, sequence| wire::Order {
        order: name.to_owned(),
        sequence,
        secrets_hash: Vec::new(),
        ..read(&order(1, 1, &[]))
    };
    let newest =
        known.ordered.iter().map(read).filter(|order| order.product == "dsa").map(|order| order.sequence);
    if let Some(floor) = newest.max() {
        let late = ask("ord_late", &delivery(&next("ord_late", floor), revision, Vec::new()));
        if late != Some(Outcome::Refused) {
            return Err(format!("an order at the floor {floor}: {late:?}"));
        }
    }
    if revision > 1 {
        let old = ask("ord_old", &delivery(&next("ord_old", 900), revision - 1, Vec::new()));
        if old != Some(Outcome::Refused) {
            return Err(format!("an order by the key before: {old:?}"));
        }
    }
    if !known.seal_key.is_empty() {
        let new = next("ord_new", 1_000);
        let secrets = OrderSecrets { password: "to unload it".to_owned(), ..OrderSecrets::default() };
        let sealed = seal(&known.seal_key, &new, &secrets).map_err(|error| error.to_string())?;
        let new = wire::Order { secrets_hash: hash(&sealed).to_vec(), ..new };
        let done = ask("ord_new", &delivery(&new, revision, sealed));
        if done != Some(Outcome::Done) {
            return Err(format!("an order with secrets for the key that was told last: {done:?}"));
        }
    }
    heard.ask(Ask::Keys(signed_keys(revision + 1)));
    if heard.seal_key().order_keys_revision == revision + 1 {
        Ok(())
    } else {
        Err("newer order keys are not taken".to_owned())
    }
}

fn judged(found: &Found<'_>) -> Verdict {
    let known = Known::by(&found.marks);
    if known.revision == 0 {
        // Nobody said yet that these keys are in force: whoever says it again is not held up.
        let pinned = pin(
            &folder_in(found.folder),
            Box::new(RealDisk),
            &machine(),
            &service().verifying_key(),
            &order_keys(1),
            true,
        );
        pinned.map_err(|error| format!("{error:?}"))?;
    }
    let mut heard = Heard::open(found.folder, Box::new(RealDisk), None)?;
    heard.work();
    let known = Known { revision: known.revision.max(1), ..known };
    holds(&mut heard, &known)?;
    goes_on(&mut heard, &known)?;
    Ok("whole")
}

#[test]
fn what_was_told_of_orders_and_keys_holds_and_nothing_is_done_twice_behind_any_crash() {
    let test =
        "crash::orders::what_was_told_of_orders_and_keys_holds_and_nothing_is_done_twice_behind_any_crash";
    check(test, 250, work, judged);
}
