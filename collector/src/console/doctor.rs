//! What only the running collector knows of its health. Invariant: looking changes nothing; a far side is asked only
//! where that was asked for, and no secret is in a finding.

use seatbeat_ledger::fold::Fold;

use super::Console;
use crate::distributor::call::SendError;
use crate::doctor::Finding;
use crate::gateway::door::CLOCK;
use crate::health;
use crate::keys::Keys;

/// By how many milliseconds the clock may be off half of the agents'.
const OFF_MS_MAX: u64 = 60_000;

/// Records that the search rows may lack: what they keep in memory before they write.
const LOOKUP_LAG_MAX: u64 = 65_536;

impl Console {
    /// Looks at itself; `connectors`: asks each destination's far side, too.
    pub async fn doctor(&self, connectors: bool) -> Vec<Finding> {
        let mut findings = vec![self.look_at_clock()];
        let unready = health::unready(&self.books).await;
        for part in &unready {
            let todo = "see the collector's log; free some space on its disk where that is full";
            findings.push(Finding::error("readiness", format!("{}: {}", part.part, part.why), todo));
        }
        if unready.is_empty() {
            let position = self.books.read(Fold::position);
            findings.push(Finding::ok("readiness", format!("it writes, and {position} records are folded")));
        }
        findings.push(self.look_at_lookup());
        findings.push(self.look_at_vault().await);
        for alarm in self.books.alarms().standing() {
            findings.push(Finding::warning("alarm", alarm, "it stands until what it names has passed"));
        }
        findings.extend(self.look_at_destinations(connectors).await);
        findings
    }

    fn look_at_clock(&self) -> Finding {
        let check = "clock";
        let todo = "put this machine's clock right (NTP)";
        let clocks = self.presence.clocks();
        if self.books.alarms().stands(CLOCK) {
            let what = format!(
                "{} agents are more than ten minutes ahead of it: nothing is acknowledged",
                clocks.ahead
            );
            return Finding::error(check, what, todo);
        }
        match clocks.median_ms() {
            None => Finding::ok(check, "no agent is connected to compare it with"),
            Some(ms) if ms.unsigned_abs() > OFF_MS_MAX => {
                let way = if ms > 0 { "behind" } else { "ahead of" };
                let what = format!(
                    "it is {} s {way} half of the connected agents at least",
                    ms.unsigned_abs() / 1000
                );
                Finding::warning(check, what, todo)
            }
            Some(ms) => {
                Finding::ok(check, format!("half of the agents are within {} ms of it", ms.unsigned_abs()))
            }
        }
    }

    fn look_at_lookup(&self) -> Finding {
        let (durable, searchable) = (self.books.durable().0, self.books.searchable().0);
        match durable.saturating_sub(searchable) {
            lag if lag > LOOKUP_LAG_MAX => Finding::warning(
                "lookup",
                format!("the search rows lack {lag} records"),
                "they catch up by themselves; where the number grows, see the collector's log and its disk",
            ),
            lag => Finding::ok("lookup", format!("the search rows lack {lag} records")),
        }
    }

    async fn look_at_vault(&self) -> Finding {
        let books = self.books.clone();
        let read = tokio::task::spawn_blocking(move || {
            let keys = Keys::read(books.vault())?;
            Ok::<_, crate::keys::KeysError>(
                books.read(|fold| fold.founded().is_some_and(|founded| keys.belong_to(founded))),
            )
        });
        let todo = "restore the vault from a backup of this store";
        match read.await {
            Ok(Ok(true)) => Finding::ok("vault", "it gives its keys, which are those that the journal names"),
            Ok(Ok(false)) => {
                Finding::error("vault", "its keys are no longer those that the journal names", todo)
            }
            Ok(Err(error)) => Finding::error("vault", crate::doctor::chain(&error), todo),
            Err(error) => {
                Finding::error("vault", format!("asking it failed: {error}"), "see the collector's log")
            }
        }
    }

    async fn look_at_destinations(&self, asks: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, desk) in self.uploads.desks() {
            let check = format!("destination {name}");
            let told = desk.told();
            if let Some(trouble) = told.trouble {
                findings.push(Finding::error(&check, trouble.why, trouble.hint));
                continue;
            }
            if let Some(failing) = told.failing {
                let todo = "it is tried again by itself; `seatbeat upload status` shows when";
                findings.push(Finding::warning(&check, failing, todo));
                continue;
            }
            if !asks {
                findings.push(Finding::ok(&check, "nothing is in the way; --connectors asks there"));
                continue;
            }
            findings.push(match desk.connector().subscriptions().await {
                Ok(Some(listed)) => {
                    Finding::ok(&check, format!("it lets us in, and lists {} subscriptions", listed.len()))
                }
                Ok(None) => {
                    Finding::ok(&check, "it has nothing to ask for; sending tells whether it takes files")
                }
                Err(SendError::Again { why, .. }) => {
                    let todo = "see that this machine reaches it, and whether it is down";
                    Finding::warning(&check, desk.scrub(&why), todo)
                }
                Err(SendError::Stop { why, hint }) => Finding::error(&check, desk.scrub(&why), hint),
            });
        }
        findings
    }
}
