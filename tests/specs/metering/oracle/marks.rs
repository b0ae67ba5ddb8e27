//! Flags, blockers and the list of the rejected: what a person must see beside the counts.
//! They speak of the period only, and of no usage day that begins after the cut-off.

use super::*;

fn mark(kind: &'static str, name: &str, fields: &[(&'static str, &str)]) -> Mark {
    let mut mark = vec![(kind, name.to_owned())];
    mark.extend(fields.iter().map(|(field, value)| (*field, (*value).to_owned())));
    mark
}

fn flag(name: &str, fields: &[(&'static str, &str)]) -> Mark {
    mark("flag", name, fields)
}

fn blocker(name: &str, fields: &[(&'static str, &str)]) -> Mark {
    mark("blocker", name, fields)
}

impl World<'_> {
    pub(super) fn flags(&self, period: &str) -> BTreeSet<Mark> {
        let mut flags = self.forked_spools(period);
        flags.extend(self.went_silent(period));
        flags.extend(self.both_alive(period));
        flags.extend(self.active_after(period));
        flags.extend(self.running_on_suspended(period));
        flags.extend(self.declared_missing(period));
        let noted = self.facts("machine_flagged").filter(|fact| fact.text("flag") != "pool");
        let noted = noted.filter(|fact| self.in_period(fact.at, period));
        flags.extend(noted.map(|fact| flag(fact.text("flag"), &[("machine", fact.text("machine"))])));
        flags
    }

    fn forked_spools(&self, period: &str) -> BTreeSet<Mark> {
        let mut flags = BTreeSet::new();
        for report in self.accepted.iter().filter(|report| self.in_period(report.observed_at, period)) {
            let forked = self.accepted.iter().any(|other| {
                (&other.machine, &other.spool, other.sequence)
                    == (&report.machine, &report.spool, report.sequence)
                    && other.content != report.content
            });
            if forked {
                flags.insert(flag("forked_spool", &[("machine", &report.joined)]));
            }
        }
        flags
    }

    /// Rule 3, last sentence.
    fn went_silent(&self, period: &str) -> BTreeSet<Mark> {
        let mut flags = BTreeSet::new();
        for machine in self.machines() {
            for product in self.products_of(&machine) {
                for day in self.rule_12_days(period) {
                    if !self.rule_2_confirmed(&machine, &product, day)
                        && self.rule_3_presumed(&machine, &product, day) == Presumption::TooLongSilent
                    {
                        flags.insert(flag("went_silent", &[("machine", &machine)]));
                    }
                }
            }
        }
        flags
    }

    fn both_alive(&self, period: &str) -> BTreeSet<Mark> {
        let mut spans: BTreeMap<(&str, &str), (Timestamp, Timestamp)> = BTreeMap::new();
        for report in self.accepted.iter().filter(|report| self.in_period(report.observed_at, period)) {
            let at = report.observed_at;
            let span = spans.entry((&report.joined, &report.machine)).or_insert((at, at));
            *span = (span.0.min(at), span.1.max(at));
        }
        let mut flags = BTreeSet::new();
        for ((joined, agent), span) in &spans {
            for ((other_joined, other_agent), other) in &spans {
                let share = span.0 <= other.1 && other.0 <= span.1;
                if joined == other_joined && agent != other_agent && share {
                    flags.insert(flag("merged_while_both_alive", &[("machine", joined)]));
                }
            }
        }
        flags
    }

    /// Rule 7: reports of products that were ordered off, or of machines that were retired.
    fn active_after(&self, period: &str) -> BTreeSet<Mark> {
        let mut flags = BTreeSet::new();
        for report in self.accepted.iter().filter(|report| self.in_period(report.observed_at, period)) {
            for product in report.products.keys().filter(|product| report.is_active(product)) {
                let switches = |kind| {
                    self.facts(kind)
                        .filter(|fact| fact.text("machine") == report.joined)
                        .filter(|fact| fact.text("product") == product.as_str())
                        .map(|fact| fact.at)
                        .filter(|at| *at <= report.observed_at)
                };
                if let Some(off) = switches("switched_off").max() {
                    let undone = switches("switched_on").any(|on| on >= off);
                    if !undone && report.day > self.calendar.day_of(off) {
                        let fields = [("machine", report.joined.as_str()), ("product", product)];
                        flags.insert(flag("active_after_switch_off", &fields));
                    }
                }
                let retired = self
                    .facts("machine_retired")
                    .filter(|fact| fact.text("machine") == report.joined)
                    .any(|fact| report.day > self.calendar.day_of(fact.at));
                if retired {
                    flags.insert(flag("active_after_retirement", &[("machine", &report.joined)]));
                }
            }
        }
        flags
    }

    /// Rule 4, for days that are confirmed.
    fn running_on_suspended(&self, period: &str) -> BTreeSet<Mark> {
        let mut flags = BTreeSet::new();
        for machine in self.machines() {
            for day in self.rule_12_days(period) {
                let Some(owner) = self.rule_1_owner(&machine, day) else { continue };
                for (sku, (confirmed, suspended)) in self.rule_7_skus(&machine, &owner, day) {
                    if confirmed && suspended {
                        let fields = [("customer", owner.as_str()), ("sku", &sku), ("machine", &machine)];
                        flags.insert(flag("running_on_suspended_licence", &fields));
                    }
                }
            }
        }
        flags
    }

    /// Rule 11, last sentence.
    fn declared_missing(&self, period: &str) -> BTreeSet<Mark> {
        let mut flags = BTreeSet::new();
        let before = period_before(period);
        for fact in self.facts("declared").filter(|fact| fact.text("period") == before) {
            let account = (fact.text("customer").to_owned(), fact.text("sku").to_owned());
            let declared = self.rule_11_declared(&account, &before).is_some_and(|quantity| quantity > 0);
            if declared && self.rule_11_declared(&account, period).is_none() {
                flags.insert(flag("declared_missing", &[("customer", &account.0), ("sku", &account.1)]));
            }
        }
        flags
    }

    /// Rules 1, 6 and 11, and clocks.
    pub(super) fn blockers(&self, period: &str, lines: &BTreeMap<Account, Line>) -> BTreeSet<Mark> {
        let mut blockers = BTreeSet::new();
        for machine in self.machines() {
            for day in self.rule_12_days(period) {
                let products = self.in_use(&machine, day);
                let Some(owner) = self.rule_1_owner(&machine, day) else {
                    if products.keys().any(|product| !self.policy.uncounted.contains(product)) {
                        blockers.insert(blocker("unassigned", &[("machine", &machine)]));
                    }
                    continue;
                };
                for (name, _) in self.rule_5_suites(&owner, day, products) {
                    if self.rule_6_sku(&owner, &name, day) == Mapping::Unmapped {
                        let fields = [("customer", owner.as_str()), ("product", &name)];
                        blockers.insert(blocker("unmapped_product", &fields));
                    }
                }
            }
        }
        for ((customer, sku), line) in lines {
            if line.sum().is_sign_negative() && !line.sum().is_zero() {
                blockers.insert(blocker("negative_quantity", &[("customer", customer), ("sku", sku)]));
            }
        }
        let heard: BTreeSet<&String> = self
            .accepted
            .iter()
            .filter(|report| self.in_period(report.observed_at, period))
            .map(|report| &report.joined)
            .collect();
        for report in self.refused.iter().filter(|report| self.in_period(report.received_at, period)) {
            if !heard.contains(&report.joined) {
                blockers.insert(blocker("clock_trouble", &[("machine", &report.joined)]));
            }
        }
        blockers
    }

    pub(super) fn rejected(&self, period: &str) -> Vec<Value> {
        let mut rejected = BTreeSet::new();
        for report in self.refused.iter().filter(|report| self.in_period(report.received_at, period)) {
            let reason = report.refusal().expect("refused reports have a reason");
            rejected.insert((&report.machine, &report.spool, report.sequence, reason));
        }
        let row = |(machine, spool, sequence, reason)| json!({"machine": machine, "spool": spool, "sequence": sequence, "reason": reason});
        rejected.into_iter().map(row).collect()
    }
}
