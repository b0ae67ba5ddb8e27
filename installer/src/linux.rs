//! Packages for Linux: a format, or all there are. Invariant: what is signed is signed before its sum is taken.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::compile::{self, Program};
use crate::content::{Content, Part};
use crate::edition::{Edition, EditionArgs};
use crate::{Common, deb, rpm, sbom, sign, sums, tarball};

/// Where most machines are, and what a package is made for when nobody says.
pub const HERE: &str = "x86_64-unknown-linux-gnu";

/// Targets of the packages, and of the archives for everything else.
const PACKAGED: [&str; 2] = [HERE, "aarch64-unknown-linux-gnu"];
const ARCHIVED: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// The most that an agent's package takes: it goes to thousands of machines in one night.
const AGENT_BYTES_MAX: u64 = 2_500_000;

/// A package of one format.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// What to pack
    #[arg(value_enum)]
    part: Part,
    /// Rust's name of the system that it is for
    #[arg(long, value_name = "TRIPLE", default_value = HERE)]
    target: String,
    #[command(flatten)]
    edition: EditionArgs,
    #[command(flatten)]
    common: Common,
}

/// All packages for Linux, with sums and bills of materials.
#[derive(Debug, Args)]
pub struct AllArgs {
    /// Folder that packages are written to [default: target/packages]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Cargo's profile; `dist` is what goes out, others build faster
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
    /// Only for these targets; can be given more than once [default: each that packages are made for]
    #[arg(long = "target", value_name = "TRIPLE")]
    targets: Vec<String>,
    /// Command that signs a .deb in place; it gets the file's path as its last word
    #[arg(long, value_name = "COMMAND")]
    sign_deb: Option<String>,
    /// Command that signs a .rpm in place
    #[arg(long, value_name = "COMMAND")]
    sign_rpm: Option<String>,
    /// Command that writes a signature of the sums beside them, which archives are checked by, too
    #[arg(long, value_name = "COMMAND")]
    sign_sums: Option<String>,
    #[command(flatten)]
    edition: EditionArgs,
}

/// A format's package and its file's name.
type Format = fn(Part, Content, &Edition) -> Result<(String, Vec<u8>)>;

/// Makes a .deb and answers its path.
///
/// # Errors
/// When the program does not build, or cannot be packed.
pub fn deb(args: &OneArgs) -> Result<Vec<PathBuf>> {
    one(args, as_deb)
}

/// Makes a .rpm and answers its path.
///
/// # Errors
/// When the program does not build, or cannot be packed.
pub fn rpm(args: &OneArgs) -> Result<Vec<PathBuf>> {
    one(args, as_rpm)
}

/// Makes a .tar.gz and answers its path.
///
/// # Errors
/// When the program does not build, or cannot be packed.
pub fn tar(args: &OneArgs) -> Result<Vec<PathBuf>> {
    one(args, as_tar)
}

fn one(args: &OneArgs, format: Format) -> Result<Vec<PathBuf>> {
    let edition = Edition::of(&args.edition)?;
    let program = match &args.common.binary {
        Some(path) => path.clone(),
        None => built(args.part, &args.target, &args.common.profile)?,
    };
    let made = write(&args.common.folder()?, format(args.part, content(args.part, &program)?, &edition)?)?;
    args.common.sign(&made)?;
    Ok(vec![made])
}

/// Makes everything and answers where it is.
///
/// # Errors
/// When a program does not build, or cannot be packed, or an agent's package is too large.
pub fn all(args: &AllArgs) -> Result<Vec<PathBuf>> {
    let edition = Edition::of(&args.edition)?;
    let folder = crate::folder(args.to.as_deref())?;
    let mut made = Vec::new();
    let wanted = |target: &&str| args.targets.is_empty() || args.targets.iter().any(|named| named == target);
    for part in [Part::Agent, Part::Collector] {
        for target in PACKAGED.iter().chain(&ARCHIVED).copied().filter(&wanted) {
            let program = built(part, target, &args.profile)?;
            let formats: &[(Format, Option<&str>)] = if PACKAGED.contains(&target) {
                &[(as_deb, args.sign_deb.as_deref()), (as_rpm, args.sign_rpm.as_deref())]
            } else {
                &[(as_tar, None)]
            };
            for (format, signed_by) in formats {
                let path = write(&folder, format(part, content(part, &program)?, &edition)?)?;
                signed_by.map_or(Ok(()), |command| sign::sign(command, &path))?;
                made.push(path);
            }
            let name = format!("{}-{}-{target}.cdx.json", part.cargo(), edition.text());
            made.push(write(&folder, (name, sbom::bill(part, target, &edition)?))?);
        }
    }
    anyhow::ensure!(!made.is_empty(), "no package is made for {}", args.targets.join(", "));
    if args.profile == "dist" {
        made.iter().try_for_each(|path| check_size(path))?;
    }
    let sums = sums::write(&folder, &made)?;
    if let Some(command) = &args.sign_sums {
        made.push(sign::sign_beside(command, &sums)?);
    }
    made.push(sums);
    Ok(made)
}

fn as_deb(part: Part, content: Content, edition: &Edition) -> Result<(String, Vec<u8>)> {
    Ok((deb::file_name(&content, edition), deb::package(part, content, edition)?))
}

fn as_rpm(part: Part, content: Content, edition: &Edition) -> Result<(String, Vec<u8>)> {
    Ok((rpm::file_name(&content, edition), rpm::package(part, &content, edition)?))
}

fn as_tar(part: Part, content: Content, edition: &Edition) -> Result<(String, Vec<u8>)> {
    Ok((tarball::file_name(&content, edition), tarball::package(part, &content, edition)?))
}

fn built(part: Part, target: &str, profile: &str) -> Result<PathBuf> {
    Ok(compile::program(&program(part, target, profile))?)
}

/// A part for a Linux, as it is built.
pub fn program<'a>(part: Part, target: &'a str, profile: &'a str) -> Program<'a> {
    let (name, further) = (part.cargo(), part.features());
    Program { package: name, name, target: Some(target), profile, further, flags: &[] }
}

fn content(part: Part, program: &Path) -> Result<Content> {
    let bytes = std::fs::read(program).with_context(|| format!("failed to read `{}`", program.display()))?;
    part.content(bytes).with_context(|| format!("`{}` cannot be packed", program.display()))
}

fn write(folder: &Path, (name, bytes): (String, Vec<u8>)) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("failed to write `{}`", path.display()))?;
    Ok(path)
}

fn check_size(package: &Path) -> Result<()> {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let bytes = std::fs::metadata(package)?.len();
    let is_agent = name.starts_with(Part::Agent.cargo()) && !name.ends_with(".json");
    anyhow::ensure!(
        !is_agent || bytes <= AGENT_BYTES_MAX,
        "`{}` has {bytes} bytes, and an agent's package at most {AGENT_BYTES_MAX}",
        package.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_grew_too_large_is_not_packed() {
        let folder = tempfile::tempdir().unwrap();
        for (name, is_taken) in [("seatbeat-agent_1_amd64.deb", false), ("seatbeat_1_amd64.deb", true)] {
            let path = folder.path().join(name);
            std::fs::File::create(&path).unwrap().set_len(AGENT_BYTES_MAX + 1).unwrap();
            assert_eq!(check_size(&path).is_ok(), is_taken, "{name}");
        }
    }
}
