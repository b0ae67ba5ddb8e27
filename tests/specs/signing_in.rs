//! Signing in, from the command line to a browser's requests at a real collector. Invariant: no secret stands in an
//! address or in the collector's log.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::desk::{Desk, text};

const PASSWORD: &str = "correct horse battery";

/// What is answered to a request; `more` are further lines of its head, with their ends.
fn asked(desk: &Desk, method: &str, path: &str, more: &str, form: &str) -> String {
    let mut stream = TcpStream::connect(desk.operators).expect("the operator door is open");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{more}\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        desk.operators,
        form.len(),
    );
    stream.write_all(head.as_bytes()).expect("the request is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The cookie that an answer sets, as a browser sends it again.
fn cookie(answer: &str) -> String {
    let set = answer.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let pair = set.and_then(|set| set.split(';').next()).unwrap_or_else(|| panic!("no cookie in:\n{answer}"));
    format!("cookie: {pair}\r\n")
}

fn check(said: &str, words: &[&str]) {
    assert!(said.contains("error: "), "no error:\n{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in:\n{said}");
}

#[test]
fn an_operator_is_let_in_gets_a_password_and_signs_in() {
    let mut desk = Desk::open();
    desk.operator_ok(&["customers", "add", "Acme", "--id", "cus_acme"]);
    let profile = desk.path("tess.toml");
    let add = ["operators", "add", "Tess", "--role", "technician", "--customer", "cus_acme", "--to"];
    let added = desk.operator_json(&[&add[..], &[text(&profile)]].concat());
    let tess = added["operator"].as_str().expect("an id").to_owned();
    let secret = desk.path("password");
    fs::write(&secret, format!("{PASSWORD}\n")).expect("a file is written");
    desk.operator_ok(&["operators", "password", &tess, "--login", "Tess", "--password-file", text(&secret)]);

    let wrong = asked(&desk, "POST", "/sign-in", "", "name=tess&password=wrong+wrong+wrong");
    assert!(wrong.starts_with("HTTP/1.1 403 "), "{wrong}");
    let form = format!("name=tess&password={}", PASSWORD.replace(' ', "+"));
    let answer = asked(&desk, "POST", "/sign-in", "", &form);
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    let cookie = cookie(&answer);
    let told = asked(&desk, "GET", "/session", &cookie, "");
    assert!(
        told.contains(&tess) && told.contains("\"technician\"") && told.contains("\"cus_acme\""),
        "{told}"
    );

    desk.kill();
    desk.start();
    assert!(asked(&desk, "GET", "/session", &cookie, "").starts_with("HTTP/1.1 200 "), "it outlives a kill");
    desk.operator_ok(&["operators", "revoke", &tess, "--reason", "left"]);
    assert!(asked(&desk, "GET", "/session", &cookie, "").starts_with("HTTP/1.1 401 "));
    assert!(!desk.log().contains(PASSWORD), "{}", desk.log());
}

#[test]
fn the_first_admin_signs_in_by_a_code_and_a_program_by_a_token_that_ends() {
    let desk = Desk::open();
    let list = desk.operator_json(&["operators", "list"]);
    let admin = list[0]["operator"].as_str().expect("an id").to_owned();
    assert_eq!(list[0]["role"], "admin");
    let link = desk.operator_json(&["operators", "link", &admin]);
    let code = link["code"].as_str().expect("a code");
    assert_eq!(link["page"], format!("http://{}/sign-in/link", desk.operators));
    let answer = asked(&desk, "POST", "/sign-in/link", "", &format!("code={code}"));
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    assert!(asked(&desk, "POST", "/sign-in/link", "", &format!("code={code}")).starts_with("HTTP/1.1 403 "));

    let made = desk.operator_json(&["api-tokens", "create", "--role", "viewer", "--expires", "2d"]);
    let bearer = format!("authorization: Bearer {}\r\n", made["token"].as_str().expect("a token"));
    assert!(asked(&desk, "GET", "/session", &bearer, "").contains("\"viewer\""));
    let id = made["api_token"].as_str().expect("an id");
    assert!(desk.operator_ok(&["api-tokens", "list"]).contains(id));
    desk.operator_ok(&["api-tokens", "revoke", id]);
    assert!(asked(&desk, "GET", "/session", &bearer, "").starts_with("HTTP/1.1 401 "));
    assert!(!desk.log().contains(code), "{}", desk.log());
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let desk = Desk::open();
    let list = desk.operator_json(&["operators", "list"]);
    let admin = list[0]["operator"].as_str().expect("an id").to_owned();
    let allow = ["operators", "allow", &admin, "--role", "viewer", "--reason", "moved"];
    check(&desk.operator_fails(&allow), &[&admin, "is the last one", "hint: let another admin"]);
    let short = desk.path("short");
    fs::write(&short, "short").expect("a file is written");
    let set = ["operators", "password", &admin, "--login", "root", "--password-file", text(&short)];
    check(&desk.operator_fails(&set), &["the password is shorter than 12 characters"]);
    let asks = desk.operator_fails(&["operators", "password", &admin, "--login", "root"]);
    check(&asks, &["nobody sits here", "--password-file"]);
    let link = ["operators", "link-oidc", &admin, "--subject", "x"];
    check(&desk.operator_fails(&link), &["`[sign_in.oidc]` is not configured"]);
    let long = ["api-tokens", "create", "--expires", "400d"];
    check(&desk.operator_fails(&long), &["more than a year"]);
}
