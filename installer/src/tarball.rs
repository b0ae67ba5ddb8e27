//! A tar of one program for any Linux, with its units and what to do with them. Invariant: as for the other formats, the
//! same sources give the same bytes.

use anyhow::Result;

use crate::content::{Content, Entry, Part, entry};
use crate::deb;
use crate::edition::Edition;

/// How it is installed by hand.
const AGENT: &str = include_str!("../linux/agent/INSTALL");

/// As [`AGENT`].
const COLLECTOR: &str = include_str!("../linux/collector/INSTALL");

/// The archive's bytes: what a package would install, below a folder of the archive's name.
///
/// # Errors
/// When a path is too long for the format.
pub fn package(part: Part, content: &Content, edition: &Edition) -> Result<Vec<u8>> {
    let folder = stem(content, edition);
    let (manual, text) = part.manual();
    let how = match part {
        Part::Agent => AGENT,
        Part::Collector => COLLECTOR,
    };
    let further =
        [entry("INSTALL", how.as_bytes().to_vec(), 0o644), entry(manual, text.as_bytes().to_vec(), 0o644)];
    let mut files: Vec<Entry> = content.entries.iter().chain(&further).cloned().collect();
    for file in &mut files {
        file.path = format!("{folder}/{}", file.path);
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    deb::gz(&deb::tar(&files, edition)?)
}

/// The file's name.
pub fn file_name(content: &Content, edition: &Edition) -> String {
    format!("{}.tar.gz", stem(content, edition))
}

fn stem(content: &Content, edition: &Edition) -> String {
    format!("{}-{}-{}-linux", content.name, edition.text(), content.wants.processor.kernel())
}
