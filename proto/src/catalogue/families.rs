//! Families: what is seen of products that cannot be told apart. Invariant: a family is reported only where none of
//! its products is, the narrowest one that was seen, and never beside a wider one.

use std::collections::BTreeSet;

use super::explain::{Explanation, Matching, Outcome, Weighed, against, family_id, shorten, shortened};
use super::{Count, Family, Finding, State};

impl<'a> Matching<'a> {
    /// Where only one of a family's products can be there and one was found, what could not be read of the others
    /// does not matter.
    pub(super) fn drop_unread_siblings(&self, products: &mut [Weighed<'a>]) {
        let found: BTreeSet<&str> = products
            .iter()
            .filter(|weighed| {
                matches!(weighed.outcome, Outcome::Found(_)) && weighed.product.count != Count::None
            })
            .flat_map(|weighed| self.catalogue.chain(weighed.product.family.as_deref()))
            .filter(|family| family.exclusive)
            .map(|family| family.id.as_str())
            .collect();
        for weighed in products.iter_mut().filter(|weighed| weighed.outcome == Outcome::Unread) {
            let mut chain = self.catalogue.chain(weighed.product.family.as_deref());
            if chain.any(|family| found.contains(family.id.as_str())) {
                weighed.outcome = Outcome::Absent;
                weighed.explanation.findings.clear();
                weighed.explanation.conclusion = "another product of its family is there".into();
            }
        }
    }

    /// Families of which something was seen, the narrowest first; takes back what is ambiguous among products.
    pub(super) fn families(&self, products: &mut [Weighed<'a>]) -> Vec<Explanation> {
        let mut families: Vec<&Family> = self.catalogue.families.iter().collect();
        families.sort_by_key(|family| std::cmp::Reverse(self.catalogue.chain(Some(&family.id)).count()));
        let mut explanations = Vec::new();
        let mut covered: BTreeSet<&str> = BTreeSet::new();
        for family in families {
            let evidence = self.family_evidence(family);
            let mut members: Vec<&mut Weighed<'a>> = products
                .iter_mut()
                .filter(|weighed| weighed.product.count != Count::None && weighed.outcome != Outcome::Absent)
                .filter(|weighed| {
                    let mut chain = self.catalogue.chain(weighed.product.family.as_deref());
                    chain.any(|around| around.id == family.id)
                })
                .collect();
            let active =
                members.iter().filter(|weighed| weighed.outcome == Outcome::Found(State::Active)).count();
            let finding = if family.exclusive && active > 1 {
                Some(self.rivals(family, &mut members))
            } else if members.is_empty() && !evidence.is_empty() && !covered.contains(family.id.as_str()) {
                Some(self.untold(family, &evidence))
            } else {
                None
            };
            if finding.is_some() {
                covered.extend(self.catalogue.chain(Some(&family.id)).map(|around| around.id.as_str()));
            }
            let looks = self.look(&family.signals);
            if let Some(product) = family_id(&family.id).filter(|_| finding.is_some() || !evidence.is_empty())
            {
                let conclusion = match finding.as_ref().and_then(|finding| finding.why.clone()) {
                    Some(why) => why,
                    None => "told apart, or part of what was found".into(),
                };
                let (findings, name) = (finding.into_iter().collect(), family.name.clone());
                explanations.push(Explanation {
                    product,
                    name,
                    findings,
                    looks,
                    conclusion,
                    notes: Vec::new(),
                    pattern: self.pattern(&[], Some(&family.id)),
                });
            }
        }
        explanations
    }

    /// Two products that cannot both be there: reported as their family, which no SKU takes.
    fn rivals(&self, family: &Family, members: &mut [&mut Weighed<'a>]) -> Finding {
        let active = |weighed: &&mut &mut Weighed<'a>| weighed.outcome == Outcome::Found(State::Active);
        let (mut names, mut signals, mut version) = (Vec::new(), Vec::new(), None);
        for weighed in members.iter_mut().filter(active) {
            names.push(weighed.product.id.to_string());
            for finding in weighed.explanation.findings.drain(..) {
                signals.extend(finding.signals);
                version = version.or(finding.version);
            }
            weighed.explanation.conclusion =
                "another product of its family is there too, and only one can be".into();
        }
        let why = format!("{} are both there, and only one can be", names.join(" and "));
        Finding {
            product: family_id(&family.id).expect("the parser took this id"),
            state: State::Active,
            version,
            signals: shortened(signals),
            against: Vec::new(),
            why: Some(shorten(why)),
        }
    }

    fn untold(&self, family: &Family, evidence: &[String]) -> Finding {
        let rule = self.catalogue.chain(Some(&family.id)).find_map(|around| around.active.get(&self.os()));
        let (state, reason) = self.state(rule);
        let mut why = format!("which product of {} it is could not be told", family.name);
        if let Some(reason) = reason {
            why.push_str("; ");
            why.push_str(&reason);
        }
        Finding {
            product: family_id(&family.id).expect("the parser took this id"),
            state,
            version: self.version(&[], Some(&family.id)),
            signals: shortened(evidence.to_vec()),
            against: shortened(against(&self.look(&family.signals))),
            why: Some(shorten(why)),
        }
    }
}
