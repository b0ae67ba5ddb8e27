//! Values: text that a source holds under a name, which versions and rules are read from.
//! Invariant: a value whose source could not be read is unknown, not missing.

use std::collections::BTreeMap;

use super::names::{is_path, is_registry_name};
use super::observations::{Observations, Os, Source};
use super::text::{self, glob};
use super::things::VendorCommand;

/// Where a value is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// A vendor program's answer: the value line of this key, or all of it without one.
    Output {
        /// Whose answer.
        command: VendorCommand,
        /// Key of the line.
        key: Option<String>,
    },
    /// A registry value, `key!name`.
    Registry(String),
    /// `DisplayVersion` of the Uninstall entry with one of these keys or names.
    Uninstall(Vec<String>),
    /// Version of an installed package with one of these names.
    Package(Vec<String>),
    /// Version resource of a file.
    FileVersion(String),
    /// Version of a macOS bundle.
    Bundle(String),
    /// Version of a macOS receipt.
    Receipt(String),
    /// A property list's value, `path!key:key`.
    Plist(String),
    /// An ini file's value, `path!section!key`.
    Ini(String),
}

/// What a look at a value gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// Its text, trimmed and not empty.
    Text(&'a str),
    /// There is none.
    Missing,
    /// It could not be read, because of this.
    Unreadable(String),
}

impl ValueSource {
    /// Reads the value from what was observed.
    pub fn read<'a>(&self, seen: &'a Observations) -> Value<'a> {
        let text = match self {
            Self::Output { command, key } => return read_output(*command, key.as_deref(), seen),
            Self::Registry(wanted) => {
                first(&seen.registry_values, |name| is_registry_name(wanted, name)).map(String::as_str)
            }
            Self::Uninstall(names) => seen
                .uninstall
                .iter()
                .find(|entry| names.iter().any(|name| glob(name, &entry.key) || glob(name, &entry.name)))
                .map(|entry| entry.version.as_str()),
            Self::Package(names) => seen
                .packages
                .iter()
                .find(|package| package.is_installed() && names.iter().any(|name| glob(name, &package.name)))
                .map(|package| package.version.as_str()),
            Self::FileVersion(wanted) => {
                first(&seen.file_versions, |path| is_path(wanted, path, &seen.registry_values))
                    .map(String::as_str)
            }
            Self::Bundle(path) => by_name(&seen.bundles, path),
            Self::Receipt(id) => by_name(&seen.receipts, id),
            Self::Plist(name) => by_name(&seen.plist_values, name),
            Self::Ini(wanted) => first(&seen.ini_values, |name| is_path(wanted, name, &seen.registry_values))
                .map(String::as_str),
        };
        match text.map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => Value::Text(text),
            None => match self.sources().iter().find_map(|source| seen.unreadable.get(source)) {
                Some(why) => Value::Unreadable(why.clone()),
                None => Value::Missing,
            },
        }
    }

    /// Its name as people are shown it.
    pub fn describe(&self) -> String {
        match self {
            Self::Output { command, key: Some(key) } => format!("{key} ({})", command.id()),
            Self::Output { command, key: None } => command.id().to_owned(),
            Self::Registry(name) | Self::FileVersion(name) | Self::Bundle(name) | Self::Receipt(name) => {
                name.clone()
            }
            Self::Plist(name) | Self::Ini(name) => name.clone(),
            Self::Uninstall(names) | Self::Package(names) => names.join("|"),
        }
    }

    fn sources(&self) -> &'static [Source] {
        match self {
            Self::Output { .. } => &[],
            Self::Registry(_) | Self::Uninstall(_) => &[Source::Registry],
            Self::Package(_) => &[Source::Dpkg, Source::Rpm],
            Self::FileVersion(_) => &[Source::FileVersions],
            Self::Bundle(_) => &[Source::Bundles],
            Self::Receipt(_) => &[Source::Receipts],
            Self::Plist(_) => &[Source::Plists],
            Self::Ini(_) => &[Source::IniFiles],
        }
    }

    /// Whether a machine with this system can have it at all.
    pub fn exists_on(&self, os: Os) -> bool {
        match self {
            Self::Output { .. } | Self::Ini(_) => true,
            Self::Registry(_) | Self::Uninstall(_) | Self::FileVersion(_) => os == Os::Windows,
            Self::Package(_) => os == Os::Linux,
            Self::Bundle(_) | Self::Receipt(_) | Self::Plist(_) => os == Os::Macos,
        }
    }
}

/// An answer that is there is whole; one that is not there says nothing.
fn read_output<'a>(command: VendorCommand, key: Option<&str>, seen: &'a Observations) -> Value<'a> {
    let Some(output) = seen.vendor_output.get(&command) else {
        let why = seen.unreadable.get(&Source::VendorOutput).cloned();
        return Value::Unreadable(why.unwrap_or_else(|| format!("no answer of {}", command.id())));
    };
    let Some(key) = key else {
        let output = output.trim();
        return if output.is_empty() { Value::Missing } else { Value::Text(output) };
    };
    match text::output_value(output, key) {
        Some(value) => Value::Text(value),
        // An empty answer, or an error message, does not say that there is no value.
        None if !text::output_has_topic(output, key) => {
            Value::Unreadable(format!("the answer of {} is not about {key}", command.id()))
        }
        None => Value::Missing,
    }
}

fn by_name<'a>(values: &'a BTreeMap<String, String>, wanted: &str) -> Option<&'a str> {
    first(values, |name| glob(wanted, name)).map(String::as_str)
}

fn first(values: &BTreeMap<String, String>, is: impl Fn(&str) -> bool) -> Option<&String> {
    values.iter().find(|(name, _)| is(name)).map(|(_, value)| value)
}

/// The first pattern number that these sources give, decoded.
pub fn pattern(sources: &[ValueSource], seen: &Observations) -> Option<String> {
    sources.iter().find_map(|source| match source.read(seen) {
        Value::Text(text) => text::pattern_number(text),
        Value::Missing | Value::Unreadable(_) => None,
    })
}

/// The first version that these sources give.
pub fn version(sources: &[ValueSource], seen: &Observations) -> Option<String> {
    sources.iter().find_map(|source| match source.read(seen) {
        Value::Text(answer) if matches!(source, ValueSource::Output { .. }) => {
            text::version_in(answer).map(str::to_owned)
        }
        Value::Text(version) => Some(version.chars().take(VERSION_LENGTH_MAX).collect()),
        Value::Missing | Value::Unreadable(_) => None,
    })
}

/// Characters of a version that go into a report: twice the longest known one.
const VERSION_LENGTH_MAX: usize = 64;
