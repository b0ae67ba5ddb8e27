//! From the catalogue file to [`Catalogue`]. Invariant: what comes out needs no further check: ids are ids and
//! stand once, names lead somewhere, rules are not empty, and every word is known.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::Kind;
use super::names::msi_code;
use super::parse_rule::{path, registry_value, rule, value_source_alone};
use super::read::{CatalogueError, Table, read_file};
use super::rule::Rule;
use super::signal::{Role, Signal};
use super::value::ValueSource;
use super::{Catalogue, Count, Family, Note, Os, Product, SCHEMA, Variant, VersionRange};
use crate::ids::ProductId;
use crate::procedures::Procedure;

type Result<T> = std::result::Result<T, CatalogueError>;

pub(super) fn catalogue(file: &str) -> Result<Catalogue> {
    read_file(file, |top| {
        let schema = top.required_text("schema")?;
        if schema != SCHEMA {
            return Err(top.error(format!("schema `{schema}` is not known, `{SCHEMA}` is")));
        }
        let version = top.number("version")?.and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0);
        let version = version.ok_or_else(|| top.error("`version` is not a number from 1"))?;
        let publishers = top.texts("publishers")?.unwrap_or_default();
        let mut ids = BTreeSet::new();
        let families = top.tables("family")?;
        let families: Vec<Family> =
            families.into_iter().map(|table| family(table, &publishers, &mut ids)).collect::<Result<_>>()?;
        let products = top.tables("product")?;
        let products = products
            .into_iter()
            .map(|table| product(table, &families, &publishers, &mut ids))
            .collect::<Result<_>>()?;
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

fn family(mut table: Table<'_>, publishers: &[String], ids: &mut BTreeSet<ProductId>) -> Result<Family> {
    let id = new_id(&table, ids, ProductId::FAMILY_PREFIX)?;
    let id = id.as_str().trim_start_matches(ProductId::FAMILY_PREFIX).to_owned();
    table.set_place(format!("family `{id}`"));
    let signals: Vec<Signal> = table
        .tables("signals")?
        .iter()
        .map(|table| signal(table, Some(Role::Family), publishers))
        .collect::<Result<_>>()?;
    let family = Family {
        name: table.required_text("name")?,
        within: table.text("within")?,
        exclusive: table.switch("exclusive")?,
        by_version: by_version(&table)?,
        version: value_sources(&table, "version")?,
        pattern: value_sources(&table, "pattern")?,
        active: active(&table)?,
        signals,
        id,
    };
    require_rules(&table, &family.signals, &family.active)?;
    table.done()?;
    Ok(family)
}

fn product(
    mut table: Table<'_>,
    families: &[Family],
    publishers: &[String],
    ids: &mut BTreeSet<ProductId>,
) -> Result<Product> {
    let id = new_id(&table, ids, "")?;
    table.set_place(format!("product `{id}`"));
    let signals = table.tables("signals")?;
    let signals: Vec<Signal> =
        signals.iter().map(|table| signal(table, None, publishers)).collect::<Result<_>>()?;
    let product = Product {
        name: table.required_text("name")?,
        family: table.text("family")?,
        count: count(&table)?,
        sku: table.text("sku")?,
        by_version: by_version(&table)?,
        version: value_sources(&table, "version")?,
        pattern: value_sources(&table, "pattern")?,
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
    check_product(&table, &product, families)?;
    table.done()?;
    Ok(product)
}

fn check_product(table: &Table<'_>, product: &Product, families: &[Family]) -> Result<()> {
    if let Some(family) = &product.family
        && !families.iter().any(|known| known.id == *family)
    {
        return Err(table.error(format!("there is no family `{family}`")));
    }
    if product.by_version.is_some() && product.family.is_none() {
        return Err(table.error("`by_version` needs a `family`"));
    }
    let is_known = |name: &str| Procedure::from_name(name).is_some_and(|one| one.is_for(product.id.as_str()));
    if let Some(action) = product.actions.iter().find(|name| !is_known(name)) {
        return Err(table.error(format!("there is no action `{action}` for this product")));
    }
    if !product.variants.is_empty() && product.family.is_none() {
        return Err(table.error("a product with variants needs a `family`, for when none of them holds"));
    }
    if product.plain && product.variants.is_empty() {
        return Err(table.error("`plain` goes with variants"));
    }
    match product.count {
        Count::Device => require_rules(table, &product.signals, &product.active),
        Count::Declared | Count::None => Ok(()),
    }
}

fn value_sources(table: &Table<'_>, key: &str) -> Result<Vec<ValueSource>> {
    table.tables(key)?.iter().map(value_source_alone).collect()
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
pub(super) fn signal(table: &Table<'_>, role: Option<Role>, publishers: &[String]) -> Result<Signal> {
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
    let mut signal = signal_of(table, os, role)?;
    if matches!(signal.kind, Kind::UninstallKey | Kind::UninstallName) {
        signal.publishers = publishers.to_vec();
    }
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
    let name = |name: String| match kind {
        Kind::RegistryValue => registry_value(table, name),
        Kind::Path => path(table, name),
        Kind::ListenPort if name.parse::<u16>().is_err() => {
            Err(table.error("a port is a number up to 65535"))
        }
        Kind::MsiProductCode | Kind::MsiUpgradeCode => {
            msi_code(&name).ok_or_else(|| table.error(format!("`{name}` is no Windows Installer code")))
        }
        _ => Ok(name),
    };
    let matches = matches.into_iter().map(name).collect::<Result<_>>()?;
    let recalled = source == "recalled";
    Ok(Signal { os, kind, matches, contains, publishers: Vec::new(), role, recalled, source })
}
