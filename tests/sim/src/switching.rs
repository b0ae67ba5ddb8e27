//! A computer's products as they are switched: the product's actor on the computer's disk, with hands that change what
//! is installed. Invariant: the actor is the product's, unless something is wrong on purpose.

use std::path::Path;

use ed25519_dalek::VerifyingKey;
use prost::Message as _;
use seatbeat_agent::act::actor::{Actor, Job, pin};
use seatbeat_agent::act::arm::{Ask, Told};
use seatbeat_agent::act::book::{Outcome, Place};
use seatbeat_agent::act::{Hands, Stand, Task};
use seatbeat_agent::moment::Moment;
use seatbeat_agent::spool::disk::Disk as _;
use seatbeat_proto::ids::{OrderId, ProductId};
use seatbeat_proto::procedures::Switch;
use seatbeat_proto::wire::{self, FoundProduct, OrderSecrets, ProductState};

use crate::host::Host;
use crate::wrong::Wrong;

/// The actor's file.
pub const BOOK: &str = "orders/book.json";

/// What happened of orders, for whoever stands beside.
#[derive(Debug, Clone)]
pub enum Happened {
    /// An order of a product was accepted, and somebody was told.
    Accepted {
        /// Of which product.
        product: String,
        /// Where it stands among all.
        place: Place,
    },
    /// An order was accepted that is signed by nobody whose orders were taken.
    Forged(OrderId),
    /// An order was begun.
    Begun {
        /// Which.
        order: OrderId,
        /// Of which product.
        product: String,
        /// Where it stands among all.
        place: Place,
        /// Protection ends by it.
        destructive: bool,
    },
}

/// Hands on what is installed.
struct OnProducts<'a> {
    products: &'a mut Vec<FoundProduct>,
    /// Nobody can tell afterwards how it stands.
    veiled: bool,
}

impl Hands for OnProducts<'_> {
    fn ready(&mut self, task: &Task, _: Option<&OrderSecrets>) -> Result<(), String> {
        self.look(&task.product).map(drop)
    }

    fn carry_out(&mut self, task: &Task, _: Option<&OrderSecrets>) -> Result<String, String> {
        let is_it = |found: &FoundProduct| found.product == task.product.as_str();
        let state = match task.switch {
            Switch::Uninstall => {
                self.products.retain(|found| !is_it(found));
                return Ok("removed".to_owned());
            }
            _ if self.veiled => ProductState::Unknown,
            Switch::Off => ProductState::Inactive,
            Switch::On => ProductState::Active,
        };
        let found = self.products.iter_mut().find(|found| is_it(found));
        found.ok_or("the product is gone")?.set_state(state);
        Ok("switched".to_owned())
    }

    fn look(&mut self, product: &ProductId) -> Result<Stand, String> {
        let found = self.products.iter().find(|found| found.product == product.as_str());
        match found.map(FoundProduct::state) {
            None => Ok(Stand::Absent),
            Some(ProductState::Active) => Ok(Stand::Active),
            Some(ProductState::Unknown) => Err("nobody can tell".to_owned()),
            Some(_) => Ok(Stand::Inactive),
        }
    }
}

impl Host {
    /// Starts whoever switches products, with the order keys of the token.
    pub(crate) fn open_actor(
        &mut self,
        service: &VerifyingKey,
        keys: &wire::OrderKeys,
    ) -> Result<(), String> {
        (self.actor, self.job) = (None, None);
        if self.wrong == Some(Wrong::FloorForgotten) {
            self.rewrite_book(|book| book["floors"] = serde_json::json!({}));
        }
        let (folder, disk) = (Path::new("orders"), || Box::new(self.disk.clone()));
        pin(folder, disk(), &self.machine, service, keys, true).map_err(|error| error.to_string())?;
        let actor = Actor::open(folder, disk(), &self.machine, service);
        self.actor = Some(actor.map_err(|error| error.to_string())?);
        self.asks = vec![Ask::Recap];
        self.believes = Some(*service);
        self.first_keys = keys.clone();
        Ok(())
    }

    /// What is asked of whoever switches products, answered.
    pub(crate) fn ask_actor(&mut self, ask: Ask, now: Moment) -> Vec<Told> {
        if let (Ask::Order(delivery), Some(wrong)) = (&ask, self.wrong) {
            let payload = delivery.order.as_ref().map(|order| order.payload.as_slice());
            let order = wire::Order::decode(payload.unwrap_or_default()).unwrap_or_default();
            if wrong == Wrong::CancelIgnored && order.action() == wire::Action::Cancel {
                return self.pretend_to_cancel(&order);
            }
        }
        if matches!(ask, Ask::Keys(_)) && self.wrong == Some(Wrong::KeysIgnored) {
            return Vec::new();
        }
        let forged = self.forged(&ask);
        let Some(mut actor) = self.actor.take() else { return Vec::new() };
        if forged.is_some() && self.wrong == Some(Wrong::OldKeyTaken) && self.job.is_none() {
            actor = self.credulous(actor, &self.first_keys.clone());
        }
        if matches!(ask, Ask::Order(_)) && self.wrong == Some(Wrong::RedeliveryTaken) && self.job.is_none() {
            actor = self.forgetful(actor);
        }
        let forgets = self.wrong == Some(Wrong::ResultForgotten);
        let before = forgets.then(|| actor.book().clone());
        let mut told = actor.ask(ask, now);
        if let Some(before) = before {
            told.retain(|told| match told {
                Told::Result(result) => {
                    let id = result.order.parse::<OrderId>().ok();
                    id.is_none_or(|id| before.get(&id).is_none())
                }
                _ => true,
            });
        }
        self.note_told(&actor, &told);
        let is_taken = |id: &OrderId| {
            actor.book().get(id).is_some_and(|entry| entry.stage.outcome() != Outcome::Refused)
        };
        self.happened.extend(forged.filter(is_taken).map(Happened::Forged));
        self.actor = Some(actor);
        told
    }

    /// An order that comes for the first time, by nobody whose orders are taken.
    fn forged(&self, ask: &Ask) -> Option<OrderId> {
        let Ask::Order(wire::OrderDelivery { order: Some(signed), .. }) = ask else { return None };
        let id = wire::Order::decode(signed.payload.as_slice()).ok()?.order.parse::<OrderId>().ok()?;
        let is_new = self.actor.as_ref()?.book().get(&id).is_none();
        (is_new && self.is_forged(signed)).then_some(id)
    }

    /// What is due is begun.
    pub(crate) fn begin(&mut self, now: Moment) -> Vec<Told> {
        if self.job.is_some() {
            return Vec::new();
        }
        let Some(mut actor) = self.actor.take() else { return Vec::new() };
        let before = (self.wrong == Some(Wrong::BegunBeforeKept)).then(|| self.disk.read(Path::new(BOOK)));
        let mut hands = OnProducts { products: &mut self.products, veiled: false };
        let (told, job) = actor.begin(now, &mut hands);
        if let (Some(Ok(before)), true) = (before, job.is_some()) {
            self.disk.overwrite(BOOK, &before);
        }
        self.note_told(&actor, &told);
        if let Some(entry) = job.as_ref().and_then(|job| actor.book().get(&job.order)) {
            self.happened.push(Happened::Begun {
                order: entry.ordered.id.clone(),
                product: entry.ordered.product.clone(),
                place: entry.ordered.place,
                destructive: entry.ordered.kind.is_destructive(),
            });
        }
        (self.actor, self.job) = (Some(actor), job);
        told
    }

    /// What is being done takes effect, or a half of it does.
    pub(crate) fn take_effect(&mut self, veiled: bool) -> Result<String, String> {
        let Some(job) = &self.job else { return Err("nothing is done".to_owned()) };
        OnProducts { products: &mut self.products, veiled }.carry_out(&job.task, None)
    }

    /// What came of it is in the book.
    pub(crate) fn end_job(&mut self, job: Job, done: Result<String, String>, now_ms: i64) -> Vec<Told> {
        let now = self.moment(now_ms);
        let Some(mut actor) = self.actor.take() else { return Vec::new() };
        let told = actor.end(job, done, now);
        self.note_told(&actor, &told);
        self.actor = Some(actor);
        told
    }

    fn note_told(&mut self, actor: &Actor, told: &[Told]) {
        let results = told.iter().filter_map(|told| match told {
            Told::Result(result) => actor.book().get(&result.order.parse().ok()?),
            _ => None,
        });
        let accepted =
            results.filter(|entry| !matches!(entry.stage.outcome(), Outcome::Refused | Outcome::Expired));
        let accepted = accepted.map(|entry| Happened::Accepted {
            product: entry.ordered.product.clone(),
            place: entry.ordered.place,
        });
        self.happened.extend(accepted);
    }

    fn pretend_to_cancel(&mut self, order: &wire::Order) -> Vec<Told> {
        let place = Place { epoch: order.epoch, sequence: order.sequence };
        self.happened.push(Happened::Accepted { product: order.product.clone(), place });
        vec![Told::Result(wire::OrderResult {
            order: order.order.clone(),
            order_sequence: order.sequence,
            outcome: wire::Outcome::Done.into(),
            product: order.product.clone(),
            detail: "nothing was waiting".to_owned(),
        })]
    }

    /// An actor that knows nothing any more of what has an end.
    fn forgetful(&mut self, actor: Actor) -> Actor {
        let Some((service, machine)) = self.believes.zip(Some(self.machine.clone())) else { return actor };
        self.rewrite_book(|book| {
            book["floors"] = serde_json::json!({});
            if let Some(orders) = book["orders"].as_array_mut() {
                orders.retain(|order| order["stage"].get("ended").is_none());
            }
        });
        Actor::open(Path::new("orders"), Box::new(self.disk.clone()), &machine, &service).unwrap_or(actor)
    }

    fn rewrite_book(&self, change: impl FnOnce(&mut serde_json::Value)) {
        self.rewrite(|file| change(&mut file["book"]));
    }

    /// Changes the actor's file, as nothing that is right does.
    pub(crate) fn rewrite(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let Ok(bytes) = self.disk.read(Path::new(BOOK)) else { return };
        let Ok(mut file) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return };
        change(&mut file);
        self.disk.overwrite(BOOK, file.to_string().as_bytes());
    }
}
