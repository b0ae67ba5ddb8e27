//! From the catalogue file to rules and the values they ask for. Invariant: a rule is one test that can be made, no
//! deeper than a limit; a value comes from exactly one known place.

use super::VendorCommand;
use super::names::folder_of;
use super::parse;
use super::read::{CatalogueError, Table};
use super::rule::{Check, Rule, Test};
use super::signal::Role;
use super::value::ValueSource;

type Result<T> = std::result::Result<T, CatalogueError>;

/// Rules inside of rules; deeper ones are a mistake.
const RULE_DEPTH_MAX: usize = 8;

pub(super) fn value_source_alone(table: &Table<'_>) -> Result<ValueSource> {
    let source = value_source(table)?;
    table.done()?;
    Ok(source)
}

const VALUES: [&str; 9] =
    ["output", "registry", "uninstall", "package", "file_version", "bundle", "receipt", "plist", "ini"];

/// A path that begins with a known folder, if it begins with one.
pub(super) fn path(table: &Table<'_>, path: String) -> Result<String> {
    match folder_of(&path) {
        Some(_) => Ok(path),
        None => Err(table.error(format!("`{path}` begins with no folder that is known"))),
    }
}

pub(super) fn registry_value(table: &Table<'_>, name: String) -> Result<String> {
    match name.contains('!') {
        true => Ok(name),
        false => Err(table.error("a registry value is written `key!name`")),
    }
}

fn ini_value(table: &Table<'_>, name: String) -> Result<String> {
    let name = path(table, name)?;
    let after_folder = name.rsplit('}').next().unwrap_or_default();
    match after_folder.matches('!').count() {
        2 => Ok(name),
        _ => Err(table.error("a value of an ini file is written `path!section!key`")),
    }
}

fn value_source(table: &Table<'_>) -> Result<ValueSource> {
    let mut named = VALUES.into_iter().filter(|word| table.has(word));
    let (Some(word), None) = (named.next(), named.next()) else {
        return Err(table.error(format!("a value has exactly one of {}", VALUES.join(", "))));
    };
    Ok(match word {
        "output" => {
            let id = table.required_text(word)?;
            let command = VendorCommand::from_id(&id);
            let command = command.ok_or_else(|| table.error(format!("there is no vendor command `{id}`")))?;
            ValueSource::Output { command, key: table.text("key")? }
        }
        "registry" => ValueSource::Registry(registry_value(table, table.required_text(word)?)?),
        "uninstall" => ValueSource::Uninstall(table.required_texts(word)?),
        "package" => ValueSource::Package(table.required_texts(word)?),
        "file_version" => ValueSource::FileVersion(path(table, table.required_text(word)?)?),
        "ini" => ValueSource::Ini(ini_value(table, table.required_text(word)?)?),
        "bundle" => ValueSource::Bundle(table.required_text(word)?),
        "receipt" => ValueSource::Receipt(table.required_text(word)?),
        _ => ValueSource::Plist(table.required_text(word)?),
    })
}

const TESTS: [&str; 16] = [
    "all",
    "any",
    "not",
    "unless",
    "seen",
    "unit_active",
    "service_running",
    "service_display_running",
    "process_running",
    "launchd_loaded",
    "extension_enabled",
    "security_center_on",
    "security_center_off",
    "security_center_outdated",
    "cannot_tell",
    "value",
];

pub(super) fn rule(table: &Table<'_>, depth: usize) -> Result<Rule> {
    if depth == RULE_DEPTH_MAX {
        return Err(table.error(format!("rules go {RULE_DEPTH_MAX} deep, not deeper")));
    }
    let mut named = TESTS.into_iter().filter(|word| table.has(word));
    let (Some(word), None) = (named.next(), named.next()) else {
        return Err(table.error(format!("a rule has exactly one of {}", TESTS.join(", "))));
    };
    let otherwise = table.text("else")?;
    let inner = |key| table.table(key)?.ok_or_else(|| table.error(format!("`{key}` is missing")));
    let test = match word {
        "all" => Test::All(rules(table, word, depth)?),
        "any" => Test::Any(rules(table, word, depth)?),
        "not" => Test::Not(Box::new(rule(&inner(word)?, depth + 1)?)),
        "unless" => Test::Unless(Box::new(rule(&inner(word)?, depth + 1)?)),
        "seen" => Test::Seen(Box::new(parse::signal(&inner(word)?, Some(Role::Support), &[])?)),
        "unit_active" => Test::UnitActive(table.required_texts(word)?),
        "service_running" => Test::ServiceRunning(table.required_texts(word)?),
        "service_display_running" => Test::ServiceDisplayRunning(table.required_texts(word)?),
        "process_running" => Test::ProcessRunning(table.required_texts(word)?),
        "launchd_loaded" => Test::LaunchdLoaded(table.required_texts(word)?),
        "extension_enabled" => Test::ExtensionEnabled(table.required_texts(word)?),
        "security_center_on" => Test::SecurityCenterOn(table.required_texts(word)?),
        "security_center_off" => Test::SecurityCenterOff(table.required_texts(word)?),
        "security_center_outdated" => Test::SecurityCenterOutdated(table.required_texts(word)?),
        "cannot_tell" => Test::CannotTell(table.required_text(word)?),
        _ => Test::Value {
            of: value_source_alone(&inner(word)?)?,
            minus: table.table("minus")?.map(|table| value_source_alone(&table)).transpose()?,
            check: check(table)?,
        },
    };
    if matches!(test, Test::Not(_) | Test::Unless(_)) && otherwise.is_none() {
        return Err(table.error(format!("`{word}` needs an `else`: the sentence for when it does not hold")));
    }
    table.done()?;
    Ok(Rule { test, otherwise })
}

fn rules(table: &Table<'_>, key: &str, depth: usize) -> Result<Vec<Rule>> {
    let rules: Vec<Rule> =
        table.tables(key)?.iter().map(|table| rule(table, depth + 1)).collect::<Result<_>>()?;
    match rules.is_empty() {
        true => Err(table.error(format!("`{key}` has no rule in it"))),
        false => Ok(rules),
    }
}

fn check(table: &Table<'_>) -> Result<Check> {
    let mut found = Vec::new();
    if table.switch("exists")? {
        found.push(Check::Exists);
    }
    found.extend(table.texts("is")?.map(Check::Is));
    found.extend(table.text("contains")?.map(Check::Contains));
    found.extend(table.texts("host_in")?.map(Check::HostIn));
    found.extend(table.number("at_least")?.map(Check::AtLeast));
    found.extend(table.number("at_most")?.map(Check::AtMost));
    found.extend(table.number("unix_age_s_max")?.map(Check::UnixAgeMax));
    if table.switch("unix_ahead")? {
        found.push(Check::UnixAhead);
    }
    found.extend(table.number("date_age_days_max")?.map(Check::DateAgeMax));
    let one = found.pop();
    let numeric = matches!(one, Some(Check::AtLeast(_) | Check::AtMost(_)));
    match one {
        Some(_) if table.has("minus") && !numeric => {
            Err(table.error("`minus` goes with at_least or at_most"))
        }
        Some(check) if found.is_empty() => Ok(check),
        _ => Err(table.error(
            "a value has exactly one of exists, is, contains, host_in, at_least, at_most, unix_age_s_max, \
             unix_ahead, date_age_days_max",
        )),
    }
}
