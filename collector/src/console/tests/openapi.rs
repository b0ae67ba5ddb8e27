//! What the door says of its downloads, held against what it answers. Invariant: the requests are made by a program
//! that knows the description alone, over a real connection.

use std::process::Command;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::downloads::{full, path};
use crate::console::downloads::{FORMATS, Kind, Place, TABLES};
use crate::console::{door, web::openapi};
use crate::distributor::independent::{python, skip};

/// Cases for each way to download a table: it is the same code behind all of them.
const CASES: &str = "12";

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_each_download_and_is_given_to_whoever_is_signed_in() {
    let house = full().await;
    assert_eq!(super::downloads::get(&house.server(), "/v1/openapi.json", &[]).await.status.as_u16(), 401);
    let told = house.get("/v1/openapi.json").await.json();
    assert_eq!((&told, &told["openapi"]), (&openapi::document(), &Value::from("3.1.0")));
    let mut paths = Vec::new();
    for table in TABLES {
        let schema = &told["components"]["schemas"][table.name];
        assert_eq!(schema["properties"].as_object().unwrap().len(), table.columns.len());
        for column in table.columns.iter().filter(|column| column.kind == Kind::Money) {
            assert_eq!(
                schema["properties"][column.name]["type"][0], "string",
                "{}: money is text",
                column.name
            );
        }
        for format in FORMATS {
            paths.push(match table.place {
                Place::Paths(_) => path(table, format.ending()),
                Place::Months(_) => path(table, format.ending()).replace("2026-10", "{period}"),
            });
        }
    }
    let told: Vec<&String> = told["paths"].as_object().unwrap().keys().collect();
    paths.sort();
    assert_eq!(told, paths.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_answer_as_they_are_described_whatever_they_are_asked() {
    let Some(python) = python("schemathesis") else {
        let how =
            "python3 -m venv FOLDER && FOLDER/bin/pip install 'schemathesis==4.*'; SEATBEAT_PYTHON=FOLDER";
        return skip("schemathesis", how);
    };
    let house = full().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let console = house.console.clone();
    let door = tokio::spawn(door::serve(listener, None, console, async { drop(stopped.await) }));

    let folder = tempfile::tempdir().unwrap();
    let description = folder.path().join("openapi.json");
    let (is_right, said) = {
        std::fs::write(&description, openapi::document().to_string()).unwrap();
        asked(&python, &description, &address, &house.token).await
    };
    assert!(is_right, "{said}");
    // A description that is wrong has to be noticed.
    let mut wrong = openapi::document();
    wrong["components"]["schemas"]["customers"]["properties"]["machines"]["type"] = "string".into();
    let customers = wrong["paths"]["/v1/customers.json"].clone();
    wrong["paths"] = serde_json::json!({ "/v1/customers.json": customers });
    std::fs::write(&description, wrong.to_string()).unwrap();
    let (is_right, said) = asked(&python, &description, &address, &house.token).await;
    assert!(!is_right && said.contains("/v1/customers.json"), "{said}");

    drop(stop);
    door.await.unwrap();
}

async fn asked(
    python: &std::path::Path,
    description: &std::path::Path,
    address: &str,
    token: &str,
) -> (bool, String) {
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "run"]).arg(description).args(["--url", address]);
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    command.args(["--phases", "examples,coverage,fuzzing", "--checks", "all", "--max-examples", CASES]);
    command.args(["--seed", "1", "--no-color", "--continue-on-failure", "--suppress-health-check", "all"]);
    command.current_dir(description.parent().unwrap());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    (output.status.success(), said)
}
