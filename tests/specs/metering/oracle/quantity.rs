//! Rules 8 to 11: counted days become the quantities of an account.
//! Every (customer, SKU) of the period is worked out on its own.

use super::*;

impl World<'_> {
    /// Rule 8. Whose the counted days of a period are.
    pub(super) fn rule_8_moved(&self, counted: Vec<CountedDay>) -> Vec<CountedDay> {
        let billed_to = |seat: &CountedDay| {
            let days = counted.iter().filter(|other| other.machine == seat.machine && other.sku == seat.sku);
            let mut owners: BTreeMap<&str, (usize, Date)> = BTreeMap::new();
            for day in days {
                let owner = owners.entry(&day.customer).or_insert((0, day.day));
                *owner = (owner.0 + 1, owner.1.max(day.day));
            }
            let main = match self.policy.moved.as_str() {
                "each_owner" => return seat.customer.clone(),
                "last_owner" => owners.iter().max_by_key(|(_, (_, last))| *last),
                _ => owners.iter().max_by_key(|(_, days_and_last)| **days_and_last),
            };
            main.map(|(owner, _)| (*owner).to_owned()).expect("a seat has an owner")
        };
        let customers: Vec<String> = counted.iter().map(billed_to).collect();
        counted.into_iter().zip(customers).map(|(day, customer)| CountedDay { customer, ..day }).collect()
    }

    /// Rule 9. The days that pass the SKU's filters.
    pub(super) fn rule_9_filters(&self, period: &str, counted: Vec<CountedDay>) -> Vec<CountedDay> {
        let confirmed_days = |seat: &CountedDay| {
            let same = |other: &&CountedDay| {
                other.customer == seat.customer && other.machine == seat.machine && other.sku == seat.sku
            };
            counted.iter().filter(same).filter(|day| day.confirmed).count() as i64
        };
        let ever = if self.policy.skus.values().any(|sku| sku.free_first_month) {
            self.rule_7_counted(&self.every_day_until(period))
        } else {
            Vec::new()
        };
        let first_period = |seat: &CountedDay| {
            let group = self.policy.group_of(&seat.sku);
            let first = ever
                .iter()
                .filter(|day| day.machine == seat.machine)
                .filter(|day| {
                    day.sku == seat.sku || (group.is_some() && self.policy.group_of(&day.sku) == group)
                })
                .map(|day| day.day)
                .min();
            self.calendar
                .usage_days(period)
                .contains(&first.expect("a counted day is among all counted days"))
        };
        let kept = |day: &CountedDay| {
            let sku = self.policy.sku(&day.sku);
            confirmed_days(day) >= sku.min_days && !(sku.free_first_month && first_period(day))
        };
        counted.iter().filter(|day| kept(day)).cloned().collect()
    }

    /// From the first report ever to the period's last day that has begun.
    fn every_day_until(&self, period: &str) -> Vec<Date> {
        let Some(last) = self.rule_12_days(period).last().copied() else { return Vec::new() };
        let Some(first) = self.accepted.iter().map(|report| report.day).min() else { return Vec::new() };
        let mut days = Vec::new();
        let mut day = first;
        while day <= last {
            if self.calendar.exists(day) {
                days.push(day);
            }
            day = day.tomorrow().expect("a day in reach");
        }
        days
    }

    /// Rules 7 to 11: the period's lines, without money.
    pub(super) fn lines(&self, period: &str) -> BTreeMap<Account, Line> {
        let counted = self.rule_7_counted(&self.rule_12_days(period));
        let counted = self.rule_9_filters(period, self.rule_8_moved(counted));
        let mut accounts: BTreeSet<Account> =
            counted.iter().map(|day| (day.customer.clone(), day.sku.clone())).collect();
        for fact in self.facts("declared").chain(self.facts("adjusted")) {
            if fact.text("period") == period {
                accounts.insert((fact.text("customer").to_owned(), fact.text("sku").to_owned()));
            }
        }
        let mut lines = BTreeMap::new();
        for account in accounts {
            let seats: Vec<&CountedDay> =
                counted.iter().filter(|day| day.customer == account.0 && day.sku == account.1).collect();
            let (confirmed, presumed, day) = self.rule_10_quantity(period, &account.1, &seats);
            let declared = Decimal::from(self.rule_11_declared(&account, period).unwrap_or(0));
            let adjusted = Decimal::from(self.rule_11_adjusted(&account, period));
            let line = Line {
                count: self.policy.sku(&account.1).count,
                day: day.map(|day| day.to_string()),
                confirmed,
                presumed,
                declared,
                adjusted,
                ..Line::default()
            };
            if line.confirmed + line.presumed != Decimal::ZERO || !declared.is_zero() || !adjusted.is_zero() {
                lines.insert(account, line);
            }
        }
        lines
    }

    /// Rule 10. (confirmed, presumed, the day that a `high_water` names).
    pub(super) fn rule_10_quantity(
        &self,
        period: &str,
        sku: &str,
        seats: &[&CountedDay],
    ) -> (Decimal, Decimal, Option<Date>) {
        let on = |day: Date| {
            let seats: Vec<_> = seats.iter().filter(|seat| seat.day == day).collect();
            (seats.len(), seats.iter().filter(|seat| seat.confirmed).count())
        };
        let split =
            |(all, confirmed): (usize, usize)| (Decimal::from(confirmed), Decimal::from(all - confirmed));
        let begun = self.rule_12_days(period);
        match self.policy.sku(sku).count.as_str() {
            "distinct" => {
                let machines = |confirmed_only: bool| {
                    let days = seats.iter().filter(|seat| seat.confirmed || !confirmed_only);
                    days.map(|seat| &seat.machine).collect::<BTreeSet<_>>().len()
                };
                let (confirmed, presumed) = split((machines(false), machines(true)));
                (confirmed, presumed, None)
            }
            "month_end" => {
                let (confirmed, presumed) = begun.last().map_or_else(Default::default, |day| split(on(*day)));
                (confirmed, presumed, None)
            }
            "average" => {
                let per_day = |seat_days: usize| {
                    (Decimal::from(seat_days) / Decimal::from(self.calendar.usage_days(period).len()))
                        .round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
                };
                let measured = per_day(seats.len());
                let confirmed = per_day(seats.iter().filter(|seat| seat.confirmed).count());
                (confirmed, measured - confirmed, None)
            }
            _ => {
                let mut named = None;
                let mut best = (0, 0);
                for day in begun {
                    if on(day) > best {
                        best = on(day);
                        named = Some(day);
                    }
                }
                let (confirmed, presumed) = split(best);
                (confirmed, presumed, named)
            }
        }
    }

    /// Rule 11. The latest declaration for a period, if there is one.
    pub(super) fn rule_11_declared(&self, account: &Account, period: &str) -> Option<i64> {
        self.facts("declared")
            .filter(|fact| fact.is_for(account, period))
            .map(|fact| (fact.at, fact.number("quantity")))
            .max()
            .map(|(_, quantity)| quantity)
    }

    /// Rule 11. The sum of a period's adjustments.
    pub(super) fn rule_11_adjusted(&self, account: &Account, period: &str) -> i64 {
        self.facts("adjusted")
            .filter(|fact| fact.is_for(account, period))
            .map(|fact| fact.number("delta"))
            .sum()
    }
}
