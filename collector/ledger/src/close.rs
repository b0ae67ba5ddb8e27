//! The close: usage and policy in, the statement of a period out.
//! Invariant: a function of its input; closing again gives the same bytes.

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId};

use crate::body::SealedBody;
use crate::calendar::{Period, UsageDay, Zone};
use crate::corrections::corrections;
use crate::counts::{self, Counts};
use crate::findings::Findings;
use crate::machines::Names;
use crate::money::TooLarge;
use crate::policy::Policy;
use crate::pricing::{earnings, price_lines};
use crate::quantity::lines;
use crate::record::Sku;
use crate::seats::{MachineCount, Seats};
use crate::statement::{Correction, Line, MeterOutput, Statement, totals};
use crate::usage::Usage;

/// What a statement is closed from.
#[derive(Debug, Clone, Copy)]
pub struct CloseInput<'a> {
    /// What the records known at the cut-off amount to, in the policy's zone.
    pub usage: &'a Usage,
    /// The same records in the zones of earlier policies, where those had another.
    pub usage_elsewhere: &'a [Usage],
    /// By which it is closed.
    pub policy: &'a Policy,
    /// Which month.
    pub period: Period,
    /// Usage days that begin after it are left out. The caller has left out the records.
    pub as_of: Option<Timestamp>,
    /// What was sealed before; a body without a policy of its own is recomputed by this one.
    pub sealed: &'a [SealedBody],
}

/// A close that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Records were folded in other zones than the policy's.
    #[error("failed to close: no usage was folded in zone `{zone}`")]
    NoUsage {
        /// The policy's zone.
        zone: String,
    },
    /// Two sealed bodies of a period have the same line.
    #[error("failed to correct period {period}: SKU `{sku}` of `{customer}` is sealed twice")]
    SealedTwice {
        /// The sealed period.
        period: Period,
        /// Whose line.
        customer: CustomerId,
        /// Of what.
        sku: Sku,
    },
    /// Absurd quantities or prices.
    #[error("failed to close: {0}")]
    TooLarge(#[from] TooLarge),
}

impl<'a> CloseInput<'a> {
    /// The usage folded in this zone.
    pub fn usage_in(&self, zone: &Zone) -> Result<&'a Usage, CloseError> {
        std::iter::once(self.usage)
            .chain(self.usage_elsewhere)
            .find(|usage| usage.zone() == zone)
            .ok_or_else(|| CloseError::NoUsage { zone: zone.name().to_owned() })
    }
}

/// Closes a period.
pub fn close(input: CloseInput<'_>) -> Result<MeterOutput, CloseError> {
    let usage = input.usage_in(&input.policy.zone)?;
    let counted = priced_lines(usage, input.policy, input.period, input.as_of)?;
    output(counted, input.policy, input.period, corrections(&input)?)
}

/// Lines, findings and corrections as a statement, with what is earned by them.
pub(crate) fn output(
    (lines, findings): (Vec<Line>, Findings),
    policy: &Policy,
    period: Period,
    corrections: Vec<Correction>,
) -> Result<MeterOutput, CloseError> {
    let earnings = earnings(&lines, policy)?;
    let statement = Statement {
        period,
        zone: policy.zone.clone(),
        corrections,
        totals: totals(&lines)?,
        lines,
        flags: findings.flags.into_iter().collect(),
        blockers: findings.blockers.into_iter().collect(),
        rejected: findings.rejected.into_iter().collect(),
    };
    Ok(MeterOutput { statement, earnings })
}

/// The seats behind a period's lines, machine by machine: what a line's quantity rests on.
pub fn seats(usage: &Usage, policy: &Policy, period: Period, as_of: Option<Timestamp>) -> Seats {
    counts::seats(usage, policy, period, &begun_days(usage, period, as_of))
}

/// What one machine adds to a period, its counted days as bits from the period's first day on, and the findings
/// about it; `agent` may be any of those that are one machine.
pub fn seats_of(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    as_of: Option<Timestamp>,
    agent: &MachineId,
) -> MachineCount {
    counts::seats_of(usage, policy, period, &begun_days(usage, period, as_of), agent)
}

/// The lines of a period with their costs, and what there is to say beside them.
pub(crate) fn priced_lines(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    as_of: Option<Timestamp>,
) -> Result<(Vec<Line>, Findings), TooLarge> {
    let (days, names) = (begun_days(usage, period, as_of), Names::new(usage));
    let counts = Counts::of(usage, policy, period, &days, &names);
    let (lines, mut findings) = counted_lines(usage, policy, period, &days, &names, &counts)?;
    findings.flags.extend(counts.flags().cloned());
    Ok((lines, findings))
}

/// As [`priced_lines`], from what the machines are known to amount to; without their flags, which stand there.
pub(crate) fn counted_lines(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    days: &[UsageDay],
    names: &Names,
    counts: &Counts,
) -> Result<(Vec<Line>, Findings), TooLarge> {
    let mut findings = counts.findings(usage, names, days);
    let mut lines = lines(usage, policy, period, days, counts, &mut findings)?;
    price_lines(&mut lines, policy)?;
    Ok((lines, findings))
}

/// Rule 12: the usage days of a period that do not begin after the cut-off.
pub(crate) fn begun_days(usage: &Usage, period: Period, as_of: Option<Timestamp>) -> Vec<UsageDay> {
    let mut days = usage.zone().days(period);
    days.retain(|day| as_of.is_none_or(|cut| day.first <= cut));
    days
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::scenario::{Scenario, instant};

    fn october() -> Scenario {
        Scenario::new().policy("presume_days = 3")
    }

    #[test]
    fn records_that_were_not_known_at_the_cut_off_are_ignored() {
        let late = || {
            october().report_at(("m", "s", 1), "10-05 08:00", "10-06 12:00", "a").line(
                r#"{"type":"sku_assigned","at":"2026-10-01T00:00:00Z","recorded_at":"2026-10-07T00:00:00Z","customer":"cus_acme","product":"a","sku":"X"}"#,
            )
        };
        assert_eq!(late().cut_off("10-06 11:59").lines(), [""; 0]);
        assert_eq!(late().cut_off("10-06 12:00").lines(), ["acme A 1=1+0 on 5"]);
        assert_eq!(late().cut_off("10-06 23:59:59.999999999").lines(), ["acme A 1=1+0 on 5"]);
        assert_eq!(late().cut_off("10-07 00:00").lines(), ["acme X 1=1+0 on 5"]);
    }

    #[test]
    fn a_record_is_known_when_it_was_written_down_even_if_it_takes_effect_later() {
        let line = r#"{"type":"declared","at":"2026-10-31T00:00:00Z","recorded_at":"2026-10-02T00:00:00Z","customer":"cus_acme","sku":"M","period":"2026-10","quantity":4}"#;
        assert_eq!(october().line(line).cut_off("10-02 00:00").lines(), ["acme M 4=0+0"]);
        let bare = october().declared("10-31 00:00", "acme", "M", "2026-10", 4);
        assert_eq!(bare.cut_off("10-30 00:00").lines(), [""; 0]);
    }

    #[test]
    fn days_that_begin_after_the_cut_off_are_in_no_count() {
        let scenario = |cut| october().report("m", "10-05 08:00", "a").cut_off(cut);
        assert_eq!(scenario("10-06 23:59").days("m", "acme", "A"), "5 6p");
        assert_eq!(scenario("10-07 00:00").days("m", "acme", "A"), "5 6p 7p");
        assert_eq!(scenario("09-30 00:00").lines(), [""; 0]);
        // A machine's clock may be ahead by ten minutes: tomorrow's report is known, but tomorrow has not begun.
        let ahead = || october().report_at(("m", "s", 1), "10-06 00:05", "10-05 23:57", "spnt");
        assert_eq!(ahead().cut_off("10-05 23:58").blockers(), [""; 0]);
        assert_eq!(ahead().cut_off("10-06 00:00").blockers(), ["unmapped_product cus_acme spnt"]);
    }

    #[test]
    fn a_seat_s_fate_after_the_cut_off_does_not_move_it() {
        let moved = october().report("m", "10-05 08:00", "a").assigned("10-06 00:00", "m", "zeta");
        assert_eq!(moved.cut_off("10-05 12:00").lines(), ["acme A 1=1+0 on 5"]);
        let line = r#"{"type":"machine_assigned","at":"2026-10-05T00:00:00Z","recorded_at":"2026-10-09T00:00:00Z","machine":"mch_m","customer":"cus_zeta"}"#;
        let dated_back = || october().report("m", "10-05 08:00", "a").line(line);
        assert_eq!(dated_back().cut_off("10-08 00:00").lines(), ["acme A 1=1+0 on 5"]);
        assert_eq!(dated_back().cut_off("10-09 00:00").lines(), ["zeta A 1=1+0 on 5"]);
    }

    #[test]
    fn the_page_s_statement_has_the_page_s_shape() {
        let scenario = Scenario::bare()
            .policy(
                "[default_sku]\nwfbs-svc = \"WF-SVC\"\n[sku.WF-SVC]\nprice_group = \"worry-free\"\n\
                 [price_group.worry-free]\ndistributor = \"ingram\"\ncurrency = \"USD\"\n\
                 tiers = [{ from = 1, cost = \"2.10\" }, { from = 25, cost = \"1.80\" }]\n\
                 [price.WF-SVC]\nreseller = \"4.00\"\ncus_acme = \"3.75\"\n[price.HES-MAILBOX]\nreseller = \"1\"",
            )
            .assigned("09-30 12:00", "a", "acme")
            .report("a", "10-07 08:00", "wfbs-svc")
            .adjusted("11-02 09:00", "acme", "WF-SVC", "2026-10", 10)
            .declared("10-31 18:00", "acme", "HES-MAILBOX", "2026-10", 40)
            .flagged("10-12 10:00", "a", "possible_clone")
            .report("a", "10-08 08:00", "spnt")
            .report_at(("d", "4", 3), "10-08 08:11", "10-08 08:00", "");
        let expected = concat!(
            r#"{"statement":{"period":"2026-10","zone":"UTC","lines":["#,
            r#"{"customer":"cus_acme","sku":"HES-MAILBOX","count":"high_water","confirmed":"0","presumed":"0","measured":"0","declared":"40","adjusted":"0","quantity":"40"},"#,
            r#"{"customer":"cus_acme","sku":"WF-SVC","count":"high_water","day":"2026-10-07","confirmed":"1","presumed":"0","measured":"1","declared":"0","adjusted":"10","quantity":"11","distributor":"ingram","unit_cost":"2.10","cost":"23.10","currency":"USD"}],"#,
            r#""corrections":[],"totals":[{"sku":"HES-MAILBOX","quantity":"40"},{"sku":"WF-SVC","quantity":"11"}],"#,
            r#""flags":[{"flag":"possible_clone","machine":"mch_a"},{"flag":"went_silent","machine":"mch_a"}],"#,
            r#""blockers":[{"blocker":"clock_trouble","machine":"mch_d"},{"blocker":"unmapped_product","customer":"cus_acme","product":"spnt"}],"#,
            r#""rejected":[{"machine":"mch_d","spool":"spl_4","sequence":3,"reason":"clock_ahead"}]},"#,
            r#""earnings":[{"customer":"cus_acme","sku":"HES-MAILBOX","quantity":"40","unit_price":"1","revenue":"40.00"},"#,
            r#"{"customer":"cus_acme","sku":"WF-SVC","quantity":"11","unit_price":"3.75","revenue":"41.25","cost":"23.10","profit":"18.15","markup":"0.7857","margin":"0.4400","currency":"USD"}]}"#,
        );
        let output = scenario.output();
        assert_eq!(serde_json::to_string(&output).unwrap(), expected);
        let read: MeterOutput = serde_json::from_str(&output.to_json()).unwrap();
        assert_eq!(read, output);
    }

    #[test]
    fn earnings_by_nothing_have_no_ratio_and_a_currency_has_its_digits() {
        let scenario = |cost: &str, price: &str| {
            let policy = format!(
                "[sku.A]\nprice_group = \"g\"\n[price_group.g]\ndistributor = \"d\"\ncurrency = \"KWD\"\n\
                 tiers = [{{ from = 1, cost = \"{cost}\" }}]\n[price.A]\nreseller = \"{price}\""
            );
            let output = Scenario::new().policy(&policy).report("m", "10-31 08:00", "a").output();
            let row = serde_json::to_value(&output.earnings[0]).unwrap();
            let said = ["revenue", "cost", "profit", "markup", "margin"].map(|name| row.get(name).cloned());
            said.map(|value| value.map_or("-".to_owned(), |value| value.as_str().unwrap().to_owned()))
                .join(" ")
        };
        assert_eq!(scenario("0", "1.5"), "1.500 0.000 1.500 - 1.0000");
        assert_eq!(scenario("2", "0"), "0.000 2.000 -2.000 -1.0000 -");
        assert_eq!(scenario("0", "0"), "0.000 0.000 0.000 - -");
        assert_eq!(scenario("3", "2.0005"), "2.000 3.000 -1.000 -0.3333 -0.5000");
    }

    #[test]
    fn usage_of_another_zone_is_refused() {
        let usage = Usage::new(Zone::named("Europe/Berlin").unwrap());
        let policy = Policy::default();
        let error = close(CloseInput {
            usage: &usage,
            usage_elsewhere: &[],
            policy: &policy,
            period: "2026-10".parse().unwrap(),
            as_of: None,
            sealed: &[],
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "failed to close: no usage was folded in zone `UTC`");
    }

    #[test]
    fn a_snapshot_of_usage_reads_back_equal_and_records_may_come_one_by_one() {
        let at = instant("10-05 08:00");
        let lines = [
            format!(r#"{{"type":"machine_assigned","at":"{at}","machine":"mch_a","customer":"cus_a"}}"#),
            format!(r#"{{"type":"sku_assigned","at":"{at}","customer":"cus_a","product":"p","sku":null}}"#),
            format!(r#"{{"type":"switched_off","at":"{at}","machine":"mch_a","product":"p"}}"#),
            format!(r#"{{"type":"licence_suspended","at":"{at}","customer":"cus_a","sku":"S"}}"#),
            format!(r#"{{"type":"machine_retired","at":"{at}","machine":"mch_a"}}"#),
            format!(r#"{{"type":"machines_merged","at":"{at}","kept":"mch_a","absorbed":"mch_b"}}"#),
            format!(r#"{{"type":"machine_flagged","at":"{at}","machine":"mch_a","flag":"pool"}}"#),
            format!(
                r#"{{"type":"declared","at":"{at}","customer":"cus_a","sku":"S","period":"2026-10","quantity":1}}"#
            ),
            format!(
                r#"{{"type":"adjusted","at":"{at}","customer":"cus_a","sku":"S","period":"2026-10","delta":1}}"#
            ),
            format!(
                r#"{{"type":"report","machine":"mch_a","spool":"spl_1","sequence":1,"observed_at":"{at}","received_at":"{at}","products":[{{"product":"p","state":"active"}},{{"product":"q","state":"unknown"}}]}}"#
            ),
            format!(
                r#"{{"type":"report","machine":"mch_a","spool":"spl_1","sequence":2,"observed_at":"2025-10-05T08:00:00Z","received_at":"{at}","products":[]}}"#
            ),
        ];
        let records: Vec<Record> = lines.iter().map(|line| Record::parse_line(line).unwrap()).collect();
        let (mut usage, mut backwards) = (Usage::default(), Usage::default());
        records.iter().for_each(|record| usage.apply(record));
        records.iter().rev().chain(&records).for_each(|record| backwards.apply(record));
        assert_eq!(usage, backwards);
        let snapshot = serde_json::to_string(&usage).unwrap();
        assert_eq!(serde_json::from_str::<Usage>(&snapshot).unwrap(), usage);
    }
}
