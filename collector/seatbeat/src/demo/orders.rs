//! Keys that sign orders, and one order that is on its way. Invariant: it is about a simulated machine of the running
//! month; nothing on this machine is switched, and the sealed month stays as it is.

use std::time::Duration;

use jiff::SignedDuration;
use prost::Message as _;
use seatbeat_collector::console::orders::make::{Secrets, Terms, scope_to_wire, signed};
use seatbeat_collector::console::orders::{Asked, OrderList, OrderPlan, PlanRow};
use seatbeat_collector::order_key::LockedKey;
use seatbeat_fleet::CUSTOMERS;
use seatbeat_ledger::orders::Scope;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire;

use super::fault::Fault;
use super::house::House;
use super::steps::Steps;

/// What the demonstration's keys are locked with: everybody may read it here.
pub const PASSPHRASE: &str = "a demonstration only";

/// Revision of the keys that the simulated machines say they trust.
pub const REVISION: u64 = 1;

/// Whose machine it is: one of its products is switched off without a password.
pub const CUSTOMER: &str = CUSTOMERS[2].id;

const REASON: &str = "the demonstration's machine leaves";

/// How long the order stands.
const LIFE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How long it may take until the machines have reported in new chains, in fifths of a second.
const REPORT_WAIT_FIFTHS: u32 = 100;

/// Puts order keys in force, unless there are some.
///
/// # Errors
/// When the collector refuses, or the folder cannot be written.
pub async fn keys(house: &mut House, steps: &mut Steps) -> Result<(), Fault> {
    let asked = wire::ListRequest::default();
    let held = house.collector.call(async |console| console.get_order_keys(asked).await).await?;
    if !held.trust.is_empty() {
        return Ok(());
    }
    let step = steps.begin("make the key that signs orders");
    let made =
        tokio::task::spawn_blocking(|| Ok((LockedKey::make(PASSPHRASE)?, LockedKey::make(PASSPHRASE)?)));
    let ((locked, key), (recovery, recovery_key)) = made.await?.map_err(Fault::OrderKey)?;
    house.place.write(&house.place.recovery_key(), &recovery.to_text())?;
    let keys = wire::OrderKeys {
        revision: REVISION,
        keys: vec![key.verifying_key().to_bytes().to_vec()],
        recovery_key: recovery_key.verifying_key().to_bytes().to_vec(),
    };
    let request = wire::SetOrderKeysRequest {
        keys: Some(sign(&key, Domain::OrderKeys, keys.encode_to_vec())),
        locked_key: locked.to_text(),
        reason: "the first order keys".to_owned(),
    };
    house.collector.call(async |console| console.set_order_keys(request).await).await?;
    step.done(&format!("its passphrase is `{PASSPHRASE}`"));
    Ok(())
}

/// Orders one product of a machine switched off, once some have reported, unless something was ordered before.
///
/// # Errors
/// When the collector refuses, or nothing is heard of the machines.
pub async fn place(house: &mut House) -> Result<(), Fault> {
    let asked = wire::OrdersRequest::default();
    let known = house.collector.call(async |console| console.list_orders(asked).await).await?;
    let known: OrderList = serde_json::from_str(&known.json).map_err(answer)?;
    if !known.batches.is_empty() {
        return Ok(());
    }
    let of_customer = Scope { customer: CUSTOMER.parse().ok(), ..Scope::default() };
    let plan = planned(house, &of_customer).await?;
    let chosen = plan.possible().find(|row| asks_nothing(row));
    let (machine, product) =
        (chosen.map(|row| row.machine.clone()), chosen.and_then(|row| row.product.clone()));
    let scope = Scope { machine, product, ..Scope::default() };
    let plan = planned(house, &scope).await?;
    let terms = Terms {
        scope,
        expires_at: plan.now.saturating_add(LIFE).unwrap_or(plan.now),
        at_once: false,
        secrets: Secrets(wire::OrderSecrets::default()),
    };
    let made = plan.made(&terms).map_err(|why| Fault::Answer(why.into()))?;
    let piece = wire::PlaceOrdersPiece {
        request: Some(made.request.clone()),
        reason: REASON.to_owned(),
        orders: made.orders.clone(),
    };
    let pieces = tokio_stream::iter([piece]);
    let placed = house.collector.call(async |console| console.place_orders(pieces).await).await?;
    let asked = wire::OrdersRequest {
        batch: made.batch.to_string(),
        after_position: placed.position,
        ..Default::default()
    };
    let unsigned = house.collector.call(async |console| console.unsigned_orders(asked).await).await?.orders;
    let asked = wire::ListRequest::default();
    let held = house.collector.call(async |console| console.get_order_keys(asked).await).await?;
    let opening = move || LockedKey::from_text(&held.locked_key).and_then(|locked| locked.open(PASSPHRASE));
    let key = tokio::task::spawn_blocking(opening).await?.map_err(Fault::OrderKey)?;
    let orders = signed(&unsigned, &key);
    let pieces = tokio_stream::iter([wire::SignedOrders { orders }]);
    house.collector.call(async |console| console.sign_orders(pieces).await).await?;
    Ok(())
}

/// What can be switched off there, once something can.
async fn planned(house: &mut House, scope: &Scope) -> Result<OrderPlan, Fault> {
    for _ in 0..REPORT_WAIT_FIFTHS {
        let request = wire::PlanOrdersRequest {
            wish: wire::OrderWish::SwitchOff.into(),
            scope: Some(scope_to_wire(scope)),
            after_position: 0,
        };
        let reply = house.collector.call(async |console| console.plan_orders(request).await).await?;
        let plan: OrderPlan = serde_json::from_str(&reply.json).map_err(answer)?;
        if plan.possible().any(asks_nothing) {
            return Ok(plan);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(Fault::NothingToSwitch(CUSTOMER))
}

/// Whether a product is switched off there without a password.
fn asks_nothing(row: &PlanRow) -> bool {
    row.product.is_some() && row.password != Asked::Must
}

fn answer(error: serde_json::Error) -> Fault {
    Fault::Answer(error.into())
}
