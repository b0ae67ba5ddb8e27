//! The steps of the demonstration, as they go by. Invariant: what is told goes to stderr, one line for each step that
//! is done; a step that takes its time shows that it lives when somebody watches.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::out;

/// Tells step after step.
#[derive(Default)]
pub struct Steps {
    done: u32,
}

/// A step that has begun.
pub struct Step<'a> {
    steps: &'a mut Steps,
    what: &'static str,
    bar: ProgressBar,
}

impl Steps {
    /// Begins a step.
    pub fn begin(&mut self, what: &'static str) -> Step<'_> {
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        Step { steps: self, what, bar }
    }
}

impl Step<'_> {
    /// The step consists of this many parts.
    pub fn of(&self, parts: usize) {
        self.bar.set_length(parts as u64);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bar:30} {pos}/{len} {elapsed}") {
            self.bar.set_style(style);
        }
    }

    /// So many more parts are done.
    pub fn more(&self, parts: usize) {
        self.bar.inc(parts as u64);
    }

    /// The step is done.
    pub fn done(self, detail: &str) {
        let tenths = self.bar.elapsed().as_millis() / 100;
        self.bar.finish_and_clear();
        self.steps.done += 1;
        let (number, what, seconds, tenth) = (self.steps.done, self.what, tenths / 10, tenths % 10);
        out::note(&format!("{number:2}. {what}: {detail} ({seconds}.{tenth} s)"));
    }
}
