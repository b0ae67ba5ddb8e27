//! The order key behind a crash: made, rotated, lost and rotated by its recovery key, kept by the collector or in a file on
//! a workstation, all by the program as it goes out. Invariant: the key that the journal names opens with its passphrase,
//! where it was to be kept; the recovery key that it names does, too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost::Message as _;
use seatbeat_collector::books::Books;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::order_key::{LockedKey, kept};
use seatbeat_proto::wire::OrderKeys;
use tokio::runtime::Runtime;

use crate::desk::{Desk, text};

use super::books::chain;
use super::house::desk_in;
use super::trace::Stage;
use super::{Found, Verdict, check_behind_first_mark};

const WORDS: &str = "four words are better";

/// How each revision comes about, by who signs it and where its key is kept; files are the desk's.
const REVISIONS: [&[&str]; 6] = [
    &["new", "--recovery-file", "recovery-1", "--recovery-passphrase-file", "words"],
    &["rotate", "--old-passphrase-file", "words"],
    &["rotate", "--old-passphrase-file", "words", "--key-file", "order-3"],
    &[
        "rotate",
        "--lost",
        "recovery-1",
        "--old-passphrase-file",
        "words",
        "--new-recovery-file",
        "recovery-4",
        "--new-recovery-passphrase-file",
        "words",
    ],
    &["rotate", "--old-passphrase-file", "words", "--key-file", "order-5"],
    &["rotate", "--old-key-file", "order-5", "--old-passphrase-file", "words"],
];

fn work(stage: &Stage) {
    let mut desk = Desk::unfounded();
    fs::File::open(stage.folder()).and_then(|folder| folder.sync_all()).expect("a folder can be synced");
    desk.found(&[]);
    fs::write(desk.path("words"), WORDS).expect("a passphrase can be written");
    desk.start();
    stage.mark("0");
    for (verb, revision) in REVISIONS.iter().zip(1..) {
        let is_file = |word: &str| ["words", "recovery-", "order-"].iter().any(|name| word.starts_with(name));
        let spelt =
            |word: &&str| if is_file(word) { text(&desk.path(word)).to_owned() } else { (*word).to_owned() };
        let mut arguments: Vec<String> = ["orders", "key"].iter().chain(verb.iter()).map(spelt).collect();
        arguments.extend(["--passphrase-file", "words"].iter().map(spelt));
        if revision > 1 {
            arguments.extend(["--reason", "it is time"].map(str::to_owned));
        }
        desk.operator_ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        stage.mark(&revision.to_string());
    }
}

/// What a store says of the order keys in force, and the one that it keeps; or why it does not open.
fn held(store: &Path, runtime: &Runtime) -> Result<(OrderKeys, Option<LockedKey>), String> {
    let _inside = runtime.enter();
    let (books, end) = Books::open(store, Clock::real()).map_err(|error| chain(&error))?;
    let newest = books.read(|fold| fold.orders().keys().newest().map(|newest| newest.signed()));
    let trusted = newest.map(|signed| OrderKeys::decode(signed.payload.as_slice()).expect("it was folded"));
    let trusted = trusted.unwrap_or_default();
    let locked = kept::in_force(books.vault(), &trusted).map_err(|error| chain(&error));
    drop(books);
    // Nothing was written that could have failed.
    let _ = runtime.block_on(end.close());
    Ok((trusted, locked?))
}

/// Opens keys; each once, as that takes a while.
#[derive(Default)]
struct Opener(RefCell<BTreeMap<String, Option<Vec<u8>>>>);

impl Opener {
    /// Whether the key is this one and opens.
    fn opens(&self, locked: &LockedKey, public: &[u8]) -> bool {
        let mut known = self.0.borrow_mut();
        let open = || locked.open(WORDS).ok().map(|key| key.verifying_key().to_bytes().to_vec());
        known.entry(locked.to_text()).or_insert_with(open).as_deref() == Some(public)
    }
}

fn read(path: &Path) -> Result<LockedKey, String> {
    let read = fs::read_to_string(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    LockedKey::from_text(&read).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn judged(found: &Found<'_>, runtime: &Runtime, opener: &Opener) -> Verdict {
    let told = found.marked().expect("it was founded");
    let desk = desk_in(found.folder).ok_or("the store is gone")?;
    let store = desk.join("store");
    let (trusted, kept) = match held(&store, runtime) {
        Ok(held) => held,
        Err(words) if found.crash.is_out_of_order() && words.contains(text(&store)) => return Ok("refused"),
        Err(words) => return Err(words),
    };
    let revision = trusted.revision;
    if revision != told && revision != told + 1 {
        return Err(format!("revision {told} was in force, {revision} is"));
    }
    let Some(verb) = revision.checked_sub(1).map(|before| REVISIONS[before as usize]) else {
        return Ok("none yet");
    };
    let named = |option: &str| {
        let at = verb.iter().position(|word| *word == option)?;
        Some(desk.join(verb[at + 1]))
    };
    let locked = match (named("--key-file"), kept) {
        (Some(file), None) => read(&file)?,
        (None, Some(kept)) => kept,
        (Some(_), Some(_)) => return Err(format!("the collector keeps a key of revision {revision}")),
        (None, None) => return Err(format!("nobody has the key of revision {revision}")),
    };
    if !opener.opens(&locked, &trusted.keys[0]) {
        return Err(format!("the key of revision {revision} does not open"));
    }
    let recovery = read(&desk.join(if revision < 4 { "recovery-1" } else { "recovery-4" }))?;
    if !opener.opens(&recovery, &trusted.recovery_key) {
        return Err(format!("the recovery key of revision {revision} does not open"));
    }
    Ok(if revision == told { "old" } else { "new" })
}

#[test]
fn the_order_key_that_the_journal_names_opens_behind_any_crash() {
    let test = "crash::keys::the_order_key_that_the_journal_names_opens_behind_any_crash";
    let (runtime, opener) = (Runtime::new().expect("a runtime starts"), Opener::default());
    check_behind_first_mark(test, 60, work, |found| judged(found, &runtime, &opener));
}
