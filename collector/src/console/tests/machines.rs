//! Machines, narrowed, searched and sorted, over the operator door.

use super::*;
use crate::console::machines::{MachineSort, MachineState};
use crate::vault::VaultRow;

/// Names of machines in an order, over pages of two.
async fn listed(house: &House, request: wire::ListMachinesRequest) -> Vec<String> {
    let mut client = house.client();
    let (mut names, mut page_after) = (Vec::new(), String::new());
    loop {
        let request = wire::ListMachinesRequest { page_after, page_size: 2, ..request.clone() };
        let page = client.list_machines(request).await.unwrap().into_inner();
        assert!(page.machines.len() <= 2);
        names.extend(page.machines.into_iter().map(|machine| machine.host_name));
        if page.next_page_after.is_empty() {
            return names;
        }
        page_after = page.next_page_after;
    }
}

fn all() -> wire::ListMachinesRequest {
    wire::ListMachinesRequest::default()
}

impl House {
    async fn called(&self, name: &str, customer: &str) -> Machine {
        let machine = self.machine(&self.token(customer).await).await;
        let row = VaultRow::HostName(&machine.id);
        self.console.books.vault().put(row, name.as_bytes()).unwrap();
        machine
    }
}

/// Five machines of two customers; by name `Dc-1` and four `ws-…`.
async fn five() -> (House, Vec<Machine>) {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_b").await;
    house.customer("cus_a").await;
    let mut machines = Vec::new();
    for (name, customer) in
        [("ws-3", "cus_b"), ("Dc-1", "cus_a"), ("WS-2", "cus_a"), ("ws-1", "cus_b"), ("ws-4", "cus_a")]
    {
        machines.push(house.called(name, customer).await);
    }
    (house, machines)
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_found_by_customer_state_product_version_and_name() {
    let (house, mut machines) = five().await;
    machines[0].reports(&house, "dsa").await;
    machines[2].reports(&house, "spnt").await;
    let ban = wire::MachineBanned { machine: machines[1].id.to_string(), banned: true };
    house.write(Fact::MachineBanned(ban)).await;
    let at_ms = house.console.books.clock().now_ms();
    let retire = wire::MachineRetired { machine: machines[3].id.to_string(), at_ms };
    house.write(Fact::MachineRetired(retire)).await;

    let sorted = wire::ListMachinesRequest { sort: "host_name".to_owned(), ..all() };
    let state = |state: &str| wire::ListMachinesRequest { state: state.to_owned(), ..sorted.clone() };
    assert_eq!(listed(&house, state("reporting")).await, ["WS-2", "ws-3", "ws-4"]);
    assert!(listed(&house, state("silent")).await.is_empty());
    assert_eq!(listed(&house, state("banned")).await, ["Dc-1"]);
    assert_eq!(listed(&house, state("retired")).await, ["ws-1"]);
    let of = wire::ListMachinesRequest { customer: "cus_a".to_owned(), ..sorted.clone() };
    assert_eq!(listed(&house, of.clone()).await, ["Dc-1", "WS-2", "ws-4"]);
    let of = wire::ListMachinesRequest { product: "dsa".to_owned(), ..sorted.clone() };
    assert_eq!(listed(&house, of.clone()).await, ["ws-3"]);
    assert!(
        listed(&house, wire::ListMachinesRequest { customer: "cus_a".to_owned(), ..of }).await.is_empty()
    );
    let of = wire::ListMachinesRequest { agent_version: "0.1.0".to_owned(), ..sorted.clone() };
    assert_eq!(listed(&house, of).await, ["WS-2", "ws-3"]);
    let search = |search: &str| wire::ListMachinesRequest { search: search.to_owned(), ..sorted.clone() };
    assert_eq!(listed(&house, search("Ws-")).await, ["ws-1", "WS-2", "ws-3", "ws-4"]);
    assert_eq!(listed(&house, search(machines[4].id.as_str())).await, ["ws-4"]);
    assert_eq!(listed(&house, search(&machines[4].id.as_str()[4..20])).await, ["ws-4"]);
    assert!(listed(&house, search("<script>")).await.is_empty());

    // After the days of `alerts.silent_days` nobody was heard from.
    let house = house.again("2026-10-22T11:50:00Z").await;
    assert!(listed(&house, state("silent")).await.is_empty());
    let house = house.again("2026-10-22T13:00:00Z").await;
    assert_eq!(listed(&house, state("silent")).await, ["WS-2", "ws-3", "ws-4"]);
    let mut client = house.client();
    let wrong = wire::ListMachinesRequest { state: "away".to_owned(), ..all() };
    refused(client.list_machines(wrong), Reason::Invalid, "`state` is none of reporting, silent").await;
    let wrong = wire::ListMachinesRequest { page_after: "ws-1".to_owned(), ..all() };
    refused(client.list_machines(wrong), Reason::Invalid, "`ws-1` is not a machine id").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_come_in_each_order_and_what_changes_finds_its_place() {
    let (house, mut machines) = five().await;
    let sorted = |sort: MachineSort| wire::ListMachinesRequest { sort: sort.as_str().to_owned(), ..all() };
    let mut by_id: Vec<(String, &str)> = Vec::new();
    for (machine, name) in machines.iter().zip(["ws-3", "Dc-1", "WS-2", "ws-1", "ws-4"]) {
        by_id.push((machine.id.to_string(), name));
    }
    by_id.sort();
    let by_id: Vec<&str> = by_id.into_iter().map(|(_, name)| name).collect();
    assert_eq!(listed(&house, sorted(MachineSort::Id)).await, by_id);
    assert_eq!(listed(&house, sorted(MachineSort::HostName)).await, ["Dc-1", "ws-1", "WS-2", "ws-3", "ws-4"]);
    let by_customer = listed(&house, sorted(MachineSort::Customer)).await;
    assert!(!by_customer[..3].iter().any(|name| name == "ws-3" || name == "ws-1"), "{by_customer:?}");

    machines[0].reports(&house, "dsa").await;
    assert_eq!(listed(&house, sorted(MachineSort::LastReport)).await[4], "ws-3");
    let row = VaultRow::HostName(&machines[0].id);
    house.console.books.vault().put(row, b"aa-1").unwrap();
    let assigned = wire::MachineAssigned {
        machine: machines[0].id.to_string(),
        customer: "cus_a".to_owned(),
        at_ms: house.console.books.clock().now_ms(),
    };
    house.write(Fact::MachineAssigned(assigned)).await;
    assert_eq!(
        listed(&house, sorted(MachineSort::HostName)).await,
        ["aa-1", "Dc-1", "ws-1", "WS-2", "ws-4"],
        "a new name"
    );
    assert_eq!(listed(&house, sorted(MachineSort::Customer)).await[4], "ws-1", "one is left of cus_b");
    let of = wire::ListMachinesRequest { customer: "cus_b".to_owned(), ..sorted(MachineSort::LastReport) };
    assert_eq!(listed(&house, of).await, ["ws-1"]);
}

/// The listing is brought up to date change by change; a new one is made at once of all that is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_was_kept_is_the_one_that_is_made_anew() {
    let (house, mut machines) = five().await;
    for round in 0..6_usize {
        let machine = &mut machines[round % 5];
        machine.reports(&house, "dsa").await;
        let name = format!("n-{}", (round * 7) % 5);
        house.console.books.vault().put(VaultRow::HostName(&machine.id), name.as_bytes()).unwrap();
        machines.push(house.called(&format!("x-{round}"), "cus_a").await);
        let mut anew = house.console.clone();
        anew.listed = Default::default();
        let anew = ConsoleClient::new(Bearer { server: server(anew), token: house.token.clone() });
        for sort in MachineSort::NAMES {
            for (customer, state) in [("", ""), ("cus_a", ""), ("", MachineState::NAMES[0])] {
                let request = wire::ListMachinesRequest {
                    sort: (*sort).to_owned(),
                    customer: customer.to_owned(),
                    state: state.to_owned(),
                    ..all()
                };
                let kept = house.client().list_machines(request.clone()).await.unwrap().into_inner();
                let made = anew.clone().list_machines(request).await.unwrap().into_inner();
                assert_eq!(kept, made, "round {round}, by {sort}");
            }
        }
        let known = house.client().list_machines(all()).await.unwrap().into_inner().machines;
        let id = machines[round].id.as_str();
        for words in ["n-", "x-1", "-", "mch_", "nobody", &id[..7], &id[4..8], &id[5..8]] {
            let has = |one: &wire::Machine| {
                one.host_name.contains(words)
                    || one.machine.starts_with(words)
                    || one.machine[4..].starts_with(words)
            };
            let expected: Vec<&str> =
                known.iter().filter(|one| has(one)).map(|one| one.machine.as_str()).collect();
            let request = wire::ListMachinesRequest { search: words.to_owned(), ..all() };
            let found = house.client().list_machines(request).await.unwrap().into_inner().machines;
            let found: Vec<&str> = found.iter().map(|one| one.machine.as_str()).collect();
            assert_eq!(found, expected, "round {round}, {words}");
        }
    }
}
