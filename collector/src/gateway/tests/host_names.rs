//! Names of machines: kept in the vault, and nowhere else.

use std::time::Duration;

use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{CustomerErased, CustomerLeft, Hello};

use super::client::Agent;
use super::{CUSTOMER, Collector, until};
use crate::gateway::host_names::HOST_NAMES;
use crate::journal::Position;
use crate::vault::VaultRow;

/// In which what is to be written is written, and what is not would be.
const REST: Duration = Duration::from_millis(200);

fn kept(collector: &Collector, machine: &MachineId) -> Option<String> {
    let name = collector.books.vault().get(VaultRow::HostName(machine)).unwrap()?;
    Some(String::from_utf8(name.to_vec()).unwrap())
}

async fn says(collector: &Collector, agent: &Agent, host_name: &str) {
    let mut link = agent.open(collector).await.unwrap();
    link.say(Up::Hello(Hello { host_name: host_name.into(), ..agent.hello() })).await;
    assert!(matches!(link.hears().await, Ok(Down::Welcome(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_name_is_in_the_vault_and_in_no_record() {
    let collector = Collector::start().await;
    let agent = collector.agent().await;
    until(|| kept(&collector, &agent.id).as_deref() == Some("ws-17")).await;
    let records = collector.books.records(Position(0), 1000).unwrap();
    assert!(records.iter().all(|(_, record)| !record.windows(5).any(|bytes| bytes == b"ws-17")));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_kept_and_a_known_one_costs_no_write() {
    let collector = Collector::start().await;
    let agent = collector.agent().await;
    says(&collector, &agent, "reception").await;
    until(|| kept(&collector, &agent.id).as_deref() == Some("reception")).await;
    tokio::time::sleep(REST).await;
    let (written, _) = collector.books.vault().renamed_since(0);
    collector.books.alarms().raise(HOST_NAMES, "names are not kept".to_owned());
    says(&collector, &agent, "reception").await;
    tokio::time::sleep(REST).await;
    assert_eq!(collector.books.vault().renamed_since(written), (written, Some(Vec::new())));
    assert!(collector.books.alarms().stands(HOST_NAMES), "nothing shows yet that names are kept again");
    says(&collector, &agent, "front desk").await;
    until(|| kept(&collector, &agent.id).as_deref() == Some("front desk")).await;
    until(|| !collector.books.alarms().stands(HOST_NAMES)).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_an_erased_customer_are_not_taken_in_again() {
    let collector = Collector::start().await;
    let erased = collector.agent().await;
    until(|| kept(&collector, &erased.id).is_some()).await;
    collector.write(Fact::CustomerLeft(CustomerLeft { customer: CUSTOMER.into(), for_good: true })).await;
    collector.write(Fact::CustomerErased(CustomerErased { customer: CUSTOMER.into() })).await;
    collector.books.vault().delete(VaultRow::HostName(&erased.id)).unwrap();
    for name in ["back again", "and again"] {
        says(&collector, &erased, name).await;
    }
    tokio::time::sleep(REST).await;
    assert_eq!(kept(&collector, &erased.id), None);
    collector.stop().await;
}
