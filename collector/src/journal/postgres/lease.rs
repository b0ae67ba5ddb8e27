//! Who runs the jobs, among the collectors on one database. Invariant: by the database's clock and its row's lock one at a
//! time has the lease; whoever takes it over from another gets a higher fence.

use tokio_postgres::Client;

use crate::journal::Position;
use crate::postgres::{Address, PostgresError, answered, connect, failed, random_name};

/// Seconds for which a lease is given: a collector that died is replaced after as many.
pub const LEASE_SECONDS: u32 = 15;

/// A lease that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Higher than that of whoever had it before.
    pub fence: i64,
    /// How many records there are that an earlier holder may have had a hand in.
    pub size: Position,
}

/// A collector's side of the lease.
pub struct Lease {
    address: Address,
    holder: String,
    client: Option<Client>,
}

impl Lease {
    /// For a collector of its own.
    pub fn new(address: Address) -> Self {
        Self { address, holder: random_name(), client: None }
    }

    /// Takes the lease, or keeps it for longer; none while another has it.
    ///
    /// # Errors
    /// When the database cannot be asked; whether the lease was given is not known then.
    pub async fn ask(&mut self) -> Result<Option<Held>, PostgresError> {
        let (act, place) = ("take the jobs' lease at", self.address.to_string());
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            _ => connect(&self.address).await?,
        };
        let failed = failed(act, &place);
        // The connection is kept once its transaction has an end: who stops waiting drops both.
        let asked = async {
            client
                .batch_execute("START TRANSACTION ISOLATION LEVEL READ COMMITTED")
                .await
                .map_err(&failed)?;
            let row = client.query_one(LOOK, &[]).await.map_err(&failed)?;
            let (holder, fence, is_over): (&str, i64, bool) = (row.get(0), row.get(1), row.get(2));
            let is_ours = holder == self.holder;
            if !is_ours && !is_over {
                client.batch_execute("ROLLBACK").await.map_err(&failed)?;
                return Ok((None, client));
            }
            let fence = if is_ours { fence } else { fence + 1 };
            client.execute(TAKE, &[&self.holder, &fence]).await.map_err(&failed)?;
            // Behind the row's lock: what an earlier holder wrote stands by now, or is refused.
            let size: i64 = client.query_one(SIZE, &[]).await.map_err(&failed)?.get(0);
            client.batch_execute("COMMIT").await.map_err(&failed)?;
            Ok((Some(Held { fence, size: Position(size.unsigned_abs()) }), client))
        };
        let (held, client) = answered(act, &place, asked).await?;
        self.client = Some(client);
        Ok(held)
    }

    /// Whether the connection to the database has ended.
    #[cfg(test)]
    pub fn is_closed(&self) -> bool {
        self.client.as_ref().is_none_or(Client::is_closed)
    }

    /// Lets another have it at once.
    ///
    /// # Errors
    /// When the database cannot be asked: it is free a while later.
    pub async fn give_back(&mut self) -> Result<(), PostgresError> {
        let (act, place) = ("give the jobs' lease back at", self.address.to_string());
        let Some(client) = self.client.take() else { return Ok(()) };
        let given = async {
            client.execute(GIVE_BACK, &[&self.holder]).await.map_err(failed(act, &place))?;
            Ok(())
        };
        answered(act, &place, given).await
    }
}

const LOOK: &str = "SELECT holder, fence, until <= CURRENT_TIMESTAMP FROM seatbeat.lease \
                    WHERE name = 'jobs' FOR UPDATE";

/// From the beginning of the transaction on: never for longer than the holder thinks.
const TAKE: &str = "UPDATE seatbeat.lease SET holder = $1, fence = $2, \
                    until = CURRENT_TIMESTAMP + INTERVAL '15' SECOND WHERE name = 'jobs'";

const SIZE: &str = "SELECT size FROM seatbeat.head WHERE id = 1";

const GIVE_BACK: &str =
    "UPDATE seatbeat.lease SET until = CURRENT_TIMESTAMP WHERE name = 'jobs' AND holder = $1";
