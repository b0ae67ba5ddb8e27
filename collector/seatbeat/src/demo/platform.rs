//! The distributors of the demonstration: a platform that takes usage files, as a process of its own (this program
//! started again), and a folder. Invariant: the process ends when the demonstration does, however that ends; no name
//! and no key of a real distributor is here.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use seatbeat_collector::config::Names;
use seatbeat_collector::console::mapping::MappingImported;
use seatbeat_collector::console::uploads::UploadRow;
use seatbeat_collector::distributor::destination::{Destination, Kind};
use seatbeat_fleet::Plan;
use seatbeat_fleet::expected::MONTH;
use seatbeat_proto::wire;
use seatbeat_standin::{Standin, connect::Connect, server};

use super::fault::Fault;
use super::folder::Place;
use super::house::House;
use super::steps::Steps;
use crate::files;

/// What lets the demonstration's collector in at its platform.
const API_KEY: &str = "SU-000-000-001:of-the-demonstration";

const PRODUCT: &str = "PRD-000-000-001";
const CONTRACT: &str = "CRD-000-000-001";

/// Where usage files go, and where files are dropped: destinations by their distributors.
const USAGE: (&str, &str) = ("usage-files", "alpina");
const DROP: (&str, &str) = ("drop", "nordlicht");

/// SKUs that are bought from the platform's distributor.
const ITS_SKUS: [&str; 2] = ["A1-EP", "WF-SVC"];

/// How long all of it may take to be settled: a look each five seconds, and two rounds of verdicts.
const SETTLED_WAIT_S: u64 = 90;

/// The platform as a process.
pub struct Platform {
    child: Child,
    address: SocketAddr,
}

impl Platform {
    /// Starts it on a port that is free.
    ///
    /// # Errors
    /// When the process cannot be started or does not say where it listens.
    pub fn start() -> Result<Self, Fault> {
        let failed = |act| move |source| Fault::Platform { act, source };
        let exe = std::env::current_exe().map_err(failed("find"))?;
        let mut child = Command::new(exe)
            .arg(crate::cli::PLATFORM)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("start"))?;
        let mut said = String::new();
        let stdout = child.stdout.take();
        let read = stdout.map_or(Ok(0), |stdout| BufReader::new(stdout).read_line(&mut said));
        let platform = |address| Self { child, address };
        read.and_then(|_| said.trim().parse().map_err(io::Error::other))
            .map(platform)
            .map_err(failed("understand"))
    }

    /// Where sealed statements go.
    ///
    /// # Errors
    /// When the key's file cannot be written.
    pub fn destinations(&self, place: &Place, plan: &Plan) -> Result<[(String, Destination); 2], Fault> {
        let secrets = place.path().join("platform.secrets");
        write_secret(&secrets, &format!("api_key = \"{API_KEY}\"\n"))?;
        let from =
            plan.period.parse().map_err(|_| Fault::Zone("the month of the plan is none".to_owned()))?;
        let destination = |connector, distributor: &str| Destination {
            connector,
            distributor: distributor.to_owned(),
            from,
            names: Names::Pseudonyms,
            allow_decrease: false,
            url: None,
            secrets_file: None,
            secrets_command: Vec::new(),
            ca_file: None,
            options: Default::default(),
        };
        let options = [("product", PRODUCT), ("contract", CONTRACT), ("currency", "EUR")];
        let usage = Destination {
            url: Some(format!("http://{}/public/v1", self.address)),
            secrets_file: Some(secrets),
            options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..destination(Kind::CloudblueConnect, USAGE.1)
        };
        let path = place.path().join("handed-in");
        std::fs::create_dir_all(&path).map_err(|source| Fault::Folder {
            act: "make",
            path: path.clone(),
            source,
        })?;
        let drop = Destination {
            options: [("path".to_owned(), path.display().to_string())].into(),
            ..destination(Kind::Folder, DROP.1)
        };
        Ok([(USAGE.0.to_owned(), usage), (DROP.0.to_owned(), drop)])
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // It ends by itself with its standard input; this is for one that hangs.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says what the platform calls customers and SKUs.
///
/// # Errors
/// When the collector refuses.
pub async fn map(house: &mut House, steps: &mut Steps) -> Result<(), Fault> {
    let step = steps.begin("say what the distributor's platform calls customers and SKUs");
    let lines = MONTH.iter().filter(|line| ITS_SKUS.contains(&line.sku));
    let row =
        |line: &seatbeat_fleet::expected::Expected| format!("{0},{1},{1},AS-{0}\n", line.customer, line.sku);
    let csv: String = std::iter::once("customer,sku,item,asset\n".to_owned()).chain(lines.map(row)).collect();
    let request = wire::MappingImport {
        destination: USAGE.0.to_owned(),
        dry_run: false,
        reason: "agreed with the distributor".to_owned(),
        piece: csv.into_bytes(),
    };
    let reply = house
        .collector
        .call(async |console| console.import_mapping(tokio_stream::iter([request])).await)
        .await?;
    let imported: MappingImported =
        serde_json::from_str(&reply.json).map_err(|error| Fault::Answer(error.into()))?;
    match imported.problems {
        None => {
            step.done(&format!("{} rows", imported.set + imported.same));
            Ok(())
        }
        Some(problems) => Err(Fault::Unmapped(problems.first.into_iter().map(|one| one.what).collect())),
    }
}

/// Waits until each statement is settled where it went.
///
/// # Errors
/// When something keeps one, or it takes too long.
pub async fn settled(
    house: &mut House,
    plan: &Plan,
    platform: &Platform,
    steps: &mut Steps,
) -> Result<(), Fault> {
    let step = steps.begin("bring the statements to their distributors");
    let mut rows: Vec<UploadRow> = Vec::new();
    for _ in 0..SETTLED_WAIT_S * 2 {
        rows = asked(house, plan).await?;
        let trouble = rows.iter().flat_map(|row| &row.trouble).map(|one| one.why.clone());
        let trouble: Vec<String> = trouble.collect();
        if !trouble.is_empty() {
            return Err(Fault::NotSettled(trouble));
        }
        if rows.len() == 2 && rows.iter().all(|row| row.status == "settled") {
            let drop = house.place.path().join("handed-in");
            step.done(&format!(
                "the platform (process {}) accepted {}'s usage file; {}'s files are in {}",
                platform.id(),
                USAGE.1,
                DROP.1,
                drop.display()
            ));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let stand = |row: &UploadRow| {
        let failing = row.failing.as_deref().unwrap_or_default();
        format!("{}: {} {failing}", row.destination, row.status)
    };
    Err(Fault::NotSettled(rows.iter().map(stand).collect()))
}

async fn asked(house: &mut House, plan: &Plan) -> Result<Vec<UploadRow>, Fault> {
    let request = wire::UploadsRequest { period: plan.period.clone(), ..Default::default() };
    let chunks = house.collector.call(async |console| console.list_uploads(request).await).await?;
    let received = files::receive(&house.collector, chunks).await.map_err(Fault::Answer)?;
    let bytes = received.into_iter().next().map(|(_, bytes)| bytes).unwrap_or_default();
    serde_json::from_slice(&bytes).map_err(|error| Fault::Answer(error.into()))
}

fn write_secret(path: &PathBuf, text: &str) -> Result<(), Fault> {
    let failed = |source| Fault::Folder { act: "write", path: path.clone(), source };
    let mut options = std::fs::File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}

/// The platform's process: says where it listens, and ends with its standard input.
pub fn main() -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        crate::out::data(&listener.local_addr()?.to_string())?;
        let standin = Standin::new(Connect::new(API_KEY, PRODUCT, CONTRACT));
        let ended = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
        tokio::select! {
            never = server::serve(listener, standin) => match never {},
            _ = ended => io::Result::Ok(()),
        }
    });
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
