//! Files and folders, version resources, ini files, named pipes. Invariant: each file is opened at most once a look, for
//! reading, and only when the catalogue names it; what is there and may not be read says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use seatbeat_proto::catalogue::{Observations, Source, Wanted, glob};

use super::super::Sensor;
use super::super::vendor::text;
use super::names::{Folders, split_ini};
use super::{ini, version};
use crate::windows::places;

/// Bytes of an ini file that are read: the vendor's longest known one has some 300 KiB.
const INI_LENGTH_MAX: u64 = 4 * 1024 * 1024;

/// Where pipes are.
const PIPES: &str = r"\\.\pipe\";

/// Pipes that are looked at: a machine has some hundreds.
const PIPES_MAX: usize = 20_000;

/// The running machine's.
pub struct Files;

impl Sensor for Files {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        let values = seen.registry_values.clone();
        let folders =
            Folders { programs: places::programs(), programs_x86: places::programs_x86(), values: &values };
        for name in &wanted.paths {
            let Some(path) = folders.place(name) else { continue };
            match std::fs::exists(&path) {
                Ok(true) => drop(seen.paths.insert((*name).to_owned())),
                Ok(false) => {}
                Err(error) => note(seen, Source::Paths, &path, &error),
            }
        }
        for name in &wanted.file_versions {
            let Some(path) = folders.place(name) else { continue };
            match File::open(&path).and_then(|mut file| version::of(&mut file)) {
                Ok(Some(version)) => drop(seen.file_versions.insert((*name).to_owned(), version)),
                Ok(None) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => note(seen, Source::FileVersions, &path, &error),
            }
        }
        ini_values(wanted, &folders, seen);
        if !wanted.pipes.is_empty()
            && let Err(error) = pipes(wanted, seen)
        {
            note(seen, Source::Pipes, PIPES, &error);
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn note(seen: &mut Observations, source: Source, path: &str, error: &io::Error) {
    seen.unreadable.entry(source).or_insert_with(|| format!("failed to read `{path}`: {error}"));
}

fn ini_values(wanted: &Wanted<'_>, folders: &Folders<'_>, seen: &mut Observations) {
    let mut read: BTreeMap<String, Option<String>> = BTreeMap::new();
    for name in &wanted.ini_values {
        let Some((file, section, key)) = split_ini(name) else { continue };
        let Some(path) = folders.place(file) else { continue };
        let held = read.entry(path).or_insert_with_key(|path| {
            let mut bytes = Vec::new();
            match File::open(path).and_then(|file| file.take(INI_LENGTH_MAX).read_to_end(&mut bytes)) {
                Ok(_) => Some(text(&bytes)),
                Err(error) if is_absent(&error) => None,
                Err(error) => {
                    note(seen, Source::IniFiles, path, &error);
                    None
                }
            }
        });
        if let Some((section, value)) = held.as_deref().and_then(|text| ini::value(text, section, key)) {
            seen.ini_values.insert(format!("{file}!{section}!{key}"), value.to_owned());
        }
    }
}

fn pipes(wanted: &Wanted<'_>, seen: &mut Observations) -> io::Result<()> {
    for entry in std::fs::read_dir(PIPES)?.take(PIPES_MAX) {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if wanted.pipes.iter().any(|one| glob(one, &name)) {
            seen.pipes.insert(name);
        }
    }
    Ok(())
}
