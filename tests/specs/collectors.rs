//! Several collectors on one PostgreSQL, as processes of their own: each is killed in turn, and the database, and answers
//! to commits are lost, and whoever runs the jobs is paused for longer than its lease. Invariant: what is compared with
//! what the machines saw acknowledged comes from a collector that was not the one to acknowledge it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use seatbeat_fleet::client::Door;
use seatbeat_fleet::seed::Seed;
use seatbeat_postgres::{Proxy, Server, url};

use crate::desk::{Desk, eventually, say, skip, text};
use crate::months::{OCTOBER, instant, policy, report};
use crate::reporters::{Fleet, Reporting, exported, reporter};
use crate::sending::{API_KEY, NOVEMBER, configure_destination, effects, platform, waits_for, write_secret};

const MACHINES: usize = 6;

/// Longer than a lease is given for.
const PAST_THE_LEASE: Duration = Duration::from_secs(20);

/// A database and collectors on it; the second reaches it through a proxy that loses commits and their answers.
struct House {
    desks: Vec<Desk>,
    server: Server,
    proxy: Proxy,
}

impl House {
    fn of(collectors: usize, clock: Option<&str>) -> Option<Self> {
        let Some(server) = Server::start(&[]) else {
            skip("PostgreSQL", "apt-get install postgresql");
            return None;
        };
        let database = server.database();
        let proxy = Proxy::before(server.port);
        let first = Desk::founded_with(clock, &["--journal", &server.url(&database)]);
        let config = fs::read_to_string(first.store().join("seatbeat.toml")).expect("a configuration");
        let joined = (1..collectors).map(|number| {
            let port = if number == 1 { proxy.port } else { server.port };
            let path = first.path(&format!("joined-{number}.toml"));
            let config = config.replace(&server.url(&database), &url(port, &database));
            fs::write(&path, config).expect("it can be written");
            first.joined_by(&path)
        });
        let joined: Vec<Desk> = joined.collect();
        let mut desks: Vec<Desk> = std::iter::once(first).chain(joined).collect();
        desks.iter_mut().for_each(Desk::start);
        Some(Self { desks, server, proxy })
    }

    /// The one that runs the jobs, as the newest of their logs say.
    fn leader(&self) -> Option<usize> {
        let fence = |desk: &Desk| {
            let log = desk.log();
            let newest = log
                .lines()
                .rev()
                .find(|line| line.contains("run the jobs") || line.contains("runs the jobs"))?;
            let leads = newest.contains("this collector runs the jobs");
            let fence = newest.rsplit("fence").next()?;
            let digits: String = fence.chars().filter(char::is_ascii_digit).collect();
            leads.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let fences = self.desks.iter().enumerate().filter_map(|(number, desk)| Some((fence(desk)?, number)));
        fences.max().map(|(_, number)| number)
    }
}

#[test]
fn whatever_is_killed_the_ledger_is_what_the_machines_saw_acknowledged() {
    let Some(mut house) = House::of(3, None) else { return };
    let token = house.desks[0].customer_with_token("cus_a", &MACHINES.to_string());
    let first = Door::of(&token).expect("a token opens a door");
    let doors: Vec<Door> =
        house.desks.iter().map(|desk| first.clone().at(&desk.agents.to_string())).collect();
    // A machine is let in by one, goes to the next at once, and on after a while: each takes what another acknowledged.
    let fleet = Fleet::report(Reporting::to(doors, 200), MACHINES, &Seed::new(12));
    let reporting = Arc::clone(&fleet.reporting);
    eventually("all are let in", || (reporting.acked().len() == MACHINES).then_some(()));
    let pause = |milliseconds| std::thread::sleep(Duration::from_millis(milliseconds));
    for round in 0..2 {
        for number in 0..3 {
            pause(700);
            house.desks[number].kill();
            pause(300);
            house.desks[number].start();
        }
        pause(500);
        reporting.is_away.store(true, Ordering::SeqCst);
        house.server.kill();
        pause(500 * round);
        house.server.run(&[]);
        // A connection that was begun meanwhile has been welcomed, or given up.
        pause(4_000);
        reporting.is_away.store(false, Ordering::SeqCst);
    }
    let leader = eventually("somebody runs the jobs", || house.leader());
    house.desks[leader].pause();
    std::thread::sleep(PAST_THE_LEASE);
    let next = eventually("another runs the jobs", || house.leader().filter(|next| *next != leader));
    house.desks[leader].go_on();
    pause(2_000);
    assert_eq!(house.leader(), Some(next), "it does not take them back");
    let expected = fleet.stop();
    let commits = house.proxy.commits.load(Ordering::SeqCst);
    say(&format!(
        "{} reports, {commits} commits through the proxy, of three one and one answer lost",
        expected.len()
    ));
    assert!(commits > 20, "{commits}");
    let period = house.desks[0].operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    // What was drained at one collector the others know a moment later.
    for desk in &house.desks {
        let same = || (exported(desk, &period) == expected).then_some(());
        eventually("each collector has the same reports", same);
    }
    let counted = |desk: &Desk| desk.operator_ok(&["usage", "--json"]);
    assert_eq!(counted(&house.desks[0]), counted(&house.desks[1]));
    let root = |desk: &Desk| desk.operator_json(&["status"])["journal_root"].clone();
    eventually("one root", || (root(&house.desks[0]) == root(&house.desks[2])).then_some(()));
}

#[test]
fn an_upload_arrives_once_whoever_runs_the_jobs() {
    let Some(mut house) = House::of(3, Some(OCTOBER)) else { return };
    let policies: PathBuf = house.desks[0].path("policy.toml");
    fs::write(&policies, policy(0)).expect("a policy can be written");
    house.desks[0].operator_ok(&["policy", "set", text(&policies)]);
    let door = Door::of(&house.desks[0].customer_with_token("cus_a", "2")).expect("a token opens a door");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut machine = reporter("pc", &Seed::new(11));
    // The token was made at the first: the second knows it at once.
    let second = door.clone().at(&house.desks[1].agents.to_string());
    runtime.block_on(second.enrol(&machine, instant(OCTOBER))).expect("the token lets it in");
    runtime.block_on(report(&door, &mut machine, OCTOBER, &["2026-10-20T08:00:00Z"]));
    let (address, secrets) = (platform(&runtime), house.desks[0].path("connect.secrets"));
    write_secret(&secrets, API_KEY);
    for desk in &mut house.desks {
        configure_destination(desk, address, &secrets);
        assert!(desk.stop(), "{}", desk.log());
        desk.set_clock(NOVEMBER);
        desk.start();
    }
    let rows = house.desks[0].path("mapping.csv");
    fs::write(&rows, "customer,sku,item,asset\ncus_a,DS-CLOUD,DS-CLOUD,AS-1\n").expect("it can be written");
    house.desks[2].operator_ok(&["mapping", "import", "connect", text(&rows), "--reason", "agreed"]);
    let leader = eventually("somebody runs the jobs", || house.leader());
    // Approved at another one.
    let close = ["statement", "close", "2026-10", "--reason", "checked"];
    let other = (leader + 1) % 3;
    eventually("the mapping is known there", || {
        house.desks[other].operator(&close).status.success().then_some(())
    });
    // In the middle of it, or before it has begun: it may have noticed the approval, and nobody else may go on at once.
    std::thread::sleep(Duration::from_millis(400));
    house.desks[leader].kill();
    let next = eventually("another runs the jobs", || house.leader().filter(|next| *next != leader));
    waits_for(&house.desks[next], "settled");
    house.desks[leader].start();
    house.desks[next].pause();
    std::thread::sleep(PAST_THE_LEASE);
    house.desks[next].go_on();
    for desk in &house.desks {
        waits_for(desk, "settled");
    }
    let submitted = effects(address).iter().filter(|effect| effect.ends_with("submitted")).count();
    assert_eq!(submitted, 1, "{:?}", effects(address));
}
