//! What there is to look at beside a draft. Invariant: what is in the way comes with what to do and where; a list that
//! is cut says how many it leaves out.

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::review::{InTheWay, LicenceState, Switch};
use seatbeat_ledger::unbilled::Unbilled;
use seatbeat_ledger::variance::VarianceRow;
use seatbeat_proto::ids::MachineId;

use super::super::moment;
use super::lines::signed;
use crate::console::months::{DraftOf, Month};
use crate::console::words;
use crate::outputs::review::{held, instead};

/// Rows of a list: more are elsewhere.
const ROWS_MAX: usize = 50;

/// Something that is in the way.
pub struct InWay {
    /// What it is.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// Where that is done; empty: on no page.
    pub href: String,
}

/// The first rows of a list.
pub struct Cut<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// How many are left out.
    pub more: u64,
}

/// A difference to the month before.
pub struct Varies {
    /// What its customer is called.
    pub name: String,
    /// Which customer.
    pub customer: String,
    /// Of what.
    pub sku: String,
    /// As sealed for the month before.
    pub before: String,
    /// As it is.
    pub after: String,
    /// Its parts.
    pub why: String,
}

/// Days that count for no line.
pub struct NotBilled {
    /// Which machine.
    pub machine: MachineId,
    /// Whose.
    pub name: String,
    /// Of which SKU or product.
    pub of: String,
    /// Why.
    pub why: &'static str,
    /// Who bears them, or with what they are counted.
    pub instead: String,
    /// Which days.
    pub days: String,
}

/// A licence of a line.
pub struct Licence {
    /// Whose.
    pub name: String,
    /// Of what.
    pub sku: String,
    /// Whether it is suspended.
    pub is_suspended: bool,
    /// Since when.
    pub since: String,
    /// Seats that are held.
    pub held: String,
}

/// See the module's text.
pub struct Look {
    /// Why lines differ from the month before; none: that one was never sealed.
    pub variance: Option<Cut<Varies>>,
    /// Seats that are in no quantity.
    pub unbilled: Cut<NotBilled>,
    /// How many machines were heard from.
    pub heard: String,
    /// Machines that ought to have been heard from, and when they were last.
    pub silent: Cut<(MachineId, String)>,
    /// Records that were dated back: where they stand, when they take effect, by whom, why.
    pub back_dated: Cut<(u64, String, String, String)>,
    /// Licences of lines.
    pub licences: Cut<Licence>,
}

impl Look {
    /// Of a month's draft.
    pub fn of(draft: &DraftOf, month: &Month) -> Self {
        let review = &draft.review;
        let coverage = &review.coverage;
        let heard = |at: Option<jiff::Timestamp>| at.map_or("never".to_owned(), moment::shown);
        Self {
            variance: draft
                .variance
                .as_ref()
                .map(|rows| cut(rows, rows.len() as u64, |row| varies(row, month))),
            unbilled: cut(&review.unbilled.rows, review.unbilled.total, |row| not_billed(row, month)),
            heard: format!(
                "{} of {} machines were heard from on the last {} days.",
                coverage.heard, coverage.expected, coverage.days
            ),
            silent: cut(&review.silent.rows, review.silent.total, |row| {
                (row.machine.clone(), heard(row.heard_at))
            }),
            back_dated: cut(&review.back_dated.rows, review.back_dated.total, |row| {
                (row.position, moment::shown(row.at), row.operator.clone(), row.reason.clone())
            }),
            licences: cut(&draft.licences, review.licences.len() as u64, |row| licence(row, month)),
        }
    }
}

fn cut<T, S>(rows: &[T], total: u64, shown: impl Fn(&T) -> S) -> Cut<S> {
    let rows: Vec<S> = rows.iter().take(ROWS_MAX).map(shown).collect();
    Cut { more: total.saturating_sub(rows.len() as u64), rows }
}

fn varies(row: &VarianceRow, month: &Month) -> Varies {
    let part = |(part, quantity): (&seatbeat_ledger::variance::Part, &_)| {
        format!("{} {}", signed(*quantity), part.as_str())
    };
    Varies {
        name: month.name(&row.customer).to_owned(),
        customer: row.customer.to_string(),
        sku: row.sku.to_string(),
        before: row.before.to_string(),
        after: row.after.to_string(),
        why: row.parts.iter().map(part).collect::<Vec<_>>().join(", "),
    }
}

/// A reason as a row; whose it is, by the names of its month.
pub fn not_billed(row: &Unbilled, month: &Month) -> NotBilled {
    let name = row.customer.as_ref().map(|customer| month.name(customer).to_owned());
    told(row, name.unwrap_or_default())
}

/// A reason as a row.
pub fn told(row: &Unbilled, name: String) -> NotBilled {
    let sku = row.sku.as_ref().map(ToString::to_string);
    let product = || row.product.as_ref().map(ToString::to_string);
    NotBilled {
        machine: row.machine.clone(),
        name,
        of: sku.or_else(product).unwrap_or_default(),
        why: row.reason.as_str(),
        instead: instead(row),
        days: words::days(&row.days),
    }
}

fn licence(row: &LicenceState, month: &Month) -> Licence {
    Licence {
        name: month.name(&row.customer).to_owned(),
        sku: row.sku.to_string(),
        is_suspended: row.licence == Switch::Suspended,
        since: moment::shown(row.since),
        held: held(&row.held),
    }
}

/// What is in the way of a month, and where it is settled.
pub fn in_the_way(period: Period, blockers: &[InTheWay]) -> Vec<InWay> {
    let one = |blocker: &InTheWay| {
        let words::Advice { what, remedy } = words::in_the_way(blocker);
        InWay { what, remedy, href: place(period, blocker) }
    };
    blockers.iter().map(one).collect()
}

fn place(period: Period, blocker: &InTheWay) -> String {
    match blocker {
        InTheWay::LowCoverage(_) => "/machines?state=silent".to_owned(),
        InTheWay::OpenDifferences(open) => format!("/statements/{}/reconcile", open.period),
        InTheWay::Undeliverable(_) => format!("/statements/{period}/delivery"),
        InTheWay::Statement(blocker) => match (&blocker.machine, &blocker.customer) {
            (Some(machine), _) => format!("/machines/{machine}"),
            (None, Some(customer)) if blocker.blocker == "negative_quantity" => {
                format!("/statements/{period}/adjust?customer={customer}")
            }
            (None, Some(customer)) => format!("/customers/{customer}"),
            (None, None) => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_in_the_way_leads_to_where_it_is_settled() {
        let blockers = r#"[{"blocker":"unassigned","machine":"mch_a"},
            {"blocker":"unmapped_product","customer":"cus_a","product":"spnt"},
            {"blocker":"negative_quantity","customer":"cus_a","sku":"A"},
            {"blocker":"open_differences","period":"2026-09","distributor":"i","source":"invoice","lines":2},
            {"blocker":"undeliverable","destination":"d","customer":"cus_a","sku":"A","why":"no"},
            {"blocker":"low_coverage","heard":3,"expected":9,"percent":80,"days":14}]"#;
        let blockers: Vec<InTheWay> = serde_json::from_str(blockers).unwrap();
        let places: Vec<String> =
            in_the_way("2026-10".parse().unwrap(), &blockers).into_iter().map(|one| one.href).collect();
        assert_eq!(
            places,
            [
                "/machines/mch_a",
                "/customers/cus_a",
                "/statements/2026-10/adjust?customer=cus_a",
                "/statements/2026-09/reconcile",
                "/statements/2026-10/delivery",
                "/machines?state=silent",
            ]
        );
    }
}
