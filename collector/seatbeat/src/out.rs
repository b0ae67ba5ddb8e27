//! What the program writes. Invariant: data on stdout, everything else on stderr; nothing else in this crate writes
//! to either. Text from outside (names, reasons) cannot move the cursor or colour the terminal.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

impl Out {
    /// Whether JSON was asked for.
    pub fn is_json(self) -> bool {
        self == Self::Json
    }

    /// Writes a value as the one JSON document, or as `text` makes it for people.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn value(self, value: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
        match self {
            Self::Json => data(&json(value)),
            Self::Text => data(&text()),
        }
    }
}

/// A value as indented JSON.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("rows have text keys and plain values")
}

/// Writes data, ending in one line break.
///
/// # Errors
/// When stdout cannot be written. A reader that has seen enough (`| head`) is no error.
pub fn data(text: &str) -> io::Result<()> {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Tells the person something that is not data.
pub fn note(text: &str) {
    // Nobody is left to hear that stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Tells why the program failed, and what may help.
pub fn failure(chain: &str, hint: Option<&str>) {
    let mut text = format!("error: {}", clean_lines(chain.trim_end()));
    if let Some(hint) = hint {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    note(&text);
}

/// A sign of life on long work, when somebody watches.
pub fn progress(what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} {bytes} {elapsed}");
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A column: its head, and whether it holds numbers.
pub struct Column<'a>(pub &'a str, pub Align);

/// Where the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table that reads without colour, borders or a wide terminal; empty without rows.
pub fn table(columns: &[Column<'_>], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|Column(head, _)| *head));
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    for (index, Column(_, align)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
    }
    trimmed(&table.to_string())
}

/// Names and values below each other; values that are empty are left out.
pub fn fields(pairs: &[(&str, String)]) -> String {
    let shown: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = shown.iter().map(|(name, value)| format!("{name:width$}  {}", clean(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A heading over a block; nothing when the block is empty.
pub fn section(head: &str, block: &str) -> Option<String> {
    (!block.is_empty()).then(|| format!("{head}\n{block}"))
}

/// Blocks with an empty line between them.
pub fn page(blocks: impl IntoIterator<Item = Option<String>>) -> String {
    blocks.into_iter().flatten().filter(|block| !block.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// Says that an action is done: its position for scripts, words for people.
///
/// # Errors
/// When stdout cannot be written.
pub fn done(out: Out, position: u64, words: &str) -> io::Result<()> {
    match out {
        Out::Json => data(&json(&serde_json::json!({ "position": position }))),
        Out::Text => {
            note(words);
            Ok(())
        }
    }
}

/// A cell that says yes, or nothing.
pub fn yes(holds: bool) -> String {
    if holds { "yes".to_owned() } else { String::new() }
}

/// A number of things, in words.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Text without control characters: what a machine or a customer is called cannot drive a terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_hostile(c) { '\u{fffd}' } else { c }).collect()
}

fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && is_hostile(c) { '\u{fffd}' } else { c }).collect()
}

/// Control characters, and those that turn the direction of what follows.
fn is_hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_ends_without_blanks() {
        let columns = [Column("SKU", Align::Left), Column("QUANTITY", Align::Right)];
        let rows = vec![vec!["WF-SVC".to_owned(), "11".to_owned()], vec!["C1".to_owned(), "1040".to_owned()]];
        assert_eq!(table(&columns, rows), "SKU     QUANTITY\nWF-SVC        11\nC1          1040");
        assert_eq!(table(&columns, Vec::new()), "");
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\r\u{202e}c"), "a\u{fffd}[31mb\u{fffd}\u{fffd}c");
        let rows = vec![vec!["x\ny".to_owned()]];
        assert_eq!(table(&[Column("NAME", Align::Left)], rows), "NAME\nx\u{fffd}y");
    }

    #[test]
    fn fields_line_up_and_leave_out_what_is_empty() {
        let pairs = [("reseller", "rsl_1".to_owned()), ("alarm", String::new()), ("zone", "UTC".to_owned())];
        assert_eq!(fields(&pairs), "reseller  rsl_1\nzone      UTC");
    }

    #[test]
    fn blocks_are_parted_by_an_empty_line() {
        assert_eq!(page([Some("a".to_owned()), None, Some("b".to_owned())]), "a\n\nb");
        assert_eq!(section("HEAD", ""), None);
    }
}
