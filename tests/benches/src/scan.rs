//! CPU time and memory of a scan, and of a whole agent that does one and reports it, beside Debian's inventory agents
//! on the same machine. Invariant: the agents beside ours do their local inventory and send nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::desk::{self, Desk};
use crate::measure::{self, Used};
use crate::results::Section;
use crate::table;

const ABOUT: &str = "CPU and peak memory of a scan and of a whole agent, beside Debian's inventory agents.";

/// Packages of the made-up machine: a desktop's.
const PACKAGES: usize = 900;

/// What a whole agent with one scan may cost: the aim of the product, an order of magnitude below the others.
const CPU_US_MAX: u64 = 60_000;
const RSS_KIB_MAX: u64 = 6 * 1024;

/// Others, and what makes each do its inventory into a folder.
const OTHERS: [(&str, &[&str]); 2] = [
    ("fusioninventory-agent", &["--force", "--no-httpd", "--logger=stderr", "--tasks=inventory", "--local"]),
    ("ocsinventory-agent", &["--force", "--local"]),
];

struct Row {
    name: String,
    used: Used,
}

/// Measures, and prints the table; exit code 1 when the aim is missed.
pub fn bench(times: usize) -> anyhow::Result<ExitCode> {
    let agent = desk::agent()?;
    let desk = Desk::open()?;
    let root = desk.path("root");
    make_up_machine(&root)?;
    let mut scan = Command::new(&agent);
    scan.arg("scan");
    table::progress("measuring");
    let here = measure::middle(&scan, times)?;
    let there = measure::middle(scan.arg("--root").arg(&root), times)?;
    let mut whole = Vec::new();
    for count in 0..times.min(3) {
        let name = format!("state{count}");
        let running = measure::start(&desk.enrolled(&agent, &name, "")?)?;
        desk.reported(&agent, &name)?;
        whole.push(running.stop()?);
    }
    whole.sort_by_key(|used| used.cpu_us);
    let base = whole[whole.len() / 2];
    let mut rows = vec![
        Row { name: format!("seatbeat-agent scan ({} packages)", packages("/")), used: here },
        Row { name: format!("seatbeat-agent scan --root ({} packages)", packages(&root)), used: there },
        Row { name: "seatbeat-agent run: starts, scans, reports, stops".into(), used: base },
    ];
    let mut skipped = Vec::new();
    for (program, arguments) in OTHERS {
        match found(program) {
            Some(path) => {
                table::progress(&format!("measuring {program}"));
                let folder = desk.path(program);
                std::fs::create_dir(&folder)?;
                let mut other = Command::new(path);
                other.args(arguments).arg(&folder).env("HOME", &folder);
                rows.push(Row { name: program.to_owned(), used: measure::middle(&other, times.min(3))? });
            }
            None => skipped.push(program),
        }
    }
    let mut section = Section::new("scan", ABOUT);
    add(&mut section, &rows, base);
    for program in skipped {
        section
            .note(format!("skipped: needs {program} (apt-get install -y --no-install-recommends {program})"));
    }
    let met = base.cpu_us <= CPU_US_MAX && base.rss_kib <= RSS_KIB_MAX;
    let word = if met { "met" } else { "MISSED" };
    section.note(format!(
        "aim: the whole agent with one scan, {} ms CPU and {} MiB: {word}",
        CPU_US_MAX / 1000,
        RSS_KIB_MAX / 1024
    ));
    section.publish()?;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn add(section: &mut Section, rows: &[Row], base: Used) {
    let cells = |row: &Row| {
        vec![
            row.name.clone(),
            table::tenths(row.used.cpu_us / 100),
            table::tenths(row.used.rss_kib * 10 / 1024),
            table::ratio(row.used.cpu_us, base.cpu_us),
            table::ratio(row.used.rss_kib, base.rss_kib),
        ]
    };
    let head = ["PROGRAM", "CPU ms", "PEAK MiB", "CPU / agent", "MEMORY / agent"];
    section.table(&head, rows.iter().map(cells).collect());
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A Debian machine's package database, with the length that descriptions and dependencies have.
fn make_up_machine(root: &Path) -> anyhow::Result<()> {
    let mut status = String::new();
    for number in 0..PACKAGES {
        status.push_str(&format!(
            "Package: library-{number}\nStatus: install ok installed\nPriority: optional\nSection: libs\n\
             Installed-Size: {number}\nMaintainer: Somebody <somebody@example.org>\nArchitecture: amd64\n\
             Version: 1.{number}-2+deb12u1\nDepends: {}\nDescription: a library\n{}Homepage: https://example.org\n\n",
            "libc6 (>= 2.34), libgcc-s1 (>= 3.0), ".repeat(4),
            " It does what a library does, and says so in some lines of this length.\n".repeat(6),
        ));
    }
    status.push_str("Package: ds-agent\nStatus: install ok installed\nVersion: 20.0.0.7303\n\n");
    let folder = root.join("var/lib/dpkg");
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join("status"), status)?)
}

fn packages(root: impl AsRef<Path>) -> usize {
    let text = std::fs::read(root.as_ref().join("var/lib/dpkg/status")).unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"Package:")).count()
}
