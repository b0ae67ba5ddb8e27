//! What the agent door costs: the collector beside the same stream without a journal and beside a bare echo, under the
//! same load. Invariant: a server's figures are its own process's; every ratio is of one run.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use crate::results::Section;
use crate::{desk, table};

pub mod bare;
pub mod database;
pub mod load;
pub mod mosquitto;
pub mod orders;
mod processes;
mod store;

use bare::Kind;
use load::{Ask, Told};
use processes::{Load, Server};
use store::Prepared;

/// Machines that open their links at once while a bench is set up: enough to keep both cores at it.
const AT_ONCE: usize = 64;

/// Rest after which what is not yet done is idle time.
const SETTLE: Duration = Duration::from_millis(300);

/// CPU time of a server at rest in such a while: the keeping of its own time.
const IDLE_US: u64 = 10_000;

/// How often each comparison is measured; the middle one is shown.
const TIMES: usize = 3;

/// Reports of each machine that may be on the way where the question is what the server can take.
const WINDOW: u64 = 16;

/// A server under comparison: a kind of less than a collector, or the collector.
#[derive(Clone, Copy)]
struct Rival(&'static str, Option<Kind>);

const RIVALS: [Rival; 4] = [
    Rival("bare echo", Some(Kind::Echo)),
    Rival("verified, no journal", Some(Kind::Verified)),
    Rival("collector, journal keeps nothing", Some(Kind::Unkept)),
    Rival("seatbeat serve", None),
];

/// What one act cost a server.
#[derive(Clone, Copy)]
struct Cost {
    /// CPU time of each message in tenths of a microsecond.
    each: u64,
    per_second: u64,
    ack_us: [u64; 2],
}

/// A fleet and what it says, put on every rival.
struct Fleet {
    streams: usize,
    /// Reports that each machine has ready.
    reports: usize,
    stands_by: bool,
    acts: &'static [(&'static str, Ask)],
}

const FLEETS: [Fleet; 3] = [
    Fleet {
        streams: 64,
        reports: 300,
        stands_by: false,
        acts: &[
            ("beats, 64 streams", Ask::Beats { rounds: 400, per_second: 10_000 }),
            ("reports, 64 streams", Ask::Reports { each: 300, window: WINDOW, per_second: 0 }),
        ],
    },
    Fleet {
        streams: 1_000,
        reports: 23,
        stands_by: false,
        acts: &[
            ("beats, 1,000 streams", Ask::Beats { rounds: 30, per_second: 10_000 }),
            ("reports, 1,000 streams", Ask::Reports { each: 20, window: 1, per_second: 0 }),
            ("the same, 1,000 a second", Ask::Reports { each: 3, window: 1, per_second: 1_000 }),
        ],
    },
    Fleet {
        streams: 1_000,
        reports: 0,
        stands_by: true,
        acts: &[("beats, 1,000 on standby", Ask::Beats { rounds: 30, per_second: 10_000 })],
    },
];

/// What a beat and a report cost, and how long an acknowledgement takes.
pub fn messages() -> anyhow::Result<ExitCode> {
    let seatbeat = desk::collector()?;
    let machines = FLEETS.iter().map(|fleet| fleet.streams).sum();
    table::progress(&format!("enrolling {machines} machines"));
    let prepared = Prepared::new(machines)?;
    let mut costs: BTreeMap<(usize, usize, usize), Vec<Cost>> = BTreeMap::new();
    for time in 0..TIMES {
        for (rival, Rival(name, kind)) in RIVALS.into_iter().enumerate() {
            table::progress(&format!("{name}, {} of {TIMES}", time + 1));
            let store = prepared.copy(&format!("store-{time}-{rival}"))?;
            let server = match kind {
                Some(kind) => Server::bare(kind, &store)?,
                None => Server::collector(&seatbeat, &store)?,
            };
            let mut from = 0;
            for (number, fleet) in FLEETS.iter().enumerate() {
                let mut load = Load::start(&prepared.token, server.agents)?;
                let to = from + fleet.streams;
                load.ask(&Ask::Prepare { from, to, reports: fleet.reports })?;
                let (count, at_once) = (fleet.streams, AT_ONCE);
                match (fleet.stands_by, kind) {
                    (false, _) => load.ask(&Ask::Connect { count, at_once })?,
                    (true, None) => load.ask(&Ask::StandBy { count, at_once })?,
                    // Nobody can there.
                    (true, Some(_)) => continue,
                };
                quiet(&server)?;
                for (act, (_, ask)) in fleet.acts.iter().enumerate() {
                    let cost = cost(&server, &mut load, ask)?;
                    costs.entry((number, act, rival)).or_default().push(cost);
                }
                from = to;
            }
            drop(server);
            std::fs::remove_dir_all(&store)?;
        }
    }
    let mut rows = Vec::new();
    for ((fleet, act, rival), figures) in &mut costs {
        let name = FLEETS[*fleet].acts[*act].0;
        rows.push((name, RIVALS[*rival].0, middle(figures)));
    }
    let about = "Server CPU of each message, from the server process's own accounting; a report is signed, carries two \
                 products, and is acknowledged when it is durable.";
    let mut section = Section::new("messages", about);
    show(&mut section, &rows);
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until the server has done what the connections left it to do, such as keeping host names.
fn quiet(server: &Server) -> anyhow::Result<()> {
    let mut before = server.cpu_us()?;
    loop {
        std::thread::sleep(SETTLE);
        let now = server.cpu_us()?;
        if now - before <= IDLE_US {
            return Ok(());
        }
        before = now;
    }
}

fn cost(server: &Server, load: &mut Load, ask: &Ask) -> anyhow::Result<Cost> {
    let before = server.cpu_us()?;
    let told = load.ask(ask)?;
    std::thread::sleep(SETTLE);
    let used = server.cpu_us()? - before;
    Ok(Cost::of(used, &told))
}

impl Cost {
    fn of(cpu_us: u64, told: &Told) -> Self {
        let each = cpu_us * 10 / told.count.max(1);
        Self { each, per_second: told.count * 1_000_000 / told.elapsed_us.max(1), ack_us: told.ack_us }
    }
}

/// The one whose CPU time is in the middle.
fn middle(figures: &mut [Cost]) -> Cost {
    figures.sort_unstable_by_key(|cost| cost.each);
    figures[figures.len() / 2]
}

fn show(section: &mut Section, rows: &[(&str, &str, Cost)]) {
    let cells = |(load, name, cost): &(&str, &str, Cost)| {
        let serve = rows.iter().rfind(|(of, _, _)| of == load).map_or(1, |(_, _, cost)| cost.each);
        vec![
            (*load).to_owned(),
            (*name).to_owned(),
            table::tenths(cost.each),
            hundredths(cost.each, serve),
            cost.per_second.to_string(),
            milliseconds(cost.ack_us[0]),
            milliseconds(cost.ack_us[1]),
        ]
    };
    let head = ["LOAD", "SERVER", "CPU us / message", "OF SERVE'S", "messages / s", "ACK p50 ms", "p99 ms"];
    section.table(&head, rows.iter().map(cells).collect());
}

fn hundredths(value: u64, base: u64) -> String {
    let hundredths = (value * 100 + base / 2) / base.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn milliseconds(us: u64) -> String {
    if us == 0 { "-".into() } else { table::tenths(us / 100) }
}

/// Idle connections at which memory is looked at: the last is nearly all that 20,000 descriptors allow.
const IDLE: [usize; 3] = [2_000, 10_000, 19_000];

/// What an idle connection costs.
pub fn connections() -> anyhow::Result<ExitCode> {
    let seatbeat = desk::collector()?;
    let most = IDLE[IDLE.len() - 1];
    table::progress(&format!("enrolling {most} machines"));
    let prepared = Prepared::new(most)?;
    let mut rows = Vec::new();
    let rivals = [(RIVALS[0], false), (RIVALS[3], false), (Rival("seatbeat serve, standby", None), true)];
    for (Rival(name, kind), stands_by) in rivals {
        let store = prepared.copy(name)?;
        let server = match kind {
            Some(kind) => Server::bare(kind, &store)?,
            None => Server::collector(&seatbeat, &store)?,
        };
        let mut load = Load::start(&prepared.token, server.agents)?;
        load.ask(&Ask::Prepare { from: 0, to: most, reports: 0 })?;
        let empty = server.resident_kib()?;
        let mut open = 0;
        for count in IDLE {
            table::progress(&format!("{name}: {count} connections"));
            let (count, at_once) = (count - open, AT_ONCE);
            let told = load.ask(&match stands_by {
                true => Ask::StandBy { count, at_once },
                false => Ask::Connect { count, at_once },
            })?;
            open += told.count as usize;
            load.ask(&Ask::Beats { rounds: 1, per_second: 10_000 })?;
            quiet(&server)?;
            let resident = server.resident_kib()?;
            rows.push(vec![
                name.to_owned(),
                open.to_string(),
                (resident / 1024).to_string(),
                table::tenths((resident - empty) * 10 / open as u64),
            ]);
        }
    }
    let about = "Resident memory of the server process; each connection has an open link, or stands by, and said Hello and a beat.";
    let mut section = Section::new("connections", about);
    section.table(&["SERVER", "CONNECTIONS", "RESIDENT MiB", "KiB EACH"], rows);
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

/// Handshakes and enrolments that are measured.
const VISITS: usize = 2_000;

/// What coming in costs.
pub fn handshakes() -> anyhow::Result<ExitCode> {
    let seatbeat = desk::collector()?;
    table::progress(&format!("enrolling {VISITS} machines"));
    let prepared = Prepared::new(VISITS)?;
    let mut rows = Vec::new();
    for Rival(name, kind) in [RIVALS[0], RIVALS[3]] {
        let store = prepared.copy(name)?;
        let server = match kind {
            Some(kind) => Server::bare(kind, &store)?,
            None => Server::collector(&seatbeat, &store)?,
        };
        let mut row = |what: &str, cost: Cost| {
            let core = 10_000_000 / cost.each.max(1);
            let cells = [what.to_owned(), name.to_owned(), table::tenths(cost.each), core.to_string()];
            rows.push([cells.to_vec(), vec![cost.per_second.to_string()]].concat());
        };
        let mut load = Load::start(&prepared.token, server.agents)?;
        load.ask(&Ask::Prepare { from: 0, to: VISITS, reports: 0 })?;
        table::progress(&format!("{name}: handshakes"));
        row("handshake", cost(&server, &mut load, &Ask::Handshakes { at_once: AT_ONCE })?);
        if kind.is_none() {
            // The first link of each leaves its host name with the collector, which is the enrolment's affair.
            let mut first = Load::start(&prepared.token, server.agents)?;
            first.ask(&Ask::Prepare { from: 0, to: VISITS, reports: 0 })?;
            first.ask(&Ask::Connect { count: VISITS, at_once: AT_ONCE })?;
            quiet(&server)?;
            drop(first);
            quiet(&server)?;
        }
        row("handshake and Welcome", {
            cost(&server, &mut load, &Ask::Connect { count: VISITS, at_once: AT_ONCE })?
        });
        if kind.is_none() {
            let mut load = Load::start(&prepared.token, server.agents)?;
            load.ask(&Ask::Prepare { from: VISITS, to: VISITS + VISITS / 4, reports: 0 })?;
            table::progress(&format!("{name}: enrolments"));
            row("enrolment", cost(&server, &mut load, &Ask::Enrol { at_once: AT_ONCE })?);
        }
    }
    let head = ["ACT", "SERVER", "CPU us EACH", "A SECOND AND CORE", "MEASURED / s"];
    let about = "Full TLS 1.3 handshakes with a machine's certificate; nothing is ever resumed.";
    let mut section = Section::new("handshakes", about);
    section.table(&head, rows);
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

/// Machines that come back at once.
const STORM: usize = 10_000;

/// From the first report of the storm until the collector is killed: some have been acknowledged, some have not.
const KILLED_AFTER: Duration = Duration::from_millis(1_000);

/// What it takes until all are back.
pub fn storm() -> anyhow::Result<ExitCode> {
    let seatbeat = desk::collector()?;
    table::progress(&format!("enrolling {STORM} machines"));
    let prepared = Prepared::new(STORM)?;
    let store = prepared.copy("storm")?;
    let server = Server::collector(&seatbeat, &store)?;
    let mut load = Load::start(&prepared.token, server.agents)?;
    load.ask(&Ask::Prepare { from: 0, to: STORM, reports: 1 })?;
    table::progress(&format!("connecting {STORM} machines"));
    load.ask(&Ask::Connect { count: STORM, at_once: AT_ONCE })?;
    quiet(&server)?;
    table::progress("killing the collector under their reports, and starting it again");
    load.begin(&Ask::Storm { per_second: 5_000 })?;
    std::thread::sleep(KILLED_AFTER);
    drop(server);
    let server = Server::collector(&seatbeat, &store)?;
    let told = load.told()?;
    std::thread::sleep(SETTLE);
    let used = server.cpu_us()?;
    let seconds = |us: u64| table::tenths(us / 100_000);
    let row = vec![
        told.count.to_string(),
        seconds(told.elapsed_us),
        seconds(used),
        table::tenths(used * 10 / told.count.max(1)),
        told.failed.to_string(),
        told.lost.to_string(),
    ];
    let head = ["MACHINES", "ALL BACK s", "CPU s", "CPU us EACH", "ATTEMPTS THAT FAILED", "LOST"];
    let about = "The collector is killed while each machine sends a report, and started again; each machine comes back \
                 within two seconds, on the same two cores, and sends what was not acknowledged.";
    let mut section = Section::new("storm", about);
    section.table(&head, vec![row]);
    section.publish()?;
    anyhow::ensure!(told.lost == 0, "{} machines' acknowledged reports are gone", told.lost);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_of_each_message_and_the_one_in_the_middle_is_shown() {
        let told = |count| Told { count, elapsed_us: 500_000, ..Told::default() };
        let mut all =
            [Cost::of(90_000, &told(1_000)), Cost::of(20_000, &told(1_000)), Cost::of(30_000, &told(500))];
        let middle = middle(&mut all);
        assert_eq!((middle.each, middle.per_second), (600, 1_000));
        assert_eq!((hundredths(1, 3), hundredths(600, 600)), ("0.33".into(), "1.00".into()));
    }
}
