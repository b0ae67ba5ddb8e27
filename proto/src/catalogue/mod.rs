//! The catalogue: which products there are, how each is told from the others, and when it counts as active.
//! Invariant: pure. The same catalogue, observations and `now` give the same findings; a catalogue that parses has
//! no unknown word in it and every id once. The file is `proto/catalogue/trend-micro.toml`; its head explains it.

mod explain;
mod families;
mod finding;
mod kind;
mod lint;
mod names;
mod observations;
mod parse;
mod parse_rule;
mod pushed;
mod read;
mod rule;
mod signal;
mod text;
mod things;
mod value;
mod wanted;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use explain::{Explanation, Look};
pub use finding::{Finding, State, StateError};
pub use kind::Kind;
pub use lint::Lint;
pub use names::{Folder, folder_of, is_registry_name, msi_code};
pub use observations::{Observations, Os, SnapshotFormat, Source};
pub use pushed::{CATALOGUE_LENGTH_MAX, PushedError, RELEASE_KEY};
pub use read::CatalogueError;
pub use rule::{Check, Rule, Test, Verdict};
pub use signal::{Role, Sight, Signal};
pub use text::{OUTPUT_LENGTH_MAX, glob, is_program, pattern_number};
pub use things::{
    Hive, Package, PackageManager, Process, Protection, SecurityCenterRow, Service, Uninstall, Unit,
    VendorCommand,
};
pub use value::{Value, ValueSource};
pub use wanted::Wanted;

use crate::ids::ProductId;

/// The `schema` of a catalogue file that this code understands.
pub const SCHEMA: &str = "seatbeat-catalogue/1";

/// All that is known of the vendor's products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// Number of this edition; a newer one is greater. Part of each report.
    pub version: u32,
    /// Products, in the file's order.
    pub products: Vec<Product>,
    /// Families, in the file's order.
    pub families: Vec<Family>,
}

/// One product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its id in reports, policies and statements.
    pub id: ProductId,
    /// What the vendor calls it.
    pub name: String,
    /// Its family's id.
    pub family: Option<String>,
    /// How it is counted.
    pub count: Count,
    /// The SKU that is proposed for it. A default: the reseller's policy decides.
    pub sku: Option<String>,
    /// What speaks for it and against it.
    pub signals: Vec<Signal>,
    /// With a signal of its family, a version in this range finds it too.
    pub by_version: Option<VersionRange>,
    /// Where its version is read; the first that answers.
    pub version: Vec<ValueSource>,
    /// Where its pattern's number is read; the first that answers.
    pub pattern: Vec<ValueSource>,
    /// When it counts as active, by system.
    pub active: BTreeMap<Os, Rule>,
    /// Editions that are billed differently: the first that holds is what is found.
    pub variants: Vec<Variant>,
    /// With variants: its own id stands for the edition that none of them is. Otherwise its own id is reported
    /// only while it is not active.
    pub plain: bool,
    /// What is said beside a finding, without changing it.
    pub notes: Vec<Note>,
    /// Procedures that switch it off and on, by name ([`crate::procedures`]).
    pub actions: Vec<String>,
}

/// An edition of a product that is a product of its own on a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its id in reports, policies and statements.
    pub id: ProductId,
    /// What the vendor calls it.
    pub name: String,
    /// The SKU that is proposed for it.
    pub sku: Option<String>,
    /// When the product is this edition.
    pub when: Rule,
}

/// Something worth saying about a product that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When it is said.
    pub when: Rule,
    /// The sentence.
    pub say: String,
}

/// Several products that share names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its id, without `family/`.
    pub id: String,
    /// What it is.
    pub name: String,
    /// The wider family it is part of.
    pub within: Option<String>,
    /// Only one of its products can be on a machine: two at once are as ambiguous as none.
    pub exclusive: bool,
    /// What speaks for it; all of role `family`.
    pub signals: Vec<Signal>,
    /// With a signal of the wider family, a version in this range speaks for it too.
    pub by_version: Option<VersionRange>,
    /// Where the version of any of its products is read.
    pub version: Vec<ValueSource>,
    /// Where the pattern's number of any of its products is read.
    pub pattern: Vec<ValueSource>,
    /// When whichever product it is counts as active, by system.
    pub active: BTreeMap<Os, Rule>,
}

/// Versions from one on, and before another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRange {
    /// The first.
    pub from: String,
    /// The first one after the range.
    pub before: String,
}

/// How a product is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// One seat a machine.
    Device,
    /// In mailboxes or users, which no machine sees: the reseller declares how many.
    Declared,
    /// Not at all (management servers, free tools).
    None,
}

impl Catalogue {
    /// Version of the catalogue that this program was built with, known without reading it.
    pub const EMBEDDED_VERSION: u32 = 1;

    /// The catalogue that this program was built with.
    ///
    /// # Panics
    /// Never: a test parses it.
    pub fn embedded() -> &'static Self {
        static EMBEDDED: LazyLock<Catalogue> = LazyLock::new(|| {
            Catalogue::parse(include_str!("../../catalogue/trend-micro.toml")).expect("a test parses it")
        });
        &EMBEDDED
    }

    /// Reads a catalogue file.
    ///
    /// # Errors
    /// Names the line, the product or family, and the word that is wrong.
    pub fn parse(file: &str) -> Result<Self, CatalogueError> {
        parse::catalogue(file)
    }

    /// The product of this id, or that this is an edition of.
    pub fn product_of(&self, id: &ProductId) -> Option<&Product> {
        self.products
            .iter()
            .find(|product| product.id == *id || product.variants.iter().any(|variant| variant.id == *id))
    }

    /// Every id that can be billed and the SKU proposed for it: products, or their variants where they have some.
    pub fn default_skus(&self) -> BTreeMap<ProductId, String> {
        let mut skus = BTreeMap::new();
        for product in self.products.iter().filter(|product| product.is_billable()) {
            let own = product.sku.clone().map(|sku| (product.id.clone(), sku));
            let variants = product.variants.iter().filter_map(|v| Some((v.id.clone(), v.sku.clone()?)));
            skus.extend(own.into_iter().chain(variants));
        }
        skus
    }

    /// Ids that take no seat on a machine: a policy lists them as `uncounted`.
    pub fn uncounted(&self) -> Vec<ProductId> {
        self.products.iter().filter(|product| product.count != Count::Device).map(|p| p.id.clone()).collect()
    }

    /// The family of this id.
    pub fn family(&self, id: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.id == id)
    }

    /// A family and the wider ones around it, narrowest first.
    pub(crate) fn chain<'a>(&'a self, family: Option<&'a str>) -> impl Iterator<Item = &'a Family> {
        let first = family.and_then(|id| self.family(id));
        std::iter::successors(first, |family| family.within.as_deref().and_then(|id| self.family(id)))
    }
}

impl Product {
    /// Whether it may be billed at all: something better than memory tells it. One that may not is never found active.
    pub fn is_billable(&self) -> bool {
        let told = |signal: &Signal| signal.role == Role::Identify && !signal.recalled;
        self.by_version.is_some() || self.signals.iter().any(told)
    }
}

impl VersionRange {
    /// Whether the version lies in it.
    pub fn contains(&self, version: &str) -> bool {
        text::compare_versions(version, &self.from).is_ge()
            && text::compare_versions(version, &self.before).is_lt()
    }
}
