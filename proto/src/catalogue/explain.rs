//! Matching: observations in, findings out, with every reason. Invariant: a product is found by a signal that
//! identifies it, or by its family and a version, never by recalled signals alone; what is seen of a family whose
//! product cannot be told is found as `family/…`; what could not be read makes a product unknown, not absent.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::finding::{Finding, State};
use super::observations::{Observations, Os};
use super::rule::{Rule, Verdict};
use super::signal::{Role, Sight, Signal};
use super::{Catalogue, Count, Family, Product, ValueSource, value};
use crate::ids::ProductId;

/// Signals of one finding that are kept: all that any product has today, twice over. The first ones stay.
const SIGNALS_MAX: usize = 32;

/// Characters of a signal or reason that are kept: a registry path and a value fit.
const LINE_LENGTH_MAX: usize = 200;

/// Everything that was seen of one product or family, found or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Which one.
    pub product: ProductId,
    /// What the vendor calls it.
    pub name: String,
    /// What goes into a report: nothing when it was not found.
    pub findings: Vec<Finding>,
    /// Each of its signals on this system, and what looking for it gave.
    pub looks: Vec<Look>,
    /// What was decided, in a sentence.
    pub conclusion: String,
    /// What is worth saying beside it.
    pub notes: Vec<String>,
    /// Number of its virus pattern (`19.123.05`), where one could be read.
    pub pattern: Option<String>,
}

/// One look at one signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What the signal is worth.
    pub role: Role,
    /// `kind:match`
    pub signal: String,
    /// Whether it is from memory only.
    pub recalled: bool,
    /// What was seen.
    pub sight: Sight,
}

impl Catalogue {
    /// The products that these observations show, by id.
    pub fn find(&self, seen: &Observations, now: Timestamp) -> Vec<Finding> {
        let findings = self.explain(seen, now).into_iter().flat_map(|explanation| explanation.findings);
        let mut by_id: BTreeMap<ProductId, Finding> = BTreeMap::new();
        for finding in findings {
            by_id.entry(finding.product.clone()).or_insert(finding);
        }
        by_id.into_values().collect()
    }

    /// What was seen of each product and family of which anything was seen, and what follows from it.
    pub fn explain(&self, seen: &Observations, now: Timestamp) -> Vec<Explanation> {
        let matching = Matching { catalogue: self, seen, now };
        let mut products: Vec<Weighed> =
            self.products.iter().filter_map(|product| matching.weigh_product(product)).collect();
        matching.drop_unread_siblings(&mut products);
        let families = matching.families(&mut products);
        products.into_iter().map(|weighed| weighed.explanation).chain(families).collect()
    }
}

/// A product of which something was seen.
pub(super) struct Weighed<'a> {
    pub product: &'a Product,
    pub outcome: Outcome,
    pub explanation: Explanation,
}

#[derive(Clone, PartialEq)]
pub(super) enum Outcome {
    Found(State),
    Unread,
    Absent,
}

pub(super) struct Matching<'a> {
    pub catalogue: &'a Catalogue,
    pub seen: &'a Observations,
    pub now: Timestamp,
}

impl<'a> Matching<'a> {
    pub(super) fn os(&self) -> Os {
        self.seen.os
    }

    pub(super) fn look(&self, signals: &[Signal]) -> Vec<Look> {
        let here = signals.iter().filter(|signal| signal.os == self.os());
        here.map(|signal| Look {
            role: signal.role,
            signal: signal.describe(),
            recalled: signal.recalled,
            sight: signal.look(self.seen),
        })
        .collect()
    }

    /// What speaks for the family; nothing when it was not seen.
    pub(super) fn family_evidence(&self, family: &Family) -> Vec<String> {
        let mut evidence = seen_names(&self.look(&family.signals), |look| !look.recalled);
        if let (Some(range), true) = (&family.by_version, evidence.is_empty())
            && let Some(wider) = family.within.as_deref().and_then(|id| self.catalogue.family(id))
            && let Some(version) = self.version(&family.version, Some(&wider.id))
            && range.contains(&version)
        {
            evidence = self.family_evidence(wider);
            if !evidence.is_empty() {
                evidence.push(format!("version:{version}"));
            }
        }
        evidence
    }

    fn chain_evidence(&self, family: Option<&str>) -> Vec<String> {
        self.catalogue.chain(family).flat_map(|family| self.family_evidence(family)).collect()
    }

    pub(super) fn version(&self, own: &[ValueSource], family: Option<&str>) -> Option<String> {
        value::version(own, self.seen).or_else(|| {
            self.catalogue.chain(family).find_map(|family| value::version(&family.version, self.seen))
        })
    }

    pub(super) fn pattern(&self, own: &[ValueSource], family: Option<&str>) -> Option<String> {
        value::pattern(own, self.seen).or_else(|| {
            self.catalogue.chain(family).find_map(|family| value::pattern(&family.pattern, self.seen))
        })
    }

    fn weigh_product(&self, product: &'a Product) -> Option<Weighed<'a>> {
        let looks = self.look(&product.signals);
        let family = self.chain_evidence(product.family.as_deref());
        let version = self.version(&product.version, product.family.as_deref());
        let own = seen_names(&looks, |look| look.role != Role::Exclude);
        let told_by_version = match (&product.by_version, &version) {
            (Some(range), Some(version)) if !family.is_empty() => range.contains(version),
            _ => false,
        };
        let discounted = looks.iter().any(|look| matches!(look.sight, Sight::Discounted(_)));
        let here = product.by_version.is_some() || !looks.is_empty();
        if !here || (own.is_empty() && family.is_empty() && !discounted) {
            return None;
        }
        let mut signals = own;
        if told_by_version {
            signals.extend(family.iter().cloned());
            signals.extend(version.iter().map(|version| format!("version:{version}")));
        }
        let (outcome, conclusion) = decide(product, &looks, &family, told_by_version);
        let mut weighed = Weighed {
            product,
            outcome,
            explanation: Explanation {
                product: product.id.clone(),
                name: product.name.clone(),
                findings: Vec::new(),
                conclusion,
                notes: Vec::new(),
                pattern: self.pattern(&product.pattern, product.family.as_deref()),
                looks,
            },
        };
        let against = against(&weighed.explanation.looks);
        match weighed.outcome {
            Outcome::Absent => {}
            Outcome::Unread => {
                let why = Some(weighed.explanation.conclusion.clone());
                self.settle(&mut weighed, State::Unknown, why, version, signals, against);
            }
            Outcome::Found(_) => {
                let (mut state, mut why) = self.state(product.active.get(&self.os()));
                if !product.is_billable() && product.count != Count::None {
                    let unverified = "only signals that nobody has verified tell it: it is never billed";
                    (state, why) = (State::Inactive, Some(unverified.into()));
                }
                weighed.outcome = Outcome::Found(state);
                let said =
                    product.notes.iter().filter(|note| note.when.judge(self.seen, self.now) == Verdict::Yes);
                weighed.explanation.notes = said.map(|note| note.say.clone()).collect();
                self.settle(&mut weighed, state, why, version, signals, against);
            }
        }
        Some(weighed)
    }

    pub(super) fn state(&self, rule: Option<&Rule>) -> (State, Option<String>) {
        match rule.map(|rule| rule.judge(self.seen, self.now)) {
            Some(Verdict::Yes) => (State::Active, None),
            Some(Verdict::No(why)) => (State::Inactive, Some(why)),
            Some(Verdict::Unknown(why)) => {
                (State::Unknown, Some(format!("cannot tell whether it is active: {why}")))
            }
            None => (State::Inactive, Some("found; it takes no seat on this machine".into())),
        }
    }

    /// Which id is reported. With variants: the first that holds. When none can be told, `inactive` is reported
    /// under the product's own id (nobody pays for it), `active` under the family's (it blocks the statement),
    /// and `unknown` under each variant's, so that the report settles none of them.
    fn settle(
        &self,
        weighed: &mut Weighed<'a>,
        state: State,
        why: Option<String>,
        version: Option<String>,
        signals: Vec<String>,
        against: Vec<String>,
    ) {
        let product = weighed.product;
        let finding = |id: ProductId, why: Option<String>| Finding {
            product: id,
            state,
            version: version.clone(),
            signals: shortened(signals.clone()),
            against: shortened(against.clone()),
            why: why.map(shorten),
        };
        let verdicts: Vec<Verdict> =
            product.variants.iter().map(|variant| variant.when.judge(self.seen, self.now)).collect();
        let holds = product.variants.iter().zip(&verdicts).find(|(_, verdict)| **verdict == Verdict::Yes);
        let untold = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Unknown(_)));
        let findings = &mut weighed.explanation.findings;
        match (holds, state) {
            (Some((variant, _)), _) => findings.push(finding(variant.id.clone(), why)),
            (None, _) if product.variants.is_empty() || (product.plain && !untold) => {
                findings.push(finding(product.id.clone(), why));
            }
            (None, State::Unknown) => {
                let own = product.plain.then_some(&product.id);
                let ids = product.variants.iter().map(|variant| &variant.id).chain(own);
                findings.extend(ids.map(|id| finding(id.clone(), why.clone())));
            }
            (None, State::Active) => {
                let family = product.family.as_deref().and_then(family_id);
                let why = format!("{} is active, but which edition of it could not be told", product.id);
                findings.extend(family.map(|id| finding(id, Some(why))));
            }
            (None, State::Inactive | State::SwitchedOff) => findings.push(finding(product.id.clone(), why)),
        }
    }
}

/// Whether the product is there, and the sentence that says so. The state comes later.
fn decide(product: &Product, looks: &[Look], family: &[String], told_by_version: bool) -> (Outcome, String) {
    let is_seen = |look: &&Look| matches!(look.sight, Sight::Seen(_));
    let mut excludes = looks.iter().filter(|look| look.role == Role::Exclude);
    if let Some(look) = excludes.clone().find(is_seen) {
        return (Outcome::Absent, format!("{} says that it is another product", look.signal));
    }
    let unread_exclude = excludes.find(|look| matches!(look.sight, Sight::Unreadable(_)));
    let identified = looks.iter().any(|look| look.role == Role::Identify && !look.recalled && is_seen(&look));
    let recalled = looks.iter().any(|look| look.role == Role::Identify && look.recalled && is_seen(&look));
    let supported = looks.iter().any(|look| look.role == Role::Support && !look.recalled && is_seen(&look));
    let seen_besides = supported || !family.is_empty();
    if identified || told_by_version || (recalled && seen_besides) {
        return match unread_exclude.map(|look| (&look.signal, &look.sight)) {
            Some((signal, Sight::Unreadable(why))) => (
                Outcome::Unread,
                format!("{signal} would make it another product, and could not be read: {why}"),
            ),
            _ => (Outcome::Found(State::Unknown), "found".into()),
        };
    }
    let unread = looks.iter().find_map(|look| match &look.sight {
        Sight::Unreadable(why) if look.role == Role::Identify && !look.recalled => Some((&look.signal, why)),
        _ => None,
    });
    match unread {
        Some((signal, why)) if seen_besides => {
            (Outcome::Unread, format!("cannot tell whether it is there: {signal} could not be read: {why}"))
        }
        _ if recalled => (Outcome::Absent, "only a signal that nobody has verified speaks for it".into()),
        _ if product.by_version.is_some() && !family.is_empty() => {
            (Outcome::Absent, "its family is there, but neither a name nor a version of its own".into())
        }
        _ => (Outcome::Absent, "nothing that was seen identifies it".into()),
    }
}

fn seen_names(looks: &[Look], wanted: impl Fn(&Look) -> bool) -> Vec<String> {
    let seen = looks.iter().filter(|look| wanted(look)).filter_map(|look| match &look.sight {
        Sight::Seen(name) => Some(name.clone()),
        _ => None,
    });
    seen.collect()
}

pub(super) fn against(looks: &[Look]) -> Vec<String> {
    let said = looks.iter().filter_map(|look| match &look.sight {
        Sight::Discounted(why) => Some(why.clone()),
        Sight::Unreadable(why) => Some(format!("{} could not be read: {why}", look.signal)),
        Sight::Seen(name) if look.role == Role::Exclude => Some(name.clone()),
        _ => None,
    });
    said.collect()
}

pub(super) fn family_id(family: &str) -> Option<ProductId> {
    format!("{}{family}", ProductId::FAMILY_PREFIX).parse().ok()
}

pub(super) fn shortened(mut lines: Vec<String>) -> Vec<String> {
    lines.truncate(SIGNALS_MAX);
    lines.into_iter().map(shorten).collect()
}

pub(super) fn shorten(line: String) -> String {
    match line.char_indices().nth(LINE_LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
