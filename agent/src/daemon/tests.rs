//! A whole agent against a collector on this machine, and one that is alone with its clock.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use jiff::SignedDuration;
use seatbeat_proto::instant;
use tokio::sync::oneshot;

use super::*;
use crate::act::actor::{self, Actor};
use crate::act::{Stand, worker};
use crate::fake::{FakeCollector, FakeHands};
use crate::spool::Spool;
use crate::spool::disk::RealDisk;
use crate::status::LinkStatus;

/// Longest wait for something that should happen at once.
const SOON: Duration = Duration::from_secs(20);

/// An enrolled machine, and what its eyes see.
struct Machine {
    dir: tempfile::TempDir,
    products: Arc<Mutex<Result<Vec<wire::FoundProduct>, String>>>,
    release_key: Option<ed25519_dalek::VerifyingKey>,
    hands: FakeHands,
}

/// A running agent.
struct Agent {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), DaemonError>>,
}

impl Agent {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn product(version: &str) -> wire::FoundProduct {
    wire::FoundProduct {
        product: "dsa".into(),
        state: wire::ProductState::Active.into(),
        version: version.into(),
        ..Default::default()
    }
}

impl Machine {
    async fn enrolled(fake: &FakeCollector) -> Self {
        let (dir, _) = fake.enrolled(wire::Facts::default()).await;
        Self {
            dir,
            products: Arc::new(Mutex::new(Ok(vec![product("1")]))),
            release_key: None,
            hands: FakeHands::default(),
        }
    }

    fn state(&self) -> StateFolder {
        StateFolder::at(self.dir.path().join("state"))
    }

    fn daemon(&self, clock: Clock, disk: Box<dyn Disk>) -> Result<Daemon, DaemonError> {
        let products = Arc::clone(&self.products);
        let sight: Sight = Arc::new(move |_, _, catalogue: &Catalogue| {
            let products = products.lock().unwrap().clone()?;
            Ok(Seen {
                products,
                facts: wire::Facts { os: "linux".into(), ..Default::default() },
                catalogue_version: catalogue.version,
            })
        });
        let setting = Setting {
            state: self.state(),
            config: Config::default(),
            clock,
            disk,
            jitter: Jitter::from_seed(1),
            host_name: "host".into(),
            catalogue: Shelf::open(&self.state(), self.release_key).unwrap(),
        };
        Daemon::new(setting, sight)
    }

    fn start_with(&self, clock: Clock, disk: Box<dyn Disk>) -> Agent {
        let daemon = self.daemon(clock, disk).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(daemon.run(async {
            let _ = stopped.await;
        }));
        Agent { stop, task }
    }

    fn start(&self) -> Agent {
        self.start_with(Clock::start(None), Box::new(RealDisk))
    }

    /// With somebody who switches products; what a product's hands did, the next look shows.
    fn start_switching(&self) -> Agent {
        let (clock, identity) = (Clock::start(None), Identity::load(&self.state()).unwrap());
        let folder = actor::folder_in(self.state().path());
        let actor = Actor::open(&folder, Box::new(RealDisk), &identity.machine, &identity.service).unwrap();
        let arm = worker::start(actor, Box::new(self.hands.clone()), clock).unwrap();
        let hands = self.hands.clone();
        let sight: Sight = Arc::new(move |_, _, catalogue: &Catalogue| {
            let stand = hands.done().stands.get("dsa").copied();
            let state = match stand {
                Some(Stand::Inactive) => wire::ProductState::Inactive,
                _ => wire::ProductState::Active,
            };
            let products = vec![wire::FoundProduct { state: state.into(), ..product("1") }];
            let facts = wire::Facts { os: "linux".into(), ..Default::default() };
            Ok(Seen { products, facts, catalogue_version: catalogue.version })
        });
        let daemon = self.daemon(clock, Box::new(RealDisk)).unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = Daemon { sight, ..daemon }.with_arm(Ok(arm)).run(async {
            let _ = stopped.await;
        });
        Agent { stop, task: tokio::spawn(running) }
    }

    fn status(&self) -> Status {
        let identity = Identity::load(&self.state()).unwrap();
        Status::load(&self.state()).unwrap_or_else(|| Status::starting(&identity))
    }

    fn kept(&self) -> Vec<wire::Evidence> {
        let identity = Identity::load(&self.state()).unwrap();
        let key = self.state().key().unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&self.state().spool(), copy.path());
        Spool::open(copy.path(), Box::new(RealDisk), &identity.machine, &key).unwrap().kept
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

fn reasons(evidence: &[wire::Evidence]) -> Vec<wire::ReportReason> {
    let reason = |evidence: &wire::Evidence| match &evidence.body {
        Some(wire::evidence::Body::Report(report)) => Some(report.reason()),
        _ => None,
    };
    evidence.iter().filter_map(reason).collect()
}

#[tokio::test]
async fn the_first_report_arrives_and_the_status_says_so() {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    let agent = machine.start();
    until("report", || !fake.memory().evidence().is_empty()).await;
    until("ack", || machine.status().waiting == 0 && machine.status().last_report.is_some()).await;
    let status = machine.status();
    assert_eq!(status.link, LinkStatus::Connected);
    assert!(status.last_connected_at.is_some() && status.last_error.is_none());
    assert_eq!(status.last_report.unwrap().products[0].product, "dsa");
    let evidence = fake.memory().evidence();
    assert_eq!(reasons(&evidence), [wire::ReportReason::Start]);
    assert!(machine.state().is_in_use());
    agent.stop().await;
    assert!(!machine.state().is_in_use());
    assert_eq!(machine.status().link, LinkStatus::Disconnected);
}

#[tokio::test]
async fn what_was_acknowledged_is_not_sent_again_after_a_start() {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    for count in 1..=3 {
        let agent = machine.start();
        until("report", || fake.memory().evidence().len() == count).await;
        until("ack", || machine.status().waiting == 0).await;
        agent.stop().await;
    }
    let memory = fake.memory();
    assert_eq!((memory.spools.len(), memory.refusals.len()), (1, 0), "one chain");
    let with_facts = memory.evidence().into_iter().filter(|evidence| {
        matches!(&evidence.body, Some(wire::evidence::Body::Report(report)) if report.facts.is_some())
    });
    assert_eq!(with_facts.count(), 1, "facts are said once");
}

#[tokio::test]
async fn a_collector_that_lost_its_disk_gets_everything_again() {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    let agent = machine.start();
    until("report", || machine.state().spool().join("acknowledged").exists()).await;
    agent.stop().await;
    let before = fake.memory().evidence();
    fake.memory().spools.clear();
    let agent = machine.start();
    until("everything", || fake.memory().evidence().len() == 2).await;
    agent.stop().await;
    assert_eq!(fake.memory().evidence()[0], before[0]);
}

#[tokio::test]
async fn a_machine_restored_from_a_snapshot_goes_on_in_a_new_spool_and_forks_nothing() {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    let run = async |reports: usize| {
        let agent = machine.start();
        until("reports", || fake.memory().evidence().len() >= reports).await;
        until("acks", || machine.status().waiting == 0 && machine.status().link == LinkStatus::Connected)
            .await;
        agent.stop().await;
    };
    run(1).await;
    let snapshot = tempfile::tempdir().unwrap();
    copy_folder(&machine.state().spool(), snapshot.path());
    run(2).await;
    std::fs::remove_dir_all(machine.state().spool()).unwrap();
    copy_folder(snapshot.path(), &machine.state().spool());
    run(4).await;
    let memory = fake.memory();
    assert_eq!(memory.spools.len(), 2, "the old one, and the new one");
    assert_eq!(memory.refusals, []);
    let new = memory.spools.values().map(Vec::len).collect::<Vec<_>>();
    assert!(new.contains(&2), "{new:?}");
}

#[tokio::test]
async fn an_ordered_report_is_made_and_the_order_answered_once_whatever_is_pushed_again() {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    let id = Identity::load(&machine.state()).unwrap().machine;
    let now_ms = instant::to_ms(Clock::start(None).now().wall);
    let order = fake.report_order(5, id.as_str(), now_ms);
    fake.memory().push = vec![order.clone(), order];
    let results = || {
        let evidence = fake.memory().evidence();
        let result = |evidence: wire::Evidence| match evidence.body {
            Some(wire::evidence::Body::OrderResult(result)) => Some((result.order, result.outcome)),
            _ => None,
        };
        evidence.into_iter().filter_map(result).collect::<Vec<_>>()
    };
    let agent = machine.start();
    until("answer", || !results().is_empty()).await;
    agent.stop().await;
    let agent = machine.start();
    until("second start", || fake.memory().links == 2 && machine.status().waiting == 0).await;
    until("second report", || fake.memory().evidence().len() >= 3).await;
    agent.stop().await;
    assert_eq!(results(), [("ord_5".to_owned(), i32::from(wire::Outcome::Done))]);
    let made = reasons(&fake.memory().evidence());
    assert_eq!(made.iter().filter(|reason| **reason == wire::ReportReason::Requested).count(), 1, "{made:?}");
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_and_a_fresh_report_made() {
    let fake = FakeCollector::start().await;
    fake.memory().ahead_ms = 3_600_000;
    let machine = Machine::enrolled(&fake).await;
    let agent = machine.start();
    let corrected = || {
        let evidence = fake.memory().evidence();
        evidence.into_iter().find(|evidence| evidence.clock_offset_ms != 0)
    };
    until("corrected report", || corrected().is_some()).await;
    let evidence = corrected().unwrap();
    let now_ms = instant::to_ms(Clock::start(None).now().wall);
    assert!(evidence.observed_at_ms.abs_diff(now_ms + 3_600_000) < 60_000);
    assert_eq!(reasons(std::slice::from_ref(&evidence)), [wire::ReportReason::Clock]);
    assert_eq!(evidence.checkpoint, "checkpoint", "what welcome brought");
    agent.stop().await;
}

#[tokio::test]
async fn a_tls_inspecting_proxy_is_named_and_gets_nothing() {
    let (fake, proxy) = (FakeCollector::start().await, FakeCollector::start().await);
    let machine = Machine::enrolled(&fake).await;
    let identity = Identity::load(&machine.state()).unwrap();
    Identity { addresses: vec![proxy.address.clone()], ..identity }.store(&machine.state()).unwrap();
    let agent = machine.start();
    until("error", || machine.status().last_error.is_some()).await;
    let trouble = machine.status().last_error.unwrap();
    let expected = format!("the certificate at `{}` is not ours, issuer CN=seatbeat machine", proxy.address);
    assert_eq!(trouble.what, expected);
    assert!(trouble.hint.unwrap().contains("TLS inspection"));
    agent.stop().await;
    assert_eq!(proxy.memory().links, 0);
    assert_eq!(machine.kept().len(), 1, "the report waits");
}

#[tokio::test]
async fn a_banned_machine_says_so_and_keeps_its_reports() {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    fake.memory().no = Some(tonic::Status::permission_denied("banned"));
    let agent = machine.start();
    until("error", || machine.status().last_error.is_some()).await;
    assert_eq!(machine.status().last_error.unwrap().what, "the collector refuses this machine: banned");
    until("report", || machine.status().waiting == 1).await;
    agent.stop().await;
}

#[tokio::test]
async fn plain_text_on_the_port_is_an_error_in_words() {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let _ = tcp.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let identity = Identity::load(&machine.state()).unwrap();
    Identity { addresses: vec![address.clone()], ..identity }.store(&machine.state()).unwrap();
    let agent = machine.start();
    until("error", || machine.status().last_error.is_some()).await;
    let what = machine.status().last_error.unwrap().what;
    assert!(what.starts_with(&format!("failed to agree on TLS with `{address}`: ")), "{what}");
    agent.stop().await;
}

#[tokio::test]
async fn a_second_agent_on_the_same_folder_is_refused() {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    let agent = machine.start();
    let second = machine.daemon(Clock::start(None), Box::new(RealDisk)).err().unwrap();
    assert!(second.to_string().starts_with("another agent uses the state folder"), "{second}");
    agent.stop().await;
}

#[tokio::test]
async fn a_machine_that_is_not_enrolled_does_not_run() {
    let products = Arc::new(Mutex::new(Ok(vec![])));
    let machine = Machine {
        dir: tempfile::tempdir().unwrap(),
        products,
        release_key: None,
        hands: FakeHands::default(),
    };
    let error = machine.daemon(Clock::start(None), Box::new(RealDisk)).err().unwrap();
    assert_eq!(error.to_string(), "this machine is not enrolled");
    assert!(error.hint().unwrap().contains("enrol --token"));
}

/// A machine whose collector cannot be reached, on a clock that the test lets run.
async fn alone() -> Machine {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    let identity = Identity::load(&machine.state()).unwrap();
    // Nobody listens on port 1, and being refused takes no time.
    Identity { addresses: vec!["127.0.0.1:1".into()], ..identity }.store(&machine.state()).unwrap();
    machine
}

fn demonstration() -> Clock {
    Clock::start(Some("2026-03-01T12:00:00Z".parse().unwrap()))
}

#[tokio::test]
async fn days_without_a_collector_leave_a_report_at_least_every_six_hours() {
    let machine = alone().await;
    tokio::time::pause();
    let agent = machine.start_with(demonstration(), Box::new(RealDisk));
    tokio::time::sleep(Duration::from_secs(5 * 86_400)).await;
    assert!(machine.status().last_error.unwrap().what.starts_with("failed to reach the collector"));
    agent.stop().await;
    let kept = machine.kept();
    let instants: Vec<_> =
        kept.iter().map(|evidence| Timestamp::from_millisecond(evidence.observed_at_ms).unwrap()).collect();
    assert!(kept.len() >= 20 && kept.len() <= 24, "{}", kept.len());
    for pair in instants.windows(2) {
        let apart = pair[1].duration_since(pair[0]);
        assert!(apart <= SignedDuration::from_hours(6) + SignedDuration::from_secs(5), "{apart:?}");
        assert!(apart >= SignedDuration::from_mins(5 * 60), "{apart:?}");
    }
}

#[tokio::test]
async fn a_change_is_reported_with_the_next_scan() {
    let machine = alone().await;
    tokio::time::pause();
    let agent = machine.start_with(demonstration(), Box::new(RealDisk));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    *machine.products.lock().unwrap() = Ok(vec![product("2")]);
    tokio::time::sleep(Duration::from_secs(16 * 60)).await;
    agent.stop().await;
    assert_eq!(reasons(&machine.kept()), [wire::ReportReason::Start, wire::ReportReason::Change]);
}

#[tokio::test]
async fn the_eyes_are_asked_for_everything_once_a_day_and_for_changes_in_between() {
    let machine = alone().await;
    let looks = Arc::new(Mutex::new(Vec::new()));
    let daemon = machine.daemon(demonstration(), Box::new(RealDisk)).unwrap();
    let (seen, kept) = (
        (daemon.sight)(Timestamp::UNIX_EPOCH, Look::Everything, Catalogue::embedded()).unwrap(),
        Arc::clone(&looks),
    );
    let sight: Sight = Arc::new(move |_, look, _: &Catalogue| {
        kept.lock().unwrap().push(look);
        Ok(seen.clone())
    });
    let (stop, stopped) = oneshot::channel();
    tokio::time::pause();
    let running = Daemon { sight, ..daemon }.run(async {
        let _ = stopped.await;
    });
    let agent = Agent { stop, task: tokio::spawn(running) };
    tokio::time::sleep(Duration::from_secs(2 * 86_400 - 900)).await;
    agent.stop().await;
    let looks = looks.lock().unwrap();
    let count = |wanted: Look| looks.iter().filter(|look| **look == wanted).count();
    assert_eq!((looks[0], count(Look::Everything)), (Look::Everything, 2));
    assert!((40..=46).contains(&count(Look::ChangesAndVoices)), "{looks:?}");
    assert!(count(Look::Changes) > 120, "{looks:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_package_that_comes_is_looked_at_within_a_minute_and_not_at_the_next_timer() {
    use crate::detect::{notify, places::Places};
    let machine = alone().await;
    let status = machine.dir.path().join("status");
    std::fs::write(&status, "a").unwrap();
    let watched_files = [status.to_str().unwrap().to_owned()].into();
    let (watches, nudges) = notify::open().unwrap();
    watches.arm(&Places { watched_files, ..Places::default() });
    let daemon = machine.daemon(demonstration(), Box::new(RealDisk)).unwrap().told_by(Some(nudges));
    let (stop, stopped) = oneshot::channel();
    tokio::time::pause();
    let running = daemon.run(async {
        let _ = stopped.await;
    });
    let agent = Agent { stop, task: tokio::spawn(running) };
    tokio::time::sleep(Duration::from_secs(100)).await;
    *machine.products.lock().unwrap() = Ok(vec![product("2")]);
    std::fs::write(&status, "b").unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    agent.stop().await;
    assert_eq!(reasons(&machine.kept()), [wire::ReportReason::Start, wire::ReportReason::Change]);
}

#[tokio::test]
async fn eyes_that_fail_stop_reporting_in_words_and_it_comes_back_by_itself() {
    let machine = alone().await;
    *machine.products.lock().unwrap() = Err("the snapshot is gone".into());
    tokio::time::pause();
    let agent = machine.start_with(demonstration(), Box::new(RealDisk));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let stopped = machine.status().reporting_stopped.unwrap();
    assert_eq!(stopped.what, "failed to look for products: the snapshot is gone");
    assert!(machine.kept().is_empty(), "nothing is reported when nothing could be seen");
    *machine.products.lock().unwrap() = Ok(vec![product("1")]);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(machine.status().reporting_stopped, None);
    agent.stop().await;
    assert_eq!(machine.kept().len(), 1);
}

/// A disk that is full while the flag stands.
#[derive(Debug, Clone, Default)]
struct FullDisk(Arc<std::sync::atomic::AtomicBool>);

impl Disk for FullDisk {
    fn create_folder(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.create_folder(path)
    }

    fn create(&self, path: &Path) -> std::io::Result<Box<dyn crate::spool::disk::Tape>> {
        if self.0.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        RealDisk.create(path)
    }

    fn open(&self, path: &Path) -> std::io::Result<Box<dyn crate::spool::disk::Tape>> {
        RealDisk.open(path)
    }

    fn sync_folder(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.sync_folder(path)
    }
}

#[tokio::test]
async fn a_full_disk_stops_reporting_in_words_and_room_brings_it_back() {
    let machine = alone().await;
    let disk = FullDisk::default();
    disk.0.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::pause();
    let agent = machine.start_with(demonstration(), Box::new(disk.clone()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let stopped = machine.status().reporting_stopped.unwrap();
    assert!(stopped.what.starts_with("the disk is full"), "{}", stopped.what);
    assert_eq!(stopped.hint.as_deref(), Some("make room on the disk; reporting goes on by itself"));
    disk.0.store(false, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(machine.status().reporting_stopped, None);
    agent.stop().await;
    assert_eq!(reasons(&machine.kept()), [wire::ReportReason::Start]);
}

fn pushed(key: &ed25519_dalek::SigningKey, version: u32) -> wire::Signed {
    let file = format!("schema = \"seatbeat-catalogue/1\"\nversion = {version}\n");
    seatbeat_proto::signed::sign(key, seatbeat_proto::signed::Domain::Catalogue, file.into_bytes())
}

/// The catalogue versions of the reports that the collector has.
fn versions(fake: &FakeCollector) -> Vec<u32> {
    let version = |evidence: wire::Evidence| match evidence.body {
        Some(wire::evidence::Body::Report(report)) => Some(report.catalogue_version),
        _ => None,
    };
    fake.memory().evidence().into_iter().filter_map(version).collect()
}

#[tokio::test]
async fn a_pushed_catalogue_is_used_at_once_and_after_a_restart() {
    let fake = FakeCollector::start().await;
    let key = seatbeat_proto::signed::new_key();
    let machine = Machine { release_key: Some(key.verifying_key()), ..Machine::enrolled(&fake).await };
    let built_in = Catalogue::EMBEDDED_VERSION;
    fake.memory().push = vec![wire::collector_message::Body::Catalogue(pushed(&key, built_in + 4))];
    let agent = machine.start();
    until("a report by it", || versions(&fake).last() == Some(&(built_in + 4))).await;
    assert_eq!(fake.memory().hello_versions, [built_in]);
    agent.stop().await;
    let status = machine.status().catalogue;
    assert_eq!((status.version, status.pushed, status.refused), (built_in + 4, true, None));
    let reported = versions(&fake).len();
    let agent = machine.start();
    until("a report", || versions(&fake).len() > reported).await;
    agent.stop().await;
    assert_eq!(versions(&fake).last(), Some(&(built_in + 4)), "it was kept");
    assert_eq!(fake.memory().hello_versions, [built_in, built_in + 4]);
}

#[tokio::test]
async fn without_a_release_key_a_pushed_catalogue_is_refused_and_status_says_why() {
    let fake = FakeCollector::start().await;
    let machine = Machine::enrolled(&fake).await;
    let newer = pushed(&seatbeat_proto::signed::new_key(), 9);
    fake.memory().push = vec![wire::collector_message::Body::Catalogue(newer)];
    let agent = machine.start();
    until("the refusal", || machine.status().catalogue.refused.is_some() && !versions(&fake).is_empty())
        .await;
    agent.stop().await;
    let status = machine.status().catalogue;
    assert_eq!((status.version, status.pushed), (Catalogue::EMBEDDED_VERSION, false));
    let refused = status.refused.unwrap();
    assert!(refused.what.ends_with("this agent trusts no release key"), "{refused:?}");
    assert!(refused.hint.unwrap().contains("release_key"));
    assert!(versions(&fake).iter().all(|version| *version == Catalogue::EMBEDDED_VERSION));
}

/// What the collector was told of orders, `1 done`, and of the product in between, `active`.
fn story(fake: &FakeCollector) -> Vec<String> {
    let told = |evidence: wire::Evidence| match evidence.body? {
        wire::evidence::Body::OrderResult(result) => {
            let outcome = result.outcome().as_str_name().trim_start_matches("OUTCOME_").to_lowercase();
            Some(format!("{} {outcome}", result.order.trim_start_matches("ord_")))
        }
        wire::evidence::Body::Report(report) => {
            let state = report.products[0].state().as_str_name().trim_start_matches("PRODUCT_STATE_");
            Some(state.to_lowercase())
        }
    };
    fake.memory().evidence().into_iter().filter_map(told).collect()
}

/// The seal keys and revisions that reports carried.
fn seal_keys(fake: &FakeCollector) -> Vec<wire::SealKey> {
    let key = |evidence: wire::Evidence| match evidence.body? {
        wire::evidence::Body::Report(report) => report.seal_key,
        wire::evidence::Body::OrderResult(_) => None,
    };
    fake.memory().evidence().into_iter().filter_map(key).collect()
}

struct Ordering {
    fake: FakeCollector,
    machine: Machine,
    id: String,
    now_ms: i64,
}

impl Ordering {
    async fn new() -> Self {
        let fake = FakeCollector::start().await;
        let machine = Machine::enrolled(&fake).await;
        let id = Identity::load(&machine.state()).unwrap().machine.to_string();
        Self { fake, machine, id, now_ms: instant::to_ms(Clock::start(None).now().wall) }
    }

    fn order(&self, number: u64, action: wire::Action) -> wire::collector_message::Body {
        self.fake.switch_order(number, &self.id, action, self.now_ms)
    }

    fn push(&self, what: Vec<wire::collector_message::Body>) {
        self.fake.memory().push = what;
    }

    fn has(&self, word: &str) -> bool {
        story(&self.fake).iter().any(|told| told == word)
    }
}

#[tokio::test]
async fn an_order_is_carried_out_and_the_report_behind_it_shows_it_and_nothing_is_done_twice() {
    let ordering = Ordering::new().await;
    ordering.push(vec![ordering.order(5, wire::Action::SwitchOff)]);
    for start in 1..=2 {
        let agent = ordering.machine.start_switching();
        until("done", || ordering.has("5 done")).await;
        until("another conversation", || ordering.fake.memory().links == start).await;
        until("all of it", || ordering.machine.status().waiting == 0).await;
        agent.stop().await;
    }
    let story = story(&ordering.fake);
    let place = |word: &str| story.iter().position(|told| told == word).unwrap();
    assert!(place("active") < place("5 doing"), "{story:?}");
    assert!(place("switched_off") < place("5 done"), "{story:?}");
    assert_eq!(story.iter().filter(|told| *told == "5 done").count(), 1, "{story:?}");
    assert_eq!(ordering.machine.hands.begun().len(), 1);
    assert_eq!(ordering.fake.memory().hello_order_keys, [1, 1]);
    let keys = seal_keys(&ordering.fake);
    assert_eq!((keys.len(), keys[0].order_keys_revision), (1, 1), "said once");
    let status = ordering.machine.status().orders;
    assert_eq!((status.keys_revision, status.orders[0].outcome.as_str()), (1, "done"));
}

#[tokio::test]
async fn an_agent_that_ends_while_an_order_is_done_tells_how_the_product_stands_and_does_not_repeat_it() {
    let ordering = Ordering::new().await;
    ordering.push(vec![ordering.order(5, wire::Action::SwitchOff)]);
    ordering.machine.hands.done().holds = true;
    let agent = ordering.machine.start_switching();
    until("begun", || ordering.has("5 doing")).await;
    agent.stop().await;
    let second = FakeHands::default();
    second.done().stands.insert("dsa".to_owned(), Stand::Active);
    let machine = Machine { hands: second, ..ordering.machine };
    let agent = machine.start_switching();
    until("failed", || story(&ordering.fake).contains(&"5 failed".to_owned())).await;
    agent.stop().await;
    assert_eq!(machine.hands.begun(), []);
    assert_eq!(machine.status().orders.orders[0].outcome, "failed");
}

#[tokio::test]
async fn what_is_called_back_while_it_waits_is_not_begun() {
    let ordering = Ordering::new().await;
    for (sequence, action, answer) in [
        (1, wire::Action::SwitchOff, "1 done"),
        (3, wire::Action::SwitchOff, "3 taken"),
        (4, wire::Action::Cancel, "4 done"),
    ] {
        ordering.push(vec![ordering.order(sequence, action)]);
        let agent = ordering.machine.start_switching();
        until(answer, || ordering.has(answer)).await;
        agent.stop().await;
    }
    assert!(ordering.has("3 cancelled"), "{:?}", story(&ordering.fake));
    assert_eq!(ordering.machine.hands.begun().len(), 1, "the one that was begun");
}

#[tokio::test]
async fn a_forged_order_shows_in_the_status_and_an_expired_one_is_answered() {
    let ordering = Ordering::new().await;
    let other = FakeCollector::start().await;
    let long_ago = ordering.now_ms - 7_200_000;
    ordering.push(vec![
        other.switch_order(1, &ordering.id, wire::Action::SwitchOff, ordering.now_ms),
        ordering.fake.switch_order(2, &ordering.id, wire::Action::SwitchOff, long_ago),
        ordering.fake.switch_order(3, "mch_other", wire::Action::SwitchOff, ordering.now_ms),
    ]);
    let agent = ordering.machine.start_switching();
    until("answers", || ordering.has("1 refused") && ordering.has("2 expired")).await;
    until("status", || ordering.machine.status().orders.noticed.len() == 2).await;
    agent.stop().await;
    let status = ordering.machine.status().orders;
    let noticed: Vec<_> = status.noticed.into_iter().map(|trouble| trouble.what).collect();
    assert_eq!(
        noticed,
        [
            "order ord_3 is meant for another machine",
            "order ord_1 is not signed by a key that this machine takes orders from"
        ]
    );
    assert_eq!(ordering.machine.hands.begun(), []);
}

#[tokio::test]
async fn newer_order_keys_are_followed_and_the_next_report_and_hello_say_so() {
    let ordering = Ordering::new().await;
    let new = seatbeat_proto::signed::new_key();
    let keys = wire::OrderKeys {
        revision: 2,
        keys: vec![new.verifying_key().to_bytes().to_vec()],
        recovery_key: vec![],
    };
    let signed = seatbeat_proto::signed::sign(
        &ordering.fake.operator,
        seatbeat_proto::signed::Domain::OrderKeys,
        prost::Message::encode_to_vec(&keys),
    );
    ordering.push(vec![wire::collector_message::Body::OrderKeys(signed)]);
    let agent = ordering.machine.start_switching();
    let revisions =
        || seal_keys(&ordering.fake).into_iter().map(|key| key.order_keys_revision).collect::<Vec<_>>();
    until("report", || revisions() == [1, 2]).await;
    agent.stop().await;
    ordering.push(vec![ordering.order(1, wire::Action::SwitchOff)]);
    let agent = ordering.machine.start_switching();
    until("refused", || ordering.has("1 refused")).await;
    agent.stop().await;
    assert_eq!(ordering.fake.memory().hello_order_keys, [1, 2]);
}

#[tokio::test]
async fn an_unenrolled_machine_forgets_who_it_is_once_the_collector_knows() {
    let ordering = Ordering::new().await;
    ordering.push(vec![ordering.order(9, wire::Action::Unenrol)]);
    let Agent { stop: _stop, task } = ordering.machine.start_switching();
    tokio::time::timeout(SOON, task).await.expect("it ends").unwrap().unwrap();
    assert!(ordering.has("9 done"));
    let state = ordering.machine.state();
    assert!(matches!(Identity::load(&state), Err(IdentityError::NotEnrolled)));
    assert!(matches!(state.key(), Err(StateError::KeyMissing(_))));
    assert!(!actor::folder_in(state.path()).join("book.json").exists());
}

#[tokio::test]
async fn without_anybody_who_switches_an_order_shows_in_the_status() {
    let ordering = Ordering::new().await;
    ordering.push(vec![ordering.order(1, wire::Action::SwitchOff)]);
    let agent = ordering.machine.start();
    until("notice", || !ordering.machine.status().orders.noticed.is_empty()).await;
    agent.stop().await;
    assert_eq!(ordering.machine.status().orders.noticed[0].what, "orders came that nobody here takes");
    assert_eq!(ordering.fake.memory().hello_order_keys, [0]);
}
