//! Text that came from outside, made safe to show. Invariant: one line, no control characters, of limited length.

/// Longest text shown, in characters: a few lines of a terminal.
pub const LENGTH_MAX: usize = 300;

/// `text` on one line: control characters become spaces, what is too long is cut.
pub fn plain(text: &str) -> String {
    let mut shown: String =
        text.chars().take(LENGTH_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LENGTH_MAX).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

/// An error and what caused it, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = plain(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = plain(&error.to_string());
        // Some errors repeat what they carry.
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_move_the_cursor_or_fill_the_screen() {
        assert_eq!(plain("a\x1b[2Jb\nc\r\n"), "a [2Jb c");
        assert_eq!(plain(&"x".repeat(1_000)).chars().count(), LENGTH_MAX + 1);
    }
}
