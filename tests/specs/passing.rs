//! `seatbeat pass`: a real agent that reaches its collector only through somebody who passes bytes on.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use seatbeat_proto::token;

use crate::desk::{Desk, eventually, terminate, text};
use crate::package::{POLICY, STATUS, has, installed, write};

/// First bytes of a TLS handshake, which more would follow.
const HANDSHAKE: [u8; 3] = [0x16, 0x03, 0x01];

/// A passage to a collector's agent door.
struct Passage {
    process: Child,
    agents: SocketAddr,
}

impl Passage {
    fn to(desk: &Desk, limits: &[&str]) -> Self {
        let to = desk.agents.to_string();
        let arguments = [&["--json", "pass", "--to", &to, "--listen", "127.0.0.1:0"], limits].concat();
        let mut pass = desk.command(&arguments);
        let mut process =
            pass.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
        let mut ready = String::new();
        let out = process.stdout.take().expect("it was asked for");
        BufReader::new(out).read_line(&mut ready).expect("it says where it listens");
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("it says so in JSON");
        let agents = ready["agents"].as_str().expect("an address").parse().expect("an address");
        Self { process, agents }
    }

    /// A token of the collector's that leads here.
    fn token(&self, given: &str) -> String {
        let mut token = token::parse(given).expect("a token");
        token.addresses = vec![self.agents.to_string()];
        token::format(&token)
    }

    /// What somebody who says these bytes hears before it is let go; `None` while it is not.
    fn answers(&self, bytes: &[u8]) -> Option<usize> {
        let mut stream = TcpStream::connect(self.agents).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a socket has a timeout");
        let _ = stream.write_all(bytes);
        match stream.read(&mut [0; 64]) {
            Ok(count) => Some(count),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Some(0),
            Err(_) => None,
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_agent_behind_a_passage_enrols_reports_and_is_counted() {
    if !has("dpkg-deb", "dpkg") || !has("dpkg", "dpkg") {
        return;
    }
    let mut desk = Desk::founded_at(Some("2026-10-20T09:00:00Z"));
    desk.start();
    let policy = desk.path("policy.toml");
    write(&policy, POLICY, 0o644);
    desk.operator_ok(&["policy", "set", text(&policy)]);
    let mut passage = Passage::to(&desk, &["--of-address", "2"]);
    let token = passage.token(&desk.customer_with_token("cus_acme", "1"));
    let state = desk.path("agent");
    desk.operator_ok(&["__agent", "--state", text(&state), "enrol", "--token", &token]);
    let identity = std::fs::read_to_string(state.join("identity.toml")).expect("it was let in");
    assert!(identity.contains(&passage.agents.to_string()) && !identity.contains(&desk.agents.to_string()));

    let (root, _trace) = installed(&desk);
    let vendor_output = desk.path("vendor-output");
    write(&vendor_output.join("dsa_query-GetAgentStatus.txt"), STATUS, 0o644);
    write(&vendor_output.join("dsa_query-GetComponentInfo.txt"), "Component.AM.mode: on\n", 0o644);
    let scope = ["--root", text(&root), "--vendor-output", text(&vendor_output)];
    let agent = desk.run_agent(&state, &scope);
    let quantity = |desk: &Desk| {
        let usage = desk.operator_json(&["usage", "--period", "2026-10"]);
        usage["rows"].as_array()?.first()?["quantity"].as_str().map(str::to_owned)
    };
    assert_eq!(eventually("the seat is counted", || quantity(&desk)), "1");

    // What is no TLS goes nowhere; with the agent's there is room for one more of this address, and no third.
    assert_eq!(passage.answers(b"GET / HTTP/1.1\r\n\r\n"), Some(0));
    let mut second = TcpStream::connect(passage.agents).expect("it listens");
    second.write_all(&HANDSHAKE).expect("it is let in");
    eventually("a third is turned away", || (passage.answers(&HANDSHAKE) == Some(0)).then_some(()));
    drop(second);

    // Told to end it does.
    terminate(&passage.process);
    assert!(passage.process.wait().expect("a child can be waited for").success());
    agent.kill();
}

#[test]
fn a_passage_that_leads_elsewhere_is_noticed() {
    let (desk, other) = (Desk::open(), Desk::open());
    let passage = Passage::to(&other, &[]);
    let token = passage.token(&desk.customer_with_token("cus_acme", "1"));
    let state = desk.path("agent");
    let said = desk.operator_fails(&["__agent", "--state", text(&state), "enrol", "--token", &token]);
    assert!(said.contains("certificate"), "{said}");
    assert!(!state.join("identity.toml").exists());
}
