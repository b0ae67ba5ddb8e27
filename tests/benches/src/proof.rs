//! A sealed month as others check it: its bundle made, and verified at levels 0 and 1, against the number of machines.
//! Invariant: each fleet is in a process of its own; CPU time is that process's, and what is verified is the file.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use jiff::SignedDuration;
use prost::Message as _;
use seatbeat_ledger::body::{JournalCut, StatementBody, bodies_by_distributor};
use seatbeat_ledger::bundle::gather::{GatherInput, MonthEvidence};
use seatbeat_ledger::bundle::place::Place;
use seatbeat_ledger::bundle::pseudonym::PseudonymKey;
use seatbeat_ledger::bundle::write::Part;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::checkpoint::{Checkpoint, origin};
use seatbeat_ledger::close::{CloseInput, close, seats};
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::merkle::leaf;
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::proof::Harvest;
use seatbeat_ledger::sealed::{body_bytes, file, seal};
use seatbeat_ledger::verify::{Level, Question, Verdict, Verifier};
use seatbeat_proto::ids::ResellerId;
use seatbeat_proto::wire::JournalRecord;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Signed, StatementSealed};
use serde::{Deserialize, Serialize};

use crate::results::Section;
use crate::stopwatch::busy;
use crate::{own, table};
use seatbeat_fleet::journal as fleet;

const ABOUT: &str = "A sealed month as others check it: a report a week of each machine, two lines of it for one \
distributor. GATHER: who stands behind each line, and the roots of their rows. WRITE: the bundle's file. LEVEL 0 and \
LEVEL 1: that file read and verified, line after line. CPU time; PEAK is the verifying process's alone.";

/// The month that is sealed.
const PERIOD: &str = "2026-01";

/// Reports of each machine in it.
const REPORTS: i64 = 4;

/// For whom.
const DISTRIBUTOR: &str = "ingram";

/// What making a bundle showed, in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Made {
    gather_us: u64,
    write_us: u64,
    key: String,
}

/// What verifying it showed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checked {
    us: u64,
    rows: u64,
    peak_kib: u64,
}

/// Measures fleets of these sizes, and publishes.
pub fn bench(sizes: &[usize]) -> anyhow::Result<ExitCode> {
    let mut shown = Vec::new();
    for size in sizes {
        table::progress(&format!("{size} machines"));
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("month.bundle.jsonl");
        let text = path.to_string_lossy().into_owned();
        let sizes = ["--machines".to_owned(), size.to_string(), "--bundle".to_owned(), text.clone()];
        let made: Made = own::run(&[vec!["__bundle".to_owned()], sizes.to_vec()].concat())?;
        let checked = |level: &str| -> anyhow::Result<Checked> {
            let arguments = ["__verify", "--level", level, "--key", &made.key, "--bundle", &text];
            own::run(&arguments.map(str::to_owned))
        };
        let (proofs, recomputed) = (checked("0")?, checked("1")?);
        let ms = |us: u64| (us / 1000).to_string();
        shown.push(vec![
            size.to_string(),
            recomputed.rows.to_string(),
            (std::fs::metadata(&path)?.len() / 1024 / 1024).to_string(),
            ms(made.gather_us),
            ms(made.write_us),
            ms(proofs.us),
            ms(recomputed.us),
            table::tenths(recomputed.us * 10 / recomputed.rows.max(1)),
            (recomputed.peak_kib / 1024).to_string(),
        ]);
    }
    let mut section = Section::new("proof", ABOUT);
    let head = [
        "MACHINES",
        "ROWS",
        "FILE MiB",
        "GATHER ms",
        "WRITE ms",
        "LEVEL 0 ms",
        "LEVEL 1 ms",
        "us / ROW",
        "PEAK MiB",
    ];
    section.table(&head, shown);
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

/// The process that makes a bundle.
pub fn make(machines: usize, path: &Path) -> anyhow::Result<ExitCode> {
    let (statement_key, service_key) = (SigningKey::from_bytes(&[2; 32]), SigningKey::from_bytes(&[1; 32]));
    let period: Period = PERIOD.parse()?;
    let policy = Policy::parse(fleet::POLICY)?;
    let mut log = Log::new(machines)?;
    log.month(machines)?;
    let journal = JournalCut { size: log.fold.position(), root: STANDARD.encode(log.fold.root()) };
    let key = PseudonymKey::derived_from(&[3; 32]);
    let reseller: ResellerId = "rsl_bench".parse()?;
    let (gathered, gather) = busy(|| {
        let input = CloseInput {
            usage: log.fold.usage(),
            usage_elsewhere: &[],
            policy: &policy,
            period,
            as_of: None,
            sealed: &[],
        };
        let output = close(input)?;
        let seats = seats(log.fold.usage(), &policy, period, None);
        let evidence = MonthEvidence::gather(GatherInput {
            usage: log.fold.usage(),
            registry: Some(log.fold.registry()),
            policy: &policy,
            period,
            seats: &seats,
        });
        let part = Part { evidence: &evidence, key: &key, period, distributor: DISTRIBUTOR };
        let commitment = part.commitment(&reseller, service_key.verifying_key().to_bytes());
        anyhow::Ok((output, evidence, commitment))
    });
    let (output, evidence, commitment) = gathered?;
    let mut bodies = bodies_by_distributor(&output.statement);
    let body = StatementBody {
        statement: bodies.remove(DISTRIBUTOR).ok_or_else(|| anyhow::anyhow!("nothing was sealed"))?,
        distributor: DISTRIBUTOR.to_owned(),
        revision: 1,
        policy: policy.public_toml_or_json(),
        rules_version: seatbeat_ledger::RULES_VERSION,
        zone_data: seatbeat_ledger::zone_data_version(),
        journal: journal.clone(),
        evidence: Some(commitment),
    };
    let statement = seal(body_bytes(&body)?, &statement_key);
    let record = log.seal(&statement)?;
    let place = Place { cut: log.cut, sealed_at: log.cut, head: log.cut + 1, earlier: Vec::new() };
    let checkpoint = Checkpoint { origin: origin(&reseller), size: log.cut + 1, root: log.fold.root() };
    let proofs =
        place.proofs(&log.harvest, &record, &statement, &journal.root, checkpoint.sign(&service_key))?;
    let opening = serde_json::from_slice(&file(&statement, statement_key.verifying_key().as_bytes())?)?;
    let part = Part { evidence: &evidence, key: &key, period, distributor: DISTRIBUTOR };
    let mut out = BufWriter::new(File::create(path)?);
    let (written, write) =
        busy(|| part.write::<anyhow::Error>(opening, &proofs, None, |line| Ok(writeln!(out, "{line}")?)));
    written?;
    out.flush()?;
    let key = STANDARD.encode(statement_key.verifying_key().as_bytes());
    own::tell(&Made { gather_us: us(gather), write_us: us(write), key })?;
    Ok(ExitCode::SUCCESS)
}

/// The process that verifies one.
pub fn check(path: &Path, level: &str, key: &str) -> anyhow::Result<ExitCode> {
    let level: Level = level.parse().map_err(anyhow::Error::msg)?;
    let key = Some(seatbeat_proto::signed::key_from_text(key)?);
    let question =
        Question { key, level, checkpoint: None, witnesses: Vec::new(), sample: None, replay: None };
    let (verdict, time) = busy(|| -> anyhow::Result<Verdict> {
        let mut verifier = Verifier::new(question);
        let mut reader = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            anyhow::ensure!(verifier.line(line.strip_suffix(b"\n").unwrap_or(&line)), "it goes on");
            line.clear();
        }
        verifier.finish().map_err(|failures| anyhow::anyhow!("{failures:?}"))
    });
    let (verdict, (_, peak_kib)) = (verdict?, own::memory_kib()?);
    own::tell(&Checked { us: us(time), rows: verdict.seats + verdict.excluded, peak_kib })?;
    Ok(ExitCode::SUCCESS)
}

/// A fold, and what proves its records.
struct Log {
    fold: Fold,
    harvest: Harvest,
    cut: u64,
}

impl Log {
    /// Of a fleet whose month is yet to come.
    fn new(machines: usize) -> anyhow::Result<Self> {
        let foundation = fleet::foundation(machines);
        let cut = foundation.len() as u64 + machines as u64 * (1 + REPORTS as u64);
        let mut log = Self { fold: Fold::default(), harvest: Harvest::default(), cut };
        Place { cut, sealed_at: cut, head: cut + 1, earlier: Vec::new() }.want(&mut log.harvest)?;
        foundation.iter().try_for_each(|record| log.add(record))?;
        Ok(log)
    }

    fn month(&mut self, machines: usize) -> anyhow::Result<()> {
        for number in 0..machines {
            let mut machine = fleet::Machine::new(number);
            self.add(&machine.enrolment(number))?;
            for week in 0..REPORTS {
                self.add(&machine.report(fleet::start() + SignedDuration::from_hours(24 * 7 * week)))?;
            }
        }
        anyhow::ensure!(self.fold.position() == self.cut, "the log is as long as was said");
        Ok(())
    }

    fn seal(&mut self, statement: &Signed) -> anyhow::Result<Vec<u8>> {
        let sealed = StatementSealed {
            distributor: DISTRIBUTOR.to_owned(),
            period: PERIOD.to_owned(),
            revision: 1,
            statement: Some(statement.clone()),
        };
        let record = JournalRecord {
            recorded_at_ms: fleet::start().as_millisecond(),
            actor: "collector".to_owned(),
            reason: String::new(),
            fact: Some(Fact::StatementSealed(sealed)),
            ..Default::default()
        };
        let record = record.encode_to_vec();
        self.add(&record)?;
        Ok(record)
    }

    fn add(&mut self, record: &[u8]) -> anyhow::Result<()> {
        self.fold.apply(record)?;
        self.harvest.append_leaf(leaf(record));
        Ok(())
    }
}

fn us(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
