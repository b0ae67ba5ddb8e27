//! What a program wants of the system it runs on. Invariant: read from the program itself, so that a package asks for
//! neither more nor less; a library that no package is known for is an error.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use goblin::elf::{Elf, header};

/// A processor that packages are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// 64-bit x86.
    X86,
    /// 64-bit ARM.
    Arm,
}

impl Processor {
    /// As Debian calls it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// As rpm and the kernel call it.
    pub fn kernel(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }
}

/// See the file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wants {
    /// What it was compiled for.
    pub processor: Processor,
    /// Shared libraries, each with the versions of its symbols that are used.
    pub libraries: BTreeMap<String, BTreeSet<String>>,
}

impl Wants {
    /// Reads a program.
    ///
    /// # Errors
    /// When it is none for Linux, or for another processor.
    pub fn of(program: &[u8]) -> Result<Self> {
        let elf = Elf::parse(program).context("failed to read the program: it is none for Linux")?;
        let processor = match elf.header.e_machine {
            header::EM_X86_64 => Processor::X86,
            header::EM_AARCH64 => Processor::Arm,
            other => {
                bail!("the program is for a processor that no package is made for (ELF machine {other})")
            }
        };
        let mut libraries: BTreeMap<String, BTreeSet<String>> =
            elf.libraries.iter().map(|name| ((*name).to_owned(), BTreeSet::new())).collect();
        for needed in elf.verneed.iter().flat_map(|section| section.iter()) {
            let Some(library) = elf.dynstrtab.get_at(needed.vn_file) else { continue };
            let versions = libraries.entry(library.to_owned()).or_default();
            versions
                .extend(needed.iter().filter_map(|of| elf.dynstrtab.get_at(of.vna_name)).map(str::to_owned));
        }
        Ok(Self { processor, libraries })
    }

    /// As Debian's packages, in the syntax of `Depends`.
    ///
    /// # Errors
    /// When no package is known for a library.
    pub fn debian(&self) -> Result<Vec<String>> {
        let mut packages = BTreeSet::new();
        for library in self.libraries.keys() {
            packages.insert(match library.as_str() {
                "libgcc_s.so.1" => "libgcc-s1 (>= 4.2)".to_owned(),
                name if is_libc(name) => match self.libc() {
                    Some((major, minor)) => format!("libc6 (>= {major}.{minor})"),
                    None => "libc6".to_owned(),
                },
                name => bail!("the program wants `{name}`, and no Debian package is known for it"),
            });
        }
        Ok(packages.into_iter().collect())
    }

    /// As rpm's names of libraries, each with the version of symbols that it has to have.
    pub fn rpm(&self) -> Vec<String> {
        let named = |library: &str, version: &str| format!("{library}({version})(64bit)");
        let of = |(library, versions): (&String, &BTreeSet<String>)| {
            let mut names = vec![named(library, "")];
            names.extend(versions.iter().map(|version| named(library, version)));
            names
        };
        // The loader is part of the C library's package, and is not named by it in this form on every processor.
        self.libraries.iter().filter(|(library, _)| !library.starts_with("ld-linux")).flat_map(of).collect()
    }

    /// The newest version of the C library's symbols.
    fn libc(&self) -> Option<(u32, u32)> {
        let versions =
            self.libraries.iter().filter(|(name, _)| is_libc(name)).flat_map(|(_, versions)| versions);
        let numbers = versions.filter_map(|version| {
            let (major, minor) = version.strip_prefix("GLIBC_")?.split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        numbers.max()
    }
}

fn is_libc(library: &str) -> bool {
    ["libc.so.", "libm.so.", "libdl.so.", "libpthread.so.", "librt.so.", "ld-linux"]
        .iter()
        .any(|start| library.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(libraries: &[(&str, &[&str])]) -> Wants {
        let of = |(name, versions): &(&str, &[&str])| {
            ((*name).to_owned(), versions.iter().map(|version| (*version).to_owned()).collect())
        };
        Wants { processor: Processor::X86, libraries: libraries.iter().map(of).collect() }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let wants = wants(&[
            ("libc.so.6", &["GLIBC_2.9", "GLIBC_2.34", "GLIBC_2.2.5"]),
            ("libm.so.6", &["GLIBC_2.29"]),
        ]);
        assert_eq!(wants.debian().unwrap(), ["libc6 (>= 2.34)"]);
        assert!(wants.rpm().contains(&"libc.so.6(GLIBC_2.34)(64bit)".to_owned()));
        assert!(wants.rpm().contains(&"libm.so.6()(64bit)".to_owned()));
    }

    #[test]
    fn a_library_that_nobody_knows_is_named() {
        let error = wants(&[("libodd.so.3", &[])]).debian().unwrap_err();
        assert!(error.to_string().contains("`libodd.so.3`"), "{error}");
    }

    #[test]
    fn a_program_is_read_and_anything_else_refused() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let wants = Wants::of(&own).unwrap();
        assert!(wants.libraries.keys().any(|name| name.starts_with("libc.so.")), "{wants:?}");
        assert!(wants.libc().is_some());
        assert!(Wants::of(b"#!/bin/sh\n").is_err());
    }
}
