//! What the agent says, in Windows' event log. Invariant: only what changed something for a person, or what went wrong;
//! a log that does not take it costs nothing else.

use std::fmt::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::places::SERVICE;
use super::raw;

/// Kinds of entries, as Windows numbers them.
const ERROR: u16 = 1;
const WARNING: u16 = 2;
const INFORMATION: u16 = 4;

/// Every entry's number: what it says is in its text. The source's messages are Windows' own (`EventCreate.exe`), which
/// has the text as it is under the numbers 1 to 1000.
const NUMBER: u32 = 1;

/// Letters of an entry; the log takes 31,839.
const LENGTH_MAX: usize = 8 * 1024;

/// See the module's text.
#[derive(Debug, Clone, Copy)]
pub struct EventLog;

#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing into a text does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "\r\n{name}: {value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value}"),
            name => write!(self.0, "\r\n{name}: {value}"),
        };
    }
}

impl<S: Subscriber> Layer<S> for EventLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let kind = match *event.metadata().level() {
            Level::ERROR => ERROR,
            Level::WARN => WARNING,
            Level::INFO => INFORMATION,
            _ => return,
        };
        let mut words = Words::default();
        event.record(&mut words);
        let text: String = words.0.chars().take(LENGTH_MAX).collect();
        // There is nobody else to tell.
        let _ = raw::write_event(SERVICE, kind, NUMBER, &text);
    }
}
