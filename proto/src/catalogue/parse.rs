//! From the catalogue file to [`Catalogue`]. Invariant: what comes out needs no further check: ids are ids and
//! stand once, names lead somewhere, rules are not empty, and every word is known.

use std::collections::{BTreeMap, BTreeSet};

use super::read::{CatalogueError, Table, read_file};
use super::rule::{Check, Rule, Test};
use super::signal::{Kind, Role, Signal};
use super::value::ValueSource;
use super::{
    ACTIONS, Catalogue, Count, Family, Note, Os, Product, SCHEMA, Variant, VendorCommand, VersionRange,
};
use crate::ids::ProductId;

type Result<T> = std::result::Result<T, CatalogueError>;

/// Rules inside of rules; deeper ones are a mistake.
const RULE_DEPTH_MAX: usize = 8;

pub(super) fn catalogue(file: &str) -> Result<Catalogue> {
    read_file(file, |top| {
        let schema = top.required_text("schema")?;
        if schema != SCHEMA {
            return Err(top.error(format!("schema `{schema}` is not known, `{SCHEMA}` is")));
        }
        let version = top.number("version")?.and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0);
        let version = version.ok_or_else(|| top.error("`version` is not a number from 1"))?;
        let mut ids = BTreeSet::new();
        let families: Vec<Family> =
            top.tables("family")?.into_iter().map(|table| family(table, &mut ids)).collect::<Result<_>>()?;
        let products = top.tables("product")?;
        let products =
            products.into_iter().map(|table| product(table, &families, &mut ids)).collect::<Result<_>>()?;
        let catalogue = Catalogue { version, products, families };
        check_families(&catalogue).map_err(|what| top.error(what))?;
        Ok(catalogue)
    })
}

fn check_families(catalogue: &Catalogue) -> std::result::Result<(), String> {
    for family in &catalogue.families {
        if let Some(wider) = &family.within
            && catalogue.family(wider).is_none()
        {
            return Err(format!("family `{}` is within `{wider}`, which there is not", family.id));
        }
        if catalogue.chain(Some(&family.id)).take(catalogue.families.len() + 1).count()
            > catalogue.families.len()
        {
            return Err(format!("family `{}` is within itself", family.id));
        }
    }
    Ok(())
}

fn new_id(table: &Table<'_>, ids: &mut BTreeSet<ProductId>, prefix: &str) -> Result<ProductId> {
    let text = table.required_text("id")?;
    let id: ProductId = format!("{prefix}{text}").parse().map_err(|error| table.error(format!("{error}")))?;
    if prefix.is_empty() && id.is_family() {
        return Err(table.error(format!("`{id}` is the id of a family")));
    }
    if !ids.insert(id.clone()) {
        return Err(table.error(format!("id `{text}` stands twice")));
    }
    Ok(id)
}

fn family(mut table: Table<'_>, ids: &mut BTreeSet<ProductId>) -> Result<Family> {
    let id = new_id(&table, ids, ProductId::FAMILY_PREFIX)?;
    let id = id.as_str().trim_start_matches(ProductId::FAMILY_PREFIX).to_owned();
    table.set_place(format!("family `{id}`"));
    let signals: Vec<Signal> = table
        .tables("signals")?
        .iter()
        .map(|table| signal(table, Some(Role::Family)))
        .collect::<Result<_>>()?;
    let family = Family {
        name: table.required_text("name")?,
        within: table.text("within")?,
        exclusive: table.switch("exclusive")?,
        by_version: by_version(&table)?,
        version: table.tables("version")?.iter().map(value_source_alone).collect::<Result<_>>()?,
        active: active(&table)?,
        signals,
        id,
    };
    require_rules(&table, &family.signals, &family.active)?;
    table.done()?;
    Ok(family)
}

fn product(mut table: Table<'_>, families: &[Family], ids: &mut BTreeSet<ProductId>) -> Result<Product> {
    let id = new_id(&table, ids, "")?;
    table.set_place(format!("product `{id}`"));
    let signals: Vec<Signal> =
        table.tables("signals")?.iter().map(|table| signal(table, None)).collect::<Result<_>>()?;
    let product = Product {
        name: table.required_text("name")?,
        family: table.text("family")?,
        count: count(&table)?,
        sku: table.text("sku")?,
        by_version: by_version(&table)?,
        version: table.tables("version")?.iter().map(value_source_alone).collect::<Result<_>>()?,
        active: active(&table)?,
        variants: table
            .tables("variant")?
            .into_iter()
            .map(|table| variant(table, ids))
            .collect::<Result<_>>()?,
        plain: table.switch("plain")?,
        notes: table.tables("notes")?.iter().map(note).collect::<Result<_>>()?,
        actions: table.texts("actions")?.unwrap_or_default(),
        signals,
        id,
    };
    if let Some(family) = &product.family
        && !families.iter().any(|known| known.id == *family)
    {
        return Err(table.error(format!("there is no family `{family}`")));
    }
    if product.by_version.is_some() && product.family.is_none() {
        return Err(table.error("`by_version` needs a `family`"));
    }
    if let Some(action) = product.actions.iter().find(|action| !ACTIONS.contains(&action.as_str())) {
        return Err(table.error(format!("there is no action `{action}`")));
    }
    if !product.variants.is_empty() && product.family.is_none() {
        return Err(table.error("a product with variants needs a `family`, for when none of them holds"));
    }
    if product.plain && product.variants.is_empty() {
        return Err(table.error("`plain` goes with variants"));
    }
    if product.count == Count::Device {
        require_rules(&table, &product.signals, &product.active)?;
    }
    table.done()?;
    Ok(product)
}

/// What can be found on a system must say when it is active there.
fn require_rules(table: &Table<'_>, signals: &[Signal], active: &BTreeMap<Os, Rule>) -> Result<()> {
    match signals.iter().find(|signal| !active.contains_key(&signal.os)) {
        Some(signal) => {
            let os = signal.os.as_str();
            Err(table.error(format!("there are signals for {os}, but no rule `active.{os}`")))
        }
        None => Ok(()),
    }
}

fn variant(mut table: Table<'_>, ids: &mut BTreeSet<ProductId>) -> Result<Variant> {
    let id = new_id(&table, ids, "")?;
    table.set_place(format!("product `{id}`"));
    let when = table.table("when")?.ok_or_else(|| table.error("`when` is missing"))?;
    let variant =
        Variant { name: table.required_text("name")?, sku: table.text("sku")?, when: rule(&when, 0)?, id };
    table.done()?;
    Ok(variant)
}

fn note(table: &Table<'_>) -> Result<Note> {
    let when = table.table("when")?.ok_or_else(|| table.error("`when` is missing"))?;
    let note = Note { when: rule(&when, 0)?, say: table.required_text("say")? };
    table.done()?;
    Ok(note)
}

fn count(table: &Table<'_>) -> Result<Count> {
    match table.required_text("count")?.as_str() {
        "device" => Ok(Count::Device),
        "declared" => Ok(Count::Declared),
        "none" => Ok(Count::None),
        other => Err(table.error(format!("count `{other}` is none of device, declared, none"))),
    }
}

fn by_version(table: &Table<'_>) -> Result<Option<VersionRange>> {
    let Some(range) = table.table("by_version")? else { return Ok(None) };
    let (from, before) = (range.required_text("from")?, range.required_text("before")?);
    range.done()?;
    if super::text::compare_versions(&from, &before).is_ge() {
        return Err(range.error(format!("no version is from {from} and before {before}")));
    }
    Ok(Some(VersionRange { from, before }))
}

fn active(table: &Table<'_>) -> Result<BTreeMap<Os, Rule>> {
    let mut rules = BTreeMap::new();
    if let Some(by_os) = table.table("active")? {
        for os in [Os::Linux, Os::Windows, Os::Macos] {
            if let Some(found) = by_os.table(os.as_str())? {
                rules.insert(os, rule(&found, 0)?);
            }
        }
        by_os.done()?;
    }
    Ok(rules)
}

/// A signal; `role` is given where the file does not write it.
fn signal(table: &Table<'_>, role: Option<Role>) -> Result<Signal> {
    let os = table.required_text("os")?;
    let os = Os::from_name(&os)
        .ok_or_else(|| table.error(format!("os `{os}` is none of linux, windows, macos")))?;
    let role = match role {
        Some(role) => role,
        None => {
            let word = table.required_text("role")?;
            let known = Role::WORDS.iter().find(|(name, _)| *name == word);
            known.map(|(_, role)| *role).ok_or_else(|| table.error(format!("role `{word}` is not known")))?
        }
    };
    let signal = signal_of(table, os, role)?;
    table.done()?;
    Ok(signal)
}

fn signal_of(table: &Table<'_>, os: Os, role: Role) -> Result<Signal> {
    let word = table.required_text("kind")?;
    let known = Kind::WORDS.iter().find(|(name, _)| *name == word);
    let kind =
        known.map(|(_, kind)| *kind).ok_or_else(|| table.error(format!("kind `{word}` is not known")))?;
    let matches = table.required_texts("match")?;
    let contains = table.text("contains")?;
    let source = table.text("source")?.unwrap_or_default();
    if !kind.exists_on(os) {
        return Err(table.error(format!("there is no {word} on {}", os.as_str())));
    }
    if contains.is_some() && kind != Kind::RegistryValue {
        return Err(table.error(format!("`contains` does not go with {word}")));
    }
    if kind == Kind::RegistryValue && !matches.iter().all(|name| name.contains('!')) {
        return Err(table.error("a registry value is written `key!name`"));
    }
    if kind == Kind::ListenPort && !matches.iter().all(|port| port.parse::<u16>().is_ok()) {
        return Err(table.error("a port is a number up to 65535"));
    }
    Ok(Signal { os, kind, matches, contains, role, recalled: source == "recalled", source })
}

fn value_source_alone(table: &Table<'_>) -> Result<ValueSource> {
    let source = value_source(table)?;
    table.done()?;
    Ok(source)
}

fn value_source(table: &Table<'_>) -> Result<ValueSource> {
    let words = ["output", "registry", "uninstall", "package", "file_version", "bundle", "receipt", "plist"];
    let mut named = words.into_iter().filter(|word| table.has(word));
    let (Some(word), None) = (named.next(), named.next()) else {
        return Err(table.error(format!("a value has exactly one of {}", words.join(", "))));
    };
    Ok(match word {
        "output" => {
            let id = table.required_text(word)?;
            let command = VendorCommand::from_id(&id);
            let command = command.ok_or_else(|| table.error(format!("there is no vendor command `{id}`")))?;
            ValueSource::Output { command, key: table.text("key")? }
        }
        "registry" => ValueSource::Registry(table.required_text(word)?),
        "uninstall" => ValueSource::Uninstall(table.required_texts(word)?),
        "package" => ValueSource::Package(table.required_texts(word)?),
        "file_version" => ValueSource::FileVersion(table.required_text(word)?),
        "bundle" => ValueSource::Bundle(table.required_text(word)?),
        "receipt" => ValueSource::Receipt(table.required_text(word)?),
        _ => ValueSource::Plist(table.required_text(word)?),
    })
}

const TESTS: [&str; 13] = [
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
    "value",
];

fn rule(table: &Table<'_>, depth: usize) -> Result<Rule> {
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
        "seen" => Test::Seen(Box::new(signal(&inner(word)?, Some(Role::Support))?)),
        "unit_active" => Test::UnitActive(table.required_texts(word)?),
        "service_running" => Test::ServiceRunning(table.required_texts(word)?),
        "service_display_running" => Test::ServiceDisplayRunning(table.required_texts(word)?),
        "process_running" => Test::ProcessRunning(table.required_texts(word)?),
        "launchd_loaded" => Test::LaunchdLoaded(table.required_texts(word)?),
        "extension_enabled" => Test::ExtensionEnabled(table.required_texts(word)?),
        "security_center_on" => Test::SecurityCenterOn(table.required_texts(word)?),
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
