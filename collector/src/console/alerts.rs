//! What needs somebody, asked for and muted. Invariant: what is muted is open all the same, and says until when and why
//! nobody is told.

use jiff::Timestamp;
use seatbeat_ledger::mutes::Mute;
use seatbeat_proto::instant;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use crate::alerts::board::Open;
use crate::journal::Position;

/// Longest time that an alert is muted for: what nobody wants to hear of for longer is a rule to be changed.
const MUTED_MAX: jiff::SignedDuration = jiff::SignedDuration::from_hours(24 * 366);

impl Console {
    /// All alerts that are open, within the caller's reach.
    ///
    /// # Errors
    /// When the position is not known here in time.
    pub async fn alerts(&self, caller: &Caller, after: u64) -> Result<wire::AlertList, Fault> {
        self.books.reached(after).await?;
        let (reach, now) = (caller.reach(), self.books.clock().now());
        let Some(job) = &self.alerts else { return Ok(wire::AlertList::default()) };
        let is_within = |open: &Open| match &open.alert.customer {
            Some(customer) => reach.has(customer),
            None => reach == seatbeat_ledger::operators::Reach::House,
        };
        let open: Vec<Open> = job.open().into_iter().filter(is_within).collect();
        let alerts = self.books.read(|fold| {
            open.iter().map(|open| row(open, fold.mutes().of(&open.alert.alert, now))).collect()
        });
        let way = |(name, waiting, left_out): (&str, usize, u64)| wire::AlertWay {
            name: name.to_owned(),
            waiting: waiting as u64,
            left_out,
        };
        Ok(wire::AlertList { alerts, ways: job.waiting().into_iter().map(way).collect() })
    }

    /// Has an alert told no more until then; an instant that is over: it is told again.
    ///
    /// # Errors
    /// When there is no such alert, the time or the reason is none, or it cannot be written.
    pub async fn mute_alert(
        &self,
        caller: &Caller,
        alert: &str,
        until: Timestamp,
        reason: &str,
    ) -> Result<Position, Fault> {
        let now = self.books.clock().now();
        if reason.trim().is_empty() {
            return Err(Fault::value("the reason", "is missing: somebody will ask why nobody was told"));
        }
        if until.duration_since(now) > MUTED_MAX {
            return Err(Fault::value("the time", "is more than a year away"));
        }
        let is_open = self.alerts.iter().any(|job| job.open().iter().any(|open| open.alert.alert == alert));
        let is_muted = self.books.read(|fold| fold.mutes().of(alert, now).is_some());
        if !is_open && !is_muted {
            return Err(Fault::value("the alert", format!("`{alert}` is not open")));
        }
        let until_ms = instant::to_ms(until);
        self.write(caller, reason, Fact::AlertMuted(wire::AlertMuted { alert: alert.to_owned(), until_ms }))
            .await
    }

    /// Tells of nothing on every way there is; answers on how many.
    ///
    /// # Errors
    /// When there is none.
    pub fn test_alerts(&self) -> Result<usize, Fault> {
        match self.alerts.as_ref().map_or(0, |job| job.test()) {
            0 => Err(Fault::value("`[alerts]`", "in seatbeat.toml names neither a webhook nor mail")),
            ways => Ok(ways),
        }
    }
}

fn row(open: &Open, mute: Option<&Mute>) -> wire::AlertRow {
    let alert = &open.alert;
    let rule = serde_json::to_value(alert.rule).ok();
    wire::AlertRow {
        alert: alert.alert.clone(),
        rule: rule.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
        customer: alert.customer.as_ref().map(ToString::to_string).unwrap_or_default(),
        machines: alert.machines.iter().map(ToString::to_string).collect(),
        what: alert.what.clone(),
        remedy: alert.remedy.clone(),
        since_ms: instant::to_ms(open.since),
        muted_until_ms: mute.map_or(0, |mute| instant::to_ms(mute.until)),
        muted_by: mute.map(|mute| mute.by.clone()).unwrap_or_default(),
        muted_reason: mute.map(|mute| mute.reason.clone()).unwrap_or_default(),
    }
}
