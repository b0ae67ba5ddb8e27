//! Text as a cell of a CSV file. Invariant: no cell that came from text is taken for a formula by a spreadsheet, and
//! a cell that was guarded reads back as it was.

use std::borrow::Cow;

/// What a spreadsheet takes for the start of a formula, alone or behind a guard.
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n'])
}

/// A cell of text, with an apostrophe in front of what a spreadsheet would compute. A text that looks guarded gets
/// another one, so that reading takes off what was put on.
pub fn guarded(text: &str) -> Cow<'_, str> {
    if is_formula(text.trim_start_matches('\'')) { format!("'{text}").into() } else { text.into() }
}

/// The text of a cell that may have been guarded.
pub fn unguarded(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if is_formula(rest.trim_start_matches('\'')) => rest,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_guarded_and_everything_reads_back() {
        for text in ["=1+1", "+49 30", "-2", "@SUM(A1)", "\tx", "'=1", "''-1"] {
            assert!(guarded(text).starts_with('\''), "{text}");
            assert!(guarded(text).len() == text.len() + 1, "{text}");
            assert_eq!(unguarded(&guarded(text)), text);
        }
        for text in ["", "Acme", "'s Hertogenbosch", "1-2", "a=b", "'"] {
            assert_eq!(guarded(text), text);
            assert_eq!(unguarded(text), text);
        }
    }
}
