//! Part of a crate only where mutants are woven into it. Invariant: without `SEATBEAT_MUTANT` every function is itself.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::Write as _;
use std::sync::OnceLock;
use std::{env, fs, thread};

/// Names the mutant that is to be in force.
const CHOSEN: &str = "SEATBEAT_MUTANT";
/// Names the file that is told which thread, and so which test, came into which function.
const REACHED: &str = "SEATBEAT_MUTANT_REACHED";

thread_local! {
    static TOLD: RefCell<HashSet<u32>> = RefCell::default();
}

/// Which mutant is in force in a function; 0: none.
pub fn chosen(function: u32) -> u32 {
    static MUTANT: OnceLock<u32> = OnceLock::new();
    let mutant =
        *MUTANT.get_or_init(|| env::var(CHOSEN).ok().and_then(|text| text.parse().ok()).unwrap_or(0));
    if mutant == 0 {
        tell(function);
    }
    mutant
}

fn tell(function: u32) {
    static FILE: OnceLock<Option<fs::File>> = OnceLock::new();
    let open = || fs::OpenOptions::new().append(true).open(env::var_os(REACHED)?).ok();
    let Some(mut file) = FILE.get_or_init(open).as_ref() else { return };
    let is_new = TOLD.try_with(|told| told.borrow_mut().insert(function)).unwrap_or(true);
    if is_new {
        let line = format!("{function}\t{}\n", thread::current().name().unwrap_or(""));
        file.write_all(line.as_bytes()).expect("the file takes a line");
    }
}
