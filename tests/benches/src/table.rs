//! What a bench prints. Invariant: the table on stdout, everything else on stderr.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where a bench prints")]

use comfy_table::{CellAlignment, Table, presets};

/// Prints a table; all columns but the first are numbers.
pub fn print(head: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head.to_vec()).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

/// Prints a line of data below a table.
pub fn say(line: &str) {
    println!("{line}");
}

/// Says what goes on.
pub fn progress(line: &str) {
    eprintln!("{line}");
}

/// Says what went wrong.
pub fn complain(line: &str) {
    eprintln!("{line}");
}

/// `tenths` of a unit, as a number with one digit behind the point.
pub fn tenths(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// How many times `base`, at least 1, goes into `value`.
pub fn ratio(value: u64, base: u64) -> String {
    tenths((value * 10 + base / 2) / base.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_one_digit_and_are_rounded() {
        assert_eq!((ratio(250, 100), ratio(1, 3), ratio(5, 0)), ("2.5".into(), "0.3".into(), "5.0".into()));
    }
}
