//! CPU time and wake-ups of an agent between two scans. Invariant: read from the kernel's own books of each thread;
//! the agent is connected, and beats once a minute.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::desk::{self, Desk};
use crate::results::Section;
use crate::{measure, table};

const ABOUT: &str = "What an agent that has nothing to do uses, as the kernel counts it for each thread.";

/// From the report until the watching begins: threads that a scan needed are gone after ten seconds.
const SETTLE: Duration = Duration::from_secs(15);

const SAMPLE: Duration = Duration::from_secs(1);

/// Agents that are watched at the same time, and their configuration.
const AGENTS: [(&str, &str); 2] =
    [("as delivered (a look in 15 min)", ""), ("a look a minute", "scan_interval_s = 60\n")];

/// What the threads of a process have used so far.
#[derive(Debug, Default)]
struct Books {
    /// By thread: nanoseconds on a CPU, and times it went to sleep.
    threads: BTreeMap<String, (u64, u64)>,
}

impl Books {
    /// Reads them again; a thread that ended keeps what it had.
    fn read(&mut self, pid: i32) -> anyhow::Result<()> {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("the agent is gone")? {
            let task = task?;
            let text = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let ran = text("schedstat").split(' ').next().and_then(|word| word.parse().ok());
            let slept = text("status").lines().find_map(|line| {
                line.strip_prefix("voluntary_ctxt_switches:").and_then(|number| number.trim().parse().ok())
            });
            if let (Some(ran), Some(slept)) = (ran, slept) {
                self.threads.insert(task.file_name().to_string_lossy().into_owned(), (ran, slept));
            }
        }
        Ok(())
    }

    fn total(&self) -> (u64, u64) {
        self.threads.values().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
    }
}

/// Watches, and prints the table.
pub fn bench(seconds: u64) -> anyhow::Result<ExitCode> {
    let agent = desk::agent()?;
    let desk = Desk::open()?;
    let mut running = Vec::new();
    for (number, (name, config)) in AGENTS.into_iter().enumerate() {
        let state = format!("state{number}");
        let process = measure::start(&desk.enrolled(&agent, &state, config)?)?;
        desk.reported(&agent, &state)?;
        running.push((name, process, Books::default()));
    }
    table::progress(&format!("watching for {seconds} s"));
    std::thread::sleep(SETTLE);
    let mut before = Vec::new();
    for (_, process, books) in &mut running {
        books.read(process.pid)?;
        before.push(books.total());
    }
    for _ in 0..seconds {
        std::thread::sleep(SAMPLE);
        for (_, process, books) in &mut running {
            books.read(process.pid)?;
        }
    }
    let mut rows = Vec::new();
    for ((name, process, books), before) in running.into_iter().zip(before) {
        let resident = resident_kib(process.pid)?;
        let ((ran, slept), (ran_before, slept_before)) = (books.total(), before);
        let hour = |amount: u64| amount * 3600 / seconds;
        rows.push(vec![
            name.to_owned(),
            table::tenths(hour(ran - ran_before) / 100_000),
            hour(slept - slept_before).to_string(),
            table::tenths(resident * 10 / 1024),
        ]);
        process.stop()?;
    }
    let program = std::fs::metadata(&agent).context("failed to look at the agent's program")?.len();
    let mut section = Section::new("idle", ABOUT);
    section.table(&["AGENT", "CPU ms / h", "WAKE-UPS / h", "RESIDENT MiB"], rows);
    section.note(format!("The agent's program has {} MiB.", table::tenths(program * 10 / (1024 * 1024))));
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

fn resident_kib(pid: i32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the agent is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}
