//! One version behind or ahead: what agent and collector of each released version said to each other, byte for byte, is
//! said again to today's collector and today's agent. `SEATBEAT_BLESS=1 cargo test skew` records the version at hand
//! where it is missing, beside those before and never over them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_agent::chain::Chain;
use seatbeat_agent::jitter::Jitter;
use seatbeat_agent::moment::Moment;
use seatbeat_agent::orders::Book;
use seatbeat_agent::session::{Effect, Event, Note, Past, Profile, Session};
use seatbeat_agent::settings::Settings;
use seatbeat_agent::state::StateFolder;
use seatbeat_proto::signed::{Domain, hash, public_key, sign};
use seatbeat_proto::wire::{self, agent_message, collector_message};
use seatbeat_proto::{ids, token};

use crate::desk::{Desk, eventually, text};
use crate::package::{POLICY, STATUS, has, installed, write};

mod conversation;

use conversation::{Relay, changed, messages, said_again};

/// When it was said: the collector that hears it again is of the same day.
const AT: &str = "2026-10-20T09:00:00Z";

/// A field that nobody knows: number 1000, which says 1.
const FIELD_TO_COME: [u8; 3] = [0xc0, 0x3e, 0x01];

/// A message that nobody knows: number 99 of those that either side may say.
const MESSAGE_TO_COME: [u8; 4] = [0x9a, 0x06, 0x01, b'x'];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/golden")
}

/// What was recorded of a version.
struct Released {
    folder: PathBuf,
}

impl Released {
    fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.folder.join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{} is recorded: {error}", path.display()))
    }

    fn token(&self) -> wire::TokenText {
        token::parse(&String::from_utf8(self.bytes("token.txt")).expect("a token is text")).expect("a token")
    }

    fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.bytes("machine.key").try_into().expect("a key has 32 bytes"))
    }

    fn evidence(&self) -> Vec<wire::Signed> {
        let evidence = |body| match body {
            agent_message::Body::Evidence(signed) => Some(signed),
            _ => None,
        };
        from_agent(&messages(&self.bytes("link.agent"))).into_iter().filter_map(evidence).collect()
    }

    /// A collector of today on the store of then.
    fn collector(&self) -> Desk {
        let mut desk = Desk::unfounded();
        desk.set_clock(AT);
        copy(&self.folder.join("store"), &desk.store());
        let lines = |from: &Path, to: &Path, put: &[(&str, String)]| {
            let text = fs::read_to_string(from).expect("a recorded file");
            let line = |line: &str| match put.iter().find(|(key, _)| line.starts_with(&format!("{key} ="))) {
                Some((key, value)) => format!("{key} = \"{value}\"\n"),
                None => format!("{line}\n"),
            };
            write(to, &text.lines().map(line).collect::<String>(), 0o600);
        };
        let (agents, operators) = (desk.agents.to_string(), desk.operators.to_string());
        let settings = self.folder.join("store/seatbeat.toml");
        let listens = [("agent_listen", agents), ("operator_listen", operators.clone())];
        lines(&settings, &desk.store().join("seatbeat.toml"), &listens);
        lines(&self.folder.join("operator.toml"), &desk.path("operator.toml"), &[("address", operators)]);
        desk.start();
        desk
    }
}

/// All that were recorded; this version is one of them.
fn released() -> Vec<Released> {
    // Whichever test comes first records, the others wait.
    static RECORDED: Mutex<()> = Mutex::new(());
    let recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
    let own = golden().join(concat!("released-", env!("CARGO_PKG_VERSION")));
    if !own.exists() {
        assert!(
            std::env::var_os("SEATBEAT_BLESS").is_some(),
            "no conversation of this version is recorded: SEATBEAT_BLESS=1 cargo test skew"
        );
        record(&own);
    }
    drop(recorded);
    let entries = fs::read_dir(golden()).expect("a folder can be listed").flatten().map(|entry| entry.path());
    let of_a_version = |path: &PathBuf| path.to_string_lossy().contains("/released-");
    entries.filter(of_a_version).map(|folder| Released { folder }).collect()
}

/// Has a real agent enrol, report and beat, with somebody in between who writes it down.
fn record(folder: &Path) {
    if !has("dpkg-deb", "dpkg") || !has("dpkg", "dpkg") {
        return;
    }
    let mut desk = Desk::founded_at(Some(AT));
    let settings = desk.store().join("seatbeat.toml");
    let quick = fs::read_to_string(&settings)
        .expect("settings")
        .replace("beat_interval_s = 60", "beat_interval_s = 10");
    write(&settings, &quick, 0o600);
    desk.start();
    let policy = desk.path("policy.toml");
    write(&policy, POLICY, 0o644);
    desk.operator_ok(&["policy", "set", text(&policy)]);
    let given = desk.customer_with_token("cus_acme", "1");
    assert!(desk.stop(), "{}", desk.log());
    let made = desk.path("made");
    copy(&desk.store(), &made.join("store"));
    // What a collector makes anew is no part of it.
    for name in ["lock", "lookup", "snapshot", "statements"] {
        let path = made.join("store").join(name);
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    fs::copy(desk.path("operator.toml"), made.join("operator.toml")).expect("a profile");
    write(&made.join("token.txt"), &given, 0o644);
    desk.start();
    let state = desk.path("agent");
    let relay = Relay::start(&given, state.clone());
    desk.operator_ok(&["__agent", "--state", text(&state), "enrol", "--token", relay.token()]);
    let (root, _trace) = installed(&desk);
    let vendor_output = desk.path("vendor-output");
    write(&vendor_output.join("dsa_query-GetAgentStatus.txt"), STATUS, 0o644);
    write(&vendor_output.join("dsa_query-GetComponentInfo.txt"), "Component.AM.mode: on\n", 0o644);
    let agent = desk.run_agent(&state, &["--root", text(&root), "--vendor-output", text(&vendor_output)]);
    let link = || <[_; 2]>::try_from(relay.said()).ok().map(|[_, link]| link);
    eventually("the agent has reported and was acknowledged", || {
        (acknowledged(&from_collector(&messages(&link()?.collector))) > 0).then_some(())
    });
    let beats = || {
        from_agent(&messages(&link()?.agent))
            .iter()
            .any(|body| matches!(body, agent_message::Body::Beat(_)))
            .then_some(())
    };
    // The first comes a minute after it was welcomed, the settings' own interval from then on.
    std::thread::sleep(Duration::from_secs(30));
    eventually("the agent beats", beats);
    agent.kill();
    for (said, name) in relay.said().iter().zip(["enrol", "link"]) {
        fs::write(made.join(format!("{name}.agent")), &said.agent).expect("a file can be written");
        fs::write(made.join(format!("{name}.collector")), &said.collector).expect("a file can be written");
    }
    let key = StateFolder::at(state).key().expect("the machine has a key");
    fs::write(made.join("machine.key"), key.to_bytes()).expect("a file can be written");
    copy(&made, folder);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).expect("a mode can be set");
    for entry in fs::read_dir(from).expect("a folder can be listed").flatten() {
        let (path, below) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &below);
        } else {
            fs::copy(&path, &below).expect("a file can be copied");
            fs::set_permissions(&below, fs::Permissions::from_mode(0o600)).expect("a mode can be set");
        }
    }
}

fn from_agent(messages: &[Vec<u8>]) -> Vec<agent_message::Body> {
    let read = |bytes: &Vec<u8>| wire::AgentMessage::decode(bytes.as_slice()).expect("a message").body;
    messages.iter().filter_map(read).collect()
}

fn from_collector(messages: &[Vec<u8>]) -> Vec<collector_message::Body> {
    let read = |bytes: &Vec<u8>| wire::CollectorMessage::decode(bytes.as_slice()).expect("a message").body;
    messages.iter().filter_map(read).collect()
}

/// Up to which of the chain.
fn acknowledged(said: &[collector_message::Body]) -> u64 {
    let of = |body: &collector_message::Body| match body {
        collector_message::Body::Ack(ack) => ack.sequence,
        _ => 0,
    };
    said.iter().map(of).max().unwrap_or(0)
}

/// What an answer is about, without what differs from one to the next.
fn shape(said: &[collector_message::Body]) -> Vec<String> {
    use collector_message::Body;
    let shown = |body: &Body| match body {
        Body::Welcome(welcome) => format!("welcome {} {}", welcome.spool, welcome.sequence),
        Body::Settings(signed) => {
            let settings = wire::Settings::decode(signed.payload.as_slice()).expect("settings");
            format!("settings: beat each {} s", settings.beat_interval_s)
        }
        Body::Refusal(refusal) => format!("refusal {:?}: {}", refusal.reason(), refusal.detail),
        Body::Ack(_) => "ack".to_owned(),
        Body::Checkpoint(_) => "checkpoint".to_owned(),
        Body::Catalogue(_) => "catalogue".to_owned(),
        Body::Order(_) => "order".to_owned(),
        Body::OrderKeys(_) => "order keys".to_owned(),
        Body::Standby(_) => "standby".to_owned(),
    };
    let mut shapes: Vec<String> = said.iter().map(shown).collect();
    shapes.sort();
    shapes.dedup();
    shapes
}

/// Says enrolment and link again to a collector, the link's messages changed; what it answers on the link, up to `tip`.
fn told_again(released: &Released, desk: &Desk, link: &[u8], tip: u64) -> Vec<collector_message::Body> {
    let token = released.token();
    let pin = token.pin.as_slice().try_into().expect("a pin has 32 bytes");
    let answer = said_again(desk.agents, pin, None, &released.bytes("enrol.agent"), |answer| {
        !messages(answer).is_empty()
    });
    let let_in =
        |bytes: &[u8]| wire::EnrolResponse::decode(messages(bytes)[0].as_slice()).expect("an answer");
    assert_eq!(let_in(&answer), let_in(&released.bytes("enrol.collector")));
    let is_enough = |answer: &[u8]| {
        let said = from_collector(&messages(answer));
        acknowledged(&said) >= tip || shape(&said).iter().any(|shape| shape.starts_with("refusal"))
    };
    let answer = said_again(desk.agents, pin, Some(&released.key()), link, is_enough);
    from_collector(&messages(&answer))
}

fn quantity(desk: &Desk) -> Option<String> {
    let usage = desk.operator_json(&["usage", "--period", "2026-10"]);
    usage["rows"].as_array()?.first()?["quantity"].as_str().map(str::to_owned)
}

#[test]
fn todays_collector_counts_what_agents_of_released_versions_say() {
    for released in released() {
        let desk = released.collector();
        let then = from_collector(&messages(&released.bytes("link.collector")));
        let tip = acknowledged(&then);
        let now = told_again(&released, &desk, &changed(&released.bytes("link.agent"), Some), tip);
        assert_eq!((acknowledged(&now), shape(&now)), (tip, shape(&then)), "{}", released.folder.display());
        assert_eq!(quantity(&desk).as_deref(), Some("1"), "{}", released.folder.display());
        let listed = desk.operator_json(&["machines", "list"]);
        let version = listed["machines"][0]["agent_version"].as_str().unwrap_or_default().to_owned();
        assert!(released.folder.ends_with(format!("released-{version}")), "{listed:#}");
    }
}

#[test]
fn a_collector_passes_over_fields_and_messages_of_agents_ahead_of_it() {
    for released in released() {
        let desk = released.collector();
        let chain = released.evidence();
        let newest = chain.last().expect("it reported");
        // The next of its chain, with a field in what is signed, too.
        let mut next = wire::Evidence::decode(newest.payload.as_slice()).expect("evidence");
        next.sequence += 1;
        next.previous = hash(&newest.payload).to_vec();
        let payload = [next.encode_to_vec(), FIELD_TO_COME.to_vec()].concat();
        let signed = sign(&released.key(), Domain::Evidence, payload);
        let ahead = wire::AgentMessage { body: Some(agent_message::Body::Evidence(signed)) };
        let mut link = changed(&released.bytes("link.agent"), |message| {
            Some([message, FIELD_TO_COME.to_vec()].concat())
        });
        for message in [MESSAGE_TO_COME.to_vec(), ahead.encode_to_vec()] {
            conversation::append(&mut link, &message);
        }
        let said = told_again(&released, &desk, &link, next.sequence);
        assert_eq!(acknowledged(&said), next.sequence, "{:?}\n{}", shape(&said), desk.log());
        assert_eq!(quantity(&desk).as_deref(), Some("1"));
    }
}

/// An agent of today that hears what a collector said: what it notes, and up to where it knows its chain to be safe.
fn heard(released: &Released, said: &[Vec<u8>]) -> (Session, Vec<Note>, u64, bool) {
    let spool = from_collector(&messages(&released.bytes("link.collector")))
        .into_iter()
        .find_map(|body| match body {
            collector_message::Body::Welcome(welcome) => Some(welcome.spool),
            _ => None,
        })
        .expect("it was welcomed");
    let mut chain = Chain::new(spool.parse().expect("a spool"));
    released.evidence().iter().for_each(|signed| chain.push(hash(&signed.payload)));
    let token = released.token();
    let machine = released.key().verifying_key();
    let profile = Profile {
        machine: ids::MachineId::derived_from(machine.as_bytes()),
        host_name: "host".to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        service: public_key(&token.service_key).expect("a key"),
    };
    let past = Past { settings: Settings::initial(0), book: Book::default(), acknowledged: 0 };
    let wall: Timestamp = AT.parse().expect("an instant");
    let at = |seconds| Moment { wall, uptime: Duration::from_secs(seconds) };
    let mut session = Session::new(profile, past, Jitter::from_seed(1), at(0));
    session.handle(Event::Timer, &chain, at(2));
    session.handle(Event::Connected, &chain, at(3));
    let (mut notes, mut safe, mut is_set) = (Vec::new(), 0, false);
    for bytes in said {
        let message = wire::CollectorMessage::decode(bytes.as_slice()).expect("a message");
        for effect in session.handle(Event::Received(message), &chain, at(4)) {
            match effect {
                Effect::Note(note) => notes.push(note),
                Effect::SaveAck { sequence } => safe = sequence,
                Effect::ApplySettings { .. } => is_set = true,
                Effect::Disconnect | Effect::OpenNewSpool { .. } => panic!("it does not go on: {effect:?}"),
                _ => {}
            }
        }
    }
    (session, notes, safe, is_set)
}

#[test]
fn todays_agent_understands_collectors_of_released_versions_and_those_ahead_of_it() {
    for released in released() {
        let then = messages(&released.bytes("link.collector"));
        let tip = acknowledged(&from_collector(&then));
        let (session, notes, safe, is_set) = heard(&released, &then);
        assert_eq!((notes, safe, is_set, session.is_open()), (vec![], tip, true, true));
        let ahead = then.iter().map(|message| [message.as_slice(), &FIELD_TO_COME].concat());
        let ahead: Vec<_> = ahead.chain([MESSAGE_TO_COME.to_vec()]).collect();
        let (session, notes, safe, is_set) = heard(&released, &ahead);
        assert_eq!((notes, safe, is_set, session.is_open()), (vec![Note::Unknown], tip, true, true));
    }
}
