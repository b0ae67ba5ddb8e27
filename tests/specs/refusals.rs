//! What is refused, in which words, and that nothing is lost by it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::desk::{Desk, eventually, text};

fn enrol(desk: &Desk, name: &str, token: &str) -> String {
    let state = desk.path(name);
    desk.operator_fails(&["__agent", "--state", text(&state), "enrol", "--token", token])
}

fn enrolled(desk: &Desk, name: &str, token: &str) -> PathBuf {
    let state = desk.path(name);
    desk.operator_ok(&["__agent", "--state", text(&state), "enrol", "--token", token]);
    state
}

/// An error names the thing in these words, says what to do, and is on stderr.
fn check(said: &str, words: &[&str]) {
    assert!(said.contains("error: "), "no error:\n{said}");
    assert!(said.contains("hint: "), "no hint:\n{said}");
    for word in words {
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "`{word}` is not in:\n{said}");
    }
}

#[test]
fn each_token_that_lets_nobody_in_is_refused_in_its_own_words() {
    let mut desk = Desk::open();
    let used_up = desk.customer_with_token("cus_a", "1");
    enrolled(&desk, "first", &used_up);
    check(&enrol(&desk, "second", &used_up), &["used up"]);

    let revoked = desk.operator_json(&["tokens", "create", "--customer", "cus_a", "--uses", "5"]);
    let (id, text_of) =
        (revoked["token"].as_str().expect("an id"), revoked["text"].as_str().expect("a text"));
    desk.operator_ok(&["tokens", "revoke", id]);
    check(&enrol(&desk, "third", text_of), &["revoked"]);

    let short = ["tokens", "create", "--customer", "cus_a", "--uses", "5", "--expires", "1s"];
    let expired = desk.operator_json(&short)["text"].as_str().expect("a text").to_owned();
    std::thread::sleep(Duration::from_millis(1500));
    check(&enrol(&desk, "fourth", &expired), &["expired"]);

    check(&enrol(&desk, "fifth", "hello"), &["sb1."]);
    check(&enrol(&desk, "sixth", &used_up[..used_up.len() - 3]), &["damaged"]);

    let other = Desk::open();
    let foreign = other.customer_with_token("cus_a", "1");
    let mut parsed = seatbeat_proto::token::parse(&foreign).expect("a token");
    // The right collector, but a token that another one made.
    let ours = seatbeat_proto::token::parse(&used_up).expect("a token");
    (parsed.addresses, parsed.pin) = (ours.addresses, ours.pin);
    check(
        &enrol(&desk, "seventh", &seatbeat_proto::token::format(&parsed)),
        &["not one of this collector's"],
    );

    desk.kill();
    check(&enrol(&desk, "eighth", &used_up), &[&desk.agents.to_string()]);
}

#[test]
fn another_certificate_than_the_pinned_one_is_named_with_its_issuer() {
    let (desk, proxy) = (Desk::open(), Desk::open());
    let token = desk.customer_with_token("cus_a", "1");
    let mut parsed = seatbeat_proto::token::parse(&token).expect("a token");
    parsed.addresses = vec![proxy.agents.to_string()];
    let said = enrol(&desk, "agent", &seatbeat_proto::token::format(&parsed));
    check(&said, &["not ours, issuer", "seatbeat collector"]);
}

#[test]
fn a_banned_machine_is_shut_out_at_once_and_let_in_again() {
    let desk = Desk::open();
    let token = desk.customer_with_token("cus_a", "1");
    let state = enrolled(&desk, "agent", &token);
    let machine =
        desk.operator_json(&["machines", "list"])["machines"][0]["machine"].as_str().expect("one").to_owned();
    let _agent = desk.run_agent(&state, &[]);
    let connected = |desk: &Desk| desk.operator_json(&["status"])["connected"].as_u64() == Some(1);
    eventually("the agent is connected", || connected(&desk).then_some(()));
    desk.operator_ok(&["machines", "ban", &machine, "--reason", "stolen"]);
    eventually("its stream is closed", || (!connected(&desk)).then_some(()));
    let status = eventually("the agent knows why", || {
        let status = desk.operator_json(&["__agent", "--state", text(&state), "status"]);
        status.to_string().to_lowercase().contains("banned").then_some(status)
    });
    assert!(status.is_object());
}

#[test]
fn garbage_and_plain_text_on_the_agent_door_disturb_nobody() {
    let desk = Desk::open();
    for bytes in
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(), &[0; 64], &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]]
    {
        let mut stream = TcpStream::connect(desk.agents).expect("the door is open");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
        // Writing or reading may fail: the door closes when it likes.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let token = desk.customer_with_token("cus_a", "1");
    enrolled(&desk, "agent", &token);
    assert!(!desk.log().contains("panicked"), "{}", desk.log());
}

#[test]
fn a_collector_that_was_away_gets_what_was_reported_meanwhile() {
    let mut desk = Desk::open();
    let token = desk.customer_with_token("cus_a", "1");
    let state = enrolled(&desk, "agent", &token);
    desk.kill();
    for run in 1..=3_u64 {
        let agent = desk.run_agent(&state, &[]);
        eventually("the agent keeps its report", || {
            let status = desk.operator_json(&["__agent", "--state", text(&state), "status"]);
            (status["waiting"].as_u64() >= Some(run)).then_some(())
        });
        agent.kill();
    }
    desk.start();
    let _agent = desk.run_agent(&state, &[]);
    let machine =
        desk.operator_json(&["machines", "list"])["machines"][0]["machine"].as_str().expect("one").to_owned();
    eventually("everything arrives", || {
        let detail = desk.operator_json(&["machines", "show", &machine]);
        (detail["spools"][0]["sequence"].as_u64() >= Some(4)).then_some(())
    });
}

/// Stops the collector, does something to its store, and answers what the next start says.
fn start_after(desk: &mut Desk, harm: impl FnOnce(&std::path::Path)) -> String {
    desk.stop();
    harm(&desk.store());
    desk.operator_fails(&["serve", "--store", text(&desk.store())])
}

fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = fs::read(path).expect("the file is there");
    bytes[at] ^= 0x40;
    fs::write(path, bytes).expect("the file can be written");
}

fn files_below(path: &std::path::Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut files: Vec<PathBuf> = fs::read_dir(path)
        .expect("a folder")
        .flatten()
        .flat_map(|entry| files_below(&entry.path()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_damaged_journal_stops_the_start_and_is_named() {
    let mut desk = Desk::open();
    desk.customer_with_token("cus_a", "1");
    let said = start_after(&mut desk, |store| {
        let segment = files_below(&store.join("journal")).remove(0);
        let middle = fs::metadata(&segment).expect("a length").len() as usize / 2;
        flip(&segment, middle);
    });
    check(&said, &[".seg", "byte"]);
}

#[test]
fn a_journal_that_lost_its_end_stops_the_start() {
    let mut desk = Desk::open();
    desk.customer_with_token("cus_a", "1");
    let said = start_after(&mut desk, |store| {
        let segment = files_below(&store.join("journal")).remove(0);
        let bytes = fs::read(&segment).expect("the segment is there");
        fs::write(&segment, &bytes[..bytes.len() - 20]).expect("it can be written");
    });
    check(&said, &["ends at record", "snapshot"]);
}

#[test]
fn a_damaged_snapshot_or_lookup_is_made_anew_and_nothing_is_lost() {
    let mut desk = Desk::open();
    desk.customer_with_token("cus_a", "7");
    let tokens = desk.operator_json(&["tokens", "list"]);
    for folder in ["snapshot", "lookup"] {
        desk.stop();
        for entry in fs::read_dir(desk.store()).expect("a store").flatten() {
            if entry.file_name().to_string_lossy().starts_with(folder) {
                for file in files_below(&entry.path()) {
                    fs::write(file, b"not what it was").expect("a file can be written");
                }
            }
        }
        desk.start();
        assert_eq!(desk.operator_json(&["tokens", "list"]), tokens, "after the {folder} was damaged");
    }
}

#[test]
fn a_vault_that_is_gone_or_of_other_books_stops_the_start() {
    let mut desk = Desk::open();
    let said =
        start_after(&mut desk, |store| fs::remove_dir_all(store.join("vault")).expect("it can be removed"));
    check(&said, &["vault"]);
    let mut other = Desk::open();
    let said = start_after(&mut other, |store| {
        let foreign = Desk::founded();
        fs::remove_dir_all(store.join("vault")).expect("it can be removed");
        fs::rename(foreign.store().join("vault"), store.join("vault")).expect("it can be moved");
    });
    check(&said, &["vault"]);
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused_by_its_name() {
    let mut desk = Desk::open();
    let said = start_after(&mut desk, |store| {
        let path = store.join("seatbeat.toml");
        let text = fs::read_to_string(&path).expect("a configuration");
        fs::write(&path, format!("grace_days = 3\n{text}")).expect("it can be written");
    });
    check(&said, &["grace_days", "seatbeat.toml"]);
}

#[test]
fn two_collectors_on_one_store_and_a_taken_port_are_refused() {
    let desk = Desk::open();
    check(&desk.operator_fails(&["serve", "--store", text(&desk.store())]), &["in use"]);
    let store = desk.store();
    check(&desk.operator_fails(&["init", "--store", text(&store)]), &["already"]);
}

#[test]
fn a_wrong_operator_token_or_a_collector_that_is_away_is_told() {
    let mut desk = Desk::open();
    let profile = desk.path("operator.toml");
    let text_of = fs::read_to_string(&profile).expect("a profile");
    let other = text_of.replace("sbo1.", "sbo1.x");
    fs::write(&profile, other).expect("it can be written");
    check(&desk.operator_fails(&["status"]), &["token"]);
    fs::write(&profile, text_of).expect("it can be written");
    desk.kill();
    check(&desk.operator_fails(&["status"]), &[&desk.operators.to_string(), "seatbeat serve"]);
}

#[test]
fn months_that_cannot_be_closed_say_why() {
    let desk = Desk::open();
    desk.customer_with_token("cus_a", "1");
    let running = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    check(&desk.operator_fails(&["statement", "close", &running]), &["not over"]);
    assert_eq!(desk.operator_json(&["statement", "show", &running])["state"], "open");
    let out = desk.path("out");
    check(&desk.operator_fails(&["statement", "export", &running, "--to", text(&out)]), &["not sealed"]);
    let supersede = ["statement", "close", &running, "--supersede"];
    assert_eq!(desk.operator(&supersede).status.code(), Some(2), "it needs a reason");
    check(&desk.operator_fails(&[&supersede[..], &["--reason", "wrong"]].concat()), &["not over"]);
    check(&desk.operator_fails(&["statement", "close", "2001-01"]), &["before any machine was enrolled"]);
    let wrong = desk.operator(&["statement", "close", "October"]);
    assert_eq!(wrong.status.code(), Some(2));
}
