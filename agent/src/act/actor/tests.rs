//! An actor on a disk in memory, with hands that note what they did.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use seatbeat_proto::procedures::Switch;
use seatbeat_proto::sealing;
use seatbeat_proto::signed::{Domain, hash, new_key, sign};
use wire::Action::{Cancel, ReportNow, SwitchOff, SwitchOn, Unenrol};

use super::*;
use crate::fake::FakeHands;
use crate::spool::disk::Tape;

/// Files by path, and whether the disk is full.
type Files = (BTreeMap<PathBuf, Vec<u8>>, bool);

/// Files that are as durable as they were written.
#[derive(Debug, Clone, Default)]
struct MemoryDisk(Arc<Mutex<Files>>);

#[derive(Debug)]
struct MemoryTape(MemoryDisk, PathBuf);

impl MemoryDisk {
    fn fill(&self, full: bool) {
        self.0.lock().unwrap().1 = full;
    }

    fn text(&self) -> String {
        let files = self.0.lock().unwrap();
        files.0.values().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

impl Disk for MemoryDisk {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        let mut files = self.0.lock().unwrap();
        if files.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        files.0.insert(path.to_owned(), Vec::new());
        Ok(Box::new(MemoryTape(self.clone(), path.to_owned())))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        Ok(Box::new(MemoryTape(self.clone(), path.to_owned())))
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.lock().unwrap().0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let bytes = files.0.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.0.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().0.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Tape for MemoryTape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.0.lock().unwrap().0.entry(self.1.clone()).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

struct Fixture {
    service: SigningKey,
    operator: SigningKey,
    recovery: SigningKey,
    disk: MemoryDisk,
    hands: FakeHands,
    actor: Actor,
    now: Moment,
}

const NOW_MS: i64 = 1_790_000_000_000;

impl Fixture {
    fn new() -> Self {
        let (service, operator, recovery) = (new_key(), new_key(), new_key());
        let disk = MemoryDisk::default();
        let keys = order_keys(1, &operator, &recovery);
        let pinned =
            pin(Path::new("o"), Box::new(disk.clone()), &machine(), &service.verifying_key(), &keys, true);
        assert_eq!(pinned.unwrap(), Pinned::Taken);
        let actor = Actor::open(Path::new("o"), Box::new(disk.clone()), &machine(), &service.verifying_key());
        let now = Moment { wall: Timestamp::from_millisecond(NOW_MS).unwrap(), uptime: Duration::ZERO };
        let hands = FakeHands::default();
        Self { service, operator, recovery, disk, hands, actor: actor.unwrap(), now }
    }

    fn delivered(&mut self, by: &SigningKey, order: &wire::Order, sealed: &[u8]) -> Vec<Told> {
        let order = Some(sign(by, Domain::Order, order.encode_to_vec()));
        self.actor.ask(Ask::Order(wire::OrderDelivery { order, sealed: sealed.to_vec() }), self.now)
    }

    fn ordered(&mut self, order: &wire::Order) -> Vec<String> {
        let by = self.operator.clone();
        results(&self.delivered(&by, order, &[]))
    }

    /// Begins what is due and does it.
    fn worked(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let (told, job) = self.actor.begin(self.now, &mut self.hands);
            all.extend(results(&told));
            let Some(job) = job else { return all };
            let done = self.hands.carry_out(&job.task, job.secrets.as_ref());
            all.extend(results(&self.actor.end(job, done, self.now)));
        }
    }

    fn restart(&mut self) {
        let service = self.service.verifying_key();
        self.now.uptime = Duration::ZERO;
        self.actor = Actor::open(Path::new("o"), Box::new(self.disk.clone()), &machine(), &service).unwrap();
    }

    fn recap(&mut self) -> Vec<Told> {
        self.actor.ask(Ask::Recap, self.now)
    }

    fn standing(&mut self) -> Standing {
        let recap = self.recap();
        let Some(Told::Standing(standing)) = recap.first().cloned() else { panic!("{recap:?}") };
        standing
    }

    fn pass(&mut self, time: Duration) {
        self.now.uptime += time;
        self.now.wall += jiff::SignedDuration::try_from(time).unwrap();
    }
}

fn machine() -> MachineId {
    "mch_a".parse().unwrap()
}

fn order_keys(revision: u64, key: &SigningKey, recovery: &SigningKey) -> wire::OrderKeys {
    wire::OrderKeys {
        revision,
        keys: vec![key.verifying_key().to_bytes().to_vec()],
        recovery_key: recovery.verifying_key().to_bytes().to_vec(),
    }
}

fn order(sequence: u64, action: wire::Action) -> wire::Order {
    wire::Order {
        order: format!("ord_{sequence}"),
        machine: "mch_a".into(),
        action: action.into(),
        product: if action == Unenrol { String::new() } else { "dsa".into() },
        sequence,
        issued_at_ms: NOW_MS - 1_000,
        expires_at_ms: NOW_MS + 3 * 86_400_000,
        ..wire::Order::default()
    }
}

/// `ord_1 done`, in the order in which they were told.
fn results(told: &[Told]) -> Vec<String> {
    let result = |told: &Told| match told {
        Told::Result(result) => {
            let outcome = Outcome::from_wire(result.outcome()).unwrap();
            Some(format!("{} {}", result.order, outcome.word()))
        }
        _ => None,
    };
    told.iter().filter_map(result).collect()
}

fn details(told: &[Told]) -> String {
    let detail = |told: &Told| match told {
        Told::Result(result) => result.detail.clone(),
        Told::Noticed(notice) => notice.what.clone(),
        Told::Standing(_) => String::new(),
    };
    told.iter().map(detail).collect::<Vec<_>>().join("; ")
}

#[test]
fn an_order_is_begun_once_done_and_told_once_and_again_when_it_comes_again() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.ordered(&order(1, SwitchOff)), [] as [&str; 0], "it is told when it is begun");
    assert_eq!(fixture.worked(), ["ord_1 doing", "ord_1 done"]);
    assert_eq!(fixture.ordered(&order(1, SwitchOff)), ["ord_1 done"]);
    assert_eq!(fixture.worked(), [] as [&str; 0]);
    fixture.restart();
    assert_eq!(fixture.ordered(&order(1, SwitchOff)), ["ord_1 done"]);
    assert_eq!(fixture.worked(), [] as [&str; 0]);
    assert_eq!(fixture.hands.begun(), [("dsa".to_owned(), Switch::Off)]);
    assert_eq!(fixture.standing().switched_off, ["dsa".parse().unwrap()]);
}

#[test]
fn what_is_not_kept_yet_is_told_again_after_a_start() {
    let mut fixture = Fixture::new();
    fixture.ordered(&order(1, SwitchOff));
    fixture.worked();
    fixture.restart();
    assert_eq!(results(&fixture.recap()), ["ord_1 done"]);
    let kept = Ask::Kept { order: "ord_1".parse().unwrap(), outcome: wire::Outcome::Done };
    fixture.actor.ask(kept, fixture.now);
    assert_eq!(results(&fixture.recap()), [] as [&str; 0]);
}

#[test]
fn a_destructive_order_that_was_interrupted_is_not_repeated_whatever_stands() {
    for (stand, expected) in [
        (Some(Stand::Active), "ord_1 failed"),
        (None, "ord_1 failed"),
        (Some(Stand::Inactive), "ord_1 done"),
        (Some(Stand::Absent), "ord_1 done"),
    ] {
        let mut fixture = Fixture::new();
        fixture.ordered(&order(1, SwitchOff));
        let (_, job) = fixture.actor.begin(fixture.now, &mut fixture.hands);
        assert!(job.is_some());
        fixture.restart();
        fixture.hands.done().stands.extend(stand.map(|stand| ("dsa".to_owned(), stand)));
        assert_eq!(fixture.worked(), [expected], "{stand:?}");
        assert_eq!(fixture.ordered(&order(1, SwitchOff)), [expected]);
        assert_eq!(fixture.worked(), [] as [&str; 0]);
        assert_eq!(fixture.hands.begun(), [], "not by this process");
    }
}

#[test]
fn switching_on_that_was_interrupted_is_repeated_once() {
    let mut fixture = Fixture::new();
    fixture.hands.done().stands.insert("dsa".to_owned(), Stand::Inactive);
    fixture.ordered(&order(1, SwitchOn));
    for _ in 0..2 {
        let (_, job) = fixture.actor.begin(fixture.now, &mut fixture.hands);
        assert!(job.is_some());
        fixture.restart();
    }
    assert_eq!(fixture.worked(), ["ord_1 failed"]);
}

#[test]
fn what_is_called_back_before_it_is_begun_is_not_begun() {
    let mut fixture = Fixture::new();
    fixture.ordered(&order(1, SwitchOff));
    let service = fixture.service.clone();
    let told = fixture.delivered(&service, &order(2, Cancel), &[]);
    assert_eq!(results(&told), ["ord_1 cancelled", "ord_2 done"]);
    assert_eq!(fixture.worked(), [] as [&str; 0]);
    assert_eq!(fixture.ordered(&order(1, SwitchOff)), ["ord_1 cancelled"]);
    let late = fixture.ordered(&wire::Order { sequence: 1, ..order(7, SwitchOff) });
    assert_eq!(late, ["ord_7 refused"], "it was placed before the cancel");
}

#[test]
fn two_orders_within_the_hour_are_an_hour_apart_and_the_second_says_that_it_waits() {
    let mut fixture = Fixture::new();
    fixture.ordered(&order(1, SwitchOff));
    fixture.worked();
    fixture.ordered(&order(2, SwitchOn));
    assert_eq!(fixture.worked(), ["ord_2 doing", "ord_2 done"]);
    fixture.pass(Duration::from_secs(60));
    assert_eq!(fixture.ordered(&order(3, SwitchOff)), ["ord_3 taken"]);
    assert_eq!(fixture.worked(), [] as [&str; 0]);
    assert_eq!(fixture.standing().wake_in, Some(Duration::from_secs(3_540)));
    fixture.pass(Duration::from_secs(3_540));
    assert_eq!(fixture.worked(), ["ord_3 doing", "ord_3 done"]);
    assert_eq!(fixture.hands.begun().len(), 3);
}

#[test]
fn what_waits_survives_a_start_and_ends_when_its_time_is_over() {
    let mut fixture = Fixture::new();
    fixture.ordered(&order(1, SwitchOff));
    fixture.worked();
    let short = wire::Order { expires_at_ms: NOW_MS + 600_000, ..order(2, SwitchOff) };
    assert_eq!(fixture.ordered(&short), ["ord_2 taken"]);
    fixture.restart();
    assert_eq!(fixture.standing().wake_in, Some(Duration::from_secs(600)));
    fixture.pass(Duration::from_secs(600));
    assert_eq!(fixture.worked(), ["ord_2 expired"]);
}

#[test]
fn a_clock_that_is_a_year_off_is_put_right_before_an_order_is_judged() {
    const YEAR_MS: i64 = 365 * 86_400_000;
    for off in [-YEAR_MS, YEAR_MS] {
        let mut fixture = Fixture::new();
        fixture.now.wall = Timestamp::from_millisecond(NOW_MS + off).unwrap();
        fixture.actor.ask(Ask::Clock { offset_ms: -off }, fixture.now);
        fixture.ordered(&order(1, SwitchOff));
        assert_eq!(fixture.worked(), ["ord_1 doing", "ord_1 done"]);
        let over = wire::Order { expires_at_ms: NOW_MS - 1, product: "splx".into(), ..order(2, SwitchOff) };
        assert_eq!(fixture.ordered(&over), ["ord_2 expired"]);
    }
}

#[test]
fn forged_orders_do_nothing_are_noticed_once_and_answered_once() {
    let mut fixture = Fixture::new();
    let stranger = new_key();
    let told = fixture.delivered(&stranger, &order(1, SwitchOff), &[]);
    assert_eq!(results(&told), ["ord_1 refused"]);
    assert!(details(&told).contains("order ord_1 is not signed by a key"), "{}", details(&told));
    assert_eq!(fixture.delivered(&stranger, &order(1, SwitchOff), &[]), []);
    fixture.restart();
    assert_eq!(results(&fixture.delivered(&stranger, &order(1, SwitchOff), &[])), [] as [&str; 0]);
    assert_eq!(fixture.worked(), [] as [&str; 0]);
    // The true one of this name is not kept from its effect.
    fixture.ordered(&order(1, SwitchOff));
    assert_eq!(fixture.worked(), ["ord_1 doing", "ord_1 done"]);
    assert_eq!(results(&fixture.delivered(&stranger, &order(1, Cancel), &[])), [] as [&str; 0]);
}

#[test]
fn unreadable_misdirected_and_unknown_orders_have_no_effect() {
    let mut fixture = Fixture::new();
    let operator = fixture.operator.clone();
    let order_of = |change: &dyn Fn(&mut wire::Order)| {
        let mut order = order(1, SwitchOff);
        change(&mut order);
        order
    };
    for (order, said) in [
        (order_of(&|order| order.machine = "mch_b".into()), "order ord_1 is meant for another machine"),
        (order_of(&|order| order.order = "x".into()), "an order without a name came"),
    ] {
        let told = fixture.delivered(&operator, &order, &[]);
        assert_eq!((results(&told), details(&told).trim_start_matches("; ")), (vec![], said));
    }
    let garbage = sign(&operator, Domain::Order, vec![0xff; 9]);
    let garbage = Ask::Order(wire::OrderDelivery { order: Some(garbage), sealed: vec![] });
    let told = fixture.actor.ask(garbage, fixture.now);
    assert!(details(&told).contains("an order cannot be read"));
    fixture.hands.done().not_ready = Some("this agent knows no way to switch it".to_owned());
    assert_eq!(fixture.ordered(&order(2, SwitchOff)), [] as [&str; 0]);
    assert_eq!(fixture.worked(), ["ord_2 refused"]);
    let nameless = wire::Order { product: String::new(), ..order(3, SwitchOff) };
    assert_eq!(fixture.ordered(&nameless), ["ord_3 refused"]);
    assert_eq!(fixture.ordered(&order(4, ReportNow)), ["ord_4 refused"], "not the operator's");
    let service = fixture.service.clone();
    let told = fixture.delivered(&service, &order(5, SwitchOff), &[]);
    assert!(details(&told).contains("the key that signed the order may not give it"));
    assert_eq!(fixture.hands.begun(), []);
}

#[test]
fn secrets_reach_the_hands_and_are_nowhere_else_and_the_key_is_renewed_after_use() {
    let mut fixture = Fixture::new();
    let operator = fixture.operator.clone();
    let key = fixture.standing().seal_key;
    assert_eq!(key.order_keys_revision, 1);
    let secrets = wire::OrderSecrets { password: "to unload it".into(), ..Default::default() };
    let sealed_order = |sequence, product: &str| {
        let order = wire::Order { product: product.into(), ..order(sequence, SwitchOff) };
        let sealed = sealing::seal(&key.public_key, &order, &secrets).unwrap();
        (wire::Order { secrets_hash: hash(&sealed).to_vec(), ..order }, sealed)
    };
    let (first, sealed) = sealed_order(1, "dsa");
    assert!(details(&fixture.delivered(&operator, &first, &sealed[1..])).contains("as they were signed"));
    let (first, sealed) = sealed_order(2, "dsa");
    fixture.delivered(&operator, &first, &sealed);
    assert_eq!(fixture.worked(), ["ord_2 doing", "ord_2 done"]);
    assert_ne!(fixture.standing().seal_key, key, "renewed");
    // The other one of the batch was sealed to the key before.
    let (second, sealed) = sealed_order(3, "splx");
    fixture.delivered(&operator, &second, &sealed);
    assert_eq!(fixture.worked(), ["ord_3 doing", "ord_3 done"]);
    let passwords: Vec<_> = fixture.hands.done().begun.iter().map(|(_, password)| password.clone()).collect();
    assert_eq!(passwords, [Some("to unload it".to_owned()), Some("to unload it".to_owned())]);
    assert!(!fixture.disk.text().contains("unload"), "{}", fixture.disk.text());
    // Two days and a use later it opens nothing any more.
    fixture.pass(Duration::from_secs(2 * 86_400));
    let newer = fixture.standing().seal_key;
    let order = wire::Order { product: "tm".into(), ..order(4, SwitchOff) };
    let sealed = sealing::seal(&newer.public_key, &order, &secrets).unwrap();
    let order = wire::Order { secrets_hash: hash(&sealed).to_vec(), ..order };
    fixture.delivered(&operator, &order, &sealed);
    assert_eq!(fixture.worked(), ["ord_4 doing", "ord_4 done"]);
    let (late, sealed) = sealed_order(5, "other");
    let told = fixture.delivered(&operator, &late, &sealed);
    assert_eq!(results(&told), ["ord_5 refused"]);
    assert!(details(&told).contains("order it again"));
}

#[test]
fn order_keys_are_followed_one_after_the_other_and_what_a_lost_key_signed_is_not_begun() {
    let mut fixture = Fixture::new();
    fixture.ordered(&order(1, SwitchOff));
    fixture.worked();
    assert_eq!(fixture.ordered(&order(2, SwitchOff)), ["ord_2 taken"]);
    let (stolen, new) = (fixture.operator.clone(), new_key());
    let next = order_keys(2, &new, &fixture.recovery);
    let signed = sign(&fixture.recovery, Domain::OrderKeys, next.encode_to_vec());
    let told = fixture.actor.ask(Ask::Keys(signed.clone()), fixture.now);
    assert_eq!(results(&told), ["ord_2 refused"]);
    assert!(matches!(&told[0], Told::Standing(standing) if standing.seal_key.order_keys_revision == 2));
    assert_eq!(fixture.actor.ask(Ask::Keys(signed), fixture.now), [], "again, as with each connection");
    assert_eq!(results(&fixture.delivered(&stolen, &order(3, SwitchOff), &[])), ["ord_3 refused"]);
    let told = fixture.delivered(&new, &wire::Order { at_once: true, ..order(4, SwitchOff) }, &[]);
    assert_eq!(results(&told), [] as [&str; 0]);
    assert_eq!(fixture.worked(), ["ord_4 doing", "ord_4 done"]);
    let forged = sign(&stolen, Domain::OrderKeys, order_keys(3, &stolen, &stolen).encode_to_vec());
    let told = fixture.actor.ask(Ask::Keys(forged), fixture.now);
    assert!(details(&told).contains("not signed by a key that was in force"));
    fixture.restart();
    assert_eq!(fixture.standing().seal_key.order_keys_revision, 2);
}

#[test]
fn who_trusts_nobody_takes_no_order_and_no_keys_over_the_wire_until_somebody_says_so_on_the_machine() {
    let mut fixture = Fixture::new();
    let (service, keys) =
        (fixture.service.verifying_key(), order_keys(1, &fixture.operator, &fixture.recovery));
    fixture.disk = MemoryDisk::default();
    fixture.restart();
    assert_eq!(fixture.ordered(&order(1, SwitchOff)), ["ord_1 refused"]);
    let signed = sign(&fixture.operator, Domain::OrderKeys, keys.encode_to_vec());
    assert!(details(&fixture.actor.ask(Ask::Keys(signed), fixture.now)).contains("trust-orders"));
    assert_eq!(fixture.worked(), [] as [&str; 0]);
    let disk = || Box::new(fixture.disk.clone());
    pin(Path::new("o"), disk(), &machine(), &service, &keys, false).unwrap();
    fixture.restart();
    fixture.ordered(&order(2, SwitchOff));
    assert_eq!(fixture.worked(), ["ord_2 doing", "ord_2 done"]);
}

#[test]
fn a_full_disk_begins_nothing_and_what_was_done_is_told_when_it_is_kept() {
    let mut fixture = Fixture::new();
    fixture.disk.fill(true);
    assert_eq!(fixture.ordered(&order(1, SwitchOff)), [] as [&str; 0]);
    assert_eq!(fixture.worked(), [] as [&str; 0], "it is not in the book");
    fixture.disk.fill(false);
    fixture.pass(WRITE_AGAIN);
    let (told, job) = fixture.actor.begin(fixture.now, &mut fixture.hands);
    assert_eq!(results(&told), ["ord_1 doing"]);
    fixture.disk.fill(true);
    let told = fixture.actor.end(job.unwrap(), Ok("done".to_owned()), fixture.now);
    assert_eq!(results(&told), [] as [&str; 0]);
    fixture.ordered(&wire::Order { product: "splx".into(), ..order(2, SwitchOff) });
    assert_eq!(fixture.worked(), [] as [&str; 0]);
    fixture.disk.fill(false);
    fixture.pass(WRITE_AGAIN);
    assert_eq!(fixture.worked(), ["ord_1 done", "ord_2 doing", "ord_2 done"]);
}

#[test]
fn what_a_full_disk_does_not_take_is_told_to_nobody_and_taken_when_there_is_room() {
    let mut fixture = Fixture::new();
    let (new, recovery) = (new_key(), fixture.recovery.clone());
    let next = order_keys(2, &new, &recovery);
    let keys = Ask::Keys(sign(&recovery, Domain::OrderKeys, next.encode_to_vec()));
    fixture.disk.fill(true);
    assert_eq!(fixture.ordered(&order(1, SwitchOff)), [] as [&str; 0]);
    assert_eq!(fixture.ordered(&order(2, Cancel)), [] as [&str; 0]);
    fixture.ordered(&order(1, SwitchOff));
    assert_eq!(results(&fixture.actor.ask(keys.clone(), fixture.now)), [] as [&str; 0]);
    assert_eq!(fixture.worked(), [] as [&str; 0]);
    let standing = fixture.standing();
    assert_eq!((standing.seal_key.order_keys_revision, standing.wake_in), (1, Some(WRITE_AGAIN)));
    fixture.disk.fill(false);
    fixture.pass(WRITE_AGAIN);
    assert_eq!(results(&fixture.actor.ask(Ask::Wake, fixture.now)), [] as [&str; 0]);
    assert_eq!(fixture.worked(), ["ord_1 cancelled", "ord_2 done"], "in the order in which they came, once");
    let standing = fixture.standing();
    assert_eq!((standing.seal_key.order_keys_revision, standing.wake_in), (2, None));
    fixture.restart();
    assert_eq!(fixture.standing().seal_key.order_keys_revision, 2);
}

#[test]
fn what_waits_for_a_disk_has_a_limit_and_comes_again_with_the_next_connection() {
    let mut fixture = Fixture::new();
    fixture.disk.fill(true);
    let products = |number| wire::Order { product: format!("p-{number}"), ..order(number, SwitchOff) };
    let last = UNHEARD_MAX as u64 + 1;
    (1..=last).for_each(|number| assert_eq!(fixture.ordered(&products(number)), [] as [&str; 0]));
    fixture.disk.fill(false);
    fixture.pass(WRITE_AGAIN);
    assert_eq!(fixture.worked().len(), 2 * UNHEARD_MAX);
    assert_eq!(fixture.ordered(&products(last)), [] as [&str; 0]);
    assert_eq!(fixture.worked(), [format!("ord_{last} doing"), format!("ord_{last} done")]);
}

#[test]
fn an_unenrolled_machine_takes_nothing_more_and_forgets_when_the_collector_knows() {
    let mut fixture = Fixture::new();
    let told = fixture.actor.ask(Ask::Forget, fixture.now);
    assert!(details(&told).contains("nobody ordered it"));
    assert_eq!(fixture.ordered(&order(1, Unenrol)), ["ord_1 done"]);
    assert_eq!(fixture.ordered(&order(2, SwitchOff)), ["ord_2 refused"]);
    fixture.restart();
    assert_eq!(fixture.standing().unenrolled, Some("ord_1".parse().unwrap()));
    let told = fixture.actor.ask(Ask::Forget, fixture.now);
    assert!(matches!(&told[..], [Told::Standing(standing)] if standing.unenrolled.is_none()), "{told:?}");
    assert_eq!(fixture.disk.text(), "");
}

#[test]
fn a_damaged_book_takes_no_orders_and_keys_that_are_brought_begin_it_anew() {
    let fixture = Fixture::new();
    fixture.disk.0.lock().unwrap().0.values_mut().for_each(|bytes| bytes.truncate(20));
    let service = fixture.service.verifying_key();
    let disk = || Box::new(fixture.disk.clone());
    let error = Actor::open(Path::new("o"), disk(), &machine(), &service).unwrap_err();
    let book = Path::new("o").join("book.json");
    assert_eq!(error.to_string(), format!("the book of orders `{}` is damaged", book.display()));
    assert!(error.hint().unwrap().contains("trust-orders"));
    let keys = order_keys(1, &fixture.operator, &fixture.recovery);
    pin(Path::new("o"), disk(), &machine(), &service, &keys, false).unwrap();
    assert!(Actor::open(Path::new("o"), disk(), &machine(), &service).is_ok());
}

#[test]
fn a_token_brings_newer_keys_and_never_older_ones_and_another_collector_begins_anew() {
    let mut fixture = Fixture::new();
    fixture.ordered(&order(9, SwitchOff));
    let service = fixture.service.verifying_key();
    let brought = |revision, service: &VerifyingKey| {
        let keys = order_keys(revision, &fixture.operator, &fixture.recovery);
        pin(Path::new("o"), Box::new(fixture.disk.clone()), &machine(), service, &keys, true).unwrap()
    };
    assert_eq!(brought(1, &service), Pinned::Newer(1));
    assert_eq!(brought(2, &service), Pinned::Taken);
    let opened = |service: &VerifyingKey| {
        Actor::open(Path::new("o"), Box::new(fixture.disk.clone()), &machine(), service).unwrap()
    };
    assert_eq!(opened(&service).book().orders().len(), 1);
    let other = new_key().verifying_key();
    assert_eq!(brought(1, &other), Pinned::Taken);
    assert_eq!(opened(&other).book().orders().len(), 0);
}
