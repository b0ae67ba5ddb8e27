//! What others' programs make of what goes out. Invariant: each check runs a program that shares no code with ours, and
//! says so when it cannot, which is a failure where `CI=true`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use seatbeat_ledger::uploads::Status;
use seatbeat_standin::Standin;
use seatbeat_standin::ion::Ion;
use seatbeat_standin::simpleapi::SimpleApi;
use serde_json::{Value, json};

use super::connector::Tools;
use super::destination::Destination;
use super::faults::{KEY, line, now};
use super::standin::{Memory, Watched, tools};

/// The scripts that run others' programs.
pub const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/independent");

/// The distributors' own documents, beside the checkout.
pub const DOCUMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/distributor");

/// Says that a check was not made.
pub fn skip(needs: &str, how: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "needs {needs} ({how})");
    #[expect(clippy::print_stderr, reason = "a check that was not made says so")]
    {
        eprintln!("skipped: needs {needs} ({how})");
    }
}

/// A Python that has a module: of the folders that `SEATBEAT_PYTHON` names (as `PATH` does), or the system's.
pub fn python(module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("SEATBEAT_PYTHON");
    let own: Vec<PathBuf> = named.iter().flat_map(std::env::split_paths).collect();
    let own = own.iter().map(|folder| folder.join("bin/python"));
    let mut pythons = own.chain(named.is_none().then(|| PathBuf::from("python3")));
    pythons.find(|python| {
        let has = Command::new(python).args(["-c", &format!("import {module}")]).output();
        has.is_ok_and(|output| output.status.success())
    })
}

/// The requests that set a quantity, from the look for an order to its end, and that list the subscriptions.
fn recorded(
    configured: &str,
    standin: Standin,
    secrets: &Arc<Memory>,
    mapped: &[(&str, &str)],
) -> Vec<Value> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (tools, ..) = tools(standin, secrets, "2026-11-05T09:00:00Z");
    let (kept, next) = (Arc::clone(&seen), Arc::clone(&tools.transport));
    let watch = move |request: &Request<Bytes>| kept.lock().unwrap().push(written(request));
    let tools = Tools { transport: Arc::new(Watched { next, watch }), ..tools };
    let destination: Destination = toml::from_str(configured).unwrap();
    let connector = destination.connector(tools).unwrap();
    let part = line(mapped, 55);
    let mut answer = now(connector.send(&part, KEY)).unwrap();
    while answer.status != Status::Settled {
        answer = now(connector.follow(&part, KEY, &answer.far_id)).unwrap();
    }
    now(connector.subscriptions()).unwrap();
    let seen = seen.lock().unwrap();
    seen.clone()
}

/// A request as the scripts read it.
fn written(request: &Request<Bytes>) -> Value {
    let headers = request.headers().iter();
    let query = request.uri().query().unwrap_or_default().split('&');
    json!({
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": query.filter_map(|pair| pair.split_once('=')).collect::<Vec<_>>(),
        "headers": headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(request.body()),
    })
}

/// Checks requests that went to a host against a document; then once more with something wrong in the order, which has
/// to be noticed.
fn check(document: &str, host: &str, requests: &[Value], spoil: impl Fn(&mut Value)) {
    let document = Path::new(DOCUMENTS).join(document);
    if !document.is_file() {
        return skip(&format!("the distributor's document {}", document.display()), "put it there");
    }
    let Some(python) = python("openapi_core") else {
        let how =
            "python3 -m venv FOLDER && FOLDER/bin/pip install openapi-core==0.23.1; SEATBEAT_PYTHON=FOLDER";
        return skip("openapi-core", how);
    };
    let run = |requests: &[Value]| {
        let folder = tempfile::tempdir().unwrap();
        let recorded = folder.path().join("requests.jsonl");
        let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
        std::fs::write(&recorded, lines).unwrap();
        let mut command = Command::new(&python);
        command.arg(format!("{SCRIPTS}/order_bodies.py")).arg(&document).arg(host).arg(&recorded);
        let output = command.output().expect("it ran a moment ago");
        let said =
            [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        (output.status.success(), said)
    };
    let (is_right, said) = run(requests);
    assert!(is_right && said.contains(&format!("{} requests checked, 0 wrong", requests.len())), "{said}");
    let mut spoiled = requests.to_vec();
    let is_order =
        |one: &&mut Value| one["method"] == "POST" && one["path"].as_str().unwrap().ends_with("/orders");
    let order = spoiled.iter_mut().find(is_order).expect("an order was placed");
    let mut body: Value = serde_json::from_str(order["body"].as_str().unwrap()).unwrap();
    spoil(&mut body);
    order["body"] = json!(body.to_string());
    let (is_right, said) = run(&spoiled);
    assert!(!is_right && said.contains(" 1 wrong"), "{said}");
}

#[test]
fn orders_of_the_cloud_marketplace_are_what_its_document_says() {
    let standin = SimpleApi::new("gateway-key", "api-user", "s3cret", "us")
        .subscription("1000017", "1000001", "WFS", "Trend", 40);
    let secrets =
        Memory::of(&[("user", "api-user"), ("password", "s3cret"), ("subscription_key", "gateway-key")]);
    let configured = "connector = \"ingram-simpleapi\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n\
                      url = \"https://market.example\"\noptions.marketplace = \"us\"";
    let mapped = [("far_customer", "1000001"), ("subscription", "1000017"), ("mpn", "WFS")];
    let requests = recorded(configured, Standin::new(standin), &secrets, &mapped);
    check("cloudblue-commerce-simpleapi-1.15.yaml", "https://market.example", &requests, |body| {
        body["products"][0]["quantity"] = json!("55");
    });
}

#[test]
fn orders_of_streamone_ion_are_what_its_document_says() {
    let (standin, portal) = Ion::new("2768");
    let standin = standin.subscription("501", "10991", "WFS", 40);
    let secrets = Memory::of(&[("refresh_token", &portal.refresh_token())]);
    let configured =
        "connector = \"tdsynnex-ion\"\ndistributor = \"td\"\nfrom = \"2026-10\"\noptions.account = \"2768\"";
    let mapped = [("far_customer", "10991"), ("subscription", "501")];
    let requests = recorded(configured, Standin::new(standin), &secrets, &mapped);
    check("tdsynnex-streamone-ion-api-reference.yaml", "https://ion.tdsynnex.com", &requests, |body| {
        body["orderItems"][0].as_object_mut().unwrap().remove("planId");
    });
}
