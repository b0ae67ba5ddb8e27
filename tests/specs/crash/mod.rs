//! Crashes of the machine: what parts of the product do to their files is recorded, and each opens whatever a power cut
//! may have left of it. Invariant: what was acknowledged is there, as it was and once; or what is there is refused in words
//! that name it.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use seatbeat_fleet::seed::Seed;

use crate::desk::say;
use crate::kill::setting;
use states::{Crash, crashes, image};
use trace::{Stage, recorded, scratch};

mod agent;
mod archive;
mod books;
mod collector;
mod damage;
mod dying;
mod failpoints;
mod house;
mod keys;
mod orders;
mod states;
mod trace;

/// Violations that are shown.
const SHOWN_MAX: usize = 10;

/// A state of the disk that is judged.
pub struct Found<'a> {
    /// Where it is laid out.
    pub folder: &'a Path,
    /// What was marked before the crash.
    pub marks: Vec<&'a str>,
    /// The crash.
    pub crash: Crash,
}

impl Found<'_> {
    /// The number that was marked last.
    pub fn marked(&self) -> Option<u64> {
        self.marks.last().map(|mark| mark.parse().expect("a number is marked"))
    }
}

/// What a part made of a state, in a word; or what is wrong with that.
pub type Verdict = Result<&'static str, String>;

/// Records what a test does in `work`, and has `judge` look at what crashes may leave of it: at so many, or as many as the
/// environment says.
pub fn check(test: &str, states: u64, work: impl FnOnce(&Stage), judge: impl Fn(&Found<'_>) -> Verdict) {
    if let Some(acts) = recorded(test, work) {
        judged(&acts, crashes(&acts), states, judge);
    }
}

/// As [`check`], of the crashes behind the first mark: what came before is another test's.
pub fn check_behind_first_mark(
    test: &str,
    states: u64,
    work: impl FnOnce(&Stage),
    judge: impl Fn(&Found<'_>) -> Verdict,
) {
    let Some(acts) = recorded(test, work) else { return };
    let first = acts.iter().position(|act| matches!(act, trace::Act::Mark(_))).expect("something was marked");
    let mut crashes = crashes(&acts);
    crashes.retain(|crash| crash.acts > first);
    judged(&acts, crashes, states, judge);
}

fn judged(acts: &[trace::Act], mut left: Vec<Crash>, states: u64, judge: impl Fn(&Found<'_>) -> Verdict) {
    let (number, most) = (setting("SEATBEAT_SEED", 1), setting("SEATBEAT_STATES", states));
    say(&format!("SEATBEAT_SEED={number}"));
    let mut seed = Seed::new(number);
    let (possible, scratch) = (left.len(), scratch());
    let folder = scratch.path().join("state");
    let (mut seen, mut verdicts, mut wrong) = (HashSet::new(), BTreeMap::<String, u64>::new(), Vec::new());
    while !left.is_empty() && (seen.len() as u64) < most {
        let crash = left.swap_remove(seed.below(left.len() as u64) as usize);
        let (state, marks) = (image(acts, crash), crash.marks(acts));
        if !seen.insert((state.number(), marks.len())) {
            continue;
        }
        state.lay_out(&folder);
        let found = Found { folder: &folder, marks, crash };
        let verdict =
            catch_unwind(AssertUnwindSafe(|| judge(&found))).unwrap_or_else(|_| Err("a panic".to_owned()));
        match verdict {
            Ok(word @ "refused") => *verdicts.entry(format!("{word} ({})", crash.word())).or_default() += 1,
            Ok(word) => *verdicts.entry(word.to_owned()).or_default() += 1,
            Err(what) => {
                let last = crash.acts.checked_sub(1).map(|last| &acts[last]);
                wrong.push(format!("{crash:?} behind {}: {what}", told(last)));
            }
        }
    }
    say(&format!(
        "{} acts, {possible} crashes, {} states: {verdicts:?}, {} wrong",
        acts.len(),
        seen.len(),
        wrong.len()
    ));
    let shown: Vec<_> = wrong.iter().take(SHOWN_MAX).collect();
    assert!(wrong.is_empty(), "{} of {} states:\n{shown:#?}", wrong.len(), seen.len());
    assert!(!seen.is_empty(), "nothing was recorded");
}

fn told(act: Option<&trace::Act>) -> String {
    match act {
        Some(trace::Act::Write(file, at, bytes)) => format!("Write({file}, {at}, {} bytes)", bytes.len()),
        other => format!("{other:?}"),
    }
}
