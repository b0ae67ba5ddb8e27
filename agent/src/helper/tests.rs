//! The helper as a process of its own, and an agent's end of its socket in this one.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::signed::{Domain, key_text, new_key, sign};
use seatbeat_proto::wire;

use super::pinned::Pinned;
use super::reach;
use super::words::{Answer, Answered, Nothing, Said, Saying, send_blocking};
use crate::act::actor;
use crate::act::arm::{Arm, Ask, Standing, Told};
use crate::act::standin::{inside, skip};
use crate::detect::watch::Look;
use crate::spool::disk::RealDisk;
use crate::state::{StateFolder, is_root};

/// The helper's command line, a word a line; in the process that is one.
const COMMAND: &str = "SEATBEAT_TEST_HELPER";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the helper where this is the process for it.
#[test]
fn process() {
    if let Ok(words) = std::env::var(COMMAND) {
        let words = ["seatbeat-agent"].into_iter().chain(words.lines()).map(Into::into);
        let code = crate::cli::main_from(words.collect::<Vec<_>>().into_iter());
        std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 1 });
    }
}

struct Machine {
    folder: tempfile::TempDir,
    listener: UnixListener,
    operator: SigningKey,
    service: SigningKey,
    helper: Option<Child>,
    peer: u32,
    idle_ms: u64,
}

impl Machine {
    /// A machine that is enrolled, and takes the operator's orders.
    fn enrolled() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let (operator, service) = (new_key(), new_key());
        let pinned =
            Pinned { machine: "mch_a".parse().unwrap(), service: service.verifying_key(), salt: [1; 32] };
        let helper = folder.path().join("helper");
        pinned.store(&helper).unwrap();
        let keys = wire::OrderKeys {
            revision: 1,
            keys: vec![operator.verifying_key().to_bytes().to_vec()],
            recovery_key: Vec::new(),
        };
        let book = actor::folder_in(&helper);
        actor::pin(&book, Box::new(RealDisk), &pinned.machine, &pinned.service, &keys, false).unwrap();
        Self { folder, listener, operator, service, helper: None, peer: 0, idle_ms: 60_000 }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// As systemd does: the socket that listens is the input.
    fn start(&mut self) {
        let words = [
            "helper".to_owned(),
            format!("--peer={}", self.peer),
            format!("--idle-ms={}", self.idle_ms),
            format!("--helper-folder={}", self.folder.path().join("helper").display()),
            format!("--config={}", self.config().display()),
        ];
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", "helper::tests::process"]);
        command.env(COMMAND, words.join("\n")).stdout(Stdio::null()).stderr(Stdio::null());
        command.stdin(OwnedFd::from(self.listener.try_clone().unwrap()));
        self.helper = Some(command.spawn().unwrap());
    }

    fn config(&self) -> PathBuf {
        let path = self.folder.path().join("agent.toml");
        if !path.exists() {
            std::fs::write(&path, "").unwrap();
        }
        path
    }

    fn kill(&mut self) {
        let mut helper = self.helper.take().unwrap();
        helper.kill().unwrap();
        helper.wait().unwrap();
    }

    fn switch_off(&self, number: u64, by: &SigningKey) -> Ask {
        let now = crate::clock::Clock::start(None).now().wall.as_millisecond();
        let order = wire::Order {
            order: format!("ord_{number}"),
            machine: "mch_a".into(),
            action: wire::Action::SwitchOff.into(),
            product: "dsa-cloud".into(),
            sequence: number,
            issued_at_ms: now,
            expires_at_ms: now + 3_600_000,
            at_once: true,
            ..wire::Order::default()
        };
        let signed = sign(by, Domain::Order, order.encode_to_vec());
        Ask::Order(wire::OrderDelivery { order: Some(signed), sealed: Vec::new() })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut helper) = self.helper.take() {
            let _ = helper.kill();
            let _ = helper.wait();
        }
    }
}

/// What is told next that is wanted.
async fn told<T>(arm: &mut Arm, wanted: impl Fn(Told) -> Option<T>) -> T {
    let next = async {
        loop {
            let told = arm.next().await.expect("somebody tells");
            if let Some(found) = wanted(told) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("it is told in time")
}

async fn standing(arm: &mut Arm) -> Standing {
    told(arm, |told| if let Told::Standing(standing) = told { Some(standing) } else { None }).await
}

async fn outcome(arm: &mut Arm, wanted: wire::Outcome) -> wire::OrderResult {
    told(arm, |told| match told {
        Told::Result(result) if result.outcome() == wanted => Some(result),
        Told::Result(result) => {
            assert_eq!(result.outcome(), wire::Outcome::Doing, "{}", result.detail);
            None
        }
        _ => None,
    })
    .await
}

fn look(machine: &Machine, agent: &Path) -> Result<crate::daemon::Seen, String> {
    let mut newest = Catalogue::embedded().clone();
    newest.version += 1;
    let sight = reach::sight(machine.socket(), StateFolder::at(agent.to_owned()));
    sight(Timestamp::from_second(1_790_000_000).unwrap(), Look::Everything, &newest)
}

fn rootless() -> bool {
    if !is_root() {
        skip("root, as which the helper runs (run the tests as root)");
    }
    !is_root()
}

fn calls() -> usize {
    std::fs::read_to_string("/run/standin/dsa.calls").unwrap_or_default().lines().count()
}

#[tokio::test]
async fn somebody_else_is_not_listened_to() {
    if rootless() {
        return;
    }
    let mut machine = Machine::enrolled();
    machine.peer = 4242;
    machine.start();
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = send_blocking(&mut stream, &Said { saying: Some(Saying::Orders(Nothing {})) });
    let _ = send_blocking(&mut stream, &Said { saying: Some(Saying::Recap(Nothing {})) });
    let mut heard = Vec::new();
    // A reset says the same as an end.
    let _ = stream.read_to_end(&mut heard);
    assert!(heard.is_empty(), "{} bytes were told", heard.len());
}

#[tokio::test]
async fn garbage_ends_a_connection_and_nothing_else() {
    if rootless() {
        return;
    }
    let mut machine = Machine::enrolled();
    machine.start();
    let hello = Said { saying: Some(Saying::Orders(Nothing {})) };
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xFF; 64]] {
        for greeted in [false, true] {
            let mut stream = UnixStream::connect(machine.socket()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            if greeted {
                send_blocking(&mut stream, &hello).unwrap();
            }
            let _ = stream.write_all(garbage);
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
        }
    }
    let mut arm = reach::arm(machine.socket());
    arm.ask(Ask::Recap);
    assert_eq!(standing(&mut arm).await.seal_key.order_keys_revision, 1);
}

#[tokio::test]
async fn a_second_agent_is_refused_while_the_first_one_speaks() {
    if rootless() {
        return;
    }
    let mut machine = Machine::enrolled();
    machine.start();
    let mut first = reach::arm(machine.socket());
    first.ask(Ask::Recap);
    standing(&mut first).await;
    let mut second = reach::arm(machine.socket());
    second.ask(Ask::Recap);
    let said = told(&mut second, |told| match told {
        Told::Noticed(notice) => Some(notice.what),
        Told::Standing(_) | Told::Result(_) => panic!("the second one is told something"),
    });
    assert_eq!(said.await, "the helper does not take orders: another agent speaks of orders already");
    first.ask(Ask::Recap);
    standing(&mut first).await;
}

/// Whoever is refused may still be speaking when the helper hangs up.
#[tokio::test]
async fn a_refusal_is_heard_by_an_agent_that_was_still_speaking() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let hangs_up = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let refused = Answered { answer: Some(Answer::Refused("not you".into())) };
        send_blocking(&mut stream, &refused).unwrap();
    });
    let mut arm = reach::arm(folder.path().join("socket"));
    // More than a socket holds: it is not said to its end when the helper hangs up.
    let payload = vec![1; seatbeat_proto::wire::MESSAGE_LENGTH_MAX - 1024];
    arm.ask(Ask::Keys(wire::Signed { payload, ..wire::Signed::default() }));
    let said = told(&mut arm, |told| match told {
        Told::Noticed(notice) => Some(notice.what),
        Told::Standing(_) | Told::Result(_) => panic!("nobody told that"),
    });
    assert_eq!(said.await, "the helper does not take orders: not you");
    hangs_up.join().unwrap();
}

#[tokio::test]
async fn it_ends_when_nobody_wants_anything_and_what_is_asked_then_waits_for_the_next_one() {
    if rootless() {
        return;
    }
    let mut machine = Machine::enrolled();
    machine.idle_ms = 300;
    machine.start();
    let mut arm = reach::arm(machine.socket());
    arm.ask(Ask::Recap);
    let before = standing(&mut arm).await;
    let ended = async {
        loop {
            if let Some(ended) = machine.helper.as_mut().unwrap().try_wait().unwrap() {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
    assert!(ended.success(), "{ended}");
    arm.ask(Ask::Recap);
    machine.start();
    assert_eq!(standing(&mut arm).await.seal_key, before.seal_key);
}

#[tokio::test]
async fn it_looks_with_a_catalogue_that_the_release_key_signed_and_with_no_other() {
    if rootless() {
        return;
    }
    let mut machine = Machine::enrolled();
    let release = new_key();
    let config = format!("release_key = \"{}\"\n", key_text(&release.verifying_key()));
    std::fs::write(machine.config(), config).unwrap();
    machine.start();
    let agent = machine.folder.path().join("agent");
    let state = StateFolder::at(agent.clone());
    state.create().unwrap();
    let version = Catalogue::EMBEDDED_VERSION + 1;
    let file = format!("schema = \"seatbeat-catalogue/1\"\nversion = {version}\n").into_bytes();
    for (signer, used) in [(&new_key(), Catalogue::EMBEDDED_VERSION), (&release, version)] {
        let signed = sign(signer, Domain::Catalogue, file.clone());
        state.write(crate::catalogue::FILE, &signed.encode_to_vec()).unwrap();
        let seen = look(&machine, &agent).unwrap();
        assert_eq!(seen.catalogue_version, used);
    }
}

#[test]
fn an_order_is_verified_and_carried_out_by_the_helper() {
    if !inside("helper::tests::an_order_is_verified_and_carried_out_by_the_helper", "dsa") {
        return;
    }
    event_loop(async {
        let mut machine = Machine::enrolled();
        machine.start();
        let mut arm = reach::arm(machine.socket());
        // Neither somebody else's order nor one of the collector's own key.
        for forger in [new_key(), machine.service.clone()] {
            let id = u64::from(forger.to_bytes()[0]) + 1000;
            arm.ask(machine.switch_off(id, &forger));
            outcome(&mut arm, wire::Outcome::Refused).await;
        }
        assert_eq!(calls(), 0);
        let order = machine.switch_off(1, &machine.operator);
        arm.ask(order.clone());
        let done = outcome(&mut arm, wire::Outcome::Done).await;
        assert!(done.detail.ends_with("the machine shows it not active"), "{}", done.detail);
        arm.ask(order);
        outcome(&mut arm, wire::Outcome::Done).await;
        assert_eq!(calls(), 1, "once");
        let agent = machine.folder.path().join("agent");
        let seen = look(&machine, &agent).unwrap();
        let shown = seen.products.iter().find(|found| found.product.starts_with("dsa")).unwrap();
        assert_eq!(shown.state(), wire::ProductState::Inactive);
    });
}

#[test]
fn a_helper_that_is_killed_in_the_middle_starts_nothing_a_second_time() {
    if !inside("helper::tests::a_helper_that_is_killed_in_the_middle_starts_nothing_a_second_time", "dsa") {
        return;
    }
    std::fs::write("/run/standin/dsa.mode", "hang").unwrap();
    event_loop(async {
        let mut machine = Machine::enrolled();
        machine.start();
        let mut arm = reach::arm(machine.socket());
        let order = machine.switch_off(1, &machine.operator);
        arm.ask(order.clone());
        outcome(&mut arm, wire::Outcome::Doing).await;
        for _ in 0..600 {
            if calls() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(calls(), 1);
        machine.kill();
        machine.start();
        // Asked by nobody: the arm noticed.
        let failed = outcome(&mut arm, wire::Outcome::Failed).await;
        assert_eq!(failed.detail, "it was interrupted and is not repeated: the product is active");
        arm.ask(order);
        outcome(&mut arm, wire::Outcome::Failed).await;
        assert_eq!(calls(), 1);
    });
    stop_what_hangs();
}

/// The stand-in that hangs outlives the helper that was killed, as a vendor's tool would.
fn stop_what_hangs() {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let is = |name: &str, text: &str| std::fs::read_to_string(path.join(name)).is_ok_and(|is| is == text);
        let ours =
            std::fs::read_link(path.join("ns/mnt")).ok() == std::fs::read_link("/proc/self/ns/mnt").ok();
        let pid = entry.file_name().to_string_lossy().parse().ok().and_then(rustix::process::Pid::from_raw);
        if let (true, true, Some(pid)) = (ours, is("cmdline", "sleep\x00600\0"), pid) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
}

fn event_loop(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}
