//! The agent's spool, key and state folder behind a crash, and what its helper knows of the machine. Invariant: whatever
//! evidence was handed out for sending is in the spool, since signing another in its place would fork the chain.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use seatbeat_agent::helper::pinned::{Pinned, PinnedError};
use seatbeat_agent::identity::{Identity, IdentityError};
use seatbeat_agent::meter::Observation;
use seatbeat_agent::spool::disk::{Disk, RealDisk};
use seatbeat_agent::spool::{Opened, Spool};
use seatbeat_agent::state::{StateError, StateFolder};
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::hex;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, hash, verify};
use seatbeat_proto::wire;

use super::dying::DyingDisk;
use super::{Found, Verdict, check};

const START_MS: i64 = 1_790_000_000_000;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// Observations of a day.
const A_DAY: i64 = 10;
/// Behind all that is observed while a test is recorded.
const LATER: i64 = 100 * A_DAY;
/// Of an observation's place in its report, so that frames are of several sectors.
const TEXT: &str = "seen as a service that runs, by its folder and by its package; ";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn machine() -> MachineId {
    "mch_a".parse().expect("an id")
}

fn instant(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).expect("an instant")
}

/// Each has a time of its own.
fn observed_at_ms(number: i64) -> i64 {
    START_MS + number / A_DAY * DAY_MS + number % A_DAY * MINUTE_MS
}

fn number_of(observed_at_ms: i64) -> i64 {
    let since = observed_at_ms - START_MS;
    since / DAY_MS * A_DAY + since % DAY_MS / MINUTE_MS
}

fn observation(number: i64) -> Observation {
    let found = wire::FoundProduct {
        product: "dsa-cloud".to_owned(),
        why: TEXT.repeat(usize::try_from(number % 7 * 3).expect("a small number")),
        ..Default::default()
    };
    Observation {
        observed_at: instant(observed_at_ms(number)),
        clock_offset_ms: 0,
        checkpoint: String::new(),
        body: wire::evidence::Body::Report(wire::Report { products: vec![found], ..Default::default() }),
    }
}

fn opened(folder: &Path) -> Result<Opened, String> {
    opened_on(folder, Box::new(RealDisk))
}

fn opened_on(folder: &Path, disk: Box<dyn Disk>) -> Result<Opened, String> {
    Spool::open(&folder.join("spool"), disk, &machine(), &key()).map_err(|error| format!("{error:?}"))
}

/// What the marks amount to.
#[derive(Default)]
struct Told {
    /// So many observations are in the spool.
    kept: i64,
    /// Those before this one may be gone: they are too old, or the spool was begun anew without them.
    gone: i64,
    /// Those before this one the collector has.
    acknowledged: i64,
}

impl Told {
    fn by(found: &Found<'_>) -> Self {
        let mut told = Self::default();
        for mark in &found.marks {
            let (what, number) = mark.split_once(' ').expect("a mark has two words");
            let number = number.parse().expect("a number");
            match what {
                "kept" => told.kept = number,
                "gone" => told.gone = number,
                _ => told.acknowledged = number,
            }
        }
        told
    }
}

#[test]
fn a_spool_holds_all_evidence_that_was_handed_out_behind_any_crash() {
    let work = |stage: &super::Stage| {
        let mark = |what: &str, number: i64| stage.mark(&format!("{what} {number}"));
        let append = |spool: &mut Spool, numbers: std::ops::Range<i64>| {
            for number in numbers {
                spool.append(observation(number), &key()).expect("there is room");
                mark("kept", number + 1);
            }
        };
        let acknowledge = |spool: &mut Spool, number: i64| {
            mark("acknowledged", number);
            let before = spool.chain().tip() as i64;
            // The chain of the second spool begins with the 20th.
            let first = if number > 20 { 20 } else { 0 };
            spool.acknowledge((number - first).min(before) as u64);
        };
        let mut spool = opened(stage.folder()).expect("a spool is begun").spool;
        append(&mut spool, 0..7);
        acknowledge(&mut spool, 5);
        append(&mut spool, 7..15);
        drop(spool);
        spool = opened(stage.folder()).expect("a spool is opened").spool;
        append(&mut spool, 15..24);
        let carried = spool.after(20).expect("it can be read");
        mark("gone", 20);
        spool.begin_new(carried, &key()).expect("there is room");
        append(&mut spool, 24..36);
        acknowledge(&mut spool, 33);
        append(&mut spool, 36..42);
        mark("gone", 30);
        let later = instant(observed_at_ms(29) + 63 * DAY_MS);
        while spool.prune(later).expect("it can be removed") {}
        append(&mut spool, 42..44);
    };
    check(
        "crash::agent::a_spool_holds_all_evidence_that_was_handed_out_behind_any_crash",
        900,
        work,
        spool_judged,
    );
}

fn spool_judged(found: &Found<'_>) -> Verdict {
    let told = Told::by(found);
    let Opened { mut spool, kept, damage } = opened(found.folder)?;
    if damage.is_some() && !found.crash.is_out_of_order() {
        return Err(format!("{damage:?}"));
    }
    whole(&spool)?;
    let held: Vec<i64> = kept.iter().map(|evidence| evidence.observed_at_ms).collect();
    if !held.is_sorted() || held.windows(2).any(|two| two[0] == two[1]) {
        return Err(format!("twice, or not in order: {held:?}"));
    }
    let first = if damage.is_some() { told.gone.max(told.acknowledged) } else { told.gone };
    let lost = (first..told.kept).find(|number| !held.contains(&observed_at_ms(*number)));
    if let Some(lost) = lost {
        return Err(format!("{lost} is lost of {} kept: {damage:?}", told.kept));
    }
    if held.last().is_some_and(|last| *last > observed_at_ms(told.kept)) {
        return Err("evidence that was never signed".to_owned());
    }
    spool.append(observation(LATER), &key()).map_err(|error| format!("it does not go on: {error}"))?;
    drop(spool);
    let again = opened(found.folder)?;
    let last = again.kept.last().map(|evidence| evidence.observed_at_ms);
    if again.damage.is_some() || last != Some(observed_at_ms(LATER)) {
        return Err(format!("it went on and is not whole: {:?}", again.damage));
    }
    Ok(if damage.is_some() { "set aside and begun anew" } else { "whole" })
}

/// Acts of its disk that a process does before it is killed, at most: some that begin a file, and a few more.
const ACTS_MAX: u64 = 12;

const KILLED_UNTIL: i64 = 15 * A_DAY;

#[test]
fn a_spool_of_an_agent_that_was_killed_holds_what_was_handed_out_behind_any_crash() {
    let work = |stage: &super::Stage| {
        let mut seed = Seed::new(1).branch("kills");
        let mut number = 0;
        while number < KILLED_UNTIL {
            let disk = DyingDisk::after(1 + seed.below(ACTS_MAX));
            let Ok(Opened { mut spool, kept, .. }) = opened_on(stage.folder(), Box::new(disk)) else {
                continue;
            };
            // Whatever is in it may be on its way by now.
            number = kept.last().map_or(0, |last| number_of(last.observed_at_ms) + 1);
            stage.mark(&format!("kept {number}"));
            // A day has a file of its own.
            while spool.append(observation(number), &key()).is_ok() {
                number += 1;
                stage.mark(&format!("kept {number}"));
            }
        }
    };
    let test = "crash::agent::a_spool_of_an_agent_that_was_killed_holds_what_was_handed_out_behind_any_crash";
    check(test, 120, work, spool_judged);
}

/// One chain of signed evidence, from the oldest kept to the tip.
fn whole(spool: &Spool) -> Result<(), String> {
    let chain = spool.chain();
    for sequence in chain.oldest()..=chain.tip() {
        let signed = spool.read(sequence).map_err(|error| error.to_string())?;
        let signed = signed.ok_or_else(|| format!("{sequence} is missing"))?;
        verify(&key().verifying_key(), Domain::Evidence, &signed).map_err(|error| error.to_string())?;
        if chain.hash_at(sequence) != Some(&hash(&signed.payload)) {
            return Err(format!("{sequence} is not what the chain says"));
        }
    }
    Ok(())
}

fn identity(number: u8) -> Identity {
    let token = wire::TokenText {
        token: format!("tok_{number}"),
        addresses: vec!["collector.example:8443".to_owned()],
        pin: vec![number; 32],
        salt: vec![number; 32],
        service_key: key().verifying_key().to_bytes().to_vec(),
        ..Default::default()
    };
    let customer = "cus_a".parse().expect("an id");
    Identity::new(&token, machine(), customer, key().verifying_key()).expect("the keys are keys")
}

const IDENTITIES: u8 = 8;

fn helper_of(folder: &Path) -> PathBuf {
    folder.join("helper")
}

#[test]
fn a_machine_is_who_it_was_or_nobody_yet_behind_any_crash() {
    let work = |stage: &super::Stage| {
        let state = StateFolder::at(stage.folder().join("state"));
        state.create().expect("a folder can be made");
        let key = state.key_or_new().expect("there is room");
        stage.mark(&hex::format(key.verifying_key().as_bytes()));
        for number in 1..=IDENTITIES {
            identity(number).store(&state).expect("there is room");
            Pinned::of(&identity(number)).store(&helper_of(stage.folder())).expect("there is room");
            stage.mark(&number.to_string());
        }
    };
    check("crash::agent::a_machine_is_who_it_was_or_nobody_yet_behind_any_crash", 300, work, judged);
}

fn judged(found: &Found<'_>) -> Verdict {
    let state = StateFolder::at(found.folder.join("state"));
    let marked = found.marks.first();
    match (state.key(), marked) {
        (Ok(key), Some(public)) if hex::format(key.verifying_key().as_bytes()) == **public => {}
        (Ok(_) | Err(StateError::KeyMissing(_)), None) => {}
        (other, _) => return Err(format!("{:?}, {marked:?}", other.map(|_| "another key"))),
    }
    let stored =
        found.marks.get(1..).and_then(<[&str]>::last).map_or(0, |mark| mark.parse().expect("a number"));
    let may_be = |is: &dyn Fn(u8) -> bool| (stored.max(1)..=stored + 1).any(is);
    match Pinned::load(&helper_of(found.folder)) {
        Ok(held) if may_be(&|number| held == Pinned::of(&identity(number))) => {}
        Err(PinnedError::Missing(_)) if stored == 0 => {}
        other => return Err(format!("{stored} was stored, the helper has {other:?}")),
    }
    match Identity::load(&state) {
        Ok(held) if may_be(&|number| held == identity(number)) => Ok("whole"),
        Err(IdentityError::NotEnrolled) if stored == 0 => Ok("nobody"),
        other => Err(format!("{stored} was stored, there is {other:?}")),
    }
}

#[test]
fn a_machine_key_that_a_kill_left_stays_the_machines_behind_any_crash() {
    let work = |stage: &super::Stage| {
        let state = StateFolder::at(stage.folder().join("state"));
        state.create().expect("a folder can be made");
        // So far came a process before it was killed: no sync covers the name.
        let (aside, path) = (state.path().join("machine.key.tmp"), state.path().join("machine.key"));
        let mut options = std::fs::File::options();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        let mut file = options.open(&aside).expect("a file can be made");
        file.write_all(hex::format(key().as_bytes()).as_bytes()).expect("there is room");
        file.sync_all().and_then(|()| std::fs::rename(&aside, &path)).expect("a name can be given");
        let _lock = state.lock().expect("nobody else is here");
        let key = state.key_or_new().expect("there is one");
        stage.mark(&hex::format(key.verifying_key().as_bytes()));
    };
    let test = "crash::agent::a_machine_key_that_a_kill_left_stays_the_machines_behind_any_crash";
    check(test, 100, work, judged);
}
