//! Values: text that a source holds under a name, which versions and rules are read from.
//! Invariant: a value whose source could not be read is unknown, not missing.

use super::observations::{Observations, Source, VendorCommand};
use super::text::{self, glob};

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
            Self::Registry(name) => by_name(&seen.registry_values, name),
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
            Self::FileVersion(path) => by_name(&seen.file_versions, path),
            Self::Bundle(path) => by_name(&seen.bundles, path),
            Self::Receipt(id) => by_name(&seen.receipts, id),
            Self::Plist(name) => by_name(&seen.plist_values, name),
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
            Self::Plist(name) => name.clone(),
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

fn by_name<'a>(values: &'a std::collections::BTreeMap<String, String>, wanted: &str) -> Option<&'a str> {
    values.iter().find(|(name, _)| glob(wanted, name)).map(|(_, value)| value.as_str())
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
