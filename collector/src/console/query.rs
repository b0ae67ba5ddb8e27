//! Every question, once. Invariant: a question changes nothing, and one that names a position is answered from a
//! state that includes it, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seatbeat_ledger::body::SealedBody;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::fold::evidence::{self, Body};
use seatbeat_ledger::life::Life;
use seatbeat_ledger::operators::Reach;
use seatbeat_ledger::pricing::earnings;
use seatbeat_ledger::registry;
use seatbeat_ledger::statement::{Line, Statement};
use seatbeat_ledger::terms::Terms;
use seatbeat_proto::hex;
use seatbeat_proto::ids::{CustomerId, MachineId};

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use super::rows::{
    Customer, CustomerList, Draft, Evidence, Machine, MachineDetail, PeriodState, Product, SealedStatement,
    SealedStatements, Spool, StatementList, Status, Token, TokenList,
};
use crate::jobs::close::{self, SealedFile};
use crate::journal::Position;
use crate::vault::VaultRow;

/// Evidence that a machine is shown with: about two days of it.
const RECENT_MAX: usize = 10;

impl Console {
    /// How the collector is.
    ///
    /// # Errors
    /// When the position is not known here in time.
    pub async fn status(&self, after: u64) -> Result<Status, Fault> {
        self.books.reached(after).await?;
        let agent_address = match self.config.addresses() {
            none if none.is_empty() => self.config.agent_listen.to_string(),
            addresses => addresses.join(","),
        };
        let statement_key = self.books.keys().statement().verifying_key();
        Ok(self.books.read(|fold| Status {
            reseller: fold.founded().expect("books that are open are founded").reseller.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: self.books.clock().now(),
            zone: fold.usage().zone().name().to_owned(),
            agent_address,
            machines: fold.registry().machine_count() as u64,
            connected: self.presence.connected_count() as u64,
            customers: fold.registry().customers().count() as u64,
            beats: self.presence.beats(),
            evidence_received: self.presence.evidence(),
            journal_size: fold.position(),
            journal_root: STANDARD.encode(fold.root()),
            folded: fold.position(),
            statement_key: STANDARD.encode(statement_key.as_bytes()),
            alarms: self.books.alarms().standing(),
        }))
    }

    /// All customers, by id.
    ///
    /// # Errors
    /// When the position is not known here in time, or the vault cannot be read.
    pub async fn customers(&self, caller: &Caller, after: u64) -> Result<CustomerList, Fault> {
        self.books.reached(after).await?;
        let reach = caller.reach();
        let mut counts: BTreeMap<CustomerId, u64> = self.books.read(|fold| {
            let registry = fold.registry();
            let known = registry.customers().map(|customer| (customer.clone(), 0));
            let owning = registry.machines_of_customers();
            known.chain(owning.map(|(customer, count)| (customer.clone(), count as u64))).collect()
        });
        counts.retain(|customer, _| reach.has(customer));
        let named =
            |(customer, machines)| Ok(Customer { name: self.customer_name(&customer)?, customer, machines });
        Ok(CustomerList { customers: counts.into_iter().map(named).collect::<Result<_, Fault>>()? })
    }

    /// All tokens, by id.
    ///
    /// # Errors
    /// When the position is not known here in time.
    pub async fn tokens(&self, caller: &Caller, after: u64) -> Result<TokenList, Fault> {
        self.books.reached(after).await?;
        let row = |(id, token): (&_, &registry::Token)| Token {
            token: Clone::clone(id),
            customer: token.customer.clone(),
            uses_max: token.uses_max,
            used: token.used,
            expires_at: token.expires_at,
            revoked: token.revoked,
        };
        let reach = caller.reach();
        Ok(TokenList {
            tokens: self.books.read(|fold| {
                fold.registry().tokens().filter(|(_, token)| reach.has(&token.customer)).map(row).collect()
            }),
        })
    }

    /// All that is known of one machine.
    ///
    /// # Errors
    /// When the position is not known here in time, the machine is not known, or a part cannot be read.
    pub async fn machine(&self, caller: &Caller, id: MachineId, after: u64) -> Result<MachineDetail, Fault> {
        self.books.reached(after).await?;
        let known = self.books.read(|fold| fold.registry().machine(&id).cloned());
        let within = known.filter(|machine| caller.reach().has(&machine.customer));
        let machine = within.ok_or_else(|| Fault::UnknownMachine(id.clone()))?;
        let spools = machine.spools.iter().map(|(spool, tip)| Spool {
            spool: spool.clone(),
            sequence: tip.sequence,
            hash: hex::format(&tip.hash),
        });
        Ok(MachineDetail {
            enrolled_at: machine.enrolled_at,
            flags: machine.flags.keys().cloned().collect(),
            spools: spools.collect(),
            recent: self.recent(&id)?,
            machine: self.machine_row(id, &machine)?,
        })
    }

    /// The policy of a period as it was set, as TOML; without one, of the running period.
    ///
    /// # Errors
    /// When the position is not known here in time.
    pub async fn policy(&self, period: Option<Period>, after: u64) -> Result<String, Fault> {
        self.books.reached(after).await?;
        let period = period.unwrap_or_else(|| close::running_period(&self.books));
        Ok(self.books.read(|fold| fold.terms().policy_text(period).unwrap_or_default().to_owned()))
    }

    /// What a period's statement would be now.
    ///
    /// # Errors
    /// When the position is not known here in time, or the period cannot be computed.
    pub async fn draft(&self, period: Period, after: u64) -> Result<Draft, Fault> {
        self.books.reached(after).await?;
        let closing = self.closing.clone();
        let draft = tokio::task::spawn_blocking(move || closing.draft(period, after)).await??;
        let mut review = draft.review.clone();
        self.put_codes_in(&mut review.licences)?;
        Ok(Draft {
            period,
            state: draft.life().into(),
            standings: draft.standings.clone(),
            digest: draft.digest.clone(),
            closes_at: draft.closes_at,
            output: draft.output.clone(),
            variance: draft.variance.clone(),
            review: Some(review),
        })
    }

    /// Where statements stand.
    ///
    /// # Errors
    /// When the position is not known here in time, or a draft cannot be computed.
    pub async fn statements(&self, after: u64) -> Result<StatementList, Fault> {
        self.books.reached(after).await?;
        let closing = self.closing.clone();
        let statements = tokio::task::spawn_blocking(move || closing.standings(after)).await??;
        Ok(StatementList { statements })
    }

    /// A period's sealed statements, and what the reseller earns by them at its sell prices.
    ///
    /// # Errors
    /// When the position is not known here in time, or the period is not sealed.
    pub async fn sealed(&self, period: Period, after: u64) -> Result<SealedStatements, Fault> {
        self.books.reached(after).await?;
        let files = self.closing.sealed_files(period)?;
        self.sealed_rows(period, files, 0)
    }

    pub(super) fn sealed_rows(
        &self,
        period: Period,
        files: Vec<SealedFile>,
        position: u64,
    ) -> Result<SealedStatements, Fault> {
        let (terms, bodies): (Arc<Terms>, Vec<Vec<u8>>) = self.books.read(|fold| {
            let bodies = fold.sealed(period).map(|(_, sealed)| sealed.body.clone());
            (Arc::clone(fold.terms()), bodies.collect())
        });
        let unreadable =
            |error: serde_json::Error| close::CloseError::Sealed { period, why: error.to_string() };
        let mut lines: Vec<Line> = Vec::new();
        for body in bodies {
            let statement: Statement = serde_json::from_slice(&body).map_err(unreadable)?;
            lines.extend(statement.lines);
        }
        lines.sort_by(|one, other| (&one.customer, &one.sku).cmp(&(&other.customer, &other.sku)));
        let statements = files.into_iter().map(|file| SealedStatement {
            distributor: file.distributor,
            revision: file.revision,
            file: file.bytes,
        });
        Ok(SealedStatements {
            period,
            statements: statements.collect(),
            earnings: earnings(&lines, &terms.policy(period)?)?,
            licences: self.licences_of(&lines, period)?,
            position,
        })
    }

    /// How many records a period was closed from, when it is sealed.
    pub(super) fn sealed_cut(&self, period: Period) -> Option<u64> {
        self.books.read(|fold| {
            let bodies = fold.sealed(period);
            let cuts = bodies.filter_map(|(_, sealed)| {
                serde_json::from_slice::<SealedBody>(&sealed.body).ok()?.journal.map(|cut| cut.size)
            });
            cuts.max()
        })
    }

    pub(super) fn customer_name(&self, customer: &CustomerId) -> Result<String, Fault> {
        self.name(VaultRow::CustomerName(customer))
    }

    pub(super) fn host_name(&self, machine: &MachineId) -> Result<String, Fault> {
        self.name(VaultRow::HostName(machine))
    }

    pub(super) fn name(&self, row: VaultRow<'_>) -> Result<String, Fault> {
        let name = self.books.vault().get(row)?;
        Ok(name.map(|name| String::from_utf8_lossy(&name).into_owned()).unwrap_or_default())
    }

    pub(super) fn machine_row(&self, id: MachineId, machine: &registry::Machine) -> Result<Machine, Fault> {
        Ok(Machine {
            host_name: self.name(VaultRow::HostName(&id))?,
            connected: self.presence.connected(&id),
            machine: id,
            customer: machine.customer.clone(),
            agent_version: machine.agent_version.to_string(),
            catalogue_version: machine.catalogue_version,
            last_report: machine.last.as_ref().map(|last| last.observed_at),
            banned: machine.banned,
            retired: machine.retired_at.is_some(),
            products: machine.last.iter().flat_map(|last| last.products.iter().map(product)).collect(),
        })
    }

    /// The newest evidence of a machine that the search rows know.
    fn recent(&self, machine: &MachineId) -> Result<Vec<Evidence>, Fault> {
        let recent = self.books.recent(machine, RECENT_MAX)?;
        Ok(recent.into_iter().map(|(at, evidence)| evidence_row(at, evidence)).collect())
    }
}

/// Whether there is such a customer within reach.
pub(super) fn known_customer(fold: &Fold, reach: &Reach, customer: Option<&CustomerId>) -> Result<(), Fault> {
    match customer {
        Some(customer) if !fold.registry().has_customer(customer) || !reach.has(customer) => {
            Err(Fault::UnknownCustomer(customer.clone()))
        }
        _ => Ok(()),
    }
}

pub(super) fn evidence_row(position: Position, evidence: evidence::Evidence) -> Evidence {
    let products = match &evidence.body {
        Body::Report(report) => report.seen.last.products.iter().map(product).collect(),
        Body::OrderResult { .. } => Vec::new(),
    };
    Evidence {
        position: position.0,
        spool: evidence.spool,
        sequence: evidence.sequence,
        observed_at: evidence.observed_at,
        received_at: evidence.received_at,
        products,
    }
}

fn product(found: &registry::Product) -> Product {
    Product {
        product: found.product.clone(),
        state: found.state,
        version: found.version.clone(),
        signals: found.signals.clone(),
        why: found.why.clone(),
    }
}

impl From<&Life> for PeriodState {
    fn from(life: &Life) -> Self {
        match life {
            Life::Open { .. } => Self::Open,
            Life::Grace { .. } => Self::Grace,
            Life::Draft { .. } => Self::Draft,
            Life::Approved { .. } => Self::Approved,
            Life::Sealed { .. } | Life::Superseded { .. } => Self::Sealed,
        }
    }
}
