//! The platform as its document says, asked directly.

use super::*;

const KEY: &str = "SU-000-000-001:secret";

fn connect() -> Connect {
    Connect::new(KEY, "PRD-1", "CRD-1").with_asset("AS-1", "Acme", "WF-SVC", 12, ("account", "a-1"))
}

fn ask(connect: &mut Connect, method: &str, path: &str, body: Option<(&str, Vec<u8>)>) -> (u16, Value) {
    let mut request =
        Request::builder().method(method).uri(path).header(AUTHORIZATION, format!("ApiKey {KEY}"));
    if let Some((content_type, _)) = &body {
        request = request.header(CONTENT_TYPE, *content_type);
    }
    let body = body.map(|(_, body)| Bytes::from(body)).unwrap_or_default();
    let answered = connect.answer(&request.body(body).unwrap());
    (answered.status().as_u16(), serde_json::from_slice(answered.body()).unwrap())
}

fn made(connect: &mut Connect) -> String {
    let body = json!({
        "name": "n", "external_id": "k", "currency": "EUR", "product": { "id": "PRD-1" },
        "contract": { "id": "CRD-1" }, "period": { "from": "2026-10-01", "to": "2026-10-31" },
    });
    let (status, made) =
        ask(connect, "POST", "/usage/files", Some(("application/json", body.to_string().into_bytes())));
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

fn form_of(workbook: &[u8]) -> (&'static str, Vec<u8>) {
    let head = "--b\r\nContent-Disposition: form-data; name=\"usage_file\"; filename=\"u.xlsx\"\r\n\
                Content-Type: application/octet-stream\r\n\r\n";
    ("multipart/form-data; boundary=b", [head.as_bytes(), workbook, b"\r\n--b--\r\n"].concat())
}

const WORKBOOK: &[u8] = b"PK\x03\x04 rows PK\x05\x06 end";

#[test]
fn a_usage_file_goes_the_platform_s_way_and_no_other() {
    let mut connect = connect();
    let path = format!("/public/v1/usage/files/{}", made(&mut connect));
    let post =
        |connect: &mut Connect, act: &str, body| ask(connect, "POST", &format!("{path}/{act}"), body).0;
    assert_eq!(post(&mut connect, "submit", None), 400);
    assert_eq!(post(&mut connect, "upload", Some(form_of(b""))), 200);
    let look = |connect: &mut Connect| ask(connect, "GET", &path, None).1["status"].clone();
    assert_eq!([look(&mut connect), look(&mut connect)], ["processing", "invalid"]);
    assert_eq!(post(&mut connect, "upload", Some(form_of(WORKBOOK))), 200);
    assert_eq!(post(&mut connect, "upload", Some(form_of(WORKBOOK))), 400, "it is being read");
    assert_eq!([look(&mut connect), look(&mut connect)], ["processing", "ready"]);
    connect.decide(Verdict::RejectThenAccept);
    assert_eq!(post(&mut connect, "submit", None), 200);
    assert_eq!(post(&mut connect, "submit", None), 400);
    let looks: Vec<Value> = (0..4).map(|_| look(&mut connect)).collect();
    assert_eq!(looks, ["pending", "rejected", "accepted", "closed"]);
    assert_eq!(connect.workbook("k"), Some(WORKBOOK));
    assert_eq!(connect.effects().iter().filter(|line| line.ends_with("submitted")).count(), 1);
}

#[test]
fn who_has_another_key_or_asks_for_nothing_that_is_there_is_told_so() {
    let mut connect = connect();
    let request = Request::builder().uri("/usage/files").header(AUTHORIZATION, "ApiKey other");
    assert_eq!(connect.answer(&request.body(Bytes::new()).unwrap()).status(), 401);
    assert_eq!(ask(&mut connect, "GET", "/usage/files/UF-9", None).0, 404);
    assert_eq!(ask(&mut connect, "POST", "/usage/files", Some(("application/json", b"{}".to_vec()))).0, 400);
    assert_eq!(ask(&mut connect, "PATCH", "/usage/files", None).0, 404);
}

#[test]
fn an_external_id_finds_all_that_were_made_with_it() {
    let mut connect = connect();
    made(&mut connect);
    made(&mut connect);
    let count = |connect: &mut Connect, id: &str| {
        ask(connect, "GET", &format!("/usage/files?external_id={id}"), None).1.as_array().unwrap().len()
    };
    assert_eq!((count(&mut connect, "k"), count(&mut connect, "other")), (2, 0));
}

#[test]
fn an_asset_is_suspended_by_a_request_that_was_approved() {
    let mut connect = connect();
    let body = json!({ "type": "suspend", "asset": { "id": "AS-1" } }).to_string().into_bytes();
    let ask_for =
        |connect: &mut Connect| ask(connect, "POST", "/requests", Some(("application/json", body.clone())));
    let (status, made) = ask_for(&mut connect);
    assert_eq!((status, made["status"].as_str()), (201, Some("pending")));
    assert_eq!(ask_for(&mut connect).0, 400, "one is open");
    let path = format!("/requests/{}", made["id"].as_str().unwrap());
    let mut look = |path: &str| ask(&mut connect, "GET", path, None).1["status"].clone();
    assert_eq!([look(&path), look(&path)], ["pending", "approved"]);
    assert_eq!(look("/assets/AS-1"), "suspended");
}
