//! What people do in a browser, from signing in to a delivered statement. Invariant: whatever a page says is held against
//! what the command line says of the same; no page complains in the browser's console or asks anybody else.

use std::fs;

use jiff::SignedDuration;
use seatbeat_collector::journal::{FileJournal, Journal as _};
use seatbeat_collector::vault::{Vault, VaultRow};
use seatbeat_fleet::journal as made_up;
use seatbeat_fleet::seed::Seed;

use crate::browser::Browser;
use crate::desk::{Desk, eventually, text};
use crate::months::{OCTOBER, desk_in_october, instant, report, restart_at};
use crate::reporters::reporter;
use crate::standin::inside;
use crate::switching::{House, WORDS};

const TAB: &str = "\u{E004}";
const ENTER: &str = "\u{E007}";

/// Signs the first operator in by a link that is good once.
fn signed_in(desk: &Desk) -> Browser {
    let browser = Browser::open(&desk.operators.to_string());
    browser.go(&link(desk));
    browser.press("Sign in");
    browser.says("Overview");
    browser
}

/// Path and query of a link that signs in once.
fn link(desk: &Desk) -> String {
    let list = desk.operator_json(&["operators", "list"]);
    let operator = list[0]["operator"].as_str().expect("there is a first one").to_owned();
    let made = desk.operator_json(&["operators", "link", &operator, "--reason", "a browser"]);
    format!("/sign-in/link?code={}", made["code"].as_str().expect("a code"))
}

fn nothing_is_wrong(browser: &Browser) {
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn an_owner_signs_in_for_the_first_time_approves_a_month_and_sees_it_delivered() {
    if !Browser::is_here() {
        return;
    }
    let (mut desk, door) = desk_in_october(0, "2");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut machine = reporter("pc", &Seed::new(8));
    runtime.block_on(door.enrol(&machine, instant(OCTOBER))).expect("the token lets it in");
    runtime.block_on(report(&door, &mut machine, OCTOBER, &["2026-10-20T08:00:00Z"]));
    let folder = desk.path("drop");
    fs::create_dir(&folder).expect("a folder can be made");
    let config = desk.store().join("seatbeat.toml");
    let before = fs::read_to_string(&config).expect("a configuration").replace("[destination]\n", "");
    let destination = format!(
        "{before}\n[destination.drop]\nconnector = \"folder\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n\
         options.path = \"{}\"\n",
        text(&folder)
    );
    fs::write(&config, destination).expect("it can be written");
    restart_at(&mut desk, "2026-11-04T12:00:00Z");

    let browser = signed_in(&desk);
    browser.press("Statements");
    browser.press("2026-10");
    browser.says("DS-CLOUD");
    let draft = desk.operator_json(&["statement", "close", "2026-10", "--dry-run"]);
    assert_eq!(draft["statement"]["lines"][0]["cost"], "3.20", "{draft:#}");
    browser.says("3.20");
    browser.press("Approve");
    browser.click("input[name=sure]");
    browser.press("Approve and seal");
    browser.says("sealed");
    assert_eq!(desk.operator_json(&["statement", "list"])["statements"][0]["state"], "sealed");

    browser.go("/statements/2026-10/delivery");
    browser.says("drop");
    eventually("it is in its folder", || fs::read_dir(&folder).ok()?.next().map(drop));
    browser.says("settled");
    nothing_is_wrong(&browser);
}

#[test]
fn a_technician_switches_a_machine_off_having_seen_what_it_does() {
    if !Browser::is_here()
        || !inside("dashboard::a_technician_switches_a_machine_off_having_seen_what_it_does", "dsa")
    {
        return;
    }
    let house = House::open("2026-10-20T09:00:00Z");
    let browser = signed_in(&house.desk);
    browser.press("Machines");
    browser.click("#list tbody a");
    browser.press("Switch off");
    browser.says("What would happen");
    browser.says("DS-CLOUD");
    browser.fill("input[name=reason]", "they left");
    browser.fill("input[name=passphrase]", "not the four words");
    browser.click("button.danger");
    browser.says("the passphrase does not open this key");
    browser.fill("input[name=passphrase]", WORDS.trim_end());
    browser.click("button.danger");
    browser.says("Signed and on the way");
    eventually("the machine has done it", || {
        let list = house.desk.operator_json(&["orders", "list"]);
        (list["batches"][0]["statuses"]["done"] == 1).then_some(())
    });
    browser.go("/orders");
    browser.says("they left");
    nothing_is_wrong(&browser);
}

#[test]
fn a_page_that_is_open_shows_what_comes() {
    if !Browser::is_here() {
        return;
    }
    let (desk, door) = desk_in_october(0, "2");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let browser = signed_in(&desk);
    browser.press("Machines");
    browser.says("No machines yet");
    browser.script("window.stays = true; return 0");
    let mut machine = reporter("pc", &Seed::new(8));
    runtime.block_on(door.enrol(&machine, instant(OCTOBER))).expect("the token lets it in");
    browser.says("cus_a");
    runtime.block_on(report(&door, &mut machine, OCTOBER, &["2026-10-20T08:00:00Z"]));
    browser.says("2026-10-20 08:00");
    assert_eq!(browser.script("return window.stays === true"), true, "the page was loaded anew");
    nothing_is_wrong(&browser);
}

#[test]
fn all_of_it_can_be_done_by_keys_alone() {
    if !Browser::is_here() {
        return;
    }
    let (desk, _) = desk_in_october(0, "2");
    let browser = Browser::open(&desk.operators.to_string());
    browser.go(&link(&desk));
    to(&browser, "Sign in");
    browser.keys(ENTER);
    browser.says("Overview");
    browser.keys(TAB);
    assert_eq!(browser.focused(), "To the content", "the first key leads past the navigation");
    to(&browser, "Customers");
    browser.keys(ENTER);
    browser.says("cus_a");
    to(&browser, "Machines");
    browser.keys(ENTER);
    browser.says("Search");
    browser.keys("/");
    assert_eq!(browser.focused(), "search");
    browser.keys("nobody");
    browser.says("No machine is like that");
    nothing_is_wrong(&browser);
}

/// Goes on by the tabulator to a link or a button.
fn to(browser: &Browser, words: &str) {
    for _ in 0..60 {
        if browser.focused() == words {
            return;
        }
        browser.keys(TAB);
    }
    panic!("no tabulator leads to {words:?} on {}", browser.path());
}

#[test]
fn a_session_that_is_over_leads_to_where_one_signs_in() {
    if !Browser::is_here() {
        return;
    }
    let (desk, _) = desk_in_october(0, "2");
    let browser = signed_in(&desk);
    browser.press("Sign out");
    browser.says("Sign in to Seatbeat");
    browser.go("/machines");
    assert_eq!(browser.path(), "/sign-in?to=%2Fmachines");
    nothing_is_wrong(&browser);
}

/// Machines of a large house.
const FLEET: usize = 100_000;

#[test]
fn one_machine_of_a_hundred_thousand_is_found_as_its_name_is_typed() {
    if !Browser::is_here() {
        return;
    }
    let mut desk = Desk::founded_at(Some("2026-01-20T12:00:00Z"));
    large(&desk);
    desk.start();
    let browser = signed_in(&desk);
    browser.go("/machines");
    browser.says("Next page");
    browser.fill("input[type=search]", "WS-04711");
    eventually("one row is left", || (browser.script(ROWS) == 1).then_some(()));
    browser.says("WS-04711.example");
    assert!(browser.path().contains("search=WS-04711"), "{}", browser.path());
    browser.fill("input[type=search]", "nobody's");
    browser.says("No machine is like that");
    nothing_is_wrong(&browser);
}

const ROWS: &str = "return document.querySelectorAll('#list tbody tr').length";

/// Machines that were let in and have reported once, as a journal has them, with names.
fn large(desk: &Desk) {
    let store = desk.store();
    let mut fleet: Vec<made_up::Machine> = (0..FLEET).map(made_up::Machine::new).collect();
    let mut log = FileJournal::open(&store.join("journal")).expect("nobody else writes");
    // The first of these found a journal: this one is founded already.
    let mut records: Vec<Vec<u8>> = made_up::foundation(FLEET).into_iter().skip(1).collect();
    for (number, machine) in fleet.iter_mut().enumerate() {
        records.push(machine.enrolment(number));
        records.push(machine.report(made_up::start() + SignedDuration::from_hours(24 * 18)));
    }
    for batch in records.chunks(4096) {
        log.append(batch).expect("the disk takes it");
    }
    drop(log);
    let vault = Vault::open(&store.join("vault")).expect("the vault opens");
    let names: Vec<_> = fleet
        .iter()
        .enumerate()
        .map(|(number, machine)| (&machine.id, format!("WS-{number:05}.example")))
        .collect();
    let rows: Vec<_> = names.iter().map(|(id, name)| (VaultRow::HostName(id), name.as_bytes())).collect();
    vault.put_all(&rows).expect("names are kept");
}
