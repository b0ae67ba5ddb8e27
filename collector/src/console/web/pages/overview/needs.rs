//! What needs somebody, the most pressing first, each with where it is settled. Invariant: nobody is led to a page that
//! they may not open.

use crate::console::overview::{MonthWaiting, Overview};
use crate::console::web::pages::moment;
use crate::console::web::pages::shell::Shell;
use crate::console::words::Advice;
use seatbeat_proto::wire::AlertRow;

/// Of one kind at most so many are shown one by one.
const SHOWN_MAX: usize = 6;

/// See the module's text.
pub struct Need {
    /// How the badge looks: `bad`, `warn`, or as any other.
    pub tone: &'static str,
    /// What kind it is, in a word.
    pub kind: &'static str,
    /// What is wrong, or to be done.
    pub what: String,
    /// How it is settled.
    pub remedy: String,
    /// Where; empty: at no page that this operator may open.
    pub href: String,
}

/// What an overview says that somebody has to do.
pub fn of(overview: &Overview, shell: &Shell) -> Vec<Need> {
    let mut needs = Vec::new();
    overview.months.iter().for_each(|month| of_month(month, &mut needs));
    of_orders(overview, &mut needs);
    let is_told = |alert: &&AlertRow| !alert.rule.starts_with("product_") || overview.in_the_way.is_empty();
    let alerts: Vec<&AlertRow> = overview.alerts.iter().filter(is_told).collect();
    needs.extend(alerts.iter().take(SHOWN_MAX).map(|alert| Need {
        tone: "warn",
        kind: "alert",
        what: alert.what.clone(),
        remedy: alert.remedy.clone(),
        href: place(alert),
    }));
    if let Some(left @ 1..) = alerts.len().checked_sub(SHOWN_MAX) {
        needs.push(rest("alert", format!("{left} more alerts"), "/alerts".to_owned()));
    }
    let href = match shell.bills() && shell.has_house() {
        true => format!("/statements/{}", overview.period),
        false => String::new(),
    };
    let (shown, left) = overview.in_the_way.split_at(overview.in_the_way.len().min(SHOWN_MAX));
    needs.extend(shown.iter().map(|advice| advised("warn", "this month", advice, &href)));
    if !left.is_empty() {
        let what = format!("{} more things are in the way of {}", left.len(), overview.period);
        needs.push(rest("this month", what, href));
    }
    needs
}

fn of_month(month: &MonthWaiting, needs: &mut Vec<Need>) {
    let MonthWaiting { period, state, goes_on_at, due_at, blockers } = month;
    let href = format!("/statements/{period}");
    let due = format!("it has to be with the distributor by {}", moment::shown(*due_at));
    let (tone, what) = match (goes_on_at, blockers.len()) {
        (Some(at), 0) if *state == "grace" => {
            ("", format!("evidence of {period} may still arrive until {}", moment::shown(*at)))
        }
        (Some(at), 0) => {
            ("", format!("the statement of {period} is sealed by itself from {} on", moment::shown(*at)))
        }
        (_, 0) => ("bad", format!("the statement of {period} waits for your approval")),
        (_, 1) => ("bad", format!("one thing is in the way of the statement of {period}")),
        (_, blockers) => ("bad", format!("{blockers} things are in the way of the statement of {period}")),
    };
    needs.push(Need { tone, kind: "month", what, remedy: due, href: href.clone() });
    let shown = blockers.iter().take(SHOWN_MAX);
    needs.extend(shown.map(|advice| advised("bad", "blocker", advice, &href)));
}

fn of_orders(overview: &Overview, needs: &mut Vec<Need>) {
    let Some(orders) = &overview.orders else { return };
    needs.extend(orders.held.iter().take(SHOWN_MAX).map(|batch| Need {
        tone: "bad",
        kind: "orders",
        what: format!("{batch} waits for a second operator"),
        remedy: "look at what it does, and confirm or cancel it".to_owned(),
        href: format!("/orders/{batch}"),
    }));
    needs.extend(orders.unsigned.iter().take(SHOWN_MAX).map(|(batch, count)| Need {
        tone: "bad",
        kind: "orders",
        what: format!("{count} order(s) of {batch} wait for a signature"),
        remedy: format!("`seatbeat orders sign {batch}`"),
        href: format!("/orders/{batch}"),
    }));
    if orders.in_flight > 0 {
        let what = format!("{} order(s) are on their way to machines", orders.in_flight);
        needs.push(rest("orders", what, "/orders".to_owned()));
    }
}

fn advised(tone: &'static str, kind: &'static str, advice: &Advice, href: &str) -> Need {
    let Advice { what, remedy } = advice.clone();
    Need { tone, kind, what, remedy, href: href.to_owned() }
}

fn rest(kind: &'static str, what: String, href: String) -> Need {
    Need { tone: "", kind, what, remedy: String::new(), href }
}

/// Where an alert is looked into.
fn place(alert: &AlertRow) -> String {
    match (alert.machines.as_slice(), alert.customer.as_str()) {
        ([machine], _) => format!("/machines/{machine}"),
        (_, "") => "/alerts".to_owned(),
        (_, customer) => format!("/customers/{customer}"),
    }
}
