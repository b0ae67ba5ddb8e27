//! A bench's figures on stdout, and in a file of all of them. Invariant: a section of the file is replaced whole by
//! the bench of its name, so that each ratio in it was measured in one run; the others stay as they are.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::table;

/// What stands above all sections.
const HEAD: &str = "# What Seatbeat costs\n\n\
Written by `seatbeat-benches`. A section is one run of the command in it, on a shared machine: look at ratios inside\n\
of a section, and never at a figure of one beside a figure of another.\n";

/// What a bench found: its words and tables, in the order they were added.
pub struct Section {
    name: &'static str,
    about: &'static str,
    parts: Vec<Part>,
}

enum Part {
    Table { head: Vec<String>, rows: Vec<Vec<String>> },
    Note(String),
}

impl Section {
    /// Nothing found yet by the bench of this name (its subcommand's); `about` says what is measured and how.
    pub fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, parts: Vec::new() }
    }

    /// Adds a table; all columns but the first are numbers.
    pub fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) {
        self.parts.push(Part::Table { head: head.iter().map(|cell| (*cell).to_owned()).collect(), rows });
    }

    /// Adds a sentence below what is there.
    pub fn note(&mut self, line: impl Into<String>) {
        self.parts.push(Part::Note(line.into()));
    }

    /// Prints it, and writes it into the file of all results.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn publish(self) -> anyhow::Result<()> {
        self.show();
        let path = path();
        let before = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("failed to read `{}`", path.display()))?,
        };
        let after = replaced(&before, self.name, &self.markdown(&command(), &machine()));
        std::fs::write(&path, after).with_context(|| format!("failed to write `{}`", path.display()))?;
        table::progress(&format!("written to {}", path.display()));
        Ok(())
    }

    /// Prints it.
    pub fn show(&self) {
        for part in &self.parts {
            match part {
                Part::Table { head, rows } => {
                    let head: Vec<&str> = head.iter().map(String::as_str).collect();
                    table::print(&head, rows.clone());
                }
                Part::Note(line) => table::say(line),
            }
        }
    }

    fn markdown(&self, command: &str, machine: &str) -> String {
        let mut text = format!("## {}\n\n{}\n\n`{command}`, {machine}\n", self.name, self.about);
        for part in &self.parts {
            text.push('\n');
            match part {
                Part::Table { head, rows } => {
                    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
                    text.push_str(&line(head));
                    text.push_str(&format!("| --- |{}\n", " ---: |".repeat(head.len().saturating_sub(1))));
                    rows.iter().for_each(|row| text.push_str(&line(row)));
                }
                Part::Note(note) => text.push_str(&format!("{note}\n")),
            }
        }
        text
    }
}

/// Beside this crate's manifest; `SEATBEAT_RESULTS` names another file.
fn path() -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md"));
    std::env::var_os("SEATBEAT_RESULTS").map_or_else(default, PathBuf::from)
}

/// The text of all results with one section replaced; sections stand in the order of their names.
fn replaced(before: &str, name: &str, section: &str) -> String {
    let mut sections: std::collections::BTreeMap<&str, &str> = before
        .match_indices("\n## ")
        .map(|(at, _)| {
            let text = &before[at + 1..];
            let text = &text[..text.find("\n## ").map_or(text.len(), |end| end + 1)];
            (text[3..].lines().next().unwrap_or_default(), text.trim_end())
        })
        .collect();
    sections.insert(name, section.trim_end());
    let sections: Vec<&str> = sections.into_values().collect();
    format!("{HEAD}\n{}\n", sections.join("\n\n"))
}

/// How this run was started, as it can be started again.
fn command() -> String {
    let profile = std::env::current_exe().ok().and_then(|own| {
        let folder = own.parent()?.file_name()?.to_str()?.to_owned();
        Some(match folder.as_str() {
            "debug" => String::new(),
            "release" => " --release".to_owned(),
            other => format!(" --profile {other}"),
        })
    });
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo run{} -p seatbeat-benches -- {}", profile.unwrap_or_default(), arguments.join(" "))
}

/// What it ran on, in words.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores of {}", model.map_or("an unnamed processor", |(_, name)| name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_whole_and_the_others_stay() {
        let mut one = Section::new("journal", "Rows.");
        one.table(&["BATCH", "ROWS/S"], vec![vec!["64".into(), "1".into()]]);
        let first = replaced("", "journal", &one.markdown("run", "here"));
        let both = replaced(&first, "close", "## close\n\nA month.\n");
        assert!(both.find("## close").unwrap() < both.find("## journal").unwrap());
        let again = replaced(&both, "journal", "## journal\n\nanother run\n");
        assert!(again.starts_with(HEAD) && again.contains("A month.") && again.contains("another run"));
        assert!(!again.contains("ROWS/S"), "{again}");
        assert_eq!(replaced(&again, "close", "## close\n\nA month.\n"), again);
    }
}
