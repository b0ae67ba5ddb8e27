//! Changing a quantity by an order, at whichever marketplace. Invariant: before an order is placed its number is looked
//! for, and looked for again when placing it was refused, so that there is one order of each number however often it
//! is asked for; an order that failed is never placed again under its number.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use seatbeat_ledger::mapping::Fields;
use seatbeat_ledger::uploads::Status;

use super::call::SendError;
use super::connector::{Answer, Connector, FarSubscription};
use super::projection::{OutPart, Outgoing, Projection, ProjectionError};
use super::seats::{Takes, Wanted, order_number};

/// An order as the marketplace has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What it is called there.
    pub id: String,
    /// How far it has come.
    pub progress: Progress,
    /// In the marketplace's words.
    pub said: String,
}

/// How far an order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It will be decided.
    UnderWay,
    /// It is done.
    Completed,
    /// It will not be done, unless somebody there goes on with it.
    Failed,
}

/// What takes orders.
pub trait Marketplace: Send + Sync {
    /// A subscription as it is there, with what an order has to say of it.
    type Subscription: Send + Sync;

    /// The orders that a statement becomes. Pure.
    ///
    /// # Errors
    /// When a line is not mapped.
    fn orders(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError>;

    /// What it takes of quantities.
    fn takes(&self) -> Takes;

    /// A mapped subscription.
    fn subscription<'a>(&'a self, mapped: &'a Fields)
    -> BoxFuture<'a, Result<Self::Subscription, SendError>>;

    /// How many are in force.
    fn quantity(subscription: &Self::Subscription) -> u64;

    /// The order with that number of ours, where there is one.
    fn find<'a>(
        &'a self,
        mapped: &'a Fields,
        number: &'a str,
    ) -> BoxFuture<'a, Result<Option<Order>, SendError>>;

    /// Places an order under that number of ours.
    fn place<'a>(
        &'a self,
        wanted: Wanted<'a>,
        subscription: &'a Self::Subscription,
        number: &'a str,
    ) -> BoxFuture<'a, Result<Order, SendError>>;

    /// An order by what it is called there.
    fn order<'a>(&'a self, mapped: &'a Fields, id: &'a str) -> BoxFuture<'a, Result<Order, SendError>>;

    /// All subscriptions there.
    fn listed(&self) -> BoxFuture<'_, Result<Vec<FarSubscription>, SendError>>;
}

impl<M: Marketplace> Connector for M {
    fn project(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError> {
        self.orders(outgoing)
    }

    fn send<'a>(&'a self, part: &'a OutPart, key: &'a str) -> BoxFuture<'a, Result<Answer, SendError>> {
        ordered(self, part, key).boxed()
    }

    fn follow<'a>(
        &'a self,
        part: &'a OutPart,
        _: &'a str,
        far_id: &'a str,
    ) -> BoxFuture<'a, Result<Answer, SendError>> {
        async move {
            match Wanted::of(part) {
                Ok(wanted) => verdict(self, &wanted, self.order(wanted.mapped, far_id).await?).await,
                Err(answer) => Ok(answer),
            }
        }
        .boxed()
    }

    fn in_force<'a>(&'a self, part: &'a OutPart) -> BoxFuture<'a, Result<Option<u64>, SendError>> {
        async {
            let Ok(wanted) = Wanted::of(part) else { return Ok(None) };
            Ok(Some(M::quantity(&self.subscription(wanted.mapped).await?)))
        }
        .boxed()
    }

    fn subscriptions(&self) -> BoxFuture<'_, Result<Option<Vec<FarSubscription>>, SendError>> {
        async { self.listed().await.map(Some) }.boxed()
    }
}

/// Has a part's quantity set by an order, or goes on with the order that was placed before.
async fn ordered<M: Marketplace>(marketplace: &M, part: &OutPart, key: &str) -> Result<Answer, SendError> {
    let wanted = match Wanted::of(part) {
        Ok(wanted) => wanted,
        Err(answer) => return Ok(answer),
    };
    let number = order_number(part, key);
    if let Some(order) = marketplace.find(wanted.mapped, &number).await? {
        return verdict(marketplace, &wanted, order).await;
    }
    let subscription = marketplace.subscription(wanted.mapped).await?;
    let far_id = wanted.called("subscription")?;
    let in_force = M::quantity(&subscription);
    if let Some(answer) = wanted.without_setting(in_force, marketplace.takes(), far_id)? {
        return Ok(answer);
    }
    let placed = match marketplace.place(wanted, &subscription, &number).await {
        // It arrived twice perhaps, and what was refused is the second.
        Err(stop @ SendError::Stop { .. }) => marketplace.find(wanted.mapped, &number).await?.ok_or(stop)?,
        placed => placed?,
    };
    verdict(marketplace, &wanted, placed).await
}

/// What an order's progress means for the part.
async fn verdict<M: Marketplace>(
    marketplace: &M,
    wanted: &Wanted<'_>,
    order: Order,
) -> Result<Answer, SendError> {
    let Order { id, progress, said } = order;
    if id.is_empty() {
        return Err(SendError::again("the order that came back has no id"));
    }
    Ok(match progress {
        Progress::UnderWay => Answer::new(Status::Acknowledged, id).saying(said),
        Progress::Failed => Answer::new(Status::Rejected, id).saying(said),
        Progress::Completed => {
            let in_force = M::quantity(&marketplace.subscription(wanted.mapped).await?);
            let ordered = if in_force == wanted.seats {
                String::new()
            } else {
                format!(", {} were ordered", wanted.seats)
            };
            Answer::new(Status::Settled, id).saying(format!("{in_force} in force{ordered}"))
        }
    })
}
