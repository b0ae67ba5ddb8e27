//! What parses but is probably wrong in a catalogue. Invariant: advice; nothing here stops a catalogue from
//! working, and the embedded one has no advice beyond what its tests list.

use std::collections::{BTreeMap, BTreeSet};

use super::text::glob;
use super::{Catalogue, Count, Family, Kind, Os, Product, Role, Rule, Signal, Test, ValueSource};

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lint {
    /// Which product or family.
    pub place: String,
    /// What is odd about it.
    pub what: String,
}

impl Catalogue {
    /// Reads the catalogue with a suspicious eye.
    pub fn lint(&self) -> Vec<Lint> {
        let mut lints = Vec::new();
        for product in &self.products {
            let mut found = product_lints(product);
            found.extend(self.unreachable(product));
            lints.extend(
                found.into_iter().map(|what| Lint { place: format!("product `{}`", product.id), what }),
            );
        }
        for family in &self.families {
            let found = self.family_lints(family);
            lints.extend(
                found.into_iter().map(|what| Lint { place: format!("family `{}`", family.id), what }),
            );
        }
        lints.extend(self.shared_names());
        lints.extend(self.swallowed_names());
        lints.sort();
        lints
    }

    fn family_lints(&self, family: &Family) -> Vec<String> {
        let mut lints = Vec::new();
        let member = |product: &Product| product.family.as_ref() == Some(&family.id);
        let inner = self.families.iter().any(|other| other.within.as_ref() == Some(&family.id));
        if !inner && !self.products.iter().any(member) {
            lints.push("has no product".to_owned());
        }
        for (os, rule) in &family.active {
            lints.extend(unaskable(rule, *os, &format!("active.{}", os.as_str())));
        }
        lints
    }

    /// What stands in a product and can never be asked, or never hold.
    fn unreachable(&self, product: &Product) -> Vec<String> {
        let mut lints = Vec::new();
        let family_on = |os: Os| {
            let mut chain = self.chain(product.family.as_deref());
            product.by_version.is_some()
                && chain.any(|family| family.signals.iter().any(|signal| signal.os == os))
        };
        let found_on = |os: Os| {
            let identifies = |signal: &Signal| signal.os == os && signal.role == Role::Identify;
            product.signals.iter().any(identifies) || family_on(os)
        };
        for (os, rule) in &product.active {
            let place = format!("active.{}", os.as_str());
            if !found_on(*os) {
                lints.push(format!("`{place}` is never asked: nothing identifies it there"));
            }
            lints.extend(unaskable(rule, *os, &place));
        }
        for (list, sources) in [("version", &product.version), ("pattern", &product.pattern)] {
            for (n, source) in sources.iter().enumerate() {
                let asked = [Os::Linux, Os::Windows, Os::Macos]
                    .into_iter()
                    .any(|os| source.exists_on(os) && found_on(os));
                if !asked {
                    let name = source.describe();
                    lints.push(format!("{list} {name} is never read: nothing identifies it where that is"));
                } else if sources[..n].contains(source) {
                    lints.push(format!("{list} {} is never read: it stands twice", source.describe()));
                }
            }
        }
        let excludes: Vec<&Signal> =
            product.signals.iter().filter(|signal| signal.role == Role::Exclude).collect();
        for signal in &excludes {
            if !found_on(signal.os) {
                lints.push(format!("{} excludes nothing: nothing identifies it there", signal.describe()));
            }
        }
        for signal in product.signals.iter().filter(|signal| signal.role == Role::Identify) {
            let against = |name: &str| {
                excludes.iter().any(|exclude| same_place(exclude, signal) && takes(exclude, name))
            };
            for name in signal.matches.iter().filter(|name| against(name)) {
                lints.push(format!("{}:{name} never identifies it: it excludes it", signal.kind.word()));
            }
        }
        lints
    }

    /// Names of one product that a pattern of another takes too.
    fn swallowed_names(&self) -> Vec<Lint> {
        let identifying = |product: &'_ Product| -> Vec<Signal> {
            product.signals.iter().filter(|signal| signal.role == Role::Identify).cloned().collect()
        };
        let all: Vec<(&Product, Vec<Signal>)> = self.products.iter().map(|p| (p, identifying(p))).collect();
        let mut lints = Vec::new();
        for (wide, signals) in &all {
            for signal in signals {
                for (narrow, others) in all.iter().filter(|(other, _)| other.id != wide.id) {
                    for other in others.iter().filter(|other| same_place(signal, other)) {
                        let name = other.matches.iter().find(|name| {
                            takes(signal, name)
                                && !signal.matches.iter().any(|m| m.eq_ignore_ascii_case(name))
                        });
                        lints.extend(name.map(|name| Lint {
                            place: format!("product `{}`", wide.id),
                            what: format!("{} takes `{name}` of `{}` too", signal.describe(), narrow.id),
                        }));
                    }
                }
            }
        }
        lints
    }

    /// Names that identify two products: neither can be told by them.
    fn shared_names(&self) -> Vec<Lint> {
        let mut owners: BTreeMap<(Os, Kind, String, Option<&String>), Vec<&Product>> = BTreeMap::new();
        for product in &self.products {
            for signal in product.signals.iter().filter(|signal| signal.role == Role::Identify) {
                for name in &signal.matches {
                    let key = (signal.os, signal.kind, name.to_lowercase(), signal.contains.as_ref());
                    owners.entry(key).or_default().push(product);
                }
            }
        }
        owners.retain(|_, products| products.len() > 1);
        let lint = |((_, kind, name, _), products): (_, Vec<&Product>)| {
            let kind: Kind = kind;
            let ids: Vec<_> = products.iter().map(|product| product.id.as_str()).collect();
            Lint {
                place: format!("{}:{name}", kind.word()),
                what: format!("identifies {}", ids.join(" and ")),
            }
        };
        owners.into_iter().map(lint).collect()
    }
}

fn same_place(a: &Signal, b: &Signal) -> bool {
    a.os == b.os && a.kind == b.kind && a.contains == b.contains
}

fn takes(signal: &Signal, name: &str) -> bool {
    signal.matches.iter().any(|pattern| glob(pattern, name))
}

/// What a rule asks of a system that does not have it.
fn unaskable(rule: &Rule, os: Os, place: &str) -> Vec<String> {
    let mut lints = Vec::new();
    rule.for_each(&mut |test| {
        let here = match test {
            Test::Seen(signal) => signal.os == os,
            Test::UnitActive(_) => os == Os::Linux,
            Test::LaunchdLoaded(_) | Test::ExtensionEnabled(_) => os == Os::Macos,
            Test::ServiceRunning(_)
            | Test::ServiceDisplayRunning(_)
            | Test::SecurityCenterOn(_)
            | Test::SecurityCenterOff(_)
            | Test::SecurityCenterOutdated(_) => os == Os::Windows,
            Test::Value { of, minus, .. } => {
                of.exists_on(os) && minus.as_ref().is_none_or(|minus: &ValueSource| minus.exists_on(os))
            }
            Test::All(_) | Test::Any(_) | Test::Not(_) | Test::Unless(_) => true,
            Test::ProcessRunning(_) | Test::CannotTell(_) => true,
        };
        if !here {
            lints.push(format!("`{place}` asks for something that {} does not have", os.as_str()));
        }
    });
    lints
}

fn product_lints(product: &Product) -> Vec<String> {
    let mut lints = Vec::new();
    if !product.is_billable() {
        let told = product.signals.iter().any(|signal| signal.role == Role::Identify);
        let why = if told { "only recalled signals identify it" } else { "nothing identifies it" };
        lints.push(format!("{why}: it is never billed"));
    }
    if product.signals.iter().any(|signal| signal.role == Role::Family) {
        lints.push("a signal of role family belongs to the family, not to the product".to_owned());
    }
    if product.count == Count::None && product.sku.is_some() {
        lints.push("takes no seat, but has a SKU".to_owned());
    }
    if product.count == Count::Device && product.is_billable() {
        let skus = product.variants.iter().map(|variant| (&variant.id, &variant.sku));
        let bare = product.variants.is_empty().then_some((&product.id, &product.sku));
        for (id, _) in skus.chain(bare).filter(|(_, sku)| sku.is_none()) {
            lints.push(format!("`{id}` takes a seat, but has no SKU"));
        }
    }
    let mut names = BTreeSet::new();
    for signal in &product.signals {
        for name in &signal.matches {
            if !names.insert((signal.os, signal.kind, name.to_lowercase(), signal.contains.clone())) {
                lints.push(format!("{}:{name} stands twice", signal.kind.word()));
            }
        }
    }
    lints
}
