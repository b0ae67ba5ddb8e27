//! What others' programs make of the files that go out, and of the stand-ins that take them. Invariant: each check runs
//! a program that shares no code with ours, and says so when it cannot, which is a failure where `CI=true`.
//!
//! `SEATBEAT_PYTHON`: a folder with a Python environment; `SEATBEAT_PRISM`: the program `prism`.

use std::net::TcpListener as Bound;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use seatbeat_ledger::uploads::Status;
use seatbeat_standin::connect::Connect;
use seatbeat_standin::ion::Ion;
use seatbeat_standin::{Standin, server};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::arm::{Licence, Step};
use super::call::SendError;
use super::connector::{Connector, Tools};
use super::destination::Destination;
use super::drop_files::COLUMNS;
use super::faults::line;
use super::http::Http;
use super::independent::{DOCUMENTS, SCRIPTS, python, skip};
use super::projection::{Load, OutFile};
use super::samples::Sample;
use super::standin::Memory;
use crate::clock::Clock;

/// The platforms' own documents, in the folder beside the checkout.
const CONNECT: &str = "cloudblue-connect-openapi-37.0.yml";
const ION: &str = "tdsynnex-streamone-ion-api-reference.yaml";

const KEY: &str = "SU-000-000-001:standin";

/// Longest until a program listens: Prism reads two megabytes of a document first.
const STARTING_MAX: Duration = Duration::from_secs(90);

/// Runs a script and gives what it said.
fn run(python: &Path, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(python);
    let output =
        command.arg(format!("{SCRIPTS}/{script}")).args(arguments).output().expect("it ran a moment ago");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    Bound::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a port").port()
}

async fn listens(port: u16) {
    let listening = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(STARTING_MAX, listening).await.expect("it listens");
}

/// The stand-in of Connect over HTTP; its port.
fn platform() -> u16 {
    let connect = Connect::new(KEY, "PRD-1", "CRD-1")
        .with_asset("AS-1", "Acme", "WF-SVC", 15, ("account", "acme"))
        .with_asset("AS-2", "Bolt", "WF-SVC", 50, ("account", "bolt"));
    listening(Standin::new(connect))
}

/// A stand-in over HTTP, on a thread of its own; its port.
fn listening(standin: Standin) -> u16 {
    let bound = Bound::bind("127.0.0.1:0").expect("a port");
    let port = bound.local_addr().expect("an address").port();
    bound.set_nonblocking(true).expect("it can be waited for");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(bound).expect("a listener");
            match server::serve(listener, standin).await {}
        });
    });
    port
}

fn sample() -> Sample {
    Sample::default()
        .mapped("cus_acme", "WF-ADV", &[("item", "WF-ADV"), ("asset", "AS-1")])
        .mapped("cus_acme", "WF-SVC", &[("item", "WF-SVC"), ("asset", "AS-1")])
        .mapped("cus_bolt", "WF-SVC", &[("item", "WF-SVC"), ("asset", "AS-2")])
}

fn connector(configured: &str, secrets: &[(&str, &str)]) -> Box<dyn Connector> {
    let tools = Tools {
        transport: Arc::new(Http::new(None).expect("HTTP")),
        secrets: Memory::of(secrets),
        clock: Clock::real(),
    };
    let configured = format!("distributor = \"ingram\"\nfrom = \"2026-10\"\n{configured}");
    toml::from_str::<Destination>(&configured).expect("a destination").connector(tools).expect("a connector")
}

fn connect(port: u16) -> Box<dyn Connector> {
    let configured = format!(
        "connector = \"cloudblue-connect\"\nurl = \"http://127.0.0.1:{port}\"\n[options]\nproduct = \"PRD-1\"\n\
         contract = \"CRD-1\"\ncurrency = \"EUR\""
    );
    connector(&configured, &[("api_key", KEY)])
}

fn usage_files() -> Vec<OutFile> {
    let parts = connect(1).project(&sample().outgoing()).expect("it is mapped").parts;
    let Load::Files(files) = parts[0].load.clone() else { panic!("files") };
    files
}

/// What a spreadsheet program has in the workbook among these.
fn opened(python: &Path, files: &[OutFile]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let workbook = files.iter().find(|file| file.name.ends_with(".xlsx")).expect("a workbook");
    let path = folder.path().join(&workbook.name);
    std::fs::write(&path, &workbook.bytes).expect("it can be written");
    serde_json::from_str(&run(python, "workbook.py", &[&path.to_string_lossy()])).expect("JSON")
}

#[test]
fn openpyxl_reads_the_rows_of_a_drop() {
    let Some(python) = python("openpyxl") else {
        return skip(
            "openpyxl",
            "python3 -m venv FOLDER && FOLDER/bin/pip install openpyxl; SEATBEAT_PYTHON=FOLDER",
        );
    };
    let read = opened(&python, &Sample::default().files());
    assert_eq!(read["created"], "2026-11-05T08:30:00");
    let (name, rows) = (&read["sheets"][0][0], read["sheets"][0][1].as_array().expect("rows"));
    assert_eq!((name, &rows[0]), (&json!("Rows"), &json!(COLUMNS)));
    assert_eq!(rows[1], json!(["=Acme, \"Ltd\"", "2026-10", "WF-ADV", "WF-ADV", 3, null, 3, null, 3, null]));
    assert_eq!(
        (&rows[4][1], &rows[4][4], &rows[4][9]),
        (&json!("2026-09"), &json!(2), &json!("correction of 2026-09, stated with 2026-10"))
    );
}

#[test]
fn openpyxl_reads_the_records_of_a_usage_file() {
    let Some(python) = python("openpyxl") else {
        return skip(
            "openpyxl",
            "python3 -m venv FOLDER && FOLDER/bin/pip install openpyxl; SEATBEAT_PYTHON=FOLDER",
        );
    };
    let read = opened(&python, &usage_files());
    let sheets = read["sheets"].as_array().expect("sheets");
    assert_eq!((sheets.len(), &sheets[0][0], &sheets[1][0]), (2, &json!("records"), &json!("categories")));
    assert_eq!(sheets[1][1], json!([["category_id", "category_name", "category_description"]]));
    let rows = sheets[0][1].as_array().expect("rows");
    let head: Vec<&str> = rows[0].as_array().expect("a head").iter().filter_map(Value::as_str).collect();
    assert_eq!(
        head.join(", "),
        "record_id, record_note, item_search_criteria, item_search_value, quantity, start_time_utc, end_time_utc, \
         asset_search_criteria, asset_search_value, category_id, amount, tier, item_name, item_unit, item_mpn, \
         item_precision"
    );
    let mut ids: Vec<&str> = rows[1..].iter().filter_map(|row| row[0].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((rows.len(), ids.len()), (5, 4), "each record has an id of its own");
    let behind = |row: &Value| Value::from(row.as_array().expect("a row")[2..9].to_vec());
    let (from, to) = ("2026-10-01 00:00:00", "2026-10-31 23:59:59");
    assert_eq!(behind(&rows[3]), json!(["item.mpn", "WF-SVC", 45, from, to, "asset.id", "AS-2"]));
    let (from, to) = ("2026-09-01 00:00:00", "2026-09-30 23:59:59");
    assert_eq!(behind(&rows[4]), json!(["item.mpn", "WF-SVC", 2, from, to, "asset.id", "AS-1"]));
}

#[test]
fn the_platform_s_own_client_hands_in_a_usage_file_at_the_stand_in() {
    let Some(python) = python("connect.client") else {
        let how = "FOLDER/bin/pip install 'connect-openapi-client==35.*'; SEATBEAT_PYTHON=FOLDER";
        return skip("connect-openapi-client", how);
    };
    let url = format!("http://127.0.0.1:{}", platform());
    let folder = tempfile::tempdir().expect("a folder");
    let workbook = folder.path().join("usage.xlsx");
    std::fs::write(&workbook, &usage_files()[1].bytes).expect("it can be written");
    let said = run(&python, "connect_sdk.py", &[&url, KEY, "PRD-1", "CRD-1", &workbook.to_string_lossy()]);
    assert_eq!(said.trim(), "1 usage files, 2 assets");
}

/// Prism between whoever asks and the platform, which refuses what is not as the document says on either side.
async fn prism(document: &str, platform: u16) -> Option<(Running, u16)> {
    let prism = std::env::var_os("SEATBEAT_PRISM").unwrap_or_else(|| "prism".into());
    let document = format!("{DOCUMENTS}/{document}");
    if !Path::new(&document).is_file() {
        skip(&format!("the platform's document {document}"), "put it there");
        return None;
    }
    let port = free_port();
    let mut command = Command::new(prism);
    command.args([
        "proxy",
        "--errors",
        "-p",
        &port.to_string(),
        &document,
        &format!("http://127.0.0.1:{platform}"),
    ]);
    let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        skip(
            "prism",
            "npm install --prefix FOLDER @stoplight/prism-cli@5; SEATBEAT_PRISM=FOLDER/node_modules/.bin/prism",
        );
        return None;
    };
    let running = Running(child);
    listens(port).await;
    Some((running, port))
}

#[tokio::test]
async fn both_sides_of_connect_are_as_the_platform_s_document_says() {
    let Some((_running, port)) = prism(CONNECT, platform()).await else { return };
    let connector = connect(port);
    let (sample, key) = (sample(), "2026-10-ingram-r1-0123456789abcdef");
    let part = connector.project(&sample.outgoing()).expect("it is mapped").parts.remove(0);
    let mut answer = connector.send(&part, key).await.expect("as documented");
    for _ in 0..10 {
        answer = connector.follow(&part, key, &answer.far_id).await.expect("as documented");
    }
    assert_eq!(answer.status, Status::Settled);
    let licence = Licence {
        customer: "cus_acme".parse().expect("an id"),
        sku: "WF-SVC".parse().expect("a SKU"),
        mapped: [("asset".to_owned(), "AS-1".to_owned())].into(),
    };
    let arm = connector.arm().expect("there is one");
    for step in [Step::Suspend, Step::Resume] {
        assert!(arm.act(step, &licence, key).await.is_err(), "it is not approved at once");
        arm.act(step, &licence, key).await.expect("as documented");
    }
    let seats = connector.provisioned("2026-10".parse().expect("a month"), &sample.mapping).await;
    assert_eq!(seats.expect("as documented").map(|seats| seats.len()), Some(2));
    assert_eq!(connector.subscriptions().await.expect("as documented").map(|all| all.len()), Some(2));
    // What is not as documented is noticed.
    let odd = http::Request::post(format!("http://127.0.0.1:{port}/usage/files"))
        .header("authorization", format!("ApiKey {KEY}"));
    assert_eq!(answered(odd, b"{\"name\": 7}").await, 422);
}

/// The status that a request gets with this as its JSON.
async fn answered(request: http::request::Builder, body: &'static [u8]) -> u16 {
    let request = request.header("content-type", "application/json").body(bytes::Bytes::from_static(body));
    let http = Http::new(None).expect("HTTP");
    let answer = super::call::Transport::call(&http, request.expect("a request")).await;
    answer.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn both_sides_of_streamone_ion_are_as_its_document_says() {
    let (ion, portal) = Ion::new("2768");
    let ion = listening(Standin::new(ion.subscription("501", "10991", "WFS", 40)));
    let Some((_running, port)) = prism(ION, ion).await else { return };
    let url = format!("http://127.0.0.1:{port}");
    let configured = format!("connector = \"tdsynnex-ion\"\nurl = \"{url}\"\n[options]\naccount = \"2768\"");
    let connector = connector(&configured, &[("refresh_token", &portal.refresh_token())]);
    let (part, key) = (line(&[("far_customer", "10991"), ("subscription", "501")], 55), "2026-10-td-r1-key");
    let mut answer = connector.send(&part, key).await.expect("as documented");
    for _ in 0..10 {
        answer = connector.follow(&part, key, &answer.far_id).await.expect("as documented");
    }
    assert_eq!(answer.status, Status::Settled);
    assert_eq!(connector.subscriptions().await.expect("as documented").map(|all| all.len()), Some(1));
    let odd = http::Request::post(format!("{url}/api/v3/accounts/2768/customers/10991/orders"));
    assert_eq!(answered(odd.header("authorization", "Bearer x"), b"{\"orderItems\": 7}").await, 422);
}

/// OpenSSH's server on this machine, of a folder of its own: its port, and the fingerprint of its key.
async fn sshd(folder: &Path) -> Option<(Running, u16, String)> {
    let sshd = Path::new("/usr/sbin/sshd");
    if !sshd.is_file() {
        skip("/usr/sbin/sshd", "apt-get install openssh-server");
        return None;
    }
    // Where root starts it, it wants its folder.
    let _ = std::fs::create_dir_all("/run/sshd");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    for key in ["host", "user"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).status();
        assert!(made.expect("ssh-keygen comes with it").success());
    }
    let port = free_port();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
         StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n",
        path("host"),
        path("user.pub")
    );
    std::fs::write(folder.join("config"), config).expect("it can be written");
    let mut command = Command::new(sshd);
    command.args(["-D", "-e", "-f", &path("config")]).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().expect("it is there"));
    listens(port).await;
    let shown =
        Command::new("ssh-keygen").args(["-l", "-f", &path("host.pub")]).output().expect("it was there");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let fingerprint = shown.split(' ').nth(1).expect("a fingerprint").to_owned();
    Some((running, port, fingerprint))
}

#[tokio::test]
async fn openssh_takes_the_files_once_and_another_key_than_the_known_one_gets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((_running, port, fingerprint)) = sshd(folder.path()).await else { return };
    let drop = folder.path().join("in");
    std::fs::create_dir(&drop).expect("it can be made");
    let user = Command::new("id").arg("-un").output().expect("somebody runs this").stdout;
    let user = String::from_utf8_lossy(&user).trim().to_owned();
    let private_key = std::fs::read_to_string(folder.path().join("user")).expect("it was made");
    let sftp = |host_key: &str, path: &Path| {
        let configured = format!(
            "connector = \"sftp\"\n[options]\nhost = \"127.0.0.1\"\nport = \"{port}\"\nuser = \"{user}\"\n\
             path = \"{}\"\nhost_key = \"{host_key}\"",
            path.display()
        );
        connector(&configured, &[("private_key", &private_key)])
    };
    let sample = Sample::default();
    let connector = sftp(&fingerprint, &drop);
    let part = connector.project(&sample.outgoing()).expect("it fits").parts.remove(0);
    // What an earlier life left half of.
    std::fs::write(drop.join("2026-10-r1.csv.part"), b"comp").expect("it can be written");
    for _ in 0..2 {
        let answer = connector.send(&part, "key").await.expect("it is taken");
        assert_eq!((answer.status, answer.far_id.as_str()), (Status::Settled, "2026-10-r1.statement.json"));
    }
    let files = sample.files();
    assert!(
        files.iter().all(|file| std::fs::read(drop.join(&file.name)).expect("it is there") == *file.bytes)
    );
    assert_eq!(std::fs::read_dir(&drop).expect("it is there").count(), files.len(), "and nothing else is");
    let checked = Command::new("sha256sum").args(["-c", "2026-10-r1.sha256"]).current_dir(&drop).output();
    assert!(checked.expect("sha256sum is there").status.success(), "the digests are sha256sum's");

    let stops = |connector: Box<dyn Connector>| {
        let part = part.clone();
        async move { connector.send(&part, "key").map(|sent| sent.expect_err("it is refused")).await }
    };
    std::fs::write(drop.join("2026-10-r1.json"), b"theirs").expect("it can be written");
    let told = [
        (stops(sftp(&fingerprint, &drop)).await, "2026-10-r1.json"),
        (stops(sftp(&format!("SHA256:{}", "a".repeat(43)), &drop)).await, fingerprint.as_str()),
        (stops(sftp(&fingerprint, &folder.path().join("away"))).await, "away"),
    ];
    for (error, words) in told {
        assert!(matches!(&error, SendError::Stop { why, .. } if why.contains(words)), "{words}: {error:?}");
    }
}
