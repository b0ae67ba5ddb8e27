//! Tables as files, beside what gRPC answers. Invariant: all of it goes through the door, as a spreadsheet would.

use axum::body::to_bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use seatbeat_ledger::cells::unguarded;
use serde_json::{Value, json};

use super::*;
use crate::console::downloads::{Download, Kind, LIMIT_MAX, Place, TABLES};
use crate::console::rights::{Needs, Whose};

/// A name that is a trap for spreadsheets and pages.
const TRAP: &str = "=HYPERLINK(\"http://x\",\"y\")<script>alert(1)</script>";

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Whether it is a problem of this status and reason, which names something.
    fn refuses(&self, status: u16, reason: &str, words: &str) {
        assert_eq!((self.status.as_u16(), self.header("content-type")), (status, "application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["reason"], reason, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
}

pub(super) async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = http::Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = server.clone().call(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap().to_vec();
    Answer { status: head.status, headers: head.headers, body }
}

impl House {
    pub(super) async fn get(&self, path: &str) -> Answer {
        get(&self.server(), path, &[("authorization", &format!("Bearer {}", self.token))]).await
    }
}

/// The rows of a CSV file, as they were before spreadsheets were guarded against; without its head.
fn of_csv(table: &Download, csv: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_reader(csv);
    let heads: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), heads);
    let row = |row: csv::StringRecord| {
        let cells = row.iter().zip(table.columns);
        cells
            .map(|(cell, column)| if is_number(column.kind) { cell } else { unguarded(cell) }.to_owned())
            .collect()
    };
    reader.records().map(|one| row(one.unwrap())).collect()
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Number | Kind::Money)
}

/// The rows of a JSON array, each cell as text.
fn of_json(table: &Download, rows: &Value) -> Vec<Vec<String>> {
    let cell = |value: &Value, kind: Kind| match value {
        Value::Null => String::new(),
        Value::String(text) => {
            assert!(!matches!(kind, Kind::Number | Kind::Flag), "{text}");
            text.clone()
        }
        other => {
            assert!(matches!(kind, Kind::Number | Kind::Flag), "{other}");
            other.to_string()
        }
    };
    let row = |row: &Value| {
        assert_eq!(row.as_object().unwrap().len(), table.columns.len());
        table.columns.iter().map(|column| cell(&row[column.name], column.kind)).collect()
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

pub(super) fn table(name: &str) -> &'static Download {
    TABLES.iter().find(|table| table.name == name).unwrap()
}

/// The path of a table in a format, of October where it is one of a month.
pub(super) fn path(table: &Download, ending: &str) -> String {
    match table.place {
        Place::Paths(paths) => {
            paths.iter().find(|(_, format)| format.ending() == ending).unwrap().0.to_owned()
        }
        Place::Months(path) => path.replace("{file}", &format!("2026-10.{ending}")),
    }
}

/// A sealed October: two customers, one with a name that is a trap, and an order.
pub(super) async fn full() -> House {
    let house = House::founded("2026-10-20T12:00:00Z");
    let policy = wire::SetPolicyRequest { toml: super::documents::PRICED.to_owned(), ..Default::default() };
    house.client().set_policy(policy).await.unwrap();
    for (customer, name) in [("cus_acme", TRAP), ("cus_bolt", "Müller, \"Söhne\"\u{2028}& Co")] {
        let request = wire::AddCustomerRequest { customer: customer.to_owned(), name: name.to_owned() };
        house.client().add_customer(request).await.unwrap();
        let token = house.token(customer).await;
        let mut machine = house.machine(&token).await;
        machine.reports(&house, "dsa").await;
        let name = format!("+{TRAP}");
        let row = crate::vault::VaultRow::HostName(&machine.id);
        house.console.books.vault().put(row, name.as_bytes()).unwrap();
        house.machine(&token).await;
        ordered(&house, &machine.id).await;
    }
    let house = house.again("2026-11-05T12:00:00Z").await;
    let draft = house.console.draft("2026-10".parse().unwrap(), 0).await.unwrap();
    let seal = wire::SealRequest {
        period: "2026-10".to_owned(),
        digest: draft.digest,
        reason: "checked".to_owned(),
        supersede: false,
    };
    house.client().seal_statement(seal).await.unwrap();
    house
}

async fn ordered(house: &House, machine: &MachineId) {
    let (batch, now_ms) = (format!("bat_{machine}"), house.console.books.clock().now_ms());
    let requested = wire::OrdersRequested {
        batch: batch.clone(),
        action: wire::Action::SwitchOff.into(),
        scope: Some(wire::OrderScope { machine: machine.to_string(), ..Default::default() }),
        machines: 1,
        orders: 1,
        expires_at_ms: now_ms + 86_400_000,
    };
    let order = wire::Order {
        order: format!("ord_{machine}"),
        machine: machine.to_string(),
        action: wire::Action::SwitchOff.into(),
        product: "dsa".to_owned(),
        issued_at_ms: now_ms,
        expires_at_ms: now_ms + 86_400_000,
        ..Default::default()
    };
    house.write(Fact::OrdersRequested(requested)).await;
    house
        .write(Fact::OrderPlaced(wire::OrderPlaced { request: Some(order), batch, ..Default::default() }))
        .await;
}

fn time(ms: i64) -> String {
    if ms == 0 { String::new() } else { instant::from_ms(ms).unwrap().to_string() }
}

fn texts<const N: usize>(cells: [&dyn ToString; N]) -> Vec<String> {
    cells.iter().map(|cell| cell.to_string()).collect()
}

/// What the RPC of a table answers, as the table's rows.
async fn of_rpc(house: &House, table: &Download) -> Vec<Vec<String>> {
    let mut client = house.client();
    match table.name {
        "customers" => {
            let list = client.list_customers(wire::ListRequest::default()).await.unwrap().into_inner();
            list.customers.iter().map(|one| texts([&one.customer, &one.name, &one.machines])).collect()
        }
        "machines" => {
            let list = client.list_machines(wire::ListMachinesRequest::default()).await.unwrap().into_inner();
            let row = |one: wire::Machine| {
                let version = Some(one.catalogue_version).filter(|version| *version > 0);
                let products: Vec<String> = one.products.iter().map(|found| found.product.clone()).collect();
                texts([
                    &one.machine,
                    &one.customer,
                    &one.host_name,
                    &one.agent_version,
                    &version.map(|version| version.to_string()).unwrap_or_default(),
                    &time(one.last_report_ms),
                    &one.connected,
                    &one.banned,
                    &one.retired,
                    &products.join(", "),
                ])
            };
            list.machines.into_iter().map(row).collect()
        }
        "usage" => {
            let request = wire::UsageRequest { period: "2026-10".to_owned(), ..Default::default() };
            let usage = client.usage(request).await.unwrap().into_inner();
            let row = |one: wire::UsageRow| {
                vec![
                    one.customer,
                    one.customer_name,
                    one.sku,
                    one.quantity,
                    one.confirmed,
                    one.presumed,
                    one.unit_cost,
                    one.cost,
                    one.revenue,
                    one.profit,
                    one.currency,
                ]
            };
            usage.rows.into_iter().map(row).collect()
        }
        "statements" => {
            let list = client.list_statements(wire::ListRequest::default()).await.unwrap().into_inner();
            let row = |one: wire::StatementStanding| {
                let told: Value = serde_json::from_str(&one.json).unwrap();
                let of = |name: &str| match &told[name] {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    other => other.to_string(),
                };
                let at = [of("at"), of("since"), of("until"), of("ends_at")].concat();
                let blockers =
                    told["blockers"].as_array().map(|all| all.len().to_string()).unwrap_or_default();
                let state = of("state");
                vec![one.period, one.distributor, state, of("revision"), of("digest"), at, of("by"), blockers]
            };
            list.statements.into_iter().map(row).collect()
        }
        "statement-lines" => {
            let request = wire::DocumentRequest {
                kind: "statement".to_owned(),
                format: "csv".to_owned(),
                period: "2026-10".to_owned(),
                names: true,
                ..Default::default()
            };
            let mut chunks = client.document(request).await.unwrap().into_inner();
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.message().await.unwrap() {
                bytes.extend(chunk.piece);
            }
            of_csv(table, &bytes)
        }
        "orders" => {
            let mut rows = Vec::new();
            for customer in ["cus_acme", "cus_bolt"] {
                let request = wire::OrdersRequest { customer: customer.to_owned(), ..Default::default() };
                let list = client.list_orders(request).await.unwrap().into_inner();
                let list: Value = serde_json::from_str(&list.json).unwrap();
                let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
                let row = |one: &Value| table.columns.iter().map(|column| text(one, column.name)).collect();
                rows.extend(list["orders"].as_array().unwrap().iter().map(row));
            }
            // Those of one customer come by machine, and so do all of them.
            rows.sort_by(|one: &Vec<String>, other| one[2].cmp(&other[2]));
            rows
        }
        "audit" => {
            let request = wire::AuditRequest { limit: 1000, ..Default::default() };
            let list = client.list_audit(request).await.unwrap().into_inner();
            let row = |one: wire::AuditRow| {
                let (at, about) = (time(one.at_ms), one.about.join(" "));
                texts([&one.position, &at, &one.who, &one.name, &one.from, &one.what, &about, &one.reason])
            };
            list.rows.into_iter().map(row).collect()
        }
        other => panic!("{other}: is there an RPC of it?"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_json_and_workbook_hold_what_the_rpc_answers() {
    let house = full().await;
    let python = crate::distributor::independent::python("openpyxl");
    if python.is_none() {
        let how = "python3 -m venv FOLDER && FOLDER/bin/pip install openpyxl==3.1.5; SEATBEAT_PYTHON=FOLDER";
        crate::distributor::independent::skip("openpyxl", how);
    }
    for table in TABLES {
        let csv = house.get(&path(table, "csv")).await;
        assert_eq!(
            (csv.status, csv.header("content-type")),
            (StatusCode::OK, "text/csv; charset=utf-8; header=present")
        );
        let rows = of_csv(table, &csv.body);
        assert!(!rows.is_empty(), "{}", table.name);
        let json = house.get(&path(table, "json")).await;
        assert_eq!(json.header("content-type"), "application/json");
        assert_eq!(of_json(table, &json.json()), rows, "{}", table.name);
        assert_eq!(of_rpc(&house, table).await, rows, "{}", table.name);
        for (row, column) in rows.iter().flat_map(|row| row.iter().zip(table.columns)) {
            assert!(!row.is_empty() || column.may_be_empty, "{} of {}", column.name, table.name);
        }
        let workbook = house.get(&path(table, "xlsx")).await;
        assert!(workbook.body.starts_with(b"PK\x03\x04"), "{}", table.name);
        let named = format!("{}.xlsx\"", table.name);
        assert!(workbook.header("content-disposition").ends_with(&named), "{:?}", workbook.headers);
        if let Some(python) = &python {
            assert_eq!(of_workbook(python, table, &workbook.body), rows, "{}", table.name);
        }
    }
}

/// The rows of a workbook as another program reads it; nothing in it is a formula.
fn of_workbook(python: &std::path::Path, table: &Download, workbook: &[u8]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.xlsx");
    std::fs::write(&file, workbook).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/independent/workbook.py");
    let said = std::process::Command::new(python).arg(script).arg(&file).output().unwrap();
    let read: Value = serde_json::from_slice(&said.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)));
    let sheets = read["sheets"].as_array().unwrap();
    assert_eq!(sheets.len(), 1, "a program that reads the table alone is given nothing beside it");
    let rows = sheets[0][1].as_array().unwrap();
    let heads: Vec<&str> = rows[0].as_array().unwrap().iter().map(|head| head.as_str().unwrap()).collect();
    assert_eq!(heads, table.columns.iter().map(|column| column.name).collect::<Vec<_>>());
    let cell = |cell: &Value, kind: Kind| match cell {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        // A spreadsheet has no decimals of its own: two places are how ours are shown.
        number if kind == Kind::Money => format!("{:.2}", number.as_f64().unwrap()),
        number => number.to_string(),
    };
    let row = |row: &Value| -> Vec<String> {
        row.as_array()
            .unwrap()
            .iter()
            .zip(table.columns)
            .map(|(one, column)| cell(one, column.kind))
            .collect()
    };
    rows[1..].iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_no_formulas_and_no_markup() {
    let house = full().await;
    let csv = house.get("/v1/customers.csv").await.text();
    assert!(csv.contains(",\"'=HYPERLINK(") && !csv.contains(",\"=HYPERLINK("), "{csv}");
    let csv = house.get("/v1/machines.csv").await.text();
    assert!(csv.contains(",\"'+=HYPERLINK("), "{csv}");
    for table in TABLES {
        for ending in ["csv", "json", "xlsx"] {
            let answer = house.get(&path(table, ending)).await;
            assert!(!answer.header("content-type").contains("html"));
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert!(answer.header("content-disposition").starts_with("attachment; filename=\""));
        }
    }
    // What is said back is said as data, too.
    let reflected = house.get("/v1/machines.csv?%3Cscript%3E=1").await;
    reflected.refuses(400, "invalid", "`<script>` is not known here");
    assert_eq!(reflected.header("x-content-type-options"), "nosniff");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_named() {
    let house = full().await;
    let no_such = "/v1/usage/2026-10.pdf";
    for (path, status, reason, words) in [
        ("/v1/machines.json?limit=0", 400, "invalid", "`limit` is not a number from 1 to 1000"),
        ("/v1/machines.json?limit=5&limit=6", 400, "invalid", "`limit` is there twice"),
        ("/v1/machines.json?customer=acme", 400, "invalid", "`customer` is no customer"),
        ("/v1/machines.json?customer=cus_x", 404, "unknown_customer", "`cus_x`"),
        ("/v1/orders.csv?customer=cus_x", 404, "unknown_customer", "`cus_x`"),
        ("/v1/orders.csv?state=lost", 400, "invalid", "`state` is none of ordered"),
        ("/v1/customers.csv?customer=cus_acme", 400, "invalid", "`customer` is not known here"),
        ("/v1/usage/2026-13.csv", 400, "invalid", "`2026-13` is not a period"),
        ("/v1/usage/2026-10.csv?customer=cus_x", 404, "unknown_customer", "`cus_x`"),
        ("/v1/statements/2026-11.csv", 404, "not_sealed", "2026-11"),
        ("/v1/statements/2026-11.csv?draft=maybe", 400, "invalid", "`draft` is neither"),
        (no_such, 404, "no_such_page", "nothing is at this address"),
        ("/v1/nothing.csv", 404, "no_such_page", "nothing is at this address"),
        ("/v1/usage/..%2F..%2F..%2Fetc%2Fpasswd.csv", 400, "invalid", "is not a period"),
        ("/v1/usage/..%2Fserve.key", 404, "no_such_page", "nothing"),
        ("/v1/statements/%2e%2e%2f2026-10.csv", 400, "invalid", "is not a period"),
        ("/v1/../../etc/passwd", 404, "no_such_page", "nothing"),
    ] {
        house.get(path).await.refuses(status, reason, words);
    }
    let draft = house.get("/v1/statements/2026-11.json?draft=true").await;
    assert_eq!(draft.json().as_array().unwrap()[0]["for_period"], "2026-11");
    let one = house.get("/v1/statements/2026-10.json?customer=cus_bolt").await.json();
    assert!(one.as_array().unwrap().iter().all(|line| line["customer"] == "cus_bolt"), "{one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_given_a_table_without_the_right_and_the_reach() {
    let house = full().await;
    let server = house.server();
    for table in TABLES {
        let path = path(table, "csv");
        let none = get(&server, &path, &[]).await;
        none.refuses(401, "not_let_in", "no operator");
        assert!(none.header("www-authenticate").starts_with("Basic "));
        for role in Role::ALL {
            let (whole, part) = (format!("sbo1.{role}"), format!("sbo1.{role}-of-one"));
            house.operator(&format!("opr_{role}"), &whole, role, &[]).await;
            house.operator(&format!("opr_{role}one"), &part, role, &["cus_acme"]).await;
            let Needs::Right(right, whose) = table.needs else { panic!("{path} is for anybody") };
            let of_all = get(&server, &path, &[("authorization", &format!("Bearer {whole}"))]).await;
            assert_eq!(of_all.status == StatusCode::FORBIDDEN, !role.has(right), "{path} by {role}");
            let of_one = get(&server, &path, &[("authorization", &format!("Bearer {part}"))]).await;
            let is_refused = !role.has(right) || whose == Whose::House;
            assert_eq!(of_one.status == StatusCode::FORBIDDEN, is_refused, "{path} by {role} of one");
            if of_one.status == StatusCode::OK {
                assert!(!of_one.text().contains("cus_bolt"), "{path}: another customer's");
            }
        }
    }
    // Spreadsheets send the token as the password of any user; whoever sees no money is given none.
    let basic = |token: &str| format!("Basic {}", STANDARD.encode(format!("excel:{token}")));
    let seen =
        get(&server, "/v1/usage/2026-10.json", &[("authorization", &basic("sbo1.viewer"))]).await.json();
    assert!(seen[0]["quantity"].is_number() && seen[0]["cost"].is_null() && seen[0]["revenue"].is_null());
    let billed = get(&server, "/v1/usage/2026-10.json", &[("authorization", &basic(&house.token))]).await;
    assert_eq!(billed.json()[0]["cost"], json!("2.10"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_same_table_is_told_so() {
    let house = full().await;
    let (server, token) = (house.server(), format!("Bearer {}", house.token));
    for ending in ["csv", "json", "xlsx"] {
        let path = path(table("statement-lines"), ending);
        let tag = house.get(&path).await.header("etag").to_owned();
        assert!(tag.len() == 34 && tag.starts_with('"'), "{tag}");
        let known = format!("\"other\", W/{tag}");
        let again = get(&server, &path, &[("authorization", &token), ("if-none-match", &known)]).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
        assert_eq!(
            (again.header("etag"), again.header("cache-control")),
            (tag.as_str(), "private, no-cache")
        );
        let other = get(&server, &path, &[("authorization", &token), ("if-none-match", "\"other\"")]).await;
        assert_eq!(other.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_come_in_pages_that_link_to_the_next_or_all_at_once() {
    let house = House::founded("2026-10-20T12:00:00Z");
    house.customer("cus_acme").await;
    let token = wire::CreateTokenRequest {
        customer: "cus_acme".to_owned(),
        uses_max: 5000,
        expires_at_ms: house.console.books.clock().now_ms() + 86_400_000,
        uses_per_hour: 0,
    };
    let token = house.client().create_token(token).await.unwrap().into_inner();
    let count = 2 * LIMIT_MAX + 1;
    let enrolments = (0..count).map(|_| {
        let key = new_key();
        let claim = wire::EnrolmentClaim {
            public_key: key.verifying_key().to_bytes().to_vec(),
            token: token.token.clone(),
            ..Default::default()
        };
        let claim = Some(sign(&key, Domain::EnrolmentClaim, claim.encode_to_vec()));
        Fact::EnrolmentRequested(wire::EnrolmentRequested { claim })
    });
    house.console.books.write_all("opr_test", "", enrolments.collect()).await.unwrap();

    let all = house.get("/v1/machines.csv").await;
    assert_eq!(
        (all.header("etag"), all.header("link")),
        ("", ""),
        "it is on its way before its end is known"
    );
    let all = of_csv(table("machines"), &all.body);
    assert_eq!(all.len(), count);
    assert_eq!(of_json(table("machines"), &house.get("/v1/machines.json").await.json()), all);

    let (mut paged, mut next) = (Vec::new(), "/v1/machines.csv?customer=cus_acme&limit=700".to_owned());
    let mut pages = 0;
    loop {
        let page = house.get(&next).await;
        paged.extend(of_csv(table("machines"), &page.body));
        pages += 1;
        match page.header("link") {
            "" => break,
            link => next = link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned(),
        }
        assert!(next.starts_with("/v1/machines.csv?customer=cus_acme&limit=700&after="), "{next}");
    }
    assert_eq!((paged == all, pages), (true, 3));
}
