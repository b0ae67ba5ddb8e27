//! The agent's package for macOS: a flat package, as `pkgbuild` makes them, around a program that was built on a Mac.
//! Invariant: what is in it is root's and of when the sources are; nothing is compiled or signed here, and no Mac was asked.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::content::{Entry, entry};
use crate::deb;
use crate::edition::{Edition, EditionArgs};

mod bom;
mod cpio;
mod xar;

/// The package's name among a Mac's receipts.
const IDENTIFIER: &str = "com.seatbeat.agent";

/// What starts it.
const DAEMON: &str = include_str!("../macos/com.seatbeat.agent.plist");

/// What is run when it is unpacked.
const SCRIPT: &str = include_str!("../macos/postinstall");

/// First bytes of a program for one processor, and of one for several.
const PROGRAMS: [[u8; 4]; 2] = [[0xCF, 0xFA, 0xED, 0xFE], [0xCA, 0xFE, 0xBA, 0xBE]];

/// What to pack.
#[derive(Debug, Args)]
pub struct PkgArgs {
    /// The agent's program for macOS, signed by `codesign` if it is to be
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// Folder that packages are written to [default: target/packages]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    #[command(flatten)]
    edition: EditionArgs,
}

/// A file or folder as it is on a Mac's disk; folders have no bytes.
#[derive(Debug)]
struct Node<'a> {
    /// Below `/`; the root's is empty.
    path: &'a str,
    /// With the bits that say what it is.
    mode: u32,
    bytes: &'a [u8],
}

impl Node<'_> {
    const FOLDER: u32 = 0o040_000;
    const FILE: u32 = 0o100_000;

    fn is_folder(&self) -> bool {
        self.mode & Self::FOLDER != 0
    }
}

/// Makes a .pkg and answers its path.
///
/// # Errors
/// When the program is none for macOS.
pub fn build(args: &PkgArgs) -> Result<Vec<PathBuf>> {
    let edition = Edition::of(&args.edition)?;
    let shown = args.binary.display();
    let program = std::fs::read(&args.binary).with_context(|| format!("failed to read `{shown}`"))?;
    ensure!(
        PROGRAMS.iter().any(|magic| program.starts_with(magic)),
        "`{shown}` is no program for macOS: build it on a Mac (installer/macos/README.md)"
    );
    let made = crate::folder(args.to.as_deref())?.join(format!("seatbeat-agent-{}.pkg", edition.text()));
    std::fs::write(&made, package(program, &edition)?).with_context(|| write_failed(&made))?;
    Ok(vec![made])
}

fn write_failed(path: &Path) -> String {
    format!("failed to write `{}`", path.display())
}

/// The package's bytes.
fn package(program: Vec<u8>, edition: &Edition) -> Result<Vec<u8>> {
    let files = [
        entry(&format!("Library/LaunchDaemons/{IDENTIFIER}.plist"), DAEMON.into(), 0o644),
        entry("usr/local/bin/seatbeat-agent", program, 0o755),
    ];
    let scripts = [entry("postinstall", SCRIPT.into(), 0o755)];
    let (payload, scripts) = (nodes(&files), nodes(&scripts));
    let about = about(&payload, edition);
    xar::archive(
        &[
            ("Bom", bom::bill(&payload, edition.seconds())?),
            ("PackageInfo", about.into_bytes()),
            ("Payload", deb::gz(&cpio::archive(&payload, edition.seconds())?)?),
            ("Scripts", deb::gz(&cpio::archive(&scripts, edition.seconds())?)?),
        ],
        edition,
    )
}

/// The root, then each folder before what is in it.
fn nodes(files: &[Entry]) -> Vec<Node<'_>> {
    let folder = |path| Node { path, mode: Node::FOLDER | 0o755, bytes: &[] };
    let mut nodes = vec![folder("")];
    nodes.extend(deb::folders(files).into_iter().map(folder));
    nodes.extend(files.iter().map(|one| Node {
        path: &one.path,
        mode: Node::FILE | one.mode,
        bytes: &one.bytes,
    }));
    nodes.sort_by(|one, other| one.path.cmp(other.path));
    nodes
}

fn about(nodes: &[Node<'_>], edition: &Edition) -> String {
    let size: usize = nodes.iter().map(|node| node.bytes.len().div_ceil(1024)).sum();
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<pkg-info format-version="2" identifier="{IDENTIFIER}" version="{}" install-location="/" auth="root" relocatable="false" overwrite-permissions="true">
    <payload numberOfFiles="{}" installKBytes="{size}"/>
    <scripts>
        <postinstall file="./postinstall"/>
    </scripts>
</pkg-info>
"#,
        edition.version,
        nodes.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stand_before_what_is_in_them_and_the_same_files_give_the_same_bytes() {
        let edition = Edition {
            version: "1.0.0",
            revision: 1,
            maintainer: String::new(),
            at: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
        };
        let files = [entry("a/b/c", vec![1], 0o755), entry("a/d", vec![2], 0o644)];
        let listed = nodes(&files);
        let listed: Vec<_> = listed.iter().map(|node| (node.path, node.is_folder())).collect();
        assert_eq!(listed, [("", true), ("a", true), ("a/b", true), ("a/b/c", false), ("a/d", false)]);
        let made = || package(vec![0xCF, 0xFA, 0xED, 0xFE], &edition).unwrap();
        assert_eq!(made(), made());
        assert!(made().starts_with(b"xar!"));
    }
}
