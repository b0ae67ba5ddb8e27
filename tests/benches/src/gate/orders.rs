//! How long an order takes from its signature to the machine, with thousands connected. Invariant: both ends read one
//! machine's clock; what is measured is on disk before it is sent.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use seatbeat_collector::books::Books;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::serve;
use seatbeat_proto::ids::OrderId;
use seatbeat_proto::instant;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{
    Action, Order, OrderKeys, OrderKeysSet, OrderLimitSet, OrderPlaced, OrderSigned, OrdersRequested,
};
use tokio::sync::oneshot;

use super::database::House;
use super::load::{self, Ask};
use super::processes::{Load, Server};
use super::store::Prepared;
use super::{AT_ONCE, milliseconds};
use crate::results::Section;
use crate::{desk, table};

/// Machines that are connected while orders go out, and how.
const RUNS: [(usize, How); 5] = [
    (2_000, How::Stream),
    (10_000, How::Stream),
    (10_000, How::Standby),
    (10_000, How::StreamElsewhere),
    (10_000, How::StandbyElsewhere),
];

/// A stream or standby; to the collector that takes the orders, or to another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Stream,
    Standby,
    StreamElsewhere,
    StandbyElsewhere,
}

impl How {
    fn is_elsewhere(self) -> bool {
        matches!(self, Self::StreamElsewhere | Self::StandbyElsewhere)
    }

    /// Of its stores.
    fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Standby => "standby",
            Self::StreamElsewhere => "stream-elsewhere",
            Self::StandbyElsewhere => "standby-elsewhere",
        }
    }

    fn stands_by(self) -> bool {
        matches!(self, Self::Standby | Self::StandbyElsewhere)
    }
}

/// Orders of each run, for as many of those machines.
const ORDERS: usize = 1_000;

/// Between two signatures: orders one by one, as an operator's, and not a queue of them.
const PACE: Duration = Duration::from_millis(10);

/// Rest behind the last connection: host names are kept behind the welcome.
const SETTLE: Duration = Duration::from_secs(5);

/// Rest until the generator listens.
const LISTEN: Duration = Duration::from_secs(1);

const BATCH: &str = "bat_bench";
const ACTOR: &str = "opr_bench";

/// Instants by order.
type Instants = BTreeMap<String, Timestamp>;

/// From the signature to the machine.
pub fn bench() -> anyhow::Result<ExitCode> {
    let most = RUNS.iter().map(|(connected, _)| *connected).max().unwrap_or(0);
    table::progress(&format!("enrolling {most} machines"));
    let prepared = Prepared::new(most)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rows = Vec::new();
    let seatbeat = desk::collector()?;
    for (connected, how) in RUNS {
        let house = how.is_elsewhere().then(|| House::of(&prepared, 2, how.name())).transpose()?;
        let store = match &house {
            Some(house) => house.stores[0].clone(),
            None => prepared.copy(&format!("orders-{connected}-{}", how.name()))?,
        };
        let running = runtime.block_on(serve::start(&store, Clock::real()))?;
        let other = house.as_ref().map(|house| Server::collector(&seatbeat, &house.stores[1])).transpose()?;
        let agents = other.as_ref().map_or(running.agent_address, |other| other.agents);
        let books = running.books.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = runtime.spawn(running.until(async move { drop(stopped.await) }));
        let mut load = Load::start(&prepared.token, agents)?;
        let orders = runtime.block_on(place(&books, connected))?;
        load.ask(&Ask::Prepare { from: 0, to: connected, reports: 0 })?;
        table::progress(&format!("connecting {connected} machines"));
        load.ask(&match how.stands_by() {
            true => Ask::StandBy { count: connected, at_once: AT_ONCE },
            false => Ask::Connect { count: connected, at_once: AT_ONCE },
        })?;
        std::thread::sleep(SETTLE);
        load.begin(&Ask::Orders { every: connected / ORDERS })?;
        // Every machine waits for its order by then.
        std::thread::sleep(LISTEN);
        let (signed, durable) = runtime.block_on(sign_all(&books, orders))?;
        let told = load.told()?;
        let late = |from: &Instants, to: &Instants| -> Vec<SignedDuration> {
            to.iter().filter_map(|(order, at)| Some(at.duration_since(*from.get(order)?))).collect()
        };
        anyhow::ensure!(told.ordered.len() == ORDERS, "{} orders came, not {ORDERS}", told.ordered.len());
        let [all, written] = [late(&signed, &told.ordered), late(&signed, &durable)].map(percentiles);
        let cells = [all[0], all[1], written[0], written[1]].map(milliseconds);
        let place = if how.is_elsewhere() { "another collector" } else { "the same" };
        let by = if how.stands_by() { "standby" } else { "stream" };
        let run = [connected.to_string(), by.to_owned(), place.to_owned(), ORDERS.to_string()];
        rows.push([run.to_vec(), cells.to_vec()].concat());
        drop((load, books, other));
        let _ = stop.send(());
        runtime.block_on(serving)??;
        drop(house);
    }
    let about = "From an order's signature, handed to a collector, to the machine that it is for; orders come one by one, \
                 100 a second at most. DURABLE is the part until the signature is on disk and folded. TO: the collector \
                 that took the order, or another one on the same PostgreSQL. A machine on standby is called, and opens a stream \
                 for it. The generator with all machines runs on \
                 the same cores.";
    let mut section = Section::new("orders", about);
    let head = ["CONNECTED", "BY", "TO", "ORDERS", "RECEIVED p50 ms", "p99 ms", "DURABLE p50 ms", "p99 ms"];
    section.table(&head, rows);
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

/// Places orders for every so many of the connected machines; answers them as they will be signed.
async fn place(books: &Books, connected: usize) -> anyhow::Result<Vec<(String, OrderSigned)>> {
    let now_ms = books.clock().now_ms();
    let expires_at_ms = now_ms + 3_600_000;
    let keys = vec![key().verifying_key().to_bytes().to_vec()];
    let keys = OrderKeys { revision: 1, keys, recovery_key: Vec::new() };
    let keys = Some(sign(&key(), Domain::OrderKeys, keys.encode_to_vec()));
    let mut facts = vec![
        Fact::OrderKeysSet(OrderKeysSet { keys }),
        Fact::OrderLimitSet(OrderLimitSet { machines_a_day: u32::MAX }),
        Fact::OrdersRequested(OrdersRequested {
            batch: BATCH.into(),
            action: Action::SwitchOff.into(),
            scope: None,
            machines: ORDERS as u32,
            orders: ORDERS as u32,
            expires_at_ms,
        }),
    ];
    let mut names = Vec::new();
    for number in (0..connected).step_by(connected / ORDERS).take(ORDERS) {
        let machine = load::machine(number, instant::from_ms(now_ms)?)?.id();
        let order = OrderId::derived_from(machine.as_str().as_bytes());
        let request = Order {
            order: order.to_string(),
            machine: machine.to_string(),
            action: Action::SwitchOff.into(),
            product: "dsa".into(),
            issued_at_ms: now_ms,
            expires_at_ms,
            ..Order::default()
        };
        let batch = BATCH.to_owned();
        facts.push(Fact::OrderPlaced(OrderPlaced { order: None, request: Some(request), batch }));
        names.push(order);
    }
    books.write_all(ACTOR, "bench", facts).await?;
    let placed = |order: &OrderId| {
        let placed = books.read(|fold| fold.orders().order(order).map(|order| order.to_wire()));
        let payload = placed.context("an order was not placed")?.encode_to_vec();
        anyhow::Ok((order.to_string(), OrderSigned { order: Some(sign(&key(), Domain::Order, payload)) }))
    };
    names.iter().map(placed).collect()
}

/// Writes the signatures one by one; answers when each was handed over, and when it was durable.
async fn sign_all(books: &Books, orders: Vec<(String, OrderSigned)>) -> anyhow::Result<(Instants, Instants)> {
    let (mut signed, mut durable) = (Instants::new(), Instants::new());
    let mut pace = tokio::time::interval(PACE);
    for (order, fact) in orders {
        pace.tick().await;
        signed.insert(order.clone(), books.clock().now());
        books.write(ACTOR, "bench", Fact::OrderSigned(fact)).await?;
        durable.insert(order, books.clock().now());
    }
    Ok((signed, durable))
}

/// The middle one and one in a hundred, in microseconds.
fn percentiles(mut times: Vec<SignedDuration>) -> [u64; 2] {
    times.sort_unstable();
    let us = |time: &SignedDuration| u64::try_from(time.as_micros()).unwrap_or(0);
    [50, 99].map(|percent| times.get(times.len() * percent / 100).map_or(0, us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_not_there_counts_as_none() {
        let times = (1..=200).rev().map(SignedDuration::from_micros).collect();
        assert_eq!((percentiles(times), percentiles(Vec::new())), ([101, 199], [0, 0]));
    }
}
