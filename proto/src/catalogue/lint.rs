//! What parses but is probably wrong in a catalogue. Invariant: advice; nothing here stops a catalogue from
//! working, and the embedded one has no advice beyond what its tests list.

use std::collections::BTreeMap;

use super::{Catalogue, Count, Kind, Os, Product, Role};

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
            let found = product_lints(product);
            lints.extend(
                found.into_iter().map(|what| Lint { place: format!("product `{}`", product.id), what }),
            );
        }
        for family in &self.families {
            let member = |product: &Product| product.family.as_ref() == Some(&family.id);
            let inner = self.families.iter().any(|other| other.within.as_ref() == Some(&family.id));
            if !inner && !self.products.iter().any(member) {
                let what = "has no product".to_owned();
                lints.push(Lint { place: format!("family `{}`", family.id), what });
            }
        }
        lints.extend(self.shared_names());
        lints.sort();
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

fn product_lints(product: &Product) -> Vec<String> {
    let mut lints = Vec::new();
    if !product.is_billable() {
        lints.push("only recalled signals identify it: it is never billed".to_owned());
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
    let mut names = std::collections::BTreeSet::new();
    for signal in &product.signals {
        for name in &signal.matches {
            if !names.insert((signal.os, signal.kind, name.to_lowercase(), signal.contains.clone())) {
                lints.push(format!("{}:{name} stands twice", signal.kind.word()));
            }
        }
    }
    for os in product.active.keys() {
        let by_version = product.by_version.is_some();
        if !by_version
            && !product.signals.iter().any(|signal| signal.os == *os && signal.role == Role::Identify)
        {
            lints.push(format!("`active.{}` is never asked: nothing identifies it there", os.as_str()));
        }
    }
    lints
}
