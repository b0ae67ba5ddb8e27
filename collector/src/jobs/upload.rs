//! Uploads: each sealed statement is brought to each destination of its distributor's, and followed there until it is
//! settled. Invariant: each destination goes its own way, so that one that fails holds nothing else up; running it
//! twice has one effect at the far side.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

pub mod desk;
pub(crate) mod pace;
pub mod sealed;

use desk::Desk;

use crate::books::Books;
use crate::config::Config;
use crate::distributor::connector::{Connector, Tools};
use crate::distributor::destination::{Destination, DestinationError};
use crate::distributor::http::{Http, HttpError};
use crate::distributor::vaulted::Vaulted;
use crate::jobs::close::Closing;

/// How often it looks whether something is due: what was sealed just now is on its way within seconds.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A destination that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableDestination {
    /// As it is configured.
    #[error("destination `{name}` cannot be used as it is configured")]
    Configured {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: DestinationError,
    },
    /// There is no way to speak HTTPS.
    #[error("destination `{name}` cannot be reached from here")]
    Http {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: HttpError,
    },
}

/// All destinations.
#[derive(Clone, Default)]
pub struct Uploads {
    desks: Arc<BTreeMap<String, Arc<Desk>>>,
}

impl Uploads {
    /// The destinations that are configured.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn new(books: &Books, config: &Config, closing: &Closing) -> Result<Self, UnusableDestination> {
        let mut desks = BTreeMap::new();
        for (name, destination) in &config.destination {
            let unusable = |source| UnusableDestination::Configured { name: name.clone(), source };
            let unreachable = |source| UnusableDestination::Http { name: name.clone(), source };
            let secrets = Arc::new(Vaulted::new(books.clone(), name, destination));
            let transport = Arc::new(Http::new(destination.ca_file.as_deref()).map_err(unreachable)?);
            let tools = Tools { transport, secrets: secrets.clone(), clock: books.clock() };
            let connector = destination.connector(tools).map_err(unusable)?;
            let desk = desk(name, destination, connector, secrets, books, closing);
            desks.insert(name.clone(), desk);
        }
        Ok(Self { desks: Arc::new(desks) })
    }

    /// A destination.
    pub fn desk(&self, name: &str) -> Option<&Arc<Desk>> {
        self.desks.get(name)
    }

    /// All of them, by name.
    pub fn desks(&self) -> impl Iterator<Item = (&str, &Arc<Desk>)> {
        self.desks.iter().map(|(name, desk)| (name.as_str(), desk))
    }

    /// Brings what is due until it is stopped. What is under way then is gone on with by the next start.
    pub async fn follow(self, books: Books, stopped: impl Future<Output = ()>) {
        let mut ways = JoinSet::new();
        for desk in self.desks.values() {
            let (desk, clock) = (Arc::clone(desk), books.clock());
            ways.spawn(async move {
                let mut tick = tokio::time::interval(LOOK_EVERY);
                tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    tick.tick().await;
                    desk.run(clock.now()).await;
                }
            });
        }
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => return,
                Some(Err(error)) = ways.join_next() => {
                    // The other ways go on; this one goes on with the next start.
                    tracing::error!(%error, "the way to a destination ended unexpectedly");
                }
            }
        }
    }
}

fn desk(
    name: &str,
    destination: &Destination,
    connector: Box<dyn Connector>,
    secrets: Arc<Vaulted>,
    books: &Books,
    closing: &Closing,
) -> Arc<Desk> {
    Arc::new(Desk::new(name, destination.clone(), connector, secrets, books.clone(), closing.clone()))
}

#[cfg(test)]
mod tests;
