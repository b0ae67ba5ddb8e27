//! What every connector is. Invariant: projecting is pure; sending the same part twice under the same key has one
//! effect at the far side; what a far side cannot do is said, not imitated.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::mapping::{Fields, Mapping};
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::uploads::Status;
use seatbeat_proto::ids::CustomerId;
use serde::Serialize;

use super::arm::Arm;
use super::call::{SendError, Transport};
use super::projection::{OutPart, Outgoing, Projection, ProjectionError};
use super::secrets::Secrets;
use crate::clock::Clock;

/// What a far side answered about a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `Acknowledged` and on.
    pub status: Status,
    /// What the far side calls it.
    pub far_id: String,
    /// In its words; may be empty.
    pub said: String,
}

impl Answer {
    /// An answer without words.
    pub fn new(status: Status, far_id: impl Into<String>) -> Self {
        Self { status, far_id: far_id.into(), said: String::new() }
    }

    /// With the far side's words.
    pub fn saying(self, said: impl Into<String>) -> Self {
        Self { said: said.into(), ..self }
    }
}

/// What a far side has of a customer's SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FarSeats {
    /// Whose and of what, where the mapping tells.
    pub line: Option<(CustomerId, Sku)>,
    /// What it is called there.
    pub called: String,
    /// How many may be used there.
    pub provisioned: Option<u64>,
    /// How many are, by its own count.
    pub used: Option<u64>,
}

/// A subscription that the far side lists: what a mapping can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FarSubscription {
    /// As a row of the mapping would say it, by the connector's columns.
    pub mapped: Fields,
    /// What its customer is called there.
    pub customer: String,
    /// What its product is called there, with whatever article numbers there are.
    pub product: Vec<String>,
    /// How many.
    pub quantity: Option<u64>,
}

/// What connectors are made with.
#[derive(Clone)]
pub struct Tools {
    /// To the far side.
    pub transport: Arc<dyn Transport>,
    /// Of the destination.
    pub secrets: Arc<dyn Secrets>,
    /// The collector's.
    pub clock: Clock,
}

/// A way to a far side.
pub trait Connector: Send + Sync {
    /// What goes there of a statement. Pure.
    ///
    /// # Errors
    /// When the far side cannot be told so, for want of a mapping above all.
    fn project(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError>;

    /// Sends a part, or goes on with one that was sent before under the same key.
    fn send<'a>(&'a self, part: &'a OutPart, key: &'a str) -> BoxFuture<'a, Result<Answer, SendError>>;

    /// What became of a part that the far side has.
    fn follow<'a>(
        &'a self,
        part: &'a OutPart,
        key: &'a str,
        far_id: &'a str,
    ) -> BoxFuture<'a, Result<Answer, SendError>>;

    /// How many seats of a part are in force there now; none where there is no such number.
    fn in_force<'a>(&'a self, part: &'a OutPart) -> BoxFuture<'a, Result<Option<u64>, SendError>> {
        let _ = part;
        ready(Ok(None)).boxed()
    }

    /// What suspends and resumes licences there; none: it is done in the far side's own pages.
    fn arm(&self) -> Option<&dyn Arm> {
        None
    }

    /// What the far side has on its own books of a month; none where it does not tell.
    fn provisioned<'a>(
        &'a self,
        period: Period,
        mapping: &'a Mapping,
    ) -> BoxFuture<'a, Result<Option<Vec<FarSeats>>, SendError>> {
        let _ = (period, mapping);
        ready(Ok(None)).boxed()
    }

    /// Whether it tells that of the month that is asked for, not of today: only that is compared without being asked.
    fn tells_months(&self) -> bool {
        false
    }

    /// The subscriptions that the far side lists; none where it does not tell.
    fn subscriptions(&self) -> BoxFuture<'_, Result<Option<Vec<FarSubscription>>, SendError>> {
        ready(Ok(None)).boxed()
    }
}
