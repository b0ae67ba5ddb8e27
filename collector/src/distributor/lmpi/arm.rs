//! The platform as the other arm. Invariant: what the subscription shows to be done already is not asked for again; the
//! same act under the same key has the same receipt.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Method;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::super::arm::{Arm, ArmError, Licence, Receipt, Step};
use super::super::call::SendError;
use super::super::seats::called;
use super::{Lmpi, Subscription, path, signature};

/// What it is called.
const NAME: &str = "lmpi";

impl Subscription {
    /// Whether nothing of it can be used: suspending has its licences expire and not be renewed.
    fn is_suspended(&self, now: Timestamp) -> bool {
        !self.is_auto_renewal && (!self.enabled || self.licenses.iter().all(|license| license.is_over(now)))
    }

    /// Whether it runs, and goes on.
    fn is_running(&self, now: Timestamp) -> bool {
        self.is_auto_renewal && self.enabled && !self.licenses.iter().any(|license| license.is_over(now))
    }
}

impl super::License {
    fn is_over(&self, now: Timestamp) -> bool {
        !self.enabled || self.license_expiration_date.parse().is_ok_and(|end: Timestamp| end <= now)
    }
}

impl Lmpi {
    async fn turn(&self, step: Step, licence: &Licence, key: &str) -> Result<Receipt, SendError> {
        let subscription = called(&licence.mapped, "subscription")?;
        let (verb, done) = match step {
            Step::Suspend => ("/suspend", "suspended"),
            Step::Resume => ("/unsuspend", "unsuspended"),
        };
        let trace = trace_of(step, key);
        let id = format!("subscription {subscription} {done}, trace {trace}");
        let now = self.tools.clock.now();
        let before = self.subscription(&licence.mapped).await?;
        let is_done = match step {
            Step::Suspend => before.is_suspended(now),
            Step::Resume => before.is_running(now),
        };
        if !is_done {
            let target = path(&licence.mapped, "v3", verb)?;
            let answer = self.call(Method::PUT, &target, None, Some(&trace)).await?;
            if !answer.status().is_success() {
                return Err(SendError::of(&format!("`{}` of the subscription", step.name()), &answer));
            }
        }
        Ok(Receipt { id, at: now })
    }
}

impl Arm for Lmpi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn act<'a>(
        &'a self,
        step: Step,
        licence: &'a Licence,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Receipt, ArmError>> {
        async move {
            let secrets = &self.tools.secrets;
            self.turn(step, licence, key).await.map_err(|error| match error {
                SendError::Again { why, .. } => ArmError::NoAnswer { arm: NAME, why: secrets.scrub(&why) },
                SendError::Stop { why, hint } => {
                    ArmError::Refused { arm: NAME, why: secrets.scrub(&why), hint }
                }
            })
        }
        .boxed()
    }
}

/// What an act is known by in the vendor's logs: the same for the same key.
fn trace_of(step: Step, key: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(format!("{}\n{key}", step.name())).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    signature::uuid(bytes)
}
