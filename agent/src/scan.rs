//! `seatbeat-agent scan`: what was found and why, for people and for tools. Invariant: data goes to `out` only, and a
//! scan changes nothing on the machine but the file that `--save` names.

use std::io::Write;
use std::path::PathBuf;

use jiff::Timestamp;
use seatbeat_proto::catalogue::{Catalogue, Explanation, Finding, Observations, Role, Sight};
use serde_json::{Value, json};

use crate::detect::{self, DetectError, Scope, snapshot};

/// What to scan, and how to tell it.
#[derive(Debug, Clone, Default)]
pub struct ScanArgs {
    /// Where to look.
    pub scope: Scope,
    /// Print JSON instead of text.
    pub json: bool,
    /// Write what was seen to this file, as a snapshot.
    pub save: Option<PathBuf>,
}

/// Why a scan failed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Nothing could be looked at.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The snapshot could not be written.
    #[error(transparent)]
    Save(#[from] snapshot::SnapshotError),
    /// The result could not be printed.
    #[error("failed to print the result")]
    Print(#[source] std::io::Error),
}

impl ScanError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Detect(error) => error.hint(),
            Self::Save(error) => Some(error.hint()),
            Self::Print(_) => None,
        }
    }
}

/// Looks, matches, and prints.
///
/// # Errors
/// When the scope cannot be opened, the snapshot cannot be written, or `out` takes no more.
pub fn run(args: &ScanArgs, now: Timestamp, out: &mut dyn Write) -> Result<(), ScanError> {
    let catalogue = Catalogue::embedded();
    let seen = detect::observe(&args.scope, catalogue)?;
    if let Some(path) = &args.save {
        snapshot::save(&seen, path)?;
    }
    let text = told(catalogue, &seen, now, args.json);
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ScanError::Print)
}

fn told(catalogue: &Catalogue, seen: &Observations, now: Timestamp, json: bool) -> String {
    let explanations = catalogue.explain(seen, now);
    let findings = catalogue.find(seen, now);
    match json {
        true => format!("{:#}\n", as_json(catalogue, seen, &findings, &explanations)),
        false => as_text(seen, &findings, &explanations),
    }
}

fn as_json(
    catalogue: &Catalogue,
    seen: &Observations,
    findings: &[Finding],
    explained: &[Explanation],
) -> Value {
    let products: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "product": finding.product.as_str(), "state": finding.state.as_str(), "version": finding.version,
                "signals": finding.signals, "against": finding.against, "why": finding.why,
            })
        })
        .collect();
    let looked_at: Vec<Value> = explained
        .iter()
        .map(|explanation| {
            let looks: Vec<Value> = explanation
                .looks
                .iter()
                .map(|look| {
                    let (sight, detail) = sight_words(&look.sight);
                    json!({"role": role_word(look.role), "signal": look.signal, "recalled": look.recalled,
                        "sight": sight, "detail": detail})
                })
                .collect();
            json!({"product": explanation.product.as_str(), "name": explanation.name,
                "conclusion": explanation.conclusion, "notes": explanation.notes, "signals": looks})
        })
        .collect();
    json!({"catalogue_version": catalogue.version, "os": seen.os.as_str(), "products": products,
        "explanations": looked_at, "unreadable": seen.unreadable})
}

fn role_word(role: Role) -> &'static str {
    Role::WORDS.iter().find(|(_, known)| *known == role).map_or("", |(word, _)| word)
}

fn sight_words(sight: &Sight) -> (&'static str, Option<&str>) {
    match sight {
        Sight::Seen(name) => ("seen", Some(name)),
        Sight::Discounted(why) => ("discounted", Some(why)),
        Sight::Absent => ("absent", None),
        Sight::Unreadable(why) => ("unreadable", Some(why)),
    }
}

fn as_text(seen: &Observations, findings: &[Finding], explained: &[Explanation]) -> String {
    let mut text = String::new();
    if findings.is_empty() {
        text.push_str("no product found\n");
    } else {
        let rows = findings.iter().map(|finding| {
            let version = finding.version.as_deref().unwrap_or("-");
            [finding.product.as_str(), finding.state.as_str(), version, finding.why.as_deref().unwrap_or("")]
        });
        table(std::iter::once(["PRODUCT", "STATE", "VERSION", "WHY"]).chain(rows).collect(), &mut text);
    }
    for explanation in explained {
        text.push_str(&format!(
            "\n{}: {} ({})\n",
            explanation.product, explanation.conclusion, explanation.name
        ));
        for look in &explanation.looks {
            let (mark, said) = match (&look.sight, look.role) {
                (Sight::Seen(name), Role::Exclude) => ('-', name),
                (Sight::Seen(name), _) => ('+', name),
                (Sight::Discounted(why), _) => ('-', why),
                (Sight::Unreadable(why), _) => ('?', why),
                (Sight::Absent, _) => continue,
            };
            let recalled = if look.recalled { ", unverified" } else { "" };
            let name = if mark == '?' { format!("{}: {said}", look.signal) } else { said.clone() };
            text.push_str(&format!("  {mark} {name} ({}{recalled})\n", role_word(look.role)));
        }
        for note in &explanation.notes {
            text.push_str(&format!("  ! {note}\n"));
        }
    }
    if !seen.unreadable.is_empty() {
        text.push_str("\nnot read:\n");
        for (source, why) in &seen.unreadable {
            // The words of the snapshot file.
            let source = serde_json::to_value(source).ok().and_then(|word| word.as_str().map(str::to_owned));
            text.push_str(&format!("  {}: {why}\n", source.unwrap_or_default()));
        }
    }
    text
}

/// Columns two spaces apart, the last one as long as it is.
fn table(rows: Vec<[&str; 4]>, text: &mut String) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    for [product, state, version, why] in &rows {
        let line = format!("{product:first$}  {state:second$}  {version:third$}  {why}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests;
