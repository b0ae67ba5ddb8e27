//! The golden journal of orders. Invariant: as of the others, its bytes stay as they were written once.

use std::fmt::Write as _;

use prost::Message as _;
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;

use super::{DAY_MS, START_MS, Scribe, key, machine, received};

/// Customers that leave, order keys, a batch that is signed and carried out, one that is held, one that is cancelled.
pub fn write(scribe: &mut Scribe) {
    let fact = |for_good| Fact::CustomerLeft(wire::CustomerLeft { customer: "cus_a".into(), for_good });
    scribe.write("opr_golden", "not paid", fact(false));
    let second =
        wire::OperatorAdded { operator: "opr_second".into(), token_hash: vec![8; 32], ..Default::default() };
    scribe.write("opr_golden", "", Fact::OperatorAdded(second));
    for (revision, keys, signer) in [(1, [205], 205), (2, [207], 206)] {
        let keys = wire::OrderKeys {
            revision,
            keys: keys.iter().map(|number| key(*number).verifying_key().to_bytes().to_vec()).collect(),
            recovery_key: key(206).verifying_key().to_bytes().to_vec(),
        };
        let keys = Some(sign(&key(signer), Domain::OrderKeys, keys.encode_to_vec()));
        scribe.write("opr_golden", "", Fact::OrderKeysSet(wire::OrderKeysSet { keys }));
    }
    scribe.write("collector", "restored", Fact::EpochBegan(wire::EpochBegan { epoch: 1 }));
    scribe.write("opr_golden", "", Fact::OrderLimitSet(wire::OrderLimitSet { machines_a_day: 2 }));
    let signed: Vec<wire::Signed> = [1, 2]
        .into_iter()
        .map(|number| ordered(scribe, "bat_off", number, wire::Action::SwitchOff))
        .collect();
    for order in &signed {
        let order = Some(order.clone());
        scribe.write("opr_golden", "", Fact::OrderSigned(wire::OrderSigned { order }));
    }
    ordered(scribe, "bat_held", 3, wire::Action::SwitchOff);
    let confirmed = wire::OrdersConfirmed { batch: "bat_held".into() };
    for operator in ["opr_golden", "opr_second"] {
        scribe.write(operator, "", Fact::OrdersConfirmed(confirmed.clone()));
    }
    ordered(scribe, "bat_on", 2, wire::Action::SwitchOn);
    let cancelled = wire::OrderCancelled { batch: "bat_on".into(), order: String::new() };
    scribe.write("opr_golden", "paid", Fact::OrderCancelled(cancelled));
    carried_out(scribe);
    let returned = wire::CustomerReturned { customer: "cus_a".into() };
    scribe.write("opr_golden", "paid", Fact::CustomerReturned(returned));
}

/// Writes a batch of one order; answers it as it is signed.
fn ordered(scribe: &mut Scribe, batch: &str, number: u8, action: wire::Action) -> wire::Signed {
    let batch = if number == 1 { format!("{batch}-1") } else { batch.to_owned() };
    let requested = wire::OrdersRequested {
        batch: batch.clone(),
        action: action.into(),
        scope: Some(wire::OrderScope { customer: "cus_a".into(), ..Default::default() }),
        machines: 1,
        orders: 1,
        expires_at_ms: scribe.now_ms + 7 * DAY_MS,
    };
    scribe.write("opr_golden", "not paid", Fact::OrdersRequested(requested));
    let request = wire::Order {
        order: format!("ord_{batch}"),
        machine: machine(number).to_string(),
        action: action.into(),
        product: "wfbs-svc".into(),
        issued_at_ms: scribe.now_ms,
        expires_at_ms: scribe.now_ms + DAY_MS,
        uninstall: number == 2,
        secrets_hash: vec![number; 32],
        ..Default::default()
    };
    let sequence = scribe.records();
    let placed = wire::OrderPlaced { order: None, request: Some(request.clone()), batch };
    scribe.write("opr_golden", "", Fact::OrderPlaced(placed));
    let order = wire::Order { sequence, epoch: 1, ..request };
    sign(&key(207), Domain::Order, order.encode_to_vec())
}

/// The first machine does as it was told, and shows it in two reports.
fn carried_out(scribe: &mut Scribe) {
    let mut previous = Vec::new();
    let results = [wire::Outcome::Taken, wire::Outcome::Doing, wire::Outcome::Done].map(Some);
    for (sequence, outcome) in (1..).zip(results.into_iter().chain([None, None])) {
        scribe.now_ms += 60_000;
        let body = match outcome {
            Some(outcome) => wire::evidence::Body::OrderResult(wire::OrderResult {
                order: "ord_bat_off-1".into(),
                outcome: outcome.into(),
                product: "wfbs-svc".into(),
                detail: "as ordered".into(),
                ..Default::default()
            }),
            None => wire::evidence::Body::Report(wire::Report {
                seal_key: Some(wire::SealKey { public_key: vec![5; 32], order_keys_revision: 2 }),
                ..Default::default()
            }),
        };
        let evidence = wire::Evidence {
            machine: machine(1).to_string(),
            spool: "spl_orders".into(),
            sequence,
            previous,
            observed_at_ms: scribe.now_ms,
            body: Some(body),
            ..Default::default()
        };
        let evidence = sign(&key(1), Domain::Evidence, evidence.encode_to_vec());
        previous = hash(&evidence.payload).to_vec();
        scribe.write(machine(1).as_str(), "", received(evidence));
    }
}

/// Customers that left, order keys, batches and orders; nothing where there are none.
pub fn show(text: &mut String, fold: &Fold) {
    let (orders, now) = (fold.orders(), seatbeat_proto::instant::from_ms(START_MS + 25 * DAY_MS));
    let now = now.expect("an instant");
    if orders.batches().next().is_none() {
        return;
    }
    for customer in fold.registry().customers() {
        writeln!(text, "{customer}: {:?}", fold.registry().standing(customer)).expect("text grows");
    }
    for keys in orders.keys().iter() {
        let (revision, by) = (keys.revision, &keys.by);
        writeln!(text, "order keys {revision}: {:?} by {by}", keys.keys).expect("text grows");
    }
    for batch in orders.batches() {
        let (id, held, by) = (&batch.id, batch.held, &batch.confirmed);
        writeln!(text, "{id}: held {held}, confirmed {by:?}").expect("text grows");
        for order in orders.of_batch(batch) {
            let (status, signed) = (orders.status(order, now), orders.is_signed(order));
            writeln!(text, "{:?}, signed {signed}: {status:?}", order.to_wire()).expect("text grows");
        }
    }
    for (id, machine) in fold.registry().machines_after(None) {
        let deliverable = orders.deliverable(id, now).len();
        writeln!(text, "{id}: {deliverable} to deliver, {:?}", machine.seal_key).expect("text grows");
    }
}
