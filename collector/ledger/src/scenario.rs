//! A few records and a policy in short words, for tests that read like the contract.
//! Invariant: every output is taken twice, the second time from the records backwards and repeated, and must be equal.
//!
//! Instants are `MM-DD hh:mm` of 2026 in UTC; machines, customers and spools are named without their prefix. Unless
//! said otherwise machine `m` is `acme`'s since September, products `a`, `b`, `c` are the SKUs `A`, `B`, `C`, and
//! the period is October.

use std::fmt::Write;

use crate::calendar::{Day, Period};
use crate::close::seats;
use crate::meter::{MeterError, MeterInput, meter};
use crate::policy::Policy;
use crate::record::Record;
use crate::record_set::RecordSet;
use crate::statement::{Line, MeterOutput};
use crate::usage::Usage;

#[derive(Clone)]
pub(crate) struct Scenario {
    records: String,
    policy: String,
    period: Period,
    as_of: Option<String>,
    sealed: Option<String>,
    sequence: u64,
}

/// `10-01 06:00` as RFC 3339; seconds and fractions may follow.
pub(crate) fn instant(text: &str) -> String {
    let seconds = if text.matches(':').count() == 1 { ":00" } else { "" };
    format!("2026-{}{seconds}Z", text.replace(' ', "T"))
}

impl Scenario {
    /// With machine `m` assigned and `a`, `b`, `c` mapped.
    pub(crate) fn new() -> Self {
        Self::bare().policy("[default_sku]\na = \"A\"\nb = \"B\"\nc = \"C\"\n").assigned(
            "09-01 00:00",
            "m",
            "acme",
        )
    }

    /// With nothing.
    pub(crate) fn bare() -> Self {
        Self {
            records: String::new(),
            policy: String::new(),
            period: "2026-10".parse().unwrap(),
            as_of: None,
            sealed: None,
            sequence: 0,
        }
    }

    /// More policy: top keys go before what is there, tables after.
    pub(crate) fn policy(mut self, more: &str) -> Self {
        if more.starts_with('[') {
            self.policy = format!("{}\n{more}", self.policy);
        } else {
            self.policy = format!("{more}\n{}", self.policy);
        }
        self
    }

    pub(crate) fn period(mut self, period: &str) -> Self {
        self.period = period.parse().unwrap();
        self
    }

    pub(crate) fn cut_off(mut self, at: &str) -> Self {
        self.as_of = Some(instant(at));
        self
    }

    pub(crate) fn sealed(mut self, bodies: &str) -> Self {
        self.sealed = Some(bodies.to_owned());
        self
    }

    /// Any line.
    pub(crate) fn line(mut self, line: &str) -> Self {
        writeln!(self.records, "{line}").unwrap();
        self
    }

    /// A report at once received: `a` is active, `b-` inactive, `c?` unknown, `d!` switched off.
    pub(crate) fn report(mut self, machine: &str, at: &str, products: &str) -> Self {
        self.sequence += 1;
        let place = (machine, "s", self.sequence);
        self.report_at(place, at, at, products)
    }

    /// A report at a place of a chain.
    pub(crate) fn report_at(
        self,
        (machine, spool, sequence): (&str, &str, u64),
        observed: &str,
        received: &str,
        products: &str,
    ) -> Self {
        let product = |word: &str| {
            let (name, state) = match word.split_at(word.len() - 1) {
                (name, "-") => (name, "inactive"),
                (name, "?") => (name, "unknown"),
                (name, "!") => (name, "switched_off"),
                _ => (word, "active"),
            };
            format!(r#"{{"product":"{name}","state":"{state}","version":"1"}}"#)
        };
        let products: Vec<String> = products.split_whitespace().map(product).collect();
        let (observed, received) = (instant(observed), instant(received));
        self.line(&format!(
            r#"{{"type":"report","machine":"mch_{machine}","spool":"spl_{spool}","sequence":{sequence},"observed_at":"{observed}","received_at":"{received}","products":[{}]}}"#,
            products.join(",")
        ))
    }

    /// A report on each of these days of October, at six.
    pub(crate) fn reports(
        mut self,
        machine: &str,
        days: impl IntoIterator<Item = i32>,
        products: &str,
    ) -> Self {
        for day in days {
            self = self.report(machine, &format!("10-{day:02} 06:00"), products);
        }
        self
    }

    fn entry(self, at: &str, kind: &str, fields: &str) -> Self {
        self.line(&format!(r#"{{"type":"{kind}","at":"{}",{fields}}}"#, instant(at)))
    }

    pub(crate) fn assigned(self, at: &str, machine: &str, customer: &str) -> Self {
        self.entry(
            at,
            "machine_assigned",
            &format!(r#""machine":"mch_{machine}","customer":"cus_{customer}""#),
        )
    }

    /// `sku` `null`: deliberately not billed.
    pub(crate) fn sku(self, at: &str, customer: &str, product: &str, sku: &str) -> Self {
        let sku = if sku == "null" { sku.to_owned() } else { format!("\"{sku}\"") };
        let fields = format!(r#""customer":"cus_{customer}","product":"{product}","sku":{sku}"#);
        self.entry(at, "sku_assigned", &fields)
    }

    /// `kind`: `off` or `on`.
    pub(crate) fn switched(self, kind: &str, at: &str, machine: &str, product: &str) -> Self {
        let fields = format!(r#""machine":"mch_{machine}","product":"{product}""#);
        self.entry(at, &format!("switched_{kind}"), &fields)
    }

    /// `kind`: `suspended` or `resumed`.
    pub(crate) fn licence(self, kind: &str, at: &str, customer: &str, sku: &str) -> Self {
        let fields = format!(r#""customer":"cus_{customer}","sku":"{sku}""#);
        self.entry(at, &format!("licence_{kind}"), &fields)
    }

    pub(crate) fn retired(self, at: &str, machine: &str) -> Self {
        self.entry(at, "machine_retired", &format!(r#""machine":"mch_{machine}""#))
    }

    /// `kind`: `merged` or `split`.
    pub(crate) fn machines(self, kind: &str, at: &str, kept: &str, absorbed: &str) -> Self {
        let fields = format!(r#""kept":"mch_{kept}","absorbed":"mch_{absorbed}""#);
        self.entry(at, &format!("machines_{kind}"), &fields)
    }

    pub(crate) fn flagged(self, at: &str, machine: &str, flag: &str) -> Self {
        self.entry(at, "machine_flagged", &format!(r#""machine":"mch_{machine}","flag":"{flag}""#))
    }

    pub(crate) fn declared(self, at: &str, customer: &str, sku: &str, period: &str, quantity: u64) -> Self {
        let fields =
            format!(r#""customer":"cus_{customer}","sku":"{sku}","period":"{period}","quantity":{quantity}"#);
        self.entry(at, "declared", &fields)
    }

    pub(crate) fn adjusted(self, at: &str, customer: &str, sku: &str, period: &str, delta: i64) -> Self {
        let fields =
            format!(r#""customer":"cus_{customer}","sku":"{sku}","period":"{period}","delta":{delta}"#);
        self.entry(at, "adjusted", &fields)
    }

    pub(crate) fn try_output(&self) -> Result<MeterOutput, MeterError> {
        let run = |records: &str| {
            meter(MeterInput {
                records,
                policy: &self.policy,
                period: self.period,
                as_of: self.as_of.as_ref().map(|at| at.parse().unwrap()),
                sealed: self.sealed.as_deref(),
            })
        };
        let output = run(&self.records)?;
        let mut lines: Vec<&str> = self.records.lines().rev().collect();
        lines.extend(self.records.lines());
        assert_eq!(run(&lines.join("\n")).unwrap().to_json(), output.to_json(), "order and repeats matter");
        Ok(output)
    }

    pub(crate) fn output(&self) -> MeterOutput {
        self.try_output().unwrap()
    }

    /// The sealed bodies of this output, as a plain array of its statement.
    pub(crate) fn statement_json(&self) -> String {
        serde_json::to_string(&self.output().statement).unwrap()
    }

    /// The statement of another period from the same records.
    pub(crate) fn statement_of(&self, period: &str) -> String {
        self.clone().period(period).statement_json()
    }

    pub(crate) fn records(&self) -> &str {
        &self.records
    }

    /// What was used, by all that is on record.
    pub(crate) fn usage(&self) -> Usage {
        RecordSet::new(Record::parse_jsonl(&self.records).unwrap(), None).usage(&self.parsed_policy().zone)
    }

    pub(crate) fn parsed_policy(&self) -> Policy {
        Policy::parse(&self.policy).unwrap()
    }

    /// The counted days of the period of a (machine, customer, SKU): `1 2p` is the first seen, the second presumed.
    pub(crate) fn days(&self, machine: &str, customer: &str, sku: &str) -> String {
        let policy = Policy::parse(&self.policy).unwrap();
        let as_of = self.as_of.as_ref().map(|at| at.parse().unwrap());
        let records = RecordSet::new(Record::parse_jsonl(&self.records).unwrap(), as_of);
        let seats = seats(&records.usage(&policy.zone), &policy, self.period, as_of);
        let key = (format!("cus_{customer}").parse().unwrap(), sku.parse().unwrap());
        let machine = format!("mch_{machine}").parse().unwrap();
        let days = seats.get(&key).and_then(|machines| machines.get(&machine));
        let words = days.into_iter().flatten().map(|counted| {
            let day = counted.day.days_since(self.period.first_day()) + 1;
            format!("{day}{}", if counted.confirmed { "" } else { "p" })
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// The line of a (customer, SKU).
    pub(crate) fn line_of(&self, customer: &str, sku: &str) -> Option<Line> {
        let customer = format!("cus_{customer}");
        let lines = self.output().statement.lines;
        lines.into_iter().find(|line| line.customer.as_str() == customer && line.sku.as_str() == sku)
    }

    /// All lines: `acme A 2=1+1`, quantity = confirmed + presumed, then `on DD` for the high water.
    pub(crate) fn lines(&self) -> Vec<String> {
        let word = |line: Line| {
            let day = line.day.map(|date| format!(" on {}", Day::of(date).date().day())).unwrap_or_default();
            let customer = line.customer.as_str().trim_start_matches("cus_").to_owned();
            format!("{customer} {} {}={}+{}{day}", line.sku, line.quantity, line.confirmed, line.presumed)
        };
        self.output().statement.lines.into_iter().map(word).collect()
    }

    /// All flags, their fields in order.
    pub(crate) fn flags(&self) -> Vec<String> {
        words(&serde_json::to_value(self.output().statement.flags).unwrap(), &["flag"])
    }

    /// All blockers, their fields in order.
    pub(crate) fn blockers(&self) -> Vec<String> {
        words(&serde_json::to_value(self.output().statement.blockers).unwrap(), &["blocker"])
    }

    /// All corrections: period, customer, SKU, delta and cost.
    pub(crate) fn corrections(&self) -> Vec<String> {
        let corrections = serde_json::to_value(self.output().statement.corrections).unwrap();
        words(&corrections, &["for_period"])
    }
}

fn words(list: &serde_json::Value, first: &[&str]) -> Vec<String> {
    const ORDER: [&str; 6] = ["customer", "sku", "machine", "product", "delta", "cost"];
    let row = |row: &serde_json::Value| {
        let fields = first.iter().chain(&ORDER).filter_map(|name| row.get(*name)?.as_str());
        fields.collect::<Vec<_>>().join(" ")
    };
    list.as_array().unwrap().iter().map(row).collect()
}
