//! Whether what goes out follows from the sources alone: the agent is built here, and once more elsewhere. Invariant: the
//! second build is of the commit, and has another folder for sources, for what is made of them and for cargo's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::compile::{self, Place, Program};
use crate::content::Part;
use crate::{linux, msi};

/// What to build twice.
#[derive(Debug, Args)]
pub struct TwiceArgs {
    /// For this target; can be given more than once [default: x86-64 Linux and Windows]
    #[arg(long = "target", value_name = "TRIPLE")]
    targets: Vec<String>,
    /// Cargo's profile; `dist` is what goes out
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
}

/// Builds and compares, and answers where the programs of the usual folder are.
///
/// # Errors
/// When the sources are no commit, a build fails, or two programs differ.
pub fn compare(args: &TwiceArgs) -> Result<Vec<PathBuf>> {
    let own = Place::own()?;
    let changed = git(&own.sources, &["status", "--porcelain"])?;
    ensure!(
        changed.is_empty(),
        "the sources are no commit, and a commit is what is built elsewhere: commit first"
    );
    let aside = tempfile::tempdir().context("failed to make a folder aside")?;
    let elsewhere = another(&own, aside.path())?;
    let usual = [linux::HERE.to_owned(), msi::TARGET.to_owned()];
    let targets = if args.targets.is_empty() { &usual[..] } else { &args.targets };
    targets.iter().map(|target| one(&own, &elsewhere, target, &args.profile)).collect()
}

fn one(own: &Place, elsewhere: &Place, target: &str, profile: &str) -> Result<PathBuf> {
    let program: Program<'_> = match target {
        msi::TARGET => msi::program(profile),
        target => linux::program(Part::Agent, target, profile),
    };
    let build = |place: &Place| -> Result<(PathBuf, Vec<u8>)> {
        let path = compile::program_at(place, &program)?;
        let bytes = std::fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        Ok((path, bytes))
    };
    let ((path, first), (_, second)) = (build(own)?, build(elsewhere)?);
    if let Some(at) = difference(&first, &second) {
        let [first, second] = [&first, &second].map(|bytes| around(bytes, at));
        bail!("two builds for {target} differ from byte {at} on: `{first}` and `{second}`");
    }
    Ok(path)
}

/// Where two files are no longer the same.
fn difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let at = one.iter().zip(other).position(|(one, other)| one != other);
    at.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}

/// What can be read there.
fn around(bytes: &[u8], at: usize) -> String {
    const LENGTH: usize = 60;
    let part = &bytes[at.saturating_sub(LENGTH)..bytes.len().min(at.saturating_add(LENGTH))];
    String::from_utf8_lossy(part).chars().map(|c| if c.is_control() { '.' } else { c }).collect()
}

/// The commit's sources in a folder of their own, and what of cargo's is fetched already under another name.
fn another(own: &Place, aside: &Path) -> Result<Place> {
    let [sources, made, home] = ["some/where/else", "made", "home"].map(|name| aside.join(name));
    for folder in [&sources, &home] {
        std::fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    }
    let packed = git(&own.sources, &["archive", "--format=tar", "HEAD"])?;
    tar::Archive::new(packed.as_slice()).unpack(&sources).context("failed to lay the sources out")?;
    for kept in own.home.iter().flat_map(std::fs::read_dir).flatten().flatten() {
        std::os::unix::fs::symlink(kept.path(), home.join(kept.file_name()))
            .context("failed to name cargo's folder otherwise")?;
    }
    Ok(Place { sources, made, home: Some(home) })
}

fn git(folder: &Path, words: &[&str]) -> Result<Vec<u8>> {
    let told = Command::new("git").current_dir(folder).args(words).output().context("failed to run `git`")?;
    let said = String::from_utf8_lossy(&told.stderr);
    ensure!(told.status.success(), "`git {}` failed: {}", words.join(" "), said.trim());
    Ok(told.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_differs_is_found_and_shown() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"abd"), Some(2));
        assert_eq!(difference(b"abc", b"ab"), Some(2));
        assert_eq!(around(b"\0/home/me\0", 5), "./home/me.");
    }

    #[test]
    fn elsewhere_has_the_sources_of_the_commit_under_another_name() {
        let (own, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (sources, home) = (own.path().join("sources"), own.path().join("home"));
        std::fs::create_dir_all(&sources).unwrap();
        std::fs::create_dir_all(home.join("registry")).unwrap();
        std::fs::write(sources.join("one.rs"), "//! One.").unwrap();
        if git(&sources, &["init", "--quiet"]).is_err() {
            return skip();
        }
        git(&sources, &["add", "one.rs"]).unwrap();
        let who = ["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false"];
        git(&sources, &[&who[..], &["commit", "--quiet", "--message=one"]].concat()).unwrap();
        std::fs::write(sources.join("two.rs"), "//! Not of the commit.").unwrap();
        let own = Place { sources, made: own.path().join("made"), home: Some(home) };
        let elsewhere = another(&own, aside.path()).unwrap();
        let is_there = |name: &str| elsewhere.sources.join(name).exists();
        assert_eq!([is_there("one.rs"), is_there("two.rs"), is_there(".git")], [true, false, false]);
        assert!(elsewhere.home.as_ref().unwrap().join("registry").exists());
        assert!(elsewhere.sources != own.sources && elsewhere.made != own.made && elsewhere.home != own.home);
    }

    #[expect(clippy::print_stdout, reason = "the test harness captures it")]
    fn skip() {
        assert!(std::env::var_os("CI").is_none(), "needs git (apt-get install git)");
        println!("skipped: needs git (apt-get install git)");
    }
}
