//! An agent that is not ours: a Python program, written from `proto/AGENT.md` and the `.proto` files alone, talks with a
//! real collector. Invariant: it shares no code with ours, and what comes is what the page says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ed25519_dalek::SigningKey;
use seatbeat_agent::detect::facts;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::{hex, token};
use serde_json::Value;

use crate::desk::{Desk, skip, text};
use crate::package::{POLICY, write};
use crate::reporters::exported;

/// What the program imports.
const MODULES: &str = "import cryptography, grpc, grpc_tools";

/// How its Python is had.
const HOW: &str = "python3 -m venv FOLDER && FOLDER/bin/pip install 'grpcio-tools==1.85.*' 'cryptography==50.*'; \
                   SEATBEAT_PYTHON=FOLDER";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the specs stand below the root").to_owned()
}

/// A Python that has what it imports: of the folders that `SEATBEAT_PYTHON` names (as `PATH` does), or the system's.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("SEATBEAT_PYTHON");
    let own: Vec<PathBuf> = named.iter().flat_map(std::env::split_paths).collect();
    let own = own.iter().map(|folder| folder.join("bin/python"));
    let mut pythons = own.chain(named.is_none().then(|| PathBuf::from("python3")));
    let found = pythons.find(|python| {
        Command::new(python).args(["-c", MODULES]).output().is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        skip("grpcio", HOW);
    }
    found
}

/// What the program said, a JSON object on a line each.
#[derive(Debug)]
struct Heard(Vec<Value>);

impl Heard {
    /// What it said under a name, the last time.
    fn last(&self, name: &str) -> &Value {
        self.0.iter().rev().find_map(|line| line.get(name)).unwrap_or(&Value::Null)
    }

    /// Whether it said so of both names in one line.
    fn says(&self, pairs: [(&str, &str); 2]) -> bool {
        self.0.iter().any(|line| pairs.iter().all(|(name, value)| line[*name] == *value))
    }
}

/// One machine of the Python program's.
struct Stranger {
    python: PathBuf,
    state: PathBuf,
}

impl Stranger {
    fn command(&self, act: &[&str]) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(root().join("tests/independent/agent.py")).arg(root().join("proto")).arg(&self.state);
        command.args(act).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end; it may fail where it says why on its standard output.
    fn act_with(&self, act: &[&str], input: &str) -> Heard {
        let mut child = self.command(act).spawn().expect("it ran a moment ago");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("a child can be waited for");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!err.contains("Traceback"), "{act:?}:\n{out}\n{err}");
        let said = out.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
        let told = err.lines().map(|line| serde_json::json!({ "told": line }));
        Heard(said.chain(told).collect())
    }

    fn act(&self, act: &[&str]) -> Heard {
        self.act_with(act, "")
    }

    /// A machine that is let in by a token; answers its id, too.
    fn enrolled(python: &Path, desk: &Desk, name: &str, token: &str) -> (Self, String) {
        let stranger = Self { python: python.to_owned(), state: desk.path(name) };
        let heard = stranger.act_with(&["enrol", name], token);
        let machine = heard.last("machine").as_str().unwrap_or_else(|| panic!("{heard:?}")).to_owned();
        (stranger, machine)
    }

    /// One report that it found the product, handed in.
    fn reports(&self) {
        self.act(&["report", "dsa-cloud=ACTIVE=20.0.2"]);
        let heard = self.act(&["talk", "0"]);
        assert_eq!(heard.last("ack"), 1, "{heard:?}");
    }
}

/// A program that goes on while others do something; ended with the test.
struct Going {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Going {
    fn start(stranger: &Stranger, act: &[&str]) -> Self {
        let mut child = stranger.command(act).spawn().expect("it ran a moment ago");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// What it says next under a name; nothing when it ended without.
    fn hears(&mut self, name: &str) -> Option<Value> {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| {
            let said: Value = serde_json::from_str(&line).expect("a line is JSON");
            said.get(name).cloned()
        })
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // Both fail only where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A collector with prices, whose agents beat each five seconds.
fn open() -> Desk {
    let mut desk = Desk::founded();
    let settings = desk.store().join("seatbeat.toml");
    let slow = fs::read_to_string(&settings).expect("settings");
    let quick = slow.replace("beat_interval_s = 60", "beat_interval_s = 5");
    assert_ne!(quick, slow, "settings have an interval of beats");
    write(&settings, &quick, 0o600);
    desk.start();
    let policy = desk.path("policy.toml");
    write(&policy, POLICY, 0o644);
    desk.operator_ok(&["policy", "set", text(&policy)]);
    desk
}

fn seats(desk: &Desk) -> String {
    desk.operator_json(&["usage"])["rows"][0]["quantity"].as_str().unwrap_or("0").to_owned()
}

#[test]
fn an_agent_written_from_the_page_is_let_in_counted_and_goes_on_behind_a_kill() {
    let Some(python) = python() else { return };
    let mut desk = open();
    let token = desk.customer_with_token("cus_acme", "1");
    let (stranger, machine) = Stranger::enrolled(&python, &desk, "pc-1", &token);
    let again = stranger.act_with(&["enrol", "pc-1"], &token);
    assert_eq!(again.last("machine"), machine.as_str(), "the same key is the same machine: {again:?}");
    stranger.act(&["report", "dsa-cloud=ACTIVE=20.0.2"]);

    let mut talking = Going::start(&stranger, &["talk", "60"]);
    assert_eq!(talking.hears("ack"), Some(1.into()));
    desk.kill();
    assert_eq!(talking.hears("ended"), Some("UNAVAILABLE".into()), "the stream ends with the collector");
    let away = stranger.act(&["report", "dsa-cloud=ACTIVE=20.0.3"]);
    assert_eq!(away.last("kept"), 2, "{away:?}");
    let nobody = stranger.act(&["talk", "0"]);
    assert!(nobody.last("unreachable").is_string(), "{nobody:?}");

    desk.start();
    let mut talking = Going::start(&stranger, &["talk", "60"]);
    assert_eq!(talking.hears("welcome"), Some(1.into()), "what was acknowledged is there");
    assert_eq!(talking.hears("ack"), Some(2.into()), "and the chain goes on");
    assert_eq!(talking.hears("beat"), Some(true.into()));
    let shown = desk.operator_json(&["machines", "show", &machine]);
    assert_eq!(shown["connected"], true, "{shown:#}");
    assert_eq!(shown["products"][0]["version"], "20.0.3", "{shown:#}");
    assert_eq!(shown["spools"].as_array().map(Vec::len), Some(1), "{shown:#}");
    assert_eq!(shown["flags"], serde_json::json!([]), "{shown:#}");
    let other = stranger.act(&["talk", "0"]);
    assert_eq!(other.last("welcome"), 2, "{other:?}");
    assert_eq!(talking.hears("ended"), Some("ABORTED".into()), "a second stream ends the first");

    assert_eq!(seats(&desk), "1");
    let period = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    let once = BTreeMap::from([((machine.clone(), 1), 1), ((machine, 2), 1)]);
    assert_eq!(exported(&desk, &period), once);
}

#[test]
fn what_no_agent_may_say_is_answered_as_the_page_says() {
    let Some(python) = python() else { return };
    let desk = open();
    let token = desk.customer_with_token("cus_acme", "2");
    let (stranger, machine) = Stranger::enrolled(&python, &desk, "pc-1", &token);
    let (other, other_machine) = Stranger::enrolled(&python, &desk, "pc-2", &token);
    let third = Stranger { python: python.clone(), state: desk.path("pc-3") };
    let used_up = third.act_with(&["enrol", "pc-3"], &token);
    assert_eq!(used_up.last("ended"), "RESOURCE_EXHAUSTED", "{used_up:?}");
    stranger.reports();
    other.reports();

    let in_its_name = format!("other={other_machine}");
    for (lie, reason, ends) in [
        ("forged", "BAD_SIGNATURE", "PERMISSION_DENIED"),
        (in_its_name.as_str(), "WRONG_MACHINE", "PERMISSION_DENIED"),
        ("gap", "BROKEN_CHAIN", "OK"),
        ("garbage", "MALFORMED", "OK"),
        ("fork", "FORKED", "OK"),
    ] {
        let heard = stranger.act(&["lie", lie]);
        assert_eq!((heard.last("refused"), heard.last("ended")), (&reason.into(), &ends.into()), "{heard:?}");
        let after = stranger.act(&["talk", "0"]);
        assert_eq!(after.last("welcome"), 1, "{lie}: nothing of it became a part of the chain: {after:?}");
    }
    let flags = |machine: &str| desk.operator_json(&["machines", "show", machine])["flags"].to_string();
    assert!(flags(&machine).contains("forked_spool"), "{}", flags(&machine));
    assert_eq!((flags(&other_machine).as_str(), seats(&desk).as_str()), ("[]", "2"));

    let unknown = Stranger { python: python.clone(), state: desk.path("copied") };
    fs::create_dir(&unknown.state).expect("a folder can be made");
    for kept in fs::read_dir(&stranger.state).expect("its folder").flatten() {
        fs::copy(kept.path(), unknown.state.join(kept.file_name())).expect("a file can be copied");
    }
    fs::remove_file(unknown.state.join("key")).expect("it has a key");
    assert_eq!(unknown.act(&["talk", "0"]).last("ended"), "UNAUTHENTICATED", "another key is nobody here");

    let mut elsewhere = token::parse(&token).expect("a token");
    elsewhere.pin = vec![7; 32];
    let refused = third.act_with(&["enrol", "pc-3"], &token::format(&elsewhere));
    assert!(
        refused.last("told").as_str().is_some_and(|told| told.contains("not the collector")),
        "{refused:?}"
    );

    assert_eq!(other.act(&["leave"]).last("left"), other_machine.as_str());
    assert_eq!(desk.operator_json(&["machines", "show", &other_machine])["retired"], true);
    desk.operator_ok(&["machines", "ban", &machine, "--reason", "it lies"]);
    let banned = stranger.act(&["talk", "0"]);
    assert!(banned.says([("ended", "PERMISSION_DENIED"), ("why", "this machine is banned")]), "{banned:?}");
}

#[test]
fn an_order_that_a_client_cannot_carry_out_is_answered_once_and_nothing_is_switched() {
    let Some(python) = python() else { return };
    let desk = open();
    let words = desk.path("words");
    write(&words, "four words are better\n", 0o600);
    let recovery = desk.path("recovery.key");
    let new = ["orders", "key", "new", "--passphrase-file", text(&words), "--recovery-file", text(&recovery)];
    desk.operator_ok(&[&new[..], &["--recovery-passphrase-file", text(&words)]].concat());
    let token = desk.customer_with_token("cus_acme", "1");
    let (stranger, machine) = Stranger::enrolled(&python, &desk, "pc-1", &token);
    stranger.reports();

    let mut quiet = Going::start(&stranger, &["standby", "60"]);
    assert_eq!(quiet.hears("well"), Some("hello".into()));
    assert_eq!(quiet.hears("well"), Some("beat".into()));
    assert_eq!(desk.operator_json(&["machines", "show", &machine])["connected"], true);
    let off = ["orders", "off", "--machine", &machine, "--yes", "--passphrase-file", text(&words)];
    let made = desk.operator_json(&[&off[..], &["--reason", "they left"]].concat());
    let batch = made["batch"].as_str().expect("a batch has an id");
    assert_eq!(quiet.hears("come"), Some(true.into()), "it is called for its order");
    let heard = stranger.act(&["talk", "2"]);
    assert!(heard.says([("order", "SWITCH_OFF"), ("outcome", "REFUSED")]), "{heard:?}");
    assert_eq!(heard.last("ack"), 2, "its answer is durable: {heard:?}");
    let order = desk.operator_json(&["orders", "list", "--batch", batch])["orders"][0].clone();
    assert_eq!(order["status"], "refused", "{order:#}");
    assert!(order.to_string().contains("this client only reports"), "{order:#}");

    let next = stranger.act(&["talk", "2"]);
    assert_eq!(next.last("order"), &Value::Null, "what has an end is not sent again: {next:?}");
    assert_eq!(seats(&desk), "1");
}

#[test]
fn the_examples_of_the_page_are_what_both_sides_make() {
    let page = root().join("proto/AGENT.md");
    let said = fs::read_to_string(&page).expect("the page can be read");
    let block = said.split("```examples\n").nth(1).and_then(|rest| rest.split("```").next());
    let given: BTreeMap<&str, &str> =
        block.expect("it has examples").lines().filter_map(|line| line.split_once(' ')).collect();
    let given = |name: &str| given.get(name).unwrap_or_else(|| panic!("no example `{name}`")).trim();
    let bytes = |name: &str| hex::parse_all(given(name)).expect("hexadecimal");

    let key = SigningKey::from_bytes(&bytes("seed").try_into().expect("a seed has 32 bytes"));
    let public = key.verifying_key().to_bytes();
    assert_eq!(hex::format(&public), given("public_key"));
    assert_eq!(MachineId::derived_from(&public).as_str(), given("machine"));
    let signed = sign(&key, Domain::Evidence, bytes("payload"));
    assert_eq!(hex::format(&signed.signature), given("signature"));
    assert_eq!(hex::format(&hash(&signed.payload)), given("hash"));
    let system = tempfile::tempdir().expect("a temporary folder can be made");
    write(&system.path().join("etc/machine-id"), &format!("{}\n", given("os_id")), 0o644);
    let facts = facts::read(system.path(), &bytes("salt"), false);
    assert_eq!(hex::format(&facts.os_id), given("fact"));
    let token = token::parse(given("token")).expect("the example is a token");
    let seen = [token.token, token.addresses[0].clone(), hex::format(&token.secret)];
    assert_eq!(seen, ["token_id", "token_address", "token_secret"].map(given));

    let Some(python) = python() else { return };
    let stranger = Stranger { python, state: PathBuf::from("unused") };
    let heard = stranger.act(&["examples", text(&page)]);
    assert_eq!(heard.last("wrong"), &serde_json::json!({}), "{heard:?}");
}
