//! Rules 1 to 7: what one machine-day is, whose, and what it is billed as.
//! Each answer looks at all records again.

use super::*;

impl World<'_> {
    /// Rule 1. The customer a machine-day belongs to; none when the machine was never assigned.
    pub(super) fn rule_1_owner(&self, machine: &str, day: Date) -> Option<String> {
        let last_report = self.reports_on(machine, day).map(|report| report.observed_at).max();
        let held = |at: Timestamp| match last_report {
            Some(report) => at <= report,
            None => at < self.calendar.first_instant_after(day),
        };
        let assigned: Vec<(Timestamp, &str)> = self
            .facts("machine_assigned")
            .filter(|fact| fact.text("machine") == machine)
            .map(|fact| (fact.at, fact.text("customer")))
            .collect();
        let latest = assigned.iter().filter(|(at, _)| held(*at)).max();
        let first_at = assigned.iter().map(|(at, _)| *at).min();
        let first = assigned.iter().filter(|(at, _)| Some(*at) == first_at).max();
        latest.or(first).map(|(_, customer)| (*customer).to_owned())
    }

    /// Rule 2. At least one accepted report of that day has the product active.
    pub(super) fn rule_2_confirmed(&self, machine: &str, product: &str, day: Date) -> bool {
        self.reports_on(machine, day).any(|report| report.is_active(product))
    }

    /// Rule 3. Of a machine-day that is not confirmed: is it presumed?
    pub(super) fn rule_3_presumed(&self, machine: &str, product: &str, day: Date) -> Presumption {
        if self.reports_on(machine, day).any(|report| report.settles(product)) {
            return Presumption::No;
        }
        let before: Vec<&Report> =
            self.reports_of(machine).filter(|report| report.day < day && report.settles(product)).collect();
        let Some(since) = before.iter().map(|report| report.observed_at).max() else {
            return Presumption::No;
        };
        if !before.iter().any(|report| report.observed_at == since && report.is_active(product)) {
            return Presumption::No;
        }
        let first_instant = self.calendar.first_instant(day);
        let retired = self
            .facts("machine_retired")
            .any(|fact| fact.text("machine") == machine && fact.at > since && fact.at <= first_instant);
        let pooled = self.facts("machine_flagged").any(|fact| {
            fact.text("machine") == machine && fact.text("flag") == "pool" && fact.at <= first_instant
        });
        let latest_switch = |kind| {
            self.facts(kind)
                .filter(|fact| fact.text("machine") == machine && fact.text("product") == product)
                .map(|fact| fact.at)
                .filter(|at| *at >= since && *at <= first_instant)
                .max()
        };
        let off = match (latest_switch("switched_off"), latest_switch("switched_on")) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(off), Some(on)) => off > on,
        };
        if retired || pooled || off {
            return Presumption::No;
        }
        let days_silent = days_between(self.calendar.day_of(since), day);
        if days_silent <= self.policy.presume_days {
            Presumption::Presumed
        } else {
            Presumption::TooLongSilent
        }
    }

    /// Rule 4. Is the (owner, SKU) suspended on this day?
    pub(super) fn rule_4_suspended(&self, customer: &str, sku: &str, day: Date) -> bool {
        let at = |kind| {
            self.facts(kind)
                .filter(|fact| fact.text("customer") == customer && fact.text("sku") == sku)
                .map(|fact| fact.at)
        };
        let first_instant = self.calendar.first_instant(day);
        let end = self.calendar.first_instant_after(day);
        at("licence_suspended").any(|suspended| {
            first_instant > suspended
                && !at("licence_resumed").any(|resumed| resumed >= suspended && resumed < end)
        })
    }

    /// The products of a machine-day that are confirmed (true) or presumed (false).
    pub(super) fn in_use(&self, machine: &str, day: Date) -> BTreeMap<String, bool> {
        let mut found = BTreeMap::new();
        for product in self.products_of(machine) {
            if self.rule_2_confirmed(machine, &product, day) {
                found.insert(product, true);
            } else if self.rule_3_presumed(machine, &product, day) == Presumption::Presumed {
                found.insert(product, false);
            }
        }
        found
    }

    /// Rule 5. Products replaced by the suites they make up.
    pub(super) fn rule_5_suites(
        &self,
        owner: &str,
        day: Date,
        products: BTreeMap<String, bool>,
    ) -> Vec<(String, bool)> {
        let mut suites: Vec<(&String, &Vec<String>)> = self.policy.suites.iter().collect();
        suites.sort_by_key(|(name, parts)| (std::cmp::Reverse(parts.len()), (*name).clone()));
        let mut left = products;
        let mut taken = Vec::new();
        for (name, parts) in suites {
            let whole = parts.iter().all(|part| left.contains_key(part));
            if whole && self.rule_6_sku(owner, name, day) != Mapping::Unmapped {
                let confirmed = parts.iter().all(|part| left[part]);
                left.retain(|product, _| !parts.contains(product));
                taken.push((name.clone(), confirmed));
            }
        }
        taken.extend(left);
        taken
    }

    /// Rule 6. What a product or suite of an owner is billed as on a day.
    pub(super) fn rule_6_sku(&self, owner: &str, product: &str, day: Date) -> Mapping {
        if product.starts_with("family/") {
            return Mapping::Unmapped;
        }
        let end = self.calendar.first_instant_after(day);
        let assigned = self
            .facts("sku_assigned")
            .filter(|fact| fact.text("customer") == owner && fact.text("product") == product)
            .filter(|fact| fact.at < end)
            .map(|fact| (fact.at, fact.maybe("sku")))
            .max();
        match assigned {
            Some((_, Some(sku))) => Mapping::Sku(sku.to_owned()),
            Some((_, None)) => Mapping::NotBilled,
            None => match self.policy.default_sku.get(product) {
                Some(sku) => Mapping::Sku(sku.clone()),
                None if self.policy.uncounted.contains(product) => Mapping::Uncounted,
                None => Mapping::Unmapped,
            },
        }
    }

    /// Rule 7, for one machine-day: SKU to (confirmed, suspended).
    pub(super) fn rule_7_skus(
        &self,
        machine: &str,
        owner: &str,
        day: Date,
    ) -> BTreeMap<String, (bool, bool)> {
        let mut skus: BTreeMap<String, (bool, bool)> = BTreeMap::new();
        for (name, confirmed) in self.rule_5_suites(owner, day, self.in_use(machine, day)) {
            if let Mapping::Sku(sku) = self.rule_6_sku(owner, &name, day) {
                let suspended = self.rule_4_suspended(owner, &sku, day);
                let entry = skus.entry(sku).or_insert((false, suspended));
                entry.0 |= confirmed;
            }
        }
        skus
    }

    /// Rule 7. The counted days of every machine among these days.
    pub(super) fn rule_7_counted(&self, days: &[Date]) -> Vec<CountedDay> {
        let mut counted = Vec::new();
        for machine in self.machines() {
            for day in days {
                let Some(customer) = self.rule_1_owner(&machine, *day) else { continue };
                for (sku, (confirmed, suspended)) in self.rule_7_skus(&machine, &customer, *day) {
                    if !suspended {
                        let (machine, customer) = (machine.clone(), customer.clone());
                        counted.push(CountedDay { machine, sku, day: *day, customer, confirmed });
                    }
                }
            }
        }
        counted
    }
}

fn days_between(from: Date, to: Date) -> i64 {
    i64::from(from.until(to).expect("two days in reach").get_days())
}
