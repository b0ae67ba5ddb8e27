//! A sealed month on its way to a distributor's platform, which stands in as a server of its own: what blocks it, what
//! stops it, what a person does about that, and that it arrives once.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use seatbeat_fleet::seed::Seed;
use seatbeat_standin::{Standin, connect::Connect, server};
use serde_json::Value;

use crate::desk::{Desk, eventually, text};
use crate::months::{OCTOBER, desk_in_october, instant, report, restart_at};
use crate::reporters::reporter;

pub const API_KEY: &str = "SU-123-456-789:0f1e2d3c4b5a69788796a5b4c3d2e1f0";
pub const NOVEMBER: &str = "2026-11-04T12:00:00Z";

/// The platform, on a port of its own, for as long as the runtime lives.
pub fn platform(runtime: &tokio::runtime::Runtime) -> SocketAddr {
    let listener =
        runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let platform = Connect::new(API_KEY, "PRD-1", "CRD-1").with_asset(
        "AS-1",
        "A customer",
        "DS-CLOUD",
        5,
        ("account", "1"),
    );
    runtime.spawn(server::serve(listener, Standin::new(platform)));
    address
}

pub fn effects(address: SocketAddr) -> Vec<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let request = "GET /_standin/effects HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).expect("a list")
}

pub fn write_secret(path: &Path, key: &str) {
    fs::write(path, format!("api_key = \"{key}\"\n")).expect("a file can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

/// Adds a destination to the configuration: for the next start.
pub fn configure_destination(desk: &Desk, address: SocketAddr, secrets: &Path) {
    let path = desk.store().join("seatbeat.toml");
    let before = fs::read_to_string(&path).expect("a configuration");
    let destination = format!(
        "[destination.connect]\nconnector = \"cloudblue-connect\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n\
         url = \"http://{address}/public/v1\"\nsecrets_file = \"{}\"\n[destination.connect.options]\n\
         product = \"PRD-1\"\ncontract = \"CRD-1\"\ncurrency = \"USD\"\n",
        secrets.display()
    );
    let before: String = before.replace("[destination]\n", "");
    fs::write(&path, format!("{before}\n{destination}")).expect("it can be written");
}

pub fn only_row(desk: &Desk) -> Value {
    desk.operator_json(&["upload", "status"])[0].clone()
}

pub fn waits_for(desk: &Desk, status: &str) {
    eventually(status, || (only_row(desk)["status"] == status).then_some(()));
}

/// Whether a text stands in any file below a folder.
fn stands_below(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).expect("a folder").flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return stands_below(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn a_sealed_month_arrives_once_whatever_is_wrong_on_the_way() {
    let (mut desk, door) = desk_in_october(0, "2");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut machine = reporter("pc", &Seed::new(11));
    runtime.block_on(door.enrol(&machine, instant(OCTOBER))).expect("the token lets it in");
    runtime.block_on(report(&door, &mut machine, OCTOBER, &["2026-10-20T08:00:00Z"]));
    let (address, secrets) = (platform(&runtime), desk.path("connect.secrets"));
    write_secret(&secrets, "SU-000:not-the-key-of-anybody");
    configure_destination(&desk, address, &secrets);
    restart_at(&mut desk, NOVEMBER);
    let close = ["statement", "close", "2026-10", "--reason", "checked"];

    let said = desk.operator_fails(&close);
    assert!(
        said.contains("cus_a, SKU DS-CLOUD cannot go to destination connect") && said.contains("item, asset"),
        "{said}"
    );
    assert!(said.contains("seatbeat mapping import connect"), "{said}");
    let rows = desk.path("mapping.csv");
    for (csv, words) in [
        ("customer,sku,item,asset\ncus_a,DS-CLOUD,DS-CLOUD,\n", "line 2: `asset` is empty"),
        (
            "customer,sku,item,asset\ncus_b,DS-CLOUD,DS-CLOUD,AS-1\n",
            "line 2: customer `cus_b` is not known here",
        ),
        ("customer,sku,item,asset\ncus_a,WF,DS-CLOUD,AS-1\n", "line 2: SKU `WF` is not named in the policy"),
        ("customer,sku,subscription\ncus_a,DS-CLOUD,1\n", "column `subscription` means nothing here"),
    ] {
        fs::write(&rows, csv).expect("a file can be written");
        let said = desk.operator_fails(&["mapping", "import", "connect", text(&rows)]);
        assert!(said.contains(words) && said.contains("nothing was mapped"), "{said}");
    }
    assert_eq!(desk.operator_ok(&["mapping", "show", "connect"]).lines().count(), 1, "nothing was set");
    let none = desk.operator_fails(&["mapping", "show", "elsewhere"]);
    assert!(none.contains("there are: connect"), "{none}");

    fs::write(&rows, "customer,sku,item,asset\ncus_a,DS-CLOUD,DS-CLOUD,AS-1\n")
        .expect("a file can be written");
    desk.operator_ok(&["mapping", "import", "connect", text(&rows), "--reason", "agreed"]);
    let plan = desk.operator_json(&["upload", "dry-run", "2026-10"]);
    assert_eq!(
        (&plan[0]["is_draft"], &plan[0]["parts"][0]["part"]),
        (&Value::from(true), &Value::from("statement"))
    );
    assert!(plan[0]["parts"][0]["requests"].as_array().is_some_and(|all| all.len() > 2), "{plan:#}");
    assert!(!plan.to_string().contains("SU-000"), "{plan:#}");
    assert!(effects(address).is_empty(), "a dry run sends nothing");
    assert!(desk.operator_json(&["upload", "status"]).as_array().is_some_and(Vec::is_empty));

    // Wrong credentials: it stops, says so, and goes on by itself with the right ones.
    desk.operator_ok(&close);
    eventually("it stops", || only_row(&desk)["trouble"][0]["hint"].as_str().map(str::to_owned));
    let row = only_row(&desk);
    let told = row["trouble"][0].to_string();
    assert!(told.contains("401") && told.contains("secrets file"), "{row:#}");
    let alarms = desk.operator_json(&["status"])["alarms"].to_string();
    assert!(alarms.contains("destination connect"), "{alarms}");
    assert!(effects(address).is_empty());
    desk.kill();
    write_secret(&secrets, API_KEY);
    desk.start();
    waits_for(&desk, "settled");
    desk.kill();
    desk.start();
    waits_for(&desk, "settled");
    let submitted = effects(address).iter().filter(|effect| effect.ends_with("submitted")).count();
    assert_eq!(submitted, 1, "{:?}", effects(address));
    let shown = desk.operator_json(&["upload", "show", "2026-10", "--destination", "connect"]);
    let answers = shown[0]["answers"][0]["answers"].as_array().expect("answers").clone();
    let statuses: Vec<&str> = answers.iter().filter_map(|answer| answer["status"].as_str()).collect();
    assert_eq!((statuses[0], statuses[statuses.len() - 1]), ("sent", "settled"), "{shown:#}");
    assert!(
        answers
            .iter()
            .all(|answer| answer["digest"].as_str().is_some_and(|text| text.starts_with("sha256:")))
    );
    let again = desk.operator_fails(&["upload", "retry", "2026-10", "--destination", "connect"]);
    assert!(again.contains("nothing of it is sent again"), "{again}");

    // Its books of today are compared only when that is asked for by name.
    let compared = desk.operator_json(&["reconcile", "2026-10", "--fetch"]);
    assert!(compared["compared"].as_array().is_some_and(Vec::is_empty), "{compared:#}");
    let compared = desk.operator_json(&["reconcile", "2026-10", "--fetch", "--source", "connect"]);
    let line = &compared["compared"][0];
    assert_eq!(
        (&line["ours"], &line["theirs"], &line["open"]),
        (&"1".into(), &"5".into(), &1.into()),
        "{line:#}"
    );

    // The other arm goes the same way.
    let suspend = ["licences", "suspend", "cus_a", "DS-CLOUD", "--reason", "not paid"];
    let said = desk.operator_fails(&suspend);
    assert!(said.contains("not approved yet") && said.contains("ask again"), "{said}");
    eventually("the request is approved", || desk.operator(&suspend).status.success().then_some(()));
    let said = desk.operator_fails(&["licences", "suspend", "cus_x", "DS-CLOUD", "--reason", "not paid"]);
    assert!(said.contains("`cus_x` is not known here"), "{said}");
    let orders = desk.operator_json(&["orders", "list", "--customer", "cus_a"]);
    assert!(orders.to_string().contains("suspended_since"), "{orders:#}");

    assert!(desk.stop(), "{}", desk.log());
    assert!(
        !desk.log().contains(API_KEY) && !stands_below(&desk.store(), API_KEY),
        "the key is in the vault alone"
    );
}
